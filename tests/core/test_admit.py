"""Every record that cannot be is refused: journaled with reason, value and limit, counted, answered, without effect."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.admit import allowed_from, length_of
from engine.core.limits import MAX_QTY, MAX_STREAM_SEQ
from engine.core.state import FROM_CLIENT, FROM_CONTROL, FROM_FEED, FROM_VENUE
from engine.record.records import DTYPES, SCHEMA_VERSION, ExecType, OrdType, Reason, Side, Template, Tif, blank
from engine.run import config as c
from tests.core.refusals import fingerprint
from tests.core.world import IOC, VENUES, World, children, kinds, make_config, of, reasons, reports

pytestmark = pytest.mark.kernel

ROUND = c.Instrument(symbol="RND", px_decimals=2, lot="100", tick_table="cents")


def scene():
    """Parent "a" with a live child, parent "r" that rests; round lots of 100 in instrument 1."""
    w = World(make_config(VENUES, [c.Instrument(symbol="AAA", px_decimals=2, tick_table="cents"), ROUND]))
    w.offers((0, 10_000, 100))
    (w.child,) = children(w.new("a"))
    w.new("r", px=9_000)
    return w


def refused(w, act, reason, *, answered):
    """Act; what comes of it must be one REFUSAL with this reason, an answer or none, and no other change."""
    before, counted, total = fingerprint(w.state), w.refused(reason), w.counter("refusals")
    outputs = act(w)
    assert reasons(outputs) == [reason]
    others = [row for row in outputs if row.template_id not in (Template.REFUSAL, Template.RISK_BLOCK)]
    assert len(others) == answered
    for row in others:
        assert row.template_id in (Template.REJECT, Template.CANCEL_REJECT, Template.ACK)
        assert (row.reason, row.stream_id) == (reason, 0)
    assert fingerprint(w.state) == before
    assert (w.refused(reason), w.counter("refusals")) == (counted + 1, total + 1)
    return of(outputs, Template.REFUSAL)[0]


ORDERS = {
    "no ClOrdID": ({"cl_ord_id": 0}, Reason.MISSING_ID),
    "instrument too high": ({"instrument_id": 2}, Reason.UNKNOWN_INSTRUMENT),
    "instrument negative": ({"instrument_id": -1}, Reason.UNKNOWN_INSTRUMENT),
    "account of nobody": ({"account_id": 2}, Reason.UNKNOWN_ACCOUNT),
    "account negative": ({"account_id": -1}, Reason.UNKNOWN_ACCOUNT),
    "side": ({"side": 0}, Reason.BAD_SIDE),
    "order type": ({"ord_type": ord("3")}, Reason.BAD_ORD_TYPE),
    "time in force": ({"tif": ord("7")}, Reason.BAD_TIF),
    "minimum quantity beyond it": ({"min_qty": 101}, Reason.IMPOSSIBLE_QTY),
    "minimum quantity negative": ({"min_qty": -1}, Reason.IMPOSSIBLE_QTY),
    "display quantity beyond it": ({"display_qty": 101}, Reason.IMPOSSIBLE_QTY),
    "display quantity negative": ({"display_qty": -1}, Reason.IMPOSSIBLE_QTY),
    "display quantity of what never rests": ({"display_qty": 10, "tif": Tif.IOC}, Reason.UNSUPPORTED),
    "display quantity of a market order": ({"display_qty": 10, "px": 0}, Reason.UNSUPPORTED),
    "display quantity no lot": ({"instrument_id": 1, "qty": 200, "display_qty": 50}, Reason.ODD_LOT),
    "post only": ({"flags": 2}, Reason.UNSUPPORTED),
    "no quantity": ({"qty": 0}, Reason.IMPOSSIBLE_QTY),
    "negative quantity": ({"qty": -100}, Reason.IMPOSSIBLE_QTY),
    "endless quantity": ({"qty": MAX_QTY + 1}, Reason.IMPOSSIBLE_QTY),
    "odd lot": ({"instrument_id": 1, "qty": 150}, Reason.ODD_LOT),
    "price of nothing": ({"px": 0, "ord_type": OrdType.LIMIT}, Reason.IMPOSSIBLE_PRICE),
    "negative price": ({"px": -1}, Reason.IMPOSSIBLE_PRICE),
    "price beyond all": ({"px": 1 << 55}, Reason.IMPOSSIBLE_PRICE),
    "market with a price": ({"px": 10_000, "ord_type": OrdType.MARKET}, Reason.IMPOSSIBLE_PRICE),
    "beyond the quantity limit": ({"qty": 100_001}, Reason.RISK),
}


@pytest.mark.parametrize(("fields", "reason"), ORDERS.values(), ids=ORDERS)
def test_order_that_cannot_be(fields, reason):
    w = scene()
    row = refused(w, lambda w: w.new("n", **fields), reason, answered=1)
    assert row.input_template == Template.ORDER_NEW


def test_order_off_the_tick():
    w = World(make_config(tick_rows=(("0", "0.01"), ("50", "0.05"))))
    row = refused(w, lambda w: w.new("n", px=5_003), Reason.BAD_TICK, answered=1)
    assert (row.value, row.limit) == (5_003, 5)
    assert reasons(w.new("m", px=4_999)) == []


def test_tick_table_of_an_instrument_without_decimals():
    yen = c.Instrument(symbol="JPX", px_decimals=0, tick_table="cents", currency="JPY")
    w = World(make_config(instruments=[yen], tick_rows=(("0", "5"),)))
    row = refused(w, lambda w: w.new("n", px=1_003), Reason.BAD_TICK, answered=1)
    assert row.limit == 5


def test_account_that_the_session_may_not_use():
    w = scene()
    outputs = w.new("n", account_id=1, session=1)
    assert reasons(outputs) == [Reason.UNKNOWN_ACCOUNT]
    assert reports(outputs) == [("REJECT", "n", "8", "8")]


REQUESTS = {
    "cancel of nothing": (lambda w: w.cancel(0), Reason.MISSING_ID),
    "cancel of the unknown": (lambda w: w.cancel("x"), Reason.UNKNOWN_ORDER),
    "replace of the unknown": (lambda w: w.replace("x", 100, 100), Reason.UNKNOWN_ORDER),
    "status of the unknown": (lambda w: w.request(Template.STATUS_REQUEST, "x"), Reason.UNKNOWN_ORDER),
    "pause of the unknown": (lambda w: w.pause("x"), Reason.UNKNOWN_ORDER),
    "a child named by a client": (lambda w: w.cancel(0, order_id=int(w.child.order_id)), Reason.UNKNOWN_ORDER),
    "control without meaning": (
        lambda w: w.on_session(Template.CONTROL, 0, cl_ord_id="a", action=9),
        Reason.UNSUPPORTED,
    ),
    "other order of the same name": (lambda w: w.new("a", qty=5), Reason.DUPLICATE_ORDER),
    "replace to nothing": (lambda w: w.replace("r", 0, 9_000), Reason.IMPOSSIBLE_QTY),
    "replace beyond the limit": (lambda w: w.replace("r", 100_001, 9_000), Reason.RISK),
}


@pytest.mark.parametrize(("act", "reason"), REQUESTS.values(), ids=REQUESTS)
def test_request_that_cannot_be(act, reason):
    refused(scene(), act, reason, answered=1)


MARKET = {
    "venue too high": (lambda w: w.feed(Template.QUOTE, 3, stream_seq=1), Reason.UNKNOWN_VENUE),
    "venue negative": (lambda w: w.feed(Template.QUOTE, -1, stream_seq=1), Reason.UNKNOWN_VENUE),
    "instrument": (lambda w: w.quote(1, 1, 1, 2, 1, instrument_id=2), Reason.UNKNOWN_INSTRUMENT),
    "trade of no instrument": (lambda w: w.feed(Template.TRADE, 1, instrument_id=-1), Reason.UNKNOWN_INSTRUMENT),
    "clear of instrument -2": (lambda w: w.feed(Template.CLEAR, 1, instrument_id=-2), Reason.UNKNOWN_INSTRUMENT),
    "halt of all": (lambda w: w.feed(Template.INSTRUMENT_STATUS, 1, instrument_id=-1), Reason.UNKNOWN_INSTRUMENT),
    "bid of nothing": (lambda w: w.quote(1, 0, 10, 2, 1), Reason.IMPOSSIBLE_PRICE),
    "offer of nothing": (lambda w: w.quote(1, 1, 1, 0, 10), Reason.IMPOSSIBLE_PRICE),
    "negative bid": (lambda w: w.quote(1, -1, 0, 2, 1), Reason.IMPOSSIBLE_PRICE),
    "offer beyond all": (lambda w: w.quote(1, 1, 1, 1 << 55, 1), Reason.IMPOSSIBLE_PRICE),
    "negative size": (lambda w: w.quote(1, 1, -1, 2, 1), Reason.IMPOSSIBLE_QTY),
    "endless size": (lambda w: w.quote(1, 1, 1, 2, MAX_QTY + 1), Reason.IMPOSSIBLE_QTY),
    "trade at nothing": (lambda w: w.feed(Template.TRADE, 1, px=0, qty=1), Reason.IMPOSSIBLE_PRICE),
    "trade of nothing": (lambda w: w.feed(Template.TRADE, 1, px=1, qty=0), Reason.IMPOSSIBLE_QTY),
    "repeated number": (lambda w: w.feed(Template.TRADE, 0, px=1, qty=1, stream_seq=1), Reason.DUPLICATE_RECORD),
    "old epoch": (lambda w: w.feed(Template.TRADE, 0, px=1, qty=1, stream_epoch=0), Reason.OLD_EPOCH),
    "number zero": (lambda w: w.feed(Template.TRADE, 0, px=1, qty=1, stream_seq=0), Reason.NOT_IN_ORDER),
    "damaged number": (
        lambda w: w.feed(Template.TRADE, 0, px=1, qty=1, stream_seq=MAX_STREAM_SEQ + 1),
        Reason.NOT_IN_ORDER,
    ),
    "damaged number of a new epoch": (
        lambda w: w.feed(Template.TRADE, 0, px=1, qty=1, stream_epoch=9, stream_seq=-5),
        Reason.NOT_IN_ORDER,
    ),
    "deltas of a book": (lambda w: w.feed(Template.LEVEL, 1), Reason.UNSUPPORTED),
    "definitions": (lambda w: w.feed(Template.INSTRUMENT_DEF, 1), Reason.UNSUPPORTED),
}


@pytest.mark.parametrize(("act", "reason"), MARKET.values(), ids=MARKET)
def test_market_data_that_cannot_be(act, reason):
    refused(scene(), act, reason, answered=0)


REPORTS = {
    "of an unknown order": (lambda w: w.ack(w.child, order_id=77), Reason.UNKNOWN_ORDER),
    "of a parent": (lambda w: w.done(w.child, order_id=int(w.child.parent_id)), Reason.UNKNOWN_ORDER),
    "of another venue": (lambda w: w.done(w.child, venue_id=1), Reason.UNKNOWN_ORDER),
    "of a venue of another session": (lambda w: w.done(w.child, venue_id=2), Reason.UNKNOWN_VENUE),
    "of no venue": (lambda w: w.done(w.child, venue_id=3), Reason.UNKNOWN_VENUE),
    "of no instrument": (lambda w: w.done(w.child, instrument_id=2), Reason.UNKNOWN_INSTRUMENT),
    "by a client": (lambda w: w.done(w.child, session=0), Reason.UNKNOWN_SESSION),
    "fill of nothing": (lambda w: w.fill(w.child, 0), Reason.IMPOSSIBLE_QTY),
    "negative fill": (lambda w: w.fill(w.child, -1), Reason.IMPOSSIBLE_QTY),
    "endless fill": (lambda w: w.fill(w.child, 1 << 60), Reason.IMPOSSIBLE_QTY),
    "fill at nothing": (lambda w: w.fill(w.child, 1, px=0), Reason.IMPOSSIBLE_PRICE),
    "fill beyond all prices": (lambda w: w.fill(w.child, 1, px=1 << 55), Reason.IMPOSSIBLE_PRICE),
    "negative price": (lambda w: w.ack(w.child, last_px=-1), Reason.IMPOSSIBLE_PRICE),
    "negative sum": (lambda w: w.ack(w.child, cum_qty=-1), Reason.IMPOSSIBLE_QTY),
    "fill without ExecID": (lambda w: w.fill(w.child, 1, exec_id=0), Reason.MISSING_ID),
    "cancel reject of nothing": (lambda w: w.report(Template.CANCEL_REJECT, w.child), Reason.NOT_IN_ORDER),
    "bust without an ExecID": (lambda w: w.bust(w.child, 1, exec_id=0), Reason.MISSING_ID),
    "bust of no ExecID": (lambda w: w.bust(w.child, 0), Reason.MISSING_ID),
    "correction to nothing": (lambda w: w.correct(w.child, 1, 0, 10_000), Reason.IMPOSSIBLE_QTY),
    "correction to no price": (lambda w: w.correct(w.child, 1, 5, 0), Reason.IMPOSSIBLE_PRICE),
}


@pytest.mark.parametrize(("act", "reason"), REPORTS.values(), ids=REPORTS)
def test_report_that_cannot_be(act, reason):
    refused(scene(), act, reason, answered=0)


def raw(template, **fields):
    """A record with header fields changed."""
    rows = blank(template)
    for name, value in fields.items():
        rows[name] = value
    return rows


FRAMES = {
    "unknown template": (lambda w: w.put(raw(Template.QUOTE, template_id=63)), Reason.UNKNOWN_TEMPLATE),
    "template beyond the table": (lambda w: w.put(raw(Template.QUOTE, template_id=65_535)), Reason.UNKNOWN_TEMPLATE),
    "template zero": (lambda w: w.put(raw(Template.QUOTE, template_id=0)), Reason.UNKNOWN_TEMPLATE),
    "too short": (
        lambda w: w.put(raw(Template.TRADE, template_id=Template.ORDER_NEW, stream_id=0, stream_seq=9)),
        Reason.WRONG_LENGTH,
    ),
    "too long": (lambda w: w.put(raw(Template.QUOTE, template_id=Template.TRADE)), Reason.WRONG_LENGTH),
    "another schema": (
        lambda w: w.on_session(Template.ORDER_NEW, 0, schema_id=1),
        Reason.WRONG_SCHEMA,
    ),
    "a later version": (lambda w: w.put(raw(Template.QUOTE, version=SCHEMA_VERSION + 1)), Reason.WRONG_SCHEMA),
    "version zero": (lambda w: w.put(raw(Template.QUOTE, version=0)), Reason.WRONG_SCHEMA),
    "our own kind": (lambda w: w.put(raw(Template.DECISION)), Reason.UNSUPPORTED),
    "heartbeat": (lambda w: w.on_session(Template.HEARTBEAT, 0), Reason.UNSUPPORTED),
    "timer of a session": (lambda w: w.on_session(Template.TIMER, 0), Reason.UNKNOWN_SESSION),
    "no session": (lambda w: w.send(Template.ORDER_NEW, stream_id=-1), Reason.UNKNOWN_SESSION),
    "session too high": (lambda w: w.on_session(Template.ORDER_NEW, 4), Reason.UNKNOWN_SESSION),
    "session negative": (lambda w: w.on_session(Template.ACK, -2), Reason.UNKNOWN_SESSION),
    "order of a venue": (lambda w: w.on_session(Template.ORDER_NEW, 2), Reason.UNKNOWN_SESSION),
    "hello of nobody": (lambda w: w.send(Template.SESSION_UP), Reason.UNKNOWN_SESSION),
    "repeated record": (lambda w: w.new("n", stream_seq=1), Reason.DUPLICATE_RECORD),
    "record of a former life": (lambda w: w.new("n", stream_epoch=0), Reason.OLD_EPOCH),
    "number zero": (lambda w: w.new("n", stream_seq=0), Reason.NOT_IN_ORDER),
    "damaged number": (lambda w: w.new("n", stream_seq=1 << 50, stream_epoch=5), Reason.NOT_IN_ORDER),
    "malformed": (lambda w: w.send(Template.MALFORMED, reason=Reason.WRONG_DIRECTION), Reason.WRONG_DIRECTION),
}


@pytest.mark.parametrize(("act", "reason"), FRAMES.values(), ids=FRAMES)
def test_record_that_cannot_be_trusted_is_not_answered(act, reason):
    refused(scene(), act, reason, answered=0)


def test_all_reasons_of_admission_are_reached():
    tables = (ORDERS, REQUESTS, MARKET, REPORTS, FRAMES)
    reached = {row[1] for table in tables for row in table.values()}
    elsewhere = {Reason.BAD_TICK, Reason.TABLE_FULL, Reason.ORDER_TERMINAL, Reason.KILLED, Reason.DUPLICATE_EXEC}
    elsewhere |= {Reason.OVERFLOW, Reason.REQUEST_PENDING, Reason.UNKNOWN_EXEC, Reason.BUSTED, Reason.THROTTLED}
    elsewhere |= {Reason.NOT_AUTHORISED, Reason.SECOND_PERSON, Reason.LIMIT_CHANGED}
    not_refusals = {
        Reason.NONE, Reason.SEQUENCE_GAP, Reason.OVERFILL, Reason.NOT_SENT, Reason.VENUE_DOWN, Reason.TIMEOUT,
        Reason.UNKNOWN_CHILD, Reason.PEER_SILENT, Reason.PEER_RESTARTED, Reason.NOT_MARKETABLE, Reason.CLIENT_REQUEST,
        Reason.DAY_END, Reason.ROUNDS_EXHAUSTED, Reason.NO_FRESH_VENUE, Reason.FOK_NOT_FILLABLE, Reason.TTL_EXPIRED,
        Reason.SIMULATED, Reason.MASS_CANCEL, Reason.CROSSED_QUOTE, Reason.UNKNOWN_CLIENT, Reason.PAUSED,
        Reason.STEP_FAILED, Reason.BROKEN_INVARIANT, Reason.WORKFLOW_TIMEOUT, Reason.DISK_FULL, Reason.DISK_ERROR,
        Reason.CORRECTED, Reason.RECOVERED, Reason.UNSOLICITED, Reason.RECORDS_GONE,
        Reason.MARKET_CLOSED, Reason.TRADING_HALTED, Reason.OVERRIDE_EXPIRED, Reason.RECONCILIATION_BREAK,
        Reason.CLOCK_EXCURSION, Reason.NEAR_CAPACITY, Reason.STALE_FEED, Reason.MIN_QTY_NOT_FILLABLE,
    }  # fmt: skip
    assert reached | elsewhere | not_refusals == set(Reason)
    assert not reached & not_refusals


def test_table_full_and_killed_leave_the_state_alone():
    w = World(make_config(capacity={"parents": 1}))
    w.new("a", px=9_000)
    refused(w, lambda w: w.new("b"), Reason.TABLE_FULL, answered=1)
    w.kill()
    refused(w, lambda w: w.new("c"), Reason.KILLED, answered=1)


def test_refused_record_is_no_gap():
    w = scene()
    w.new("n", qty=0)
    assert kinds(w.new("m", px=9_000, tif=IOC)) == ["ACK", "DECISION", "ACK"]
    assert (w.counter("gaps"), w.counter("alerts")) == (0, 0)


def test_answer_to_an_order_says_what_it_was_about():
    w = scene()
    (refusal, reject) = w.new("n", qty=0, client_id=5)
    assert (refusal.value, refusal.limit, refusal.reason) == (0, MAX_QTY, Reason.IMPOSSIBLE_QTY)
    assert (reject.template_id, reject.exec_type) == (Template.REJECT, ExecType.REJECTED)
    assert (reject.request, reject.client_id, reject.instrument_id) == (Template.ORDER_NEW, 5, 0)


def test_gap_of_a_feed_is_counted_and_shown():
    w = scene()
    outputs = w.feed(Template.TRADE, 1, instrument_id=0, px=5, qty=5, stream_seq=11)
    (alert,) = of(outputs, Template.ALERT)
    assert (alert.code, alert.order_id, alert.value) == (Reason.SEQUENCE_GAP, 10, 1)
    venue = w.state.venues[1]
    assert (venue.feed_seq, venue.feed_gaps, venue.feed_lost) == (11, 1, 10)
    assert (w.counter("gaps"), w.counter("lost_records")) == (1, 10)


def test_restarted_publisher_begins_anew():
    w = scene()
    outputs = w.feed(Template.TRADE, 0, instrument_id=0, px=5, qty=5, stream_epoch=2, stream_seq=1)
    assert [row.code for row in of(outputs, Template.ALERT)] == [Reason.PEER_RESTARTED]
    assert w.counter("publisher_restarts") == 1
    assert reasons(w.feed(Template.TRADE, 0, px=5, qty=5, stream_epoch=1, stream_seq=9)) == [Reason.OLD_EPOCH]


def test_lengths_and_sources_are_those_of_the_records():
    for template in range(-2, 70):
        known = template in set(DTYPES)
        assert length_of(template) == (DTYPES[Template(template)].itemsize if known else 0)
        sources = {s for s in (FROM_FEED, FROM_CLIENT, FROM_VENUE, FROM_CONTROL) if allowed_from(template, s)}
        name = Template(template).name if known else ""
        wanted = set()
        if known and (template <= Template.VENUE_DEF or name == "CLOCK_SAMPLE"):
            wanted.add(FROM_FEED)
        if (name.startswith("ORDER_") and name != "ORDER_DELTA") or name in (
            "MASS_CANCEL",
            "STATUS_REQUEST",
            "CONTROL",
        ):
            wanted.add(FROM_CLIENT)
        if name in ("ACK", "FILL", "REJECT", "CANCEL_REJECT", "BUST", "CORRECT"):
            wanted.add(FROM_VENUE)
        if name in ("SESSION_UP", "SESSION_DOWN", "HEARTBEAT"):
            wanted |= {FROM_CLIENT, FROM_VENUE}
        if name in ("CONTROL", "LIMIT_CHANGE", "MASS_CANCEL", "POSITION_LOAD"):
            wanted.add(FROM_CONTROL)
        assert sources == wanted, name


def test_what_lies_behind_a_record_does_not_matter():
    told = []
    for filler in (0x00, 0xFF):
        w = scene()
        rows = raw(Template.TRADE, template_id=Template.ORDER_NEW, stream_id=0, stream_epoch=1, stream_seq=50)
        w.buffer[:] = filler
        w.buffer[: rows.nbytes] = np.frombuffer(rows.tobytes(), np.uint8)
        count = w.step(w.state, w.events, 0, w.outbox)
        told.append(w.outbox.words[: 16 * count].tobytes())
    assert told[0] == told[1]


def test_sides_and_times_in_force_that_are_taken():
    w = World()
    for number, (side, tif) in enumerate((s, t) for s in Side for t in Tif):
        assert reasons(w.new(number + 1, side=side, tif=tif, qty=1)) == []
