"""The watch beside a live engine: real processes and sockets, load, kill -9, a subscriber that was away."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from engine.jit import JIT, ROOT
from engine.record import records as r
from engine.run.config_beside import Alerts, Clock, DropCopy
from replay.watch import checkpoint
from replay.watch.chained import check
from replay.watch.summary import latencies, read_alerts
from tests.run.engine_peers import fill, make_config, order, wait_for
from tests.run.test_engine import Desk
from tests.watch.test_watch import expected, slow_executions, told

pytestmark = [
    pytest.mark.skipif(not JIT, reason="the loop needs the GIL released, which only compiled code does"),
    pytest.mark.timeout(600),
]


class Watched:
    """An engine in this process, a watch as a process beside it, and a subscriber to its alerts."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        config = make_config(folder / "run", sockets)
        self.config = msgspec.structs.replace(
            config,
            alerts=Alerts(endpoint=f"ipc://{sockets}/alerts", repeat_ms=200, stale_feed_ms=800),
            drop_copy=DropCopy(endpoint=f"ipc://{sockets}/copy"),
            clock=Clock(every_ms=100),
        )
        self.run_dir = folder / "run"
        self.desk = Desk(self.run_dir, sockets, "zmq", config=self.config)
        self.process = self.start()
        self.context = zmq.Context()
        self.alerts = self._socket(b"alert.", b"beat")
        self.alerts.connect(self.config.alerts.endpoint)
        self.copies = self._socket(b"")
        self.joined = self.copies.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.copies.connect(self.config.drop_copy.endpoint)
        wait_for(lambda: self.alerts.poll(0), self.desk.client, self.desk.venue, seconds=60)
        # What is published before a subscriber has shaken hands is not for it.
        wait_for(lambda: self.joined.poll(0), self.desk.client, self.desk.venue, seconds=60)
        self.copies.disable_monitor()
        self.joined.close(0)

    def start(self) -> subprocess.Popen[bytes]:
        with (self.run_dir / "watch.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "replay.watch.main", str(self.run_dir), "--parent", str(os.getpid())],
                cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    def _socket(self, *topics: bytes) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.SUB)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RECONNECT_IVL, 20)
        for topic in topics:
            socket.subscribe(topic)
        return socket

    def lines(self) -> list[Any]:
        """What the socket has brought, beats left out."""
        found = []
        while self.alerts.poll(0):
            topic, line = self.alerts.recv_multipart()
            if topic.startswith((b"alert.", b"from.")):
                found.append(json.loads(line))
        return found

    def blocked(self, count: int) -> None:
        """Send orders that the risk gate blocks."""
        for _ in range(count):
            self.sent = getattr(self, "sent", 0) + 1
            self.desk.client.send(order(f"B{self.sent}", r.Side.BUY, 200_000, 1_570_100))

    def close(self) -> None:
        for socket in (self.alerts, self.copies):
            socket.close()
        self.context.term()
        self.desk.stop()
        if self.process.poll() is None:
            self.process.wait(30)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    import shutil
    import tempfile

    sockets = Path(tempfile.mkdtemp(prefix="tr-"))
    watched = Watched(tmp_path_factory.mktemp("live"), sockets)
    yield watched
    watched.close()
    shutil.rmtree(sockets, ignore_errors=True)


def test_all_of_it(live):
    """One life of a run, in order: an alert, a fill, a flood, a kill -9, a subscriber that was away, the end."""
    desk = live.desk
    desk.feed.quote(0, 1_569_900, 1_570_000)
    desk.feed.quote(1, 1_569_900, 1_570_100)
    wait_for(lambda: desk.engine.gauge("quotes") == 2, desk.client, desk.venue)
    heard = _limit_hit(live)
    _fill_is_copied(live)
    _flood_and_kill(live, heard)
    _told_once_and_caught_up(live, heard)
    _stale(live)
    desk.stop()
    assert live.process.wait(30) == 0, (live.run_dir / "watch.log").read_text()
    _end(live)
    _clock_lines(live)


def _limit_hit(live):
    """A limit hit is on the socket as it is in the log, and soon."""
    live.blocked(1)
    heard: list[Any] = []

    def hear(code):
        heard.extend(live.lines())
        return any(a["code"] == code for a in heard)

    wait_for(lambda: hear("MAX_QTY"), live.desk.client, live.desk.venue)
    [first] = [a for a in heard if a["code"] == "MAX_QTY"]
    assert (first["kind"], first["value"], first["limit"], first["instrument"]) == ("limit", 200_000, 100_000, "XXX")
    assert 0 < first["sent_ns"] - first["event_ns"] < 5_000_000_000
    assert not first["seen"]
    return heard


def _fill_is_copied(live):
    """A fill is on the drop copy at once, on both sides."""
    desk = live.desk
    desk.client.send(order("A1", r.Side.BUY, 300, 1_570_000))
    [child] = desk.take(desk.venue, r.Template.ORDER_NEW)
    desk.venue.send(fill(child, 1))
    copies = [wait_for(lambda: live.copies.poll(0) and live.copies.recv(), desk.client, desk.venue) for _ in range(2)]
    rows = np.frombuffer(b"".join(copies), dtype=r.REPORT)
    assert rows["stream_id"].tolist() == [0, 1]
    assert rows["template_id"].tolist() == [r.Template.FILL] * 2
    assert rows["last_qty"].tolist() == [300, 300]
    assert rows["order_id"][0] == child["order_id"]


def _flood_and_kill(live, heard):
    """Quotes and blocked orders as fast as they go; the watch is killed in the middle of it."""
    desk, until_s, killed = live.desk, time.monotonic() + 2.0, False
    while time.monotonic() < until_s:
        for n in range(50):
            desk.feed.quote(n % 3, 1_569_900 + n, 1_570_000 + n)
        live.blocked(10)
        desk.client.beat(), desk.venue.beat(), desk.client.got()
        heard += live.lines()
        if not killed and until_s - time.monotonic() < 1.0:
            killed = True
            live.process.send_signal(signal.SIGKILL)
            live.process.wait(10)
            live.process = live.start()
        time.sleep(0.001)
    # On a starved machine the client's connection may be cut: what was lost is a gap, and counted.
    gauge = desk.engine.gauge
    wait_for(lambda: gauge("risk_blocks") + gauge("lost_records") == live.sent, desk.client, desk.venue, seconds=60)
    assert gauge("risk_blocks") > 100


def _told_once_and_caught_up(live, heard):
    """The log has each block once, and a subscriber that was away reads what it missed from the socket."""
    desk, blocks = live.desk, live.desk.engine.gauge("risk_blocks")

    def count(rows):
        return sum(a["count"] for a in rows if a["code"] == "MAX_QTY")

    wait_for(lambda: count(read_alerts(live.run_dir).rows) == blocks, desk.client, desk.venue, seconds=60)
    seen = {a["seq"] for a in heard}  # with holes: what came between the kill and the subscriber's return
    missing = next(seq for seq in range(min(seen), max(seen) + 2) if seq not in seen)
    live.alerts.subscribe(f"from.{missing}".encode())

    def caught_up():
        heard.extend(a for a in live.lines() if a["seq"] not in {b["seq"] for b in heard})
        return count(heard) == blocks

    wait_for(caught_up, desk.client, desk.venue, seconds=30)


def _stale(live):
    """No quotes any more: the feeds are stale."""

    def stale():
        rows = read_alerts(live.run_dir).rows
        return {a["subject"] for a in rows if a["code"] == "STALE_FEED" and a["state"] == "raised"}

    found = wait_for(lambda: len(stale()) == 3 and stale(), live.desk.client, live.desk.venue)
    assert found == {"feed XV0", "feed XV1", "feed XV2"}


def _end(live):
    """Everything that the journal has was told once; the logs are whole, and their heads are kept."""
    alerts = read_alerts(live.run_dir).rows
    assert told(alerts) == expected(live.run_dir)
    kept = np.fromfile(live.run_dir / "executions.bin", dtype=r.REPORT)
    assert [row.tobytes()[24:] for row in kept] == [data[24:] for _, data in slow_executions(live.run_dir)]
    figures = latencies([row for row in alerts if row["code"] == "MAX_QTY"])
    print(f"event to sent under load: {figures}")
    assert figures["max"] < 60_000_000_000
    assert figures["negative"] == 0
    state = json.loads((live.run_dir / checkpoint.FILE).read_bytes())
    assert state["closed"]
    for name in ("alerts.jsonl", "clock.jsonl"):
        assert check(live.run_dir / name, state["run_id"], checkpoint.heads(live.run_dir)[name]).lines > 3


def _clock_lines(live):
    lines = [json.loads(line) for line in (live.run_dir / "clock.jsonl").read_bytes().splitlines()]
    offset_ns = int(live.desk.engine.life.clock_offset_ns)
    for line in lines:
        assert line["clock_ns"] == line["monotonic_ns"] + offset_ns
        assert line["within"] == (not line["why"])
        assert line["bracket_ns"] >= 0
    assert all(two["realtime_ns"] > one["realtime_ns"] for one, two in itertools.pairwise(lines))
