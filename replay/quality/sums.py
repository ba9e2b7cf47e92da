"""Exact sums by cell: what a run adds to each (venue, strategy, client, symbol, ...), and how runs add up.

Everything is summed in integers or fractions and becomes a double last, so that runs may be added in any order and
come to the same bytes. Spreads are summed as twice what they are, since mid-points are halves of integers. A sum's
name begins with its unit: n_ counts, q_ quantity, v_ price x quantity (without multiplier), m_ money, t_ ns x quantity.

Worst case: a cell for each combination that occurred, some kilobytes each: months of runs cost what a day of as many
symbols, venues, strategies and clients does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from operator import mul
from typing import Final

import numpy as np

from engine.io import histogram
from replay.quality.market import Touches
from replay.report.gather import Array
from replay.report.structs import stands

#: What a cell is of: names by dimension, in one fixed order.
Key = tuple[str, ...]
#: Products are made in int64 where they stay below this.
_SAFE: Final = 1 << 62


@dataclass
class Cell:
    """Sums of one cell: by name; how often a venue refused, by reason; times as buckets of an HDR histogram."""

    sums: dict[str, Fraction] = field(default_factory=dict)
    rejects: Counter[str] = field(default_factory=Counter)
    times: Counter[int] = field(default_factory=Counter)

    def add(self, other: Cell) -> None:
        """Add another cell's sums."""
        for name, value in other.sums.items():
            self.sums[name] = self.sums.get(name, Fraction(0)) + value
        self.rejects.update(other.rejects)
        self.times.update(other.times)


class Columns:
    """Integers a row, by name, and the cell that each row belongs to: summed by cell, exactly."""

    def __init__(self, cell: Array, cells: int) -> None:
        self.cell, self.cells = cell, cells
        self._sums: dict[str, list[int]] = {}

    def add(self, name: str, values: Array | int, where: Array | None = None) -> None:
        """Sum `values` (int64, or Python's integers) of the rows where `where` holds."""
        cell = self.cell
        if isinstance(values, int):
            values = np.full(len(cell), values, dtype=np.int64)
        if where is not None:
            cell, values = cell[where], values[where]
        self._sums[name] = by_cell(cell, values, self.cells)

    def of(self, cell: int) -> Iterator[tuple[str, int]]:
        """(name, sum) of a cell; zeros are left out."""
        return ((name, sums[cell]) for name, sums in self._sums.items() if sums[cell])


def by_cell(cell: Array, values: Array, cells: int) -> list[int]:
    """Sums by cell as Python's integers, exact whatever their size."""
    if values.dtype == object:
        told = [0] * cells
        for at, value in zip(cell.tolist(), values.tolist(), strict=True):
            told[at] += value
        return told
    high, low = np.zeros((2, cells), dtype=np.int64)
    values = values.astype(np.int64, copy=False)
    np.add.at(high, cell, values >> 32)
    np.add.at(low, cell, values & 0xFFFFFFFF)
    return [(h << 32) + x for h, x in zip(high.tolist(), low.tolist(), strict=True)]


def product(a: Array, b: Array) -> Array:
    """a * b: int64, or Python's integers where that might not hold it."""
    if not len(a) or int(np.abs(a).max()) * int(np.abs(b).max()) < _SAFE:
        return a.astype(np.int64) * b
    return np.array(list(map(mul, a.tolist(), b.tolist())), dtype=object)


def spreads(
    into: Columns, sign: Array, px: Array, qty: Array, quote: tuple[Array, Array], later: Sequence[Touches]
) -> None:
    """Sum executions against their reference (bid, ask; 0 is none), and against the market of each horizon.

    `v_effective` is twice the signed distance from the mid-point, `v_quoted` the spread, `v_base2` twice the mid-point;
    `v_realized_H` twice the distance from the mid-point of horizon H (an index), with what was executed where that is
    known (`q_realized_H`) and at which prices (`v_realized_px_H`).
    """
    bid, ask = quote
    known = bid > 0
    into.add("q_known", qty, known)
    into.add("v_base2", product(bid + ask, qty), known)
    into.add("v_quoted", product(ask - bid, qty), known)
    into.add("v_effective", product(sign * (2 * px - bid - ask), qty), known)
    buys = sign > 0
    far, near = np.where(buys, ask, bid), np.where(buys, bid, ask)
    gain = sign * (far - px)
    into.add("q_improved", qty, known & (gain > 0))
    into.add("v_improvement", product(gain, qty), known & (gain > 0))
    into.add("q_at_quote", qty, known & (gain == 0))
    into.add("q_outside", qty, known & (gain < 0))
    into.add("v_disimprovement", product(-gain, qty), known & (gain < 0))
    double = sign * (2 * px - bid - ask)
    at_mid = known & (double == 0)
    at_near, at_far = known & ~at_mid & (sign * (px - near) <= 0), known & ~at_mid & (gain <= 0)
    into.add("q_mid", qty, at_mid)
    into.add("q_near", qty, at_near)
    into.add("q_far", qty, at_far)
    into.add("q_inside_near", qty, known & ~at_mid & ~at_near & (double < 0))
    into.add("q_inside_far", qty, known & ~at_mid & ~at_far & (double > 0))
    for h, touch in enumerate(later):
        there = touch.bid > 0
        into.add(f"q_realized_{h}", qty, there)
        into.add(f"v_realized_px_{h}", product(px, qty), there)
        into.add(f"v_realized_{h}", product(sign * (2 * px - touch.bid - touch.ask), qty), there)


def buckets_of(times_ns: Array) -> Array:
    """Index in an `engine.io.histogram` of each time."""
    values = np.clip(times_ns, 0, histogram.HIGHEST)
    bits = np.frexp((values | (histogram.SUB_BUCKETS - 1)).astype(np.float64))[1]  # exact: HIGHEST is below 2^53
    bucket = bits.astype(np.int64) - 11
    index: Array = (bucket << 10) + (values >> bucket)
    return index


def percentiles(times: Counter[int], wanted: Sequence[float]) -> list[int | None]:
    """Percentiles in ns (highest equivalent values); None where there are none, or fewer than ten lie beyond one."""
    counts = histogram.empty()
    for index, count in times.items():
        counts[index] = count
    total = sum(times.values())
    if not total:
        return [None] * len(wanted)
    rows = histogram.summary(counts, tuple(wanted)).rows
    return [row.value_ns if row.percentile in (0.0, 100.0) or stands(total, row.percentile) else None for row in rows]
