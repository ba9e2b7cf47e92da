"""The processes that `perf wire` fires at, and the harness's ends of their links.

A Peer owns a process, its endpoints in a folder of its own, and a `perf.lab.Lab` with the sockets or rings that face
it. `begin` starts it and shakes hands; `sleep` and `awake` stop and continue it; `fire` measures. Worst case: a process
that does not come up is given START_S, and what it said is in the error.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import TickrouteError
from engine.io import zmq
from engine.io.atomics import monotonic_ns
from engine.io.histogram import LENGTH
from engine.io.ring import CONSUMER, PRODUCER, Ring, ring_push
from engine.record.records import Template, blank
from engine.run.links import RING_SLOTS
from perf import desk, lab

ROOT = Path(__file__).resolve().parent.parent
START_S = 600.0
#: Of each run, this long is fired at but not measured: caches and wakes after a stop.
WARM_S = 0.2
_SHM_DIR = Path("/dev/shm")


class PeerError(TickrouteError):
    """A process that did not start, or did not answer; the message holds what it said."""


class Peer:
    """One process under fire."""

    name = ""

    def __init__(self, folder: Path, transport: str, core: int, other: int) -> None:
        self.folder, self.transport, self.core, self.other = folder, transport, core, other
        self.epoch = int(time.time())
        self.lab, self.events = lab.make(lab.SHM if transport == "shm" else lab.ZMQ, self.epoch)
        self._kept: list[Any] = []
        self._context: Any = None
        self.process: subprocess.Popen[str] | None = None
        self.feed, self.orders = self._endpoints()

    def _endpoints(self) -> tuple[str, str]:
        if self.transport == "tcp":
            return f"tcp://127.0.0.1:{_free_port()}", f"tcp://127.0.0.1:{_free_port()}"
        if self.transport == "ipc":
            return f"ipc://{self.folder}/feed", f"ipc://{self.folder}/orders"
        place = (_SHM_DIR if _SHM_DIR.is_dir() else self.folder) / f"tickroute-{os.getpid()}-{self.name}"
        return f"shm://{place}-feed", f"shm://{place}-venues"

    def begin(self) -> None:
        """Start the process, open our ends, and have it ready to be fired at."""
        if self.transport != "shm":
            self._context = zmq.make_context(1, [self.other])
            publisher = self._keep(zmq.open_socket(self._context, "xpub", self.feed, bind=True, heartbeat_ms=0))
            self.lab.line[0].feed = zmq.address(publisher)
        self._start()
        if self.transport == "shm":
            self._rings()
        else:
            self._dial()
        self._shake_hands()

    def _keep(self, thing: Any) -> Any:
        self._kept.append(thing)
        return thing

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _start(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            self._command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        out, said, until = self.process.stdout, "", time.monotonic() + START_S
        assert out is not None
        while "ready" not in said:
            if not select.select([out], [], [], max(until - time.monotonic(), 0))[0]:
                raise PeerError(f"{self.name}: not ready in {START_S:g} s; it said: {said[-500:]}")
            line = out.readline()
            if not line:
                raise PeerError(f"{self.name}: ended before it was ready; it said: {said[-2000:]}")
            said += line

    def _dial(self) -> None:
        line = self.lab.line[0]
        for name in ("venues", *self.clients):
            dealer = self._keep(
                zmq.open_socket(self._context, "dealer", self.orders, name=name.encode(), heartbeat_ms=0)
            )
            line["orders" if name == "venues" else "desk"] = zmq.address(dealer)

    clients: tuple[str, ...] = ()

    def _rings(self) -> None:
        line, venues = self.lab.line[0], self.orders.removeprefix("shm://")
        line.feed = self._ring(self.feed.removeprefix("shm://"), PRODUCER)
        line.orders_tx, line.orders = self._ring(f"{venues}.in", PRODUCER), self._ring(f"{venues}.out", CONSUMER)

    def _ring(self, path: str, side: int) -> int:
        ring = self._keep(Ring.create(path, RING_SLOTS, side))
        return int(ring.address)

    def _shake_hands(self) -> None:
        raise NotImplementedError

    def sleep(self) -> None:
        """Stop the process where it is."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let the process run inside."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.sleep()

    def fire(self, rate: int, seconds: float, marked_every: int) -> tuple[np.ndarray, int]:
        """(latencies in ns as a histogram, marked quotes without an order) of one run."""
        line = self.lab.line[0]
        line.interval_ns, line.marked_every = 1_000_000_000 // rate, marked_every
        line.open = 0
        self.lab.tags[:] = 0
        self.lab.hist[:LENGTH] = 0
        line.count_from_ns = monotonic_ns() + int(WARM_S * 1e9)
        missing = int(lab.fire(self.lab, self.events, int(rate * (seconds + WARM_S)), 500_000_000))
        if line.refused:
            raise PeerError(f"{self.name}: {line.refused} quotes could not be sent")
        return self.lab.hist.copy(), missing

    def close(self) -> None:
        """End the process and close our ends."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
        for thing in self._kept:
            path = getattr(thing, "path", None)
            thing.close() if path is not None else thing.close(linger=0)
            if path is not None:
                Path(path).unlink(missing_ok=True)
        if self._context is not None:
            self._context.term()

    def _wait(self, what: str, seconds: float, ready: Any) -> None:
        until = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > until:
                raise PeerError(f"{self.name} over {self.transport}: no {what} in {seconds:g} s")
            time.sleep(0.001)


class ForwarderPeer(Peer):
    """The bare forwarder."""

    name = "forwarder"

    def _command(self) -> list[str]:
        feed, orders = (text.removeprefix("shm://") for text in (self.feed, self.orders))
        kind = "shm" if self.transport == "shm" else "zmq"
        return [sys.executable, "-m", "perf.forwarder", kind, feed, orders, str(self.core), str(self.other)]

    def _shake_hands(self) -> None:
        """Marked quotes until the first order comes back."""

        def answered() -> bool:
            self.fire(1_000, 0.01, 1)
            return bool(self.lab.line[0].received)

        self._wait("order", 10.0, answered)


class EnginePeer(Peer):
    """`tickroute run`, with a parent resting in each instrument."""

    name = "engine"
    clients = ("desk",)

    def _command(self) -> list[str]:
        shm, alone = self.transport == "shm", self.core != self.other
        path = desk.write(
            self.folder,
            lab.INSTRUMENTS,
            clock="monotonic",
            stale_ms=60_000,
            core=self.core if alone else -1,
            io_cores=[self.other] if alone else [],
            idle="spin" if alone else "yield",
            feed=self.feed,
            orders=f"ipc://{self.folder}/unused" if shm else self.orders,
            venues=self.orders if shm else "zmq",
            desk=self.orders.replace("-venues", "-desk") if shm else "zmq",
            peer_timeout_ms=900_000,
            heartbeat_ms=100_000,
        )
        code = "import sys; from cli.main import main; sys.exit(main(sys.argv[1:]))"
        return [sys.executable, "-c", code, "run", str(path)]

    def _rings(self) -> None:
        super()._rings()
        client = self.orders.removeprefix("shm://").replace("-venues", "-desk")
        self._desk_tx = self._ring(f"{client}.in", PRODUCER)
        self.lab.line[0].desk = self._ring(f"{client}.out", CONSUMER)

    def _tell(self, record: np.ndarray, client: bool) -> None:
        """Send one record on a session, over whatever it runs."""
        address, size = record.ctypes.data, record.dtype.itemsize
        line = self.lab.line[0]

        def sent() -> bool:
            if not client:
                return bool(lab.say(self.lab, address, size))
            if self.transport == "shm":
                return int(ring_push(self._desk_tx, address, size)) == 1
            return int(zmq.send(int(line.desk), address, size, 0)) >= 0

        self._wait("room for a record", 10.0, sent)

    def _shake_hands(self) -> None:
        line = self.lab.line[0]
        for client in (False, True):
            hello = blank(Template.SESSION_UP)
            hello["stream_epoch"], hello["stream_seq"] = self.epoch, 1
            self._tell(hello, client)
        line.venue_seq = 1
        lab.reports(self.lab)
        before = int(line.reports)
        order = self.lab.order.copy()
        for instrument in range(lab.INSTRUMENTS):
            order["instrument_id"], order["stream_seq"] = instrument, instrument + 2
            order["cl_ord_id"][0, 0] = instrument + 1
            self._tell(order, True)
        self._wait("answer to its parents", 10.0, lambda: lab.reports(self.lab) >= before + lab.INSTRUMENTS)

        def answered() -> bool:
            self.fire(1_000, 0.01, 1)
            return bool(line.received)

        self._wait("order", 10.0, answered)


def _free_port() -> int:
    with sockets.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
