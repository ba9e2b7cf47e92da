"""Orders whose time to live is over before the disk has their frames are not sent, and everybody agrees on that.

The disk is a number that the test sets, the clock is the feed's; the journal is a real one. `test_disk.py` has the rest
of durability `disk`.
"""

from __future__ import annotations

import errno
from typing import Any

import numpy as np
import pytest

from engine.core.limits import OUTBOX
from engine.core.state import state_hash
from engine.io import journal_sync
from engine.io.atomics import monotonic_ns
from engine.io.journal_format import LAST, Kind
from engine.io.journal_reader import JournalReader
from engine.io.journal_writer import JournalWriter
from engine.record import records as r
from engine.run import manifest
from engine.run.assemble import assemble
from engine.run.bind import bind
from engine.run.held import ROOM, crowded, flush, release
from engine.run.journaling import OBSERVATION, journal
from engine.run.recover import recover
from engine.run.reference import build_state, trading_day
from engine.run.rehearse import _Script, scratch_journal
from engine.run.wiring import (
    CLOCK_MONOTONIC,
    FLAG_STOP,
    INBOX,
    L_INBOX_OVERFLOW,
    L_JOURNAL_STALLS,
    L_SEND_ERRORS,
)
from replay.verify import verify
from tests.replay.desk import config as desk_config

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]
T, S = r.Template, r.OrdStatus
MS = 1_000_000
TTL_MS = 500
CLIENT, VENUES = 0, 1


class Silent(_Script):
    """Orders that take all that is displayed, a child at each venue. Nobody answers: they live until their time-out."""

    def _order(self, client: int, number: int, side: int, mid: int, lot: int) -> None:
        super()._order(client, number, side, mid, 9 * lot)  # 36 lots; each of twelve venues shows three

    def _answer(self) -> None:
        """No fills."""


class Waiting:
    """A loop over a real journal whose venues take everything, and whose disk has what the test says."""

    def __init__(self, run_dir: Any, *, disk: bool = True, ttl_ms: int = TTL_MS) -> None:
        self.run_dir = run_dir
        self.config = desk_config(str(run_dir), child_timeout_ms=ttl_ms)
        run = manifest.make(self.config, 1, 0)
        self.writer = JournalWriter(run_dir, 4 << 20, manifest.to_bytes(run))
        self.sync: np.ndarray = np.zeros(1, dtype=journal_sync.SYNC)
        self.sync["durable_seq"] = -1
        self.state = run.initial_state()
        self.loop = assemble(
            self.config, self.state, self.writer.table, stream_epoch=1, clock_offset_ns=0, tsc_mul=1 << 24,
            sync=self.sync if disk else None,
        )  # fmt: skip
        self.bound = bind(self.config.routing.strategy)
        self.script = Silent(self.loop, self.bound)
        for index in range(len(self.config.session)):
            self.script.send(T.SESSION_UP, stream_id=index, stream_epoch=1, stream_seq=self.script.number(index))
        self.sync["durable_seq"] = 1 << 40
        assert release(self.loop.events, self.w) == (len(self.config.session) if disk else 0)
        self.sync["durable_seq"] = -1
        self._answers = int(self.w.links["sent"][VENUES])
        self.rounds = 0

    @property
    def w(self) -> Any:
        return self.loop.wiring

    def round(self) -> None:
        """Quotes of all venues, a buy and a sell that go to them at once, a timer."""
        self.script.round(self.config, self.rounds)
        self.rounds += 1

    def turn(self, after_ms: int = 0) -> None:
        """A duty cycle, so much later."""
        self.script._now += after_ms * MS
        self.w.line[0]["feed_clock_ns"] = self.script._now
        self.bound.loop.duty_cycle(*self.loop)

    def at_venues(self) -> int:
        """Records that left for venues since their sessions are up."""
        return int(self.w.links["sent"][VENUES]) - self._answers

    def close(self) -> None:
        """As an engine that is told to stop."""
        flush(self.loop.events, self.w, 0)
        self.writer.close()

    def frames(self, kind: Kind, template: r.Template) -> list[Any]:
        with JournalReader(self.run_dir) as reader:
            return [
                np.frombuffer(frame.payload.tobytes(), r.DTYPES[template])[0]
                for frame in reader.frames()
                if frame.kind == kind and frame.payload.view("<u2")[1] == template
            ]

    def agree(self) -> None:
        """Verification, recovery and the engine itself have one state."""
        verdict = verify(self.run_dir)
        assert (verdict.result, verdict.state_hash) == ("identical", state_hash(self.state)), verdict.difference
        assert state_hash(recover(self.config).state) == state_hash(self.state)


def held_orders(it: Waiting) -> int:
    """Orders to venues that wait."""
    head, count = int(it.w.held[0]["head"]), int(it.w.held[0]["count"])
    words = it.w.held_words.view(np.uint8).reshape(-1, r.RECORD_MAX)[head : head + count]
    return int(np.count_nonzero(words[:, 2:4].view("<u2")[:, 0] == T.ORDER_NEW))


def waiting(it: Waiting) -> int:
    """Records to venues that wait."""
    return int(it.w.links["held"][VENUES])


def test_orders_that_a_slow_sync_made_too_late_are_not_sent(tmp_path):
    it = Waiting(tmp_path / "run")
    it.round()
    orders = held_orders(it)
    assert orders == waiting(it) == 24
    it.turn(TTL_MS + 100)  # their time-outs: cancels wait behind them
    cancels = waiting(it) - orders
    assert cancels == orders
    it.sync["durable_seq"] = int(it.w.held_seqs.max())
    it.turn(2_400)
    assert it.at_venues() == cancels, "no order went; a cancel of what a venue never had does no harm"
    it.sync["durable_seq"] = 1 << 40
    for _ in range(20):
        it.turn(1)
    it.close()
    assert it.at_venues() == cancels
    unsent = [x for x in it.frames(Kind.INPUT, T.REJECT) if x.reason == r.Reason.NOT_SENT]
    assert len(unsent) == orders == it.w.counters[L_SEND_ERRORS]
    assert [int(x.error) for x in it.frames(Kind.OBSERVATION, T.SEND_RESULT)] == [errno.ETIME] * orders
    rows = zip(it.state.child_orders["order_id"], it.state.children["ord_status"], strict=True)
    ended = {int(order_id): int(status) for order_id, status in rows}
    assert {ended[int(x.order_id)] for x in unsent} == {S.REJECTED}
    assert (it.state.core[0].live_children, it.state.core[0].live_parents) == (0, 0)
    it.agree()


def test_an_order_leaves_up_to_the_end_of_its_time(tmp_path):
    it = Waiting(tmp_path / "run")
    it.round()
    decided = it.state.child_orders["ts_event_ns"][it.state.child_orders["order_id"] != 0]
    late = int(np.count_nonzero(decided < decided.max()))
    assert (late, waiting(it)) == (12, 24)
    it.sync["durable_seq"] = 1 << 40
    it.w.line[0]["clock_ns"] = int(decided.max()) + TTL_MS * MS  # those that were decided last are just in time
    it.close()
    assert it.at_venues() == 24 - late
    assert len(it.frames(Kind.OBSERVATION, T.SEND_RESULT)) == late


def test_a_crowded_queue_of_late_orders_is_told_to_the_core_whole(tmp_path, monkeypatch):
    """More orders than the inbox has places, and no room for messages: none of them is forgotten."""
    monkeypatch.setattr("engine.run.assemble.CAPACITY", ROOM)  # crowded until it is empty
    it = Waiting(tmp_path / "run", ttl_ms=5_000)
    while it.w.held[0]["count"] < ROOM - OUTBOX - 50:
        it.round()
    assert crowded(it.w)
    orders = held_orders(it)
    assert orders > INBOX
    it.script._now += 10_000 * MS
    it.sync["durable_seq"] = 1 << 40
    for _ in range(10):
        it.turn(1)
    assert it.w.counters[L_INBOX_OVERFLOW] == 0
    it.close()
    assert len([x for x in it.frames(Kind.INPUT, T.REJECT) if x.reason == r.Reason.NOT_SENT]) >= orders
    it.agree()


def test_what_waited_for_a_segment_is_looked_at_too(tmp_path):
    """Durability `process` sends at once, but for a journal that had no room for a while."""
    it = Waiting(tmp_path / "run", disk=False)
    it.round()
    assert (it.at_venues(), it.w.counters[L_SEND_ERRORS]) == (24, 0)
    line = it.w.line[0]
    line["clock_mode"] = CLOCK_MONOTONIC
    line["clock_offset_ns"] = it.script._now + 10_000 * MS - monotonic_ns()  # the clock went on since the cycle began
    line["waited"] = 1
    it.round()
    assert (it.at_venues(), it.w.counters[L_SEND_ERRORS]) == (24 + 12, 12), "the first of two orders waited"
    assert line["waited"] == 0
    it.close()


def test_a_journal_without_room_notes_that_something_waited():
    table, memory = scratch_journal(1 << 16)
    config = desk_config()
    loop = assemble(config, build_state(config, trading_day(config), 1), table,
                    stream_epoch=1, clock_offset_ns=0, tsc_mul=1)  # fmt: skip
    w = loop.wiring
    w.flags[FLAG_STOP // 8] = 1  # nobody makes room here: it gives up
    while journal(w, OBSERVATION, LAST, 0, -1, int(w.sample.ctypes.data), r.UNIT) >= 0:
        assert w.line[0].waited == 0
    assert (w.line[0].waited, w.counters[L_JOURNAL_STALLS]) == (1, 1)
    assert len(memory)
