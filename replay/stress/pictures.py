"""A stress test as one HTML page that needs nothing else: its table and a picture of response by rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from replay.report.charts import INK, SERIES, svg, time_axis
from replay.report.pages import template
from replay.stress.structs import Percentiles, Stress
from replay.times import time_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = (("p50", "p50_ns"), ("p99", "p99_ns"), ("p99.9", "p99_9_ns"), ("highest", "max_ns"))


def page(found: Stress) -> str:
    """The page; the same numbers give the same bytes."""
    text: str = template(Path(__file__).parent, {"duration": duration}).render(s=found, picture=picture(found))
    return text


def duration(ns: int | None) -> str:
    """A time with its unit; empty for None."""
    return time_text(ns) if ns is not None else ""


def picture(found: Stress) -> str:
    """Response by rate, a line a percentile, with the bound."""

    def draw(axes: Axes) -> None:
        for n, (label, name) in enumerate(_PARTS):
            points = [
                (row.planned_per_s, value) for row in found.rates if (value := _of(row.response, name)) is not None
            ]
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, [max(value, 1) for value in y], color=SERIES[n], label=label, marker="o", ms=4)
        axes.axhline(found.bound_ns, color=INK, lw=1.0, ls="--", label="bound")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        rates = found.rates
        axes.set_xticks(
            [row.planned_per_s for row in rates], [f"{row.planned_per_s:,.0f}\n{row.times:g}×" for row in rates]
        )
        axes.set_xlabel("messages a second, times the recorded pace")
        axes.set_ylabel("due to taken in")
        time_axis(axes)
        axes.legend(loc="upper left", ncols=5, fontsize=10)

    return svg(draw, 4.2) if found.rates else ""


def _of(values: Percentiles, name: str) -> int | None:
    value: int | None = getattr(values, name)
    return value
