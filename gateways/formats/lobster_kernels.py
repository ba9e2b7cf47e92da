"""The kernels of LOBSTER's two files: messages into order deltas, and order-book rows into level changes.

With an opening book each of its levels is an order of its own (`opening_number`), added before the first message; what
a message does to an order that is in no message before it, it does to the level's. The numbers of orders that were
added are kept for that, in `Lines.index`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.jit import kernel
from engine.record.records import Flag, Side
from gateways.formats.batch import Batch, new_delta, new_status, new_trade, room
from gateways.formats.ladder import BUY, SELL, show, sorted_side
from gateways.formats.lines import (
    DEPTH,
    FREE,
    FULL,
    LAST_NS,
    LINE,
    NEW_NAME,
    OWN,
    SIDE_WORDS,
    Lines,
    fail,
)
from gateways.formats.text import MALFORMED, cut, decimal, digits, line_end

#: Midnight in New York, ns; levels of an order-book row; of the opening book: NO_BOOK, TO_COME or GIVEN; how many
#: numbers of orders are kept.
MIDNIGHT: Final = FREE
LEVELS: Final = FREE + 1
OPENING: Final = FREE + 2
KEPT: Final = FREE + 3
NO_BOOK, TO_COME, GIVEN = 0, 1, 2
#: `held` of messages: levels of the opening book, then side, price and what is left of each.
OPENING_WORDS: Final = 1 + 3 * 2 * DEPTH
BAD_ROW, BAD_TIME, BAD_ORDER, BAD_TYPE, BAD_ID, BAD_SIZE, BAD_PRICE, BAD_SIDE, BAD_BOOK = range(OWN, OWN + 9)
ADD, REDUCE, DELETE, EXECUTE, HIDDEN, CROSS, HALT = range(1, 8)

_FIELDS: Final = 6
_MINUS: Final = 45
_ONE: Final = 49
_DAY_NS: Final = 86_400 * 10**9
_ADD, _DELETE, _EXECUTE, _REDUCE = 0, 2, 3, 4
_OPEN, _HALTED, _AUCTION = 0, 1, 3
_OPENING_NUMBER: Final = 1 << 60
_AUCTION_FLAG, _PRINT = int(Flag.AUCTION), int(Flag.PRINT)
_SNAPSHOT, _MORE = int(Flag.SNAPSHOT), int(Flag.MORE)
_BUY_FLAG, _SELL_FLAG = int(Flag.AGGRESSOR_BUY), int(Flag.AGGRESSOR_SELL)
assert (BUY, SELL) == (Side.BUY, Side.SELL)


@kernel
def decode_messages(lines: Lines, data: np.ndarray, at: int, end: int, batch: Batch) -> int:
    """Rows of Time,Type,OrderID,Size,Price,Direction into records; see `gateways.formats.lines`."""
    while True:
        stop = line_end(data, at, end)
        if stop < 0:
            return at
        if not room(batch, 8 + (2 * int(lines.held[0]) if lines.cursor[OPENING] == TO_COME else 0)):
            fail(lines, FULL, at, at)
            return at
        mark = int(batch.used[0])
        if not take_message(lines, data, at, batch):
            batch.used[0] = mark
            return at
        lines.cursor[LINE] += 1
        at = stop + 1


@kernel
def take_message(lines: Lines, data: np.ndarray, at: int, batch: Batch) -> bool:
    """One row; False where it is not to be trusted, or where there is no room for another order's number."""
    cuts = lines.cuts
    fields, next_at = cut(data, at, cuts)
    if fields != _FIELDS:
        return bool(fail(lines, BAD_ROW, at, next_at - 1))
    since = decimal(data, at, int(cuts[0]), 9)
    if since < 0 or since >= _DAY_NS:
        return bool(fail(lines, BAD_TIME, at, int(cuts[0])))
    if since < lines.cursor[LAST_NS]:
        return bool(fail(lines, BAD_ORDER, at, int(cuts[0])))
    kind = digits(data, int(cuts[0]) + 1, int(cuts[1]))
    if kind < ADD or kind > HALT:
        return bool(fail(lines, BAD_TYPE, int(cuts[0]) + 1, int(cuts[1])))
    side = _side(data, int(cuts[4]) + 1, int(cuts[5]))
    if side == 0:
        return bool(fail(lines, BAD_SIDE, int(cuts[4]) + 1, int(cuts[5])))
    order = digits(data, int(cuts[1]) + 1, int(cuts[2]))
    if order < 0:
        return bool(fail(lines, BAD_ID, int(cuts[1]) + 1, int(cuts[2])))
    qty = digits(data, int(cuts[2]) + 1, int(cuts[3]))
    if qty < 0 or (qty == 0 and kind != HALT):
        return bool(fail(lines, BAD_SIZE, int(cuts[2]) + 1, int(cuts[3])))
    low, high = int(cuts[3]) + 1, int(cuts[4])
    px = _status(data, low, high) if kind == HALT else digits(data, low, high)
    if px < 0 or (px == 0 and kind != HALT):
        return bool(fail(lines, BAD_PRICE, low, high))
    if lines.cursor[OPENING] != NO_BOOK and 2 * int(lines.cursor[KEPT]) >= len(lines.index):
        return bool(fail(lines, NEW_NAME, int(cuts[1]) + 1, int(cuts[2])))
    _put(lines, kind, order, side, px, qty, since + int(lines.cursor[MIDNIGHT]), batch)
    lines.cursor[LAST_NS] = since
    lines.by_type[kind] += 1
    return True


@kernel
def _put(lines: Lines, kind: int, order: int, side: int, px: int, qty: int, time_ns: int, batch: Batch) -> None:
    """The records of a message; px is the status of a halt."""
    opening = int(lines.cursor[OPENING])
    if opening == TO_COME:
        _open_book(lines, kind, side, px, qty, time_ns, batch)
        lines.cursor[OPENING] = GIVEN
    if kind == HALT:
        new_status(batch, 0, 0, time_ns, 0, px)
    elif kind == HIDDEN or kind == CROSS:
        trade = batch.trade[new_trade(batch, 0, 0, time_ns, 0)]
        trade.px = px
        trade.qty = qty
        # The direction is that of the order that rested.
        if kind == HIDDEN:
            trade["flags"] = _SELL_FLAG if side == BUY else _BUY_FLAG
        else:
            trade["flags"] = _AUCTION_FLAG
    else:
        delta = batch.delta[new_delta(batch, 0, 0, time_ns, 0)]
        delta.side = side
        delta.action = _action(kind)
        delta.px = px
        delta.qty = qty
        delta.venue_order = order
        delta["flags"] = _PRINT if kind == EXECUTE else 0
        if kind == ADD and opening != NO_BOOK:
            keep(lines, order)
        elif opening == GIVEN and lines.index[_place(lines, order)] == 0:
            left = take_opening(lines, side, px, qty)
            if left > 0:
                delta.action = _EXECUTE if kind == EXECUTE else _REDUCE
                delta.qty = left
                delta.venue_order = opening_number(side, px)


@kernel
def opening_number(side: int, px: int) -> int:
    """The number of the order that a level of the opening book is: larger than any of Nasdaq's."""
    return _OPENING_NUMBER + 2 * px + (0 if side == BUY else 1)


@kernel
def _open_book(lines: Lines, kind: int, side: int, px: int, qty: int, time_ns: int, batch: Batch) -> None:
    """The opening book before the first message, which it has already: an order that is added is taken off again."""
    if kind == ADD:
        take_opening(lines, side, px, qty)
    last = -1
    for n in range(int(lines.held[0])):
        told_side, told_px, left = int(lines.held[1 + 3 * n]), int(lines.held[2 + 3 * n]), int(lines.held[3 + 3 * n])
        if left > 0:
            last = new_delta(batch, 0, 0, time_ns, 0)
            delta = batch.delta[last]
            delta.side = told_side
            delta.px = told_px
            delta.qty = left
            delta.venue_order = opening_number(told_side, told_px)
            delta["flags"] = _SNAPSHOT | _MORE
    if last >= 0:
        batch.delta[last]["flags"] = _SNAPSHOT


@kernel
def take_opening(lines: Lines, side: int, px: int, qty: int) -> int:
    """Take quantity off a level of the opening book: how much was there of it."""
    for n in range(int(lines.held[0])):
        if lines.held[1 + 3 * n] == side and lines.held[2 + 3 * n] == px:
            taken = min(qty, int(lines.held[3 + 3 * n]))
            lines.held[3 + 3 * n] -= taken
            return taken
    return 0


@kernel
def _place(lines: Lines, order: int) -> int:
    """Where the number of an order is kept (plus 1), or would be: 0 is there then."""
    mask = len(lines.index) - 1
    at = (order ^ (order >> 7)) & mask
    while lines.index[at] != 0 and lines.index[at] != order + 1:
        at = (at + 1) & mask
    return at


@kernel
def keep_all(lines: Lines, orders: np.ndarray) -> None:
    """Keep the numbers of orders."""
    for n in range(len(orders)):
        keep(lines, int(orders[n]))


@kernel
def keep(lines: Lines, order: int) -> None:
    """Keep the number of an order that was added."""
    at = _place(lines, order)
    if lines.index[at] == 0:
        lines.index[at] = order + 1
        lines.cursor[KEPT] += 1


@kernel
def _action(kind: int) -> int:
    if kind == ADD:
        return _ADD
    if kind == REDUCE:
        return _REDUCE
    return _DELETE if kind == DELETE else _EXECUTE


@kernel
def _side(data: np.ndarray, low: int, high: int) -> int:
    """Side of 1 or -1; 0 where it is neither."""
    if high - low == 1 and data[low] == _ONE:
        return BUY
    return SELL if high - low == 2 and data[low] == _MINUS and data[low + 1] == _ONE else 0


@kernel
def _status(data: np.ndarray, low: int, high: int) -> int:
    """What a halt's price says: -1 halted, 0 quoted but not traded, 1 open."""
    if high - low == 2 and data[low] == _MINUS and data[low + 1] == _ONE:
        return _HALTED
    value = digits(data, low, high)
    if value == 0:
        return _AUCTION
    return _OPEN if value == 1 else MALFORMED


@kernel
def decode_book(lines: Lines, data: np.ndarray, at: int, end: int, batch: Batch) -> int:
    """Rows of ask price, ask size, bid price, bid size of each level into the changes from row to row.

    held int64 (2 x SIDE_WORDS + 6): the row at hand, and what its records have in common.
    """
    while True:
        stop = line_end(data, at, end)
        if stop < 0:
            return at
        if not room(batch, 4 * int(lines.cursor[LEVELS]) + 1):
            fail(lines, FULL, at, at)
            return at
        if not read_row(lines, data, at):
            return at
        show(lines, 0, lines.held[: 2 * SIDE_WORDS], batch, lines.held[2 * SIDE_WORDS :])
        lines.by_type[1] += 1
        lines.cursor[LINE] += 1
        at = stop + 1


@kernel
def read_row(lines: Lines, data: np.ndarray, at: int) -> bool:
    """One order-book row into `held`; False where it is not to be trusted. A level without quantity is none."""
    cuts, now, levels = lines.cuts, lines.held, int(lines.cursor[LEVELS])
    fields, next_at = cut(data, at, cuts)
    if fields != 4 * levels or levels > DEPTH:
        return bool(fail(lines, BAD_ROW, at, next_at - 1))
    now[0] = 0
    now[SIDE_WORDS] = 0
    for n in range(2 * levels):
        side = SIDE_WORDS if n % 2 == 0 else 0
        low = at if n == 0 else int(cuts[2 * n - 1]) + 1
        middle, high = int(cuts[2 * n]), int(cuts[2 * n + 1])
        qty = digits(data, middle + 1, high)
        if qty < 0:
            return bool(fail(lines, BAD_SIZE, middle + 1, high))
        if qty > 0:
            px = digits(data, low, middle)
            if px <= 0:
                return bool(fail(lines, BAD_PRICE, low, middle))
            place = side + 1 + 2 * int(now[side])
            now[place] = px
            now[place + 1] = qty
            now[side] += 1
    if not (sorted_side(now[:SIDE_WORDS], BUY) and sorted_side(now[SIDE_WORDS : 2 * SIDE_WORDS], SELL)):
        return bool(fail(lines, BAD_BOOK, at, next_at - 1))
    return True
