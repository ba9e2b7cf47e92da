"""The report as one HTML page that needs nothing else: styles and pictures are in it, and it opens from a mail.

`page(measures)` gives the text; the same measures give the same bytes. The layout is in page.html.j2 beside this file.
It reads on a telephone, prints on A4 and follows the reader's light or dark.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from replay.report import charts
from replay.report.charts import quoted
from replay.report.structs import Measures, Played
from replay.times import time_text

if TYPE_CHECKING:
    from replay.report.trading import Drawn

_PERCENTILES: Final = (("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99_9", 99.9), ("p99_99", 99.99))


def page(measures: Measures, drawn: Drawn | None = None) -> str:
    """The report as HTML; `drawn` is what its pictures of trading are made from, without which it has none."""
    filters = {
        "qty": quantity,
        "money": money,
        "share": share,
        "bps": bps,
        "mean": mean,
        "clock": clock,
        "duration": time_text,
    }
    text: str = template(Path(__file__).parent, filters).render(
        m=measures,
        tiles=tiles(measures),
        latency=latency_rows(measures),
        curve=own_ids(charts.percentile_curve(measures), "a"),
        series=own_ids(charts.over_time(measures.series), "b") if measures.series else "",
        bars=own_ids(charts.by_venue(measures.outcome.venues), "c"),
        latency_known=any(row.count for row in measures.latency_ns.values()),
        pictures=pictures(measures, drawn),
    )
    return text


def pictures(measures: Measures, drawn: Drawn | None) -> dict[str, Any]:
    """The pictures of trading by name; `courses`: symbol, fills, how many are drawn, price and held of instruments."""
    if drawn is None:
        return {"courses": [], "more": 0} | dict.fromkeys(("slippage", "fees", "markouts", "benchmarks"), "")
    from replay.report import charts_trading as t

    courses = [
        (c.symbol, c.fills, len(c.fill_ns), own_ids(t.price(c), f"p{n}"), own_ids(t.held(c), f"q{n}"))
        for n, c in enumerate(drawn.courses)
    ]
    return {
        "courses": courses,
        "more": drawn.more,
        "slippage": own_ids(t.slippage(drawn), "s"),
        "fees": own_ids(t.fees(measures.outcome.venues, measures.outcome.currency), "f"),
        "markouts": own_ids(t.markouts(drawn), "m"),
        "benchmarks": own_ids(t.benchmarks(drawn), "n"),
    }


def template(folder: Path, filters: dict[str, Any]) -> Any:
    """The page.html.j2 of a folder, ready to render; it may include style.css, which all pages share."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template("page.html.j2")


def tiles(m: Measures) -> list[tuple[str, str, str]]:
    """(label, figure, what it means) of what a reader wants first."""
    total = m.latency_ns.get("total")
    filled = m.shares.filled / m.shares.ordered if m.shares.ordered else None
    rows = [
        ("orders", f"{m.parents.sent:,}", f"{m.parents.terminal:,} ended"),
        ("filled", share(filled), f"{quantity(m.shares.filled)} of {quantity(m.shares.ordered)}"),
        ("cost", bps(m.cost_bps), "against the arrival touch, before fees"),
        ("fees", money(m.outcome.fees), m.outcome.currency + "; negative is a rebate"),
    ]
    if total is not None and total.count:
        rows.append(("median latency", time_text(total.p50), f"{total.count:,} events, poll to last send"))
        rows.append(("p99 latency", quoted(total.count, 99.0, total.p99) or "n/a", f"longest {time_text(total.max)}"))
    return rows


def latency_rows(m: Measures) -> list[tuple[str, list[str]]]:
    """(stage, cells) of the percentile table; a cell without enough values is empty."""
    rows = []
    for stage, row in m.latency_ns.items():
        if not row.count:
            rows.append((stage, ["0"] + [""] * 7))
            continue
        cells = [f"{row.count:,}", time_text(row.min)]
        cells += [quoted(row.count, percentile, getattr(row, name)) for name, percentile in _PERCENTILES]
        rows.append((stage, [*cells, time_text(row.max)]))
    return rows


def faults(row: Played) -> str:
    """What was wrong with a file that was played, as text for people."""
    texts = [
        f"gaps {row.gaps:,} ({row.lost:,} lost), repeated {row.repeated:,}",
        f"orders never added {row.dangling:,}, that replaced such {row.dangling_after_replace:,}",
        f"added twice {row.repeated_orders:,}, crossed touches {row.crossed:,}",
    ]
    more = (
        (row.unfollowed, "levels and orders found no room"),
        (row.untold, "executions without a trade"),
        (sum(row.skipped.values()), "records left out"),
    )
    return "; ".join([", ".join(texts), *(f"{count:,} {text}" for count, text in more if count)])


def quantity(value: float | None) -> str:
    """1,234 or 1,234.5; empty for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.8f}".rstrip("0")


def mean(value: float | None) -> str:
    """One decimal; empty for None."""
    return "" if value is None else f"{value:,.1f}"


def clock(text: str) -> str:
    """An ISO time for people: without its fraction."""
    return text.replace("T", " ")[:19] + " UTC" if text else ""


def money(value: float | None) -> str:
    """Two decimals; empty for None."""
    return "" if value is None else f"{value:,.2f}"


def share(value: float | None) -> str:
    """A share as per cent; "n/a" for None."""
    return "n/a" if value is None else f"{value * 100:.1f} %"


def bps(value: float | None) -> str:
    """Basis points with their sign; "n/a" for None."""
    return "n/a" if value is None else f"{round(value, 2) + 0.0:+.2f} bps"


def own_ids(svg: str, mark: str) -> Any:
    """A picture whose ids no other picture on the page has."""
    from markupsafe import Markup

    svg = re.sub(r'\bid="([^"]+)"', rf'id="{mark}-\1"', svg)
    svg = re.sub(r'(href=")#([^"]+)"', rf'\1#{mark}-\2"', svg)
    return Markup(re.sub(r"url\(#([^)]+)\)", rf"url(#{mark}-\1)", svg))
