"""What becomes of what is left: cancelled back, resting in the engine and woken, posted at a venue, expired."""

from __future__ import annotations

import pytest

from engine.core.state import RESTING
from engine.record.records import Outcome, Reason, Template
from engine.run import config as c
from tests.core.scenes import decision, sent
from tests.core.world import (
    DAY_TIF,
    GTC,
    IOC,
    MS,
    SECOND,
    SELL,
    VENUES,
    World,
    children,
    make_config,
    of,
    reports,
)

pytestmark = pytest.mark.kernel


def test_ioc_remainder_is_cancelled():
    w = World()
    w.offers((0, 10_000, 40))
    (child,) = children(w.new("a", qty=100, tif=IOC))
    outputs = w.fill(child)
    assert reports(outputs) == [("FILL", "a", "F", "1"), ("ACK", "a", "4", "4")]
    last = of(outputs, Template.ACK)[0]
    assert (last.cum_qty, last.leaves_qty, last.reason) == (40, 0, Reason.NOT_MARKETABLE)
    assert (w.counter("qty_filled"), w.counter("qty_canceled")) == (40, 60)


@pytest.mark.parametrize("tif", [DAY_TIF, GTC])
def test_day_order_rests_and_is_woken_by_a_marketable_quote(tif):
    w = World()
    w.offers((0, 10_010, 40))
    note = decision(outputs := w.new("a", qty=100, tif=tif))
    assert note.outcome == Outcome.NOTHING_MARKETABLE
    assert reports(outputs) == [("ACK", "a", "0", "0")]
    assert w.parent("a")[1].phase == RESTING
    assert w.quote(1, 9_900, 1, 10_001, 50) == []
    assert sent(w.quote(1, 9_900, 1, 10_000, 50)) == [(1, 50, 10_000)]


def test_resting_sell_and_market_orders_are_woken_too():
    w = World()
    w.new("sell", side=SELL, px=10_000)
    w.new("market", qty=10, px=0)
    w.quote(0, 9_999, 10, 10_050, 10)
    assert w.parent("market")[1].live_qty == 10
    assert w.parent("sell")[1].live_qty == 0
    assert sent(w.quote(1, 10_000, 25, 10_060, 10)) == [(1, 25, 10_000)]


def test_woken_only_by_a_whole_lot():
    venues = [c.Venue(mic="XA", code="A", session="v1", lot="100")]
    w = World(make_config(venues))
    w.new("a", qty=200)
    assert w.quote(0, 9_900, 1, 10_000, 99) == []
    assert sent(w.quote(0, 9_900, 1, 10_000, 250)) == [(0, 200, 10_000)]


def test_day_order_expires_at_the_end_of_the_day():
    w = World()
    w.new("a")
    w.new("gtc", tif=GTC)
    outputs = w.advance(7 * 3600 * SECOND)
    assert reports(outputs) == [("ACK", "a", "C", "C")]
    assert of(outputs, Template.ACK)[0].reason == Reason.DAY_END
    assert w.counter("parents_expired") == 1
    assert w.parent("gtc")[1].phase == RESTING


def test_expiry_waits_for_children():
    w = World()
    w.advance(6 * 3600 * SECOND + 1800 * SECOND - 100 * MS)
    w.offers((0, 10_000, 100))
    (child,) = children(w.new("a"))
    assert reports(w.advance(100 * MS)) == []
    assert reports(w.done(child)) == [("ACK", "a", "C", "C")]


def test_remainder_is_posted_where_the_configuration_says():
    venues = [VENUES[0], c.Venue(mic="XB", code="B", session="v1", lot="10", make_fee="-0.002"), VENUES[2]]
    w = World(make_config(venues, sweep={"rest": "venue"}))
    w.offers((0, 10_000, 40))
    (child,) = children(w.new("a", qty=105))
    (posted,) = children(w.fill(child))
    assert (posted.venue_id, posted.qty, posted.px, posted.tif, posted.ttl_ms) == (1, 60, 10_000, DAY_TIF, 0)
    w.ack(posted)
    assert w.advance(5 * SECOND) == [], "what rests at a venue is not timed out"
    assert reports(w.fill(posted, 20, liquidity=1)) == [("FILL", "a", "F", "1")]
    assert w.parent("a")[1].fee == -20 * 2_000_000


def test_posting_venue_is_the_one_that_is_named():
    w = World(make_config(sweep={"rest": "venue", "post_venue": "XC"}))
    assert [row.venue_id for row in children(w.new("a"))] == []
    w.quote(0, 9_990, 10, 10_010, 10)
    assert [row.venue_id for row in children(w.new("b"))] == [2]


def test_posted_price_is_on_the_venues_tick():
    tables = [("0", "0.05")]
    venues = [c.Venue(mic="XA", code="A", session="v1", tick_table="cents")]
    own = [c.Instrument(symbol="AAA", px_decimals=2)]
    w = World(make_config(venues, own, sweep={"rest": "venue"}, tick_rows=tables))
    w.quote(0, 9_000, 1, 11_000, 1)
    assert [row.px for row in children(w.new("a", px=10_003))] == [10_000]
    assert [row.px for row in children(w.new("b", side=SELL, px=10_003))] == [10_005]


def test_what_a_venue_keeps_giving_back_rests_in_the_engine_at_last():
    w = World(make_config(sweep={"rest": "venue", "max_rounds": 2}))
    w.quote(0, 9_990, 10, 10_010, 10)
    outputs = w.new("a")
    posts = 0
    while children(outputs):
        (child,) = children(outputs)
        w.ack(child)
        outputs = w.done(child)
        posts += 1
        assert posts < 10
    assert posts == 3
    assert w.parent("a")[1].phase == RESTING


def test_posting_goes_nowhere_when_the_session_is_down():
    w = World(make_config(sweep={"rest": "venue", "post_venue": "XC"}))
    w.quote(0, 9_990, 10, 10_010, 10)
    w.silent(w.venue_session(2))
    assert children(w.new("a")) == []
    assert w.parent("a")[1].phase == RESTING


def test_what_is_posted_displays_what_its_order_does_in_whole_lots():
    venues = [c.Venue(mic="XA", code="A", session="v1", lot="10")]
    w = World(make_config(venues, sweep={"rest": "venue"}))
    w.offers((0, 10_000, 30))
    (child,) = children(w.new("a", qty=100, display_qty=25))
    assert (child.tif, child.display_qty) == (IOC, 0)
    (posted,) = children(w.fill(child))
    assert (posted.qty, posted.display_qty) == (70, 20)
    w.offers((0, 10_100, 30))
    assert [row.display_qty for row in children(w.new("small", qty=100, display_qty=5))] == [10], "a lot at the least"


def test_an_order_again_with_another_display_quantity_is_another_order():
    w = World()
    w.new("a", qty=100, display_qty=20)
    assert reports(w.new("a", qty=100, display_qty=20)) == [("ACK", "a", "I", "0")]
    assert reports(w.new("a", qty=100, display_qty=30)) == [("REJECT", "a", "8", "8")]


def test_quotes_of_a_venue_that_cannot_be_reached_wake_nobody():
    w = World()
    w.new("a", qty=100)
    w.silent(w.venue_session(0))
    assert w.quote(0, 9_900, 1, 10_000, 40) == []
    outputs = w.on_session(Template.SESSION_UP, w.venue_session(0))
    assert sent(outputs) == [(0, 40, 10_000)], "its session came up, and the quote is fresh"


def test_a_session_that_says_hello_twice_wakes_nobody_again():
    w = World()
    w.quote(0, 9_900, 100, 10_100, 100)
    w.new("a", qty=100, min_qty=60)
    assert decision(w.quote(0, 9_900, 1, 10_000, 40)).outcome == Outcome.NOT_ENOUGH_FOR_MIN_QTY
    assert of(w.on_session(Template.SESSION_UP, w.venue_session(0)), Template.DECISION) == []
