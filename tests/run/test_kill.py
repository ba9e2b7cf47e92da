"""kill -9 under load, over real sockets: no frame lost, no order twice, and all agree in the end.

Each start is a cold one here; `tests/faults/test_kills.py` has many kills, from a warm process.
"""

from __future__ import annotations

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
    lives, venues = torn(tmp_path, 1, seed=1)
    told = lives.told(2)["recovery"]
    assert told["life"] == 2
    assert told["inputs_replayed"] > 50
    assert venues["orders"] > 20
    assert len(lives.client.orders) > 30
