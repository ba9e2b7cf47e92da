"""HDR histograms of nanoseconds: a kernel that records, and a host that reads, adds, and writes .hlog and .hgrm.

Index arithmetic and results are those of HdrHistogram (Tene; the `hdrhistogram` package) for 1 ns to 3600 s at 3
significant digits: a value falls into one of 1024 equal steps of its power of two. A histogram is an int64 array of
LENGTH counts, so that it can lie in shared memory and be added to others; the counts proper come first, then
`counts[NEGATIVE]` and `counts[CLAMPED]`: how many of them were below 0 (counted as 0) or above HIGHEST (counted as
that). Nothing is dropped.

Worst case: 270 KB a histogram; a recorded value costs a cache line, so widely spread values cost misses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
from hdrh.histogram import HdrHistogram

from engine.io.atomics import leading_zeros
from engine.jit import kernel

DIGITS: Final = 3
LOWEST: Final = 1
#: 3600 s in ns.
HIGHEST: Final = 3_600_000_000_000
#: Steps in the first bucket: the power of two above 2 x 10^DIGITS. Each later bucket adds half as many.
SUB_BUCKETS: Final = 2048
_HALF_BITS: Final = 10
_HALF: Final = 1 << _HALF_BITS
#: Powers of two from SUB_BUCKETS to beyond HIGHEST.
BUCKETS: Final = 32
#: Counts proper, as HdrHistogram has them.
COUNTS_LEN: Final = (BUCKETS + 1) * _HALF
#: Behind the counts: how many values were clamped. The rest is zero and fills the cache line.
NEGATIVE: Final = COUNTS_LEN
CLAMPED: Final = COUNTS_LEN + 1
LENGTH: Final = COUNTS_LEN + 8
assert SUB_BUCKETS << (BUCKETS - 2) <= HIGHEST < SUB_BUCKETS << (BUCKETS - 1)

#: Percentiles of our tables.
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 100.0)


@kernel
def record(counts: Any, value: int) -> None:
    """Count one value in ns. `counts`: int64 array of LENGTH."""
    if value < 0:
        counts[NEGATIVE] += 1
        value = 0
    elif value > HIGHEST:
        counts[CLAMPED] += 1
        value = HIGHEST
    bucket = 53 - leading_zeros(value | (SUB_BUCKETS - 1))
    counts[(bucket << _HALF_BITS) + (value >> bucket)] += 1


class Row(NamedTuple):
    """One line of a percentile table. `value_ns` is the highest value that its step stands for."""

    percentile: float
    value_ns: int


class Summary(NamedTuple):
    """What a histogram says in short: how many values, how many of them clamped, and the percentiles."""

    total: int
    negative: int
    clamped: int
    mean_ns: float
    rows: tuple[Row, ...]


def empty() -> np.ndarray:
    """A histogram without values: int64 array of LENGTH."""
    return np.zeros(LENGTH, dtype=np.int64)


def merge(histograms: Iterable[np.ndarray]) -> np.ndarray:
    """The histogram of all values of several, exactly. An interval's is the difference of two cumulative ones."""
    total = empty()
    for counts in histograms:
        total += counts
    return total


def lowest_of(index: int) -> int:
    """The smallest value in ns that is counted at an index."""
    bucket = max(index // _HALF - 1, 0)
    return (index - bucket * _HALF) << bucket


def highest_of(index: int) -> int:
    """The largest value in ns that is counted at an index: what percentiles report."""
    bucket = max(index // _HALF - 1, 0)
    return lowest_of(index) + (1 << bucket) - 1


def summary(counts: np.ndarray, percentiles: Sequence[float] = PERCENTILES) -> Summary:
    """Count, clamps, mean and percentiles of a histogram; no rows where it is empty."""
    cells = counts[:COUNTS_LEN]
    sums = np.cumsum(cells)
    total = int(sums[-1])
    rows = []
    for percentile in percentiles if total else ():
        # HdrHistogram's rounding, so that both name the same cell.
        target = max(int(min(percentile, 100.0) * total / 100 + 0.5), 1)
        index = int(np.searchsorted(sums, target))
        rows.append(Row(percentile, highest_of(index) if percentile else lowest_of(index)))
    return Summary(total, int(counts[NEGATIVE]), int(counts[CLAMPED]), _mean_ns(cells, total), tuple(rows))


def _mean_ns(cells: np.ndarray, total: int) -> float:
    """Mean of the cells' middle values, as HdrHistogram takes it."""
    used = np.flatnonzero(cells)
    middles = [lowest_of(int(i)) + ((highest_of(int(i)) - lowest_of(int(i)) + 1) >> 1) for i in used]
    return sum(m * int(cells[i]) for m, i in zip(middles, used, strict=True)) / total if total else 0.0


def to_hdr(counts: np.ndarray) -> Any:
    """The same histogram as an `hdrh.histogram.HdrHistogram`: a copy by one move, which a live writer cannot change."""
    histogram = HdrHistogram(LOWEST, HIGHEST, DIGITS)
    cells = np.ctypeslib.as_array(histogram.counts)
    assert cells.size == COUNTS_LEN, "hdrhistogram lays its counts out otherwise"
    cells[:] = counts[:COUNTS_LEN]
    used = np.flatnonzero(cells)
    if used.size:
        histogram.set_internal_tacking_values(int(used[0]), int(used[-1]), int(cells.sum()))
    return histogram


def write_hgrm(path: str | Path, counts: np.ndarray, unit_ns: float = 1000.0) -> None:
    """Write a percentile distribution for HdrHistogram's plotter, values divided by `unit_ns` (1000: microseconds)."""
    with Path(path).open("wb") as file:
        to_hdr(counts).output_percentile_distribution(file, unit_ns)


class IntervalLog:
    """An .hlog file (HdrHistogram log format 1.3): intervals, each with the tag of its stage. `write`, then `close`."""

    def __init__(self, path: str | Path, start_realtime_ns: int) -> None:
        """Times of intervals are given as CLOCK_REALTIME ns and logged in seconds after `start_realtime_ns`."""
        self._file: IO[str] = Path(path).open("w", encoding="ascii")  # noqa: SIM115  closed by `close`
        self._start_ns = start_realtime_ns
        start_s = start_realtime_ns / 1e9
        utc = datetime.fromtimestamp(start_s, tz=UTC).isoformat(" ")
        self._file.write("#[Histogram log format version 1.3]\n")
        self._file.write(f"#[StartTime: {start_s:.3f} (seconds since epoch), {utc}]\n")
        self._file.write(f"#[BaseTime: {start_s:.3f} (seconds since epoch)]\n")
        self._file.write('"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n')

    def write(self, tag: str, counts: np.ndarray, begin_ns: int, end_ns: int) -> None:
        """Add an interval: counts of its values alone (not cumulative). ValueError for a tag with a comma or space."""
        if not tag or any(letter in tag for letter in ", \r\n"):
            raise ValueError(f"tag {tag!r} of an .hlog must be a word without commas; rename the stage")
        histogram = to_hdr(counts)
        begin_s, length_s = (begin_ns - self._start_ns) / 1e9, (end_ns - begin_ns) / 1e9
        max_ms = histogram.get_max_value() / 1e6
        payload = histogram.encode().decode("ascii")
        self._file.write(f"Tag={tag},{begin_s:.3f},{length_s:.3f},{max_ms:.3f},{payload}\n")

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def __enter__(self) -> IntervalLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
