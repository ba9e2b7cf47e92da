"""From exact sums to rows: the one place where fractions become doubles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

from replay.quality.collect import CHILD, ORDER, Cells, rolled_up
from replay.quality.settings import Buckets
from replay.quality.structs import Covered, Later, Row, Share, Spreads
from replay.quality.sums import Cell, Key, percentiles

_BPS = 10_000
#: Currency -> what a unit of it is in the currency that amounts are converted into.
Rates = Mapping[str, Fraction]
NO_RATES: Final[Rates] = {}
#: Venues a class of instruments.
_TOP = 5


def ratio(top: Fraction, bottom: Fraction, times: int = 1) -> float | None:
    """top * times / bottom, the nearest double; None where bottom is 0."""
    return float(top * times / bottom) if bottom else None


def row(names: Sequence[str], key: Key, cell: Cell, buckets: Buckets, rates: Rates = NO_RATES) -> Row:
    """One cell as a row."""
    get = _Getter(cell)
    orders, fills = int(get("n_orders")), int(get("n_fills"))
    ordered, filled, fees, notional = get("q_ordered"), get("q_filled"), get("m_fees"), get("m_notional")
    by = dict(zip(names, key, strict=True))
    rate = rates.get(by.get("currency", ""))
    p50, p99 = percentiles(cell.times, (50.0, 99.0))
    return Row(
        by=by,
        orders=orders,
        orders_filled=int(get("n_filled")),
        ordered_qty=float(ordered),
        filled_qty=float(filled),
        fill_rate=ratio(filled, ordered),
        fills=fills,
        average_order_qty=ratio(ordered, Fraction(orders)),
        average_fill_qty=ratio(filled, Fraction(fills)),
        added_qty=float(get("q_added")),
        removed_qty=float(get("q_removed")),
        notional=float(notional),
        fees=float(fees),
        notional_converted=float(notional * rate) if rate is not None else None,
        fees_converted=float(fees * rate) if rate is not None else None,
        fees_a_unit=ratio(fees, filled),
        fees_bps=ratio(fees, notional, _BPS),
        rejects=int(get("n_rejects")),
        rejects_by_reason=dict(sorted(cell.rejects.items())),
        timeouts=int(get("n_timeouts")),
        time_to_fill_p50_ns=p50,
        time_to_fill_p99_ns=p99,
        average_time_to_fill_ns=ratio(get("t_fill"), filled),
        spreads=_spreads(cell, buckets),
    )


class _Getter:
    """A sum by name; 0 where there is none."""

    def __init__(self, cell: Cell) -> None:
        self._sums = cell.sums

    def __call__(self, name: str) -> Fraction:
        return self._sums.get(name, Fraction(0))


def _spreads(cell: Cell, buckets: Buckets) -> Spreads:
    get = _Getter(cell)
    qty, base2 = get("q_known"), get("v_base2")
    effective, quoted = get("v_effective"), get("v_quoted")
    improvement, worse = get("v_improvement"), get("v_disimprovement")
    return Spreads(
        qty=float(qty),
        effective_spread=ratio(effective, qty),
        effective_spread_bps=ratio(effective, base2, 2 * _BPS),
        quoted_spread=ratio(quoted, qty),
        quoted_spread_bps=ratio(quoted, base2, 2 * _BPS),
        effective_over_quoted=ratio(effective, quoted),
        improved_qty=float(get("q_improved")),
        improvement=ratio(improvement, get("q_improved")),
        at_quote_qty=float(get("q_at_quote")),
        outside_qty=float(get("q_outside")),
        disimprovement=ratio(worse, get("q_outside")),
        net_improvement_bps=ratio(improvement - worse, base2, 2 * _BPS),
        mid_qty=float(get("q_mid")),
        near_qty=float(get("q_near")),
        far_qty=float(get("q_far")),
        inside_near_qty=float(get("q_inside_near")),
        inside_far_qty=float(get("q_inside_far")),
        later=[_later(get, n, horizon_ms) for n, horizon_ms in enumerate(buckets.horizons_ms)],
    )


def _later(get: _Getter, n: int, horizon_ms: int) -> Later:
    qty, value, base = get(f"q_realized_{n}"), get(f"v_realized_{n}"), get(f"v_realized_px_{n}")
    return Later(
        horizon_ms=horizon_ms,
        qty=float(qty),
        realized_spread=ratio(value, qty),
        realized_spread_bps=ratio(value, base, _BPS),
        markout_bps=ratio(-value / 2, base, _BPS),
    )


def children(cells: Cells, names: Sequence[str], buckets: Buckets, rates: Rates) -> list[Row]:
    """Rows of children, added up over all dimensions but `names`."""
    return [row(names, key, cell, buckets, rates) for key, cell in rolled_up(cells.children, CHILD, names)]


def orders(cells: Cells, names: Sequence[str], buckets: Buckets, rates: Rates) -> list[Row]:
    """Rows of clients' orders, added up over all dimensions but `names`."""
    return [row(names, key, cell, buckets, rates) for key, cell in rolled_up(cells.orders, ORDER, names)]


def covered(cells: Cells, buckets: Buckets, rates: Rates) -> list[Covered]:
    """Clients' orders by symbol, kind and size, in the order of the buckets."""
    names = ("symbol", "currency", "category", "size")
    kinds, sizes = [c.name for c in buckets.category], [s.name for s in buckets.size]

    def place(found: tuple[Key, Cell]) -> tuple[str, str, int, int]:
        symbol, currency, kind, size = found[0]
        return symbol, currency, kinds.index(kind) if kind in kinds else len(kinds), sizes.index(size)

    told = []
    for key, cell in sorted(rolled_up(cells.orders, ORDER, names), key=place):
        get = _Getter(cell)
        told.append(
            Covered(
                row=row(names, key, cell, buckets, rates),
                cancelled_qty=float(get("q_cancelled")),
                within_qty=[float(get(f"q_within_{n}")) for n in range(len(buckets.times_ms) + 1)],
            )
        )
    return told


def top_venues(cells: Cells, classes: dict[str, str]) -> list[Share]:
    """The venues with most executed money, by class of instruments (symbol -> class; "" where it is not known)."""
    found: dict[tuple[str, str], dict[str, Cell]] = {}
    for (symbol, currency, venue), cell in rolled_up(cells.children, CHILD, ("symbol", "currency", "venue")):
        group = found.setdefault((classes.get(symbol, ""), currency), {})
        group.setdefault(venue, Cell()).add(cell)
    told = []
    for (name, currency), venues in sorted(found.items()):
        told += _shares(name, currency, venues)
    return told


def _shares(name: str, currency: str, venues: dict[str, Cell]) -> list[Share]:
    traded = {venue: get for venue, cell in venues.items() if (get := _Getter(cell))("m_notional")}
    volume = sum((get("m_notional") for get in traded.values()), Fraction(0))
    filled = sum((get("n_filled") for get in traded.values()), Fraction(0))
    ranked = sorted(traded, key=lambda venue: (-traded[venue]("m_notional"), venue))
    return [
        Share(
            instrument_class=name,
            currency=currency,
            rank=n + 1,
            venue=venue,
            volume_percent=float(traded[venue]("m_notional") / volume * 100),
            orders_percent=float(traded[venue]("n_filled") / filled * 100),
            passive_percent=float(traded[venue]("q_added") / traded[venue]("q_filled") * 100),
            aggressive_percent=float(traded[venue]("q_removed") / traded[venue]("q_filled") * 100),
        )
        for n, venue in enumerate(ranked[:_TOP])
    ]
