"""From settings to a run directory: reads the feed, takes or draws the parents, and plays them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from engine.record.records import Template
from engine.run.config import Config, ConfigError
from gateways.feeds.files import kind_of, read_files
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording, build
from gateways.orders.parents import Parent, generate_parents
from gateways.orders.parents_file import read_parents
from replay.backtest.host import Feed, Host, Terms
from replay.backtest.merge import merged
from replay.backtest.settings import Backtest, Settings, time_ns

#: What a backtest played, in its run directory.
TERMS_FILE: Final = "backtest.json"


def prepare(
    settings: Settings,
    feeds: Sequence[str | Path] = (),
    run_dir: str | Path | None = None,
    parents: Sequence[Parent] | None = None,
) -> Host:
    """A backtest that is ready to `run`. `feeds`, `run_dir` and `parents` take the place of the settings' own.

    FeedError, ParentError, ConfigError, BindError, MachineError, BacktestError where it cannot be.
    """
    backtest = settings.backtest
    paths = list(feeds) or list(backtest.feeds)
    if not paths:
        raise ConfigError("backtest.feeds: there is none; name the files of a recorded day there, or as arguments")
    days = parts_of(read(paths, Names.of(settings.config)), backtest)
    first_ns = min(day.first_ns for day in days)
    config = resolved(settings, first_ns, run_dir)
    if parents is None:
        parents = _parents(config, backtest, days)
    feed = Feed(merged(days), first_ns, sum(int(day.offsets[-1]) for day in days))
    host = Host(config, feed, list(parents), Terms(backtest.feed_latency_us * 1000, backtest.tail_s * 10**9))
    _write_down(host, backtest, paths)
    return host


def _write_down(host: Host, backtest: Backtest, paths: Sequence[str | Path]) -> None:
    """RUN_DIR/backtest.json: what was played; the records themselves are on the journal."""
    files = [{"file": str(path), "bytes": Path(path).stat().st_size} for path in paths]
    told = msgspec.to_builtins(backtest) | {"feeds": files, "seed": host.config.simulation.seed}
    text = msgspec.json.format(msgspec.json.encode(told), indent=2)
    (host.run_dir / TERMS_FILE).write_bytes(text + b"\n")


def read(paths: Sequence[str | Path], names: Names) -> list[Recording]:
    """Each file as a recording, TAQ trades before all others: what prints at a time was there before the next quote.

    FeedError as the readers raise it.
    """
    kinds = {str(path): kind_of(path) for path in paths}
    ordered = sorted(paths, key=lambda path: kinds[str(path)] != "taq trades")
    days = [read_files([path], names)[0] for path in ordered]
    return [day for day in days if day.count] or days[:1]


def parts_of(days: Sequence[Recording], backtest: Backtest) -> list[Recording]:
    """What is to be played of recordings. ConfigError where nothing is left."""
    first_ns, last_ns = min(day.first_ns for day in days), max(day.last_ns for day in days)
    date = _date(first_ns)
    begin_ns = time_ns(backtest.begin, date) if backtest.begin else first_ns
    end_ns = time_ns(backtest.end, date) if backtest.end else last_ns + 1
    cut = [_part(day, *(int(n) for n in np.searchsorted(day.times, [begin_ns, end_ns]))) for day in days]
    found = [day for day in cut if day.count]
    if not found:
        told = f"backtest.from = {backtest.begin!r}, to = {backtest.end!r}: no record of the feed lies in between"
        span = " to ".join(str(dt.datetime.fromtimestamp(ns / 1e9, dt.UTC)) for ns in (first_ns, last_ns))
        raise ConfigError(f"{told}; it has {sum(day.count for day in days)} records, {span}")
    return found


def _part(day: Recording, low: int, high: int) -> Recording:
    """Records low to high of a day; nothing is copied."""
    if low == 0 and high == day.count:
        return day
    start, stop = int(day.offsets[low]), int(day.offsets[max(high, low)])
    return Recording(day.data[start:stop], day.offsets[low : high + 1] - start, day.times[low:high], day.names)


def _date(ns: int) -> dt.date:
    return dt.datetime.fromtimestamp(ns // 10**9, dt.UTC).date()


def resolved(settings: Settings, first_ns: int, run_dir: str | Path | None) -> Config:
    """The run's configuration with the feed's clock, its day where none is named, the seed, and the run directory."""
    config, backtest = settings.config, settings.backtest
    engine = msgspec.structs.replace(
        config.engine,
        clock="feed",
        trading_day=config.engine.trading_day or _date(first_ns).isoformat(),
        run_dir=str(run_dir if run_dir is not None else config.engine.run_dir),
    )
    simulation = config.simulation
    if backtest.seed is not None:
        simulation = msgspec.structs.replace(simulation, seed=backtest.seed)
    return msgspec.structs.replace(config, engine=engine, simulation=simulation)


def _parents(config: Config, backtest: Backtest, days: list[Recording]) -> list[Parent]:
    if backtest.parents:
        return read_parents(backtest.parents, config, min(day.first_ns for day in days))
    if not backtest.orders:
        return []
    day = days[0] if len(days) == 1 else build([day.records(Template.QUOTE) for day in days], days[0].names)
    return generate_parents(day, config, backtest.orders, config.simulation.seed)
