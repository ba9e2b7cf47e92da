"""The numbers of messages on the streams of a capture: what is missing, and what came before.

A stream is known by two words of the transport's own. The first packet of a stream says where its numbers begin: a
capture that starts within the day misses nothing. A packet that comes late counts as a hole when it is passed, and as
repeated when it comes.

Worst case: `MOST` streams a capture; packets of a further one are not numbered, and their reader counts them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.jit import kernel
from engine.memory import Memory, memory, packed
from gateways.formats.reader import Counts

Array = np.ndarray[Any, np.dtype[Any]]
#: Streams that one capture may have.
MOST: Final = 16
#: A number beyond this is damage.
MOST_SEQ: Final = 1 << 56
#: Fields of `Streams.tally`.
STREAMS, GAPS, LOST, REPEATED, LAST = 0, 1, 2, 3, 4
_UNKNOWN: Final = -1


@memory
class Streams(Memory):
    """Of each stream its name in two words, the number that comes next (-1 unknown) and the byte that does."""

    LAYOUT = packed(high="<i8", low="<i8", next_seq="<i8", next_offset="<i8", tally="<i8")
    high: Array
    low: Array
    next_seq: Array
    next_offset: Array
    tally: Array


def make_streams() -> Streams:
    """No streams."""
    words = {name: np.zeros(MOST, dtype="<i8") for name in ("high", "low")}
    unknown = {name: np.full(MOST, _UNKNOWN, dtype="<i8") for name in ("next_seq", "next_offset")}
    return Streams(**words, **unknown, tally=np.zeros(8, dtype="<i8"))


def take_counts(streams: Streams, counts: Counts) -> None:
    """Write what the numbers showed so far into a reader's counts."""
    counts.gaps = int(streams.tally[GAPS])
    counts.lost = int(streams.tally[LOST])
    counts.repeated = int(streams.tally[REPEATED])


@kernel
def stream_of(streams: Streams, high: int, low: int) -> int:
    """The stream of a name, entered where it is new; -1 where there are too many."""
    last = int(streams.tally[LAST])
    known = int(streams.tally[STREAMS])
    if last < known and streams.high[last] == high and streams.low[last] == low:
        return last
    for stream in range(known):
        if streams.high[stream] == high and streams.low[stream] == low:
            streams.tally[LAST] = stream
            return stream
    if known == MOST:
        return -1
    streams.tally[STREAMS] = known + 1
    streams.tally[LAST] = known
    streams.high[known] = high
    streams.low[known] = low
    return known


@kernel
def advance(streams: Streams, stream: int, first_seq: int, count: int) -> int:
    """Take a packet with `count` messages from number `first_seq` on; how many at its front came before."""
    expected = int(streams.next_seq[stream])
    if expected == _UNKNOWN:
        expected = first_seq
    if first_seq > expected:
        streams.tally[GAPS] += 1
        streams.tally[LOST] += first_seq - expected
    repeated = min(max(expected - first_seq, 0), count)
    streams.tally[REPEATED] += repeated
    streams.next_seq[stream] = max(expected, first_seq + count)
    return repeated


@kernel
def advance_bytes(streams: Streams, stream: int, offset: int, length: int) -> bool:
    """Take a packet's place in the stream's bytes; False where bytes before it are missing."""
    expected = int(streams.next_offset[stream])
    streams.next_offset[stream] = max(expected, offset + length)
    return bool(expected == _UNKNOWN or offset <= expected)
