"""Messages of a ZeroMQ socket into the decoders of captures and lines: no interpreter between one and the next.

A message is a UDP payload, or a line (or several); of a message in parts the last one is it. `drain_mold` and
`drain_iex` decode each packet where it was received, with the kernels that read captures. `drain_lines` gathers lines
for a decoder of lines. All stop at the first of: nothing more is there, the batch or the buffer is full.

A hole in a transport's numbers is told in place: a CLEAR of the venue, reason SEQUENCE_GAP, before what follows it.

Worst case: a message longer than the buffer is counted and left out.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.atomics import address_of, copy, load_u8, realtime_ns
from engine.io.mapping import aligned_zeros
from engine.io.zmq import more, recv
from engine.jit import kernel
from engine.record.records import Reason
from gateways.formats import iex_kernels, mold_kernels
from gateways.formats.batch import Batch, new_clear, room
from gateways.formats.iex_kernels import Iex
from gateways.formats.itch_kernels import Itch
from gateways.formats.mold_kernels import Mold, is_new
from gateways.formats.sequence import GAPS, Streams
from gateways.formats.symbols import Symbols
from gateways.formats.text import NEWLINE
from gateways.inbox import table

Array = np.ndarray[Any, np.dtype[Any]]
#: Answers beside -errno (-EAGAIN: nothing more is there).
FULL, NEW_SESSION = 1, 2
#: Letters that a time takes in front of a bare message: 19 digits and a space.
STAMP: Final = 20
_GAP, _OPEN = int(Reason.SEQUENCE_GAP), ord("{")

ARRIVING: Final = table("""
at           i8  where the packet in hand is decoded on
stop         i8  where it ends
held         i8  1: a packet was received, and waits for its session
recv_ns      i8  when the last message was received; does not fall
messages     i8
octets       i8  bytes of all of them
too_long     i8  messages that did not fit
""")


def make_arriving() -> Array:
    """Nothing received."""
    return aligned_zeros(1, ARRIVING)


@kernel
def receive(socket: int, base: int, capacity: int, arriving: Array) -> int:
    """Take one message and its time: its bytes, 0 where it is empty or too long; -errno where none is there."""
    line = arriving[0]
    size = recv(socket, base, capacity)
    while size >= 0 and more(socket) == 1:
        size = recv(socket, base, capacity)
    if size < 0:
        return size
    line.recv_ns = max(realtime_ns(), int(line.recv_ns))
    line.messages += 1
    line.octets += size
    if size > capacity:
        line.too_long += 1
        return 0
    return size


@kernel
def drain_mold(
    socket: int, buffer: Array, arriving: Array, itch: Itch, symbols: Symbols, streams: Streams, mold: Mold,
    header: Batch, batch: Batch,
) -> int:  # fmt: skip
    """Decode MoldUDP64 packets until the batch is FULL, a NEW_SESSION begins, or -errno.

    buffer: uint8, the packet in hand; header: a batch without room, so that a packet's header is taken alone.
    """
    line, decoding, base = arriving[0], itch.state[0], address_of(buffer)
    while room(batch):
        if mold.state[0].reading != 0:
            line.at = mold_kernels.decode_packet(
                itch, symbols, streams, mold, buffer, int(line.at), int(line.stop), batch
            )
            continue
        if line.held == 0:
            size = receive(socket, base, len(buffer), arriving)
            if size < 0:
                return size
            line.stop = size
            decoding.window_at = line.octets - size
        line.held = 0
        if is_new(streams, mold, base, 0, int(line.stop)):
            line.held = 1
            return NEW_SESSION
        decoding.recv_ns = line.recv_ns
        holes = int(streams.tally[GAPS])
        line.at = mold_kernels.decode_packet(itch, symbols, streams, mold, buffer, 0, int(line.stop), header)
        if streams.tally[GAPS] != holes:
            new_clear(batch, int(decoding.venue), -1, 0, int(line.recv_ns), _GAP)
    return FULL


@kernel
def drain_iex(
    socket: int, buffer: Array, arriving: Array, iex: Iex, symbols: Symbols, streams: Streams, header: Batch,
    batch: Batch,
) -> int:  # fmt: skip
    """Decode IEX-TP packets until the batch is FULL, or -errno; buffer and header as of `drain_mold`."""
    line, decoding, base = arriving[0], iex.state[0], address_of(buffer)
    while room(batch):
        if decoding.reading != 0:
            line.at = iex_kernels.decode_packet(iex, symbols, streams, buffer, int(line.at), int(line.stop), batch)
            continue
        size = receive(socket, base, len(buffer), arriving)
        if size < 0:
            return size
        line.stop = size
        decoding.window_at = line.octets - size
        decoding.recv_ns = line.recv_ns
        holes = int(streams.tally[GAPS])
        line.at = iex_kernels.decode_packet(iex, symbols, streams, buffer, 0, size, header)
        if streams.tally[GAPS] != holes:
            new_clear(batch, int(decoding.venue), -1, 0, int(line.recv_ns), _GAP)
    return FULL


@kernel
def drain_lines(socket: int, buffer: Array, most: int, arriving: Array, stamp: int) -> int:
    """Gather messages of up to `most` bytes as lines, each ended by a newline; the bytes that the buffer then holds.

    stamp 1: a message that begins with a brace has the time of its receipt, ns, put in front of it.
    """
    line, base, n = arriving[0], address_of(buffer), 0
    scratch = len(buffer) - most
    while n + STAMP + most + 1 <= scratch:
        size = receive(socket, base + scratch, most, arriving)
        if size < 0:
            break
        if size == 0:
            continue
        if stamp != 0 and load_u8(base + scratch) == _OPEN:
            left = int(line.recv_ns)
            for k in range(STAMP - 1):
                buffer[n + STAMP - 2 - k] = 48 + left % 10
                left //= 10
            buffer[n + STAMP - 1] = 32
            n += STAMP
        copy(base + n, base + scratch, size)
        n += size
        if buffer[n - 1] != NEWLINE:
            buffer[n] = NEWLINE
            n += 1
    return n
