"""Planted bugs (planted.py): the simulation finds every one, each at the run that is known to show it.

Kernels must be plain Python for it, so this belongs to the plain suite; the torture test lets the simulation search by
itself, with seeds that nobody has chosen.
"""

from __future__ import annotations

import pytest

from engine.jit import JIT
from replay.simulate.run import simulate
from tests.simulate.plant import Bug, DoesNotFitError, bugs_of, planted
from tests.simulate.planted import BUGS

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(JIT, reason="a planted bug needs kernels that are plain Python")]
#: Seeds that the search may take for one bug, and where it begins.
SEARCHED, BEGIN = 60, 5000
PROFILES = ("venues", "sessions", "all", "hostile", "machine")


def test_there_are_enough_and_each_is_its_own():
    assert len(BUGS) >= 20
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    assert "the leaves are not updated by a fill" in {bug.name for bug in BUGS}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug):
    with planted(bug):
        result = simulate(bug.seed, bug.faults)
    assert result.failed, "it was not noticed"


@pytest.mark.parametrize(("faults", "seed"), sorted({(bug.faults, bug.seed) for bug in BUGS}))
def test_the_same_run_without_it_is_good(faults: str, seed: int):
    result = simulate(seed, faults)
    assert not result.failed, f"{result.rule}: {result.seen}"


def test_a_patch_that_no_longer_applies_is_told():
    (bug,) = bugs_of("# a\n@ engine.core.books:take; all 0\n- quote.ask_took += qty\n+ pass")
    with pytest.raises(DoesNotFitError, match="0 times"), planted(bug):
        pass
    (bug,) = bugs_of("# a\n@ engine.core.books:take_all; all 0\n- quote.ask_taken += qty\n+ pass")
    with pytest.raises(DoesNotFitError, match="there is no take_all"), planted(bug):
        pass
    (bug,) = bugs_of("# a\n@ NEW x TIMEOUT = WATCH; all 0")
    with pytest.raises(DoesNotFitError, match="WATCH already"), planted(bug):
        pass


@pytest.mark.torture
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_simulation_finds_it_by_itself(bug: Bug):
    with planted(bug):
        for seed in range(BEGIN, BEGIN + SEARCHED):
            for faults in PROFILES:
                if simulate(seed, faults).failed:
                    return
    pytest.fail(f"not found in {SEARCHED} seeds of {len(PROFILES)} profiles")
