"""kill -9 under load, over real sockets: no frame lost, no order twice, and all agree in the end.

Each start is a cold one here; `tests/faults/test_kills.py` has many kills, from a warm process.
"""

from __future__ import annotations

import pytest

from engine.jit import JIT
from replay.verify import verify
from tests.run.lives import Lives, crcs, place, settled

pytestmark = pytest.mark.skipif(not JIT, reason="engine and venues are compiled processes")


def torn(tmp_path, kills, seed, **changes):
    """Kill the engine `kills` times under load, then settle."""
    with Lives(tmp_path, seed, **changes) as lives:
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


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_kills_with_durability_disk_cost_nothing(tmp_path):
    """What waited for the disk when the engine was killed was never sent, and is found out by asking."""
    disk = {"segment_mib = 16": 'segment_mib = 16\ndurability = "disk"'}
    lives, venues = torn(tmp_path, 10, seed=5, **disk)
    assert lives.config.journal.durability == "disk"
    assert venues["orders"] > 100
