"""What the market did around a run's orders, from the market data on its journal: mid-points later, and VWAP.

`markouts` says of each fill where the market was some seconds later; `vwap` of each order what the market traded at
while it lived. Quotes count as the engine counts them: the last of each venue, open, not voided since (`quoted`), not
older than `routing.stale_ms`, by the times at which the engine had them.

Worst case: memory grows with the market data (some 60 bytes a record): these tables are made when they are asked for,
and by nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.record.records import Flag
from engine.run import manifest
from replay.backtest.quoted import NEEDED, counted, of_instrument
from replay.backtest.schemas import HORIZONS_S
from replay.backtest.terms import by_orders
from replay.report.gather import Array, gather


class Tape:
    """The market of a run. JournalError, ManifestError where it cannot be read."""

    def __init__(self, run_dir: str | Path) -> None:
        found = gather(run_dir, NEEDED)
        self.config = manifest.from_bytes(found.manifest).read_config()
        self._symbols = {row.symbol: n for n, row in enumerate(self.config.instrument)}
        #: Symbols of whose executions orders alone tell, not each of them by a trade: they have no VWAP.
        self.by_orders = by_orders(run_dir)
        self.stale_ns = self.config.routing.stale_ms * 1_000_000
        parts = list(counted([found.tables]))
        self._trades = np.concatenate([trades for _, trades, _ in parts])
        quotes = np.concatenate([rows for rows, _, _ in parts])
        self._quotes = [
            [mine[mine["venue_id"] == venue] for venue in range(len(self.config.venue))]
            for mine in (of_instrument(quotes, instrument) for instrument in range(len(self.config.instrument)))
        ]

    @property
    def span_ns(self) -> tuple[int, int]:
        """Times of the first and the last quote; (0, 0) where there is none."""
        quotes = [rows[(rows["bid_qty"] > 0) | (rows["ask_qty"] > 0)] for venues in self._quotes for rows in venues]
        ends = [(int(rows["ts_recv_ns"][0]), int(rows["ts_recv_ns"][-1])) for rows in quotes if len(rows)]
        return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else (0, 0)

    def mids(self, instrument: int, times_ns: Array) -> Array:
        """Mid-points at times, in the currency; NaN where the market was not two-sided, or crossed."""
        bid, ask = self.touches(instrument, times_ns)
        mids: Array = bid / 2 + ask / 2
        return mids

    def touches(self, instrument: int, times_ns: Array, stale_ns: int | None = None) -> tuple[Array, Array]:
        """National best bid and offer at times, in the currency; both NaN where the market was not two-sided, or
        crossed. `stale_ns` takes the place of `routing.stale_ms`.
        """
        stale_ns = self.stale_ns if stale_ns is None else stale_ns
        bid, ask, two_sided = touches_of(self._quotes[instrument], times_ns, stale_ns)
        scale = 10.0 ** self.config.instrument[instrument].px_decimals
        return np.where(two_sided, bid / scale, np.nan), np.where(two_sided, ask / scale, np.nan)

    def vwap(self, instrument: int, from_ns: Array, to_ns: Array) -> Array:
        """Average price of the trades on books with from <= time <= to, weighted by quantity; NaN where none was, and
        where the feed tells executions by orders, and trades are not all that was traded.
        """
        if self.config.instrument[instrument].symbol in self.by_orders:
            return np.full(len(from_ns), np.nan)
        rows = self._trades[self._trades["instrument_id"] == instrument]
        scale = 10.0 ** self.config.instrument[instrument].px_decimals
        qty = np.concatenate([[0], np.cumsum(rows["qty"])])
        money = np.concatenate([[0.0], np.cumsum(rows["px"].astype(float) * rows["qty"])])
        first = np.searchsorted(rows["ts_recv_ns"], from_ns)
        last = np.maximum(np.searchsorted(rows["ts_recv_ns"], to_ns, side="right"), first)
        traded = qty[last] - qty[first]
        vwap: Array = np.where(traded > 0, (money[last] - money[first]) / np.maximum(traded, 1) / scale, np.nan)
        return vwap

    def markouts(self, fills: pa.Table, horizons_s: Sequence[float] = HORIZONS_S) -> pa.Table:
        """`fills` (of Result) with two columns a horizon: `mid_10s`, and `markout_10s`, what a share or coin had gained
        by then against the price: positive where the market went the order's way. Null where there was no mid-point.
        """
        times = times_of(fills, "time")
        mids = [self._by_symbol(fills, self.mids, times + int(horizon_s * 1e9)) for horizon_s in horizons_s]
        return with_markouts(fills, mids, horizons_s)

    def against_vwap(self, orders: pa.Table) -> pa.Table:
        """`orders` (of Result) with `vwap`, the market's from arrival to the last fill, and `against_vwap_bps`, what
        the average price cost against it. Null where nothing was filled, or nothing traded on a book meanwhile.
        """
        begin, end = times_of(orders, "time"), times_of(orders, "last_fill")
        vwap = self._by_symbol(orders, self.vwap, begin, end)
        vwap = np.where(end > 0, vwap, np.nan)
        cost = signs(orders) * (floats(orders, "avg_px") - vwap) / vwap * 1e4
        table = orders.append_column("vwap", pa.array(vwap, from_pandas=True))
        return table.append_column("against_vwap_bps", pa.array(cost, from_pandas=True))

    def _by_symbol(self, table: pa.Table, function: Any, *times_ns: Array) -> Array:
        """A function of (instrument, times) over the rows of a table."""
        symbols = np.array(table["symbol"].to_pylist(), dtype=object)
        found = np.full(len(symbols), np.nan)
        for symbol, instrument in self._symbols.items():
            mine = symbols == symbol
            if mine.any():
                found[mine] = function(instrument, *(times[mine] for times in times_ns))
        return found


def with_markouts(fills: pa.Table, mids: Sequence[Array], horizons_s: Sequence[float]) -> pa.Table:
    """`fills` with `mid_10s` and `markout_10s` for each horizon; `mids` by horizon, NaN where there was none."""
    px, sign, table = floats(fills, "px"), signs(fills), fills
    for horizon_s, mid in zip(horizons_s, mids, strict=True):
        table = table.append_column(f"mid_{horizon_s:g}s", pa.array(mid, from_pandas=True))
        table = table.append_column(f"markout_{horizon_s:g}s", pa.array(sign * (mid - px), from_pandas=True))
    return table


def touches_of(venues: Sequence[Array], times_ns: Array, stale_ns: int) -> tuple[Array, Array, Array]:
    """(best bid, best offer, whether there were both and not crossed) at times, in price units.

    venues: rows of one instrument, as `quoted` has them, an array by venue, each ascending in ts_recv_ns.
    """
    bid = np.zeros(len(times_ns), dtype=np.int64)
    ask = np.full(len(times_ns), np.iinfo(np.int64).max)
    for rows in venues:
        if not len(rows):
            continue
        place = np.searchsorted(rows["ts_recv_ns"], times_ns, side="right") - 1
        last = rows[np.maximum(place, 0)]
        good = (place >= 0) & (times_ns - last["ts_recv_ns"] <= stale_ns)
        crossed = (last["bid_px"] > last["ask_px"]) & (last["bid_qty"] > 0) & (last["ask_qty"] > 0)
        good &= ((last["flags"] & Flag.CLOSED) == 0) & ~crossed
        bid = np.where(good & (last["bid_qty"] > 0), np.maximum(bid, last["bid_px"]), bid)
        ask = np.where(good & (last["ask_qty"] > 0), np.minimum(ask, last["ask_px"]), ask)
    return bid, ask, (bid > 0) & (bid <= ask) & (ask < np.iinfo(np.int64).max)


def times_of(table: pa.Table, name: str) -> Array:
    """ns; 0 where there is none."""
    times: Array = pc.fill_null(table[name].cast(pa.int64()), 0).to_numpy()
    return times


def floats(table: pa.Table, name: str) -> Array:
    """Doubles; NaN for null."""
    values: Array = pc.fill_null(table[name], float("nan")).to_numpy()
    return values


def signs(table: pa.Table) -> Array:
    """1 for a buy, -1 for a sell."""
    return np.array([1.0 if side == "BUY" else -1.0 for side in table["side"].to_pylist()])
