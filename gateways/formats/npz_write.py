"""Our records to hftbacktest's event files: its rows, its bits, both of its orders.

A row is for the exchange at `exch_ts` and for the receiver at `local_ts`. Where both orders of time agree a row serves
both; where they do not, an event is written twice, each time with one of the two bits, so that the rows of either bit
are in order of its time. QUOTE becomes two rows of depth bbo; executions and reductions of orders become a cancel or a
modification to what is left, an execution with a fill before it.

Worst case: all rows are in memory before they are sorted, 64 bytes each, twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.record.records import DTYPES, UNIT, Flag, Side, Template
from gateways.formats.batch import Batch, taken
from gateways.formats.npz_kernels import (
    ADD,
    BBO,
    BUY,
    CANCEL,
    CLEAR,
    DEPTH,
    EVENT,
    EXCH,
    FILL,
    LOCAL,
    MODIFY,
    SELL,
    SNAPSHOT,
    TRADE,
)

Rows = np.ndarray[Any, np.dtype[Any]]
_SIDES: Final = {int(Side.BUY): BUY, int(Side.SELL): SELL}


def write_npz(
    path: str | Path, batches: Iterable[Batch], *, px_decimals: int, qty_decimals: int = 0, instrument: int = 0,
    latency_ns: int = 0,
) -> int:  # fmt: skip
    """Write the events of one instrument; the number of rows. Without a time of receipt it is `latency_ns` later."""
    rows = list(_Rows(instrument, 10.0**px_decimals, 10.0**qty_decimals, latency_ns).of(batches))
    data = in_both_orders(np.array(rows, dtype=EVENT))
    np.savez_compressed(path, data=data)
    return len(data)


def in_both_orders(rows: Rows) -> Rows:
    """Rows (n,) with the bits of the exchange and of the receiver, each in order of its own time."""
    by_exch = np.argsort(rows["exch_ts"], kind="stable")
    by_local = np.argsort(rows["local_ts"], kind="stable")
    bits = np.uint64(EXCH), np.uint64(LOCAL)
    if np.array_equal(by_exch, by_local):
        out = rows[by_exch]
        out["ev"] |= bits[0] | bits[1]
        return out
    picked: list[tuple[int, np.uint64]] = []
    i = j = 0
    while i < len(rows) or j < len(rows):
        if i < len(rows) and j < len(rows) and by_exch[i] == by_local[j]:
            picked.append((int(by_exch[i]), bits[0] | bits[1]))
            i, j = i + 1, j + 1
        elif j >= len(rows) or (i < len(rows) and rows["exch_ts"][by_exch[i]] <= rows["local_ts"][by_local[j]]):
            picked.append((int(by_exch[i]), bits[0]))
            i += 1
        else:
            picked.append((int(by_local[j]), bits[1]))
            j += 1
    out = rows[[n for n, _ in picked]]
    out["ev"] |= np.array([bit for _, bit in picked], dtype=np.uint64)
    return out


class _Rows:
    """Makes rows of records, and keeps what is left of each order."""

    def __init__(self, instrument: int, px_factor: float, qty_factor: float, latency_ns: int) -> None:
        self._instrument, self._latency_ns = instrument, latency_ns
        self._px, self._qty = px_factor, qty_factor
        self._left: dict[int, tuple[int, int, int]] = {}

    def of(self, batches: Iterable[Batch]) -> Iterator[tuple[Any, ...]]:
        for batch in batches:
            memory, at = taken(batch), 0
            while at < len(memory):
                template = Template(int(memory[at + 2]) | int(memory[at + 3]) << 8)
                dtype = DTYPES[template]
                row = memory[at : at + dtype.itemsize].view(dtype)[0]
                at += max(dtype.itemsize, UNIT)
                if int(row["instrument_id"]) in (self._instrument, -1):
                    yield from self._rows(template, row)

    def _rows(self, template: Template, row: Any) -> Iterator[tuple[Any, ...]]:
        if template == Template.QUOTE:
            for bit, side in ((BUY, "bid"), (SELL, "ask")):
                yield self._row(row, BBO | bit, int(row[f"{side}_px"]), int(row[f"{side}_qty"]))
        elif template == Template.TRADE:
            flags = int(row["flags"])
            took = BUY if flags & Flag.AGGRESSOR_BUY else SELL if flags & Flag.AGGRESSOR_SELL else 0
            yield self._row(row, TRADE | took, int(row["px"]), int(row["qty"]))
        elif template == Template.LEVEL:
            kind = SNAPSHOT if int(row["flags"]) & Flag.SNAPSHOT else DEPTH
            qty = 0 if int(row["action"]) == 2 else int(row["qty"])
            yield self._row(row, kind | _SIDES.get(int(row["side"]), 0), int(row["px"]), qty)
        elif template == Template.CLEAR:
            self._left.clear()
            yield self._row(row, CLEAR, 0, 0)
        elif template == Template.ORDER_DELTA:
            yield from self._orders(row)

    def _orders(self, row: Any) -> Iterator[tuple[Any, ...]]:
        number, action, px, qty = (int(row[n]) for n in ("venue_order", "action", "px", "qty"))
        side, old_px, left = self._left.get(number, (int(row["side"]), px, 0))
        bit = _SIDES.get(side, 0)
        if action == 0:
            yield self._keep(row, ADD, number, (int(row["side"]), px, qty))
        elif action == 1:
            yield self._keep(row, MODIFY, number, (side, px or old_px, qty))
        elif action == 5:
            self._left.pop(number, None)
            yield self._row(row, CANCEL | bit, old_px, left, number)
            yield self._keep(row, ADD, int(row["new_order"]), (side, px, qty))
        else:
            if action == 3:
                yield self._row(row, FILL | bit, int(row["exec_px"]) or old_px, qty, number)
            rest = 0 if action == 2 else max(left - qty, 0)
            if rest:
                yield self._keep(row, MODIFY, number, (side, old_px, rest))
            else:
                self._left.pop(number, None)
                yield self._row(row, CANCEL | bit, old_px, left or qty, number)

    def _keep(self, row: Any, kind: int, number: int, order: tuple[int, int, int]) -> tuple[Any, ...]:
        self._left[number] = order
        return self._row(row, kind | _SIDES.get(order[0], 0), order[1], order[2], number)

    def _row(self, row: Any, ev: int, px: int, qty: int, number: int = 0) -> tuple[Any, ...]:
        event_ns, recv_ns = int(row["ts_event_ns"]), int(row["ts_recv_ns"])
        return (
            ev,
            event_ns,
            recv_ns or event_ns + self._latency_ns,
            px / self._px,
            qty / self._qty,
            number % 2**64,
            0,
            0.0,
        )
