"""The synthetic day: the same bytes everywhere, and a market that a router would recognise."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import pytest

from engine.errors import UsageError
from engine.jit import JIT
from engine.record.records import Flag, Template
from gateways.feeds import synthetic
from gateways.feeds.names import Names, Symbol
from gateways.feeds.recording import Recording, load
from gateways.feeds.synthetic import DAY_NS, OPEN_NS, generate

pytestmark = pytest.mark.kernel

SECOND = 10**9
#: sha256 of the records. They change with synthetic.MODEL_VERSION or the record layout, and with nothing else.
DAY_SHA256 = "c5b370327af979ac66ae3f24a863d32fc1721b9a8c45ad0cba38d08360e5fa57"
SMALL_SHA256 = "1f19ff217bbf98cbb05db03cd1b47f5d42d1d01f8e2fcd0aab1072e1e748e77d"
needs_jit = pytest.mark.skipif(not JIT, reason="a whole day takes ten seconds as plain Python; the small one is tested")


def sha256(day: Recording) -> str:
    return hashlib.sha256(day.data.data).hexdigest()


@pytest.fixture(scope="module")
def day() -> Recording:
    return generate() if JIT else generate(quotes=3_000, trades=1_200, duration_ns=DAY_NS // 33)


def test_a_small_day_has_the_committed_bytes() -> None:
    assert sha256(generate(1, quotes=1_000, trades=400)) == SMALL_SHA256
    assert sha256(generate(2, quotes=1_000, trades=400)) != SMALL_SHA256


@needs_jit
def test_the_default_day_has_the_committed_bytes(day: Recording) -> None:
    assert synthetic.MODEL_VERSION == 1
    assert sha256(day) == DAY_SHA256


def test_counts_and_times_are_what_was_asked_for() -> None:
    day = generate(3, quotes=500, trades=77, start_ns=5 * SECOND, duration_ns=SECOND)
    assert len(day.records(Template.QUOTE)) == 500
    assert len(day.records(Template.TRADE)) == 77
    assert 5 * SECOND <= day.first_ns <= day.last_ns < 6 * SECOND
    assert (np.diff(day.times) > 0).all()


def test_every_book_exists_from_the_start() -> None:
    names = Names.listed(symbols=("AAA", "BBB"))
    day = generate(1, names, quotes=200, trades=50)
    first = day.records(Template.QUOTE)[:24]
    assert len({(int(q["venue_id"]), int(q["instrument_id"])) for q in first}) == 24


def test_the_order_of_the_configuration_does_not_matter() -> None:
    one, other = Names.listed("NYB", ("AA", "BB")), Names.listed("BYN", ("BB", "AA"))
    days = [generate(1, names, quotes=300, trades=100) for names in (one, other)]
    for template in (Template.QUOTE, Template.TRADE):
        a, b = (d.records(template) for d in days)
        assert np.array_equal(np.array(["N", "Y", "B"])[a["venue_id"]], np.array(["B", "Y", "N"])[b["venue_id"]])
        assert np.array_equal(a["instrument_id"], 1 - b["instrument_id"])
        for field in ("ts_event_ns", "stream_seq", *(("bid_px", "ask_qty") if template == Template.QUOTE else ("px",))):
            assert np.array_equal(a[field], b[field]), field


def test_units_are_the_instrument_s_own() -> None:
    coarse, fine = (
        generate(1, Names({"N": 0, "T": 1}, {"XXX": s}), quotes=200, trades=100)
        for s in (Symbol(0, 3), Symbol(0, 6, 2))
    )
    assert np.array_equal(coarse.records(Template.TRADE)["px"] * 1000, fine.records(Template.TRADE)["px"])
    assert np.array_equal(coarse.records(Template.QUOTE)["bid_qty"] * 100, fine.records(Template.QUOTE)["bid_qty"])


def test_quotes_and_trades_are_plausible(day: Recording) -> None:
    quotes, trades = day.records(Template.QUOTE), day.records(Template.TRADE)
    both = (quotes["bid_qty"] > 0) & (quotes["ask_qty"] > 0)
    cents = (quotes["ask_px"] - quotes["bid_px"])[both] // 100
    assert cents.min() >= 1  # no venue crosses itself
    assert np.median(cents[quotes["venue_id"][both] == 0]) == 2
    assert (quotes["bid_px"] % 100 == 0).all()
    assert (quotes["bid_qty"] % 100 == 0).all()
    assert 0.001 < 1 - both.mean() < 0.05
    assert ((quotes["bid_px"] > 0) == (quotes["bid_qty"] > 0)).all()
    odd = trades["qty"] < 100
    assert np.array_equal(odd, trades["flags"] == Flag.ODD_LOT)
    assert 0.2 < odd.mean() < 0.6
    assert 0 < (trades["px"] % 100 != 0).mean() < 0.1
    middle = 1_570_000
    assert abs(np.concatenate([quotes["bid_px"][both], trades["px"]]) - middle).max() < middle // 20
    activity = np.bincount(quotes["venue_id"])
    assert activity[0] == activity.max() > 10 * activity[11] > 0


class Freshness(NamedTuple):
    """Shares of moments: at least two venues are fresh; of those, the best bid is above, or at, the best offer."""

    two: float
    crossed: float
    locked: float
    spread_cents: float


def freshness(day: Recording, stale_ns: int, step_ns: int) -> Freshness:
    """By plain Python, over moments `step_ns` apart: what a router with this staleness would see."""
    quotes = day.records(Template.QUOTE)
    rows = list(zip(*(quotes[f].tolist() for f in ("ts_event_ns", "venue_id", "bid_px", "ask_px")), strict=True))
    seen: dict[int, tuple[int, int, int]] = {}
    at, two, crossed, locked, spreads = 0, 0, 0, 0, []
    moments = range(day.first_ns + step_ns, day.last_ns, step_ns)
    for now in moments:
        while at < len(rows) and rows[at][0] <= now:
            seen[rows[at][1]] = (rows[at][0], rows[at][2], rows[at][3])
            at += 1
        fresh = [(bid, ask) for time, bid, ask in seen.values() if now - time <= stale_ns]
        if len(fresh) >= 2:
            two += 1
            bid, ask = max(b for b, _ in fresh), min(a for _, a in fresh if a > 0)
            crossed += bid > ask
            locked += bid == ask
            spreads.append((ask - bid) / 100)
    return Freshness(two / len(moments), crossed / two, locked / two, float(np.median(spreads)))


@needs_jit
def test_venues_are_fresh_as_often_as_in_the_captured_day(day: Recording) -> None:
    at_1s, at_5s = (freshness(day, s * SECOND, SECOND) for s in (1, 5))
    assert 0.3 < at_1s.two < 0.6  # the (thinned) captured day: 0.23
    assert at_5s.two > 0.9  # 0.70
    for seen in (at_1s, at_5s):
        assert 0.002 < seen.crossed < 0.04  # 0.8 % and 2.1 %
        assert 0.002 < seen.locked < 0.06
        assert 1 <= seen.spread_cents <= 3


@needs_jit
def test_open_and_close_are_busier_and_messages_come_in_bursts(day: Recording) -> None:
    hours = np.bincount((day.times - OPEN_NS) * 26 // DAY_NS)
    assert hours[:2].sum() > 1.5 * hours[12:14].sum()
    assert hours[-1] > 1.5 * hours[13]
    gaps = np.diff(day.times)
    assert np.median(gaps) * 20 < gaps.mean()


def test_a_saved_synthetic_day_loads(tmp_path) -> None:
    day = generate(1, quotes=100, trades=40)
    day.save(tmp_path / "s.day")
    assert sha256(load(tmp_path / "s.day")) == sha256(day)


def test_impossible_parameters_say_what_is_possible() -> None:
    with pytest.raises(UsageError, match="12 quotes are the least"):
        generate(quotes=11)
    with pytest.raises(UsageError, match="16 ns a message"):
        generate(quotes=100, trades=0, duration_ns=100)
    with pytest.raises(UsageError, match="half cents need 3"):
        generate(names=Names.listed(px_decimals=2))
