"""The tick grid of a side, found from its prices: feeds of many kinds do not say what their tick is.

A side begins with the largest power of ten that its first price is a multiple of. Where most of its levels turn out to
lie between the lines, the grid becomes finer: the greatest common divisor of all of them. Levels never get lost by it.

Worst case: a side of n levels is taken down and put up again, n hash operations, as often as its tick is halved.
"""

from __future__ import annotations

from engine.book.ladder import below, best_far, evict, pull
from engine.book.memory import NOWHERE, Books
from engine.jit import kernel

#: So many levels off the grid are borne.
BORNE = 16


@kernel
def first_tick(b: Books, side: int, px: int) -> None:
    """Give a side without levels the coarsest tick that its first price allows."""
    tick = 1
    while px != 0 and px % (10 * tick) == 0:
        tick *= 10
    b.sides[side].tick, b.sides[side].lines = tick, 1 / tick


@kernel
def begin_side(b: Books, side: int, px: int) -> None:
    """`first_tick` for a side that has no levels, and was given no tick."""
    row = b.sides[side]
    if row.tick == 1 and row.near == 0 and row.far == 0:
        first_tick(b, side, px)


@kernel
def keep_grid(b: Books, side: int) -> None:
    """Make the grid of a side finer where most of its levels lie between its lines."""
    row = b.sides[side]
    if row.off > BORNE and row.off > row.near:
        _refine(b, side)


@kernel
def _refine(b: Books, side: int) -> None:
    row = b.sides[side]
    level = int(row.best)
    while row.near > 0:
        following = below(b, side, level)
        evict(b, side, level)
        level = following
    tick, k = int(row.tick), int(row.first)
    while k >= 0:
        x = abs(int(b.far[k].rank))
        while x != 0:
            tick, x = x, tick % x
        k = int(b.far[k].next)
    row.tick, row.lines, row.off, row.off_best = tick, 1 / tick, 0, NOWHERE
    row.low = best_far(b, side) - 3 * (int(b.core[0].width_mask) + 1) // 4
    pull(b, side)
    b.core[0].shifts += 1
