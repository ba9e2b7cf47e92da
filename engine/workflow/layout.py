"""Where the boxes of a layered drawing go: columns by distance from the start, few crossings, short lines.

States stand in even columns, the labels of their arrows in the odd ones between, so a label is a box like any other
and nothing overlaps. An arrow is a path of boxes: its label, and a thin box in each column that it crosses. Within a
column the order is that of the neighbours' means, tried back and forth, the fewest crossings kept; then each box moves
to the mean of its neighbours as far as those above and below let it. No number is drawn at random: equal machines give
equal drawings.

Worst case: some hundred boxes, a few dozen passes: milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

PASSES = 24
#: Between two boxes of a column.
GAP = 16.0
COLUMN_GAP = 44.0


@dataclass(eq=False)
class Box:
    """A rectangle in a column; `y` is its middle."""

    what: Any
    column: int
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    #: Left and right edge of its column: lines bend between columns, and run level inside them.
    column_left: float = 0.0
    column_right: float = 0.0
    #: Boxes of other columns that it is joined to.
    near: list[Box] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Its left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width / 2


def join(*path: Box) -> None:
    """Boxes that a line goes through, in order."""
    for a, b in pairwise(path):
        a.near.append(b)
        b.near.append(a)


def arrange(boxes: Iterable[Box], margin: float) -> tuple[float, float]:
    """Give every box its place; returns the width and height of all."""
    columns: dict[int, list[Box]] = {}
    for box in boxes:
        columns.setdefault(box.column, []).append(box)
    rows = [columns[n] for n in sorted(columns)]
    _order(rows)
    _place(rows)
    top = min(box.y - box.height / 2 for row in rows for box in row)
    for row in rows:
        for box in row:
            box.y += margin - top
    x = margin
    for row in rows:
        width = max(box.width for box in row)
        for box in row:
            box.x, box.column_left, box.column_right = x + width / 2, x, x + width
        x += width + COLUMN_GAP
    return x - COLUMN_GAP + margin, max(box.y + box.height / 2 for row in rows for box in row) + margin


def _order(rows: list[list[Box]]) -> None:
    """Sort each column so that few lines cross."""
    best, fewest = [list(row) for row in rows], _crossings(rows)
    for n in range(PASSES):
        for row in rows if n % 2 == 0 else reversed(rows):
            place = {box: k for other in rows for k, box in enumerate(other)}
            size = {box: len(other) for other in rows for box in other}
            means = {
                box: sum((place[b] + 0.5) / size[b] for b in box.near) / len(box.near) if box.near else 0.0
                for box in row
            }
            row.sort(key=lambda box: means[box])
        found = _crossings(rows)
        if found < fewest:
            best, fewest = [list(row) for row in rows], found
    for row, kept in zip(rows, best, strict=True):
        row[:] = kept


def _crossings(rows: list[list[Box]]) -> int:
    """Pairs of lines between neighbouring columns that cross."""
    place = {box: k for row in rows for k, box in enumerate(row)}
    found = 0
    for left, right in pairwise(rows):
        inside = set(right)
        lines = sorted((place[a], place[b]) for a in left for b in a.near if b in inside)
        found += sum(1 for n, (a, b) in enumerate(lines) for c, d in lines[n + 1 :] if a < c and b > d)
    return found


def _place(rows: list[list[Box]]) -> None:
    """Heights: each box at the mean of its neighbours, none over another, the order kept."""
    for row in rows:
        y = 0.0
        for box in row:
            box.y = y + box.height / 2
            y += box.height + GAP
    for n in range(PASSES):
        for row in rows if n % 2 == 0 else reversed(rows):
            wanted = [sum(b.y for b in box.near) / len(box.near) if box.near else box.y for box in row]
            _settle(row, wanted)


def _settle(row: list[Box], wanted: list[float]) -> None:
    """The heights nearest to what is wanted (least squares) that keep order and gaps."""
    offsets, at = [], 0.0
    for n, box in enumerate(row):
        if n > 0:
            at += (row[n - 1].height + box.height) / 2 + GAP
        offsets.append(at)
    blocks: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, many = blocks.pop()
            mean, count = (mean * count + other * many) / (count + many), count + many
        blocks.append((mean, count))
    free = [mean for mean, count in blocks for _ in range(count)]
    for box, mean, offset in zip(row, free, offsets, strict=True):
        box.y = mean + offset
