"""Our own resting orders in the sizes that a venue shows: what is ours there is not routed to."""

from __future__ import annotations

import pytest

from engine.record.records import Outcome, Side
from engine.run import config as c
from tests.core.scenes import decision, sent
from tests.core.world import GTC, IOC, SECOND, SELL, World, children, make_config

pytestmark = pytest.mark.kernel


def world(shows_own=True, lot="1"):
    venues = [
        c.Venue(mic="XA", code="A", session="v1", lot=lot, shows_own=shows_own),
        c.Venue(mic="XB", code="B", session="v2", lot=lot),
    ]
    return World(make_config(venues, sweep={"rest": "venue", "post_venue": "XA"}))


def rests(w, name, px, qty, side=SELL, **more):
    """An order of ours that rests at XA, acknowledged."""
    (child,) = children(w.new(name, side=side, px=px, qty=qty, tif=GTC, **more))
    assert child.tif != IOC
    w.ack(child)
    return child


def test_what_is_ours_is_not_taken():
    w = world()
    w.quote(0, 9_990, 10, 10_050, 10)
    rests(w, "mine", 10_010, 60)
    w.quote(0, 9_990, 10, 10_010, 100)
    assert sent(w.new("a", px=10_010, qty=100, tif=IOC)) == [(0, 40, 10_010)]


def test_where_all_is_ours_there_is_nothing():
    w = world()
    w.quote(0, 9_990, 10, 10_050, 10)
    rests(w, "mine", 10_010, 60)
    w.quote(0, 9_990, 10, 10_010, 60)
    assert decision(w.new("a", px=10_010, qty=100, tif=IOC)).outcome == Outcome.NOTHING_MARKETABLE
    w.quote(0, 9_990, 10, 10_010, 30)  # the venue has executed some of it, and we do not know it yet
    assert decision(w.new("b", px=10_010, qty=100, tif=IOC)).outcome == Outcome.NOTHING_MARKETABLE


def test_bids_too_and_at_their_own_price_alone():
    w = world()
    w.quote(0, 9_900, 10, 10_050, 10)
    rests(w, "mine", 9_990, 60, side=Side.BUY)
    rests(w, "deeper", 9_980, 500, side=Side.BUY)
    w.quote(0, 9_990, 100, 10_050, 10)
    assert sent(w.new("a", side=SELL, px=9_990, qty=100, tif=IOC)) == [(0, 40, 9_990)]


def test_what_is_hidden_of_it_is_not_in_the_quote():
    w = world()
    w.quote(0, 9_990, 10, 10_050, 10)
    rests(w, "mine", 10_010, 500, display_qty=60)
    w.quote(0, 9_990, 10, 10_010, 100)
    assert sent(w.new("a", px=10_010, qty=100, tif=IOC)) == [(0, 40, 10_010)]


def test_what_was_executed_or_ended_is_not_ours_in_the_next_quote():
    w = world()
    w.quote(0, 9_990, 10, 10_050, 10)
    child = rests(w, "mine", 10_010, 60)
    w.fill(child, qty=20)
    w.quote(0, 9_990, 10, 10_010, 100)
    assert sent(w.new("a", px=10_010, qty=100, tif=IOC)) == [(0, 60, 10_010)]
    w.cancel("mine")
    w.done(child)
    w.quote(0, 9_990, 10, 10_010, 100)
    assert sent(w.new("b", px=10_010, qty=100, tif=IOC)) == [(0, 100, 10_010)]


def test_a_venue_whose_quotes_have_it_not_is_taken_whole():
    w = world(shows_own=False)
    w.quote(0, 9_990, 10, 10_050, 10)
    rests(w, "mine", 10_010, 60)
    w.quote(0, 9_990, 10, 10_010, 100)
    assert sent(w.new("a", px=10_010, qty=100, tif=IOC)) == [(0, 100, 10_010)]


def test_an_order_that_rests_in_the_engine_is_not_woken_by_our_own():
    w = world()
    w.silent(w.venue_session(0))
    w.quote(1, 9_990, 10, 10_050, 10)
    assert children(w.new("waits", px=10_010, qty=100, tif=GTC)) == []
    w.up(w.venue_session(0))
    w.quote(0, 9_990, 10, 10_050, 10)
    rests(w, "mine", 10_010, 60)
    assert sent(w.quote(0, 9_990, 10, 10_010, 60)) == []
    assert sent(w.quote(0, 9_990, 10, 10_010, 90)) == [(0, 30, 10_010)]
    w.advance(SECOND)
