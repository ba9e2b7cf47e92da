"""The memory of a backtest's course: where it stands in the feed and the parents, and the numbers of its streams.

The kernel over it is `replay.backtest.drive`. Rows are filled by `replay.backtest.host`.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from engine.core.rows import ints
from engine.core.state import Events, view_events
from engine.io.atomics import address_of
from engine.io.mapping import aligned_zeros
from engine.memory import Layout, Memory, memory, packed
from engine.record.records import ORDER, QUOTE, RECORD_MAX, REPORT, UNIT, Template, blank

#: Reports that the venues may hand over at once.
REPORTS: Final = 256

#: Places in the window are in units of 64 bytes. `venue_at` is the next record that its venue sees, `engine_at` the
#: next that the engine does, a feed latency later (at `market_ns`; 0 is not known yet); the window's records end at
#: `stop`, and the feed too where `ended`. `dropped` units of the feed lie before the window. Quotes that were derived
#: wait from `touch_at` to `touch_stop` (counted; a slot is that modulo their number), of all `derived`, `crossed`
#: were.
LINE: Final = ints(
    "venue_at engine_at stop ended window_address latency_ns last_ns now_ns end_ns epoch parent_at report_at"
    " market_ns market_last_ns seed dropped touch_at touch_stop touch_address derived crossed"
    " market_inputs report_inputs timer_inputs parent_inputs"
)


@memory
class Course(Memory):
    """What `go` takes beside the engine's and the venues' own tables."""

    line: np.ndarray  # one row
    parents: np.ndarray  # ORDER_NEW records in the order of their times, which are `ts_event_ns`
    reports: np.ndarray  # the venues' out-buffer
    session_seqs: np.ndarray  # last number on each session, to the engine
    feed_seqs: np.ndarray  # last number on each venue's stream
    latencies: np.ndarray  # from a venue to the engine: quantiles (gateways.venues.latency); empty takes latency_ns
    follows: np.ndarray  # by venue * instruments + instrument: 1 where touches are derived here; empty is nowhere
    touches: np.ndarray  # QUOTE records that wait for the engine, a power of two
    places: np.ndarray  # by slot of these: the unit of the feed, from its beginning on, that they are in front of
    LAYOUT: ClassVar[Layout] = packed(
        line=LINE,
        parents=ORDER,
        reports=REPORT,
        session_seqs="<i8",
        feed_seqs="<i8",
        latencies="<i8",
        follows="<i8",
        touches=QUOTE,
        places="<i8",
    )


def make_touches(slots: int) -> tuple[np.ndarray, Events]:
    """Room for so many quotes (a power of two), blank, and `step`'s view of it."""
    buffer = aligned_zeros(slots * RECORD_MAX + UNIT, np.dtype(np.uint8))
    touches = buffer[:-UNIT].view(QUOTE)
    touches[:] = blank(Template.QUOTE, slots)
    return touches, view_events(buffer)


def with_more_touches(course: Course) -> tuple[Course, Events]:
    """The course with twice the room for quotes that wait, those that do at its beginning in their order."""
    line, slots = course.line[0], len(course.touches)
    order = np.arange(int(line.touch_at), int(line.touch_stop)) & (slots - 1)
    touches, view = make_touches(2 * slots)
    places = np.zeros(2 * slots, dtype=np.int64)
    touches[: len(order)], places[: len(order)] = course.touches[order], course.places[order]
    line.touch_at, line.touch_stop, line.touch_address = 0, len(order), address_of(touches)
    return Course(**course.arrays() | {"touches": touches, "places": places}), view
