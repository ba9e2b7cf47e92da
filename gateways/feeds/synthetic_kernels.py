"""The kernels of the synthetic day: the times of its messages, and the walk that fills the records.

Prices are in 1/100 cent inside (`mid`) and in whole cents at the venues; the records get the instrument's own units.
Each random number has a lane (what it is for), a counter (which message) and a place: lanes do not disturb each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.jit import kernel
from engine.record.records import Flag
from gateways.feeds.draws import below, draw, exponential, log_sizes

#: Columns of `Model.venue`, `Model.stock` and `Model.book`.
CUMULATIVE, HALF_SPREAD, VENUE_ID = 0, 1, 2
INSTRUMENT, CENT, SHARE, MID, DRIFT, OPEN = 0, 1, 2, 3, 4, 5
BID, BID_LOTS, ASK, ASK_LOTS = 0, 1, 2, 3

_LANE_BURST, _LANE_TIME, _LANE_KIND, _LANE_MOVE, _LANE_VENUE, _LANE_SIZE, _LANE_TRADE = 1, 2, 3, 4, 5, 6, 7
_ODD_LOT = int(Flag.ODD_LOT)
_LOT = 100
#: Spread of the exponents of sizes, see draws.log_sizes: a tenth of all quotes shows more than 3 lots.
_QUOTE_SPREAD, _TRADE_SPREAD = 5 * 32768, 2 * 65536


class Model(NamedTuple):
    """The state of the walk, int64.

    venue (venues, 3) and stock (stocks, 6): see the columns above; book (stocks, venues, 4): what each venue shows, in
    cents and lots; pending (stocks): venue that was just traded with and quotes next, -1 where there is none.
    """

    venue: np.ndarray
    stock: np.ndarray
    book: np.ndarray
    pending: np.ndarray


@kernel
def place_in_day(high: int, low: int, which: int, duration_ns: int) -> int:
    """A uniform time in [0, duration_ns), or one time in four within the first eighth or the last sixteenth of it."""
    uniform = (high << 31) | (low >> 1)
    part = below(which, 16)
    if part < 3:
        return uniform % (duration_ns // 8)
    if part < 4:
        return duration_ns - 1 - uniform % (duration_ns // 16)
    return uniform % duration_ns


@kernel
def draw_bursts(seed: int, duration_ns: int, bursts: np.ndarray) -> None:
    """Fill bursts (n, 2) with the place in the day and the scale of each, in ns."""
    for i in range(len(bursts)):
        high, low = draw(seed, _LANE_BURST, i, 0)
        which, scale = draw(seed, _LANE_BURST, i, 1)
        bursts[i, 0] = place_in_day(high, low, which, duration_ns)
        bursts[i, 1] = 1 << (17 + below(scale, 11))


@kernel
def draw_times(seed: int, duration_ns: int, bursts: np.ndarray, times: np.ndarray) -> None:
    """Fill times, unsorted, in [0, duration_ns): a quarter anywhere, the rest after the start of some burst."""
    for i in range(len(times)):
        high, low = draw(seed, _LANE_TIME, i, 0)
        which, kind = draw(seed, _LANE_TIME, i, 1)
        time = duration_ns
        if below(kind, 4) > 0:
            # A product of uniforms: some bursts get many times the mean.
            burst = below(low, below(high, len(bursts)) + 1)
            time = int(bursts[burst, 0]) + exponential(which, int(bursts[burst, 1]))
        if time >= duration_ns:
            high, low = draw(seed, _LANE_TIME, i, 2)
            time = place_in_day(high, low, which, duration_ns)
        times[i] = time


@kernel
def spread_ties(first: int, times: np.ndarray) -> None:
    """Make sorted times strictly ascending, and put the first `first` of them at the very start."""
    last = -1
    for i in range(len(times)):
        time = i if i < first else int(times[i])
        last = time if time > last else last + 1
        times[i] = last


@kernel
def move(words: tuple[int, int], stock: np.ndarray) -> None:
    """Move the stock's price with one chance in four, rarely by much: with its drift rather than against it."""
    if below(words[0], 4) > 0:
        return
    pick = below(words[1], 4096)
    step = 5 + pick % 47
    if pick % 61 == 0:
        step *= 8
    mid, drift = int(stock[MID]), int(stock[DRIFT])
    if pick // 128 == 0:
        drift = -drift
    away = mid - int(stock[OPEN])
    limit = int(stock[OPEN]) // 48
    if away > limit:
        drift = -1
    elif away < -limit:
        drift = 1
    stock[DRIFT] = drift
    stock[MID] = mid + (drift * step if pick % 16 < 9 else -drift * step)


@kernel
def weighted(word: int, venue: np.ndarray) -> int:
    """A venue, drawn by activity."""
    target = below(word, int(venue[len(venue) - 1, CUMULATIVE]))
    v = 0
    while venue[v, CUMULATIVE] <= target:
        v += 1
    return v


@kernel
def most_wrong(mid: int, book: np.ndarray) -> int:
    """The venue whose quote is furthest on the wrong side of the price; -1 where none is."""
    worst, found = 0, -1
    for v in range(len(book)):
        over = int(book[v, BID]) * 100 - mid
        under = mid - int(book[v, ASK]) * 100 if book[v, ASK] > 0 else 0
        wrong = over if over > under else under
        if wrong > worst:
            worst, found = wrong, v
    return found


@kernel
def show(seed: int, i: int, mid: int, venue: np.ndarray, shown: np.ndarray) -> None:
    """Let a venue quote around the price: whole cents, sizes in lots; quiet venues sometimes show one side only."""
    noise, side = draw(seed, _LANE_SIZE, i, 0)
    bid_a, bid_b = draw(seed, _LANE_SIZE, i, 1)
    ask_a, ask_b = draw(seed, _LANE_SIZE, i, 2)
    half = int(venue[HALF_SPREAD])
    half += below(noise, 40 + half)
    shown[BID] = (mid - half) // 100
    shown[ASK] = (mid + half + 99) // 100
    shown[BID_LOTS] = log_sizes(bid_a, bid_b, _QUOTE_SPREAD)
    shown[ASK_LOTS] = log_sizes(ask_a, ask_b, _QUOTE_SPREAD)
    if half > 100:
        missing = below(side, 16)
        if missing == 0:
            clear_side(shown, BID)
        elif missing == 1:
            clear_side(shown, ASK)


@kernel
def clear_side(shown: np.ndarray, side: int) -> None:
    """No price and no lots on one side (BID or ASK) of a venue's quote."""
    shown[side] = 0
    shown[side + 1] = 0


@kernel
def quote(seed: int, i: int, forced: int, model: Model, s: int, row: np.record) -> None:
    """Fill one quote: of the venue just traded with, of one whose quote is wrong by now, or of any, by activity."""
    stock, book = model.stock[s], model.book[s]
    if forced < 0:
        move(draw(seed, _LANE_MOVE, i, 0), stock)
    mid = int(stock[MID])
    pick, chance = draw(seed, _LANE_VENUE, i, 0)
    v, fresh = forced, True
    if forced < 0:
        wrong = most_wrong(mid, book)
        if model.pending[s] >= 0 and below(chance, 4) > 0:
            v = int(model.pending[s])
            model.pending[s] = -1
            fresh = book[v, BID_LOTS] == 0 or book[v, ASK_LOTS] == 0
        elif wrong >= 0 and below(chance, 16) > 7:
            v = wrong
        else:
            v = weighted(pick, model.venue)
    if fresh:
        show(seed, i, mid, model.venue[v], book[v])
    row.venue_id = model.venue[v, VENUE_ID]
    row.instrument_id = stock[INSTRUMENT]
    row.bid_px = int(book[v, BID]) * int(stock[CENT])
    row.bid_qty = int(book[v, BID_LOTS]) * _LOT * int(stock[SHARE])
    row.ask_px = int(book[v, ASK]) * int(stock[CENT])
    row.ask_qty = int(book[v, ASK_LOTS]) * _LOT * int(stock[SHARE])


@kernel
def touch(start: int, side: int, book: np.ndarray) -> int:
    """The venue with the best price on a side (BID or ASK) that shows lots, the first from `start` on; -1 for none."""
    best, found = 0, -1
    for n in range(len(book)):
        v = (start + n) % len(book)
        px = int(book[v, side])
        if book[v, side + 1] > 0 and (found < 0 or (px < best if side == ASK else px > best)):
            best, found = px, v
    return found


@kernel
def trade(seed: int, i: int, model: Model, s: int, row: np.record) -> None:
    """Fill one trade: at the best price on either side, one in 16 hidden at the middle; the venue then shows less."""
    stock, book = model.stock[s], model.book[s]
    direction, start = draw(seed, _LANE_TRADE, i, 0)
    odd, hidden = draw(seed, _LANE_TRADE, i, 1)
    first, second = draw(seed, _LANE_TRADE, i, 2)
    buys = (below(direction, 8) < 5) == (stock[DRIFT] > 0)
    side = ASK if buys else BID
    v = touch(weighted(start, model.venue), side, book)
    half_cents = 0
    if v >= 0:
        half_cents = 2 * int(book[v, side])
        if below(hidden, 16) == 0 and book[v, BID] > 0 and book[v, ASK] > 0:
            half_cents = int(book[v, BID] + book[v, ASK])
    else:
        # Every venue's side is traded away: it prints at the price, where activity is.
        v = weighted(start, model.venue)
        half_cents = 2 * (int(stock[MID]) // 100)
    shown = int(book[v, side + 1])
    qty = 1 + below(second, 99)
    if below(odd, 8) > 2:
        lots = log_sizes(first, second, _TRADE_SPREAD)
        lots = lots if lots < shown or shown == 0 else shown
        qty = lots * _LOT
        book[v, side + 1] = shown - lots if lots < shown else 0
        model.pending[s] = v
    row.venue_id = model.venue[v, VENUE_ID]
    row.instrument_id = stock[INSTRUMENT]
    row.px = half_cents * int(stock[CENT]) // 2
    row.qty = qty * int(stock[SHARE])
    row["flags"] = _ODD_LOT if qty < _LOT else 0
    stock[MID] = int(stock[MID]) + (8 if buys else -8)


@kernel
def walk(
    seed: int, start_ns: int, times: np.ndarray, model: Model, quotes: np.ndarray, trades: np.ndarray
) -> tuple[int, int]:
    """Fill blank QUOTE and TRADE records, one a time in order; (quotes, trades) filled, always all of them."""
    n_quotes, n_trades = 0, 0
    stocks, venues = len(model.stock), len(model.venue)
    for i in range(len(times)):
        kind, which = draw(seed, _LANE_KIND, i, 0)
        left_quotes, left_trades = len(quotes) - n_quotes, len(trades) - n_trades
        forced = i // stocks if i < stocks * venues else -1
        s = i % stocks if forced >= 0 else below(which, stocks)
        if forced >= 0 or below(kind, left_quotes + left_trades) >= left_trades:
            quotes[n_quotes].ts_event_ns = start_ns + int(times[i])
            quote(seed, i, forced, model, s, quotes[n_quotes])
            n_quotes += 1
        else:
            trades[n_trades].ts_event_ns = start_ns + int(times[i])
            trade(seed, i, model, s, trades[n_trades])
            n_trades += 1
    return n_quotes, n_trades
