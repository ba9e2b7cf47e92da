"""Text, ticks, ids, currencies and days: exact both ways, refused with a reason, the same jitted and not."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.record import units as u
from engine.record.records import Template, blank
from engine.record.wide import INT64_MAX

pytestmark = pytest.mark.kernel

int63 = st.integers(-INT64_MAX, INT64_MAX)


@given(int63, st.integers(0, u.MAX_DECIMALS))
def test_text_and_back(units, decimals):
    text = u.from_units(units, decimals)
    assert u.to_units(text, decimals) == units
    assert Decimal(text) == Decimal(units).scaleb(-decimals)


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=6), st.integers(0, 9))
def test_units_are_exact_or_refused(value, decimals):
    text = f"{value:f}"
    scaled = value.scaleb(decimals)
    if scaled == scaled.to_integral_value():
        assert u.to_units(text, decimals) == int(scaled)
    else:
        with pytest.raises(u.UnitError, match="decimals"):
            u.to_units(text, decimals)


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [("157.0150", 4, 1570150), ("157", 4, 1570000), ("-0.0001", 4, -1), ("+1.50", 1, 15), ("0", 0, 0), ("007.0", 0, 7)],
)
def test_examples(text, decimals, units):
    assert u.to_units(text, decimals) == units


@pytest.mark.parametrize(
    ("text", "decimals", "said"),
    [
        ("157.01505", 4, "limit '157.01505' has 5 decimals, and 4 can be held"),
        ("1e3", 4, "no decimal number"),
        (".5", 4, "no decimal number"),
        ("5.", 4, "no decimal number"),
        ("", 4, "no decimal number"),
        ("1_000", 4, "no decimal number"),
        (" 1", 4, "no decimal number"),
        ("1\n", 4, "no decimal number"),
        ("١٢", 4, "no decimal number"),
        ("nan", 4, "no decimal number"),
        ("9223372036.854775808", 9, "9223372036.854775807 is the most"),
        ("9" * 39, 0, "too large"),
        ("9" * 5000, 0, "no decimal number"),
    ],
)
def test_refused_text(text, decimals, said):
    with pytest.raises(u.UnitError, match=said) as caught:
        u.to_units(text, decimals, "limit")
    assert len(str(caught.value)) < 200


@given(int63, st.integers(0, 4))
def test_money_text(money, decimals):
    text = u.from_money(money, decimals)
    assert u.to_money(text) == money
    _, _, fraction = text.partition(".")
    assert len(fraction) >= decimals
    assert len(fraction) == decimals or not fraction.endswith("0")


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 9), st.integers(0, 9), st.integers(1, 1000))
def test_money_factors(px, qty, px_decimals, qty_decimals, multiplier):
    mul, div = u.money_factors(px_decimals, qty_decimals, multiplier)
    exact = Decimal(px).scaleb(-px_decimals) * Decimal(qty).scaleb(-qty_decimals) * multiplier
    assert px * qty * mul // div == int(exact.scaleb(u.MONEY_DECIMALS))


@given(st.integers(1, 10**12), st.integers(0, 9), st.integers(0, 9), st.integers(1, 1000))
def test_largest_px_is_the_largest(max_qty, px_decimals, qty_decimals, multiplier):
    px = u.largest_px(max_qty, px_decimals, qty_decimals, multiplier)
    mul, _ = u.money_factors(px_decimals, qty_decimals, multiplier)
    assert u.products_fit(px, max_qty, mul)
    assert not u.products_fit(px + 1, max_qty, mul)


def test_currency():
    assert u.unpack_currency(u.pack_currency("USD")) == "USD"
    row = blank(Template.INSTRUMENT_DEF)
    row["currency"] = u.pack_currency("EUR")
    assert row["currency"].tobytes() == b"EUR\0"
    for code in ("usd", "US", "USDT", "ÄÖÜ", ""):
        with pytest.raises(u.UnitError, match="ISO 4217"):
            u.pack_currency(code)


def test_trading_day():
    assert u.trading_day("1970-01-01") == 0
    assert u.trading_day("2018-01-02") == 17533
    assert u.day_text(17533) == "2018-01-02"
    assert u.trading_day(u.day_text(u.MAX_DAY)) == u.MAX_DAY
    today = datetime.datetime.now(datetime.UTC).date()
    assert abs(u.trading_day("") - (today - datetime.date(1970, 1, 1)).days) <= 1
    for text, said in (
        ("2018-02-30", "YYYY-MM-DD"),
        ("1969-12-31", "1970-01-01 to 2149-06-06"),
        ("2149-06-07", "2149"),
    ):
        with pytest.raises(u.UnitError, match=said):
            u.trading_day(text)


@given(st.integers(0, u.MAX_SHARD), st.integers(0, u.MAX_DAY), st.integers(0, u.MAX_COUNTER))
def test_order_id_parts(shard, day, counter):
    identifier = u.order_id(shard, day, counter)
    assert 0 <= identifier <= INT64_MAX
    assert (u.shard_of(identifier), u.day_of(identifier), u.counter_of(identifier)) == (shard, day, counter)
    assert identifier == shard * 2**56 + day * 2**40 + counter


def table_of(*rows):
    return np.array([tuple(row) for row in rows], dtype=u.TICK_ROW).view(np.recarray)


TABLES = table_of((0, 0, 1), (0, 10_000, 100), (1, 0, 5), (1, 100, 10), (1, 1000, 50), (0, 0, 0))


def slow_tick(rows, table, px):
    mine = [(int(r["from_px"]), int(r["tick_px"])) for r in rows if r["table"] == table and r["tick_px"] > 0]
    return next((tick for start, tick in sorted(mine, reverse=True) if start <= px), 0)


@given(st.integers(0, 2), st.integers(-10, 20_000))
def test_ticks_against_the_slow_way(table, px):
    tick = slow_tick(TABLES, table, px)
    assert u.tick_of(TABLES, table, px) == tick
    assert u.on_tick(TABLES, table, px) == (tick == 0 or px % tick == 0)
    down, up = u.tick_down(TABLES, table, px), u.tick_up(TABLES, table, px)
    assert down <= px <= up
    assert u.on_tick(TABLES, table, down)
    assert u.on_tick(TABLES, table, up)
    assert up - down in (0, tick)


def test_a_price_below_every_row_is_free():
    rows = table_of((0, 100, 10))
    assert u.tick_of(rows, 0, 99) == 0
    assert u.on_tick(rows, 0, 99)
    assert u.tick_of(rows, 0, 100) == 10
