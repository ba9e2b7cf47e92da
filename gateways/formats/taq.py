"""NYSE TAQ, one CSV of quotes or of trades: each row is a QUOTE or a TRADE, by the kernels of `gateways.feeds.taq`.

That module's decisions hold here too: DT is UTC and must not fall, quote sizes are round lots, a zero side is no side,
corrected rows are skipped and counted. What differs: no configuration says which venues and symbols there are, so each
letter of EX is a venue and each SYMBOL an instrument, as they are met; D, the off-exchange prints, is one like others,
with Flag.OFF_BOOK. Prices have 6 decimals; what is finer is skipped and counted. No receive times.

Worst case: a block in which a name is new is parsed twice; a file of many symbols that come late is slow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from engine.record.records import DTYPES, UNIT, Template, blank
from gateways.feeds import taq_kernels as k
from gateways.feeds.names import Names, Symbol
from gateways.feeds.report import FeedError
from gateways.feeds.taq import ERRORS, OFF_BOOK_CODES, QUOTE_COLUMNS, ROUND_LOT, SKIPS, TRADE_COLUMNS
from gateways.formats.batch import Batch, make_batch
from gateways.formats.reader import Instrument, Reader

Array = np.ndarray[Any, np.dtype[Any]]
PX_DECIMALS: Final = 6
_KINDS: Final = {QUOTE_COLUMNS.encode(): Template.QUOTE, TRADE_COLUMNS.encode(): Template.TRADE}
_LONGEST_SYMBOL: Final = 16
_MAX_ROW: Final = 1 << 12
_REASONS: Final = SKIPS | {
    k.SKIP_VENUE: "EX is no single letter",
    k.SKIP_SYMBOL: f"SYMBOL is empty, or is more than {_LONGEST_SYMBOL} letters of ASCII",
    k.SKIP_PRICE: f"price has more than {PX_DECIMALS} decimals",
}


def recognises(head: bytes) -> bool:
    """Whether a file begins with one of the two headers."""
    return head.partition(b"\n")[0].rstrip(b"\r") in _KINDS


def open_file(path: str | Path) -> TaqReader:
    """A reader of one file. FeedError where it cannot be read."""
    return TaqReader(path)


class TaqReader(Reader):
    """One file of quotes, or of trades."""

    format: ClassVar[str] = "taq"

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._batch = make_batch()
        self._template = Template.QUOTE
        self._scan = k.new_scan(Names({}, {}), OFF_BOOK_CODES, 1)

    def batches(self) -> Iterator[Batch]:
        """Batches of records. FeedError, after the good part, where a row is damaged, out of order or cut."""
        text = self.source.more(0)
        while not self.source.ended and ord("\n") not in text:
            text = self.source.more(0)
        header = text[:_MAX_ROW].tobytes().partition(b"\n")[0]
        self._template = _KINDS[header.rstrip(b"\r")]
        self._scan.lot[0] = ROUND_LOT if self._template == Template.QUOTE else 1
        self._scan.cursor[k.LINE] = 1
        at = len(header) + 1
        while True:
            rows = text[at:]
            end = rows.tobytes().rfind(b"\n") + 1
            yield from self._records(rows[:end])
            rest = rows[end:]
            if self.source.ended:
                if rest.size:
                    raise self._wrong(rest, "the file ends in the middle of a row: it was cut", "fetch it again")
                return
            if rest.size > _MAX_ROW:
                raise self._wrong(rest, f"a row is longer than {_MAX_ROW} bytes", "name the right file")
            text, at = self.source.more(at + end), 0

    def _records(self, text: Array) -> Iterator[Batch]:
        """The records of whole rows; FeedError behind them where a row is wrong."""
        found = self._parsed(text)
        self._tell(text)
        units = DTYPES[self._template].itemsize // UNIT
        step = len(self._batch.head) // units
        words = found.view("<i8")
        for begin in range(0, len(found), step):
            n = min(step, len(found) - begin)
            size = units * UNIT // 8
            self._batch.words[: n * size] = words[begin * size : (begin + n) * size]
            self._batch.used[0] = n * units
            yield self._batch
        self._batch.used[0] = 0
        if error := int(self._scan.cursor[k.ERROR]):
            low, high = int(self._scan.cursor[k.LOW]), int(self._scan.cursor[k.HIGH])
            raise self._wrong(text[low:high], *ERRORS[error])

    def _parsed(self, text: Array) -> Array:
        """Records of whole rows, up to the first that is wrong; parsed again where they name what is new."""
        parse = k.parse_quotes if self._template == Template.QUOTE else k.parse_trades
        rows = blank(self._template, int(np.count_nonzero(text == ord("\n"))))
        before = self._scan.cursor.copy(), self._scan.tally.copy()
        n = int(parse(text, self._scan, rows))
        tally = self._scan.tally - before[1]
        if (tally[k.SKIP_VENUE, k.COUNT] or tally[k.SKIP_SYMBOL, k.COUNT]) and self._add_names(text):
            lot = int(self._scan.lot[0])
            symbols = {row.symbol: Symbol(i, PX_DECIMALS) for i, row in enumerate(self.instruments)}
            names = Names({code: i for i, code in enumerate(self.venues)}, symbols)
            self._scan = k.new_scan(names, OFF_BOOK_CODES, lot)
            self._scan.cursor[:], self._scan.tally[:] = before
            rows = blank(self._template, len(rows))
            n = int(parse(text, self._scan, rows))
        found = rows[:n]
        found["stream_id"] = found["venue_id"]
        return found

    def _add_names(self, text: Array) -> bool:
        """Enter the venues and symbols that are new in these rows; whether there were any."""
        symbol_at = 6 if self._template == Template.QUOTE else 2
        fields = [row.rstrip(b"\r").split(b",") for row in text.tobytes().split(b"\n")]
        pairs = dict.fromkeys((row[1], row[symbol_at]) for row in fields if len(row) == 7)
        known = {row.symbol for row in self.instruments}
        before = len(self.venues) + len(known)
        for code, symbol in pairs:
            if len(code) == 1 and code.isascii() and code.decode() not in self.venues:
                self.venues.append(code.decode())
            if 0 < len(symbol) <= _LONGEST_SYMBOL and symbol.isascii() and symbol.decode() not in known:
                known.add(symbol.decode())
                self.instruments.append(Instrument(symbol.decode(), PX_DECIMALS, 0, ROUND_LOT))
        return len(self.venues) + len(known) > before

    def _tell(self, text: Array) -> None:
        """Renew the counts after some rows."""
        self.counts.by_type["quote" if self._template == Template.QUOTE else "trade"] = (
            int(self._scan.cursor[k.LINE]) - 1
        )
        for code, reason in _REASONS.items():
            count, line, low, high = (int(word) for word in self._scan.tally[code])
            if count:
                self.counts.skipped[reason] = count
                self.counts.examples.setdefault(reason, f"{self.path.name}:{line}: {_shown(text[low:high])}")

    def _wrong(self, value: Array, why: str, remedy: str) -> FeedError:
        return FeedError(self.path, int(self._scan.cursor[k.LINE]) + 1, _shown(value), why, remedy)


def _shown(text: Array) -> str:
    return text[:80].tobytes().decode("ascii", errors="replace")
