"""The peer's end of an order session with the engine: hello, numbers, heartbeats, silence.

A peer (a client or a venue gateway) sends SESSION_UP until the engine talks to it, and then counts as up. From then on
both sides send HEARTBEATs; a side that hears nothing for `timeout_ns` takes the other for down, and the peer says hello
again. All that a peer sends but heartbeats is numbered densely from 1 in its life (`stream_epoch`); a heartbeat carries
the last number used, and the engine's says which number it saw last (`acked_seq`).

Kernels work on a row of `Sessions.links`; `Port` opens and closes what is behind it, a DEALER socket or a pair of
rings. A record that was seen before is not handed on; a gap in the engine's numbers is counted.

A client (`resumes`) takes the engine's records in order, each once. Its hello says which it saw last, and the engine
sends again what came after, before anything newer; its SESSION_UP in answer says that nothing older is missing. Where
a number is skipped, or a heartbeat names a later one, the client says hello again and takes nothing newer until what
lies between has come, or a SEQUENCE_RESET says that it never will.

Worst case: a peer notices that the engine restarted after `timeout_ns` of silence, not sooner. An engine that answers
a gap with nothing for GIVE_UP_NS is taken at its word: what was skipped counts as lost.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any, Final

import zmq as pyzmq

from engine.errors import TickrouteError
from engine.io import zmq
from engine.io.atomics import address_of, monotonic_ns
from engine.io.mapping import aligned_zeros
from engine.io.ring import CONSUMER, PRODUCER, Ring, RingError, ring_beat, ring_pop, ring_push
from engine.jit import kernel
from engine.memory import Memory, memory, packed
from engine.record.records import DTYPES, UNIT, Reason, SessionFlag, Template, blank
from gateways.inbox import Array, Inbox, make_inbox, table, units_of, whole

SHM: Final = "shm://"
#: Transports of a link.
ABSENT, ZMQ, RING = 0, 1, 2
#: Between two hellos that were not answered, and between two tries where nobody is connected.
_HELLO_NS: Final = 250_000_000
_RETRY_NS: Final = 10_000_000
#: So long a gap is asked about before it is taken for lost.
GIVE_UP_NS: Final = 3_000_000_000
_UP, _DOWN, _BEAT = int(Template.SESSION_UP), int(Template.SESSION_DOWN), int(Template.HEARTBEAT)
_RESET, _FROM_START = int(Template.SEQUENCE_RESET), int(SessionFlag.FROM_START)
_RECOVERED = int(Reason.RECOVERED)

#: One session.
LINK: Final = table("""
transport    i8  ABSENT, ZMQ or RING
socket       i8  address of the DEALER
rx           i8  ring from the engine
tx           i8  ring to the engine
session      i8  index of the session in the configuration
capability   i8  bits that our SESSION_UP announces, see SessionFlag
resumes      i8  1: takes the engine's records in order, each once, and asks for what is missing
heartbeat_ns i8  we say something at least so often
timeout_ns   i8  the engine is down after so long a silence
epoch        i8  start of our life, seconds
seq_out      i8  last number that we used
acked_seq    i8  last of our numbers that the engine has seen
seen_epoch   i8  the engine's life
seen_seq     i8  its last number seen
behind_ns    i8  when a number was skipped that has not come since; 0: none
hello_seq    i8  number of our last SESSION_UP
moved_ns     i8  when a record of the engine's last came in its place
welcomed     i8  number of the one that the engine has answered last: nothing older than the answer is missing
hello        i8  1: SESSION_UP has been sent since the link was last down
up           i8  1: the engine has been heard since then
ups          i8  counted: times it came up
downs        i8  counted: times it was lost
heard_ns     i8  when something last came, CLOCK_MONOTONIC
sent_ns      i8  when something last left
hello_ns     i8  when SESSION_UP last left
restarts     i8  counted: new lives of the engine
received     i8  counted: records
duplicates   i8  counted: records seen before, or of an earlier life
gaps         i8  counted: holes in the engine's numbers
resent       i8  counted: records that came between a hello and its answer
resets       i8  counted: times that the engine could not send what was asked for
lost         i8  counted: numbers of the engine's that never came
taken        i8  counted: times that an earlier life turned out to have had our epoch
sent         i8  counted: messages
unsent       i8  counted: messages that the transport did not take at once
""")


class SessionError(TickrouteError):
    """A session that cannot be opened; the message names the endpoint, the value at fault and the remedy."""


@memory
class Sessions(Memory):
    """Rows of sessions, and the two records that they send of their own."""

    LAYOUT = packed(links=LINK, hello=DTYPES[Template.SESSION_UP], beat=DTYPES[Template.HEARTBEAT])
    links: Array
    hello: Array  # one row
    beat: Array  # one row


def make_sessions(count: int, *, epoch: int, heartbeat_ms: int, timeout_ms: int, capability: int = 0) -> Sessions:
    """`count` sessions, none of them open; `epoch` is the start of this peer's life in seconds."""
    links = aligned_zeros(count, LINK)
    links["session"] = range(count)
    links["epoch"], links["capability"] = epoch, capability
    links["heartbeat_ns"], links["timeout_ns"] = heartbeat_ms * 1_000_000, timeout_ms * 1_000_000
    return Sessions(links=links, hello=blank(Template.SESSION_UP), beat=blank(Template.HEARTBEAT))


@kernel
def receive(s: Sessions, row: int, address: int, capacity: int) -> int:
    """Take one message to `address`: its bytes, or 0 where none waits. One that is too long has length 1."""
    link = s.links[row]
    if link.transport == ZMQ:
        n = int(zmq.recv(link.socket, address, capacity))
        return 1 if n > capacity else max(n, 0)
    if link.transport == RING:
        return max(int(ring_pop(link.rx, address)), 0)
    return 0


@kernel
def admit(s: Sessions, row: int, inbox: Inbox, at: int, now_ns: int) -> bool:
    """Take note of the record at unit `at`, which came on session `row`; whether it is for the application, and new."""
    link, head = s.links[row], inbox.head[at]
    epoch, seq, template = int(head.stream_epoch), int(head.stream_seq), int(head.template_id)
    link.received += 1
    link.heard_ns = now_ns
    if epoch > link.seen_epoch:
        if link.seen_epoch > 0:
            link.restarts += 1
            if link.up == 1:
                _lose(s, row)
        link.seen_epoch, link.seen_seq, link.behind_ns = epoch, 0, 0
    if link.hello == 1 and link.up == 0:
        link.up = 1
        link.ups += 1
    if template in (_UP, _BEAT):
        _hear_seen(s, row, int(inbox.session[at].last_seen_epoch), int(inbox.session[at].last_seen_seq))
    if template == _BEAT:
        _hear_beat(s, row, epoch, seq, now_ns)
        return False
    if template == _RESET:
        _reset(s, row, inbox, at)
        return False
    if epoch < link.seen_epoch or seq <= link.seen_seq:
        link.duplicates += 1
        return False
    if seq > link.seen_seq + 1 and not _skip(s, row, seq, now_ns):
        return False
    link.seen_seq, link.behind_ns, link.moved_ns = seq, 0, now_ns
    if link.welcomed < link.hello_seq and template != _UP:
        link.resent += 1
    if template == _UP and inbox.session[at].last_seen_epoch == link.epoch:
        if inbox.session[at].last_seen_seq >= link.hello_seq:
            link.welcomed = link.hello_seq
    return template not in (_UP, _DOWN)


@kernel
def _hear_seen(s: Sessions, row: int, epoch: int, seq: int) -> None:
    """The engine says what it saw of us last. What we never used is an earlier life's: take an epoch of our own."""
    link = s.links[row]
    if link.hello == 1 and (epoch > link.epoch or (epoch == link.epoch and seq > link.seq_out)):
        if link.resumes == 1:
            link.epoch, link.seq_out, link.acked_seq, link.hello_seq, link.welcomed = epoch + 1, 0, 0, 0, 0
            link.taken += 1
            _lose(s, row)
    elif epoch == link.epoch and seq <= link.seq_out:
        link.acked_seq = max(int(link.acked_seq), seq)


@kernel
def _counts_from(s: Sessions, row: int) -> bool:
    """Whether we know which number comes next; the first one that a new peer sees is where it begins."""
    link = s.links[row]
    return bool(link.seen_seq > 0 or link.capability & _FROM_START != 0)


@kernel
def _skip(s: Sessions, row: int, seq: int, now_ns: int) -> bool:
    """Numbers before `seq` are missing; whether `seq` is taken all the same."""
    link = s.links[row]
    if not _counts_from(s, row):
        return True
    if link.resumes == 0:
        link.gaps += 1
        return True
    if link.behind_ns == 0:
        _fall_behind(s, row, now_ns)
        return False
    if now_ns - link.behind_ns < GIVE_UP_NS:
        return False
    link.lost += seq - link.seen_seq - 1
    link.resets += 1
    return True


@kernel
def _hear_beat(s: Sessions, row: int, epoch: int, seq: int, now_ns: int) -> None:
    """A heartbeat says which number the engine used last: a loss at the end of its stream shows here."""
    link = s.links[row]
    if link.resumes == 0 or epoch < link.seen_epoch or not _counts_from(s, row):
        return
    if seq <= link.seen_seq:
        link.behind_ns = 0 if seq > 0 else link.behind_ns  # it has gone back to where we are
    elif link.behind_ns == 0:
        _fall_behind(s, row, now_ns)


@kernel
def _fall_behind(s: Sessions, row: int, now_ns: int) -> None:
    """Something is missing: ask for it, unless a hello of ours is still to be answered, which asks for it already."""
    link = s.links[row]
    link.behind_ns = now_ns
    if 0 < link.hello_seq == link.welcomed:
        link.gaps += 1
        link.hello_ns, link.moved_ns = 0, 0  # ask at once


@kernel
def _reset(s: Sessions, row: int, inbox: Inbox, at: int) -> None:
    """The engine cannot send what we asked for: its stream goes on at another number."""
    link, said = s.links[row], inbox.reset[at]
    last = int(said.new_seq_no) - 1
    back = last < link.seen_seq
    if said.stream_epoch != link.seen_epoch or (back and said.reason != _RECOVERED):
        return
    if not back:
        link.lost += last - link.seen_seq
    link.resets += 1
    link.seen_seq, link.behind_ns = last, 0


@kernel
def _lose(s: Sessions, row: int) -> None:
    """The engine is gone, or its old life is: say hello at once."""
    link = s.links[row]
    link.up, link.hello, link.hello_ns = 0, 0, 0
    link.downs += 1


@kernel
def transmit(s: Sessions, row: int, address: int, size: int, now_ns: int) -> bool:
    """Hand `size` bytes of whole records (on a ring: one record) to the transport; False: not now."""
    link = s.links[row]
    done = False
    if link.transport == ZMQ:
        done = int(zmq.send(link.socket, address, size, 0)) >= 0
    elif link.transport == RING:
        done = int(ring_push(link.tx, address, size)) == 1
    if done:
        link.sent_ns = now_ns
        link.sent += 1
    else:
        link.unsent += 1
    return done


@kernel
def keep(s: Sessions, row: int, now_ns: int) -> None:
    """Do what is due on a session: hello, heartbeat, the finding that the engine is silent. For once a millisecond."""
    link = s.links[row]
    if link.transport == RING:
        ring_beat(link.rx, CONSUMER, now_ns)
        ring_beat(link.tx, PRODUCER, now_ns)
    if link.up == 1 and now_ns - link.heard_ns > link.timeout_ns:
        _lose(s, row)
    if link.up == 1:
        unanswered = link.resumes == 1 and link.welcomed < link.hello_seq
        if (link.behind_ns != 0 or unanswered) and now_ns - max(link.hello_ns, link.moved_ns) >= _HELLO_NS:
            _greet(s, row, now_ns)
        if now_ns - link.sent_ns >= link.heartbeat_ns:
            _say(s, row, now_ns)
    elif link.transport != ABSENT and now_ns - link.hello_ns >= _HELLO_NS:
        _greet(s, row, now_ns)


@kernel
def _greet(s: Sessions, row: int, now_ns: int) -> None:
    link, hello = s.links[row], s.hello[0]
    hello.stream_epoch, hello.stream_seq = link.epoch, link.seq_out + 1
    hello.last_seen_seq, hello.last_seen_epoch = link.seen_seq, link.seen_epoch
    hello.session_id, hello.capability = link.session, link.capability
    if transmit(s, row, s.hello.ctypes.data, UNIT, now_ns):
        link.seq_out += 1
        link.hello, link.hello_ns, link.hello_seq = 1, now_ns, link.seq_out
    else:
        link.hello_ns = now_ns - _HELLO_NS + _RETRY_NS


@kernel
def _say(s: Sessions, row: int, now_ns: int) -> None:
    link, beat = s.links[row], s.beat[0]
    beat.stream_epoch, beat.stream_seq = link.epoch, link.seq_out
    beat.last_seen_seq, beat.last_seen_epoch = link.seen_seq, link.seen_epoch
    beat.session_id = link.session
    transmit(s, row, s.beat.ctypes.data, UNIT, now_ns)
    link.sent_ns = now_ns


@cache
def rehearse() -> None:
    """Have every kernel of a session compiled and loaded, once a process: after the hello a compiler would be silence.

    Worst case: some seconds with an empty kernel cache.
    """
    s, inbox = make_sessions(1, epoch=1, heartbeat_ms=1, timeout_ms=1), make_inbox(UNIT)
    receive(s, 0, address_of(inbox.head), UNIT)
    whole(inbox, 0, UNIT)
    units_of(inbox, 0)
    admit(s, 0, inbox, 0, monotonic_ns())
    keep(s, 0, monotonic_ns())
    transmit(s, 0, address_of(inbox.head), UNIT, monotonic_ns())


class Port:
    """What is behind a row of `Sessions`: a DEALER with a routing id, or rings PATH.in (to the engine) and PATH.out.

    SessionError where the endpoint cannot be used. Rings that the engine has not made yet are tried again by `attach`.
    """

    def __init__(
        self, s: Sessions, row: int, endpoint: str, name: str, context: pyzmq.Context[Any] | None = None
    ) -> None:
        self.endpoint, self.name = endpoint, name
        self._link = s.links[row : row + 1]
        self.socket: pyzmq.Socket[bytes] | None = None
        self._rings: list[Ring] = []
        self._next_try_s = 0.0
        if endpoint.startswith(SHM):
            self.attach()
            return
        if context is None:
            raise SessionError(f"session {name}: endpoint {endpoint!r} needs a ZeroMQ context, or be {SHM}/path")
        try:
            self.socket = zmq.open_socket(context, "dealer", endpoint, name=name.encode("ascii"))
        except zmq.LinkError as error:
            raise SessionError(f"session {name}: {error}") from error
        self._link["socket"] = zmq.address(self.socket)
        self._link["transport"] = ZMQ

    def attach(self) -> bool:
        """Take up the rings where that is still to do; False: they are not there yet (looked for every 0.1 s).

        What waits in them from an earlier life is dropped: it is too old to be acted on.
        """
        if self._link["transport"][0] != ABSENT:
            return True
        if time.monotonic() < self._next_try_s:
            return False
        self._next_try_s = time.monotonic() + 0.1
        path = self.endpoint.removeprefix(SHM)
        try:
            for end, side in ((".in", PRODUCER), (".out", CONSUMER)):
                self._rings.append(Ring.attach(path + end, side))
        except RingError as error:
            self._close_rings()
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise SessionError(f"session {self.name}: {error}") from error
        self._rings[1].discard()
        self._link["tx"], self._link["rx"] = (ring.address for ring in self._rings)
        self._link["transport"] = RING
        return True

    def _close_rings(self) -> None:
        for ring in self._rings:
            ring.close()
        self._rings = []

    def close(self) -> None:
        """Hang up. Idempotent; no kernel may be at work on the row."""
        self._link["transport"] = ABSENT
        self._link["up"] = 0
        if self.socket is not None:
            self.socket.close(linger=0)
            self.socket = None
        self._close_rings()
