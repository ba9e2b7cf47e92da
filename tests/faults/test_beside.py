"""kill -9 at named points beside the loop: segments prepared and hashed, snapshots written, old segments let go.

The journal's helper is in the engine's process, which dies with it; the follower is a process of its own, and the
engine is killed in the same moment.
"""

from __future__ import annotations

import os
import signal

import pytest

from engine.io.journal_format import segment_numbers
from engine.jit import JIT
from engine.run import snapshot
from tests.faults.kills import alive
from tests.faults.points import FOLLOWS, ROLLS
from tests.faults.strikes import Strikes

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
#: The follower is started by the test.
ALONE = ("[[feed]]", "[snapshots]\nevery_s = 0\n\n[[feed]]")
SHORT_ROLLS, SHORT_FOLLOWS = list(ROLLS)[1::3], list(FOLLOWS)[::4]


@pytest.fixture
def strikes(bench):
    it = Strikes(bench(ALONE))
    yield it
    it.close()


def helper_dies(it, points):
    for name in points:
        it.it.signal(signal.SIGKILL)
        it.dead()
        it.go_on(die=name)
        it.trade(lambda: not it.it.alive())
        it.dead()
        it.go_on()
    it.finish()


def follower(it, *options, die=""):
    """A follower with a point to die at, if it has one."""
    command = ("engine.run.follow", str(it.it.run_dir), "--keep-mib", "1", *options)
    return it.it.hatchery.fork(*command, log=it.it.folder / f"follow-{die}.log", die=die)


def follower_dies(it, points):
    for name in points:
        it.follow()
        pid = follower(it, "--every", "0.2", die=name)

        def over(pid=pid):
            it.follow()
            return not alive(pid)

        it.trade(over)
        said = (it.it.folder / f"follow-{name}.log").read_text()
        assert "error" not in said, said
        it.kill()
    last = follower(it, "--once")
    it.it.wait(lambda: not alive(last))
    assert len(snapshot.snapshots(it.it.run_dir)) >= 2
    assert list(snapshot.folder_of(it.it.run_dir).glob("*.draft")) == []
    it.finish()


def test_an_engine_whose_helper_is_killed_as_segments_are_prepared_and_hashed_loses_nothing(strikes):
    helper_dies(strikes, SHORT_ROLLS)


def test_a_follower_and_an_engine_that_are_killed_as_a_snapshot_is_written_lose_nothing(strikes):
    follower_dies(strikes, SHORT_FOLLOWS)
    assert segment_numbers(strikes.it.run_dir)[0] > 0, "nothing was let go"


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("run", range(int(os.environ.get("TICKROUTE_BESIDE", "10"))))
def test_each_point_beside_the_loop(bench, run):
    for dies, points in ((helper_dies, ROLLS), (follower_dies, FOLLOWS)):
        it = Strikes(bench(ALONE))
        try:
            dies(it, points)
        finally:
            it.close()
