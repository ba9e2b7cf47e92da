"""After a stall what waits for peers waits, a mass cancel goes on, patience ends; short of journal, feeds wait."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.day import day_now
from engine.core.state import FROM_CLIENT, FROM_FEED
from engine.io.atomics import monotonic_ns, tsc
from engine.io.ring import private_ring, ring_depth, ring_push
from engine.record import records as r
from engine.run.assemble import assemble
from engine.run.bind import bind
from engine.run.days import DAY_NS
from engine.run.journaling import RESERVE, journal, short_of_room
from engine.run.loop import LONG_TICKS
from engine.run.pump import commit
from engine.run.reference import build_state, trading_day
from engine.run.rehearse import scratch_journal
from engine.run.stall import AWAY_NS, PATIENCE_NS, patient, watch_stall
from engine.run.wiring import CLOCK_MONOTONIC, FLAG_STOP, L_FEED_WAITS, L_INPUTS, L_STALLS, LINK, NOWHERE, SHM
from tests.replay.desk import config as desk_config

pytestmark = pytest.mark.kernel
T = r.Template
MS = 1_000_000
FEED, CLIENT = 0, 1


class Rig:
    """An assembled loop on the feed's clock, a ring to its feed and one to its client, a journal of one segment."""

    def __init__(self) -> None:
        config = desk_config()
        table, self.memory = scratch_journal()
        links = np.zeros(1 + len(config.session), dtype=LINK)
        links["transport"], links["session"], links["up"] = NOWHERE, np.arange(len(links)) - 1, 1
        links["source"] = [FROM_FEED, *(1 if row.role == "client" else 2 for row in config.session)]
        assert links["source"][CLIENT] == FROM_CLIENT
        self.rings = [private_ring(8), private_ring(8)]
        self.out = private_ring(64)
        for row, ring in zip((FEED, CLIENT), self.rings, strict=True):
            links["transport"][row], links["rx"][row] = SHM, ring.ctypes.data
            links["tx"][row] = self.out.ctypes.data
        state = build_state(config, trading_day(config), 1)
        self.loop = assemble(config, state, table, stream_epoch=1, clock_offset_ns=0, tsc_mul=1, links=links)
        self.loop.wiring.line[0]["first_session"] = 1
        self.cycle = bind(config.routing.strategy).loop.duty_cycle
        self.table = table
        self.day_ns = day_now(state) * DAY_NS

    @property
    def line(self):
        return self.loop.wiring.line[0]

    def at(self, ns: int) -> int:
        """Turn once at a time of the day; the events taken."""
        self.line["feed_clock_ns"] = self.day_ns + ns
        return int(self.cycle(*self.loop))

    def counted(self, counter: int) -> int:
        return int(self.loop.wiring.counters[counter])

    def push(self, row: int, template: r.Template, seq: int = 1) -> None:
        record = r.blank(template)
        record["stream_epoch"], record["stream_seq"] = 1, seq
        assert ring_push(self.rings[row].ctypes.data, record.ctypes.data, record.dtype.itemsize) == 1

    def timers(self) -> list[int]:
        """`cancels_only` of the TIMERs on the journal, in order."""
        begin = int(self.table[0]["address"]) - self.memory.ctypes.data
        frames = self.memory[begin : begin + int(self.table[0]["cursor"])]
        header = r.blank(T.TIMER).tobytes()[: r.SBE_HEADER_SIZE]
        found, at = [], frames.tobytes().find(header)
        while at >= 0:
            record = np.frombuffer(frames.tobytes(), r.DTYPES[T.TIMER], 1, at)[0]
            found.append(int(record["cancels_only"]))
            at = frames.tobytes().find(header, at + 1)
        return found


def test_after_a_stall_the_cancels_of_a_mass_cancel_go_on_and_no_timer_fires():
    it = Rig()
    it.at(10 * MS)
    core = it.loop.state.core[0]
    it.line["patient_until_ns"] = 1  # patient: the feed's clock begins no cycle, so it stays so until it is told
    assert patient(it.loop.wiring)
    core["mass_due_ns"] = it.day_ns + 20 * MS
    assert it.at(30 * MS) == 0, "the answers may be unread"
    core["mass_at_ns"] = it.day_ns + 20 * MS
    assert it.at(40 * MS) == 1
    assert it.timers() == [1]
    core["mass_due_ns"] = it.day_ns + 20 * MS
    it.line["patient_until_ns"] = 0
    assert it.at(50 * MS) == 1
    assert it.timers() == [1, 0]


def test_a_stall_is_answered_with_as_much_patience_at_most_a_tenth_of_a_second():
    it = Rig()
    w = it.loop.wiring
    watch_stall(w, 1_000 * MS)
    watch_stall(w, 1_000 * MS + AWAY_NS)
    assert not patient(w)
    assert it.counted(L_STALLS) == 0
    for away_ns, patience_ns in ((20 * MS, 20 * MS), (60_000 * MS, PATIENCE_NS)):
        back_ns = int(it.line["began_ns"]) + away_ns
        watch_stall(w, back_ns)
        now_ns = back_ns
        while patient(w):
            now_ns += MS
            watch_stall(w, now_ns)
        assert now_ns - back_ns == patience_ns
    assert it.counted(L_STALLS) == 2


def test_a_long_stall_has_its_whole_patience_whatever_short_ones_have_spent():
    it = Rig()
    w = it.loop.wiring
    now_ns = 1_000 * MS
    watch_stall(w, now_ns)
    while int(it.line["patience_ns"]) < PATIENCE_NS - AWAY_NS:
        now_ns += 40 * MS
        watch_stall(w, now_ns)
        for _ in range(10):
            now_ns += MS
            watch_stall(w, now_ns)
    now_ns += 60_000 * MS
    for n in range(90):
        watch_stall(w, now_ns + n * MS)
        assert patient(w), f"after {n} ms"
    for n in range(90, 120):
        watch_stall(w, now_ns + n * MS)
    assert not patient(w)


@pytest.mark.parametrize("present_ms", [1, 4, 6])
def test_stall_upon_stall_does_not_put_timers_off_for_ever(present_ms):
    """A loop that is away for 40 ms, there for a few, and away again."""
    it = Rig()
    w = it.loop.wiring
    now_ns = 1_000 * MS
    watch_stall(w, now_ns)
    turns_of_timers, present_ns = [], 0
    for _ in range(400):
        now_ns += 40 * MS
        watch_stall(w, now_ns)
        for _ in range(present_ms):
            now_ns += MS
            present_ns += MS
            watch_stall(w, now_ns)
            if not patient(w):
                turns_of_timers.append(present_ns)
    assert it.counted(L_STALLS) == 400
    assert turns_of_timers, "timers never had a turn"
    assert max(np.diff([0, *turns_of_timers])) <= PATIENCE_NS + 2 * AWAY_NS


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_taken_in_after_a_stop_within_a_cycle_has_the_time_that_it_is_then(kept):
    it = Rig()
    it.at(10 * MS)
    read_ns = int(monotonic_ns()) - 700 * MS
    it.line["clock_mode"], it.line["clock_offset_ns"] = CLOCK_MONOTONIC, 0
    it.line["clock_ns"] = it.line["began_ns"] = read_ns
    it.line["clock_tsc"] = tsc() + (-2 if kept else 1_000_000) * LONG_TICKS  # compiling is no stop
    it.push(CLIENT, T.SESSION_UP)
    assert bind(desk_config().routing.strategy).loop.drain(*it.loop, CLIENT) == 1
    assert (int(it.line["clock_ns"]) >= read_ns + 700 * MS) == kept
    assert int(it.loop.events.head[0].ts_recv_ns) == int(it.line["clock_ns"])
    assert patient(it.loop.wiring) == kept


def test_a_loop_that_is_told_to_stop_ends_with_cancels_due_and_no_room():
    """The journal takes nothing any more: what is due stays due, and the cycle ends all the same."""
    it = Rig()
    it.at(10 * MS)
    row = it.table[0]
    row["ready_even"] = row["ready_odd"] = 0
    row["cursor"] = row["segment_bytes"]
    it.loop.state.core[0]["mass_at_ns"] = it.day_ns
    it.loop.wiring.flags[FLAG_STOP // 8] = 1
    it.push(CLIENT, T.SESSION_UP)
    inputs = it.counted(L_INPUTS)
    assert it.at(20 * MS) == 0
    assert it.counted(L_INPUTS) == inputs
    assert int(it.loop.state.core[0]["mass_at_ns"]) == it.day_ns


def test_behind_a_batch_that_is_not_whole_nothing_is_journaled():
    """Room for an input and one of its two outputs: both frames are the last, whatever comes and whatever is ready."""
    it = Rig()
    it.at(10 * MS)
    for number in (1, 2):
        it.push(CLIENT, T.SESSION_UP, number)
        it.at((10 + number) * MS)
    _, _, outbox, w = it.loop
    row = it.table[0]
    row["ready_even"] = row["ready_odd"] = 0
    w.flags[FLAG_STOP // 8] = 1
    outbox.count[0] = 2
    size = 0
    for k in range(2):
        record = r.blank(T.ALERT)[0]
        outbox.alert[k] = record
        size = outbox.alert.dtype.itemsize
    row["cursor"] = int(row["segment_bytes"]) - (size + 63 & -32)
    before = int(row["next_seq"])
    assert not commit(outbox, w, before - 1)
    assert (int(row["next_seq"]), int(it.line["cut"])) == (before + 1, 1)
    row["ready_odd"] = row["ready_even"] = int(row["address"])
    assert journal(w, 2, 1, 0, -1, outbox.words.ctypes.data, size) < 0
    assert int(row["next_seq"]) == before + 1


def test_what_is_left_of_the_journal_is_kept_from_the_feeds():
    it = Rig()
    it.at(10 * MS)
    row = it.table[0]
    size = int(row["segment_bytes"])
    row["ready_even"] = row["ready_odd"] = 0
    row["cursor"] = size - min(RESERVE, size // 4) + 64
    it.push(FEED, T.QUOTE)
    it.push(CLIENT, T.SESSION_UP)
    inputs = it.counted(L_INPUTS)
    for n in range(3):
        it.at((11 + n) * MS)
    assert ring_depth(it.rings[FEED].ctypes.data) == 1
    assert ring_depth(it.rings[CLIENT].ctypes.data) == 0
    assert (it.counted(L_INPUTS) - inputs, it.counted(L_FEED_WAITS)) == (1, 1)
    segment = "ready_odd" if int(row["segment"]) % 2 == 0 else "ready_even"
    row[segment] = int(row["address"])
    assert not short_of_room(it.loop.wiring)
    it.at(20 * MS)
    assert ring_depth(it.rings[FEED].ctypes.data) == 0
    row[segment] = 0
    assert short_of_room(it.loop.wiring)
    assert it.counted(L_FEED_WAITS) == 2
