"""kill -9 under load, over real sockets: no frame lost, no order twice, and all agree in the end.

TICKROUTE_KILLS sets the number of kills of the long test (`make torture`).
"""

from __future__ import annotations

import os

import pytest

from engine.jit import JIT
from replay.verify import verify
from tests.run.lives import Lives, crcs, place, settled

pytestmark = pytest.mark.skipif(not JIT, reason="engine and venues are compiled processes")


def torn(tmp_path, kills, seed):
    """Kill the engine `kills` times under load, then settle."""
    with Lives(tmp_path, seed) as lives:
        ends = {}
        lives.start()
        for _ in range(kills):
            lives.turn_for(lives.random.uniform(0.3, 1.5))
            lives.kill()
            seq, crc = place(lives.run_dir)
            ends[seq] = crc
            lives.start()
        lives.turn_for(0.5)
        venues = lives.finish()
        settled(lives, venues)
        assert crcs(lives.run_dir, set(ends)) == ends, "a committed frame was lost"
        verdict = verify(lives.run_dir)
        assert (verdict.result, verdict.ending) == ("identical", "closed")
        return lives, venues


def test_a_kill_under_load_costs_nothing(tmp_path):
    lives, venues = torn(tmp_path, 2, seed=1)
    told = lives.told(3)["recovery"]
    assert told["life"] == 3
    assert told["inputs_replayed"] > 100
    assert venues["orders"] > 20
    assert len(lives.client.orders) > 50


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_many_kills(tmp_path):
    kills = int(os.environ.get("TICKROUTE_KILLS", "100"))
    done = 0
    while done < kills:
        torn(tmp_path / str(done), min(20, kills - done), seed=done)
        done += 20
