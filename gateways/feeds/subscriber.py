"""The other end of a feed, for Python programs: receives whole records, and keeps an account of every stream.

It connects a SUB socket (or takes the reading side of a ring), drains what is there into one numpy buffer in a kernel
and follows epochs, sequences, day ends and the feed's clock. Records are handed on as they came: duplicates and gaps
are counted here, and what to do about them is the caller's business. The engine itself does not use this.

Worst case: the buffer that `receive` returns is valid until its next call; copy what must stay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import zmq

from engine.io.atomics import address_of, monotonic_ns
from engine.io.ring import CONSUMER, Ring, ring_beat, ring_pop
from engine.io.zmq import MAX_MESSAGE, address, make_context, open_socket, recv
from engine.jit import kernel
from engine.record.records import DTYPES, RECORD_MAX, SCHEMA_ID, Reason, Template
from gateways.feeds.player import HIGH_WATER, RING_SLOTS, SHM

#: Columns of the stream table.
_EPOCH, _SEQ, _RECORDS, GAPS, MISSED, DUPLICATES, _RESTARTS, _ENDED = range(8)
#: Columns of the account.
_CLOCK, _MESSAGES, _TOTAL, _MALFORMED = range(4)
_STREAMS = 256
_CLEAR, _SAMPLE = int(Template.CLEAR), int(Template.CLOCK_SAMPLE)
_DAY_END = int(Reason.DAY_END)
_RING_NAP_S = 0.0002


@dataclass(frozen=True)
class Stream:
    """What was seen of one stream: the last epoch and sequence, records, and what was wrong with them.

    gaps: jumps ahead; missed: numbers jumped over; duplicates: numbers or epochs already passed; restarts: new epochs.
    """

    epoch: int
    seq: int
    records: int
    gaps: int
    missed: int
    duplicates: int
    restarts: int
    ended: bool


def _stream(row: list[int]) -> Stream:
    epoch, seq, records, gaps, missed, duplicates, restarts, ended = row
    return Stream(epoch, seq, records, gaps, missed, duplicates, restarts, bool(ended))


class Account(NamedTuple):
    """streams: int64 (streams, 8); account: int64 (4): clock, messages, records, malformed messages."""

    streams: np.ndarray
    totals: np.ndarray


def make_account() -> Account:
    """Nothing seen."""
    return Account(np.zeros((_STREAMS, 8), dtype=np.int64), np.zeros(4, dtype=np.int64))


class Subscriber:
    """A connected reader of one endpoint (ipc://, tcp:// or shm://). Use as a context manager.

    prefixes: first bytes of messages that are wanted (SUB sockets only); each is a subscription that the player counts.
    LinkError or RingError where the endpoint is not to be had.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        prefixes: Sequence[bytes] = (b"",),
        capacity: int = 1 << 20,
        ring_slots: int = RING_SLOTS,
        high_water: int = HIGH_WATER,
    ) -> None:
        self.endpoint = endpoint
        self._buffer = np.zeros(capacity + MAX_MESSAGE, dtype=np.uint8)
        self._account = make_account()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._ring: Ring | None = None
        if endpoint.startswith(SHM):
            self._ring = Ring.create(endpoint.removeprefix(SHM), ring_slots, CONSUMER)
            drain_ring(self._ring.address, self._buffer[:0], self._account)  # compiles it, and takes nothing
            return
        self._context = make_context()
        try:
            self._socket = open_socket(
                self._context, "sub", endpoint, prefixes=prefixes, high_water=high_water, heartbeat_ms=0
            )
        except BaseException:
            self.close()
            raise
        drain_socket(address(self._socket), self._buffer[:0], self._account)

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def clock_ns(self) -> int:
        """The feed's time: the largest seen in a clock sample or a record; 0 before the first."""
        return int(self._account.totals[_CLOCK])

    @property
    def records(self) -> int:
        """Records received, without clock samples."""
        return int(self._account.totals[_TOTAL])

    @property
    def messages(self) -> int:
        """Messages received (on a ring: records)."""
        return int(self._account.totals[_MESSAGES])

    @property
    def malformed(self) -> int:
        """Messages that did not consist of whole records and were left out."""
        return int(self._account.totals[_MALFORMED])

    @property
    def streams(self) -> dict[int, Stream]:
        """stream_id -> what was seen of it."""
        table = self._account.streams
        seen = np.flatnonzero(table[:, _RECORDS])
        return {int(i): _stream([int(x) for x in table[i]]) for i in seen}

    @property
    def ended(self) -> bool:
        """Whether every stream seen has said that its day is over."""
        streams = self.streams
        return bool(streams) and all(stream.ended for stream in streams.values())

    def receive(self, timeout_s: float = 1.0) -> np.ndarray:
        """What is there, at most `capacity` bytes: a view of whole records, uint8; empty after `timeout_s` of nothing.

        The view is overwritten by the next call.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            n = self._drain()
            left_s = deadline_s - time.monotonic()
            if n or left_s <= 0:
                return self._buffer[:n]
            if self._socket is not None:
                self._socket.poll(min(int(left_s * 1000) + 1, 100))
            else:
                time.sleep(min(_RING_NAP_S, left_s))

    def _drain(self) -> int:
        if self._ring is not None:
            ring_beat(self._ring.address, CONSUMER, monotonic_ns())
            return int(drain_ring(self._ring.address, self._buffer, self._account))
        if self._socket is None:
            raise RuntimeError(f"{self.endpoint}: the subscriber is closed")
        return int(drain_socket(address(self._socket), self._buffer, self._account))

    def close(self) -> None:
        """Disconnect. Idempotent."""
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None
        if self._context is not None:
            self._context.term()
            self._context = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None


def split(data: np.ndarray) -> Iterator[Any]:
    """The records in a batch that `receive` gave, one by one, as np.record views."""
    at = 0
    while at < len(data):
        size = int(data[at]) + 256 * int(data[at + 1]) + 8
        yield data[at : at + size].view(DTYPES[Template(int(data[at + 2]))])[0]
        at += size


@kernel
def drain_socket(socket: int, buffer: np.ndarray, account: Account) -> int:
    """Receive messages until none is there or the buffer has no room for one more; bytes of whole records received."""
    base, n = address_of(buffer), 0
    while n + MAX_MESSAGE <= len(buffer):
        size = recv(socket, base + n, MAX_MESSAGE)
        if size < 0:
            break
        account.totals[_MESSAGES] += 1
        if whole(buffer, n, size):
            follow(buffer, n, n + size, account)
            n += size
        else:
            account.totals[_MALFORMED] += 1
    return n


@kernel
def drain_ring(ring: int, buffer: np.ndarray, account: Account) -> int:
    """As `drain_socket`, from a ring."""
    base, n = address_of(buffer), 0
    while n + MAX_MESSAGE <= len(buffer):
        size = ring_pop(ring, base + n)
        if size <= 0:
            break
        account.totals[_MESSAGES] += 1
        if whole(buffer, n, size):
            follow(buffer, n, n + size, account)
            n += size
        else:
            account.totals[_MALFORMED] += 1
    return n


@kernel
def whole(buffer: np.ndarray, low: int, size: int) -> bool:
    """Whether a message consists of whole records of our schema on streams that we can follow."""
    if size <= 0 or size > MAX_MESSAGE:
        return False
    at, end = low, low + size
    while at < end:
        if at + 64 > end:
            return False
        record = int(buffer[at]) + 256 * int(buffer[at + 1]) + 8
        schema = int(buffer[at + 4]) + 256 * int(buffer[at + 5])
        stream = int(buffer[at + 12]) + 256 * int(buffer[at + 13])
        if record not in (64, RECORD_MAX) or schema != SCHEMA_ID or (_STREAMS <= stream < 0xFFFF):
            return False
        at += record
    return at == end


@kernel
def follow(buffer: np.ndarray, low: int, high: int, account: Account) -> None:
    """Account for the records in buffer[low:high], which are whole and begin on a multiple of 64 bytes."""
    words = buffer.view(np.int64)
    at, totals = low // 8, account.totals
    while at < high // 8:
        head, second = int(words[at]), int(words[at + 1])
        template = (head >> 16) & 0xFFFF
        stream = (second >> 32) & 0xFFFF
        time_ns = int(words[at + 5]) if template == _SAMPLE else int(words[at + 3])
        totals[_CLOCK] = max(int(totals[_CLOCK]), time_ns)
        if template != _SAMPLE:
            totals[_TOTAL] += 1
            if stream < _STREAMS:
                ends = template == _CLEAR and words[at + 6] == _DAY_END
                follow_stream(account.streams[stream], second & 0xFFFFFFFF, int(words[at + 2]), ends)
        at += ((head & 0xFFFF) + 8) // 8


@kernel
def follow_stream(row: np.ndarray, epoch: int, seq: int, ends: bool) -> None:
    """Account for one record of a stream."""
    row[_RECORDS] += 1
    if epoch > row[_EPOCH]:
        row[_RESTARTS] += 1 if row[_EPOCH] > 0 else 0
        row[_EPOCH] = epoch
        row[_SEQ] = 0
        row[_ENDED] = 0
    elif epoch < row[_EPOCH] or seq <= row[_SEQ]:
        row[DUPLICATES] += 1
        return
    if seq > row[_SEQ] + 1:
        row[GAPS] += 1
        row[MISSED] += seq - row[_SEQ] - 1
    row[_SEQ] = seq
    if ends:
        row[_ENDED] = 1
