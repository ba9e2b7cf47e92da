"""Parent orders: what clients ask for, and how each parent ends.

A request (cancel, replace, pause, expiry) never touches a live child's quantity: it asks the venues to cancel what
rests there, waits until no child is live, and then takes effect. While it waits the parent is `pending`; the strongest
pending request wins (expire > cancel > pause > replace), and what it beats is refused. A resume withdraws a pause that
still waits. A parent that is filled meanwhile is filled: what waited is refused.

A parent is woken by reasons (`W_*` bits) and handled on the work queue, so that any number of them can be woken by one
event while a step's output stays bounded. `lifecycle` deals with requests itself and hands the rest to the strategy.
"""

from __future__ import annotations

from engine.core import timers
from engine.core.books import renew_best
from engine.core.children import cancel_child, immediate, terminal
from engine.core.emit import leaves_of, left_of, parent_report
from engine.core.ids import add_client_id, drop_client_id
from engine.core.resting import rest, unrest
from engine.core.state import (
    C_PARENTS_ACCEPTED,
    C_PARENTS_CANCELED,
    C_PARENTS_EXPIRED,
    C_PARENTS_FILLED,
    C_QTY_CANCELED,
    C_QTY_ORDERED,
    C_QTY_OVERFILLED,
    DONE,
    FREE,
    NONE,
    P_CANCEL,
    P_EXPIRE,
    P_NONE,
    P_PAUSE,
    P_REPLACE,
    PAUSED,
    RESTING,
    ROUTING,
    W_CANCEL,
    W_CHILDREN_DONE,
    W_EXPIRE,
    W_PAUSE,
    W_QUOTE,
    W_REPLACE,
    W_RESUME,
    W_START,
    Events,
    Outbox,
    State,
)
from engine.jit import kernel
from engine.record.records import ExecType, OrdStatus, Outcome, Reason, Template, Tif

_ACK, _CANCEL_REJECT = int(Template.ACK), int(Template.CANCEL_REJECT)
_ORDER_NEW, _REPLACE, _CANCEL = int(Template.ORDER_NEW), int(Template.ORDER_REPLACE), int(Template.ORDER_CANCEL)
_CONTROL = int(Template.CONTROL)
_S_NEW, _S_PARTIAL, _S_FILLED = int(OrdStatus.NEW), int(OrdStatus.PARTIALLY_FILLED), int(OrdStatus.FILLED)
_S_CANCELED, _S_EXPIRED, _S_SUSPENDED = int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED), int(OrdStatus.SUSPENDED)
_S_PENDING_CANCEL, _S_PENDING_REPLACE = int(OrdStatus.PENDING_CANCEL), int(OrdStatus.PENDING_REPLACE)
_X_NEW, _X_CANCELED, _X_EXPIRED = int(ExecType.NEW), int(ExecType.CANCELED), int(ExecType.EXPIRED)
_X_REPLACED, _X_SUSPENDED = int(ExecType.REPLACED), int(ExecType.SUSPENDED)
_X_PENDING_CANCEL, _X_PENDING_REPLACE = int(ExecType.PENDING_CANCEL), int(ExecType.PENDING_REPLACE)
_R_NONE, _R_DAY_END, _R_CLIENT = int(Reason.NONE), int(Reason.DAY_END), int(Reason.CLIENT_REQUEST)
_R_BUSTED = int(Reason.BUSTED)
_R_TERMINAL, _R_PENDING, _R_ORDER = (
    int(Reason.ORDER_TERMINAL),
    int(Reason.REQUEST_PENDING),
    int(Reason.NOT_IN_ORDER),
)
_DAY = int(Tif.DAY)
_RESTED, _CANCELED_OUT = int(Outcome.RESTED), int(Outcome.CANCELED)


@kernel
def take_slot(state: State) -> tuple[int, int]:
    """(slot, counter) for a new parent; slot NONE where all are alive. The slot's former order is forgotten."""
    core = state.core[0]
    if core.live_parents == len(state.parents):
        return NONE, 0
    for _ in range(len(state.parents)):
        counter = int(core.next_parent)
        core.next_parent += 1
        p = counter & (len(state.parents) - 1)
        phase = state.parents[p].phase
        if phase == FREE or phase == DONE:
            if phase == DONE:
                drop_client_id(state, p)
            return p, counter
    return NONE, 0


@kernel
def accept(state: State, events: Events, i: int, session: int, p: int, counter: int, outbox: Outbox) -> None:
    """Make the ORDER_NEW at i (already checked) parent p, tell the client, and start its workflow."""
    core = state.core[0]
    state.parent_orders[p] = events.order[i]
    order, parent = state.parent_orders[p], state.parents[p]
    order.order_id = state.params[0].id_base | counter
    order.parent_id = 0
    parent.cum_qty = 0
    parent.live_qty = 0
    parent.notional = 0
    parent.fee = 0
    bid, ask = renew_best(state, int(order.instrument_id))
    parent.arrival_bid_px = bid
    parent.arrival_ask_px = ask
    parent.busted_qty = 0
    parent.first_px = order.px
    parent.first_qty = order.qty
    parent.excluded = 0
    parent.first_child = NONE
    parent.rest_next = NONE
    parent.rest_prev = NONE
    parent.live_children = 0
    parent.rounds = 0
    parent.wake = 0
    parent.reason = 0
    parent.session = session
    parent.ord_status = _S_NEW
    parent.phase = ROUTING
    parent.pending = P_NONE
    parent.resting = 0
    add_client_id(state, p)
    core.live_parents += 1
    state.counts[C_PARENTS_ACCEPTED] += 1
    state.counts[C_QTY_ORDERED] += order.qty
    parent_report(state, outbox, p, _ACK, _X_NEW, _R_NONE, _ORDER_NEW)
    if order.tif == _DAY:
        timers.arm(state, p, state.params[0].day_end_ns)


@kernel
def lifecycle(state: State, outbox: Outbox, p: int) -> int:
    """Handle why parent p was woken; returns the W_* bit that is the strategy's to handle, 0 where none is."""
    parent = state.parents[p]
    bits = int(parent.wake)
    parent.wake = 0
    if parent.phase == DONE:
        return 0
    if bits & W_EXPIRE:
        _request(state, outbox, p, P_EXPIRE)
    if bits & W_CANCEL:
        _request(state, outbox, p, P_CANCEL)
    if bits & W_PAUSE:
        _request(state, outbox, p, P_PAUSE)
    if bits & W_REPLACE:
        _request(state, outbox, p, P_REPLACE)
    if bits & W_RESUME and parent.phase != PAUSED:
        _resume_early(state, outbox, p)
    complete = left_of(state, p) == 0
    if parent.live_children > 0:
        if complete:
            _recall(state, outbox, p)
        return 0
    if complete and parent.pending != P_REPLACE:
        if P_NONE < parent.pending < P_EXPIRE:
            refuse_request(state, outbox, p, _request_template(int(parent.pending)), _R_TERMINAL)
        _finish_complete(state, outbox, p)
        return 0
    if parent.pending != P_NONE:
        return _settle_request(state, outbox, p)
    if parent.phase == PAUSED:
        if bits & W_RESUME == 0:
            return 0
        parent.ord_status = _S_PARTIAL if parent.cum_qty > 0 else _S_NEW
        parent_report(state, outbox, p, _ACK, _X_NEW, _R_CLIENT, _CONTROL)
        return _restart_as(state, p, W_START)
    if bits & W_START:
        return W_START
    if bits & W_CHILDREN_DONE:
        return W_CHILDREN_DONE
    if bits & W_QUOTE and parent.phase == RESTING:
        return _restart_as(state, p, W_QUOTE)
    return 0


@kernel
def _restart_as(state: State, p: int, bit: int) -> int:
    """Begin a new routing episode: rounds and excluded venues are forgotten."""
    unrest(state, p)
    parent = state.parents[p]
    parent.rounds = 0
    parent.excluded = 0
    parent.phase = ROUTING
    return bit


@kernel
def _request(state: State, outbox: Outbox, p: int, pending: int) -> None:
    """Note a request, and ask the venues to cancel what stands in its way. Of two requests, the weaker is refused."""
    parent = state.parents[p]
    weaker = min(pending, int(parent.pending))
    if P_NONE < weaker < P_EXPIRE:
        refuse_request(state, outbox, p, _request_template(weaker), _R_PENDING)
    if pending <= parent.pending:
        return
    parent.pending = pending
    if parent.live_children > 0:
        if pending == P_CANCEL:
            parent.ord_status = _S_PENDING_CANCEL
            parent_report(state, outbox, p, _ACK, _X_PENDING_CANCEL, _R_NONE, _CANCEL)
        elif pending == P_REPLACE:
            parent.ord_status = _S_PENDING_REPLACE
            parent_report(state, outbox, p, _ACK, _X_PENDING_REPLACE, _R_NONE, _REPLACE)
    _recall(state, outbox, p)


@kernel
def _recall(state: State, outbox: Outbox, p: int) -> None:
    """Ask the venues to cancel what rests there for parent p. Immediate orders end by themselves."""
    c = int(state.parents[p].first_child)
    while c != NONE:
        if state.children[c].cancels == 0 and not immediate(int(state.child_orders[c].tif)):
            cancel_child(state, outbox, c)
        c = int(state.children[c].next)


@kernel
def _request_template(pending: int) -> int:
    """The template of the record that asks for a P_* request."""
    if pending == P_REPLACE:
        return _REPLACE
    return _CANCEL if pending == P_CANCEL else _CONTROL


@kernel
def _resume_early(state: State, outbox: Outbox, p: int) -> None:
    """A resume of a parent that is not paused: it withdraws a pause that still waits, else there is nothing to do."""
    parent = state.parents[p]
    if parent.pending == P_PAUSE:
        parent.pending = P_NONE
        parent_report(state, outbox, p, _ACK, _X_NEW, _R_CLIENT, _CONTROL)
    else:
        refuse_request(state, outbox, p, _CONTROL, _R_ORDER)


@kernel
def _settle_request(state: State, outbox: Outbox, p: int) -> int:
    """Carry out the pending request of parent p, which has no live child; returns a W_* bit for the strategy or 0."""
    parent = state.parents[p]
    pending = int(parent.pending)
    parent.pending = P_NONE
    if pending == P_EXPIRE:
        _finish(state, outbox, p, _S_EXPIRED, _R_DAY_END)
        return 0
    if pending == P_CANCEL:
        _finish(state, outbox, p, _S_CANCELED, int(parent.reason))
        return 0
    if pending == P_PAUSE:
        unrest(state, p)
        parent.phase = PAUSED
        parent.ord_status = _S_SUSPENDED
        parent_report(state, outbox, p, _ACK, _X_SUSPENDED, _R_CLIENT, _CONTROL)
        return 0
    return _apply_replace(state, outbox, p)


@kernel
def _apply_replace(state: State, outbox: Outbox, p: int) -> int:
    """Give parent p its new quantity and price; it may be filled by that (new quantity at or below CumQty)."""
    parent, order = state.parents[p], state.parent_orders[p]
    unrest(state, p)  # by its former limit
    new_qty = max(int(parent.new_qty), int(parent.cum_qty) + int(parent.busted_qty))
    state.counts[C_QTY_ORDERED] += new_qty - order.qty
    state.counts[C_QTY_OVERFILLED] -= max(int(parent.cum_qty) - int(order.qty), 0)
    order.qty = new_qty
    order.px = parent.new_px
    paused = parent.phase == PAUSED
    parent.ord_status = _S_PARTIAL if parent.cum_qty > 0 else _S_NEW
    if parent.cum_qty >= order.qty:
        parent.ord_status = _S_FILLED
    elif paused:
        parent.ord_status = _S_SUSPENDED
    parent_report(state, outbox, p, _ACK, _X_REPLACED, _R_NONE, _REPLACE)
    if left_of(state, p) == 0:
        _finish_complete(state, outbox, p)
        return 0
    return 0 if paused else _restart_as(state, p, W_START)


@kernel
def settle(state: State, outbox: Outbox, p: int, outcome: int) -> None:
    """Do with parent p what the strategy's decision means when it sent no child: rest, or cancel back."""
    if outcome == _RESTED:
        state.parents[p].phase = RESTING
        rest(state, p)
    elif outcome == _CANCELED_OUT:
        _finish(state, outbox, p, _S_CANCELED, int(state.parents[p].reason))


@kernel
def _finish_complete(state: State, outbox: Outbox, p: int) -> None:
    """End parent p, of which nothing is left: filled, or cancelled where a part of its executions was busted."""
    if state.parents[p].cum_qty >= state.parent_orders[p].qty:
        _finish(state, outbox, p, _S_FILLED, _R_NONE)
    else:
        _finish(state, outbox, p, _S_CANCELED, _R_BUSTED)


@kernel
def _finish(state: State, outbox: Outbox, p: int, status: int, reason: int) -> None:
    """End parent p. A filled one has been reported with its last fill (or as replaced); others get a last ACK."""
    parent = state.parents[p]
    left = leaves_of(state, p)
    unrest(state, p)
    timers.disarm(state, p)
    parent.phase = DONE
    parent.pending = P_NONE
    parent.ord_status = status
    state.core[0].live_parents -= 1
    if status == _S_FILLED:
        state.counts[C_PARENTS_FILLED] += 1
        return
    state.counts[C_QTY_CANCELED] += left
    if status == _S_EXPIRED:
        state.counts[C_PARENTS_EXPIRED] += 1
        parent_report(state, outbox, p, _ACK, _X_EXPIRED, reason, 0)
    else:
        state.counts[C_PARENTS_CANCELED] += 1
        parent_report(state, outbox, p, _ACK, _X_CANCELED, reason, _CANCEL if reason == _R_CLIENT else 0)


@kernel
def refuse_request(state: State, outbox: Outbox, p: int, request: int, reason: int) -> None:
    """Answer a request about parent p that cannot be carried out (CANCEL_REJECT with the order's present status)."""
    parent_report(state, outbox, p, _CANCEL_REJECT, _X_NEW, reason, request)


@kernel
def is_done(state: State, p: int) -> bool:
    """Whether parent p has ended."""
    return bool(state.parents[p].phase == DONE) or terminal(int(state.parents[p].ord_status))
