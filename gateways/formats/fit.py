"""A file's records as a configuration's own: its venues and instruments, its units, one clock, dense streams.

A reader knows nothing of a configuration; `Fitted` gives what it reads as the engine takes it:

- Venues by code or MIC, instruments by symbol, or as `Wanted` says. What is not configured is left out and counted.
- Prices and quantities are rescaled exactly. What is finer than the configuration's decimals, or more than the engine
  takes, is left out and counted, the first of each reason with its place. A level or a quote whose quantity alone is
  finer is rounded down, to nothing where less than a unit is left, and counted.
- QUOTE, TRADE, CLEAR and INSTRUMENT_STATUS; levels and orders become QUOTEs of their book's touch, and with `depth`
  are given too, each before the quote that follows from it. Where a file has
  both of an instrument at a venue, its own quotes are taken: two accounts of one touch, one behind the other, are none.
- The time on our side is the recorder's where there is one, else the source's. It does not fall: a record that is
  earlier than one before it takes that one's time, and is counted; by more than 10 s the file is refused.
- A recorder's clock that is behind the source's (records received before they happened) is refused, unless a correction
  is asked for: ns, or "auto", by which the least time under way becomes 0.

Worst case: a survey comes first, so a file is read twice. Memory is some batches and the books, whatever its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from engine.book.memory import make_books
from engine.errors import UsageError
from gateways.feeds.names import Symbol
from gateways.feeds.report import FeedError
from gateways.formats import fit_kernels as k
from gateways.formats.batch import Batch, make_batch
from gateways.formats.fit_pass import fit_pass
from gateways.formats.known import UNTOLD, Given, open_file
from gateways.formats.reader import Instrument, Reader
from gateways.formats.watch import MOST_BOOKS, make_feed_books

if TYPE_CHECKING:
    from engine.run.config import Config

REASONS: Final = {
    k.OTHER_VENUE: "venue is not configured",
    k.OTHER_SYMBOL: "instrument is not configured",
    k.TOO_FINE: "price or quantity is finer than the instrument's decimals",
    k.TOO_LARGE: "price or quantity is larger than the engine takes",
    k.NOT_POSITIVE: "price or quantity is negative, or zero where there must be one",
    k.NO_TIME: "has no time",
    k.OTHER_KIND: "record of a kind that the engine does not take",
    k.MANY_VENUES: f"venue is beyond the first {k.MOST_VENUES} of the file, which is the limit",
    k.MANY_INSTRUMENTS: f"instrument is beyond the first {k.MOST_INSTRUMENTS:,} of the file, which is the limit",
}
_OF_NAMES: Final = (k.OTHER_VENUE, k.OTHER_SYMBOL, k.MANY_VENUES, k.MANY_INSTRUMENTS)
_BESIDE: Final = "beside what shows the touch"
_MAX_PX: Final = 1 << 61


class Target(NamedTuple):
    """A configuration's names: venues by code and by MIC, symbols, and the largest price of each instrument."""

    venues: Mapping[str, int]
    symbols: Mapping[str, Symbol]
    max_px: Sequence[int] = ()

    @classmethod
    def of(cls, config: Config, max_px: Sequence[int] = ()) -> Target:
        """As a run's configuration gives them; `max_px` in price units by instrument, where it is known."""
        venues = {row.mic: n for n, row in enumerate(config.venue)}
        venues |= {row.code: n for n, row in enumerate(config.venue)}
        symbols = {row.symbol: Symbol(n, row.px_decimals, row.qty_decimals) for n, row in enumerate(config.instrument)}
        return cls(venues, symbols, max_px)


class Wanted(NamedTuple):
    """How a file's own names and clock are to be taken."""

    #: Code or MIC that all of the file is of; "" takes the file's own names.
    venue: str = ""
    #: The symbol of the file's one instrument; "" takes the file's own names.
    symbol: str = ""
    #: Names of the file -> symbols, the others as they are.
    symbols: Mapping[str, str] = {}
    #: ns added to the recorder's times; "auto" makes the least time under way 0; None refuses what needs it.
    skew: int | Literal["auto"] | None = None
    #: What shows the touch: the file's quotes, the book of its levels and orders, or the first of these that it has.
    touch: Literal["auto", "quotes", "book"] = "auto"
    #: What the file does not say.
    given: Given = UNTOLD


#: The file's own names, and a clock that needs no correction.
AS_IT_IS: Final = Wanted()


@dataclass
class Told:
    """How fitting went. Times in ns."""

    file: str
    format: str
    records: int
    given: int
    #: Levels and orders beside these.
    deep: int
    first_ns: int
    skew_ns: int
    #: Records received before they happened, after correction.
    negative: int
    #: Records that took the time of one before them, and the most by which one was earlier.
    clamped: int
    most_back_ns: int
    #: Quotes beside a book, levels and orders beside quotes.
    beside: int
    #: Levels and orders that found no room in the books.
    unfollowed: int
    gaps: int
    lost: int
    repeated: int
    #: Levels and quotes whose quantities were rounded down, and the first of them.
    rounded: int = 0
    rounded_first: str = ""
    #: Changes of orders that were never added; beside these, of orders that had replaced such ones; orders that came
    #: twice. Exact, as `crossed` is, once the file has been played: of the instruments whose touch its orders make.
    dangling: int = 0
    dangling_after_replace: int = 0
    repeated_orders: int = 0
    #: Touches that were crossed when they changed.
    crossed: int = 0
    #: Executions that orders alone tell of and that became no TRADE: of unknown orders without a price, on a book
    #: without room, or too fine.
    untold: int = 0
    #: Symbols of whose executions orders alone tell, where not all of them became TRADEs: their own quotes show the
    #: touch, or some were `untold`. What traded is not known from the trades. Exact once the file has been played.
    by_orders: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    #: What the file does not say, and what was taken in its place.
    notes: list[str] = field(default_factory=list)


class Fitted:
    """A file, surveyed and ready to be read; `batches` may be gone through again and again.

    FeedError: of no known format, cut or damaged; nothing of it is configured; its clock is behind, and no correction
    was asked for. UsageError: `wanted` names what is not configured.
    """

    def __init__(
        self, path: str | Path, target: Target, wanted: Wanted = AS_IT_IS, *, play: bool = False, depth: bool = False
    ) -> None:
        self.path, self.target, self.wanted = Path(path), target, wanted
        self._play, self._depth = play, depth
        self._check()
        instruments = [symbol.instrument_id for symbol in target.symbols.values()]
        self._sizes = (max(target.venues.values(), default=-1) + 1, max(instruments, default=-1) + 1)
        self.told: Told
        self._survey()

    def _check(self) -> None:
        target, wanted = self.target, self.wanted
        if wanted.venue and wanted.venue not in target.venues:
            raise UsageError(f"{self.path}: venue {wanted.venue!r} is not configured; {_some(target.venues)} are")
        for symbol in (wanted.symbol, *wanted.symbols.values()):
            if symbol and symbol not in target.symbols:
                raise UsageError(f"{self.path}: symbol {symbol!r} is not configured; {_some(target.symbols)} are")

    def open(self) -> Reader:
        """A reader of the file, at its beginning."""
        return open_file(self.path, self.wanted.given)

    def _survey(self) -> None:
        fit = k.make_fit(*self._sizes)
        with self.open() as reader:
            names = NameTables(self.target, self.wanted, fit, reader)
            for batch in reader.batches():
                names.update()
                k.look(fit, batch)
            names.update()
            line = fit.line[0]
            if line.moves + line.quotes == 0:
                raise self._nothing(reader, fit)
        asked, skew_ns = self.wanted.skew, 0
        if asked == "auto":
            skew_ns = max(-int(line.least_ns), 0) if line.timed else 0
        elif asked is not None:
            skew_ns = int(asked)
        elif line.negative:
            raise self._behind(line)
        self.skew_ns = skew_ns
        #: Time of the first record, on our side.
        self.first_ns = int(line.first_ns) + (skew_ns if line.first_recv else 0)
        self._has = fit.has.copy()
        #: Whether no level has to be rounded or left out.
        self._exact = int(line.inexact) == 0
        self._use = fit.has & (k.QUOTES | k.BOOK)
        both = self._use == k.QUOTES | k.BOOK
        self._use[both] = k.BOOK if self.wanted.touch == "book" else k.QUOTES
        #: Bytes of the records to be given, about.
        self.size = 64 * int(line.quotes if line.quotes > line.moves // 16 else line.moves)
        if self._depth:
            self.size = 64 * int(line.quotes + line.moves * (2 if (fit.has & k.ORDERS).any() else 1))
        self.told = self._account(fit, reader, 0)

    def _nothing(self, reader: Reader, fit: k.Fit) -> FeedError:
        shown = f"venues {_some(reader.venues)}, instruments {_some([row.symbol for row in reader.instruments])}"
        ours = f"venues {_some(self.target.venues)}, instruments {_some(self.target.symbols)}"
        remedy = f"the configuration has {ours}; say which the file's are with venue, symbol or symbols of its feed"
        beyond = [REASONS[n] for n in (k.MANY_VENUES, k.MANY_INSTRUMENTS) if fit.skipped[n].count]
        return FeedError(self.path, 0, shown, "; ".join(["nothing in it is configured", *beyond]), remedy)

    def _behind(self, line: Any) -> FeedError:
        why = (
            f"{int(line.negative):,} of {int(line.timed):,} records were received before they happened: the recorder's "
            f"clock is behind the source's by at least {-int(line.least_ns) / 1e9:.9f} s"
        )
        return FeedError(self.path, 0, "", why, f'ask for its correction: skew = {-int(line.least_ns)} (ns) or "auto"')

    def without_orders(self) -> list[str]:
        """Symbols of which the file has quotes or levels, and no orders."""
        return self._symbols((self._has != 0) & (self._has & k.ORDERS == 0))

    @property
    def prints_alone(self) -> bool:
        """Whether the file has neither quotes nor levels nor orders of the configuration's instruments."""
        return not (self._has & (k.QUOTES | k.BOOK)).any()

    def _symbols(self, slots: k.Array) -> list[str]:
        """Symbols of some slots."""
        found = {n % self._sizes[1] for n in slots.nonzero()[0]}
        return [symbol for symbol, at in self.target.symbols.items() if at.instrument_id in found]

    @property
    def follows_levels(self) -> k.Array:
        """By venue * instruments + instrument: 1 where the touch is that of levels, for whoever plays them to derive.

        Empty where that would not be the touch that is derived here: there are orders, or levels that are finer than
        the configuration's units.
        """
        if not (self._play and self._depth and self._exact) or (self._has & k.ORDERS).any():
            return np.zeros(0, dtype=np.int64)
        found: k.Array = (self._use == k.BOOK).astype(np.int64)
        return found if found.any() else found[:0]

    def batches(self, units: int = 0, *, follow: bool = True) -> Iterator[Batch]:
        """Batches of fitted records, each good until the next is asked for; `told` is exact when they are at an end.

        Without `follow` the touches of levels are not derived (see `follows_levels`), and what `told` says of them
        (`given`, `crossed`) is without them.
        FeedError as the reader raises it, and where its times run backwards by more than 10 s.
        """
        fit = k.make_fit(*self._sizes)
        fit.use[:] = self._use
        line = fit.line[0]
        line.skew_ns, line.play, line.epoch = self.skew_ns, int(self._play), max(self.first_ns // 10**9, 1)
        line.depth, line.follows = int(self._depth), int(follow)
        books = make_books([1], width=32, far=1, orders=1)  # quotes alone: nothing is followed
        if follow and (self._use == k.BOOK).any():
            books = make_feed_books(min(self._sizes[0] * self._sizes[1], MOST_BOOKS))
        with self.open() as reader:
            names = NameTables(self.target, self.wanted, fit, reader)
            out = make_batch(3)
            for batch in reader.batches():
                names.update()
                if len(out.head) < 3 * len(batch.head):
                    out = make_batch(3 * len(batch.head))
                fit_pass(fit, books, batch, out)
                if out.used[0]:
                    yield out
                if line.backwards:
                    break
            self.told = self._account(fit, reader, int(line.unfollowed + books.core[0].full))
            self.told.dangling = int(books.core[0].dangling - line.of_ghosts)
            self.told.dangling_after_replace = int(line.of_ghosts)
            self.told.repeated_orders = int(books.core[0].repeated)
            self.told.crossed = int(line.crossed)
        if line.backwards:
            why = f"its times run backwards by {int(line.most_back_ns) / 1e9:.3f} s after {int(line.last_ns)} ns"
            raise FeedError(self.path, 0, "", why, "sort it by time, or play its parts one by one")

    def _account(self, fit: k.Fit, reader: Reader, unfollowed: int) -> Told:
        untold = fit.has & k.PRINTS if fit.line[0].untold else np.zeros_like(self._use)  # a survey finds none
        line, counts = fit.line[0], reader.counts
        told = Told(
            file=str(self.path),
            format=reader.format,
            records=int(line.records),
            given=int(line.given),
            deep=int(line.deep),
            first_ns=self.first_ns,
            skew_ns=self.skew_ns,
            negative=int(line.negative),
            clamped=int(line.clamped),
            most_back_ns=int(line.most_back_ns),
            beside=int(fit.skipped[k.BESIDE].count),
            unfollowed=unfollowed,
            gaps=counts.gaps,
            lost=counts.lost,
            repeated=counts.repeated,
            untold=int(line.untold),
            by_orders=self._symbols((self._has & k.PRINTS != 0) & ((self._use != k.BOOK) | (untold != 0))),
            skipped=dict(counts.skipped),
            examples=dict(counts.examples),
            notes=list(counts.notes),
        )
        rounded = fit.skipped[k.ROUNDED]
        if rounded.count:
            told.rounded, told.rounded_first = int(rounded.count), self._example(reader, k.ROUNDED, rounded)
        for reason, words in REASONS.items():
            row = fit.skipped[reason]
            if row.count:
                told.skipped[words] = int(row.count)
                told.examples[words] = self._example(reader, reason, row)
        return told

    def _example(self, reader: Reader, reason: int, row: Any) -> str:
        if reason in _OF_NAMES:
            venue, instrument = int(row.venue), int(row.instrument)
            names = [reader.venues[venue] if 0 <= venue < len(reader.venues) else f"venue {venue}"]
            if 0 <= instrument < len(reader.instruments):
                names.append(reader.instruments[instrument].symbol)
            return f"record {int(row.record)}: {' '.join(names)}"
        symbol = next((s for s, at in self.target.symbols.items() if at.instrument_id == row.instrument), "all")
        return f"record {int(row.record)}: {symbol}, {int(row.value)}"


class NameTables:
    """Keeps the kernels' tables in step with what a reader has met."""

    def __init__(self, target: Target, wanted: Wanted, fit: k.Fit, reader: Reader) -> None:
        self._target, self._wanted, self._fit, self._reader = target, wanted, fit, reader
        self._instruments: list[Instrument] = []
        self._venues: list[str] = []

    def update(self) -> None:
        """Enter what is new. FeedError: more instruments than one where one was named, or two with one symbol."""
        fit, reader, wanted, target = self._fit, self._reader, self._wanted, self._target
        if self._venues != reader.venues:
            self._venues = list(reader.venues)
            for n, name in enumerate(self._venues[: k.MOST_VENUES]):
                fit.venues[n] = target.venues.get(wanted.venue or name, -1)
        if self._instruments == reader.instruments:
            return
        self._instruments = list(reader.instruments)
        if wanted.symbol and len(self._instruments) > 1:
            names = _some([row.symbol for row in self._instruments])
            remedy = f'say which one: symbols = {{"{self._instruments[0].symbol}" = "{wanted.symbol}"}}'
            raise FeedError(reader.path, 0, names, f"has more instruments than {wanted.symbol} alone", remedy)
        for n, row in enumerate(self._instruments[: k.MOST_INSTRUMENTS]):
            symbol = target.symbols.get(wanted.symbol or wanted.symbols.get(row.symbol, row.symbol))
            if symbol is not None:
                self._enter(n, row, symbol)

    def _enter(self, n: int, row: Instrument, symbol: Symbol) -> None:
        """Instrument n of the file is one of the configuration's."""
        fit, ours = self._fit, symbol.instrument_id
        most = self._target.max_px
        px, qty = symbol.px_decimals - row.px_decimals, symbol.qty_decimals - row.qty_decimals
        if max(abs(px), abs(qty)) > 18:
            raise FeedError(self._reader.path, 0, row.symbol, "its decimals are no units of a price", "check the file")
        px_mul, px_div, qty_mul, qty_div = 10 ** max(px, 0), 10 ** max(-px, 0), 10 ** max(qty, 0), 10 ** max(-qty, 0)
        largest = ((most[ours] if most else _MAX_PX) // px_mul, k.MAX_QTY // qty_mul)
        values = (ours, px_mul, px_div, qty_mul, qty_div, *largest, 1 / px_div, 1 / qty_div)
        for name, value in zip(k.FACTORS.names or (), values, strict=True):
            fit.of_file[n][name] = value
        before = fit.ours[ours].copy()
        fit.ours[ours] = fit.of_file[n]
        if before["px_mul"] and before != fit.ours[ours]:
            why = "two instruments of other decimals become one"
            raise FeedError(self._reader.path, 0, row.symbol, why, "name one of them in symbols")


def _some(names: Any) -> str:
    listed = list(names)
    shown = ", ".join(listed[:6]) or "none"
    return shown + (f" and {len(listed) - 6} more" if len(listed) > 6 else "")
