"""Short simulations: all profiles and every family of faults, the same journal for the same seed, parts of event lists.

The committed hash is the journal's of one seed with all faults, over all its lives: the same on every machine, jitted
or not, with bounds checks or without. A change of it is a change of what the engine or the simulation does: say which.
"""

from __future__ import annotations

from collections import Counter

import pytest

from replay.simulate.faults import RANGES
from replay.simulate.profiles import PROFILES
from replay.simulate.run import Result, replay, simulate

pytestmark = pytest.mark.kernel
#: Seeds of each profile that are run here.
SEEDS = dict.fromkeys(PROFILES, 2) | {"all": 5, "hostile": 3}
#: SHA-256 of the journal of seed 4 with all faults, and how many inputs that were.
JOURNAL = "b9135207f4485189d7bc7d856b56d1f213a1bd1a2cf134d723dcf6906ccfe05c"
INPUTS = 293


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Result]]:
    return {faults: [simulate(seed, faults) for seed in range(count)] for faults, count in SEEDS.items()}


def test_invariants_hold(runs):
    for faults, results in runs.items():
        for result in results:
            assert not result.failed, f"{faults}, seed {result.seed}: {result.rule}: {result.seen}"
            assert result.inputs >= 200


def test_every_family_of_faults_occurs(runs):
    counted = Counter[str]()
    for results in runs.values():
        for result in results:
            counted.update(result.faults)
    assert set(counted) <= set(RANGES)
    assert [family for family in RANGES if counted[family] == 0] == []


def test_the_same_seed_gives_the_same_journal(runs):
    first, again, other = runs["all"][4], simulate(4), runs["all"][3]
    assert first.journal_hash == again.journal_hash
    assert first.events == again.events
    assert other.journal_hash != first.journal_hash


def test_a_journal_in_every_mode(runs):
    result = runs["all"][4]
    assert (result.inputs, result.journal_hash) == (INPUTS, JOURNAL)


def test_events_replay_without_their_seed(runs):
    result = runs["all"][4]
    again = replay(result.setup, result.events)
    assert (again.journal_hash, again.faults) == (result.journal_hash, result.faults)


def test_any_part_of_the_events_is_a_run(runs):
    result = runs["all"][4]
    for step in (2, 3):
        found = replay(result.setup, result.events[::step])
        assert not found.failed, f"{found.rule}: {found.seen}"
