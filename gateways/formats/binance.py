"""Binance's websocket streams as recorders write them: a line is the local time in ns, a space and the raw message.

Read are depthUpdate (LEVEL, with the update ids checked: `binance_book`), trade and aggTrade (TRADE, with the side that
took), bookTicker (QUOTE) and the snapshot of the REST interface (CLEAR and LEVEL), in the envelope of combined streams
or bare, of spot, USD-M and COIN-M. Everything else is counted as `other` and skipped.

- A file is of one product, as a connection is, and it is the venue. The first block says which one (`ps`, `pu`, `X` of
  futures; `M` of spot, its bookTicker without `e`, updates without `pu`), or the caller. Where neither does (USD-M's
  aggTrade alone) it is taken as spot, and that is noted.
- Prices and quantities have 8 decimals on every product, unless others are given: trailing zeros in the text mean
  nothing, and no file says more than 8. What is finer is skipped, and an update that is skipped makes a gap.
- `ts_recv_ns` is the recorder's time, `ts_event_ns` the exchange's: T (when it happened), else E (when it was sent).
  Spot's bookTicker and snapshots have neither: 0. Neither is corrected by the other, whatever they differ by.
- A snapshot of spot or USD-M does not name its instrument: it is that of the file where the first block has only one.
- `stream_seq` is u of updates and tickers, t (a) of trades, lastUpdateId of snapshots. Holes in trade ids are gaps.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from engine.errors import UsageError
from gateways.formats import binance_book as b
from gateways.formats import binance_kernels as k
from gateways.formats.batch import Batch
from gateways.formats.lines import INSTRUMENT, PX_DECIMALS, QTY_DECIMALS, ROW, LineReader, add_name, make_lines
from gateways.formats.reader import Instrument
from gateways.formats.source import Source

Array = np.ndarray[Any, np.dtype[Any]]
DECIMALS: Final = (8, 8)
#: What a file can be told, as `known.Given` names it; the names of products.
TAKES: Final = ("decimals", "product")
PRODUCTS: Final = ("spot", "usdm", "coinm")
VENUES: Final = ("BINANCE", "BINANCE_USDM", "BINANCE_COINM")
_LINE: Final = re.compile(
    rb'\d{13,19} \s*\{.*?"(?:e|lastUpdateId|stream)"\s*:|\d{13,19} \s*\{(?=.*"u":\d)(?=.*"B":")(?=.*"A":")', re.DOTALL
)
_SYMBOL: Final = re.compile(rb'"s"\s*:\s*"([^"\\]{1,64})"')
_COINM: Final = re.compile(rb'"ps"\s*:|"pair"\s*:|"s"\s*:\s*"[A-Z0-9]+USD_')
_USDM: Final = re.compile(rb'"pu"\s*:|"X"\s*:|"e"\s*:\s*"bookTicker"|"lastUpdateId"\s*:\s*\d+\s*,\s*"E"\s*:')
_SPOT: Final = re.compile(rb'"M"\s*:|"e"\s*:\s*"depthUpdate"|\{\s*"u"\s*:\s*\d+\s*,\s*"s"\s*:')
_UNKNOWN: Final = "nothing says of which product the lines are, and they are taken as spot's: say it with --product"


def recognises(head: bytes) -> bool:
    """Whether a file begins with a local time and a message of a stream."""
    return _LINE.match(head) is not None


def open_file(path: str | Path, decimals: tuple[int, int] = DECIMALS, product: str = "") -> Binance:
    """A reader; `decimals` are those of prices and quantities, at most 9, `product` one of PRODUCTS.

    UsageError where it is another.
    """
    if product and product not in PRODUCTS:
        raise UsageError(f"{path}: product {product!r} is none of Binance's that are read; {', '.join(PRODUCTS)} are")
    return Binance(path, decimals, product=product)


class Binance(LineReader):
    """Reader of one file."""

    format = "binance"
    TYPES = ("", "depthUpdate", "trade", "aggTrade", "bookTicker", "snapshot", "other")
    SKIPS: ClassVar = {
        b.SKIP_OTHER: "message of no stream that is read",
        b.SKIP_NO_SYMBOL: "snapshot does not name its instrument, and the file has several",
        b.SKIP_VOID: "the book is void: held until a snapshot comes",
        b.SKIP_STALE: "snapshot is older than the updates",
        b.SKIP_UNITS: "price or quantity does not fit the decimals",
        b.SKIP_EMPTY: "price or quantity is zero",
        b.SKIP_RESUMED: "no snapshot came: the book goes on from the updates alone",
    }
    ERRORS: ClassVar = {
        b.BAD_JSON: ("the message is no JSON object", "remove the line"),
        b.BAD_MEMBER: ("a member of the message is missing, or of another kind", "remove the line"),
        b.BAD_NUMBER: ("a price or quantity is no decimal number", "remove the line"),
        b.BAD_TIME: ("the line does not begin with a time in ns", "write local ns, a space and the message"),
    }

    def __init__(
        self, path: str | Path, decimals: tuple[int, int] = DECIMALS, units: int = 1 << 14, product: str = ""
    ) -> None:
        super().__init__(path, units)
        if not all(0 <= places <= 9 for places in decimals):
            raise ValueError(f"decimals are {decimals}; 0 to 9 are possible")
        self._decimals = decimals
        self.lines = make_lines(held=b.ENTRY * b.HELD_LEVELS)
        with Source(path) as source:
            first = source.more(0).tobytes()
        number = PRODUCTS.index(product) if product else self._product(first)
        self.lines.cursor[b.PRODUCT] = number
        self.venues.append(VENUES[number])
        for symbol in dict.fromkeys(_SYMBOL.findall(first)):
            self.add(symbol)

    def _product(self, first: bytes) -> int:
        """Which product the first block says; spot, with a note, where it says none."""
        found = 2 if _COINM.search(first) else 1 if _USDM.search(first) else 0
        if not found and not _SPOT.search(first):
            self.counts.notes.append(_UNKNOWN)
        return found

    def add(self, name: bytes) -> None:
        """As `LineReader.add`: the next instrument."""
        self.lines, row = add_name(self.lines, name)
        self.lines.rows[row * ROW + INSTRUMENT] = row
        self.lines.rows[row * ROW + PX_DECIMALS], self.lines.rows[row * ROW + QTY_DECIMALS] = self._decimals
        self.instruments.append(Instrument(name.decode("utf-8", errors="replace"), *self._decimals))

    def decode(self, data: Array, at: int, end: int, batch: Batch) -> int:
        """As `LineReader.decode`."""
        return int(k.decode(self.lines, data, at, end, batch))
