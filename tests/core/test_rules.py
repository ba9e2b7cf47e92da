"""The rules on who, where, how much in all and how often: each shows its block, with value and limit."""

from __future__ import annotations

import pytest

from engine.core.rates import SLOT_NS
from engine.record.records import ControlAction, Reason, RiskRule, Scope, SessionFlag, Template
from engine.run import config as c
from tests.core.scenes import sent
from tests.core.test_risk import blocks
from tests.core.world import IOC, MS, SECOND, SELL, World, children, kinds, make_config, of, reasons

pytestmark = pytest.mark.kernel

EVERY = {"client": "*", "strategy": "*", "instrument": "*", "venue": "*"}


def world(**risk):
    """A desk with these limits, quotes at two venues."""
    w = World(make_config(risk=risk, sweep={"rest": "venue"}))
    w.quote(0, 9_999, 100, 10_001, 100)
    w.quote(1, 9_999, 100, 10_001, 100)
    return w


def only(*rows):
    """Permissions of these rows alone."""
    return [c.Permission(**{**EVERY, **row}) for row in rows]


@pytest.mark.parametrize(
    ("scope", "more"),
    [
        (Scope.ALL, {"session_rate": 3}),
        (Scope.STRATEGY, {"strategy_rate": 3}),
        (Scope.INSTRUMENT, {"instrument_rate": 3}),
    ],
)
def test_a_mass_cancel_in_one_message_counts_as_one(scope, more):
    w = world(**more)
    for session in (2, 3):
        w.up(session, capability=SessionFlag.MASS_CANCEL)
    assert len(sent(w.new("a", px=10_000, qty=10))) == 1
    outputs = w.send(Template.MASS_CANCEL, scope=scope, request_id=1, actor_id=1000)
    assert len(of(outputs, Template.MASS_CANCEL)) == 1
    assert blocks(w.new("b", px=9_999, qty=10)) == []
    ((rule, value, limit),) = blocks(w.new("c", px=9_998, qty=10))
    assert (rule, value, limit) == (RiskRule[next(iter(more)).upper()], 4, 3)


def test_a_mass_cancel_of_others_counts_for_its_session_alone():
    w = world(strategy_rate=2, instrument_rate=2, session_rate=100)
    for session in (2, 3):
        w.up(session, capability=SessionFlag.MASS_CANCEL)
    w.new("a", px=10_000, qty=10, algo_id=1)
    assert len(of(w.send(Template.MASS_CANCEL, scope=Scope.STRATEGY, target=1), Template.MASS_CANCEL)) == 1
    assert blocks(w.new("b", px=9_999, qty=10)) == []


def test_permission_names_all_four():
    w = world(permission=only({"client": ["c1"], "strategy": [3], "instrument": ["AAA"], "venue": ["XA", "XC"]}))
    assert blocks(w.new("a")) == [(RiskRule.PERMISSION, 0, 0)]
    assert blocks(w.new("b", algo_id=3, session=1)) == [(RiskRule.PERMISSION, 3, 0)]
    assert blocks(w.new("c", algo_id=3, instrument_id=1)) == [(RiskRule.PERMISSION, 3, 0)]
    outputs = w.new("d", algo_id=3, qty=150, px=10_001, tif=IOC)
    assert sent(outputs) == [(0, 100, 10_001)]
    assert blocks(outputs) == [(RiskRule.PERMISSION, 3, 0)]
    assert of(outputs, Template.RISK_BLOCK)[0].venue_id == 1


def test_permissions_are_not_mixed():
    w = world(permission=only({"client": ["c1"], "strategy": [1]}, {"client": ["c2"], "strategy": [2]}))
    assert blocks(w.new("a", algo_id=1)) == []
    assert blocks(w.new("b", algo_id=2)) == [(RiskRule.PERMISSION, 2, 0)]
    assert blocks(w.new("b", algo_id=2, session=1)) == []


def test_strategy_beyond_those_there_are():
    assert reasons(world().new("a", algo_id=16)) == [Reason.UNSUPPORTED]
    assert reasons(world().new("a", algo_id=-1)) == [Reason.UNSUPPORTED]


def test_restricted_instrument():
    w = world(restricted=["AAA"])
    outputs = w.new("a")
    assert blocks(outputs) == [(RiskRule.RESTRICTED, 1, 0)]
    assert kinds(outputs) == ["RISK_BLOCK", "REFUSAL", "REJECT"]
    w.quote(0, 9_999, 100, 10_001, 100, instrument_id=1)
    assert blocks(w.new("b", instrument_id=1)) == []


@pytest.mark.parametrize(("status", "blocked"), [(0, False), (1, True), (2, True), (3, False)])
def test_halted_at_a_venue(status, blocked):
    """Only what is posted gets there at all: a halted venue's quote is not routed to."""
    w = World(make_config(sweep={"rest": "venue", "post_venue": "XA"}))
    w.quote(0, 9_999, 100, 10_001, 100)
    w.quote(1, 9_999, 100, 10_001, 100)
    w.feed(Template.INSTRUMENT_STATUS, 0, instrument_id=0, status=status)
    outputs = w.new("a", px=9_990)
    assert blocks(outputs) == [(RiskRule.INSTRUMENT_HALTED, 0, 0)] * blocked
    w.feed(Template.INSTRUMENT_STATUS, 0, instrument_id=0, status=0)
    assert blocks(w.new("b", px=9_991)) == []


def test_fat_finger_on_either_side():
    w = world(fat_finger_bps=100)
    outputs = w.new("a", px=9_899)
    assert blocks(outputs) == [(RiskRule.FAT_FINGER, 19_798, 19_800)]
    assert reasons(outputs) == [Reason.RISK]
    assert blocks(w.new("b", px=9_900)) == []
    assert blocks(w.new("c", side=SELL, px=10_101)) == [(RiskRule.FAT_FINGER, 20_202, 20_200)]


def test_fat_finger_of_a_child_whose_parent_came_without_a_reference():
    w = World(make_config(risk={"fat_finger_bps": 100}, sweep={"rest": "venue"}))
    w.new("a", px=9_000, tif=IOC)
    w.quote(0, 9_999, 10, 10_001, 10)
    assert blocks(w.new("b", px=8_000)) == [(RiskRule.FAT_FINGER, 16_000, 19_800)]


def test_collar_over_a_period_is_from_its_lowest_reference():
    w = world(period_collar_bps=100, collar_period_ms=15_000, collar_bps=5000)
    w.advance(SECOND)
    w.quote(0, 10_149, 100, 10_151, 100)
    w.quote(1, 10_149, 100, 10_151, 100)
    # 100.00 was the lowest; 1 % above it is 101.00
    assert blocks(w.new("a", px=10_151, tif=IOC)) == [(RiskRule.PERIOD_COLLAR, 20_302, 20_200)] * 2
    for _ in range(17):
        w.advance(SECOND)
        w.quote(0, 10_149, 100, 10_151, 100)
        w.quote(1, 10_149, 100, 10_151, 100)
    assert blocks(w.new("b", px=10_151, tif=IOC)) == [], "the period is over"


def test_collar_over_a_period_of_sells_is_from_its_highest():
    w = world(period_collar_bps=100, collar_period_ms=15_000, collar_bps=5000)
    w.advance(SECOND)
    w.quote(0, 9_849, 100, 9_851, 100)
    w.quote(1, 9_849, 100, 9_851, 100)
    assert blocks(w.new("a", side=SELL, px=9_849, tif=IOC, qty=10)) == [(RiskRule.PERIOD_COLLAR, 19_698, 19_800)] * 2


def test_position_counts_what_works():
    w = world(max_position="150")
    outputs = w.new("a", qty=100, px=9_990)
    assert blocks(outputs) == []
    assert blocks(w.new("b", qty=51, px=9_990)) == [(RiskRule.MAX_POSITION, 151, 150)]
    assert blocks(w.new("c", qty=50, px=9_990)) == []
    assert blocks(w.new("d", side=SELL, qty=151, px=10_010)) == [(RiskRule.MAX_POSITION, 151, 150)]
    w.fill(children(outputs)[0])
    assert blocks(w.new("e", qty=1, px=9_990)) == [(RiskRule.MAX_POSITION, 151, 150)]
    assert blocks(w.new("f", side=SELL, qty=250, px=10_010)) == []
    assert blocks(w.new("g", side=SELL, qty=1, px=10_010)) == [(RiskRule.MAX_POSITION, 151, 150)]
    assert blocks(w.new("h", qty=100, px=9_990, account_id=1)) == [], "another account"


def test_position_comes_back_with_the_end_of_a_child():
    w = world(max_position="100")
    (child,) = children(w.new("a", qty=100, px=9_990))
    assert blocks(w.new("b", qty=1, px=9_990)) == [(RiskRule.MAX_POSITION, 101, 100)]
    w.cancel("a")
    assert blocks(w.new("c", qty=1, px=9_990)) == [(RiskRule.MAX_POSITION, 101, 100)], "asked for is not cancelled"
    w.done(child)
    assert blocks(w.new("d", qty=100, px=9_990)) == []


def test_gross_and_net_notional():
    w = world(gross_notional="20000", net_notional="15000")
    (child,) = children(w.new("a", qty=100, px=9_990))  # 9,990.00
    assert blocks(w.new("b", qty=51, px=9_990)) == [(RiskRule.NET_NOTIONAL, 1_508_490, 1_500_000)]
    assert blocks(w.new("c", side=SELL, qty=90, px=10_010)) == [], "the other side of the account nets nothing away"
    w.fill(child)
    assert blocks(w.new("d", side=SELL, qty=100, px=10_000, instrument_id=0)) == [], "closes what was bought"
    w.quote(0, 9_999, 100, 10_001, 100, instrument_id=1)
    w.quote(1, 9_999, 100, 10_001, 100, instrument_id=1)
    outputs = w.new("e", side=SELL, qty=110, px=10_010, instrument_id=1)
    assert blocks(outputs) == [(RiskRule.GROSS_NOTIONAL, 999_000 + 1_101_100, 2_000_000)]


def test_replace_that_raises_is_held_against_the_position():
    w = world(max_position="100")
    (child,) = children(w.new("a", qty=100, px=9_990))
    w.ack(child)
    w.amend(child, 9_990, 60)
    assert w.state.exposures[0].buy_qty == 100, "until the venue says so"
    w.replaced(child, 9_990, 0, 60)
    assert w.state.exposures[0].buy_qty == 60
    assert blocks(w.new("b", qty=41, px=9_990)) == [(RiskRule.MAX_POSITION, 101, 100)]
    assert blocks(w.new("c", qty=40, px=9_990)) == []
    assert blocks(w.amend(child, 9_990, 61)) == [(RiskRule.MAX_POSITION, 101, 100)]
    assert w.state.exposures[0].buy_qty == 100


def test_a_sell_that_is_moved_up_is_worth_more_and_held_to_it():
    """Away from the other side, and more money all the same: sizes, the fat finger, and the account's notional."""
    w = world(gross_notional="20000", net_notional="off", max_notional="15000", fat_finger_bps=2000)
    (child,) = children(w.new("a", side=SELL, qty=100, px=10_010))
    w.ack(child)
    assert blocks(w.amend(child, 15_001, 100)) == [(RiskRule.MAX_NOTIONAL, 15_001 * 10**9, 15_000 * 10**9)]
    (block,) = of(w.amend(child, 14_000, 100), Template.RISK_BLOCK)
    assert (block.rule, w.state.exposures[0].sell_qty) == (RiskRule.FAT_FINGER, 100)
    assert blocks(w.new("b", qty=90, px=9_990)) == [], "the other side adds nothing to the gross that is there"
    w.quote(0, 9_999, 100, 10_001, 100, instrument_id=1)
    w.quote(1, 9_999, 100, 10_001, 100, instrument_id=1)
    assert blocks(w.new("c", side=SELL, qty=90, px=10_010, instrument_id=1)) == []
    assert blocks(w.amend(child, 11_100, 100)) == [(RiskRule.GROSS_NOTIONAL, 1_110_000 + 900_900, 2_000_000)]
    assert blocks(w.amend(child, 11_000, 100)) == [(RiskRule.GROSS_NOTIONAL, 1_100_000 + 900_900, 2_000_000)]
    assert len(of(w.amend(child, 10_900, 100), Template.ORDER_REPLACE)) == 1


@pytest.mark.parametrize(
    ("key", "rule"),
    [("session_rate", RiskRule.SESSION_RATE), ("strategy_rate", RiskRule.STRATEGY_RATE),
     ("instrument_rate", RiskRule.INSTRUMENT_RATE)],
)  # fmt: skip
def test_rate_counts_new_orders_and_cancels_and_never_stops_a_cancel(key, rule):
    w = world(**{key: 3})
    (child,) = children(w.new("a", px=9_990))
    (other,) = children(w.new("b", px=9_991))
    outputs = w.cancel("a")
    assert len(of(outputs, Template.ORDER_CANCEL)) == 1
    assert blocks(w.new("c", px=9_992)) == [(rule, 4, 3)]
    assert len(of(w.cancel("b"), Template.ORDER_CANCEL)) == 1, "beyond the limit, and sent"
    w.done(child)
    w.done(other)
    w.advance(SECOND - 1)
    assert blocks(w.new("d", px=9_993)) == [(rule, 5, 3)]
    w.advance(SLOT_NS + 1)
    assert blocks(w.new("e", px=9_994)) == []


def test_rate_counts_cancels_of_time():
    w = world(session_rate=1000)
    w.new("a", px=10_001, qty=100, tif=IOC)
    assert w.state.rates[2].total == 1
    w.advance(500 * MS)
    assert w.state.rates[2].total == 2, "the cancel of a child that its venue is silent about"


def test_duplicates():
    w = world(duplicate_ms=500)
    assert blocks(w.new("a", px=9_990, qty=10)) == []
    w.advance(499 * MS)
    outputs = w.new("b", px=9_990, qty=10)
    assert blocks(outputs) == [(RiskRule.DUPLICATE, 499 * MS, 500 * MS)]
    assert reasons(outputs) == [Reason.RISK]
    for change in ({"px": 9_991}, {"qty": 11}, {"side": SELL, "px": 10_010}, {"account_id": 1}, {"session": 1}):
        assert blocks(w.new(f"x{change}"[:15], **{"px": 9_990, "qty": 10, **change})) == []
    w.advance(MS)
    assert blocks(w.new("c", px=9_990, qty=10)) == []


def test_throttle_latches_until_a_person_enables():
    w = world(repeated_executions=2, repeated_executions_ms=1500)
    first, second = (children(w.new(name, px=px, algo_id=5))[0] for name, px in (("a", 9_990), ("b", 9_991)))
    w.fill(first)
    outputs = w.fill(second)
    (alert,) = [row for row in of(outputs, Template.ALERT) if row.code == Reason.THROTTLED]
    assert alert.value == 5
    outputs = w.new("c", px=9_992, algo_id=5)
    assert blocks(outputs) == [(RiskRule.REPEATED_EXECUTION, 2, 2)]
    assert reasons(outputs) == [Reason.THROTTLED]
    assert blocks(w.new("d", px=9_992, algo_id=4)) == [], "another strategy"
    w.advance(3600 * SECOND)
    w.quote(0, 9_999, 100, 10_001, 100)
    assert blocks(w.new("e", px=9_992, algo_id=5)) == [(RiskRule.REPEATED_EXECUTION, 2, 2)], "no time does it"
    enable = {"action": ControlAction.ENABLE, "scope": Scope.STRATEGY, "target": 5}
    assert reasons(w.send(Template.CONTROL, **enable)) == [Reason.NOT_AUTHORISED], "nobody is no person"
    (report,) = of(w.send(Template.CONTROL, **enable, actor_id=1000, request_id=9), Template.CONTROL_REPORT)
    told = (report.action, report.target, report.actor_id, report.request_id, report.old_value, report.reason)
    assert told == (ControlAction.ENABLE, 5, 1000, 9, 2, 0)
    assert blocks(w.new("f", px=9_992, algo_id=5)) == []
    assert reasons(w.on_session(Template.CONTROL, 0, **enable, cl_ord_id="f")) == [Reason.UNSUPPORTED]


def test_executions_far_apart_latch_nothing():
    w = world(repeated_executions=2, repeated_executions_ms=1500)
    for n in range(5):
        (child,) = children(w.new(f"{n}", px=9_990))
        w.fill(child)
        w.advance(2 * SECOND)
        w.quote(0, 9_999, 100, 10_001, 100)
        w.quote(1, 9_999, 100, 10_001, 100)
    assert w.counter("risk_blocks") == 0


def test_the_walker_sees_a_sum_that_is_off():
    w = world()
    w.new("a", px=9_990)
    for array, field in (("exposures", "buy_qty"), ("exposures", "worst"), ("accounts", "gross"), ("accounts", "long")):
        row = getattr(w.state, array)[0]
        row[field] += 1
        with pytest.raises(AssertionError):
            w.timer()
        row[field] -= 1
    w.timer()
