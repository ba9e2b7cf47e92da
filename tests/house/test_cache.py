"""The kernel cache's directories: never removed under somebody, not kept for ever, whoever comes and goes meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from engine.cache import KEEP, claim, entries, prune
from engine.jit import CACHE_DIR, ROOT, cache_home

HOLDER = """
import sys, time
from pathlib import Path
from engine.cache import claim
claim(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
#: Claims a directory of several, sees that it is there to the end, and prunes the others: again and again.
RACER = """
import sys, os, random, time
from pathlib import Path
from engine import cache
home, seed = Path(sys.argv[1]), int(sys.argv[2])
draw = random.Random(seed)
until = time.monotonic() + float(sys.argv[3])
while time.monotonic() < until:
    path = home / f"kernels-{draw.randrange(4)}"
    cache.claim(path)
    (path / f"{seed}.txt").write_text("mine")
    time.sleep(draw.random() / 500)
    cache.prune(home, "kernels-*", keep=0, fresh_s=-1)
    assert (path / f"{seed}.txt").read_text() == "mine", path
    os.close(cache._claimed.pop(path))
    cache.prune(home, "kernels-*", keep=0, fresh_s=-1)
"""


def python(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def home(tmp_path):
    """Twenty builds, the first of them used last."""
    for n in range(20):
        path = tmp_path / f"kernels-{n:02}"
        path.mkdir()
        (path / "loop.nbi").write_bytes(bytes(100))
        (path / ".in-use").touch()
        then = time.time() - 100_000 * (n + 1)
        os.utime(path / ".in-use", (then, then))
    return tmp_path


def names(home):
    return sorted(path.name for path in home.iterdir())


def test_the_newest_and_the_fresh_stay(home):
    gone = prune(home, "kernels-*", keep=3, fresh_s=550_000)
    assert sorted(path.name for path in gone) == [f"kernels-{n:02}" for n in range(5, 20)]
    assert names(home) == [f"kernels-{n:02}" for n in range(5)]
    prune(home, "kernels-*", keep=3, fresh_s=0)
    assert names(home) == [f"kernels-{n:02}" for n in range(3)]


def test_what_a_living_process_uses_stays_until_it_is_dead(home):
    oldest = home / "kernels-19"
    holder = python(HOLDER, oldest)
    assert holder.stdout.readline() == "held\n"
    then = time.time() - 10_000_000
    os.utime(oldest / ".in-use", (then, then))
    prune(home, "kernels-*", keep=1)
    assert names(home) == ["kernels-00", "kernels-19"]
    assert [entry.in_use for entry in entries(home, "kernels-*")] == [False, True]
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    prune(home, "kernels-*", keep=1)
    assert names(home) == ["kernels-00"]


def test_what_an_older_version_left_without_a_lock_is_given_a_day(home):
    (home / "kernels-19" / ".in-use").unlink()
    prune(home, "kernels-*", keep=0, fresh_s=1000)
    assert names(home) == ["kernels-19"]


def test_a_removal_that_was_cut_short_is_finished(home):
    (home / ".going-1-kernels-x").mkdir()
    prune(home, "kernels-*")
    assert ".going-1-kernels-x" not in names(home)
    assert len(names(home)) == KEEP


def test_claiming_is_making_and_only_once(tmp_path):
    assert claim(tmp_path / "a" / "kernels-1")
    assert not claim(tmp_path / "a" / "kernels-1")
    [entry] = entries(tmp_path / "a", "kernels-*")
    assert entry.in_use
    assert entry.age_s < 100


def test_processes_that_claim_and_prune_at_once(tmp_path):
    racers = [python(RACER, tmp_path, n, 2.0) for n in range(4)]
    for racer in racers:
        _, said = racer.communicate(timeout=60)
        assert racer.returncode == 0, said


def test_this_process_has_its_own_build():
    mine = [entry for entry in entries(cache_home(), "kernels-*") if entry.path == CACHE_DIR]
    assert [entry.in_use for entry in mine] == [True]


def test_a_new_build_prunes(home):
    done = subprocess.run(
        [sys.executable, "-c", "import engine.jit"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TICKROUTE_CACHE_DIR": str(home)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert len(names(home)) == KEEP
