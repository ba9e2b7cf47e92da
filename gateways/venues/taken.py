"""What our fills have taken of displayed levels, which the recorded market does not know of: a list a side, by rank.

Open is what is displayed less that. Worst case: a side of which n levels were touched costs n steps a look.
"""

from __future__ import annotations

from engine.book.ladder import at as level_at
from engine.jit import kernel
from gateways.venues.state import Exchange


@kernel
def taken_row(ex: Exchange, side: int, rank: int) -> int:
    """Row of `taken` of a level; -1 where nothing was taken of it."""
    k = int(ex.taken_of[side])
    while k >= 0 and ex.taken[k].rank != rank:
        k = int(ex.taken[k].next)
    return k


@kernel
def open_at(ex: Exchange, side: int, rank: int) -> int:
    """What is displayed at a level and was not taken by us."""
    shown, _ = level_at(ex.books, side, rank)
    k = taken_row(ex, side, rank)
    return max(int(shown) - int(ex.taken[k].qty), 0) if k >= 0 else int(shown)


@kernel
def use_up(ex: Exchange, side: int, rank: int, qty: int) -> bool:
    """Keep in mind that we took `qty` of a level; False where there is no room for that."""
    k = taken_row(ex, side, rank)
    if k < 0:
        k = int(ex.core[0].taken_head)
        if k < 0:
            return False
        taken = ex.taken[k]
        ex.core[0].taken_head = taken.next
        taken.rank, taken.qty, taken.next = rank, 0, ex.taken_of[side]
        ex.taken_of[side] = k
    ex.taken[k].qty += qty
    return True


@kernel
def restore(ex: Exchange, side: int, rank: int, qty: int) -> None:
    """So much of what we took of a level is not displayed any more."""
    before, k = -1, int(ex.taken_of[side])
    while k >= 0 and ex.taken[k].rank != rank:
        before, k = k, int(ex.taken[k].next)
    if k < 0:
        return
    taken = ex.taken[k]
    taken.qty -= qty
    if taken.qty > 0:
        return
    if before < 0:
        ex.taken_of[side] = taken.next
    else:
        ex.taken[before].next = taken.next
    taken.next = ex.core[0].taken_head
    ex.core[0].taken_head = k
