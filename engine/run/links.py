"""Opening a run's links: the sockets and rings that the loop's wiring names.

Rows in order: one SUB for all ZeroMQ feeds, a ring a shm feed, the ROUTER that peers dial into, then one row a session
(a peer of the ROUTER, or a pair of rings that this engine makes), then the pair of rings to the control server.
Few sockets: an empty poll of one costs up to a microsecond, so there is no ROUTER where every session is a pair of
rings.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import zmq as pyzmq

from engine.core.state import FROM_CLIENT, FROM_CONTROL, FROM_FEED, FROM_VENUE
from engine.io import zmq
from engine.io.ring import CONSUMER, PRODUCER, Ring
from engine.record.records import text16
from engine.run.config import Config
from engine.run.wiring import LINK, SHM, ZMQ_PEER, ZMQ_ROUTER, ZMQ_SUB

#: Records that a ring holds, 2 MiB: a cancel of each order that the default capacity lets live.
RING_SLOTS = 16384
CONTROL_RING, ANSWERS_RING = "control.ring", "answers.ring"


class Links:
    """A run's open sockets and rings. `rows` is a LINK array; `close` after the loop has stopped."""

    def __init__(self, config: Config, run_dir: Path) -> None:
        self._sockets: list[pyzmq.Socket[bytes]] = []
        self._rings: list[Ring] = []
        self.rows: np.ndarray = np.zeros(0, dtype=LINK)
        self.router = 0
        self.first_session = 0
        self.context = zmq.make_context(1, config.engine.io_cores)
        try:
            self._open(config, run_dir)
        except BaseException:
            self.close()
            raise

    def _open(self, config: Config, run_dir: Path) -> None:
        heartbeat = config.engine.heartbeat_ms
        rows: list[dict[str, int]] = []
        feeds = [feed.endpoint for feed in config.feed if not feed.endpoint.startswith("shm://")]
        if feeds:
            # No ZeroMQ heartbeats on feeds: a full queue reads none, and the publisher would hang up on us.
            sub = self._keep(zmq.open_socket(self.context, "sub", feeds[0], heartbeat_ms=0))
            for endpoint in feeds[1:]:
                sub.connect(endpoint)
            rows.append(_row(ZMQ_SUB, FROM_FEED, socket=zmq.address(sub)))
        for feed in config.feed:
            if feed.endpoint.startswith("shm://"):
                rows.append(_row(SHM, FROM_FEED, rx=self._ring(feed.endpoint[6:], CONSUMER)))
        if any(session.endpoint == "zmq" for session in config.session):
            endpoint = config.orders.endpoint
            router = self._keep(zmq.open_socket(self.context, "router", endpoint, bind=True, heartbeat_ms=heartbeat))
            self.router = zmq.address(router)
            rows.append(_row(ZMQ_ROUTER, FROM_CLIENT, socket=self.router))
        self.first_session = len(rows)
        for index, session in enumerate(config.session):
            source = FROM_CLIENT if session.role == "client" else FROM_VENUE
            if session.endpoint == "zmq":
                id0, id1 = text16(session.name)
                names = {"id0": id0, "id1": id1, "id_bytes": len(session.name)}
                rows.append(_row(ZMQ_PEER, source, session=index, **names))
            else:
                path = session.endpoint[6:]
                rx, tx = self._ring(path + ".in", CONSUMER), self._ring(path + ".out", PRODUCER)
                rows.append(_row(SHM, source, session=index, rx=rx, tx=tx))
        commands, answers = str(run_dir / CONTROL_RING), str(run_dir / ANSWERS_RING)
        rows.append(_row(SHM, FROM_CONTROL, rx=self._own(commands, CONSUMER), tx=self._own(answers, PRODUCER)))
        self.rows = np.zeros(len(rows), dtype=LINK)
        for place, row in enumerate(rows):
            for name, value in row.items():
                self.rows[place][name] = value

    def _keep(self, socket: Any) -> Any:
        self._sockets.append(socket)
        return socket

    def _own(self, path: str, side: int) -> int:
        """A ring between this process's threads: nobody else's."""
        address = self._ring(path, side)
        os.chmod(path, 0o600)
        return address

    def _ring(self, path: str, side: int) -> int:
        ring = Ring.create(path, RING_SLOTS, side)
        self._rings.append(ring)
        if side == CONSUMER:
            ring.discard()
        return ring.address

    def close(self) -> None:
        """Close everything. The loop must have returned."""
        for ring in self._rings:
            ring.close()
        for socket in self._sockets:
            socket.close(linger=1000)  # a halt's cancels are still on their way
        self._rings, self._sockets = [], []
        self.context.term()


def _row(transport: int, source: int, session: int = -1, **values: int) -> dict[str, int]:
    return {"transport": transport, "source": source, "session": session, **values}
