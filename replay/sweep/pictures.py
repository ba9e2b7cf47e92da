"""The pictures of a sweep: each key against cost, with its spread over days and seeds, and two keys as a field.

Drawn as the report's pictures are (replay.report.charts): the same bytes for the same numbers, colours of the page.
Worst case: a value of a key is a column; beyond MOST_POINTS cells are drawn thinned evenly, means are of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from replay.report.charts import INK, SERIES, svg
from replay.sweep.compare import Row
from replay.sweep.grid import Axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Cells drawn of one picture, at the most.
MOST_POINTS: Final = 600
#: Values of a key that a field shows, at the most.
MOST_VALUES: Final = 24
_COST: Final = "cost with fees, bps"


def against(axis: Axis, at: int, rows: Sequence[Row]) -> str:
    """Cost by the values of one key (the `at`-th of the grid), over all days, seeds and other keys; "" of nothing."""
    found = {value: [f for row in rows if row.values[at] == value for _, _, f in row.figures] for value in axis.values}
    found = {value: figures for value, figures in found.items() if figures}
    if len(found) < 2:
        return ""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    places = [float(value) for value in found] if numbers else [float(n) for n in range(len(found))]
    order = np.argsort(places)

    def draw(axes: Axes) -> None:
        x, told = np.array(places)[order], [np.array(list(found.values())[n]) for n in order]
        step = max(sum(map(len, told)) // MOST_POINTS, 1)
        low, high = ([float(np.percentile(figures, p)) for figures in told] for p in (10, 90))
        axes.fill_between(x, low, high, color=SERIES[0], alpha=0.15, lw=0, label="10 % to 90 % of the cells")
        axes.scatter(
            np.concatenate([np.full(len(figures[::step]), at) for at, figures in zip(x, told, strict=True)]),
            np.concatenate([figures[::step] for figures in told]),
            s=8, color=SERIES[0], alpha=0.35, lw=0, label="a cell",
        )  # fmt: skip
        means = [float(figures.mean()) for figures in told]
        errors = [float(figures.std(ddof=1) / len(figures) ** 0.5) if len(figures) > 1 else 0.0 for figures in told]
        axes.errorbar(x, means, yerr=errors, color=SERIES[1], marker="o", ms=5, capsize=3, label="mean, standard error")
        if len(x) <= MOST_VALUES:
            texts = [_text(list(found)[n]) for n in order]
            axes.set_xticks(list(x), texts, rotation=30 if max(map(len, texts)) > 8 else 0)
        axes.set_xlabel(axis.key)
        axes.set_ylabel(_COST)
        axes.legend(loc="best", fontsize=9, ncols=3)

    return svg(draw, 3.4)


def field(one: tuple[int, Axis], other: tuple[int, Axis], rows: Sequence[Row]) -> str:
    """Mean cost by the values of two keys, a cell a pair, darker where it is cheaper; "" where there are too many."""
    (a, across), (b, up) = one, other
    if not 1 < len(across.values) <= MOST_VALUES or not 1 < len(up.values) <= MOST_VALUES:
        return ""
    told: dict[tuple[Any, Any], list[float]] = {}
    for row in rows:
        told.setdefault((row.values[a], row.values[b]), []).extend(figure for _, _, figure in row.figures)
    means = {pair: sum(figures) / len(figures) for pair, figures in told.items() if figures}
    if not means:
        return ""
    least, most = min(means.values()), max(means.values())

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Rectangle

        for x, value in enumerate(across.values):
            for y, second in enumerate(up.values):
                mean = means.get((value, second))
                if mean is None:
                    continue
                share = (most - mean) / (most - least) if most > least else 0.5
                box = Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=SERIES[0], alpha=0.08 + 0.62 * share, lw=0)
                axes.add_patch(box)
                size = 10 if len(across.values) <= 10 else 8
                axes.text(x, y, f"{mean:.3f}", ha="center", va="center", color=INK, fontsize=size)
        axes.set_xlim(-0.5, len(across.values) - 0.5)
        axes.set_ylim(-0.5, len(up.values) - 0.5)
        axes.set_xticks(range(len(across.values)), [_text(value) for value in across.values])
        axes.set_yticks(range(len(up.values)), [_text(value) for value in up.values])
        axes.set_xlabel(across.key)
        axes.set_ylabel(up.key)
        axes.grid(visible=False)

    return svg(draw, 1.2 + 0.42 * max(len(up.values), 3))


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
