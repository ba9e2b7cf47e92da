"""One side of a book: quantity and orders by price, the best first.

`add` and `put` change a level; `best_rank` and `at` read. A level is empty where its quantity is 0, and takes no room
then. Ranks are prices, negated on the offer side (see engine.book.memory).

The window moves when the market does: up when a better level would lie above it, down when it has run empty or levels
near the touch fall below it. Moving costs a walk through the levels that leave it or the side's far levels, once in
some hundred ticks of the market's way.

Worst case: a feed whose prices are not on the grid keeps all its levels in `far`: each removal of the best walks them.
"""

from __future__ import annotations

import math
from typing import Any

from engine.book.memory import BITS, NOWHERE, Books
from engine.io.atomics import leading_zeros
from engine.jit import kernel

_WORD_SHIFT = 5
assert 1 << _WORD_SHIFT == BITS
_HASH = 0x9E3779B97F4A7C1
_MASK = (1 << 62) - 1


@kernel
def rank_of(side: int, px: int) -> int:
    """The rank of a price on side row `side`; and the price of a rank."""
    return px if side & 1 == 0 else -px


@kernel
def level_of(row: Any, rank: int) -> int:
    """The level of a rank on a side's grid; NOWHERE where it is not on it.

    The quotient is guessed by a multiplication, which takes a tenth of a division's time, and integers decide whether
    the guess is right. A rank beyond 2^51 may find no level: it is kept with those that are off the grid then.
    """
    level = math.floor(rank * row.lines + 0.5)
    return level if level * row.tick == rank else NOWHERE


@kernel
def best_rank(b: Books, side: int) -> int:
    """The best rank of a side; NOWHERE where it is empty."""
    row = b.sides[side]
    best = NOWHERE
    if row.near > 0:
        best = int(row.best * row.tick)
    if row.off > 0 and row.off_best > best:
        best = int(row.off_best)
    return best


@kernel
def at(b: Books, side: int, rank: int) -> tuple[int, int]:
    """(quantity, orders) at a rank; (0, 0) where there is nothing."""
    row = b.sides[side]
    level = level_of(row, rank)
    if row.low <= level <= row.low + b.core[0].width_mask:
        cell = b.levels[side * (b.core[0].width_mask + 1) + (level & b.core[0].width_mask)]
        return int(cell.qty), int(cell.orders)
    k = find_far(b, side, rank)
    return (int(b.far[k].qty), int(b.far[k].orders)) if k >= 0 else (0, 0)


@kernel
def add(b: Books, side: int, rank: int, qty: int, orders: int) -> bool:
    """Add to a level, or take from it where negative. False: there was no room for it, or nothing to take from."""
    row = b.sides[side]
    level = level_of(row, rank)
    mask = b.core[0].width_mask
    if row.low <= level <= row.low + mask or (level != NOWHERE and _moved_to(b, side, level)):
        cell = b.levels[side * (mask + 1) + (level & mask)]
        had = cell.qty
        cell.qty = had + qty
        cell.orders += orders
        if had == 0:
            occupy(b, side, level)
        elif cell.qty == 0:
            cell.orders = 0
            vacate(b, side, level)
        return True
    k = find_far(b, side, rank)
    if k < 0:
        return qty > 0 and _new_far(b, side, rank, qty, orders) >= 0
    far = b.far[k]
    far.qty += qty
    far.orders += orders
    if far.qty == 0:
        _drop_far(b, k)
    return True


@kernel
def put(b: Books, side: int, rank: int, qty: int, orders: int) -> bool:
    """Say what is at a level now; quantity 0 empties it. False: there was no room for it."""
    row = b.sides[side]
    level = level_of(row, rank)
    mask = b.core[0].width_mask
    if row.low <= level <= row.low + mask:
        cell = b.levels[side * (mask + 1) + (level & mask)]
        had = cell.qty
        cell.qty = qty
        cell.orders = orders if qty != 0 else 0
        if had == 0 and qty != 0:
            occupy(b, side, level)
        elif had != 0 and qty == 0:
            vacate(b, side, level)
        return True
    k = find_far(b, side, rank)
    if qty == 0:
        if k >= 0:
            _drop_far(b, k)
        return True
    if k < 0:
        return add(b, side, rank, qty, orders)
    return add(b, side, rank, qty - int(b.far[k].qty), orders - int(b.far[k].orders))


@kernel
def clear(b: Books, side: int) -> None:
    """Empty a side."""
    row = b.sides[side]
    mask, words = b.core[0].width_mask, b.core[0].words
    if row.near > 0:
        for n in range(side * words, (side + 1) * words):
            b.bits[n] = 0
        for n in range(side * (mask + 1), (side + 1) * (mask + 1)):
            b.levels[n].qty = 0
            b.levels[n].orders = 0
    row.near = 0
    while row.first >= 0:
        _drop_far(b, int(row.first))


@kernel
def next_rank(b: Books, side: int, rank: int) -> int:
    """The best rank that is worse than `rank`; NOWHERE where there is none. Walks far levels: not for the hot path."""
    row = b.sides[side]
    found = NOWHERE
    if row.near > 0:
        level = (rank - 1) // row.tick  # the highest level that lies below
        level = below(b, side, min(int(level), int(row.best)) + 1)
        if level != NOWHERE:
            found = level * int(row.tick)
    k = int(row.first)
    while k >= 0:
        far = b.far[k]
        if found < far.rank < rank:
            found = int(far.rank)
        k = int(far.next)
    return found


# The window


@kernel
def _moved_to(b: Books, side: int, level: int) -> bool:
    """Move the window to a level outside it, where it should be there; whether the level is in it then."""
    row = b.sides[side]
    width = b.core[0].width_mask + 1
    if row.near == 0 and row.far == 0:
        row.low = level - 3 * width // 4
        return True
    if level >= row.low + width:
        _move(b, side, level)
        return True
    if row.near == 0 or level > row.best - width // 2:
        _move(b, side, max(int(row.best), level) if row.near > 0 else level)
        return bool(row.low <= level)
    return False


@kernel
def _move(b: Books, side: int, level: int) -> None:
    """Move the window so that `level` lies at three quarters of it: levels that leave go far, those within come in."""
    row = b.sides[side]
    mask = b.core[0].width_mask
    old, base = int(row.low), level - 3 * (int(mask) + 1) // 4
    b.core[0].shifts += 1
    low, high = max(old, base), min(old, base) + int(mask)  # what stays is low .. high
    last = int(row.best)
    left = int(row.near)
    while left > 0:  # from the best down
        if not low <= last <= high:
            evict(b, side, last)
        left -= 1
        if left > 0:
            last = below(b, side, last)
    row.low = base
    if row.near > 0 and not low <= row.best <= high:
        row.best = below(b, side, high + 1)
    pull(b, side)


@kernel
def evict(b: Books, side: int, level: int) -> None:
    """Move a level of the window to the far ones. `best` is the caller's to set right."""
    row = b.sides[side]
    mask = b.core[0].width_mask
    cell = b.levels[side * (mask + 1) + (level & mask)]
    if _new_far(b, side, level * int(row.tick), int(cell.qty), int(cell.orders)) < 0:
        b.books[side >> 1].broken = 1
    cell.qty = 0
    cell.orders = 0
    _bit(b, side, level, False)
    row.near -= 1


@kernel
def pull(b: Books, side: int) -> None:
    """Take in what lies far and has its place in the window."""
    row = b.sides[side]
    mask = b.core[0].width_mask
    k = int(row.first)
    while k >= 0:
        far = b.far[k]
        following = int(far.next)
        level = level_of(row, int(far.rank))
        if row.low <= level <= row.low + mask:
            cell = b.levels[side * (mask + 1) + (level & mask)]
            cell.qty, cell.orders = far.qty, far.orders
            _drop_far(b, k)
            occupy(b, side, level)
        k = following


@kernel
def occupy(b: Books, side: int, level: int) -> None:
    """A level of the window, whose quantity was 0, has one now."""
    row = b.sides[side]
    _bit(b, side, level, True)
    if row.near == 0 or level > row.best:
        row.best = level
    row.near += 1


@kernel
def vacate(b: Books, side: int, level: int) -> None:
    """A level of the window has no quantity any more; the window may move for it."""
    row = b.sides[side]
    _bit(b, side, level, False)
    row.near -= 1
    if row.near == 0:
        if row.far > row.off:
            _move(b, side, best_far(b, side))
    elif level == row.best:
        row.best = below(b, side, level)


@kernel
def _bit(b: Books, side: int, level: int, on: bool) -> None:
    slot = level & b.core[0].width_mask
    word = side * b.core[0].words + (slot >> _WORD_SHIFT)
    one = 1 << (slot & (BITS - 1))
    if on:
        b.bits[word] |= one
    else:
        b.bits[word] &= ~one


@kernel
def below(b: Books, side: int, level: int) -> int:
    """The highest occupied level of the window under `level`; NOWHERE where there is none."""
    base, mask = int(b.sides[side].low), int(b.core[0].width_mask)
    first = side * int(b.core[0].words)
    n = level - 1
    while n >= base:
        slot = n & mask
        bit = slot & (BITS - 1)
        word = int(b.bits[first + (slot >> _WORD_SHIFT)]) & ((2 << bit) - 1)
        if word != 0:
            n -= bit - (63 - leading_zeros(word))
            return n if n >= base else NOWHERE
        n -= bit + 1
    return NOWHERE


# Far levels


@kernel
def _bucket(b: Books, side: int, rank: int) -> int:
    h = (int(rank) ^ (int(side) << 40)) & _MASK
    h = (h ^ (h >> 29)) * _HASH & _MASK
    return (h >> 17) & (len(b.buckets) - 1)


@kernel
def find_far(b: Books, side: int, rank: int) -> int:
    """Row of a far level; -1 where there is none."""
    if b.sides[side].far == 0:
        return -1
    k = int(b.buckets[_bucket(b, side, rank)]) - 1
    while k >= 0:
        far = b.far[k]
        if far.rank == rank and far.side == side:
            return k
        k = int(far.chain)
    return -1


@kernel
def _new_far(b: Books, side: int, rank: int, qty: int, orders: int) -> int:
    """A far level of its own; its row, or -1 where no row is free."""
    core, row = b.core[0], b.sides[side]
    k = int(core.free_far)
    if k < 0:
        core.full += 1
        return -1
    far = b.far[k]
    core.free_far = far.next
    far.rank, far.qty, far.orders, far.side = rank, qty, orders, side
    far.prev, far.next = -1, row.first
    if row.first >= 0:
        b.far[row.first].prev = k
    row.first = k
    bucket = _bucket(b, side, rank)
    far.chain = b.buckets[bucket] - 1
    b.buckets[bucket] = k + 1
    row.far += 1
    if level_of(row, rank) == NOWHERE:
        row.off += 1
        row.off_best = max(int(row.off_best), rank)
    return k


@kernel
def _drop_far(b: Books, k: int) -> None:
    core, far = b.core[0], b.far[k]
    row = b.sides[far.side]
    bucket = _bucket(b, int(far.side), int(far.rank))
    if b.buckets[bucket] == k + 1:
        b.buckets[bucket] = far.chain + 1
    else:
        before = int(b.buckets[bucket]) - 1
        while b.far[before].chain != k:
            before = int(b.far[before].chain)
        b.far[before].chain = far.chain
    if far.prev >= 0:
        b.far[far.prev].next = far.next
    else:
        row.first = far.next
    if far.next >= 0:
        b.far[far.next].prev = far.prev
    row.far -= 1
    if level_of(row, int(far.rank)) == NOWHERE:
        row.off -= 1
        if far.rank == row.off_best:
            row.off_best = _best_off(b, row)
    far.next = core.free_far
    core.free_far = k


@kernel
def _best_off(b: Books, row: Any) -> int:
    best, k = NOWHERE, int(row.first)
    while k >= 0:
        far = b.far[k]
        if level_of(row, int(far.rank)) == NOWHERE and far.rank > best:
            best = int(far.rank)
        k = int(far.next)
    return best


@kernel
def best_far(b: Books, side: int) -> int:
    """The best level on the grid that is far, of a side that has one."""
    row = b.sides[side]
    best, k = NOWHERE, int(row.first)
    while k >= 0:
        far = b.far[k]
        best = max(best, level_of(row, int(far.rank)))
        k = int(far.next)
    return best
