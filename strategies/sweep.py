"""sweep: take the best net price first, across all fresh venues at once, until the order is filled or nothing is left.

Each round sends immediate-or-cancel children to the cheapest venues after fees, as much as each displays and no more
than is left. What comes back unfilled is routed again, on the books as they are then, at most `max_rounds` times. After
that an immediate order is cancelled back; a day order rests: in the engine, where the next marketable quote wakes it
with a new set of rounds, or posted at a venue, as the configuration says. Fill-or-kill asks first whether the displayed
size would do, in whole lots; as children run at several venues, it cannot promise more.
"""

from __future__ import annotations

from engine.core.books import renew_best
from engine.core.children import new_child
from engine.core.emit import left_of, new_record
from engine.core.limits import MAX_CHILDREN_A_TURN
from engine.core.state import C_DECISIONS, NONE, Outbox, State
from engine.jit import kernel
from engine.record.records import RECORD_MAX, Outcome, Reason, Side, Template, Tif
from engine.record.units import tick_down, tick_up
from engine.workflow.orders import CANCELED, NEW, RESTING, WORKING, Event, order_machine, recall
from strategies.common import NET, PX, QTY, VENUE, WIDTH, collect

#: What `route` returns: it sent children, it rests what is left, or it gives it back.
SENT, RESTED, GIVEN_UP = 0, 1, 2
_START = int(Event.START)
_BUY = int(Side.BUY)
_IOC, _FOK, _DAY = int(Tif.IOC), int(Tif.FOK), int(Tif.DAY)
_DECISION = int(Template.DECISION)
_ROUTED, _NOTHING, _NO_FRESH = int(Outcome.ROUTED), int(Outcome.NOTHING_MARKETABLE), int(Outcome.NO_FRESH_VENUE)
_EXHAUSTED, _NO_FOK = int(Outcome.ROUNDS_EXHAUSTED), int(Outcome.NOT_ENOUGH_FOR_FOK)
_NO_CAPACITY = int(Outcome.NO_CAPACITY)
_R_NOT_MARKETABLE, _R_NO_FRESH = int(Reason.NOT_MARKETABLE), int(Reason.NO_FRESH_VENUE)
_R_EXHAUSTED, _R_FOK = int(Reason.ROUNDS_EXHAUSTED), int(Reason.FOK_NOT_FILLABLE)
_R_FULL = int(Reason.TABLE_FULL)


@kernel
def route(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Decide for parent p, woken by `event`; SENT, RESTED or GIVEN_UP."""
    parent, order = state.parents[p], state.parent_orders[p]
    parent.rounds += 1
    bid, ask = renew_best(state, int(order.instrument_id))
    candidates, fresh_venues, stale_venues = collect(state, p)
    left = left_of(state, p)
    allotted, used = _allot(state, p, candidates, left)
    k = new_record(state, outbox, _DECISION, RECORD_MAX)
    note = outbox.decision[k]
    note.parent_id = order.order_id
    note.leaves_qty = left
    note.bid_px = bid
    note.ask_px = ask
    note.instrument_id = order.instrument_id
    note.round_no = parent.rounds
    note.fresh_venues = fresh_venues
    note.stale_venues = stale_venues
    note.event = event
    state.counts[C_DECISIONS] += 1
    outcome, reason = _NOTHING, _R_NOT_MARKETABLE
    if parent.rounds > state.params[0].max_rounds:
        outcome, reason = _EXHAUSTED, _R_EXHAUSTED
    elif fresh_venues == 0:
        outcome, reason = _NO_FRESH, _R_NO_FRESH
    elif allotted > 0:
        if order.tif == _FOK and (event != _START or allotted < left):
            outcome, reason = _NO_FOK, _R_FOK
        elif order.tif == _FOK and len(state.children) - state.core[0].live_children < used:
            outcome, reason = _NO_CAPACITY, _R_FULL
        elif _send(state, p, candidates, k, outbox) > 0:
            outcome = _ROUTED
        else:
            outcome, reason = _NO_CAPACITY, _R_FULL
    note.outcome = outcome
    if outcome == _ROUTED:
        return SENT
    parent.reason = reason
    if order.tif == _IOC or order.tif == _FOK:
        return GIVEN_UP
    return _post(state, p, left, outbox)


@kernel
def _allot(state: State, p: int, candidates: int, left: int) -> tuple[int, int]:
    """Cut the candidates' quantities to what each is to get, best first, in its lots; (their sum, venues used)."""
    rows = state.scratch
    first = int(state.parent_orders[p].instrument_id) * int(state.params[0].venue_stride)
    allotted, used = 0, 0
    for row in range(candidates):
        lot = int(state.lots[first + int(rows[row * WIDTH + VENUE])])
        qty = min(int(rows[row * WIDTH + QTY]), left - allotted) // lot * lot
        if used == MAX_CHILDREN_A_TURN:
            qty = 0
        rows[row * WIDTH + QTY] = qty
        allotted += qty
        if qty > 0:
            used += 1
    return allotted, used


@kernel
def _send(state: State, p: int, candidates: int, k: int, outbox: Outbox) -> int:
    """Send a child for each allotted quantity; returns the quantity sent, and notes it in decision k."""
    rows = state.scratch
    note = outbox.decision[k]
    sent, used, mask = 0, 0, 0
    for row in range(candidates):
        qty, venue = int(rows[row * WIDTH + QTY]), int(rows[row * WIDTH + VENUE])
        if qty == 0:
            continue
        if new_child(state, outbox, p, venue, int(rows[row * WIDTH + PX]), qty, _IOC) == NONE:
            break
        net = rows[row * WIDTH + NET]
        if used == 0:
            note.best_net = net
        note.worst_net = net
        sent += qty
        used += 1
        mask |= 1 << venue
    note.routed_qty = sent
    note.venues_used = used
    note.venue_mask = mask
    return sent


@kernel
def _post(state: State, p: int, left: int, outbox: Outbox) -> int:
    """Rest what is left: at the posting venue where the configuration says so and it can be, else in the engine."""
    parent, order, params = state.parents[p], state.parent_orders[p], state.params[0]
    venue = int(params.post_venue)
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
