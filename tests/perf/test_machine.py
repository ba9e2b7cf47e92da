"""`perf machine` by itself: the walk, its twin, what is told of libraries that are not there."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.limits import OUTBOX, Limits
from engine.core.state import FAILING, Event, allocate, make_outbox
from engine.workflow.null import machine as null
from perf import walk
from perf.machine import walk_of
from perf.machine_peers import PEERS, Peer
from strategies.sweep import machine as sweep

pytestmark = pytest.mark.kernel


@pytest.fixture
def state():
    return allocate(Limits(instruments=1, venues=1, parents=8, children=8, executions=8, accounts=1))


def test_the_kernel_ends_where_the_twin_does(state):
    # The tables of an unbound turn are those of the null machine.
    for workflows in (1, 8):
        found = walk_of(null, workflows, 160)
        assert walk.walk(state, found.moves, found.outcomes, workflows, 3) == 3 * found.total
        assert state.parents["phase"][:workflows].tolist() == found.ends


def test_a_move_that_leads_nowhere_ends_the_walk(state):
    found = walk_of(null, 1, 16)
    outcomes = found.outcomes.copy()
    outcomes[5] = 7
    assert walk.walk(state, found.moves, outcomes, 1, 1) == -1 - 5
    moves = np.full(4, int(Event.START), dtype=np.uint8)
    assert walk.walk(state, moves, np.zeros(4, dtype=np.uint8), 1, 1) < 0


def test_the_undoable_transition_comes_back_each_time(state):
    assert walk.undoable(state, make_outbox(OUTBOX), 8, 20) == 20


def test_a_walk_of_the_shipped_machine_sees_its_states():
    found = walk_of(sweep, 8, 4000)
    assert set(found.plan.moves) <= {name for name, _, _ in found.plan.edges}
    assert found.plan.initial == "NEW"
    assert len(set(found.plan.moves)) >= 8
    late = [name for name in found.plan.moves[2000:] if name.startswith("START")]
    assert len(late) > 100, "it goes round, and never only waits for an end"
    assert FAILING not in found.ends
    same = walk_of(sweep, 8, 4000)
    assert same.plan == found.plan, "the same seed is the same walk"


@pytest.mark.parametrize("make", PEERS)
def test_a_library_ends_where_the_twin_does(make):
    peer = make()
    why = peer.why_not()
    if why is not None:
        pytest.skip(why)
    found = walk_of(sweep, 4, 200)
    done = peer.run(found.plan)
    assert done.ends == [found.plan.states[code - 1] for code in found.ends]
    assert done.ns > 0


def test_a_library_that_is_not_there_says_how_to_get_it(monkeypatch):
    class Absent(Peer):
        name = "no-such-library-of-machines"

    assert "tickroute[peers]" in (Absent().why_not() or "")
    monkeypatch.setenv("PATH", "")
    assert "Node.js" in (PEERS[-1]().why_not() or "")
