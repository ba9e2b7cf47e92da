"""Child orders: how one is made, what its venue's reports do to it, and what happens when the venue is silent.

Quantity comes back to the parent with a terminal report and by no other way. A child that does not end within
`child_timeout_ns` is cancelled (and nothing else); an unanswered cancel is sent again, `max_cancels` times; then the
child is UNKNOWN: its leaves stay exposed, it is alerted, and its status is asked for at growing intervals until the
venue says something definite. Executions are idempotent on (venue, ExecID); a late fill or an overfill is booked and
alerted, because it happened.

Worst case: the loss of a session scans all children once.
"""

from __future__ import annotations

from engine.core import timers
from engine.core.emit import alert, child_order, child_request, parent_report, refusal
from engine.core.ids import CHILD_BIT, child_slot, remember_execution
from engine.core.state import (
    C_CHILDREN_SENT,
    C_FILLS,
    C_LATE_FILLS,
    C_OVERFILLS,
    C_QTY_CANCELED,
    C_QTY_FILLED,
    C_TIMEOUTS,
    DONE,
    NONE,
    W_CHILDREN_DONE,
    Events,
    Outbox,
    State,
)
from engine.jit import kernel
from engine.record.records import ExecType, Liquidity, OrdStatus, Reason, Side, Template, Tif

_BUY = int(Side.BUY)
_IOC, _FOK = int(Tif.IOC), int(Tif.FOK)
_ORDER_NEW, _CANCEL, _STATUS = int(Template.ORDER_NEW), int(Template.ORDER_CANCEL), int(Template.STATUS_REQUEST)
_FILL = int(Template.FILL)
_S_PENDING_NEW, _S_NEW, _S_PARTIAL = int(OrdStatus.PENDING_NEW), int(OrdStatus.NEW), int(OrdStatus.PARTIALLY_FILLED)
_S_FILLED, _S_CANCELED, _S_EXPIRED = int(OrdStatus.FILLED), int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED)
_S_REJECTED, _S_PENDING_CANCEL = int(OrdStatus.REJECTED), int(OrdStatus.PENDING_CANCEL)
_S_UNKNOWN = int(OrdStatus.UNKNOWN)
_X_NEW, _X_CANCELED, _X_EXPIRED = int(ExecType.NEW), int(ExecType.CANCELED), int(ExecType.EXPIRED)
_X_STATUS, _X_TRADE = int(ExecType.ORDER_STATUS), int(ExecType.TRADE)
_ADDED = int(Liquidity.ADDED)
_R_UNKNOWN_ORDER, _R_DUPLICATE_EXEC = int(Reason.UNKNOWN_ORDER), int(Reason.DUPLICATE_EXEC)
_R_OVERFILL, _R_TIMEOUT, _R_UNKNOWN_CHILD = int(Reason.OVERFILL), int(Reason.TIMEOUT), int(Reason.UNKNOWN_CHILD)
_R_BAD_QTY, _R_TERMINAL, _R_UNSUPPORTED = (
    int(Reason.IMPOSSIBLE_QTY),
    int(Reason.ORDER_TERMINAL),
    int(Reason.UNSUPPORTED),
)
_R_NONE = int(Reason.NONE)
#: Between two status requests about an UNKNOWN child the wait doubles up to this many times the child timeout.
_MAX_WAIT = 64


@kernel
def terminal(status: int) -> bool:
    """Whether an OrdStatus is final."""
    return status == _S_FILLED or status == _S_CANCELED or status == _S_EXPIRED or status == _S_REJECTED


@kernel
def wake(state: State, p: int, bits: int) -> None:
    """Put parent p on the work queue with these reasons; a parent is there at most once."""
    parent = state.parents[p]
    parent.wake = int(parent.wake) | bits
    if parent.queued == 0:
        parent.queued = 1
        core = state.core[0]
        state.work[(core.work_head + core.work_count) & (len(state.work) - 1)] = p
        core.work_count += 1


@kernel
def new_child(state: State, outbox: Outbox, p: int, venue: int, px: int, qty: int, tif: int) -> int:
    """Make a child of parent p and put its ORDER_NEW into the outbox; returns its slot, NONE where the table is full.

    `px` in price units, `qty` in quantity units. The risk gate still may block it before the step ends.
    """
    core = state.core[0]
    c = NONE
    for _ in range(len(state.children)):
        counter = core.next_child
        core.next_child += 1
        slot = int(counter & (len(state.children) - 1))
        if state.children[slot].parent == NONE or terminal(int(state.children[slot].ord_status)):
            c = slot
            break
    if c == NONE:
        return NONE
    state.child_orders[c] = state.parent_orders[p]
    order = state.child_orders[c]
    order.template_id = _ORDER_NEW
    order.order_id = state.params[0].id_base | CHILD_BIT | counter
    order.parent_id = state.parent_orders[p].order_id
    order.stream_id = -1
    order.stream_epoch = 0
    order.stream_seq = 0
    order.venue_id = venue
    order.ts_event_ns = core.now_ns
    order.ts_recv_ns = 0
    order.px = px
    order.qty = qty
    order.tif = tif
    order.min_qty = 0
    order.ttl_ms = _ttl_ms(state) if tif == _IOC or tif == _FOK else 0
    child = state.children[c]
    child.cum_qty = 0
    child.leaves_qty = qty
    child.sent_ns = core.now_ns
    child.venue_order[0] = 0
    child.venue_order[1] = 0
    child.reason = 0
    child.ord_status = _S_PENDING_NEW
    child.cancels = 0
    _link(state, p, c)
    state.parents[p].live_qty += qty
    core.live_children += 1
    state.counts[C_CHILDREN_SENT] += 1
    timers.arm(state, len(state.parents) + c, core.now_ns + state.params[0].child_timeout_ns)
    child_order(state, outbox, c)
    return c


@kernel
def _ttl_ms(state: State) -> int:
    """An immediate order must not execute after we would have given up on it."""
    ms = state.params[0].child_timeout_ns // 1_000_000
    return int(min(max(ms, 1), 2_000_000_000))


@kernel
def _link(state: State, p: int, c: int) -> None:
    parent, child = state.parents[p], state.children[c]
    first = int(parent.first_child)
    child.parent = p
    child.prev = NONE
    child.next = first
    if first != NONE:
        state.children[first].prev = c
    parent.first_child = c
    parent.live_children += 1


@kernel
def _unlink(state: State, p: int, c: int) -> None:
    parent, child = state.parents[p], state.children[c]
    before, after = int(child.prev), int(child.next)
    if before != NONE:
        state.children[before].next = after
    else:
        parent.first_child = after
    if after != NONE:
        state.children[after].prev = before
    child.prev = NONE
    child.next = NONE
    parent.live_children -= 1


@kernel
def finish_child(state: State, outbox: Outbox, c: int, status: int, reason: int) -> None:
    """End child c: its leaves return to the parent, which is woken when it was the last one alive."""
    child = state.children[c]
    p = int(child.parent)
    parent = state.parents[p]
    _unmark_unknown(state, c)
    parent.live_qty -= child.leaves_qty
    child.leaves_qty = 0
    child.ord_status = status
    child.reason = reason
    if status == _S_REJECTED:
        parent.excluded = parent.excluded | (1 << int(state.child_orders[c].venue_id))
    _unlink(state, p, c)
    timers.disarm(state, len(state.parents) + c)
    state.core[0].live_children -= 1
    if parent.live_children == 0 and parent.phase != DONE:
        wake(state, p, W_CHILDREN_DONE)


@kernel
def _unmark_unknown(state: State, c: int) -> None:
    if state.children[c].ord_status == _S_UNKNOWN:
        state.core[0].unknown_children -= 1


@kernel
def mark_unknown(state: State, outbox: Outbox, c: int) -> None:
    """Count child c as exposure of unknown state, and alert."""
    child = state.children[c]
    if child.ord_status != _S_UNKNOWN:
        child.ord_status = _S_UNKNOWN
        state.core[0].unknown_children += 1
        alert(
            state,
            outbox,
            _R_UNKNOWN_CHILD,
            int(state.child_orders[c].instrument_id),
            int(state.child_orders[c].order_id),
            int(child.leaves_qty),
        )


@kernel
def cancel_child(state: State, outbox: Outbox, c: int) -> None:
    """Ask the venue to cancel child c and watch for the answer; nothing is released."""
    child = state.children[c]
    if child.ord_status != _S_UNKNOWN:
        child.ord_status = _S_PENDING_CANCEL
    child.cancels += 1
    child_request(state, outbox, c, _CANCEL)
    timers.arm(state, len(state.parents) + c, state.core[0].now_ns + state.params[0].child_timeout_ns)


@kernel
def on_child_timer(state: State, outbox: Outbox, c: int) -> None:
    """A child's venue has been silent too long: cancel, again, then ask for its status."""
    child = state.children[c]
    if child.parent == NONE or terminal(int(child.ord_status)):
        return
    params = state.params[0]
    session = int(state.venues[int(state.child_orders[c].venue_id)].session)
    if state.sessions[session].up == 0:
        mark_unknown(state, outbox, c)
        return
    if child.cancels == 0:
        state.counts[C_TIMEOUTS] += 1
        alert(
            state, outbox, _R_TIMEOUT, int(state.child_orders[c].instrument_id), int(state.child_orders[c].order_id), 0
        )
    if child.cancels < params.max_cancels:
        cancel_child(state, outbox, c)
        return
    mark_unknown(state, outbox, c)
    child_request(state, outbox, c, _STATUS)
    tries = int(child.cancels) - int(params.max_cancels)
    if tries < 6:
        child.cancels += 1
    timers.arm(
        state, len(state.parents) + c, state.core[0].now_ns + params.child_timeout_ns * min(1 << (tries + 1), _MAX_WAIT)
    )


@kernel
def lose_session(state: State, outbox: Outbox, session: int) -> None:
    """The session is down: each of its live children is UNKNOWN from now on (one alert says how many)."""
    lost = 0
    for c in range(len(state.children)):
        child = state.children[c]
        if child.parent != NONE and not terminal(int(child.ord_status)):
            if state.venues[int(state.child_orders[c].venue_id)].session == session:
                if child.ord_status != _S_UNKNOWN:
                    child.ord_status = _S_UNKNOWN
                    state.core[0].unknown_children += 1
                timers.disarm(state, len(state.parents) + c)
                lost += 1
    if lost > 0:
        alert(state, outbox, _R_UNKNOWN_CHILD, -1, 0, lost)


@kernel
def regain_session(state: State, session: int) -> None:
    """The session is up again: ask for the status of each child that is UNKNOWN there, by way of its timer."""
    for c in range(len(state.children)):
        child = state.children[c]
        if child.parent != NONE and child.ord_status == _S_UNKNOWN:
            if state.venues[int(state.child_orders[c].venue_id)].session == session:
                child.cancels = state.params[0].max_cancels
                timers.arm(state, len(state.parents) + c, state.core[0].now_ns)


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


@kernel
def book_position(state: State, c: int, venue: int, px: int, qty: int, liquidity: int) -> None:
    """Add an execution of child c to its account's position: signed quantity and cost, fee."""
    order = state.child_orders[c]
    instrument = int(order.instrument_id)
    place = state.positions[int(order.account_id) * len(state.instruments) + instrument]
    sign = 1 if order.side == _BUY else -1
    place.qty += sign * qty
    place.cost += sign * money_of(state, instrument, px, qty)
    place.fee += fee_of(state, venue, instrument, px, qty, liquidity)
    place.fills += 1
    if sign > 0:
        place.bought_qty += qty
    else:
        place.sold_qty += qty
    state.counts[C_FILLS] += 1
    state.counts[C_QTY_FILLED] += qty


@kernel
def money_of(state: State, instrument: int, px: int, qty: int) -> int:
    """Money (1e-9 of the currency) of `qty` at `px`; the product is bounded by max_px and max_qty."""
    row = state.instruments[instrument]
    return int(px * qty * row.notional_mul // row.notional_div)


@kernel
def fee_of(state: State, venue: int, instrument: int, px: int, qty: int, liquidity: int) -> int:
    """Fee of an execution in 1e-9 of the currency; negative is a rebate. Rounded down."""
    line = state.venues[venue]
    added = liquidity == _ADDED
    rate = line.make_fee if added else line.take_fee
    ppm = line.make_ppm if added else line.take_ppm
    return int(rate * qty + money_of(state, instrument, px, qty) // 1_000_000 * ppm)
