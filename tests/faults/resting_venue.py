"""A venue as a process: every order rests, every cancel is done at once, and when each cancel came is written down.

    main(["CONFIG.toml", "SESSION", "FILE"])     until SIGTERM; forked by the hatchery

FILE gets a row a cancel, in order: the order's id and CLOCK_MONOTONIC in ns, two little-endian int64.
"""

from __future__ import annotations

import struct
import sys
import time
from pathlib import Path

import zmq

from engine.record import records as r
from engine.run.config import load
from tests.run.engine_peers import Peer, ack

T, S, X = r.Template, r.OrdStatus, r.ExecType
ROW = struct.Struct("<qq")


def main(argv: list[str]) -> int:
    """Be the venue."""
    toml, session, file = argv
    peer = Peer(load(Path(toml)), int(session), zmq.Context())
    assert peer._socket is not None
    with Path(file).open("wb", buffering=0) as cancels:
        while True:
            peer.beat()
            peer._socket.poll(1)
            for record in peer.got():
                if record.template_id == T.ORDER_NEW:
                    peer.send(ack(record, X.NEW, S.NEW))
                elif record.template_id == T.ORDER_CANCEL:
                    cancels.write(ROW.pack(int(record.order_id), time.monotonic_ns()))
                    peer.send(ack(record, X.CANCELED, S.CANCELED))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
