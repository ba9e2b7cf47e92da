"""The comparison of a sweep as one HTML page that needs nothing else; the layout is in page.html.j2 beside this file.

The same table gives the same bytes. Worst case: rows beyond MOST_ROWS are in the Parquet file alone, and it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

from replay.report.pages import bps, money, own_ids, quantity, share, template
from replay.sweep import pictures
from replay.sweep.compare import Row
from replay.sweep.grid import Axis
from replay.times import time_text

#: Combinations in the table, at the most.
MOST_ROWS: Final = 500
#: Keys with a picture of their own, and pairs of keys with one, at the most.
MOST_KEYS: Final = 8
MOST_PAIRS: Final = 6


class Facts(NamedTuple):
    """What a page says beside its rows."""

    config: str
    strategy: str
    days: tuple[str, ...]
    seeds: tuple[int, ...]
    failed: tuple[tuple[int, str, int, str], ...]
    retries: int
    sources: str


def page(axes: Sequence[Axis], rows: Sequence[Row], facts: Facts) -> str:
    """The page."""
    numbered = list(enumerate(axes))[:MOST_KEYS]
    several = [(n, axis) for n, axis in numbered if len(axis.values) > 1]
    lines = [(axis.key, own_ids(pictures.against(axis, n, rows), f"k{n}")) for n, axis in several]
    pairs = list(combinations(several, 2))[:MOST_PAIRS]
    fields = [
        (f"{one[1].key} and {other[1].key}", own_ids(pictures.field(one, other, rows), f"f{n}"))
        for n, (one, other) in enumerate(pairs)
    ]
    filters = {"bps": bps, "share": share, "money": money, "qty": quantity, "duration": time_text, "plain": _plain}
    text: str = template(Path(__file__).parent, filters).render(
        axes=axes,
        rows=rows[:MOST_ROWS],
        left_out=max(len(rows) - MOST_ROWS, 0),
        facts=facts,
        cells=sum(row.cells for row in rows),
        broken=sum(1 for row in rows if row.losses.broken),
        lines=[(key, picture) for key, picture in lines if picture],
        fields=[(key, picture) for key, picture in fields if picture],
    )
    return text


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:,}" if isinstance(value, int) else str(value)
