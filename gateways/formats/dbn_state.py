"""What the kernels of DBN keep in mind, and the little ones that all of them use.

A row an instrument and publisher (`slots`), the orders that rest (`orders`), ladders of ten levels where a schema needs
them, and one row of what the message at hand says (`now`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.jit import kernel
from engine.memory import Memory, memory, packed
from engine.record.records import Flag, Reason, Side
from gateways.formats.batch import Batch, new_clear, new_trade
from gateways.formats.dbn_layout import UNDEF_PRICE

Array = np.ndarray[Any, np.dtype[Any]]
#: Units that an mbp-10 record may become: CLEAR, TRADE, 20 levels gone and 20 that are new.
MOST_LEVELS: Final = 42
#: Numbers of a ladder: ten levels of (bid price, bid size, ask price, ask size).
LADDER: Final = 40

#: Why the kernel stopped.
MORE, FULL, NEW_SLOT, NEW_LADDER, NEW_ORDERS, TOLD, DAMAGED = range(7)
#: What cannot be used, in the order of `REASONS`.
FINE, NO_PRICE, NO_QTY, NO_SIDE, NO_ACTION, NO_ORDER, AGGREGATED, DISORDER = range(8)
REASONS: Final = (
    "a price finer than the instrument's decimals",
    "no price",
    "no quantity",
    "no side",
    "an unknown action",
    "a fill of an order that does not rest",
    "a level among orders",
    "levels that are not in order",
)
_BUY, _SELL, _NONE = int(Side.BUY), int(Side.SELL), int(Reason.NONE)
_TOOK_BUY, _TOOK_SELL = int(Flag.AGGRESSOR_BUY), int(Flag.AGGRESSOR_SELL)
_ASK, _BID = ord("A"), ord("B")
#: Later than any time: beyond it there is no end of a span.
LATEST_NS: Final = 2**63 - 2
MIX: Final = 0x1E3779B97F4A7C15

SLOT: Final = np.dtype(
    (
        np.record,
        [(n, "<i8") for n in "key dense venue unit begin_ns end_ns tag ladder broken open open_ns snapshot".split()],
    )
)
ORDER: Final = np.dtype((np.record, [(n, "<i8") for n in "number tag left filled px side".split()]))
NOW: Final = np.dtype((np.record, [(n, "<i8") for n in "venue dense unit event_ns recv_ns seq mark slot last".split()]))
SKIP: Final = np.dtype((np.record, [(n, "<i8") for n in "times first_at first_value".split()]))
HEADS: Final = np.dtype((np.record, [(n, "<i8") for n in "code origin orders tag gaps".split()]))


@memory
class DbnState(Memory):
    """What decoding knows. `heads` and `now` are one row each; a slot's key is 0, an order's tag 0, where none is."""

    LAYOUT = packed(
        heads=HEADS,
        now=NOW,
        types="<i8",
        sizes="<i8",
        skips=SKIP,
        slots=SLOT,
        orders=ORDER,
        ladders="<i8",
        scratch="<i8",
    )
    heads: Array
    now: Array
    types: Array  # messages by rtype
    sizes: Array  # by rtype: 0 any, -1 unknown, else the size; definitions and mappings are looked at by the host
    skips: Array
    slots: Array
    orders: Array
    ladders: Array
    scratch: Array


@kernel
def u16(data: Array, at: int) -> int:
    """Two bytes as an unsigned number."""
    return int(data[at]) | int(data[at + 1]) << 8


@kernel
def u32(data: Array, at: int) -> int:
    """Four bytes as an unsigned number."""
    return int(data[at]) | int(data[at + 1]) << 8 | int(data[at + 2]) << 16 | int(data[at + 3]) << 24


@kernel
def i64(data: Array, at: int) -> int:
    """Eight bytes as a signed number."""
    top = int(data[at + 7])
    if top > 127:
        top -= 256
    high = int(data[at + 4]) | int(data[at + 5]) << 8 | int(data[at + 6]) << 16
    return u32(data, at) | high << 32 | top << 56


@kernel
def slot_key(publisher: int, instrument: int) -> int:
    """The key of a slot; never 0."""
    return (publisher << 32 | instrument) + 1


@kernel
def find_slot(slots: Array, key: int) -> int:
    """The row of a key, or the free one where it would be."""
    mask = len(slots) - 1
    i = (key * MIX >> 32) & mask
    while int(slots[i].key) != 0 and int(slots[i].key) != key:
        i = (i + 1) & mask
    return i


@kernel
def skip(state: DbnState, reason: int, at: int, value: int) -> None:
    """Count what gives no record; the first of each reason is kept."""
    row = state.skips[reason]
    if int(row.times) == 0:
        row.first_at = int(state.heads[0].origin) + at
        row.first_value = value
    row.times += 1


@kernel
def units(state: DbnState, at: int, px: int) -> int:
    """A price in the instrument's units; UNDEF_PRICE, counted, where there is none or it does not fit."""
    if px == UNDEF_PRICE:
        skip(state, NO_PRICE, at, 0)
        return UNDEF_PRICE
    unit = int(state.now[0].unit)
    if unit == 1:
        return px
    if px % unit != 0:
        skip(state, FINE, at, px)
        return UNDEF_PRICE
    return px // unit


@kernel
def side_of(letter: int) -> int:
    """The side that a letter means; 0 where it means none."""
    if letter == _BID:
        return _BUY
    return _SELL if letter == _ASK else 0


@kernel
def clear(state: DbnState, slot: int, batch: Batch) -> None:
    """All that rests in the slot's instrument is gone: a new tag makes its orders strangers."""
    now, row = state.now[0], state.slots[slot]
    i = new_clear(batch, int(now.venue), int(now.dense), int(now.event_ns), int(now.recv_ns), _NONE)
    batch.clear[i]["flags"] = int(now.mark)
    batch.head[i].stream_seq = int(now.seq)
    state.heads[0].tag += 1
    row.tag = int(state.heads[0].tag)
    if int(row.ladder) >= 0:
        for n in range(LADDER):
            state.ladders[int(row.ladder) + n] = 0


@kernel
def trade(state: DbnState, at: int, px: int, qty: int, side: int, batch: Batch) -> None:
    """A TRADE; none, counted, where it has no quantity or price that fits. `side` is its aggressor's letter."""
    if qty == 0:
        skip(state, NO_QTY, at, 0)
        return
    fit = units(state, at, px)
    if fit == UNDEF_PRICE:
        return
    now = state.now[0]
    i = new_trade(batch, int(now.venue), int(now.dense), int(now.event_ns), int(now.recv_ns))
    batch.head[i].stream_seq = int(now.seq)
    batch.trade[i].px = fit
    batch.trade[i].qty = qty
    took = side_of(side)
    batch.trade[i]["flags"] = int(now.mark) | (_TOOK_BUY if took == _BUY else _TOOK_SELL if took == _SELL else 0)
