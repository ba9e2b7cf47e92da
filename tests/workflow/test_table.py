"""The dense tables against a slow twin that looks each answer up in the declaration; the module written of them."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.record.records import Reason
from engine.run.bind import declared
from engine.workflow import null, null_tables
from engine.workflow.machine import CHILDREN, MAX_OUTCOMES, Machine, Transition, after_ms, step_name
from engine.workflow.table import FIRST_STEP, IGNORE, NO_STATE, REFUSE, source, tables
from engine.workflow.verify import verify
from tests.workflow.shipped import SHIPPED


class Three(IntEnum):
    """Events of generated machines; the last is what ends every wait."""

    A = 0
    B = 1
    TIMEOUT = 2


def first(state, p, event, outbox):
    """A step."""
    return 0


def second(state, p, event, outbox):
    """Another."""
    return 1


def third(state, p, event, outbox):
    """And one that takes back."""
    return 2


def twin(machine: Machine, code: int, event: int, outcome: int) -> tuple[str, str, int]:
    """(a step's name, "ignore" or "refuse"; the next state; the reason), straight from the declaration."""
    for t in machine.transitions:
        if (t.state.code, int(t.event)) == (code, event):
            return _answer(t, outcome)
    return "ignore", "", 0


def _answer(t: Transition, outcome: int) -> tuple[str, str, int]:
    if t.refuse is not None:
        return "refuse", "", int(t.refuse)
    if t.step is None:
        return "ignore", "", 0
    return step_name(t.step), t.outcomes[outcome].name if outcome in t.outcomes else "", 0


def looked_up(machine: Machine, code: int, event: int, outcome: int) -> tuple[str, str, int]:
    """The same by the tables, as the loop does it."""
    t = tables(machine)
    row = code * len(machine.events) + event
    step, after = int(t.step[row]), int(t.next[row * MAX_OUTCOMES + outcome])
    name = {IGNORE: "ignore", REFUSE: "refuse"}.get(step) or step_name(t.steps[step - FIRST_STEP])
    state = machine.state_of(after) if after != NO_STATE else None
    return name, state.name if state else "", int(t.reason[row])


def same_everywhere(machine: Machine) -> int:
    """Compare tables and declaration in every place; how many there are."""
    places = [(c, e, o) for c in range(machine.codes) for e in range(len(machine.events)) for o in range(MAX_OUTCOMES)]
    for place in places:
        assert looked_up(machine, *place) == twin(machine, *place), place
    return len(places)


@st.composite
def machines(draw) -> Machine:
    """A machine of up to six states whose answers are drawn; the last state is terminal."""
    count = draw(st.integers(2, 6))
    m = Machine("drawn", Three, first_code=draw(st.integers(1, 3)))
    times = [draw(st.sampled_from((after_ms(1), after_ms(20), CHILDREN))) for _ in range(count - 1)]
    states = [m.state(f"S{n}", initial=n == 0, timeout=times[n]) for n in range(count - 1)]
    states.append(m.state("END", terminal=True))
    for state in states[:-1]:
        for event in Three:
            kind = draw(st.sampled_from(("step", "step", "step", "ignore", "refuse", "nothing")))
            if kind == "step":
                outcomes = draw(st.dictionaries(st.integers(0, MAX_OUTCOMES - 1), st.sampled_from(states), min_size=1))
                m.on(state, event, draw(st.sampled_from((first, second))), outcomes)
            elif kind == "ignore":
                m.ignore(state, event, why="drawn")
            elif kind == "refuse":
                m.refuse(state, event, reason=draw(st.sampled_from((Reason.NOT_IN_ORDER, Reason.REQUEST_PENDING))))
    if any(t.step is first for t in m.transitions) and draw(st.booleans()):
        m.compensate(first, by=third)
    return m


@settings(max_examples=60, deadline=None)
@given(machines())
def test_tables_say_what_was_declared(machine):
    assert same_everywhere(machine) == machine.codes * 3 * MAX_OUTCOMES


@settings(max_examples=100, deadline=None)
@given(machines())
def test_the_verifier_finds_what_a_walk_finds(machine):
    """Total, reachable and with an end, against walks that know nothing of the verifier."""
    found = verify(machine)
    rules: dict[str, set[str]] = {}
    for finding in found:
        rules.setdefault(finding.rule, set()).add(finding.text.removeprefix("from ").split()[0])
    leads = {
        s.name: {o.name for t in machine.transitions if t.state is s for o in t.outcomes.values()}
        for s in machine.states
    }
    missing = {
        s.name for s in machine.states for e in Three
        if not s.terminal and not any(t.state is s and t.event == e for t in machine.transitions)
    }  # fmt: skip
    from_start = _walk(leads, "S0")
    assert rules.get("total", set()) == missing
    assert rules.get("reachable", set()) == {s.name for s in machine.states} - from_start
    assert rules.get("terminal", set()) == {name for name in leads if "END" not in _walk(leads, name)}


def _walk(leads: dict[str, set[str]], start: str) -> set[str]:
    seen = {start}
    while more := {to for name in seen for to in leads[name]} - seen:
        seen |= more
    return seen


@pytest.mark.parametrize("name", ["engine.workflow.null", *SHIPPED])
def test_tables_of_shipped_machines(name):
    machine = declared(name)
    assert same_everywhere(machine) == machine.codes * 11 * MAX_OUTCOMES
    t = tables(machine)
    assert t.step.dtype == t.next.dtype == np.uint8
    for state in machine.states:
        assert t.for_children[state.code] == (state.timeout is CHILDREN)
        assert t.timeout_ns[state.code] == (state.timeout.ns if state.timeout else 0)


def test_effects_and_compensations():
    machine = declared("strategies.sweep")
    t = tables(machine)
    numbers = {step_name(step): n + FIRST_STEP for n, step in enumerate(t.steps)}
    assert [n for n in range(len(t.effect)) if t.effect[n]] == [numbers["route"]]
    assert t.compensation[t.effect[numbers["route"]]] == numbers["recall"]


def test_the_null_tables_are_what_is_written_of_the_null_machine():
    """`engine.run.turn` imports this file before a strategy is bound; write it anew with `source(null.machine)`."""
    assert Path(null_tables.__file__).read_text(encoding="utf-8") == source(null.machine)


def test_a_written_module_calls_each_step_by_its_number(tmp_path):
    m = Machine("written", Three)
    start = m.state("START", initial=True, timeout=after_ms(7))
    m.on(start, Three.A, first, {0: start})
    ends = m.state("END", terminal=True)
    m.on(start, Three.B, second, {1: ends})
    m.on(start, Three.TIMEOUT, first, {0: ends})
    made: dict[str, Any] = {}
    exec(compile(source(m).replace("@kernel\n", ""), "written", "exec"), made)
    t = tables(m)
    for n, step in enumerate(t.steps):
        assert made["run_step"](n + FIRST_STEP, None, 0, 0, None) == step(None, 0, 0, None)
    assert made["run_step"](IGNORE, None, 0, 0, None) == -1
    for name in ("STEP", "NEXT", "REASON", "TIMEOUT_NS", "FOR_CHILDREN", "EFFECT", "COMPENSATION"):
        np.testing.assert_array_equal(made[name], t[t._fields.index(name.lower())])


def test_a_transition_is_a_load_before_and_a_load_after():
    """The size that makes it so: a byte a place, all of sweep's tables in a few cache lines."""
    t = tables(declared("strategies.sweep"))
    assert (t.step.nbytes, t.next.nbytes) == (14 * 11, 14 * 11 * MAX_OUTCOMES)
