"""LOBSTER's reconstructed Nasdaq days: the message file, and the order-book file beside it (lobsterdata.com).

A message is Time,Type,OrderID,Size,Price,Direction: seconds after midnight in New York, 1 new order, 2 partial cancel
(Size is what is taken off), 3 deletion, 4 execution of a visible order, 5 of a hidden one, 6 cross trade, 7 halt (its
price says: -1 halted, 0 quoting again, 1 trading again). Prices are dollars x 10,000. Symbol and day are in the name
of the file. 1 to 4 are ORDER_DELTA, each with side and price, 5 and 6 TRADE, 7 INSTRUMENT_STATUS.

A row of the order book is the book after the message of the same line. Read by itself it gives the changes from row to
row as LEVEL; its rows have no time, so all have that of the begin of the span in the file's name.

Orders from before the file's start are in no message. Where the order-book file lies beside the message file its first
row is the opening book: an order a level, marked SNAPSHOT, before the first message and at its time; what befalls an
order that no message has added is done to that of its level, as far as it goes. Where it does not lie there, the
changes of such orders are passed on, and that is noted. A message file of N levels has the messages of the best N
alone: a level that is deeper for a while changes in silence, and is as it was when it was seen last.

Worst case: a row of the order book that the file's end cuts within its last number is taken for a whole one. With an
opening book the numbers of all orders are kept, 16 to 32 bytes each.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import Any, ClassVar, Final
from zoneinfo import ZoneInfo

import numpy as np

from engine.record.records import DTYPES, Template
from gateways.feeds.report import FeedError
from gateways.formats import lobster_kernels as k
from gateways.formats.batch import Batch, make_batch, taken
from gateways.formats.itch import NO_DAY
from gateways.formats.lines import DEPTH, SIDE_WORDS, LineReader, Lines, make_lines
from gateways.formats.reader import Instrument
from gateways.formats.source import Source
from gateways.formats.text import decimal

Array = np.ndarray[Any, np.dtype[Any]]
VENUE: Final = "XNAS"
#: What a file can be told, as `known.Given` names it.
TAKES: Final = ("day", "symbol")
PX_DECIMALS: Final = 4
_NAME: Final = re.compile(r"([^_/]+)_(\d{4}-\d\d-\d\d)_(\d+)_(\d+)_(message|orderbook)_(\d+)")
_MESSAGE: Final = re.compile(rb"\d{1,5}(\.\d{1,9})?,[1-7],\d+,\d+,-?\d+,-?1\r?\n")
_BOOK: Final = re.compile(rb"(-?\d+,\d+,-?\d+,\d+)(,-?\d+,\d+,-?\d+,\d+)*\r?\n")
_NO_SYMBOL: Final = "the symbol is said by neither the file's name nor a person (--symbol): it is UNKNOWN"
_NO_BOOK: Final = (
    "the book at the begin is not known: no order-book file lies beside the messages, and what befalls orders from "
    "before the first of them changes no book"
)
#: Numbers of orders that there is room for at first, twice over.
_FIRST_ROOM: Final = 1 << 12
_ERRORS: Final = {
    k.BAD_ROW: ("the row has another number of fields", "remove or complete the row"),
    k.BAD_TIME: ("the time is no number of seconds after midnight", "write it as 34200.000000001"),
    k.BAD_ORDER: ("the time is before the row above it", "sort the file by time"),
    k.BAD_TYPE: ("the type is not 1 to 7", "name a LOBSTER message file"),
    k.BAD_ID: ("the order's number is no whole number", "write it as digits"),
    k.BAD_SIZE: ("the size is no whole number, or none", "write it as digits"),
    k.BAD_PRICE: ("the price is no positive whole number (dollars x 10,000)", "write it as digits"),
    k.BAD_SIDE: ("the direction is neither 1 nor -1", "write 1 for a buy order, -1 for a sell order"),
    k.BAD_BOOK: ("the levels are not best first", "name a LOBSTER order-book file"),
}


def recognises(head: bytes) -> bool:
    """Whether a file begins with a message or with a row of an order book."""
    line = head.partition(b"\n")[0] + b"\n"
    return _MESSAGE.fullmatch(line) is not None or _BOOK.fullmatch(line) is not None


def open_file(path: str | Path, day: date | None = None, symbol: str = "") -> LineReader:
    """A reader of either file. Day and symbol are taken from the file's name where they are not given.

    FeedError where the order book beside a message file cannot be read.
    """
    with Source(path) as source:
        line = source.more(0)[:4096].tobytes().partition(b"\n")[0] + b"\n"
    return Messages(path, day, symbol) if _MESSAGE.fullmatch(line) else OrderBook(path, day, symbol)


def midnight_ns(day: date) -> int:
    """ns since 1970 UTC of the day's beginning in New York."""
    moment = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("America/New_York"))
    return int(moment.timestamp()) * 10**9


class _Lobster(LineReader):
    """What both files have in common."""

    SKIPS: ClassVar[dict[int, str]] = {}
    ERRORS = _ERRORS

    def __init__(self, path: str | Path, day: date | None, symbol: str, units: int = 1 << 14) -> None:
        super().__init__(path, units)
        found = _NAME.search(self.path.name)
        self.day = day or (date.fromisoformat(found[2]) if found else date(1970, 1, 1))
        if not (found or day):
            self.counts.notes.append(NO_DAY)
        if not (found or symbol):
            self.counts.notes.append(_NO_SYMBOL)
        self.begin_ns = midnight_ns(self.day) + (int(found[3]) * 10**6 if found else 0)
        self.venues.append(VENUE)
        self.instruments.append(Instrument(symbol or (found[1] if found else "UNKNOWN"), PX_DECIMALS))
        self.lines.cursor[k.MIDNIGHT] = midnight_ns(self.day)


class Messages(_Lobster):
    """Reader of a message file; without its opening book where `book` is false."""

    format = "lobster"
    TYPES = ("", "new", "partial_cancel", "delete", "execute", "execute_hidden", "cross_trade", "halt")

    def __init__(
        self, path: str | Path, day: date | None = None, symbol: str = "", units: int = 1 << 14, book: bool = True
    ) -> None:
        super().__init__(path, day, symbol, units)
        if not book:
            return
        beside = book_of(self.path)
        if beside == self.path or not beside.exists():
            self.counts.notes.append(_NO_BOOK)
            return
        try:
            levels = initial_levels(self.path)
        except FeedError:
            self.close()
            raise
        self.lines = make_lines(1, k.OPENING_WORDS)
        self.lines.cursor[k.MIDNIGHT], self.lines.cursor[k.OPENING] = midnight_ns(self.day), k.TO_COME
        self._hold(_FIRST_ROOM)
        self.lines.held[0] = len(levels)
        for n, row in enumerate(levels):
            self.lines.held[1 + 3 * n : 4 + 3 * n] = row["side"], row["px"], row["qty"]
        self.counts.notes.append(f"the book at the begin is the first row of {beside.name}: {len(levels)} levels")

    def add(self, name: bytes) -> None:
        """As `LineReader.add`: room for the numbers of twice as many orders."""
        numbers = self.lines.index[self.lines.index != 0] - 1
        self._hold(2 * len(self.lines.index))
        self.lines.cursor[k.KEPT] = 0
        k.keep_all(self.lines, numbers)

    def _hold(self, places: int) -> None:
        self.lines = Lines(**(self.lines.arrays() | {"index": np.zeros(places, np.int64)}))

    def decode(self, data: Array, at: int, end: int, batch: Batch) -> int:
        """As `LineReader.decode`."""
        return int(k.decode_messages(self.lines, data, at, end, batch))


class OrderBook(_Lobster):
    """Reader of an order-book file: LEVEL changes from row to row."""

    format = "lobster_orderbook"
    TYPES = ("", "row")

    def __init__(self, path: str | Path, day: date | None = None, symbol: str = "", units: int = 1 << 14) -> None:
        super().__init__(path, day, symbol, units)
        self.lines = make_lines(1, 2 * SIDE_WORDS + 6)
        self.lines.held[2 * SIDE_WORDS + 2] = self.begin_ns

    def decode(self, data: Array, at: int, end: int, batch: Batch) -> int:
        """As `LineReader.decode`; the first row says how many levels there are."""
        if self.lines.cursor[k.LEVELS] == 0:
            line = data[at:end].tobytes().partition(b"\n")[0]
            levels = (line.count(b",") + 1) // 4
            if levels > DEPTH:
                raise self.source.wrong(at, str(levels), f"has more than {DEPTH} levels", "cut the file to fewer")
            self.lines.cursor[k.LEVELS] = max(levels, 1)
        return int(k.decode_book(self.lines, data, at, end, batch))


def book_of(path: Path) -> Path:
    """Where the order-book file of a message file is; the path itself where its name is none of a message file's."""
    return path.with_name(path.name.replace("_message_", "_orderbook_"))


def initial_levels(message_path: str | Path) -> Array:
    """LEVEL records (n) with Flag.SNAPSHOT: the first row of the order book beside a message file.

    It is the book after the first message, and has its time. FeedError where there is no such file, or row.
    """
    path = Path(message_path)
    beside = book_of(path)
    if beside == path:
        raise FeedError(path, 0, path.name, "the name is none of a message file", "name SYMBOL_DAY_..._message_N.csv")
    with Source(path) as source, OrderBook(beside) as book:
        first = source.more(0)
        comma = first[:64].tobytes().find(b",")
        since = decimal(first, 0, comma, 9) if comma > 0 else -1
        if since < 0:
            raise FeedError(path, 1, first[:40].tobytes().decode("ascii", errors="replace"), *_ERRORS[k.BAD_TIME])
        book.lines.held[2 * SIDE_WORDS + 2] = midnight_ns(book.day) + since
        window = book.source.more(0)
        row = window[: window.tobytes().find(b"\n") + 1]
        batch = make_batch(4 * DEPTH + 16)
        if len(row) == 0 or book.decode(row, 0, len(row), batch) != len(row):
            raise FeedError(beside, 1, row[:40].tobytes().decode("ascii", errors="replace"), *_ERRORS[k.BAD_ROW])
        return np.frombuffer(taken(batch).tobytes(), dtype=DTYPES[Template.LEVEL])
