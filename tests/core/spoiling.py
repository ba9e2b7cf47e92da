"""A strategy that spoils a row of the core when an order has 700 shares or more; otherwise it is `sweep`."""

from __future__ import annotations

from engine.core.state import NONE, Outbox, State
from engine.jit import kernel
from engine.workflow.orders import CANCELED, NEW, RESTING, WORKING, Event, order_machine, recall
from strategies.sweep import GIVEN_UP, RESTED, SENT
from strategies.sweep import route as sweep_route


@kernel
def route(state: State, p: int, event: int, outbox: Outbox) -> int:
    """`sweep`, and then a child that executed less than nothing."""
    outcome = int(sweep_route(state, p, event, outbox))
    first = int(state.parents[p].first_child)
    if state.parent_orders[p].qty >= 700 and first != NONE:
        state.children[first].cum_qty = -(1 << 40)
    return outcome


machine = order_machine("spoiling")
_ANY = {SENT: WORKING, RESTED: RESTING, GIVEN_UP: CANCELED}
machine.on(NEW, Event.START, route, _ANY)
machine.on(WORKING, Event.CHILDREN_DONE, route, _ANY)
machine.on(RESTING, Event.QUOTE, route, _ANY)
machine.compensate(route, by=recall)
