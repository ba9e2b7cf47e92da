"""Stale feeds: venues whose market data has been silent for longer than `[alerts] stale_feed_ms`.

A venue counts from the first record of it that came, and no more once it said that its day is over. Ages are by the
engine's clock, as routing sees them. The alert's time is that at which the silence became too long.

Worst case: a venue that is closed, and did not say so, is stale until it opens again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from engine.io.journal_format import Kind
from engine.io.journal_reader import Chunk
from engine.record.records import Reason, Template
from replay.watch.events import Conditions, Event, Severity
from replay.watch.names import Names, UtcClock
from replay.watch.tail import Array, column, records

#: Market data has templates up to this; the last two are definitions.
_LAST_FEED: Final = 7
_VENUE_AT, _RECV_AT = 14, 32


class StaleFeeds:
    """Follows when each venue was last heard. `heard_ns` is by venue index, on the engine's clock."""

    def __init__(self, stale_ms: int, names: Names, clock: UtcClock, conditions: Conditions) -> None:
        self._stale_ns = stale_ms * 1_000_000
        self._names, self._clock, self._conditions = names, clock, conditions
        self.heard_ns: dict[int, int] = {}

    def look(self, chunk: Chunk, found: Array) -> None:
        """Take a chunk's market data in."""
        rows = np.flatnonzero((found > 0) & (found <= _LAST_FEED) & (chunk.rows["kind"] == Kind.INPUT))
        if self._stale_ns == 0 or not rows.size:
            return
        venues = column(chunk, rows, _VENUE_AT, "<i2")
        # The last of each venue: the first in the order turned round.
        indices, firsts = np.unique(venues[::-1], return_index=True)
        newest = rows[::-1][firsts]
        times = column(chunk, newest, _RECV_AT, "<i8")
        self.heard_ns.update(zip(indices.tolist(), times.tolist(), strict=True))
        cleared = newest[found[newest] == Template.CLEAR]
        for record in records(chunk, cleared, Template.CLEAR) if cleared.size else ():
            if record["reason"] == Reason.DAY_END and record["instrument_id"] == -1:
                self.heard_ns.pop(int(record["venue_id"]), None)

    def conditions(self, clock_ns: int) -> Iterator[Event]:
        """What is stale, or no longer, at a time of the engine's clock."""
        for venue, heard_ns in self.heard_ns.items():
            holds = clock_ns - heard_ns > self._stale_ns
            at_ns = self._clock.utc_ns(heard_ns + self._stale_ns if holds else heard_ns)
            event = Event(
                kind="feed", code="STALE_FEED", severity=Severity.WARNING,
                subject=f"feed {self._names.venue(venue)}", source="gauge", first=heard_ns, last=heard_ns,
                text=f"market data of {self._names.venue(venue)} is stale", event_ns=at_ns, last_event_ns=at_ns,
                clock_ns=clock_ns, value=clock_ns - heard_ns, limit=self._stale_ns, seen=self._clock.seen,
            )  # fmt: skip
            told = self._conditions.update(event, holds)
            if told is not None:
                yield told
