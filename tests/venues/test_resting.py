"""Orders that rest beside quotes: what is before them, who waited for a market to be there, what a replace keeps."""

from __future__ import annotations

import pytest

from engine.record.records import Liquidity, Reason, Side, Template, Tif
from engine.run.config import Simulation
from tests.venues.test_exchange import MS, Venues, brief, replace, trade
from tests.venues.world import config, order, quote, record

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(("queue", "filled"), [("worst", []), ("proportional", ["FILL F1 5@100 5+15"])])
def test_nothing_is_displayed_before_an_order_that_is_better_than_the_touch(queue, filled):
    venues = Venues(config(Simulation(orders=8, queue=queue)))
    venues.send(quote(100, 50, 110, 30), order(1, 100, 20, tif=Tif.DAY))
    assert venues.send(quote(0, 0, 110, 30), trade(100, 5)) == [], "a side that is void says nothing"
    assert brief(venues.send(quote(99, 40, 110, 30), trade(100, 5))) == filled


def test_a_touch_that_comes_back_smaller_has_no_more_before_an_order():
    venues = Venues(config(Simulation(orders=8, queue="proportional")))
    venues.send(quote(100, 50, 110, 30), order(1, 100, 20, tif=Tif.DAY))
    assert brief(venues.send(quote(101, 9, 110, 30), quote(100, 8, 110, 30), trade(100, 10))) == ["FILL F1 2@100 2+18"]


@pytest.mark.parametrize("queue", ["worst", "proportional"])
def test_a_touch_that_jumps_past_an_order_leaves_nothing_before_it(queue):
    venues = Venues(config(Simulation(orders=8, queue=queue)))
    venues.send(quote(100, 50, 110, 30), order(1, 98, 20, tif=Tif.DAY))
    assert brief(venues.send(quote(97, 40, 110, 30), trade(98, 5))) == ["FILL F1 5@98 5+15"]


def test_an_order_that_waited_for_the_market_takes():
    """At what is shown then, not at its limit; what is left of it rests, and is filled at its limit from then on."""
    venues = Venues()
    venues.send(order(1, 110, 50, tif=Tif.DAY), quote(99, 50, 0, 0, 5 * MS))
    (taken,) = venues.send(quote(99, 50, 100, 30))
    assert brief([taken]) == ["FILL F1 30@100 30+20"]
    assert taken.liquidity == Liquidity.REMOVED
    (added,) = venues.send(quote(99, 50, 98, 40))
    assert brief([added]) == ["FILL F2 20@110 50+0"]
    assert added.liquidity == Liquidity.ADDED


def test_an_order_that_waited_out_a_void_book_takes():
    venues = Venues()
    venues.send(quote(99, 50, 101, 30), record(Template.CLEAR), order(1, 90, 20, tif=Tif.GTC, side=Side.SELL))
    assert brief(venues.send(quote(99, 50, 101, 30))) == ["FILL F2 20@99 20+0"]


def test_an_order_that_waited_and_would_not_execute_rests():
    venues = Venues()
    venues.send(order(1, 100, 50, tif=Tif.DAY), quote(99, 50, 101, 30, 5 * MS))
    assert brief(venues.send(quote(98, 50, 99, 10))) == ["FILL F1 10@100 10+40"]


def test_a_post_only_order_that_waited_never_takes():
    venues = Venues()
    venues.send(order(1, 110, 50, tif=Tif.DAY, flags=2), order(2, 98, 50, tif=Tif.DAY, flags=2))
    (report,) = venues.send(quote(99, 50, 100, 30))
    assert (report.order_id, chr(report.ord_status), report.reason) == (1, "4", Reason.CROSSED_QUOTE)


def test_replace_to_less_keeps_the_place():
    venues = Venues()
    venues.send(quote(99, 50, 101, 30), order(1, 99, 20, tif=Tif.DAY), trade(99, 30, 5 * MS))
    assert brief(venues.send(replace(1, 99, 10, tif=Tif.DAY))) == ["ACK 50 0@99 0+10"]
    assert brief(venues.send(trade(99, 25, 30 * MS))) == ["FILL F1 5@99 5+5"]


def test_replace_has_a_least_and_a_displayed_quantity_of_its_own():
    venues, first = Venues(), order(1, 98, 60, tif=Tif.DAY)
    venues.send(quote(99, 50, 100, 30), first)
    assert brief(venues.send(replace(1, 100, 60, tif=Tif.DAY, min_qty=31))) == ["ACK 50 0@100 0+60"]
    assert brief(venues.send(first)) == ["ACK I0 0@100 0+60"], "the same order again is known"
    assert brief(venues.send(replace(1, 99, 60, tif=Tif.DAY, display_qty=10))) == ["ACK 50 0@99 0+60"]
    told = venues.send(trade(99, 55, 60 * MS), trade(99, 20, 60 * MS))
    assert brief(told) == ["FILL F1 5@99 5+55", "FILL F1 5@99 10+50"]


def test_replace_to_show_less_keeps_the_place():
    venues = Venues()
    venues.send(quote(99, 50, 101, 30), order(1, 99, 60, tif=Tif.DAY), quote(99, 80, 101, 30, 5 * MS))
    venues.send(replace(1, 99, 60, tif=Tif.DAY, display_qty=10))
    assert brief(venues.send(trade(99, 65, 30 * MS))) == ["FILL F1 10@99 10+50"]
