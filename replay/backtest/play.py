"""From settings to a run directory: reads the feed, takes or draws the parents, and plays them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from engine.run.config import Config, ConfigError
from gateways.feeds.files import read_files
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording
from gateways.orders.parents import Parent, generate_parents
from gateways.orders.parents_file import read_parents
from replay.backtest.host import Feed, Host, Terms
from replay.backtest.settings import Backtest, Settings, time_ns
from replay.backtest.window import chunks_of


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
    day, _ = read_files(paths, Names.of(settings.config))
    day = part_of(day, backtest)
    config = resolved(settings, day, run_dir)
    if parents is None:
        parents = _parents(config, backtest, day)
    feed = Feed(chunks_of(day), day.first_ns, day.last_ns, int(day.offsets[-1]))
    return Host(config, feed, list(parents), Terms(backtest.feed_latency_us * 1000, backtest.tail_s * 10**9))


def part_of(day: Recording, backtest: Backtest) -> Recording:
    """The part of a day that is to be played. ConfigError where nothing is left."""
    first = dt.datetime.fromtimestamp(day.first_ns // 10**9, dt.UTC).date()
    begin = time_ns(backtest.begin, first) if backtest.begin else day.first_ns
    end = time_ns(backtest.end, first) if backtest.end else day.last_ns + 1
    low, high = np.searchsorted(day.times, [begin, end])
    if low >= high:
        told = f"backtest.from = {backtest.begin!r}, to = {backtest.end!r}: no record of the feed lies in between"
        span = " to ".join(
            dt.datetime.fromtimestamp(ns / 1e9, dt.UTC).isoformat() for ns in (day.first_ns, day.last_ns)
        )
        raise ConfigError(f"{told}; it has {day.count} records, {span}")
    if low == 0 and high == day.count:
        return day
    start, stop = int(day.offsets[low]), int(day.offsets[high])
    return Recording(day.data[start:stop], day.offsets[low : high + 1] - start, day.times[low:high], day.names)


def resolved(settings: Settings, day: Recording, run_dir: str | Path | None) -> Config:
    """The run's configuration with the feed's clock, its day where none is named, the seed, and the run directory."""
    config, backtest = settings.config, settings.backtest
    date = dt.datetime.fromtimestamp(day.first_ns // 10**9, dt.UTC).date()
    engine = msgspec.structs.replace(
        config.engine,
        clock="feed",
        trading_day=config.engine.trading_day or date.isoformat(),
        run_dir=str(run_dir if run_dir is not None else config.engine.run_dir),
    )
    simulation = config.simulation
    if backtest.seed is not None:
        simulation = msgspec.structs.replace(simulation, seed=backtest.seed)
    return msgspec.structs.replace(config, engine=engine, simulation=simulation)


def _parents(config: Config, backtest: Backtest, day: Recording) -> list[Parent]:
    if backtest.parents:
        return read_parents(backtest.parents, config, day.first_ns)
    if backtest.orders:
        return generate_parents(day, config, backtest.orders, config.simulation.seed)
    return []
