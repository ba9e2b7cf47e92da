"""sweep: take the best net price first, across all fresh venues at once, until the order is filled or nothing is left.

Each round sends immediate-or-cancel children to the cheapest venues after fees, as much as each displays and no more
than is left. What comes back unfilled is routed again, on the books as they are then, at most `max_rounds` times. After
that an immediate order is cancelled back; a day order rests: in the engine, where the next marketable quote wakes it
with a new set of rounds, or posted at a venue, as the configuration says. Fill-or-kill asks first whether the displayed
size would do, in whole lots; as children run at several venues, it cannot promise more.
"""

from __future__ import annotations

from engine.core.children import new_child
from engine.core.emit import left_of, min_left
from engine.core.state import NONE, Outbox, State
from engine.jit import kernel
from engine.record.records import Outcome, Side, Tif
from engine.record.units import tick_down, tick_up
from engine.workflow.orders import CANCELED, NEW, RESTING, WORKING, Event, order_machine, recall
from strategies.common import take_best

#: What `route` returns: it sent children, it rests what is left, or it gives it back.
SENT, RESTED, GIVEN_UP = 0, 1, 2
_BUY = int(Side.BUY)
_IOC, _FOK, _DAY = int(Tif.IOC), int(Tif.FOK), int(Tif.DAY)
_ROUTED = int(Outcome.ROUTED)


@kernel
def route(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Decide for parent p, woken by `event`; SENT, RESTED or GIVEN_UP."""
    left = left_of(state, p)
    if take_best(state, p, event, left, int(state.params[0].max_rounds), outbox) == _ROUTED:
        return SENT
    tif = state.parent_orders[p].tif
    if tif == _IOC or tif == _FOK:
        return GIVEN_UP
    return _post(state, p, left, outbox)


@kernel
def _post(state: State, p: int, left: int, outbox: Outbox) -> int:
    """Rest what is left: at the posting venue where the configuration says so and it can be, else in the engine."""
    parent, order, params = state.parents[p], state.parent_orders[p], state.params[0]
    venue = int(params.post_venue)
    if min_left(state, p) > 0:
        return RESTED  # in parts at a venue it could execute less than its MinQty
    if params.rest_at == 0 or order.px == 0 or venue < 0 or (int(parent.excluded) >> venue) & 1:
        return RESTED
    if state.sessions[int(state.venues[venue].session)].up == 0:
        return RESTED
    if parent.rounds > params.max_rounds + 1:
        return RESTED  # the venue gives back what is posted there, again and again
    instrument = int(order.instrument_id)
    lot = int(state.lots[instrument * int(params.venue_stride) + venue])
    qty = left // lot * lot
    table = int(state.venues[venue].tick_table)
    if table < 0:
        table = int(state.instruments[instrument].tick_table)
    limit_px = int(order.px)
    px = tick_down(state.ticks, table, limit_px) if order.side == _BUY else tick_up(state.ticks, table, limit_px)
    if qty <= 0 or new_child(state, outbox, p, venue, px, qty, _DAY) == NONE:
        return RESTED
    return SENT


machine = order_machine("sweep")
_ANY = {SENT: WORKING, RESTED: RESTING, GIVEN_UP: CANCELED}
machine.on(NEW, Event.START, route, _ANY)
machine.on(WORKING, Event.CHILDREN_DONE, route, _ANY)
machine.on(RESTING, Event.QUOTE, route, _ANY)
machine.compensate(route, by=recall)
