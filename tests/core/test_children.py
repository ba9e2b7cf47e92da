"""Children: silence, UNKNOWN, executions that come late, twice or beyond the order, sessions that go and return."""

from __future__ import annotations

from itertools import pairwise

import pytest

from engine.core.state import CANCELED, FILLED, RESTING
from engine.record.records import OrdStatus, Reason, Template
from engine.run import config as c
from tests.core.scenes import decision, last_report, posted, taking
from tests.core.world import (
    IOC,
    MS,
    SECOND,
    VENUES,
    World,
    children,
    kinds,
    make_config,
    of,
    reasons,
    reports,
)

pytestmark = pytest.mark.kernel


def alerts(outputs):
    return [Reason(int(row.code)) for row in of(outputs, Template.ALERT)]


def unknown(w):
    """Let the only child time out until it is UNKNOWN."""
    found = []
    while w.state.core[0].unknown_children == 0:
        found += w.advance(500 * MS)
    return found


# ---- silence


def test_timeout_sends_a_cancel_and_nothing_else():
    w, child = taking()
    assert w.advance(499 * MS) == []
    outputs = w.advance(1 * MS)
    assert kinds(outputs) == ["ALERT", "ORDER_CANCEL"]
    assert alerts(outputs) == [Reason.TIMEOUT]
    assert of(outputs, Template.ORDER_CANCEL)[0].order_id == child.order_id
    assert (w.parent("a")[1].live_qty, w.counter("timeouts")) == (100, 1)


def test_silence_never_releases_quantity():
    w, child = taking()
    outputs = w.advance(3600 * SECOND)
    assert children(outputs) == []
    assert reports(outputs) == []
    assert w.parent("a")[1].live_qty == 100
    assert w.state.core[0].unknown_children == 1
    assert len(of(outputs, Template.ORDER_CANCEL)) == 2, "max_cancels"
    assert alerts(outputs) == [Reason.TIMEOUT, Reason.UNKNOWN_CHILD]
    asked = of(outputs, Template.STATUS_REQUEST)
    waits = [int(b.ts_event_ns - a.ts_event_ns) // (500 * MS) for a, b in pairwise(asked)]
    assert waits[:8] == [2, 4, 8, 16, 32, 64, 64, 64]
    assert reports(w.done(child)) == []
    assert w.parent("a")[1].phase == RESTING
    assert w.state.core[0].unknown_children == 0


def test_acknowledged_immediate_child_is_still_watched():
    w, child = taking()
    w.ack(child)
    assert "ORDER_CANCEL" in kinds(w.advance(500 * MS))


def test_cancel_reject_asks_for_the_status_next():
    w, child = taking()
    w.advance(500 * MS)
    assert w.report(Template.CANCEL_REJECT, child) == []
    assert kinds(w.advance(500 * MS)) == ["ALERT", "STATUS_REQUEST"]


def test_cancel_reject_of_nothing_is_refused():
    w, child = posted()
    assert reasons(w.report(Template.CANCEL_REJECT, child)) == [Reason.NOT_IN_ORDER]
    assert len(of(w.cancel("a"), Template.ORDER_CANCEL)) == 1, "it can still be cancelled"


# ---- UNKNOWN


@pytest.mark.parametrize("status", [OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED, OrdStatus.FILLED])
def test_status_that_is_final_ends_an_unknown_child(status):
    w, child = taking(tif=IOC)
    unknown(w)
    w.advance(2 * SECOND)
    outputs = w.status(child, status)
    assert w.state.core[0].unknown_children == 0
    assert last_report(outputs).ord_status == OrdStatus.CANCELED


def test_status_of_a_child_that_lives_takes_it_back():
    w, child = taking()
    unknown(w)
    outputs = w.status(child, OrdStatus.NEW)
    assert kinds(outputs) == ["ORDER_CANCEL"]
    assert w.parent("a")[1].live_qty == 100


def test_order_that_never_came_is_given_back():
    w, child = taking(tif=IOC)
    unknown(w)
    outputs = w.reject(child, reason=Reason.UNKNOWN_ORDER)
    assert last_report(outputs).ord_status == OrdStatus.CANCELED


def test_fill_of_an_unknown_child_counts():
    w, child = taking()
    unknown(w)
    assert reports(w.fill(child, 40)) == [("FILL", "a", "F", "1")]
    assert w.state.core[0].unknown_children == 1
    assert reports(w.fill(child, 60)) == [("FILL", "a", "F", "2")]
    assert w.state.core[0].unknown_children == 0
    assert w.parent("a")[1].phase == FILLED


@pytest.mark.parametrize("scene", [taking, posted])
def test_end_with_executions_that_we_have_not_heard_of_is_asked_about(scene):
    w, child = scene()
    outputs = w.done(child, cum=60)
    assert alerts(outputs) == [Reason.UNKNOWN_CHILD]
    assert w.parent("a")[1].live_qty == 100, "the leaves stay exposed"
    assert reports(w.fill(child, 60)) == [("FILL", "a", "F", "1")]
    assert w.parent("a")[1].live_qty == 40
    found = w.advance(2 * SECOND)
    assert "STATUS_REQUEST" in kinds(found)
    outputs = w.status(child, OrdStatus.CANCELED, cum=60)
    assert decision(outputs).leaves_qty == 40


# ---- executions


def test_execution_counts_once():
    w, child = taking()
    w.fill(child, 40, exec_id="E1")
    assert reasons(w.fill(child, 40, exec_id="E1")) == [Reason.DUPLICATE_EXEC]
    assert w.parent("a")[1].cum_qty == 40
    assert reports(w.fill(child, 40, exec_id="E2")) == [("FILL", "a", "F", "1")]


def test_execution_ids_are_a_venues_own():
    w = World()
    w.offers((0, 10_000, 50), (2, 10_000, 50))
    one, two = children(w.new("a"))
    w.fill(one, 10, exec_id="E1")
    assert reports(w.fill(two, 10, exec_id="E1")) == [("FILL", "a", "F", "1")]


def test_oldest_execution_is_forgotten_when_the_table_is_full():
    w = World(make_config(capacity={"executions": 4}))
    w.offers((0, 10_000, 100))
    (child,) = children(w.new("a"))
    for number in range(1, 6):
        w.fill(child, 1, exec_id=number)
    assert reasons(w.fill(child, 1, exec_id=2)) == [Reason.DUPLICATE_EXEC]
    assert reasons(w.fill(child, 1, exec_id=1)) == [], "five executions ago: forgotten, and booked again"
    assert w.counter("qty_filled") == 6


def test_late_fill_is_booked_and_alerted():
    w, child = taking(tif=IOC)
    w.fill(child, 40)
    w.done(child, cum=40)
    assert w.parent("a")[1].phase == CANCELED
    outputs = w.fill(child, 60)
    assert alerts(outputs) == [Reason.ORDER_TERMINAL]
    assert reports(outputs) == [("FILL", "a", "F", "2")]
    assert (w.counter("late_fills"), w.counter("overfills")) == (1, 0)
    assert (w.counter("qty_filled"), w.counter("qty_canceled")) == (100, 0)


def test_late_fill_that_completes_a_resting_parent_ends_it():
    w, child = taking()
    w.done(child)
    assert w.parent("a")[1].phase == RESTING
    assert reports(w.fill(child)) == [("FILL", "a", "F", "2")]
    assert w.parent("a")[1].phase == FILLED
    assert w.counter("parents_filled") == 1


def test_overfill_is_booked_and_alerted():
    w, child = taking()
    outputs = w.fill(child, 130)
    assert alerts(outputs) == [Reason.OVERFILL]
    assert reports(outputs) == [("FILL", "a", "F", "2")]
    assert (w.counter("overfills"), w.counter("qty_overfilled")) == (1, 30)
    assert w.state.positions[0].qty == 130
    w.fill(child, 5)
    assert (w.counter("overfills"), w.counter("qty_overfilled")) == (2, 35)


def test_overfill_takes_back_what_is_posted_elsewhere():
    w = World(make_config(sweep={"rest": "venue", "post_venue": "XC"}))
    w.offers((0, 10_000, 50))
    (child,) = children(w.new("a"))
    (rest,) = children(w.done(child))
    w.ack(rest)
    outputs = w.fill(child, 100)
    assert alerts(outputs) == [Reason.OVERFILL]
    assert [row.order_id for row in of(outputs, Template.ORDER_CANCEL)] == [rest.order_id]
    w.done(rest)
    assert w.parent("a")[1].phase == FILLED


def test_report_of_another_venue_does_not_count():
    w = World()
    w.offers((0, 10_000, 100), (2, 10_001, 100))
    (child,) = children(w.new("a"))
    other = {"venue_id": 2, "session": w.venue_session(2)}
    for report in (w.ack, w.fill, w.done, w.reject):
        assert reasons(report(child, **other)) == [Reason.UNKNOWN_ORDER]
    assert reasons(w.fill(child, instrument_id=1)) == [Reason.UNKNOWN_ORDER]
    assert reasons(w.done(child, venue_id=2)) == [Reason.UNKNOWN_VENUE], "nor does a venue on another's session"
    assert w.parent("a")[1].live_qty == 100


def test_reports_on_what_has_ended_are_refused():
    w, child = taking(tif=IOC)
    w.done(child)
    for report in (w.ack, w.done, w.reject):
        assert reasons(report(child)) == [Reason.ORDER_TERMINAL]


def test_fill_whose_parents_slot_was_taken_again_moves_the_position():
    w = World(make_config(capacity={"parents": 1, "children": 8}))
    w.offers((0, 10_000, 10))
    (child,) = children(w.new("a", qty=10, tif=IOC))
    w.done(child)
    w.new("b", qty=10, px=9_000)
    outputs = w.fill(child)
    assert kinds(outputs) == ["ALERT"]
    assert w.state.positions[0].qty == 10
    assert w.parent("b")[1].cum_qty == 0


def test_execution_beyond_what_sums_hold_is_refused():
    cheap = c.Instrument(symbol="BIG", px_decimals=2, tick_table="cents")
    w = World(make_config(instruments=[cheap], risk={"max_qty": "1000", "max_notional": "4000000000"}))
    w.offers((0, 10_000, 100))
    (child,) = children(w.new("a"))
    top, most = int(w.state.instruments[0].max_px), 1_000
    outputs = []
    for _ in range(4):
        outputs = w.fill(child, most, px=top)
    assert reasons(outputs) == [Reason.OVERFLOW]
    assert w.state.positions[0].cost > 0
    assert reasons(w.fill(child, most * 2, px=top)) == [Reason.IMPOSSIBLE_QTY]


def test_fees_and_money_are_exact():
    venues = [c.Venue(mic="XA", code="A", session="v1", take_fee="0.0029", take_bps="0.21", make_fee="-0.0020")]
    w = World(make_config(venues))
    w.offers((0, 15_701, 100))
    (child,) = children(w.new("a", px=15_701))
    w.fill(child, 33)
    w.fill(child, 67, px=15_699, liquidity=1)
    row = w.parent("a")[1]
    assert row.notional == (33 * 15_701 + 67 * 15_699) * 10**7
    assert row.fee == 33 * 2_900_000 + 33 * 15_701 * 10**7 * 21 // 10**6 - 67 * 2_000_000


# ---- sessions


def test_lost_session_makes_its_children_unknown_and_its_return_asks():
    w = World()
    w.offers((0, 10_000, 50), (2, 10_000, 50))
    mine, other = children(w.new("a"))
    outputs = w.silent(w.venue_session(0))
    assert alerts(outputs) == [Reason.PEER_SILENT, Reason.UNKNOWN_CHILD]
    assert w.state.core[0].unknown_children == 1
    assert w.silent(w.venue_session(0)) == [], "down is down"
    w.fill(other)
    assert of(w.advance(10 * SECOND), Template.STATUS_REQUEST) == [], "nobody is there to ask"
    assert kinds(w.up(w.venue_session(0))) == ["SESSION_UP"]
    (question,) = w.drain()
    assert (question.template_id, question.order_id) == (Template.STATUS_REQUEST, mine.order_id)
    w.status(mine, OrdStatus.CANCELED)
    assert w.state.core[0].unknown_children == 0


@pytest.mark.parametrize("live", [True, False])
def test_what_a_venue_said_before_it_was_lost_does_not_tell_where_a_child_stands(live):
    w, child = taking()
    session = w.venue_session(0)
    w.silent(session)
    if live:
        w.status(child, OrdStatus.NEW)
    else:
        w.ack(child)
    assert w.row(child)[1].ord_status == OrdStatus.UNKNOWN
    assert w.state.core[0].unknown_children == 1
    assert of(w.advance(10 * SECOND), Template.ORDER_CANCEL) == [], "nobody is there to hear it"
    w.up(session)
    assert [row.order_id for row in of(w.drain(), Template.STATUS_REQUEST)] == [child.order_id]
    w.status(child, OrdStatus.NEW)
    assert w.state.core[0].unknown_children == 0


@pytest.mark.parametrize("hello", [True, False])
def test_restarted_venue_is_asked(hello):
    w, child = taking()
    session = w.venue_session(0)
    if hello:
        outputs = w.up(session, stream_epoch=2, stream_seq=1)
    else:
        outputs = w.report(Template.ACK, child, stream_epoch=2, stream_seq=1, order_id=1)
    assert alerts(outputs)[:2] == [Reason.PEER_RESTARTED, Reason.UNKNOWN_CHILD]
    assert [row.order_id for row in of(w.drain(), Template.STATUS_REQUEST)] == [child.order_id]


def test_hello_tells_what_was_seen():
    w = World(hello=False)
    (hello,) = w.up(2, stream_epoch=9, stream_seq=5)
    assert (hello.stream_id, hello.last_seen_seq, hello.last_seen_epoch) == (2, 5, 9)
    assert (hello.stream_epoch, hello.stream_seq) == (7, 1)


def test_gap_on_a_session_is_counted_and_alerted():
    w, child = taking()
    w.number("session", w.venue_session(0))
    outputs = w.ack(child)
    assert alerts(outputs) == [Reason.SEQUENCE_GAP]
    assert (w.counter("gaps"), w.counter("lost_records")) == (1, 1)
    assert w.parent("a")[1].live_qty == 100


def test_client_that_goes_keeps_its_orders():
    w, child = taking()
    assert alerts(w.silent(0)) == [Reason.PEER_SILENT]
    assert w.parent("a")[1].live_qty == 100
    assert w.state.core[0].unknown_children == 0
    assert reports(w.fill(child)) == [("FILL", "a", "F", "2")]


def test_order_that_the_driver_could_not_send_goes_elsewhere():
    w = World()
    w.offers((0, 10_000, 100), (1, 10_001, 100))
    (child,) = children(w.new("a", px=10_001))
    outputs = w.send(
        Template.REJECT,
        venue_id=0,
        order_id=int(child.order_id),
        instrument_id=0,
        reason=Reason.NOT_SENT,
        request=Template.ORDER_NEW,
    )
    assert [row.venue_id for row in children(outputs)] == [1]


def test_numbers_of_outgoing_streams_are_dense():
    w = World(make_config(VENUES))
    seen: dict[int, int] = {}
    w.offers((0, 10_000, 50), (1, 10_000, 50))
    outputs = w.new("a", qty=300)
    outputs += w.cancel("a")
    outputs += w.advance(5 * SECOND)
    for row in outputs:
        if row.stream_id >= 0:
            assert row.stream_seq == seen.get(int(row.stream_id), 1) + 1, "hello was the first"
            assert row.stream_epoch == 7
            seen[int(row.stream_id)] = int(row.stream_seq)
    assert set(seen) == {0, 2}
