"""Rows that show a whole book, as the changes from row to row: what a book of levels takes, and no more.

Each instrument of `Lines.ladders` has its last row. A level that is no longer shown is deleted, one that is new or has
another quantity is told; the deletions come first, so that the book is never crossed by what it no longer shows.
All but the last record of a row carry Flag.MORE, and those of an instrument's first row Flag.SNAPSHOT.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.jit import kernel
from engine.record.records import Flag, Side
from gateways.formats.batch import Batch, new_level
from gateways.formats.lines import DEPTH, SIDE_WORDS, Lines

NEW: Final = 0
CHANGE: Final = 1
DELETE: Final = 2
BUY: Final = int(Side.BUY)
SELL: Final = int(Side.SELL)
_MORE: Final = int(Flag.MORE)
_SNAPSHOT: Final = int(Flag.SNAPSHOT)


@kernel
def put_level(batch: Batch, i: int, side: int, action: int, px: int, qty: int, flags: int) -> None:
    """Fill a LEVEL that was begun."""
    level = batch.level[i]
    level.side = side
    level.action = action
    level.px = px
    level.qty = qty
    level["flags"] = flags


@kernel
def _better(side: int, one: int, other: int) -> bool:
    return one > other if side == BUY else one < other


@kernel
def sorted_side(now: np.ndarray, side: int) -> bool:
    """Whether a side's levels (a count, then price and quantity of each) are best first, no price twice."""
    n, count = 1, int(now[0])
    while n < count and _better(side, int(now[2 * n - 1]), int(now[2 * n + 1])):
        n += 1
    return n >= count


@kernel
def _merge(old: np.ndarray, now: np.ndarray, side: int, deleting: bool, batch: Batch, like: np.ndarray) -> int:
    """The records that lead from `old` to `now`: the deletions alone, or all but them. `like`: see `show`."""
    i, k, made = 0, 0, 0
    while i < old[0] or k < now[0]:
        old_px = int(old[2 * i + 1]) if i < old[0] else 0
        new_px = int(now[2 * k + 1]) if k < now[0] else 0
        gone = k == now[0] or (i < old[0] and _better(side, old_px, new_px))
        kept = not gone and i < old[0] and old_px == new_px
        unit = -1
        if gone and deleting:
            unit = new_level(batch, int(like[0]), int(like[1]), int(like[2]), int(like[3]))
            put_level(batch, unit, side, DELETE, old_px, 0, int(like[4]))
        elif not gone and not deleting and not (kept and old[2 * i + 2] == now[2 * k + 2]):
            unit = new_level(batch, int(like[0]), int(like[1]), int(like[2]), int(like[3]))
            put_level(batch, unit, side, CHANGE if kept else NEW, new_px, int(now[2 * k + 2]), int(like[4]))
        if unit >= 0:
            batch.head[unit].stream_seq = like[5]
            made += 1
        if gone or kept:
            i += 1
        if not gone:
            k += 1
    return made


@kernel
def show(lines: Lines, row: int, now: np.ndarray, batch: Batch, like: np.ndarray) -> int:
    """The records of a row, and the row kept: how many records. They may be up to 4 x DEPTH.

    row: index of the instrument; now int64 (2 x SIDE_WORDS): bids, then offers; like int64 (6): venue, instrument,
    event and receive time, flags, sequence number.
    """
    at = row * 2 * SIDE_WORDS
    old = lines.ladders[at : at + 2 * SIDE_WORDS]
    like[4] = _MORE | (_SNAPSHOT if old[0] == 0 and old[SIDE_WORDS] == 0 else 0)
    made = 0
    for step in range(4):
        side, low = (BUY, 0) if step % 2 == 0 else (SELL, SIDE_WORDS)
        made += _merge(old[low : low + SIDE_WORDS], now[low : low + SIDE_WORDS], side, step < 2, batch, like)
    if made:
        last = batch.level[batch.used[0] - 1]
        last["flags"] = int(last["flags"]) & ~_MORE
    old[:] = now
    return made


assert DEPTH * 2 + 1 == SIDE_WORDS
