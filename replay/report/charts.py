"""The report's pictures: SVG text made by matplotlib, the same bytes for the same numbers.

No dates and fixed ids, so that two reports of one run are equal; text stays text; colours are the page's own (CSS
variables), so that the pictures follow its light and dark.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, Final

from replay.report.structs import Measures, Series, Venue, stands
from replay.times import time_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours that matplotlib is given, and what the page shows instead.
INK, RULE = "#010203", "#040506"
_COLOURS: Final = {INK: "currentColor", RULE: "var(--rule)"} | {f"#0a0b{n:02x}": f"var(--s{n})" for n in range(9)}
SERIES: Final = [f"#0a0b{n:02x}" for n in range(9)]
STYLE: Final[dict[str, Any]] = {
    "svg.hashsalt": "tickroute",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}


def percentile_curve(measures: Measures) -> str:
    """Latency by percentile, a line a stage; "" where nothing was measured."""
    curves = {stage: points for stage, points in measures.curves.items() if points}
    if not curves:
        return ""

    def draw(axes: Axes) -> None:
        for n, (stage, points) in enumerate(curves.items()):
            whole = stage == "total"
            x, y = zip(*points, strict=True)
            values = [max(value, 1) for value in y]
            axes.plot(x, values, color=SERIES[n % 9], label=stage, lw=2.6 if whole else 1.3, zorder=3 if whole else 2)
        axes.set_xscale("log")
        axes.set_yscale("log")
        most = max(points[-1][0] for points in curves.values())
        ticks = [(1, "min"), (2, "50 %"), (10, "90 %"), (100, "99 %"), (1e3, "99.9 %"), (1e4, "99.99 %"),
                 (1e5, "99.999 %"), (1e6, "99.9999 %"), (1e7, "99.99999 %")]  # fmt: skip
        shown = [(at, text) for at, text in ticks if at <= most * 1.5]
        axes.set_xticks([at for at, _ in shown], [text for _, text in shown])
        axes.set_xlabel("percentile")
        time_axis(axes)
        axes.legend(loc="upper left", ncols=3, fontsize=10)

    return svg(draw, 5.0)


def over_time(series: Series) -> str:
    """p50, p99 and maximum of the whole over run time."""

    def draw(axes: Axes) -> None:
        lines = (("p50", series.p50_ns, 0), ("p99", series.p99_ns, 1), ("max", series.max_ns, 2))
        for name, values, colour in lines:
            at = [
                (s + series.bin_s / 2, max(v, 1)) for s, v in zip(series.start_s, values, strict=True) if v is not None
            ]
            if at:
                x, y = zip(*at, strict=True)
                axes.plot(x, y, color=SERIES[colour], label=name, marker="o" if len(at) < 40 else None, ms=3)
        axes.set_yscale("log")
        axes.set_xlabel(f"seconds since the start ({series.clock})")
        axes.set_xlim(0, series.bin_s * len(series.start_s))
        time_axis(axes)
        axes.legend(loc="upper right", ncols=3, fontsize=10)

    return svg(draw, 3.6)


def by_venue(venues: list[Venue]) -> str:
    """Routed and filled quantity, a bar a venue; "" where nothing was routed."""
    used = [venue for venue in venues if venue.children]
    if not used:
        return ""
    used = sorted(used, key=lambda venue: (venue.routed, venue.mic))

    def draw(axes: Axes) -> None:
        names = [venue.mic for venue in used]
        axes.barh(names, [venue.routed for venue in used], color=SERIES[0], alpha=0.3, label="routed", height=0.7)
        axes.barh(names, [venue.filled for venue in used], color=SERIES[0], label="filled", height=0.7)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("quantity")
        axes.legend(loc="lower right", fontsize=10)

    return svg(draw, 0.9 + 0.3 * len(used))


def time_axis(axes: Axes) -> None:
    """Times on the y axis, in their own units."""
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / _unit(value)[0]:g} {_unit(value)[1]}")
    axes.minorticks_off()


def _unit(ns: float) -> tuple[float, str]:
    return (
        next((size, unit) for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 0.0)) if ns >= size)
        if (ns >= 1e3)
        else (1.0, "ns")
    )


def svg(draw: Any, height: float) -> str:
    """An SVG element 9 inches wide."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(9, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.set_axisbelow(True)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    for given, shown in _COLOURS.items():
        text = text.replace(given, shown)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", re.sub(r'height="[\d.]+pt"', "", text, count=1), count=1)


def quoted(count: int, percentile: float, value_ns: int) -> str:
    """A percentile as text; empty where too few values lie beyond it."""
    return time_text(value_ns) if count and stands(count, percentile) else ""
