"""A machine as an SVG drawing: states in columns, labels on their arrows, what many states share drawn once.

Blue is what the strategy declares, grey what all orders share. The text of a label says the events first and below them
the step and its outcome. The file is written by hand, with coordinates in tenths and nothing of the time or the machine
that drew it, so that a test can compare it byte for byte.

Worst case: a strategy with dozens of states draws a wide picture; it is still read column by column.
"""

from __future__ import annotations

from html import escape
from itertools import pairwise

from engine.workflow.diagram import Arrow, Entry, Label, Picture, name_set, notes, picture
from engine.workflow.layout import Box, arrange, join
from engine.workflow.machine import Machine, State
from engine.workflow.orders import SHARED

MARGIN = 28.0
HEADER = 74.0
FOOTER = 54.0
LINE = 14.0
#: Characters of a line of names.
WRAP = 30
INK, GREY, LINES, PAPER = "#1b1f24", "#6a737d", "#8b949e", "#ffffff"
OWN, OWN_FILL, SHARED_FILL = "#0b5fbd", "#e8f1fc", "#f3f4f6"
FAIL, FAIL_FILL, END_FILL = "#b3261e", "#fdeeee", "#e6e8eb"
_NARROW, _WIDE = set("ijl.,:;|!'()/ "), set("mwMW→")


def svg(machine: Machine) -> str:
    """A machine as the text of an SVG file."""
    return _Drawing(picture(machine)).text()


def text_width(text: str, size: float, bold: bool = False) -> float:
    """About as wide as a sans-serif font sets it, and a little more."""
    units = 0.0
    for c in text:
        units += 0.3 if c in _NARROW else 0.9 if c in _WIDE else 0.7 if c.isupper() or c == "_" else 0.56
    return units * size * (1.06 if bold else 1.0) + 2


def wrapped(text: str, width: int = WRAP) -> list[str]:
    """Lines of a list of names."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


class _Drawing:
    """One picture being drawn."""

    def __init__(self, shown: Picture) -> None:
        self.shown = shown
        self.out: list[str] = []
        self.rank = _ranks(shown)
        self.boxes = {state: self._state_box(state) for state in shown.states}
        self.paths = [self._path(arrow) for arrow in shown.arrows]
        self.entries = [self._entry_box(entry) for entry in shown.entries]

    def text(self) -> str:
        """The file."""
        beads = [box for _, path in self.paths for box in path if not isinstance(box.what, State)]
        width, height = arrange([*self.boxes.values(), *beads, *self.entries], MARGIN)
        for box in (*self.boxes.values(), *beads, *self.entries):
            box.y += HEADER - MARGIN
        height += HEADER - MARGIN + FOOTER
        ports = self._ports()
        for arrow, path in self.paths:
            self._arrow(arrow, path, ports)
        for box in self.entries:
            self._entry_line(box)
        for box in beads:
            if isinstance(box.what, Arrow):
                self._label(box, box.what.labels)
        for box in self.entries:
            self._entry(box)
        for box in self.boxes.values():
            self._state(box)
        return "\n".join([*self._head(width, height), *self.out, *self._foot(height), "</svg>", ""])

    # ---- boxes

    def _state_box(self, state: State) -> Box:
        lines = len(notes(state)) + len(self.shown.inner.get(state, ()))
        texts = [*notes(state), *map(str, self.shown.inner.get(state, ()))]
        width = max([text_width(state.name, 14, bold=True), *(text_width(t, 10.5) for t in texts)]) + 28
        return Box(state, 2 * self.rank[state], max(width, 96.0), 34.0 + LINE * lines)

    def _path(self, arrow: Arrow) -> tuple[Arrow, list[Box]]:
        """The boxes that an arrow goes through, from its source to its target."""
        a, b = self.boxes[arrow.source], self.boxes[arrow.target]
        first, last = min(a.column, b.column), max(a.column, b.column)
        width = max(max(text_width(", ".join(x.events), 10.5, True), text_width(x.action, 10.5)) for x in arrow.labels)
        bead = Box(arrow, a.column + (1 if b.column >= a.column else -1), width + 8, LINE * _lines(arrow.labels) + 4)
        between = [Box(None, n, 1.0, 6.0) for n in range(first + 1, last) if n != bead.column]
        inner = sorted([bead, *between], key=lambda box: box.column, reverse=a.column > b.column)
        path = [a, *inner, b]
        join(*path)
        return arrow, path

    def _entry_box(self, entry: Entry) -> Box:
        target = self.boxes[entry.target]
        names = wrapped("from " + name_set(entry.sources, self.shown.states))
        texts = [text_width(str(label), 10.5, True) for label in entry.labels] + [text_width(n, 10) for n in names]
        column = target.column + (1 if entry.target.terminal else -1)
        box = Box(entry, column, max(texts) + 22, LINE * (len(names) + len(entry.labels)) + 10)
        join(box, target)
        return box

    # ---- lines

    def _ports(self) -> dict[tuple[Box, Box], float]:
        """(state, neighbour) -> where on the state's side the line to that neighbour begins."""
        found: dict[tuple[Box, Box], float] = {}
        for box in self.boxes.values():
            for side in (-1, 1):
                near = sorted((b for b in box.near if (b.column - box.column) * side > 0), key=lambda b: b.y)
                room = min(box.height - 14.0, 22.0 * (len(near) - 1))
                for n, other in enumerate(near):
                    share = n / (len(near) - 1) - 0.5 if len(near) > 1 else 0.0
                    found[box, other] = box.y + share * room
        return found

    def _arrow(self, arrow: Arrow, path: list[Box], ports: dict[tuple[Box, Box], float]) -> None:
        a, b = path[0], path[-1]
        side = 1 if path[1].column > a.column else -1
        end_side = 1 if path[-2].column > b.column else -1
        start = (a.right if side > 0 else a.left, ports[a, path[1]])
        end = ((b.right if end_side > 0 else b.left) + 2.0 * end_side, ports[b, path[-2]])
        own = any(label.own for label in arrow.labels)
        points = [start]
        if a.column == b.column:
            bead, apart = path[1], 5.0 if end[1] > start[1] else -5.0
            points += [(bead.left, bead.y - apart), (bead.left, bead.y + apart)]
        for box in path[1:-1] if a.column != b.column else ():
            edges = [(box.column_left, box.y), (box.column_right, box.y)]
            points += edges if side > 0 else reversed(edges)
        d = _smooth([*points, end])
        self._line(d, own)

    def _entry_line(self, box: Box) -> None:
        target = self.boxes[box.what.target]
        if box.column < target.column:
            start, end = (box.right, box.y), (target.left - 2.0, self._ports()[target, box])
        else:
            start, end = (box.left, box.y), (target.right + 2.0, self._ports()[target, box])
        self._line(_smooth([start, end]), False, dashed=True)

    def _line(self, d: str, own: bool, dashed: bool = False) -> None:
        colour, head = (OWN, "own") if own else (LINES, "shared")
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.out.append(
            f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="1.5"{dash} marker-end="url(#{head})"/>'
        )

    # ---- text

    def _write(
        self, x: float, y: float, text: str, size: float, colour: str, style: str = "", anchor: str = "middle"
    ) -> None:
        more = f" {style}" if style else ""
        self.out.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}" '
            f'text-anchor="{anchor}"{more}>{escape(text)}</text>'
        )

    def _label(self, box: Box, labels: tuple[Label, ...]) -> None:
        self._rect(box, PAPER, PAPER, 3.0)
        y = box.y - box.height / 2 + 13.0
        for label in labels:
            for text, style, colour in (
                (", ".join(label.events), 'font-weight="600"', OWN if label.own else INK),
                (label.action, "", OWN if label.own else GREY),
            ):
                self._write(box.x, y, text, 10.5, colour, style)
                y += LINE

    def _entry(self, box: Box) -> None:
        entry: Entry = box.what
        self._rect(box, PAPER, LINES, 8.0, dashed=True)
        y = box.y - box.height / 2 + 16.0
        failing = entry.target is self.shown.machine.failing
        for label in entry.labels:
            self._write(box.x, y, str(label), 10.5, FAIL if failing else INK, 'font-weight="600"')
            y += LINE
        for text in wrapped("from " + name_set(entry.sources, self.shown.states)):
            self._write(box.x, y, text, 10, GREY)
            y += LINE

    def _state(self, box: Box) -> None:
        state: State = box.what
        failed = state is self.shown.machine.failing or state.name == "FAILED"
        own = state not in SHARED
        fill = FAIL_FILL if failed else OWN_FILL if own else END_FILL if state.terminal else SHARED_FILL
        self._rect(box, fill, FAIL if failed else OWN if own else INK, 9.0, width=2.4 if state.initial else 1.4)
        if state.terminal:
            inner = Box(None, 0, box.width - 7, box.height - 7, box.x, box.y)
            self._rect(inner, "none", FAIL if failed else INK, 6.0, width=0.8)
        y = box.y - box.height / 2 + 22.0
        if state.initial:
            self._start(box)
        self._write(box.x, y, state.name, 14, FAIL if failed else OWN if own else INK, 'font-weight="700"')
        for text in notes(state):
            y += LINE
            self._write(box.x, y, text, 10.5, GREY, 'font-style="italic"')
        for label in self.shown.inner.get(state, ()):
            y += LINE
            self._write(box.x, y, str(label), 10.5, OWN if label.own else GREY)

    def _start(self, box: Box) -> None:
        self.out.append(f'<circle cx="{box.left - 30:.1f}" cy="{box.y:.1f}" r="6" fill="{INK}"/>')
        self.out.append(
            f'<path d="M{_xy(box.left - 24, box.y)} L{_xy(box.left - 2, box.y)}" stroke="{INK}" stroke-width="1.5" '
            'marker-end="url(#start)"/>'
        )

    def _rect(self, box: Box, fill: str, stroke: str, radius: float, width: float = 1.0, dashed: bool = False) -> None:
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.out.append(
            f'<rect x="{box.left:.1f}" y="{box.y - box.height / 2:.1f}" width="{box.width:.1f}" '
            f'height="{box.height:.1f}" rx="{radius:g}" fill="{fill}" '
            f'stroke="{stroke}" stroke-width="{width:g}"{dash}/>'
        )

    def _head(self, width: float, height: float) -> list[str]:
        name = escape(self.shown.machine.name)
        steps = len(self.shown.machine.steps())
        heads = "".join(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto">'
            f'<path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
            for name, colour in (("own", OWN), ("shared", LINES), ("start", INK))
        )
        return [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
                f"font-family=\"Helvetica, Arial, 'Liberation Sans', sans-serif\">"
            ),
            f"<title>machine {name}</title>",
            f"<defs>{heads}</defs>",
            f'<rect width="100%" height="100%" fill="{PAPER}"/>',
            f'<text x="{MARGIN:g}" y="36" font-size="22" font-weight="700" fill="{INK}">{name}</text>',
            (
                f'<text x="{MARGIN:g}" y="56" font-size="12" fill="{GREY}">{len(self.shown.states)} states, '
                f"{steps} steps; what is ignored or refused: tickroute machine {name} --table</text>"
            ),
        ]

    def _foot(self, height: float) -> list[str]:
        y = height - 22.0
        self.out, kept = [], self.out
        x = MARGIN
        for colour, text in ((OWN, "declared by the strategy"), (GREY, "shared by all orders")):
            self.out.append(f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="11" height="11" rx="2" fill="{colour}"/>')
            self._write(x + 17, y, text, 11, GREY, anchor="start")
            x += text_width(text, 11) + 40
        self.out.append(
            f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="22" height="11" rx="4" fill="none" stroke="{LINES}" '
            'stroke-dasharray="4 3"/>'
        )
        self._write(x + 28, y, "the same from several states, drawn once", 11, GREY, anchor="start")
        x += text_width("the same from several states, drawn once", 11) + 52
        self._write(
            x,
            y,
            "bold: events · below: step → outcome · in a state: what happens without leaving it",
            11,
            GREY,
            anchor="start",
        )
        lines, self.out = self.out, kept
        return lines


def _ranks(shown: Picture) -> dict[State, int]:
    """Columns: how many arrows a state is away from where orders begin, or come in from everywhere; ends come last."""
    targets = {arrow.target for arrow in shown.arrows}
    level = [state for state in shown.states if state.initial or (state not in targets and not state.terminal)]
    rank: dict[State, int] = dict.fromkeys(level, 0)
    while level:
        following = []
        for arrow in shown.arrows:
            if arrow.source in level and arrow.target not in rank and not arrow.target.terminal:
                rank[arrow.target] = rank[arrow.source] + 1
                following.append(arrow.target)
        level = following
    last = max(rank.values(), default=-1) + 1
    return {state: rank.get(state, last) for state in shown.states}


def _lines(labels: tuple[Label, ...]) -> int:
    return 2 * len(labels)


def _smooth(points: list[tuple[float, float]]) -> str:
    """A path through points that leaves and enters each of them level."""
    d = f"M{_xy(*points[0])}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        d += f" C{_xy(middle, y0)} {_xy(middle, y1)} {_xy(x1, y1)}"
    return d


def _xy(x: float, y: float) -> str:
    return f"{x:.1f},{y:.1f}"
