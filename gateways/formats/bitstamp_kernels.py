"""The kernels of Bitstamp's recorded channels: a line of time, event and JSON object into records."""

from __future__ import annotations

import numpy as np

from engine.jit import kernel
from gateways.formats.batch import Batch, new_delta, new_trade, room
from gateways.formats.json_text import LAST, bare, next_member, next_pair, skip_space
from gateways.formats.ladder import BUY, SELL, show, sorted_side
from gateways.formats.lines import (
    DEPTH,
    FULL,
    HIGH,
    LAST_NS,
    LINE,
    LOW,
    OWN,
    PX_DECIMALS,
    QTY_DECIMALS,
    REPEATED,
    SIDE_WORDS,
    Lines,
    fail,
    skip,
)
from gateways.formats.text import MALFORMED, TOO_FINE, digits, equals, letters, line_end, number, scaled

BAD_TIME, BAD_JSON, BAD_MEMBER, BAD_NUMBER, BAD_ORDER = range(OWN, OWN + 5)
SKIP_OTHER, SKIP_UNITS, SKIP_UNSORTED, SKIP_DEEP, SKIP_EMPTY = range(5)
CREATED, CHANGED, DELETED, TRADE, BOOK, OTHER = range(1, 7)
#: Slots of the members that matter.
PRICE, AMOUNT, ID, TYPE, BIDS, ASKS = range(6)
ORDER_VENUE, BOOK_VENUE = 0, 1


_PRICE, _AMOUNT, _ID, _TYPE = letters("price"), letters("amount"), letters("id"), letters("order_type")
_BIDS, _ASKS = letters("bids"), letters("asks")
_ORDER_CREATED, _ORDER_CHANGED = letters("order_created"), letters("order_changed")
_ORDER_DELETED, _TRADE, _ORDER_BOOK = letters("order_deleted"), letters("trade"), letters("order_book")


@kernel
def decode(lines: Lines, data: np.ndarray, at: int, end: int, batch: Batch) -> int:
    """Lines of time in ms, event and object into records; see `gateways.formats.lines`."""
    while True:
        stop = line_end(data, at, end)
        if stop < 0:
            return at
        if not room(batch, 4 * DEPTH + 8):
            fail(lines, FULL, at, at)
            return at
        first = at
        while first < stop and data[first] != 32:
            first += 1
        second = first + 1
        while second < stop and data[second] != 32:
            second += 1
        time_ms = digits(data, at, first)
        if time_ms == MALFORMED or time_ms >= 10**13:
            fail(lines, BAD_TIME, at, first)
            return at
        if time_ms * 1_000_000 < lines.cursor[LAST_NS]:
            fail(lines, BAD_ORDER, at, first)
            return at
        kind = kind_of(data, first + 1, second)
        if not take_message(lines, data, second + 1, stop, kind, time_ms * 1_000_000, batch):
            return at
        lines.by_type[kind] += 1
        lines.cursor[LAST_NS] = time_ms * 1_000_000
        lines.cursor[LINE] += 1
        at = stop + 1


@kernel
def kind_of(data: np.ndarray, low: int, high: int) -> int:
    """What an event is."""
    if equals(data, low, high, _ORDER_CREATED):
        return CREATED
    if equals(data, low, high, _ORDER_DELETED):
        return DELETED
    if equals(data, low, high, _ORDER_CHANGED):
        return CHANGED
    if equals(data, low, high, _ORDER_BOOK):
        return BOOK
    return TRADE if equals(data, low, high, _TRADE) else OTHER


@kernel
def take_message(lines: Lines, data: np.ndarray, low: int, high: int, kind: int, recv_ns: int, batch: Batch) -> bool:
    """One event's object. False: it is not to be trusted."""
    low = skip_space(data, low, high)
    if not find_members(lines, data, low, high):
        return bool(fail(lines, BAD_JSON, low, high))
    if kind == OTHER:
        return bool(skip(lines, SKIP_OTHER, low, high))
    if kind == BOOK:
        return take_book(lines, data, recv_ns, batch)
    cuts = lines.cuts
    number_id = digits(data, int(cuts[2 * ID]), int(cuts[2 * ID + 1]))
    if number_id == MALFORMED:
        return bool(fail(lines, BAD_MEMBER, low, high))
    px_low, px_high = bare(data, int(cuts[2 * PRICE]), int(cuts[2 * PRICE + 1]))
    qty_low, qty_high = bare(data, int(cuts[2 * AMOUNT]), int(cuts[2 * AMOUNT + 1]))
    px = of_double(data, px_low, px_high, int(lines.rows[PX_DECIMALS]))
    qty = of_double(data, qty_low, qty_high, int(lines.rows[QTY_DECIMALS]))
    if px == MALFORMED or qty == MALFORMED:
        return bool(fail(lines, BAD_NUMBER, low, high))
    if px < 0 or qty < 0:
        return bool(skip(lines, SKIP_UNITS, low, high))
    if kind == TRADE:
        if px == 0 or qty == 0:
            return bool(skip(lines, SKIP_EMPTY, low, high))
        i = new_trade(batch, ORDER_VENUE, 0, 0, recv_ns)
        batch.head[i].stream_seq = number_id
        batch.trade[i].px = px
        batch.trade[i].qty = qty
        return True
    side = side_of(lines, data)
    if side == 0:
        return bool(fail(lines, BAD_MEMBER, low, high))
    delta = batch.delta[new_delta(batch, ORDER_VENUE, 0, 0, recv_ns)]
    delta.side = side
    delta.action = 0 if kind == CREATED else 1 if kind == CHANGED else 2
    delta.px = px
    delta.qty = qty
    delta.venue_order = number_id
    return True


@kernel
def of_double(text: np.ndarray, low: int, high: int, decimals: int) -> int:
    """A number that may have been a double on its way: where it is within 10^-4 of a whole unit, that."""
    value = number(text, low, high, decimals)
    if value != TOO_FINE:
        return int(value)
    end = low
    while end < high and text[end] | 32 != 101:
        end += 1
    # `number` took the exponent for one; a double that is too fine has it below zero, where it has any.
    power = -digits(text, end + 2, high) if end < high and text[end + 1] == 45 else 0
    point = low
    while point < end and text[point] != 46:
        point += 1
    places = decimals + 4 + power
    if places < 1:
        return TOO_FINE
    fine = scaled(text, low, min(end, point + 1 + places), places)
    if fine < 0:
        return TOO_FINE
    near = (fine + 5000) // 10_000
    return int(near) if abs(fine - near * 10_000) <= 1 else TOO_FINE


@kernel
def side_of(lines: Lines, data: np.ndarray) -> int:
    """Side of an order's type, 0 or 1; 0 where it is neither."""
    low, high = int(lines.cuts[2 * TYPE]), int(lines.cuts[2 * TYPE + 1])
    kind = digits(data, low, high)
    return BUY if kind == 0 else SELL if kind == 1 else 0


@kernel
def find_members(lines: Lines, data: np.ndarray, low: int, high: int) -> bool:
    """Begin and end of the members that matter, into their slots; False where it is no object, and nothing but it."""
    cuts, at = lines.cuts, low
    cuts[:12] = 0
    if at >= high or data[at] != 123:
        return False
    while True:
        key, key_end, value, value_end, at = next_member(data, at, high)
        if key == LAST:
            return bool(skip_space(data, at, high) == high)
        if key == MALFORMED:
            return False
        slot = slot_of(data, key, key_end)
        if slot >= 0:
            cuts[2 * slot] = value
            cuts[2 * slot + 1] = value_end


@kernel
def slot_of(data: np.ndarray, low: int, high: int) -> int:
    """The slot of a member; -1 where it does not matter."""
    if equals(data, low, high, _PRICE):
        return PRICE
    if equals(data, low, high, _AMOUNT):
        return AMOUNT
    if equals(data, low, high, _ID):
        return ID
    if equals(data, low, high, _TYPE):
        return TYPE
    if equals(data, low, high, _BIDS):
        return BIDS
    return ASKS if equals(data, low, high, _ASKS) else -1


@kernel
def take_book(lines: Lines, data: np.ndarray, recv_ns: int, batch: Batch) -> bool:
    """The best levels as LEVEL changes; held int64 (2 x SIDE_WORDS + 6): the rows, and what records have in common."""
    now = lines.held
    for step in range(2):
        wrong = take_side(lines, data, BIDS if step == 0 else ASKS, step * SIDE_WORDS)
        if wrong == MALFORMED:
            return bool(fail(lines, BAD_NUMBER, int(lines.cursor[LOW]), int(lines.cursor[HIGH])))
        if wrong != 0:
            reason = SKIP_DEEP if wrong == LAST else SKIP_UNITS
            return bool(skip(lines, reason, int(lines.cursor[LOW]), int(lines.cursor[HIGH])))
    bids, asks = now[:SIDE_WORDS], now[SIDE_WORDS : 2 * SIDE_WORDS]
    if not (sorted_side(bids, BUY) and sorted_side(asks, SELL)):
        return bool(skip(lines, SKIP_UNSORTED, int(lines.cuts[2 * BIDS]), int(lines.cuts[2 * BIDS + 1])))
    like = now[2 * SIDE_WORDS :]
    like[0] = BOOK_VENUE
    like[3] = recv_ns
    if show(lines, 0, now[: 2 * SIDE_WORDS], batch, like) == 0:
        lines.cursor[REPEATED] += 1
    return True


@kernel
def take_side(lines: Lines, data: np.ndarray, slot: int, place: int) -> int:
    """One side's levels into `held`: 0, MALFORMED, LAST where they are too many, else what does not fit."""
    now, cursor = lines.held, lines.cursor
    at, high = int(lines.cuts[2 * slot]), int(lines.cuts[2 * slot + 1])
    cursor[LOW] = at
    cursor[HIGH] = high
    now[place] = 0
    while True:
        px_low, px_high, qty_low, qty_high, at = next_pair(data, at, high)
        if px_low == LAST:
            return 0
        if px_low == MALFORMED:
            return MALFORMED
        px = number(data, px_low, px_high, int(lines.rows[PX_DECIMALS]))
        qty = number(data, qty_low, qty_high, int(lines.rows[QTY_DECIMALS]))
        if px == MALFORMED or qty == MALFORMED or px == 0:
            return MALFORMED
        if px < 0 or qty < 0:
            return int(min(px, qty)) - 10
        if qty > 0:
            if now[place] == DEPTH:
                return LAST
            n = place + 1 + 2 * int(now[place])
            now[n] = px
            now[n + 1] = qty
            now[place] += 1
