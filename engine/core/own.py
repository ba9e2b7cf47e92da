"""Our own orders that rest at a venue whose quotes show them: what is ours there is no liquidity.

A real venue's quote has the size in it that our own resting orders display; a recorded day's, and a simulated venue's,
has not ([[venue]] shows_own says which). Where it has, a quote's sizes at our own prices count as promised away from
the start (`bid_taken`, `ask_taken`), as what we go after does. An order counts from its sending to its end, and with
what it displays at most: less than all may be seen as ours in between, never more than is displayed is taken.

The lists are threaded through one table of integers: heads by slot, then each child's next, then each one's previous. A
step that fails has its links put back. Worst case: a
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
def _next(state: State, c: int) -> int:
    return len(state.quotes) + c


@kernel
def _prev(state: State, c: int) -> int:
    return len(state.quotes) + len(state.children) + c


@kernel
def _set(state: State, place: int, c: int) -> None:
    undo.keep_word(state, undo.OWN, place, int(state.own[place]))
    state.own[place] = c


@kernel
def enlist(state: State, slot: int, c: int) -> None:
    """Child c rests at the venue and in the instrument of a slot from now on, as far as we know."""
    first = first_own(state, slot)
    _set(state, slot, c)
    _set(state, _next(state, c), first)
    _set(state, _prev(state, c), NONE)
    if first != NONE:
        _set(state, _prev(state, first), c)


@kernel
def strike_off(state: State, slot: int, c: int) -> None:
    """Child c has ended."""
    before, after = int(state.own[_prev(state, c)]), int(state.own[_next(state, c)])
    _set(state, slot if before == NONE else _next(state, before), after)
    if after != NONE:
        _set(state, _prev(state, after), before)
    _set(state, _next(state, c), NONE)
    _set(state, _prev(state, c), NONE)


@kernel
def own_shown(state: State, slot: int, side: int, px: int) -> int:
    """What our own orders of `side` display at price `px` at the venue and in the instrument of a slot."""
    total, c = 0, first_own(state, slot)
    while c != NONE:
        order, child = state.child_orders[c], state.children[c]
        if (order.side == _BUY) == (side == _BUY) and order.px == px:
            shown, leaves = int(order.display_qty), int(child.leaves_qty)
            total += leaves if shown == 0 else min(shown, leaves)
        c = int(state.own[_next(state, c)])
    return total


@kernel
def set_own_apart(state: State, slot: int) -> None:
    """What of the slot's new quote is ours counts as promised away."""
    quote = state.quotes[slot]
    quote.bid_taken = min(own_shown(state, slot, _BUY, int(quote.bid_px)), int(quote.bid_qty))
    quote.ask_taken = min(own_shown(state, slot, _SELL, int(quote.ask_px)), int(quote.ask_qty))
