"""The report as one HTML page that needs nothing else: styles, pictures and its data are in it.

`page(report)` gives the text; the same report gives the same bytes. The data are the whole document as JSON, in a
script element that no browser runs: `tickroute report verify` reads them there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from replay.compliance.document import Cell, Report, canonical, ranges, shown, span, visible
from replay.compliance.draw import as_svg
from replay.report.pages import own_ids, template

#: What the data stand between.
BEGIN, END = '<script type="application/json" id="tickroute-report">', "</script>"


def page(report: Report) -> str:
    """The report as HTML."""
    from markupsafe import Markup

    data = canonical(report).decode().replace("</", "<\\/")
    text: str = template(Path(__file__).parent, {"cell": cell, "ranges": ranges}).render(
        r=visible(report),
        pictures={figure.id: own_ids(as_svg(figure), f"f{figure.id.replace('.', '')}") for figure in _figures(report)},
        data=Markup(data),
        begin=Markup(BEGIN),
        end=Markup(END),
    )
    return text


def _figures(report: Report) -> list[Any]:
    return [figure for part in report.parts for figure in part.figures]


def cell(value: Cell, kind: str) -> Any:
    """A cell as HTML."""
    from markupsafe import Markup, escape

    if kind == "interval" and isinstance(value, str):
        middle, low, high = (int(number) for number in value.split())
        ends = f"{bound(low)} … {bound(high)}"
        return Markup("{}<small>{}</small>").format(bound(middle), ends)
    return escape(shown(value, kind))


def bound(ns: int) -> str:
    """A value of a percentile; one of a rank among negative values is only known to be below 0."""
    return span(ns) if ns != -1 else "below 0"
