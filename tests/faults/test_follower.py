"""The follower beside a live engine: snapshots and retention under load, its death, and its engine's."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from engine.core.state import state_hash
from engine.io.journal_format import segment_numbers
from engine.jit import JIT
from engine.run import snapshot
from engine.run.recover import recover
from replay.verify import verify
from tests.faults.test_soak import Load

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
OFTEN = ("[[feed]]", "[snapshots]\nevery_s = 1\n\n[retention]\nmib = 4\n\n[[feed]]")


def child_of(pid):
    """The process that another has started; 0 where it has none."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == pid and words[0] != "Z":
            return int(path.parent.name)
    return 0


def load_until(it, load, done, what):
    """Quotes go on until something is so."""
    until_s = time.monotonic() + 90
    while not done():
        load.run(it, 0.1, 5_000)
        assert time.monotonic() < until_s, f"{what}:\n{(it.run_dir / 'follow.log').read_text()}"


def test_snapshots_and_retention_go_on_through_the_followers_death_and_end_with_the_engines(bench):
    it = bench(OFTEN)
    it.start()
    load = Load(it)
    load_until(it, load, lambda: len(snapshot.snapshots(it.run_dir)) == 2, "no snapshots")
    load_until(it, load, lambda: segment_numbers(it.run_dir)[0] > 0, "nothing is let go")
    first = child_of(it.pid)
    os.kill(first, signal.SIGKILL)
    newest = snapshot.snapshots(it.run_dir)[0]
    load_until(it, load, lambda: child_of(it.pid) not in (0, first), "no second follower")
    load_until(it, load, lambda: snapshot.snapshots(it.run_dir)[0] > newest, "no snapshots of a second follower")
    second = child_of(it.pid)
    stalls = it.gauge("journal_stalls")
    it.signal(signal.SIGKILL)
    it.gone()
    until_s = time.monotonic() + 60
    while Path(f"/proc/{second}").exists():
        assert time.monotonic() < until_s, "a follower outlives its engine"
        time.sleep(0.01)
    assert stalls == 0
    found = recover(it.config)
    assert found.start.header is not None
    assert found.start.rerun.inputs == 0, "the last snapshot is of the last frame"
    assert found.start.skipped == []
    told = verify(it.run_dir)
    assert (told.result, told.state_hash) == ("identical", state_hash(found.state))
    assert 0 < told.after_seq < found.start.header.seq
    it.fork()
    it.wait(lambda: it.gauge("sessions_up") == 0 and "life 2 of" in it.said() and "ready" in it.said())
    it.stop()
    assert verify(it.run_dir).result == "identical"
