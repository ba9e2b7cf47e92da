"""Durability `disk`: nothing leaves before it is on the disk; slow, full and broken disks do what they are said to.

The disk's part is played by functions in the place of fdatasync, fallocate and statvfs; journals are real files.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from engine.io import journal_keeper, journal_sync
from engine.io.journal import append
from engine.io.journal_format import JournalError, Kind
from engine.io.journal_reader import JournalReader
from engine.io.journal_sync import Syncer
from engine.io.journal_writer import JournalWriter
from engine.jit import JIT
from engine.record import records as r
from engine.run.assemble import assemble
from engine.run.config import Sweep
from engine.run.daemon import Engine
from engine.run.disk_watch import DiskWatch
from engine.run.held import ROOM, crowded, flush, release
from engine.run.recover import recover
from engine.run.reference import build_state, trading_day
from engine.run.rehearse import _Script, scratch_journal
from engine.run.wiring import L_SYNC_STALLS
from replay.verify import verify
from tests.replay.desk import config as desk_config
from tests.replay.desk import record_day
from tests.run.engine_peers import Feed, Peer, make_config, order, wait_for

T = r.Template
REAL = os.fdatasync
#: Records that may wait for the disk, where a test fills the queue.
SMALL = 2 * ROOM


class Loop:
    """A loop without wire whose disk is a number that the test sets."""

    def __init__(self) -> None:
        from engine.run.bind import bind

        self.config = desk_config(child_timeout_ms=3_600_000)  # what waits here is never too late
        table, self.memory = scratch_journal(64 << 20)
        self.sync: np.ndarray = np.zeros(1, dtype=journal_sync.SYNC)
        self.sync["durable_seq"] = -1
        state = build_state(self.config, trading_day(self.config), 1)
        self.loop = assemble(
            self.config, state, table, stream_epoch=1, clock_offset_ns=0, tsc_mul=1 << 24, sync=self.sync
        )
        self.script = _Script(self.loop, bind(self.config.routing.strategy))
        self.turns = 0
        for index in range(len(self.config.session)):
            self.script.send(T.SESSION_UP, stream_id=index, stream_epoch=1, stream_seq=self.script.number(index))

    def round(self) -> None:
        self.script.round(self.config, self.turns)
        self.turns += 1

    @property
    def w(self) -> Any:
        return self.loop.wiring

    @property
    def sent(self) -> list[int]:
        return [int(n) for n in self.w.links["sent"]]

    @property
    def held(self) -> int:
        return int(self.w.held[0]["count"])

    def release_all(self) -> None:
        while release(self.loop.events, self.w) > 0:
            pass


@pytest.mark.kernel
def test_records_leave_in_order_when_their_frames_are_durable_and_not_before():
    loop = Loop()
    for _ in range(4):
        loop.round()
    assert loop.sent == [0, 0]
    assert loop.held > 30
    assert list(loop.w.links["held"]) == [int(row.seq_out) for row in loop.loop.state.sessions[:2]]
    seqs = loop.w.held_seqs[: loop.held].copy()
    assert (np.diff(seqs) > 0).all()
    assert loop.sync[0]["wanted_seq"] >= seqs[-1]
    for durable in (int(seqs[0]) - 1, int(seqs[0]), int(seqs[17]), int(seqs[-1]) + 5):
        loop.sync["durable_seq"] = durable
        loop.release_all()
        assert sum(loop.sent) == np.count_nonzero(seqs <= durable)
    assert loop.held == 0
    assert list(loop.w.links["held"]) == [0, 0]


@pytest.mark.kernel
def test_a_full_queue_stops_the_intake_and_loses_nothing(monkeypatch):
    monkeypatch.setattr("engine.run.assemble.CAPACITY", SMALL)
    loop = Loop()
    while not crowded(loop.w):
        loop.round()
    assert SMALL - loop.held < ROOM
    assert loop.w.counters[L_SYNC_STALLS] == 1
    cycles_inputs = int(loop.w.counters[6])
    loop.script.bound.loop.duty_cycle(*loop.loop)
    assert loop.w.counters[6] == cycles_inputs, "nothing is taken in"
    loop.sync["durable_seq"] = 1 << 40
    wanted = loop.held
    loop.release_all()
    assert sum(loop.sent) == wanted
    assert not crowded(loop.w)
    loop.round()
    loop.release_all()
    assert sum(loop.sent) > wanted


@pytest.mark.kernel
def test_with_a_broken_disk_cancels_alone_leave():
    loop = Loop()
    loop.round()
    child = int(np.flatnonzero(loop.loop.state.child_orders["order_id"])[0])
    assert child >= 0
    cancels = 3
    slots = loop.w.held_words.view(np.uint8).reshape(-1, r.RECORD_MAX)[: loop.held]
    slots[-cancels:, 2:4].view("<u2")[:] = T.ORDER_CANCEL
    before = loop.held
    assert flush(loop.loop.events, loop.w, 1) == before - cancels
    assert (sum(loop.sent), loop.held, list(loop.w.links["held"])) == (cancels, 0, [0, 0])


@pytest.mark.kernel
@pytest.mark.timeout(600)
def test_both_levels_journal_the_same_outputs(tmp_path):
    size = {"quotes": 400, "trades": 100, "orders": 20} if JIT else {"quotes": 60, "trades": 10, "orders": 8}
    process = record_day(tmp_path / "process", **size)
    disk = record_day(tmp_path / "disk", durability="disk", **size)
    assert disk.digest.hexdigest() == process.digest.hexdigest()
    assert disk.outputs == process.outputs > 0
    assert verify(tmp_path / "disk").result == "identical"


def test_a_syncer_publishes_what_was_wanted_before_it_began_and_ends_at_an_error(tmp_path, monkeypatch):
    gate, began, calls = threading.Event(), threading.Event(), []

    def slow(fd: int) -> None:
        calls.append(fd)
        if len(calls) > 1:
            began.set()
            assert gate.wait(10)
        REAL(fd)

    monkeypatch.setattr(journal_sync, "fdatasync", slow)
    with JournalWriter(tmp_path, 4096 * 4, b"{}", synced=True) as writer:
        syncer = Syncer(tmp_path, writer.table)
        syncer.start()
        assert (syncer.table[0]["durable_seq"], len(calls)) == (0, 1), "the manifest is safe before anything begins"
        syncer.table["wanted_seq"] = 5
        assert began.wait(10)
        syncer.table["wanted_seq"] = 7
        assert syncer.table[0]["durable_seq"] == 0
        gate.set()
        until = time.monotonic() + 10
        while syncer.table[0]["durable_seq"] < 7 and time.monotonic() < until:
            time.sleep(0.001)
        assert syncer.table[0]["durable_seq"] == 7
        assert syncer.table[0]["syncs"] == 3
        monkeypatch.setattr(journal_sync, "fdatasync", broken)
        syncer.table["wanted_seq"] = 9
        while not syncer.error and time.monotonic() < until:
            time.sleep(0.001)
        assert syncer.error == errno.EIO
        monkeypatch.setattr(journal_sync, "fdatasync", REAL)
        syncer.table["wanted_seq"] = 11
        time.sleep(0.05)
        assert syncer.table[0]["durable_seq"] == 7, "a failed sync is never tried again"
        syncer.stop()


def test_a_syncer_begins_with_what_earlier_lives_left_behind(tmp_path, monkeypatch):
    synced: list[str] = []

    def named(fd: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        REAL(fd)

    with JournalWriter(tmp_path, 4096, b"{}") as writer:
        data = np.zeros(512, dtype=np.uint8)
        while int(writer.table[0]["segment"]) < 3:
            append(writer.table, int(Kind.OBSERVATION), 0, 0, -1, int(data.ctypes.data), len(data))
    monkeypatch.setattr(journal_sync, "fdatasync", named)
    with JournalWriter.resume(tmp_path, synced=True) as writer:
        syncer = Syncer(tmp_path, writer.table)
        syncer.start()
        syncer.stop()
    assert synced == [f"{n:06d}.seg" for n in range(4)]


def test_a_disk_that_cannot_be_synced_is_told_before_anything_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_sync, "fdatasync", broken)
    with JournalWriter(tmp_path, 4096 * 4, b"{}", synced=True) as writer:
        syncer = Syncer(tmp_path, writer.table)
        with pytest.raises(
            JournalError, match=r"000000\.seg at byte 0: the journal cannot be synced: Input/output error"
        ):
            syncer.start()
        syncer.stop()


def broken(_: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class Journal:
    """What a DiskWatch looks at."""

    def __init__(self, error: int = 0, free_mib: int = 1000, room: int = 1 << 20) -> None:
        self.error, self.room = error, room
        self.table = np.array([(1 << 20, free_mib)], dtype=[("segment_bytes", "<i8"), ("free_mib", "<i8")])


@pytest.mark.parametrize(
    ("journal", "found"),
    [
        (Journal(), None),
        (Journal(free_mib=99), (False, r.Reason.DISK_FULL)),
        (Journal(errno.ENOSPC), (False, r.Reason.DISK_FULL)),
        (Journal(errno.EDQUOT), (False, r.Reason.DISK_FULL)),
        (Journal(errno.EMFILE), (False, r.Reason.DISK_ERROR)),
        (Journal(errno.ENOSPC, room=1 << 16), (True, r.Reason.DISK_FULL)),
        (Journal(errno.EIO), (True, r.Reason.DISK_ERROR)),
    ],
)
def test_what_is_wrong_with_a_disk_and_what_follows(journal, found):
    seen = DiskWatch(journal, None, 100).look()
    assert (seen if seen is None else (seen.halt, seen.reason)) == found


class Desk:
    """A compiled engine with its peers; `poll` as `tickroute run` does."""

    def __init__(self, run_dir, sockets, **journal):
        self.config = make_config(run_dir, sockets, sweep=Sweep(rest="venue", post_venue="XV0"))
        self.config = msgspec.structs.replace(
            self.config, journal=msgspec.structs.replace(self.config.journal, **journal)
        )
        self.context = zmq.Context()
        self.engine = Engine(self.config)
        self.engine.start()
        self.feed = Feed(self.config, self.context)
        self.client, self.venue = Peer(self.config, 0, self.context), Peer(self.config, 1, self.context)
        self.got: list[Any] = []
        self.wait(lambda: self.engine.gauge("sessions_up") == 2)
        for venue in range(3):
            self.feed.quote(venue, 1_569_900, 1_570_000 + 100 * venue)
        self.wait(lambda: self.engine.gauge("quotes") == 3)

    def wait(self, condition, seconds=20.0):
        def there():
            self.engine.poll()
            self.got += self.venue.got()
            return condition()

        return wait_for(there, self.client, self.venue, seconds=seconds)

    def at_venue(self, template):
        return [x for x in self.got if x.template_id == template]

    def close(self):
        self.engine.stop(cancel=False)
        for peer in (self.client, self.venue, self.feed):
            peer.close()
        self.context.term()


@pytest.mark.skipif(not JIT, reason="the loop needs the GIL released, which only compiled code does")
def test_an_engine_sends_no_order_before_its_frame_is_on_the_disk_and_halts_where_a_sync_fails(
    tmp_path, sockets, monkeypatch
):
    gate = threading.Event()
    gate.set()
    state = {"broken": False}

    def slow(fd: int) -> None:
        gate.wait(10)
        if state["broken"]:
            broken(fd)
        REAL(fd)

    monkeypatch.setattr(journal_sync, "fdatasync", slow)
    desk = Desk(tmp_path / "run", sockets, durability="disk", min_free_mib=0)
    try:
        gate.clear()
        desk.client.send(order("A1", r.Side.BUY, 900, 1_570_200))
        desk.wait(lambda: desk.engine.gauge("children_sent") == 3)
        until = time.monotonic() + 1.0  # beyond peer_timeout_ms: heartbeats go on
        desk.wait(lambda: time.monotonic() > until)
        assert desk.at_venue(T.ORDER_NEW) == []
        assert desk.engine.gauge("held_for_disk") >= 3
        assert desk.engine.gauge("sessions_up") == 2
        gate.set()
        desk.wait(lambda: len(desk.at_venue(T.ORDER_NEW)) == 3)
        desk.wait(lambda: desk.engine.gauge("durable_seq") > 0)
        desk.wait(lambda: desk.engine.gauge("sync_longest_ns") > 900_000_000)
        # The disk breaks: what is decided from now on never leaves, and what lives is cancelled.
        state["broken"] = True
        desk.client.send(order("A2", r.Side.SELL, 100, 1_569_900))
        desk.wait(lambda: not desk.engine.running)
        desk.wait(lambda: len(desk.at_venue(T.ORDER_CANCEL)) == 4)
        assert len(desk.at_venue(T.ORDER_NEW)) == 3
        assert desk.engine.halted is not None
        assert desk.engine.halted.reason is r.Reason.DISK_ERROR
        assert "cannot be synced: Input/output error" in desk.engine.halted.text(tmp_path)
    finally:
        desk.close()
    assert verify(tmp_path / "run").result == "identical"
    assert recover(desk.config, halted=True).state.core[0].live_children == 4


@pytest.mark.skipif(not JIT, reason="the loop needs the GIL released, which only compiled code does")
def test_a_full_disk_is_cancel_only_until_somebody_lifts_it(tmp_path, sockets, monkeypatch):
    """fallocate says ENOSPC, as posix_fallocate does on a full disk; statvfs says what is free."""
    from cli.main import main

    run_dir = tmp_path / "run"
    desk = Desk(run_dir, sockets, segment_mib=1, min_free_mib=0)
    try:
        desk.client.send(order("A1", r.Side.BUY, 300, 1_500_000, r.Tif.DAY))
        desk.wait(lambda: len(desk.at_venue(T.ORDER_NEW)) == 1)

        def full(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(journal_keeper, "allocate", full)
        bid = 1_569_900
        while desk.engine.journal.error == 0:  # until the segments prepared are taken into use
            for n in range(200):
                desk.feed.quote(2, bid - n % 7, 1_570_200)
            desk.wait(lambda: True)
        desk.wait(lambda: desk.engine.gauge("killed") == r.Reason.DISK_FULL)
        desk.client.send(order("A2", r.Side.BUY, 300, 1_570_000))
        desk.wait(lambda: desk.engine.gauge("risk_blocks") == 1)
        desk.engine.cancel_all()
        desk.wait(lambda: len(desk.at_venue(T.ORDER_CANCEL)) == 1)
        assert len(desk.at_venue(T.ORDER_NEW)) == 1
        # Lifted while the disk is full, the flag comes back; once there is room, it stays lifted.
        commands = desk.engine.gauge("controls")
        assert main(["resume", str(run_dir)]) == 0
        desk.wait(lambda: desk.engine.gauge("controls") >= commands + 2)  # the resume, and the flag anew
        desk.wait(lambda: desk.engine.gauge("killed") == r.Reason.DISK_FULL)
        monkeypatch.undo()
        desk.wait(lambda: desk.engine.journal.error == 0)
        assert desk.engine.gauge("killed") == r.Reason.DISK_FULL
        assert main(["resume", str(run_dir)]) == 0
        until = time.monotonic() + 1.5
        desk.wait(lambda: time.monotonic() > until)
        assert desk.engine.gauge("killed") == 0
    finally:
        desk.close()
    with JournalReader(run_dir) as reader:
        asked = [
            (int(record["action"][0]), int(record["value"][0]))
            for frame in reader.frames()
            if frame.kind == Kind.INPUT and frame.payload.view("<u2")[1] == T.CONTROL
            for record in [frame.payload.view(r.DTYPES[T.CONTROL])]
        ]
    on, off = r.ControlAction.KILL_ON, r.ControlAction.KILL_OFF
    assert asked[:3] == [(on, r.Reason.DISK_FULL), (off, 0), (on, r.Reason.DISK_FULL)]
    assert asked[-1] == (off, 0)
    assert verify(run_dir).result == "identical"
