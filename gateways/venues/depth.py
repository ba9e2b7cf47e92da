"""Recorded depth at the simulated venues: what is open to an order at each level, and the records that change it.

A pair whose feed has levels (LEVEL) or orders (ORDER_DELTA) has a full ladder in `ex.books`, under the pair's own
index; from its first such record on it is matched against that, and no longer against its quotes.

What our fills take of a level is kept beside the ladder (gateways.venues.taken). When the record shows a level smaller,
what we took of it counts as gone first, for we took the front of it; what is added to a level is new. So a level never
gives more than was displayed there.

A QUOTE of a pair that is told by levels is one more word on them, often a newer one: it ends the levels that are better
than it and sets its own. With orders it says nothing that they do not.

Worst case: a side whose levels lie far from its touch is walked once for each level that an order takes.
"""

from __future__ import annotations

from engine.book.apply import apply_delta, apply_level, clear_book
from engine.book.grid import begin_side, keep_grid
from engine.book.ladder import at as level_at
from engine.book.ladder import best_rank, next_rank, put, rank_of
from engine.book.memory import NOWHERE
from engine.book.orders import find, order_at
from engine.jit import kernel
from engine.record.records import Flag, Side
from gateways.inbox import Inbox
from gateways.venues.fills import trades
from gateways.venues.queue import after_fall, after_leaving, trade_through
from gateways.venues.state import LEVELS, ORDERS, UNSHOWN, Exchange
from gateways.venues.taken import open_at, restore

_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_DELETE, _EXECUTE, _REPLACE = 2, 3, 5
_AGGRESSOR_BUY, _AGGRESSOR_SELL = int(Flag.AGGRESSOR_BUY), int(Flag.AGGRESSOR_SELL)
_AUCTION, _NOT_PRINTED, _PRINT = int(Flag.AUCTION), int(Flag.NOT_PRINTED), int(Flag.PRINT)


@kernel
def _first_open(ex: Exchange, side: int, rank: int) -> int:
    while rank != NOWHERE and open_at(ex, side, rank) == 0:
        rank = next_rank(ex.books, side, rank)
    return int(rank)


@kernel
def best_open(ex: Exchange, side: int) -> int:
    """Rank of the best level of a side at which something is open; NOWHERE where nothing is."""
    if ex.books.books[side >> 1].broken != 0:
        return NOWHERE
    return _first_open(ex, side, best_rank(ex.books, side))


@kernel
def next_open(ex: Exchange, side: int, rank: int) -> int:
    """The best that is worse than `rank`; NOWHERE where nothing is."""
    return _first_open(ex, side, next_rank(ex.books, side, rank))


@kernel
def _changed(ex: Exchange, side: int, rank: int, before: int, cancelled: int) -> None:
    """A level showed `before` and shows something else now; `cancelled` of it was certainly or maybe not traded."""
    after, _ = level_at(ex.books, side, rank)
    if after < before:
        restore(ex, side, rank, before - int(after))
    after_fall(ex, side, rank, before, int(after), cancelled)


@kernel
def clear_depth(ex: Exchange, pair_index: int) -> None:
    """The book of a pair is void; what was taken of it is forgotten."""
    ex.pairs[pair_index].broke += ex.books.books[pair_index].broken
    clear_book(ex.books, pair_index)
    ex.books.books[pair_index].state = UNSHOWN
    for side in range(2 * pair_index, 2 * pair_index + 2):
        while ex.taken_of[side] >= 0:
            k = int(ex.taken_of[side])
            restore(ex, side, int(ex.taken[k].rank), int(ex.taken[k].qty))


@kernel
def set_level(ex: Exchange, side: int, px: int, action: int, qty: int) -> None:
    """What a LEVEL says of one side row's price."""
    begin_side(ex.books, side, px)
    pair, told_side = ex.pairs[side >> 1], _BUY if side & 1 == 0 else _SELL
    if ex.taken_of[side] < 0 and (pair.bids if side & 1 == 0 else pair.asks) < 0:
        apply_level(ex.books, side >> 1, told_side, action, px, qty, 0)  # nothing of ours is there
        keep_grid(ex.books, side)
        return
    rank = rank_of(side, px)
    before, _ = level_at(ex.books, side, rank)
    apply_level(ex.books, side >> 1, told_side, action, px, qty, 0)
    keep_grid(ex.books, side)
    after, _ = level_at(ex.books, side, rank)
    _changed(ex, side, rank, int(before), max(int(before) - int(after), 0))


@kernel
def on_level(ex: Exchange, inbox: Inbox, at: int, pair_index: int) -> None:
    """A LEVEL of a pair."""
    level = inbox.level[at]
    if level.px <= 0 or (level.side != _BUY and level.side != _SELL):
        ex.core[0].ignored += 1
        return
    ex.pairs[pair_index].told_by = LEVELS
    side = 2 * pair_index + (0 if level.side == _BUY else 1)
    set_level(ex, side, int(level.px), int(level.action), int(level.qty))


@kernel
def on_touch(ex: Exchange, side: int, px: int, qty: int) -> None:
    """What a QUOTE says of a side that is told by levels."""
    if qty <= 0:
        return
    rank = rank_of(side, px)
    best = best_rank(ex.books, side)
    while best > rank:
        before, _ = level_at(ex.books, side, best)
        put(ex.books, side, best, 0, 0)
        _changed(ex, side, best, int(before), int(before))
        best = best_rank(ex.books, side)
    shown, _ = level_at(ex.books, side, rank)
    if shown != qty:
        set_level(ex, side, px, 1, qty)


@kernel
def on_trade(ex: Exchange, inbox: Inbox, at: int, pair_index: int, now_ns: int) -> None:
    """A TRADE of a pair prints: resting orders of the side that it hit may fill, of both where that is not said.

    One with the flag PRINT was made from an execution; where the pair has the orders, that has printed already.
    """
    record, pair = inbox.market[at], ex.pairs[pair_index]
    px, qty, marks = int(record.trade_px), int(record.trade_qty), int(record.marks)
    if marks & _PRINT != 0 and pair.told_by == ORDERS:
        return
    prints = marks & _AUCTION == 0 and trades(ex, pair_index)
    if prints and marks & _AGGRESSOR_BUY == 0:
        trade_through(ex, int(pair.bids), px, qty, now_ns)
    if prints and marks & _AGGRESSOR_SELL == 0:
        trade_through(ex, int(pair.asks), px, qty, now_ns)
    if pair.told_by == ORDERS:
        told = int(pair.print_qty) if pair.print_px == px and pair.print_ns == record.ts_event_ns else 0
        pair.print_px, pair.print_ns, pair.print_qty = px, record.ts_event_ns, told + qty


@kernel
def on_delta(ex: Exchange, inbox: Inbox, at: int, pair_index: int, now_ns: int) -> None:
    """An ORDER_DELTA of a pair."""
    b, delta = ex.books, inbox.delta[at]
    number, action, new_number = int(delta.venue_order), int(delta.action), int(delta.new_order)
    if number == 0:
        ex.core[0].ignored += 1
        return
    ex.pairs[pair_index].told_by = ORDERS
    side, px, qty = int(delta.side), int(delta.px), int(delta.qty)
    where = find(b, pair_index, number)
    if action == _EXECUTE and where != -1:
        order = order_at(b, where)
        _executed(ex, inbox, at, pair_index, int(order.side), int(order.px), min(qty, int(order.qty)), now_ns)
    if action == _REPLACE and where != -1 and new_number != number and find(b, pair_index, new_number) != -1:
        _move_order(ex, pair_index, side, _DELETE, new_number, 0, 0, 0)
    _move_order(ex, pair_index, side, action, number, new_number, px, qty)


@kernel
def _executed(ex: Exchange, inbox: Inbox, at: int, pair_index: int, side: int, px: int, qty: int, now_ns: int) -> None:
    """An order of the record is executed. What a TRADE told already fills none; nor does a cross, which is executed at
    another price or not printed. With the flag PRINT an execution is its own print, which no TRADE tells; recordings
    that are older than the flag say so by a match number.
    """
    pair, delta = ex.pairs[pair_index], inbox.delta[at]
    marks = int(delta["flags"])
    if marks & _NOT_PRINTED != 0:
        return
    exec_px = int(delta.exec_px) if delta.exec_px > 0 else px
    own = marks & _PRINT != 0 or delta.match_id != 0
    if not own and pair.print_ns == delta.ts_event_ns and pair.print_px == exec_px:
        told = min(int(pair.print_qty), qty)
        pair.print_qty -= told
        qty -= told
    if qty > 0 and exec_px == px and trades(ex, pair_index):
        trade_through(ex, int(pair.bids if side & 1 == 0 else pair.asks), px, qty, now_ns)


@kernel
def _move_order(
    ex: Exchange, pair_index: int, told_side: int, action: int, number: int, new_number: int, told_px: int, qty: int
) -> None:
    """Change the book, and what follows from an order's leaving its place, or being less there."""
    b = ex.books
    side, rank, px, had, arrival, before = -1, 0, 0, 0, 0, 0
    where = find(b, pair_index, number)
    if where != -1:
        order = order_at(b, where)
        side, px, had, arrival = int(order.side), int(order.px), int(order.qty), int(order.arrival)
        rank = rank_of(side, px)
        before, _ = level_at(b, side, rank)
    if told_px > 0:
        begin_side(b, 2 * pair_index + (0 if told_side == _BUY else 1), told_px)
    apply_delta(b, pair_index, told_side, action, number, new_number, told_px, qty)
    keep_grid(b, 2 * pair_index)
    keep_grid(b, 2 * pair_index + 1)
    if side < 0:
        return
    left = 0
    where = find(b, pair_index, number)
    if where != -1:
        order = order_at(b, where)
        if order.side == side and order.px == px and order.arrival == arrival:
            left = int(order.qty)
    after, _ = level_at(b, side, rank)
    after_leaving(ex, side, px, arrival, had - left)
    _changed(ex, side, rank, int(before), 0 if action == _EXECUTE else max(int(before) - int(after), 0))
