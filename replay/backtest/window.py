"""The part of a feed that lies in memory: records back to back, from the one that the engine has not seen on.

A feed is an iterator of chunks (uint8 arrays of whole records in the order of their times). The window holds what came
of it and was not used up. It grows where a feed latency lies between what venues and what the engine have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from engine.core.state import Events, view_events
from engine.io.mapping import aligned_zeros
from engine.record.records import UNIT
from gateways.feeds.recording import Recording
from gateways.inbox import Inbox, view_inbox

Array = np.ndarray[Any, np.dtype[Any]]
#: Bytes of a chunk, about.
CHUNK: Final = 1 << 20


def chunks_of(day: Recording, size: int = CHUNK) -> Iterator[Array]:
    """A day, chunk by chunk: views, nothing is copied."""
    first = 0
    while first < day.count:
        start = int(day.offsets[first])
        stop = max(int(np.searchsorted(day.offsets, start + size, side="right")) - 1, first + 1)
        stop = min(stop, day.count)
        yield day.data[start : int(day.offsets[stop])]
        first = stop


class Window:
    """See the module. `market` and `feed` are views of it, for `step` and for the venues."""

    market: Events
    feed: Inbox

    def __init__(self, chunks: Iterator[Array], last_word: Callable[[int], Array]) -> None:
        """`last_word` gives the chunk that follows on a feed, from the time of the feed's last record."""
        self._chunks, self._last_word = chunks, last_word
        #: Whether the feed is at its end, and its last word in the window.
        self.finished = False
        #: Bytes that were taken of the feed.
        self.taken = 0
        self._make(2 * CHUNK)

    def _make(self, size: int) -> None:
        self._buffer: Array = aligned_zeros(size + UNIT, np.dtype(np.uint8))
        self.market, self.feed = view_events(self._buffer), view_inbox(self._buffer)

    def refill(self, line: Any) -> None:
        """Drop what the engine has seen and add the next chunk; `line` is the course's, moved along with it."""
        first = int(line.engine_at) * UNIT
        left = int(line.stop) * UNIT - first
        chunk = None if self.finished else next(self._chunks, None)
        if chunk is None and not self.finished:
            self.finished = True
            chunk = self._last_word(int(line.last_ns))
        need = left + (len(chunk) if chunk is not None else 0)
        old = self._buffer
        if need > len(old) - UNIT:
            self._make(2 * need)
        self._buffer[:left] = old[first : first + left].copy() if old is self._buffer else old[first : first + left]
        if chunk is None:
            line.ended = 1
        else:
            self._buffer[left:need] = chunk
            self.taken += len(chunk)
        line.dropped += line.engine_at
        line.venue_at -= line.engine_at
        line.engine_at = 0
        line.stop = need // UNIT
        line.window_address = self._buffer.ctypes.data
