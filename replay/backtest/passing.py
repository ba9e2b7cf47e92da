"""The market at the times that a run's tables ask for, from one pass over its journal: mid-points after fills, VWAP.

As `Tape`, record for record, but memory grows with fills and orders, and not with the market data. A time is answered
as soon as all that came up to it has been read; of each venue the last quote is kept meanwhile, and of trades the sums.

Worst case: every quote and trade of an instrument that was traded in is looked at once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from engine.run.config import Config
from replay.backtest.quoted import NEEDED, ROW, counted, of_instrument
from replay.backtest.tape import floats, signs, times_of, touches_of
from replay.backtest.terms import by_orders
from replay.report.gather import ROWS, Array, gather_parts


class Around(NamedTuple):
    """Mid-points by horizon, one a fill, in the currency; VWAP, one an order. NaN where there was none."""

    mids: list[Array]
    vwap: Array


def around(
    run_dir: str | Path,
    config: Config,
    fills: pa.Table,
    orders: pa.Table,
    horizons_s: Sequence[float],
    rows: int = ROWS,
) -> Around:
    """The market around `fills` and `orders`, as `Tables` has them. JournalError where the journal cannot be read."""
    filled_ns, begin_ns, end_ns = times_of(fills, "time"), times_of(orders, "time"), times_of(orders, "last_fill")
    of_fills, of_orders = _instruments(fills, config), _instruments(orders, config)
    times_ns = np.concatenate([np.zeros(0, np.int64), *(filled_ns + int(h * 1e9) for h in horizons_s)])
    of_times = np.tile(of_fills, len(horizons_s))
    stale_ns = config.routing.stale_ms * 1_000_000
    touches = {int(n): _Touches(times_ns[of_times == n], len(config.venue), stale_ns) for n in np.unique(of_fills)}
    untold = set(by_orders(run_dir))
    untraded = [n for n, row in enumerate(config.instrument) if row.symbol in untold]
    of_orders[(end_ns == 0) | np.isin(of_orders, untraded)] = -1  # nothing was filled, or trades are not all that was
    traded = {int(n): _Traded(begin_ns[of_orders == n], end_ns[of_orders == n]) for n in np.unique(of_orders) if n >= 0}
    for quotes, trades, until_ns in counted(gather_parts(run_dir, NEEDED, rows=rows)):
        for n, touch in touches.items():
            if len(mine := of_instrument(quotes, n)):
                touch.take(mine, until_ns)
        for n in np.unique(trades["instrument_id"]):
            if int(n) in traded:
                traded[int(n)].take(trades[trades["instrument_id"] == n], until_ns)
    scales = [10.0**row.px_decimals for row in config.instrument]
    mids, vwap = np.full(len(times_ns), np.nan), np.full(len(end_ns), np.nan)
    for n, touch in touches.items():
        mids[of_times == n] = touch.mids() / scales[n]
    for n, sums in traded.items():
        vwap[of_orders == n] = sums.vwap() / scales[n]
    return Around(list(mids.reshape(len(horizons_s), len(filled_ns))), vwap)


def with_vwap(orders: pa.Table, vwap: Array, schema: pa.Schema) -> pa.Table:
    """Orders with the market's VWAP and what they cost against it, in the columns of `schema`."""
    cost = signs(orders) * (floats(orders, "avg_px") - vwap) / vwap * 1e4
    told = orders.append_column("vwap", pa.array(vwap, from_pandas=True))
    told = told.append_column("against_vwap_bps", pa.array(cost, from_pandas=True))
    return told.select(schema.names).cast(schema)


def _instruments(table: pa.Table, config: Config) -> Array:
    """The instrument of each row."""
    numbers = {row.symbol: n for n, row in enumerate(config.instrument)}
    return np.array([numbers[symbol] for symbol in table["symbol"].to_pylist()], dtype=np.int64)


class _Touches:
    """The national best of one instrument at some times."""

    def __init__(self, times_ns: Array, venues: int, stale_ns: int) -> None:
        self._order = np.argsort(times_ns, kind="stable")
        self._times, self._stale_ns, self._done = times_ns[self._order], stale_ns, 0
        self._mids = np.full(len(times_ns), np.nan)
        self._last = [np.zeros(0, ROW) for _ in range(venues)]

    def take(self, quotes: Array, until_ns: int) -> None:
        """Take the next quotes; all up to `until_ns` have come then."""
        venues = [np.concatenate((last, quotes[quotes["venue_id"] == v])) for v, last in enumerate(self._last)]
        self._answer(venues, int(np.searchsorted(self._times, until_ns)))
        self._last = [rows[-1:] for rows in venues]

    def _answer(self, venues: list[Array], to: int) -> None:
        at = slice(self._done, to)
        if to > self._done:
            bid, ask, two_sided = touches_of(venues, self._times[at], self._stale_ns)
            self._mids[at] = np.where(two_sided, bid / 2 + ask / 2, np.nan)
            self._done = to

    def mids(self) -> Array:
        """Mid-points in price units, in the order in which the times were given."""
        self._answer(self._last, len(self._times))
        found = np.full(len(self._mids), np.nan)
        found[self._order] = self._mids
        return found


class _Traded:
    """What was traded of one instrument in some spans, both ends included."""

    def __init__(self, begin_ns: Array, end_ns: Array) -> None:
        self._sides = [_Sums(begin_ns, "left"), _Sums(end_ns, "right")]
        self._qty, self._money = 0, 0.0

    def take(self, trades: Array, until_ns: int) -> None:
        """Take the next trades; all up to `until_ns` have come then."""
        qty = self._qty + np.concatenate([[0], np.cumsum(trades["qty"])])
        money = np.cumsum(np.concatenate([[self._money], trades["px"].astype(float) * trades["qty"]]))
        for side in self._sides:
            side.take(trades["ts_recv_ns"], qty, money, until_ns)
        self._qty, self._money = int(qty[-1]), float(money[-1])

    def vwap(self) -> Array:
        """Average prices in price units; NaN where nothing was traded."""
        (first_qty, first_money), (last_qty, last_money) = (s.found(self._qty, self._money) for s in self._sides)
        qty = last_qty - first_qty
        vwap: Array = np.where(qty > 0, (last_money - first_money) / np.maximum(qty, 1), np.nan)
        return vwap


class _Sums:
    """Sums of what was traded before some times, or up to them."""

    def __init__(self, times_ns: Array, side: str) -> None:
        self._order = np.argsort(times_ns, kind="stable")
        self._times, self._side, self._done = times_ns[self._order], side, 0
        self._qty, self._money = np.zeros(len(times_ns), np.int64), np.zeros(len(times_ns))

    def take(self, times_ns: Array, qty: Array, money: Array, until_ns: int) -> None:
        """qty, money: sums before each trade, and after the last."""
        at = slice(self._done, int(np.searchsorted(self._times, until_ns)))
        place = np.searchsorted(times_ns, self._times[at], side=self._side)  # type: ignore[call-overload]
        self._qty[at], self._money[at] = qty[place], money[place]
        self._done = max(self._done, at.stop)

    def found(self, qty: int, money: float) -> tuple[Array, Array]:
        """The sums in the order in which the times were given; what was not reached has those of the end."""
        self._qty[self._done :], self._money[self._done :] = qty, money
        sums = np.zeros_like(self._qty), np.zeros_like(self._money)
        sums[0][self._order], sums[1][self._order] = self._qty, self._money
        return sums
