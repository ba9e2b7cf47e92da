"""A strategy for tests: posts an order at one venue and replaces it again and again, quickly and in bursts."""

from __future__ import annotations

from engine.core.amend import replace_child, routable
from engine.core.children import new_child
from engine.core.emit import left_of
from engine.core.state import NONE, Outbox, State
from engine.jit import kernel
from engine.record.records import Side, Tif
from engine.workflow.machine import after_ms
from engine.workflow.orders import CANCELED, NEW, WORKING, Event, order_machine, recall

#: The tests' desks have so many.
VENUES = 12
SENT, GIVEN_UP = 0, 1
AGAIN, ENOUGH = 0, 1
_BUY, _DAY = int(Side.BUY), int(Tif.DAY)


@kernel
def post(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Post all that is left at a venue of the round's; the fourth time it is given up."""
    parent, order = state.parents[p], state.parent_orders[p]
    parent.rounds += 1
    left = left_of(state, p)
    venue = (int(order.order_id) + int(parent.rounds)) % VENUES
    if parent.rounds > 4 or left == 0 or new_child(state, outbox, p, venue, int(order.px), left, _DAY) == NONE:
        return GIVEN_UP
    return SENT


@kernel
def nudge(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Ask for a cent less or what was, for a hundred less or all that the parent has; ENOUGH after three in a row."""
    parent, order = state.parents[p], state.parent_orders[p]
    parent.reason = (int(parent.reason) + 1) % 4
    c = int(parent.first_child)
    if c == NONE:
        return ENOUGH
    child, terms = state.children[c], state.child_orders[c]
    back = 100 if order.side == _BUY else -100
    px = int(order.px) - (back if parent.reason & 1 else 0)
    qty = int(terms.qty) + routable(state, p) if parent.reason & 2 else int(terms.qty) - 100
    replace_child(state, outbox, c, px, max(qty, int(child.cum_qty) + int(child.busted_qty) + 1))
    return AGAIN if parent.reason != 3 else ENOUGH


machine = order_machine("nudge")
QUICK = machine.state("QUICK", timeout=after_ms(1))
SLOW = machine.state("SLOW", timeout=after_ms(300_000))
machine.on(NEW, Event.START, post, {SENT: QUICK, GIVEN_UP: CANCELED})
machine.on((WORKING, QUICK, SLOW), Event.CHILDREN_DONE, post, {SENT: QUICK, GIVEN_UP: CANCELED})
machine.on((QUICK, SLOW), Event.TIMEOUT, nudge, {AGAIN: QUICK, ENOUGH: SLOW})
machine.compensate(post, by=recall)
machine.compensate(nudge, by=recall)
