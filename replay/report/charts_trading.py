"""The pictures of trading: price with fills, what was held, slippage, fees by venue, markouts, cost by benchmark.

Drawn as `charts` draws. Worst case: a picture has as many points as `trading` gives it, some thousand, 100 bytes each.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import numpy as np

from replay.report.charts import INK, SERIES, svg
from replay.report.gather import Array
from replay.report.structs import Venue
from replay.report.trading import Course, Drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS: Final = 40
_BUY, _SELL = SERIES[3], SERIES[2]


def price(course: Course) -> str:
    """The national best bid and offer with our fills on them."""

    def draw(axes: Axes) -> None:
        x = _seconds(course.times_ns, course)
        mid = course.bid / 2 + course.ask / 2
        if np.isfinite(mid).any():
            axes.fill_between(x, course.bid, course.ask, color=SERIES[7], alpha=0.35, lw=0, label="bid to offer")
            axes.plot(x, mid, color=SERIES[0], lw=1.0, label="mid-point")
        for bought, name, marker, colour in ((True, "bought", "^", _BUY), (False, "sold", "v", _SELL)):
            mine = course.bought == bought
            if mine.any():
                at = _seconds(course.fill_ns[mine], course)
                axes.scatter(at, course.fill_px[mine], s=18, marker=marker, color=colour, alpha=0.75, lw=0, label=name)
        _clock_axis(axes, course)
        axes.set_ylabel(f"{course.symbol}, price")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.legend(loc="best", ncols=4, fontsize=9)

    return svg(draw, 3.8)


def held(course: Course) -> str:
    """What was held of an instrument over time."""

    def draw(axes: Axes) -> None:
        at, qty = _thinned(_seconds(course.held_ns, course), course.held)
        axes.fill_between(at, qty, step="post", color=SERIES[0], alpha=0.2, lw=0)
        axes.step(at, qty, where="post", color=SERIES[0], lw=1.2)
        axes.axhline(0, color=INK, lw=0.6)
        _clock_axis(axes, course)
        axes.set_ylabel(f"{course.symbol} held")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")

    return svg(draw, 2.4)


def slippage(drawn: Drawn) -> str:
    """How much money was executed at which cost against the mid-point at arrival; "" where none has one."""
    good = np.isfinite(drawn.slippage)
    if not good.any():
        return ""
    values, money = drawn.slippage[good], drawn.money[good]
    low, high = (float(edge) for edge in np.percentile(values, (0.5, 99.5)))
    if low == high:
        low, high = low - 0.5, high + 0.5
    share = money / money.sum() * 100

    def draw(axes: Axes) -> None:
        inside = np.clip(values, low, high)
        counts, edges = np.histogram(
            inside, bins=min(_BINS, max(len(values) // 4, 8)), range=(low, high), weights=share
        )
        axes.bar(edges[:-1], counts, width=np.diff(edges) * 0.94, align="edge", color=SERIES[0], alpha=0.7)
        mean = float((values * money).sum() / money.sum())
        axes.axvline(mean, color=SERIES[1], lw=1.5, label=f"mean by money {mean:+.2f} bps")
        axes.axvline(0, color=INK, lw=0.6)
        axes.set_xlabel("bps against the mid-point at arrival; positive is a cost")
        axes.set_ylabel("% of money traded")
        axes.legend(loc="upper right", fontsize=9)

    return svg(draw, 2.8)


def fees(venues: list[Venue], currency: str) -> str:
    """Fees by venue, the dearest last; "" where nothing was executed."""
    used = sorted((venue for venue in venues if venue.fills), key=lambda venue: (venue.fees, venue.mic))
    if not used:
        return ""

    def draw(axes: Axes) -> None:
        colours = [SERIES[3] if venue.fees < 0 else SERIES[1] for venue in used]
        axes.barh([venue.mic for venue in used], [venue.fees for venue in used], color=colours, height=0.7, alpha=0.8)
        for n, venue in enumerate(used):
            rate = "" if venue.fill_rate is None else f"{venue.fill_rate * 100:.0f} % filled"
            axes.annotate(rate, (max(venue.fees, 0.0), n), (5, 0), textcoords="offset points", va="center", fontsize=9)
        axes.axvline(0, color=INK, lw=0.6)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.set_xlabel(f"fees, {currency}; negative is a rebate")

    return svg(draw, 0.9 + 0.3 * len(used))


def markouts(drawn: Drawn) -> str:
    """Mean markout by seconds after the fill, with its standard error; "" where there is none."""
    curves = {name: [point for point in points if np.isfinite(point[1])] for name, points in drawn.markouts.items()}
    if not any(curves.values()):
        return ""

    def draw(axes: Axes) -> None:
        ticks: list[float] = []
        for (name, points), colour in zip(curves.items(), (SERIES[3], SERIES[0]), strict=True):
            if points:
                x, mean, error = zip(*points, strict=True)
                ticks = sorted({*ticks, *x})
                label = f"{name} liquidity"
                axes.errorbar(x, mean, yerr=error, color=colour, marker="o", ms=4, capsize=3, label=label)
        axes.set_xscale("symlog", linthresh=0.1)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.axhline(0, color=INK, lw=0.6)
        axes.set_xlabel("seconds after the fill")
        axes.set_ylabel("markout, bps")
        axes.legend(loc="best", fontsize=9, ncols=2)

    return svg(draw, 3.0)


def benchmarks(drawn: Drawn) -> str:
    """Costs of orders by benchmark: the middle 80 %, the middle half, the median; "" where there is none."""
    found = {name: costs[np.isfinite(costs)] for name, costs in drawn.costs.items()}
    found = {name: costs for name, costs in found.items() if len(costs)}
    if not found:
        return ""

    def draw(axes: Axes) -> None:
        for n, costs in enumerate(reversed(list(found.values()))):
            low, quarter, middle, upper, high = np.percentile(costs, (10, 25, 50, 75, 90))
            axes.barh(n, high - low, left=low, height=0.22, color=SERIES[0], alpha=0.3)
            axes.barh(n, upper - quarter, left=quarter, height=0.5, color=SERIES[0], alpha=0.55)
            axes.scatter([middle], [n], color=SERIES[1], zorder=3, s=30)
            axes.annotate(f"{middle:+.2f}", (middle, n), (0, 13), textcoords="offset points", ha="center", fontsize=9)
        axes.set_yticks(range(len(found)), list(reversed(found)))
        axes.set_ylim(-0.6, len(found) - 0.3)
        axes.use_sticky_edges = False
        axes.axvline(0, color=INK, lw=0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("cost of an order, bps: middle 80 % and middle half of the orders, and the median")

    return svg(draw, 0.9 + 0.5 * len(found))


def _thinned(at: Array, values: Array, most: int = 2000) -> tuple[Array, Array]:
    step = -(-len(at) // most)
    picked = np.unique(np.concatenate([np.arange(0, len(at), step), [len(at) - 1]]))
    return at[picked], values[picked]


def _seconds(times_ns: Array, course: Course) -> Array:
    """Seconds since the midnight (UTC) before the first time of an instrument."""
    seconds: Array = (times_ns - _midnight_ns(course)) / 1e9
    return seconds


def _midnight_ns(course: Course) -> int:
    return int(course.times_ns[0]) // 86_400_000_000_000 * 86_400_000_000_000


def _clock_axis(axes: Axes, course: Course) -> None:
    """Times of day, UTC; with the date where there are several days."""
    from matplotlib.ticker import MaxNLocator

    first, last = (float(_seconds(course.times_ns[[n]], course)[0]) for n in (0, -1))
    several = last >= 86_400
    pattern = "%m-%d %H:%M" if several else "%H:%M" if last - first > 1200 else "%H:%M:%S"
    begin = dt.datetime.fromtimestamp(_midnight_ns(course) // 1_000_000_000, dt.UTC)
    steps = [1, 1.2, 1.5, 1.8, 3, 3.6, 6, 7.2, 10]
    axes.xaxis.set_major_locator(MaxNLocator(6 if several else 8, steps=steps))
    axes.xaxis.set_major_formatter(lambda value, _: f"{begin + dt.timedelta(seconds=float(value)):{pattern}}")
    axes.set_xlim(first, max(last, first + 1))
    axes.set_xlabel("UTC")
