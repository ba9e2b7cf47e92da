"""The busiest interval of a recorded market, and the same interval again, faster and as long as is needed.

Peaks are over windows that begin at a record, which is where the fullest ones begin. What is played begins with the
last quote of each venue and instrument before the interval, so that the books are what they were.

Worst case: times of the whole day are in memory (8 bytes a message), the records of the interval alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from engine.record.records import Template
from engine.run.config import Config
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording, build
from replay.backtest.journaled import JournalFeed
from replay.report.gather import Array
from replay.stress.judge import COUNTED
from replay.stress.structs import Peak
from replay.times import utc_ns

WINDOWS_MS: Final = (1000, 100, 10)
#: Before the first record that counts: the opening quotes have gone by, and the player has found its pace.
LEAD_NS: Final = 100_000_000


class Interval(NamedTuple):
    """A part of a market: records by kind, begin_ns <= ts_event_ns < end_ns, and the quotes that it begins with."""

    begin_ns: int
    end_ns: int
    parts: list[Array]
    opening: Array
    names: Names

    @property
    def records(self) -> int:
        """How many records it has, without the opening."""
        return sum(map(len, self.parts))


def peak(times_ns: Array, window_ms: int) -> Peak:
    """The most messages in any window of so many milliseconds (begin <= time < begin + window); times ascend."""
    window_ns = window_ms * 1_000_000
    counts = np.searchsorted(times_ns, times_ns + window_ns, side="left") - np.arange(len(times_ns))
    first = int(np.argmax(counts))
    begin_ns, messages = int(times_ns[first]), int(counts[first])
    return Peak(
        window_ms=window_ms,
        messages=messages,
        per_s=messages * 1000 / window_ms,
        begin_ns=begin_ns,
        begin_utc=utc_ns(begin_ns),
    )


def of_day(day: Recording, begin_ns: int, end_ns: int) -> Interval:
    """An interval of a recording."""
    before = _last(_before(day, begin_ns))
    return Interval(begin_ns, end_ns, _parts(day.cut(begin_ns, end_ns)), before, day.names)


def times_of_run(run_dir: Path, config: Config) -> Array:
    """When a run's engine had each market message, ns, ascending. JournalError as `JournalFeed`."""
    found = [part.times for part in JournalFeed(run_dir, config, 0).parts()]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def of_run(run_dir: Path, config: Config, begin_ns: int, end_ns: int) -> Interval:
    """An interval of the market data on a run's journal, at the times at which its engine had them."""
    feed, names = JournalFeed(run_dir, config, 0), Names.of(config)
    feed.end_ns = end_ns
    opening, parts = np.zeros(0, dtype=np.int64), []
    for part in feed.parts():
        day = Recording(part.data, part.offsets, part.times, names)
        if int(part.times[0]) < begin_ns:
            quotes = _before(day, begin_ns)
            opening = _last(np.concatenate([opening, quotes]) if len(opening) else quotes)
        if int(part.times[-1]) >= begin_ns:
            parts += _parts(day.cut(max(begin_ns, int(part.times[0])), end_ns))
    return Interval(begin_ns, end_ns, parts, opening, names)


def _parts(day: Recording) -> list[Array]:
    return [rows for kind in COUNTED if len(rows := day.records(kind))]


def _before(day: Recording, begin_ns: int) -> Array:
    quotes = day.records(Template.QUOTE)
    rows: Array = quotes[quotes["ts_event_ns"] < begin_ns]
    return rows


def _last(quotes: Array) -> Array:
    """The last quote of each venue and instrument."""
    if not len(quotes):
        return quotes
    keys = quotes["instrument_id"].astype(np.int64) << 16 | quotes["venue_id"]
    _, back = np.unique(keys[::-1], return_index=True)
    rows: Array = quotes[len(quotes) - 1 - back]
    return rows


def faster(interval: Interval, rate: float, copies: int) -> tuple[Recording, int]:
    """(the interval, `copies` times one after another, at `rate` times its pace; the time at which it begins).

    The opening quotes come LEAD_NS before.
    """
    span_ns = interval.end_ns - interval.begin_ns
    opening = interval.opening.copy()
    parts: list[Array] = []
    if len(opening):
        opening["ts_event_ns"] = interval.begin_ns - LEAD_NS
        parts.append(opening)
    for copy in range(copies):
        for rows in interval.parts:
            again = rows.copy()
            since = again["ts_event_ns"] - interval.begin_ns + copy * span_ns
            again["ts_event_ns"] = interval.begin_ns + (since / rate).astype(np.int64)
            parts.append(again)
    return build(parts, interval.names), interval.begin_ns


def copies_for(interval: Interval, rate: float, seconds: float, most: int, requests: int = 0) -> int:
    """How often an interval (with so many requests) is played so that it takes `seconds`, with `most` records in all;
    once at the least.
    """
    span_s = (interval.end_ns - interval.begin_ns) / 1e9 / rate
    wanted = -(-seconds // span_s)
    return max(int(min(wanted, most // max(interval.records + requests, 1))), 1)
