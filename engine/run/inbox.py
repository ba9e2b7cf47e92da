"""The driver's own events: timers that are due, peers that fell silent, orders that could not be sent.

They lie behind the receive buffer, in the same memory that the core reads events from, as a ring of 128-byte slots.
They are journaled like every other input, so a replay sees them in their place.

Worst case: the inbox is full and a record is not put; that is counted, and a child's timer will notice what it said.
"""

from __future__ import annotations

from engine.core.state import Events
from engine.jit import kernel
from engine.record.records import RECORD_MAX, SBE_HEADER_SIZE, SCHEMA_ID, SCHEMA_VERSION, UNIT
from engine.run.wiring import INBOX, L_INBOX_OVERFLOW, RECEIVE_BYTES, Wiring

_FIRST = RECEIVE_BYTES // UNIT
_STEP = RECORD_MAX // UNIT


@kernel
def free_slot(w: Wiring) -> int:
    """Index (in units of 64 bytes) of the slot for the next local event; -1 where there is none (counted)."""
    line = w.line[0]
    if line.inbox_count == INBOX:
        w.counters[L_INBOX_OVERFLOW] += 1
        return -1
    slot = int((line.inbox_head + line.inbox_count) & (INBOX - 1))
    line.inbox_count += 1
    return _FIRST + slot * _STEP


@kernel
def put(events: Events, w: Wiring, i: int, template: int, length: int) -> None:
    """Make the `length` bytes at i a blank record of a template: header, our own time, all else zero."""
    words = events.words
    for word in range(i * 8, i * 8 + length // 8):
        words[word] = 0
    head = events.head[i]
    head.block_length = length - SBE_HEADER_SIZE
    head.template_id = template
    head.schema_id = SCHEMA_ID
    head.version = SCHEMA_VERSION
    head.stream_id = -1
    head.venue_id = -1
    head.ts_event_ns = w.line[0].clock_ns
    head.ts_recv_ns = w.line[0].clock_ns


@kernel
def next_local(w: Wiring) -> int:
    """Index of the oldest local event, -1 where there is none. It stays in place until `drop_local`."""
    line = w.line[0]
    if line.inbox_count == 0:
        return -1
    return int(_FIRST + line.inbox_head * _STEP)


@kernel
def drop_local(w: Wiring) -> None:
    """Give the oldest local event's slot back."""
    line = w.line[0]
    line.inbox_head = (line.inbox_head + 1) & (INBOX - 1)
    line.inbox_count -= 1
