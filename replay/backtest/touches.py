"""Quotes that follow from levels, derived from the venues' own books as these change, on their way to the engine.

A feed of levels alone is followed once: its levels change the books that the simulated venues match against, and where
an event (no flag MORE) leaves another touch than the last one shown, a QUOTE of it waits here for the engine, behind
what the feed had before that event. It is the quote that `gateways.formats.fit_pass` would have derived, byte for byte.

Worst case: a feed latency longer than its quotes are apart: all that are under way wait here, and the ring grows.
"""

from __future__ import annotations

from engine.book.view import CROSSED, touch
from engine.jit import kernel
from engine.record.records import Flag
from gateways.inbox import Inbox
from gateways.venues.state import Exchange
from replay.backtest.course import Course

_MORE, _SNAPSHOT = int(Flag.MORE), int(Flag.SNAPSHOT)


@kernel
def full(c: Course) -> bool:
    """Whether no further quote may wait."""
    line = c.line[0]
    return len(c.follows) > 0 and line.touch_stop - line.touch_at >= len(c.touches)


@kernel
def waiting(c: Course, engine_at: int) -> int:
    """Slot of the first quote that waits, where it comes before the record at unit `engine_at`; -1 where none does."""
    line = c.line[0]
    slot = int(line.touch_at) & (len(c.touches) - 1)
    if line.touch_at < line.touch_stop and c.places[slot] <= line.dropped + engine_at:
        return slot
    return -1


@kernel
def shows(feed: Inbox, end: int, ex: Exchange, c: Course) -> bool:
    """Have the touch wait where the LEVEL in front of unit `end`, taken by its venue, left another one; whether it did.

    There is room, see `full`.
    """
    level, line = feed.level[end - 1], c.line[0]
    marks = int(level["flags"])
    if marks & _MORE != 0:
        return False
    pair_index = int(level.venue_id * ex.core[0].instruments + level.instrument_id)
    if c.follows[pair_index] == 0 or not touch(ex.books, pair_index, int(level.ts_event_ns)):
        return False
    slot, row = int(line.touch_stop) & (len(c.touches) - 1), ex.books.books[pair_index]
    quote = c.touches[slot]
    quote.venue_id, quote.instrument_id = level.venue_id, level.instrument_id
    quote.ts_event_ns, quote.ts_source_ns, quote.source_seq = level.ts_event_ns, level.ts_recv_ns, level.stream_seq
    quote.bid_px, quote.bid_qty, quote.bid_orders = row.bid_px, row.bid_qty, row.bid_orders
    quote.ask_px, quote.ask_qty, quote.ask_orders = row.ask_px, row.ask_qty, row.ask_orders
    quote["flags"] = marks & _SNAPSHOT
    c.places[slot] = line.dropped + end
    line.touch_stop += 1
    line.derived += 1
    if int(row.state) & CROSSED != 0:
        line.crossed += 1
    return True
