"""The story as one HTML page that needs nothing else; the same story gives the same bytes.

The layout is in page.html.j2 beside this file, the style is the report's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.run.amounts import commas
from replay.explain import charts
from replay.explain.structs import Story
from replay.report.pages import bps, own_ids, template
from replay.times import clock_text, span_text, time_text


def page(story: Story) -> str:
    """The story as HTML."""
    filters: dict[str, Any] = {
        "clock": clock_text,
        "span": span_text,
        "duration": time_text,
        "words": _words,
        "n": commas,
    }
    return str(
        template(Path(__file__).parent, filters).render(
            s=story,
            o=story.order,
            tiles=tiles(story),
            quantity=own_ids(charts.quantity(story), "a"),
            outside=charts.outside(story),
            prices=own_ids(charts.prices(story), "b"),
            decisions=[(m, d) for m in story.moments for d in m.decisions],
            measured=[m for m in story.moments if m.stages_ns],
        )
    )


def tiles(story: Story) -> list[tuple[str, str, str]]:
    """(label, figure, what it means) of what a reader wants first."""
    o = story.order
    rows = [("filled", commas(o.cum_qty), f"of {commas(o.qty)} ordered")]
    if o.average_px is not None:
        rows.append(("average price", o.average_px, f"limit {o.px}" if o.px else "a market order"))
    if o.cost_bps is not None:
        side = "offer" if o.side == "BUY" else "bid"
        rows.append(("cost", bps(o.cost_bps), f"against the {side} at arrival, before fees"))
    decisions = sum(len(m.decisions) for m in story.moments)
    rows.append(("decisions", str(decisions), f"{len(story.children)} children, {len(story.fills)} executions"))
    rows.append(("fees", commas(o.fees), f"{o.currency}; negative is a rebate"))
    life = span_text(o.ended_ns - o.arrived_ns) if o.ended_ns is not None else "open"
    rows.append(("lived", life, "from arrival to its end" if o.ended_ns is not None else "when the journal ends"))
    return rows


def _words(text: str) -> str:
    """NAMES_LIKE_THIS as words."""
    return text.replace("_", " ").lower()
