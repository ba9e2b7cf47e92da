"""A seeded day that looks like the captured TAQ day: twelve venues, one or more stocks, quotes and trades in bursts.

The same arguments give the same bytes on every machine, jitted or not: integers only, and random numbers that are
pure functions of the seed (see draws.py). A committed hash of engine outputs depends on it, so a change of the model is
a new `MODEL_VERSION` and new hashes in the tests.

How it works: the times of all messages are drawn first, three quarters of them in bursts (a burst has a place in the
day, a scale from 0.1 to 134 ms, and a share of the messages that is heavy-tailed), then sorted. A walk over them, in
synthetic_kernels.py, moves each stock's price by fractions of a cent and lets one venue quote or trade at each time.
Open and close are busier. The first messages are one quote a venue and stock, so that every book exists.

Worst case: it is a stage set, not a market: sizes, times and prices depend on each other only in bursts, venues do not
react to trades elsewhere, and nobody's orders move it. Draw no conclusion about fills or profits from it.
"""

from __future__ import annotations

import numpy as np

from engine.errors import UsageError
from engine.record.records import Template, blank
from gateways.feeds import synthetic_kernels as k
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording, build

#: Changes whenever the same arguments give other bytes.
MODEL_VERSION = 1
#: 2018-01-02 14:30 UTC, when New York opens, and 21:00 UTC, when it closes.
OPEN_NS = 1_514_903_400 * 10**9
DAY_NS = 23_400 * 10**9

#: Venue code -> (activity weight, half spread in 1/100 cent). A code that is not here gets the last row.
_VENUES = {
    "N": (30, 12),
    "T": (13, 20),
    "P": (11, 24),
    "K": (9, 28),
    "Z": (9, 24),
    "B": (7, 40),
    "Y": (7, 48),
    "X": (5, 60),
    "V": (4, 60),
    "J": (3, 80),
    "A": (2, 100),
    "M": (1, 160),
}
_OTHER = (3, 60)
_FIRST_PRICE_CENTS = 15_700


def generate(
    seed: int = 1,
    names: Names | None = None,
    quotes: int = 100_000,
    trades: int = 40_000,
    start_ns: int = OPEN_NS,
    duration_ns: int = DAY_NS,
) -> Recording:
    """A day of exactly `quotes` quotes and `trades` trades within [start_ns, start_ns + duration_ns).

    names: venues and symbols (default: those of the capture); price decimals must be at least 3, so that half a cent
    is exact. What happens depends on codes and symbols, not on their indices. UsageError where the numbers do not fit:
    fewer quotes than venues x symbols, or fewer than 16 ns a message.
    """
    names = names or Names.listed()
    venues, symbols = sorted(names.venues), sorted(names.symbols)
    first = len(venues) * len(symbols)
    if quotes < first or trades < 0:
        raise UsageError(f"{quotes} quotes, {trades} trades: {first} quotes are the least, one a venue and symbol")
    if duration_ns < 16 * (quotes + trades) or duration_ns >= 1 << 50:
        raise UsageError(f"duration of {duration_ns} ns: must be 16 ns a message or more, and below 2^50")
    for symbol in symbols:
        if names.symbols[symbol].px_decimals < 3:
            raise UsageError(f"{symbol} has {names.symbols[symbol].px_decimals} price decimals; half cents need 3")
    times = np.zeros(quotes + trades, dtype=np.int64)
    bursts = np.zeros((max(1, len(times) // 16), 2), dtype=np.int64)
    k.draw_bursts(seed, duration_ns, bursts)
    k.draw_times(seed, duration_ns, bursts, times)
    times.sort()
    k.spread_ties(first, times)
    model = _model(names, venues, symbols)
    quote_rows, trade_rows = blank(Template.QUOTE, quotes), blank(Template.TRADE, trades)
    filled = k.walk(seed, start_ns, times, model, quote_rows, trade_rows)
    assert filled == (quotes, trades), filled
    return build([trade_rows, quote_rows], names)


def _model(names: Names, venues: list[str], symbols: list[str]) -> k.Model:
    rows = [_VENUES.get(code, _OTHER) for code in venues]
    venue = np.zeros((len(rows), 3), dtype=np.int64)
    venue[:, k.CUMULATIVE] = np.cumsum([row[0] for row in rows])
    venue[:, k.HALF_SPREAD] = [row[1] for row in rows]
    venue[:, k.VENUE_ID] = [names.venues[code] for code in venues]
    stock = np.zeros((len(symbols), 6), dtype=np.int64)
    for row, name in enumerate(symbols):
        symbol = names.symbols[name]
        cents = _FIRST_PRICE_CENTS if row == 0 else 2_000 + row * 7_919 % 30_000
        units = 10 ** (symbol.px_decimals - 2), 10**symbol.qty_decimals
        stock[row] = symbol.instrument_id, *units, cents * 100, 1, cents * 100
    book = np.zeros((len(symbols), len(venues), 4), dtype=np.int64)
    return k.Model(venue, stock, book, np.full(len(symbols), -1, dtype=np.int64))
