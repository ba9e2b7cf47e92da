"""Our records to hftbacktest's event files: its rows, its bits, both of its orders, of one instrument at one venue.

A row is for the exchange at `exch_ts` and for the receiver at `local_ts`. Where both orders of time agree a row serves
both; where they do not, an event is written twice, each time with one of the two bits, so that the rows of either bit
are in order of its time. QUOTE becomes two rows of depth bbo; executions and reductions of orders become a cancel or a
modification to what is left, an execution with a fill before it.

A record without a time of its event has that of its receipt as `exch_ts`, one without a time of receipt is received
`latency_ns` after its event: both are counted. One without either is left out, and counted. Records that were received
before they happened are refused, unless the receive times are corrected by a constant, or are to be kept.

Worst case: the rows are in memory until all are there: 64 bytes each, as much again while they are sorted, and 24 for
the two orders of time; the file is packed piece by piece.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from engine.jit import kernel
from gateways.feeds.report import FeedError
from gateways.formats.batch import Batch
from gateways.formats.npz_kernels import EVENT, EXCH, LOCAL, ROW
from gateways.formats.npz_rows import encode, make_encoder, make_orders, move_orders
from gateways.formats.recorded_write import beside

Rows = np.ndarray[Any, np.dtype[Any]]
#: Places for what is left of orders, at first.
_ORDERS: Final = 1 << 16


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
    return rows.told


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
        self._encoder = make_encoder(px_decimals, qty_decimals)
        line = self._encoder.line[0]
        line["instrument"], line["venue"] = instrument, venue
        line["latency_ns"], line["skew_ns"] = latency_ns, skew_ns
        self._orders = make_orders(_ORDERS)
        self._parts: list[Rows] = []
        #: Records of others that were met elsewhere, and rows that were written.
        self.others = self.rows = 0

    @property
    def told(self) -> NpzTold:
        """What became of the records so far."""
        line = self._encoder.line[0]
        told = NpzTold(**{row.name: int(line[row.name]) for row in fields(NpzTold) if row.name != "rows"})
        return replace(told, rows=self.rows, others=told.others + self.others)

    def take(self, batch: Batch) -> None:
        """Add the records of a batch."""
        units, room = int(batch.used[0]), len(self._orders.orders)
        if int(self._orders.core[0]["live"]) + units > room // 2:
            more = make_orders(2 * (room + units))
            move_orders(self._orders, more)
            self._orders = more
        out = np.zeros(units, dtype=ROW)
        count = int(encode(self._encoder, self._orders, batch, out))
        self._parts.append(out[:count].view(EVENT))

    def sorted(self) -> Rows:
        """All rows, in both orders; they are here no longer."""
        rows = np.concatenate(self._parts) if self._parts else np.zeros(0, EVENT)
        self.let_go()
        out = in_both_orders(rows)
        self.rows = len(out)
        return out

    def let_go(self) -> None:
        """Forget the rows."""
        self._parts = []
