"""What a sweep says of each combination of values: cost over its days and seeds, its spread, and beside the best.

A cell weighs as much as any other, whatever was traded in it. `difference` is taken cell by cell, the same day and seed
under both combinations, so that what is common to both (the day, the orders drawn) is out of it; its standard error
says how far to believe it.

Worst case: a combination of one cell has no spread, and says so by None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, Final, NamedTuple

from engine.io import histogram
from replay.backtest.outcome import WHATS, Losses
from replay.sweep.cell import HISTOGRAMS, PER_BPS, Done, dense

#: What combinations are held against each other by.
MEASURE: Final = "shortfall_with_fees_bps"


class Spread(NamedTuple):
    """Some values: how many, mean, least, most, and the standard error of the mean (None of one value)."""

    n: int
    mean: float
    least: float
    most: float
    error: float | None


class Row(NamedTuple):
    """A combination: its values, cells played and failed, and what they came to. None: no cell can say it."""

    number: int
    values: tuple[Any, ...]
    cells: int
    failed: int
    cost: Spread | None
    shortfall_bps: float | None
    fill_rate: float | None
    fees: float | None
    fills: int
    order_to_fill_p50_ns: int | None
    order_to_fill_p99_ns: int | None
    slippage_p90_bps: float | None
    difference: Spread | None
    figures: tuple[tuple[str, int, float], ...]
    histograms: dict[str, Any]
    losses: Losses


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of values; None of none."""
    if not values:
        return None
    n, mean = len(values), sum(values) / len(values)
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n) if n > 1 else None
    return Spread(n, mean, min(values), max(values), error)


def rows(values: Sequence[tuple[Any, ...]], cells: Sequence[tuple[int, str, int, Done]]) -> list[Row]:
    """A row a combination, the cheapest first, those without a figure last. cells: (combination, day, seed, result)."""
    found = [_row(n, combination, [cell[1:] for cell in cells if cell[0] == n]) for n, combination in enumerate(values)]
    found.sort(key=lambda row: (row.cost is None, row.cost.mean if row.cost else 0.0, row.number))
    if not found or found[0].cost is None:
        return found
    best = {(day, seed): figure for day, seed, figure in found[0].figures}
    told = []
    for row in found:
        apart = [figure - best[day, seed] for day, seed, figure in row.figures if (day, seed) in best]
        told.append(row._replace(difference=spread(apart) if row is not found[0] else None))
    return told


def _row(number: int, values: tuple[Any, ...], cells: Sequence[tuple[str, int, Done]]) -> Row:
    good = [(day, seed, done) for day, seed, done in cells if not done.error]
    merged = {name: histogram.merge(dense(done.histograms.get(name, [])) for _, _, done in good) for name in HISTOGRAMS}
    times = histogram.summary(merged["order_to_fill"], (50.0, 99.0)).rows
    figures = [(day, seed, done.figures[MEASURE]) for day, seed, done in good]
    known = tuple((day, seed, float(figure)) for day, seed, figure in figures if figure is not None)
    return Row(
        number=number,
        values=values,
        cells=len(cells),
        failed=len(cells) - len(good),
        cost=spread([figure for _, _, figure in known]),
        shortfall_bps=_mean(good, "shortfall_bps"),
        fill_rate=_mean(good, "fill_rate"),
        fees=_mean(good, "fees"),
        fills=sum(int(done.figures["fills"] or 0) for _, _, done in good),
        order_to_fill_p50_ns=times[0].value_ns if times else None,
        order_to_fill_p99_ns=times[1].value_ns if times else None,
        slippage_p90_bps=_slippage(merged["slippage_cost"], merged["slippage_gain"], 90.0),
        difference=None,
        figures=known,
        histograms=merged,
        losses=reduce(Losses.with_those_of, (_losses(done) for _, _, done in good), Losses()),
    )


def _losses(done: Done) -> Losses:
    """What the venues of a cell could not do."""
    counts = {name: int(done.figures.get(name) or 0) for name in WHATS}
    broken = done.figures.get("broken")
    return Losses(broken=tuple(str(broken).split(", ")) if broken else (), **counts)


def _mean(cells: Sequence[tuple[str, int, Done]], name: str) -> float | None:
    found = spread([float(value) for _, _, done in cells if (value := done.figures[name]) is not None])
    return found.mean if found else None


def _slippage(cost: Any, gain: Any, percentile: float) -> float | None:
    """A percentile of the slippage of fills, gains below costs, in basis points."""
    gains, costs = (int(cells[: histogram.COUNTS_LEN].sum()) for cells in (gain, cost))
    total = gains + costs
    if not total:
        return None
    rank = max(int(percentile * total / 100 + 0.5), 1)
    if rank > gains:
        row = histogram.summary(cost, ((rank - gains) / costs * 100,)).rows[0]
        return row.value_ns / PER_BPS
    row = histogram.summary(gain, ((gains - rank + 1) / gains * 100,)).rows[0]
    return -row.value_ns / PER_BPS
