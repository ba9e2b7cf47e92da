"""Short simulations: all profiles, the same journal for the same seed, events that replay without their seed."""

import pytest

from replay.simulate.profiles import PROFILES
from replay.simulate.run import replay, simulate

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("faults", [name for name in PROFILES if name != "hostile"])
def test_invariants_hold(faults):
    for seed in range(2):
        result = simulate(seed, faults)
        assert not result.failed, f"seed {seed}: {result.rule}: {result.seen}"
        assert result.inputs >= 200


def test_the_same_seed_gives_the_same_journal():
    first, second, other = simulate(5), simulate(5), simulate(6)
    assert first.journal_hash == second.journal_hash
    assert first.events == second.events
    assert other.journal_hash != first.journal_hash


def test_events_replay_without_their_seed():
    result = simulate(5)
    assert replay(result.setup, result.events).journal_hash == result.journal_hash


def test_any_part_of_the_events_is_a_run():
    result = simulate(5)
    for step in (2, 3):
        assert not replay(result.setup, result.events[::step]).failed
