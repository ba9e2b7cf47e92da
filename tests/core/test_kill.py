"""Kills by scope and mass cancels: who is stopped, what is cancelled, at what pace, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.limits import MAX_KILLS, MAX_MASSES, MAX_STRATEGIES, OUTBOX
from engine.record.records import ControlAction, OrdStatus, Reason, RiskRule, Scope, SessionFlag, Template
from tests.core.world import IOC, MS, SECOND, World, children, make_config, of, reasons

pytestmark = pytest.mark.kernel

WHO = {"client_id": 3, "algo_id": 4, "trader_id": 5, "account_id": 1}
#: What the orders of `many` are in, and what they are not.
INSIDE = {
    Scope.ALL: 0, Scope.VENUE: 0, Scope.INSTRUMENT: 0, Scope.CLIENT: 3, Scope.STRATEGY: 4, Scope.TRADER: 5,
    Scope.ACCOUNT: 1,
}  # fmt: skip
OUTSIDE = {
    Scope.VENUE: 1, Scope.INSTRUMENT: 1, Scope.CLIENT: 2, Scope.STRATEGY: 2, Scope.TRADER: 2, Scope.ACCOUNT: 0,
    Scope.SESSION: 3,
}  # fmt: skip
SCOPES = [*INSIDE.items(), (Scope.SESSION, 0), (Scope.SESSION, 2)]


def scoped(scope: Scope, target: int, **more) -> dict[str, int]:
    """The fields of a command for a scope."""
    name = {Scope.CLIENT: "client_id", Scope.INSTRUMENT: "instrument_id"}.get(scope, "target")
    return {"scope": int(scope), name: target, "request_id": 77, "actor_id": 1000, **more}


def many(count: int, **more) -> tuple[World, list[Any]]:
    """So many orders that rest at venue 0, accepted by it, of one person."""
    room = {"parents": 1024, "children": 1024} if count > 20 else {}
    config = make_config(sweep={"rest": "venue", "post_venue": "XA"}, capacity={**room}, **more)
    w = World(config, check=count <= 60)
    w.offers((0, 10_100, 50), (1, 10_100, 50))
    found = []
    for n in range(count):
        (child,) = children(w.new(n + 1, px=10_000, qty=10, **WHO))
        w.ack(child)
        found.append(child)
    return w, found


def reports(outputs):
    """The CONTROL_REPORTs among outputs."""
    return of(outputs, Template.CONTROL_REPORT)


@pytest.mark.parametrize(("scope", "target"), SCOPES)
def test_a_killed_scope_sends_nothing_new_and_its_cancels_leave(scope, target):
    w, (child,) = many(1)
    (report,) = reports(w.send(Template.CONTROL, action=ControlAction.KILL_ON, **scoped(scope, target)))
    told = (report.request_id, report.actor_id, report.scope, report.target, report.value, report.finished)
    assert told == (77, 1000, scope, target, 1, 1)
    assert report.actor_2 == -1
    outputs = w.new("b", px=10_000, qty=10, **WHO)
    (block,) = of(outputs, Template.RISK_BLOCK)[:1]
    assert (block.rule, block.value, block.limit) == (RiskRule.KILL, scope, target)
    sent = children(outputs)
    assert {int(order.venue_id) for order in sent} <= ({1, 2} if scope in (Scope.VENUE, Scope.SESSION) else set())
    assert [row.order_id for row in of(w.cancel(1), Template.ORDER_CANCEL)] == [child.order_id]
    (report,) = reports(w.send(Template.CONTROL, action=ControlAction.KILL_OFF, **scoped(scope, target)))
    assert (report.value, report.old_value) == (0, 1)
    assert w.state.core[0].killed == w.state.core[0].n_kills == 0
    assert children(w.new("c", px=10_000, qty=10, **WHO))


@pytest.mark.parametrize(("scope", "target"), OUTSIDE.items())
def test_who_is_not_in_the_scope_trades_on(scope, target):
    w, _ = many(1)
    w.send(Template.CONTROL, action=ControlAction.KILL_ON, **scoped(scope, target))
    assert children(w.new("b", px=10_000, qty=10, **WHO))
    assert not of(w.send(Template.MASS_CANCEL, **scoped(scope, target)), Template.ORDER_CANCEL)


def test_a_lifted_scope_leaves_the_others_killed_and_the_table_has_an_end():
    w = World()
    for n in range(MAX_KILLS):
        w.send(Template.CONTROL, action=ControlAction.KILL_ON, **scoped(Scope.TRADER, n))
    (report,) = reports(w.send(Template.CONTROL, action=ControlAction.KILL_ON, **scoped(Scope.TRADER, 99)))
    assert (report.reason, report.value) == (Reason.TABLE_FULL, 0)
    w.send(Template.CONTROL, action=ControlAction.KILL_OFF, **scoped(Scope.TRADER, 0))
    w.send(Template.CONTROL, action=ControlAction.KILL_ON, **scoped(Scope.ALL, 0, value=Reason.DISK_FULL))
    w.send(Template.CONTROL, action=ControlAction.KILL_OFF, **scoped(Scope.ALL, 0))
    assert reasons(w.new("a", trader_id=0)) == []
    assert reasons(w.new("b", trader_id=1)) == [Reason.KILLED]
    assert w.state.core[0].n_kills == MAX_KILLS - 1
    before = w.hash()
    w.send(Template.CONTROL, action=ControlAction.KILL_ON, **scoped(Scope.TRADER, 1))
    assert w.state.core[0].n_kills == MAX_KILLS - 1
    assert w.hash() != before, "the alert is counted"


@pytest.mark.parametrize(
    ("scope", "target", "reason"),
    [
        (Scope.VENUE, 3, Reason.UNKNOWN_VENUE), (Scope.SESSION, 4, Reason.UNKNOWN_SESSION),
        (Scope.INSTRUMENT, 2, Reason.UNKNOWN_INSTRUMENT), (Scope.TRADER, 1 << 15, Reason.UNSUPPORTED),
        (Scope.CLIENT, -1, Reason.UNSUPPORTED), (Scope.ORDER, 0, Reason.UNSUPPORTED),
        (Scope.STRATEGY, MAX_STRATEGIES, Reason.UNSUPPORTED), (Scope.STRATEGY, -1, Reason.UNSUPPORTED),
        (Scope.ACCOUNT, 2, Reason.UNKNOWN_ACCOUNT), (Scope.ACCOUNT, -1, Reason.UNKNOWN_ACCOUNT),
        (99, 0, Reason.UNSUPPORTED),
    ],
)  # fmt: skip
@pytest.mark.parametrize("template", [Template.CONTROL, Template.MASS_CANCEL])
def test_a_scope_of_nothing_is_refused_and_answered(template, scope, target, reason):
    w, _ = many(1)
    action = {"action": ControlAction.KILL_ON} if template == Template.CONTROL else {}
    outputs = w.send(template, **scoped(scope, target), **action)
    assert reasons(outputs) == [reason]
    (report,) = reports(outputs)
    assert (report.request_id, report.reason, report.finished) == (77, reason, 1)
    assert w.state.core[0].n_kills == w.state.core[0].killed == 0


@pytest.mark.parametrize(("scope", "target"), [(Scope.STRATEGY, MAX_STRATEGIES - 1), (Scope.ACCOUNT, 1)])
def test_the_last_strategy_and_account_can_be_stopped_and_no_order_is_of_one_beyond(scope, target):
    w, _ = many(1)
    fields = {**WHO, {Scope.STRATEGY: "algo_id", Scope.ACCOUNT: "account_id"}[scope]: target}
    (report,) = reports(w.send(Template.CONTROL, action=ControlAction.KILL_ON, **scoped(scope, target)))
    assert (report.reason, report.target) == (0, target)
    assert reasons(w.new("b", px=10_000, qty=10, **fields)) == [Reason.KILLED]
    beyond = {name: value + 1 if value == target else value for name, value in fields.items()}
    refused = Reason.UNSUPPORTED if scope == Scope.STRATEGY else Reason.UNKNOWN_ACCOUNT
    assert reasons(w.new("c", px=10_000, qty=10, **beyond)) == [refused]


@pytest.mark.parametrize(("scope", "target"), SCOPES)
def test_a_mass_cancel_says_what_it_did(scope, target):
    w, placed = many(5)
    outputs = w.send(Template.MASS_CANCEL, **scoped(scope, target))
    assert [row.order_id for row in of(outputs, Template.ORDER_CANCEL)] == [child.order_id for child in placed]
    (report,) = reports(outputs)
    assert (report.live_children, report.finished, report.action) == (5, 0, ControlAction.CANCEL)
    w.now_ns += 3 * MS
    w.fill(placed[0], 4)
    for child in placed[:-1]:
        assert not reports(w.done(child))
    w.now_ns += MS
    (report,) = reports(w.done(placed[-1]))
    counts = (report.live_children, report.cancels, report.acknowledged, report.fills_after)
    assert counts == (5, 5, 5, 1)
    assert (report.finished, report.reason, report.request_id, report.actor_id) == (1, 0, 77, 1000)
    assert report.last_cancel_ns == report.command_ns
    assert report.last_ack_ns - report.command_ns == 4 * MS
    parents = scope not in (Scope.VENUE, Scope.SESSION) or (scope == Scope.SESSION and target == 0)
    assert (w.parent(2)[1].ord_status == OrdStatus.CANCELED) == parents


def test_a_mass_cancel_of_nothing_is_done_at_once():
    (report,) = reports(World().send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0)))
    assert (report.live_children, report.finished) == (0, 1)


def test_what_does_not_fit_into_one_step_goes_on_at_once_and_before_any_turn():
    w, placed = many(600)
    outputs = w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0))
    cancels = of(outputs, Template.ORDER_CANCEL)
    assert len(cancels) > OUTBOX - 20
    assert not of(outputs, Template.ACK), "no workflow had a turn"
    cancels += of(w.drain(), Template.ORDER_CANCEL)
    assert [row.order_id for row in cancels] == [child.order_id for child in placed]
    assert w.state.core[0].work_count == 0
    assert {int(s) for s in w.state.parents["ord_status"][:600]} >= {OrdStatus.PENDING_CANCEL}


def test_a_session_with_a_limit_gets_its_cancels_at_its_pace():
    w, placed = many(40, sessions={"v1": {"messages_per_s": 100, "burst": 5}})
    w.advance(SECOND)
    began = w.now_ns
    times = [began] * len(of(w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0)), Template.ORDER_CANCEL))
    assert len(times) == 5
    while len(times) < 40:
        times += [w.now_ns] * len(of(w.advance(MS), Template.ORDER_CANCEL))
        for n in range(len(times)):
            assert sum(began_ns > times[n] - SECOND for began_ns in times[: n + 1]) <= 105
    assert 340 * MS <= times[-1] - began <= 360 * MS
    for child in placed[:-1]:
        w.done(child)
    (report,) = reports(w.done(placed[-1]))
    assert (report.cancels, report.acknowledged, report.reason) == (40, 40, 0)


def test_after_a_stall_the_next_cancels_leave_and_nothing_else_happens():
    """A TIMER of a driver that was away: the answers to what it sent may not have been read."""
    w, placed = many(4, sessions={"v1": {"messages_per_s": 100, "burst": 2}})
    w.advance(SECOND)
    assert len(of(w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0)), Template.ORDER_CANCEL)) == 2
    w.now_ns += 10 * SECOND  # timers of the two that were asked are long due, and so is the last report
    outputs = w.timer(cancels_only=True)
    assert [row.order_id for row in of(outputs, Template.ORDER_CANCEL)] == [child.order_id for child in placed[2:]]
    assert not of(outputs, Template.ALERT)
    assert not reports(outputs)
    armed = int(w.state.core[0].timer_count)
    assert not w.timer(cancels_only=True)
    assert int(w.state.core[0].timer_count) == armed
    assert of(w.timer(), Template.ALERT) == [], "they were asked already"
    assert of(w.advance(50 * MS), Template.ORDER_CANCEL), "those that were not answered are cancelled again"


def test_that_one_mass_cancel_ends_gives_no_other_up():
    """Two commands; the answers to the second one's orders are read first after a long stall."""
    w, placed = many(2)
    w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0, request_id=1))
    w.now_ns += MS
    w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0, request_id=2))
    w.new("b", px=10_000, qty=10, **WHO)
    w.now_ns += 60 * SECOND
    assert not reports(w.done(placed[0]))
    assert {row.request_id: row.reason for row in reports(w.done(placed[1]))} == {1: 0, 2: 0}
    w, placed = many(1)
    other = children(w.new("c", px=10_000, qty=10, client_id=2))[0]
    w.ack(other)
    w.send(Template.MASS_CANCEL, **scoped(Scope.CLIENT, 3, request_id=1))
    w.send(Template.MASS_CANCEL, **scoped(Scope.CLIENT, 2, request_id=2))
    w.now_ns += 60 * SECOND
    (report,) = reports(w.done(other))
    assert (report.request_id, report.reason) == (2, 0)
    (report,) = reports(w.done(placed[0]))
    assert (report.request_id, report.reason) == (1, 0)


def test_cancels_that_timers_send_again_keep_to_the_pace():
    """A venue that answers nothing: each order is asked to end twice, and never faster than the session's limit."""
    w, placed = many(40, sessions={"v1": {"messages_per_s": 100, "burst": 5}})
    w.advance(SECOND)
    times: dict[int, list[int]] = {}
    for row in of(w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0)), Template.ORDER_CANCEL):
        times.setdefault(row.order_id, []).append(w.now_ns)
    for _ in range(1200):
        for row in of(w.advance(MS), Template.ORDER_CANCEL):
            times.setdefault(row.order_id, []).append(w.now_ns)
    assert set(times) == {child.order_id for child in placed}
    assert {len(at) for at in times.values()} == {2}
    every = sorted(at for both in times.values() for at in both)
    for n, at in enumerate(every):
        assert sum(at - SECOND // 10 < other <= at for other in every[: n + 1]) <= 10 + 5
    (report,) = reports(w.advance(3 * SECOND))
    assert (report.cancels, report.acknowledged, report.reason) == (40, 0, Reason.TIMEOUT), "first cancels are counted"


def test_silent_orders_are_cancelled_at_the_pace_whatever_kind_they_are():
    """Immediate ones too, whose venue never answered; without a limit all leave at once."""
    for limit, at_once in (({}, 8), ({"messages_per_s": 100, "burst": 2}, 2)):
        w = World(make_config(sessions={"v1": limit}))
        w.offers((0, 10_000, 500))
        placed = [children(w.new(n + 1, qty=10, tif=IOC))[0] for n in range(8)]
        w.advance(499 * MS)
        w.now_ns += MS
        outputs = w.drain()
        assert len(of(outputs, Template.ORDER_CANCEL)) == at_once
        outputs += w.advance(100 * MS)
        assert [row.order_id for row in of(outputs, Template.ORDER_CANCEL)] == [child.order_id for child in placed]


def test_one_that_is_answered_while_its_cancel_waits_is_not_asked_again():
    w, placed = many(3, sessions={"v1": {"messages_per_s": 2}})
    w.advance(10 * SECOND)
    assert len(of(w.cancel(1), Template.ORDER_CANCEL)) == len(of(w.cancel(2), Template.ORDER_CANCEL)) == 1
    w.now_ns += 500 * MS
    assert not of(w.timer(), Template.ORDER_CANCEL)
    w.done(placed[0])
    later = of(w.advance(800 * MS), Template.ORDER_CANCEL)
    assert [row.order_id for row in later] == [placed[1].order_id]


def test_the_limit_counts_what_else_leaves_and_never_stops_it():
    w, _ = many(3, sessions={"v1": {"messages_per_s": 2}})
    w.advance(10 * SECOND)
    assert len(of(w.cancel(1), Template.ORDER_CANCEL)) == 1
    assert len(of(w.cancel(2), Template.ORDER_CANCEL)) == 1, "a client's cancel is not held up"
    assert not of(w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0)), Template.ORDER_CANCEL)
    assert len(of(w.advance(1100 * MS), Template.ORDER_CANCEL)) >= 1


def test_a_venue_that_offers_it_gets_one_mass_cancel():
    w, placed = many(8)
    w.up(2, capability=SessionFlag.MASS_CANCEL)
    outputs = w.send(Template.MASS_CANCEL, **scoped(Scope.STRATEGY, 4))
    (sent,) = [row for row in of(outputs, Template.MASS_CANCEL) if row.venue_id == 0]
    assert (sent.stream_id, sent.scope, sent.target, sent.request_id) == (2, Scope.STRATEGY, 4, 77)
    assert not of(outputs, Template.ORDER_CANCEL)
    for child in placed[:-1]:
        w.done(child)
    (report,) = reports(w.done(placed[-1]))
    assert (report.live_children, report.cancels, report.acknowledged) == (8, 1, 8)


def test_a_mass_cancel_that_the_venue_loses_is_made_up_for_by_cancels():
    w, _ = many(3)
    w.up(2, capability=SessionFlag.MASS_CANCEL)
    w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0))
    assert len(of(w.advance(500 * MS), Template.ORDER_CANCEL)) == 3


def test_orders_that_do_not_end_are_told_in_time():
    w, placed = many(3)
    w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0))
    w.done(placed[0])
    (report,) = reports(w.advance(3 * 500 * MS + MS))
    assert (report.reason, report.finished) == (Reason.TIMEOUT, 1)
    assert (report.live_children, report.acknowledged) == (3, 1)
    assert not reports(w.done(placed[1]))


def test_of_too_many_mass_cancels_the_oldest_is_given_up():
    w, placed = many(2)
    for _ in range(MAX_MASSES):
        assert len(reports(w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0)))) == 1
        w.now_ns += MS
    given_up, begun = reports(w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0)))
    assert (given_up.reason, given_up.finished, given_up.cancels) == (Reason.TABLE_FULL, 1, 2)
    assert (begun.finished, begun.live_children) == (0, 2)
    w.done(placed[0])
    assert len(reports(w.done(placed[1]))) == MAX_MASSES


def test_what_lives_at_a_lost_session_is_taken_back_when_it_returns():
    w, (child,) = many(1)
    w.silent(2)
    outputs = w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0))
    (report,) = reports(outputs)
    assert (report.live_children, report.cancels, report.finished) == (1, 0, 0)
    w.up(2)
    (question,) = of(w.drain(), Template.STATUS_REQUEST)
    assert question.order_id == child.order_id
    assert [row.order_id for row in of(w.status(child, OrdStatus.NEW), Template.ORDER_CANCEL)] == [child.order_id]


def test_immediate_orders_end_by_themselves_and_are_counted():
    w = World()
    w.offers((0, 10_000, 50))
    (child,) = children(w.new("a", qty=50, tif=IOC))
    outputs = w.send(Template.MASS_CANCEL, **scoped(Scope.ALL, 0))
    assert not of(outputs, Template.ORDER_CANCEL)
    (report,) = reports(w.fill(child, 50))
    assert (report.live_children, report.cancels, report.acknowledged, report.fills_after) == (1, 0, 1, 1)


@pytest.mark.parametrize("cancels", [False, True])
def test_a_client_that_goes_takes_its_orders_along_where_that_is_said(cancels):
    w, placed = many(4, sessions={"c1": {"cancel_on_disconnect": cancels}})
    w.new("other", session=1, px=10_000, qty=10)
    outputs = w.silent(0)
    assert len(of(outputs, Template.ORDER_CANCEL)) == (4 if cancels else 0)
    if cancels:
        (report,) = reports(outputs)
        told = (report.scope, report.target, report.actor_id, report.request_id, report.live_children)
        assert told == (Scope.SESSION, 0, -1, 0, 4)
        for child in placed:
            w.done(child)
        assert w.parent(1)[1].ord_status == OrdStatus.CANCELED
    assert w.parent("other", session=1)[1].ord_status == OrdStatus.NEW
