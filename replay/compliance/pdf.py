"""The report as PDF pages (A4, landscape): the same document as the page's, by reportlab.

Text is set in DejaVu Sans, which matplotlib brings along, so that nothing need be installed; figures are drawn by
`draw`, and matplotlib's paths become the page's own. Dates are those of the data (its last input) and ids are fixed, so
the same report gives the same bytes. The document's "keywords" hold the hash of its figures and what it was asked for:
`tickroute report verify` reads them there.

Worst case: a table of thousands of rows takes a second a thousand.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from replay.compliance.document import Cell, Column, Report, Table, canonical, ranges, shown, visible
from replay.compliance.html import bound

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

SANS, MONO = "DejaVuSans", "DejaVuSansMono"
_SIZE: Final = 6.4
#: Smaller letters nobody reads.
_LEAST: Final = 4.6
#: Points: A4 landscape less its margins.
_PAGE: Final = (841.89, 595.28)
_MARGIN: Final = 34.0
_WIDTH: Final = _PAGE[0] - 2 * _MARGIN
_LEFT: Final = {"text", "wide", "hash", "time"}
_INK, _SOFT, _RULE = "#1b2330", "#5b6676", "#d9dee6"


def document(report: Report) -> bytes:
    """The report as a PDF file's bytes."""
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

    _fonts()
    out = io.BytesIO()
    made = BaseDocTemplate(
        out,
        pagesize=_PAGE,
        title=report.title,
        subject=report.subtitle,
        author=f"{report.product} {report.version}",
        keywords=json.dumps(marks(report), sort_keys=True),
        invariant=1,
    )
    frame = Frame(_MARGIN, _MARGIN, _WIDTH, _PAGE[1] - 2 * _MARGIN, 0, 0, 0, 0)

    def footed(canvas: Any, doc: Any) -> None:
        canvas._doc._timeStamp = _stamp(report)
        canvas.setFont(SANS, 6)
        canvas.setFillColor(_SOFT)
        canvas.drawString(_MARGIN, 20, f"{report.title}; figures {report.figures_sha256[:16]}")
        canvas.drawRightString(_PAGE[0] - _MARGIN, 20, f"page {doc.page}")

    made.addPageTemplates([PageTemplate(frames=[frame], onPage=footed)])
    made.build(_story(visible(report)))
    return out.getvalue()


def marks(report: Report) -> dict[str, Any]:
    """What a PDF says of itself to programs."""
    return {
        "tickroute": report.format,
        "build_hash": report.build_hash,
        "figures_sha256": report.figures_sha256,
        "names": {run.run_id: run.name for run in report.runs},
        "options": json.loads(canonical(report.options)),
        "report_hash": report.report_hash,
        "source_hash": report.source_hash,
        "version": report.version,
    }


def _stamp(report: Report) -> Any:
    """The document's date: that of the last input, to the second."""
    import time

    from reportlab.lib.utils import TimeStamp

    last_ns = max((int(row[5] or 0) for row in report.parts[0].tables[0].rows), default=0)
    stamp = TimeStamp(1)
    if last_ns:
        stamp.t = last_ns // 1_000_000_000
        stamp.lt = time.gmtime(stamp.t)
        stamp.YMDhms = tuple(stamp.lt)[:6]
    return stamp


def _fonts() -> None:
    """Make matplotlib's own fonts known to reportlab."""
    import matplotlib
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (SANS, f"{SANS}-Bold", MONO):
        pdfmetrics.registerFont(TTFont(name, folder / f"{name}.ttf"))


def _style(name: str, size: float, **more: Any) -> Any:
    from reportlab.lib.styles import ParagraphStyle

    settings = {"fontName": SANS, "fontSize": size, "leading": size * 1.3, "textColor": _INK} | more
    return ParagraphStyle(name, **settings)


def _story(report: Report) -> list[Flowable]:
    from reportlab.platypus import CondPageBreak, PageBreak, Paragraph, Spacer

    bold = f"{SANS}-Bold"
    title, head = _style("title", 15, fontName=bold), _style("head", 12, fontName=bold, spaceAfter=4)
    sub, text = _style("sub", 8.5, fontName=bold, spaceBefore=8, spaceAfter=2), _style("text", 8, spaceAfter=3)
    soft = _style("soft", 6.4, textColor=_SOFT, spaceAfter=5)
    missing = _style("missing", 8, borderPadding=(1, 1, 1, 5), leftIndent=6, spaceAfter=4, textColor="#8a5a00")
    story: list[Flowable] = [Paragraph(_xml(report.title), title), Paragraph(_xml(report.subtitle), text)]
    story += [Paragraph(_xml(line), text) for line in _front(report)]
    for part in report.parts:
        if part.number:
            story.append(PageBreak() if part.number in (1, 3, 10) else CondPageBreak(280))
        story += [Spacer(1, 6), Paragraph(f"{part.number}&nbsp;&nbsp;{_xml(part.title)}", head)]
        story += [Paragraph(_xml(line), text) for line in part.texts]
        story += [Paragraph(_xml(line), missing) for line in part.missing]
        for figure in part.figures:
            story += [CondPageBreak(190), Paragraph(_xml(f"Figure {figure.id}: {figure.title}"), sub), _picture(figure)]
            if figure.source:
                story.append(Paragraph(_xml(f"From {ranges(figure.source)}."), soft))
        for table in part.tables:
            story += [CondPageBreak(70), Paragraph(_xml(f"Table {table.id}: {table.title}"), sub), _table(table)]
            if table.note:
                story.append(Paragraph(_xml(table.note), soft))
            if table.source:
                story.append(Paragraph(_xml(f"From {ranges(table.source)}."), soft))
    return story


def _front(report: Report) -> list[str]:
    lines = [f"Made by {report.product} {report.version}, build {report.build_hash}"]
    lines.append(f"SHA-256 of the figures {report.figures_sha256}")
    return lines


def _xml(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _table(table: Table) -> Flowable:
    """A table that repeats its heading and breaks over pages."""
    from reportlab.platypus import LongTable, Paragraph, TableStyle

    texts = [[_text(row[n], c) for n, c in enumerate(table.columns)] for row in table.rows]
    widths, size = _widths(table.columns, texts)
    styles = {
        "wide": _style("wide", size),
        "hash": _style("hash", size - 1.2, fontName=MONO, splitLongWords=1),
        "head": _style("cell", size, textColor=_SOFT),
        "right": _style("right", size, textColor=_SOFT, alignment=2),
    }
    heads = [Paragraph(_xml(c.label), styles["head" if c.kind in _LEFT else "right"]) for c in table.columns]
    cells: list[list[Any]] = [
        [
            Paragraph(_xml(text), styles[c.kind]) if c.kind in ("wide", "hash") else text
            for text, c in zip(row, table.columns, strict=True)
        ]
        for row in texts
    ]
    commands: list[Any] = [
        ("FONT", (0, 0), (-1, -1), SANS, size, size * 1.2),
        ("TEXTCOLOR", (0, 0), (-1, -1), _INK),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.3, _RULE),
        ("LEFTPADDING", (0, 0), (-1, -1), 3),
        ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
    ]
    commands += [("ALIGN", (n, 1), (n, -1), "RIGHT") for n, c in enumerate(table.columns) if c.kind not in _LEFT]
    return LongTable([heads, *cells], colWidths=widths, repeatRows=1, hAlign="LEFT", style=TableStyle(commands))


def _text(cell: Cell, c: Column) -> str:
    """A cell's text; a percentile has its interval on a line below."""
    if c.kind == "interval" and isinstance(cell, str):
        middle, low, high = (int(number) for number in cell.split())
        return f"{bound(middle)}\n({bound(low)} … {bound(high)})"
    return shown(cell, c.kind)


def _widths(columns: list[Column], texts: list[list[str]]) -> tuple[list[float], float]:
    """Widths of columns: of plain ones their longest text's; what is left is shared by those that may break. And the
    size of the letters, smaller where a table would be wider than the page."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    widest = []
    for n, c in enumerate(columns):
        size = _SIZE - 1.2 if c.kind == "hash" else _SIZE
        font = MONO if c.kind == "hash" else SANS
        pieces = c.label.split() if len(c.label) > 8 else [c.label]
        words = max((stringWidth(piece, SANS, _SIZE) for piece in pieces), default=0.0)
        lines = [line for row in texts for line in row[n].split("\n")]
        widest.append(max([words, *(stringWidth(line, font, size) for line in lines)]) + 7)
    fixed = sum(width for width, c in zip(widest, columns, strict=True) if c.kind not in ("wide", "hash"))
    loose = [n for n, c in enumerate(columns) if c.kind in ("wide", "hash")]
    left = max(_WIDTH - fixed, 60.0 * len(loose))
    wanted = sum(widest[n] for n in loose)
    if wanted > left:
        for n in loose:
            widest[n] = widest[n] / wanted * left
    factor = min(1.0, _WIDTH / sum(widest))
    return [width * factor for width in widest], max(_SIZE * factor, _LEAST)


def _picture(figure: Any) -> Flowable:
    from replay.compliance.pdf_picture import Picture

    return Picture(figure, _WIDTH * 0.62)
