"""Protected quotations: what an order may not trade through, nor lock or cross (SEC Rules 611 and 610(e)).

A quote is protected while it may be routed to (valid, fresh, not halted there), its venue's quotes are protected
([[venue]] protected) and its session is up, and its size is a round lot (the instrument's `lot`) or more, as far as
that is whole round lots. It is not where the venue has refused this parent in this episode: the self-help exception.
A quote that is promised away whole (`bid_taken`, `ask_taken`: what children go after, those of the same step among
them, and what is our own there) stops nothing: with orders for all better protected size under way, an order is part of
an intermarket sweep. The exceptions for quotes that have flickered within a second, and for crossed markets,
are not used.

TRADE_THROUGH stops a child that could execute at once (immediate, or marketable at its own venue) at a price worse than
another venue's protected quote; LOCKED_CROSSED one that would be displayed at such a price, or at that very price.
Worst case: one walk over the quotes of an instrument for each order, where a rule is on.
"""

from __future__ import annotations

from engine.core.books import fresh, marketable, opposite_px
from engine.core.children import immediate, quote_slot
from engine.core.ids import slot_of_parent
from engine.core.state import State
from engine.jit import kernel
from engine.record.records import RiskRule, Side

_BUY = int(Side.BUY)
_TRADE_THROUGH, _LOCKED_CROSSED = int(RiskRule.TRADE_THROUGH), int(RiskRule.LOCKED_CROSSED)
#: `excluded` of a parent: a venue's bit says that it is not routed to, its bit so much higher that it has refused.
_REFUSED = 32


@kernel
def protects(state: State) -> bool:
    """Whether one of the two rules is on."""
    return bool(state.params[0].trade_through != 0 or state.params[0].locked_crossed != 0)


@kernel
def note_refusal(state: State, c: int) -> None:
    """The venue of child c has refused its parent: until the episode ends it is not routed to, nor protected."""
    parent, v = state.parents[slot_of_parent(state, c)], int(state.child_orders[c].venue_id)
    high = -(1 << 31) if v == 31 else 1 << v  # the highest bit is the sign
    parent.excluded = int(parent.excluded) | 1 << v | high << _REFUSED


@kernel
def best_protected(state: State, c: int, px: int) -> int:
    """Best price of the opposite side among protected quotes of other venues than child c's that are not taken whole,
    of those that a limit of `px` reaches; 0 where there is none."""
    order, params = state.child_orders[c], state.params[0]
    instrument, own, side = int(order.instrument_id), int(order.venue_id), int(order.side)
    first, lot = instrument * int(params.venue_stride), int(state.instruments[instrument].lot_qty)
    refused = int(state.parents[slot_of_parent(state, c)].excluded) >> _REFUSED
    best = 0
    for v in range(params.n_venues):
        quote, venue = state.quotes[first + v], state.venues[v]
        at, shown, taken = int(quote.ask_px), int(quote.ask_qty), int(quote.ask_taken)
        if side != _BUY:
            at, shown, taken = int(quote.bid_px), int(quote.bid_qty), int(quote.bid_taken)
        if shown <= taken or v == own or not marketable(side, px, at) or (best != 0 and marketable(side, at, best)):
            continue
        if shown // lot * lot <= taken or venue.protected == 0 or (refused >> v) & 1:
            continue
        if fresh(state, first + v) and state.sessions[int(venue.session)].up != 0:
            best = at
    return best


@kernel
def _at_once(state: State, c: int, px: int) -> bool:
    """Whether child c could execute at once at a limit of `px`: it is immediate, or its venue quotes within that."""
    side, slot = int(state.child_orders[c].side), quote_slot(state, c)
    if immediate(int(state.child_orders[c].tif)):
        return True
    quote = state.quotes[slot]
    shown = quote.ask_qty if side == _BUY else quote.bid_qty
    return bool(fresh(state, slot) and shown > 0 and marketable(side, px, opposite_px(state, slot, side)))


@kernel
def check_protected(state: State, c: int, px: int) -> tuple[int, int, int]:
    """(rule, value, limit) of the first of the two rules that child c breaks at a limit of `px`; rule 0 where none.

    Value is that price (0 is any price), limit the best price that it must not pass, or must not reach.
    """
    params = state.params[0]
    if not protects(state):
        return 0, 0, 0
    best = best_protected(state, c, px)
    if best == 0:
        return 0, 0, 0
    if params.trade_through != 0 and px != best and _at_once(state, c, px):
        return _TRADE_THROUGH, px, best
    if params.locked_crossed != 0 and not immediate(int(state.child_orders[c].tif)):
        return _LOCKED_CROSSED, px, best
    return 0, 0, 0
