"""Rows that come in parts, however many, thinned evenly to what fits: for drawing from, and for percentiles.

Worst case: of n rows every k-th stays, the least power of two k by which no more than `MOST` are left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from engine.record.records import DTYPES, Template
from replay.backtest.merge import Part
from replay.backtest.window import Array

#: Rows that are kept, at the most.
MOST: Final = 1 << 16


class Thinned:
    """The rows that were taken, or every `stride`-th of them; `seen` is how many there were."""

    def __init__(self, dtype: np.dtype[Any], most: int = 0) -> None:
        self.rows: Array = np.zeros(0, dtype=dtype)
        self.seen, self.stride, self.most = 0, 1, most or MOST

    def take(self, rows: Array) -> None:
        """Take the next rows."""
        number = np.arange(self.seen, self.seen + len(rows))
        self.seen += len(rows)
        self.rows = np.concatenate((self.rows, rows[number % self.stride == 0]))
        while len(self.rows) > self.most:
            self.rows, self.stride = self.rows[::2].copy(), 2 * self.stride


def quotes_of(parts: Iterable[Part], most: int = 0) -> Array:
    """The QUOTE records of a feed, thinned to `most` at the most (0: MOST)."""
    dtype = DTYPES[Template.QUOTE]
    found = Thinned(dtype, most)
    for part in parts:
        kinds = part.data.view("<u2")[part.offsets[:-1] // 2 + 1]
        starts = part.offsets[:-1][kinds == Template.QUOTE] // 8
        words = part.data.view("<i8")[starts[:, None] + np.arange(dtype.itemsize // 8)]
        found.take(np.ascontiguousarray(words).view(dtype).reshape(-1))
    return found.rows
