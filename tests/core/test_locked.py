"""Protected quotations that would be locked or crossed by what is displayed; replaces; steps of any strategy."""

from __future__ import annotations

import msgspec
import pytest

from engine.core.children import new_child
from engine.core.ids import child_slot, slot_of_parent
from engine.core.risk import gate
from engine.core.state import NONE
from engine.record.records import OrdStatus, RiskRule, Side, Template
from tests.core.invariants import validate
from tests.core.scenes import sent
from tests.core.test_protected import ELSEWHERE, LOCKED, THROUGH, world
from tests.core.test_risk import blocks
from tests.core.world import DAY_TIF, IOC, MS, SECOND, SELL, VENUES, children, of

pytestmark = pytest.mark.kernel


def resting(px=995, side=Side.BUY, *, post_world=None, bid=990, ask=1_010):
    """An order of 100 that rests at XC within a market of 9.90 to 10.10 at XA, and its child."""
    w = post_world or world(VENUES, post=True)
    w.quote(0, bid, 100, ask, 100)
    (child,) = children(w.new("a", side=side, px=px, qty=100))
    assert (child.venue_id, child.tif) == (2, DAY_TIF)
    w.ack(child)
    return w, child


@pytest.mark.parametrize(("px", "blocked"), [(1_009, False), (1_010, True), (1_011, True)])
def test_displayed_at_or_beyond_another_venues_offer(px, blocked):
    w, child = resting()
    outputs = w.amend(child, px, 100)
    assert blocks(outputs) == [(LOCKED, px, 1_010)] * blocked
    assert len(of(outputs, Template.ORDER_REPLACE)) == 1 - blocked
    (row,) = [w.row(child)[1]]
    assert row.ord_status == (OrdStatus.NEW if blocked else OrdStatus.PENDING_REPLACE), "it is as it was"


@pytest.mark.parametrize(("px", "blocked"), [(991, False), (990, True), (989, True)])
def test_displayed_at_or_beyond_another_venues_bid(px, blocked):
    w, child = resting(1_000, SELL)
    assert blocks(w.amend(child, px, 100)) == [(LOCKED, px, 990)] * blocked


def test_a_new_order_that_would_lock():
    """The venue that is quoted there has no lot small enough for what is left, which is posted."""
    w = world((msgspec.structs.replace(VENUES[0], lot="100"), *VENUES[1:]), post=True)
    w.quote(0, 990, 100, 1_010, 100)
    outputs = w.new("a", px=1_010, qty=50)
    assert blocks(outputs) == [(LOCKED, 1_010, 1_010)]
    assert sent(outputs) == []


def test_what_is_displayed_where_it_is_marketable_trades_through_first():
    w, child = resting()
    w.quote(2, 990, 100, 1_012, 100)
    assert blocks(w.amend(child, 1_012, 100)) == [(THROUGH, 1_012, 1_010)]
    assert blocks(w.amend(child, 1_011, 100)) == [(LOCKED, 1_011, 1_010)]
    assert blocks(w.amend(child, 1_010, 100)) == [(LOCKED, 1_010, 1_010)]
    w.quote(2, 990, 100, 1_012, 0)
    assert blocks(w.amend(child, 1_012, 100)) == [(LOCKED, 1_012, 1_010)], "nothing is offered there"


def test_what_its_own_venue_offered_long_ago_is_not_marketable():
    w, child = resting()
    w.quote(2, 990, 100, 1_012, 100)
    w.advance(SECOND)
    w.quote(0, 990, 100, 1_010, 100)
    assert blocks(w.amend(child, 1_012, 100)) == [(THROUGH, 1_012, 1_010)]
    w.advance(MS)
    w.quote(0, 990, 100, 1_010, 100)
    assert blocks(w.amend(child, 1_012, 100)) == [(LOCKED, 1_012, 1_010)]


def test_each_switch_is_its_own():
    w, child = resting(post_world=world(VENUES, post=True, locked_crossed="off"))
    w.quote(2, 990, 100, 1_012, 100)
    assert blocks(w.amend(child, 1_012, 100)) == [(THROUGH, 1_012, 1_010)]
    assert blocks(w.amend(child, 1_011, 100)) == []
    w, child = resting(post_world=world(VENUES, post=True, trade_through="off"))
    w.quote(2, 990, 100, 1_012, 100)
    assert blocks(w.amend(child, 1_012, 100)) == [(LOCKED, 1_012, 1_010)]
    w, child = resting(post_world=world(VENUES, post=True, trade_through="off", locked_crossed="off"))
    w.quote(2, 990, 100, 1_012, 100)
    assert blocks(w.amend(child, 1_012, 100)) == []


def test_what_is_taken_whole_is_neither_locked_nor_crossed():
    w, child = resting()
    assert sent(w.new("b", px=1_010, qty=99, tif=IOC)) == [(0, 99, 1_010)]
    assert blocks(w.amend(child, 1_010, 100)) == [(LOCKED, 1_010, 1_010)]
    assert sent(w.new("c", px=1_010, qty=1, tif=IOC)) == [(0, 1, 1_010)]
    assert blocks(w.amend(child, 1_011, 100)) == []


def test_its_own_venues_quote_is_not_locked():
    w, child = resting()
    w.quote(0, 990, 100, 1_020, 100)
    w.quote(2, 990, 100, 1_012, 100)
    assert blocks(w.amend(child, 1_012, 100)) == []


# Replaces.


@pytest.mark.parametrize(
    ("side", "px", "terms", "blocked"),
    [
        (Side.BUY, 995, (995, 90), False),  # as it is
        (Side.BUY, 995, (994, 90), False),  # further away, and locking still
        (Side.BUY, 995, (995, 50), False),  # less
        (Side.BUY, 995, (995, 91), True),  # more
        (Side.BUY, 995, (994, 91), True),  # further away, and more
        (Side.BUY, 995, (996, 90), True),  # nearer
        (SELL, 1_005, (1_005, 90), False),
        (SELL, 1_005, (1_006, 90), False),  # further away: more money, which other rules see
        (SELL, 1_005, (1_006, 91), True),
        (SELL, 1_005, (1_004, 90), True),
        (SELL, 1_005, (1_005, 91), True),
    ],
)
def test_a_replace_that_is_less_aggressive_is_never_blocked(side, px, terms, blocked):
    """Since the order came, the market has moved over to it: it crosses already."""
    w, child = resting(px, side)
    w.amend(child, px, 90)
    w.replaced(child, px, 0, 90)
    w.quote(0, *((985, 100, 990, 100) if side == Side.BUY else (1_010, 100, 1_015, 100)))
    outputs = w.amend(child, *terms)
    assert [rule for rule, *_ in blocks(outputs)] == [LOCKED] * blocked
    assert len(of(outputs, Template.ORDER_REPLACE)) == 1 - blocked


def test_a_cancel_is_never_blocked():
    w, child = resting()
    w.quote(0, 985, 100, 990, 100)
    outputs = w.cancel("a")
    assert [row.order_id for row in of(outputs, Template.ORDER_CANCEL)] == [child.order_id]
    assert blocks(outputs) == []


# The gate by itself, with children of any strategy.


def hand(*rows, offers=((0, 1_000, 100), (1, 1_002, 100)), **risk):
    """Children of one parent by hand, as a strategy's step would send them: (venue, price, quantity, TimeInForce)."""
    w = world(VENUES, post=True, collar_bps=100_000, **risk)
    w.offers(*offers, bid_px=990)
    (child,) = children(w.new("a", px=980, qty=1_000))
    w.ack(child)
    w.amend(child, 980, 10)
    w.replaced(child, 980, 0, 10)
    p = slot_of_parent(w.state, child_slot(w.state, int(child.order_id)))
    w.outbox.count[0] = w.state.core[0].gated = 0
    for venue, px, qty, tif in rows:
        assert new_child(w.state, w.outbox, p, venue, px, qty, tif) != NONE
    gate(w.state, w.outbox)
    validate(w.state, w.booked)
    return [w.output(k) for k in range(int(w.outbox.count[0]))]


def test_sweep_orders_of_one_limit_price_go_together():
    """Each may execute at 10.05, beyond the other's quote, which the other takes."""
    outputs = hand((0, 1_005, 100, IOC), (1, 1_005, 100, IOC))
    assert (blocks(outputs), len(sent(outputs))) == ([], 2)
    outputs = hand((0, 1_005, 100, IOC), (1, 1_005, 99, IOC))
    assert blocks(outputs) == [(THROUGH, 1_005, 1_002), (THROUGH, 1_005, 1_000)]
    assert sent(outputs) == [], "a sweep is whole, or it is none"


def test_a_price_of_zero_is_any_price():
    assert blocks(hand((1, 0, 10, IOC))) == [(THROUGH, 0, 1_000)]


def test_a_resting_part_of_a_step_goes_with_what_the_step_takes():
    step = ((2, 1_000, 50, DAY_TIF), (0, 1_000, 100, IOC))
    outputs = hand(*step)
    assert (blocks(outputs), len(sent(outputs))) == ([], 2)
    outputs = hand(*step, **ELSEWHERE)
    assert blocks(outputs) == [(LOCKED, 1_000, 1_000), (RiskRule.PERMISSION, 0, 0)]


def test_what_passed_on_another_second_look_is_looked_at_once_more():
    """XB's part goes with XA's, XA's (whose limit is deeper) with XB's and XC's; XC's is stopped, last of the three."""
    offers = ((0, 1_000, 100), (1, 1_002, 100), (2, 1_004, 100))
    step = ((1, 1_002, 100, IOC), (0, 1_005, 100, IOC), (2, 1_004, 100, IOC))
    outputs = hand(*step, offers=offers)
    assert (blocks(outputs), len(sent(outputs))) == ([], 3)
    outputs = hand(*step, offers=offers, instrument_rate=4)
    assert blocks(outputs) == [(THROUGH, 1_002, 1_000), (THROUGH, 1_005, 1_004), (RiskRule.INSTRUMENT_RATE, 5, 4)]
