"""Limits that change while the engine runs: by the control link alone, answered, overridden by two persons."""

from __future__ import annotations

import pytest

from engine.core.rules import CHANGEABLE
from engine.core.step import next_deadline
from engine.record.records import Reason, RiskRule, Scope, Template
from tests.core.test_risk import blocks
from tests.core.test_rules import world
from tests.core.world import SECOND, kinds, of, reasons

pytestmark = pytest.mark.kernel

PERSONS = {"actor_id": 1001, "actor_2": 1002}


def change(w, rule=RiskRule.MAX_QTY, value=10, **more):
    """A LIMIT_CHANGE of the control link; old_value is not said unless it is."""
    fields = {"rule": rule, "scope": CHANGEABLE[rule].scope, "value": value, "old_value": -1, "actor_id": 1001, **more}
    return w.send(Template.LIMIT_CHANGE, **fields)


def answer(outputs):
    """(reason, value, old value) of the answer."""
    (row,) = of(outputs, Template.CONTROL_REPORT)
    return Reason(int(row.reason)), int(row.value), int(row.old_value)


def test_change_is_answered_and_in_force():
    w = world()
    outputs = change(w, value=50, request_id=7)
    assert kinds(outputs) == ["ALERT", "CONTROL_REPORT"]
    (row,) = of(outputs, Template.CONTROL_REPORT)
    told = (row.request_id, row.actor_id, row.rule, row.scope, row.target, row.finished, row.command_ns)
    assert told == (7, 1001, RiskRule.MAX_QTY, Scope.INSTRUMENT, 0, 1, w.now_ns)
    assert answer(outputs) == (Reason.NONE, 50, 100_000)
    assert of(outputs, Template.ALERT)[0].code == Reason.LIMIT_CHANGED
    assert blocks(w.new("a", qty=51)) == [(RiskRule.MAX_QTY, 51, 50)]
    assert RiskRule.MAX_QTY not in [rule for rule, _, _ in blocks(w.new("b", qty=51, instrument_id=1))]


def test_root_is_told_from_nobody():
    w = world()
    (row,) = of(change(w, value=50, actor_id=0), Template.CONTROL_REPORT)
    assert (row.actor_id, row.actor_2, row.reason) == (0, -1, 0)
    (row,) = of(change(w, value=60, actor_id=-1), Template.CONTROL_REPORT)
    assert (row.actor_id, row.actor_2, row.reason) == (-1, -1, Reason.NOT_AUTHORISED)


def test_old_value_is_compared():
    w = world()
    outputs = change(w, value=50, old_value=99)
    assert (reasons(outputs), answer(outputs)) == ([Reason.LIMIT_CHANGED], (Reason.LIMIT_CHANGED, 50, 100_000))
    assert answer(change(w, value=50, old_value=100_000)) == (Reason.NONE, 50, 100_000)


def test_a_client_changes_no_limit():
    w = world()
    outputs = w.on_session(Template.LIMIT_CHANGE, 0, rule=RiskRule.MAX_QTY, scope=Scope.INSTRUMENT, value=50)
    assert reasons(outputs) == [Reason.UNKNOWN_SESSION]
    assert not of(outputs, Template.CONTROL_REPORT)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"rule": RiskRule.KILL, "scope": Scope.ALL}, Reason.UNSUPPORTED),
        ({"rule": 77, "scope": Scope.ALL}, Reason.UNSUPPORTED),
        ({"rule": -1, "scope": Scope.ALL}, Reason.UNSUPPORTED),
        ({"scope": Scope.ALL}, Reason.UNSUPPORTED),
        ({"value": 0}, Reason.UNSUPPORTED),
        ({"value": (1 << 63) - 1}, Reason.UNSUPPORTED),
        ({"value": -5}, Reason.UNSUPPORTED),
        ({"flags": 1}, Reason.UNSUPPORTED),
        ({"instrument_id": 2}, Reason.UNKNOWN_INSTRUMENT),
        ({"instrument_id": -1}, Reason.UNKNOWN_INSTRUMENT),
        ({"rule": RiskRule.SESSION_RATE, "scope": Scope.SESSION, "target": 99}, Reason.UNKNOWN_SESSION),
        ({"rule": RiskRule.GROSS_NOTIONAL, "scope": Scope.ACCOUNT, "target": 2}, Reason.UNKNOWN_ACCOUNT),
        ({"rule": RiskRule.STRATEGY_RATE, "scope": Scope.STRATEGY, "target": 16}, Reason.UNSUPPORTED),
        ({"rule": RiskRule.DUPLICATE, "scope": Scope.ALL, "target": 1}, Reason.UNSUPPORTED),
        ({"expires_ns": 1 << 62}, Reason.SECOND_PERSON),
        ({"expires_ns": 1 << 62, "actor_2": 1001}, Reason.SECOND_PERSON),
        ({"expires_ns": 1 << 62, "actor_2": 1002, "actor_id": 0}, Reason.SECOND_PERSON),
        ({"expires_ns": 1 << 62, "actor_2": 0}, Reason.SECOND_PERSON),
        ({"actor_id": -1}, Reason.NOT_AUTHORISED),
        ({"expires_ns": 1, "actor_2": 1002}, Reason.NOT_IN_ORDER),
    ],
)
def test_refused_changes_are_answered_and_change_nothing(fields, reason):
    w = world()
    before = w.state.limits.copy()
    outputs = w.send(
        Template.LIMIT_CHANGE,
        **{
            "rule": RiskRule.MAX_QTY,
            "scope": Scope.INSTRUMENT,
            "value": 5,
            "old_value": -1,
            "actor_id": 1001,
            **fields,
        },
    )
    assert (reasons(outputs), answer(outputs)[0]) == ([reason], reason)
    assert (w.state.limits == before).all()


@pytest.mark.parametrize("rule", CHANGEABLE)
def test_every_rule_has_a_place_of_its_own(rule):
    w = world()
    before = w.state.limits.copy()
    value = 1 if rule == RiskRule.RESTRICTED else 7
    assert answer(change(w, rule, value))[:2] == (Reason.NONE, value)
    (place,) = (w.state.limits != before).nonzero()[0].tolist()
    assert (place, int(w.state.limits[place])) == (CHANGEABLE[rule].first, value)


def test_quantity_raised_beyond_safe_products_is_still_judged():
    """With it px * qty does not fit 63 bits any more; the notional limit holds all the same."""
    w = world()
    change(w, value=1 << 53)
    top = int(w.state.instruments[0].max_px)
    assert [row[0] for row in blocks(w.new("a", qty=1 << 52, px=top))] == [RiskRule.MAX_NOTIONAL]
    assert [row[0] for row in blocks(w.new("b", qty=1 << 53, px=1))] == [RiskRule.MAX_NOTIONAL]
    assert blocks(w.new("c", qty=200_000, px=1_000)) == []


def test_override_ends_by_the_clock_and_is_told():
    w = world()
    until = w.now_ns + 10 * SECOND
    assert answer(change(w, value=500_000, expires_ns=until, **PERSONS)) == (Reason.NONE, 500_000, 100_000)
    assert next_deadline(w.state) == until
    assert blocks(w.new("a", qty=100_001, px=100)) == []
    outputs = w.advance(10 * SECOND - 1)
    assert not [row for row in of(outputs, Template.ALERT) if row.code == Reason.OVERRIDE_EXPIRED]
    w.quote(0, 9_999, 100, 10_001, 100)
    assert blocks(w.new("b", qty=100_001, px=101)) == []
    (alert,) = [row for row in of(w.advance(1), Template.ALERT) if row.code == Reason.OVERRIDE_EXPIRED]
    assert (alert.instrument_id, alert.value) == (0, 100_000)
    assert blocks(w.new("c", qty=100_001, px=102)) == [(RiskRule.MAX_QTY, 100_001, 100_000)]


def test_one_override_a_limit_and_a_change_that_stays_ends_it():
    w = world()
    later = {"expires_ns": w.now_ns + 10 * SECOND, **PERSONS}
    change(w, value=500, **later)
    assert answer(change(w, value=600, **later))[0] == Reason.REQUEST_PENDING
    outputs = change(w, value=40)
    assert [int(row.code) for row in of(outputs, Template.ALERT)] == [Reason.OVERRIDE_EXPIRED, Reason.LIMIT_CHANGED]
    w.advance(20 * SECOND)
    assert blocks(w.new("a", qty=41)) == [(RiskRule.MAX_QTY, 41, 40)]


def test_overrides_have_room_for_sixteen_and_end_in_any_order():
    w = world()
    for n in range(16):
        until = w.now_ns + (16 - n) * SECOND
        assert answer(change(w, RiskRule.STRATEGY_RATE, 5, target=n, expires_ns=until, **PERSONS))[0] == Reason.NONE
    assert answer(change(w, value=5, expires_ns=w.now_ns + 1, **PERSONS))[0] == Reason.TABLE_FULL
    told = [row for row in of(w.advance(16 * SECOND), Template.ALERT) if row.code == Reason.OVERRIDE_EXPIRED]
    assert len(told) == 16
    assert answer(change(w, value=5, expires_ns=w.now_ns + 1, **PERSONS))[0] == Reason.NONE


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"value": 0}, (Reason.UNSUPPORTED, 0, 100_000)),
        ({"value": 5, "expires_ns": 1 << 62}, (Reason.SECOND_PERSON, 5, 100_000)),
        ({"value": 0, "instrument_id": 2}, (Reason.UNKNOWN_INSTRUMENT, 0, -1)),
        ({"value": 5, "scope": Scope.ALL}, (Reason.UNSUPPORTED, 5, -1)),
        ({"value": 5, "rule": 77, "scope": Scope.ALL}, (Reason.UNSUPPORTED, 5, -1)),
        ({"value": 5, "rule": -1, "scope": Scope.ALL}, (Reason.UNSUPPORTED, 5, -1)),
    ],
)
def test_who_is_refused_hears_what_is_in_force(fields, told):
    w = world()
    change(w, value=300, instrument_id=1)
    sent = {"rule": RiskRule.MAX_QTY, "scope": Scope.INSTRUMENT, "old_value": -1, "actor_id": 1001, **fields}
    assert answer(w.send(Template.LIMIT_CHANGE, **sent)) == told
