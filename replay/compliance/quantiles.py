"""Percentiles of histograms with bootstrap intervals, and none where too few values lie beyond.

A percentile is that of all values: those below 0 and above an hour, which are in no cell, keep their ranks at the two
ends. Its interval holds the middle 95 % of the same percentile of DRAWS resamples of the same size. A resample need not
be made: the r-th smallest of n values drawn with replacement from n has the rank that the r-th smallest of n uniform
numbers falls on, and that number is Beta(r, n - r + 1). The seed is fixed, and each percentile begins with it anew, so
a figure does not depend on which others were asked for.

Worst case: a percentile costs DRAWS Beta numbers, 0.1 ms. Resampling takes values as independent; latencies come in
bursts, so the true uncertainty is larger, and part 13 says so.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.io.histogram import highest_of, lowest_of
from replay.compliance.tally import CELLS, Array

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 99.99)
SEED: Final = 20260302
DRAWS: Final = 2000
#: Values that must lie beyond a percentile.
BEYOND: Final = 10
_SIDE: Final = DRAWS * 25 // 1000


class Quantile(NamedTuple):
    """A percentile, ns, with the interval's ends; all None where it may not be quoted. A rank below 0 is "negative"."""

    value_ns: int | None
    low_ns: int | None
    high_ns: int | None


NONE: Final = Quantile(None, None, None)


class Spread(NamedTuple):
    """A histogram in short. `lowest_ns` and `highest_ns` are exact; None where there is no value."""

    n: int
    lowest_ns: int | None
    quantiles: tuple[Quantile, ...]
    highest_ns: int | None
    negative: int
    over: int


class Histogram(NamedTuple):
    """One histogram of a tally: its cells, exact ends, and what is in no cell."""

    cells: Array
    lowest: int
    highest: int
    negative: int
    over: int

    @property
    def n(self) -> int:
        """All values."""
        return int(self.cells.sum()) + self.negative + self.over


def at(tally: dict[str, Array], place: int) -> Histogram:
    """The histogram at a place of a tally."""
    ends = (int(tally[name][place]) for name in ("lowest", "highest", "negative", "over"))
    return Histogram(tally["counts"][place * CELLS : (place + 1) * CELLS], *ends)


def quotable(count: int, percentile: float) -> bool:
    """Whether n (1 - p) >= BEYOND, in whole numbers: 100.0 - 99.9 is not 0.1."""
    return count * (100_000 - round(percentile * 1000)) >= BEYOND * 100_000


def quantile(histogram: Histogram, sums: Array, percentile: float) -> Quantile:
    """A percentile with its interval. `sums`: cumulative cells."""
    count = int(sums[-1]) + histogram.negative + histogram.over
    if not quotable(count, percentile):
        return NONE
    rank = max(-(-count * round(percentile * 1000) // 100_000), 1)
    draws = np.random.Generator(np.random.PCG64(SEED)).beta(rank, count - rank + 1, DRAWS)
    ranks = np.sort(np.ceil(draws * count).astype(np.int64).clip(1, count))
    return Quantile(*(_value(histogram, sums, int(r)) for r in (rank, ranks[_SIDE], ranks[DRAWS - 1 - _SIDE])))


def _value(histogram: Histogram, sums: Array, rank: int) -> int:
    """The value of a rank (from 1): its cell's upper end, within the exact ends."""
    if rank <= histogram.negative:
        return histogram.lowest if rank == 1 else -1
    if rank > histogram.negative + int(sums[-1]):
        return histogram.highest
    cell = int(np.searchsorted(sums, rank - histogram.negative))
    return min(max(highest_of(cell), histogram.lowest), histogram.highest)


def spread(histogram: Histogram, percentiles: tuple[float, ...] = PERCENTILES) -> Spread:
    """A histogram in short."""
    sums = np.cumsum(histogram.cells)
    count = int(sums[-1]) + histogram.negative + histogram.over
    if not count:
        return Spread(0, None, (NONE,) * len(percentiles), None, 0, 0)
    quantiles = tuple(quantile(histogram, sums, p) for p in percentiles)
    return Spread(count, histogram.lowest, quantiles, histogram.highest, histogram.negative, histogram.over)


def curve(histogram: Histogram, points: int = 120) -> list[tuple[float, int]]:
    """Points (1 / (1 - p), ns) of the percentile curve up to the last that may be quoted."""
    used = np.flatnonzero(histogram.cells)
    if not used.size:
        return []
    total = int(histogram.cells.sum())
    beyond = total - np.cumsum(histogram.cells[used])
    x = total / np.maximum(beyond, 1)
    most = max(total / BEYOND, 1.0)
    wanted = np.unique(np.searchsorted(x, np.geomspace(1.0, most, points)).clip(max=len(x) - 1))
    return [(float(x[n]), highest_of(int(used[n]))) for n in wanted if x[n] <= most]


def corrected(histogram: Histogram, interval_ns: int) -> Histogram:
    """As HdrHistogram's copy corrected for coordinated omission: a value longer than the interval at which inputs came
    stands for those that would have waited behind it, each an interval less."""
    cells = histogram.cells.copy()
    for cell in np.flatnonzero(histogram.cells) if interval_ns > 0 else ():
        value, n = (
            lowest_of(int(cell)) + ((highest_of(int(cell)) - lowest_of(int(cell)) + 1) >> 1),
            histogram.cells[cell],
        )
        missing = np.arange(value - interval_ns, interval_ns - 1, -interval_ns)
        np.add.at(cells, _cells_of(missing), n)
    return histogram._replace(cells=cells)


def _cells_of(values: Array) -> Array:
    """Cell of each value, as the recorder counts them."""
    bits = np.frexp((values | 2047).astype(np.float64))[1]
    bucket = bits.astype(np.int64) - 11
    cells: Array = (bucket << 10) + (values >> bucket)
    return cells
