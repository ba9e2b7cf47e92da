"""What venues' reports do: acceptances, executions, rejects, the end of a child.

Executions are idempotent on (venue, ExecID). A late fill or an overfill is booked and alerted, because it happened. A
venue that ends a child says how much of it was executed: where we have heard of less, the child is UNKNOWN until
those executions arrive.
"""

from __future__ import annotations

from engine.core import timers
from engine.core.children import cancel_child, finish_child, mark_unknown, terminal
from engine.core.emit import alert, parent_report, refusal
from engine.core.ids import child_slot, remember_execution
from engine.core.positions import book_position, fee_of, money_of
from engine.core.state import C_LATE_FILLS, C_OVERFILLS, C_QTY_CANCELED, DONE, NONE, Events, Outbox, State
from engine.jit import kernel
from engine.record.records import ExecType, OrdStatus, Reason, Template, Tif

_FILL = int(Template.FILL)
_IOC, _FOK = int(Tif.IOC), int(Tif.FOK)
_S_PENDING_NEW, _S_NEW, _S_PARTIAL = int(OrdStatus.PENDING_NEW), int(OrdStatus.NEW), int(OrdStatus.PARTIALLY_FILLED)
_S_FILLED, _S_CANCELED, _S_EXPIRED = int(OrdStatus.FILLED), int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED)
_S_REJECTED, _S_UNKNOWN = int(OrdStatus.REJECTED), int(OrdStatus.UNKNOWN)
_X_NEW, _X_CANCELED, _X_EXPIRED = int(ExecType.NEW), int(ExecType.CANCELED), int(ExecType.EXPIRED)
_X_STATUS, _X_TRADE = int(ExecType.ORDER_STATUS), int(ExecType.TRADE)
_R_UNKNOWN_ORDER, _R_DUPLICATE_EXEC = int(Reason.UNKNOWN_ORDER), int(Reason.DUPLICATE_EXEC)
_R_NONE, _R_OVERFILL, _R_TERMINAL = int(Reason.NONE), int(Reason.OVERFILL), int(Reason.ORDER_TERMINAL)
_R_BAD_QTY = int(Reason.IMPOSSIBLE_QTY)


@kernel
def on_ack(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """ACK of a venue: accepted, cancelled, expired, or the status that we asked for."""
    report = events.report[i]
    c = child_slot(state, int(report.order_id))
    if c == NONE:
        refusal(state, outbox, int(report.template_id), _R_UNKNOWN_ORDER, int(report.order_id), 0)
        return
    child = state.children[c]
    if terminal(int(child.ord_status)):
        refusal(state, outbox, int(report.template_id), _R_TERMINAL, int(report.order_id), int(child.ord_status))
        return
    child.venue_order[0] = report.peer_id[0]
    child.venue_order[1] = report.peer_id[1]
    kind, status = int(report.exec_type), int(report.ord_status)
    if kind == _X_CANCELED or kind == _X_EXPIRED or (kind == _X_STATUS and terminal(status)):
        if report.cum_qty > child.cum_qty:
            # It executed more than we have been told: the leaves stay until those executions arrive.
            mark_unknown(state, outbox, c)
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
    tif = int(state.child_orders[c].tif)
    if tif != _IOC and tif != _FOK and child.cancels == 0:
        timers.disarm(state, len(state.parents) + c)
    if was == _S_UNKNOWN and kind == _X_STATUS:
        # Live after all, and nobody waits for it any more: take it back.
        child.cancels = 0
        cancel_child(state, outbox, c)


@kernel
def on_reject(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """REJECT of a venue: the child never lived (or, to a status request, never came)."""
    report = events.report[i]
    c = child_slot(state, int(report.order_id))
    if c == NONE or terminal(int(state.children[c].ord_status)):
        refusal(state, outbox, int(report.template_id), _R_UNKNOWN_ORDER, int(report.order_id), 0)
        return
    finish_child(state, outbox, c, _S_REJECTED, int(report.reason))


@kernel
def on_cancel_reject(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """CANCEL_REJECT of a venue: only a report on the order itself can end it, so ask for its status soon."""
    report = events.report[i]
    c = child_slot(state, int(report.order_id))
    if c == NONE or terminal(int(state.children[c].ord_status)):
        refusal(state, outbox, int(report.template_id), _R_TERMINAL, int(report.order_id), 0)
        return
    state.children[c].cancels = max(int(state.children[c].cancels), int(state.params[0].max_cancels))


@kernel
def on_fill(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """FILL of a venue: book it on child, parent and position, and tell the client; once for each ExecID."""
    report = events.report[i]
    template, venue = int(report.template_id), int(report.venue_id)
    c = child_slot(state, int(report.order_id))
    if c == NONE:
        refusal(state, outbox, template, _R_UNKNOWN_ORDER, int(report.order_id), 0)
        return
    if state.child_orders[c].venue_id != venue or state.child_orders[c].instrument_id != report.instrument_id:
        refusal(state, outbox, template, _R_UNKNOWN_ORDER, int(report.order_id), venue)
        return
    if report.last_qty <= 0 or report.last_px <= 0:
        refusal(state, outbox, template, _R_BAD_QTY, int(report.last_qty), 0)
        return
    if not remember_execution(state, venue, int(report.exec_id[0]), int(report.exec_id[1])):
        refusal(state, outbox, template, _R_DUPLICATE_EXEC, int(report.order_id), 0)
        return
    qty, px = int(report.last_qty), int(report.last_px)
    child = state.children[c]
    p = int(child.parent)
    child.cum_qty += qty
    taken = min(qty, int(child.leaves_qty))
    child.leaves_qty -= taken
    state.parents[p].live_qty -= taken
    order_id = int(state.child_orders[c].order_id)
    if taken < qty:
        late = terminal(int(child.ord_status)) and child.cum_qty <= state.child_orders[c].qty
        state.counts[C_LATE_FILLS if late else C_OVERFILLS] += 1
        alert(state, outbox, _R_TERMINAL if late else _R_OVERFILL, int(report.instrument_id), order_id, qty)
    book_position(state, c, venue, px, qty, int(report.liquidity))
    if state.parent_orders[p].order_id != state.child_orders[c].parent_id:
        return  # so late that the parent's slot has been taken again; the position is true all the same
    book_parent(state, p, venue, px, qty, int(report.liquidity))
    k = parent_report(state, outbox, p, _FILL, _X_TRADE, _R_NONE, 0)
    out = outbox.report[k]
    out.venue_id = venue
    out.last_px = px
    out.last_qty = qty
    out.liquidity = report.liquidity
    out.ts_recv_ns = 0
    if not terminal(int(child.ord_status)):
        if child.leaves_qty == 0:
            finish_child(state, outbox, c, _S_FILLED, _R_NONE)
        elif child.ord_status == _S_PENDING_NEW or child.ord_status == _S_NEW:
            child.ord_status = _S_PARTIAL


@kernel
def book_parent(state: State, p: int, venue: int, px: int, qty: int, liquidity: int) -> None:
    """Add an execution to a parent: quantity, money and fee (1e-9 of the currency), status."""
    order, parent = state.parent_orders[p], state.parents[p]
    instrument = int(order.instrument_id)
    parent.cum_qty += qty
    parent.notional += money_of(state, instrument, px, qty)
    parent.fee += fee_of(state, venue, instrument, px, qty, liquidity)
    if parent.cum_qty >= order.qty:
        parent.ord_status = _S_FILLED
    elif parent.ord_status == _S_NEW:
        parent.ord_status = _S_PARTIAL
    if parent.phase == DONE:
        state.counts[C_QTY_CANCELED] -= qty
