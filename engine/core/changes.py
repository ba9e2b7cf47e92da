"""Busts and corrections: a venue takes an execution back, or says that it was another.

The execution is found by (venue, ExecRefID) among those remembered, whether that names the execution itself or an
earlier correction of it; a bust or correction is idempotent on its own ExecID. What is undone is to the unit what was
booked: CumQty, money and fee on child and parent, and the position. A correction of a quantity upward is an execution
of the difference, one downward is a bust of it; another price changes money and fee.

Busted quantity is a term of its own: order = cum + leaves + cancelled + busted. It is never routed again by itself, nor
does a venue that puts it back into its book get it back into the child's leaves: what it then executes is booked and
alerted. The client is told by a BUST or CORRECT on its session whose ExecRefID is the ExecID that it knows, and may
send a new order. Where the slot of the child has been taken again, only the position changes.
"""

from __future__ import annotations

from engine.core.children import renew_status
from engine.core.emit import alert, parent_change, refusal
from engine.core.exposure import revalue, room_for_value
from engine.core.ids import child_slot, find_execution, remember_execution
from engine.core.lifecycle import ChildEvent, Step, may_lead, parent_status, step_of
from engine.core.positions import fee_of, fits, money_of, move_position, room_for
from engine.core.reports import after_booking, book_child, book_parent, parent_of
from engine.core.state import (
    C_BUSTS,
    C_CORRECTS,
    C_QTY_BUSTED,
    C_QTY_OVERFILLED,
    NONE,
    Events,
    Outbox,
    State,
)
from engine.jit import kernel
from engine.record.records import ExecType, Reason, Template

_BUST, _CORRECT = int(Template.BUST), int(Template.CORRECT)
_X_CORRECT, _X_CANCEL = int(ExecType.TRADE_CORRECT), int(ExecType.TRADE_CANCEL)
_R_DUPLICATE_EXEC, _R_OVERFLOW = int(Reason.DUPLICATE_EXEC), int(Reason.OVERFLOW)
_R_UNKNOWN_EXEC, _R_BUSTED, _R_CORRECTED = int(Reason.UNKNOWN_EXEC), int(Reason.BUSTED), int(Reason.CORRECTED)
_E_BUST, _E_CORRECT = int(ChildEvent.BUST), int(ChildEvent.CORRECT)
_D_CHANGE = int(Step.CHANGE)


@kernel
def _find(state: State, events: Events, i: int) -> int:
    """Row of what now stands for the execution that record i names; NONE where it is not remembered, or another's."""
    change = events.change[i]
    e = find_execution(state, int(change.venue_id), int(change.exec_ref_id[0]), int(change.exec_ref_id[1]))
    if e == NONE:
        return NONE
    row = state.execs[e]
    instrument = int(row.place) % len(state.instruments)
    if row.order_id != change.order_id or instrument != change.instrument_id:
        return NONE
    while row.next != NONE:
        e = int(row.next)
        row = state.execs[e]
    return e


@kernel
def on_change(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """BUST or CORRECT of a venue."""
    change = events.change[i]
    template, venue = int(change.template_id), int(change.venue_id)
    order_id, instrument = int(change.order_id), int(change.instrument_id)
    word0, word1 = int(change.exec_id[0]), int(change.exec_id[1])
    if find_execution(state, venue, word0, word1) != NONE:
        refusal(state, outbox, template, _R_DUPLICATE_EXEC, order_id, 0)
        return
    e = _find(state, events, i)
    if e == NONE:
        refusal(state, outbox, template, _R_UNKNOWN_EXEC, order_id, 0)
        alert(state, outbox, _R_UNKNOWN_EXEC, instrument, order_id, venue)
        return
    old = state.execs[e]
    if old.qty == 0:
        refusal(state, outbox, template, _R_BUSTED, order_id, 0)
        return
    qty, px = 0, int(old.px)
    liquidity = int(old.liquidity)
    if template == _CORRECT:
        qty, px = int(change.last_qty), int(change.last_px)
        liquidity = int(change.liquidity) if change.liquidity != 0 else liquidity
    was = money_of(state, instrument, int(old.px), int(old.qty))
    was_fee = fee_of(state, venue, instrument, int(old.qty), was, int(old.liquidity))
    money = money_of(state, instrument, px, qty)
    fee = fee_of(state, venue, instrument, qty, money, liquidity)
    c = child_slot(state, order_id)
    p = parent_of(state, c) if c != NONE else NONE
    more, place, side = qty - int(old.qty), int(old.place), int(old.side)
    fitting = room_for(state, place, side, p, more, money - was, fee - was_fee)
    if not fitting or not fits(-was_fee, fee) or not room_for_value(state, place, side, more, px):
        refusal(state, outbox, template, _R_OVERFLOW, qty, px)
        return
    seq = int(old.told_seq)
    _succeed(state, e, venue, word0, word1, qty, px, liquidity)
    state.counts[C_CORRECTS if template == _CORRECT else C_BUSTS] += 1
    alert(state, outbox, _R_CORRECTED if template == _CORRECT else _R_BUSTED, instrument, order_id, more)
    _change_orders(state, outbox, c, p, template, more, money - was, fee - was_fee)
    # After the child has given back what it reserved of it, like a fill: no quantity counts twice at any moment.
    move_position(state, place, side, more, money - was, fee - was_fee, 0 if template == _CORRECT else -1)
    revalue(state, place, px)
    if p != NONE:
        k = _tell(state, outbox, p, template, seq)
        out = outbox.change[k]
        out.venue_id = venue
        out.liquidity = liquidity
        if template == _CORRECT:
            out.last_px = px
            out.last_qty = qty


@kernel
def _tell(state: State, outbox: Outbox, p: int, template: int, seq: int) -> int:
    if template == _CORRECT:
        return parent_change(state, outbox, p, _CORRECT, _X_CORRECT, _R_CORRECTED, seq)
    return parent_change(state, outbox, p, _BUST, _X_CANCEL, _R_BUSTED, seq)


@kernel
def _succeed(state: State, e: int, venue: int, word0: int, word1: int, qty: int, px: int, liquidity: int) -> None:
    """Enter the bust or correction in place of row e; a reference to e is to it from now on.

    A row may be forgotten while one that it stands for is not: never the other way round, as the older goes first.
    """
    order_id, told_seq = int(state.execs[e].order_id), int(state.execs[e].told_seq)
    place, side = int(state.execs[e].place), int(state.execs[e].side)
    new = remember_execution(state, venue, word0, word1)
    if new != e:  # else e was the oldest of a full table, and its row is the new one's
        state.execs[e].next = new
        state.execs[e].qty = 0
    row = state.execs[new]
    row.order_id = order_id
    row.qty = qty
    row.px = px
    row.told_seq = told_seq
    row.place = place
    row.side = side
    row.liquidity = liquidity


@kernel
def _change_orders(
    state: State, outbox: Outbox, c: int, p: int, template: int, more: int, money: int, fee: int
) -> None:
    """Change child c and parent p (NONE: their slots were taken again) by what of an execution is more, or less."""
    before = int(state.children[c].ord_status) if c != NONE else 0
    event = _E_CORRECT if template == _CORRECT else _E_BUST
    if c != NONE:
        assert step_of(before, event) == _D_CHANGE, "a child with an execution can be told of its bust"
    if more > 0:
        if c != NONE:
            book_child(state, outbox, c, more)
        book_parent(state, p, more, money, fee)
        if c != NONE:
            after_booking(state, outbox, c, p)
    else:
        if c != NONE:
            _unbook_child(state, c, -more)
        _unbook_parent(state, p, -more, money, fee)
    if c != NONE:
        assert may_lead(before, event, int(state.children[c].ord_status)), "a bust leads where its table says"


@kernel
def _unbook_child(state: State, c: int, qty: int) -> None:
    """Take `qty` of what child c executed back: an overfill first, the rest is busted. Its leaves stay."""
    child = state.children[c]
    over = max(int(child.cum_qty) - int(state.child_orders[c].qty), 0)
    child.cum_qty -= qty
    child.busted_qty += qty - min(qty, over)
    renew_status(state, c)


@kernel
def _unbook_parent(state: State, p: int, qty: int, money: int, fee: int) -> None:
    """Take `qty` of what parent p executed back, with its money and fee: an overfill first, the rest is busted."""
    if p == NONE:
        state.counts[C_QTY_BUSTED] += qty
        return
    parent = state.parents[p]
    relief = min(qty, max(int(parent.cum_qty) - int(state.parent_orders[p].qty), 0))
    parent.cum_qty -= qty
    parent.busted_qty += qty - relief
    parent.notional += money
    parent.fee += fee
    state.counts[C_QTY_OVERFILLED] -= relief
    state.counts[C_QTY_BUSTED] += qty - relief
    parent.ord_status = parent_status(state, p)
