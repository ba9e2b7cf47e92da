"""`perf memory`: bytes that an open order, a workflow and a child take, computed and measured.

    memory order             a client's open order: its record, its two places in the index of ids
    memory workflow          the workflow of it: its row, its timer, its place in the queue of work
    memory child             an order at a venue: its record, its row, its unanswered replaces, its timer
    memory parent resident   order and workflow together, as the process grows by them
    memory child resident    a child, as the process grows by it

All of it is allocated at start, so what one more costs is what the state grows by, from some capacity to one of twice
that: by its tables, and in resident memory. `baseline` is computed from the tables' dtypes, and is to be the same.
Worst case: the interpreter allocates meanwhile, and the last two are off by that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.core.limits import Limits
from engine.core.rows import AMEND, CHILD, PARENT
from engine.core.state import State, allocate
from engine.errors import TickrouteError
from engine.record.records import ORDER
from perf.peers import ROOT
from perf.result import Progress, Result, Row, at_most, result
from perf.steady import anonymous

PROCESS_S = 120
#: Orders of the smaller of two states; the larger has twice as many.
ORDERS = 1 << 17
BYTES = 256.0
_TIMER = {"timer_at": 8, "timer_arm": 8, "timer_owner": 4, "timer_pos": 4}
#: Part -> table -> bytes of it that one takes.
PARTS: dict[str, dict[str, int]] = {
    "order": {"parent_orders": ORDER.itemsize, "id_index": 2 * 4},
    "workflow": {"parents": PARENT.itemsize, "work": 4, **_TIMER},
    "child": {
        "child_orders": ORDER.itemsize,
        "children": CHILD.itemsize,
        "amends": AMEND.itemsize,
        "reserves": 8,
        **_TIMER,
    },
}


class MemoryBenchError(TickrouteError):
    """The process that was to measure did not; the message holds what it said."""


def run(progress: Progress) -> Result:
    """Measure, in a process of its own: what this one has freed before would be taken again, and not seen."""
    orders = ORDERS
    progress("allocate", 0.0)
    done = subprocess.run(
        [sys.executable, "-m", "perf.memory", str(orders)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
        check=False,
    )
    if done.returncode:
        raise MemoryBenchError(f"python -m perf.memory ended with {done.returncode}: {done.stderr[-2000:]}")
    (tables, parent), (more, child) = json.loads(done.stdout)
    rows = [
        at_most(_row("order", _sum(tables, "order"), computed("order")), BYTES),
        at_most(_row("workflow", _sum(tables, "workflow"), computed("workflow")), BYTES),
        at_most(_row("child", _sum(more, "child"), computed("child")), BYTES),
        _row("parent resident", parent, computed("order") + computed("workflow")),
        _row("child resident", child, computed("child")),
    ]
    limits = Limits()
    whole = sum(array.nbytes for array in allocate(limits).arrays().values())
    notes = [
        f"states of {orders:,} and {2 * orders:,} orders",
        f"the default capacities, {limits.parents:,} parents and {limits.children:,} children, take {whole:,} bytes",
    ]
    return result("memory", rows, notes)


def computed(part: str) -> int:
    """Bytes that one takes, by the dtypes."""
    return sum(PARTS[part].values())


def _row(name: str, measured: float, by_dtypes: float) -> Row:
    return Row(name=f"memory {name}", unit="bytes", p50=measured, n=1, baseline=by_dtypes)


def _limits(orders: int, what: str) -> Limits:
    least = dict.fromkeys(Limits._fields, 1)
    return Limits(**(least | {what: orders}))


def main(orders: int) -> None:
    """Write the growth by parents and by children as JSON."""
    kept: list[State] = []  # nothing is freed: what is taken is new memory
    print(json.dumps([_growth(orders, what, kept) for what in ("parents", "children")]))


def _growth(orders: int, what: str, kept: list[State]) -> tuple[dict[str, float], float]:
    """What one more of `what` adds: bytes a table, and bytes of resident memory."""
    before = anonymous()
    small = allocate(_limits(orders, what))
    between = anonymous()
    large = allocate(_limits(2 * orders, what))
    after = anonymous()
    kept += small, large
    grown = {name: (size - _sizes(small)[name]) / orders for name, size in _sizes(large).items()}
    return grown, ((after - between) - (between - before)) / orders


def _sizes(state: State) -> Mapping[str, int]:
    arrays: dict[str, np.ndarray[Any, Any]] = state.arrays()
    return {name: array.nbytes for name, array in arrays.items()}


def _sum(grown: Mapping[str, float], part: str) -> float:
    return sum(grown[table] for table in PARTS[part])


if __name__ == "__main__":
    main(int(sys.argv[1]))
