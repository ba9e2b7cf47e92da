"""Files that are read as they are played: fitted to the configuration, cut to the part that is played, in parts.

Worst case: a file is read twice, and once more where parents are drawn from its quotes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from gateways.formats.batch import Batch, taken
from gateways.formats.fit import Fitted, Target, Told, Wanted
from gateways.formats.fit_kernels import index_batch
from replay.backtest.merge import Part
from replay.backtest.settings import FeedFile
from replay.backtest.thinned import quotes_of
from replay.backtest.window import Array

#: Later than all times.
NO_END: Final = 1 << 62


class Stream:
    """A file of a known format, with its levels and orders where `depth` asks. FeedError, UsageError as of `Fitted`."""

    def __init__(self, path: str | Path, told: FeedFile, target: Target, *, depth: bool = False) -> None:
        wanted = Wanted(told.venue, told.symbol, told.symbols, told.skew, told.touch, told.given)
        self._fitted = Fitted(path, target, wanted, play=True, depth=depth)
        #: The part that is played: from <= time < to, ns.
        self.begin_ns, self.end_ns = 0, NO_END

    @property
    def first_ns(self) -> int:
        """Time of the file's first record."""
        return self._fitted.first_ns

    @property
    def size(self) -> int:
        """Bytes of its records, about."""
        return self._fitted.size

    def without_orders(self) -> list[str]:
        """Symbols of which the file has no orders."""
        return self._fitted.without_orders()

    @property
    def prints_alone(self) -> bool:
        """Whether it shows no book, so that of what happened at one time it comes first."""
        return self._fitted.prints_alone

    @property
    def told(self) -> Told:
        """How fitting went: exact when `parts` has come to its end."""
        return self._fitted.told

    @property
    def whole(self) -> bool:
        """Whether all of the file is played."""
        return self.begin_ns <= self.first_ns and self.end_ns >= NO_END

    @property
    def follows(self) -> Array:
        """By pair: 1 where the touch is that of levels that `chunks` gives, for who plays them to derive; or empty."""
        return self._fitted.follows_levels if self.whole else np.zeros(0, dtype=np.int64)

    def chunks(self) -> Iterator[Array]:
        """The records that are played as bytes, each good until the next is asked for. FeedError as of `parts`.

        Without the touches of the pairs that `follows` has.
        """
        if self.whole:
            yield from map(taken, self._fitted.batches(follow=not len(self.follows)))
        else:
            yield from (part.data for part in self.parts())

    def parts(self) -> Iterator[Part]:
        """The records that are played, batch by batch: copies. FeedError where its times run backwards by far."""
        offsets, times = np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64)
        for batch in self._fitted.batches():
            if len(offsets) <= len(batch.head):
                offsets = np.zeros(len(batch.head) + 1, dtype=np.int64)
                times = np.zeros(len(batch.head), dtype=np.int64)
            n = int(index_batch(batch, offsets, times))
            part = self._cut(batch, offsets[: n + 1], times[:n])
            if len(part.times):
                yield part

    def _cut(self, batch: Batch, offsets: Array, times: Array) -> Part:
        low, high = (int(at) for at in np.searchsorted(times, [self.begin_ns, self.end_ns]))
        start = int(offsets[low])
        data = taken(batch)[start : int(offsets[high])].copy()
        return Part(data, offsets[low : high + 1] - start, times[low:high].copy())

    def quotes(self) -> Array:
        """QUOTE records of the part that is played, thinned evenly where there are many."""
        return quotes_of(self.parts())
