"""What a run's trading came to against the market, and what its pictures are drawn from.

    against    the mid-point and the touch at arrival, the mid-point at each fill, the market's VWAP meanwhile
    by time    price with fills, what was held, where the market was some seconds after each fill

From the tables of `replay.backtest`, a live run's as well. A run without market data has no more than its fills.
Worst case: the market's records are in memory, some 60 bytes each; beyond MOST_RECORDS what needs them is left out, and
said to be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from engine.record.records import Template
from replay.backtest.results import Result
from replay.backtest.tape import Tape
from replay.report.gather import Array
from replay.report.structs import Benchmark, Markout, Slippage, Trading

#: Quotes and trades of a journal that are taken into memory, at the most.
MOST_RECORDS: Final = 20_000_000
#: Seconds after a fill.
HORIZONS_S: Final = (0.0, 0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Points of a price, fills of a picture, and instruments with pictures of their own, at the most.
POINTS: Final = 1200
MOST_FILLS: Final = 1500
MOST_INSTRUMENTS: Final = 4


class Course(NamedTuple):
    """One instrument over time, for its pictures. Times are ns; prices NaN where the market was not two-sided."""

    symbol: str
    times_ns: Array
    bid: Array
    ask: Array
    fill_ns: Array
    fill_px: Array
    bought: Array
    held_ns: Array
    held: Array
    fills: int


class Drawn(NamedTuple):
    """What pictures are drawn from: instruments by what was traded in them, slippage and money of fills, costs of
    orders by benchmark, and by horizon mean and standard error of markouts (bps) of fills that added and removed.
    """

    courses: list[Course]
    more: int
    slippage: Array
    money: Array
    costs: dict[str, Array]
    markouts: dict[str, list[tuple[float, float, float]]]


def look(run_dir: str | Path, quotes_and_trades: int) -> tuple[Trading, Drawn]:
    """Look at a run whose journal has so many quotes and trades. JournalError as `Result`."""
    result = Result(run_dir)
    orders, fills = result.tables.orders, result.fills()
    why = ""
    if not quotes_and_trades:
        why = "the run took in no market data"
    elif quotes_and_trades > MOST_RECORDS:
        why = f"{quotes_and_trades:,} quotes and trades are more than the {MOST_RECORDS:,} that a report takes in"
    tape = Tape(run_dir) if not why else None
    costs = _costs(orders, fills, tape)
    slippage, money = _slippage(fills)
    marked = _markouts(fills, tape)
    trading = Trading(
        market=why,
        benchmarks=[_benchmark(name, cost, _bases(cost, orders)) for name, cost in costs.items()],
        slippage=Slippage(
            fills=int(np.isfinite(slippage).sum()),
            bps=_mean(slippage, _bases(slippage, fills)),
            **_spread(slippage),
        ),
        markouts=[_markout(n, marked, fills) for n in range(len(HORIZONS_S))] if tape is not None else [],
        without_vwap=tape.by_orders if tape is not None else [],
    )
    courses, more = _courses(result, fills, tape)
    means = {name: [_error(marked[n][added], n) for n in range(len(marked))] for name, added in _by_kind(fills).items()}
    return trading, Drawn(courses, more, slippage, money, costs, means)


def count_of(inputs: dict[str, int]) -> int:
    """Quotes and trades among a journal's inputs, by template."""
    return inputs.get(Template.QUOTE.name, 0) + inputs.get(Template.TRADE.name, 0)


def _costs(orders: pa.Table, fills: pa.Table, tape: Tape | None) -> dict[str, Array]:
    """Benchmark -> cost of each order in bps; NaN where it has none."""
    sign = _signs(orders)
    touch = np.where(sign > 0, _floats(orders, "arrival_ask"), _floats(orders, "arrival_bid"))
    px = _floats(orders, "avg_px")
    known = np.isfinite(_floats(orders, "arrival_mid"))
    found = {
        "mid-point at arrival": _floats(orders, "shortfall_bps"),
        "national best at arrival": np.where(known, sign * (px - touch) / np.where(known, touch, 1.0) * 1e4, np.nan),
    }
    if tape is not None:
        found["mid-point at the fill"] = _at_fills(orders, fills, tape)
        found["VWAP until the last fill"] = _floats(tape.against_vwap(orders), "against_vwap_bps")
    return found


def _at_fills(orders: pa.Table, fills: pa.Table, tape: Tape) -> Array:
    """Cost of each order's fills against the mid-points at which they came, in bps."""
    told = tape.markouts(fills, (0.0,))
    gained, mids, qty = (_floats(told, name) for name in ("markout_0s", "mid_0s", "qty"))
    good = np.isfinite(gained)
    ids, parents = orders["order_id"].to_numpy(), fills["parent_id"].to_numpy()
    order = np.argsort(ids, kind="stable")
    place = order[np.searchsorted(ids[order], parents[good])] if len(ids) else np.zeros(0, dtype=np.int64)
    cost = np.bincount(place, -gained[good] * qty[good], minlength=len(ids))
    base = np.bincount(place, mids[good] * qty[good], minlength=len(ids))
    costs: Array = np.where(base > 0, cost / np.where(base > 0, base, 1.0) * 1e4, np.nan)
    return costs


def _slippage(fills: pa.Table) -> tuple[Array, Array]:
    """(bps against the mid-point at arrival, money) of each fill; NaN where it has none."""
    cost, money = _floats(fills, "shortfall"), _floats(fills, "notional")
    base = money - _signs(fills) * cost
    good = np.isfinite(base) & (base > 0)
    return np.where(good, cost / np.where(good, base, 1.0) * 1e4, np.nan), money


def _markouts(fills: pa.Table, tape: Tape | None) -> list[Array]:
    """Of each horizon: what each fill had gained by then, in bps of its price."""
    if tape is None:
        return []
    told = tape.markouts(fills, HORIZONS_S)
    px = _floats(fills, "px")
    return [_floats(told, f"markout_{horizon_s:g}s") / px * 1e4 for horizon_s in HORIZONS_S]


def _by_kind(fills: pa.Table) -> dict[str, Array]:
    kinds = np.array(fills["liquidity"].to_pylist(), dtype=object)
    return {"added": kinds == "ADDED", "removed": kinds != "ADDED"}


def _markout(n: int, marked: list[Array], fills: pa.Table) -> Markout:
    money, kinds = _floats(fills, "notional"), _by_kind(fills)
    added, removed = (_mean(marked[n][mine], money[mine]) for mine in kinds.values())
    return Markout(
        horizon_s=HORIZONS_S[n],
        fills=int(np.isfinite(marked[n]).sum()),
        bps=_mean(marked[n], money),
        added_bps=added,
        removed_bps=removed,
    )


def _error(values: Array, n: int) -> tuple[float, float, float]:
    """(horizon, mean, standard error); NaN where there are none."""
    good = values[np.isfinite(values)]
    if not len(good):
        return HORIZONS_S[n], float("nan"), float("nan")
    error = float(good.std(ddof=1) / len(good) ** 0.5) if len(good) > 1 else 0.0
    return HORIZONS_S[n], float(good.mean()), error


def _courses(result: Result, fills: pa.Table, tape: Tape | None) -> tuple[list[Course], int]:
    """The instruments that were traded most, and how many more there are."""
    config = result.config
    symbols = np.array(fills["symbol"].to_pylist(), dtype=object)
    money = _floats(fills, "notional")
    traded = sorted(
        ((float(money[symbols == row.symbol].sum()), n, row.symbol) for n, row in enumerate(config.instrument)),
        key=lambda found: (-found[0], found[2]),
    )
    traded = [row for row in traded if row[0] > 0]
    opening = {row["symbol"]: 0.0 for row in result.positions().to_pylist()}
    for row in result.positions().to_pylist():
        opening[row["symbol"]] += row["opening_qty"]
    courses = []
    for _, n, symbol in traded[:MOST_INSTRUMENTS]:
        mine = fills.filter(pa.array(symbols == symbol))
        courses.append(_course(symbol, n, mine, opening.get(symbol, 0.0), tape))
    return courses, max(len(traded) - MOST_INSTRUMENTS, 0)


def _course(symbol: str, instrument: int, fills: pa.Table, opening: float, tape: Tape | None) -> Course:
    at, px, bought = _times(fills), _floats(fills, "px"), _signs(fills) > 0
    held = opening + np.cumsum(_signs(fills) * _floats(fills, "qty"))
    first_ns, last_ns = int(at[0]), int(at[-1])
    if tape is not None:  # the market around what we did in it: a tenth of that time before and after
        margin_ns = max((last_ns - first_ns) // 10, 60_000_000_000)
        begin_ns, end_ns = tape.span_ns
        first_ns, last_ns = (
            min(first_ns, max(first_ns - margin_ns, begin_ns)),
            max(last_ns, min(last_ns + margin_ns, end_ns)),
        )
    times = np.linspace(first_ns, last_ns, POINTS).astype(np.int64)
    bid, ask = np.full(POINTS, np.nan), np.full(POINTS, np.nan)
    if tape is not None:
        bid, ask = tape.touches(instrument, times, max(tape.stale_ns, 2 * (last_ns - first_ns) // POINTS))
    step = -(-len(at) // MOST_FILLS)
    return Course(
        symbol=symbol,
        times_ns=times,
        bid=bid,
        ask=ask,
        fill_ns=at[::step],
        fill_px=px[::step],
        bought=bought[::step],
        held_ns=np.concatenate([[first_ns], at, [last_ns]]),
        held=np.concatenate([[opening], held, held[-1:]]),
        fills=len(at),
    )


def _benchmark(name: str, costs: Array, bases: Array) -> Benchmark:
    return Benchmark(name=name, orders=int(np.isfinite(costs).sum()), bps=_mean(costs, bases), **_spread(costs))


def _bases(costs: Array, table: pa.Table) -> Array:
    """What orders or fills would have come to at the price that they are held against."""
    bases: Array = _floats(table, "notional") / (1.0 + _signs(table) * costs / 1e4)
    return bases


def _mean(values: Array, weights: Array) -> float | None:
    good = np.isfinite(values) & (weights > 0)
    return float((values[good] * weights[good]).sum() / weights[good].sum()) if good.any() else None


def _spread(values: Array) -> dict[str, float | None]:
    good = values[np.isfinite(values)]
    told = [float(q) for q in np.percentile(good, (10, 50, 90))] if len(good) else [None] * 3
    return dict(zip(("p10_bps", "p50_bps", "p90_bps"), told, strict=True))


def _floats(table: pa.Table, name: str) -> Array:
    values: Array = np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=float)
    return values


def _times(table: pa.Table) -> Array:
    times: Array = table["time"].cast(pa.int64()).to_numpy()
    return times


def _signs(table: pa.Table) -> Array:
    return np.array([1.0 if side == "BUY" else -1.0 for side in table["side"].to_pylist()])
