"""What the loop does once a millisecond: peers' lives, heartbeats, clock samples, and figures for onlookers.

All of it is bounded by the number of links and counters; nothing here waits.
"""

from __future__ import annotations

from engine.core.state import FROM_CONTROL, FROM_FEED, Events, State
from engine.io import ring
from engine.io.atomics import monotonic_ns, realtime_ns, tsc
from engine.io.journal_format import LAST
from engine.jit import kernel
from engine.record.records import UNIT, Reason, Template
from engine.run.inbox import free_slot, put
from engine.run.journaling import OBSERVATION, journal
from engine.run.publish import publish
from engine.run.resend import go_live
from engine.run.transport import send_to_peer
from engine.run.wiring import CLOCK_MONOTONIC, L_CYCLES, L_OBSERVATIONS, SHM, ZMQ_PEER, Wiring

_PERIOD_NS = 1_000_000
_SAMPLE_NS = 1_000_000_000
#: The clock is read for housekeeping once in this many cycles, so that an empty cycle stays cheap.
_EVERY = 64
_SESSION_DOWN, _HEARTBEAT, _CLOCK_SAMPLE = (
    int(Template.SESSION_DOWN),
    int(Template.HEARTBEAT),
    int(Template.CLOCK_SAMPLE),
)
_SILENT = int(Reason.PEER_SILENT)


@kernel
def housekeeping(state: State, events: Events, w: Wiring) -> None:
    """Do what is due."""
    if w.counters[L_CYCLES] % _EVERY != 0:
        return
    line = w.line[0]
    now = monotonic_ns()
    if now - line.housekeeping_ns < _PERIOD_NS:
        return
    stalled = line.housekeeping_ns > 0 and now - line.housekeeping_ns > line.peer_timeout_ns // 2
    line.housekeeping_ns = now
    for row in range(line.n_links):
        link = w.links[row]
        if link.source != FROM_FEED and link.session >= 0:
            if stalled:
                link.heard_ns = now  # we were away ourselves: what peers said meanwhile is still to be read
            _watch_peer(state, events, w, row, now)
        elif link.transport == SHM and link.source != FROM_CONTROL:  # that one's other end is in this process
            ring.ring_beat(link.rx, 1, now)
    if now - line.sampled_ns >= _SAMPLE_NS:
        line.sampled_ns = now
        _sample_clock(w, now)
    publish(state, w)


@kernel
def _watch_peer(state: State, events: Events, w: Wiring, row: int, now: int) -> None:
    """A peer silent for `peer_timeout_ns` is down; one that is up hears from us every `heartbeat_ns`.

    A heartbeat has no number; it carries the last one that was handed to the transport, so that a peer sees a loss at
    the end of the stream, too.
    """
    link, line = w.links[row], w.line[0]
    if link.transport == SHM:
        ring.ring_beat(link.rx, 1, now)
        ring.ring_beat(link.tx, 0, now)
    if link.up == 0:
        return
    if now - link.heard_ns > line.peer_timeout_ns:
        i = free_slot(w)
        if i >= 0:
            link.up = 0
            go_live(w, row)  # until it says what it saw last, nothing is looked for
            put(events, w, i, _SESSION_DOWN, UNIT)
            events.session_down[i].stream_id = link.session
            events.session_down[i].session_id = link.session
            events.session_down[i].reason = _SILENT
    elif now - link.beat_ns >= line.heartbeat_ns:
        link.beat_ns = now
        beat = w.beat[0]
        beat.stream_id = link.session
        beat.stream_epoch = line.stream_epoch
        if link.catching_up == 1:
            beat.stream_seq = link.next_seq - 1
        else:
            beat.stream_seq = state.sessions[int(link.session)].seq_out - link.held
        beat.ts_event_ns = line.clock_ns
        beat.last_seen_seq = link.seen_seq
        beat.last_seen_epoch = link.seen_epoch
        beat.session_id = link.session
        if link.transport == SHM:
            ring.ring_push(link.tx, w.beat.ctypes.data, UNIT)
        elif link.transport == ZMQ_PEER:
            send_to_peer(w, row, w.beat.ctypes.data, UNIT)


@kernel
def _sample_clock(w: Wiring, now: int) -> None:
    """Journal where our clock, the real-time clock and the counter stand: what UTC in reports follows from."""
    line, sample = w.line[0], w.sample[0]
    clock = line.clock_ns
    if line.clock_mode == CLOCK_MONOTONIC:
        clock = now + line.clock_offset_ns
    sample.ts_event_ns = clock
    sample.clock_ns = clock
    sample.realtime_ns = realtime_ns()
    sample.tsc = tsc()
    journal(w, OBSERVATION, LAST, 0, -1, w.sample.ctypes.data, UNIT)
    w.counters[L_OBSERVATIONS] += 1
