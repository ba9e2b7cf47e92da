"""Handing outputs to their peers' links.

Consecutive 128-byte records to one peer leave as one message, straight from the outbox. A record that certainly did not
leave (no such peer, or its queue is full) is noted on the journal; a child order among them comes back into the core as
a REJECT of the driver's own (reason NOT_SENT), because nobody else will ever report on it. A lost cancel is sent again
by the child's timer. A client whose queue is full, or who is away, is sent what it missed from the journal
(`engine.run.resend`).
"""

from __future__ import annotations

from engine.core.state import FROM_CLIENT, Events, Outbox
from engine.io import zmq
from engine.io.atomics import tsc
from engine.io.journal_format import LAST
from engine.jit import kernel
from engine.record.records import RECORD_MAX, SBE_HEADER_SIZE, UNIT, Reason, Template
from engine.run.inbox import free_slot, put
from engine.run.journaling import OBSERVATION, journal
from engine.run.resend import catch_up
from engine.run.transport import hand_over
from engine.run.wiring import ENCODE, L_DEFERRED, L_OBSERVATIONS, L_SEND_ERRORS, L_SENT, Wiring

_ORDER_NEW, _REJECT = int(Template.ORDER_NEW), int(Template.REJECT)
_NOT_SENT = int(Reason.NOT_SENT)
_UNREACHABLE = zmq.EHOSTUNREACH


@kernel
def length_at(outbox: Outbox, k: int) -> int:
    """Bytes of outbox record k."""
    return int(outbox.head[k].block_length) + SBE_HEADER_SIZE


@kernel
def send_all(events: Events, outbox: Outbox, w: Wiring) -> int:
    """Send every outbox record that is addressed to a session; returns how many left.

    Ticks spent finding the messages are added to stage_ticks[ENCODE].
    """
    count = int(outbox.count[0])
    k, sent = 0, 0
    while k < count:
        before = tsc()
        session = int(outbox.head[k].stream_id)
        last = k
        if session >= 0:
            while (
                last + 1 < count
                and outbox.head[last + 1].stream_id == session
                and length_at(outbox, last) == RECORD_MAX
            ):
                last += 1
        w.stage_ticks[ENCODE] += tsc() - before
        if session >= 0:
            sent += _send_run(events, outbox, w, k, last, session)
        k = last + 1
    return sent


@kernel
def _send_run(events: Events, outbox: Outbox, w: Wiring, first: int, last: int, session: int) -> int:
    """Send records first..last as one message (shared memory: one by one); returns how many left."""
    row = int(w.line[0].first_session) + session
    link = w.links[row]
    count = last - first + 1
    if link.source == FROM_CLIENT and (link.up == 0 or link.catching_up == 1):
        w.counters[L_DEFERRED] += count  # on the journal, and sent from there
        return 0
    sent, error = 0, _UNREACHABLE
    if link.up == 1:
        sent, error = hand_over(w, row, int(w.line[0].outbox_address) + first * RECORD_MAX, count)
    link.sent += sent
    w.counters[L_SENT] += sent
    if sent < count and link.backlog != 0:
        _not_sent(events, outbox, w, first + sent, row, error)
        w.counters[L_DEFERRED] += count - sent
        catch_up(w, row, int(outbox.head[first + sent].stream_seq))
        link.full_ns = w.line[0].housekeeping_ns
        return sent
    for k in range(first + sent, last + 1):
        _not_sent(events, outbox, w, k, row, error)
    return sent


@kernel
def _not_sent(events: Events, outbox: Outbox, w: Wiring, k: int, row: int, error: int) -> None:
    link = w.links[row]
    link.send_errors += 1
    w.counters[L_SEND_ERRORS] += 1
    note = w.send_result[0]
    note.ts_event_ns = w.line[0].clock_ns
    note.output_seq = w.output_seqs[k]
    note.session_id = link.session
    note.error = error
    journal(w, OBSERVATION, LAST, 0, -1, w.send_result.ctypes.data, UNIT)
    w.counters[L_OBSERVATIONS] += 1
    if outbox.head[k].template_id != _ORDER_NEW:
        return
    i = free_slot(w)
    if i < 0:
        return  # counted; the child's timer finds it
    order, report = outbox.order[k], events.report[i]
    put(events, w, i, _REJECT, RECORD_MAX)
    report.venue_id = order.venue_id
    report.order_id = order.order_id
    report.instrument_id = order.instrument_id
    report.side = order.side
    report.reason = _NOT_SENT
    report.request = _ORDER_NEW
