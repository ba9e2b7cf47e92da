"""A synthetic ITCH 5.0 day: any number of messages over some hundred stocks, every reference valid, from a seed.

The mix is a busy Nasdaq day's: about 45 % adds, 37 % deletes, 9 % replaces, 5 % executions, 3 % partial cancels, 1 %
trades. Each stock has a middle that wanders; orders are placed on their side of it, most of them near the touch.
Which order a message concerns is any live one's of the whole market, so tables are met as cold as they would be.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.jit import kernel
from gateways.venues.ids import splitmix64

STOCKS: Final = 500
#: Live orders at the most: beyond that no more are added than go.
LIVE: Final = 1 << 20
_TICK = 100
_DEEPEST = 40
#: Bytes of a message with its length, at the most.
_ROOM = 40


@kernel
def _put(out: np.ndarray, at: int, value: int, size: int) -> int:
    for n in range(size):
        out[at + n] = (value >> (8 * (size - 1 - n))) & 255
    return at + size


@kernel
def _head(out: np.ndarray, at: int, length: int, kind: int, stock: int, now_ns: int) -> int:
    at = _put(out, at, length, 2)
    out[at] = kind
    at = _put(out, at + 1, stock, 2)
    at = _put(out, at, 0, 2)
    return _put(out, at, now_ns, 6)


@kernel
def _offer(out: np.ndarray, at: int, number: int, buy: int, qty: int, stock: int, px: int) -> int:
    """Number, side, shares, stock and price, as adds and trades have them."""
    at = _put(out, at, number, 8)
    out[at] = 66 if buy else 83
    at = _put(out, at + 1, qty, 4)
    for k in range(8):
        out[at + k] = 65 + (stock // 26**k) % 26 if k < 3 else 32
    return _put(out, at + 8, px, 4)


@kernel
def _px(middles: np.ndarray, stock: int, buy: int, dice: int) -> int:
    """A price on the right side of a stock's middle: the distance is geometric in quarters, some far away."""
    steps = 1
    while dice & 3 == 0 and steps < _DEEPEST:
        steps += 2
        dice >>= 2
    steps += (dice >> 8) & 3
    if (dice >> 12) & 63 == 0:
        steps += (dice >> 20) & 1023
    return max(int(middles[stock]) + (-steps if buy else steps), 1) * _TICK


@kernel
def write_messages(
    out: np.ndarray, count: int, seed: int, middles: np.ndarray, live: np.ndarray, most: int
) -> tuple[int, int]:
    """Write `count` messages: (bytes, highest order number). live: int64 (LIVE, 3): number, stock * 2 + buy, quantity.

    middles: int64, a stock's middle in ticks. `most`: orders that may live at once.
    """
    at, alive, number, now_ns, state = 0, 0, 0, 34_200_000_000_000, seed
    for n in range(count):
        state += 1
        dice = splitmix64(state) & ((1 << 62) - 1)
        now_ns += dice & 4095
        what = (dice >> 12) % 1000
        stock = ((dice >> 24) & 0xFFFF) % len(middles)
        if (dice >> 40) & 511 == 0:
            middles[stock] += 1 if dice >> 50 & 1 else -1
        if n & 1023 == 0 and alive >= most:
            what = 600
        if alive < 64 or (what < 470 and alive < most):
            number += 1
            buy = (dice >> 52) & 1
            qty = 100 * (1 + ((dice >> 53) & 7))
            state += 1
            px = _px(middles, stock, buy, splitmix64(state) & ((1 << 62) - 1))
            at = _head(out, at, 36, 65, stock + 1, now_ns)
            at = _offer(out, at, number, buy, qty, stock, px)
            live[alive, 0], live[alive, 1], live[alive, 2] = number, stock * 2 + buy, qty
            alive += 1
            continue
        k = (dice >> 20) % alive
        owner = int(live[k, 1])
        stock, qty = owner >> 1, int(live[k, 2])
        gone = True
        if what < 850:
            at = _head(out, at, 19, 68, stock + 1, now_ns)
            at = _put(out, at, int(live[k, 0]), 8)
        elif what < 940:
            number += 1
            at = _head(out, at, 35, 85, stock + 1, now_ns)
            at = _put(out, at, int(live[k, 0]), 8)
            at = _put(out, at, number, 8)
            at = _put(out, at, qty, 4)
            state += 1
            at = _put(out, at, _px(middles, stock, owner & 1, splitmix64(state) & ((1 << 62) - 1)), 4)
            live[k, 0] = number
            gone = False
        elif what < 990:
            some = qty if dice & 1 else max(qty // 2, 1)
            kind, length = (69, 31) if what < 960 or some == qty else (88, 23)
            at = _head(out, at, length, kind, stock + 1, now_ns)
            at = _put(out, at, int(live[k, 0]), 8)
            at = _put(out, at, some, 4)
            if kind == 69:
                at = _put(out, at, n + 1, 8)
            live[k, 2] = qty - some
            gone = some == qty
        else:
            at = _head(out, at, 44, 80, stock + 1, now_ns)
            at = _offer(out, at, 0, 1, qty, stock, int(middles[stock]) * _TICK)
            at = _put(out, at, n + 1, 8)
            gone = False
        if gone:
            alive -= 1
            for j in range(3):
                live[k, j] = live[alive, j]
    return at, number


def itch_day(count: int, seed: int = 1, *, stocks: int = STOCKS, most: int = LIVE) -> tuple[np.ndarray, int]:
    """`count` length-framed messages as bytes (uint8), and the highest order number in them."""
    out = np.zeros((count + 1) * (_ROOM + 6), dtype=np.uint8)
    middles = np.arange(stocks, dtype=np.int64) * 37 % 9000 + 2000
    live = np.zeros((LIVE, 3), dtype=np.int64)
    size, highest = write_messages(out, count, seed << 32, middles, live, min(most, LIVE))
    return out[: int(size)], int(highest)
