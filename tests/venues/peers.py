"""Stand-ins for the other processes: an engine's ROUTER and a feed's publisher, plain pyzmq in the test itself."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np
import zmq

from engine.record.records import DTYPES, Reason, Template, blank


def records(message):
    """The records of a message, as arrays of one."""
    at = 0
    while at < len(message):
        size = int.from_bytes(message[at : at + 2], "little") + 8
        kind = Template(int.from_bytes(message[at + 2 : at + 4], "little"))
        yield np.frombuffer(message[at : at + size], DTYPES[kind]).copy()[0]
        at += size


class Engine:
    """What a peer sees of the engine: it answers hellos, numbers its records, and sends again what was missed."""

    def __init__(self, endpoint: str, epoch: int = 1000) -> None:
        self.context = zmq.Context()
        self.socket: Any = self.context.socket(zmq.ROUTER)
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        self.socket.set(zmq.ROUTER_HANDOVER, 1)
        self.socket.bind(endpoint)
        self.endpoint, self.epoch = endpoint, epoch
        self.seq: dict[bytes, int] = {}
        self.seen: dict[bytes, tuple[int, int]] = {}
        self.got: list[tuple[str, Any]] = []
        self.silent = False
        #: All that was sent to a peer, from number 1; `forgotten` of them are no longer there to be sent again.
        self.sent: dict[bytes, list[Any]] = {}
        self.forgotten = 0

    def close(self) -> None:
        self.socket.close(linger=0)
        self.context.term()

    def poll(self, seconds: float = 0.0) -> None:
        """Take what has come; answer hellos."""
        end = time.monotonic() + seconds
        while self.socket.poll(max(0, int((end - time.monotonic()) * 1000))):
            name, message = self.socket.recv_multipart()
            for record in records(message):
                self.seen[name] = int(record.stream_epoch), int(record.stream_seq)
                self.got.append((name.decode(), record))
                if record.template_id == Template.SESSION_UP and not self.silent:
                    self.welcome(name, record)

    def welcome(self, name: bytes, hello: Any) -> None:
        """Answer a hello: what the peer did not see, and a SESSION_UP with a number."""
        stream = self.sent.setdefault(name, [])
        if hello.last_seen_epoch == self.epoch:
            missed = int(hello.last_seen_seq)
            if missed < min(self.forgotten, len(stream)):
                reset = blank(Template.SEQUENCE_RESET)
                reset["stream_epoch"], reset["reason"] = self.epoch, Reason.RECORDS_GONE
                reset["begin_seq_no"], reset["new_seq_no"] = missed + 1, self.forgotten + 1
                self.socket.send_multipart([name, reset.tobytes()])
                missed = self.forgotten
            for row in stream[missed:]:
                self.socket.send_multipart([name, row.tobytes()])
        answer = blank(Template.SESSION_UP)
        answer["last_seen_epoch"], answer["last_seen_seq"] = hello.stream_epoch, hello.stream_seq
        self.send(name.decode(), answer)

    def beat(self, name: bytes) -> None:
        """A heartbeat, which has no number of its own."""
        row = blank(Template.HEARTBEAT)
        row["stream_epoch"], row["stream_seq"] = self.epoch, len(self.sent.get(name, []))
        row["last_seen_epoch"], row["last_seen_seq"] = self.seen.get(name, (0, 0))
        if not self.silent:
            with contextlib.suppress(zmq.ZMQError):  # the peer has left
                self.socket.send_multipart([name, row.tobytes()])

    def beat_all(self) -> None:
        for name in self.seen:
            self.beat(name)

    def send(self, session: str, *rows: Any) -> None:
        """Number records and send them as one message."""
        name = session.encode()
        for row in rows:
            self.seq[name] = self.seq.get(name, 0) + 1
            row["stream_epoch"], row["stream_seq"] = self.epoch, self.seq[name]
            self.sent.setdefault(name, []).append(row.copy())
        self.socket.send_multipart([name, b"".join(row.tobytes() for row in rows)])

    def take(self, *templates: int) -> list[Any]:
        """The records of some kinds that came since the last call; the others are forgotten."""
        got, self.got = self.got, []
        return [record for _, record in got if record.template_id in templates]


class Feed:
    """A publisher of records."""

    def __init__(self, endpoint: str) -> None:
        self.clock_ns = 0
        self.context = zmq.Context()
        self.socket: Any = self.context.socket(zmq.XPUB)
        self.socket.bind(endpoint)

    def close(self) -> None:
        self.socket.close(linger=0)
        self.context.term()

    def wait(self) -> None:
        """Until a subscription has come."""
        assert self.socket.poll(5000)
        self.socket.recv()

    def send(self, *rows: Any) -> None:
        self.socket.send(b"".join(row.tobytes() for row in rows))

    def tick(self, step_ns: int = 1_000_000) -> None:
        """Let the feed's time pass."""
        self.clock_ns += step_ns
        row = blank(Template.CLOCK_SAMPLE)
        row["clock_ns"] = self.clock_ns
        self.send(row)
