"""The pounce workflow: it waits for a better price, not for long, and then takes."""

from __future__ import annotations

import inspect

import pytest

import strategies.pounce
from engine.core.state import CANCELED, FILLED, NEVER, PAUSED, RESTING, WORKING
from engine.core.step import next_deadline
from engine.jit import JIT
from engine.record.records import Outcome, Reason
from engine.workflow.verify import verify
from strategies.pounce import WAITING, machine
from tests.core.scenes import decision, sent
from tests.core.world import BUY, FOK, GTC, IOC, MS, SELL, World, children, kinds, make_config, reports

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(JIT, reason="a second strategy compiles for half a minute; a file's is compiled in tests/run"),
]


def desk(**parameters: int) -> World:
    """Three venues; the best offer is 100.02 for 100, the best bid 99.00."""
    w = World(make_config(routing={"strategy": "strategies.pounce", "parameters": parameters}))
    w.offers((0, 10_002, 100), (1, 10_003, 50))
    return w


def phase(w: World, cl: str = "a") -> int:
    return int(w.parent(cl)[1].phase)


def test_it_verifies_and_a_newcomer_can_read_it():
    assert verify(machine) == []
    lines = inspect.getsource(strategies.pounce).split('"""', 2)[2].splitlines()
    code = [line for line in lines if line.strip() and not line.startswith(("from ", "import "))]
    assert len(code) <= 40


def test_waits_and_takes_when_the_time_is_over():
    w = desk()
    assert kinds(w.new("a", qty=120, px=10_003)) == ["ACK"]
    assert phase(w) == WAITING.code
    assert w.advance(249 * MS) == []
    outputs = w.advance(1 * MS)
    assert sent(outputs) == [(0, 100, 10_002), (1, 20, 10_003)]
    assert {row.tif for row in children(outputs)} == {IOC}
    assert decision(outputs).outcome == Outcome.ROUTED
    assert phase(w) == WORKING
    for child in children(outputs):
        w.fill(child)
    assert phase(w) == FILLED


def test_pounces_on_a_better_price_at_once():
    w = desk(improvement=2)
    w.new("a", qty=30, px=10_003)
    assert w.quote(2, 9_900, 1, 10_001, 10) == [], "one better is not enough"
    assert phase(w) == WAITING.code
    outputs = w.quote(2, 9_900, 1, 10_000, 10)
    assert sent(outputs) == [(2, 10, 10_000), (0, 20, 10_002)]
    assert phase(w) == WORKING


def test_sellers_wait_for_a_better_bid():
    w = World(make_config(routing={"strategy": "strategies.pounce"}))
    w.quote(0, 9_900, 40, 10_000, 1)
    w.new("a", side=SELL, qty=40, px=9_800)
    assert w.quote(0, 9_899, 40, 10_000, 1) == []
    assert sent(w.quote(0, 9_901, 40, 10_000, 1)) == [(0, 40, 9_901)]


@pytest.mark.parametrize("side", [BUY, SELL])
def test_where_there_was_no_price_any_is_better(side):
    w = World(make_config(routing={"strategy": "strategies.pounce"}))
    w.new("a", side=side, qty=10, px=10_000)
    assert phase(w) == WAITING.code
    bid, ask = (9_900, 9_950) if side == BUY else (10_050, 10_100)
    assert len(children(w.quote(0, bid, 10, ask, 10))) == 1


def test_a_quote_does_not_give_it_more_time():
    w = desk()
    w.new("a", qty=10, px=10_003)
    w.advance(200 * MS)
    w.quote(0, 9_900, 1, 10_002, 100)
    assert next_deadline(w.state) == w.now_ns + 50 * MS
    assert len(children(w.advance(50 * MS))) == 1


def test_routes_again_what_comes_back_and_then_gives_it_back():
    w = desk(rounds=2)
    w.new("a", qty=10, px=10_003, tif=IOC)
    first = w.advance(250 * MS)
    second = w.done(children(first)[0])
    assert len(children(second)) == 1
    last = w.done(children(second)[0])
    assert decision(last).outcome == Outcome.ROUNDS_EXHAUSTED
    assert reports(last)[-1] == ("ACK", "a", "4", "4")
    assert phase(w) == CANCELED
    assert w.parent("a")[1].reason == Reason.ROUNDS_EXHAUSTED


def test_what_is_left_of_a_day_order_rests_until_a_quote_is_marketable():
    w = desk()
    w.new("a", qty=10, px=10_001, tif=GTC)
    assert decision(w.advance(250 * MS)).outcome == Outcome.NOTHING_MARKETABLE
    assert phase(w) == RESTING
    assert next_deadline(w.state) == NEVER, "its wait is over"
    assert sent(w.quote(1, 9_900, 1, 10_001, 10)) == [(1, 10, 10_001)]


def test_fill_or_kill_is_whole_or_nothing():
    w = desk()
    w.new("a", qty=151, px=10_003, tif=FOK)
    outputs = w.advance(250 * MS)
    assert children(outputs) == []
    assert decision(outputs).outcome == Outcome.NOT_ENOUGH_FOR_FOK
    w.new("b", qty=150, px=10_003, tif=FOK)
    assert len(children(w.advance(250 * MS))) == 2


def test_requests_reach_it_while_it_waits():
    w = desk()
    w.new("a", qty=10, px=10_003)
    w.pause("a")
    assert phase(w) == PAUSED
    assert w.advance(1_000 * MS) == [], "nothing is routed while it is paused"
    w.offers((0, 10_002, 100), (1, 10_003, 50))
    w.resume("a")
    assert phase(w) == WAITING.code
    w.replace("a", qty=20, px=10_003)
    w.cancel("a")
    assert phase(w) == CANCELED
