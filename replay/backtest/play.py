"""From settings to a run directory: reads the feed, takes or draws the parents, and plays them.

Recordings of version 1 and synthetic days are in memory whole. All other files are read as they are played, in bounded
memory.
Between records of one time and venue in several files, files of prints alone come first (what prints at a time was
there before the next quote), then the file's name decides: how files are listed decides nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from engine.errors import UsageError
from engine.record.records import Template
from engine.run import manifest, positions
from engine.run.config import Config, ConfigError
from gateways.feeds import synthetic as synthetic_day
from gateways.feeds.files import kind_of, read_files
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording, build
from gateways.feeds.report import FeedError
from gateways.formats.fit import Target
from gateways.orders.parents import Parent, generate_parents
from gateways.orders.parents_file import read_parents
from gateways.orders.signal_file import read_signal
from gateways.venues.latency import quantiles
from replay.backtest.host import Feed, Host, Terms
from replay.backtest.journaled import JournalFeed, is_run
from replay.backtest.merge import merged
from replay.backtest.settings import Backtest, FeedFile, Settings, time_ns
from replay.backtest.streams import NO_END, Stream
from replay.backtest.taq import TaqFeed
from replay.backtest.terms import TERMS_FILE

#: A trading day may begin on an evening before a weekend and a holiday; further away it is another day's.
_FAR_DAYS: Final = 5


def prepare(
    settings: Settings,
    feeds: Sequence[str | Path] = (),
    run_dir: str | Path | None = None,
    parents: Sequence[Parent] | None = None,
    signal: pa.Table | None = None,
    synthetic: int | None = None,
) -> Host:
    """A backtest that is ready to `run`. What is given takes the place of the settings' own; `signal` is as its file.

    `synthetic` is the seed of a synthetic day, in the place of all files. UsageError, FeedError, ParentError,
    ConfigError, BindError, MachineError, BacktestError where it cannot be.
    """
    backtest = settings.backtest
    names = Names.of(settings.config)
    if synthetic is None:
        files = files_of(backtest, feeds)
        if not files:
            remedy = "name the files of a recorded day there, or as arguments; or play a synthetic day: --synthetic 1"
            raise ConfigError(f"backtest.feeds: there is none; {remedy}")
        days, streams, told = _opened(settings, files, names)
    elif feeds:
        raise UsageError(f"{feeds[0]} and a synthetic day of seed {synthetic}: give one of them")
    else:
        files, streams = [], []
        days, told = _synthetic(settings.config, names, synthetic)
    began_ns = min([day.first_ns for day in days if day.count] + [stream.first_ns for stream in streams], default=0)
    if days:
        days = parts_of(days, backtest, None if not streams else began_ns)
    for stream in streams:
        stream.begin_ns, stream.end_ns = _span(backtest, began_ns)
    sole = streams[0] if len(streams) == 1 and not days else None
    follows = np.zeros(0, dtype=np.int64)
    if isinstance(sole, Stream):
        chunks, follows = sole.chunks(), sole.follows  # nothing to merge: no copies, and one book for engine and venues
    else:
        recorded = (day if isinstance(day, Recording) else day.parts() for day in days)
        chunks = merged([*recorded, *(stream.parts() for stream in streams)], ranks=names.ranks())
    chunk = next(chunks, None)
    if chunk is None:
        raise _nothing(backtest, f"it begins {dt.datetime.fromtimestamp(began_ns / 1e9, dt.UTC)}")
    first_ns = int(chunk.view("<i8")[3])
    config = resolved(settings, first_ns, run_dir, ours=any(isinstance(one, JournalFeed) for one in streams))
    if parents is None:
        parents = _parents(config, backtest, days, streams, first_ns, signal)
    size = sum(day.size if isinstance(day, TaqFeed) else int(day.offsets[-1]) for day in days)
    size += sum(stream.size for stream in streams)
    feed = Feed(chain([chunk], chunks), first_ns, size, follows)
    terms = Terms(backtest.feed_latency_us * 1000, backtest.tail_s * 10**9)
    if backtest.feed_latency:
        drawn = quantiles(backtest.feed_latency, backtest.feed_latency_tag, "backtest.feed_latency")
        terms = terms._replace(feed_latencies=drawn)
    host = Host(config, feed, list(parents), terms)
    host.then = lambda: _write_down(host, backtest, files, streams, told)
    host.then()
    return host


def files_of(backtest: Backtest, feeds: Sequence[str | Path] = ()) -> list[FeedFile]:
    """The files to play. Those of the command line take the others' place, and keep what is said of them by name.

    ConfigError where a file is named twice.
    """
    if feeds:
        told = {Path(row.file).name: row for row in backtest.feed}
        named = [told.get(Path(path).name, FeedFile(str(path))) for path in feeds]
        files = [msgspec.structs.replace(row, file=str(path)) for row, path in zip(named, feeds, strict=True)]
    else:
        files = [FeedFile(name) for name in backtest.feeds] + list(backtest.feed)
    seen: set[Path] = set()
    for row in files:
        if (path := Path(row.file).resolve()) in seen:
            raise ConfigError(f"{row.file}: is named twice as a feed, which would play it twice; name it once")
        seen.add(path)
    return files


def _opened(
    settings: Settings, files: list[FeedFile], names: Names
) -> tuple[list[Recording | TaqFeed], list[Stream | JournalFeed], dict[str, dict[str, Any]]]:
    """Recordings and TAQ files, which have this configuration's names, and all others, each in the order in which ties
    are decided: files of prints alone first, then by name. Also what became of the rows of the former, by file.
    """
    kinds = [_kind(row.file) for row in files]
    for row, kind in zip(files, kinds, strict=True):
        if kind and not row.plain:
            text = f"{row.file}: is a {kind} file, which has this configuration's names and clock"
            raise ConfigError(f"{text}; leave out what [[backtest.feed]] says of it")
    paths = sorted((row.file for row, kind in zip(files, kinds, strict=True) if kind), key=_by_name)
    days, told = read(paths, names) if paths else ([], {})
    if paths:
        _needs_orders(settings.config, paths[0], ["all of it"])
    others = sorted(
        (row for row, kind in zip(files, kinds, strict=True) if not kind), key=lambda row: _by_name(row.file)
    )
    if not others:
        return days, [], told
    state = manifest.make(settings.config, 1, 0).initial_state()
    target = Target.of(settings.config, [int(px) for px in state.instruments["max_px"]])
    depth = settings.config.simulation.depth
    latency_ns = settings.backtest.feed_latency_us * 1000
    streams: list[Stream | JournalFeed] = [
        JournalFeed(row.file, settings.config, latency_ns)
        if is_run(row.file)
        else Stream(row.file, row, target, depth=depth)
        for row in others
    ]
    for row, stream in zip(others, streams, strict=True):
        _needs_orders(settings.config, row.file, stream.without_orders())
    return days, sorted(streams, key=lambda stream: not stream.prints_alone), told


def _by_name(path: str | Path) -> tuple[str, str]:
    """A file's place among others, wherever it is listed."""
    return Path(path).name, str(Path(path).resolve())


def _synthetic(config: Config, names: Names, seed: int) -> tuple[list[Recording | TaqFeed], dict[str, dict[str, Any]]]:
    """The synthetic day of a seed, on the configuration's trading day, and what is told of it."""
    what, start_ns = f"synthetic day, seed {seed}", synthetic_day.OPEN_NS
    _needs_orders(config, what, ["quotes and trades"])
    if config.engine.trading_day:
        day_ns = 86_400 * 10**9
        since_1970 = (dt.date.fromisoformat(config.engine.trading_day) - _date(0)).days
        start_ns = since_1970 * day_ns + start_ns % day_ns
    day = synthetic_day.generate(seed, names, start_ns=start_ns)
    row = {"bytes": int(day.offsets[-1]), "format": "synthetic", "records": day.count, "given": day.count}
    return [day], {what: row | {"skipped": {}, "examples": {}}}


def _needs_orders(config: Config, path: str, without: list[str]) -> None:
    """ConfigError where queues are to be exact, and a file does not say which orders are in them."""
    if config.simulation.queue == "exact" and without:
        what = f"{path} has no orders, only quotes or levels ({', '.join(without[:4])})"
        remedy = 'ask for "proportional" or "worst", or play a feed of orders'
        raise ConfigError(f'simulation.queue = "exact": {what}; {remedy}')


def _kind(path: str | Path) -> str:
    """As `kind_of`; "" where it is none of these, so that the formats' own readers say what it is."""
    try:
        return kind_of(path)
    except FeedError:
        return ""


def _write_down(
    host: Host,
    backtest: Backtest,
    files: list[FeedFile],
    streams: list[Stream | JournalFeed],
    told_of: dict[str, dict[str, Any]],
) -> None:
    """RUN_DIR/backtest.json: what was played, how fitting went, and what the venues could not do.

    The records themselves are on the journal.
    """
    fitted = told_of | {stream.told.file: msgspec.to_builtins(stream.told) for stream in streams}
    if len(host.course.follows):  # one stream, whose touches were derived as it was played
        line, found = host.course.line[0], fitted[streams[0].told.file]
        found["given"] += int(line.derived)
        found["crossed"] += int(line.crossed)
        found["unfollowed"] += int(host.exchange.books.core[0].full)
    rows = [{"file": row.file, "bytes": Path(row.file).stat().st_size} | fitted.get(row.file, {}) for row in files]
    rows = rows or [{"file": what} | row for what, row in told_of.items()]
    told = msgspec.to_builtins(backtest) | {"feeds": rows, "seed": host.config.simulation.seed}
    venues = [name for row in host.config.venue for name in (row.latency, row.report_latency)]
    drawn = dict.fromkeys(name for name in (*venues, backtest.feed_latency) if name)
    told["latencies"] = [
        {"file": name, "sha256": hashlib.sha256(Path(name).read_bytes()).hexdigest()} for name in drawn
    ]
    told["losses"] = host.losses()._asdict()
    del told["feed"]
    text = msgspec.json.format(msgspec.json.encode(told), indent=2)
    (host.run_dir / TERMS_FILE).write_bytes(text + b"\n")


def read(paths: Sequence[str | Path], names: Names) -> tuple[list[Recording | TaqFeed], dict[str, dict[str, Any]]]:
    """Recordings and TAQ files, TAQ trades before all others: what prints at a time was there before the next quote.

    Also what became of the rows of each. FeedError as the readers raise it, and where none of a file's can be used.
    """
    kinds = {str(path): kind_of(path) for path in paths}
    ordered = sorted(paths, key=lambda path: kinds[str(path)] != "taq trades")
    days: list[Recording | TaqFeed] = []
    told = {}
    for path in ordered:
        kind = kinds[str(path)]
        if kind == "recording":
            day, report = read_files([path], names)
            days.append(day)
        else:
            days.append(feed := TaqFeed(path, kind, names))
            report = feed.report
        row = {"format": kind, "records": report.rows, "given": report.records}
        told[str(path)] = row | {"skipped": report.skipped, "examples": report.examples, "crossed": report.crossed}
        if report.rows and not days[-1].count:
            why = "; ".join(f"{reason}, first {report.examples.get(reason, '?')}" for reason in report.skipped)
            remedy = "name the file's venues and instruments in the configuration, or another file"
            raise FeedError(path, 0, "", f"none of its {report.rows:,} rows can be used: {why}", remedy)
    return [day for day in days if day.count] or days[:1], told


def parts_of(
    days: Sequence[Recording | TaqFeed], backtest: Backtest, began_ns: int | None = None
) -> list[Recording | TaqFeed]:
    """What is to be played of recordings. ConfigError where nothing is left, unless other files began at `began_ns`.

    A TAQ file is given its part to play, and left out where it ends before that or begins after it.
    """
    first_ns, last_ns = min(day.first_ns for day in days), max(day.last_ns for day in days)
    begin_ns, end_ns = _span(backtest, first_ns if began_ns is None else began_ns)
    found: list[Recording | TaqFeed] = []
    for day in days:
        if isinstance(day, TaqFeed):
            day.begin_ns, day.end_ns = begin_ns, end_ns
            if day.count and day.first_ns < end_ns and day.last_ns >= begin_ns:
                found.append(day)
        elif (part := _part(day, *(int(n) for n in np.searchsorted(day.times, [begin_ns, end_ns])))).count:
            found.append(part)
    if not found and began_ns is None:
        span = " to ".join(str(dt.datetime.fromtimestamp(ns / 1e9, dt.UTC)) for ns in (first_ns, last_ns))
        raise _nothing(backtest, f"it has {sum(day.count for day in days)} records, {span}")
    return found


def _span(backtest: Backtest, first_ns: int) -> tuple[int, int]:
    """The part of the time that is played: from <= time < to."""
    date = _date(first_ns)
    begin_ns = time_ns(backtest.begin, date) if backtest.begin else 0
    return begin_ns, time_ns(backtest.end, date) if backtest.end else NO_END


def _nothing(backtest: Backtest, what: str) -> ConfigError:
    told = f"backtest.from = {backtest.begin!r}, to = {backtest.end!r}: no record of the feed lies in between"
    return ConfigError(f"{told}; {what}; name times within that, or leave them out")


def _part(day: Recording, low: int, high: int) -> Recording:
    """Records low to high of a day; nothing is copied."""
    if low == 0 and high == day.count:
        return day
    start, stop = int(day.offsets[low]), int(day.offsets[max(high, low)])
    return Recording(day.data[start:stop], day.offsets[low : high + 1] - start, day.times[low:high], day.names)


def _date(ns: int) -> dt.date:
    return dt.datetime.fromtimestamp(ns // 10**9, dt.UTC).date()


def resolved(settings: Settings, first_ns: int, run_dir: str | Path | None, *, ours: bool = False) -> Config:
    """The run's configuration with the feed's clock, its day where none is named, the seed, and the run directory.

    `ours`: the feed is a run's own, so quotes of venues that show our orders have those of the run in them; in no other
    recorded feed is anything of ours. ConfigError where the day that is named is not the feed's.
    """
    config, backtest = settings.config, settings.backtest
    day = config.engine.trading_day
    if day and abs((dt.date.fromisoformat(day) - _date(first_ns)).days) > _FAR_DAYS:
        begins = dt.datetime.fromtimestamp(first_ns // 10**9, dt.UTC)
        text = f"the feed begins at {begins:%Y-%m-%d %H:%M:%S} UTC"
        raise ConfigError(f"engine.trading_day = {day!r}: {text}; name its trading day, or leave it out for the feed's")
    engine = msgspec.structs.replace(
        config.engine,
        clock="feed",
        shadow=False,
        trading_day=config.engine.trading_day or _date(first_ns).isoformat(),
        run_dir=str(run_dir if run_dir is not None else config.engine.run_dir),
    )
    simulation = config.simulation
    if backtest.seed is not None:
        simulation = msgspec.structs.replace(simulation, seed=backtest.seed)
    venues = config.venue if ours else [msgspec.structs.replace(row, shows_own=False) for row in config.venue]
    return msgspec.structs.replace(config, engine=engine, simulation=simulation, venue=venues)


def _parents(
    config: Config,
    backtest: Backtest,
    days: list[Recording | TaqFeed],
    streams: list[Stream | JournalFeed],
    first_ns: int,
    signal: pa.Table | None,
) -> list[Parent]:
    if signal is not None or backtest.signal:
        return read_signal(backtest.signal if signal is None else signal, config, first_ns, _opening(config))
    if backtest.parents:
        return read_parents(backtest.parents, config, first_ns)
    if not backtest.orders:
        return []
    if len(days) == 1 and not streams and isinstance(days[0], Recording):
        return generate_parents(days[0], config, backtest.orders, config.simulation.seed)
    quotes = [day.records(Template.QUOTE) if isinstance(day, Recording) else day.quotes() for day in days]
    quotes += [stream.quotes() for stream in streams]
    return generate_parents(build(quotes, Names.of(config)), config, backtest.orders, config.simulation.seed)


def _opening(config: Config) -> dict[tuple[int, int], int]:
    """What accounts hold before the first order, in units."""
    rows = positions.read(config, manifest.make(config, 1, 0).initial_state()) if config.positions.file else []
    return {(row.account, row.instrument): row.qty for row in rows}
