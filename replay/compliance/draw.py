"""A report's figures, drawn from their numbers by matplotlib: for the page as SVG, for the PDF as its own paths.

Both come from the same drawing, with fixed ids and no dates, so the same numbers give the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from replay.compliance.document import Figure, span
from replay.report.charts import INK, RULE, SERIES, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PERCENTILES: Final = [
    (1.0, "min"), (2.0, "50 %"), (10.0, "90 %"), (100.0, "99 %"), (1e3, "99.9 %"), (1e4, "99.99 %"),
    (1e5, "99.999 %"), (1e6, "99.9999 %"), (1e7, "99.99999 %"),
]  # fmt: skip
#: Inches.
WIDTH: Final = 9.0


def height(figure: Figure) -> float:
    """Height of a figure in inches."""
    return {"points": 2.3, "bars": 3.2}.get(figure.kind, 3.4)


def as_svg(figure: Figure) -> str:
    """The figure as an SVG element."""
    return svg(lambda axes: draw(figure, axes), height(figure))


def draw(figure: Figure, axes: Axes) -> None:
    """Draw a figure."""
    {"lines": _lines, "bars": _bars, "points": _points}[figure.kind](figure, axes)


def _lines(figure: Figure, axes: Axes) -> None:
    from matplotlib.ticker import LogLocator

    for n, line in enumerate(figure.lines):
        points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
        if figure.y_scale == "log":
            points = [(x, max(y, 1.0)) for x, y in points]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, color=SERIES[n % 9], label=line.name, marker="o" if len(points) < 40 else None, ms=3)
    axes.set_xscale(figure.x_scale)
    axes.set_yscale(figure.y_scale)
    if figure.x_kind == "percentile":
        most = max((line.x[-1] for line in figure.lines), default=1.0)
        ticks = [row for row in _PERCENTILES if row[0] <= most * 1.5]
        axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
    else:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    for value, name in figure.marks:
        axes.axhline(value, color=SERIES[2], lw=1.0, ls="--", label=name or None)
    axes.minorticks_off()
    low, high = axes.get_ylim()
    if figure.y_scale == "log" and high < low * 300:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    if figure.y_kind == "ns":
        axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    if any(line.name for line in figure.lines):
        axes.legend(loc="best", ncols=3, fontsize=9)


def _short(ns: float) -> str:
    """A tick's label: without decimals that are zero."""
    text = span(int(ns))
    number, _, unit = text.partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def _bars(figure: Figure, axes: Axes) -> None:
    places = range(len(figure.names))
    count = max(len(figure.lines), 1)
    for n, line in enumerate(figure.lines):
        at = [place + (n - (count - 1) / 2) * 0.8 / count for place in places]
        axes.bar(at, [y or 0.0 for y in line.y], width=0.8 / count, color=SERIES[n % 9], label=line.name)
    for value, name in figure.marks:
        axes.axvline(value, color=SERIES[2], lw=1.2, ls="--", label=name)
    axes.set_xticks(list(places), figure.names, rotation=30, ha="right", fontsize=9)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(figure.x_label)
    axes.set_ylabel(figure.y_label)
    axes.legend(loc="best", fontsize=9)


def _points(figure: Figure, axes: Axes) -> None:
    """The timestamp points on one line of time, their names above and below in turn."""
    axes.set_axis_off()
    last = len(figure.names) - 1
    axes.plot([0, last], [0, 0], color=RULE, lw=2, zorder=1)
    for n, name in enumerate(figure.names):
        inside = 2 <= n <= 8
        axes.plot([n], [0], color=SERIES[0 if inside else 1], marker="o", ms=9, zorder=2, lw=0)
        axes.plot([n, n], [0, 0.42 if n % 2 else -0.42], color=RULE, lw=0.8, zorder=0)
        place = (n, 0.5 if n % 2 else -0.5)
        axes.text(*place, name, ha="center", va="bottom" if n % 2 else "top", fontsize=9, color=INK)
    axes.text(5.0, 1.05, "within one event: service time", ha="center", va="bottom", fontsize=9, color=SERIES[0])
    axes.plot([2, 8], [1.0, 1.0], color=SERIES[0], lw=1.2)
    axes.text(10.0, 1.05, "reports of the venue", ha="center", va="bottom", fontsize=9, color=SERIES[1])
    axes.plot([9, 11], [1.0, 1.0], color=SERIES[1], lw=1.2)
    axes.set_xlim(-0.7, last + 0.7)
    axes.set_ylim(-1.0, 1.45)
