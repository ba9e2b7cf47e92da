"""Handing outputs to their peers' links.

Consecutive 128-byte records to one peer leave as one message, straight from the outbox. A record that certainly did not
leave (no such peer, or its queue is full) is noted on the journal; a child order among them comes back into the core as
a REJECT of the driver's own (reason NOT_SENT), because nobody else will ever report on it. A lost cancel is sent again
by the child's timer. A client whose queue is full, or who is away, is sent what it missed from the journal
(`engine.run.resend`).

What has waited for the disk goes by way of `send_waited`: an order whose time to live is over is not sent, in the same
way (decision 191).
"""

from __future__ import annotations

import errno
from typing import Any

from engine.core.state import FROM_CLIENT, Events
from engine.io import zmq
from engine.io.atomics import load_i32, load_i64, load_u16, monotonic_ns, tsc
from engine.io.journal_format import LAST
from engine.jit import kernel
from engine.record.records import HEAD, ORDER, RECORD_MAX, UNIT, Reason, Template
from engine.run.answer import answer
from engine.run.inbox import free_slot, put
from engine.run.journaling import OBSERVATION, journal
from engine.run.resend import catch_up
from engine.run.transport import hand_over, length_in
from engine.run.wiring import CLOCK_FEED, ENCODE, L_DEFERRED, L_OBSERVATIONS, L_SEND_ERRORS, L_SENT, Wiring

_ORDER_NEW, _REJECT = int(Template.ORDER_NEW), int(Template.REJECT)
_NOT_SENT = int(Reason.NOT_SENT)
_UNREACHABLE = zmq.EHOSTUNREACH
#: The errno of a record that was too late to be sent.
_TOO_LATE = errno.ETIME


def _offset(dtype: Any, name: str) -> int:
    return int(dtype.fields[name][1])


_TEMPLATE, _STREAM, _SEQ = (_offset(HEAD, name) for name in ("template_id", "stream_id", "stream_seq"))
_VENUE, _ID, _INSTRUMENT, _SIDE = (_offset(ORDER, name) for name in ("venue_id", "order_id", "instrument_id", "side"))
_DECIDED, _TTL = _offset(ORDER, "ts_event_ns"), _offset(ORDER, "ttl_ms")


@kernel
def template_in(address: int) -> int:
    """Template of the record at an address."""
    return load_u16(address + _TEMPLATE)


@kernel
def session_in(address: int) -> int:
    """Session that the record at an address is for; -1 for none."""
    session = load_u16(address + _STREAM)
    return -1 if session == 0xFFFF else session


@kernel
def send_all(events: Events, w: Wiring, base: int, seqs: int, count: int) -> int:
    """Send those of `count` records that are for a session; returns how many left.

    They lie RECORD_MAX apart from address `base` on, their journal numbers from address `seqs` on. Ticks spent finding
    the messages are added to stage_ticks[ENCODE].
    """
    k, sent = 0, 0
    while k < count:
        before = tsc()
        record = base + k * RECORD_MAX
        session, last = session_in(record), k
        if session >= 0:
            while (
                last + 1 < count
                and session_in(base + (last + 1) * RECORD_MAX) == session
                and length_in(base + last * RECORD_MAX) == RECORD_MAX
            ):
                last += 1
        w.stage_ticks[ENCODE] += tsc() - before
        if session >= 0:
            sent += _send_run(events, w, record, seqs + k * 8, last - k + 1, session)
        else:
            answer(w, record)
        k = last + 1
    return sent


@kernel
def send_waited(events: Events, w: Wiring, base: int, seqs: int, count: int) -> int:
    """As `send_all`, of records that have waited: an order whose time to live is over by now is not sent."""
    line = w.line[0]
    now_ns = int(line.clock_ns)
    if line.clock_mode != CLOCK_FEED:  # the cycle's time may be of before the wait
        now_ns = max(now_ns, int(monotonic_ns()) + int(line.clock_offset_ns))
    sent, first = 0, 0
    for k in range(count):
        record = base + k * RECORD_MAX
        if _expired(record, now_ns):
            sent += send_all(events, w, base + first * RECORD_MAX, seqs + first * 8, k - first)
            row = int(line.first_session) + session_in(record)
            _not_sent(events, w, record, load_i64(seqs + k * 8), row, _TOO_LATE)
            first = k + 1
    return sent + send_all(events, w, base + first * RECORD_MAX, seqs + first * 8, count - first)


@kernel
def _expired(record: int, now_ns: int) -> bool:
    """Whether the record at an address is an order to a venue whose time to live is over."""
    if template_in(record) != _ORDER_NEW or session_in(record) < 0:
        return False
    ttl_ms = load_i32(record + _TTL)
    return bool(ttl_ms > 0 and now_ns > load_i64(record + _DECIDED) + ttl_ms * 1_000_000)


@kernel
def _send_run(events: Events, w: Wiring, record: int, seqs: int, count: int, session: int) -> int:
    """Send `count` records as one message (shared memory: one by one); returns how many left."""
    row = int(w.line[0].first_session) + session
    link = w.links[row]
    if link.source == FROM_CLIENT:
        # What waited for the disk may have come to a client from the journal meanwhile (engine.run.resend).
        while count > 0 and load_i64(record + _SEQ) < link.next_seq:
            record, seqs, count = record + RECORD_MAX, seqs + 8, count - 1
            w.counters[L_DEFERRED] += 1
        if link.up == 0 or link.catching_up == 1:
            w.counters[L_DEFERRED] += count  # on the journal, and sent from there
            return 0
    sent, error = 0, _UNREACHABLE
    if link.up == 1 and count > 0:
        sent, error = hand_over(w, row, record, count)
    link.sent += sent
    w.counters[L_SENT] += sent
    if sent < count and link.backlog != 0:
        _not_sent(events, w, record + sent * RECORD_MAX, load_i64(seqs + sent * 8), row, error)
        w.counters[L_DEFERRED] += count - sent
        catch_up(w, row, load_i64(record + sent * RECORD_MAX + _SEQ))
        link.full_ns = w.line[0].housekeeping_ns
        return sent
    for k in range(sent, count):
        _not_sent(events, w, record + k * RECORD_MAX, load_i64(seqs + k * 8), row, error)
    return sent


@kernel
def _not_sent(events: Events, w: Wiring, record: int, seq: int, row: int, error: int) -> None:
    link = w.links[row]
    link.send_errors += 1
    w.counters[L_SEND_ERRORS] += 1
    note = w.send_result[0]
    note.ts_event_ns = w.line[0].clock_ns
    note.output_seq = seq
    note.session_id = link.session
    note.error = error
    journal(w, OBSERVATION, LAST, 0, -1, w.send_result.ctypes.data, UNIT)
    w.counters[L_OBSERVATIONS] += 1
    if template_in(record) != _ORDER_NEW:
        return
    i = free_slot(w)
    if i < 0:
        return  # counted; the child's timer finds it
    report = events.report[i]
    put(events, w, i, _REJECT, RECORD_MAX)
    report.venue_id = load_u16(record + _VENUE)
    report.order_id = load_i64(record + _ID)
    report.instrument_id = load_i32(record + _INSTRUMENT)
    report.side = load_u16(record + _SIDE) & 0xFF
    report.reason = _NOT_SENT
    report.request = _ORDER_NEW
