"""The latencies that a run measured, for a backtest of it: from a venue to the engine, and from an order to its answer.

Both by the engine's clock, which in a replay is the market's. An answer is the first report on an order that was sent;
half of the median is taken for one way, because a backtest's venue has one latency for both.

Worst case: a venue that was sent nothing has no measure, and keeps what is configured. Of many quotes the percentiles
are those of every so many-th (`thinned`); all are counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from engine.io.journal_format import Kind
from engine.record.records import Template
from replay.backtest.results import Result
from replay.backtest.settings import Settings
from replay.backtest.thinned import Thinned
from replay.report.gather import Array, Kept, gather_parts
from replay.report.structs import Latencies, Measured

_QUOTE: Final = (Kind.INPUT, Template.QUOTE)
_NEEDED: Final[Kept] = {_QUOTE: "ts_event_ns ts_recv_ns"}
_MOST_US: Final = 10**9


def measured(run_dir: str | Path) -> Measured:
    """What a run measured. JournalError, ManifestError: it cannot be read by this build."""
    quotes = Thinned(np.dtype(np.int64))
    for part in gather_parts(run_dir, _NEEDED):
        quotes.take(part[_QUOTE]["ts_recv_ns"] - part[_QUOTE]["ts_event_ns"])
    children = Result(run_dir).children()
    sent, answered = (children[name].cast(pa.int64()).fill_null(0).to_numpy() for name in ("time", "first_report"))
    mics = np.array(children["mic"].to_pylist(), dtype=object)
    venues = {}
    for mic in sorted(set(mics.tolist())):
        told = _of((answered - sent)[(mics == mic) & (answered > 0)])
        if told is not None:
            venues[mic] = told
    return Measured(feed=_of(quotes.rows, quotes.seen), order_to_answer=venues)


def with_latencies(settings: Settings, found: Measured) -> Settings:
    """Settings with the latencies that were measured in the place of those configured."""
    venues = [
        msgspec.structs.replace(venue, latency_us=_us(found.order_to_answer[venue.mic].p50_ns / 2))
        if venue.mic in found.order_to_answer
        else venue
        for venue in settings.config.venue
    ]
    feed_us = settings.backtest.feed_latency_us if found.feed is None else _us(found.feed.p50_ns)
    backtest = msgspec.structs.replace(settings.backtest, feed_latency_us=feed_us)
    return Settings(msgspec.structs.replace(settings.config, venue=venues), backtest)


def _of(times_ns: Array, count: int = 0) -> Latencies | None:
    """Percentiles of some times, which may be those of `count` in all."""
    if not len(times_ns):
        return None
    p50, p90, p99 = (int(value) for value in np.percentile(times_ns, (50, 90, 99), method="lower"))
    return Latencies(count=count or len(times_ns), p50_ns=p50, p90_ns=p90, p99_ns=p99)


def _us(ns: float) -> int:
    return min(max(round(ns / 1000), 0), _MOST_US)
