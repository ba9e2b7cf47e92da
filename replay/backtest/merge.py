"""Several recorded feeds as one: records in the order of (time, venue code, file, place in its file).

A feed is parts, one after another in time: a recording is one part, a file that is read as it is played is many. A
stretch of time at a time, from each feed the records up to a common moment are taken, sorted and laid back to back, so
that memory is some parts, however long the feeds are. Which feed comes first decides only between records of one venue
and one time; `play` puts them in an order that does not depend on how they were listed.

Worst case: many records of one moment are one stretch, whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from gateways.feeds.recording import Recording
from replay.backtest.window import Array, chunks_of

#: Records of a stretch, about.
STRETCH: Final = 1 << 14


class Part(NamedTuple):
    """Records back to back: data uint8, offsets int64 (n + 1) where each begins and the last ends, times int64 (n)."""

    data: Array
    offsets: Array
    times: Array


class _Line:
    """One feed: the part of it that is at hand, and how much of that was taken."""

    def __init__(self, feed: Recording | Iterator[Part]) -> None:
        self._parts = iter([Part(feed.data, feed.offsets, feed.times)]) if isinstance(feed, Recording) else feed
        self.part = Part(np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros(0, np.int64))
        self.at = 0
        self.ended = False

    def fill(self) -> None:
        """Take parts until there are two times, so that all records of the first are at hand; or to the feed's end."""
        while not self.ended:
            left = len(self.part.times) - self.at
            if left and self.part.times[self.at] < self.part.times[-1]:
                return
            more = next(self._parts, None)
            if more is None:
                self.ended = True
            elif not left:
                self.part, self.at = more, 0
            else:
                self.part, self.at = _joined(self.part, self.at, more), 0

    @property
    def empty(self) -> bool:
        """Whether all is taken."""
        return self.at >= len(self.part.times)

    def horizon_ns(self, stretch: int) -> int:
        """Time up to which all records of a stretch are at hand."""
        times = self.part.times
        ns = int(times[min(self.at + stretch, len(times)) - 1])
        return ns if self.ended or ns < times[-1] else int(times[-1]) - 1


def _joined(part: Part, at: int, more: Part) -> Part:
    start = int(part.offsets[at])
    data = np.concatenate((part.data[start:], more.data))
    offsets = np.concatenate((part.offsets[at:-1] - start, more.offsets + (int(part.offsets[-1]) - start)))
    return Part(data, offsets, np.concatenate((part.times[at:], more.times)))


def merged(
    feeds: Sequence[Recording | Iterator[Part]], stretch: int = STRETCH, ranks: Sequence[int] = ()
) -> Iterator[Array]:
    """Chunks of all feeds together. `ranks` of venues by index; absent are those of the first feed, a recording."""
    first = feeds[0]
    if len(feeds) == 1:
        yield from chunks_of(first) if isinstance(first, Recording) else (part.data for part in first)
        return
    if not ranks:
        assert isinstance(first, Recording), "the ranks of venues are given"
        ranks = first.names.ranks()
    order = np.asarray(ranks, dtype=np.int64)
    lines = [_Line(feed) for feed in feeds]
    while True:
        for line in lines:
            line.fill()
        left = [line for line in lines if not line.empty]
        if not left:
            return
        # The first feed to come to its stretch's end says how far all go: no earlier record is then still to come.
        until_ns = min(line.horizon_ns(stretch) for line in left)
        parts = []
        for line in left:
            stop = int(np.searchsorted(line.part.times, until_ns, side="right"))
            if line.at < stop:
                parts.append((line.part, line.at, stop))
                line.at = stop
        yield _laid(parts, order)


def _laid(parts: list[tuple[Part, int, int]], ranks: Array) -> Array:
    """The records of some parts (part, from, to) in order, as bytes."""
    if len(parts) == 1:
        day, first, stop = parts[0]
        return day.data[int(day.offsets[first]) : int(day.offsets[stop])]
    words, starts, counts, times, venues, base = [], [], [], [], [], 0
    for day, first, stop in parts:
        begin, end = int(day.offsets[first]), int(day.offsets[stop])
        words.append(day.data[begin:end].view("<i8"))
        starts.append((day.offsets[first:stop] - begin) // 8 + base)
        counts.append(np.diff(day.offsets[first : stop + 1]) // 8)
        times.append(day.times[first:stop])
        venues.append(day.data.view("<i2")[day.offsets[first:stop] // 2 + 7])
        base += (end - begin) // 8
    order = np.lexsort((ranks[np.concatenate(venues)], np.concatenate(times)))
    sizes = np.concatenate(counts)[order]
    ends = np.cumsum(sizes)
    places = np.repeat(np.concatenate(starts)[order] - (ends - sizes), sizes) + np.arange(int(ends[-1]))
    laid: Array = np.concatenate(words)[places].view(np.uint8)
    return laid
