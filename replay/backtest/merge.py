"""Several recorded feeds as one: records in the order of (time, venue code, file, place in its file).

A stretch of time at a time: from each feed the records up to a common moment are taken, sorted and laid back to back,
so that memory is some chunks, however long the feeds are. Which file comes first decides only between records of one
venue and one time, as the order of quotes and trades does in one feed.

Worst case: many records of one moment are one stretch, whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from gateways.feeds.recording import Recording
from replay.backtest.window import Array, chunks_of

#: Records of a stretch, about.
STRETCH: Final = 1 << 14


def merged(days: Sequence[Recording], stretch: int = STRETCH) -> Iterator[Array]:
    """Chunks of all days together; the days have the same names."""
    if len(days) == 1:
        yield from chunks_of(days[0])
        return
    at = [0] * len(days)
    ranks = np.asarray(days[0].names.ranks(), dtype=np.int64)
    while True:
        left = [n for n, day in enumerate(days) if at[n] < day.count]
        if not left:
            return
        # The first feed to come to its stretch's end says how far all go: no earlier record is then still to come.
        until_ns = min(int(days[n].times[min(at[n] + stretch, days[n].count) - 1]) for n in left)
        stops = [int(np.searchsorted(day.times, until_ns, side="right")) for day in days]
        yield _laid([(day, at[n], stops[n]) for n, day in enumerate(days) if at[n] < stops[n]], ranks)
        at = [max(a, stop) for a, stop in zip(at, stops, strict=True)]


def _laid(parts: list[tuple[Recording, int, int]], ranks: Array) -> Array:
    """The records of some parts (day, from, to) in order, as bytes."""
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
