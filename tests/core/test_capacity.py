"""At capacity: full tables refuse, a full outbox goes on at the next TIMER, and nothing is lost."""

from __future__ import annotations

import pytest

from engine.core.limits import OUTBOX, TIMERS_A_STEP, TURN_OUTPUTS
from engine.core.state import RESTING
from engine.core.step import next_deadline
from engine.record.records import Outcome, Reason, Template
from tests.core.scenes import decision, sent
from tests.core.world import DAY_TIF, FOK, IOC, MS, World, children, kinds, make_config, of, reasons, reports

pytestmark = pytest.mark.kernel


def test_full_table_of_parents_refuses():
    w = World(make_config(capacity={"parents": 4}))
    for n in range(4):
        w.new(f"{n}", px=9_000)
    outputs = w.new("more", px=9_000)
    assert kinds(outputs) == ["REFUSAL", "REJECT"]
    assert reasons(outputs) == [Reason.TABLE_FULL]
    assert (w.counter("qty_ordered"), w.counter("qty_rejected")) == (500, 100)
    (ended,) = w.cancel("2")
    (ack, _) = w.new("again", px=9_000)
    assert ack.order_id & 3 == ended.order_id & 3, "the slot of the one that ended"
    assert reasons(w.cancel("2")) == [Reason.UNKNOWN_ORDER], "which is forgotten now"


def test_ids_are_never_used_twice():
    w = World(make_config(capacity={"parents": 2}))
    seen = set()
    for n in range(40):
        (ack, *_) = w.new(f"{n}", px=9_000)
        assert ack.order_id not in seen
        seen.add(int(ack.order_id))
        w.cancel(f"{n}")


def test_full_table_of_children_says_so():
    w = World(make_config(capacity={"children": 2}))
    w.offers((0, 10_000, 10), (1, 10_000, 10), (2, 10_000, 10))
    outputs = w.new("a", qty=30, tif=IOC)
    assert sent(outputs) == [(0, 10, 10_000), (1, 10, 10_000)]
    outputs = w.new("b", qty=10, tif=IOC)
    assert decision(outputs).outcome == Outcome.NO_CAPACITY
    assert of(outputs, Template.ACK)[-1].reason == Reason.TABLE_FULL
    assert reports(w.new("c", qty=10, tif=DAY_TIF)) == [("ACK", "c", "0", "0")]
    assert w.parent("c")[1].phase == RESTING


def test_fill_or_kill_goes_whole_or_not_at_all_when_children_run_out():
    w = World(make_config(capacity={"children": 2}))
    w.offers((0, 10_000, 10), (1, 10_000, 10), (2, 10_000, 10))
    outputs = w.new("a", qty=30, tif=FOK)
    assert decision(outputs).outcome == Outcome.NO_CAPACITY
    assert children(outputs) == []


def test_slot_of_a_finished_child_is_used_again():
    w = World(make_config(capacity={"children": 1}))
    first = None
    for n in range(5):
        w.offers((0, 10_000, 10))
        (child,) = children(w.new(f"{n}", qty=10))
        w.fill(child)
        first = first or child
    assert reasons(w.fill(first)) == [Reason.UNKNOWN_ORDER], "too late: its slot has been taken again"


def waiting(count, **more):
    """A world in which so many parents rest."""
    w = World(make_config(capacity={"parents": 1024, "children": 2048}, **more), check=False)
    for n in range(count):
        w.new(f"{n}", qty=1, px=10_000)
    w.check = True
    return w


def test_one_quote_wakes_hundreds_and_the_rest_go_on_at_the_timer():
    w = waiting(300)
    outputs = w.quote(0, 9_990, 1_000, 10_000, 1_000)
    turns = len(children(outputs))
    assert OUTBOX - TURN_OUTPUTS <= len(outputs) <= OUTBOX
    assert next_deadline(w.state) == w.state.core[0].now_ns, "a TIMER is due at once"
    steps = 1
    while next_deadline(w.state) <= w.now_ns:
        outputs = w.timer()
        assert len(outputs) <= OUTBOX
        turns += len(children(outputs))
        steps += 1
    assert turns == 300
    assert steps == 3
    assert w.state.core[0].work_count == 0


def test_mass_cancel_of_hundreds_goes_on_at_the_timer():
    w = waiting(700)
    outputs = w.send(Template.MASS_CANCEL)
    assert len(outputs) <= OUTBOX
    told = reports(outputs) + reports(w.drain())
    assert sorted(name for _, name, _, _ in told) == sorted(f"{n}" for n in range(700))
    assert {row[2:] for row in told} == {("4", "4")}
    assert w.state.core[0].live_parents == 0


def test_request_about_a_parent_that_waits_for_its_turn():
    w = waiting(300)
    w.quote(0, 9_990, 1_000, 10_000, 1_000)
    (last,) = [f"{n}" for n in range(300) if w.parent(f"{n}")[1].queued][-1:]
    outputs = w.cancel(last) + w.drain()
    assert [row[1:] for row in reports(outputs)] == [(last, "4", "4")]
    assert w.state.core[0].live_parents == 299


def test_mass_cancel_takes_back_what_hundreds_have_posted():
    w = waiting(300, sweep={"rest": "venue"}, risk={"reference_age_ms": 60_000})
    w.quote(0, 9_990, 1_000, 10_001, 1_000)
    w.quote(0, 9_990, 1_000, 10_000, 1)
    w.drain()
    w.advance(100 * MS)
    live = int(w.state.core[0].live_children)
    outputs = w.send(Template.MASS_CANCEL)
    outputs += w.drain()
    assert w.state.core[0].live_parents == live
    assert len(of(outputs, Template.ORDER_CANCEL)) + 1 >= live


def test_hundreds_of_timers_at_once_fire_in_steps():
    w = waiting(100)
    w.quote(0, 9_990, 1_000, 10_000, 1_000)
    w.drain()
    assert w.state.core[0].live_children == 100
    w.now_ns += 500 * MS
    steps, cancels = 0, 0
    while next_deadline(w.state) <= w.now_ns:
        outputs = w.timer()
        cancels += len(of(outputs, Template.ORDER_CANCEL))
        steps += 1
        assert len(outputs) <= OUTBOX
    assert cancels == 100
    assert steps == -(-100 // TIMERS_A_STEP)


def test_smallest_tables():
    w = World(make_config(capacity={"parents": 1, "children": 1, "executions": 1}))
    for n in range(3):
        w.offers((0, 10_000, 10))
        (child,) = children(w.new(f"{n}", qty=10))
        w.fill(child, 4)
        w.fill(child, 6)
    assert w.counter("parents_filled") == 3
