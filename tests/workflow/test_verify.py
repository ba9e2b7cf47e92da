"""The verifier: each machine here breaks one rule, and the finding names machine, state, event and the faulty line.

A line that ends in `# <- rule` is where the finding of that rule must point.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import IntEnum

import pytest

import engine.core.children
from engine.core.amend import replace_child
from engine.core.children import new_child as make_child
from engine.record.records import Reason
from engine.run.bind import declared
from engine.workflow.machine import CHILDREN, Machine, MachineError, State, after_ms
from engine.workflow.orders import CANCELED, EFFECTS, NEW, WORKING, Event, order_machine, recall
from engine.workflow.verify import check, effects_of, verify
from tests.workflow.shipped import SHIPPED

DONE, STUCK = 0, 1


class Door(IntEnum):
    """Events of a small machine."""

    PUSH = 0
    TIMEOUT = 1


def push(state, p, event, outbox):
    """A step without an effect."""
    return DONE


def send(state, p, event, outbox):
    """A step that puts an order into the world, by way of another function."""
    return _sent(state, p, outbox)


def _sent(state, p, outbox):
    make_child(state, outbox, p, 0, 1, 1, 0)
    return DONE


def amend(state, p, event, outbox):
    """A step whose effect is a replace, in a nested function."""
    return max(replace_child(state, outbox, n, 1, 1) for n in range(1))


def send_by_path(state, p, event, outbox):
    """A step that names the function that sends by the whole path of its module."""
    engine.core.children.new_child(state, outbox, p, 0, 1, 1, 0)
    return DONE


def send_by_name(state, p, event, outbox):
    """A step that sends by another name, which it has from around it."""
    return _SENDER(state, p, outbox)


def _closed(sender):
    def inner(state, p, outbox):
        return sender(state, p, outbox)

    return inner


def send_on_the_way(state, p, outbox):
    """An action that puts an order into the world."""
    _sent(state, p, outbox)


def notice(state, p, outbox):
    """An action that does not."""


def take_back(state, p, event, outbox):
    """A compensation."""
    return DONE


def take_back_too(state, p, event, outbox):
    """Another one."""
    return DONE


_SENDER = _closed(_sent)


def door() -> tuple[Machine, State, State]:
    """Closed and open, with nothing declared yet."""
    m = Machine("door", Door, effects=EFFECTS)
    closed = m.state("CLOSED", initial=True, timeout=after_ms(5))
    return m, closed, m.state("OPEN", terminal=True)


def whole() -> tuple[Machine, State, State]:
    """A door that verifies."""
    m, closed, opened = door()
    m.on(closed, (Door.PUSH, Door.TIMEOUT), push, {DONE: opened, STUCK: closed})
    return m, closed, opened


# ---- one machine a rule


def no_answer() -> Machine:
    m = Machine("door", Door)
    closed = m.state("CLOSED", initial=True, timeout=after_ms(5))  # <- total
    m.on(closed, Door.TIMEOUT, push, {DONE: m.state("OPEN", terminal=True)})
    return m


def two_answers() -> Machine:
    m, closed, opened = whole()
    m.on(closed, Door.PUSH, push, {DONE: opened})  # <- deterministic
    return m


def an_answer_and_ignored() -> Machine:
    m, closed, _ = whole()
    m.ignore(closed, Door.PUSH, why="it is locked")  # <- deterministic
    return m


def an_island() -> Machine:
    m, _, opened = whole()
    island = m.state("ISLAND", timeout=after_ms(5))  # <- reachable
    m.on(island, tuple(Door), push, {DONE: opened})
    return m


def a_trap() -> Machine:
    m, closed, opened = door()
    trap = m.state("TRAP", timeout=after_ms(5))  # <- terminal
    m.on(closed, tuple(Door), push, {DONE: trap, STUCK: opened})
    m.on(trap, tuple(Door), push, {DONE: trap})
    return m


def no_timeout() -> Machine:
    m = Machine("door", Door)
    closed = m.state("CLOSED", initial=True)  # <- timeout
    m.on(closed, tuple(Door), push, {DONE: m.state("OPEN", terminal=True)})
    return m


def a_timeout_ignored() -> Machine:
    m, closed, opened = door()
    m.on(closed, Door.PUSH, push, {DONE: opened})
    m.ignore(closed, Door.TIMEOUT, why="it can wait")  # <- timeout
    return m


def an_effect_for_ever() -> Machine:
    m, closed, opened = door()
    m.on(closed, tuple(Door), send, {DONE: opened})  # <- compensation
    return m


def a_nested_effect_for_ever() -> Machine:
    m, closed, opened = door()
    m.on(closed, tuple(Door), amend, {DONE: opened})  # <- compensation
    return m


def a_compensation_that_sends() -> Machine:
    m, _, _ = whole()
    m.compensate(push, by=send)  # <- compensation
    return m


def a_compensation_cycle() -> Machine:
    m, _, _ = whole()
    m.compensate(take_back, by=take_back_too)
    m.compensate(take_back_too, by=take_back)
    return m


def two_compensations() -> Machine:
    m, _, _ = whole()
    m.compensate(push, by=take_back)
    m.compensate(push, by=take_back_too)  # <- compensation
    return m


def an_outcome_too_large() -> Machine:
    m, closed, opened = door()
    m.on(closed, Door.TIMEOUT, push, {DONE: opened})
    m.on(closed, Door.PUSH, push, {8: opened})  # <- outcomes
    return m


def no_outcome() -> Machine:
    m, closed, opened = door()
    m.on(closed, Door.TIMEOUT, push, {DONE: opened})
    m.on(closed, Door.PUSH, push, {})  # <- outcomes
    return m


def another_machines_state() -> Machine:
    m, closed, opened = door()
    m.on(closed, Door.TIMEOUT, push, {DONE: opened})
    m.on(closed, Door.PUSH, push, {DONE: opened, STUCK: whole()[1]})  # <- outcomes
    return m


def a_refusal_of_time() -> Machine:
    m, closed, opened = door()
    m.refuse(closed, Door.PUSH, reason=Reason.NOT_IN_ORDER)  # <- refuse
    m.on(closed, Door.TIMEOUT, push, {DONE: opened})
    return m


def ignored_for_no_reason() -> Machine:
    m, closed, opened = door()
    m.ignore(closed, Door.PUSH, why=" ")  # <- ignore
    m.on(closed, Door.TIMEOUT, push, {DONE: opened})
    return m


def a_step_in_a_function() -> Machine:
    m, closed, opened = door()

    def inside(state, p, event, outbox):
        return DONE

    m.on(closed, Door.TIMEOUT, push, {DONE: opened})
    m.on(closed, Door.PUSH, inside, {DONE: opened})  # <- step
    return m


def an_action_that_sends() -> Machine:
    m, closed, opened = door()
    held = m.state("HELD", timeout=after_ms(5), enter=notice, leave=send_on_the_way)  # <- action
    m.on(closed, tuple(Door), push, {DONE: held})
    m.on(held, tuple(Door), push, {DONE: opened})
    return m


def an_action_in_a_function() -> Machine:
    m, closed, opened = door()

    def inside(state, p, outbox):
        return

    held = m.state("HELD", timeout=after_ms(5), enter=inside)  # <- step
    m.on(closed, tuple(Door), push, {DONE: held})
    m.on(held, tuple(Door), push, {DONE: opened})
    return m


def two_beginnings() -> Machine:
    m = Machine("door", Door)
    opened = m.state("OPEN", terminal=True)  # <- shape
    for name in ("CLOSED", "LOCKED"):
        m.on(m.state(name, initial=True, timeout=after_ms(5)), tuple(Door), push, {DONE: opened})
    return m


PLANTED = {
    no_answer: ("total", "CLOSED x PUSH has no answer"),
    two_answers: ("deterministic", "CLOSED x PUSH is declared here and at "),
    an_answer_and_ignored: ("deterministic", "CLOSED x PUSH is declared here and at "),
    an_island: ("reachable", "ISLAND cannot be reached"),
    a_trap: ("terminal", "from TRAP no terminal state can be reached"),
    no_timeout: ("timeout", "CLOSED waits without a time-out"),
    a_timeout_ignored: ("timeout", "CLOSED x TIMEOUT has no step"),
    an_effect_for_ever: ("compensation", "CLOSED x PUSH: step send sends orders (new_child) and has no compensation"),
    a_nested_effect_for_ever: ("compensation", "step amend sends orders (replace_child) and has no compensation"),
    a_compensation_that_sends: ("compensation", "compensation send sends orders itself"),
    two_compensations: ("compensation", "step push has two compensations"),
    an_outcome_too_large: ("outcomes", "CLOSED x PUSH: step push: outcome 8 = 8; outcomes are 0 to 7"),
    no_outcome: ("outcomes", "CLOSED x PUSH: step push has no outcome"),
    another_machines_state: ("outcomes", "CLOSED x PUSH: step push: state CLOSED is another machine's"),
    a_refusal_of_time: ("refuse", "CLOSED x PUSH is refused, but nobody asked"),
    ignored_for_no_reason: ("ignore", "CLOSED x PUSH is ignored without a reason"),
    a_step_in_a_function: ("step", "step inside is not a function at the top of module"),
    an_action_that_sends: ("action", "HELD: its leave action send_on_the_way sends orders (new_child)"),
    an_action_in_a_function: ("step", "action inside is not a function at the top of module"),
    two_beginnings: ("shape", "one state must be initial; there are: CLOSED, LOCKED"),
}


def line_of(planted: Callable[[], Machine], rule: str) -> int:
    """The line that the finding must name."""
    lines, first = inspect.getsourcelines(planted)
    marked = [first + n for n, line in enumerate(lines) if line.rstrip().endswith(f"# <- {rule}")]
    assert len(marked) == 1
    return marked[0]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.__name__)
def test_a_broken_rule_is_one_finding_at_its_line(planted):
    rule, text = PLANTED[planted]
    found = verify(planted())
    assert [finding.rule for finding in found] == [rule]
    assert text in found[0].text
    assert (found[0].place.file, found[0].place.line) == (__file__, line_of(planted, rule))
    with pytest.raises(MachineError, match="machine door does not verify") as raised:
        check(planted())
    assert f"{__file__}:{found[0].place.line}: {found[0].text} [{rule}]" in str(raised.value)


def test_the_door_without_faults_verifies():
    assert verify(whole()[0]) == []


def test_a_compensation_cycle_is_named_in_full():
    texts = [str(finding) for finding in verify(a_compensation_cycle())]
    assert any("compensations go round in a circle: take_back -> take_back_too -> take_back" in t for t in texts)


def test_all_findings_are_told_at_once():
    m = Machine("door", Door)
    m.state("CLOSED", initial=True)
    m.state("OPEN", terminal=True)
    with pytest.raises(MachineError) as raised:
        check(m)
    for rule in ("total", "reachable", "terminal", "timeout"):
        assert f"[{rule}]" in str(raised.value)


def test_effects_are_found_through_calls():
    assert effects_of(send, EFFECTS) == {"engine.core.children.new_child"}
    assert effects_of(amend, EFFECTS) == {"engine.core.amend.replace_child"}
    assert effects_of(send_by_path, EFFECTS) == {"engine.core.children.new_child"}
    assert effects_of(send_by_name, EFFECTS) == {"engine.core.children.new_child"}
    assert effects_of(push, EFFECTS) == set()
    assert effects_of(notice, EFFECTS) == set()
    assert effects_of(recall, EFFECTS) == set(), "a cancel puts nothing into the world"


@pytest.mark.parametrize("name", [*SHIPPED, "engine.workflow.null"])
def test_what_is_shipped_verifies(name):
    assert verify(declared(name)) == []


def test_a_strategy_has_to_answer_where_it_sends_orders_to_wait():
    m = order_machine("lazy")
    m.on(NEW, Event.START, send, {DONE: WORKING})
    m.compensate(send, by=recall)
    texts = [finding.text for finding in verify(m)]
    assert any(text.startswith("WORKING x CHILDREN_DONE has no answer") for text in texts)
    assert any("WORKING x CHILDREN_DONE has no step" in text and "(children)" in text for text in texts)
    assert not any(text.startswith("RESTING") for text in texts), "nothing leads to RESTING"


def test_a_state_of_ones_own_takes_requests_and_needs_a_timeout():
    m = order_machine("own")
    m.on(WORKING, Event.CHILDREN_DONE, push, {DONE: CANCELED})  # where a pause that was withdrawn leads
    pause = m.state("HELD", watch=True)
    m.on(NEW, Event.START, push, {DONE: pause})
    m.on(pause, (Event.CHILDREN_DONE, Event.QUOTE), push, {DONE: CANCELED})
    (found,) = verify(m)
    assert found.text.startswith("HELD waits without a time-out; declare timeout=after_ms(...)")
    m = order_machine("own")
    m.on(WORKING, Event.CHILDREN_DONE, push, {DONE: CANCELED})
    pause = m.state("HELD", watch=True, timeout=after_ms(3))
    m.on(NEW, Event.START, push, {DONE: pause})
    m.on(pause, (Event.CHILDREN_DONE, Event.QUOTE, Event.TIMEOUT), push, {DONE: CANCELED})
    assert verify(m) == []


def test_a_wait_for_children_needs_its_step():
    m = order_machine("waits")
    held = m.state("HELD", timeout=CHILDREN)
    m.on(NEW, Event.START, push, {DONE: held})
    m.ignore(held, Event.CHILDREN_DONE, why="a mistake")
    rules = {finding.rule for finding in verify(m)}
    assert "timeout" in rules
