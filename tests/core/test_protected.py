"""Protected quotations: what would trade through, lock or cross another venue's is blocked; what is exempt from that.

Venues take in the order of net prices: where fees are larger than the step of prices, that is not the order of prices.
"""

from __future__ import annotations

import msgspec
import pytest

from engine.record.records import OrdStatus, RiskRule, Template
from engine.run import config as c
from tests.core.both import DEAR, PROTECTED
from tests.core.scenes import sent
from tests.core.test_risk import blocks
from tests.core.world import INSTRUMENTS, IOC, MS, SECOND, SELL, VENUES, World, children, make_config, of

pytestmark = pytest.mark.kernel

#: XA is dear to take from, XB pays for it: 10.02 there is better net than 10.00 at XA.
FEES = tuple(msgspec.structs.replace(venue, shows_own=False) for venue in DEAR)
POST = {"rest": "venue", "post_venue": "XC"}
#: XA is out of bounds.
ELSEWHERE = {"permission": [c.Permission(client="*", strategy="*", instrument="*", venue=["XB", "XC"])]}
THROUGH, LOCKED = RiskRule.TRADE_THROUGH, RiskRule.LOCKED_CROSSED


def world(venues=FEES, *, lot="1", post=False, **risk):
    """A desk with both rules on, or as it is said; round lots of `lot`."""
    instruments = [msgspec.structs.replace(row, lot=lot, odd_lots=True) for row in INSTRUMENTS]
    sweep = POST if post else None
    return World(make_config(venues, instruments, sweep=sweep, risk={**PROTECTED, **risk}))


def fees(**venue):
    """The venues, XA as it is said."""
    return (msgspec.structs.replace(FEES[0], **venue), *FEES[1:])


def crossing_fees(w, size=100):
    """Offers at XA 10.00 (net 10.04) and XB 10.02 (net 9.99)."""
    w.offers((0, 1_000, size), (1, 1_002, 100), bid_px=990)


# Trade-through.


def test_a_worse_price_than_another_venues_protected_offer():
    w = world()
    crossing_fees(w)
    outputs = w.new("a", px=1_002, tif=IOC)
    assert blocks(outputs) == [(THROUGH, 1_002, 1_000)]
    (block,) = of(outputs, Template.RISK_BLOCK)
    assert (block.venue_id, block.px, block.qty) == (1, 1_002, 100)
    assert w.state.quotes[1].ask_taken == 0
    assert sent(outputs) == [(0, 100, 1_000)], "the venue is left out, and the better one is next"


def test_a_sell_below_another_venues_protected_bid():
    w = world()
    w.quote(0, 1_002, 100, 1_010, 1)
    w.quote(1, 1_000, 100, 1_010, 1)
    outputs = w.new("a", side=SELL, px=1_000, tif=IOC)
    assert blocks(outputs) == [(THROUGH, 1_000, 1_002)]
    assert sent(outputs) == [(0, 100, 1_002)]


def test_the_same_price_is_none():
    w = world()
    w.offers((0, 1_000, 100), (1, 1_000, 100), bid_px=990)
    outputs = w.new("a", px=1_002, tif=IOC)
    assert (blocks(outputs), sent(outputs)) == ([], [(1, 100, 1_000)])


def test_limit_is_the_best_of_those_that_are_protected():
    w = world()
    crossing_fees(w)
    w.quote(2, 990, 1, 999, 100)
    outputs = w.new("a", px=1_002, qty=100, tif=IOC)
    assert blocks(outputs) == [(THROUGH, 1_002, 999)]
    w.quote(2, 990, 1, 1_001, 100)
    assert blocks(w.new("b", px=1_002, qty=100, tif=IOC)) == [(THROUGH, 1_002, 1_000), (THROUGH, 1_001, 1_000)]


def test_it_is_the_last_of_the_rules():
    w = world(session_rate=1)
    crossing_fees(w)
    assert sent(w.new("a", px=1_000, qty=10, tif=IOC)) == [(0, 10, 1_000)]
    assert blocks(w.new("b", px=1_002, tif=IOC))[0] == (RiskRule.SESSION_RATE, 2, 1)


def test_off_is_off():
    w = world(trade_through="off")
    crossing_fees(w)
    outputs = w.new("a", px=1_002, tif=IOC)
    assert (blocks(outputs), sent(outputs)) == ([], [(1, 100, 1_002)])


# What is not protected.


def test_a_venue_whose_quotes_are_not_protected():
    w = world(fees(protected=False))
    crossing_fees(w)
    assert sent(w.new("a", px=1_002, tif=IOC)) == [(1, 100, 1_002)]


@pytest.mark.parametrize(("size", "protects"), [(99, False), (100, True)])
def test_odd_lots_are_not_protected(size, protects):
    w = world(lot="100")
    crossing_fees(w, size)
    assert blocks(w.new("a", px=1_002, tif=IOC)) == [(THROUGH, 1_002, 1_000)] * protects


def test_of_a_quote_whole_round_lots_are_protected():
    """Of 150 shown at XA 100 are: an order for these lets the rest go by."""
    w = world(fees(lot="100"), lot="100")
    crossing_fees(w, 150)
    outputs = w.new("a", px=1_002, qty=200, tif=IOC)
    assert (blocks(outputs), sent(outputs)) == ([], [(1, 100, 1_002), (0, 100, 1_000)])


def test_a_stale_quote_is_not_protected():
    w = world()
    crossing_fees(w)
    w.advance(SECOND)
    w.quote(1, 990, 1, 1_002, 100)
    assert blocks(w.new("a", px=1_002, qty=10, tif=IOC)) == [(THROUGH, 1_002, 1_000)]
    w.advance(MS)
    assert sent(w.new("b", px=1_002, tif=IOC)) == [(1, 100, 1_002)]


def test_a_void_quote_is_not_protected():
    w = world()
    crossing_fees(w)
    w.feed(Template.CLEAR, 0, instrument_id=0)
    assert sent(w.new("a", px=1_002, tif=IOC)) == [(1, 100, 1_002)]


@pytest.mark.parametrize("status", [1, 2, 3])
def test_a_venue_that_has_halted_it_is_not_protected(status):
    w = world()
    crossing_fees(w)
    w.feed(Template.INSTRUMENT_STATUS, 0, instrument_id=0, status=status)
    assert sent(w.new("a", px=1_002, tif=IOC)) == [(1, 100, 1_002)]


def test_a_venue_whose_session_is_down_is_not_protected():
    w = world(fees(session="v2"))
    crossing_fees(w)
    w.silent(w.venue_session(0))
    assert sent(w.new("a", px=1_002, tif=IOC)) == [(1, 100, 1_002)]


def test_another_instruments_quote_is_not_in_it():
    w = world()
    w.quote(0, 990, 1, 1_000, 100, instrument_id=1)
    w.quote(1, 990, 1, 1_002, 100)
    assert sent(w.new("a", px=1_002, tif=IOC)) == [(1, 100, 1_002)]


def test_a_venue_that_has_refused_the_order_is_helped_without():
    """The self-help exception: for this order, and for this episode of it."""
    w = world(VENUES)
    w.offers((0, 1_000, 100), (1, 1_002, 100), bid_px=990)
    (child,) = children(w.new("a", px=1_002, qty=100))
    assert child.venue_id == 0
    w.quote(0, 990, 1, 1_000, 100)
    outputs = w.reject(child)
    assert (blocks(outputs), sent(outputs)) == ([], [(1, 100, 1_002)])
    assert w.parent("a")[1].excluded == 1 | 1 << 32


def test_a_venue_that_did_not_know_the_order_is_helped_without():
    w = world(VENUES)
    w.offers((0, 1_000, 100), (1, 1_002, 100), bid_px=990)
    (child,) = children(w.new("a", px=1_002, qty=100))
    for _ in range(6):
        w.advance(500 * MS)
    w.offers((0, 1_000, 100), (1, 1_002, 100), bid_px=990)
    outputs = w.status(child, OrdStatus.REJECTED)
    assert (blocks(outputs), sent(outputs)) == ([], [(1, 100, 1_002)])


def test_a_venue_that_our_own_gate_keeps_from_is_protected_all_the_same():
    """A block is no refusal of the venue's: what a permission keeps us from may not be traded through for that."""
    w = world(VENUES, **ELSEWHERE)
    w.offers((0, 1_000, 100), (1, 1_002, 100), bid_px=990)
    outputs = w.new("a", px=1_002, qty=100, tif=IOC)
    assert blocks(outputs) == [(RiskRule.PERMISSION, 0, 0), (THROUGH, 1_002, 1_000)]
    assert w.parent("a")[1].excluded >> 32 == 0


def test_the_highest_venue_may_refuse():
    """Its bit is the sign."""
    venues = [c.Venue(mic=f"X{n:02}", code=chr(64 + n), session="v1") for n in range(32)]
    w = world(venues)
    w.offers((31, 1_000, 100), (3, 1_002, 100), bid_px=990)
    (child,) = children(w.new("a", px=1_002, qty=100))
    w.quote(31, 990, 1, 1_000, 100)
    assert sent(w.reject(child)) == [(3, 100, 1_002)]
    assert w.parent("a")[1].excluded == (1 << 31) - (1 << 63)


# Intermarket sweeps.


def test_a_step_that_takes_all_better_size_is_a_sweep():
    """The worse price goes first, as its net is better: the gate sees the whole step."""
    w = world()
    crossing_fees(w)
    outputs = w.new("a", px=1_002, qty=200, tif=IOC)
    assert (blocks(outputs), sent(outputs)) == ([], [(1, 100, 1_002), (0, 100, 1_000)])


def test_a_step_that_takes_a_part_of_it_is_none():
    w = world()
    crossing_fees(w)
    outputs = w.new("a", px=1_002, qty=199, tif=IOC)
    assert (blocks(outputs), sent(outputs)) == ([(THROUGH, 1_002, 1_000)], [(0, 99, 1_000)])


def test_what_others_have_taken_whole_is_exempt():
    w = world()
    crossing_fees(w)
    assert sent(w.new("a", px=1_000, qty=100, tif=IOC)) == [(0, 100, 1_000)]
    outputs = w.new("b", px=1_002, qty=100, tif=IOC)
    assert (blocks(outputs), sent(outputs)) == ([], [(1, 100, 1_002)])
    w.quote(0, 990, 1, 1_000, 100)
    w.quote(1, 990, 1, 1_002, 100)
    assert blocks(w.new("c", px=1_002, qty=100, tif=IOC)) == [(THROUGH, 1_002, 1_000)], "until its next quote"


def test_a_sweep_whose_better_part_is_blocked_is_none():
    """XA's part is stopped by a permission behind XB's, which has passed: it is looked at again."""
    w = world(**ELSEWHERE, session_rate=100, max_position="1000", gross_notional="100000")
    crossing_fees(w)
    outputs = w.new("a", px=1_002, qty=200, tif=IOC)
    assert blocks(outputs) == [(THROUGH, 1_002, 1_000), (RiskRule.PERMISSION, 0, 0)]
    assert sent(outputs) == []
    assert (w.state.quotes[0].ask_taken, w.state.quotes[1].ask_taken) == (0, 0)
    row, account = w.state.exposures[0], w.state.accounts[0]
    assert (row.buy_qty, row.buy_peak, account.gross, account.gross_peak, account.long_peak) == (0, 0, 0, 0, 0)
    assert w.state.rates[2].total == 1, "it had been counted as a message, and stays so"


def test_a_block_in_the_second_look_has_others_looked_at():
    """XC's part goes with XB's, XB's with XA's, and XA's is stopped last."""
    venues = (FEES[0], FEES[1], msgspec.structs.replace(FEES[2], take_fee="-0.06"))
    w = world(venues, **ELSEWHERE)
    crossing_fees(w)
    w.quote(2, 990, 1, 1_003, 100)
    outputs = w.new("a", px=1_003, qty=300, tif=IOC)
    assert [rule for rule, *_ in blocks(outputs)] == [THROUGH, THROUGH, RiskRule.PERMISSION]
    assert sent(outputs) == []
    w = world(venues)
    crossing_fees(w)
    w.quote(2, 990, 1, 1_003, 100)
    assert len(sent(w.new("a", px=1_003, qty=300, tif=IOC))) == 3


def test_a_sell_sweep_whose_better_part_is_blocked_leaves_no_peak():
    w = world(**ELSEWHERE, max_position="1000", net_notional="100000")
    w.quote(0, 1_002, 100, 1_010, 1)
    w.quote(1, 1_000, 100, 1_010, 1)
    outputs = w.new("a", side=SELL, px=1_000, qty=200, tif=IOC)
    assert blocks(outputs) == [(THROUGH, 1_000, 1_002), (RiskRule.PERMISSION, 0, 0)]
    assert (w.state.exposures[0].sell_peak, w.state.accounts[0].short_peak) == (0, 0)
