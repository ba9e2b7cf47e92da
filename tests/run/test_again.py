"""Clients that are killed, cut off or slow, against a real engine: each report is given once, in order, byte for byte.

The clients are processes; the engine's loop runs in this one. What a client wrote down is compared with the journal.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from engine.errors import TickrouteError
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.jit import JIT, ROOT
from engine.record import records as r
from engine.run.daemon import Engine
from gateways.orders.client import OrderClient
from gateways.orders.status import Report
from tests.run.engine_peers import Feed, Peer, fill, make_config, order, wait_for
from tests.run.lives import MID, Lives, settled

pytestmark = pytest.mark.skipif(not JIT, reason="the loop needs the GIL released, which only compiled code does")
REPORTS = {r.Template.ACK, r.Template.FILL, r.Template.REJECT, r.Template.CANCEL_REJECT}
MANY = 5000


def reports_on(run_dir: Path, session: int) -> list[bytes]:
    """The reports on a session, as the journal has them."""
    found = []
    with JournalReader(run_dir, live=True) as reader:
        for frame in reader.frames():
            if frame.kind == Kind.OUTPUT:
                payload = frame.payload.tobytes()
                head = np.frombuffer(payload, r.HEAD, 1)[0]
                if head.stream_id == session and head.template_id in REPORTS:
                    found.append(payload)
    return found


class House:
    """An engine with two clients' sessions; `taker` starts a client process on the first."""

    def __init__(self, folder: Path, sockets: Path, transport: str) -> None:
        self.folder = folder
        self.config = make_config(folder / "run", sockets, transport=transport, more=("other",))
        self.engine = Engine(self.config)
        self.engine.start()
        self.endpoint = self.config.orders.endpoint if transport == "zmq" else self.config.session[0].endpoint
        self.file = folder / "reports"
        self.processes: list[subprocess.Popen[str]] = []
        self.stopped = False

    def taker(self, orders: int, seen: tuple[int, int] | None = None) -> subprocess.Popen[str]:
        """A client process; returns once it has handed all its orders to its transport. It waits for `go`."""
        where = [] if seen is None else [str(word) for word in seen]
        command = [sys.executable, "-m", "tests.run.report_taker", self.endpoint, "desk", str(self.file)]
        epoch = int(time.time()) + len(self.processes)  # two lives may begin in one second
        process = subprocess.Popen(
            [*command, str(epoch), str(orders), *where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        self.processes.append(process)
        assert self.said(process) == "sent"
        return process

    def said(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def go(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        print("go", file=process.stdin, flush=True)

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def written(self) -> list[bytes]:
        data = self.file.read_bytes() if self.file.exists() else b""
        return [data[at : at + 128] for at in range(0, len(data) // 128 * 128, 128)]

    def last_written(self) -> tuple[int, int]:
        head = np.frombuffer(self.written()[-1], r.HEAD, 1, 0)[0]
        return int(head.stream_epoch), int(head.stream_seq)

    def stream(self, session: int = 0) -> list[bytes]:
        return reports_on(self.engine.run_dir, session)

    def wait(self, condition, seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, (
                f"{len(self.written())} reports are written, {len(self.stream())} are there"
            )
            time.sleep(0.005)

    def stop(self) -> dict[str, int]:
        self.stopped = True
        for process in self.processes:
            if process.poll() is None:
                self.kill(process)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()
        return self.engine.stop(cancel=False)


@pytest.fixture
def house(tmp_path, sockets):
    made: list[House] = []

    def make(transport: str) -> House:
        made.append(House(tmp_path, sockets, transport))
        return made[-1]

    yield make
    for one in made:
        if not one.stopped:
            one.stop()


@pytest.mark.parametrize("transport", ["zmq", "shm"])
def test_a_client_killed_between_reports_gets_the_rest_in_its_next_life(house, transport):
    """Thousands of reports are missed; a second client trades meanwhile, and orders go on during the catching up."""
    it = house(transport)
    first = it.taker(10)
    it.go(first)
    it.wait(lambda: len(it.written()) == 10)
    it.kill(first)
    lost = it.taker(MANY, seen=it.last_written())
    it.wait(lambda: it.engine.gauge("refusals") >= MANY + 10)  # what a killed process had not sent yet is nobody's
    it.go(lost)
    it.wait(lambda: len(it.written()) > 20)
    it.kill(lost)
    written = len(it.written())
    assert written < MANY, "it was killed in the middle"
    it.file.write_bytes(b"".join(it.written()))  # its last write may have been cut

    stop, gaps_ns, failures = threading.Event(), [], []

    def trade() -> None:
        """Orders of the second client, one after the other; a busy machine may let its session rest now and then."""
        name = it.endpoint if transport == "zmq" else it.config.session[2].endpoint
        try:
            with OrderClient(name, "other", 0, peer_timeout_ms=400) as other:
                while not stop.is_set():
                    if not other.wait(lambda: other.up, 10):
                        failures.append("the session did not come up again")
                        return
                    began = time.monotonic_ns()
                    one = other.new(f"B{began}", instrument_id=0, side=r.Side.BUY, qty=150, px=1_570_000)
                    while one.is_open and time.monotonic_ns() - began < 10**10:
                        other.poll(0.01)
                    gaps_ns.append(time.monotonic_ns() - began)
        except TickrouteError as error:  # told where the test is, not in the next one
            failures.append(repr(error))

    trader = threading.Thread(target=trade)
    trader.start()
    again = it.taker(50, seen=it.last_written())
    it.go(again)
    assert it.said(again) == "caught up"
    it.wait(lambda: len(it.written()) >= MANY + 60)
    stop.set()
    trader.join(30)
    assert (failures, trader.is_alive()) == ([], False)
    assert it.written() == it.stream()
    assert len(it.stream()) == MANY + 60
    assert len(gaps_ns) > 5
    figures = it.stop()
    assert figures["resent"] >= MANY - written
    assert (figures["records_gone"], figures["resets"]) == (0, 0)


class Cable:
    """A wire between two unix sockets that can be cut."""

    def __init__(self, near: Path, far: Path) -> None:
        self.far = str(far)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(near))
        self.listener.listen()
        self.ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self.far)
            self.ends += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass

    def cut(self) -> None:
        for end in self.ends:
            end.close()
        self.ends = []

    def close(self) -> None:
        self.listener.close()
        self.cut()


def test_a_link_that_is_cut_again_and_again_loses_nothing(house, sockets):
    """What was on the wire is lost each time; the client, alive all the while, finds the holes and asks."""
    it = house("zmq")
    cable = Cable(sockets / "cable", sockets / "orders")
    client = OrderClient(f"ipc://{sockets}/cable", "desk", 0, peer_timeout_ms=400)
    try:
        client.connect()
        given = []
        for burst in range(6):
            if client.wait(lambda: client.up, 10):
                for n in range(200):
                    client.new(f"C{burst}-{n}", instrument_id=0, side=r.Side.BUY, qty=150, px=1_570_000)
            cable.cut()
            given += client.poll(0.05)
        assert client.wait(lambda: client.up and client.caught_up, 10)

        def all_there() -> bool:
            given.extend(client.poll(0.01))
            return not any(one.is_open for one in client.orders.values())

        it.wait(all_there)
        got = [report.record.tobytes() for report in given]
        assert got == it.stream()
        assert client.lives["lost"] == 0
    finally:
        client.close()
        cable.close()


@pytest.mark.parametrize("transport", ["zmq", "shm"])
def test_fills_that_came_while_nobody_was_there(house, transport):
    """A resting order trades while its client is dead: the next life is told of each execution."""
    it = house(transport)
    context = zmq.Context()
    feed, venue = Feed(it.config, context), Peer(it.config, 1, context)
    client = Peer(it.config, 0, context)
    wait_for(lambda: it.engine.gauge("sessions_up") == 2, client, venue)
    feed.quote(0, 1_569_900, 1_570_000)
    wait_for(lambda: it.engine.gauge("quotes") == 1, client, venue)
    client.send(order("A1", r.Side.BUY, 300, 1_570_000))
    children = wait_for(lambda: [x for x in venue.got() if x.template_id == r.Template.ORDER_NEW], client, venue)
    acked = wait_for(lambda: [x for x in client.got() if x.template_id == r.Template.ACK], client, venue)
    seen = int(acked[-1].stream_epoch), int(acked[-1].stream_seq)
    client.close()
    wait_for(lambda: it.engine.gauge("sessions_up") == 1, venue)
    for number in range(3):
        venue.send(fill(children[0], number, 100))
    wait_for(lambda: it.engine.gauge("live_parents") == 0, venue)
    with OrderClient(it.endpoint, "desk", 0, peer_timeout_ms=400, seen=seen) as back:
        back.connect()
        reports: list[Report] = []

        def caught_up() -> bool:
            reports.extend(back.poll())
            return back.caught_up

        wait_for(caught_up, venue)
        reports += back.poll()
    assert [report.last_qty for report in reports if report.template == r.Template.FILL] == [100, 100, 100]
    assert reports[-1].ord_status == r.OrdStatus.FILLED
    assert [report.record.tobytes() for report in reports] == it.stream()[-len(reports) :]
    it.stop()
    for peer in (venue, feed):
        peer.close()
    context.term()


def test_an_engine_that_was_killed_sends_what_was_missed_from_before_its_death(tmp_path):
    """Bursts of orders, each followed by kill -9: what the client is given in the end is the journal's stream."""
    with Lives(tmp_path, seed=9) as lives:
        given: list[bytes] = []
        apply = lives.client._apply

        def noted(report: Report) -> Report:
            given.append(report.record.tobytes())
            return apply(report)

        lives.client._apply = noted  # type: ignore[method-assign]
        lives.start()
        lives.turn_for(1.0)
        for _ in range(2):
            for _ in range(200):
                lives.sent += 1
                lives.client.new(f"P{lives.sent:06d}", instrument_id=0, side=r.Side.BUY, qty=300, px=MID + 2000)
            time.sleep(lives.random.uniform(0.0, 0.05))
            lives.kill()
            lives.start()
        venues = lives.finish()
        settled(lives, venues)
        lost, client = lives.client.lives["lost"], lives.client
        stream = reports_on(lives.run_dir, 0)
        assert client.lives["resent"] > 0
        assert client.lives["restarts"] == 0, "the stream goes on: one epoch, one numbering"
        # What the dead engine had not journaled whole was never sent, and its numbers are not used again.
        assert set(given) <= set(stream)
        assert len(stream) - len(given) <= lost
        assert len(set(given)) == len(given)
        assert given == [report for report in stream if report in set(given)]
        if lost == 0:
            assert [order.missed_qty for order in client.orders.values() if order.missed_qty] == []
