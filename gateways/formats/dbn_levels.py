"""Quotes and levels of DBN: mbp-1, tbbo, cmbp-1, tops among orders, and the ten levels of mbp-10.

An mbp-10 record shows the ten levels a side as they are after it. Those are compared with what was shown before, and
each level that is new, has another size or is no longer among the ten becomes a LEVEL: so a book that is built from
them is the ten levels, exactly, and a record that is missing is made good by the next.

A record of a trade shows the book before it: QUOTE or LEVEL come first, then the TRADE.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.jit import kernel
from engine.record.records import Side
from gateways.formats.batch import Batch, new_level, new_quote
from gateways.formats.dbn_layout import UNDEF_PRICE
from gateways.formats.dbn_state import (
    DISORDER,
    LADDER,
    MORE,
    NEW_LADDER,
    NO_ACTION,
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
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_NEW, _CHANGE, _DELETE = 0, 1, 2
#: Where the levels of a record begin, and bytes of each: prices of both sides, sizes, numbers of orders.
_LEVELS, _LEVEL_BYTES = 48, 32
_A, _C, _M, _R, _T = (ord(c) for c in "ACMRT")
#: Numbers a level has in a ladder; a bid begins at 0, an offer at 2.
_PER_LEVEL: Final = 4


@kernel
def _quote(state: DbnState, bid_px: int, bid_qty: int, ask_px: int, ask_qty: int, batch: Batch) -> int:
    now = state.now[0]
    i = new_quote(batch, int(now.venue), int(now.dense), int(now.event_ns), int(now.recv_ns))
    batch.head[i].stream_seq = int(now.seq)
    row = batch.quote[i]
    row["flags"] = int(now.mark)
    row.bid_px = bid_px
    row.bid_qty = bid_qty
    row.ask_px = ask_px
    row.ask_qty = ask_qty
    row.source_seq = int(now.seq)
    return i


@kernel
def mbp_1(state: DbnState, data: Array, at: int, slot: int, counted: int, batch: Batch) -> int:
    """A record with the best level: QUOTE, and TRADE where it is one; `counted` 1 where it says how many orders."""
    action = int(data[at + 28])
    if action == _R:
        clear(state, slot, batch)
    bid_px, bid_qty = i64(data, at + _LEVELS), u32(data, at + _LEVELS + 16)
    ask_px, ask_qty = i64(data, at + _LEVELS + 8), u32(data, at + _LEVELS + 20)
    fits = True
    if bid_px == UNDEF_PRICE or bid_qty == 0:
        bid_px, bid_qty = 0, 0
    else:
        bid_px = units(state, at, bid_px)
        fits = bid_px != UNDEF_PRICE
    if ask_px == UNDEF_PRICE or ask_qty == 0:
        ask_px, ask_qty = 0, 0
    elif fits:
        ask_px = units(state, at, ask_px)
        fits = ask_px != UNDEF_PRICE
    if fits and (action != _R or bid_qty + ask_qty > 0):
        i = _quote(state, bid_px, bid_qty, ask_px, ask_qty, batch)
        if counted:
            batch.quote[i].bid_orders = u32(data, at + _LEVELS + 24)
            batch.quote[i].ask_orders = u32(data, at + _LEVELS + 28)
    if action == _T:
        trade(state, at, i64(data, at + 16), u32(data, at + 24), int(data[at + 29]), batch)
    return MORE


@kernel
def top(state: DbnState, data: Array, at: int, slot: int, batch: Batch) -> int:
    """An MBO record that is no order but the best level of a side (flag TOB): QUOTE of both sides as they are now."""
    row = int(state.slots[slot].ladder)
    if row < 0:
        return NEW_LADDER
    action, side = int(data[at + 38]), side_of(int(data[at + 39]))
    if action != _A and action != _C and action != _M:
        skip(state, NO_ACTION, at, action)
        return MORE
    if side == 0:
        skip(state, NO_SIDE, at, int(data[at + 39]))
        return MORE
    px, qty = i64(data, at + 24), u32(data, at + 32)
    if px == UNDEF_PRICE or qty == 0 or action == _C:
        px, qty = 0, 0
    else:
        px = units(state, at, px)
        if px == UNDEF_PRICE:
            return MORE
    best = state.ladders
    first = row if side == _BUY else row + 2
    best[first] = px
    best[first + 1] = qty
    _quote(state, int(best[row]), int(best[row + 1]), int(best[row + 2]), int(best[row + 3]), batch)
    return MORE


@kernel
def _read_side(state: DbnState, data: Array, at: int, side: int) -> bool:
    """The ten levels of a side into the scratch ladder; False, counted, where they are of no use."""
    first, shift = (0, 0) if side == _BUY else (2, 8)
    last, ended = 0, False
    for k in range(LADDER // _PER_LEVEL):
        place = at + _LEVELS + k * _LEVEL_BYTES
        px, qty = i64(data, place + shift), u32(data, place + 16 + shift // 2)
        to = first + k * _PER_LEVEL
        if px == UNDEF_PRICE or qty == 0:
            ended = True
            state.scratch[to] = 0
            state.scratch[to + 1] = 0
            continue
        px = units(state, place, px)
        if px == UNDEF_PRICE:
            return False
        if ended or (k > 0 and (px >= last if side == _BUY else px <= last)):
            skip(state, DISORDER, place, px)
            return False
        last = px
        state.scratch[to] = px
        state.scratch[to + 1] = qty
    return True


@kernel
def _level(state: DbnState, side: int, action: int, px: int, qty: int, batch: Batch) -> None:
    now = state.now[0]
    i = new_level(batch, int(now.venue), int(now.dense), int(now.event_ns), int(now.recv_ns))
    batch.head[i].stream_seq = int(now.seq)
    row = batch.level[i]
    row.side = side
    row.action = action
    row["flags"] = int(now.mark)
    row.px = px
    row.qty = qty


@kernel
def _tell_side(state: DbnState, row: int, side: int, batch: Batch) -> None:
    """LEVELs of what differs between the ladder and the scratch ladder, from the best on; the ladder is then that."""
    first = 0 if side == _BUY else 2
    old, new = first, first
    for _ in range(LADDER // 2):
        had = old < LADDER and int(state.ladders[row + old + 1]) > 0
        has = new < LADDER and int(state.scratch[new + 1]) > 0
        if not had and not has:
            break
        old_px = int(state.ladders[row + old]) if had else 0
        new_px = int(state.scratch[new]) if has else 0
        if had and has and old_px == new_px:
            qty = int(state.scratch[new + 1])
            if qty != int(state.ladders[row + old + 1]):
                _level(state, side, _CHANGE, new_px, qty, batch)
            old, new = old + _PER_LEVEL, new + _PER_LEVEL
        elif had and (not has or (old_px > new_px if side == _BUY else old_px < new_px)):
            _level(state, side, _DELETE, old_px, 0, batch)
            old += _PER_LEVEL
        else:
            _level(state, side, _NEW, new_px, int(state.scratch[new + 1]), batch)
            new += _PER_LEVEL
    for n in range(first, LADDER, _PER_LEVEL):
        state.ladders[row + n] = state.scratch[n]
        state.ladders[row + n + 1] = state.scratch[n + 1]


@kernel
def mbp_10(state: DbnState, data: Array, at: int, slot: int, batch: Batch) -> int:
    """A record with ten levels a side: LEVELs of what changed, and TRADE where it is one."""
    row = int(state.slots[slot].ladder)
    if row < 0:
        return NEW_LADDER
    action = int(data[at + 28])
    if action == _R:
        clear(state, slot, batch)
    if _read_side(state, data, at, _BUY) and _read_side(state, data, at, _SELL):
        _tell_side(state, row, _BUY, batch)
        _tell_side(state, row, _SELL, batch)
    if action == _T:
        trade(state, at, i64(data, at + 16), u32(data, at + 24), int(data[at + 29]), batch)
    return MORE
