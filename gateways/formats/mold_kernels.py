"""MoldUDP64 packets of ITCH 5.0 messages, in place: session, number of the first message, count, messages.

A session has its own stream of numbers, its own stock locates and is a venue of its own. Number 0, which no sender
uses, is a capture whose numbers were taken out: nothing is found missing in it. Messages that came before (a second
line of the same feed, a packet sent again) are counted by type and give no record.

A packet is left when the batch is full, and gone on with. Damage ends with its packet: the next begins anew.

Worst case: 16 sessions a capture; the packets of further ones are counted and passed over.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.atomics import address_of, load_i64_be, load_u16_be
from engine.jit import kernel
from engine.memory import Memory, memory, packed
from gateways.formats.batch import Batch, room
from gateways.formats.capture import PAYLOAD, Capture, next_payload
from gateways.formats.itch_kernels import FULL, LOCATES, MORE, TAKEN, Itch, skip, take
from gateways.formats.sequence import MOST_SEQ, Streams, advance, stream_of
from gateways.formats.symbols import Symbols

Array = np.ndarray[Any, np.dtype[Any]]
HEADER: Final = 20
_END_OF_SESSION: Final = 0xFFFF
#: Places in `Mold.tally`: what carries no message, and what is damaged.
HEARTBEATS, ENDS, SHORT, MISFIT, STRANGE, NEW_SESSION = 0, 1, 2, 3, 4, 5
_STATE = np.dtype((np.record, [(name, "<i8") for name in "reading left muted numbered sessions first_bad".split()]))


@memory
class Mold(Memory):
    """state (1): whether a packet is being read, its messages left, how many of them came before, whether they have
    numbers, sessions that Python knows, place of the first damaged packet. tally (8). midnight_ns by session."""

    LAYOUT = packed(state=_STATE, tally="<i8", midnight_ns="<i8")
    state: Array
    tally: Array
    midnight_ns: Array


def make_mold(sessions: int) -> Mold:
    """No packet seen."""
    mold = Mold(
        state=np.zeros(1, dtype=_STATE),
        tally=np.zeros(8, dtype="<i8"),
        midnight_ns=np.zeros(sessions, dtype="<i8"),
    )
    mold.state[0].first_bad = -1
    return mold


@kernel
def _damaged(itch: Itch, mold: Mold, kind: int, at: int) -> None:
    """Count a packet that is not what its header says."""
    mold.tally[kind] += 1
    if mold.state[0].first_bad < 0:
        mold.state[0].first_bad = itch.state[0].window_at + at


@kernel
def _begin(itch: Itch, streams: Streams, mold: Mold, base: int, at: int, stop: int) -> bool:
    """Take a packet's header; False where no messages follow."""
    state = mold.state[0]
    if stop - at < HEADER:
        _damaged(itch, mold, SHORT, at)
        return False
    address = base + at
    stream = stream_of(streams, load_i64_be(address), load_u16_be(address + 8))
    if stream < 0:
        mold.tally[STRANGE] += 1
        return False
    seq, count = load_i64_be(address + 10), load_u16_be(address + 18)
    if seq < 0 or seq > MOST_SEQ:
        _damaged(itch, mold, MISFIT, at)
        return False
    ends = count == _END_OF_SESSION
    if count == 0 or ends:
        mold.tally[ENDS if ends else HEARTBEATS] += 1
        count = 0
    state.numbered = 1 if seq > 0 else 0
    state.muted = advance(streams, stream, seq, count) if seq > 0 else 0
    state.left = count
    itch.state[0].seq = seq
    itch.state[0].venue = stream
    itch.state[0].locates = stream * LOCATES
    itch.state[0].midnight_ns = mold.midnight_ns[stream]
    return bool(count > 0)


@kernel
def decode_packet(
    itch: Itch, symbols: Symbols, streams: Streams, mold: Mold, data: Array, at: int, stop: int, batch: Batch
) -> int:
    """Decode the packet (or what is left of it) at `at` .. `stop` of the data; `stop`, or where it had to be left.

    It is left with status FULL before a message that the batch has no room for.
    """
    base = address_of(data)
    state, decoding = mold.state[0], itch.state[0]
    decoding.status = MORE
    if state.reading == 0:
        if not _begin(itch, streams, mold, base, at, stop):
            return stop
        state.reading = 1
        at += HEADER
    while state.left > 0:
        if not room(batch):
            decoding.status = FULL
            return at
        length = load_u16_be(base + at) if stop - at >= 2 else 0
        if length == 0 or length > stop - at - 2:
            _damaged(itch, mold, MISFIT, at)
            break
        decoding.mute = 1 if state.muted > 0 else 0
        code = take(itch, symbols, base + at + 2, length, batch)
        if code != TAKEN:
            skip(itch, code, at)
        at += 2 + length
        state.left -= 1
        state.muted -= 1
        decoding.seq += state.numbered
    else:
        if at != stop:
            _damaged(itch, mold, MISFIT, at)
    state.reading = 0
    return stop


@kernel
def is_new(streams: Streams, mold: Mold, base: int, at: int, left: int) -> bool:
    """Whether a packet is the first of its session: Python then finds out the session's day."""
    if mold.state[0].reading != 0 or left < HEADER:
        return False
    stream = stream_of(streams, load_i64_be(base + at), load_u16_be(base + at + 8))
    return bool(stream >= mold.state[0].sessions)


@kernel
def decode_capture(
    capture: Capture, itch: Itch, symbols: Symbols, streams: Streams, mold: Mold, data: Array, at: int, batch: Batch
) -> int:
    """Decode the packets of a capture's window; where it stopped.

    `Itch.state` status is MORE with `Capture.state` telling why there is no further packet, FULL, or NEW_SESSION in
    front of a session's first packet.
    """
    taken, decoding, end = capture.state[0], itch.state[0], len(data)
    base = address_of(data)
    while True:
        if taken.left == 0:
            at = next_payload(capture, data, at, end)
            decoding.status = MORE
            if taken.status != PAYLOAD:
                return at
        if is_new(streams, mold, base, at, taken.left):
            decoding.status = NEW_SESSION
            return at
        decoding.recv_ns = taken.recv_ns
        after = decode_packet(itch, symbols, streams, mold, data, at, at + taken.left, batch)
        taken.left -= after - at
        at = after
        if taken.left > 0:
            return at
        at += taken.rest
