"""The kernels of Binance's websocket messages: one JSON object, in place, into records.

`take_message` knows of a message and its receive time alone: it serves a recorded line and a live socket alike.
How update ids lead from message to message, and what is held while a book is void, is in `binance_book`.
"""

from __future__ import annotations

import numpy as np

from engine.jit import kernel
from engine.record.records import Flag
from gateways.formats.batch import Batch, new_quote, new_trade, room
from gateways.formats.binance_book import (
    AGG_ID,
    BAD_JSON,
    BAD_MEMBER,
    BAD_NUMBER,
    BAD_TIME,
    EVENT_NS,
    HELD_COUNT,
    LEAST_TEXT,
    PRODUCT,
    RECV_NS,
    SEQ,
    SKIP_EMPTY,
    SKIP_NO_SYMBOL,
    SKIP_OTHER,
    SKIP_UNITS,
    SLOT_ASKS,
    SLOT_BIDS,
    SLOT_DATA,
    SLOT_ID,
    SLOT_SYMBOL,
    SLOTS,
    TRADE_ID,
    take_depth,
    take_snapshot,
)
from gateways.formats.json_text import LAST, bare, next_member, skip_space
from gateways.formats.lines import (
    FULL,
    GAPS,
    INSTRUMENT,
    LINE,
    LOST,
    NAMES,
    NEW_NAME,
    PX_DECIMALS,
    QTY_DECIMALS,
    REPEATED,
    VENUE,
    Lines,
    fail,
    row_of,
    skip,
)
from gateways.formats.text import MALFORMED, digits, equals, letters, line_end, number

DEPTH, TRADE, AGG_TRADE, TICKER, SNAPSHOT, OTHER = range(1, 7)


_NAMES = (letters("lastUpdateId"), letters("bids"), letters("asks"), letters("symbol"), letters("data"))
_LAST_UPDATE_ID, _BIDS, _ASKS, _SYMBOL, _DATA = _NAMES
_DEPTH_UPDATE, _TRADE, _AGG_TRADE, _TICKER = (
    letters('"depthUpdate"'),
    letters('"trade"'),
    letters('"aggTrade"'),
    letters('"bookTicker"'),
)
_MARKET = letters('"MARKET"')
_LETTER_A, _LETTER_B, _LETTER_E, _LETTER_T, _LETTER_U, _LETTER_X = (ord(c) for c in "ABETUX")
_A, _B, _E, _M, _P, _Q, _S, _T, _U = (ord(c) for c in "abempqstu")
_FALSE, _TRUE, _OPEN = ord("f"), ord("t"), ord("{")
_PU = 127
_BUYER, _SELLER, _OFF_BOOK = int(Flag.AGGRESSOR_BUY), int(Flag.AGGRESSOR_SELL), int(Flag.OFF_BOOK)


@kernel
def decode(lines: Lines, data: np.ndarray, at: int, end: int, batch: Batch) -> int:
    """Lines of local ns, a space and a message into records; see `gateways.formats.lines`."""
    while True:
        stop = line_end(data, at, end)
        if stop < 0:
            return at
        if not room(batch, (stop - at) // LEAST_TEXT + int(lines.cursor[HELD_COUNT]) + 8):
            fail(lines, FULL, at, at)
            return at
        space = at
        while space < stop and data[space] != 32:
            space += 1
        recv_ns = digits(data, at, space) if space - at != 19 else _nineteen(data, at)
        if recv_ns == MALFORMED:
            fail(lines, BAD_TIME, at, space)
            return at
        mark = int(batch.used[0])
        if not take_message(lines, data, space + 1, stop, recv_ns, batch):
            batch.used[0] = mark
            return at
        lines.cursor[LINE] += 1
        at = stop + 1


@kernel
def _nineteen(data: np.ndarray, at: int) -> int:
    """A time in ns has 19 digits; MALFORMED where it passes 2^63."""
    high, low = digits(data, at, at + 10), digits(data, at + 10, at + 19)
    if high == MALFORMED or low == MALFORMED or high >= 9_000_000_000:
        return MALFORMED
    return high * 1_000_000_000 + low


@kernel
def take_message(lines: Lines, data: np.ndarray, low: int, high: int, recv_ns: int, batch: Batch) -> bool:
    """One message of a stream, in its envelope or bare. False: it is not to be trusted, or its symbol is new."""
    low = skip_space(data, low, high)
    if not find_members(lines, data, low, high):
        return bool(fail(lines, BAD_JSON, low, high))
    wrapped = lines.cuts[2 * SLOT_DATA] > 0
    if wrapped:
        low, high = int(lines.cuts[2 * SLOT_DATA]), int(lines.cuts[2 * SLOT_DATA + 1])
        if data[low] != _OPEN:
            return other(lines, low, high)
        if not find_members(lines, data, low, high):
            return bool(fail(lines, BAD_JSON, low, high))
    kind = kind_of(lines, data)
    if kind == OTHER or (kind == SNAPSHOT and wrapped):
        return other(lines, low, high)
    row = find_row(lines, data, kind)
    if row < 0:
        if row == MALFORMED:
            return False
        lines.by_type[SNAPSHOT] += 1
        return bool(skip(lines, SKIP_NO_SYMBOL, low, high))
    stamp = _LETTER_T if lines.cuts[2 * _LETTER_T] > 0 else _LETTER_E
    event_ms = 0
    if lines.cuts[2 * stamp] > 0:
        event_ms = whole(lines, data, stamp)
        if event_ms == MALFORMED or event_ms >= 10**13:
            return bool(fail(lines, BAD_MEMBER, int(lines.cuts[2 * stamp]), int(lines.cuts[2 * stamp + 1])))
    lines.cursor[EVENT_NS] = event_ms * 1_000_000
    lines.cursor[RECV_NS] = recv_ns
    if kind == TRADE or kind == AGG_TRADE:
        good = take_trade(lines, data, row, kind, batch)
    elif kind == TICKER:
        good = take_ticker(lines, data, row, batch)
    else:
        good = take_book(lines, data, row, kind, batch)
    if good:
        lines.by_type[kind] += 1
    return bool(good)


@kernel
def other(lines: Lines, low: int, high: int) -> bool:
    """A message of no stream that is read."""
    lines.by_type[OTHER] += 1
    return bool(skip(lines, SKIP_OTHER, low, high))


@kernel
def find_members(lines: Lines, data: np.ndarray, low: int, high: int) -> bool:
    """Begin and end of the members that matter, into their slots; False where it is no object, and nothing but it."""
    cuts = lines.cuts
    cuts[: 2 * SLOTS] = 0
    at = low
    if at >= high or data[at] != _OPEN:
        return False
    while True:
        key, key_end, value, value_end, at = next_member(data, at, high)
        if key == LAST:
            return bool(skip_space(data, at, high) == high)
        if key == MALFORMED:
            return False
        size = key_end - key
        if size == 1:
            slot = int(data[key]) & 127
        elif size == 2 and data[key] == _P and data[key + 1] == _U:
            slot = _PU
        else:
            slot = long_name(data, key, key_end)
        if slot >= 0:
            cuts[2 * slot] = value
            cuts[2 * slot + 1] = value_end


@kernel
def long_name(data: np.ndarray, low: int, high: int) -> int:
    """The slot of a member with a longer name; -1 where it does not matter."""
    if equals(data, low, high, _DATA):
        return SLOT_DATA
    if equals(data, low, high, _LAST_UPDATE_ID):
        return SLOT_ID
    if equals(data, low, high, _BIDS):
        return SLOT_BIDS
    if equals(data, low, high, _ASKS):
        return SLOT_ASKS
    return SLOT_SYMBOL if equals(data, low, high, _SYMBOL) else -1


@kernel
def kind_of(lines: Lines, data: np.ndarray) -> int:
    """What a message is; a spot ticker does not say it."""
    cuts = lines.cuts
    low, high = int(cuts[2 * _E]), int(cuts[2 * _E + 1])
    if low == 0:
        if cuts[2 * SLOT_ID] > 0:
            return SNAPSHOT
        return TICKER if cuts[2 * _LETTER_A] > 0 and cuts[2 * _LETTER_B] > 0 and cuts[2 * _U] > 0 else OTHER
    if equals(data, low, high, _TICKER):
        return TICKER
    if equals(data, low, high, _DEPTH_UPDATE):
        return DEPTH
    if equals(data, low, high, _TRADE):
        return TRADE
    return AGG_TRADE if equals(data, low, high, _AGG_TRADE) else OTHER


@kernel
def find_row(lines: Lines, data: np.ndarray, kind: int) -> int:
    """The instrument's row; MALFORMED where its name is new or missing; -2 where a snapshot could be of several."""
    slot = _S if kind != SNAPSHOT else SLOT_SYMBOL
    low, high = int(lines.cuts[2 * slot]), int(lines.cuts[2 * slot + 1])
    if low == 0:
        if kind == SNAPSHOT:
            return 0 if lines.cursor[NAMES] == 1 else -2
        fail(lines, BAD_MEMBER, int(lines.cuts[2 * _E]), int(lines.cuts[2 * _E + 1]))
        return MALFORMED
    low, high = bare(data, low, high)
    row = row_of(lines, data, low, high)
    if row < 0:
        fail(lines, NEW_NAME, low, high)
        return MALFORMED
    return int(row)


@kernel
def whole(lines: Lines, data: np.ndarray, slot: int) -> int:
    """The whole number in a slot; MALFORMED where it is none or missing."""
    return int(digits(data, int(lines.cuts[2 * slot]), int(lines.cuts[2 * slot + 1])))


@kernel
def amount(lines: Lines, data: np.ndarray, slot: int, decimals: int) -> int:
    """The decimal number in a slot, quoted or not."""
    low, high = bare(data, int(lines.cuts[2 * slot]), int(lines.cuts[2 * slot + 1]))
    return int(number(data, low, high, decimals))


@kernel
def unfit(lines: Lines, value: int, slot: int) -> bool:
    """What to do about a price or quantity that is none: refuse the file, or skip the message."""
    low, high = int(lines.cuts[2 * slot]), int(lines.cuts[2 * slot + 1])
    if value == MALFORMED:
        return bool(fail(lines, BAD_NUMBER, low, high))
    return bool(skip(lines, SKIP_UNITS, low, high))


@kernel
def take_book(lines: Lines, data: np.ndarray, row: int, kind: int, batch: Batch) -> bool:
    """A depthUpdate or a snapshot."""
    cuts = lines.cuts
    bids, asks = (_B, _A) if kind == DEPTH else (SLOT_BIDS, SLOT_ASKS)
    last = whole(lines, data, _U if kind == DEPTH else SLOT_ID)
    first = whole(lines, data, _LETTER_U) if kind == DEPTH else last
    prev = first - 1
    if kind == DEPTH and lines.cursor[PRODUCT] != 0:
        prev = whole(lines, data, _PU)
    if last < 0 or first < 0 or prev < 0 or first > last or cuts[2 * bids] == 0 or cuts[2 * asks] == 0:
        return bool(fail(lines, BAD_MEMBER, int(cuts[2 * bids]), int(cuts[2 * bids + 1])))
    lines.cursor[SEQ] = last
    if kind == DEPTH:
        return bool(take_depth(lines, data, row, prev, last, batch))
    return bool(take_snapshot(lines, data, row, last, batch))


@kernel
def take_trade(lines: Lines, data: np.ndarray, row: int, kind: int, batch: Batch) -> bool:
    """A trade, or an aggregated one: m says whether the buyer rested. What was not made in the book is off it."""
    rows, cuts, cursor = lines.rows, lines.cuts, lines.cursor
    slot, word = (_T, TRADE_ID) if kind == TRADE else (_A, AGG_ID)
    trade_id, maker = whole(lines, data, slot), int(cuts[2 * _M])
    if trade_id < 0 or maker == 0 or (data[maker] != _TRUE and data[maker] != _FALSE):
        return bool(fail(lines, BAD_MEMBER, int(cuts[2 * slot]), int(cuts[2 * slot + 1])))
    px = amount(lines, data, _P, int(rows[row + PX_DECIMALS]))
    qty = amount(lines, data, _Q, int(rows[row + QTY_DECIMALS]))
    if px < 0:
        return unfit(lines, px, _P)
    if qty < 0:
        return unfit(lines, qty, _Q)
    last = int(rows[row + word])
    if last != 0 and trade_id <= last:
        cursor[REPEATED] += 1
        return True
    if last != 0 and trade_id > last + 1:
        cursor[GAPS] += 1
        cursor[LOST] += trade_id - last - 1
    rows[row + word] = trade_id
    if px == 0 or qty == 0:
        return bool(skip(lines, SKIP_EMPTY, int(cuts[2 * _P]), int(cuts[2 * _P + 1])))
    venue, instrument = int(rows[row + VENUE]), int(rows[row + INSTRUMENT])
    i = new_trade(batch, venue, instrument, int(cursor[EVENT_NS]), int(cursor[RECV_NS]))
    batch.head[i].stream_seq = trade_id
    trade = batch.trade[i]
    trade.px = px
    trade.qty = qty
    flags = _SELLER if data[maker] == _TRUE else _BUYER
    low, high = int(cuts[2 * _LETTER_X]), int(cuts[2 * _LETTER_X + 1])
    if low > 0 and not equals(data, low, high, _MARKET):
        flags |= _OFF_BOOK
    trade["flags"] = flags
    return True


@kernel
def take_ticker(lines: Lines, data: np.ndarray, row: int, batch: Batch) -> bool:
    """The best bid and offer."""
    rows, cursor = lines.rows, lines.cursor
    px_decimals, qty_decimals = int(rows[row + PX_DECIMALS]), int(rows[row + QTY_DECIMALS])
    seq = whole(lines, data, _U)
    if seq < 0:
        return bool(fail(lines, BAD_MEMBER, int(lines.cuts[2 * _U]), int(lines.cuts[2 * _U + 1])))
    bid, ask = amount(lines, data, _B, px_decimals), amount(lines, data, _A, px_decimals)
    bid_qty = amount(lines, data, _LETTER_B, qty_decimals)
    ask_qty = amount(lines, data, _LETTER_A, qty_decimals)
    if bid < 0:
        return unfit(lines, bid, _B)
    if ask < 0:
        return unfit(lines, ask, _A)
    if bid_qty < 0:
        return unfit(lines, bid_qty, _LETTER_B)
    if ask_qty < 0:
        return unfit(lines, ask_qty, _LETTER_A)
    venue, instrument = int(rows[row + VENUE]), int(rows[row + INSTRUMENT])
    i = new_quote(batch, venue, instrument, int(cursor[EVENT_NS]), int(cursor[RECV_NS]))
    batch.head[i].stream_seq = seq
    quote = batch.quote[i]
    quote.source_seq = seq
    if bid > 0 and bid_qty > 0:
        quote.bid_px = bid
        quote.bid_qty = bid_qty
    if ask > 0 and ask_qty > 0:
        quote.ask_px = ask
        quote.ask_qty = ask_qty
    return True
