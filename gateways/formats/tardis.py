"""Tardis.dev's CSV files (docs.tardis.dev): incremental_book_L2, trades, quotes and book_snapshot_N.

Which one it is its header says, and the header must be exactly one of these. Times are µs: `timestamp` is the
exchange's (and equals `local_timestamp` where the exchange gives none), `local_timestamp` the recorder's.

- incremental_book_L2 is LEVEL, amounts are absolute, 0 deletes. A snapshot begins where is_snapshot turns true: CLEAR
  first. Updates before an instrument's first snapshot are skipped and counted, as the vendor says to. Rows of one
  instrument and one `ts_recv_ns` are one message of the exchange's: all but the last have Flag.MORE (`messages`).
- trades are TRADE, with the side that took; an id that is a number is `stream_seq`. quotes are QUOTE; an empty cell is
  no bid, or no offer.
- book_snapshot_N is LEVEL: the changes from row to row. A row that shows nothing new counts as `repeated`.
- Prices and amounts have 8 decimals unless others are given; an exponent is read exactly. What is finer, negative or
  has more than 18 digits is skipped and counted.
- Each exchange is a venue, each symbol of an exchange an instrument. An empty file, which the vendor gives for a day
  without data, is of no format.

Worst case: a file must end with a newline, since a last number that is cut looks whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from gateways.formats import tardis_kernels as k
from gateways.formats.batch import Batch
from gateways.formats.lines import (
    INSTRUMENT,
    LINE,
    PX_DECIMALS,
    QTY_DECIMALS,
    ROW,
    SIDE_WORDS,
    VENUE,
    LineReader,
    add_name,
    make_lines,
)
from gateways.formats.messages import whole_messages
from gateways.formats.reader import Instrument

Array = np.ndarray[Any, np.dtype[Any]]
DECIMALS: Final = (8, 8)
#: What a file can be told, as `known.Given` names it.
TAKES: Final = ("decimals",)
_FIRST: Final = "exchange,symbol,timestamp,local_timestamp,"
COLUMNS: Final = {
    _FIRST + "is_snapshot,side,price,amount": k.LEVELS,
    _FIRST + "id,side,price,amount": k.TRADES,
    _FIRST + "ask_amount,ask_price,bid_price,bid_amount": k.QUOTES,
}
_MOST_LEVELS: Final = 100


def recognises(head: bytes) -> bool:
    """Whether a file begins with one of the headers."""
    return head.startswith(_FIRST.encode())


def open_file(path: str | Path, decimals: tuple[int, int] = DECIMALS) -> Tardis:
    """A reader; `decimals` are those of prices and amounts, at most 9."""
    return Tardis(path, decimals)


def book_columns(levels: int) -> str:
    """The header of book_snapshot_`levels`."""
    names = ("asks[{0}].price", "asks[{0}].amount", "bids[{0}].price", "bids[{0}].amount")
    return _FIRST + ",".join(name.format(n) for n in range(levels) for name in names)


class Tardis(LineReader):
    """Reader of one file."""

    format = "tardis"
    TYPES = ("", "incremental_book_L2", "trades", "quotes", "book_snapshot")
    WHOLE_WITHOUT_NEWLINE = False
    SKIPS: ClassVar = {
        k.SKIP_VOID: "update before the first snapshot",
        k.SKIP_UNITS: "price or amount is negative or does not fit the decimals",
        k.SKIP_EMPTY: "price or amount of a trade is zero",
    }
    ERRORS: ClassVar = {
        k.BAD_ROW: ("the row has another number of fields than the header", "remove or complete the row"),
        k.BAD_TIME: ("the time is no whole number of microseconds", "write it as digits"),
        k.BAD_FLAG: ("is_snapshot is neither true nor false", "write true or false"),
        k.BAD_SIDE: ("the side is none of this file's", "write bid or ask; of trades buy, sell or unknown"),
        k.BAD_NUMBER: ("the price or amount is no decimal number", "write it as digits with a point"),
        k.BAD_BOOK: ("the levels are not best first", "fetch the file again"),
    }

    def __init__(self, path: str | Path, decimals: tuple[int, int] = DECIMALS, units: int = 1 << 14) -> None:
        super().__init__(path, units)
        if not all(0 <= places <= 9 for places in decimals):
            raise ValueError(f"decimals are {decimals}; 0 to 9 are possible")
        self._decimals = decimals
        self.lines = make_lines(held=2 * SIDE_WORDS + 6)
        #: Lines that are no messages.
        self.header_lines = 1

    def add(self, name: bytes) -> None:
        """As `LineReader.add`: an exchange and a symbol."""
        exchange, _, symbol = name.decode("utf-8", errors="replace").partition(",")
        if exchange not in self.venues:
            self.venues.append(exchange)
        self.lines, row = add_name(self.lines, name)
        at = row * ROW
        self.lines.rows[at + VENUE], self.lines.rows[at + INSTRUMENT] = self.venues.index(exchange), row
        self.lines.rows[at + PX_DECIMALS], self.lines.rows[at + QTY_DECIMALS] = self._decimals
        self.instruments.append(Instrument(symbol, *self._decimals))

    def batches(self) -> Iterator[Batch]:
        """As `LineReader.batches`; the rows of a message of incremental_book_L2 are told to be one."""
        given = super().batches()
        first = next(given, None)
        if first is None:
            return
        rest = chain([first], given)
        # The header, which says what the rows are, has been read by now.
        yield from whole_messages(rest) if self.lines.cursor[k.KIND] == k.LEVELS else rest

    def decode(self, data: Array, at: int, end: int, batch: Batch) -> int:
        """As `LineReader.decode`; the header is the first line."""
        if self.lines.cursor[k.KIND] == 0:
            at = self._read_header(data, at, end)
            if self.lines.cursor[k.KIND] == 0:
                return at
        return int(k.decode(self.lines, data, at, end, batch))

    def _read_header(self, data: Array, at: int, end: int) -> int:
        text = data[at : min(end, at + (1 << 15))].tobytes()
        line, newline, _ = text.partition(b"\n")
        if not newline and len(text) < 1 << 15:
            return at
        shown = line.decode("ascii", errors="replace").rstrip("\r")
        levels = (shown.count(",") - 3) // 4
        kind = COLUMNS.get(shown, 0)
        if not kind and 0 < levels <= _MOST_LEVELS and shown == book_columns(levels):
            kind = k.BOOK
        if not kind:
            why = "the columns are those of no file that is read"
            remedy = "name incremental_book_L2, trades, quotes or book_snapshot_N (at most 100)"
            raise self.source.wrong(at, shown[:200], why, remedy)
        self.lines.cursor[k.KIND], self.lines.cursor[k.COLUMNS] = kind, shown.count(",") + 1
        self.lines.cursor[LINE] = 1
        return at + len(line) + 1
