"""Parents: acceptance, repetition, cancel, replace, pause and resume, and how requests meet children and each other."""

from __future__ import annotations

import pytest

from engine.core.state import RESTING
from engine.record.records import ExecType, OrdStatus, Reason, Scope, Template
from tests.core.scenes import last_report, posted, resting, taking
from tests.core.world import (
    IOC,
    SELL,
    World,
    kinds,
    of,
    reasons,
    reports,
)

pytestmark = pytest.mark.kernel


# ---- acceptance and repetition


def test_acceptance_tells_id_status_and_leaves():
    w = World()
    (ack,) = of(w.new("a", qty=70, client_id=3, tif=IOC)[:1], Template.ACK)
    assert ack.order_id == (17533 << 40) | 1, "trading day 2018-01-02, first counter"
    assert (ack.exec_type, ack.ord_status, ack.leaves_qty, ack.cum_qty) == (ExecType.NEW, OrdStatus.NEW, 70, 0)
    assert (ack.client_id, ack.stream_id, ack.last_px, ack.request) == (3, 0, 10_000, Template.ORDER_NEW)
    assert tuple(ack.exec_id) == (ack.stream_epoch, ack.stream_seq) == (7, 2)


def test_same_order_again_is_answered_with_its_status():
    w, child = taking()
    w.fill(child, 30)
    before = w.counter("parents_accepted")
    outputs = w.new("a")
    assert kinds(outputs) == ["ACK"]
    (ack,) = outputs
    assert (ack.exec_type, ack.reason, ack.cum_qty) == (ExecType.ORDER_STATUS, Reason.DUPLICATE_ORDER, 30)
    assert w.counter("parents_accepted") == before


@pytest.mark.parametrize("other", [{"qty": 200}, {"px": 9_999}, {"side": SELL}, {"instrument_id": 1}, {"tif": IOC}])
def test_other_order_of_the_same_name_is_refused(other):
    w = resting()
    outputs = w.new("a", **other)
    assert kinds(outputs) == ["REFUSAL", "REJECT"]
    assert reasons(outputs) == [Reason.DUPLICATE_ORDER]
    assert w.parent("a")[0].qty == 100


def test_names_are_the_sessions_own():
    w = resting()
    outputs = w.new("a", qty=5, session=1)
    assert reports(outputs) == [("ACK", "a", "0", "0")]
    assert reasons(w.cancel("a", session=1)) == []
    assert w.parent("a")[1].phase == RESTING


def test_unknown_order_is_answered():
    w = World()
    for outputs in (w.cancel("x"), w.replace("x", 1, 1), w.request(Template.STATUS_REQUEST, "x"), w.pause("x")):
        assert kinds(outputs) == ["REFUSAL", "CANCEL_REJECT"]
        assert reasons(outputs) == [Reason.UNKNOWN_ORDER]
    assert reasons(w.cancel(0, order_id=(17533 << 40) | 1)) == [Reason.UNKNOWN_ORDER]


def test_order_is_found_by_our_id_too_but_only_by_its_session():
    w = resting()
    mine = int(w.parent("a")[0].order_id)
    assert reasons(w.cancel(0, order_id=mine, session=1)) == [Reason.UNKNOWN_ORDER]
    assert reports(w.cancel(0, order_id=mine)) == [("ACK", "a", "4", "4")]


def test_status_request_is_answered():
    w, child = taking()
    w.fill(child, 25)
    (ack,) = w.request(Template.STATUS_REQUEST, "a")
    assert (ack.exec_type, ack.ord_status, ack.cum_qty, ack.leaves_qty) == (
        ExecType.ORDER_STATUS,
        OrdStatus.PARTIALLY_FILLED,
        25,
        75,
    )


# ---- cancel


def test_cancel_of_a_resting_parent_takes_effect_at_once():
    w = resting()
    outputs = w.cancel("a")
    assert reports(outputs) == [("ACK", "a", "4", "4")]
    assert last_report(outputs).reason == Reason.CLIENT_REQUEST
    assert last_report(outputs).request == Template.ORDER_CANCEL
    assert reasons(w.cancel("a")) == [Reason.ORDER_TERMINAL]


def test_cancel_waits_for_an_immediate_child():
    w, child = taking()
    outputs = w.cancel("a")
    assert reports(outputs) == [("ACK", "a", "6", "6")]
    assert of(outputs, Template.ORDER_CANCEL) == [], "an immediate order ends by itself"
    outputs = w.done(child)
    assert reports(outputs) == [("ACK", "a", "4", "4")]


def test_cancel_takes_back_what_is_posted():
    w, child = posted()
    outputs = w.cancel("a")
    (cancel,) = of(outputs, Template.ORDER_CANCEL)
    assert (cancel.order_id, cancel.venue_id) == (child.order_id, child.venue_id)
    assert w.parent("a")[1].live_qty == 100, "nothing comes back before the venue says so"
    assert reports(w.fill(child, 30)) == [("FILL", "a", "F", "6")]
    outputs = w.done(child, cum=30)
    assert reports(outputs) == [("ACK", "a", "4", "4")]
    assert last_report(outputs).cum_qty == 30


def test_cancel_that_comes_too_late_is_refused():
    w, child = taking()
    w.cancel("a")
    outputs = w.fill(child)
    told = [("FILL", "a", "F", "6"), ("CANCEL_REJECT", "a", "0", "2")]
    assert reports(outputs) == told, "PendingCancel goes before Filled (FIX B.1.c)"
    assert last_report(outputs).reason == Reason.ORDER_TERMINAL
    assert w.counter("parents_filled") == 1


def test_second_cancel_is_refused_while_the_first_waits():
    w, child = taking()
    w.cancel("a")
    outputs = w.cancel("a")
    assert reports(outputs) == [("CANCEL_REJECT", "a", "0", "6")]
    assert last_report(outputs).reason == Reason.REQUEST_PENDING
    assert reports(w.done(child)) == [("ACK", "a", "4", "4")]


def test_mass_cancel_reaches_its_scope():
    w = World()
    w.new("a", client_id=1)
    w.new("b", client_id=2)
    w.new("c", client_id=2, instrument_id=1)
    w.new("d", client_id=1, session=1)
    told = reports(w.send(Template.MASS_CANCEL, scope=Scope.CLIENT, client_id=2))
    assert [row[1] for row in told] == ["b", "c"]
    w.new("e", instrument_id=1)
    assert [row[1] for row in reports(w.send(Template.MASS_CANCEL, scope=Scope.INSTRUMENT, instrument_id=1))] == ["e"]
    told = reports(outputs := w.on_session(Template.MASS_CANCEL, 1, scope=Scope.ALL))
    assert [row[1] for row in told] == ["d"], "a client reaches its own"
    assert last_report(outputs).reason == Reason.MASS_CANCEL
    assert [row[1] for row in reports(w.send(Template.MASS_CANCEL))] == ["a"]
    assert w.state.core[0].live_parents == 0


@pytest.mark.parametrize("scope", [Scope.ORDER, 77, -1])
def test_mass_cancel_of_a_scope_that_it_does_not_know_cancels_nothing(scope):
    w = resting()
    assert reasons(w.send(Template.MASS_CANCEL, scope=scope)) == [Reason.UNSUPPORTED]
    assert w.parent("a")[1].phase == RESTING


def test_mass_cancel_does_not_disturb_a_cancel_that_waits():
    w, child = taking()
    w.cancel("a")
    assert reports(w.send(Template.MASS_CANCEL)) == []
    assert last_report(w.done(child)).reason == Reason.CLIENT_REQUEST


# ---- replace


# ---- pause and resume


# ---- the kill flag
