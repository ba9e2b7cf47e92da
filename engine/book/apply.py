"""What a market-data record does to the books: orders, levels and best quotes all end up as the same ladders.

An order that is added twice, or changed without being there, is counted and changes no more than it can: a feed that
was joined in its middle speaks of orders from before. Quantity at a level is the sum of its orders where the feed has
orders, and what the feed says where it has levels; a book is fed in one of the two ways.

Worst case: a record that finds no room breaks its book (`broken`): it shows nothing until it is cleared.
"""

from __future__ import annotations

from engine.book.ladder import add, clear, level_of, put, rank_of
from engine.book.memory import LEVEL, Books
from engine.book.orders import find, insert, order_at, remove, remove_of_book
from engine.io.atomics import address_of, prefetch_write
from engine.jit import kernel
from engine.record.records import Side

_BUY, _SELL = int(Side.BUY), int(Side.SELL)
#: `action` of LEVEL and ORDER_DELTA.
ADD, CHANGE, DELETE, EXECUTE, REDUCE, REPLACE = 0, 1, 2, 3, 4, 5
_LEVEL_BYTES = LEVEL.itemsize
#: A stamp of arrival is 31 bits.
_STAMPS = (1 << 31) - 1


@kernel
def book_of(b: Books, venue: int, instrument: int) -> int:
    """The book of a venue in an instrument; -1 where there is none."""
    core = b.core[0]
    if not (0 <= venue < core.venues and 0 <= instrument < core.instruments):
        return -1
    return int(venue * core.instruments + instrument)


@kernel
def add_order(b: Books, book: int, side: int, number: int, px: int, qty: int) -> None:
    """A new order (`side`: Side) at the end of the queue of its price."""
    core = b.core[0]
    if qty <= 0 or number == 0:
        core.ignored += 1
        return
    where = find(b, book, number)
    if where != -1:
        core.repeated += 1
        _take_off(b, where)
    row = 2 * book + (0 if side == _BUY else 1)
    core.arrivals = (core.arrivals + 1) & _STAMPS
    if not insert(b, number, row, px, qty, int(core.arrivals)):
        b.books[book].broken = 1
    elif not add(b, row, rank_of(row, px), qty, 1):
        b.books[book].broken = 1
        remove(b, find(b, book, number))


@kernel
def _take_off(b: Books, where: int) -> None:
    """Take an order that was found off its level and forget it."""
    row = order_at(b, where)
    side = int(row.side)
    add(b, side, rank_of(side, int(row.px)), -int(row.qty), -1)
    remove(b, where)


@kernel
def reduce_order(b: Books, book: int, number: int, qty: int) -> int:
    """Take `qty` off an order, executed or cancelled; it ends at 0. What was taken; -1: it is not there."""
    where = find(b, book, number)
    if where == -1 or qty < 0:
        b.core[0].dangling += 1
        return -1
    row = order_at(b, where)
    if qty >= row.qty:
        taken = int(row.qty)
        _take_off(b, where)
        return taken
    row.qty -= qty
    side = int(row.side)
    add(b, side, rank_of(side, int(row.px)), -qty, 0)
    return qty


@kernel
def change_order(b: Books, book: int, side: int, number: int, px: int, qty: int) -> bool:
    """An order has this price and quantity now. It keeps its place where price and side stay and it does not grow.

    False: it was not there, and is not made: what else there is of it is not known.
    """
    where = find(b, book, number)
    if where == -1:
        b.core[0].dangling += 1
        return False
    row = order_at(b, where)
    if qty <= 0:
        _take_off(b, where)
        return True
    if px == row.px and side == (_BUY if row.side & 1 == 0 else _SELL):
        more = qty - int(row.qty)
        row.qty = qty
        if more > 0:
            b.core[0].arrivals = (b.core[0].arrivals + 1) & _STAMPS
            row.arrival = b.core[0].arrivals
        add(b, int(row.side), rank_of(int(row.side), px), more, 0)
        return True
    _take_off(b, where)
    add_order(b, book, side, number, px, qty)
    return True


@kernel
def replace_order(b: Books, book: int, number: int, new_number: int, px: int, qty: int) -> bool:
    """An order makes room for another one of the same side, at the end of its queue. False: it was not there."""
    where = find(b, book, number)
    if where == -1:
        b.core[0].dangling += 1
        return False
    side = _BUY if order_at(b, where).side & 1 == 0 else _SELL
    _take_off(b, where)
    add_order(b, book, side, new_number, px, qty)
    return True


@kernel
def fetch_level(b: Books, book: int, side: int, number: int, px: int) -> None:
    """Have the levels that an order's change will touch in the cache soon; its place should be there already.

    Where the change does not say price or side, they are the order's; one that says a price and no side is a replace,
    which leaves the order's level for that of the price.
    """
    row = 2 * book + (0 if side == _BUY else 1)
    if px == 0 or side == 0:
        order = b.orders[(number + b.books[book].home) & b.core[0].order_mask]
        row = int(order.side)
        _fetch(b, row, int(order.px))
    if px != 0:
        _fetch(b, row, px)


@kernel
def _fetch(b: Books, row: int, px: int) -> None:
    mask = b.core[0].width_mask
    level = level_of(b.sides[row], rank_of(row, px))
    prefetch_write(address_of(b.levels) + _LEVEL_BYTES * (row * (mask + 1) + (level & mask)))


@kernel
def apply_delta(b: Books, book: int, side: int, action: int, number: int, new_number: int, px: int, qty: int) -> None:
    """An ORDER_DELTA's terms, see records."""
    if b.books[book].broken != 0:
        return
    b.books[book].changes += 1
    if action == ADD:
        add_order(b, book, side, number, px, qty)
    elif action == CHANGE:
        change_order(b, book, side, number, px, qty)
    elif action == DELETE:
        change_order(b, book, side, number, 0, 0)
    elif action == EXECUTE or action == REDUCE:
        reduce_order(b, book, number, qty)
    elif action == REPLACE:
        replace_order(b, book, number, new_number, px, qty)
    else:
        b.core[0].ignored += 1


@kernel
def apply_level(b: Books, book: int, side: int, action: int, px: int, qty: int, orders: int) -> None:
    """A LEVEL's terms: what is at a price now."""
    if b.books[book].broken != 0:
        return
    b.books[book].changes += 1
    row = 2 * book + (0 if side == _BUY else 1)
    left = 0 if action == DELETE else max(qty, 0)
    if not put(b, row, rank_of(row, px), left, orders if left > 0 else 0):
        b.books[book].broken = 1


@kernel
def apply_quote(b: Books, book: int, bid_px: int, bid_qty: int, ask_px: int, ask_qty: int) -> None:
    """A QUOTE's terms: a book of one level a side."""
    if b.books[book].broken != 0:
        return
    b.books[book].changes += 1
    clear(b, 2 * book)
    clear(b, 2 * book + 1)
    if bid_qty > 0:
        put(b, 2 * book, bid_px, bid_qty, 0)
    if ask_qty > 0:
        put(b, 2 * book + 1, -ask_px, ask_qty, 0)


@kernel
def clear_book(b: Books, book: int) -> None:
    """Empty a book: it is whole again, and shows nothing until records fill it."""
    if b.books[book].orders > 0:
        remove_of_book(b, book)
    clear(b, 2 * book)
    clear(b, 2 * book + 1)
    b.books[book].broken = 0
