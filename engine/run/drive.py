"""The kernel that runs a journal through the core again and holds its outputs to the journal's.

`drive` takes index rows (FRAME) over a mapped segment. Each input is copied into the event buffer and given to `step`;
each output must then follow in the journal with the same input, place, last-mark and bytes. It stops at the first
frame that is otherwise, with the step's outputs still in the outbox, so that a person can be shown both sides.
Observations are not looked at: `step` never sees them. But where the core raises, as it does when an invariant of its
own is broken, HALTED must follow; such an input has no outputs, and what it changed before it raised stays changed,
here as it did in the engine.

Like the loop, this file is written out for each strategy (`engine.run.bind`): the call of `step` is direct.
Worst case: it runs at the speed of the core, some millions of events a second; unjitted a few thousand.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.core.state import Events, Outbox, State
from engine.io.atomics import copy, load_i64, load_u16
from engine.io.journal_format import FRAME_HEADER, LAST, Kind
from engine.jit import kernel
from engine.record.records import DTYPES, RECORD_MAX, SBE_HEADER_SIZE, UNIT, Template
from engine.run.bound import step

_INPUT, _OUTPUT, _RECOVERED = int(Kind.INPUT), int(Kind.OUTPUT), int(Kind.RECOVERED)
_OBSERVATION, _HALTED = int(Kind.OBSERVATION), int(Template.HALTED)
_AT_INPUT = int(DTYPES[Template.HALTED].fields["input_seq"][1])  # type: ignore[index]

#: Why `drive` stopped. RAISED: the core raises at an input, and the journal goes on. NOT_RAISED: it says that the
#: engine halted at an input at which this core does not.
SAME, NO_RECORD, MISSING, SURPLUS, PLACE, LENGTH, BYTES, RAISED, NOT_RAISED = range(9)

#: Where a replay stands; one row.
PLACE_IN_JOURNAL: Final = np.dtype(
    (
        np.record,
        [
            ("event_address", "<i8"),
            ("outbox_address", "<i8"),
            ("input_seq", "<i8"),  # the input whose outputs are due; -1 before the first
            ("due", "<i8"),  # outputs that the step made for it
            ("seen", "<i8"),  # how many of them have been found
            ("inputs", "<i8"),
            ("outputs", "<i8"),
            ("dropped", "<i8"),  # batches that a recovery gave up
            ("why", "<i8"),
            ("raised", "<i8"),  # 1: the core raised at this input
        ],
    )
)


@kernel
def drive(state: State, events: Events, outbox: Outbox, place: Any, base: int, rows: Any) -> int:
    """Go through `rows` of the segment at address `base`; returns how many rows were good.

    Fewer than all: `place[0].why` says what is wrong with the row after them.
    """
    at = place[0]
    at.why = SAME
    for n in range(len(rows)):
        row = rows[n]
        kind = int(row.kind)
        if kind == _INPUT:
            if at.seen < at.due or at.raised != 0:
                at.why = RAISED if at.raised != 0 else MISSING
                return n
            if row.length != UNIT and row.length != RECORD_MAX:
                at.why = NO_RECORD
                return n
            copy(int(at.event_address), base + int(row.offset) + FRAME_HEADER, int(row.length))
            at.due = guarded(state, events, outbox)
            if at.due < 0:
                at.due, at.raised = 0, 1
            at.seen = 0
            at.input_seq = row.seq
            at.inputs += 1
        elif kind == _OUTPUT:
            at.why = compare(outbox, at, base + int(row.offset) + FRAME_HEADER, row)
            if at.why != SAME:
                return n
            at.seen += 1
            at.outputs += 1
        elif kind == _RECOVERED:
            at.dropped += int(at.seen < at.due)
            at.seen, at.raised = at.due, 0
        elif kind == _OBSERVATION and load_u16(base + int(row.offset) + FRAME_HEADER + 2) == _HALTED:
            if at.raised == 0 and load_i64(base + int(row.offset) + FRAME_HEADER + _AT_INPUT) == at.input_seq:
                at.why = NOT_RAISED
                return n
            at.raised = 0
    return len(rows)


@kernel
def guarded(state: State, events: Events, outbox: Outbox) -> int:
    """`step` of event 0, or -1 where it raises: nothing is then in the outbox."""
    try:
        return int(step(state, events, 0, outbox))
    except Exception:  # noqa: BLE001  whatever it was, the engine halted here
        forget(state, outbox)
        return -1


@kernel
def forget(state: State, outbox: Outbox) -> None:
    """After a step that raised: no output, and no step of a workflow that could be undone."""
    outbox.count[0] = 0
    state.undo[0].active = 0


@kernel
def compare(outbox: Outbox, at: Any, payload: int, row: Any) -> int:
    """What is wrong with an output frame whose payload is at address `payload`; SAME where nothing is."""
    k = int(at.seen)
    if k >= at.due:
        return SURPLUS
    last = LAST if k == at.due - 1 else 0
    if row.input_seq != at.input_seq or row.batch_index != k or (int(row.flag_bits) & LAST) != last:
        return PLACE
    length = int(outbox.head[k].block_length) + SBE_HEADER_SIZE
    if row.length != length:
        return LENGTH
    mine = int(at.outbox_address) + k * RECORD_MAX
    for byte in range(0, length, 8):
        if load_i64(mine + byte) != load_i64(payload + byte):
            return BYTES
    return SAME
