"""The tables of a run's results, from its journal: fills, orders, children, positions, venues, as Arrow tables.

What needs the market's data (VWAP, markouts) is added by `replay.backtest.results`.

What each column is, `replay.backtest.schemas` says. Sums are made in integers, and become doubles last.

Worst case: memory grows with orders and fills, some hundred bytes each, never with the market data.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from engine.core.state import State
from engine.io.journal_format import Kind
from engine.record.records import Liquidity, OrdStatus, OrdType, Side, Template, Tif
from engine.run.config import Config
from replay.backtest.schemas import OF_MARKET, SCHEMAS
from replay.report.gather import KEPT, Array, Gathered, Kept
from replay.report.orders import Book, places

#: What a venue says of an order: the last one has its status.
_REPORTS: Final = (Template.ACK, Template.FILL, Template.REJECT, Template.BUST, Template.CORRECT)
#: What is read of the journal: as a report, and these columns more.
NEEDED: Final[Kept] = KEPT | {
    (Kind.INPUT, Template.ORDER_NEW): "cl_ord_id account_id instrument_id side ord_type tif qty px ts_recv_ns",
    (Kind.INPUT, Template.FILL): KEPT[Kind.INPUT, Template.FILL] + " ts_event_ns ord_status",
    (Kind.INPUT, Template.ACK): "order_id ord_status ts_recv_ns",
    (Kind.INPUT, Template.REJECT): KEPT[Kind.INPUT, Template.REJECT] + " ord_status ts_recv_ns",
    (Kind.INPUT, Template.BUST): KEPT[Kind.INPUT, Template.BUST] + " ord_status ts_recv_ns",
    (Kind.INPUT, Template.CORRECT): KEPT[Kind.INPUT, Template.CORRECT] + " ord_status ts_recv_ns",
    (Kind.INPUT, Template.POSITION_LOAD): "account_id instrument_id qty",
    (Kind.OUTPUT, Template.ORDER_NEW): KEPT[Kind.OUTPUT, Template.ORDER_NEW] + " px tif",
}


class Tables(NamedTuple):
    """All tables of a run."""

    fills: pa.Table
    orders: pa.Table
    children: pa.Table
    positions: pa.Table
    venues: pa.Table


class _Units:
    """Integers of the journal to doubles, by instrument."""

    def __init__(self, config: Config, state: State) -> None:
        self.config, self.state = config, state
        self._px = np.array([10.0**i.px_decimals for i in config.instrument])
        self._qty = np.array([10.0**i.qty_decimals for i in config.instrument])

    def px(self, values: Array, instruments: Array) -> Array:
        """Prices in the currency."""
        told: Array = values / self._px[instruments]
        return told

    def qty(self, values: Array, instruments: Array) -> Array:
        """Shares or coins."""
        told: Array = values / self._qty[instruments]
        return told

    def money_of(self, px2: Array, qty: Array, instruments: Array) -> Array:
        """What quantities at half of `px2` come to, in the currency."""
        rows = self.state.instruments[instruments]
        money: Array = px2 / 2 * qty * (rows["notional_mul"] / rows["notional_div"]) / 1e9
        return money

    def symbols(self, instruments: Array) -> pa.Array:
        """Symbols."""
        return _words(instruments, [i.symbol for i in self.config.instrument])

    def mics(self, venues: Array) -> pa.Array:
        """MICs."""
        return _words(venues, [v.mic for v in self.config.venue])


def make(found: Gathered, config: Config, state: State) -> tuple[Tables, Book]:
    """The tables of what `gather(run_dir, NEEDED)` found; `state` is the one before the first event."""
    book, units = Book(found, config, state), _Units(config, state)
    mid2 = np.where((book.bid > 0) & (book.ask > 0) & (book.bid <= book.ask), book.bid + book.ask, 0)
    sign = np.where(book.orders["side"] == Side.BUY, 1.0, -1.0)
    fills = _fills(book, units, mid2, sign)
    return Tables(
        fills=_table("fills", fills),
        orders=_table("orders", _orders(book, units, mid2, sign)),
        children=_table("children", _children(book, units)),
        positions=_table("positions", _positions(book, units)),
        venues=_table("venues", _venues(book, units)),
    ), book


def _fills(book: Book, units: _Units, mid2: Array, sign: Array) -> dict[str, Any]:
    f, p = book.fills, book.fill_parent
    at, own = f["instrument_id"], book.orders[p]
    known = mid2[p] > 0
    shortfall = sign[p] * (book.fill_money / 1e9 - units.money_of(mid2[p], f["last_qty"], at))
    return {
        "journal_seq": f["seq"],
        "time": f["ts_recv_ns"],
        "venue_time": f["ts_event_ns"],
        "cl_ord_id": texts(own["cl_ord_id"]),
        "parent_id": book.ids[p],
        "order_id": f["order_id"],
        "exec_id": texts(f["exec_id"]),
        "symbol": units.symbols(at),
        "mic": units.mics(f["venue_id"]),
        "side": _enum(own["side"], Side),
        "qty": units.qty(f["last_qty"], at),
        "px": units.px(f["last_px"], at),
        "liquidity": _enum(f["liquidity"], Liquidity),
        "notional": book.fill_money / 1e9,
        "fee": book.fill_fee / 1e9,
        "arrival_mid": _where(known, units.px(mid2[p] / 2, at)),
        "shortfall": _where(known, shortfall),
    }


def _orders(book: Book, units: _Units, mid2: Array, sign: Array) -> dict[str, Any]:
    """Accepted parents, and behind them those that were rejected."""
    n, bad = len(book.ids), book.rejected
    bad = bad[(bad["instrument_id"] >= 0) & (bad["instrument_id"] < len(book.config.instrument))]
    o, none = np.concatenate([book.orders, bad]), np.zeros(len(bad), dtype=np.int64)
    at, p = o["instrument_id"], book.fill_parent

    def longer(values: Array) -> Array:
        return np.concatenate([values, none.astype(values.dtype)])

    def total(values: Array) -> Array:
        return longer(_sums(p, values, n))

    left = np.where(book.done, np.maximum(book.ordered - book.cum - book.busted, 0), 0)
    counts = longer(np.bincount(p, minlength=n))
    money, fee, qty = total(book.fill_money), total(book.fill_fee), total(book.fills["last_qty"])
    value = total(book.fills["last_px"] * book.fills["last_qty"])
    mid2, bid, ask, sign = longer(mid2), longer(book.bid), longer(book.ask), longer(sign)
    arrival = units.money_of(mid2, qty, at)
    shortfall = sign * (money / 1e9 - arrival)
    known, traded = mid2 > 0, qty > 0
    touch = np.where(known, np.where(sign > 0, ask, bid), 1)
    over = sign * (value / np.maximum(qty, 1) - touch) / touch * 1e4
    base = np.where(known & traded, arrival, 1.0)
    place, mine = places(book.ids, book.children["parent_id"])
    status = np.concatenate([book.status, np.full(len(bad), OrdStatus.REJECTED, dtype=book.status.dtype)])
    first, last = (longer(times) for times in _ends(p, book.fills["ts_recv_ns"], n))
    return {
        "journal_seq": o["seq"],
        "time": o["ts_recv_ns"],
        "cl_ord_id": texts(o["cl_ord_id"]),
        "order_id": longer(book.ids),
        "account": o["account_id"].astype("<i8"),
        "symbol": units.symbols(at),
        "side": _enum(o["side"], Side),
        "ord_type": _enum(o["ord_type"], OrdType),
        "tif": _enum(o["tif"], Tif),
        "qty": units.qty(np.concatenate([book.ordered, bad["qty"]]), at),
        "limit_px": _where(o["ord_type"] != OrdType.MARKET, units.px(o["px"], at)),
        "status": _enum(status, OrdStatus),
        "filled_qty": units.qty(longer(book.cum), at),
        "cancelled_qty": units.qty(longer(left), at),
        "busted_qty": units.qty(longer(book.busted), at),
        "children": longer(np.bincount(place[mine], minlength=n)),
        "fills": counts,
        "first_fill": _where(counts > 0, first),
        "last_fill": _where(counts > 0, last),
        "avg_px": _where(traded, units.px(value / np.maximum(qty, 1), at)),
        "notional": money / 1e9,
        "fee": fee / 1e9,
        "arrival_bid": _where(bid > 0, units.px(bid, at)),
        "arrival_ask": _where(ask > 0, units.px(ask, at)),
        "arrival_mid": _where(known, units.px(mid2 / 2, at)),
        "fresh_venues": _where(longer(book.fresh + 1) > 0, longer(book.fresh)),
        "shortfall": _where(known & traded, shortfall),
        "shortfall_bps": _where(known & traded, shortfall / base * 1e4),
        "shortfall_with_fees_bps": _where(known & traded, (shortfall + fee / 1e9) / base * 1e4),
        "against_nbbo_bps": _where(known & traded, over),
    }


def _children(book: Book, units: _Units) -> dict[str, Any]:
    c, n = book.children, len(book.children)
    at, k = c["instrument_id"], book.fill_child
    reports = [book.found.table(Kind.INPUT, template) for template in _REPORTS]
    names = ("seq", "order_id", "ord_status", "ts_recv_ns")
    seq, ids, status, time = (np.concatenate([table[name] for table in reports]) for name in names)
    order = np.argsort(seq, kind="stable")
    place, known = places(c["order_id"], ids[order])
    place, status, time = place[known], status[order][known], time[order][known]
    final = np.full(n, OrdStatus.PENDING_NEW, dtype=np.int8)
    final[place] = status  # in order, so that the last one stays
    first, _ = _ends(place, time, n)
    parent, _ = places(book.ids, c["parent_id"])
    qty = _sums(k, book.fills["last_qty"], n)
    return {
        "journal_seq": c["seq"],
        "time": c["ts_event_ns"],
        "order_id": c["order_id"],
        "parent_id": c["parent_id"],
        "cl_ord_id": texts(book.orders["cl_ord_id"][parent]),
        "symbol": units.symbols(at),
        "mic": units.mics(c["venue_id"]),
        "side": _enum(c["side"], Side),
        "tif": _enum(c["tif"], Tif),
        "qty": units.qty(c["qty"], at),
        "px": units.px(c["px"], at),
        "status": _enum(final, OrdStatus),
        "filled_qty": units.qty(qty, at),
        "fills": np.bincount(k, minlength=n),
        "avg_px": _where(
            qty > 0, units.px(_sums(k, book.fills["last_px"] * book.fills["last_qty"], n) / np.maximum(qty, 1), at)
        ),
        "notional": _sums(k, book.fill_money, n) / 1e9,
        "fee": _sums(k, book.fill_fee, n) / 1e9,
        "first_report": _where(np.bincount(place, minlength=n) > 0, first),
    }


def _positions(book: Book, units: _Units) -> dict[str, Any]:
    """By account and instrument, those that were opened with or traded in."""
    loads = book.found.table(Kind.INPUT, Template.POSITION_LOAD)
    fills, own = book.fills, book.orders[book.fill_parent]
    wide = len(book.config.instrument)
    traded = own["account_id"].astype(np.int64) * wide + fills["instrument_id"]
    opened = loads["account_id"].astype(np.int64) * wide + loads["instrument_id"]
    keys = np.unique(np.concatenate([traded, opened]))
    at, place, n = keys % wide, np.searchsorted(keys, traded), len(keys)
    opening = np.zeros(n, dtype=np.int64)
    opening[np.searchsorted(keys, opened)] = loads["qty"]
    buys = own["side"] == Side.BUY
    sums = [
        _sums(place[side], values[side], n) for values in (fills["last_qty"], book.fill_money) for side in (buys, ~buys)
    ]
    return {
        "account": keys // wide,
        "symbol": units.symbols(at),
        "opening_qty": units.qty(opening, at),
        "bought_qty": units.qty(sums[0], at),
        "sold_qty": units.qty(sums[1], at),
        "qty": units.qty(opening + sums[0] - sums[1], at),
        "bought": sums[2] / 1e9,
        "sold": sums[3] / 1e9,
        "fee": _sums(place, book.fill_fee, n) / 1e9,
    }


def _venues(book: Book, units: _Units) -> dict[str, Any]:
    rows = book.venues()
    order = sorted(range(len(rows)), key=lambda v: rows[v].mic)
    names = {
        "children": "children", "routed_qty": "routed", "filled_qty": "filled", "fill_rate": "fill_rate",
        "fills": "fills", "added_qty": "added", "removed_qty": "removed", "rejects": "rejects", "timeouts": "timeouts",
        "fee": "fees",
    }  # fmt: skip
    columns: dict[str, Any] = {column: [getattr(rows[v], name) for v in order] for column, name in names.items()}
    return {"mic": units.mics(np.array(order, dtype=np.int64)), **columns}


def _table(name: str, columns: dict[str, Any]) -> pa.Table:
    schema = pa.schema([field for field in SCHEMAS[name] if field.name not in OF_MARKET])
    arrays = []
    for field in schema:
        values = columns[field.name]
        if isinstance(values, np.ndarray):
            values = pa.array(np.ascontiguousarray(values))
        elif not isinstance(values, pa.Array):
            values = pa.array(values, type=field.type)
        if values.type != field.type:
            values = values.cast(field.type)
        arrays.append(values)
    return pa.Table.from_arrays(arrays, schema=schema)


def texts(words: Array) -> pa.Array:
    """Foreign ids (n x 2 int64) as text."""
    raw = np.ascontiguousarray(words).view("S16").reshape(-1)
    return pa.array(raw.astype(str) if len(raw) else [], type=pa.string())


def _words(indices: Array, names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(indices.astype(np.int32)), pa.array(names, type=pa.string()))


def _enum(values: Array, kind: Any) -> pa.Array:
    members = list(kind)
    numbers = np.zeros(256, dtype=np.int32)
    for n, member in enumerate(members):
        numbers[int(member)] = n
    return _words(numbers[values.astype(np.uint8)], [member.name for member in members])


def _where(good: Array, values: Array) -> pa.Array:
    """Values, null where they are not good."""
    return pa.array(np.ascontiguousarray(values), mask=~np.asarray(good))


def _sums(place: Array, values: Array, n: int) -> Array:
    """Exact sums (int64) by place."""
    sums = np.zeros(n, dtype=np.int64)
    np.add.at(sums, place, values)
    return sums


def _ends(place: Array, times: Array, n: int) -> tuple[Array, Array]:
    """First and last time by place; 0 where there is none."""
    first, last = np.full(n, np.iinfo(np.int64).max), np.zeros(n, dtype=np.int64)
    np.minimum.at(first, place, times)
    np.maximum.at(last, place, times)
    return np.where(last > 0, first, 0), last
