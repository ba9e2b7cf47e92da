"""A small backtest for tests: four venues, two stocks, parents drawn by a seed, over some synthetic minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.run import config as c
from gateways.feeds import synthetic
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording
from gateways.orders.parents import generate_parents
from replay.backtest.host import Feed, Host, Terms
from replay.backtest.results import Result
from replay.backtest.window import chunks_of

SECOND = 10**9
VENUES = (
    c.Venue(mic="XNYS", code="N", session="nyse", take_fee="0.0030", make_fee="-0.0020", latency_us=180, lot="100"),
    c.Venue(mic="BATY", code="Y", session="others", take_fee="-0.0005", make_fee="0.0018", latency_us=120, lot="100"),
    c.Venue(mic="ARCX", code="P", session="others", take_fee="0.0030", latency_us=180, lot="100"),
    c.Venue(mic="XBOS", code="B", session="others", latency_us=0, lot="100"),
)
STOCKS = (
    c.Instrument(symbol="AAA", mic="XNYS", lot="100", tick_table="us"),
    c.Instrument(symbol="BBB", mic="XNYS", lot="100", tick_table="us"),
)
SESSIONS = (
    c.Session(name="desk", role="client"),
    c.Session(name="nyse", role="venue"),
    c.Session(name="others", role="venue"),
)


def config(run_dir: Path, *, order: int = 1, **routing: Any) -> c.Config:
    """The configuration; `order` -1 declares venues, instruments and sessions backwards."""
    settings = {"stale_ms": 60_000, "child_timeout_ms": 1000} | routing
    return c.Config(
        engine=c.Engine(run_dir=str(run_dir), clock="feed", trading_day="2018-01-02"),
        orders=c.Orders(endpoint="ipc:///unused"),
        feed=[c.Feed(name="recorded", endpoint="ipc:///unused2")],
        session=list(SESSIONS[::order]),
        venue=list(VENUES[::order]),
        instrument=list(STOCKS[::order]),
        tick_table=[c.TickTable(name="us", rows=[("0", "0.0001"), ("1", "0.01")])],
        capacity=c.Capacity(instruments=2, venues=4, parents=128, children=1024, executions=1024, accounts=2),
        journal=c.Journal(segment_mib=1),
        routing=c.Routing(**settings),
        risk=c.Risk(**c.ALL_OFF, max_qty="20000", max_notional="20000000", collar_bps=500, reference_age_ms=600_000),
        simulation=c.Simulation(
            seed=7, orders=1 << 10, reject_ppm=50_000, partial_ppm=100_000, lost_order_ppm=20_000, bust_ppm=50_000
        ),
    )


def day_of(settings: c.Config, quotes: int = 500, trades: int = 150) -> Recording:
    """The day, with the configuration's indices."""
    return synthetic.generate(3, Names.of(settings), quotes=quotes, trades=trades, duration_ns=240 * SECOND)


def play(
    settings: c.Config,
    *,
    orders: int = 40,
    latency_us: int = 50,
    chunk: int = 1 << 20,
    day: Recording | None = None,
    latencies: Any = (),
) -> Result:
    """A whole backtest in the configuration's run directory."""
    day = day or day_of(settings)
    parents = generate_parents(day, settings, orders, 5) if orders else []
    feed = Feed(chunks_of(day, chunk), day.first_ns, int(day.offsets[-1]))
    terms = Terms(latency_us * 1000, 10 * SECOND, np.asarray(latencies, dtype=np.int64))
    with Host(settings, feed, parents, terms) as host:
        done = host.run()
    return Result(host.run_dir, done)


def frames(run_dir: Path) -> list[tuple[Kind, bytes]]:
    """What a journal says: kind and payload of every frame but the manifest and pads."""
    found = []
    with JournalReader(run_dir) as reader:
        for chunk in reader.chunks():
            for n, row in enumerate(chunk.rows):
                if row["kind"] not in (Kind.PAD, Kind.MANIFEST):
                    found.append((Kind(int(row["kind"])), bytes(chunk.payload(n))))
    return found


def elsewhere(settings: c.Config, run_dir: Path) -> c.Config:
    """The same in another run directory."""
    return msgspec.structs.replace(settings, engine=msgspec.structs.replace(settings.engine, run_dir=str(run_dir)))
