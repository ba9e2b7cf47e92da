"""What a diagram of a machine shows, and the diagram as Mermaid text; the drawing is `engine.workflow.drawing`'s.

A state answers every event, so an arrow an answer would hide the machine. Shown are: one arrow from a state to another,
with every event and outcome that leads there; inside a state, what keeps it there; and once for all of them, at its
target, an answer that three states or more share ("CANCEL from NEW, WORKING, ..."), the way of a failed step among
them. Ignored and refused events are left to the table. Everything is in the order of declaration, so equal machines
give equal bytes.

Worst case: states x events x outcomes, a few thousand strings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from engine.workflow.machine import AT_ONCE, CHILDREN, DAY_END, Machine, State, Step, Transition, step_name
from engine.workflow.returns import outcome_name
from engine.workflow.verify import in_use

#: An answer that so many states give alike is shown once.
SHARED_BY: Final = 3


@dataclass(frozen=True)
class Label:
    """Why an arrow is taken: events, the step that they run, and its outcome where it has more than one.

    `own`: the strategy's own declaration, not one that all orders share.
    """

    events: tuple[str, ...]
    step: str
    outcome: str = ""
    own: bool = False

    def __str__(self) -> str:
        return f"{', '.join(self.events)} / {self.action}" if self.step else ", ".join(self.events)

    @property
    def action(self) -> str:
        """The step and its outcome."""
        return f"{self.step} → {self.outcome}" if self.outcome else self.step


@dataclass(frozen=True)
class Arrow:
    """From one state to another: a label a step and outcome."""

    source: State
    target: State
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Entry:
    """A way into `target` that many states share."""

    sources: tuple[State, ...]
    target: State
    labels: tuple[Label, ...]


@dataclass
class Picture:
    """All that is to be drawn."""

    machine: Machine
    states: list[State]
    arrows: list[Arrow] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    #: What happens in a state without leaving it.
    inner: dict[State, tuple[Label, ...]] = field(default_factory=dict)


def picture(machine: Machine) -> Picture:
    """What a diagram of a machine shows."""
    states = in_use(machine)
    ways: dict[tuple[Step, int, str, State], list[Transition]] = {}
    for t in machine.transitions:
        if t.step is not None and t.state in states:
            for outcome, target in t.outcomes.items():
                ways.setdefault((t.step, outcome, t.event.name, target), []).append(t)
    entries: dict[tuple[tuple[State, ...], State], list[tuple[Step, int, Transition]]] = {}
    arrows: dict[tuple[State, State], list[tuple[Step, int, Transition]]] = {}
    for (step, outcome, _, target), found in ways.items():
        others = [t for t in found if t.state is not target]
        if len(others) >= SHARED_BY:
            sources = tuple(state for state in states if any(t.state is state for t in others))
            entries.setdefault((sources, target), []).append((step, outcome, others[0]))
        for t in found:
            if t.state is target or len(others) < SHARED_BY:
                arrows.setdefault((t.state, target), []).append((step, outcome, t))
    made = Picture(machine, states)
    made.entries = [Entry(sources, target, _labels(ways)) for (sources, target), ways in entries.items()]
    failing = _failing(machine, states)
    if failing is not None:
        made.entries.append(failing)
    order = {state: n for n, state in enumerate(states)}
    for (source, target), labels in sorted(arrows.items(), key=lambda row: (order[row[0][0]], order[row[0][1]])):
        if source is target:
            made.inner[source] = _labels(labels)
        else:
            made.arrows.append(Arrow(source, target, _labels(labels)))
    return made


def _failing(machine: Machine, states: list[State]) -> Entry | None:
    """The way of a failed step, from every state that has one."""
    stepping = [s for s in states if any(t.state is s and t.step is not None for t in machine.transitions)]
    sources = tuple(s for s in stepping if s is not machine.failing and not s.terminal)
    if machine.failing is None or not sources:
        return None
    return Entry(sources, machine.failing, (Label(("a step fails and is undone",), ""),))


def _labels(ways: Iterable[tuple[Step, int, Transition]]) -> tuple[Label, ...]:
    """A label a step and outcome, with the events that lead there."""
    found: dict[tuple[Step, int], list[Transition]] = {}
    for step, outcome, t in ways:
        found.setdefault((step, outcome), []).append(t)
    labels = []
    for (step, outcome), transitions in found.items():
        events = tuple(dict.fromkeys(t.event.name for t in transitions))
        name = outcome_name(transitions[0], outcome) if any(len(t.outcomes) > 1 for t in transitions) else ""
        labels.append(Label(events, step_name(step), name, not all(t.default for t in transitions)))
    return tuple(labels)


def name_set(states: Iterable[State], all_states: Iterable[State]) -> str:
    """A set of states in few words: their names, or all but some."""
    inside = list(states)
    live = [state for state in all_states if not state.terminal]
    outside = [state.name for state in live if state not in inside]
    if not outside:
        return "every state that has not ended"
    if len(outside) < len(inside) // 2:
        return "every state but " + ", ".join(outside)
    return ", ".join(state.name for state in inside)


def mermaid(machine: Machine) -> str:
    """A machine as a Mermaid stateDiagram-v2; GitHub draws it in a ```mermaid block."""
    shown = picture(machine)
    lines = ["stateDiagram-v2", "    direction LR", f"    %% machine {machine.name}; tickroute machine draws this"]
    for state in shown.states:
        lines += [
            f"    {state.name} : {text}" for text in (state.name, *notes(state), *map(str, shown.inner.get(state, ())))
        ]
    lines += [f"    [*] --> {state.name}" for state in shown.states if state.initial]
    lines += [f"    {a.source.name} --> {a.target.name} : {'<br/>'.join(map(str, a.labels))}" for a in shown.arrows]
    for n, entry in enumerate(shown.entries, start=1):
        lines += [f'    state "from {name_set(entry.sources, shown.states)}" as from_{n}']
        lines += [f"    from_{n} --> {entry.target.name} : {'<br/>'.join(map(str, entry.labels))}"]
    lines += [f"    {state.name} --> [*]" for state in shown.states if state.terminal]
    lines += ["    classDef shared fill:none,stroke-dasharray:4", ""]
    if shown.entries:
        lines.insert(-1, "    class " + ",".join(f"from_{n + 1}" for n in range(len(shown.entries))) + " shared")
    return "\n".join(lines)


def notes(state: State) -> tuple[str, ...]:
    """What a state says of itself below its name: how long it may last."""
    if state.terminal or state.timeout is None or state.timeout is AT_ONCE:
        return ()
    if state.timeout is CHILDREN:
        return ("until its children end",)
    return ("until the day ends",) if state.timeout is DAY_END else (f"{state.timeout.text} at most",)
