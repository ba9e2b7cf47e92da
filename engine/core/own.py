"""Our own orders that rest at a venue whose quotes show them: what is ours there is no liquidity.

A real venue's quote has the size in it that our own resting orders display; a recorded day's, and a simulated venue's,
has not ([[venue]] shows_own says which). Where it has, a quote's sizes at our own prices count as promised away from
the start (`bid_taken`, `ask_taken`), as what we go after does. An order counts from its sending to its end, and with
what it displays at most: less than all may be seen as ours in between, never more than is displayed is taken.

The lists are threaded through the children's rows (`own_next`, `own_prev`); `own` holds the head of each. A step that
fails has its links put back, after the rows. Worst case: a
quote walks our orders that rest at its venue in its instrument.
"""

from __future__ import annotations

from engine.core import undo
from engine.core.state import NONE, State
from engine.jit import kernel
from engine.record.records import Side

_BUY, _SELL = int(Side.BUY), int(Side.SELL)


@kernel
def first_own(state: State, slot: int) -> int:
    """The child of ours that came last of those that rest at the venue and in the instrument of a slot; NONE."""
    return int(state.own[slot])


@kernel
def _set_first(state: State, slot: int, c: int) -> None:
    undo.keep_word(state, undo.OWN, slot, int(state.own[slot]))
    state.own[slot] = c


@kernel
def _set_next(state: State, of: int, c: int) -> None:
    undo.keep_word(state, undo.OWN_NEXT, of, int(state.children[of].own_next))
    state.children[of].own_next = c


@kernel
def _set_prev(state: State, of: int, c: int) -> None:
    undo.keep_word(state, undo.OWN_PREV, of, int(state.children[of].own_prev))
    state.children[of].own_prev = c


@kernel
def enlist(state: State, slot: int, c: int) -> None:
    """Child c rests at the venue and in the instrument of a slot from now on, as far as we know."""
    first = first_own(state, slot)
    _set_first(state, slot, c)
    _set_next(state, c, first)
    _set_prev(state, c, NONE)
    if first != NONE:
        _set_prev(state, first, c)


@kernel
def strike_off(state: State, slot: int, c: int) -> None:
    """Child c has ended."""
    before, after = int(state.children[c].own_prev), int(state.children[c].own_next)
    if before == NONE:
        _set_first(state, slot, after)
    else:
        _set_next(state, before, after)
    if after != NONE:
        _set_prev(state, after, before)
    _set_next(state, c, NONE)
    _set_prev(state, c, NONE)


@kernel
def own_shown(state: State, slot: int, side: int, px: int) -> int:
    """What our own orders of `side` display at price `px` at the venue and in the instrument of a slot."""
    total, c = 0, first_own(state, slot)
    while c != NONE:
        order, child = state.child_orders[c], state.children[c]
        if (order.side == _BUY) == (side == _BUY) and order.px == px:
            shown, leaves = int(order.display_qty), int(child.leaves_qty)
            total += leaves if shown == 0 else min(shown, leaves)
        c = int(child.own_next)
    return total


@kernel
def set_own_apart(state: State, slot: int) -> None:
    """What of the slot's new quote is ours counts as promised away."""
    quote = state.quotes[slot]
    quote.bid_taken = min(own_shown(state, slot, _BUY, int(quote.bid_px)), int(quote.bid_qty))
    quote.ask_taken = min(own_shown(state, slot, _SELL, int(quote.ask_px)), int(quote.ask_qty))
