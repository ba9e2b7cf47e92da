"""The parts of execution quality by hand and by property: spreads, sums, markets in parts, kinds, references."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.io import histogram
from engine.record.records import Flag, OrdType, Template, Tif
from engine.run.config import ConfigError, Instrument
from replay.backtest.quoted import QUOTES
from replay.backtest.tape import touches_of
from replay.quality import rows, sums
from replay.quality.classify import PLACEMENTS, categories, placements, sizes
from replay.quality.events import _answered
from replay.quality.market import Touches, _Asked
from replay.quality.read import Orders, _references
from replay.quality.reference import Reference
from replay.quality.settings import load
from replay.quality.sums import Cell, Columns

BUCKETS, _ = load()


def figures_by_hand(fills, quote, later=()):
    """The row of executions (sign, px in cents, qty), all against one quote in cents."""
    sign, px, qty = (np.array(column, dtype=np.int64) for column in zip(*fills, strict=True))
    columns = Columns(np.zeros(len(px), dtype=np.int64), 1)
    same = np.ones(len(px), dtype=np.int64)
    touches = [Touches(same * bid, same * ask) for bid, ask in later]
    sums.spreads(columns, sign, px, qty, (same * quote[0], same * quote[1]), touches)
    cell = Cell(sums={name: Fraction(value, 100 if name[0] == "v" else 1) for name, value in columns.of(0)})
    return rows.row((), (), cell, BUCKETS).spreads


def test_spreads_by_hand():
    """Market 10.00 to 10.04. 100 bought at 10.03, 300 at 10.04, 100 sold at 9.99 (mid-point 10.02)."""
    s = figures_by_hand([(1, 1003, 100), (1, 1004, 300), (-1, 999, 100)], (1000, 1004), [(1002, 1006)])
    # 2 x (0.01 x 100 + 0.02 x 300 + 0.03 x 100) / 500
    assert s.effective_spread == 0.04
    assert s.quoted_spread == 0.04
    assert s.effective_over_quoted == 1.0
    assert (s.improved_qty, s.at_quote_qty, s.outside_qty) == (100, 300, 100)
    assert (s.improvement, s.disimprovement) == (0.01, 0.01)
    assert s.net_improvement_bps == 0.0
    assert (s.mid_qty, s.near_qty, s.far_qty, s.inside_near_qty, s.inside_far_qty) == (0, 0, 400, 0, 100)
    # Mid-point later 10.04: 2 x (-0.01 x 100 + 0 x 300 + 0.05 x 100) / 500
    assert s.later[0].realized_spread == 0.016
    assert s.later[0].markout_bps == pytest.approx(-4.0 / (10.03 * 100 + 10.04 * 300 + 9.99 * 100) * 1e4)


@pytest.mark.parametrize(
    ("px", "where"),
    [
        (1002, "mid_qty"), (1000, "near_qty"), (999, "near_qty"), (1001, "inside_near_qty"), (1003, "inside_far_qty"),
        (1004, "far_qty"), (1005, "far_qty"),
    ],
)  # fmt: skip
def test_where_a_price_lay(px, where):
    assert getattr(figures_by_hand([(1, px, 7)], (1000, 1004)), where) == 7
    assert getattr(figures_by_hand([(-1, 2004 - px, 7)], (1000, 1004)), where) == 7


def test_without_a_reference_nothing_is_said():
    s = figures_by_hand([(1, 1002, 100)], (0, 0))
    assert (s.qty, s.effective_spread, s.improvement) == (0, None, None)


ints = st.integers(-(1 << 62), 1 << 62)


@given(st.lists(st.tuples(st.integers(0, 3), ints), max_size=30))
def test_sums_are_exact(pairs):
    cell, values = (np.array(column, dtype=np.int64) for column in (zip(*pairs, strict=True) if pairs else ((), ())))
    expected = [sum(v for c, v in pairs if c == n) for n in range(4)]
    assert sums.by_cell(cell, values, 4) == expected
    assert sums.by_cell(cell, values.astype(object), 4) == expected
    assert sums.product(values, values[::-1]).tolist() == [
        a * b for a, b in zip(values.tolist(), values.tolist()[::-1], strict=True)
    ]


@given(st.lists(st.integers(0, histogram.HIGHEST + 10), max_size=50))
def test_times_are_counted_as_histograms_count_them(values):
    counts = histogram.empty()
    for value in values:
        histogram.record(counts, value)
    told = np.bincount(sums.buckets_of(np.array(values, dtype=np.int64)), minlength=histogram.LENGTH)
    assert told[: histogram.COUNTS_LEN].tolist() == counts[: histogram.COUNTS_LEN].tolist()


@settings(max_examples=40)
@given(st.randoms(use_true_random=False))
def test_a_market_in_parts_is_the_market(rnd: random.Random):
    count = rnd.randrange(1, 40)
    quotes = np.zeros(count, dtype=[(name, "<i8") for name in QUOTES.split()])
    quotes["ts_recv_ns"] = np.sort([rnd.randrange(30) for _ in range(count)])
    quotes["venue_id"] = [rnd.randrange(3) for _ in range(count)]
    for name, top in (("bid_px", 6), ("ask_px", 9), ("bid_qty", 3), ("ask_qty", 3)):
        quotes[name] = [rnd.randrange(top) for _ in range(count)]
    quotes["flags"] = [rnd.choice((0, 0, 0, Flag.CLOSED)) for _ in range(count)]
    times, stale_ns = np.array([rnd.randrange(-3, 40) for _ in range(20)]), rnd.randrange(1, 20)
    bid, ask, good = touches_of([quotes[quotes["venue_id"] == v] for v in range(3)], times, stale_ns)
    asked = _Asked(times, 3)
    for lo, hi in pairwise(
        [0, *sorted(rnd.sample(range(1, count), rnd.randrange(count))), count] if count > 1 else [0, 1]
    ):
        asked.take(quotes[lo:hi], stale_ns, int(quotes["ts_recv_ns"][hi - 1]))
    asked.take(quotes[:0], stale_ns, 1 << 60)
    assert asked.bid.tolist() == np.where(good, bid, 0).tolist()
    assert asked.ask.tolist() == np.where(good, ask, 0).tolist()


def orders_of(rows_):
    """Orders of (sign, type, tif, px, qty, bid, ask)."""
    sign, kind, tif, px, qty, bid, ask = (np.array(column, dtype=np.int64) for column in zip(*rows_, strict=True))
    none = np.zeros(len(px), dtype=np.int64)
    return Orders(none, sign, kind, tif, px, qty, none, bid, ask, none, none)


def placed(sign, kind, px, bid, ask):
    """Where a price lies, said plainly."""
    if bid == 0:
        return "none"
    if kind == OrdType.MARKET or (px >= ask if sign > 0 else px <= bid):
        return "far"
    better = (px - Fraction(bid + ask, 2)) * sign
    near = (px - bid) if sign > 0 else (ask - px)
    if better >= 0:
        return "beyond_mid" if better else "mid"
    return "inside" if near > 0 else "near" if near == 0 else "behind"


order_rows = st.tuples(
    st.sampled_from([1, -1]),
    st.sampled_from([OrdType.LIMIT, OrdType.MARKET]),
    st.sampled_from([Tif.DAY, Tif.IOC]),
    st.integers(1, 40),
    st.integers(1, 20_000),
    st.sampled_from([0, 10, 20]),
    st.sampled_from([20, 23, 30]),
)


@given(st.lists(order_rows, min_size=1, max_size=20))
def test_kinds_and_sizes_are_said_plainly(found):
    orders, instruments = orders_of(found), [Instrument(symbol="X", px_decimals=2, lot="100")]
    told = categories(orders, BUCKETS, instruments).tolist()
    for n, (sign, kind, tif, px, qty, bid, ask) in enumerate(found):
        where = placed(sign, kind, px, bid, ask)
        assert PLACEMENTS[placements(orders)[n]] == where
        near = (bid - px if sign > 0 else px - ask) / 100
        names = [
            row.name
            for row in BUCKETS.category
            if (not row.ord_type or OrdType(kind).name in row.ord_type)
            and (not row.tif or Tif(tif).name in row.tif)
            and (not row.placement or where in row.placement)
            and (not row.within or near <= float(row.within) + 1e-12)
        ]
        assert told[n] == ([row.name for row in BUCKETS.category].index(names[0]) if names else len(BUCKETS.category))
        least = [float(row.least_lots) * 100 for row in BUCKETS.size]
        assert sizes(orders, BUCKETS, instruments)[n] == max(k for k, low in enumerate(least) if qty >= low)


def test_reference_counts_what_it_does_not_know(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('[firm]\nlei = "529900T8BM49AURSDO55"\n[fx]\ninto = "EUR"\nrate.USD = "0.5"\n')
    known = Reference.load(path)
    assert known.get("firm", "", "lei") == "529900T8BM49AURSDO55"
    assert known.get("client", "desk/0", "lei") == ""
    assert known.rates(["USD", "EUR", "GBP", "USD"]) == {"USD": Fraction(1, 2), "EUR": 1}
    assert dict(known.missing) == {"client.desk/0.lei": 1, "fx.rate.GBP": 1}
    path.write_text('[firm]\nlei = "529900T8BM49AURSDO56"\n')
    with pytest.raises(ConfigError, match="check digits"):
        Reference.load(path)


def test_a_childs_reference_is_its_own_decisions():
    """Parent 5 is decided on at frames 10, 12 (one input) and 30; parent 7 at 40, its child is of a later input."""
    rows = np.zeros(4, dtype=[(name, "<i8") for name in ("seq", "input_seq", "parent_id", "bid_px", "ask_px")])
    rows["seq"], rows["input_seq"] = [10, 12, 30, 40], [9, 9, 29, 39]
    rows["parent_id"], rows["bid_px"], rows["ask_px"] = [5, 5, 5, 7], [1, 2, 3, 4], [11, 12, 13, 14]
    children = np.zeros(6, dtype=[(name, "<i8") for name in ("seq", "input_seq", "parent_id")])
    children["seq"], children["input_seq"] = [11, 13, 31, 51, 8, 31], [9, 9, 29, 50, 7, 29]
    children["parent_id"] = [5, 5, 5, 7, 5, 6]
    book = SimpleNamespace(found=SimpleNamespace(table=lambda *_: rows), children=children)
    bid, ask = _references(book)  # type: ignore[arg-type]
    assert bid.tolist() == [1, 2, 3, 0, 0, 0]
    assert ask.tolist() == [11, 12, 13, 0, 0, 0]


def test_reports_that_the_engine_refused_are_no_events():
    reports = np.zeros(2, dtype=[(name, "<i8") for name in ("seq", "order_id", "ts_recv_ns", "ts_event_ns")])
    reports["seq"], reports["order_id"] = [20, 22], [3, 3]
    tables = {Template.FILL: reports, Template.REFUSAL: np.array([(22,)], dtype=[("input_seq", "<i8")])}
    book = SimpleNamespace(
        found=SimpleNamespace(table=lambda _, template: tables.get(template, reports[:0])),
        children=np.array([(3,)], dtype=[("order_id", "<i8")]),
    )
    told = np.concatenate(_answered(book, 7))  # type: ignore[arg-type]
    assert told["seq"].tolist() == [20]
    assert told["order"].tolist() == [7]
