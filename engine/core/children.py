"""Child orders: how one is made, how it ends, and what happens when its venue is silent.

What may happen in which state is declared in lifecycle.py. The steps are here (time, sessions, what we ask for), in
reports.py, amend.py and changes.py (what venues say).

Quantity comes back to the parent with a terminal report and by no other way (see reports.py). A child that does not end
within `child_timeout_ns` is cancelled (and nothing else); an unanswered replace is asked about before; an unanswered
cancel is sent again, `max_cancels` times; then the child is UNKNOWN: its leaves stay exposed, it is alerted, and its
status is asked for at growing intervals until the venue says something definite. On a session with a limit
(`pace_ns`) these cancels wait for it, with those of mass cancels (mass_cancel.py).

Worst case: the loss of a session scans all children once.
"""

from __future__ import annotations

from engine.core import timers, undo
from engine.core.books import take
from engine.core.emit import alert, child_order, child_request, is_open
from engine.core.exposure import settle
from engine.core.ids import CHILD_BIT, in_use, slot_of_parent
from engine.core.lifecycle import (
    M_CANCEL,
    M_DUE,
    M_STATUS,
    ChildEvent,
    Step,
    child_status,
    ended_status,
    step_of,
)
from engine.core.limits import MAX_CHILDREN_A_TURN
from engine.core.masses import count_ended
from engine.core.own import enlist, strike_off
from engine.core.state import C_CHILDREN_SENT, C_TIMEOUTS, NONE, W_CHILDREN_DONE, Outbox, State
from engine.jit import kernel
from engine.record.records import OrdStatus, Reason, Template, Tif

_IOC, _FOK = int(Tif.IOC), int(Tif.FOK)
_ORDER_NEW, _CANCEL, _STATUS = int(Template.ORDER_NEW), int(Template.ORDER_CANCEL), int(Template.STATUS_REQUEST)
_S_PENDING_NEW = int(OrdStatus.PENDING_NEW)
_S_FILLED, _S_CANCELED, _S_EXPIRED = int(OrdStatus.FILLED), int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED)
_S_REJECTED, _S_UNKNOWN = int(OrdStatus.REJECTED), int(OrdStatus.UNKNOWN)
_R_TIMEOUT, _R_UNKNOWN_CHILD, _R_NONE = int(Reason.TIMEOUT), int(Reason.UNKNOWN_CHILD), int(Reason.NONE)
_E_TIMEOUT, _E_LOST, _E_BACK = int(ChildEvent.TIMEOUT), int(ChildEvent.SESSION_LOST), int(ChildEvent.SESSION_BACK)
_E_ASK_CANCEL = int(ChildEvent.ASK_CANCEL)
_D_WATCH, _D_LOSE, _D_INQUIRE = int(Step.WATCH), int(Step.LOSE), int(Step.INQUIRE)
_D_SEND_CANCEL = int(Step.SEND_CANCEL)
#: Between two status requests about an UNKNOWN child the wait doubles up to this many times the child timeout.
_MAX_WAIT = 64


@kernel
def terminal(status: int) -> bool:
    """Whether an OrdStatus is final."""
    return status == _S_FILLED or status == _S_CANCELED or status == _S_EXPIRED or status == _S_REJECTED


@kernel
def wake(state: State, p: int, bits: int) -> None:
    """Put parent p on the work queue with these reasons; a parent is there at most once."""
    undo.keep_parent(state, p)
    parent = state.parents[p]
    parent.wake = int(parent.wake) | bits
    if parent.queued == 0:
        parent.queued = 1
        core = state.core[0]
        place = (core.work_head + core.work_count) & (len(state.work) - 1)
        undo.keep_word(state, undo.WORK, place, state.work[place])
        state.work[place] = p
        core.work_count += 1


@kernel
def new_child(state: State, outbox: Outbox, p: int, venue: int, px: int, qty: int, tif: int) -> int:
    """Make a child of parent p and put its ORDER_NEW into the outbox; returns its slot, NONE where the table is full.

    `px` in price units, `qty` in quantity units. What an immediate child goes after is taken off the venue's displayed
    size. The risk gate still may block it before the step ends. A parent has MAX_CHILDREN_A_TURN live ones at most, so
    that one turn can cancel them all.
    """
    core = state.core[0]
    c = NONE
    if state.parents[p].live_children >= MAX_CHILDREN_A_TURN or core.live_children == len(state.children):
        return NONE
    for _ in range(len(state.children)):
        counter = core.next_child
        core.next_child += 1
        slot = int(counter & (len(state.children) - 1))
        if not in_use(state, slot) or terminal(int(state.children[slot].ord_status)):
            c = slot
            break
    if c == NONE:
        return NONE
    undo.keep_child(state, c)
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
    order.display_qty = 0 if immediate(tif) else _displayed(state, c)
    order.ttl_ms = _ttl_ms(state) if immediate(tif) else 0
    child = state.children[c]
    child.cum_qty = 0
    child.leaves_qty = qty
    child.busted_qty = 0
    child.venue_order[0] = 0
    child.venue_order[1] = 0
    child.reason = 0
    child.ord_status = _S_PENDING_NEW
    child.cancels = 0
    child.marks = 0
    child.amends = 0
    child.masses = 0
    _link(state, p, c)
    state.parents[p].live_qty += qty
    core.live_children += 1
    state.counts[C_CHILDREN_SENT] += 1
    if immediate(tif):
        take(state, quote_slot(state, c), int(order.side), qty)
    elif state.venues[venue].shows_own != 0:
        enlist(state, quote_slot(state, c), c)
    arm_child(state, c, 1)
    child_order(state, outbox, c)
    return c


@kernel
def _displayed(state: State, c: int) -> int:
    """DisplayQty of a child that rests: its parent's, in whole lots of its venue; 0 shows all."""
    order = state.child_orders[c]
    if order.display_qty == 0:
        return 0
    lot = int(state.lots[quote_slot(state, c)])
    return min(max(int(order.display_qty) // lot * lot, lot), int(order.qty))


@kernel
def immediate(tif: int) -> bool:
    """Whether an order of this TimeInForce never rests."""
    return tif == _IOC or tif == _FOK


@kernel
def quote_slot(state: State, c: int) -> int:
    """Place in `quotes` of the venue and the instrument of child c."""
    order = state.child_orders[c]
    return int(order.instrument_id) * int(state.params[0].venue_stride) + int(order.venue_id)


@kernel
def arm_child(state: State, c: int, times: int) -> None:
    """Look after child c when so many child timeouts have passed."""
    at_ns = int(state.core[0].now_ns) + int(state.params[0].child_timeout_ns) * times
    timers.arm(state, len(state.parents) + c, at_ns)


@kernel
def _ttl_ms(state: State) -> int:
    """An immediate order must not execute after we would have given up on it."""
    ms = state.params[0].child_timeout_ns // 1_000_000
    return int(min(max(ms, 1), 2_000_000_000))


@kernel
def _link(state: State, p: int, c: int) -> None:
    parent, child = state.parents[p], state.children[c]
    first = int(parent.first_child)
    child.next = first
    parent.first_child = c
    parent.live_children += 1


@kernel
def _unlink(state: State, p: int, c: int) -> None:
    """Take child c out of its parent's list, which holds MAX_CHILDREN_A_TURN at most."""
    parent, child = state.parents[p], state.children[c]
    before, after = int(parent.first_child), int(child.next)
    if before == c:
        parent.first_child = after
    else:
        for _ in range(int(parent.live_children)):
            if before == NONE or state.children[before].next == c:
                break
            before = int(state.children[before].next)
        assert before != NONE, "a live child is in its parent's list"
        state.children[before].next = after
    child.next = NONE
    parent.live_children -= 1


@kernel
def finish_child(state: State, outbox: Outbox, c: int, status: int, reason: int) -> None:
    """End child c: its leaves return to the parent, which is woken when it was the last one alive."""
    child = state.children[c]
    p = slot_of_parent(state, c)
    parent = state.parents[p]
    _unmark_unknown(state, c)
    if int(child.marks) & M_DUE:
        state.sessions[int(state.venues[int(state.child_orders[c].venue_id)].session)].due -= 1
    if child.masses != 0:
        count_ended(state, c)
    parent.live_qty -= child.leaves_qty
    child.leaves_qty = 0
    child.marks = 0
    child.amends = 0
    child.ord_status = status
    child.reason = reason
    settle(state, c)
    if status == _S_REJECTED:
        parent.excluded = parent.excluded | (1 << int(state.child_orders[c].venue_id))
    _unlink(state, p, c)
    order = state.child_orders[c]
    if state.venues[int(order.venue_id)].shows_own != 0 and not immediate(int(order.tif)):
        strike_off(state, quote_slot(state, c), c)
    timers.disarm(state, len(state.parents) + c)
    state.core[0].live_children -= 1
    if parent.live_children == 0 and is_open(state, p):
        wake(state, p, W_CHILDREN_DONE)


@kernel
def conclude(state: State, outbox: Outbox, c: int) -> None:
    """End child c, of which nothing is left: Filled, or Canceled where a part was busted, or all taken from it."""
    cum_qty = int(state.children[c].cum_qty)
    filled = cum_qty > 0 and cum_qty >= state.child_orders[c].qty
    finish_child(state, outbox, c, _S_FILLED if filled else _S_CANCELED, _R_NONE)


@kernel
def renew_status(state: State, c: int) -> None:
    """Give child c the status that follows from what is known of it; UNKNOWN stays until its venue is heard."""
    child = state.children[c]
    if terminal(int(child.ord_status)):
        child.ord_status = ended_status(state, c)
    elif child.ord_status != _S_UNKNOWN:
        child.ord_status = child_status(state, c)


@kernel
def hear(state: State, c: int) -> None:
    """Its venue says that child c lives: it is not UNKNOWN, and its timer is for what still waits for an answer.

    What it said before its session was lost proves nothing when read after that: UNKNOWN stays, to be asked about.
    """
    child = state.children[c]
    was = int(child.ord_status)
    if was == _S_UNKNOWN and not reachable(state, c):
        return
    _unmark_unknown(state, c)
    child.ord_status = child_status(state, c)
    if child.cancels == 0 and child.amends == 0 and not immediate(int(state.child_orders[c].tif)):
        timers.disarm(state, len(state.parents) + c)
    elif was == _S_UNKNOWN:
        arm_child(state, c, 1)


@kernel
def reachable(state: State, c: int) -> bool:
    """Whether the session of child c's venue is up."""
    return bool(state.sessions[int(state.venues[int(state.child_orders[c].venue_id)].session)].up != 0)


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
    if ask_cancel(state, c):
        child_request(state, outbox, c, _CANCEL)


@kernel
def ask_cancel(state: State, c: int) -> bool:
    """Note that child c is asked to be cancelled now, and watch for the answer; False where that makes no sense."""
    undo.keep_child(state, c)
    child = state.children[c]
    if step_of(int(child.ord_status), _E_ASK_CANCEL) != _D_SEND_CANCEL:
        return False
    child.marks = int(child.marks) | M_CANCEL
    renew_status(state, c)
    child.cancels += 1
    arm_child(state, c, 1)
    return True


@kernel
def ask_status(state: State, outbox: Outbox, c: int) -> None:
    """Ask the venue what became of child c."""
    state.children[c].marks = int(state.children[c].marks) | M_STATUS
    child_request(state, outbox, c, _STATUS)


@kernel
def on_child_timer(state: State, outbox: Outbox, c: int) -> None:
    """A child's venue has been silent too long: ask about a replace, cancel, again, then ask for its status."""
    child = state.children[c]
    if not in_use(state, c) or step_of(int(child.ord_status), _E_TIMEOUT) != _D_WATCH:
        return
    params = state.params[0]
    if not reachable(state, c):
        mark_unknown(state, outbox, c)
        return
    asked = int(child.marks) & M_STATUS != 0
    if child.cancels == 0 and not asked:
        state.counts[C_TIMEOUTS] += 1
        alert(
            state, outbox, _R_TIMEOUT, int(state.child_orders[c].instrument_id), int(state.child_orders[c].order_id), 0
        )
        if child.amends > 0:
            ask_status(state, outbox, c)
            arm_child(state, c, 1)
            return
    if child.cancels < params.max_cancels:
        if not _wait_for_pace(state, c):
            cancel_child(state, outbox, c)
        return
    mark_unknown(state, outbox, c)
    ask_status(state, outbox, c)
    tries = int(child.cancels) - int(params.max_cancels)
    if tries < 6:
        child.cancels += 1
    arm_child(state, c, min(1 << (tries + 1), _MAX_WAIT))


@kernel
def _wait_for_pace(state: State, c: int) -> bool:
    """Leave the cancel of child c, whose timer has fired, to the TIMER that is due now, at its session's pace; False
    where the session has no limit."""
    child = state.children[c]
    line = state.sessions[int(state.venues[int(state.child_orders[c].venue_id)].session)]
    if line.pace_ns == 0:
        return False
    if int(child.marks) & M_DUE == 0:
        child.marks = int(child.marks) | M_DUE
        line.due += 1
    line.due_at = min(int(line.due_at), c)
    state.core[0].mass_at_ns = state.core[0].now_ns
    return True


@kernel
def lose_session(state: State, outbox: Outbox, session: int) -> None:
    """The session is down: each of its live children is UNKNOWN from now on (one alert says how many)."""
    lost = 0
    for c in range(len(state.children)):
        child = state.children[c]
        if in_use(state, c) and step_of(int(child.ord_status), _E_LOST) == _D_LOSE:
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
        if in_use(state, c) and step_of(int(child.ord_status), _E_BACK) == _D_INQUIRE:
            if state.venues[int(state.child_orders[c].venue_id)].session == session:
                child.cancels = state.params[0].max_cancels
                timers.arm(state, len(state.parents) + c, state.core[0].now_ns)
