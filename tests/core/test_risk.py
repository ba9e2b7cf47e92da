"""The risk gate: each rule stops what breaks it and says with which value and limit; a cancel always passes."""

from __future__ import annotations

import pytest

from engine.core.state import RESTING
from engine.record.records import Reason, RiskRule, Scope, Template
from engine.run import config as c
from tests.core.scenes import posted, sent
from tests.core.world import (
    DAY_TIF,
    IOC,
    MS,
    SECOND,
    SELL,
    World,
    children,
    kinds,
    make_config,
    of,
    reasons,
    reports,
)

pytestmark = pytest.mark.kernel


def blocks(outputs):
    """(rule, value, limit) of each block."""
    return [(RiskRule(int(row.rule)), int(row.value), int(row.limit)) for row in of(outputs, Template.RISK_BLOCK)]


def test_quantity_limit():
    w = World(make_config(risk={"max_qty": "100"}))
    outputs = w.new("a", qty=101)
    assert blocks(outputs) == [(RiskRule.MAX_QTY, 101, 100)]
    assert kinds(outputs) == ["RISK_BLOCK", "REFUSAL", "REJECT"]
    assert reasons(outputs) == [Reason.RISK]
    assert reports(outputs) == [("REJECT", "a", "8", "8")]
    (block,) = of(outputs, Template.RISK_BLOCK)
    assert (block.order_id, block.qty, block.px, block.instrument_id) == (0, 101, 10_000, 0)
    assert (w.counter("risk_blocks"), w.counter("qty_ordered"), w.counter("qty_rejected")) == (1, 101, 101)
    assert blocks(w.new("b", qty=100)) == []


def test_notional_limit():
    w = World(make_config(risk={"max_notional": "10000"}))
    assert blocks(w.new("a", qty=101, px=10_000)) == [(RiskRule.MAX_NOTIONAL, 10_100 * 10**9, 10_000 * 10**9)]
    assert blocks(w.new("b", qty=100, px=10_000)) == []


def test_notional_of_a_market_order_is_at_the_reference():
    w = World(make_config(risk={"max_notional": "10000"}))
    w.quote(0, 9_999, 10, 10_000, 10)
    assert blocks(w.new("a", qty=100, px=0)) == []
    w.quote(0, 10_000, 10, 10_001, 10)
    assert blocks(w.new("b", qty=100, px=0)) == [(RiskRule.MAX_NOTIONAL, 100 * 10_001 * 10**7, 10_000 * 10**9)]


def test_notional_counts_the_multiplier():
    future = c.Instrument(symbol="ESZ", px_decimals=2, multiplier=50)
    w = World(make_config(instruments=[future], risk={"max_qty": "100", "max_notional": "1000000"}))
    assert blocks(w.new("a", qty=3, px=500_000)) == []
    assert blocks(w.new("b", qty=5, px=500_000)) == [(RiskRule.MAX_NOTIONAL, 1_250_000 * 10**9, 1_000_000 * 10**9)]


def test_collar_to_the_unit():
    w = World(make_config(risk={"collar_bps": 500}))
    w.quote(0, 10_000, 10, 10_001, 10)  # twice the reference is 20,001; its room 1,000
    w.quote(1, 9_000, 1, 10_500, 10)
    w.quote(2, 9_000, 1, 10_501, 10)
    outputs = w.new("a", qty=30, px=11_000, tif=IOC)
    assert blocks(outputs) == [(RiskRule.COLLAR, 21_002, 21_001)]
    assert sent(outputs) == [(0, 10, 10_001), (1, 10, 10_500)]
    (block,) = of(outputs, Template.RISK_BLOCK)
    assert (block.reference_px, block.px, block.qty, block.venue_id) == (10_000, 10_501, 10, 2)
    assert block.parent_id == of(outputs, Template.ACK)[0].order_id


def test_collar_of_a_sell():
    w = World(make_config(risk={"collar_bps": 500}))
    w.quote(0, 10_000, 10, 10_001, 10)
    w.quote(1, 9_500, 10, 11_000, 1)
    w.quote(2, 9_501, 10, 11_000, 1)
    outputs = w.new("a", side=SELL, qty=30, px=9_000, tif=IOC)
    assert blocks(outputs) == [(RiskRule.COLLAR, 19_000, 19_001)]
    assert sent(outputs) == [(0, 10, 10_000), (2, 10, 9_501)]


def test_passive_price_far_away_passes():
    w = World(make_config(risk={"collar_bps": 500}, sweep={"rest": "venue"}))
    w.quote(0, 10_000, 10, 10_001, 10)
    assert blocks(outputs := w.new("a", px=5_000)) == []
    assert len(children(outputs)) == 1


def test_widest_collar_of_the_highest_price_does_not_overflow():
    dear = c.Instrument(symbol="DEAR", px_decimals=9)
    w = World(
        make_config(instruments=[dear], risk={"collar_bps": 100_000, "max_qty": "1", "max_notional": "4000000000"})
    )
    top = int(w.state.instruments[0].max_px)
    assert top == 1 << 50
    w.quote(0, top - 2, 1, top - 1, 1)
    outputs = w.new("a", qty=1, px=top, tif=IOC)
    assert (blocks(outputs), len(children(outputs))) == ([], 1)


def test_blocked_child_is_rejected_and_its_venue_excluded():
    w = World(make_config(risk={"collar_bps": 100}))
    w.quote(0, 10_000, 10, 10_001, 10)
    w.quote(1, 9_000, 1, 10_500, 10)
    outputs = w.new("a", qty=20, px=11_000)
    assert [rule for rule, _, _ in blocks(outputs)] == [RiskRule.COLLAR]
    (child,) = children(outputs)
    outputs = w.fill(child)
    assert blocks(outputs) == [], "the venue is excluded in this episode"
    assert w.parent("a")[1].phase == RESTING


def test_blocked_child_leaves_the_displayed_size_to_others():
    w = World(make_config(risk={"collar_bps": 100}))
    w.quote(0, 10_000, 10, 10_001, 10)
    w.quote(1, 9_000, 1, 10_500, 10)
    w.new("a", qty=20, px=11_000, tif=IOC)
    assert w.state.quotes[1].ask_taken == 0
    assert w.state.quotes[0].ask_taken == 10


def test_without_a_reference_nothing_leaves():
    w = World()
    w.quote(0, 0, 0, 10_000, 100)
    outputs = w.new("a", tif=IOC)
    assert blocks(outputs) == [(RiskRule.NO_REFERENCE, 0, 0)]
    assert reports(outputs) == [("ACK", "a", "0", "0"), ("ACK", "a", "4", "4")]


def test_venue_whose_session_is_down():
    """No strategy of ours sends to one; the gate does not rely on that."""
    w, child = posted()
    w.state.sessions[2].up = 0
    w.check = False  # a session does not go down like that
    outputs = w.amend(child, child.px + 1, child.qty)
    assert blocks(outputs) == [(RiskRule.VENUE_DOWN, child.venue_id, 0)]
    assert not of(outputs, Template.ORDER_REPLACE)
    w.state.sessions[2].up = 1
    assert len(of(w.amend(child, child.px + 1, child.qty), Template.ORDER_REPLACE)) == 1


def test_reference_is_the_middle_of_fresh_quotes():
    w = World()
    w.quote(0, 10_000, 10, 10_100, 10)
    assert w.state.instruments[0].reference_px2 == 20_100
    w.quote(1, 10_011, 10, 10_200, 10)
    assert w.state.instruments[0].reference_px2 == 20_111, "the best of all venues; a half unit is exact"
    w.quote(1, 10_150, 10, 10_200, 10)
    assert w.state.instruments[0].reference_px2 == 20_111, "crossed: it stays"
    w.quote(1, 10_100, 10, 10_200, 10)
    assert w.state.instruments[0].reference_px2 == 20_200, "locked is not crossed"


def test_reference_has_an_age():
    w = World(make_config(routing={"stale_ms": 10_000}))
    w.quote(0, 10_000, 10, 10_002, 10)
    w.quote(0, 0, 0, 10_002, 10)
    w.advance(5 * SECOND)
    assert blocks(w.new("a", qty=1, tif=IOC)) == []
    w.quote(0, 0, 0, 10_000, 10)
    w.advance(1)
    outputs = w.new("b", qty=1, tif=IOC)
    assert blocks(outputs) == [(RiskRule.NO_REFERENCE, 0, 0)]


def test_last_trade_stands_in_within_the_same_age():
    w = World(make_config(routing={"stale_ms": 10_000}))
    w.quote(0, 0, 0, 10_000, 100)
    w.feed(Template.TRADE, 0, instrument_id=0, px=10_000, qty=5)
    w.advance(5 * SECOND)
    outputs = w.new("a", qty=1, tif=IOC)
    assert blocks(outputs) == []
    w.advance(1)
    assert blocks(w.new("b", qty=1, tif=IOC)) == [(RiskRule.NO_REFERENCE, 0, 0)]


def test_trade_off_the_books_is_no_reference():
    w = World()
    w.quote(0, 0, 0, 10_000, 100)
    w.feed(Template.TRADE, 0, instrument_id=0, px=10_000, qty=5, flags=4)
    assert blocks(w.new("a", qty=1, tif=IOC)) == [(RiskRule.NO_REFERENCE, 0, 0)]


def test_stale_quotes_are_not_in_the_reference():
    w = World()
    w.quote(0, 9_000, 10, 9_002, 10)
    w.advance(1001 * MS)
    w.quote(1, 10_000, 10, 10_002, 10)
    assert w.state.instruments[0].reference_px2 == 20_002


def test_kill_flag_stops_children_of_those_that_live():
    w = World()
    w.new("a")
    w.kill()
    w.quote(0, 9_990, 100, 10_000, 50)
    assert w.counter("children_sent") == 1
    assert w.counter("risk_blocks") == 1
    assert w.parent("a")[1].live_qty == 0
    w.kill(False)
    assert sent(w.quote(0, 9_990, 100, 10_000, 50)) == [(0, 50, 10_000)]


def test_kill_flag_refuses_new_parents():
    w = World()
    w.kill()
    outputs = w.new("a")
    assert blocks(outputs) == [(RiskRule.KILL, Scope.ALL, 0)]
    assert reasons(outputs) == [Reason.KILLED]


@pytest.mark.parametrize("killed", [False, True])
def test_cancels_are_never_blocked(killed):
    w, child = posted()
    w.advance(3600 * SECOND)  # no reference any more
    if killed:
        w.kill()
    outputs = w.cancel("a")
    assert [row.order_id for row in of(outputs, Template.ORDER_CANCEL)] == [child.order_id]
    assert child.tif == DAY_TIF
