"""Parent orders: what clients ask for, and how each parent ends. Here are the steps that all workflows share.

A request (cancel, replace, pause, expiry) never touches a live child's quantity: it asks the venues to cancel what
rests there, waits until no child is live, and then takes effect. While it waits the parent is in a PENDING state; the
strongest request wins (expire > cancel > pause > replace), and what it beats is refused. A resume withdraws a pause
that still waits. A parent that is filled meanwhile is filled: what waited is refused.

A parent is woken by reasons (`W_*` bits) and handled on the work queue, so that any number of them can be woken by one
event while a step's output stays bounded. `engine.workflow.orders` declares which state and event runs which step;
`engine.run.turn` runs them. A step returns an outcome (`Did`), and the table says which state that means.
"""

from __future__ import annotations

from enum import IntEnum

from engine.core import timers
from engine.core.books import renew_best
from engine.core.children import cancel_child, immediate, terminal
from engine.core.emit import is_open, leaves_of, left_of, parent_report
from engine.core.ids import add_client_id, drop_client_id
from engine.core.lifecycle import M_DUE
from engine.core.resting import rest, unrest
from engine.core.state import (
    C_PARENTS_ACCEPTED,
    C_PARENTS_CANCELED,
    C_PARENTS_EXPIRED,
    C_PARENTS_FILLED,
    C_QTY_CANCELED,
    C_QTY_ORDERED,
    C_QTY_OVERFILLED,
    FAILING,
    FREE,
    NEW,
    NONE,
    PENDING_CANCEL,
    PENDING_PAUSE,
    PENDING_REPLACE,
    W_CANCEL,
    Events,
    Outbox,
    State,
)
from engine.jit import kernel
from engine.record.records import ExecType, OrdStatus, Reason, Template, Tif

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
_R_TERMINAL, _R_PENDING = int(Reason.ORDER_TERMINAL), int(Reason.REQUEST_PENDING)
_R_FAILED, _R_BUSTED = int(Reason.STEP_FAILED), int(Reason.BUSTED)
_DAY = int(Tif.DAY)


class Did(IntEnum):
    """Outcomes of the steps here."""

    DONE = 0
    FILLED = 1
    SHORT = 2


_DONE, _FILLED, _SHORT = int(Did.DONE), int(Did.FILLED), int(Did.SHORT)


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
        if not is_open(state, p):
            if state.parents[p].phase != FREE:
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
    parent.phase = NEW
    parent.effects = 0
    parent.resting = 0
    add_client_id(state, p)
    core.live_parents += 1
    state.counts[C_PARENTS_ACCEPTED] += 1
    state.counts[C_QTY_ORDERED] += order.qty
    parent_report(state, outbox, p, _ACK, _X_NEW, _R_NONE, _ORDER_NEW)
    if order.tif == _DAY:
        timers.arm(state, p, state.params[0].day_end_ns)


@kernel
def begin_episode(state: State, p: int, outbox: Outbox) -> None:
    """Enter NEW: rounds and excluded venues of an earlier routing episode are forgotten."""
    parent = state.parents[p]
    parent.rounds = 0
    parent.excluded = 0


@kernel
def watch(state: State, p: int, outbox: Outbox) -> None:
    """Enter a state that waits for a quote: the next marketable one wakes the parent."""
    rest(state, p)


@kernel
def unwatch(state: State, p: int, outbox: Outbox) -> None:
    """Leave a state that waits for a quote; what comes next is a new routing episode."""
    unrest(state, p)
    begin_episode(state, p, outbox)


@kernel
def hold_replace(state: State, p: int, event: int, outbox: Outbox) -> int:
    """A replace waits until no child is live."""
    _supersede(state, p, outbox)
    if state.parents[p].live_children > 0:
        state.parents[p].ord_status = _S_PENDING_REPLACE
        parent_report(state, outbox, p, _ACK, _X_PENDING_REPLACE, _R_NONE, _REPLACE)
    return recall(state, p, event, outbox)


@kernel
def hold_pause(state: State, p: int, event: int, outbox: Outbox) -> int:
    """A pause waits until no child is live."""
    _supersede(state, p, outbox)
    return recall(state, p, event, outbox)


@kernel
def hold_cancel(state: State, p: int, event: int, outbox: Outbox) -> int:
    """A cancellation waits until no child is live."""
    _supersede(state, p, outbox)
    if state.parents[p].live_children > 0:
        state.parents[p].ord_status = _S_PENDING_CANCEL
        parent_report(state, outbox, p, _ACK, _X_PENDING_CANCEL, _R_NONE, _CANCEL)
    return recall(state, p, event, outbox)


@kernel
def hold_expire(state: State, p: int, event: int, outbox: Outbox) -> int:
    """The order's time is over; that waits until no child is live."""
    _supersede(state, p, outbox)
    return recall(state, p, event, outbox)


@kernel
def _supersede(state: State, p: int, outbox: Outbox) -> None:
    """The request that waits, if any, is beaten by a stronger one: it is refused."""
    phase = int(state.parents[p].phase)
    if PENDING_REPLACE <= phase <= PENDING_CANCEL:
        refuse_request(state, outbox, p, _request_of(phase), _R_PENDING)


@kernel
def _request_of(phase: int) -> int:
    """The template of the record that asked for what a PENDING state waits to do."""
    if phase == PENDING_REPLACE:
        return _REPLACE
    return _CONTROL if phase == PENDING_PAUSE else _CANCEL


@kernel
def recall(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Ask the venues to cancel what rests there for parent p: not immediate orders, which end by themselves, nor what a
    mass cancel will ask for at its session's pace."""
    c = int(state.parents[p].first_child)
    while c != NONE:
        child = state.children[c]
        if child.cancels == 0 and int(child.marks) & M_DUE == 0 and not immediate(int(state.child_orders[c].tif)):
            cancel_child(state, outbox, c)
        c = int(child.next)
    return _DONE


@kernel
def resume_early(state: State, p: int, event: int, outbox: Outbox) -> int:
    """A resume withdraws a pause that still waits."""
    parent_report(state, outbox, p, _ACK, _X_NEW, _R_CLIENT, _CONTROL)
    return _DONE


@kernel
def resume(state: State, p: int, event: int, outbox: Outbox) -> int:
    """A paused parent is routed again."""
    parent = state.parents[p]
    parent.ord_status = _S_PARTIAL if parent.cum_qty > 0 else _S_NEW
    parent_report(state, outbox, p, _ACK, _X_NEW, _R_CLIENT, _CONTROL)
    return _DONE


@kernel
def suspend(state: State, p: int, event: int, outbox: Outbox) -> int:
    """The pause takes effect."""
    state.parents[p].ord_status = _S_SUSPENDED
    parent_report(state, outbox, p, _ACK, _X_SUSPENDED, _R_CLIENT, _CONTROL)
    return _DONE


@kernel
def nothing_more(state: State, p: int, event: int, outbox: Outbox) -> int:
    """No child is live, and the state that follows says the rest."""
    return _DONE


@kernel
def apply_replace(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Give parent p its new quantity and price; FILLED where the new quantity is no more than CumQty.

    One that leaves the quantity as it is comes too late where nothing is left (FIX order state changes, C.2.a).
    """
    if state.parents[p].new_qty == state.parent_orders[p].qty and left_of(state, p) == 0:
        return complete(state, p, event, outbox)
    return _replace(state, p, 0, outbox)


@kernel
def replace_paused(state: State, p: int, event: int, outbox: Outbox) -> int:
    """As `apply_replace`, of a parent that is paused and stays so."""
    return _replace(state, p, _S_SUSPENDED, outbox)


@kernel
def _replace(state: State, p: int, status: int, outbox: Outbox) -> int:
    """Apply the replace; `status` is the OrdStatus where it is not filled, 0 for what its quantities say."""
    parent, order = state.parents[p], state.parent_orders[p]
    new_qty = max(int(parent.new_qty), int(parent.cum_qty) + int(parent.busted_qty))
    state.counts[C_QTY_ORDERED] += new_qty - order.qty
    state.counts[C_QTY_OVERFILLED] -= max(int(parent.cum_qty) - int(order.qty), 0)
    order.qty = new_qty
    order.px = parent.new_px
    if status == 0:
        status = _S_PARTIAL if parent.cum_qty > 0 else _S_NEW
    filled = bool(parent.cum_qty >= order.qty)
    parent.ord_status = _S_FILLED if filled else status
    parent_report(state, outbox, p, _ACK, _X_REPLACED, _R_NONE, _REPLACE)
    if left_of(state, p) > 0:
        return _DONE
    return _FILLED if filled else _short(state, p)


@kernel
def complete(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Nothing is left to route and no child is live: a request that waited comes too late. SHORT after a bust."""
    phase = int(state.parents[p].phase)
    cum_qty = int(state.parents[p].cum_qty)
    filled = cum_qty >= state.parent_orders[p].qty
    # Nothing is pending any more. Where it is SHORT the end has its own report, after that of the request.
    state.parents[p].ord_status = _S_FILLED if filled else _S_PARTIAL if cum_qty > 0 else _S_NEW
    if PENDING_REPLACE <= phase <= PENDING_CANCEL:
        refuse_request(state, outbox, p, _request_of(phase), _R_TERMINAL)
    return _FILLED if filled else _short(state, p)


@kernel
def _short(state: State, p: int) -> int:
    """Nothing is left although less was executed: the rest was busted, and is not routed again."""
    state.parents[p].reason = _R_BUSTED
    return _SHORT


@kernel
def end_filled(state: State, p: int, outbox: Outbox) -> None:
    """Enter FILLED: the client has been told with the last fill, or as replaced."""
    _end(state, p, _S_FILLED)
    state.counts[C_PARENTS_FILLED] += 1


@kernel
def end_canceled(state: State, p: int, outbox: Outbox) -> None:
    """Enter CANCELED: what is left is given back, with the reason that the row holds."""
    reason = int(state.parents[p].reason)
    state.counts[C_QTY_CANCELED] += leaves_of(state, p)
    _end(state, p, _S_CANCELED)
    state.counts[C_PARENTS_CANCELED] += 1
    parent_report(state, outbox, p, _ACK, _X_CANCELED, reason, _CANCEL if reason == _R_CLIENT else 0)


@kernel
def end_expired(state: State, p: int, outbox: Outbox) -> None:
    """Enter EXPIRED."""
    state.counts[C_QTY_CANCELED] += leaves_of(state, p)
    _end(state, p, _S_EXPIRED)
    state.counts[C_PARENTS_EXPIRED] += 1
    parent_report(state, outbox, p, _ACK, _X_EXPIRED, _R_DAY_END, 0)


@kernel
def end_failed(state: State, p: int, outbox: Outbox) -> None:
    """Enter FAILED: to the client the order is cancelled, and the reason says that its workflow failed."""
    state.counts[C_QTY_CANCELED] += leaves_of(state, p)
    _end(state, p, _S_CANCELED)
    state.counts[C_PARENTS_CANCELED] += 1
    parent_report(state, outbox, p, _ACK, _X_CANCELED, _R_FAILED, 0)


@kernel
def _end(state: State, p: int, status: int) -> None:
    """End parent p, which has no live child; it watches no quotes, whatever its states' actions left undone."""
    parent = state.parents[p]
    assert parent.live_children == 0, "what lives at a venue has not ended"
    timers.disarm(state, p)
    unrest(state, p)
    parent.ord_status = status
    state.core[0].live_parents -= 1


@kernel
def refuse_request(state: State, outbox: Outbox, p: int, request: int, reason: int) -> None:
    """Answer a request about parent p that cannot be carried out (CANCEL_REJECT with the order's present status)."""
    parent_report(state, outbox, p, _CANCEL_REJECT, _X_NEW, reason, request)


@kernel
def is_done(state: State, p: int) -> bool:
    """Whether parent p has ended, or has nothing left and is about to."""
    return not is_open(state, p) or terminal(int(state.parents[p].ord_status))


@kernel
def ending(state: State, p: int) -> bool:
    """Whether parent p is to be cancelled already, or something stronger than that."""
    return bool(PENDING_CANCEL <= state.parents[p].phase <= FAILING) or int(state.parents[p].wake) & W_CANCEL != 0


@kernel
def parameter(state: State, index: int) -> int:
    """A strategy's parameter: what `[routing.parameters]` says, else its declared default."""
    return int(state.parameters[index])
