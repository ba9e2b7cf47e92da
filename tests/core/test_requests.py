"""Replace, pause and resume, the kill flag: how requests meet children, each other, and what has ended."""

from __future__ import annotations

import pytest

from engine.core.state import PAUSED
from engine.record.records import N_REASONS, ControlAction, ExecType, OrdStatus, Reason, RiskRule, Template
from tests.core.scenes import last_report, posted, resting, taking
from tests.core.world import (
    IOC,
    MS,
    SECOND,
    World,
    children,
    kinds,
    make_config,
    of,
    reasons,
    reports,
)

pytestmark = pytest.mark.kernel


def test_same_order_again_is_known_after_a_replace():
    w = resting()
    w.replace("a", 300, 10_050)
    (ack,) = w.new("a")
    assert ack.exec_type == ExecType.ORDER_STATUS
    assert reasons(w.new("a", qty=300, px=10_050)) == [Reason.DUPLICATE_ORDER]


def test_replace_of_a_resting_parent_starts_anew():
    w = resting()
    outputs = w.replace("a", 150, 10_100)
    assert reports(outputs) == [("ACK", "a", "5", "0")]
    assert [(row.qty, row.px) for row in children(outputs)] == [(100, 10_100)]
    assert w.parent("a")[0].qty == 150
    assert w.counter("qty_ordered") == 150


def test_replace_of_a_resting_limit_moves_the_best_limit():
    w = resting()
    w.new("b", px=9_950)
    w.replace("a", 100, 9_940)
    assert w.state.instruments[0].rest_buy_px == 9_950


def test_replace_waits_for_children():
    w, child = posted()
    outputs = w.replace("a", 300, 10_050)
    assert reports(outputs) == [("ACK", "a", "E", "E")]
    assert len(of(outputs, Template.ORDER_CANCEL)) == 1
    assert reports(w.fill(child, 40)) == [("FILL", "a", "F", "E")]
    outputs = w.done(child, cum=40)
    assert reports(outputs) == [("ACK", "a", "5", "1")]
    (again,) = children(outputs)
    assert (again.qty, again.px) == (260, 10_050)


@pytest.mark.parametrize("qty", [40, 10])
def test_replace_to_what_is_executed_or_less_fills_the_parent(qty):
    w, child = posted()
    w.replace("a", qty, 10_000)
    w.fill(child, 40)
    outputs = w.done(child, cum=40)
    assert reports(outputs) == [("ACK", "a", "5", "2")]
    assert w.parent("a")[0].qty == 40
    assert w.counter("parents_filled") == 1
    assert w.counter("qty_ordered") == 40


def test_parent_that_is_filled_before_its_replace_goes_on_with_the_new_quantity():
    w, child = posted()
    w.replace("a", 150, 10_000)
    assert reports(w.fill(child))[0] == ("FILL", "a", "F", "E")
    assert w.parent("a")[0].qty == 150
    (again,) = children(w.request(Template.STATUS_REQUEST, "a")) or [None]
    assert again is None
    assert w.parent("a")[1].live_qty == 50


@pytest.mark.parametrize(
    ("qty", "px", "reason"),
    [
        (0, 10_000, Reason.IMPOSSIBLE_QTY),
        (100, 0, Reason.IMPOSSIBLE_PRICE),
        (100_001, 10_000, Reason.RISK),
        (99_999, 10_050, Reason.RISK),
        (100, 1 << 40, Reason.IMPOSSIBLE_PRICE),
    ],
)
def test_replace_by_terms_that_cannot_be_is_refused(qty, px, reason):
    w = resting()
    outputs = w.replace("a", qty, px)
    blocked = ["RISK_BLOCK"] if reason == Reason.RISK else []
    assert kinds(outputs) == [*blocked, "REFUSAL", "CANCEL_REJECT"]
    assert reasons(outputs) == [reason]
    assert (w.parent("a")[0].qty, w.parent("a")[0].px) == (100, 10_000)


def test_replace_by_a_higher_price_passes_the_notional_limit_too():
    w = World(make_config(risk={"max_notional": "10000"}))
    w.new("a", qty=100, px=10_000)
    assert reasons(w.replace("a", 100, 10_001)) == [Reason.RISK]
    assert reasons(w.replace("a", 100, 9_000)) == []


@pytest.mark.parametrize("px", [10_001, 0])
def test_a_replace_that_breaks_a_rule_is_journaled_with_rule_value_and_limit(px):
    """Of a market order the notional is taken at the reference, as of a new one."""
    w = World(make_config(risk={"max_notional": "10000"}))
    w.quote(0, 10_000, 10, 10_002, 10)
    w.new("a", qty=50, px=px)
    outputs = w.replace("a", 100, px)
    (block,) = of(outputs, Template.RISK_BLOCK)
    order_id = w.parent("a")[0].order_id
    assert (block.order_id, block.parent_id, block.qty, block.px) == (order_id, 0, 100, px)
    assert (block.rule, block.value, block.limit) == (RiskRule.MAX_NOTIONAL, 100 * 10_001 * 10**7, 10_000 * 10**9)
    assert kinds(outputs) == ["RISK_BLOCK", "REFUSAL", "CANCEL_REJECT"]
    assert w.counter("risk_blocks") == 1
    assert w.parent("a")[0].qty == 50


def test_a_replace_in_a_killed_scope_is_refused_as_that():
    w = World()
    w.new("a", qty=50)
    w.kill()
    outputs = w.replace("a", 100, 10_000)
    assert reasons(outputs) == [Reason.KILLED]
    assert [(row.rule, row.qty) for row in of(outputs, Template.RISK_BLOCK)] == [(RiskRule.KILL, 100)]
    assert reasons(w.replace("a", 40, 10_000)) == [], "less is no risk"


def test_replace_is_refused_while_another_waits_and_leaves_it_alone():
    w, child = posted()
    w.replace("a", 300, 10_050)
    outputs = w.replace("a", 500, 10_060)
    assert reasons(outputs) == [Reason.REQUEST_PENDING]
    assert reports(outputs) == [("CANCEL_REJECT", "a", "0", "E")]
    w.done(child)
    assert (w.parent("a")[0].qty, w.parent("a")[0].px) == (300, 10_050)


def test_cancel_beats_a_replace_that_waits():
    w, child = posted()
    w.replace("a", 300, 10_050)
    outputs = w.cancel("a")
    assert reports(outputs) == [("CANCEL_REJECT", "a", "0", "E"), ("ACK", "a", "6", "6")]
    assert of(outputs, Template.CANCEL_REJECT)[0].request == Template.ORDER_REPLACE
    assert reports(w.done(child)) == [("ACK", "a", "4", "4")]
    assert w.parent("a")[0].qty == 100


def test_pause_and_resume_of_a_resting_parent():
    w = resting()
    outputs = w.pause("a")
    assert reports(outputs) == [("ACK", "a", "9", "9")]
    assert w.parent("a")[1].phase == PAUSED
    w.offers((1, 10_000, 100))
    assert w.parent("a")[1].live_qty == 0, "a paused parent hears no quotes"
    outputs = w.resume("a")
    assert reports(outputs) == [("ACK", "a", "0", "0")]
    assert [row.venue_id for row in children(outputs)] == [1]


def test_pause_waits_for_children_and_leaves_their_fills_alone():
    w, child = taking()
    assert reports(w.pause("a")) == []
    w.fill(child, 60)
    outputs = w.done(child, cum=60)
    assert reports(outputs) == [("ACK", "a", "9", "9")]
    assert children(outputs) == []
    w.offers((0, 10_000, 100))
    outputs = w.resume("a")
    assert reports(outputs) == [("ACK", "a", "0", "1")]
    assert [row.qty for row in children(outputs)] == [40]


def test_resume_withdraws_a_pause_that_waits():
    w, child = taking()
    w.pause("a")
    assert reports(w.resume("a")) == [("ACK", "a", "0", "0")]
    w.offers((0, 10_000, 100))
    assert len(children(w.done(child))) == 1


def test_resume_of_what_is_not_paused_is_refused():
    w = resting()
    outputs = w.resume("a")
    assert reports(outputs) == [("CANCEL_REJECT", "a", "0", "0")]
    assert last_report(outputs).reason == Reason.NOT_IN_ORDER


def test_replace_and_cancel_of_a_paused_parent():
    w = resting()
    w.pause("a")
    assert reports(w.replace("a", 200, 10_200)) == [("ACK", "a", "5", "9")]
    assert w.parent("a")[1].phase == PAUSED
    assert reports(w.cancel("a")) == [("ACK", "a", "4", "4")]


def test_paused_day_order_expires():
    w = resting()
    w.pause("a")
    assert reports(w.advance(7 * 3600 * SECOND)) == [("ACK", "a", "C", "C")]


def test_cancel_beats_a_pause_that_waits():
    w, child = taking()
    w.pause("a")
    assert reports(w.cancel("a")) == [("CANCEL_REJECT", "a", "0", "0"), ("ACK", "a", "6", "6")]
    assert reports(w.done(child)) == [("ACK", "a", "4", "4")]


def test_requests_of_what_has_ended_are_refused():
    w = resting()
    w.cancel("a")
    for outputs in (w.pause("a"), w.resume("a"), w.replace("a", 5, 5), w.cancel("a")):
        assert reasons(outputs) == [Reason.ORDER_TERMINAL]
        assert reports(outputs) == [("CANCEL_REJECT", "a", "0", "4")]
    (ack,) = w.request(Template.STATUS_REQUEST, "a")
    assert ack.ord_status == OrdStatus.CANCELED


def test_kill_flag_is_for_the_control_link_alone():
    w = World()
    outputs = w.on_session(Template.CONTROL, 0, cl_ord_id="a", action=ControlAction.KILL_ON)
    assert reasons(outputs) == [Reason.UNSUPPORTED]
    assert w.state.core[0].killed == 0
    assert kinds(w.kill()) == ["CONTROL_REPORT", "ALERT"]
    assert w.state.core[0].killed == 1
    outputs = w.on_session(Template.CONTROL, 0, cl_ord_id="a", action=ControlAction.STOP)
    assert reasons(outputs) == [Reason.UNSUPPORTED]
    assert reasons(w.send(Template.CONTROL, action=ControlAction.KILL_ON, value=N_REASONS)) == [Reason.UNSUPPORTED]
    w.send(Template.CONTROL, action=ControlAction.KILL_ON, value=Reason.DISK_FULL)
    assert w.state.core[0].killed == Reason.DISK_FULL
    assert reasons(w.send(Template.CONTROL, action=ControlAction.PAUSE)) == [Reason.UNKNOWN_ORDER]


def test_killed_engine_still_cancels():
    w, child = posted()
    w.kill()
    assert reasons(outputs := w.new("b")) == [Reason.KILLED]
    assert ("REJECT", "b", "8", "8") in reports(outputs)
    assert len(of(w.cancel("a"), Template.ORDER_CANCEL)) == 1
    assert reports(w.done(child)) == [("ACK", "a", "4", "4")]
    w.kill(False)
    assert reports(w.new("c", tif=IOC, px=9_000)) == [("ACK", "c", "0", "0"), ("ACK", "c", "4", "4")]


def test_time_never_falls():
    w = World()
    w.now_ns += SECOND
    w.quote(0, 9_900, 100, 10_100, 100)
    now = int(w.state.core[0].now_ns)
    w.now_ns -= 500 * MS
    w.quote(0, 9_900, 100, 10_100, 100)
    assert w.state.core[0].now_ns == now


def test_replace_that_leaves_the_quantity_comes_too_late_for_what_is_filled_meanwhile():
    w, child = posted()
    w.replace("a", 100, 10_050)
    outputs = w.fill(child)
    assert reports(outputs) == [("FILL", "a", "F", "E"), ("CANCEL_REJECT", "a", "0", "2")]
    assert last_report(outputs).reason == Reason.ORDER_TERMINAL
    assert w.parent("a")[0].px == 10_000
