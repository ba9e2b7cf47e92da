"""MBO records of DBN to ORDER_DELTA, TRADE and CLEAR.

DBN says of a cancel how much is gone, and of a fill nothing that changes a book, while an ORDER_DELTA says what is left
and what was executed; so the orders that rest are kept here, with what is left of each.

A fill (F) executes the order that rests. The cancel or the modification that follows it in the data takes out of the
book what the fill took already, so that much of it gives no record. A fill of an order that does not rest changes no
book, gives no record and is counted. An order that was filled wholly and is then modified shows more of what it hid: it
is gone and added again, behind the others. A trade (T) is the aggressor's: a TRADE.

Worst case: the table of orders is half full before the host doubles it; a probe is a few rows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.jit import kernel
from gateways.formats.batch import Batch, new_delta
from gateways.formats.dbn_layout import UNDEF_PRICE
from gateways.formats.dbn_levels import top
from gateways.formats.dbn_state import (
    AGGREGATED,
    MIX,
    MORE,
    NEW_ORDERS,
    NO_ACTION,
    NO_ORDER,
    NO_QTY,
    NO_SIDE,
    DbnState,
    clear,
    i64,
    side_of,
    skip,
    trade,
    u32,
    units,
)

Array = np.ndarray[Any, np.dtype[Any]]
_ADD, _CHANGE, _DELETE, _EXECUTE = 0, 1, 2, 3
_F_TOB: Final = 64
_F_MBP: Final = 16
_A, _C, _F, _M, _N, _R, _T = (ord(c) for c in "ACFMNRT")


@kernel
def _home(number: int, tag: int, mask: int) -> int:
    return ((number ^ tag << 40) * MIX >> 32) & mask


@kernel
def find_order(orders: Array, number: int, tag: int) -> int:
    """The row of an order, or the free one where it would be."""
    mask = len(orders) - 1
    i = _home(number, tag, mask)
    while int(orders[i].tag) != 0 and (int(orders[i].number) != number or int(orders[i].tag) != tag):
        i = (i + 1) & mask
    return i


@kernel
def move_orders(old: Array, new: Array) -> None:
    """Orders of one table into another, which is larger and empty."""
    for n in range(len(old)):
        new[find_order(new, int(old[n].number), int(old[n].tag))] = old[n]


@kernel
def _remove(state: DbnState, hole: int) -> None:
    """Free an order's row; rows behind it move up, so that every probe still finds its own."""
    orders = state.orders
    mask = len(orders) - 1
    at = (hole + 1) & mask
    while int(orders[at].tag) != 0:
        home = _home(int(orders[at].number), int(orders[at].tag), mask)
        if ((at - home) & mask) >= ((at - hole) & mask):
            orders[hole] = orders[at]
            hole = at
        at = (at + 1) & mask
    orders[hole].tag = 0
    state.heads[0].orders -= 1


@kernel
def _delta(state: DbnState, number: int, side: int, action: int, px: int, qty: int, batch: Batch) -> int:
    now = state.now[0]
    i = new_delta(batch, int(now.venue), int(now.dense), int(now.event_ns), int(now.recv_ns))
    batch.head[i].stream_seq = int(now.seq)
    row = batch.delta[i]
    row.side = side
    row.action = action
    row["flags"] = int(now.mark)
    row.px = px
    row.qty = qty
    row.venue_order = number
    return i


@kernel
def _place(state: DbnState, data: Array, at: int, slot: int, batch: Batch) -> int:
    """Add or modify: the order rests with this price and size."""
    number, qty, side = i64(data, at + 16), u32(data, at + 32), side_of(int(data[at + 39]))
    if 2 * (int(state.heads[0].orders) + 1) > len(state.orders):
        return NEW_ORDERS
    if side == 0:
        skip(state, NO_SIDE, at, int(data[at + 39]))
        return MORE
    if qty == 0:
        skip(state, NO_QTY, at, 0)
        return MORE
    px = units(state, at, i64(data, at + 24))
    if px == UNDEF_PRICE:
        return MORE
    tag = int(state.slots[slot].tag)
    row = state.orders[find_order(state.orders, number, tag)]
    adds = int(data[at + 38]) == _A or (int(row.tag) != 0 and int(row.left) == 0)
    if int(row.tag) == 0:
        state.heads[0].orders += 1
        row.number = number
        row.tag = tag
    row.left = qty
    row.filled = 0
    row.px = px
    row.side = side
    _delta(state, number, side, _ADD if adds else _CHANGE, px, qty, batch)
    return MORE


@kernel
def _fill(state: DbnState, data: Array, at: int, slot: int, batch: Batch) -> None:
    """An execution of the order that rests; what follows in the data takes it out, see `_cancel`."""
    number, qty = i64(data, at + 16), u32(data, at + 32)
    row = state.orders[find_order(state.orders, number, int(state.slots[slot].tag))]
    if int(row.tag) == 0 or int(row.left) == 0:
        skip(state, NO_ORDER, at, number)
        return
    if qty == 0:
        skip(state, NO_QTY, at, 0)
        return
    px = units(state, at, i64(data, at + 24))
    if px == UNDEF_PRICE:
        return
    done = min(qty, int(row.left))
    row.left = int(row.left) - done
    row.filled = int(row.filled) + done
    i = _delta(state, number, int(row.side), _EXECUTE, int(row.px), done, batch)
    if px != int(row.px):
        batch.delta[i].exec_px = px


@kernel
def _cancel(state: DbnState, data: Array, at: int, slot: int, batch: Batch) -> None:
    """So much less rests; fills that were told already are part of it. Without a size, all is gone."""
    number, qty = i64(data, at + 16), u32(data, at + 32)
    k = find_order(state.orders, number, int(state.slots[slot].tag))
    row = state.orders[k]
    if int(row.tag) == 0:
        px = units(state, at, i64(data, at + 24))
        if px != UNDEF_PRICE:
            _delta(state, number, side_of(int(data[at + 39])), _DELETE, px, qty, batch)
        return
    left, filled = int(row.left), int(row.filled)
    if qty == 0:
        qty = left + filled
    told = min(qty, filled)
    row.filled = filled - told
    gone = min(qty - told, left)
    row.left = left - gone
    if gone > 0 and left > gone:
        _delta(state, number, int(row.side), _CHANGE, int(row.px), left - gone, batch)
    elif gone > 0:
        _delta(state, number, int(row.side), _DELETE, int(row.px), gone, batch)
    if left == gone:
        _remove(state, k)


@kernel
def mbo(state: DbnState, data: Array, at: int, slot: int, batch: Batch) -> int:
    """One MBO record; MORE, or what the host has to make room for before it is taken."""
    action, bits = int(data[at + 38]), int(data[at + 36])
    if action == _R:
        clear(state, slot, batch)
    elif action == _T:
        trade(state, at, i64(data, at + 24), u32(data, at + 32), int(data[at + 39]), batch)
    elif action == _N:
        return MORE
    elif bits & _F_TOB:
        return top(state, data, at, slot, batch)
    elif bits & _F_MBP:
        skip(state, AGGREGATED, at, action)
    elif action == _F:
        _fill(state, data, at, slot, batch)
    elif action == _C or (action == _M and u32(data, at + 32) == 0):
        _cancel(state, data, at, slot, batch)
    elif action == _A or action == _M:
        return _place(state, data, at, slot, batch)
    else:
        skip(state, NO_ACTION, at, action)
    return MORE
