"""Order sessions in the simulation: what is in flight, and a peer that numbers, remembers and sends again.

A wire is first in, first out, one a direction. What goes wrong on it (loss, duplicates, another order) is the events'
to say. A peer follows the session rules of docs/contract.md: numbers dense from 1 in its life, records of the engine's
that it saw before or that come late are dropped, and after a break what the engine has not seen is sent again.
"""

from __future__ import annotations

from typing import Any

from engine.record.records import SessionFlag, Template
from replay.simulate.wire import Record, pack, unpack

_UP = int(Template.SESSION_UP)


class Wire:
    """The two directions of one session: records in flight."""

    def __init__(self) -> None:
        self.to_engine: list[bytes] = []
        self.to_peer: list[bytes] = []


class Peer:
    """One end of a session. `log` holds what was said and may have to be said again: (number, template, fields)."""

    def __init__(self, session: int, wire: Wire) -> None:
        self.session, self.wire = session, wire
        self.epoch, self.seq_out = 1, 0
        self.seen_epoch, self.seen_seq = 0, 0
        self.up = False
        self.log: list[tuple[int, int, Record]] = []
        self.now_ns = 0

    def say(self, template: int, **fields: Any) -> None:
        """Say something, now or when the session is up again."""
        self.log.append((0, template, fields))
        if self.up:
            self._number(len(self.log) - 1)

    def _number(self, place: int) -> None:
        _, template, fields = self.log[place]
        self.seq_out += 1
        self.log[place] = (self.seq_out, template, fields)
        self._put(template, self.seq_out, fields)

    def _put(self, template: int, seq: int, fields: Record) -> None:
        stamp = {"ts_event_ns": self.now_ns, **fields}
        self.wire.to_engine.append(pack(template, stream_epoch=self.epoch, stream_seq=seq, **stamp))

    def forget(self, epoch: int, seq: int) -> None:
        """The engine has seen so far: what was said up to there need not be said again."""
        if epoch == self.epoch:
            self.log = [row for row in self.log if row[0] == 0 or row[0] > seq]

    def connect(self, epoch: int, seq: int) -> None:
        """Say hello, then what the engine, which has seen up to (epoch, seq), has not seen."""
        self.forget(epoch, seq)
        self.up = True
        self.seq_out += 1
        self._put(_UP, self.seq_out, self._seen())
        for place in range(len(self.log)):
            self._number(place)

    def ask_again(self) -> None:
        """Say again what was seen last: what came after that is missing."""
        self.seq_out += 1
        self._put(_UP, self.seq_out, self._seen())

    def _seen(self) -> Record:
        nothing = {"capability": int(SessionFlag.FROM_START)} if self.seen_epoch == 0 else {}
        said = {"last_seen_seq": self.seen_seq, "last_seen_epoch": self.seen_epoch, "session_id": self.session}
        return {**said, **nothing}

    def break_off(self) -> None:
        """The session is down on this side."""
        self.up = False

    def restart(self) -> None:
        """Begin a new life: a larger epoch, numbers from 1. What was said is remembered."""
        self.epoch += 1
        self.seq_out = 0
        self.up = False
        self.log = [(0, template, fields) for _, template, fields in self.log]

    def admit(self, data: bytes) -> Record | None:
        """Take a record of the engine's; None where it was seen, is late, or says nothing to the application."""
        record = unpack(data)
        epoch, seq = record["stream_epoch"], record["stream_seq"]
        if epoch > self.seen_epoch:
            self.seen_epoch, self.seen_seq = epoch, 0
        if epoch < self.seen_epoch or seq <= self.seen_seq:
            return None
        self.seen_seq = seq
        return None if record["template_id"] == _UP else record
