"""What can be proved of a declared machine before anything is compiled or run.

Proved: every state and event has an answer, and one only; every state can be reached and can reach an end; nothing
waits without a time-out whose event it takes; every step that puts an order into the world has a compensation, and
compensations do not go round in circles; entering and leaving a state puts none there, for nothing would take it back.
Whether a step has such an effect is not asked of its author: its code is searched, and what it calls, for the functions
that send orders.

Each finding names machine, state, event and the line of the source that it is about; all are told at once. What steps
do to real records is `engine.workflow.explore`'s affair. Worst case: states x events, and one walk over the code of the
steps: milliseconds.
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from engine.workflow.machine import (
    AT_ONCE,
    Machine,
    MachineError,
    Place,
    State,
    Step,
    Transition,
    step_name,
)
from engine.workflow.orders import SHARED
from engine.workflow.returns import function_of
from engine.workflow.table import MAX_EFFECTS


@dataclass(frozen=True)
class Finding:
    """One thing that does not hold: the rule's name, what is wrong and what to do, and where it was declared."""

    rule: str
    text: str
    place: Place

    def __str__(self) -> str:
        return f"{self.place}: {self.text} [{self.rule}]"


def verify(machine: Machine) -> list[Finding]:
    """Everything that is wrong with a machine; empty where it verifies."""
    found: list[Finding] = []
    for rule in _RULES:
        found += rule(machine)
    return found


def check(machine: Machine) -> None:
    """MachineError with a line for each finding."""
    found = verify(machine)
    if found:
        lines = "\n".join(f"  {finding}" for finding in found)
        raise MachineError(f"machine {machine.name} does not verify:\n{lines}")


def in_use(machine: Machine) -> list[State]:
    """The states that the machine has to answer for: all but shared ones that nothing leads to."""
    reached = _reachable(machine)
    return [state for state in machine.states if state in reached or state not in SHARED]


def _at(state: State, event: IntEnum | None = None) -> str:
    return state.name if event is None else f"{state.name} x {event.name}"


def _shape(m: Machine) -> Iterator[Finding]:
    initial = [state for state in m.states if state.initial]
    if not m.states:
        raise MachineError(f"machine {m.name} has no states")
    if len(initial) != 1:
        names = ", ".join(s.name for s in initial) or "none"
        yield Finding("shape", f"one state must be initial; there are: {names}", m.states[0].place)
    if not any(state.terminal for state in m.states):
        yield Finding("shape", "no state is terminal: nothing would ever end", m.states[0].place)


def _one_answer(m: Machine) -> Iterator[Finding]:
    first: dict[tuple[State, int], Transition] = {}
    for t in m.transitions:
        other = first.setdefault((t.state, int(t.event)), t)
        if other is not t:
            text = f"{_at(t.state, t.event)} is declared here and at {other.place}; keep one"
            yield Finding("deterministic", text, t.place)


def _answers(m: Machine) -> Iterator[Finding]:
    given = {(t.state, int(t.event)) for t in m.transitions}
    for state in in_use(m):
        for event in m.events:
            if (m.ends_answer or not state.terminal) and (state, int(event)) not in given:
                text = f"{_at(state, event)} has no answer; declare a transition, ignore (why) or refuse (reason)"
                yield Finding("total", text, state.place)


def _outcomes(m: Machine) -> Iterator[Finding]:
    for t in m.transitions:
        if t.step is None:
            continue
        name = f"{_at(t.state, t.event)}: step {step_name(t.step)}"
        if not t.outcomes:
            yield Finding("outcomes", f"{name} has no outcome; say where each leads", t.place)
        for outcome, target in t.outcomes.items():
            if not 0 <= outcome < m.outcomes:
                text = f"{name}: outcome {t.names[outcome]} = {outcome}; outcomes are 0 to {m.outcomes - 1}"
                yield Finding("outcomes", text, t.place)
            if target not in m.states:
                yield Finding("outcomes", f"{name}: state {target.name} is another machine's", t.place)
            if t.state.timeout is AT_ONCE and t.event.name == AT_ONCE.event and target is t.state:
                text = f"{name}: {t.names[outcome]} leads back to {t.state.name}, where nothing would wake it"
                yield Finding("outcomes", text, t.place)


def _edges(m: Machine, failures: bool) -> dict[State, set[State]]:
    edges: dict[State, set[State]] = {state: set() for state in m.states}
    for t in m.transitions:
        edges[t.state] |= set(t.outcomes.values())
        if failures and t.step is not None and m.failing is not None and not t.state.terminal:
            edges[t.state].add(m.failing)
    return edges


def _closure(edges: dict[State, set[State]], start: Iterable[State]) -> set[State]:
    found: set[State] = set()
    todo = list(start)
    while todo:
        state = todo.pop()
        if state not in found:
            found.add(state)
            todo += edges.get(state, set())
    return found


def _reachable(m: Machine) -> set[State]:
    return _closure(_edges(m, failures=True), [state for state in m.states if state.initial])


def _reached(m: Machine) -> Iterator[Finding]:
    reached = _reachable(m)
    for state in m.states:
        if state not in reached and state not in SHARED:
            text = f"{state.name} cannot be reached: no outcome leads there; remove it, or lead there"
            yield Finding("reachable", text, state.place)


def _ends(m: Machine) -> Iterator[Finding]:
    edges = _edges(m, failures=False)
    for state in in_use(m):
        if not any(end.terminal for end in _closure(edges, [state])):
            text = f"from {state.name} no terminal state can be reached; give one of its events such an outcome"
            yield Finding("terminal", text, state.place)


def _waits(m: Machine) -> Iterator[Finding]:
    answers = {(t.state, t.event.name): t for t in m.transitions}
    for state in in_use(m):
        if state.terminal:
            continue
        if state.timeout is None:
            text = (
                f"{state.name} waits without a time-out; declare timeout=after_ms(...), CHILDREN (it waits for "
                "children alone) or DAY_END"
            )
            yield Finding("timeout", text, state.place)
            continue
        answer = answers.get((state, state.timeout.event))
        if answer is None or answer.step is None:
            text = (
                f"{state.name} x {state.timeout.event} has no step, and that is how its time-out "
                f"({state.timeout.text}) ends the wait; declare one"
            )
            yield Finding("timeout", text, answer.place if answer is not None else state.place)


def _refusals(m: Machine) -> Iterator[Finding]:
    for t in m.transitions:
        if t.refuse is not None and t.event.name not in m.refusable:
            text = f"{_at(t.state, t.event)} is refused, but nobody asked; ignore it (why)"
            yield Finding("refuse", text, t.place)
        if t.refuse is None and t.step is None and not t.why.strip():
            yield Finding("ignore", f"{_at(t.state, t.event)} is ignored without a reason; say why", t.place)


def _steps(m: Machine) -> Iterator[Finding]:
    """Steps and actions are called by name from generated code: each must be a module's own."""
    places = {action: ("action", state.place) for state, _, action in _actions_of(m)}
    places |= {t.step: ("step", t.place) for t in m.transitions if t.step is not None}
    places |= {by: ("step", place) for _, by, place in m.compensations}
    for step, (what, place) in places.items():
        module = importlib.import_module(step.__module__)
        if getattr(module, step_name(step), None) is not step:
            text = f"{what} {step_name(step)} is not a function at the top of module {step.__module__}; put it there"
            yield Finding("step", text, place)


def _effects(m: Machine) -> Iterator[Finding]:
    by_step: dict[Step, Step] = {}
    for step, by, place in m.compensations:
        if step in by_step:
            yield Finding("compensation", f"step {step_name(step)} has two compensations; keep one", place)
        by_step[step] = by
    if len(by_step) > MAX_EFFECTS:
        text = f"{len(by_step)} steps have compensations; {MAX_EFFECTS} are the most"
        yield Finding("compensation", text, m.compensations[-1][2])
    for t in {t.step: t for t in reversed(m.transitions) if t.step is not None}.values():  # where it is declared first
        assert t.step is not None
        reached = effects_of(t.step, m.effects)
        if reached and t.step not in by_step:
            text = (
                f"{_at(t.state, t.event)}: step {step_name(t.step)} sends orders ({_calls(reached)}) and has no "
                f"compensation; declare machine.compensate({step_name(t.step)}, by=...)"
            )
            yield Finding("compensation", text, t.place)
    for step, _, place in m.compensations:
        path = [step]
        while path[-1] in by_step:
            path.append(by_step[path[-1]])
            if path[-1] in path[:-1]:
                names = " -> ".join(step_name(s) for s in path)
                yield Finding("compensation", f"compensations go round in a circle: {names}; break it", place)
                break
        sends = effects_of(path[-1], m.effects)
        if sends and path[-1] not in by_step:
            text = f"compensation {step_name(path[-1])} sends orders itself and has no compensation"
            yield Finding("compensation", text, place)


def _actions(m: Machine) -> Iterator[Finding]:
    """What is done on the way into or out of a state has no compensation of its own: it must send nothing."""
    for state, what, action in _actions_of(m):
        reached = effects_of(action, m.effects)
        if reached:
            text = (
                f"{state.name}: its {what} action {step_name(action)} sends orders ({_calls(reached)}), which nothing "
                "would take back; send them in a step, and declare what compensates it"
            )
            yield Finding("action", text, state.place)


def _actions_of(m: Machine) -> Iterator[tuple[State, str, Step]]:
    """Every enter and leave action, with its state."""
    for state in m.states:
        for what, action in (("enter", state.enter), ("leave", state.leave)):
            if action is not None:
                yield state, what, action


_RULES = (
    _shape, _one_answer, _answers, _outcomes, _reached, _ends, _waits, _refusals, _steps, _effects, _actions,
)  # fmt: skip


def _calls(reached: set[str]) -> str:
    return ", ".join(sorted(name.rpartition(".")[2] for name in reached))


def effects_of(step: Step, effects: frozenset[str]) -> set[str]:
    """The functions among `effects` ("module.name") that a step's code can reach by calls of functions."""
    found: set[str] = set()
    seen: set[int] = set()
    todo: list[Any] = [step]
    while todo:
        function = function_of(todo.pop())
        if id(function) in seen:
            continue
        seen.add(id(function))
        name = f"{function.__module__}.{function.__name__}"
        if name in effects:
            found.add(name)
            continue
        todo += _called(function)
    return found


def _called(function: Any) -> Iterator[Any]:
    """Functions of ours that a function's code names: directly, by way of modules (`engine.core.children.f`), or from
    the function around it."""
    names = set(_names(function.__code__))
    todo = [function.__globals__.get(name) for name in names]
    todo += [cell.cell_contents for cell in function.__closure__ or ()]
    modules: set[str] = set()
    while todo:
        value = todo.pop()
        if _is_function(value):
            yield value
        elif isinstance(value, types.ModuleType) and value.__name__ not in modules and _is_ours(value.__name__):
            modules.add(value.__name__)
            todo += [getattr(value, name, None) for name in names]


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_function(value: Any) -> bool:
    function = getattr(value, "py_func", value)
    return isinstance(function, types.FunctionType) and _is_ours(function.__module__)


def _is_ours(module: str) -> bool:
    return not module.startswith(("numba", "numpy"))
