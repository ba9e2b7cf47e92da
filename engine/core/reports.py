"""What venues' reports on orders do: acceptances, executions, rejects, the end of a child.

A report counts where it names a child, its venue and its instrument. It becomes an event, and the table of lifecycle.py
says what that does in the child's state. Executions, and reports that change terms, are idempotent on (venue, ExecID).
A late fill or an overfill is booked and alerted, because it happened. A venue that ends a child says how much of it was
executed: where we have heard of less, the child is UNKNOWN until those executions arrive, and is asked about. A venue
that ends a child which nobody asked it to end is believed, and alerted.

Busts and corrections are in changes.py, replaces in amend.py.
"""

from __future__ import annotations

from engine.core.amend import (
    adopt,
    may_grow,
    on_replace_reject,
    on_replaced,
    on_restated,
    take_terms_of_fill,
)
from engine.core.children import (
    arm_child,
    conclude,
    finish_child,
    hear,
    immediate,
    mark_unknown,
    renew_status,
    terminal,
    wake,
)
from engine.core.day import forgotten
from engine.core.emit import alert, is_open, left_of, number_of, parent_report, refusal
from engine.core.exposure import revalue, room_for_value, set_peaks, settle
from engine.core.ids import child_slot, find_execution, parent_slot, remember_execution, slot_of_parent
from engine.core.lifecycle import M_ACCEPTED, M_CANCEL, ChildEvent, Step, may_lead, parent_status, refusal_of, step_of
from engine.core.masses import count_fill
from engine.core.positions import fee_of, money_of, move_position, position_of, room_for
from engine.core.protected import note_refusal
from engine.core.rates import count_execution
from engine.core.state import (
    C_FILLS,
    C_LATE_FILLS,
    C_OVERFILLS,
    C_QTY_BUSTED,
    C_QTY_CANCELED,
    C_QTY_OVERFILLED,
    C_REPORTS_IGNORED,
    C_UNSOLICITED,
    NONE,
    W_CHILDREN_DONE,
    Events,
    Outbox,
    State,
)
from engine.jit import kernel
from engine.record.records import ExecType, OrdStatus, Reason, Template

_ACK, _FILL, _REJECT, _REPLACE = (
    int(Template.ACK),
    int(Template.FILL),
    int(Template.REJECT),
    int(Template.ORDER_REPLACE),
)
_S_FILLED, _S_CANCELED, _S_EXPIRED = int(OrdStatus.FILLED), int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED)
_S_REJECTED = int(OrdStatus.REJECTED)
_X_NEW, _X_CANCELED, _X_EXPIRED = int(ExecType.NEW), int(ExecType.CANCELED), int(ExecType.EXPIRED)
_X_REPLACED, _X_RESTATED, _X_STATUS = int(ExecType.REPLACED), int(ExecType.RESTATED), int(ExecType.ORDER_STATUS)
_X_PENDING_NEW, _X_PENDING_CANCEL = int(ExecType.PENDING_NEW), int(ExecType.PENDING_CANCEL)
_X_PENDING_REPLACE, _X_SUSPENDED = int(ExecType.PENDING_REPLACE), int(ExecType.SUSPENDED)
_X_TRADE = int(ExecType.TRADE)
_R = {reason.name: int(reason) for reason in Reason}
_R_UNKNOWN_ORDER, _R_DUPLICATE_EXEC, _R_UNSUPPORTED = _R["UNKNOWN_ORDER"], _R["DUPLICATE_EXEC"], _R["UNSUPPORTED"]
_R_NONE, _R_OVERFILL, _R_TERMINAL, _R_BUSTED = _R["NONE"], _R["OVERFILL"], _R["ORDER_TERMINAL"], _R["BUSTED"]
_R_OVERFLOW, _R_ORDER, _R_UNSOLICITED = _R["OVERFLOW"], _R["NOT_IN_ORDER"], _R["UNSOLICITED"]
_E = {event.name: int(event) for event in ChildEvent}
_E_ACK_NEW, _E_ACK_PENDING, _E_REJECTED = _E["ACK_NEW"], _E["ACK_PENDING"], _E["REJECTED"]
_E_PARTIAL_FILL, _E_FULL_FILL, _E_CANCELED, _E_EXPIRED = (
    _E["PARTIAL_FILL"],
    _E["FULL_FILL"],
    _E["CANCELED"],
    _E["EXPIRED"],
)
_E_CANCEL_REJECT, _E_REPLACED, _E_REPLACE_REJECT = _E["CANCEL_REJECT"], _E["REPLACED"], _E["REPLACE_REJECT"]
_E_RESTATED, _E_STATUS_LIVE, _E_STATUS_DONE = _E["RESTATED"], _E["STATUS_LIVE"], _E["STATUS_DONE"]
_D = {step.name: int(step) for step in Step}
_D_IGNORE, _D_REFUSE = _D["IGNORE"], _D["REFUSE"]
_D_ACCEPT, _D_BOOK, _D_END, _D_REJECT, _D_KEEP = _D["ACCEPT"], _D["BOOK"], _D["END"], _D["REJECT"], _D["KEEP"]
_D_REPLACE, _D_UNREPLACE, _D_RESTATE = _D["REPLACE"], _D["UNREPLACE"], _D["RESTATE"]
_D_ADOPT = _D["ADOPT"]


@kernel
def _named_child(state: State, events: Events, i: int) -> int:
    """Slot of the child that report i is about; NONE where it names none, not this venue's, or a forgotten one."""
    report = events.report[i]
    c = child_slot(state, int(report.order_id))
    if c == NONE:
        return NONE
    order = state.child_orders[c]
    if forgotten(state, c):
        return NONE
    return c if order.venue_id == report.venue_id and order.instrument_id == report.instrument_id else NONE


@kernel
def _event_of(template: int, exec_type: int, ord_status: int, request: int) -> int:
    """The ChildEvent that a report (no FILL) stands for; NONE where it can stand for none."""
    if template == _REJECT:
        return _E_REJECTED
    if template != _ACK:
        return _E_REPLACE_REJECT if request == _REPLACE else _E_CANCEL_REJECT
    if exec_type == _X_NEW:
        return _E_ACK_NEW
    if exec_type == _X_CANCELED:
        return _E_CANCELED
    if exec_type == _X_EXPIRED:
        return _E_EXPIRED
    if exec_type == _X_STATUS:
        return _E_STATUS_DONE if terminal(ord_status) else _E_STATUS_LIVE
    if exec_type == _X_REPLACED:
        return _E_REPLACED
    if exec_type == _X_RESTATED:
        return _E_RESTATED
    if exec_type in (_X_PENDING_NEW, _X_PENDING_CANCEL, _X_PENDING_REPLACE, _X_SUSPENDED):
        return _E_ACK_PENDING
    return NONE


@kernel
def on_report(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """ACK, REJECT or CANCEL_REJECT of a venue on a child: what the table says of its state and this event."""
    report = events.report[i]
    template, order_id = int(report.template_id), int(report.order_id)
    c = _named_child(state, events, i)
    if c == NONE:
        refusal(state, outbox, template, _R_UNKNOWN_ORDER, order_id, 0)
        return
    event = _event_of(template, int(report.exec_type), int(report.ord_status), int(report.request))
    if event == NONE:
        refusal(state, outbox, template, _R_UNSUPPORTED, int(report.exec_type), 0)
        return
    child = state.children[c]
    before = int(child.ord_status)
    step = step_of(before, event)
    if step == _D_IGNORE:
        state.counts[C_REPORTS_IGNORED] += 1
    elif step == _D_REFUSE:
        reason = refusal_of(before, event)
        refusal(state, outbox, template, reason, order_id, before if reason == _R_TERMINAL else 0)
    elif not _asked(state, c, step):
        refusal(state, outbox, template, _R_ORDER, order_id, 0)
    elif _told_before(state, events, i, c, step):
        refusal(state, outbox, template, _R_DUPLICATE_EXEC, order_id, 0)
    else:
        if template == _ACK:
            child.venue_order[0] = report.peer_id[0]
            child.venue_order[1] = report.peer_id[1]
        _take(state, events, i, outbox, c, step)
        assert may_lead(before, event, int(child.ord_status)), "a step leads where its table says"


@kernel
def _asked(state: State, c: int, step: int) -> bool:
    """Whether we asked for what a refused request's step answers; an UNKNOWN child does not show it by its status."""
    child = state.children[c]
    if step == _D_KEEP:
        return int(child.marks) & M_CANCEL != 0
    return step != _D_UNREPLACE or child.amends > 0


@kernel
def _told_before(state: State, events: Events, i: int, c: int, step: int) -> bool:
    """Whether a report that changes terms was taken before; else it is remembered, where it has an ExecID.

    A venue sends again what was not acknowledged when its session was lost: old terms must not come back by that.
    """
    if step != _D_REPLACE and step != _D_RESTATE and step != _D_UNREPLACE:
        return False
    report = events.report[i]
    venue, word0, word1 = int(report.venue_id), int(report.exec_id[0]), int(report.exec_id[1])
    if word0 == 0 and word1 == 0:
        return False
    if find_execution(state, venue, word0, word1) != NONE:
        return True
    row = state.execs[remember_execution(state, venue, word0, word1)]
    row.order_id = report.order_id
    row.qty = 0
    row.px = 0
    row.place = position_of(state, c)
    row.side = int(state.child_orders[c].side)
    row.liquidity = 0
    row.told_seq = 0
    return False


@kernel
def _take(state: State, events: Events, i: int, outbox: Outbox, c: int, step: int) -> None:
    """Carry a step of the table out."""
    if step == _D_ACCEPT:
        accept_child(state, c)
    elif step == _D_END:
        end_child(state, events, i, outbox, c)
    elif step == _D_ADOPT:
        adopt(state, events, i, outbox, c)
    elif step == _D_REJECT:
        reject_child(state, outbox, c, int(events.report[i].reason))
    elif step == _D_KEEP:
        keep_child(state, c)
    elif step == _D_REPLACE:
        on_replaced(state, events, i, outbox, c)
    elif step == _D_UNREPLACE:
        on_replace_reject(state, events, i, outbox, c)
    else:
        assert step == _D_RESTATE, "every step of the table is carried out"
        on_restated(state, events, i, outbox, c)


@kernel
def accept_child(state: State, c: int) -> None:
    """The venue has it; a resting order that waits for nothing needs no timer any more."""
    state.children[c].marks = int(state.children[c].marks) | M_ACCEPTED
    hear(state, c)


@kernel
def end_child(state: State, events: Events, i: int, outbox: Outbox, c: int) -> None:
    """The venue says that it is over: cancelled, expired, or ended in the status that we asked for."""
    child, report = state.children[c], events.report[i]
    kind, status = int(report.exec_type), int(report.ord_status)
    if report.cum_qty > child.cum_qty:
        # It executed more than we have been told: the leaves stay until those executions arrive.
        mark_unknown(state, outbox, c)
        arm_child(state, c, 1)
        return
    order = state.child_orders[c]
    if kind == _X_CANCELED and int(child.marks) & M_CANCEL == 0 and not immediate(int(order.tif)):
        state.counts[C_UNSOLICITED] += 1
        alert(state, outbox, _R_UNSOLICITED, int(order.instrument_id), int(order.order_id), int(child.leaves_qty))
    if kind == _X_EXPIRED:
        status = _S_EXPIRED
    elif kind == _X_CANCELED or (status == _S_FILLED and child.cum_qty < order.qty):
        status = _S_CANCELED
    elif status == _S_REJECTED and child.cum_qty > 0:
        status = _S_CANCELED  # what executed was alive
    if status == _S_REJECTED:
        note_refusal(state, c)
    finish_child(state, outbox, c, status, int(report.reason))


@kernel
def reject_child(state: State, outbox: Outbox, c: int, reason: int) -> None:
    """The child never lived (or, to a status request, never came); one with executions did, and is cancelled."""
    executed = state.children[c].cum_qty > 0
    note_refusal(state, c)
    finish_child(state, outbox, c, _S_CANCELED if executed else _S_REJECTED, reason)


@kernel
def keep_child(state: State, c: int) -> None:
    """The venue will not cancel: only a report on the order itself can end it, so its timer asks for its status."""
    child = state.children[c]
    child.marks = int(child.marks) & ~M_CANCEL
    child.cancels = max(int(child.cancels), int(state.params[0].max_cancels))
    renew_status(state, c)


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
    place, side, p = position_of(state, c), int(state.child_orders[c].side), parent_of(state, c)
    money = money_of(state, int(report.instrument_id), px, qty)
    fee = fee_of(state, venue, int(report.instrument_id), qty, money, liquidity)
    if not room_for(state, place, side, p, qty, money, fee) or not room_for_value(state, place, side, qty, px):
        refusal(state, outbox, template, _R_OVERFLOW, qty, px)
        return
    if find_execution(state, venue, int(report.exec_id[0]), int(report.exec_id[1])) != NONE:
        refusal(state, outbox, template, _R_DUPLICATE_EXEC, int(report.order_id), 0)
        return
    e = remember_execution(state, venue, int(report.exec_id[0]), int(report.exec_id[1]))
    row = state.execs[e]
    row.order_id = report.order_id
    row.qty = qty
    row.px = px
    row.place = place
    row.side = side
    row.liquidity = liquidity
    row.told_seq = 0
    long, short = int(state.exposures[place].buy_peak), int(state.exposures[place].sell_peak)
    before = int(state.children[c].ord_status)
    event = _E_FULL_FILL if qty >= state.children[c].leaves_qty else _E_PARTIAL_FILL
    assert step_of(before, event) == _D_BOOK, "executions are booked in every state"
    book_child(state, outbox, c, qty)
    state.counts[C_FILLS] += 1
    move_position(state, place, side, qty, money, fee, 1)
    revalue(state, place, px)
    count_execution(state, outbox, int(state.child_orders[c].algo_id), int(report.instrument_id), int(report.order_id))
    book_parent(state, p, qty, money, fee)
    if p != NONE:
        k = parent_report(state, outbox, p, _FILL, _X_TRADE, _R_NONE, 0)
        out = outbox.report[k]
        out.venue_id = venue
        out.last_px = px
        out.last_qty = qty
        out.liquidity = liquidity
        row.told_seq = number_of(state, outbox, k)
    after_booking(state, outbox, c, p)
    set_peaks(state, place, long, short)
    assert may_lead(before, event, int(state.children[c].ord_status)), "a fill leads where its table says"


@kernel
def parent_of(state: State, c: int) -> int:
    """Slot of the parent of child c; NONE where that slot has been taken again since the child ended."""
    return parent_slot(state, int(state.child_orders[c].parent_id))


@kernel
def after_booking(state: State, outbox: Outbox, c: int, p: int) -> None:
    """What more of an execution means for the status of child c, and whether parent p (NONE: none) is done."""
    child = state.children[c]
    if not terminal(int(child.ord_status)) and child.leaves_qty == 0 and not may_grow(state, c):
        conclude(state, outbox, c)
    else:
        renew_status(state, c)
    if p != NONE and is_open(state, p) and left_of(state, p) == 0:
        wake(state, p, W_CHILDREN_DONE)


@kernel
def book_child(state: State, outbox: Outbox, c: int, qty: int) -> None:
    """Add an execution to a child; what is beyond its leaves came late, again or is an overfill, and alerts."""
    child, order = state.children[c], state.child_orders[c]
    ended = terminal(int(child.ord_status))
    child.marks = int(child.marks) | M_ACCEPTED
    if qty > child.leaves_qty and child.amends > 0:
        take_terms_of_fill(state, c, qty)
    room = max(int(order.qty) - int(child.cum_qty) - int(child.busted_qty), 0)
    if child.masses != 0:
        count_fill(state, c)
    taken = min(qty, int(child.leaves_qty))
    child.busted_qty -= min(qty - min(qty, room), int(child.busted_qty))
    child.cum_qty += qty
    child.leaves_qty -= taken
    if taken > 0:
        state.parents[slot_of_parent(state, c)].live_qty -= taken
        settle(state, c)
    if taken < qty:
        late = child.cum_qty <= order.qty
        state.counts[C_LATE_FILLS if late else C_OVERFILLS] += 1
        code = _R_OVERFILL
        if late:
            code = _R_TERMINAL if ended else _R_BUSTED
        alert(state, outbox, code, int(order.instrument_id), int(order.order_id), qty)


@kernel
def book_parent(state: State, p: int, qty: int, money: int, fee: int) -> None:
    """Add an execution to parent p: quantity, money and fee (1e-9 of the currency), status.

    It comes out of what is left (of an ended parent: of what was cancelled), then out of what was busted, and is an
    overfill beyond. ordered = filled - overfilled + cancelled + rejected + busted + open, at every moment (the
    counters' sum). p is NONE where the execution came so late that the parent's slot has been taken again.
    """
    if p == NONE:
        state.counts[C_QTY_OVERFILLED] += qty
        return
    parent = state.parents[p]
    taken = min(qty, left_of(state, p))
    again = min(qty - taken, int(parent.busted_qty))
    parent.busted_qty -= again
    parent.cum_qty += qty
    parent.notional += money
    parent.fee += fee
    state.counts[C_QTY_BUSTED] -= again
    state.counts[C_QTY_OVERFILLED] += qty - taken - again
    if not is_open(state, p):
        state.counts[C_QTY_CANCELED] -= taken
    parent.ord_status = parent_status(state, p)
