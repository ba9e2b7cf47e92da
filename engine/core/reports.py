"""What venues' reports do: acceptances, executions, rejects, the end of a child.

A report counts where it names a child, its venue and its instrument. Executions are idempotent on (venue, ExecID). A
late fill or an overfill is booked and alerted, because it happened. A venue that ends a child says how much of it was
executed: where we have heard of less, the child is UNKNOWN until those executions arrive, and is asked about.
"""

from __future__ import annotations

from engine.core import timers
from engine.core.children import arm_child, cancel_child, finish_child, immediate, mark_unknown, terminal, wake
from engine.core.emit import alert, is_open, parent_report, refusal
from engine.core.ids import child_slot, remember_execution
from engine.core.positions import book_position, fee_of, money_of, room_for
from engine.core.state import (
    C_LATE_FILLS,
    C_OVERFILLS,
    C_QTY_CANCELED,
    C_QTY_OVERFILLED,
    NONE,
    W_CHILDREN_DONE,
    Events,
    Outbox,
    State,
)
from engine.jit import kernel
from engine.record.records import ExecType, OrdStatus, Reason, Template

_FILL = int(Template.FILL)
_S_PENDING_NEW, _S_NEW, _S_PARTIAL = int(OrdStatus.PENDING_NEW), int(OrdStatus.NEW), int(OrdStatus.PARTIALLY_FILLED)
_S_FILLED, _S_CANCELED, _S_EXPIRED = int(OrdStatus.FILLED), int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED)
_S_REJECTED, _S_UNKNOWN = int(OrdStatus.REJECTED), int(OrdStatus.UNKNOWN)
_S_PENDING_REPLACE = int(OrdStatus.PENDING_REPLACE)
_X_NEW, _X_CANCELED, _X_EXPIRED = int(ExecType.NEW), int(ExecType.CANCELED), int(ExecType.EXPIRED)
_X_STATUS, _X_TRADE = int(ExecType.ORDER_STATUS), int(ExecType.TRADE)
_R_UNKNOWN_ORDER, _R_DUPLICATE_EXEC = int(Reason.UNKNOWN_ORDER), int(Reason.DUPLICATE_EXEC)
_R_NONE, _R_OVERFILL, _R_TERMINAL = int(Reason.NONE), int(Reason.OVERFILL), int(Reason.ORDER_TERMINAL)
_R_OVERFLOW, _R_ORDER = int(Reason.OVERFLOW), int(Reason.NOT_IN_ORDER)


@kernel
def _named_child(state: State, events: Events, i: int) -> int:
    """Slot of the child that report i is about; NONE where it names none, or not this venue's."""
    report = events.report[i]
    c = child_slot(state, int(report.order_id))
    if c == NONE:
        return NONE
    order = state.child_orders[c]
    return c if order.venue_id == report.venue_id and order.instrument_id == report.instrument_id else NONE


@kernel
def _live_child(state: State, events: Events, i: int, outbox: Outbox) -> int:
    """As `_named_child`, of those that still live; NONE where the report has been refused."""
    report = events.report[i]
    c = _named_child(state, events, i)
    if c == NONE:
        refusal(state, outbox, int(report.template_id), _R_UNKNOWN_ORDER, int(report.order_id), 0)
    elif terminal(int(state.children[c].ord_status)):
        status = int(state.children[c].ord_status)
        refusal(state, outbox, int(report.template_id), _R_TERMINAL, int(report.order_id), status)
        c = NONE
    return c


@kernel
def on_ack(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """ACK of a venue: accepted, cancelled, expired, or the status that we asked for."""
    report = events.report[i]
    c = _live_child(state, events, i, outbox)
    if c == NONE:
        return
    child = state.children[c]
    child.venue_order[0] = report.peer_id[0]
    child.venue_order[1] = report.peer_id[1]
    kind, status = int(report.exec_type), int(report.ord_status)
    if kind == _X_CANCELED or kind == _X_EXPIRED or (kind == _X_STATUS and terminal(status)):
        if report.cum_qty > child.cum_qty:
            # It executed more than we have been told: the leaves stay until those executions arrive.
            mark_unknown(state, outbox, c)
            arm_child(state, c, 1)
            return
        if status == _S_FILLED or not terminal(status):
            status = _S_EXPIRED if kind == _X_EXPIRED else _S_CANCELED
        finish_child(state, outbox, c, status, int(report.reason))
    elif kind == _X_NEW or kind == _X_STATUS:
        _accepted(state, outbox, c, kind)


@kernel
def _accepted(state: State, outbox: Outbox, c: int, kind: int) -> None:
    """The venue has the order and it is live there."""
    child = state.children[c]
    was = int(child.ord_status)
    if was == _S_UNKNOWN:
        state.core[0].unknown_children -= 1
    if was == _S_PENDING_NEW or was == _S_UNKNOWN:
        child.ord_status = _S_PARTIAL if child.cum_qty > 0 else _S_NEW
    if child.cancels == 0 and not immediate(int(state.child_orders[c].tif)):
        timers.disarm(state, len(state.parents) + c)
    elif was == _S_UNKNOWN:
        arm_child(state, c, 1)
    if was == _S_UNKNOWN and kind == _X_STATUS:
        # Live after all, and nobody waits for it any more: take it back.
        child.cancels = 0
        cancel_child(state, outbox, c)


@kernel
def on_reject(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """REJECT of a venue: the child never lived (or, to a status request, never came)."""
    c = _live_child(state, events, i, outbox)
    if c != NONE:
        finish_child(state, outbox, c, _S_REJECTED, int(events.report[i].reason))


@kernel
def on_cancel_reject(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """CANCEL_REJECT of a venue: only a report on the order itself can end it, so its timer asks for its status next."""
    report = events.report[i]
    c = _live_child(state, events, i, outbox)
    if c == NONE:
        return
    child = state.children[c]
    if child.cancels == 0:
        refusal(state, outbox, int(report.template_id), _R_ORDER, int(report.order_id), 0)
        return
    child.cancels = max(int(child.cancels), int(state.params[0].max_cancels))


@kernel
def on_fill(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """FILL of a venue: book it on child, parent and position, and tell the client; once for each ExecID."""
    report = events.report[i]
    template, venue = int(report.template_id), int(report.venue_id)
    qty, px, liquidity = int(report.last_qty), int(report.last_px), int(report.liquidity)
    c = _named_child(state, events, i)
    if c == NONE:
        refusal(state, outbox, template, _R_UNKNOWN_ORDER, int(report.order_id), venue)
        return
    money = money_of(state, int(report.instrument_id), px, qty)
    fee = fee_of(state, venue, int(report.instrument_id), qty, money, liquidity)
    if not room_for(state, c, qty, money, fee):
        refusal(state, outbox, template, _R_OVERFLOW, qty, px)
        return
    if not remember_execution(state, venue, int(report.exec_id[0]), int(report.exec_id[1])):
        refusal(state, outbox, template, _R_DUPLICATE_EXEC, int(report.order_id), 0)
        return
    child = state.children[c]
    p = int(child.parent)
    _book_child(state, outbox, c, qty)
    book_position(state, c, qty, money, fee)
    if state.parent_orders[p].order_id != state.child_orders[c].parent_id:
        # So late that the parent's slot has been taken again; the position is true all the same.
        state.counts[C_QTY_OVERFILLED] += qty
        return
    _book_parent(state, p, qty, money, fee)
    k = parent_report(state, outbox, p, _FILL, _X_TRADE, _R_NONE, 0)
    out = outbox.report[k]
    out.venue_id = venue
    out.last_px = px
    out.last_qty = qty
    out.liquidity = liquidity
    if not terminal(int(child.ord_status)):
        if child.leaves_qty == 0:
            finish_child(state, outbox, c, _S_FILLED, _R_NONE)
        elif child.ord_status == _S_PENDING_NEW or child.ord_status == _S_NEW:
            child.ord_status = _S_PARTIAL
    if is_open(state, p) and state.parents[p].cum_qty >= state.parent_orders[p].qty:
        wake(state, p, W_CHILDREN_DONE)


@kernel
def _book_child(state: State, outbox: Outbox, c: int, qty: int) -> None:
    """Add an execution to a child; what is beyond its leaves came late or is an overfill, and alerts."""
    child, order = state.children[c], state.child_orders[c]
    taken = min(qty, int(child.leaves_qty))
    child.cum_qty += qty
    child.leaves_qty -= taken
    if taken > 0:
        state.parents[int(child.parent)].live_qty -= taken
    if taken < qty:
        late = terminal(int(child.ord_status)) and child.cum_qty <= order.qty
        state.counts[C_LATE_FILLS if late else C_OVERFILLS] += 1
        code = _R_TERMINAL if late else _R_OVERFILL
        alert(state, outbox, code, int(order.instrument_id), int(order.order_id), qty)


@kernel
def _book_parent(state: State, p: int, qty: int, money: int, fee: int) -> None:
    """Add an execution to a parent: quantity, money and fee (1e-9 of the currency), status.

    ordered = filled - overfilled + cancelled + rejected + open, at every moment (the counters' sum).
    """
    order, parent = state.parent_orders[p], state.parents[p]
    over = max(int(parent.cum_qty) + qty - int(order.qty), 0) - max(int(parent.cum_qty) - int(order.qty), 0)
    parent.cum_qty += qty
    parent.notional += money
    parent.fee += fee
    state.counts[C_QTY_OVERFILLED] += over
    if not is_open(state, p):
        state.counts[C_QTY_CANCELED] -= qty - over
    if parent.cum_qty >= order.qty and parent.ord_status != _S_PENDING_REPLACE:
        parent.ord_status = _S_FILLED
    elif parent.ord_status == _S_NEW:
        parent.ord_status = _S_PARTIAL
