"""Clocks that step and processes that stand still: no false time-out, and nothing is sent that time has passed by."""

from __future__ import annotations

import datetime as dt
import os
import signal
import time

import pytest

from engine.jit import JIT
from engine.record import records as r
from tests.run.engine_peers import ack, fill, order

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
T, S, X = r.Template, r.OrdStatus, r.ExecType
HOUR_NS = 3_600_000_000_000
#: A child is cancelled after a second without its end: that must not happen when its end was there in time.
QUICK = (("peer_timeout_ms = 500", "peer_timeout_ms = 400"),)
#: How long the engine stands still; the long test adds a minute.
STOPS_S = (0.001, 0.05, 0.4, 1.5)
MANY = 30
#: How long before the end of a stop its peers are heard.
BEATS_S = 12.0


def test_peers_whose_clocks_are_an_hour_off_change_nothing(bench):
    """The engine's time is its own: what others write into their records dates nothing."""
    it = bench(*QUICK)
    it.start()
    for n, step_ns in enumerate((0, HOUR_NS, -HOUR_NS, 2 * HOUR_NS, -2 * HOUR_NS)):
        assert it.feed is not None
        record = r.blank(T.QUOTE)
        it.feed.seqs[0] += 1
        record["venue_id"] = record["stream_id"] = 0
        record["stream_epoch"], record["stream_seq"] = it.feed.epoch, it.feed.seqs[0]
        record["ts_event_ns"] = time.time_ns() + step_ns
        record["bid_px"], record["ask_px"], record["bid_qty"], record["ask_qty"] = 1_569_900, 1_570_000, 300, 300
        it.feed.raw(record.tobytes())
        it.wait(lambda: it.gauge("quotes") == n + 1)  # noqa: B023  it is called at once
        wanted = order(f"A{n}", r.Side.BUY, 300, 1_570_000)
        wanted["ts_event_ns"] = time.time_ns() + step_ns
        it.client.send(wanted)
        child = it.take(it.venue, T.ORDER_NEW)[0]
        assert child.qty == 300
        report = fill(child, n)
        report["ts_event_ns"] = time.time_ns() - step_ns
        it.venue.send(report)
        it.take(it.client, T.FILL)
    figures = it.stop()
    assert (figures["timeouts"], figures["refusals"], figures["parents_filled"]) == (0, 0, 5)


def stand_still(it, stops_s):
    """Stop the engine while `MANY` orders are at the venue, and let each one's end arrive meanwhile."""
    number = 0
    for stop_s in stops_s:
        children = []
        it.quote(0, qty=300)
        for n in range(MANY):
            it.quote(n % 12, qty=300)
            it.client.send(order(f"S{number:05d}", r.Side.BUY, 100, 1_570_000))
            number += 1
            if n % 3 == 2:
                children += it.take(it.venue, T.ORDER_NEW, 3)
        it.signal(signal.SIGSTOP)
        timeouts = it.gauge("timeouts")  # of a test that is slow, not of the stop
        until_s = time.monotonic() + stop_s
        for n, child in enumerate(children):
            it.venue.send(ack(child, X.NEW, S.NEW))
            it.venue.send(fill(child, number * 100 + n))
        while time.monotonic() < until_s:
            if until_s - time.monotonic() < BEATS_S:  # nobody takes them: a minute of them would fill the queues
                for peer in it.peers:
                    peer.beat()
            time.sleep(0.001)
        it.signal(signal.SIGCONT)
        it.wait(lambda: it.gauge("live_children") == 0)
        assert it.gauge("timeouts") == timeouts, f"a time-out after {stop_s} s, though every answer had come"
        assert it.gauge("sessions_up") == 2, f"a peer was taken for down after {stop_s} s"
        assert it.gauge("unknown_children") == 0
    cancels = [x for x in it.venue.got() if x.template_id == T.ORDER_CANCEL]
    figures = it.stop()
    assert len(cancels) <= figures["timeouts"]
    assert figures["parents_filled"] == number
    assert figures["fills"] == number


def test_an_engine_that_stood_still_takes_what_came_before_it_looks_at_the_time(bench):
    it = bench(*QUICK)
    it.start()
    stand_still(it, STOPS_S)


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_an_engine_that_stood_still_for_a_minute(bench):
    it = bench(*QUICK)
    it.start()
    stand_still(it, (*STOPS_S, 10.0, 60.0, float(os.environ.get("TICKROUTE_STOP_S", "1"))))


def test_an_order_whose_market_has_passed_is_not_sent(bench):
    """What waited in front of an engine that stood still is decided by the time that it is then."""
    it = bench(("peer_timeout_ms = 500", "peer_timeout_ms = 5000"), ("stale_ms = 60000", "stale_ms = 200"))
    it.start()
    it.quote(0)
    send_while_it_stands(it, order("late", r.Side.BUY, 300, 1_570_000), 0.5)
    last = it.take(it.client, T.ACK, 2)[-1]
    assert last.ord_status == S.CANCELED, "immediate or cancel, and its market is of the past"
    figures = it.stop()
    assert figures["children_sent"] == 0


def test_an_order_whose_day_has_passed_is_not_sent(bench):
    """It expires without a venue having heard of it, although there is a market for it."""
    day_end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=8)
    it = bench(
        ("peer_timeout_ms = 500", "peer_timeout_ms = 5000"),
        ('trading_day = "2030-01-02"', f'trading_day = "{day_end:%Y-%m-%d}"'),
        ('day_end = ""', f'day_end = "{day_end:%H:%M:%S}"'),
    )
    it.start()
    it.quote(0)
    left_s = (day_end - dt.datetime.now(dt.UTC)).total_seconds()
    send_while_it_stands(it, order("late", r.Side.BUY, 300, 1_570_000, r.Tif.DAY), max(left_s, 0.0) + 0.5)
    last = it.take(it.client, T.ACK, 2)[-1]
    assert (last.ord_status, last.reason) == (S.EXPIRED, r.Reason.DAY_END)
    assert it.stop()["children_sent"] == 0


def send_while_it_stands(it, record, seconds):
    """Stop the engine for so long, and let a client's order arrive meanwhile."""
    it.signal(signal.SIGSTOP)
    it.client.send(record)
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        for peer in it.peers:
            peer.beat()
        time.sleep(0.001)
    it.signal(signal.SIGCONT)
