"""The configuration of a backtest: a run's (engine.run.config) and a `[backtest]` table beside it.

What a live run needs to find its peers, `[[feed]]` and `[orders]`, may be left out: a backtest has none. Everything
else means what it means live, so that one file serves both but for its last table. Every mistake is told with file,
line, key, value and what is allowed, all at once.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from engine.errors import UsageError
from engine.run.config import Config, Feed, Orders, settled
from engine.run.config_read import Document, Problem, read, shown
from engine.run.config_types import NonNegative, Struct
from gateways.formats.known import Given

_TIME = r"^(([0-9]{4}-[0-9]{2}-[0-9]{2}T)?[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?)?\Z"
Time = Annotated[
    str,
    Meta(
        pattern=_TIME,
        description="a time UTC, HH:MM:SS or YYYY-MM-DDTHH:MM:SS, with a fraction where wanted; empty is none",
    ),
]


_DAY = r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?\Z"
Day = Annotated[str, Meta(pattern=_DAY, description="a day, YYYY-MM-DD; empty is none")]
Decimals = Annotated[int, Meta(ge=0, le=9)]


class FeedFile(Struct, frozen=True):
    """A file of the day whose own names, or clock, are not the configuration's."""

    #: Relative to this file. A file of the command line with this name is taken as this says.
    file: Annotated[str, Meta(min_length=1, description="a file name")]
    #: Code or MIC of the venue that all of it is of; empty takes the file's own names.
    venue: str = ""
    #: Symbol of its one instrument; empty takes the file's own names.
    symbol: str = ""
    #: Names of the file and the symbols that they are here.
    symbols: dict[str, str] = msgspec.field(default_factory=dict)
    #: ns to add to its recorder's times, or "auto"; absent refuses a clock that is behind the source's.
    skew: Annotated[int, Meta(ge=-(1 << 60), le=1 << 60)] | Literal["auto"] | None = None
    #: What shows the touch where it has both: its own quotes (auto), or the book of its levels and orders.
    touch: Literal["auto", "quotes", "book"] = "auto"
    #: What its content and its name do not say, as the options of `tickroute feed inspect`: the day and the market of
    #: ITCH, decimals of prices and quantities, the product of Binance.
    day: Day = ""
    market: Literal["", "XNAS", "XBOS", "XPSX"] = ""
    decimals: tuple[Decimals, Decimals] | None = None
    product: Literal["", "spot", "usdm", "coinm"] = ""

    @property
    def plain(self) -> bool:
        """Whether nothing is said of it but its name."""
        return self == FeedFile(self.file)

    @property
    def given(self) -> Given:
        """What is said of the file that a reader wants to know."""
        day = dt.date.fromisoformat(self.day) if self.day else None
        return Given(day, self.market or None, None, self.decimals, self.product or None)


class Backtest(Struct, frozen=True):
    """What is played, and to whom."""

    #: Files of a recorded day, of any known format; relative to this file. The command line may name others.
    feeds: list[str] = msgspec.field(default_factory=list)
    #: More of them, of which something is to be said.
    feed: list[FeedFile] = msgspec.field(default_factory=list)
    #: A CSV file of parents (gateways/orders/parents_file.py), relative to this file; empty draws `orders` of them.
    parents: str = ""
    #: A signal in its place: a CSV or Parquet file of the positions that are wanted (gateways/orders/signal_file.py).
    signal: str = ""
    #: Parents that the seed draws where no file is named.
    orders: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    #: What draws the parents and, in the place of [simulation] seed, the venues' faults; absent is [simulation] seed.
    seed: Annotated[int, Meta(ge=0, lt=1 << 62)] | None = None
    #: From a venue to the engine; orders and reports take the venue's own latency_us.
    feed_latency_us: NonNegative = 0
    #: A file of HdrHistogram's, relative to this one, that it is drawn from in the place of that, and an .hlog's tag.
    feed_latency: str = ""
    feed_latency_tag: str = ""
    #: The part of the feed that is played: from <= time < to. A time of day is one of the first day of the feed.
    begin: Time = msgspec.field(name="from", default="")
    end: Time = msgspec.field(name="to", default="")
    #: Time that goes on after the feed and the end of its day, so that orders end by themselves; then all is cancelled.
    tail_s: Annotated[int, Meta(ge=0, le=86_400)] = 10


def _no_feed() -> list[Feed]:
    return [Feed(name="recorded", endpoint="ipc:///recorded")]


class Whole(Config, frozen=True, kw_only=True):
    """A file: a run's sections, and what is played."""

    feed: list[Feed] = msgspec.field(default_factory=_no_feed)
    orders: Orders = Orders(endpoint="ipc:///none")
    backtest: Backtest = Backtest()


class Settings(NamedTuple):
    """A file that was read: the run's configuration, and the backtest's with its paths in full."""

    config: Config
    backtest: Backtest


def load(path: Path | str) -> Settings:
    """Read a file. ConfigError: it cannot be read, is no TOML, or says what cannot be; all problems are listed."""
    return settled_in(read(Path(path)))


def settled_in(document: Document) -> Settings:
    """The settings that a parsed file holds, checked. ConfigError as `load`."""
    whole = document.convert(Whole)
    config = Config(**{name: getattr(whole, name) for name in Config.__struct_fields__})
    _check(document, whole.backtest, config)
    folder = document.path.resolve().parent
    backtest = msgspec.structs.replace(
        whole.backtest,
        feeds=[str(folder / name) for name in whole.backtest.feeds],
        feed=[msgspec.structs.replace(row, file=str(folder / row.file)) for row in whole.backtest.feed],
        parents=str(folder / whole.backtest.parents) if whole.backtest.parents else "",
        signal=str(folder / whole.backtest.signal) if whole.backtest.signal else "",
        feed_latency=str(folder / whole.backtest.feed_latency) if whole.backtest.feed_latency else "",
    )
    return Settings(settled(document, config, host=False), backtest)


def changed(
    settings: Settings,
    *,
    parents: str | Path | None = None,
    signal: str | Path | None = None,
    orders: int | None = None,
    seed: int | None = None,
) -> Settings:
    """Settings with what is given (not None) in the place of the file's. UsageError: more than one kind of orders."""
    if parents is not None and orders is not None:
        raise UsageError(f"parents {parents} and {orders} orders: give one of them; the orders are drawn, not read")
    if signal is not None and (parents is not None or orders is not None):
        other = f"parents {parents}" if parents is not None else f"{orders} orders"
        raise UsageError(f"signal {signal} and {other}: give one of them; a signal is where parents come from")
    told = settings.backtest
    if parents is not None:
        told = msgspec.structs.replace(told, parents=str(parents), signal="", orders=0)
    if signal is not None:
        told = msgspec.structs.replace(told, parents="", signal=str(signal), orders=0)
    if orders is not None:
        told = msgspec.structs.replace(told, parents="", signal="", orders=orders)
    if seed is not None:
        told = msgspec.structs.replace(told, seed=seed)
    return Settings(settings.config, told)


def _check(document: Document, backtest: Backtest, config: Config) -> None:
    problems = _of_feeds(backtest, config)
    if backtest.parents and backtest.orders:
        text = f" = {backtest.orders}: backtest.parents names a file already; leave one of them out"
        problems.append(Problem("backtest.orders", text))
    if backtest.signal and (backtest.parents or backtest.orders):
        other = "parents" if backtest.parents else "orders"
        text = f" = {shown(backtest.signal)}: backtest.{other} says already what is sent; leave one of them out"
        problems.append(Problem("backtest.signal", text))
    for key, text in (("from", backtest.begin), ("to", backtest.end)):
        if text:
            try:
                time_ns(text, dt.date(2000, 1, 1))
            except ValueError as error:
                problems.append(Problem(f"backtest.{key}", f" = {shown(text)}: {error}; give a time that there is"))
    document.complain(problems)


def _of_feeds(backtest: Backtest, config: Config) -> list[Problem]:
    problems = []
    venues = [name for row in config.venue for name in (row.mic, row.code)]
    symbols = [row.symbol for row in config.instrument]
    for n, row in enumerate(backtest.feed):
        names = [("venue", row.venue, venues), ("symbol", row.symbol, symbols)]
        names += [("symbols", symbol, symbols) for symbol in row.symbols.values()]
        for key, name, known in names:
            if name and name not in known:
                text = f" = {shown(name)}: is not configured; {', '.join(dict.fromkeys(known))} are"
                problems.append(Problem(f"backtest.feed[{n}].{key}", text))
        try:
            dt.date.fromisoformat(row.day or "2000-01-01")
        except ValueError as error:
            text = f" = {shown(row.day)}: {error}; give a day that there is"
            problems.append(Problem(f"backtest.feed[{n}].day", text))
        if row.symbol and row.symbols:
            text = f" = {shown(row.symbol)}: symbols names the file's instruments already; leave one of them out"
            problems.append(Problem(f"backtest.feed[{n}].symbol", text))
    return problems


def time_ns(text: str, day: dt.date) -> int:
    """ns since 1970 of a time as `from` and `to` have it; `day` is that of a time of day. ValueError."""
    whole, _, fraction = text.partition(".")
    if "T" in whole:
        date, _, whole = whole.partition("T")
        day = dt.date.fromisoformat(date)
    at = dt.datetime.combine(day, dt.time.fromisoformat(whole), dt.UTC)
    return int(at.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
