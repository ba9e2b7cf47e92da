"""The machine that all parent orders share: their requests, their ends, and what happens when a step fails.

A strategy makes its own with `order_machine`, and adds what it decides:

    machine = order_machine("sweep")
    machine.on(NEW, Event.START, route, {ROUTED: WORKING, RESTED: RESTING, GIVEN_UP: CANCELED})
    machine.on(WORKING, Event.CHILDREN_DONE, route, {...})
    machine.on(RESTING, Event.QUOTE, route, {...})
    machine.compensate(route, by=recall)

NEW decides at once, WORKING waits for children, RESTING for a marketable quote, PAUSED for a resume; the PENDING
states hold a request until no child is live; FAILING has failed, been undone and compensated, and waits for what lives.
RESTING and PAUSED last until the day ends (DAY_END); for a GTC order no day does, and the wait is its client's to end.
What is declared here can be declared otherwise by a strategy: its own declaration of a state and event takes the place
of this one. States of its own get the requests too, unless it declares them.

Worst case: a strategy that gives no transition for what it can come across does not verify, and does not start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from engine.core import parents as steps
from engine.core import state as codes
from engine.core.parents import Did, recall
from engine.core.state import Event
from engine.record.records import Reason
from engine.workflow.machine import AT_ONCE, CHILDREN, DAY_END, Machine, MachineError, State, Step, Timeout, here

__all__ = (
    "CANCELED", "EXPIRED", "FAILED", "FAILING", "FILLED", "NEW", "PAUSED", "PENDING_CANCEL", "PENDING_EXPIRE",
    "PENDING_PAUSE", "PENDING_REPLACE", "RESTING", "WORKING", "Event", "OrderMachine", "order_machine", "recall",
)  # fmt: skip

#: Functions whose call puts something into the world that has to be taken back: an order at a venue.
EFFECTS: Final = frozenset({"engine.core.children.new_child", "engine.core.amend.replace_child"})


def _state(name: str, timeout: Timeout | None = None, enter: Step | None = None, leave: Step | None = None) -> State:
    code = int(getattr(codes, name))
    terminal = codes.FREE < code <= codes.FAILED
    return State(name, code, name == "NEW", terminal, timeout, enter, leave, here())


FILLED = _state("FILLED", enter=steps.end_filled)
CANCELED = _state("CANCELED", enter=steps.end_canceled)
EXPIRED = _state("EXPIRED", enter=steps.end_expired)
FAILED = _state("FAILED", enter=steps.end_failed)
NEW = _state("NEW", AT_ONCE, enter=steps.begin_episode)
WORKING = _state("WORKING", CHILDREN)
RESTING = _state("RESTING", DAY_END, enter=steps.watch, leave=steps.unwatch)
PAUSED = _state("PAUSED", DAY_END)
PENDING_REPLACE = _state("PENDING_REPLACE", CHILDREN)
PENDING_PAUSE = _state("PENDING_PAUSE", CHILDREN)
PENDING_CANCEL = _state("PENDING_CANCEL", CHILDREN)
PENDING_EXPIRE = _state("PENDING_EXPIRE", CHILDREN)
FAILING = _state("FAILING", CHILDREN)

SHARED: Final = (
    FILLED, CANCELED, EXPIRED, FAILED, NEW, WORKING, RESTING, PAUSED, PENDING_REPLACE, PENDING_PAUSE, PENDING_CANCEL,
    PENDING_EXPIRE, FAILING,
)  # fmt: skip
assert [state.code for state in SHARED] == list(range(codes.FILLED, codes.OWN_STATES))
_ENDS = (FILLED, CANCELED, EXPIRED, FAILED)
_ROUTES = (NEW, WORKING, RESTING)
_PENDING = (PENDING_REPLACE, PENDING_PAUSE, PENDING_CANCEL, PENDING_EXPIRE)
#: Request -> (its step, the state that holds it), the weakest first.
_REQUESTS = {
    Event.REPLACE: (steps.hold_replace, PENDING_REPLACE),
    Event.PAUSE: (steps.hold_pause, PENDING_PAUSE),
    Event.CANCEL: (steps.hold_cancel, PENDING_CANCEL),
    Event.EXPIRE: (steps.hold_expire, PENDING_EXPIRE),
}


@dataclass
class OrderMachine(Machine):
    """A Machine that begins with the shared states and their transitions."""

    def state(
        self,
        name: str,
        *,
        initial: bool = False,
        terminal: bool = False,
        timeout: Timeout | None = None,
        enter: Step | None = None,
        leave: Step | None = None,
        watch: bool = False,
    ) -> State:
        """A state of the strategy's own; `watch`: a marketable quote brings QUOTE there, as in RESTING, while no child
        is live. Actions of its own take the place of those that watch: they call `steps.watch` and `unwatch` then.

        How an order begins and ends is shared: such a state is neither initial nor terminal.
        """
        if initial or terminal:
            raise MachineError(f"machine {self.name}: state {name}: orders begin in NEW and end in {list(_ENDS)}")
        if watch:
            enter, leave = enter or steps.watch, leave or steps.unwatch
        made = super().state(name, timeout=timeout, enter=enter, leave=leave)
        with self.as_default():
            _take_requests(self, made)
            self.ignore(made, Event.START, why="it began in NEW")
            self.on(made, Event.FULL, recall, {Did.DONE: made})
            self.on(made, Event.COMPLETE, steps.complete, {Did.FILLED: FILLED, Did.SHORT: CANCELED})
            self.refuse(made, Event.RESUME, reason=Reason.NOT_IN_ORDER)
            if timeout is None or timeout.ns == 0:
                self.ignore(made, Event.TIMEOUT, why="it has no time-out of its own")
            if not watch:
                self.ignore(made, Event.QUOTE, why="it does not watch quotes")
        return made


def order_machine(name: str) -> OrderMachine:
    """A new machine for parent orders, to which a strategy adds its transitions."""
    machine = OrderMachine(name, Event, states=list(SHARED), effects=EFFECTS, failing=FAILING)
    with machine.as_default():
        _declare(machine)
    return machine


def _declare(m: OrderMachine) -> None:
    """The transitions that need no strategy."""
    done = {Did.DONE: PAUSED}
    for state in _ROUTES:
        _take_requests(m, state)
    m.refuse(_ROUTES, Event.RESUME, reason=Reason.NOT_IN_ORDER)
    m.ignore((NEW, RESTING), Event.CHILDREN_DONE, why="no child is live in it")
    m.ignore((WORKING, RESTING), Event.START, why="it began in NEW")
    m.ignore((NEW, WORKING), Event.QUOTE, why="it decides on the books when it decides, not at each quote")
    m.ignore((NEW, WORKING, RESTING, PAUSED), Event.TIMEOUT, why="it has no time-out of its own")
    m.ignore((NEW, RESTING, PAUSED), Event.FULL, why="no child is live in it")
    m.on(WORKING, Event.FULL, recall, {Did.DONE: WORKING})
    filled = {Did.FILLED: FILLED, Did.SHORT: CANCELED}
    m.on((*_ROUTES, PAUSED), Event.COMPLETE, steps.complete, filled)

    m.on(PAUSED, Event.RESUME, steps.resume, {Did.DONE: NEW})
    m.on(PAUSED, Event.REPLACE, steps.replace_paused, {Did.DONE: PAUSED, **filled})
    for event in (Event.PAUSE, Event.CANCEL, Event.EXPIRE):
        m.on(PAUSED, event, _REQUESTS[event][0], {Did.DONE: _REQUESTS[event][1]})
    m.ignore(PAUSED, (Event.START, Event.CHILDREN_DONE, Event.QUOTE), why="nothing is routed before a resume")

    _declare_pending(m)
    m.on(PENDING_REPLACE, Event.CHILDREN_DONE, steps.apply_replace, {Did.DONE: NEW, **filled})
    m.on(PENDING_REPLACE, Event.COMPLETE, steps.apply_replace, {Did.DONE: NEW, **filled})
    m.on(PENDING_PAUSE, Event.CHILDREN_DONE, steps.suspend, done)
    m.on(PENDING_PAUSE, Event.RESUME, steps.resume_early, {Did.DONE: WORKING})
    m.on(PENDING_CANCEL, Event.CHILDREN_DONE, steps.nothing_more, {Did.DONE: CANCELED})
    m.on(PENDING_EXPIRE, Event.CHILDREN_DONE, steps.nothing_more, {Did.DONE: EXPIRED})
    m.on((PENDING_PAUSE, PENDING_CANCEL, PENDING_EXPIRE), Event.COMPLETE, steps.complete, filled)

    m.on(FAILING, Event.CHILDREN_DONE, steps.nothing_more, {Did.DONE: FAILED})
    m.on(FAILING, Event.COMPLETE, steps.complete, {Did.FILLED: FILLED, Did.SHORT: FAILED})
    m.on(FAILING, Event.FULL, recall, {Did.DONE: FAILING})
    m.refuse(FAILING, (Event.CANCEL, Event.PAUSE, Event.REPLACE, Event.RESUME), reason=Reason.STEP_FAILED)
    m.ignore(
        FAILING, (Event.EXPIRE, Event.START, Event.QUOTE, Event.TIMEOUT), why="it only waits for its children to end"
    )


def _declare_pending(m: OrderMachine) -> None:
    """Of two requests the weaker is refused; where they are equal, the later."""
    for n, held in enumerate(_PENDING):
        for k, (event, (step, target)) in enumerate(_REQUESTS.items()):
            if k > n:
                m.on(held, event, step, {Did.DONE: target})
            elif event == Event.EXPIRE:
                m.ignore(held, event, why="it expires already")
            else:
                m.refuse(held, event, reason=Reason.REQUEST_PENDING)
        m.on(held, Event.FULL, recall, {Did.DONE: held})
    m.refuse((PENDING_REPLACE, PENDING_CANCEL, PENDING_EXPIRE), Event.RESUME, reason=Reason.NOT_IN_ORDER)
    m.ignore(_PENDING, (Event.START, Event.QUOTE, Event.TIMEOUT), why="nothing is routed while a request waits")


def _take_requests(m: OrderMachine, state: State) -> None:
    for event, (step, target) in _REQUESTS.items():
        m.on(state, event, step, {Did.DONE: target})


def own_states(machine: Machine) -> Iterable[State]:
    """The states that a strategy added."""
    return (state for state in machine.states if state not in SHARED)
