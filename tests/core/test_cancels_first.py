"""Cancels that wait for a venue session's pace go before all that is new there: new orders and replaces are blocked."""

from __future__ import annotations

import pytest

from engine.record.records import ControlAction, RiskRule, Scope, Template
from tests.core.test_kill import many, scoped
from tests.core.world import MS, SECOND, children, of

pytestmark = pytest.mark.kernel


def test_paced_cancels_go_before_all_that_is_new():
    """A desk sends all that the venue takes, through a kill of another strategy: its orders wait, not the cancels."""
    w, placed = many(20, sessions={"v1": {"messages_per_s": 10, "burst": 1}})
    w.advance(10 * SECOND)
    w.offers((0, 10_100, 50), (1, 10_100, 50))
    began, times, sent = w.now_ns, [], 0
    rows = w.send(Template.MASS_CANCEL, **scoped(Scope.STRATEGY, 4))
    rows += w.send(Template.CONTROL, action=ControlAction.KILL_ON, **scoped(Scope.STRATEGY, 4))
    for n in range(220):
        rows += w.new(1000 + n, px=10_000, qty=10, algo_id=1)
        asked = {row.order_id for row in of(rows, Template.ORDER_CANCEL)}
        times += [w.now_ns] * len(asked)
        sent += len(children(rows))
        if blocked := of(rows, Template.RISK_BLOCK):
            told = {(RiskRule(int(row.rule)), int(row.value), int(row.limit)) for row in blocked}
            assert told == {(RiskRule.CANCELS_FIRST, 20 - len(times), 0)}
            assert not children(rows)
        for child in placed:
            if child.order_id in asked:
                w.done(child)
        rows = w.advance(10 * MS)
    assert len(times) == 20
    assert times[-1] - began <= 20 * SECOND // 10, "as if nobody else sent"
    assert sent > 0, "and then the others go on"


def test_what_was_sent_beyond_the_limit_keeps_cancels_for_a_second_at_the_most():
    w, _ = many(3, sessions={"v1": {"messages_per_s": 10}})
    w.advance(10 * SECOND)
    w.offers((0, 10_100, 50), (1, 10_100, 50))
    for n in range(200):  # twenty seconds' worth
        w.new(1000 + n, px=10_000, qty=10, algo_id=1)
    rows = w.send(Template.MASS_CANCEL, **scoped(Scope.STRATEGY, 4))
    assert not of(rows, Template.ORDER_CANCEL)
    assert not of(w.advance(999 * MS), Template.ORDER_CANCEL)
    assert len(of(w.advance(1 * MS), Template.ORDER_CANCEL)) == 1
    assert len(of(w.advance(200 * MS), Template.ORDER_CANCEL)) == 2


def test_a_replace_waits_for_paced_cancels_as_well():
    w, placed = many(3, sessions={"v1": {"messages_per_s": 1}})
    w.advance(10 * SECOND)
    w.offers((0, 10_100, 50), (1, 10_100, 50))
    (child,) = children(w.new("b", px=10_000, qty=10, algo_id=1))
    w.ack(child)
    w.send(Template.MASS_CANCEL, **scoped(Scope.STRATEGY, 4))
    (block,) = of(w.amend(child, 9_999, 5), Template.RISK_BLOCK)
    assert (block.rule, block.value, block.limit) == (RiskRule.CANCELS_FIRST, 3, 0)
    for _ in range(3):
        (sent,) = of(w.advance(SECOND), Template.ORDER_CANCEL)
        w.done(next(row for row in placed if row.order_id == sent.order_id))
    assert len(of(w.amend(child, 9_999, 5), Template.ORDER_REPLACE)) == 1
