"""Failed steps: undone to the byte, journaled, compensated, and nobody else's affair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import undo
from engine.core.limits import OUTBOX
from engine.core.state import CANCELED, COUNTERS, FAILED, FAILING, Event, State, make_outbox
from engine.jit import BOUNDSCHECK
from engine.record.records import OrdStatus, Reason, Template
from engine.workflow.table import FIRST_STEP
from strategies.sweep import machine
from tests.core import failing, twofold
from tests.core.both import CONFIGS
from tests.core.stories import STORY, Both
from tests.core.world import FOK, IOC, MS, World, children, kinds, make_config, of, reports
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


def timers_of(state: State) -> list[tuple[int, int]]:
    """(time, owner) of the timers that are armed, as they lie in the heap."""
    count = int(state.core[0].timer_count)
    return [(int(state.timer_at[n]), int(state.timer_owner[n])) for n in range(count)]


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
    before, timers = image(w.state), timers_of(w.state)
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
    for table in ("children", "child_orders", "quotes", "timer_pos", "instruments", "positions"):
        assert after[table] == before[table], table
    assert timers_of(w.state) == timers
    assert w.state.core[0].work_count == 0
    assert int(w.parent("a")[1].queued) == 0
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


def number_of(step: Any) -> int:
    """The number of a step of `twofold`."""
    return twofold.machine.steps().index(step) + FIRST_STEP


def desk() -> World:
    """Three venues without an offer within reach."""
    w = World(make_config(routing={"strategy": "tests.core.twofold"}))
    w.offers((0, 10_100, 500), (1, 10_100, 500), (2, 10_100, 500))
    return w


def posted(steps: int) -> World:
    """Order "a" after so many steps, each of which has sent a child that its venue has accepted."""
    w = desk()
    sent = children(w.new("a", qty=300, px=9_950))
    for _ in range(steps - 1):
        w.ack(sent[-1])
        sent += children(w.advance(100 * MS))
    w.ack(sent[-1])
    assert len(sent) == steps
    return w


@another_strategy
@pytest.mark.parametrize(("steps", "venues"), [(1, [0]), (2, [1, 0]), (3, [0, 0, 1])])
def test_effects_are_taken_back_the_newest_first_and_each_once(steps, venues):
    """The third step is the first again: its effect is the newest then, and taken back once, for both its children."""
    w = posted(steps)
    assert w.parent("a")[1].phase == (twofold.ONE, twofold.TWO, twofold.THREE)[steps - 1].code
    outputs = w.pause("a")
    assert kinds(outputs) == ["FAILURE"] + ["ORDER_CANCEL"] * steps
    assert [row.venue_id for row in outputs[1:]] == venues
    assert failure(outputs).compensations == len(set(venues))
    order, row = w.parent("a")
    assert (row.phase, row.effects, row.live_children) == (FAILING, 0, steps)
    assert order.qty == 300


@another_strategy
def test_a_failure_is_told_with_all_that_it_was():
    """One child was sent and taken back: its rows, its parent's, and nine words of the timers."""
    w = posted(1)
    (record,) = of(w.pause("a"), Template.FAILURE)
    kept = 224 + 128 + 9 * 8
    always = 128 + 8 * len(COUNTERS) + 112
    assert {name: int(record[name]) for name in record.dtype.names[-10:]} == {
        "parent_id": int(w.parent("a")[0].order_id),
        "reason": Reason.STEP_FAILED,
        "outcome": -1,
        "workflow_state": twofold.ONE.code,
        "event": Event.PAUSE,
        "step": number_of(twofold.look),
        "compensations": 1,
        "undone_bytes": kept + always,
        "cut_outputs": 1,
        "flags": 0,
    }


@another_strategy
def test_a_state_that_cannot_be_left_ends_its_own_order_alone():
    """Its leave action raises in the step, and again when the failed state is left: undone both times, and alerted."""
    w = desk()
    w.new("b", qty=300, px=9_950)
    w.new("a", qty=300 + twofold.STAYS, px=9_950)
    order, row = w.parent("a")
    assert (row.phase, row.resting) == (twofold.STUCK.code, 1)
    w.now_ns += 100 * MS
    outputs = [output for output in w.timer() if output.template_id != Template.ORDER_NEW]
    assert kinds(outputs) == ["ALERT", "FAILURE", "ACK"]
    alert, record, _ = outputs
    assert (alert.code, alert.order_id, alert.value) == (Reason.STEP_FAILED, order.order_id, -twofold.STUCK.code)
    assert (record.step, record.outcome, record.workflow_state) == (number_of(twofold.end), -1, twofold.STUCK.code)
    assert reports(outputs) == [("ACK", "a", "4", "4")]
    assert (row.phase, row.resting, w.state.instruments[0].rest_count) == (FAILED, 0, 1)
    assert w.parent("b")[1].phase == twofold.TWO.code, "the other order goes on"
    assert w.quote(0, 9_900, 1, 9_940, 500) == []


@another_strategy
def test_an_order_that_has_ended_watches_no_quotes():
    """Whatever the action of its state forgot: the next order in its slot would break the list of those that watch."""
    w = desk()
    w.new("a", qty=300 + twofold.FORGETS, px=9_950)
    assert w.state.instruments[0].rest_count == 1
    assert reports(w.advance(100 * MS)) == [("ACK", "a", "4", "4")]
    assert (w.parent("a")[1].phase, w.state.instruments[0].rest_count) == (CANCELED, 0)


@another_strategy
def test_a_row_that_is_not_there_is_a_failed_step():
    """Compiled too: the kernels of a strategy's own file check the bounds of what they index."""
    w = desk()
    outputs = w.new("a", qty=300 + twofold.READS_ON, px=9_950)
    assert kinds(outputs) == ["ACK", "FAILURE", "ACK"]
    assert (failure(outputs).step, failure(outputs).outcome) == (number_of(twofold.first), -1)


@another_strategy
def test_a_refused_request_is_no_end_of_children():
    w = desk()
    w.new("a", qty=300 + twofold.WAITS, px=9_950)
    assert reports(w.resume("a")) == [("CANCEL_REJECT", "a", "0", "0")]
    assert w.parent("a")[1].phase == twofold.IDLE.code
    w.cancel("a")
    assert w.parent("a")[1].phase == CANCELED, "a request that waits for no child is carried out at once"


@another_strategy
def test_no_quote_is_heard_while_a_child_lives():
    """As docs/strategies.md says; where none lives, the same quote is."""
    w = posted(2)
    w.new("c", qty=300 + twofold.WAITS, px=9_950)
    outputs = w.quote(0, 9_900, 1, 9_940, 500)
    assert [report[1] for report in reports(outputs)] == ["c"]
    assert w.parent("a")[1].phase == twofold.TWO.code
