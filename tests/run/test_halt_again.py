"""Halts of a later life, halts that go wrong themselves, and memory that was wrong before anything was noticed."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.core.state import state_hash
from engine.io.run_lock import RunLock
from engine.record import records as r
from engine.run import halt as halting
from engine.run import recover as recovering
from engine.run import snapshot
from engine.run.assemble import Loop, assemble
from engine.run.daemon import Engine
from engine.run.recover import RecoveryError, recover
from tests.replay.desk import Desk, config
from tests.run.test_recover import shoot

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]
T = r.Template
BROKEN = r.Reason.BROKEN_INVARIANT


@contextlib.contextmanager
def next_life(settings, run_dir, *, in_order=True, **how):
    """The loop of the run's next life, behind its RECOVERED input; the journal is closed at the end, or not."""
    recovery = recover(settings, **how)
    with RunLock(run_dir) as lock:
        writer, life = recovering.resume(recovery, run_dir, lock)
        loop = assemble(settings, recovery.state, writer.table, stream_epoch=1, clock_offset_ns=0, tsc_mul=1)
        pump = recovery.start.rerun.bound.pump
        recovering.go_on(recovery, life, loop, pump)
        try:
            yield loop, pump
        finally:
            writer.close(in_order=in_order)


def begun(run_dir, *, halts=False):
    """A run of one short life; its configuration."""
    settings = config(str(run_dir))
    desk = Desk(settings, run_dir)
    if halts:
        loop = Loop(desk.state, desk.events, desk.outbox, desk.wiring)
        assert halting.halt(loop, desk.bound.pump, BROKEN, "as planned").journaled
    desk.close()
    return settings


def spoil(loop):
    """A child that no input made: what a stop makes of it is on no replay's side."""
    rows = loop.state.children
    rows["leaves_qty"][0], rows["ord_status"][0] = 100, 77
    loop.state.child_orders[0] = r.blank(T.ORDER_NEW)[0]
    loop.state.child_orders["venue_id"][0] = 0
    loop.state.core[0].live_children = 1


def test_life_2_halts_soon(tmp_path):
    """Its RECOVERED and its HALTED are in one chunk: the halt counts, in recovery and in a snapshot's header."""
    run_dir = tmp_path / "run"
    settings = begun(run_dir)
    with next_life(settings, run_dir) as (loop, pump):
        assert halting.halt(loop, pump, BROKEN, "as planned").journaled
        wanted = state_hash(loop.state)
    with pytest.raises(RecoveryError, match=r"halted itself, frame \d+ says why.*--after-halt"):
        recover(settings)
    recovery = recover(settings, halted=True)
    assert recovery.life.number == 2
    assert state_hash(recovery.state) == wanted
    shoot(run_dir, recovery.end.last_seq)
    header, _ = snapshot.read_header(snapshot.snapshots(run_dir)[0])
    assert header.halted_seq == recovery.start.watch.halted_seq >= 0
    with next_life(settings, run_dir, halted=True):
        pass
    assert recover(settings).start.watch.halted_seq == -1, "life 3 did not halt"


def test_life_2_halts_soon_with_spoilt_memory(tmp_path):
    run_dir = tmp_path / "run"
    settings = begun(run_dir)
    with next_life(settings, run_dir) as (loop, pump):
        spoil(loop)
        found = halting.halt(loop, pump, BROKEN, "as planned")
        assert (found.live_children, found.cancels, found.journaled) == (1, 1, True)
    with pytest.raises(RecoveryError, match="--after-halt"):
        recover(settings)
    recovery = recover(settings, halted=True)
    assert recovery.start.watch.given_up >= found.cancels
    assert recovery.state.core[0].live_children == 0, "nobody can make again what broken memory made"
    with next_life(settings, run_dir, halted=True):
        pass
    assert recover(settings).start.watch.given_up == 0


@pytest.mark.parametrize("whole", [False, True], ids=["from a snapshot behind the halt", "from the first frame"])
def test_a_halt_of_life_1_excuses_nothing_in_life_2(tmp_path, whole):
    run_dir = tmp_path / "run"
    settings = begun(run_dir, halts=True)
    shoot(run_dir, recover(settings, halted=True).end.last_seq)
    assert snapshot.read_header(snapshot.snapshots(run_dir)[0])[0].halted_seq >= 0
    with next_life(settings, run_dir, in_order=False, halted=True) as (loop, pump):
        spoil(loop)
        assert halting._stop(loop, pump, 0)  # and then it is killed: it has not said that it halted
    for halted in (False, True):
        with pytest.raises(RecoveryError, match="does not make what the journal has"):
            recover(settings, halted=halted, use_snapshots=not whole)


def test_what_this_build_wrote_with_wrong_memory_has_another_remedy_than_this_build(tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    settings = begun(run_dir)
    with next_life(settings, run_dir) as (loop, pump):
        spoil(loop)
        assert halting._stop(loop, pump, 0)  # a wrong output, and only then is something noticed
        assert halting.halt(loop, pump, BROKEN, "as planned").journaled
    with pytest.raises(RecoveryError) as caught:
        recover(settings, halted=True)
    said = str(caught.value)
    assert "written by this very build" in said
    assert "Go on with the build" not in said
    assert "another run directory" in said
    assert "positions.file" in said
    at = int(said.partition("--at ")[2].partition("`")[0])
    from replay.state.reach import reach

    assert 0 < reach(run_dir, str(at)).rerun.input_seq <= at, "the state that it names can be had"
    monkeypatch.setattr(recovering, "build_hash", lambda: "another")
    with pytest.raises(RecoveryError, match="Go on with the build that wrote it"):
        recover(settings, halted=True)


@pytest.mark.parametrize("first", ["_live", "flush"])
def test_a_halt_that_raises_has_halted_all_the_same(tmp_path, monkeypatch, first):
    """Before HALTED is written, and behind all: the loop's thread says so, the journal has it, the exit code is 1."""
    run_dir = tmp_path / "run"
    settings = config(str(run_dir))
    desk = Desk(settings, run_dir)

    def broken(*_: Any) -> Any:
        raise RuntimeError("halting is broken, too")

    def run_loop(*_: Any) -> None:
        raise AssertionError("a count is wrong")

    engine = Engine.__new__(Engine)
    engine.__dict__.update(config=settings, run_dir=run_dir, halted=None, _halting=None)
    engine.loop = Loop(desk.state, desk.events, desk.outbox, desk.wiring)
    engine.bound = SimpleNamespace(loop=SimpleNamespace(run_loop=run_loop), pump=desk.bound.pump)  # type: ignore[assignment]
    monkeypatch.setattr(halting, first, broken)
    engine._run()
    monkeypatch.undo()
    assert engine.halted is not None  # `tickroute run` ends with 1
    said = engine.halted.text(run_dir)
    assert "BROKEN_INVARIANT: AssertionError: a count is wrong" in said
    assert "halting raised RuntimeError: halting is broken, too: orders may live at venues" in said
    assert engine.halted.journaled
    text = (run_dir / halting.HALTED_FILE).read_text()
    assert said in text
    assert "a count is wrong" in text
    desk.close()
    with pytest.raises(RecoveryError, match="--after-halt"):
        recover(settings)
    assert np.count_nonzero(recover(settings, halted=True).state.children["leaves_qty"]) == 0
