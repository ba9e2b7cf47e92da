"""The venues as a peer of the engine: real sockets and rings, the engine and the feed played by the test."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest

from engine.errors import UsageError
from engine.io.atomics import address_of, monotonic_ns
from engine.io.ring import CONSUMER, PRODUCER, Ring, ring_beat, ring_pop, ring_push
from engine.record.records import RECORD_MAX, REPORT, Reason, Template, Tif, from_text16
from engine.run.config import Engine as EngineSection
from engine.run.config import Orders, Session, Simulation, to_canonical_json
from gateways.venues.simulated import SimulatedVenues
from tests.venues.peers import Engine, Feed, records
from tests.venues.world import config, order, quote, record

REPORTS = (Template.ACK, Template.FILL, Template.REJECT, Template.CANCEL_REJECT)


def setup(folder, clock="feed", **simulation):
    engine = EngineSection(run_dir="unused", clock=clock, idle="yield", heartbeat_ms=20, peer_timeout_ms=200)
    return config(
        Simulation(orders=64, **simulation), engine=engine, orders=Orders(endpoint=f"ipc://{folder}/orders")
    )  # fmt: skip


@pytest.fixture
def world(tmp_path):
    """(venues, engine, feed), connected."""
    cfg = setup(tmp_path)
    engine, feed = Engine(cfg.orders.endpoint), Feed(f"ipc://{tmp_path}/feed")
    with SimulatedVenues(cfg, [f"ipc://{tmp_path}/feed"]) as venues:
        feed.wait()
        together(venues, engine, lambda: venues.up)
        yield venues, engine, feed
    engine.close()
    feed.close()


def together(venues, engine, done, seconds=5.0):
    """Run both sides in turn until `done()`."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "nothing came"
        venues.run(0.005)
        engine.poll()


def later(venues, engine, seconds):
    """Let real time pass, the engine's heart beating."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        venues.run(0.005)
        engine.poll()
        engine.beat_all()


def reports(venues, engine, count, feed=None):
    """The next `count` reports; the feed's time passes meanwhile."""
    got = []

    def done():
        if feed is not None:
            feed.tick()
        got.extend(engine.take(*REPORTS))
        return len(got) >= count

    together(venues, engine, done)
    return got


def test_session_comes_up_with_hello_and_heartbeats(world):
    venues, engine, _ = world
    later(venues, engine, 0.1)
    names = {name for name, _ in engine.got}
    assert names == {"alpha", "beta"}
    for name in names:
        mine = [record for session, record in engine.got if session == name]
        assert mine[0].template_id == Template.SESSION_UP
        assert (mine[0].stream_seq, mine[0].stream_epoch) == (1, venues.epoch)
        beats = [record for record in mine if record.template_id == Template.HEARTBEAT]
        assert len(beats) >= 3
        assert {int(beat.stream_seq) for beat in beats} == {int(mine[-1].stream_seq)}, "heartbeats take no numbers"


def test_orders_are_executed_against_the_feed(world):
    venues, engine, feed = world
    feed.send(quote(99, 50, 100, 30, ts_event_ns=10**9), quote(9, 50, 10, 20, ts_event_ns=10**9, venue_id=1))
    together(venues, engine, lambda: venues.clock_ns == 10**9)
    engine.send("alpha", order(7, 100, 50, ts_event_ns=10**9), order(8, 10, 20, ts_event_ns=10**9, venue_id=1))
    later(venues, engine, 0.05)
    assert not engine.take(*REPORTS), "the feed's clock stands still"
    feed.clock_ns = 10**9
    got = reports(venues, engine, 5, feed)
    assert [(int(r.order_id), chr(r.exec_type), int(r.cum_qty)) for r in got] == [
        (7, "0", 0), (7, "F", 30), (7, "4", 30), (8, "0", 0), (8, "F", 20)
    ]  # fmt: skip
    seqs = [int(r.stream_seq) for r in got]
    assert seqs == list(range(seqs[0], seqs[0] + 5))
    assert {int(r.stream_epoch) for r in got} == {venues.epoch}
    totals = venues.counters()
    assert (totals["orders"], totals["fills"], totals["venues"]["XNYS"]["filled_qty"]) == (2, 2, 30)
    later(venues, engine, 0.1)
    assert venues.counters()["sessions"]["alpha"]["unacknowledged"] == 0


def test_what_was_not_acknowledged_is_sent_again_after_a_restart_of_the_engine(world, tmp_path):
    venues, engine, feed = world
    later(venues, engine, 0.05)
    engine.send("alpha", order(7, 100, 50))
    first = reports(venues, engine, 2, feed)
    assert {int(r.order_id) for r in first} == {7}
    engine.close()  # it died before its heartbeat told us
    venues.run(0.3)
    assert not venues.up
    again = Engine(engine.endpoint, epoch=2000)
    together(venues, again, lambda: venues.up)
    second = reports(venues, again, 2)
    assert [from_text16(r.exec_id) for r in second] == [from_text16(r.exec_id) for r in first]
    assert int(second[0].stream_seq) > int(first[-1].stream_seq)
    assert venues.counters()["sessions"]["alpha"]["restarts"] == 1
    later(venues, again, 0.1)
    assert not again.take(*REPORTS)
    again.send("alpha", record(Template.STATUS_REQUEST, order_id=7))
    assert [chr(r.ord_status) for r in reports(venues, again, 1, feed)] == ["4"]
    again.close()


def test_cancel_on_disconnect(tmp_path):
    cfg = setup(tmp_path, cancel_on_disconnect=True)
    engine, feed = Engine(cfg.orders.endpoint), Feed(f"ipc://{tmp_path}/feed")
    with SimulatedVenues(cfg, [f"ipc://{tmp_path}/feed"]) as venues:
        feed.wait()
        together(venues, engine, lambda: venues.up)
        assert {int(r.capability) for _, r in engine.got if r.template_id == Template.SESSION_UP} == {1}
        engine.send("alpha", order(7, 90, 50, tif=Tif.GTC))
        assert len(reports(venues, engine, 1, feed)) == 1
        engine.beat_all()
        venues.run(0.3)
        assert not venues.up
        (canceled,) = reports(venues, engine, 1, feed)
        assert (chr(canceled.exec_type), canceled.reason) == ("4", Reason.VENUE_DOWN)
    engine.close()
    feed.close()


def test_records_seen_before_are_not_executed_twice(world):
    venues, engine, feed = world
    row = order(7, 100, 50)
    engine.send("alpha", row)
    engine.seq[b"alpha"] -= 1
    engine.send("alpha", row)
    assert len(reports(venues, engine, 2, feed)) == 2
    later(venues, engine, 0.05)
    assert not engine.take(*REPORTS)
    assert venues.counters()["sessions"]["alpha"]["duplicates"] == 1


def test_malformed_messages_are_counted_and_left_out(world):
    venues, engine, feed = world
    for message in (b"x", b"\0" * 64, b"\1" * 129, order(7, 100, 50).tobytes()[:-1]):
        feed.socket.send(message)
        engine.socket.send_multipart([b"alpha", message])
    engine.send("alpha", order(7, 100, 50))
    assert len(reports(venues, engine, 2, feed)) == 2
    assert (venues.counters()["malformed"], venues.counters()["orders"]) == (8, 1)


def test_monotonic_clock_lets_time_pass_by_itself(tmp_path):
    cfg = setup(tmp_path, clock="monotonic")
    engine = Engine(cfg.orders.endpoint)
    with SimulatedVenues(cfg, []) as venues:
        together(venues, engine, lambda: venues.up)
        engine.send("alpha", order(7, 100, 50, ts_event_ns=time.time_ns()))
        ack, end = reports(venues, engine, 2)
        assert (chr(ack.exec_type), chr(end.exec_type)) == ("0", "4")
        assert abs(int(ack.ts_event_ns) - time.time_ns()) < 5 * 10**9
    engine.poll(0.05)
    assert engine.take(Template.SESSION_DOWN)
    engine.close()


@pytest.mark.parametrize("idle", ["spin", "yield", "park"])
def test_rings_and_idling(tmp_path, idle):
    """The engine makes the rings; the venues find them, also when they come first."""
    path = tmp_path / "alpha"
    cfg = setup(tmp_path, clock="monotonic")
    rings = [Session(name="alpha", role="venue", endpoint=f"shm://{path}"), Session(name="beta", role="venue")]
    cfg = msgspec.structs.replace(cfg, session=rings)
    with SimulatedVenues(cfg, [f"shm://{tmp_path}/feed"], ["alpha"], idle=idle) as venues:
        venues.run(0.02)
        inward = Ring.create(f"{path}.in", 64, CONSUMER)
        outward = Ring.create(f"{path}.out", 64, PRODUCER)
        feed = Ring.attach(tmp_path / "feed", PRODUCER)
        got = []
        slot = np.zeros(1, dtype=REPORT)
        beat = record(Template.HEARTBEAT, stream_epoch=5)

        def pump(seconds=0.02):
            venues.run(seconds)
            ring_beat(inward.address, CONSUMER, monotonic_ns())
            ring_push(outward.address, address_of(beat), 64)
            while (n := ring_pop(inward.address, address_of(slot))) > 0:
                got.extend(records(slot.tobytes()[:n]))

        for _ in range(20):
            pump()
        assert venues.up
        first = quote(99, 50, 100, 30)
        assert ring_push(feed.address, address_of(first), RECORD_MAX) == 1
        pump()
        sent = order(7, 100, 50, ts_event_ns=time.time_ns(), stream_epoch=5, stream_seq=1)
        assert ring_push(outward.address, address_of(sent), RECORD_MAX) == 1
        for _ in range(5):
            pump()
        assert [chr(r.exec_type) for r in got if r.template_id in REPORTS] == ["0", "F", "4"]
        for ring in (feed, inward, outward):
            ring.close()


def test_wrong_session_is_named(tmp_path):
    with pytest.raises(UsageError, match="no venue session gamma"):
        SimulatedVenues(setup(tmp_path), [], ["gamma"])


PROCESS = """
import json, sys
from engine.run.config import from_json
from gateways.venues.simulated import run_venues
config = from_json(open(sys.argv[1], "rb").read())
print(json.dumps(run_venues(config, sys.argv[2], on_ready=lambda venues: print("ready", flush=True))), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_ends_cleanly_on_a_signal(tmp_path, number):
    cfg = setup(tmp_path)
    (tmp_path / "config.json").write_bytes(to_canonical_json(cfg))
    engine, feed = Engine(cfg.orders.endpoint), Feed(f"ipc://{tmp_path}/feed")
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "config.json"), f"ipc://{tmp_path}/feed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            feed.wait()
            while len(engine.seen) < 2:
                engine.poll(0.05)
            feed.send(quote(99, 50, 100, 30, ts_event_ns=1))
            engine.send("alpha", order(7, 100, 50))
            while not engine.take(*REPORTS):
                feed.tick()
                engine.poll(0.01)
            process.send_signal(number)
            counters = json.loads(process.stdout.read())
            assert process.wait(5) == 0
        finally:
            process.kill()
    assert (counters["orders"], counters["fills"]) == (1, 1)
    engine.poll(0.05)
    assert engine.take(Template.SESSION_DOWN)
    engine.close()
    feed.close()


def test_replaces_are_answered_over_sockets_whatever_they_cross(world):
    """Accepted; refused for its terms; too late for what was filled; after a cancel; two at once."""
    venues, engine, feed = world
    feed.clock_ns = 10**9
    feed.send(quote(97, 50, 100, 10, ts_event_ns=10**9))
    together(venues, engine, lambda: venues.clock_ns == 10**9)

    def say(*rows, count, tape=()):
        """Requests of now, then what is on the tape; the answers."""
        for row in rows:
            row["ts_event_ns"] = feed.clock_ns
        engine.send("alpha", *rows)
        for row in tape:
            feed.clock_ns += 1_000_000
            row["ts_event_ns"] = feed.clock_ns
            venues.run(0.02)  # the requests are there before the tape is
            feed.send(row)
        return [
            f"{Template(r.template_id).name} {chr(r.exec_type)}{chr(r.ord_status)} {int(r.cum_qty)}+{int(r.leaves_qty)}"
            for r in reports(venues, engine, count, feed)
        ]

    def new(order_id):
        return order(order_id, 98, 30, tif=Tif.DAY)

    def replace(order_id, px, qty):
        row = order(order_id, px, qty, tif=Tif.DAY)
        row["template_id"] = Template.ORDER_REPLACE
        return row

    def cancel(order_id):
        return record(Template.ORDER_CANCEL, order_id=order_id)

    def printed(px, qty):
        return record(Template.TRADE, px=px, qty=qty)

    assert say(new(1), replace(1, 99, 20), count=2) == ["ACK 00 0+30", "ACK 50 0+20"]
    assert say(replace(1, 0, 20), count=1) == ["CANCEL_REJECT 80 0+20"]
    assert say(replace(1, 98, 25), replace(1, 98, 15), count=2) == ["ACK 50 0+25", "ACK 50 0+15"]
    assert say(cancel(1), replace(1, 98, 40), count=2) == ["ACK 44 0+0", "CANCEL_REJECT 84 0+0"]
    assert say(new(2), replace(2, 98, 40), cancel(2), count=3)[1:] == ["ACK 50 0+40", "ACK 44 0+0"]
    assert say(new(3), count=2, tape=[printed(97, 10)]) == ["ACK 00 0+30", "FILL F1 10+20"]
    assert say(replace(3, 98, 10), count=1) == ["ACK 52 10+0"], "C.3.b: replaced to what is executed is filled"
    assert say(replace(3, 98, 30), count=1) == ["CANCEL_REJECT 82 10+0"], "C.2.a: too late"
