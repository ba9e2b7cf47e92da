"""A verified machine as dense tables, and as the module that the loop's turn imports.

STEP[state * events + event] is a step's number, IGNORE or REFUSE; NEXT[(state * events + event) * 8 + outcome] the
next state's code, NO_STATE where the outcome was not declared. Both are uint8: a transition is one indexed load before
the step and one after it. `source` writes a module with the tables as constants and one kernel that calls each step by
name, so that numba compiles direct calls and can cache them. Worst case: 128 states of 11 events are 22 KB of NEXT.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.workflow.machine import CHILDREN, Machine, Step, step_name

IGNORE: Final = 0
REFUSE: Final = 1
FIRST_STEP: Final = 2
NO_STATE: Final = 255
#: Steps with effects; each takes four bits of a parent's `effects`.
MAX_EFFECTS: Final = 7


class Tables(NamedTuple):
    """The tables of a machine; `steps[n]` is step number n + FIRST_STEP."""

    #: uint8[codes * events], a row a state code.
    step: np.ndarray
    #: uint8[codes * events * outcomes].
    next: np.ndarray
    #: uint8[codes * events]: Reason of a refusal.
    reason: np.ndarray
    #: int64[codes]: a state's own time-out, 0 where it has none.
    timeout_ns: np.ndarray
    #: uint8[codes]: 1 where a state waits for children alone.
    for_children: np.ndarray
    #: uint8[steps + FIRST_STEP]: number of the step's effect from 1, 0 where it has none.
    effect: np.ndarray
    #: uint8[MAX_EFFECTS + 1]: the step that compensates an effect.
    compensation: np.ndarray
    steps: list[Step]


def tables(machine: Machine) -> Tables:
    """The tables of a machine that verifies."""
    codes, events = machine.codes, len(machine.events)
    steps = machine.steps()
    number = {step: n + FIRST_STEP for n, step in enumerate(steps)}
    step = np.zeros(codes * events, dtype=np.uint8)
    following = np.full(codes * events * machine.outcomes, NO_STATE, dtype=np.uint8)
    reason = np.zeros(codes * events, dtype=np.uint8)
    for t in machine.transitions:
        row = t.state.code * events + int(t.event)
        if t.refuse is not None:
            step[row], reason[row] = REFUSE, int(t.refuse)
        elif t.step is not None:
            step[row] = number[t.step]
            for outcome, target in t.outcomes.items():
                following[row * machine.outcomes + outcome] = target.code
    timeout_ns, for_children = np.zeros(codes, dtype=np.int64), np.zeros(codes, dtype=np.uint8)
    for state in machine.states:
        timeout_ns[state.code] = state.timeout.ns if state.timeout is not None else 0
        for_children[state.code] = state.timeout is CHILDREN
    effect = np.zeros(len(steps) + FIRST_STEP, dtype=np.uint8)
    compensation = np.zeros(MAX_EFFECTS + 1, dtype=np.uint8)
    by_step = {done: by for done, by, _ in machine.compensations}
    for n, (done, by) in enumerate(by_step.items(), start=1):
        effect[number[done]], compensation[n] = n, number[by]
    return Tables(step, following, reason, timeout_ns, for_children, effect, compensation, steps)


def source(machine: Machine) -> str:
    """The text of the module that holds a machine's tables and calls its steps."""
    t = tables(machine)
    actions = [a for s in machine.states for a in (s.enter, s.leave) if a is not None]
    names = {step: f"step_{n + FIRST_STEP}" for n, step in enumerate(t.steps)}
    names |= {action: f"action_{n}" for n, action in enumerate(dict.fromkeys(actions)) if action not in names}
    imports = [f"from {step.__module__} import {step_name(step)} as {name}" for step, name in names.items()]
    imports += ["from engine.core.state import Outbox, State", "from engine.jit import kernel"]
    lines = [
        f'"""The machine {machine.name} as tables and calls; written by engine.workflow.table."""',
        "",
        "from __future__ import annotations",
        "",
        "import numpy as np",
        "",
        *sorted(imports),
        "",
        "# fmt: off",
    ]
    for name, array in zip(
        ("STEP", "NEXT", "REASON", "TIMEOUT_NS", "FOR_CHILDREN", "EFFECT", "COMPENSATION"), t[:7], strict=True
    ):
        width = len(machine.events) * (machine.outcomes if name == "NEXT" else 1)
        lines += constant(name, array, width)
    lines += ["# fmt: on", "", "", *_dispatch(t.steps, names)]
    lines += ["", "", *_actions("enter", {s.code: s.enter for s in machine.states}, names)]
    lines += ["", "", *_actions("leave", {s.code: s.leave for s in machine.states}, names), ""]
    return "\n".join(lines)


def constant(name: str, array: np.ndarray, width: int) -> list[str]:
    """A table as source: bytes in hex, a line a state; times as numbers."""
    if array.dtype == np.int64:
        return [f"{name} = np.array({array.tolist()}, dtype=np.int64)"]
    rows = [array[n : n + width].tobytes().hex() for n in range(0, len(array), width)]
    parts = [f'    "{row[n : n + 96]}"' for row in rows for n in range(0, len(row), 96)]
    return [f"{name} = np.frombuffer(bytes.fromhex(", *parts, "), dtype=np.uint8)"]


def _dispatch(steps: list[Step], names: dict[Step, str]) -> list[str]:
    """One call a step, the strategy's own (declared last) first: they are what runs most."""
    lines = [
        "@kernel",
        "def run_step(step: int, state: State, p: int, event: int, outbox: Outbox) -> int:",
        '    """Run a step by its number; its outcome."""',
    ]
    for n in range(len(steps) - 1, -1, -1):
        number = n + FIRST_STEP
        lines += [f"    if step == {number}:  # {step_name(steps[n])}"]
        lines += [f"        return int({names[steps[n]]}(state, p, event, outbox))"]
    return [*lines, "    return -1"]


def _actions(what: str, actions: dict[int, Step | None], names: dict[Step, str]) -> list[str]:
    lines = [
        "@kernel",
        f"def {what}(code: int, state: State, p: int, outbox: Outbox) -> None:",
        f'    """What a state does when a workflow {what}s it."""',
    ]
    used = [(code, action) for code, action in actions.items() if action is not None]
    for code, action in used:
        lines += [f"    if code == {code}:", f"        {names[action]}(state, p, outbox)"]
    return lines if used else [*lines, "    return"]
