"""The story's pictures: quantity from moment to moment, and the price of each venue at each decision.

An order sleeps for hours and then lives in microseconds, so the axis is the moments themselves, one beside the other,
with their time since arrival written below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from replay.explain.structs import Decision, Moment, Story
from replay.report.charts import INK, SERIES, svg
from replay.times import span_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS: Final = 9


def quantity(story: Story) -> str:
    """Filled and live quantity after each moment, up to what was ordered; "" where the order never was."""
    rows = [(n, m.quantities) for n, m in enumerate(story.moments, 1) if m.quantities is not None]
    if not rows:
        return ""

    def draw(axes: Axes) -> None:
        x = [n - 0.5 for n, _ in rows] + [rows[-1][0] + 0.5]
        ordered, cum, live = ([float(getattr(q, name)) for _, q in rows] for name in ("qty", "cum_qty", "live_qty"))
        both = [a + b for a, b in zip(cum, live, strict=True)]
        axes.stairs(ordered, x, color=INK, lw=1.2, label="ordered", baseline=None)
        axes.stairs(both, x, color=SERIES[0], alpha=0.28, fill=True, lw=0, label="at venues")
        axes.stairs(cum, x, color=SERIES[0], fill=True, lw=0, label="filled")
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(0, max([*ordered, *both, 1]) * 1.08)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.8g}")
        axes.set_ylabel("quantity")
        _moment_axis(axes, story.moments)
        axes.legend(loc="upper left", ncols=3, fontsize=10, bbox_to_anchor=(0, 1.16), borderaxespad=0)

    return svg(draw, 3.2)


def _moment_axis(axes: Axes, moments: list[Moment]) -> None:
    last = len(moments)
    step = max(1, -(-last // _LABELS))
    shown = list(range(1, last + 1, step))
    axes.set_xticks(shown, [f"{n}\n+{span_text(moments[n - 1].since_ns)}" for n in shown])
    axes.set_xlabel("moment, and time since arrival")
    axes.grid(visible=False, axis="x")


def prices(story: Story) -> str:
    """Each venue's net price at each decision, the chosen ones filled; "" where nothing was decided."""
    decisions = [d for m in story.moments for d in m.decisions]
    if not any(v.net for d in decisions for v in d.venues):
        return ""
    low, high = _window(decisions)

    from matplotlib.ticker import MaxNLocator

    def draw(axes: Axes) -> None:
        kinds = (
            ("out of the question", 18, {"facecolors": "none", "edgecolors": SERIES[7], "alpha": 0.55}),
            ("could be taken, left out", 34, {"facecolors": "none", "edgecolors": SERIES[1], "linewidths": 1.4}),
            ("chosen", 46, {"color": SERIES[0]}),
            ("stopped by the risk gate", 60, {"color": SERIES[2], "marker": "X"}),
        )
        for kind, size, style in kinds:
            points = [(d.number, float(v.net)) for d in decisions for v in d.venues if v.net and _kind(v) == kind]
            if points:
                at, px = zip(*points, strict=True)
                axes.scatter(at, px, s=size, label=kind, zorder=3, **style)
        _limits(axes, decisions)
        axes.set_xlim(0.4, len(decisions) + 0.6)
        axes.set_ylim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.10g}")
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("decision")
        axes.set_ylabel("price after fees")
        axes.legend(loc="upper left", ncols=5, fontsize=10, bbox_to_anchor=(0, 1.14), borderaxespad=0, handlelength=1)

    return svg(draw, 3.6)


def outside(story: Story) -> int:
    """Prices that the picture leaves out because they are far from all that could be taken."""
    decisions = [d for m in story.moments for d in m.decisions]
    low, high = _window(decisions)
    return sum(not low <= float(v.net) <= high for d in decisions for v in d.venues if v.net)


def _window(decisions: list[Decision]) -> tuple[float, float]:
    """The prices that the picture shows: those that could be taken, limits, best bids and offers, and some room.

    A stale quote far away would press all that mattered into a line.
    """
    near = [float(v.net) for d in decisions for v in d.venues if v.net and _kind(v) != "out of the question"]
    near += [float(px) for d in decisions for px in (d.limit_px, d.bid_px, d.ask_px) if px]
    near = near or [float(v.net) for d in decisions for v in d.venues if v.net] or [0.0]
    room = max((max(near) - min(near)) * 0.25, abs(near[0]) * 2e-4, 1e-9)
    return min(near) - room, max(near) + room


def _kind(venue: object) -> str:
    verdict = getattr(venue, "verdict", "")
    if verdict in ("chosen", "posted"):
        return "chosen"
    if verdict == "blocked":
        return "stopped by the risk gate"
    return "could be taken, left out" if getattr(venue, "place", None) is not None else "out of the question"


def _limits(axes: Axes, decisions: list[Decision]) -> None:
    """The order's limit at each decision."""
    limits = [(d.number, float(d.limit_px)) for d in decisions if d.limit_px]
    for n, (at, px) in enumerate(limits):
        axes.plot([at - 0.45, at + 0.45], [px, px], color=INK, lw=1.6, label="limit" if n == 0 else None, zorder=2)
