"""What busts and corrections made of executions and of orders, read off the journal's records.

An execution is found by the ExecID that a bust or correction names, or by that of an earlier correction of it. What
stands of it takes the place of what was reported. Worst case: one step a bust or correction, and one a report of the
orders that they changed.
"""

from __future__ import annotations

import numpy as np

from engine.record.records import ExecType
from replay.report.gather import Array

#: A report of an order: journal number, place of the order, ExecType, CumQty, LeavesQty.
STEP = np.dtype([("seq", "<i8"), ("place", "<i8"), ("exec_type", "<i8"), ("cum", "<i8"), ("leaves", "<i8")])


def stand(fills: Array, changes: Array) -> None:
    """Change booked fills, in place, to what stands of them after `changes` (accepted ones, in order)."""
    rows = {_key(row, "exec_id"): n for n, row in enumerate(fills)} if len(changes) else {}
    for change in changes:
        n = rows.get(_key(change, "exec_ref_id"))
        if n is None:
            continue  # its FILL came in an earlier run of the day
        rows[_key(change, "exec_id")] = n
        fills["last_qty"][n] = change["last_qty"]
        if change["last_qty"]:
            fills["last_px"][n] = change["last_px"]
            fills["liquidity"][n] = change["liquidity"] or fills["liquidity"][n]


def _key(row: Array, name: str) -> tuple[int, int, int]:
    return int(row["venue_id"]), int(row[name][0]), int(row[name][1])


def settle(ordered: Array, steps: Array) -> Array:
    """Set the ordered quantity (in place) of the orders that `steps` (STEP, in order) are about; what was busted.

    More comes out of what is left, then out of what was busted; less relieves an overfill, and is busted beyond.
    """
    busted = np.zeros(len(ordered), dtype=np.int64)
    cum = np.zeros(len(ordered), dtype=np.int64)
    for step in steps:
        p = int(step["place"])
        more = int(step["cum"] - cum[p])
        if step["exec_type"] in (ExecType.TRADE_CANCEL, ExecType.TRADE_CORRECT) and more < 0:
            busted[p] += -more - min(-more, max(int(cum[p] - ordered[p]), 0))
        elif more > 0:
            left = max(int(ordered[p] - cum[p] - busted[p]), 0)
            busted[p] -= min(max(more - left, 0), int(busted[p]))
        cum[p] = step["cum"]
        if step["exec_type"] == ExecType.REPLACED:
            ordered[p] = cum[p] + busted[p] + step["leaves"]
    return busted
