"""Our own orders that rest at a venue whose quotes show them: what is ours there is no liquidity.

A real venue's quote has the size in it that our own resting orders display; a recorded day's, and a simulated venue's,
has not ([[venue]] shows_own says which). Where it has, a quote's sizes at our own prices count as promised away from
the start (`bid_taken`, `ask_taken`), as what we go after does. An order counts from its sending to its end, and with
what it displays at most: less than all may be seen as ours in between, never more than is displayed is taken.

The lists are threaded through three tables of integers, and a step that fails has its links put back. Worst case: a
quote walks our orders that rest at its venue in its instrument.
"""

from __future__ import annotations

from engine.core import undo
from engine.core.state import NONE, State
from engine.jit import kernel
from engine.record.records import Side

_BUY, _SELL = int(Side.BUY), int(Side.SELL)


@kernel
def enlist(state: State, slot: int, c: int) -> None:
    """Child c rests at the venue and in the instrument of a slot from now on, as far as we know."""
    first = int(state.own_head[slot])
    undo.keep_word(state, undo.OWN_HEAD, slot, first)
    undo.keep_word(state, undo.OWN_NEXT, c, int(state.own_next[c]))
    undo.keep_word(state, undo.OWN_PREV, c, int(state.own_prev[c]))
    state.own_head[slot] = c
    state.own_next[c] = first
    state.own_prev[c] = NONE
    if first != NONE:
        undo.keep_word(state, undo.OWN_PREV, first, int(state.own_prev[first]))
        state.own_prev[first] = c


@kernel
def strike_off(state: State, slot: int, c: int) -> None:
    """Child c has ended."""
    before, after = int(state.own_prev[c]), int(state.own_next[c])
    undo.keep_word(state, undo.OWN_NEXT, c, after)
    undo.keep_word(state, undo.OWN_PREV, c, before)
    if before != NONE:
        undo.keep_word(state, undo.OWN_NEXT, before, c)
        state.own_next[before] = after
    else:
        undo.keep_word(state, undo.OWN_HEAD, slot, int(state.own_head[slot]))
        state.own_head[slot] = after
    if after != NONE:
        undo.keep_word(state, undo.OWN_PREV, after, c)
        state.own_prev[after] = before
    state.own_next[c] = NONE
    state.own_prev[c] = NONE


@kernel
def own_shown(state: State, slot: int, side: int, px: int) -> int:
    """What our own orders of `side` display at price `px` at the venue and in the instrument of a slot."""
    total, c = 0, int(state.own_head[slot])
    while c != NONE:
        order, child = state.child_orders[c], state.children[c]
        if (order.side == _BUY) == (side == _BUY) and order.px == px:
            shown, leaves = int(order.display_qty), int(child.leaves_qty)
            total += leaves if shown == 0 else min(shown, leaves)
        c = int(state.own_next[c])
    return total


@kernel
def set_own_apart(state: State, slot: int) -> None:
    """What of the slot's new quote is ours counts as promised away."""
    quote = state.quotes[slot]
    quote.bid_taken = min(own_shown(state, slot, _BUY, int(quote.bid_px)), int(quote.bid_qty))
    quote.ask_taken = min(own_shown(state, slot, _SELL, int(quote.ask_px)), int(quote.ask_qty))
