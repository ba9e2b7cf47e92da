"""Requests from clients and control: new orders, replaces, cancels, status, pause and resume, the kill flag.

Each request of a client is answered: by an ACK once it has taken effect, or by a REJECT or CANCEL_REJECT with a reason.
"""

from __future__ import annotations

from typing import Any

from engine.core.admit import check_terms
from engine.core.books import reference_px2
from engine.core.children import wake
from engine.core.day import of_today
from engine.core.duplicates import remember_order
from engine.core.emit import client_reject, is_open, new_record, parent_report, refusal
from engine.core.ids import drop_client_id, find_client_id, parent_slot
from engine.core.kill import kill_of, on_kill
from engine.core.limit_change import on_enable
from engine.core.limits import COUNT_MAX
from engine.core.parents import accept, ending, is_done, refuse_request, take_slot
from engine.core.risk import check_entry, check_size, reason_of, write_block
from engine.core.state import (
    C_PARENTS_REJECTED,
    C_QTY_ORDERED,
    C_QTY_REJECTED,
    FAILING,
    NONE,
    PENDING_REPLACE,
    W_CANCEL,
    W_EXPIRE,
    W_PAUSE,
    W_REPLACE,
    W_RESUME,
    W_START,
    Events,
    Outbox,
    State,
)
from engine.jit import kernel
from engine.record.records import RECORD_MAX, ControlAction, ExecType, Reason, Template

_ORDER_NEW, _REPLACE, _CANCEL = int(Template.ORDER_NEW), int(Template.ORDER_REPLACE), int(Template.ORDER_CANCEL)
_ACK, _REJECT, _CANCEL_REJECT = int(Template.ACK), int(Template.REJECT), int(Template.CANCEL_REJECT)
_CONTROL, _STATUS = int(Template.CONTROL), int(Template.STATUS_REQUEST)
_X_STATUS = int(ExecType.ORDER_STATUS)
_PAUSE, _RESUME = int(ControlAction.PAUSE), int(ControlAction.RESUME)
_ENABLE = int(ControlAction.ENABLE)
_R = {reason.name: int(reason) for reason in Reason}
_R_NONE, _R_FULL, _R_DUPLICATE = _R["NONE"], _R["TABLE_FULL"], _R["DUPLICATE_ORDER"]
_R_UNKNOWN, _R_TERMINAL, _R_KILLED = _R["UNKNOWN_ORDER"], _R["ORDER_TERMINAL"], _R["KILLED"]
_R_CLIENT, _R_PENDING = _R["CLIENT_REQUEST"], _R["REQUEST_PENDING"]
#: Wakes that wait for their turn and that a replace may not overtake.
_WAITING = W_REPLACE | W_PAUSE | W_CANCEL | W_EXPIRE


@kernel
def on_order(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """ORDER_NEW, ORDER_REPLACE, ORDER_CANCEL or STATUS_REQUEST of a client."""
    order = events.order[i]
    template, session = int(order.template_id), int(order.stream_id)
    if template == _ORDER_NEW:
        _on_new(state, events, i, session, outbox)
        return
    p = _find(state, session, int(order.order_id), int(order.cl_ord_id[0]), int(order.cl_ord_id[1]))
    if p == NONE:
        refusal(state, outbox, template, _R_UNKNOWN, int(order.order_id), 0)
        client_reject(state, outbox, order, _CANCEL_REJECT, session, _R_UNKNOWN)
    elif template == _STATUS:
        parent_report(state, outbox, p, _ACK, _X_STATUS, _R_NONE, _STATUS)
    elif is_done(state, p):
        refusal(state, outbox, template, _R_TERMINAL, int(order.order_id), int(state.parents[p].ord_status))
        refuse_request(state, outbox, p, template, _R_TERMINAL)
    elif template == _CANCEL:
        if not ending(state, p):
            state.parents[p].reason = _R_CLIENT
        wake(state, p, W_CANCEL)
    else:
        _on_replace(state, events, i, p, outbox)


@kernel
def _on_replace(state: State, events: Events, i: int, p: int, outbox: Outbox) -> None:
    order = events.order[i]
    mine, parent = state.parent_orders[p], state.parents[p]
    instrument, px, qty = int(mine.instrument_id), int(order.px), int(order.qty)
    rule = 0
    reason, value, limit = check_terms(state, instrument, int(mine.ord_type), px, qty)
    if reason == 0 and (_waits(state, p) or int(parent.wake) & _WAITING != 0):
        reason, value, limit = _R_PENDING, int(parent.phase), 0
    if reason == 0 and (qty > mine.qty or px > mine.px):
        rule, value, limit = kill_of(state, mine, NONE, int(parent.session))
        if rule == 0:
            rule, value, limit = check_size(state, instrument, _size_px(state, instrument, px), qty)
        reason = reason_of(rule) if rule != 0 else 0
    if reason != 0:
        if rule != 0:
            k = _copy_of(state, outbox, mine)
            outbox.order[k].px = px
            outbox.order[k].qty = qty
            write_block(state, outbox, k, rule, value, limit)
        refusal(state, outbox, _REPLACE, reason, value, limit)
        refuse_request(state, outbox, p, _REPLACE, reason)
        return
    parent.new_px = px
    parent.new_qty = qty
    wake(state, p, W_REPLACE)


@kernel
def _size_px(state: State, instrument: int, px: int) -> int:
    """The price at which an order's notional is taken: its limit, or of a market order the reference."""
    return px if px > 0 else (reference_px2(state, instrument) + 1) // 2


@kernel
def _copy_of(state: State, outbox: Outbox, order: Any) -> int:
    """A slot of the outbox with a client's order, which is to become a RISK_BLOCK; returns it."""
    k = new_record(state, outbox, _ORDER_NEW, RECORD_MAX)
    outbox.order[k] = order
    head = outbox.head[k]
    head.ts_event_ns = state.core[0].now_ns
    head.ts_recv_ns = 0
    head.stream_epoch = 0
    head.stream_seq = 0
    return k


@kernel
def _waits(state: State, p: int) -> bool:
    """Whether a request of parent p waits for its children, or its workflow is failing."""
    return bool(PENDING_REPLACE <= state.parents[p].phase <= FAILING)


@kernel
def _find(state: State, session: int, order_id: int, word0: int, word1: int) -> int:
    """The session's own parent by our id or by its; NONE where it has none such."""
    if order_id != 0:
        p = parent_slot(state, order_id)
        return p if p != NONE and state.parents[p].session == session else NONE
    return find_client_id(state, session, word0, word1)


@kernel
def _on_new(state: State, events: Events, i: int, session: int, outbox: Outbox) -> None:
    order = events.order[i]
    instrument, px, qty = int(order.instrument_id), int(order.px), int(order.qty)
    p = find_client_id(state, session, int(order.cl_ord_id[0]), int(order.cl_ord_id[1]))
    if p != NONE and not is_open(state, p) and not of_today(state, int(state.parent_orders[p].order_id)):
        drop_client_id(state, p)  # a ClOrdID is unique within a day
        p = NONE
    if p != NONE:
        if _same_order(state, events, i, p):
            parent_report(state, outbox, p, _ACK, _X_STATUS, _R_DUPLICATE, _ORDER_NEW)
        else:
            _reject_new(state, events, i, session, _R_DUPLICATE, int(state.parent_orders[p].order_id), 0, outbox)
        return
    rule, value, limit = kill_of(state, order, NONE, session)
    if rule == 0:
        rule, value, limit = check_size(state, instrument, _size_px(state, instrument, px), qty)
    if rule == 0:
        rule, value, limit = check_entry(state, events, i, session)
    if rule != 0:
        write_block(state, outbox, _copy_of(state, outbox, order), rule, value, limit)
        _reject_new(state, events, i, session, reason_of(rule), value, limit, outbox)
        return
    p, counter = take_slot(state)
    if p == NONE:
        _reject_new(state, events, i, session, _R_FULL, len(state.parents), len(state.parents), outbox)
        return
    remember_order(state, events, i, session)
    accept(state, events, i, session, p, counter, outbox)
    wake(state, p, W_START)


@kernel
def _reject_new(
    state: State, events: Events, i: int, session: int, reason: int, value: int, limit: int, outbox: Outbox
) -> None:
    order = events.order[i]
    state.counts[C_PARENTS_REJECTED] += 1
    if reason != _R_DUPLICATE:
        qty = min(int(order.qty), COUNT_MAX - int(state.counts[C_QTY_ORDERED]))
        state.counts[C_QTY_ORDERED] += qty
        state.counts[C_QTY_REJECTED] += qty
    refusal(state, outbox, _ORDER_NEW, reason, value, limit)
    client_reject(state, outbox, order, _REJECT, session, reason)


@kernel
def _same_order(state: State, events: Events, i: int, p: int) -> bool:
    """Whether an ORDER_NEW says what parent p's own said, before any replace."""
    new, old, parent = events.order[i], state.parent_orders[p], state.parents[p]
    return bool(
        new.instrument_id == old.instrument_id
        and new.side == old.side
        and new.qty == parent.first_qty
        and new.px == parent.first_px
        and new.ord_type == old.ord_type
        and new.tif == old.tif
        and new.min_qty == old.min_qty
        and new.display_qty == old.display_qty
        and new.account_id == old.account_id
    )


@kernel
def on_control(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """CONTROL: pause or resume one parent of the sender's; the kill flag (1, or why) by way of the control link."""
    control = events.control[i]
    action, session = int(control.action), int(control.stream_id)
    if action == _ENABLE:
        on_enable(state, events, i, outbox)
        return
    if action != _PAUSE and action != _RESUME:
        on_kill(state, events, i, outbox)
        return
    p = NONE
    if session >= 0:
        p = _find(state, session, int(control.order_id), int(control.cl_ord_id[0]), int(control.cl_ord_id[1]))
    if p == NONE:
        refusal(state, outbox, _CONTROL, _R_UNKNOWN, int(control.order_id), 0)
        if session >= 0:
            client_reject(state, outbox, control, _CANCEL_REJECT, session, _R_UNKNOWN)
    elif is_done(state, p):
        refusal(state, outbox, _CONTROL, _R_TERMINAL, int(control.order_id), int(state.parents[p].ord_status))
        refuse_request(state, outbox, p, _CONTROL, _R_TERMINAL)
    elif action == _PAUSE:
        state.parents[p].wake = int(state.parents[p].wake) & ~W_RESUME  # of two that wait for one turn, the later
        wake(state, p, W_PAUSE)
    else:
        state.parents[p].wake = int(state.parents[p].wake) & ~W_PAUSE
        wake(state, p, W_RESUME)
