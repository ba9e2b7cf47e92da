"""A venue's drop copy over ZeroMQ: records as they are executed, each taken once, holes asked for again.

The stream is numbered. Whoever subscribes is sent the whole of it again, so a hole is closed by subscribing anew; what
came before is known by its number.

Worst case: a venue that does not send what is missing. `missing` then stays above 0, and the reconciliation says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import numpy as np
import zmq

from engine.errors import UsageError
from engine.record.records import HEAD, RECORD_MAX, SCHEMA_ID

#: Between two times that a hole is asked for.
_AGAIN_S: Final = 1.0
_MOST: Final = 4096


class VenueStream:
    """A subscription to one endpoint. `new` gives the records that came, in order of their numbers."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.MAXMSGSIZE, 1 << 16)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._socket.close()
            self._context.term()
            raise UsageError(f"--stream {endpoint}: {error.strerror}; give ipc:///path or tcp://host:port") from error
        self._socket.subscribe(b"")
        #: Epoch and number of the last record that was taken in order.
        self.epoch, self.seq = 0, 0
        self._ahead: dict[int, bytes] = {}
        self._asked_s = 0.0
        self.malformed = self.repeated = self.restarts = 0

    @property
    def missing(self) -> int:
        """Numbers that are known to be missing."""
        return max(self._ahead) - self.seq - len(self._ahead) if self._ahead else 0

    def new(self) -> Iterator[bytes]:
        """What came since the last call; records of 128 bytes."""
        for _ in range(_MOST):
            if not self._socket.poll(0):
                break
            message = self._socket.recv()
            if len(message) % RECORD_MAX or not message:
                self.malformed += 1
                continue
            for at in range(0, len(message), RECORD_MAX):
                yield from self._take(message[at : at + RECORD_MAX])
        if self._ahead and time.monotonic() - self._asked_s > _AGAIN_S:
            self._asked_s = time.monotonic()
            self._socket.unsubscribe(b"")
            self._socket.subscribe(b"")

    def _take(self, data: bytes) -> Iterator[bytes]:
        head = np.frombuffer(data, dtype=HEAD, count=1)[0]
        epoch, seq = int(head["stream_epoch"]), int(head["stream_seq"])
        if int(head["schema_id"]) != SCHEMA_ID or seq < 1 or epoch < self.epoch:
            self.malformed += 1
            return
        if epoch > self.epoch:
            self.restarts += self.epoch > 0
            self.epoch, self.seq, self._ahead = epoch, 0, {}
        if seq <= self.seq or seq in self._ahead:
            self.repeated += 1
            return
        self._ahead[seq] = data
        while (found := self._ahead.pop(self.seq + 1, None)) is not None:
            self.seq += 1
            yield found

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
        self._context.term()
