"""Plain peers of an engine for tests: a feed, a venue and a client over ZeroMQ or rings, record by record."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from engine.io.atomics import monotonic_ns
from engine.io.ring import CONSUMER, PRODUCER, Ring, ring_beat, ring_pop, ring_push
from engine.record import records as r
from engine.run import config as c


def make_config(
    run_dir: Path, sockets: Path, *, transport: str = "zmq", venues: int = 3, more: tuple[str, ...] = (), **routing: Any
) -> c.Config:
    """One instrument, `venues` venues on one session, a client, and `more` clients; all links are zmq or shm."""
    shm = transport == "shm"
    return c.Config(
        engine=c.Engine(run_dir=str(run_dir), idle="yield", peer_timeout_ms=400, heartbeat_ms=50),
        orders=c.Orders(endpoint=f"ipc://{sockets}/orders"),
        risk=c.Risk(**c.ALL_OFF, max_qty="100000", max_notional="100000000", collar_bps=500, reference_age_ms=60_000),
        feed=[c.Feed(name="day", endpoint=f"shm://{sockets}/feed" if shm else f"ipc://{sockets}/feed")],
        session=[
            c.Session(name="desk", role="client", endpoint=f"shm://{sockets}/desk" if shm else "zmq"),
            c.Session(name="sim", role="venue", endpoint=f"shm://{sockets}/sim" if shm else "zmq"),
            *(
                c.Session(name=name, role="client", endpoint=f"shm://{sockets}/{name}" if shm else "zmq")
                for name in more
            ),
        ],
        venue=[c.Venue(mic=f"XV{n}", code=str(n), session="sim", take_fee="0.0030", lot="100") for n in range(venues)],
        instrument=[c.Instrument(symbol="XXX", lot="100")],
        journal=c.Journal(segment_mib=4),
        routing=c.Routing(**{"stale_ms": 60_000, "child_timeout_ms": 60_000, **routing}),
    )


class Peer:
    """One end of an order session. `send` numbers records; `got` takes what has come, heartbeats left out."""

    def __init__(self, config: c.Config, session: int, context: Any, epoch: int = 1) -> None:
        self.config, self.session, self.epoch = config, session, epoch
        self.seq = 0
        self._beat_s = 0.0
        row = config.session[session]
        self._socket = None
        if row.endpoint == "zmq":
            self._socket = context.socket(zmq.DEALER)
            self._socket.set(zmq.ROUTING_ID, row.name.encode())
            self._socket.set(zmq.LINGER, 0)
            self._socket.set(zmq.SNDTIMEO, 30_000)  # an engine that is gone fails a test, and does not hold it up
            self._socket.connect(config.orders.endpoint)
        else:
            path = row.endpoint[6:]
            self._tx, self._rx = Ring.attach(path + ".in", PRODUCER), Ring.attach(path + ".out", CONSUMER)
            self._scratch = np.zeros(r.RECORD_MAX, dtype=np.uint8)
        self.hello()

    def hello(self) -> None:
        self.send(r.blank(r.Template.SESSION_UP))

    def send(self, record: np.ndarray) -> None:
        self.seq += 1
        record["stream_epoch"], record["stream_seq"] = self.epoch, self.seq
        self.raw(record.tobytes())

    def raw(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.send(data)
            return
        buffer = np.frombuffer(data, dtype=np.uint8)
        assert ring_push(self._tx.address, buffer.ctypes.data, len(data)) == 1

    def beat(self) -> None:
        """Say that we live, when it is time."""
        if time.monotonic() - self._beat_s > 0.05:
            self._beat_s = time.monotonic()
            record = r.blank(r.Template.HEARTBEAT)
            record["stream_epoch"], record["stream_seq"] = self.epoch, self.seq
            self.raw(record.tobytes())
            if self._socket is None:
                ring_beat(self._tx.address, PRODUCER, monotonic_ns())
                ring_beat(self._rx.address, CONSUMER, monotonic_ns())

    def got(self) -> list[Any]:
        """Records that have come, as np.record scalars of their kinds."""
        found = []
        for data in self._messages():
            at = 0
            while at < len(data):
                head = np.frombuffer(data, r.HEAD, 1, at)[0]
                dtype = r.DTYPES[r.Template(int(head.template_id))]
                record = np.frombuffer(data, dtype, 1, at)[0]
                at += dtype.itemsize
                if head.template_id != r.Template.HEARTBEAT:
                    found.append(record)
        return found

    def _messages(self) -> list[bytes]:
        found = []
        if self._socket is not None:
            while self._socket.poll(0):
                found.append(self._socket.recv())
            return found
        while (n := ring_pop(self._rx.address, self._scratch.ctypes.data)) > 0:
            found.append(self._scratch[:n].tobytes())
        return found

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
        else:
            self._tx.close()
            self._rx.close()


class Feed:
    """A publisher of quotes: one stream a venue."""

    def __init__(self, config: c.Config, context: Any, epoch: int = 1, wait_s: float = 10.0) -> None:
        self.epoch = epoch
        self.seqs = dict.fromkeys(range(len(config.venue)), 0)
        endpoint = config.feed[0].endpoint
        self._socket = None
        if endpoint.startswith("shm://"):
            self._ring = Ring.attach(endpoint[6:], PRODUCER)
        else:
            self._socket = context.socket(zmq.XPUB)
            self._socket.set(zmq.LINGER, 0)
            self._socket.set(zmq.SNDHWM, 0)  # what the test loses it loses itself
            self._socket.bind(endpoint)
            assert self._socket.poll(int(wait_s * 1000)), "the engine did not subscribe"
            self._socket.recv()

    def quote(self, venue: int, bid: int, ask: int, qty: int = 300) -> None:
        record = r.blank(r.Template.QUOTE)
        self.seqs[venue] += 1
        record["venue_id"] = record["stream_id"] = venue
        record["stream_epoch"], record["stream_seq"] = self.epoch, self.seqs[venue]
        record["ts_event_ns"] = time.time_ns()
        record["bid_px"], record["ask_px"], record["bid_qty"], record["ask_qty"] = bid, ask, qty, qty
        self.raw(record.tobytes())

    def raw(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.send(data)
            return
        buffer = np.frombuffer(data, dtype=np.uint8)
        assert ring_push(self._ring.address, buffer.ctypes.data, len(data)) == 1

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
        else:
            self._ring.close()


def order(cl_ord_id: str, side: r.Side, qty: int, px: int, tif: r.Tif = r.Tif.IOC) -> np.ndarray:
    """A client's ORDER_NEW."""
    record = r.blank(r.Template.ORDER_NEW)
    record["cl_ord_id"] = r.text16(cl_ord_id)
    record["side"], record["qty"], record["px"] = side, qty, px
    record["ord_type"], record["tif"] = r.OrdType.LIMIT, tif
    return record


def fill(child: Any, number: int, qty: int | None = None) -> np.ndarray:
    """A venue's FILL of a child."""
    record = r.blank(r.Template.FILL)
    for name in ("order_id", "venue_id", "instrument_id", "side"):
        record[name] = child[name]
    record["exec_id"] = r.text16(f"E{number}")
    record["last_px"], record["last_qty"] = child.px, child.qty if qty is None else qty
    record["exec_type"], record["liquidity"] = r.ExecType.TRADE, r.Liquidity.REMOVED
    return record


def ack(child: Any, exec_type: r.ExecType, status: r.OrdStatus, cum: int = 0) -> np.ndarray:
    """A venue's ACK about a child."""
    record = r.blank(r.Template.ACK)
    for name in ("order_id", "venue_id", "instrument_id", "side"):
        record[name] = child[name]
    record["exec_type"], record["ord_status"], record["cum_qty"] = exec_type, status, cum
    return record


def wait_for(condition: Callable[[], Any], *peers: Peer, seconds: float = 10.0) -> Any:
    """Poll until the condition gives something true, with the peers' hearts beating; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        for peer in peers:
            peer.beat()
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
