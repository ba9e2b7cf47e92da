"""Rows of hftbacktest's event files to ours; prices and quantities are floats there, and exact integers here.

A float is taken where it is the one nearest to n units of the instrument: n / 10^decimals, which a division of two
exact floats gives correctly rounded. From 2^53 units on many n have one float: it is the n of the fewest decimals that
a float of 16 digits tells. Any other is skipped and counted.

The levels of the file are kept in a book: a clear of one side, up to its price, deletes those that are there.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.book.apply import apply_level, clear_book
from engine.book.grid import begin_side, keep_grid
from engine.book.ladder import best_rank, put, rank_of
from engine.book.memory import NOWHERE, Books
from engine.jit import kernel
from engine.memory import Memory, memory, packed
from engine.record.records import Flag, Reason, Side
from gateways.formats.batch import Batch, new_clear, new_delta, new_level, new_quote, new_trade, room

Array = np.ndarray[Any, np.dtype[Any]]
_NAMES: Final = "ev exch_ts local_ts px qty order_id ival fval".split()
#: A row as hftbacktest declares it, and as it is read: without unsigned numbers, which do not mix with others.
EVENT: Final = np.dtype(list(zip(_NAMES, "<u8 <i8 <i8 <f8 <f8 <u8 <i8 <f8".split(), strict=True)))
ROW: Final = np.dtype((np.record, list(zip(_NAMES, "<i8 <i8 <i8 <f8 <f8 <i8 <i8 <f8".split(), strict=True))))
assert EVENT.itemsize == 64

DEPTH, TRADE, CLEAR, SNAPSHOT, BBO, ADD, CANCEL, MODIFY, FILL = 1, 2, 3, 4, 5, 10, 11, 12, 13
KINDS: Final = {
    DEPTH: "depth", TRADE: "trade", CLEAR: "depth clear", SNAPSHOT: "depth snapshot", BBO: "depth bbo",
    ADD: "add order", CANCEL: "cancel order", MODIFY: "modify order", FILL: "fill",
}  # fmt: skip
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
KIND_MASK: Final = 0xFF
INEXACT, NO_SIDE, NO_KIND, NO_QTY, LARGE, ALL_CLEARED = range(6)
REASONS: Final = (
    "a price or quantity that is no number of the instrument's decimals",
    "no side",
    "an unknown kind of event",
    "no quantity",
    "a price or quantity that is too large for a float to tell in the instrument's decimals",
    "clear of one side of what is no book of levels: the whole book is void",
)
_NONE: Final = -(2**63)
_TOO_LARGE: Final = -(2**63) + 1
#: Below this every whole number is a float; units of this many fit a record.
_LARGEST: Final = 2.0**53
_MOST_UNITS: Final = 2.0**61
_BUY, _SELL, _SNAP, _NO_REASON = int(Side.BUY), int(Side.SELL), int(Flag.SNAPSHOT), int(Reason.NONE)
_TOOK_BUY, _TOOK_SELL = int(Flag.AGGRESSOR_BUY), int(Flag.AGGRESSOR_SELL)

SKIP: Final = np.dtype((np.record, [(n, "<i8") for n in "times first_at".split()]))
#: full: the batch had no room; orders: 1 once the file has told one.
TALLY: Final = np.dtype((np.record, [(n, "<i8") for n in "row full orders bid_px bid_qty ask_px ask_qty".split()]))


@memory
class NpzDecoder(Memory):
    """What decoding knows: 10^decimals of price and quantity (`factors`), counts by kind, of the exchange's `twins`."""

    LAYOUT = packed(tally=TALLY, kinds="<i8", twins="<i8", skips=SKIP, factors="<f8")
    tally: Array
    kinds: Array
    twins: Array
    skips: Array
    factors: Array


@kernel
def whole(value: float, factor: float) -> int:
    """The number of units that a float is; _NONE where it is none exactly, _TOO_LARGE where it cannot tell it."""
    if value != value:
        return _NONE
    if not abs(value * factor) < _MOST_UNITS:
        return _TOO_LARGE
    times = 1
    while not abs(value * factor) < _LARGEST:
        if factor <= 1.0:
            return _TOO_LARGE
        factor /= 10.0
        times *= 10
    n = int(np.rint(value * factor))
    if n / factor == value:
        return n * times
    return _NONE if times == 1 else _TOO_LARGE


@kernel
def _skip(e: NpzDecoder, reason: int, at: int) -> None:
    if int(e.skips[reason].times) == 0:
        e.skips[reason].first_at = int(e.tally[0].row) + at
    e.skips[reason].times += 1


@kernel
def _order(e: NpzDecoder, row: Any, kind: int, side: int, px: int, qty: int, batch: Batch) -> None:
    i = new_delta(batch, 0, 0, int(row.exch_ts), int(row.local_ts))
    delta = batch.delta[i]
    delta.side = side
    delta.action = 0 if kind == ADD else 2 if kind == CANCEL else 1
    delta.px = px
    delta.qty = qty
    delta.venue_order = int(row.order_id)


@kernel
def _best(e: NpzDecoder, row: Any, side: int, px: int, qty: int, batch: Batch) -> None:
    top = e.tally[0]
    if side == _BUY:
        top.bid_px = px if qty > 0 else 0
        top.bid_qty = qty
    else:
        top.ask_px = px if qty > 0 else 0
        top.ask_qty = qty
    quote = batch.quote[new_quote(batch, 0, 0, int(row.exch_ts), int(row.local_ts))]
    quote.bid_px = int(top.bid_px)
    quote.bid_qty = int(top.bid_qty)
    quote.ask_px = int(top.ask_px)
    quote.ask_qty = int(top.ask_qty)


@kernel
def _bound(e: NpzDecoder, px: float, side: int) -> int:
    """The worst rank that a clear up to a price takes; below all ranks where the price is none."""
    if not abs(px) < np.inf:
        return NOWHERE + 1
    n = whole(px, float(e.factors[0]))
    if n == _NONE or n == _TOO_LARGE:
        scaled = min(max(px * float(e.factors[0]), -_MOST_UNITS), _MOST_UNITS)
        return int(np.ceil(scaled)) if side == _BUY else -int(np.floor(scaled))
    return n if side == _BUY else -n


@kernel
def _clear(e: NpzDecoder, b: Books, row: Any, side: int, batch: Batch) -> bool:
    """A clear: of both sides a CLEAR, of one the deletion of its levels up to the price. False: there was no room."""
    if side == 0 or int(e.tally[0].orders) != 0 or int(b.books[0].broken) != 0:
        clear_book(b, 0)
        new_clear(batch, 0, 0, int(row.exch_ts), int(row.local_ts), _NO_REASON)
        return True
    place, bound = (0 if side == _BUY else 1), _bound(e, float(row.px), side)
    rank = best_rank(b, place)
    while rank != NOWHERE and rank >= bound:
        if not room(batch):
            return False
        level = batch.level[new_level(batch, 0, 0, int(row.exch_ts), int(row.local_ts))]
        level.side = side
        level.action = 2
        level.px = rank_of(place, rank)
        put(b, place, rank, 0, 0)
        rank = best_rank(b, place)
    return True


@kernel
def _level(b: Books, row: Any, kind: int, side: int, px: int, qty: int, batch: Batch) -> None:
    action, place = (1 if qty > 0 else 2), (0 if side == _BUY else 1)
    level = batch.level[new_level(batch, 0, 0, int(row.exch_ts), int(row.local_ts))]
    level.side = side
    level.action = action
    level["flags"] = _SNAP if kind == SNAPSHOT else 0
    level.px = px
    level.qty = qty
    begin_side(b, place, px)
    apply_level(b, 0, side, action, px, qty, 0)
    keep_grid(b, place)


@kernel
def _one(e: NpzDecoder, b: Books, rows: Array, at: int, kind: int, side: int, batch: Batch) -> None:
    """A row that is no clear."""
    row = rows[at]
    if kind == FILL:
        return
    known = kind == DEPTH or kind == TRADE or kind == SNAPSHOT or kind == BBO
    if not known and kind != ADD and kind != CANCEL and kind != MODIFY:
        _skip(e, NO_KIND, at)
        return
    px, qty = whole(float(row.px), float(e.factors[0])), whole(float(row.qty), float(e.factors[1]))
    if px == _TOO_LARGE or qty == _TOO_LARGE:
        _skip(e, LARGE, at)
    elif px == _NONE or qty < 0:
        _skip(e, INEXACT, at)
    elif side == 0 and kind != TRADE and kind != CANCEL:
        _skip(e, NO_SIDE, at)
    elif qty == 0 and (kind == TRADE or kind == ADD):
        _skip(e, NO_QTY, at)
    elif kind == TRADE:
        trade = batch.trade[new_trade(batch, 0, 0, int(row.exch_ts), int(row.local_ts))]
        trade.px = px
        trade.qty = qty
        trade["flags"] = _TOOK_BUY if side == _BUY else _TOOK_SELL if side == _SELL else 0
    elif kind == BBO:
        _best(e, row, side, px, qty, batch)
    elif kind == DEPTH or kind == SNAPSHOT:
        _level(b, row, kind, side, px, qty, batch)
    else:
        e.tally[0].orders = 1
        _order(e, row, kind, side, px, qty, batch)


@kernel
def decode(e: NpzDecoder, b: Books, rows: Array, at: int, end: int, batch: Batch) -> int:
    """Rows at..end; where it stopped, by `tally[0].full` for want of room. The exchange's own are counted.

    b: one book, of the levels so far. A clear that finds no room for all its deletions is gone on with.
    """
    e.tally[0].full = 0
    while at < end:
        if not room(batch):
            e.tally[0].full = 1
            break
        bits = int(rows[at].ev)
        kind = bits & KIND_MASK
        if bits & EXCH and not bits & LOCAL:
            e.twins[kind] += 1
            at += 1
            continue
        side = _BUY if bits & BUY else _SELL if bits & SELL else 0
        if kind != CLEAR:
            _one(e, b, rows, at, kind, side, batch)
        else:
            if side != 0 and (int(e.tally[0].orders) != 0 or int(b.books[0].broken) != 0):
                _skip(e, ALL_CLEARED, at)
            if not _clear(e, b, rows[at], side, batch):
                e.tally[0].full = 1
                break
        e.kinds[kind] += 1
        at += 1
    return at
