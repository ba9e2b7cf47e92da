"""Replacing a child: the request, its answers, and a venue that changes terms by itself.

A child may have MAX_AMENDS unanswered replaces; `state.amends` holds their terms, the oldest first. Until one is
answered the old terms hold: LeavesQty is OrderQty less CumQty less what was busted. What a raise may yet add is
`reserved`: a strategy that asks `routable` what it may still send never promises it twice. An answer is matched by the
terms that it tells, else it is the oldest's; a rejection because another is pending is the newest's. An execution
beyond the old terms says that a raise has taken effect, whether or not its answer was heard.

The leaves that a venue tells are compared, not believed: fewer than ours, unasked, are a restatement; more are taken
back with a cancel, since nobody asked for them.

Worst case: `routable` walks the parent's live children, MAX_CHILDREN_A_TURN at most.
"""

from __future__ import annotations

from engine.core import undo
from engine.core.children import arm_child, cancel_child, conclude, hear, immediate, renew_status
from engine.core.emit import alert, child_request, left_of
from engine.core.exposure import may_become, settle
from engine.core.ids import slot_of_parent
from engine.core.lifecycle import M_ACCEPTED, M_CANCEL, M_STATUS, ChildEvent, Step, step_of
from engine.core.limits import MAX_AMENDS
from engine.core.state import C_REPLACES_SENT, C_UNSOLICITED, NONE, Events, Outbox, State
from engine.jit import kernel
from engine.record.records import OrdStatus, Reason, Template

_REPLACE = int(Template.ORDER_REPLACE)
_S_UNKNOWN, _S_PENDING_REPLACE = int(OrdStatus.UNKNOWN), int(OrdStatus.PENDING_REPLACE)
_R_UNSOLICITED, _R_PENDING = int(Reason.UNSOLICITED), int(Reason.REQUEST_PENDING)
_R_TERMINAL, _R_UNKNOWN_ORDER = int(Reason.ORDER_TERMINAL), int(Reason.UNKNOWN_ORDER)
_E_ASK_REPLACE, _D_SEND_REPLACE = int(ChildEvent.ASK_REPLACE), int(Step.SEND_REPLACE)


@kernel
def reserved(state: State, c: int) -> int:
    """How much more than its OrderQty the unanswered replaces of child c may make of it."""
    return may_become(state, c) - int(state.child_orders[c].qty)


@kernel
def routable(state: State, p: int) -> int:
    """What of parent p is not at a venue, and cannot come to be at one by an unanswered replace."""
    left = left_of(state, p) - int(state.parents[p].live_qty)
    c = int(state.parents[p].first_child)
    while c != NONE:
        if state.children[c].amends > 0:
            left -= reserved(state, c)
        c = int(state.children[c].next)
    return left if left > 0 else 0


@kernel
def replace_child(state: State, outbox: Outbox, c: int, px: int, qty: int) -> int:
    """Ask the venue of child c for another limit `px` and OrderQty `qty`; 1 where the request is in the outbox, else 0.

    0: the child is not open, never rests, has MAX_AMENDS unanswered already or is being asked about; `qty` is executed
    already (cancel it instead) or is more than its parent has to give. A request that passes may still be blocked by
    the risk gate before the step ends. What the child does meanwhile, PENDING_REPLACE included, is as in lifecycle.py.
    """
    child, order = state.children[c], state.child_orders[c]
    n = int(child.amends)
    if step_of(int(child.ord_status), _E_ASK_REPLACE) != _D_SEND_REPLACE or n == MAX_AMENDS:
        return 0
    if int(child.marks) & M_STATUS or immediate(int(order.tif)) or px <= 0 or qty <= child.cum_qty + child.busted_qty:
        return 0
    more = qty - int(order.qty) - reserved(state, c)
    if more > 0 and more > routable(state, slot_of_parent(state, c)):
        return 0
    undo.keep_child(state, c)
    state.amends[c].px[n] = px
    state.amends[c].qty[n] = qty
    child.amends = n + 1
    renew_status(state, c)
    k = child_request(state, outbox, c, _REPLACE)
    outbox.order[k].px = px
    outbox.order[k].qty = qty
    outbox.order[k].display_qty = min(int(order.display_qty), qty)
    arm_child(state, c, 1)
    state.counts[C_REPLACES_SENT] += 1
    return 1


@kernel
def forget_amend(state: State, c: int, k: int) -> None:
    """Drop the k-th unanswered replace of child c."""
    child = state.children[c]
    last = int(child.amends) - 1
    for n in range(k, last):
        state.amends[c].px[n] = state.amends[c].px[n + 1]
        state.amends[c].qty[n] = state.amends[c].qty[n + 1]
    child.amends = last
    if last == 0:
        child.marks = int(child.marks) & ~M_STATUS
    settle(state, c)


@kernel
def withdraw_amend(state: State, c: int, px: int, qty: int) -> None:
    """Drop the newest replace of child c that asks for these terms: it never left."""
    for k in range(int(state.children[c].amends) - 1, -1, -1):
        if state.amends[c].px[k] == px and state.amends[c].qty[k] == qty:
            forget_amend(state, c, k)
            break
    if int(state.children[c].marks) & M_ACCEPTED:
        hear(state, c)
    else:
        renew_status(state, c)


@kernel
def find_amend(state: State, c: int, px: int, qty: int) -> int:
    """Place of the oldest unanswered replace of child c that asks for these terms; NONE where none does."""
    done = int(state.children[c].cum_qty) + int(state.children[c].busted_qty)
    for k in range(state.children[c].amends):
        if state.amends[c].px[k] == px and max(int(state.amends[c].qty[k]), done) == qty:
            return k
    return NONE


@kernel
def set_terms(state: State, c: int, px: int, qty: int) -> None:
    """Give child c another limit and OrderQty, no less than what is executed or busted of it; its leaves follow."""
    child, order = state.children[c], state.child_orders[c]
    done = int(child.cum_qty) + int(child.busted_qty)
    order.px = px
    order.qty = max(qty, done)
    leaves = int(order.qty) - done
    state.parents[slot_of_parent(state, c)].live_qty += leaves - int(child.leaves_qty)
    child.leaves_qty = leaves
    settle(state, c)


@kernel
def take_terms(state: State, c: int, k: int) -> None:
    """The k-th unanswered replace of child c has taken effect."""
    px, qty = int(state.amends[c].px[k]), int(state.amends[c].qty[k])
    forget_amend(state, c, k)
    set_terms(state, c, px, qty)


@kernel
def take_terms_of_fill(state: State, c: int, qty: int) -> None:
    """An execution of `qty` is more than the leaves of child c: the raise that explains it has taken effect."""
    done = int(state.children[c].cum_qty) + int(state.children[c].busted_qty)
    for k in range(state.children[c].amends):
        if state.amends[c].qty[k] >= done + qty:
            take_terms(state, c, k)
            return


@kernel
def may_grow(state: State, c: int) -> bool:
    """Whether child c, with nothing left to execute, may yet get more by an unanswered replace."""
    done = int(state.children[c].cum_qty) + int(state.children[c].busted_qty)
    return int(state.child_orders[c].qty) + reserved(state, c) > done


@kernel
def told_leaves(state: State, events: Events, i: int, c: int) -> int:
    """The leaves of child c by report i: what the venue tells, and what it has executed and we have not heard of."""
    report = events.report[i]
    return int(report.leaves_qty) + max(int(report.cum_qty) - int(state.children[c].cum_qty), 0)


@kernel
def _settle(state: State, events: Events, i: int, outbox: Outbox, c: int) -> None:
    """After report i has changed the terms of child c: end it, take back what nobody asked for, or go on."""
    child = state.children[c]
    child.marks = int(child.marks) | M_ACCEPTED
    if child.leaves_qty == 0 and not may_grow(state, c):
        conclude(state, outbox, c)
        return
    hear(state, c)
    if told_leaves(state, events, i, c) > child.leaves_qty + reserved(state, c) and int(child.marks) & M_CANCEL == 0:
        _unsolicited(state, outbox, c, told_leaves(state, events, i, c))
        cancel_child(state, outbox, c)


@kernel
def _unsolicited(state: State, outbox: Outbox, c: int, value: int) -> None:
    state.counts[C_UNSOLICITED] += 1
    order = state.child_orders[c]
    alert(state, outbox, _R_UNSOLICITED, int(order.instrument_id), int(order.order_id), value)


@kernel
def on_replaced(state: State, events: Events, i: int, outbox: Outbox, c: int) -> None:
    """ACK Replaced: the replace that it answers has taken effect. Where none waits it is a restatement."""
    child, report = state.children[c], events.report[i]
    if child.amends == 0:
        on_restated(state, events, i, outbox, c)
        return
    total = int(child.cum_qty) + int(child.busted_qty) + told_leaves(state, events, i, c)
    take_terms(state, c, max(find_amend(state, c, int(report.last_px), total), 0))
    _settle(state, events, i, outbox, c)


@kernel
def on_restated(state: State, events: Events, i: int, outbox: Outbox, c: int) -> None:
    """ACK Restated: the venue has changed the terms by itself; what it took from the leaves is the parent's again."""
    child, report = state.children[c], events.report[i]
    leaves = min(told_leaves(state, events, i, c), int(child.leaves_qty))
    px = int(report.last_px) if report.last_px > 0 else int(state.child_orders[c].px)
    if leaves == told_leaves(state, events, i, c):
        _unsolicited(state, outbox, c, leaves)
    set_terms(state, c, px, int(child.cum_qty) + int(child.busted_qty) + leaves)
    _settle(state, events, i, outbox, c)


@kernel
def on_replace_reject(state: State, events: Events, i: int, outbox: Outbox, c: int) -> None:
    """CANCEL_REJECT of a replace of child c, which has one: its terms stay.

    Where the venue says that the order has ended or never came, and something is left of it, its status is asked next.
    """
    child, reason = state.children[c], int(events.report[i].reason)
    if reason == _R_TERMINAL or reason == _R_UNKNOWN_ORDER:
        while child.amends > 0:
            forget_amend(state, c, 0)
        if child.leaves_qty > 0:
            child.cancels = max(int(child.cancels), int(state.params[0].max_cancels))
            renew_status(state, c)
            arm_child(state, c, 1)
            return
    else:
        forget_amend(state, c, int(child.amends) - 1 if reason == _R_PENDING else 0)
    if child.leaves_qty == 0 and not may_grow(state, c):
        conclude(state, outbox, c)
    elif child.ord_status == _S_UNKNOWN or int(child.marks) & M_ACCEPTED == 0:
        renew_status(state, c)
    else:
        hear(state, c)


@kernel
def adopt(state: State, events: Events, i: int, outbox: Outbox, c: int) -> None:
    """ACK OrderStatus of child c, which lives: what was asked about an unanswered replace is known now.

    A venue does what it is asked in order: a replace that it was sent before the question and that its terms do not
    show will never take effect, unless it says that the order is pending replace.
    """
    child, report = state.children[c], events.report[i]
    was = int(child.ord_status)
    child.marks = int(child.marks) | M_ACCEPTED
    if int(child.marks) & M_STATUS and child.amends > 0 and report.ord_status != _S_PENDING_REPLACE:
        total = int(child.cum_qty) + int(child.busted_qty) + told_leaves(state, events, i, c)
        k = find_amend(state, c, int(report.last_px), total)
        if k != NONE:
            take_terms(state, c, k)
        while child.amends > 0:
            forget_amend(state, c, 0)
        if child.leaves_qty == 0:
            conclude(state, outbox, c)
            return
    child.marks = int(child.marks) & ~M_STATUS
    hear(state, c)
    if was == _S_UNKNOWN and child.ord_status != _S_UNKNOWN:
        # Live after all, and nobody waits for it any more: take it back.
        child.cancels = 0
        cancel_child(state, outbox, c)
