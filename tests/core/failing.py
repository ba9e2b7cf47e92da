"""A strategy that goes wrong as the last two digits of an order's quantity say; otherwise it is `sweep`."""

from __future__ import annotations

from engine.core.children import new_child
from engine.core.state import NONE, Outbox, State
from engine.jit import kernel
from engine.workflow.orders import CANCELED, NEW, RESTING, WORKING, Event, order_machine, recall
from strategies.sweep import GIVEN_UP, RESTED, SENT
from strategies.sweep import route as sweep_route

#: What goes wrong, after the step has done what `sweep` does.
UNDECLARED, RAISES, NO_CHILD, LIVE_END, TOO_MUCH, ON_RETURN = 91, 92, 93, 94, 95, 96
LOST = 5
_DAY = 48
_START = int(Event.START)


@kernel
def route(state: State, p: int, event: int, outbox: Outbox) -> int:
    """`sweep`, and then something that must not be."""
    mode = state.parent_orders[p].qty % 100
    if mode == NO_CHILD:
        return SENT
    outcome = int(sweep_route(state, p, event, outbox))
    if mode == UNDECLARED:
        return LOST
    if mode == LIVE_END:
        return GIVEN_UP
    if mode == TOO_MUCH:
        for _ in range(1000):
            new_child(state, outbox, p, 0, 1, 1, _DAY)
            state.parents[p].live_children = 0  # so that there seems to be room: the undo log or the outbox is not
    assert mode != RAISES, "as planned"
    assert mode != ON_RETURN or event == _START, "as planned, once children have come back"
    assert NONE == -1
    return outcome


machine = order_machine("failing")
_ANY = {SENT: WORKING, RESTED: RESTING, GIVEN_UP: CANCELED}
machine.on(NEW, Event.START, route, _ANY)
machine.on(WORKING, Event.CHILDREN_DONE, route, _ANY)
machine.on(RESTING, Event.QUOTE, route, _ANY)
machine.compensate(route, by=recall)
