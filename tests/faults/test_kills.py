"""kill -9 at random points and at each named one, under the demonstration's orders: nothing lost, nothing twice.

TICKROUTE_KILLS sets the number of random kills of the long test (`make torture`), TICKROUTE_KILLS_LOG a file that
gets a line a desk.
"""

from __future__ import annotations

import collections
import json
import os
import time
from pathlib import Path

import pytest

from engine.jit import JIT
from engine.run.recover import has_run
from tests.faults.kills import Kills, make_sockets
from tests.faults.points import BIRTHS, POINTS
from tests.run.lives import settled

pytestmark = pytest.mark.skipif(not JIT, reason="engine and venues are compiled processes")
#: Kills of one desk: the day is over then.
A_DESK = 40
#: Live seconds between kills under load, and from a fork to a kill on the way of its start.
LOAD_S, START_S = 0.8, 0.6


def desk(folder, hatchery, seed, kills, points=()):
    """A day of the demonstration with kills at random points and at named ones; what was counted."""
    folder.mkdir()
    counted: collections.Counter[str] = collections.Counter()
    began_s = time.monotonic()
    with make_sockets() as sockets, Kills(folder, hatchery, sockets.sockets, seed) as it:
        it.start()
        it.wait_up()
        it.turn_for(it.random.uniform(0.1, LOAD_S))
        it.kill()
        counted["under load"] += 1
        points = list(points)
        while sum(counted.values()) < kills:
            if it.random.random() < 0.3 and it.shadow is not None:
                it.shadow.shoot()
            if points:
                it.start(die=points[-1])
                it.gone()
                counted[points.pop()] += 1
                continue
            it.start()
            if it.random.random() < 0.35:
                until_s = time.monotonic() + it.random.uniform(0, START_S)
                while time.monotonic() < until_s:
                    it.turn()
                counted["on the way of a start"] += 1
            else:
                it.wait_up()
                it.turn_for(it.random.uniform(0.02, LOAD_S))
                counted["under load"] += 1
            it.kill()
        it.start()
        it.wait_up()
        while it.sent < kills and not it.day.over:
            it.turn()
        venues = it.finish()
        settled(it, venues)
        assert it.shadow is not None
        told = {
            "seed": seed,
            "kills": sum(counted.values()),
            "at": dict(counted),
            "lives": it.lives,
            "frames": it.shadow.last_seq + 1,
            "frames_lost": it.shadow.lost(),
            "parents": len(it.client.orders),
            "orders_at_venues": venues["orders"],
            "orders_twice": venues["orders"] - venues["distinct_orders"],
            "fills": venues["fills"],
            "states_compared": len(it.compared),
            "states_that_differ": sum(not same for *_, same in it.compared),
            "seconds": round(time.monotonic() - began_s, 1),
        }
    assert (told["frames_lost"], told["orders_twice"], told["states_that_differ"]) == (0, 0, 0), told
    return told


def test_kills_under_load_and_at_each_named_point_cost_nothing(tmp_path, hatchery):
    told = desk(tmp_path / "desk", hatchery, 1, kills=len(POINTS) + 3, points=POINTS)
    assert told["orders_at_venues"] > 20
    assert told["states_compared"] > 5


def test_an_engine_killed_before_its_journal_was_one_starts_anew(tmp_path, hatchery):
    with make_sockets() as sockets, Kills(tmp_path, hatchery, sockets.sockets, 3) as it:
        for n, point in enumerate(BIRTHS, 1):
            it.start(die=point)
            it.gone()
            assert has_run(it.run_dir) == (point == "after-the-manifest")
            assert "error" not in it.said()
            assert len(list(it.run_dir.glob("journal-*.unborn"))) == n - 1
        it.start()
        it.wait_up()
        it.turn_for(0.3)
        settled(it, it.finish())


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_a_thousand_kills(tmp_path, hatchery):
    kills, log = int(os.environ.get("TICKROUTE_KILLS", "1000")), os.environ.get("TICKROUTE_KILLS_LOG", "")
    done, seed = 0, 100
    while done < kills:
        seed += 1
        told = desk(tmp_path / str(seed), hatchery, seed, min(A_DESK, kills - done))
        done += told["kills"]
        line = json.dumps({"kills_so_far": done, **told})
        print(line, flush=True)
        if log:
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
