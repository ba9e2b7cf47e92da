"""Sending again: whatever a client loses, it ends up with the engine's stream as it is on the journal."""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.io.atomics import tsc
from engine.io.journal_format import Kind, segment_path
from engine.io.journal_reader import JournalReader
from engine.io.journal_writer import JournalWriter
from engine.io.ring import private_ring, ring_peek, ring_pop, ring_push
from engine.record import records as r
from engine.run import manifest
from engine.run.assemble import assemble, nowhere
from engine.run.backlog import Backlog
from engine.run.pump import pump
from engine.run.receive import framed, take_in
from engine.run.reference import build_state
from engine.run.resend import go_live, resend
from engine.run.wiring import (
    L_DEFERRED,
    L_RECORDS_GONE,
    L_RESENT,
    L_RESETS,
    L_SEND_ERRORS,
    SHM,
)
from tests.run.engine_peers import make_config, order

pytestmark = pytest.mark.kernel
T = r.Template
EPOCH = 77
CLIENT = 0


class Rig:
    """A loop's memory over a real journal of small segments, one client behind a short ring, and its backlog thread's
    work done by hand."""

    def __init__(self, folder: Path, *, slots: int = 8, backlog: int = 8) -> None:
        self.run_dir = folder / "run"
        self.run_dir.mkdir(parents=True)
        config = make_config(self.run_dir, folder, transport="shm")
        first = manifest.to_bytes(manifest.make(config, EPOCH, 0))
        self.journal = JournalWriter(self.run_dir, 16384, first)
        links = nowhere(config)
        self.out, self.into = private_ring(slots), private_ring(4)
        links["transport"][CLIENT] = SHM
        links["tx"][CLIENT], links["rx"][CLIENT] = self.out.ctypes.data, self.into.ctypes.data
        links["up"][CLIENT] = 0
        state = build_state(config, dt.date(2024, 1, 2), EPOCH)
        self.loop = assemble(
            config, state, self.journal.table, stream_epoch=EPOCH, clock_offset_ns=0, tsc_mul=1, links=links
        )
        self.backlog = Backlog(self.run_dir, self.loop.wiring, backlog)
        self.seq, self.orders = 0, 0
        self.got: list[bytes] = []
        self.seen, self.lost = 0, 0
        self.asking = False

    def close(self) -> None:
        self.backlog.stop()
        self.journal.close()

    @property
    def link(self) -> Any:
        return self.loop.wiring.links[CLIENT]

    def counted(self, counter: int) -> int:
        return int(self.loop.wiring.counters[counter])

    # The client

    def tell(self, record: np.ndarray) -> None:
        """The client's record goes the loop's way."""
        self.seq += 1
        record["stream_epoch"], record["stream_seq"] = 1, self.seq
        state, events, outbox, w = self.loop
        data = np.frombuffer(record.tobytes(), dtype=np.uint8)
        memory = events.words.view(np.uint8)
        memory[: len(data)] = data
        w.line[0].sender = CLIENT
        assert framed(events, w, CLIENT, 0, len(data)) == len(data)
        w.line[0].clock_ns += 1000
        if take_in(state, events, w, 0):
            assert pump(state, events, 0, outbox, w, tsc()) >= 0

    def order(self) -> None:
        """An order with an odd lot: one REJECT comes of it."""
        self.orders += 1
        self.tell(order(f"A{self.orders}", r.Side.BUY, 150, 1_570_000))

    def hello(self, capability: int = 0, epoch: int = EPOCH) -> None:
        record = r.blank(T.SESSION_UP)
        record["last_seen_epoch"], record["last_seen_seq"] = epoch, self.seen
        record["capability"] = capability
        self.tell(record)
        self.asking = True

    def read(self, limit: int = 1000) -> None:
        """Take what has come, in order, each once; a hole is asked about."""
        slot = np.zeros(r.RECORD_MAX, dtype=np.uint8)
        for _ in range(limit):
            n = ring_pop(self.out.ctypes.data, slot.ctypes.data)
            if n == 0:
                return
            head = slot[:40].view(r.HEAD)[0]
            if head.template_id == T.SEQUENCE_RESET:
                reset = slot[:64].view(r.DTYPES[T.SEQUENCE_RESET])[0]
                if reset.begin_seq_no == self.seen + 1:
                    self.lost += int(reset.new_seq_no) - self.seen - 1
                    self.seen = int(reset.new_seq_no) - 1
            elif head.stream_seq == self.seen + 1:
                self.seen += 1
                self.got.append(slot[:n].tobytes())
                self.asking = False
            elif head.stream_seq > self.seen and not self.asking:
                self.hello()

    def lose(self) -> None:
        """What is in the ring is gone."""
        while ring_peek(self.out.ctypes.data, 0):
            slot = np.zeros(r.RECORD_MAX, dtype=np.uint8)
            ring_pop(self.out.ctypes.data, slot.ctypes.data)

    # The loop

    def cycle(self, turns: int = 1) -> None:
        state, _, _, w = self.loop
        for _ in range(turns):
            w.line[0].housekeeping_ns += 1
            self.backlog.turn()
            resend(state, w)

    def settle(self) -> None:
        """Until the client has all that there is."""
        for _ in range(2000):
            self.cycle()
            self.read()
            if self.seen == int(self.loop.state.sessions[0].seq_out) and not self.link.catching_up:
                return
        raise AssertionError(f"seen {self.seen} of {self.loop.state.sessions[0].seq_out}")

    def stream(self) -> list[bytes]:
        """The client's stream as the journal has it."""
        with JournalReader(self.run_dir, live=True) as reader:
            frames = [f.payload.tobytes() for f in reader.frames() if f.kind == Kind.OUTPUT]
        return [p for p in frames if np.frombuffer(p, r.HEAD, 1)[0].stream_id == CLIENT]


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.close()


def test_a_client_that_is_there_gets_everything_directly(rig):
    rig.hello()
    for _ in range(20):
        rig.order()
        rig.read()
    assert rig.got == rig.stream()
    assert (rig.counted(L_RESENT), rig.counted(L_DEFERRED)) == (0, 0)


def test_what_came_while_it_was_away_is_sent_from_the_journal(rig):
    rig.hello()
    rig.read()
    rig.link.up = 0
    for _ in range(300):
        rig.order()
    assert rig.counted(L_DEFERRED) == 300
    assert rig.counted(L_SEND_ERRORS) == 0, "nobody was tried"
    assert segment_path(rig.run_dir, 2).exists(), "over several segments"
    rig.hello()
    rig.order()
    rig.settle()
    assert rig.got == rig.stream()
    assert rig.counted(L_RESENT) == 302, "the answer to its hello and what came after, too"
    rig.order()
    rig.read()
    assert rig.got == rig.stream()
    assert rig.counted(L_RESENT) == 302, "it is live again"


def test_a_client_that_takes_nothing_is_caught_up_with_when_it_does(rig):
    rig.hello()
    for _ in range(50):
        rig.order()
    assert rig.counted(L_SEND_ERRORS) == 1, "the record that found the ring full; the others were not tried"
    rig.settle()
    assert rig.got == rig.stream()
    assert len(rig.got) == 51


def test_a_client_that_says_nothing_of_the_past_gets_what_comes(rig):
    for _ in range(5):
        rig.order()
    rig.hello(epoch=0)
    assert not rig.link.catching_up
    rig.seen = 5
    rig.order()
    rig.read()
    assert rig.got == rig.stream()[5:]


def test_a_client_that_asks_for_everything_gets_it(rig):
    for _ in range(20):
        rig.order()
    rig.hello(capability=r.SessionFlag.FROM_START, epoch=0)
    rig.settle()
    assert rig.got == rig.stream()
    assert len(rig.got) == 21


def test_another_engines_numbers_mean_nothing(rig):
    for _ in range(5):
        rig.order()
    rig.seen = 2
    rig.hello(epoch=EPOCH - 1)
    assert not rig.link.catching_up


def test_a_hello_that_the_core_refuses_moves_nothing(rig):
    rig.hello()
    for _ in range(5):
        rig.order()
    rig.read()
    rig.seen = 1
    rig.seq = 0
    rig.hello()
    assert not rig.link.catching_up, "its number has been used: it is from an earlier time"


def test_what_the_journal_no_longer_has_is_said(rig):
    rig.hello()
    rig.read()
    rig.link.up = 0
    for _ in range(400):
        rig.order()
    removed = 0
    while segment_path(rig.run_dir, removed + 3).exists():
        path = segment_path(rig.run_dir, removed)
        until = time.monotonic() + 10
        while not path.with_suffix(".sha256").exists() and time.monotonic() < until:
            time.sleep(0.005)  # the keeper is done with it then
        path.unlink()
        removed += 1
    assert removed >= 2
    rig.hello()
    rig.settle()
    assert rig.lost > 10
    assert len(rig.got) + rig.lost == int(rig.loop.state.sessions[0].seq_out)
    assert (rig.counted(L_RECORDS_GONE), rig.counted(L_RESETS)) == (rig.lost, 1)


def test_a_client_that_saw_more_than_the_engine_knows_is_told(rig):
    rig.hello()
    rig.read()
    rig.seen = 900
    rig.hello()
    slot = np.zeros(r.RECORD_MAX, dtype=np.uint8)
    assert ring_pop(rig.out.ctypes.data, slot.ctypes.data) == 64
    reset = slot[:64].view(r.DTYPES[T.SEQUENCE_RESET])[0]
    assert (reset.template_id, reset.begin_seq_no, reset.new_seq_no) == (T.SEQUENCE_RESET, 901, 2)
    assert reset.reason == r.Reason.RECOVERED
    assert not rig.link.catching_up


def test_a_link_that_goes_down_stops_the_search(rig):
    rig.hello()
    for _ in range(50):
        rig.order()
    rig.cycle()
    assert rig.backlog._jobs
    rig.link.up = 0
    go_live(rig.loop.wiring, CLIENT)
    rig.cycle()
    assert not rig.backlog._jobs
    assert rig.loop.wiring.line[0].catching_up == 0


def test_ring_peek_and_drop():
    ring = private_ring(4)
    record = r.blank(T.HEARTBEAT)
    for seq in range(3):
        record["stream_seq"] = seq
        assert ring_push(ring.ctypes.data, record.ctypes.data, 64) == 1
    first = ring_peek(ring.ctypes.data, 0)
    assert [ring_peek(ring.ctypes.data, k) for k in range(4)] == [first, first + 128, first + 256, 0]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("order"), st.integers(1, 12)),
        st.tuples(st.just("read"), st.integers(1, 12)),
        st.tuples(st.just("cycle"), st.integers(1, 5)),
        st.tuples(st.sampled_from(["cut", "down", "hello"]), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=40)
@given(operations)
def test_whatever_is_lost_comes_again_in_order(steps):
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder))
        try:
            rig.hello()
            for what, count in steps:
                if what == "order":
                    for _ in range(count):
                        rig.order()
                elif what == "read":
                    rig.read(count)
                elif what == "cycle":
                    rig.cycle(count)
                elif what == "cut":
                    rig.lose()
                    rig.hello()
                elif what == "down":
                    rig.link.up = 0
                    go_live(rig.loop.wiring, CLIENT)
                else:
                    rig.hello()
            rig.hello()
            rig.settle()
            assert rig.got == rig.stream()
            assert rig.lost == 0
        finally:
            rig.close()
