"""One event's way: journal, step, journal, send, with a stamp between the stages.

`pump` takes record i of the event buffer, already framed and stamped with its time of receipt. The input is on the
journal before the core sees it, and all outputs of the step are on it before the first is sent.

Events that may have outputs (orders, reports, timers, quotes within the limit of a resting parent) are measured in all
stages, as is one in SAMPLE of the rest; the whole is measured for every event.

Worst case: the journal has no segment ready; the event waits here (counted as a stall), because what is not on the
journal must not be acted upon.
"""

from __future__ import annotations

from engine.core.state import Events, Outbox, State
from engine.io.atomics import tsc
from engine.io.journal_format import LAST
from engine.jit import kernel
from engine.record.records import RECORD_MAX, SBE_HEADER_SIZE, UNIT, Template
from engine.run.bound import ADMITTED, BOOKED, DECIDE_TICKS, RISK_TICKS, step, step_staged
from engine.run.held import hold
from engine.run.journaling import INPUT, OBSERVATION, OUTPUT, journal
from engine.run.meter import measure, measure_stages, note_stages
from engine.run.send import send_all, send_waited
from engine.run.transport import length_in
from engine.run.wiring import (
    BOOK,
    DECIDE,
    DECODE,
    ENCODE,
    JOURNAL_STAGE,
    L_INPUTS,
    L_OBSERVATIONS,
    L_OUTPUTS,
    RECEIVE,
    RISK,
    SEND,
    TOTAL,
    Wiring,
)

SAMPLE = 64
_QUOTE, _FIRST_ORDER = int(Template.QUOTE), int(Template.ORDER_NEW)


@kernel
def pump(state: State, events: Events, i: int, outbox: Outbox, w: Wiring, started: int) -> int:
    """Take event i all the way; `started` is the counter when its receipt began. Returns the counter at its end.

    Returns -1 where the run was stopped while the journal had no segment: the event was then not taken in, or is the
    last, and nothing of it was sent.
    """
    received = tsc()
    head = events.head[i]
    template = int(head.template_id)
    size = int(head.block_length) + SBE_HEADER_SIZE
    seq = journal(w, INPUT, LAST, 0, -1, int(w.line[0].event_address) + i * UNIT, size)
    if seq < 0:
        return -1
    w.counters[L_INPUTS] += 1
    w.line[0].input_seq = seq  # the core is at it: should it raise, this is where
    if seq & (SAMPLE - 1) == 0 or template >= _FIRST_ORDER or _watched(state, events, i, template):
        return _measured(state, events, i, outbox, w, started, received, seq)
    count = step(state, events, i, outbox)
    w.line[0].input_seq = -1
    if count > 0:
        if not commit(outbox, w, seq):
            return -1
        _leave(events, outbox, w)
    finished = tsc()
    measure(w, TOTAL, finished - started)
    return finished


@kernel
def _measured(
    state: State, events: Events, i: int, outbox: Outbox, w: Wiring, started: int, received: int, seq: int
) -> int:
    """Step, commit and send with every stage's ticks taken; returns the counter at the end."""
    ticks = w.stage_ticks
    journaled = tsc()
    count = step_staged(state, events, i, outbox, w.stamps)
    stepped = tsc()
    w.line[0].input_seq = -1
    committed = stepped
    ticks[ENCODE] = 0
    sent = 0
    if count > 0:
        if not commit(outbox, w, seq):
            return -1
        committed = tsc()
        sent = _leave(events, outbox, w)
    finished = tsc()
    ticks[RECEIVE] = received - started
    ticks[DECODE] = w.stamps[ADMITTED] - journaled
    ticks[BOOK] = w.stamps[BOOKED] - w.stamps[ADMITTED]
    ticks[DECIDE] = w.stamps[DECIDE_TICKS]
    ticks[RISK] = w.stamps[RISK_TICKS]
    ticks[JOURNAL_STAGE] = journaled - received + committed - stepped
    ticks[SEND] = finished - committed - ticks[ENCODE]
    ticks[TOTAL] = finished - started
    measure_stages(w, sent)
    if sent > 0:
        note_stages(w, events, i, seq, sent)
        journal(w, OBSERVATION, LAST, 0, seq, w.stages.ctypes.data, RECORD_MAX)
        w.counters[L_OBSERVATIONS] += 1
        finished = tsc()
    return finished


@kernel
def _leave(events: Events, outbox: Outbox, w: Wiring) -> int:
    """Send the step's outputs, or keep them until they are on the disk; returns how many were for somebody."""
    count = int(outbox.count[0])
    if len(w.held_seqs) > 0:
        return hold(events, w, count)
    if w.line[0].waited != 0:
        w.line[0].waited = 0
        return send_waited(events, w, int(w.line[0].outbox_address), w.output_seqs.ctypes.data, count)
    return send_all(events, w, int(w.line[0].outbox_address), w.output_seqs.ctypes.data, count)


@kernel
def _watched(state: State, events: Events, i: int, template: int) -> bool:
    """Whether this is a quote that a resting parent could trade with: it may have outputs."""
    if template != _QUOTE:
        return False
    quote = events.quote[i]
    instrument = int(quote.instrument_id)
    if instrument < 0 or instrument >= len(state.instruments):
        return False
    row = state.instruments[instrument]
    if row.rest_count == 0:
        return False
    return bool(quote.ask_px <= row.rest_buy_px or quote.bid_px >= row.rest_sell_px)


@kernel
def commit(outbox: Outbox, w: Wiring, input_seq: int) -> bool:
    """Put the step's outputs on the journal as one batch, and remember their numbers.

    False where the run was stopped in the middle, without a segment to write to: nothing of the batch may then be sent.
    """
    count = int(outbox.count[0])
    for k in range(count):
        address = int(w.line[0].outbox_address) + k * RECORD_MAX
        last = LAST if k == count - 1 else 0
        w.output_seqs[k] = journal(w, OUTPUT, last, k, input_seq, address, length_in(address))
        if w.output_seqs[k] < 0:
            w.line[0].cut = 1
            return False
    w.counters[L_OUTPUTS] += count
    return True
