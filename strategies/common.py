"""What routing workflows share: which venues can be taken from now, at what net price, in which order; and taking.

`take_best` is one decision: it looks, sends, and writes down what it saw.
`collect` fills `state.scratch` with one row a candidate venue (venue, net price, quantity, price), best first. Ties in
net price break by larger size, then by the venue's MIC: never by where the configuration happens to list it. Worst
case: an insertion sort over all venues, n_venues squared over four comparisons; 12 venues take about 100 ns.
"""

from __future__ import annotations

from engine.core.books import available, fresh, marketable, opposite_px, renew_best
from engine.core.children import new_child
from engine.core.emit import left_of, min_left, new_record
from engine.core.limits import MAX_CHILDREN_A_TURN
from engine.core.state import C_DECISIONS, NONE, Outbox, State
from engine.jit import kernel
from engine.record.records import RECORD_MAX, Outcome, Reason, Side, Template, Tif
from engine.record.units import PPM

_BUY = int(Side.BUY)
_IOC, _FOK = int(Tif.IOC), int(Tif.FOK)
_DECISION = int(Template.DECISION)
_ROUTED, _NOTHING, _NO_FRESH = int(Outcome.ROUTED), int(Outcome.NOTHING_MARKETABLE), int(Outcome.NO_FRESH_VENUE)
_EXHAUSTED, _NO_FOK = int(Outcome.ROUNDS_EXHAUSTED), int(Outcome.NOT_ENOUGH_FOR_FOK)
_NO_MIN = int(Outcome.NOT_ENOUGH_FOR_MIN_QTY)
_NO_CAPACITY = int(Outcome.NO_CAPACITY)
_R_NOT_MARKETABLE, _R_NO_FRESH = int(Reason.NOT_MARKETABLE), int(Reason.NO_FRESH_VENUE)
_R_EXHAUSTED, _R_FOK = int(Reason.ROUNDS_EXHAUSTED), int(Reason.FOK_NOT_FILLABLE)
_R_FULL, _R_MIN = int(Reason.TABLE_FULL), int(Reason.MIN_QTY_NOT_FILLABLE)
#: Columns of a scratch row.
VENUE, NET, QTY, PX = 0, 1, 2, 3
WIDTH = 4


@kernel
def take_best(state: State, p: int, event: int, qty: int, rounds: int, outbox: Outbox) -> int:
    """Take up to `qty` for parent p now: immediate children to the best venues, and a DECISION that says why.

    `qty` is in quantity units, and no more than is left. An episode of routing has `rounds` of these at most; a
    fill-or-kill order has one, and only where all of `qty` is displayed. An order whose MinQty is not reached takes
    nothing where less than what it lacks is displayed; where one venue has all of it, the child has that as its MinQty.
    Returns the decision's Outcome; where that is not ROUTED nothing was sent, and the parent's row holds the Reason.
    """
    parent, order = state.parents[p], state.parent_orders[p]
    parent.rounds += 1
    bid, ask = renew_best(state, int(order.instrument_id))
    candidates, fresh_venues, stale_venues = collect(state, p)
    allotted, used = allot(state, p, candidates, qty)
    k = new_record(state, outbox, _DECISION, RECORD_MAX)
    note = outbox.decision[k]
    note.parent_id = order.order_id
    note.leaves_qty = left_of(state, p)
    note.bid_px = bid
    note.ask_px = ask
    note.instrument_id = order.instrument_id
    note.round_no = parent.rounds
    note.fresh_venues = fresh_venues
    note.stale_venues = stale_venues
    note.event = event
    state.counts[C_DECISIONS] += 1
    outcome, reason = _NOTHING, _R_NOT_MARKETABLE
    if parent.rounds > rounds:
        outcome, reason = _EXHAUSTED, _R_EXHAUSTED
    elif fresh_venues == 0:
        outcome, reason = _NO_FRESH, _R_NO_FRESH
    elif allotted > 0:
        if order.tif == _FOK and (parent.rounds > 1 or allotted < qty):
            outcome, reason = _NO_FOK, _R_FOK
        elif order.tif == _FOK and len(state.children) - state.core[0].live_children < used:
            outcome, reason = _NO_CAPACITY, _R_FULL
        elif allotted < min_left(state, p):
            outcome, reason = _NO_MIN, _R_MIN
        elif send(state, p, candidates, min_left(state, p) if used == 1 else 0, k, outbox) > 0:
            outcome = _ROUTED
        else:
            outcome, reason = _NO_CAPACITY, _R_FULL
    note.outcome = outcome
    if outcome != _ROUTED:
        parent.reason = reason
    return outcome


@kernel
def allot(state: State, p: int, candidates: int, left: int) -> tuple[int, int]:
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
def send(state: State, p: int, candidates: int, min_qty: int, k: int, outbox: Outbox) -> int:
    """Send a child of that MinQty for each allotted quantity; returns the quantity sent, and notes it in decision k."""
    rows = state.scratch
    note = outbox.decision[k]
    sent, used, mask = 0, 0, 0
    for row in range(candidates):
        qty, venue = int(rows[row * WIDTH + QTY]), int(rows[row * WIDTH + VENUE])
        if qty == 0:
            continue
        child = new_child(state, outbox, p, venue, int(rows[row * WIDTH + PX]), qty, _IOC)
        if child == NONE:
            break
        if min_qty > 0:
            state.child_orders[child].min_qty = min_qty
            outbox.order[int(outbox.count[0]) - 1].min_qty = min_qty
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
def take_net(state: State, venue: int, instrument: int, side: int, px: int) -> int:
    """Net price of taking at `px`, in 1e-9 of the currency for one share, coin or contract; the lower the better.

    A buyer pays price plus fee; a seller's proceeds, price less fee, are negated so that both sides sort alike.
    """
    line = state.venues[venue]
    gross = px * state.instruments[instrument].px_money
    fee = line.take_fee + gross * line.take_ppm // PPM
    return int(gross + fee) if side == _BUY else int(fee - gross)


@kernel
def collect(state: State, p: int) -> tuple[int, int, int]:
    """(candidates, fresh venues, stale venues) for parent p; candidates are in the scratch rows, best first.

    A venue is a candidate when its session is up, its quote is fresh and marketable within the limit, it did not
    reject this parent in this episode, and at least one lot is still there.
    """
    order = state.parent_orders[p]
    excluded = int(state.parents[p].excluded)
    instrument, side, limit_px = int(order.instrument_id), int(order.side), int(order.px)
    first = instrument * int(state.params[0].venue_stride)
    count, fresh_venues, stale_venues = 0, 0, 0
    for v in range(state.params[0].n_venues):
        slot = first + v
        quote = state.quotes[slot]
        shown = quote.ask_qty if side == _BUY else quote.bid_qty
        if shown <= 0:
            continue
        if not fresh(state, slot):
            stale_venues += 1
            continue
        fresh_venues += 1
        if (excluded >> v) & 1 or state.sessions[int(state.venues[v].session)].up == 0:
            continue
        px = opposite_px(state, slot, side)
        lot = int(state.lots[slot])
        qty = available(state, slot, side) // lot * lot
        if qty > 0 and marketable(side, limit_px, px):
            _insert(state, count, v, take_net(state, v, instrument, side, px), qty, px)
            count += 1
    return count, fresh_venues, stale_venues


@kernel
def _insert(state: State, count: int, venue: int, net: int, qty: int, px: int) -> None:
    """Insert a candidate into the `count` sorted rows."""
    rows = state.scratch
    at = count
    while at > 0 and _better(state, venue, net, qty, at - 1):
        for column in range(WIDTH):
            rows[at * WIDTH + column] = rows[(at - 1) * WIDTH + column]
        at -= 1
    rows[at * WIDTH + VENUE] = venue
    rows[at * WIDTH + NET] = net
    rows[at * WIDTH + QTY] = qty
    rows[at * WIDTH + PX] = px


@kernel
def _better(state: State, venue: int, net: int, qty: int, row: int) -> bool:
    """Whether a candidate comes before the one in a scratch row: net price, then size, then MIC."""
    rows = state.scratch
    if net != rows[row * WIDTH + NET]:
        return bool(net < rows[row * WIDTH + NET])
    if qty != rows[row * WIDTH + QTY]:
        return bool(qty > rows[row * WIDTH + QTY])
    return bool(state.venues[venue].rank < state.venues[int(rows[row * WIDTH + VENUE])].rank)
