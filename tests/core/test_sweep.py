"""The sweep workflow: which venues are taken, how much, in which order, how often, and what becomes of the rest."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.state import RESTING
from engine.record.records import ExecType, OrdStatus, Outcome, Reason, Template, Tif
from engine.run import config as c
from tests.core.scenes import decision, sent
from tests.core.world import (
    BUY,
    FOK,
    IOC,
    MS,
    SELL,
    SHORT,
    VENUES,
    World,
    children,
    kinds,
    make_config,
    of,
    reports,
)

pytestmark = pytest.mark.kernel


def test_takes_the_cheapest_first_and_no_more_than_is_left():
    w = World()
    w.offers((0, 10_002, 50), (1, 10_000, 30), (2, 10_001, 40))
    outputs = w.new("a", qty=100, px=10_002)
    assert kinds(outputs) == ["ACK", "DECISION", *["ORDER_NEW"] * 3]
    assert sent(outputs) == [(1, 30, 10_000), (2, 40, 10_001), (0, 30, 10_002)]
    note = decision(outputs)
    assert (note.leaves_qty, note.routed_qty, note.venues_used, note.venue_mask) == (100, 100, 3, 0b111)
    assert (note.fresh_venues, note.stale_venues, note.round_no, note.outcome) == (3, 0, 1, Outcome.ROUTED)
    assert (note.bid_px, note.ask_px) == (9_900, 10_000)
    assert note.best_net == 10_000 * 10**7
    assert note.worst_net == 10_002 * 10**7
    for order in children(outputs):
        assert order.tif == IOC
        assert order.ttl_ms == 500
        assert order.parent_id == of(outputs, Template.ACK)[0].order_id


@pytest.mark.parametrize("side", [SELL, SHORT])
def test_sells_to_the_highest_bid(side):
    w = World()
    w.quote(0, 10_000, 50, 10_100, 1)
    w.quote(1, 10_003, 20, 10_100, 1)
    outputs = w.new("a", side=side, qty=60, px=9_999)
    assert sent(outputs) == [(1, 20, 10_003), (0, 40, 10_000)]


def test_limit_holds():
    w = World()
    w.offers((0, 10_002, 50), (1, 10_000, 30))
    assert sent(w.new("a", qty=100, px=10_001, tif=IOC)) == [(1, 30, 10_000)]


def test_market_order_takes_at_any_price():
    w = World()
    w.offers((0, 12_000, 50), (1, 10_000, 30))
    assert sent(w.new("a", qty=60, px=0, tif=IOC)) == [(1, 30, 10_000), (0, 30, 12_000)]


def test_fees_decide_between_equal_prices():
    venues = [VENUES[0], c.Venue(mic="XB", code="B", session="v1", take_fee="0.0030"), VENUES[2]]
    venues[2] = c.Venue(mic="XC", code="C", session="v2", take_fee="-0.0010")
    w = World(make_config(venues))
    w.offers((0, 10_000, 10), (1, 10_000, 10), (2, 10_000, 10))
    outputs = w.new("a", qty=30)
    assert [venue for venue, _, _ in sent(outputs)] == [2, 0, 1]
    note = decision(outputs)
    assert (note.best_net, note.worst_net) == (10**11 - 10**6, 10**11 + 3 * 10**6)


def test_fee_on_the_notional_can_beat_a_better_price():
    venues = [c.Venue(mic="XA", code="A", session="v1", take_bps="2"), VENUES[1]]
    w = World(make_config(venues))
    w.offers((0, 10_000, 10), (1, 10_001, 10))
    assert [venue for venue, _, _ in sent(w.new("a", qty=20, px=10_001))] == [1, 0], "0.02 % of 100.00 is two cents"


def test_fee_is_of_a_coin_whatever_its_decimals():
    # A fee of 1 a coin must outweigh half a price unit more; counted a quantity unit it would vanish.
    coin = c.Instrument(symbol="BTC", px_decimals=2, qty_decimals=6, lot="0.001")
    venues = [c.Venue(mic="XA", code="A", session="v1", take_fee="1", lot="0.001")]
    venues.append(c.Venue(mic="XB", code="B", session="v1", lot="0.001"))
    w = World(make_config(venues, [coin], risk={"max_qty": "10", "max_notional": "1000000"}))
    w.offers((0, 10_000, 10**6), (1, 10_050, 10**6))
    outputs = w.new("a", qty=2 * 10**6, px=10_100, tif=IOC)
    assert sent(outputs) == [(1, 10**6, 10_050), (0, 10**6, 10_000)]
    one, other = children(outputs)
    w.fill(one)
    w.fill(other)
    assert int(w.parent("a")[1].fee) == 10**9, "one coin at 1 each"


def test_ties_break_by_size_then_mic_whatever_the_order_of_the_configuration():
    for order in itertools.permutations(range(3)):
        w = World(make_config([VENUES[n] for n in order]))
        place = {mic: order.index(n) for n, mic in enumerate(("XA", "XB", "XC"))}
        w.offers((place["XB"], 10_000, 20), (place["XA"], 10_000, 10), (place["XC"], 10_000, 10))
        names = [w.config.venue[venue].mic for venue, _, _ in sent(w.new("a", qty=40))]
        assert names == ["XB", "XA", "XC"]


def test_lots_are_respected():
    venues = [c.Venue(mic="XA", code="A", session="v1", lot="100"), VENUES[1]]
    w = World(make_config(venues))
    w.offers((0, 10_000, 250), (1, 10_001, 500))
    assert sent(w.new("a", qty=270, px=10_001)) == [(0, 200, 10_000), (1, 70, 10_001)]


def test_odd_lots_only_where_both_sides_deal_in_them():
    odd = c.Instrument(symbol="ODD", px_decimals=2, lot="100", odd_lots=True)
    venues = [VENUES[0], c.Venue(mic="XB", code="B", session="v1", lot="100", odd_lots=True)]
    w = World(make_config(venues, [odd]))
    w.offers((0, 10_000, 300), (1, 10_001, 300))
    assert sent(w.new("a", qty=130, px=10_001)) == [(0, 100, 10_000), (1, 30, 10_001)]


def test_stale_quotes_are_not_routed_to():
    w = World()
    w.offers((0, 10_000, 50))
    w.advance(600 * MS)
    w.offers((1, 10_001, 50))
    w.advance(401 * MS)
    note = decision(outputs := w.new("a", qty=100, px=10_001))
    assert sent(outputs) == [(1, 50, 10_001)]
    assert (note.fresh_venues, note.stale_venues) == (1, 1)
    assert note.ask_px == 10_001, "the market is of fresh quotes, now"
    assert w.parent("a")[1].arrival_ask_px == 10_001


def test_quote_is_fresh_up_to_its_limit():
    w = World()
    w.offers((0, 10_000, 50))
    w.advance(1000 * MS)
    assert sent(w.new("a", qty=10)) == [(0, 10, 10_000)]
    w.advance(1)
    assert decision(w.new("b", qty=10, tif=IOC)).outcome == Outcome.NO_FRESH_VENUE


def test_displayed_shares_are_promised_once():
    w = World()
    w.offers((0, 10_000, 100), (1, 10_001, 100))
    assert sent(w.new("a", qty=70, px=10_001)) == [(0, 70, 10_000)]
    assert sent(w.new("b", qty=70, px=10_001)) == [(0, 30, 10_000), (1, 40, 10_001)]
    w.offers((0, 10_000, 100))
    assert sent(w.new("c", qty=70, px=10_001)) == [(0, 70, 10_000)], "the venue's next quote is what is there"


def test_remainder_is_routed_again_and_rounds_are_bounded():
    w = World()
    w.offers((0, 10_000, 100))
    outputs = w.new("a", qty=100, tif=IOC)
    for number in (1, 2, 3):
        (child,) = children(outputs)
        assert decision(outputs).round_no == number
        w.offers((0, 10_000, 100))
        outputs = w.done(child)
    assert decision(outputs).outcome == Outcome.ROUNDS_EXHAUSTED
    assert reports(outputs) == [("ACK", "a", "4", "4")]
    assert of(outputs, Template.ACK)[0].reason == Reason.ROUNDS_EXHAUSTED


def test_partial_fill_is_routed_again_on_the_books_as_they_are_then():
    w = World()
    w.offers((0, 10_000, 100))
    (child,) = children(w.new("a", qty=100, px=10_001))
    w.offers((1, 10_001, 500))
    w.fill(child, 40)
    assert sent(w.done(child, cum=40)) == [(1, 60, 10_001)]


def test_reject_excludes_the_venue_for_the_episode():
    w = World()
    w.offers((0, 10_000, 100), (1, 10_001, 100))
    (child,) = children(w.new("a", qty=100, px=10_001))
    w.offers((0, 10_000, 100))
    (other,) = children(outputs := w.reject(child))
    assert sent(outputs) == [(1, 100, 10_001)]
    w.done(other)
    assert w.parent("a")[1].phase == RESTING
    assert sent(w.quote(0, 9_900, 1, 10_000, 100)) == [(0, 100, 10_000)], "a new episode forgets it"


def test_fill_or_kill_goes_when_all_is_there():
    w = World()
    w.offers((0, 10_000, 60), (1, 10_000, 50))
    assert sent(w.new("a", qty=110, tif=FOK)) == [(0, 60, 10_000), (1, 50, 10_000)]


def test_fill_or_kill_is_killed_when_too_little_is_there():
    w = World()
    w.offers((0, 10_000, 60), (1, 10_000, 50))
    outputs = w.new("a", qty=111, tif=FOK)
    assert decision(outputs).outcome == Outcome.NOT_ENOUGH_FOR_FOK
    assert reports(outputs) == [("ACK", "a", "0", "0"), ("ACK", "a", "4", "4")]
    assert of(outputs, Template.ACK)[1].reason == Reason.FOK_NOT_FILLABLE


def test_fill_or_kill_counts_what_lots_let_it_take():
    venues = [c.Venue(mic=mic, code=mic, session="v1", lot="100") for mic in ("XA", "XB")]
    w = World(make_config(venues))
    w.offers((0, 10_000, 100), (1, 10_000, 100))
    outputs = w.new("a", qty=150, tif=FOK)
    assert decision(outputs).outcome == Outcome.NOT_ENOUGH_FOR_FOK, "200 are shown, but 150 cannot be had in hundreds"


def test_fill_or_kill_is_not_routed_twice():
    w = World()
    w.offers((0, 10_000, 100))
    (child,) = children(w.new("a", tif=FOK))
    w.offers((0, 10_000, 100))
    outputs = w.done(child)
    assert children(outputs) == []
    assert reports(outputs) == [("ACK", "a", "4", "4")]


def test_min_qty_takes_nothing_where_less_is_displayed():
    w = World()
    w.offers((0, 10_000, 60), (1, 10_000, 50))
    outputs = w.new("a", qty=200, tif=IOC, min_qty=111)
    assert decision(outputs).outcome == Outcome.NOT_ENOUGH_FOR_MIN_QTY
    assert of(outputs, Template.ACK)[1].reason == Reason.MIN_QTY_NOT_FILLABLE
    outputs = w.new("b", qty=200, tif=IOC, min_qty=110)
    assert sent(outputs) == [(0, 60, 10_000), (1, 50, 10_000)]
    assert [row.min_qty for row in children(outputs)] == [0, 0], "no venue of two can hold to it"


def test_min_qty_is_held_by_the_one_venue_that_has_it():
    w = World()
    w.offers((0, 10_000, 60))
    (child,) = children(w.new("a", qty=200, tif=IOC, min_qty=50))
    assert (child.qty, child.min_qty) == (60, 50)
    w.offers((0, 10_000, 40))
    (rest,) = children(w.fill(child))
    assert (rest.qty, rest.min_qty) == (40, 0), "what was executed is its minimum already"


def test_min_qty_rests_in_the_engine_until_that_much_is_displayed():
    w = World(make_config(sweep={"rest": "venue"}))
    w.quote(0, 9_900, 100, 10_100, 100)
    assert children(w.new("a", qty=100, min_qty=50)) == []
    assert w.parent("a")[1].phase == RESTING
    assert decision(w.quote(0, 9_900, 100, 10_000, 49)).outcome == Outcome.NOT_ENOUGH_FOR_MIN_QTY
    (child,) = children(w.quote(0, 9_900, 100, 10_000, 50))
    assert (child.qty, child.min_qty) == (50, 50)
    (posted,) = children(w.fill(child))
    assert (posted.tif, posted.qty, posted.min_qty) == (Tif.DAY, 50, 0)


def test_no_more_venues_than_a_turn_has_room_for():
    venues = [c.Venue(mic=f"X{n:02}", code=f"{n}", session="v1") for n in range(20)]
    w = World(make_config(venues))
    w.offers(*[(n, 10_000, 10) for n in range(20)])
    assert decision(w.new("fok", qty=150, tif=FOK)).outcome == Outcome.NOT_ENOUGH_FOR_FOK
    outputs = w.new("a", qty=200)
    assert sent(outputs) == [(n, 10, 10_000) for n in range(14)]


def test_venue_whose_session_is_down_is_passed_over():
    w = World()
    w.offers((2, 10_000, 100), (0, 10_001, 100))
    w.silent(w.venue_session(2))
    note = decision(outputs := w.new("a", px=10_001))
    assert sent(outputs) == [(0, 100, 10_001)]
    assert note.fresh_venues == 2


@pytest.mark.parametrize("reopened", [False, True])
def test_halted_instrument_is_not_routed_until_it_is_open_and_quoted(reopened):
    w = World()
    w.offers((0, 10_000, 100))
    w.feed(Template.INSTRUMENT_STATUS, 0, instrument_id=0, status=1)
    w.offers((0, 10_000, 100))
    assert decision(w.new("a", tif=IOC)).fresh_venues == 0
    w.feed(Template.INSTRUMENT_STATUS, 0, instrument_id=0, status=0)
    assert decision(w.new("b", tif=IOC)).fresh_venues == 0
    if reopened:
        w.offers((0, 10_000, 100))
        assert sent(w.new("c", tif=IOC)) == [(0, 100, 10_000)]


@pytest.mark.parametrize("kind", ["gap", "restart", "clear", "clear all", "crossed", "closed"])
def test_quotes_that_cannot_be_trusted_are_not_routed_to(kind):
    w = World()
    w.offers((0, 10_000, 100))
    if kind == "gap":
        w.number("feed", 0)
        w.feed(Template.TRADE, 0, instrument_id=0, px=1, qty=1)
    elif kind == "restart":
        w.feed(Template.TRADE, 0, instrument_id=0, px=1, qty=1, stream_epoch=2, stream_seq=1)
    elif kind == "clear":
        w.feed(Template.CLEAR, 0, instrument_id=0)
    elif kind == "clear all":
        w.feed(Template.CLEAR, 0, instrument_id=-1)
    elif kind == "crossed":
        w.quote(0, 10_001, 100, 10_000, 100)
        assert w.counter("crossed_quotes") == 1
    else:
        w.quote(0, 9_900, 100, 10_000, 100, flags=2)
    note = decision(w.new("a", tif=IOC))
    assert (note.fresh_venues, note.stale_venues) == (0, 1)
    assert (note.bid_px, note.ask_px) == (0, 0)


# ---- against brute force


@given(
    st.lists(st.tuples(st.integers(9_990, 10_010), st.integers(1, 4)), min_size=1, max_size=4),
    st.lists(st.sampled_from(["0", "0.0030", "-0.0020", "0.01"]), min_size=4, max_size=4),
    st.integers(1, 8),
    st.integers(9_990, 10_010),
    st.sampled_from([BUY, SELL]),
)
@settings(max_examples=60)
def test_greedy_is_as_cheap_as_brute_force(books, fees, qty, limit_px, side):
    """With one lot for all, no other split of as much is cheaper after fees (or brings more)."""
    venues = [
        c.Venue(mic=f"X{n}", code=f"{n}", session="v1", take_fee=fee, lot="100")
        for n, fee in zip(range(len(books)), fees, strict=False)
    ]
    w = World(make_config(venues, risk={"collar_bps": 10_000}), check=False)
    for n, (px, lots) in enumerate(books):
        both = (px, 100 * lots, px + 2_000, 1) if side == SELL else (px - 2_000, 1, px, 100 * lots)
        w.quote(n, *both)
    outputs = w.new("a", side=side, qty=100 * qty, px=limit_px, tif=IOC)
    worth = {
        n: Decimal(px) / 100 + Decimal(fee) * (1 if side == BUY else -1)
        for n, ((px, _), fee) in enumerate(zip(books, fees, strict=False))
    }
    allowed = [lots if (px <= limit_px if side == BUY else px >= limit_px) else 0 for px, lots in books]
    got = {n: size // 100 for n, size, _ in sent(outputs)}
    splits = [split for split in itertools.product(*(range(most + 1) for most in allowed)) if sum(split) <= qty]
    most = max(sum(split) for split in splits)
    assert sum(got.values()) == most, "as much as limit and display allow"
    costs = [sum(worth[n] * size for n, size in enumerate(split)) for split in splits if sum(split) == most]
    mine = sum(worth[n] * size for n, size in got.items())
    assert mine == (min(costs) if side == BUY else max(costs))
    assert ExecType.CANCELED in {row.exec_type for row in of(outputs, Template.ACK)} or got
    assert OrdStatus.NEW in {row.ord_status for row in of(outputs, Template.ACK)}
