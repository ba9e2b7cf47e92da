"""The order-entry client against an engine's stand-in: what it sends, what it learns, what it survives."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest

from engine.io.atomics import address_of
from engine.io.ring import CONSUMER, PRODUCER, Ring, ring_pop, ring_push
from engine.record.records import ExecType, OrdStatus, OrdType, Reason, Scope, Side, Template, Tif, blank, from_text16
from gateways.orders.client import OrderClient, OrderEntryError
from tests.orders.desk import Desk
from tests.venues.peers import records


@pytest.fixture
def endpoint(tmp_path):
    return f"ipc://{tmp_path}/orders"


@pytest.fixture
def desk(endpoint):
    desk = Desk(endpoint)
    yield desk
    desk.close()


@pytest.fixture
def client(endpoint, desk):
    with OrderClient(endpoint, "desk-1", 3, account_id=2, heartbeat_ms=20, peer_timeout_ms=600) as client:
        client.connect()
        yield client


def buy(client, name="A1", qty=300, px=1566000, **more):
    return client.new(name, instrument_id=1, side=Side.BUY, qty=qty, px=px, **more)


def test_hello_comes_first_and_numbers_are_dense(client, desk):
    buy(client)
    client.cancel("A1")
    assert client.wait(lambda: len(desk.requests) >= 3)
    hello, new, cancel = desk.requests[:3]
    assert [int(r.template_id) for r in (hello, new, cancel)] == [
        Template.SESSION_UP, Template.ORDER_NEW, Template.ORDER_CANCEL
    ]  # fmt: skip
    assert [int(r.stream_seq) for r in (hello, new, cancel)] == [1, 2, 3]
    assert abs(int(hello.stream_epoch) - time.time()) < 100
    assert abs(int(new.ts_event_ns) - time.time_ns()) < 10**11


def test_new_order_carries_its_terms(client, desk):
    buy(client, "A-long-name-16ch", tif=Tif.IOC, ord_type=OrdType.MARKET, px=0)
    assert client.wait(lambda: len(desk.requests) >= 2)
    row = desk.requests[1]
    assert from_text16(row.cl_ord_id) == "A-long-name-16ch"
    terms = {name: int(row[name]) for name in ("order_id", "instrument_id", "qty", "px", "client_id", "account_id")}
    assert terms == {"order_id": 0, "instrument_id": 1, "qty": 300, "px": 0, "client_id": 3, "account_id": 2}
    assert (row.side, row.ord_type, row.tif) == (Side.BUY, OrdType.MARKET, Tif.IOC)


def test_order_follows_its_reports(client):
    order = buy(client)
    assert order.ord_status == OrdStatus.PENDING_NEW
    assert client.wait(lambda: order.fills == 1)
    assert (order.order_id, order.cum_qty, order.leaves_qty, order.ord_status) == (77, 150, 150, b"1"[0])
    assert order.avg_px == Fraction(1566000)
    client.replace("A1", qty=400, px=1567000)
    assert client.wait(lambda: order.qty == 400)
    assert order.px == 1567000
    client.cancel("A1")
    assert client.wait(lambda: not order.is_open)
    assert (order.ord_status, order.reason, order.leaves_qty) == (OrdStatus.CANCELED, Reason.CLIENT_REQUEST, 0)
    counters = client.counters()
    assert counters["canceled"] == 1
    assert counters["sent"] == {"ORDER_NEW": 1, "ORDER_REPLACE": 1, "ORDER_CANCEL": 1}
    assert counters["received"] == {"ACK": 3, "FILL": 1}
    assert (counters["filled_qty"], counters["open"], counters["session"]["gaps"]) == (150, 0, 0)


def test_reports_are_iterated_until_it_is_quiet(client):
    buy(client, "A1")
    buy(client, "A2")
    got = [(report.cl_ord_id, report.template) for report in client.reports(timeout_s=0.3)]
    assert sorted(got) == sorted((name, kind) for name in ("A1", "A2") for kind in (Template.ACK, Template.FILL))


def test_what_wait_took_is_still_given(client):
    order = buy(client)
    assert client.wait(lambda: order.fills == 1)
    assert [report.template for report in client.poll()] == [Template.ACK, Template.FILL]
    assert client.poll() == []


def test_control_and_mass_cancel(client, desk):
    buy(client)
    client.pause("A1")
    client.resume("A1")
    client.mass_cancel(instrument_id=1)
    client.mass_cancel()
    client.status("A1")
    assert client.wait(lambda: len(desk.requests) >= 7)
    pause, resume, some, every, status = desk.requests[2:7]
    assert [int(r.action) for r in (pause, resume)] == [1, 2]
    assert from_text16(pause.cl_ord_id) == "A1"
    assert [(int(r.scope), int(r.instrument_id)) for r in (some, every)] == [(Scope.INSTRUMENT, 1), (Scope.ALL, -1)]
    assert status.template_id == Template.STATUS_REQUEST


def test_executions_count_once(client, desk):
    order = buy(client)
    assert client.wait(lambda: order.fills == 1)
    sent = desk.requests[1]

    def again():
        desk.next_exec -= 1
        fill = {"last_qty": 150, "last_px": 1566000}
        desk.report("desk-1", sent, Template.FILL, ExecType.TRADE, OrdStatus.PARTIALLY_FILLED, 150, **fill)
        desk.report("desk-1", sent, Template.ACK, ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED, 200)

    desk.todo.append(again)
    assert client.wait(lambda: order.cum_qty == 200)
    assert (order.fills, order.filled_qty, order.missed_qty) == (1, 150, 50)


def test_heartbeats_keep_the_session_up(client):
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        client.poll(0.01)
    assert client.lives["downs"] == 0
    assert client.up


QUIET = {"restarts": 0, "gaps": 0, "duplicates": 0, "lost": 0, "resets": 0, "taken": 0}


def test_what_was_sent_into_silence_is_sent_again_and_only_the_unanswered_order_is_asked_about(client, desk):
    order = buy(client)
    assert client.wait(lambda: order.fills == 1)
    desk.engine.silent = desk.mute = True
    never = buy(client, "A2")
    assert client.wait(lambda: not client.up, 2)
    with pytest.raises(OrderEntryError, match="ORDER_CANCEL: the session is not up"):
        client.cancel("A1")
    desk.engine.silent = desk.mute = False
    assert client.wait(lambda: client.up, 2)
    assert client.wait(lambda: not never.is_open, 2)
    asked = [from_text16(r.cl_ord_id) for r in desk.requests if r.template_id == Template.STATUS_REQUEST]
    assert asked == ["A2"], "what came of A1 the engine sends again by itself"
    assert client.lives == {"ups": 2, "downs": 1, "resent": 0, **QUIET}


def half_lost(client, desk):
    """A fill and the end of an order that the network ate, and one more report that came."""
    order = buy(client)
    assert client.wait(lambda: order.fills == 1)
    sent = desk.requests[1]

    def lose_two():
        stream, name = desk.engine.sent, b"desk-1"
        for last_qty, cum, status in ((50, 200, OrdStatus.PARTIALLY_FILLED), (100, 300, OrdStatus.FILLED)):
            row = blank(Template.FILL)
            row["peer_id"], row["exec_id"], row["order_id"] = sent.cl_ord_id, (7, cum), 77
            row["last_qty"], row["last_px"], row["cum_qty"], row["ord_status"] = last_qty, 1566000, cum, status
            row["exec_type"], row["stream_epoch"] = ExecType.TRADE, desk.engine.epoch
            desk.engine.seq[name] += 1
            row["stream_seq"] = desk.engine.seq[name]
            stream[name].append(row)

    return order, sent, lose_two


def test_a_gap_is_asked_for_and_nothing_newer_is_taken_before_it_is_filled(client, desk):
    order, sent, lose_two = half_lost(client, desk)

    def lose_and_go_on():
        lose_two()
        desk.report("desk-1", sent, Template.CANCEL_REJECT, ExecType.REJECTED, OrdStatus.FILLED, 300, leaves_qty=0)

    desk.todo.append(lose_and_go_on)
    assert client.wait(lambda: order.refusals == 1)
    assert (order.fills, order.filled_qty, order.missed_qty) == (3, 300, 0)
    reports = [report for report in client.poll() if report.template != Template.ACK]
    assert [report.cum_qty for report in reports] == [150, 200, 300, 300]
    assert client.lives == {"ups": 1, "downs": 0, "resent": 3, **QUIET, "gaps": 1}


def test_a_loss_at_the_end_shows_in_a_heartbeat(client, desk):
    order, _, lose_two = half_lost(client, desk)
    desk.todo.append(lose_two)
    assert client.wait(lambda: order.fills == 3)
    assert (order.ord_status, order.missed_qty, client.lives["gaps"]) == (OrdStatus.FILLED, 0, 1)


def test_what_cannot_be_sent_again_is_counted_and_status_is_asked_for(client, desk):
    order, sent, lose_two = half_lost(client, desk)

    def lose_for_good():
        lose_two()
        desk.engine.forgotten = desk.engine.seq[b"desk-1"]
        desk.book[tuple(int(word) for word in sent.cl_ord_id)]["cum_qty"] = 300

    desk.todo.append(lose_for_good)
    assert client.wait(lambda: order.cum_qty == 300)
    assert (order.fills, order.missed_qty) == (1, 150)
    assert Template.STATUS_REQUEST in [r.template_id for r in desk.requests]
    assert client.lives == {"ups": 1, "downs": 0, "resent": 0, **QUIET, "gaps": 1, "lost": 2, "resets": 1}


def test_a_new_life_that_knows_where_it_stopped_gets_the_rest(endpoint, desk):
    with OrderClient(endpoint, "desk-1", 3, heartbeat_ms=20, peer_timeout_ms=600, epoch=5) as client:
        client.connect()
        order = buy(client)
        assert client.wait(lambda: order.fills == 1)
        where = client.seen
        assert where[1] < client._link.seen_seq, "two reports have not been given yet"
        given = client.poll()
        later = client.seen
    for seen, expected in ((where, given), (later, []), ((0, 0), given)):
        life = 6 + len(desk.requests)
        with OrderClient(endpoint, "desk-1", 3, heartbeat_ms=20, peer_timeout_ms=600, epoch=life, seen=seen) as client:
            until = time.monotonic() + 5
            again = client.poll()
            while not client.caught_up and time.monotonic() < until:
                again += client.poll(0.01)
            assert [r.record.tobytes() for r in again] == [r.record.tobytes() for r in expected]
            assert (client.lives["resent"], client.lives["gaps"]) == (len(expected), 0)


def test_engine_restart(endpoint, desk, client):
    known, lost = buy(client, "A1"), buy(client, "A2")
    assert client.wait(lambda: known.fills + lost.fills == 2)
    desk.mute = True
    never = buy(client, "A3")
    assert client.wait(lambda: len(desk.requests) == 4)
    desk.close()
    book = {key: row for key, row in desk.book.items() if key[0] == int.from_bytes(b"A1", "little")}
    again = Desk(endpoint, epoch=2000, book=book)
    try:
        assert client.wait(lambda: client.lives["restarts"] == 1, 5)
        assert client.wait(lambda: not never.is_open, 5)
        assert client.wait(lambda: lost.ord_status == OrdStatus.UNKNOWN, 5)
        assert (known.ord_status, known.cum_qty) == (OrdStatus.PARTIALLY_FILLED, 150)
        assert (never.ord_status, never.reason) == (OrdStatus.REJECTED, Reason.UNKNOWN_ORDER)
        kinds = [r.template_id for r in again.requests]
        assert kinds.count(Template.STATUS_REQUEST) == 3, "a new engine is asked about all"
        assert Template.ORDER_NEW not in kinds, "orders are never sent again by themselves"
        order = buy(client, "A4")
        assert client.wait(lambda: order.fills == 1)
    finally:
        again.close()


def test_nobody_there(tmp_path):
    with OrderClient(f"ipc://{tmp_path}/nothing", "desk-1") as client:
        with pytest.raises(OrderEntryError, match=r"nothing: no answer to session 'desk-1' within 0.2 s; start the"):
            client.connect(0.2)
        with pytest.raises(OrderEntryError, match="not up"):
            buy(client)


def test_wrong_endpoint_is_named(tmp_path):
    with pytest.raises(OrderEntryError, match="udp://here"):
        OrderClient("udp://here", "desk-1")
    with pytest.raises(OrderEntryError, match=r"folder .*/no does not exist"):
        OrderClient(f"ipc://{tmp_path}/no/orders", "desk-1")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, r"cl_ord_id = '': 1 to 16 ASCII"),
        ({"name": "seventeen letters"}, r"cl_ord_id = 'seventeen letters': 1 to 16"),
        ({"name": "ümlaut"}, "cl_ord_id = 'ümlaut'"),
        ({"qty": 2**64}, "qty = 18446744073709551616: an integer"),
        ({"account_id": 40000}, "account_id = 40000"),
    ],
)
def test_what_cannot_be_sent_is_named(client, fields, message):
    with pytest.raises(OrderEntryError, match=message):
        buy(client, **fields)
    assert client.orders == {}


def test_names_are_used_once_and_known(client):
    buy(client)
    with pytest.raises(OrderEntryError, match=r"A1'.*: this session has used it"):
        buy(client)
    with pytest.raises(OrderEntryError, match=r"A9'.*: no order of this session has it"):
        client.cancel("A9")


def test_rings(tmp_path):
    """The client waits for the rings that an engine makes, and speaks through them."""
    path = tmp_path / "desk"
    with OrderClient(f"shm://{path}", "desk-1", heartbeat_ms=20, peer_timeout_ms=600) as client:
        assert client.poll(0.02) == []
        inward, outward = Ring.create(f"{path}.in", 64, CONSUMER), Ring.create(f"{path}.out", 64, PRODUCER)
        ring_desk = RingDesk(inward, outward)
        assert client.wait(lambda: ring_desk.pump() or client.up, 5)
        order = buy(client)
        assert client.wait(lambda: ring_desk.pump() or order.ord_status == OrdStatus.NEW, 5)
        inward.close()
        outward.close()


class RingDesk:
    """The engine's end of two rings: answers hellos with heartbeats and orders with ACK."""

    def __init__(self, inward, outward):
        self.inward, self.outward, self.seq = inward, outward, 0

    def pump(self):
        slot = np.zeros(128, dtype=np.uint8)
        while (n := ring_pop(self.inward.address, address_of(slot))) > 0:
            for record in records(slot.tobytes()[:n]):
                row = blank(Template.HEARTBEAT)
                if record.template_id == Template.ORDER_NEW:
                    row = blank(Template.ACK)
                    self.seq += 1
                    row["peer_id"], row["ord_status"], row["exec_type"] = record.cl_ord_id, OrdStatus.NEW, 48
                row["stream_epoch"], row["stream_seq"] = 1000, self.seq
                ring_push(self.outward.address, address_of(row), row.nbytes)


def change(desk, template, exec_id, ref, cum_qty, leaves_qty, ord_status, **last):
    """A BUST or CORRECT of an execution that the stand-in has told."""
    row = blank(template)
    row["order_id"], row["exec_id"], row["exec_ref_id"] = 77, (desk.engine.epoch, exec_id), (desk.engine.epoch, ref)
    row["cum_qty"], row["leaves_qty"], row["ord_status"] = cum_qty, leaves_qty, ord_status
    for name, value in last.items():
        row[name] = value
    return row


def test_busts_and_corrections_change_what_stands(client, desk):
    order = buy(client)
    assert client.wait(lambda: order.fills == 1)
    ref = desk.next_exec
    correct = change(
        desk, Template.CORRECT, 900, ref, 100, 150, OrdStatus.PARTIALLY_FILLED, last_px=1565000, last_qty=100
    )
    bust = change(desk, Template.BUST, 901, ref, 0, 150, OrdStatus.NEW, reason=Reason.BUSTED)
    desk.todo.append(lambda: desk.engine.send("desk-1", correct, correct))
    assert client.wait(lambda: client.received.get("CORRECT") == 2)
    assert (order.cum_qty, order.filled_qty, order.busted_qty, order.leaves_qty) == (100, 100, 50, 150)
    assert (order.avg_px, order.corrects) == (1565000, 1), "the same ExecID twice is one correction"
    assert client.positions() == {(2, 1): (100, 100 * 1565000)}
    desk.todo.append(lambda: desk.engine.send("desk-1", bust))
    assert client.wait(lambda: order.busts == 1)
    assert (order.cum_qty, order.filled_qty, order.busted_qty, order.leaves_qty) == (0, 0, 150, 150)
    assert (order.ord_status, order.avg_px, order.missed_qty) == (OrdStatus.NEW, None, 0)
    assert client.positions() == {(2, 1): (0, 0)}
    told = [report for report in client.poll() if report.template == Template.BUST]
    assert [(report.cl_ord_id, report.exec_ref_id) for report in told] == [("A1", (desk.engine.epoch, ref))]
    assert {name: client.counters()[name] for name in ("busts", "corrects", "busted_qty")} == {
        "busts": 1, "corrects": 1, "busted_qty": 150
    }  # fmt: skip


def test_correction_upwards_comes_out_of_what_is_left_then_of_what_was_busted(client, desk):
    order = buy(client)
    assert client.wait(lambda: order.fills == 1)
    ref = desk.next_exec
    less = change(desk, Template.CORRECT, 900, ref, 100, 150, OrdStatus.PARTIALLY_FILLED, last_px=1566000, last_qty=100)
    more = change(desk, Template.CORRECT, 901, ref, 270, 0, OrdStatus.CANCELED, last_px=1566000, last_qty=270)
    desk.todo.append(lambda: desk.engine.send("desk-1", less, more))
    assert client.wait(lambda: order.corrects == 2)
    assert (order.filled_qty, order.busted_qty, order.ord_status) == (270, 30, OrdStatus.CANCELED)
