"""Orders by their number: each has a place at its number modulo the table's size, a few an overflow.

Venues number orders in ascending order and most live shortly, so nearly every order finds its own place free, and a
look is one cache line. An order whose place another one has goes to an open-addressed overflow, and stays there.

The same number in two books is two orders. A number is not 0.
Worst case: a table that is too small for the live orders sends many to the overflow, a hash table of the same size;
when that is full too, `insert` says so.
"""

from __future__ import annotations

from typing import Any

from engine.book.memory import ORDER, Books
from engine.io.atomics import address_of, prefetch_write
from engine.jit import kernel

_ROW = ORDER.itemsize
_HASH = 0x9E3779B97F4A7C1
_MASK = (1 << 62) - 1


@kernel
def _place(b: Books, book: int, number: int) -> int:
    return (int(number) + int(b.books[book].home)) & int(b.core[0].order_mask)


@kernel
def _spill_place(b: Books, book: int, number: int) -> int:
    h = (int(number) ^ (int(book) << 40)) & _MASK
    h = ((h ^ (h >> 31)) & ((1 << 32) - 1)) * _HASH & _MASK
    return (h >> 13) & int(b.core[0].spill_mask)


@kernel
def find(b: Books, book: int, number: int) -> int:
    """Where an order is: its place, or -2 - its place in the overflow; -1 where it is not."""
    k = _place(b, book, number)
    row = b.orders[k]
    if row.id == number and row.side >> 1 == book:
        return k
    if b.core[0].spilled > 0:
        mask = int(b.core[0].spill_mask)
        k = _spill_place(b, book, number)
        while b.spill[k].id != 0:
            if b.spill[k].id == number and b.spill[k].side >> 1 == book:
                return -2 - k
            k = (k + 1) & mask
    return -1


@kernel
def fetch(b: Books, book: int, number: int) -> None:
    """Have an order's place in the cache soon: for numbers that are known a while before they are looked for."""
    prefetch_write(address_of(b.orders) + _ROW * _place(b, book, number))


@kernel
def order_at(b: Books, where: int) -> Any:
    """The row of an order that `find` found."""
    return b.orders[where] if where >= 0 else b.spill[-2 - where]


@kernel
def insert(b: Books, number: int, side: int, px: int, qty: int, arrival: int) -> bool:
    """Keep an order that is not there; False where there is no room."""
    core = b.core[0]
    k = _place(b, side >> 1, number)
    row = b.orders[k]
    if row.id != 0:
        if 2 * core.spilled > core.spill_mask:
            core.full += 1
            return False
        mask = int(core.spill_mask)
        k = _spill_place(b, side >> 1, number)
        while b.spill[k].id != 0:
            k = (k + 1) & mask
        row = b.spill[k]
        core.spilled += 1
    row.id, row.px, row.qty, row.side, row.arrival = number, px, qty, side, arrival
    core.live += 1
    b.books[side >> 1].orders += 1
    return True


@kernel
def remove(b: Books, where: int) -> None:
    """Forget an order that `find` found. Rows of the overflow move: what was found before is not good any more."""
    core = b.core[0]
    core.live -= 1
    if where >= 0:
        b.books[b.orders[where].side >> 1].orders -= 1
        b.orders[where].id = 0
        return
    hole, mask = -2 - where, int(core.spill_mask)
    b.books[b.spill[hole].side >> 1].orders -= 1
    core.spilled -= 1
    k = (hole + 1) & mask
    while b.spill[k].id != 0:
        row = b.spill[k]
        home = _spill_place(b, int(row.side) >> 1, int(row.id))
        if (k - home) & mask >= (k - hole) & mask:  # its probe passes the hole
            into = b.spill[hole]
            into.id, into.px, into.qty, into.side, into.arrival = row.id, row.px, row.qty, row.side, row.arrival
            hole = k
        k = (k + 1) & mask
    b.spill[hole].id = 0


@kernel
def remove_of_book(b: Books, book: int) -> None:
    """Forget all orders of a book: a walk through the table."""
    for k in range(len(b.orders)):
        if b.orders[k].id != 0 and b.orders[k].side >> 1 == book:
            remove(b, k)
    while b.books[book].orders > 0:  # rows of the overflow move when one goes
        for k in range(len(b.spill)):
            if b.spill[k].id != 0 and b.spill[k].side >> 1 == book:
                remove(b, -2 - k)
