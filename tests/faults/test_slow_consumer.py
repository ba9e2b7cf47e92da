"""A client that stands still while the market fills its orders, under a feed of many times the recorded pace.

Nobody else is kept waiting: the engine's own latencies, over every event, are what they were while it read. It misses
nothing, and memory is bounded. TICKROUTE_STILL_S sets how long it stands still in the long test (60).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from engine.io import histogram
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.io.stats_file import StatsReader
from engine.jit import JIT, ROOT
from engine.record import records as r
from gateways.orders.client import OrderClient
from tests.faults.test_consumers import OTHER, resident_kib
from tests.run.engine_peers import Peer, fill
from tests.run.test_again import reports_on

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
#: The demonstration's day has some 260 records a second, at its recorded pace.
DEMO_PER_S = 260
PX, TICK, COUNT = 1_570_000, 100, 8
#: Windows that each part is measured in; a part's figure is their median, for the machine is shared.
WINDOWS = 6
T = r.Template


class Market:
    """Feed, venue and the other client: all that goes on beside the one that stands still."""

    def __init__(self, it, other, per_s):
        self.it, self.other, self.per_s = it, other, per_s
        self.venue = Peer(it.config, 1, it.context)
        it.peers = [self.venue]
        self.rows = np.array([r.blank(T.QUOTE) for _ in range(20)]).reshape(-1)
        self.rows["stream_epoch"], self.rows["stream_id"], self.rows["venue_id"] = it.feed.epoch, 0, 0
        self.rows["bid_qty"] = self.rows["ask_qty"] = 5000
        self.at = self.sent = self.fills = self.asked = 0
        self.order, self.since, self.took = None, 0, []

    def quotes(self, ask):
        """A message of twenty quotes of venue 0: the bid changes, the ask is what it is told to be."""
        self.rows["stream_seq"] = self.at + 1 + np.arange(len(self.rows))
        self.at += len(self.rows)
        self.rows["ts_event_ns"] = time.time_ns()
        self.rows["ask_px"] = ask
        self.rows["bid_px"] = ask - TICK * (10 + np.arange(len(self.rows)) % 2)
        self.it.feed._socket.send(self.rows.tobytes())
        self.sent += len(self.rows)

    def turn(self, ask):
        """One round of everybody but the feed."""
        self.venue.beat()
        for record in self.venue.got():
            if record.template_id == T.ORDER_NEW:
                self.fills += 1
                self.venue.send(fill(record, self.fills))
        self.other.poll()
        if self.order is not None and not self.order.is_open:
            self.took.append(time.monotonic_ns() - self.since)
            self.order = None
        if self.order is None:
            self.asked += 1
            self.since = time.monotonic_ns()
            self.order = self.other.new(
                f"O{self.asked}", instrument_id=0, side=r.Side.BUY, qty=100, px=ask - 5 * TICK, tif=r.Tif.IOC
            )

    def play(self, seconds, ask):
        """Go on for so long at one price."""
        began, first = time.monotonic(), self.sent
        while (passed := time.monotonic() - began) < seconds:
            while self.sent - first < passed * self.per_s:
                self.quotes(ask)
            self.turn(ask)
            time.sleep(0.0005)


def part(market, reader, steps, seconds):
    """Walk the ask down over `steps`; p99.9 (ns) of all events' latencies, and the other client's round trips (ns)."""
    market.took = []
    p999 = []
    for window in np.array_split(np.array(steps), min(WINDOWS, len(steps))):
        before = reader.histogram("total").copy()
        for step in window:
            market.play(seconds / len(steps), PX - int(step) * TICK)
        found = histogram.summary(reader.histogram("total") - before, (99.9,))
        p999.append(found.rows[0].value_ns)
    return float(np.median(p999)), np.array(market.took)


def hold(it, seconds, per_s, steps, most):
    """`most`: the part standing still may have so many times the latencies of the part before."""
    timeout_ms = it.config.engine.peer_timeout_ms
    it.start(peers=False)
    file, endpoint = it.folder / "reports", it.config.orders.endpoint
    numbers = [str(n) for n in (2 * steps, COUNT, PX, TICK)]
    with OrderClient(endpoint, "other", 0, peer_timeout_ms=timeout_ms) as other:
        other.connect(60)
        market = Market(it, other, per_s)
        reader = StatsReader(it.run_dir / "stats")
        far = PX + 50 * TICK
        market.play(2.0, far)
        it.wait(lambda: it.gauge("quotes") == market.sent)
        taker = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.resting_client", endpoint, "desk", str(file), *numbers],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        try:
            while not file.with_suffix(".resting").exists():
                assert taker.poll() is None, "the client lives"
                market.play(0.2, far)
            one, before = part(market, reader, range(steps), seconds)
            filled, memory = market.fills, resident_kib(it.pid)
            taker.send_signal(signal.SIGSTOP)
            two, meanwhile = part(market, reader, range(steps, 2 * steps), seconds)
            grown = resident_kib(it.pid) - memory
            stood = market.fills - filled
            taker.send_signal(signal.SIGCONT)
            stream = reports_on(it.run_dir, 0)
            until_s = time.monotonic() + 60
            while file.stat().st_size < sum(map(len, stream)):
                assert time.monotonic() < until_s, "the reports did not come"
                market.play(0.05, far)
        finally:
            taker.kill()
            taker.wait()
            reader.close()
        it.wait(lambda: it.gauge("quotes") == market.sent)
    figures = it.stop()
    trips = [np.percentile(side, (50, 99.9)) / 1e6 for side in (before, meanwhile)]
    (p50, p999), (p50_then, p999_then) = trips
    print(f"{market.sent} quotes at {per_s}/s; {stood} of its orders were filled in {seconds} s that it stood still; "
          f"p99.9 of all events {one:.0f} ns before, {two:.0f} ns meanwhile ({two / one:.2f}); the other client's "
          f"round trips p50 {p50:.2f} and {p50_then:.2f} ms, p99.9 {p999:.2f} and {p999_then:.2f} ms "
          f"({len(before)} and {len(meanwhile)} of them); memory + {grown} KiB")  # fmt: skip
    assert market.fills == 2 * steps * COUNT
    assert stood >= 0.9 * steps * COUNT, "its orders were filled while it stood still"
    assert file.read_bytes() == b"".join(stream)
    assert (figures["records_gone"], figures["dropped"], figures["malformed"]) == (0, 0, 0)
    assert figures["quotes"] == market.sent
    # What its own socket held when its connection was given up is lost, and is asked for: one message at the most.
    assert figures["gaps"] == figures["lost_records"] <= 1
    assert grown < 16 << 10
    assert two <= most * one
    assert np.median(meanwhile) <= most * np.median(before)
    with JournalReader(it.run_dir) as journal:
        outputs = sum(int((chunk.rows["kind"] == Kind.OUTPUT).sum()) for chunk in journal.chunks())
    assert outputs == figures["outputs"]


def changes(idle):
    """The configuration's changes: segments for the rate, another client, how the loop idles."""
    return ("segment_mib = 1\n", "segment_mib = 16\n"), OTHER, ('idle = "park"', f'idle = "{idle}"')


def test_a_client_that_stands_still_while_it_is_filled(bench):
    hold(bench(*changes("park")), 3.0, 10 * DEMO_PER_S, 6, most=4.0)


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("times", [10, 100])
def test_a_minute_at_many_times_the_rate_costs_others_nothing(bench, times):
    """The p99.9 of all events stays within a tenth at so many times the day's recorded pace."""
    seconds = float(os.environ.get("TICKROUTE_STILL_S", "60"))
    patient = ("peer_timeout_ms = 500", "peer_timeout_ms = 5000")  # feed, venue and other client are one busy process
    hold(bench(*changes("spin"), patient), seconds, times * DEMO_PER_S, 30, most=1.1)
