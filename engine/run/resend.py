"""Sending again: what a client did not see comes from the journal, in order, before anything newer.

A client says in SESSION_UP which record of ours it saw last. `follow_client` compares that with the last number that
the core gave out on its stream. Where records are missing, the link is *catching up*: new records to it are not
handed to its transport (they are on the journal like all others), and `engine.run.backlog`, a thread that reads the
journal, pushes what is missing, byte for byte, into the link's backlog ring. `resend` takes it from there to the
transport, a message a cycle, and ends the catching up once the number to send next is the one that the core gives out
next. A client that takes nothing for a while (its queue is full) is caught up with in the same way.

What is no longer on the journal, and a stream that fell back behind what a client has seen (an engine recovered
without its latest records), is told with SEQUENCE_RESET, which has no number of its own; it is counted, and journaled
as an observation.

Only clients are sent anything again. An order to a venue is not (decision 040).

Worst case: a client that asks again and again costs a message of up to BATCH records a cycle. What the ring holds from
an earlier question is skipped, BATCH records a cycle.
"""

from __future__ import annotations

from engine.core.state import FROM_CLIENT, Events, State
from engine.io import ring
from engine.io.atomics import load_i32, load_i64, load_u16, store_release
from engine.io.journal_format import LAST
from engine.jit import kernel
from engine.record.records import DTYPES, RECORD_MAX, UNIT, Reason, SessionFlag, Template
from engine.run.journaling import OBSERVATION, journal
from engine.run.transport import hand_over, length_in
from engine.run.wiring import (
    ASK,
    L_OBSERVATIONS,
    L_RECORDS_GONE,
    L_RESENT,
    L_RESETS,
    L_SENT,
    Wiring,
)

#: Records that one link is sent again in one cycle, and stale ones that are skipped.
BATCH = 16
_SEQUENCE_RESET = int(Template.SEQUENCE_RESET)
_FROM_START = int(SessionFlag.FROM_START)
_RECOVERED = int(Reason.RECOVERED)


def _offset(dtype: object, name: str) -> int:
    return int(dtype.fields[name][1])  # type: ignore[attr-defined]


_SEQ = _offset(DTYPES[Template.ACK], "stream_seq")
_BEGIN, _NEW, _REASON = (
    _offset(DTYPES[Template.SEQUENCE_RESET], name) for name in ("begin_seq_no", "new_seq_no", "reason")
)
_GENERATION, _ACTIVE = _offset(ASK, "generation"), _offset(ASK, "active")
_ASK_BYTES = ASK.itemsize


@kernel
def follow_client(state: State, events: Events, w: Wiring, row: int, i: int) -> None:
    """Before the core takes SESSION_UP i of client link `row`: settle which record of ours this client gets next."""
    link, said = w.links[row], events.session[i]
    line = state.sessions[int(link.session)]
    epoch, seq = int(said.stream_epoch), int(said.stream_seq)
    if link.source != FROM_CLIENT or epoch < line.epoch_in or (epoch == line.epoch_in and seq <= line.seq_in):
        return  # the core refuses it
    following = int(line.seq_out) + 1
    wanted = following
    if said.last_seen_epoch == w.line[0].stream_epoch:
        wanted = max(int(said.last_seen_seq) + 1, 1)
    elif said.last_seen_epoch == 0 and int(said.capability) & _FROM_START != 0:
        wanted = 1
    if wanted > following:
        _reset_back(w, row, wanted, following)
        wanted = following
    if wanted < following and link.backlog != 0:
        catch_up(w, row, wanted)
    else:
        go_live(w, row)
        link.next_seq = following


@kernel
def catch_up(w: Wiring, row: int, seq: int) -> None:
    """From now on link `row` gets what the journal holds, from number `seq` on, before anything newer."""
    link = w.links[row]
    if link.catching_up == 1 and link.next_seq == seq:
        return  # it is on its way
    ask = w.asks.ctypes.data + row * _ASK_BYTES
    if link.catching_up == 0:
        w.line[0].catching_up += 1
    link.catching_up = 1
    link.next_seq = seq
    w.asks[row].from_seq = seq
    store_release(ask + _ACTIVE, 1)
    store_release(ask + _GENERATION, w.asks[row].generation + 1)


@kernel
def go_live(w: Wiring, row: int) -> None:
    """Link `row` has all that there is: what comes next goes to it directly."""
    link = w.links[row]
    if link.catching_up == 1:
        link.catching_up = 0
        w.line[0].catching_up -= 1
        store_release(w.asks.ctypes.data + row * _ASK_BYTES + _ACTIVE, 0)


@kernel
def resend(state: State, w: Wiring) -> int:
    """Give each client that is catching up one message from its backlog; returns the records that were looked at."""
    if w.line[0].catching_up == 0:
        return 0
    work = 0
    for row in range(w.line[0].n_links):
        link = w.links[row]
        if link.catching_up == 1 and link.up == 1 and link.full_ns != w.line[0].housekeeping_ns:
            work += _resend_to(w, row)
            if link.next_seq > state.sessions[int(link.session)].seq_out:
                go_live(w, row)
    return work


@kernel
def _resend_to(w: Wiring, row: int) -> int:
    """Send one run of link `row`'s backlog, or skip what does not belong to it; returns the records looked at."""
    link = w.links[row]
    backlog = int(link.backlog)
    for skipped in range(BATCH):
        first = int(ring.ring_peek(backlog, 0))
        if first == 0:
            return skipped
        if load_u16(first + 2) == _SEQUENCE_RESET:
            if load_i64(first + _BEGIN) == link.next_seq:
                return skipped + _reset_forward(w, row, first)
        elif load_i64(first + _SEQ) == link.next_seq:
            return skipped + _send_run(w, row, first)
        ring.ring_drop(backlog, 1)
    return BATCH


@kernel
def _send_run(w: Wiring, row: int, first: int) -> int:
    """Send the records from address `first` on that follow on each other in memory and number, as one message."""
    link = w.links[row]
    backlog = int(link.backlog)
    count = 1
    while (
        count < BATCH
        and length_in(first + (count - 1) * RECORD_MAX) == RECORD_MAX
        and int(ring.ring_peek(backlog, count)) == first + count * RECORD_MAX
        and load_i64(first + count * RECORD_MAX + _SEQ) == link.next_seq + count
    ):
        count += 1
    sent, error = hand_over(w, row, first, count)
    if error != 0:
        link.full_ns = w.line[0].housekeeping_ns  # not again before the next round of housekeeping
    ring.ring_drop(backlog, sent)
    link.next_seq += sent
    link.sent += sent
    w.counters[L_SENT] += sent
    w.counters[L_RESENT] += sent
    return sent


@kernel
def _reset_forward(w: Wiring, row: int, record: int) -> int:
    """The journal no longer holds what link `row` asked for: tell it where its stream goes on."""
    link = w.links[row]
    new = load_i64(record + _NEW)
    reset = w.reset[0]
    reset.reason = load_i32(record + _REASON)
    if not _tell(w, row, int(link.next_seq), new):
        return 0
    ring.ring_drop(int(link.backlog), 1)
    w.counters[L_RECORDS_GONE] += new - link.next_seq
    link.next_seq = new
    return 1


@kernel
def _reset_back(w: Wiring, row: int, wanted: int, following: int) -> None:
    """Client link `row` has seen more than this engine knows of: its numbers fall back."""
    w.reset[0].reason = _RECOVERED
    _tell(w, row, wanted, following)


@kernel
def _tell(w: Wiring, row: int, begin: int, new: int) -> bool:
    """Send a SEQUENCE_RESET and journal it as an observation; False where the transport did not take it."""
    link, reset = w.links[row], w.reset[0]
    reset.stream_epoch = w.line[0].stream_epoch
    reset.stream_id = link.session
    reset.session_id = link.session
    reset.ts_event_ns = w.line[0].clock_ns
    reset.begin_seq_no = begin
    reset.new_seq_no = new
    _, error = hand_over(w, row, int(w.reset.ctypes.data), 1)
    if error != 0:
        link.full_ns = w.line[0].housekeeping_ns
        return False
    journal(w, OBSERVATION, LAST, 0, -1, w.reset.ctypes.data, UNIT)
    w.counters[L_OBSERVATIONS] += 1
    w.counters[L_RESETS] += 1
    return True
