"""A stress test from its input to its result: the market and its orders, the rates in turn, and what they came to."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from cli.demo_config import demo_toml
from cli.stress_bench import Bench, Turn
from engine.errors import UsageError
from engine.io.journal_reader import JournalReader
from engine.jit import build_hash, source_hash
from engine.run import manifest
from engine.run.config import Config, load
from engine.run.config_read import Document
from engine.run.host import host_facts
from gateways.feeds.files import read_files
from gateways.feeds.names import Names
from gateways.orders.parents_file import read_parents
from replay.backtest.journaled import is_run
from replay.report.gather import Array
from replay.stress import interval as intervals
from replay.stress import requests
from replay.stress.interval import Interval
from replay.stress.judge import collect, rate_of, skip
from replay.stress.requests import Requests
from replay.stress.structs import Rate, Stress
from replay.times import utc_ns

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from gateways.feeds.player import Progress as Told


#: Records of one rate, at the most: half a gibibyte.
MOST_RECORDS: Final = 4_000_000
#: A rate that breaks the bound is tried so often before it is said to.
TRIES: Final = 2


class Market(NamedTuple):
    """A recorded market, with what clients asked for in it: when its messages came, how a part of it is cut out, and
    the configuration to test.
    """

    source: list[str]
    times_ns: Array
    cut: Callable[[int, int], Interval]
    config: Config
    #: The requests within a part; None: market data alone are played.
    asked: Callable[[int, int], Requests] | None


class Plan(NamedTuple):
    """What to try: rates (none: double until one falls behind), the interval's length, and how long."""

    rates: list[float]
    interval_ms: int
    seconds: float
    bound_ns: int
    budget_s: float


def open_market(paths: list[Path], config: Path | None, orders: Path | None = None) -> Market:
    """Read what was named. JournalError, ConfigError, FeedError, ParentError, UsageError: it cannot be read, or played
    together.
    """
    told = load(config) if config is not None else None
    runs = [path for path in paths if is_run(path)]
    if runs and len(paths) > 1:
        raise UsageError(f"{runs[0]}: is a run, which is played alone; name one run, or files")
    if any(path.is_dir() for path in paths) and not runs:
        raise UsageError(f"{paths[0]}: is a directory without a journal; name a run, a recording, or TAQ files")
    if runs and orders is not None:
        raise UsageError(f"--orders {orders}: {runs[0]} is a run, whose own clients' orders are played; leave it out")
    market = (
        _of_run(runs[0], told) if runs else _of_files(paths, told if told is not None else _twelve_venues(), orders)
    )
    if not len(market.times_ns):
        raise UsageError(f"{paths[0]}: has no market data; name a run or a file that has some")
    return market


def _of_run(path: Path, told: Config | None) -> Market:
    if told is None:
        with JournalReader(path) as reader:
            told = manifest.from_bytes(reader.manifest).read_config()
    settings = told
    times_ns = np.concatenate([intervals.times_of_run(path, settings), requests.times_of_run(path, settings)])
    return Market(
        [str(path)],
        np.sort(times_ns),
        lambda begin, end: intervals.of_run(path, settings, begin, end),
        settings,
        lambda begin, end: requests.of_run(path, settings, begin, end),
    )


def _of_files(paths: list[Path], settings: Config, orders: Path | None) -> Market:
    day, _ = read_files(paths, Names.of(settings))
    source = [str(path) for path in paths]
    if orders is None:
        return Market(source, day.times, lambda begin, end: intervals.of_day(day, begin, end), settings, None)
    session = next((n for n, row in enumerate(settings.session) if row.role == "client"), None)
    if session is None:
        raise UsageError(f"--orders {orders}: the configuration has no [[session]] of role client to send them on")
    parents = [parent for parent in read_parents(orders, settings, day.first_ns) if parent.at_ns]
    if not parents:
        raise UsageError(f"--orders {orders}: no order has a time; give them one in the column `at`")
    times_ns = np.sort(np.concatenate([day.times, [parent.at_ns for parent in parents]]))
    return Market(
        [*source, str(orders)],
        times_ns,
        lambda begin, end: intervals.of_day(day, begin, end),
        settings,
        lambda begin, end: requests.of_parents(parents, session, begin, end),
    )


def _twelve_venues() -> Config:
    """The demonstration's configuration, for TAQ files that come without one."""
    text = demo_toml(
        Path("unused"), Path("/unused"), day="2018-01-02", day_end="", orders=1, seed=1, stale_ms=5000, idle="spin",
        strategy="strategies.sweep", parameters={},
    )  # fmt: skip
    return Document(Path("the twelve venues"), text).convert(Config)


def run(bench: Bench, market: Market, plan: Plan, bar: Bar) -> Stress:
    """Play and judge. DemoError where the engine dies."""
    peaks = [intervals.peak(market.times_ns, window_ms) for window_ms in intervals.WINDOWS_MS]
    busiest = intervals.peak(market.times_ns, plan.interval_ms)
    span = (busiest.begin_ns, busiest.begin_ns + plan.interval_ms * 1_000_000)
    part, asked = market.cut(*span), market.asked(*span) if market.asked is not None else requests.none()
    if not part.records:
        raise UsageError(f"{market.source[0]}: the busiest interval has no quotes, trades or orders to play")
    task = bar.add_task("starting the engine (a minute of compiling the first time)", total=None)
    started = datetime.now(UTC)
    bench.ready()
    with JournalReader(bench.run_dir, live=True) as reader:
        course = _Course(bench, part, asked, plan, reader, lambda told: bar.update(task, **told))
        stopped = course.run()
    bench.stop()
    rates = list({row.times: row for row in course.rates}.values())  # of each rate the last try
    broke = next((row for row in rates if not row.held), None)
    held = [row.times for row in rates if row.held and (broke is None or row.times < broke.times)]
    engine = bench.config.engine
    return Stress(
        source=market.source,
        instruments=[row.symbol for row in market.config.instrument],
        messages=len(market.times_ns),
        first_utc=utc_ns(int(market.times_ns[0])),
        last_utc=utc_ns(int(market.times_ns[-1])),
        peaks=peaks,
        interval_ms=plan.interval_ms,
        interval_utc=busiest.begin_utc,
        interval_records=part.records + asked.recorded,
        interval_per_s=(part.records + asked.recorded) * 1000 / plan.interval_ms,
        bound_ns=plan.bound_ns,
        strategy=market.config.routing.strategy,
        idle=engine.idle,
        durability=bench.config.journal.durability,
        transport="ipc",
        rates=rates,
        headroom=max(held, default=None),
        fell_behind_at=broke.times if broke is not None else None,
        why=broke.why if broke is not None else "",
        stopped=stopped,
        host=_host(),
        source_hash=source_hash(),
        build_hash=build_hash(),
        started_utc=f"{started:%Y-%m-%dT%H:%M:%SZ}",
        interval_requests=asked.recorded,
        opening_orders=asked.opening,
        left_out=asked.left_out,
        venues="simulated" if market.asked is not None and market.config.venue else "",
    )


class _Course:
    """The rates in turn; each is judged by the engine's journal before the next."""

    def __init__(
        self,
        bench: Bench,
        part: Interval,
        asked: Requests,
        plan: Plan,
        reader: JournalReader,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self.bench, self.part, self.asked, self.plan, self.reader, self.tell = bench, part, asked, plan, reader, tell
        self.named = 0
        self.offset_ns = manifest.from_bytes(reader.manifest).clock_offset_ns
        self.rates: list[Rate] = []

    def run(self) -> str:
        """Why it ended."""
        began_s, waiting, times = time.monotonic(), list(self.plan.rates), 1.0
        while True:
            if self.plan.rates:
                if not waiting:
                    return "all the rates that were asked for were tried"
                times = waiting.pop(0)
            if not self._holds(times) and not self.plan.rates:
                return "a rate fell behind"
            if time.monotonic() - began_s > self.plan.budget_s:
                return f"the {self.plan.budget_s:g} s that it may take were over"
            times *= 2

    def _holds(self, times: float) -> bool:
        part, asked, bound_ns = self.part, self.asked, self.plan.bound_ns
        copies = intervals.copies_for(part, times, self.plan.seconds, MOST_RECORDS, len(asked.times))
        day, begin_ns = intervals.faster(part, times, copies)
        per_s = (part.records + asked.recorded) * times * 1000 / self.plan.interval_ms

        def tell(now: Told) -> None:
            what = f"{times:g}x: {per_s:,.0f} records a second"
            self.tell({"completed": now.fraction, "total": 1.0, "description": what})

        for tries in range(1, TRIES + 1):
            load = requests.faster(asked, (part.begin_ns, part.end_ns), times, copies, self.named)
            self.named += (int(asked.orders.max(initial=-1)) + 1) * copies
            skip(self.reader)
            turn = Turn(times, tries, day, load, begin_ns, int((part.end_ns - part.begin_ns) * copies / times))
            played, taken = self.bench.play(
                turn, self.offset_ns, tell, lambda now: collect(self.reader, now, self.offset_ns)
            )
            self.rates.append(rate_of(played, taken, bound_ns))
            self.bench.settle()
            if self.rates[-1].held:
                return True
        return False


def _host() -> str:
    machine = host_facts()["machine"]
    return f"{machine['cpu'] or machine['architecture']}, {machine['cpus']} CPUs"
