"""Latency figures of a run: percentiles a stage, the percentile curve, and the whole over run time.

The stats file's cumulative histograms hold every measured event: the whole (`total`) for each one, the stages for each
that could have outputs and for one in 64 of the rest. Where there is no stats file, histograms are made from the
journal's STAGES observations, which exist for events that sent something; the report says which it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from engine.io import histogram
from engine.io.journal_format import Kind
from engine.io.stats_file import StatsError, StatsReader
from engine.record.records import Template
from engine.run.wiring import STAGES
from replay.report.gather import Array, Gathered
from replay.report.structs import Latency, Series

_POINTS: Final = 160
_PERCENTILES: Final = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0)
_MOST_BINS, _FEWEST_BINS, _A_BIN = 120, 8, 1000


def histograms(run_dir: Path, found: Gathered) -> tuple[dict[str, Array], str, dict[str, int] | None]:
    """(counts by stage, where they are from, the stats file's counters or None)."""
    try:
        reader = StatsReader(run_dir / "stats")
    except StatsError:
        return _from_observations(found), "observations", None
    try:
        counts = {stage: reader.histogram(stage) for stage in reader.stages}
        counters = reader.counters()
    finally:
        reader.close()
    if not any(cells[: histogram.COUNTS_LEN].any() for cells in counts.values()):
        return _from_observations(found), "observations", counters
    return counts, "stats", counters


def _from_observations(found: Gathered) -> dict[str, Array]:
    rows = found.table(Kind.OBSERVATION, Template.STAGES)
    result = {}
    for stage in STAGES:
        counts = result[stage] = histogram.empty()
        for value in rows[f"{stage}_ns"].tolist():
            histogram.record(counts, value)
    return result


def latency(counts: Array) -> Latency:
    """Percentiles of one histogram; all zero where it is empty."""
    told = histogram.summary(counts, _PERCENTILES)
    values = [row.value_ns for row in told.rows] or [0] * len(_PERCENTILES)
    names = ("min", "p50", "p90", "p99", "p99_9", "p99_99", "max")
    numbers = dict(zip(names, values, strict=True))
    return Latency(count=told.total, negative=told.negative, clamped=told.clamped, **numbers)


def curve(counts: Array) -> list[tuple[float, int]]:
    """Points (1 / (1 - p), ns) of the percentile curve, evenly spread over its logarithm; the last is the maximum."""
    cells = counts[: histogram.COUNTS_LEN]
    used = np.flatnonzero(cells)
    if not used.size:
        return []
    total = int(cells.sum())
    beyond = total - np.cumsum(cells[used])
    x = total / np.maximum(beyond, 1)
    wanted = np.unique(np.searchsorted(x, np.geomspace(1.0, total, _POINTS)).clip(max=len(x) - 1))
    points = [(round(float(x[n]), 4), histogram.highest_of(int(used[n]))) for n in wanted]
    highest = (float(total), histogram.highest_of(int(used[-1])))
    return points if points[-1] == highest else [*points, highest]


def series(found: Gathered, *, feed_clock: bool) -> Series | None:
    """The whole over run time, from events that sent something; None where there are none."""
    rows = found.table(Kind.OBSERVATION, Template.STAGES)
    if not len(rows):
        return None
    times_s, clock = run_time(found, rows["clock_ns"], feed_clock=feed_clock)
    last = max(float(times_s.max()), 1e-6)
    bins = int(np.clip(len(rows) // _A_BIN, _FEWEST_BINS, _MOST_BINS))
    bin_s = last / bins
    place = np.minimum((times_s / bin_s).astype(np.int64), bins - 1)
    order = np.lexsort((rows["total_ns"], place))
    values, edges = rows["total_ns"][order], np.searchsorted(place[order], np.arange(bins + 1))
    count = np.diff(edges).tolist()

    def at(share: float, least: int) -> list[int | None]:
        return [
            int(values[int(edges[n]) + min(int(share * size), size - 1)]) if size >= least else None
            for n, size in enumerate(count)
        ]

    return Series(
        clock=clock,
        bin_s=round(bin_s, 6),
        start_s=[round(n * bin_s, 6) for n in range(bins)],
        count=count,
        p50_ns=at(0.5, 1),
        p99_ns=at(0.99, 100),
        max_ns=at(1.0, 1),
    )


def run_time(found: Gathered, clock_ns: Array, *, feed_clock: bool) -> tuple[Array, str]:
    """(seconds since the start, which clock that is) of engine times.

    The journal's clock samples pair the feed's clock with real time; without two of them it is the engine's own. Any
    other clock of the engine's goes on as real time does, also where the time of day was set meanwhile.
    """
    samples = found.table(Kind.OBSERVATION, Template.CLOCK_SAMPLE)
    samples = samples[samples["realtime_ns"] > 0]
    if len(samples) >= 2:
        # A stopped feed gives several real times for one engine time: the first is when it came to be.
        engine, first = np.unique(samples["clock_ns"], return_index=True)
        real = samples["realtime_ns"][first] if feed_clock else engine
        return np.interp(clock_ns, engine, (real - real[0]) / 1e9), "real time"
    return (clock_ns - found.first_ns) / 1e9, "engine clock"
