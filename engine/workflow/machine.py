"""A workflow as code: states, events, transitions, time-outs and compensations, declared in plain Python.

    machine = Machine("door", Event)
    CLOSED = machine.state("CLOSED", initial=True, timeout=after_ms(500))
    OPEN = machine.state("OPEN", terminal=True)
    machine.on(CLOSED, Event.PUSH, push, {OPENED: OPEN, STUCK: CLOSED})
    machine.ignore(CLOSED, Event.PULL, why="it opens the other way")

A transition is a step (a kernel that returns an outcome, a small integer) and the state that each outcome leads to:
(state, event, outcome) -> state. An outcome that is not declared is a failed step. `engine.workflow.verify` proves what
can be proved without running anything, `engine.workflow.table` makes dense tables of it, and `engine.workflow.orders`
has the machine that all parents share, to which a strategy adds its own transitions.

Worst case: a declaration that contradicts itself (the same state and event twice) is kept as it stands, with the source
lines of both, so that the verifier can show them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, TypeAlias

from engine.core.limits import MAX_PARAMETERS
from engine.errors import TickrouteError
from engine.record.records import Reason

#: A kernel step(state, p, event, outbox) -> outcome, or an entry or leave action kernel(state, p, outbox) -> None.
Step: TypeAlias = Callable[..., Any]
#: Outcomes are 0 .. MAX_OUTCOMES - 1.
MAX_OUTCOMES: Final = 8
#: Where a step leads that leaves the state as it is, see Machine.leads.
STAY: Final = "stay"
#: Requests: events that somebody asks for, and can be refused. The others just happen.
REQUESTS: Final = frozenset({"CANCEL", "PAUSE", "REPLACE", "RESUME"})
#: A state's code is held in one signed byte.
MAX_STATES: Final = 128


class MachineError(TickrouteError):
    """A machine that cannot be declared, or that does not verify; the message has a line a finding."""


@dataclass(frozen=True)
class Timeout:
    """How long a state may last: `ns` after it was entered, or until something outside it that is bounded itself.

    `event` is the name of the event that comes then, which the state must take.
    """

    text: str
    event: str
    ns: int = 0


def after_ms(ms: int) -> Timeout:
    """A time-out so many milliseconds (engine clock) after the state was entered; the event is TIMEOUT."""
    if not 0 < ms <= 10**9:
        raise MachineError(f"after_ms({ms}): 1 to 1000000000 milliseconds")
    return Timeout(f"{ms} ms", "TIMEOUT", ms * 1_000_000)


#: Each live child has a time-out of its own; when the last one has ended, CHILDREN_DONE comes.
CHILDREN: Final = Timeout("children", "CHILDREN_DONE")
#: The end of the trading day; the event is EXPIRE. Day orders alone hear it: how long a GTC order waits is its client's
#: affair, who can cancel it.
DAY_END: Final = Timeout("day end", "EXPIRE")
#: Never waited in: an event follows in the same turn.
AT_ONCE: Final = Timeout("at once", "START")


@dataclass(frozen=True)
class Place:
    """Where in the source something is declared."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, eq=False)
class State:
    """A state of a machine. `code` is the byte in the record; `enter` and `leave` are kernels(state, p, outbox)."""

    name: str
    code: int
    initial: bool
    terminal: bool
    timeout: Timeout | None
    enter: Step | None
    leave: Step | None
    place: Place

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Transition:
    """What a machine does with an event in a state.

    A step with its outcomes, or `refuse` (answered with the reason), or neither: ignored, and `why` says so.
    """

    state: State
    event: IntEnum
    step: Step | None
    outcomes: Mapping[int, State]
    names: Mapping[int, str]
    refuse: Reason | None
    why: str
    place: Place
    #: Another declaration of the same state and event takes its place.
    default: bool = False


@dataclass
class Machine:
    """A declared machine. All is kept in the order of declaration; nothing is checked but what could not be kept.

    `events` is an IntEnum whose members are 0 .. n - 1. `first_code`: code of the first state (0 is for "no workflow").
    """

    name: str
    events: type[IntEnum]
    first_code: int = 1
    states: list[State] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    compensations: list[tuple[Step, Step, Place]] = field(default_factory=list)
    #: name -> (index, default) of the integers that a configuration may set, see `parameter`.
    parameters: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Names of functions whose call is an effect outside the engine, by module and name.
    effects: frozenset[str] = frozenset()
    #: Where a workflow goes whose step failed.
    failing: State | None = None
    #: One more than the largest outcome.
    outcomes: int = MAX_OUTCOMES
    #: Names of the events that can be refused.
    refusable: frozenset[str] = REQUESTS
    #: Whether a state that has ended has to answer every event too.
    ends_answer: bool = False
    _default: bool = False

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """What is declared meanwhile gives way to other declarations of the same state and event."""
        before, self._default = self._default, True
        try:
            yield
        finally:
            self._default = before

    def state(
        self,
        name: str,
        *,
        initial: bool = False,
        terminal: bool = False,
        timeout: Timeout | None = None,
        enter: Step | None = None,
        leave: Step | None = None,
    ) -> State:
        """Declare a state. MachineError where the name is taken, or there are too many."""
        if any(other.name == name for other in self.states):
            raise MachineError(f"machine {self.name}: state {name} is declared twice; give each its own name")
        code = self.first_code + len(self.states)
        if code >= MAX_STATES:
            raise MachineError(f"machine {self.name}: state {name} is one too many; {MAX_STATES} codes are the most")
        made = State(name, code, initial, terminal, timeout, enter, leave, here())
        self.states.append(made)
        return made

    def on(
        self, states: State | Iterable[State], events: IntEnum | Iterable[IntEnum], step: Step, to: Mapping[Any, State]
    ) -> None:
        """In each of `states`, each of `events` runs `step`; each outcome that it may return leads to a state."""
        place = here()
        names = {int(outcome): getattr(outcome, "name", str(outcome)) for outcome in to}
        outcomes = {int(outcome): target for outcome, target in to.items()}
        for state, event in self._each(states, events):
            self._add(Transition(state, event, step, outcomes, names, None, "", place, self._default))

    def leads(
        self, states: State | Iterable[State], events: IntEnum | Iterable[IntEnum], step: Step, *to: State | str
    ) -> None:
        """As `on`, of a step that finds by itself which of `to` it leads to: its outcome is that state's place.

        STAY is the state that it is in.
        """
        place = here()
        for state, event in self._each(states, events):
            found = {s.code - self.first_code: s for s in (o if isinstance(o, State) else state for o in to)}
            names = {outcome: target.name for outcome, target in found.items()}
            self._add(Transition(state, event, step, found, names, None, "", place, self._default))

    def ignore(self, states: State | Iterable[State], events: IntEnum | Iterable[IntEnum], *, why: str) -> None:
        """Nothing happens, and `why` says why that is right."""
        place = here()
        for state, event in self._each(states, events):
            self._add(Transition(state, event, None, {}, {}, None, why, place, self._default))

    def refuse(self, states: State | Iterable[State], events: IntEnum | Iterable[IntEnum], *, reason: Reason) -> None:
        """Whoever asked is answered that it cannot be, with a reason; nothing else happens."""
        place = here()
        for state, event in self._each(states, events):
            self._add(Transition(state, event, None, {}, {}, reason, "", place, self._default))

    def compensate(self, step: Step, by: Step) -> None:
        """When a later step fails, what `step` did outside is taken back by `by`, a step too."""
        self.compensations.append((step, by, here()))

    def parameter(self, name: str, default: int) -> int:
        """Declare an integer that `[routing.parameters]` may set; its index for engine.core.parents.parameter."""
        if name in self.parameters:
            raise MachineError(f"machine {self.name}: parameter {name} is declared twice")
        if len(self.parameters) == MAX_PARAMETERS:
            raise MachineError(f"machine {self.name}: parameter {name} is one too many; {MAX_PARAMETERS} are the most")
        self.parameters[name] = (len(self.parameters), default)
        return self.parameters[name][0]

    def _each(
        self, states: State | Iterable[State], events: IntEnum | Iterable[IntEnum]
    ) -> Iterable[tuple[State, IntEnum]]:
        for state in [states] if isinstance(states, State) else list(states):
            for event in [events] if isinstance(events, IntEnum) else list(events):
                if not isinstance(event, self.events):
                    raise MachineError(f"machine {self.name}: {event!r} is no {self.events.__name__}")
                if state not in self.states:
                    raise MachineError(f"machine {self.name}: state {state.name} is another machine's")
                yield state, event

    def _add(self, new: Transition) -> None:
        """Keep a transition, in place of a default that it overrides."""
        same = [old for old in self.transitions if old.state is new.state and old.event == new.event]
        if new.default and same:
            return
        for old in same:
            if old.default:
                self.transitions.remove(old)
        self.transitions.append(new)

    @property
    def codes(self) -> int:
        """One more than the largest state code."""
        return self.first_code + len(self.states)

    def steps(self) -> list[Step]:
        """Every step once, transitions' first, in order of declaration."""
        found: list[Step] = [t.step for t in self.transitions if t.step is not None]
        found += [by for _, by, _ in self.compensations]
        return list(dict.fromkeys(found))

    def state_of(self, code: int) -> State | None:
        """The state with a code; None where there is none."""
        place = code - self.first_code
        return self.states[place] if 0 <= place < len(self.states) else None


def step_name(step: Step) -> str:
    """The name of a step's function."""
    return str(getattr(step, "__name__", repr(step)))


#: File as it was compiled -> the file that its author knows; see engine.run.outside.
ORIGINALS: Final[dict[str, str]] = {}


def place_in(file: str, line: int) -> Place:
    """A place in a source file, under the name that its author knows."""
    return Place(ORIGINALS.get(file, file), line)


def here() -> Place:
    """Where what is declared now is declared: the nearest caller that is no method of a machine."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_filename == __file__ or isinstance(frame.f_locals.get("self"), Machine)
    ):
        frame = frame.f_back
    return place_in(frame.f_code.co_filename, frame.f_lineno)
