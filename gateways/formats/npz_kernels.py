"""Rows of hftbacktest's event files to ours; prices and quantities are floats there, and exact integers here.

A float is taken where it is the one nearest to n units of the instrument: n / 10^decimals, which a division of two
exact floats gives correctly rounded. Any other is skipped and counted.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

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
INEXACT, NO_SIDE, NO_KIND, NO_QTY = range(4)
REASONS: Final = (
    "a price or quantity that is no number of the instrument's decimals",
    "no side",
    "an unknown kind of event",
    "no quantity",
)
_NONE: Final = -(2**63)
_LARGEST: Final = 2.0**53
_BUY, _SELL, _SNAP, _NO_REASON = int(Side.BUY), int(Side.SELL), int(Flag.SNAPSHOT), int(Reason.NONE)
_TOOK_BUY, _TOOK_SELL = int(Flag.AGGRESSOR_BUY), int(Flag.AGGRESSOR_SELL)

SKIP: Final = np.dtype((np.record, [(n, "<i8") for n in "times first_at".split()]))
#: cleared: the side that was cleared last while only snapshot rows followed, else 0; full: the batch had no room.
TALLY: Final = np.dtype((np.record, [(n, "<i8") for n in "row full cleared bid_px bid_qty ask_px ask_qty".split()]))


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
    """The number of units that a float is, or _NONE where it is none exactly."""
    scaled = value * factor
    if not abs(scaled) < _LARGEST:
        return _NONE
    n = int(np.rint(scaled))
    return n if n / factor == value else _NONE


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
def _clear(e: NpzDecoder, row: Any, side: int, batch: Batch) -> None:
    """A clear of one side, then of the other with its snapshot between, is one CLEAR, at the first."""
    before = int(e.tally[0].cleared)
    e.tally[0].cleared = side
    if side != 0 and before != 0 and before != side:
        e.tally[0].cleared = 0
        return
    new_clear(batch, 0, 0, int(row.exch_ts), int(row.local_ts), _NO_REASON)


@kernel
def _one(e: NpzDecoder, rows: Array, at: int, batch: Batch) -> None:
    row = rows[at]
    bits = int(row.ev)
    kind = bits & KIND_MASK
    side = _BUY if bits & BUY else _SELL if bits & SELL else 0
    if kind == CLEAR:
        _clear(e, row, side, batch)
        return
    if kind != SNAPSHOT:
        e.tally[0].cleared = 0
    if kind == FILL:
        return
    known = kind == DEPTH or kind == TRADE or kind == SNAPSHOT or kind == BBO
    if not known and kind != ADD and kind != CANCEL and kind != MODIFY:
        _skip(e, NO_KIND, at)
        return
    px, qty = whole(float(row.px), float(e.factors[0])), whole(float(row.qty), float(e.factors[1]))
    if px == _NONE or qty == _NONE or qty < 0:
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
        level = batch.level[new_level(batch, 0, 0, int(row.exch_ts), int(row.local_ts))]
        level.side = side
        level.action = 1 if qty > 0 else 2
        level["flags"] = _SNAP if kind == SNAPSHOT else 0
        level.px = px
        level.qty = qty
    else:
        _order(e, row, kind, side, px, qty, batch)


@kernel
def decode(e: NpzDecoder, rows: Array, at: int, end: int, batch: Batch) -> int:
    """Rows at..end; where it stopped, by `tally[0].full` for want of room. The exchange's own are counted."""
    e.tally[0].full = 0
    while at < end:
        if not room(batch):
            e.tally[0].full = 1
            break
        bits = int(rows[at].ev)
        if bits & EXCH and not bits & LOCAL:
            e.twins[bits & KIND_MASK] += 1
        else:
            e.kinds[bits & KIND_MASK] += 1
            _one(e, rows, at, batch)
        at += 1
    return at
