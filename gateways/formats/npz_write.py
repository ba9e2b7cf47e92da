"""Our records to hftbacktest's event files: its rows, its bits, both of its orders, of one instrument at one venue.

A row is for the exchange at `exch_ts` and for the receiver at `local_ts`. Where both orders of time agree a row serves
both; where they do not, an event is written twice, each time with one of the two bits, so that the rows of either bit
are in order of its time. QUOTE becomes two rows of depth bbo; executions and reductions of orders become a cancel or a
modification to what is left, an execution with a fill before it.

A record without a time of its event has that of its receipt as `exch_ts`, one without a time of receipt is received
`latency_ns` after its event: both are counted. One without either is left out, and counted. Records that were received
before they happened are refused, unless the receive times are corrected by a constant, or are to be kept.

Worst case: the rows are in memory until all are there: 64 bytes each, as much again while they are sorted, and 24 for
the two orders of time; the file is packed piece by piece. Each record is looked at in Python, some microseconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from engine.jit import kernel
from engine.record.records import DTYPES, UNIT, Flag, Side, Template
from gateways.feeds.report import FeedError
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
from gateways.formats.recorded_write import beside

Rows = np.ndarray[Any, np.dtype[Any]]
_SIDES: Final = {int(Side.BUY): BUY, int(Side.SELL): SELL}


@dataclass
class NpzTold:
    """What became of the records of the instrument; see the module."""

    rows: int = 0
    #: Records of it; and of others, which are left out.
    records: int = 0
    others: int = 0
    #: Records whose exch_ts is the time of their receipt, for want of another; and received `latency_ns` later.
    no_event_time: int = 0
    no_receive_time: int = 0
    #: Records that were left out: without any time; of a kind that such a file has not.
    no_time: int = 0
    other_kind: int = 0
    #: Records with both times; of these, received before they happened; the shortest time under way, ns.
    timed: int = 0
    negative: int = 0
    least_ns: int = 0


def write_npz(
    path: str | Path, batches: Iterable[Batch], *, px_decimals: int, qty_decimals: int = 0, instrument: int = 0,
    venue: int = 0, latency_ns: int = 0, skew: int | Literal["keep"] = 0,
) -> NpzTold:  # fmt: skip
    """Write the events of an instrument at a venue, whole or not at all; `skew` ns are added to the receive times.

    FeedError where records were received before they happened, also after that, and `skew` is not "keep".
    """
    added = 0 if skew == "keep" else skew
    rows = NpzRows(px_decimals, qty_decimals, instrument, venue, latency_ns, added)
    for batch in batches:
        rows.take(batch)
    told = rows.told
    if told.negative and skew != "keep":
        why = f"{told.negative:,} of {told.timed:,} records were received before they happened"
        remedy = f'add at least {added - told.least_ns} ns to the receive times (skew), or keep them (skew = "keep")'
        raise FeedError(path, 0, "", why, remedy)
    save(path, rows.sorted())
    return told


def save(path: str | Path, data: Rows) -> int:
    """Write the array beside its place, synced, then renamed; the bytes of the file. OSError as the system gives it."""
    path = Path(path)
    partial = beside(path)
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, data=data)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    return size


def in_both_orders(rows: Rows) -> Rows:
    """Rows (n,) with the bits of the exchange and of the receiver, each in order of its own time."""
    exch, local = np.ascontiguousarray(rows["exch_ts"]), np.ascontiguousarray(rows["local_ts"])
    by_exch, by_local = np.argsort(exch, kind="stable"), np.argsort(local, kind="stable")
    if np.array_equal(by_exch, by_local):
        out = rows[by_exch]
        out["ev"] |= np.uint64(EXCH | LOCAL)
        return out
    places, bits = np.zeros(2 * len(rows), np.int64), np.zeros(2 * len(rows), np.int64)
    count = int(merge(by_exch, by_local, exch, local, places, bits))
    out = rows[places[:count]]
    out["ev"] |= bits[:count].astype(np.uint64)
    return out


@kernel
def merge(by_exch: Rows, by_local: Rows, exch: Rows, local: Rows, places: Rows, bits: Rows) -> int:
    """Two orders of the same rows as one, a row twice where they differ: its place and bits of each; how many."""
    i, j, n, end = 0, 0, 0, len(exch)
    while i < end or j < end:
        if i < end and j < end and by_exch[i] == by_local[j]:
            places[n], bits[n] = by_exch[i], EXCH | LOCAL
            i += 1
            j += 1
        elif j >= end or (i < end and exch[by_exch[i]] <= local[by_local[j]]):
            places[n], bits[n] = by_exch[i], EXCH
            i += 1
        else:
            places[n], bits[n] = by_local[j], LOCAL
            j += 1
        n += 1
    return n


class NpzRows:
    """Makes rows of the records of an instrument at a venue, and keeps them, and what is left of each order."""

    def __init__(
        self, px_decimals: int, qty_decimals: int, instrument: int, venue: int, latency_ns: int = 0, skew_ns: int = 0
    ) -> None:
        self._instrument, self._venue = instrument, venue
        self._latency_ns, self._skew_ns = latency_ns, skew_ns
        self._px, self._qty = 10.0**px_decimals, 10.0**qty_decimals
        self._left: dict[int, tuple[int, int, int]] = {}
        self._parts: list[Rows] = []
        self.told = NpzTold()

    def take(self, batch: Batch) -> None:
        """Add the records of a batch."""
        self._parts.append(np.fromiter(self._of(batch), dtype=EVENT))

    def sorted(self) -> Rows:
        """All rows, in both orders; they are here no longer."""
        rows = np.concatenate(self._parts) if self._parts else np.zeros(0, EVENT)
        self.let_go()
        out = in_both_orders(rows)
        self.told.rows = len(out)
        return out

    def let_go(self) -> None:
        """Forget the rows."""
        self._parts = []

    def _of(self, batch: Batch) -> Iterator[tuple[Any, ...]]:
        memory, at = taken(batch), 0
        while at < len(memory):
            template = Template(int(memory[at + 2]) | int(memory[at + 3]) << 8)
            dtype = DTYPES[template]
            row = memory[at : at + dtype.itemsize].view(dtype)[0]
            at += max(dtype.itemsize, UNIT)
            if int(row["venue_id"]) != self._venue or int(row["instrument_id"]) not in (self._instrument, -1):
                self.told.others += 1
                continue
            self.told.records += 1
            times = self._times(row)
            if times is not None:
                for ev, px, qty, number in self._events(template, row):
                    yield (ev, *times, px / self._px, qty / self._qty, number % 2**64, 0, 0.0)

    def _times(self, row: Any) -> tuple[int, int] | None:
        """exch_ts and local_ts; None where a record has no time at all."""
        told, event_ns, recv_ns = self.told, int(row["ts_event_ns"]), int(row["ts_recv_ns"])
        if recv_ns:
            recv_ns += self._skew_ns
        if event_ns and recv_ns:
            took = recv_ns - event_ns
            told.least_ns = min(told.least_ns, took) if told.timed else took
            told.timed += 1
            told.negative += took < 0
            return event_ns, recv_ns
        if not event_ns and not recv_ns:
            told.no_time += 1
            return None
        if recv_ns:
            told.no_event_time += 1
            return recv_ns, recv_ns
        told.no_receive_time += 1
        return event_ns, event_ns + self._latency_ns

    def _events(self, template: Template, row: Any) -> Iterator[tuple[int, int, int, int]]:
        """(ev, price, quantity, order number) of the rows that a record becomes."""
        if template == Template.QUOTE:
            for bit, side in ((BUY, "bid"), (SELL, "ask")):
                yield BBO | bit, int(row[f"{side}_px"]), int(row[f"{side}_qty"]), 0
        elif template == Template.TRADE:
            flags = int(row["flags"])
            took = BUY if flags & Flag.AGGRESSOR_BUY else SELL if flags & Flag.AGGRESSOR_SELL else 0
            yield TRADE | took, int(row["px"]), int(row["qty"]), 0
        elif template == Template.LEVEL:
            kind = SNAPSHOT if int(row["flags"]) & Flag.SNAPSHOT else DEPTH
            qty = 0 if int(row["action"]) == 2 else int(row["qty"])
            yield kind | _SIDES.get(int(row["side"]), 0), int(row["px"]), qty, 0
        elif template == Template.CLEAR:
            self._left.clear()
            yield CLEAR, 0, 0, 0
        elif template == Template.ORDER_DELTA:
            yield from self._orders(row)
        else:
            self.told.other_kind += 1

    def _orders(self, row: Any) -> Iterator[tuple[int, int, int, int]]:
        number, action, px, qty = (int(row[n]) for n in ("venue_order", "action", "px", "qty"))
        side, old_px, left = self._left.get(number, (int(row["side"]), px, 0))
        bit = _SIDES.get(side, 0)
        if action == 0:
            yield self._keep(ADD, number, (int(row["side"]), px, qty))
        elif action == 1:
            yield self._keep(MODIFY, number, (side, px or old_px, qty))
        elif action == 5:
            self._left.pop(number, None)
            yield CANCEL | bit, old_px, left, number
            yield self._keep(ADD, int(row["new_order"]), (side, px, qty))
        else:
            if action == 3:
                yield FILL | bit, int(row["exec_px"]) or old_px, qty, number
            rest = 0 if action == 2 else max(left - qty, 0)
            if rest:
                yield self._keep(MODIFY, number, (side, old_px, rest))
            else:
                self._left.pop(number, None)
                yield CANCEL | bit, old_px, left or qty, number

    def _keep(self, kind: int, number: int, order: tuple[int, int, int]) -> tuple[int, int, int, int]:
        self._left[number] = order
        return kind | _SIDES.get(order[0], 0), order[1], order[2], number
