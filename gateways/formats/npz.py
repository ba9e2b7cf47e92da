"""hftbacktest's event files: a zip of one array of events (`data.npy`), stored or deflated, read row by row.

    depth, depth snapshot    LEVEL (change, or delete where nothing is left); snapshots are marked
    depth clear              CLEAR; one of a side deletes that side's levels, up to and with its price
    depth bbo                QUOTE of both sides as they are now
    trade                    TRADE, with its aggressor
    add, modify, cancel order    ORDER_DELTA
    fill                     counted: in these files the cancel or modification that follows it changes the book

`exch_ts` becomes ts_event_ns, `local_ts` ts_recv_ns. Where the two orders differ such a file has an event twice, once
for the exchange and once for the receiver: the receiver's is taken, the exchange's counted as `... (exchange only)`.
Prices and quantities are floats: see `npz_kernels` for how they become integers, and what does not.

A row is a level, or a side of the touch: rows of one `local_ts` are one message (`messages`).
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar, Final

import numpy as np

from gateways.feeds.report import FeedError
from gateways.formats.batch import Batch, make_batch
from gateways.formats.messages import whole_messages
from gateways.formats.npz_kernels import EVENT, KINDS, REASONS, ROW, SKIP, TALLY, NpzDecoder, decode
from gateways.formats.reader import Instrument, Reader, last_of
from gateways.formats.watch import make_feed_books

#: What a file can be told, as `known.Given` names it.
TAKES: Final = ("symbol", "decimals")
_MAGIC: Final = b"PK\x03\x04"
_ROWS: Final = 1 << 14
_DAMAGE: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError, RuntimeError, struct.error,
    SyntaxError, tokenize.TokenError, TypeError, KeyError, OverflowError, MemoryError,
)  # fmt: skip


def recognises(head: bytes) -> bool:
    """Whether a file that begins so is a zip whose first member is an array."""
    size = int.from_bytes(head[26:28], "little")
    return head.startswith(_MAGIC) and head[30 : 30 + size].endswith(b".npy")


def open_file(
    path: str | Path, *, symbol: str = "", px_decimals: int = 8, qty_decimals: int = 8,
    decimals: tuple[int, int] | None = None,
) -> NpzReader:  # fmt: skip
    """A reader; the symbol is the file's name up to its first dot unless given. FeedError where it cannot be read.

    `decimals` are those of prices and quantities, in the place of the two.
    """
    return NpzReader(path, symbol or Path(path).name.split(".")[0], *(decimals or (px_decimals, qty_decimals)))


class NpzReader(Reader):
    """One file of events of one instrument at one venue."""

    format: ClassVar[str] = "hftbacktest"

    def __init__(self, path: str | Path, symbol: str, px_decimals: int, qty_decimals: int) -> None:
        super().__init__(path)
        self.venues = ["hftbacktest"]
        self.instruments = [Instrument(symbol, px_decimals, qty_decimals)]
        self.batch = make_batch()
        self._events = NpzDecoder(
            tally=np.zeros(1, TALLY), kinds=np.zeros(256, "<i8"), twins=np.zeros(256, "<i8"),
            skips=np.zeros(len(REASONS), SKIP), factors=np.array([10.0**px_decimals, 10.0**qty_decimals]),
        )  # fmt: skip
        self._book = make_feed_books(1, orders=1)
        self._rows, self._of = 0, 0

    @property
    def progress(self) -> float:
        """How much of the array was read, 0 to 1."""
        return self._rows / self._of if self._of else 1.0

    def batches(self) -> Iterator[Batch]:
        """Batches of records. FeedError, after the good part, where the zip or the array is damaged or another's."""
        return whole_messages(self._row_by_row(), quotes=True)

    def _row_by_row(self) -> Iterator[Batch]:
        """The same, each row for itself."""
        batch = self.batch
        try:
            for rows in self._blocks():
                at = 0
                while at < len(rows):
                    self._events.tally[0].row = self._rows
                    at = int(decode(self._events, self._book, rows, at, len(rows), batch))
                    if int(self._events.tally[0].full):
                        yield self._given()
                        batch.used[0] = 0
                self._rows += len(rows)
        except FeedError:
            yield from last_of(batch, self._given)
            raise
        yield from last_of(batch, self._given)

    def _blocks(self) -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".npy")]
                if len(names) != 1:
                    raise self._wrong(f"{len(names)} arrays", "has not one array of events", "write one, `data`")
                with archive.open(names[0]) as member:
                    self._of = self._header(member)
                    left = self._of
                    while left:
                        raw = member.read(min(left, _ROWS) * EVENT.itemsize)
                        whole = len(raw) // EVENT.itemsize
                        yield np.frombuffer(raw[: whole * EVENT.itemsize], ROW)
                        left -= whole
                        if not whole or len(raw) % EVENT.itemsize:
                            raise self._wrong("", "the array ends within a row", "fetch it again")
                    if member.read(1):
                        raise self._wrong("", "more follows than the array's header says", "fetch it again")
        except _DAMAGE as error:
            raise self._wrong("", f"the zip or its array is damaged: {error}", "fetch it again") from error

    def _header(self, member: IO[bytes]) -> int:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
        if dtype.fields is None or dict(dtype.fields) != dict(EVENT.fields or {}):
            raise self._wrong(str(dtype)[:80], "holds no events of hftbacktest 2", "convert it with its migration2")
        if len(shape) != 1 or dtype.itemsize != EVENT.itemsize:
            raise self._wrong(str(shape), "is no array of one dimension", "write one row an event")
        return int(shape[0])

    def _wrong(self, value: str, why: str, remedy: str) -> FeedError:
        """The error at the row that was to come; its place is the byte in the array."""
        return FeedError(self.path, 0, value, why, remedy, offset=self._rows * EVENT.itemsize)

    def _given(self) -> Batch:
        for kinds, suffix in ((self._events.kinds, ""), (self._events.twins, " (exchange only)")):
            for kind in np.flatnonzero(kinds):
                name = KINDS.get(int(kind), f"kind {int(kind)}") + suffix
                self.counts.by_type[name] = int(kinds[kind])
        for reason, row in zip(REASONS, self._events.skips, strict=True):
            if int(row.times):
                self.counts.skipped[reason] = int(row.times)
                self.counts.examples[reason] = f"row {int(row.first_at)}"
        return self.batch
