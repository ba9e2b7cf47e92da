"""The kernels of Tardis.dev's CSV files: a row into records."""

from __future__ import annotations

import numpy as np

from engine.jit import kernel
from engine.record.records import Flag
from gateways.formats.batch import Batch, new_clear, new_level, new_quote, new_trade, room
from gateways.formats.ladder import BUY, CHANGE, DELETE, NEW, SELL, put_level, show, sorted_side
from gateways.formats.lines import (
    DEPTH,
    FREE,
    FULL,
    INSTRUMENT,
    LINE,
    NEW_NAME,
    OWN,
    OWN_WORD,
    PX_DECIMALS,
    QTY_DECIMALS,
    REPEATED,
    ROW,
    SIDE_WORDS,
    VENUE,
    Lines,
    fail,
    row_of,
    skip,
)
from gateways.formats.text import MALFORMED, TOO_LARGE, cut, digits, equals, letters, line_end, number

#: Words of the cursor: which file it is (below), its number of columns, and the times of the row at hand, ns.
KIND, COLUMNS, EVENT_NS, RECV_NS = range(FREE, FREE + 4)
LEVELS, TRADES, QUOTES, BOOK = range(1, 5)
#: A word of an instrument's row: whether its book is void, in a snapshot, or live.
STATE = OWN_WORD
VOID, IN_SNAPSHOT, LIVE = 0, 1, 2
BAD_ROW, BAD_TIME, BAD_FLAG, BAD_SIDE, BAD_NUMBER, BAD_BOOK = range(OWN, OWN + 6)
SKIP_VOID, SKIP_UNITS, SKIP_EMPTY = range(3)

_TRUE, _FALSE, _BID, _ASK = letters("true"), letters("false"), letters("bid"), letters("ask")
_BOUGHT, _SOLD, _UNKNOWN = letters("buy"), letters("sell"), letters("unknown")
_SNAPSHOT, _BUYER, _SELLER = int(Flag.SNAPSHOT), int(Flag.AGGRESSOR_BUY), int(Flag.AGGRESSOR_SELL)
#: An empty cell, where `amount_in` finds one.
_NONE = -9


@kernel
def decode(lines: Lines, data: np.ndarray, at: int, end: int, batch: Batch) -> int:
    """Rows behind the header into records; see `gateways.formats.lines`."""
    kind = int(lines.cursor[KIND])
    while True:
        stop = line_end(data, at, end)
        if stop < 0:
            return at
        if not room(batch, 4 * DEPTH + 8 if kind == BOOK else 8):
            fail(lines, FULL, at, at)
            return at
        mark = int(batch.used[0])
        if not take_row(lines, data, at, kind, batch):
            batch.used[0] = mark
            return at
        lines.by_type[kind] += 1
        lines.cursor[LINE] += 1
        at = stop + 1


@kernel
def take_row(lines: Lines, data: np.ndarray, at: int, kind: int, batch: Batch) -> bool:
    """One row. False: it is not to be trusted, or its exchange and symbol are new."""
    cuts = lines.cuts
    fields, next_at = cut(data, at, cuts)
    if fields != lines.cursor[COLUMNS]:
        return bool(fail(lines, BAD_ROW, at, next_at - 1))
    for n in range(2, 4):
        time_us = digits(data, int(cuts[n - 1]) + 1, int(cuts[n]))
        if time_us == MALFORMED or time_us >= 9 * 10**15:
            return bool(fail(lines, BAD_TIME, int(cuts[n - 1]) + 1, int(cuts[n])))
        lines.cursor[EVENT_NS + n - 2] = time_us * 1000
    row = row_of(lines, data, at, int(cuts[1]))
    if row < 0:
        return bool(fail(lines, NEW_NAME, at, int(cuts[1])))
    if kind == LEVELS:
        return take_level(lines, data, row, batch)
    if kind == TRADES:
        return take_trade(lines, data, row, batch)
    if kind == QUOTES:
        return take_quote(lines, data, row, batch)
    return take_book(lines, data, row, batch)


@kernel
def amount_in(lines: Lines, data: np.ndarray, column: int, decimals: int) -> int:
    """The number in a column; `_NONE` where the cell is empty. A negative one fits no unit."""
    low, high = int(lines.cuts[column - 1]) + 1, int(lines.cuts[column])
    if low == high:
        return _NONE
    if data[low] == 45:
        return MALFORMED if number(data, low + 1, high, decimals) == MALFORMED else TOO_LARGE
    return int(number(data, low, high, decimals))


@kernel
def unfit(lines: Lines, value: int, column: int) -> bool:
    """What to do about a number that is none, or is not there: refuse the file, or skip the row."""
    low, high = int(lines.cuts[column - 1]) + 1, int(lines.cuts[column])
    if value == MALFORMED or value == _NONE:
        return bool(fail(lines, BAD_NUMBER, low, high))
    return bool(skip(lines, SKIP_UNITS, low, high))


@kernel
def take_level(lines: Lines, data: np.ndarray, row: int, batch: Batch) -> bool:
    """exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"""
    cuts, rows, cursor = lines.cuts, lines.rows, lines.cursor
    low, high = int(cuts[3]) + 1, int(cuts[4])
    snapshot = equals(data, low, high, _TRUE)
    if not snapshot and not equals(data, low, high, _FALSE):
        return bool(fail(lines, BAD_FLAG, low, high))
    low, high = int(cuts[4]) + 1, int(cuts[5])
    side = BUY if equals(data, low, high, _BID) else SELL
    if side == SELL and not equals(data, low, high, _ASK):
        return bool(fail(lines, BAD_SIDE, low, high))
    px = amount_in(lines, data, 6, int(rows[row + PX_DECIMALS]))
    qty = amount_in(lines, data, 7, int(rows[row + QTY_DECIMALS]))
    if px < 0:
        return unfit(lines, px, 6)
    if qty < 0:
        return unfit(lines, qty, 7)
    if not snapshot and rows[row + STATE] == VOID:
        return bool(skip(lines, SKIP_VOID, low, high))
    venue, instrument = int(rows[row + VENUE]), int(rows[row + INSTRUMENT])
    event_ns, recv_ns = int(cursor[EVENT_NS]), int(cursor[RECV_NS])
    if snapshot and rows[row + STATE] != IN_SNAPSHOT:
        new_clear(batch, venue, instrument, event_ns, recv_ns, 0)
    rows[row + STATE] = IN_SNAPSHOT if snapshot else LIVE
    i = new_level(batch, venue, instrument, event_ns, recv_ns)
    action = DELETE if qty == 0 else (NEW if snapshot else CHANGE)
    put_level(batch, i, side, action, px, qty, _SNAPSHOT if snapshot else 0)
    return True


@kernel
def take_trade(lines: Lines, data: np.ndarray, row: int, batch: Batch) -> bool:
    """exchange,symbol,timestamp,local_timestamp,id,side,price,amount"""
    cuts, rows, cursor = lines.cuts, lines.rows, lines.cursor
    low, high = int(cuts[4]) + 1, int(cuts[5])
    flags = 0
    if equals(data, low, high, _BOUGHT):
        flags = _BUYER
    elif equals(data, low, high, _SOLD):
        flags = _SELLER
    elif not equals(data, low, high, _UNKNOWN):
        return bool(fail(lines, BAD_SIDE, low, high))
    px = amount_in(lines, data, 6, int(rows[row + PX_DECIMALS]))
    qty = amount_in(lines, data, 7, int(rows[row + QTY_DECIMALS]))
    if px < 0:
        return unfit(lines, px, 6)
    if qty < 0:
        return unfit(lines, qty, 7)
    if px == 0 or qty == 0:
        return bool(skip(lines, SKIP_EMPTY, int(cuts[5]) + 1, int(cuts[7])))
    venue, instrument = int(rows[row + VENUE]), int(rows[row + INSTRUMENT])
    i = new_trade(batch, venue, instrument, int(cursor[EVENT_NS]), int(cursor[RECV_NS]))
    trade_id = digits(data, int(cuts[3]) + 1, int(cuts[4]))
    batch.head[i].stream_seq = max(trade_id, 0)
    trade = batch.trade[i]
    trade.px = px
    trade.qty = qty
    trade["flags"] = flags
    return True


@kernel
def take_quote(lines: Lines, data: np.ndarray, row: int, batch: Batch) -> bool:
    """exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount"""
    rows, cursor = lines.rows, lines.cursor
    px_decimals, qty_decimals = int(rows[row + PX_DECIMALS]), int(rows[row + QTY_DECIMALS])
    ask_qty = amount_in(lines, data, 4, qty_decimals)
    ask = amount_in(lines, data, 5, px_decimals)
    bid = amount_in(lines, data, 6, px_decimals)
    bid_qty = amount_in(lines, data, 7, qty_decimals)
    if ask_qty < 0 and ask_qty != _NONE:
        return unfit(lines, ask_qty, 4)
    if ask < 0 and ask != _NONE:
        return unfit(lines, ask, 5)
    if bid < 0 and bid != _NONE:
        return unfit(lines, bid, 6)
    if bid_qty < 0 and bid_qty != _NONE:
        return unfit(lines, bid_qty, 7)
    venue, instrument = int(rows[row + VENUE]), int(rows[row + INSTRUMENT])
    quote = batch.quote[new_quote(batch, venue, instrument, int(cursor[EVENT_NS]), int(cursor[RECV_NS]))]
    if bid > 0 and bid_qty > 0:
        quote.bid_px = bid
        quote.bid_qty = bid_qty
    if ask > 0 and ask_qty > 0:
        quote.ask_px = ask
        quote.ask_qty = ask_qty
    return True


@kernel
def take_book(lines: Lines, data: np.ndarray, row: int, batch: Batch) -> bool:
    """exchange,symbol,timestamp,local_timestamp, then asks[n].price, .amount, bids[n].price, .amount of each level.

    held int64 (2 x SIDE_WORDS + 6): the row at hand, and what its records have in common.
    """
    cuts, rows, cursor, now = lines.cuts, lines.rows, lines.cursor, lines.held
    now[0] = 0
    now[SIDE_WORDS] = 0
    for n in range((int(cursor[COLUMNS]) - 4) // 2):
        column, place = 4 + 2 * n, SIDE_WORDS if n % 2 == 0 else 0
        px = amount_in(lines, data, column, int(rows[row + PX_DECIMALS]))
        qty = amount_in(lines, data, column + 1, int(rows[row + QTY_DECIMALS]))
        if px < 0 and px != _NONE:
            return unfit(lines, px, column)
        if qty < 0 and qty != _NONE:
            return unfit(lines, qty, column + 1)
        if px > 0 and qty > 0:
            at = place + 1 + 2 * int(now[place])
            now[at] = px
            now[at + 1] = qty
            now[place] += 1
    bids, asks = now[:SIDE_WORDS], now[SIDE_WORDS : 2 * SIDE_WORDS]
    if not (sorted_side(bids, BUY) and sorted_side(asks, SELL)):
        return bool(fail(lines, BAD_BOOK, int(cuts[3]) + 1, int(cuts[int(cursor[COLUMNS]) - 1])))
    like = now[2 * SIDE_WORDS :]
    like[0] = rows[row + VENUE]
    like[1] = rows[row + INSTRUMENT]
    like[2] = cursor[EVENT_NS]
    like[3] = cursor[RECV_NS]
    if show(lines, row // ROW, now[: 2 * SIDE_WORDS], batch, like) == 0:
        cursor[REPEATED] += 1
    return True
