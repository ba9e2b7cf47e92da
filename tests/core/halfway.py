"""A strategy that posts its order at the first venue and fails when it looks at it again, half a second later."""

from __future__ import annotations

from engine.core.children import new_child
from engine.core.state import Outbox, State
from engine.jit import kernel
from engine.workflow.machine import after_ms
from engine.workflow.orders import CANCELED, NEW, RESTING, WORKING, Event, order_machine, recall

POSTED, OVER, LOOKED = 0, 1, 2
_DAY = 48


@kernel
def post(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Everything at the first venue, at the limit."""
    order = state.parent_orders[p]
    new_child(state, outbox, p, 0, int(order.px), int(order.qty), _DAY)
    return POSTED


@kernel
def look(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Raise."""
    assert p < 0, "as planned"
    return LOOKED


@kernel
def give_up(state: State, p: int, event: int, outbox: Outbox) -> int:
    """What comes back is given back."""
    return OVER


machine = order_machine("halfway")
POSTED_AT = machine.state("POSTED", timeout=after_ms(500))
machine.on(NEW, Event.START, post, {POSTED: POSTED_AT})
machine.on(POSTED_AT, Event.TIMEOUT, look, {LOOKED: POSTED_AT})
machine.on(POSTED_AT, Event.CHILDREN_DONE, give_up, {OVER: CANCELED})
machine.on(WORKING, Event.CHILDREN_DONE, give_up, {OVER: CANCELED})
machine.on(RESTING, Event.QUOTE, give_up, {OVER: CANCELED})
machine.compensate(post, by=recall)
