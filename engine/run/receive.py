"""Taking messages from links: polling, framing, and the stamps that a record gets on arrival.

A message is one or more whole records. `framed` checks only what it takes to walk them; whether a record may touch the
state is the core's to say. What cannot be walked, or comes from a link that may not send it, is replaced in place by
a MALFORMED record that is journaled and counted like every refusal.

A record is stamped in place: `ts_recv_ns` from the cycle's clock and, on an order link, `stream_id` from the session
that the link belongs to, whatever its sender wrote; a peer's command names no person (-1). Heartbeats and the feed's
clock samples stop here.
"""

from __future__ import annotations

from engine.core.admit import allowed_from
from engine.core.state import FROM_FEED, FROM_VENUE, Events, State
from engine.io import ring, zmq
from engine.io.atomics import monotonic_ns
from engine.jit import kernel
from engine.record.records import (
    NOBODY,
    RECORD_MAX,
    SBE_HEADER_SIZE,
    UNIT,
    Reason,
    Template,
)
from engine.run.inbox import put
from engine.run.resend import follow_client, go_live
from engine.run.wiring import (
    CLOCK_FEED,
    L_BROKEN_OFF,
    L_HEARTBEATS,
    L_MALFORMED,
    L_OUT_OF_PLACE,
    NOWHERE,
    RECEIVE_BYTES,
    SHM,
    ZMQ_PEER,
    ZMQ_ROUTER,
    Wiring,
)

_HEARTBEAT, _CLOCK_SAMPLE, _MALFORMED = int(Template.HEARTBEAT), int(Template.CLOCK_SAMPLE), int(Template.MALFORMED)
_SESSION_UP, _SESSION_DOWN = int(Template.SESSION_UP), int(Template.SESSION_DOWN)
_MASS_CANCEL, _CONTROL = int(Template.MASS_CANCEL), int(Template.CONTROL)
_R_LENGTH, _R_DIRECTION, _R_SESSION, _R_GAP = (
    int(Reason.WRONG_LENGTH),
    int(Reason.WRONG_DIRECTION),
    int(Reason.UNKNOWN_SESSION),
    int(Reason.SEQUENCE_GAP),
)
#: So often in a row a venue's session is broken off for a gap before what is missing counts as lost.
BREAKS = 2
_ID_BYTES = 16


@kernel
def poll_link(w: Wiring, row: int) -> int:
    """Take one message of link `row` into the receive buffer: its length, 0 where there is none.

    A ROUTER row stands for all peers that dial in; `line.sender` is then the row of the peer that it came from. A
    message that is too long or from nobody we know has length 1: `framed` will find it malformed.
    """
    link, line = w.links[row], w.line[0]
    line.sender = row
    if link.transport == SHM:
        return max(int(ring.ring_pop(link.rx, line.event_address)), 0)
    if link.transport == ZMQ_PEER or link.transport == NOWHERE:
        return 0  # a peer's messages come by way of the router's row
    if link.transport == ZMQ_ROUTER:
        return _poll_router(w, row)
    n = int(zmq.recv(link.socket, line.event_address, RECEIVE_BYTES))
    if n <= 0:
        return 1 if n == 0 else 0
    return n if n <= RECEIVE_BYTES else 1


@kernel
def _poll_router(w: Wiring, row: int) -> int:
    """A ROUTER message is the sender's name and one body; more parts are read and make it malformed."""
    line = w.line[0]
    socket = int(w.links[row].socket)
    w.identity[0] = 0
    w.identity[1] = 0
    length = int(zmq.recv(socket, w.identity.ctypes.data, _ID_BYTES))
    if length < 0:
        return 0
    n = int(zmq.recv(socket, line.event_address, RECEIVE_BYTES)) if zmq.more(socket) == 1 else 0
    parts = 0
    while zmq.more(socket) == 1 and parts < 64:
        zmq.recv(socket, line.event_address, RECEIVE_BYTES)
        n = 1
        parts += 1
    line.sender = -1
    for other in range(line.n_links):
        link = w.links[other]
        if link.transport == ZMQ_PEER and link.id0 == w.identity[0] and link.id1 == w.identity[1]:
            line.sender = other
    return n if 0 < n <= RECEIVE_BYTES else 1


@kernel
def framed(events: Events, w: Wiring, row: int, at: int, n: int) -> int:
    """Bytes of the record at offset `at` of an n-byte message; a record that cannot be walked takes the rest.

    After this the record at `at` is well framed: itself, or the MALFORMED record in its place.
    """
    line = w.line[0]
    left = n - at
    i = at // UNIT
    if line.sender < 0:
        _replace(events, w, i, row, left, _R_SESSION)
        return left
    size = int(events.head[i].block_length) + SBE_HEADER_SIZE
    if left < UNIT or (size != UNIT and size != RECORD_MAX) or size > left:
        _replace(events, w, i, row, left, _R_LENGTH)
        return left
    if not allowed_from(int(events.head[i].template_id), int(w.links[int(line.sender)].source)):
        _replace(events, w, i, row, size, _R_DIRECTION)
    return size


@kernel
def _replace(events: Events, w: Wiring, i: int, row: int, length: int, reason: int) -> None:
    """Put a MALFORMED record (64 bytes) where something was that cannot be one."""
    w.counters[L_MALFORMED] += 1
    w.links[row].malformed += 1
    start = int(events.words[i * (UNIT // 8)])
    put(events, w, i, _MALFORMED, UNIT)
    record = events.malformed[i]
    record.link_id = row
    record.length = length
    record.reason = reason
    record.head = start


@kernel
def take_in(state: State, events: Events, w: Wiring, at: int) -> bool:
    """Stamp the record at offset `at` on arrival; False where it is the driver's own affair and goes no further."""
    line = w.line[0]
    head = events.head[at // UNIT]
    template = int(head.template_id)
    head.ts_recv_ns = line.clock_ns
    if template == _MALFORMED:
        return True
    link = w.links[int(line.sender)]
    link.records += 1
    if link.source == FROM_FEED:
        if line.clock_mode == CLOCK_FEED:
            _follow_feed(events, w, at // UNIT, template)
        return template != _CLOCK_SAMPLE
    head.stream_id = link.session
    if link.session >= 0:
        _name_nobody(events, at // UNIT, template)
    link.heard_ns = monotonic_ns()
    if link.source == FROM_VENUE and template != _SESSION_UP:
        if link.broken == 1:
            w.counters[L_OUT_OF_PLACE] += 1
            return False
        if _leaves_a_gap(events, w, at // UNIT, template):
            _break_off(events, w, at // UNIT)
            return True
    _note_place(events, w, at // UNIT, template)
    if template == _HEARTBEAT:
        w.counters[L_HEARTBEATS] += 1
        return False
    if template == _SESSION_UP:
        link.up = 1
        link.broken = 0
        follow_client(state, events, w, int(line.sender), at // UNIT)
    elif template == _SESSION_DOWN:
        link.up = 0
        go_live(w, int(line.sender))
    return True


@kernel
def _name_nobody(events: Events, i: int, template: int) -> None:
    """Who a peer's command says gave it is nobody's word: its session says it."""
    if template == _MASS_CANCEL:
        events.mass_cancel[i].actor_id = NOBODY
    elif template == _CONTROL and events.head[i].block_length == RECORD_MAX - SBE_HEADER_SIZE:
        events.control[i].actor_id = NOBODY
        events.control[i].actor_2 = NOBODY


@kernel
def _leaves_a_gap(events: Events, w: Wiring, i: int, template: int) -> bool:
    """Whether record i of a venue that is up says that one before it is missing, and asking for that may help."""
    link, head = w.links[int(w.line[0].sender)], events.head[i]
    following = int(link.seen_seq) + (0 if template == _HEARTBEAT else 1)
    return bool(
        link.up == 1 and head.stream_epoch == link.seen_epoch and head.stream_seq > following and link.breaks < BREAKS
    )


@kernel
def _break_off(events: Events, w: Wiring, i: int) -> None:
    """Put SESSION_DOWN in the place of record i: its venue's session is down until it says hello."""
    link = w.links[int(w.line[0].sender)]
    link.up = 0
    link.broken = 1
    link.breaks += 1
    w.counters[L_BROKEN_OFF] += 1
    w.counters[L_OUT_OF_PLACE] += 1
    put(events, w, i, _SESSION_DOWN, UNIT)
    down = events.session_down[i]
    down.stream_id = link.session
    down.session_id = link.session
    down.reason = _R_GAP


@kernel
def _note_place(events: Events, w: Wiring, i: int, template: int) -> None:
    """Remember the number of record i as the last seen, which the next heartbeat acknowledges."""
    link, head = w.links[int(w.line[0].sender)], events.head[i]
    if head.stream_epoch < link.seen_epoch or (
        head.stream_epoch == link.seen_epoch and head.stream_seq <= link.seen_seq
    ):
        return
    link.seen_epoch = head.stream_epoch
    link.seen_seq = head.stream_seq
    if template != _SESSION_UP and template != _HEARTBEAT:
        link.breaks = 0


@kernel
def _follow_feed(events: Events, w: Wiring, i: int, template: int) -> None:
    """In a replay the feed is the clock: its newest time is now."""
    line, head = w.line[0], events.head[i]
    now = int(events.clock[i].clock_ns) if template == _CLOCK_SAMPLE else int(head.ts_event_ns)
    if now > line.feed_clock_ns:
        line.feed_clock_ns = now
        if now > line.clock_ns:
            line.clock_ns = now
    head.ts_recv_ns = line.clock_ns
