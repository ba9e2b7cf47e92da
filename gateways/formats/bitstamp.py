"""Bitstamp's channels as recorded: a line is the local time in ms, the event and its JSON object.

order_created, order_changed and order_deleted are ORDER_DELTA (add, change, delete; the amount is what the message says
is there, or was when the order went), trade is TRADE. order_book, the best levels every few seconds, is a channel of
its own and has a venue of its own, `BITSTAMP_BOOK`: its changes from message to message are LEVEL, and a book of it can
be held against the book of the orders. An order_book that shows nothing new counts as `repeated`.

- The recorder's time is `ts_recv_ns`. No message says when it happened to better than a second (`datetime` of an order
  is when it was created): `ts_event_ns` is 0.
- Prices have 8 decimals and amounts 8. A trade's numbers are JSON numbers; they are read as text, exponent and all, but
  were doubles on their way (1.7885566900000001): within 10^-12 of a whole 10^-8 they are that.
- Orders that were never created, come twice or go twice are in the data, and are passed on: books count them.
- An order_book whose levels are not best first is skipped and counted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from gateways.formats import bitstamp_kernels as k
from gateways.formats.batch import Batch
from gateways.formats.lines import DEPTH, PX_DECIMALS, QTY_DECIMALS, SIDE_WORDS, LineReader, add_name, make_lines
from gateways.formats.reader import Instrument

Array = np.ndarray[Any, np.dtype[Any]]
VENUES: Final = ("BITSTAMP", "BITSTAMP_BOOK")
SYMBOL: Final = "BTCUSD"
#: What a file can be told, as `known.Given` names it.
TAKES: Final = ("symbol",)
DECIMALS: Final = (8, 8)
_LINE: Final = re.compile(rb"\d{12,13} (order_created|order_changed|order_deleted|order_book|trade) \s*\{")


def recognises(head: bytes) -> bool:
    """Whether a file begins with a time in ms and an event."""
    return _LINE.match(head) is not None


def open_file(path: str | Path, symbol: str = SYMBOL) -> Bitstamp:
    """A reader; no message names its instrument."""
    return Bitstamp(path, symbol)


class Bitstamp(LineReader):
    """Reader of one file."""

    format = "bitstamp"
    TYPES = ("", "order_created", "order_changed", "order_deleted", "trade", "order_book", "other")
    SKIPS: ClassVar = {
        k.SKIP_OTHER: "event of another channel",
        k.SKIP_UNITS: "price or amount does not fit the decimals",
        k.SKIP_UNSORTED: "order_book is not best first",
        k.SKIP_DEEP: f"order_book has more than {DEPTH} levels on a side",
        k.SKIP_EMPTY: "price or amount of a trade is zero",
    }
    ERRORS: ClassVar = {
        k.BAD_TIME: ("the line does not begin with a time in ms", "write local ms, event and object"),
        k.BAD_JSON: ("the event is not followed by a JSON object", "remove the line"),
        k.BAD_MEMBER: ("a member of the event is missing, or of another kind", "remove the line"),
        k.BAD_NUMBER: ("a price or amount is no decimal number", "remove the line"),
        k.BAD_ORDER: ("the time is before the line above it", "sort the file by time"),
    }

    def __init__(self, path: str | Path, symbol: str = SYMBOL, units: int = 1 << 14) -> None:
        super().__init__(path, units)
        self.lines, _ = add_name(make_lines(1, 2 * SIDE_WORDS + 6), symbol.encode())
        self.lines.rows[PX_DECIMALS], self.lines.rows[QTY_DECIMALS] = DECIMALS
        self.venues.extend(VENUES)
        self.instruments.append(Instrument(symbol, *DECIMALS))

    def decode(self, data: Array, at: int, end: int, batch: Batch) -> int:
        """As `LineReader.decode`."""
        return int(k.decode(self.lines, data, at, end, batch))
