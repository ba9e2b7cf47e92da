"""Failed steps: undone to the byte, journaled, compensated, and nobody else's affair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import undo
from engine.core.limits import OUTBOX
from engine.core.state import CANCELED, FAILED, FAILING, RESTING, Event, State, make_outbox
from engine.jit import BOUNDSCHECK
from engine.record.records import OrdStatus, Reason, Template
from strategies.sweep import machine
from tests.core import failing
from tests.core.both import CONFIGS
from tests.core.stories import STORY, Both
from tests.core.world import FOK, IOC, World, children, kinds, make_config, of, reports
from tests.modes import flagged_mode

pytestmark = pytest.mark.kernel
EXAMPLES = {"jit": 120, "plain": 20, "boundscheck": 40}[flagged_mode()]
another_strategy = pytest.mark.skipif(
    BOUNDSCHECK, reason="another strategy compiles for ten seconds; plain Python checks the bounds of it too"
)
FAILING_CONFIG = make_config(routing={"strategy": "tests.core.failing"})


def image(state: State) -> dict[str, bytes]:
    """All that a failed step must leave as it was."""
    return {
        name: array.tobytes()
        for name, array in state.arrays().items()
        if name != "scratch" and not name.startswith("undo")
    }


@given(st.sampled_from(range(len(CONFIGS))), STORY, st.integers(0, 1000))
@settings(max_examples=EXAMPLES)
def test_any_step_at_any_time_is_undone_to_the_byte(which, story, start):
    both = Both(CONFIGS[which])
    state, outbox = both.world.state, make_outbox(OUTBOX)
    steps = machine.steps()
    for n, (kind, a, b, d) in enumerate(story, start=start):
        both.event(kind, a, b, d)
        alive = np.flatnonzero(state.parents["phase"] > FAILED)
        if not len(alive):
            continue
        p, step = int(alive[n % len(alive)]), steps[n % len(steps)]
        before = image(state)
        outbox.count[0] = 3
        undo.begin(state, p)
        step(state, p, int(Event.START), outbox)
        undo.roll_back(state, p, outbox, 3)
        assert image(state) == before, step.__name__
        assert outbox.count[0] == 3


def failure(outputs: list[Any]) -> Any:
    """The one FAILURE among outputs."""
    (record,) = of(outputs, Template.FAILURE)
    return record


@another_strategy
@pytest.mark.parametrize(
    "mode", [failing.UNDECLARED, failing.RAISES, failing.NO_CHILD, failing.LIVE_END, failing.TOO_MUCH]
)
def test_a_failed_first_step_sends_nothing_and_ends_the_order(mode):
    w = World(FAILING_CONFIG)
    w.offers((0, 10_000, 50), (1, 10_000, 500))
    (bystander,) = children(w.new("b", qty=40))
    before = image(w.state)
    outputs = w.new("a", qty=100 + mode)
    assert kinds(outputs) == ["ACK", "FAILURE", "ACK"]
    assert reports(outputs) == [("ACK", "a", "0", "0"), ("ACK", "a", "4", "4")]
    assert outputs[-1].reason == Reason.STEP_FAILED
    assert w.parent("a")[1].phase == FAILED
    record = failure(outputs)
    assert record.parent_id == w.parent("a")[0].order_id
    assert record.outcome == {failing.UNDECLARED: failing.LOST}.get(mode, -1)
    assert record.compensations == 0
    after = image(w.state)
    for table in ("children", "child_orders", "quotes", "timer_at", "timer_pos", "work", "instruments", "positions"):
        if table != "timer_pos":
            assert after[table] == before[table] or table in ("timer_at", "work"), table
    assert w.state.core[0].live_children == 1
    assert w.counter("workflow_failures") == 1
    # The bystander's life goes on.
    assert reports(w.fill(bystander)) == [("FILL", "b", "F", "2")]
    assert w.parent("b")[0].order_id == bystander.parent_id


@another_strategy
def test_a_later_failure_ends_the_order_with_what_was_executed():
    w = World(FAILING_CONFIG)
    w.offers((0, 10_000, 50), (1, 10_001, 60))
    first, second = children(w.new("a", qty=100 + failing.ON_RETURN, px=10_010))
    w.fill(first)
    outputs = w.done(second)
    assert kinds(outputs) == ["FAILURE", "ACK"]
    assert (outputs[-1].ord_status, outputs[-1].cum_qty, outputs[-1].leaves_qty) == (OrdStatus.CANCELED, 50, 0)
    assert w.counter("qty_canceled") == 100 + failing.ON_RETURN - 50
    assert w.parent("a")[1].phase == FAILED
    assert w.parent("a")[1].effects == 0


@another_strategy
def test_requests_of_a_failed_order_are_refused():
    w = World(FAILING_CONFIG)
    w.offers((0, 10_000, 500))
    w.new("a", qty=100 + failing.RAISES)
    assert reports(w.cancel("a"))[-1][0] == "CANCEL_REJECT"
    assert w.parent("a")[1].phase == FAILED


@another_strategy
def test_orders_that_do_not_fail_are_as_sweep_routes_them():
    stories = []
    for config in (make_config(), FAILING_CONFIG):
        w = World(config)
        w.offers((0, 10_000, 50), (1, 10_001, 60))
        outputs = w.new("a", qty=100, px=10_001) + w.new("i", qty=10, px=9_000, tif=IOC) + w.new("f", qty=900, tif=FOK)
        stories.append([row.tobytes() for row in outputs])
        assert w.parent("i")[1].phase == CANCELED
    assert stories[0] == stories[1]


@another_strategy
def test_a_failure_while_children_live_recalls_them_first():
    """The compensation: FAILING asks the venues to give back what rests there, and ends when they have."""
    w = World(make_config(routing={"strategy": "tests.core.halfway"}))
    w.offers((0, 10_000, 500))
    (child,) = children(w.new("a", qty=100, px=9_950))
    w.ack(child)
    outputs = w.advance(600_000_000)
    record = failure(outputs)
    assert record.compensations == 1
    assert [row.order_id for row in of(outputs, Template.ORDER_CANCEL)] == [child.order_id]
    assert w.parent("a")[1].phase == FAILING
    assert reports(w.cancel("a"))[-1][0] == "CANCEL_REJECT"
    w.fill(child, 30)
    outputs = w.done(child, cum=30)
    assert outputs[-1].reason == Reason.STEP_FAILED
    assert (w.parent("a")[1].phase, w.parent("a")[1].cum_qty) == (FAILED, 30)
    assert RESTING != FAILED
