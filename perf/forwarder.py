"""The bare forwarder as a process: `python -m perf.forwarder TRANSPORT FEED ORDERS CORE IO_CORE`, until its input ends.

Sockets and rings are opened as the engine opens its own: SUB in, ROUTER out, one I/O thread; what lies between is
`perf.lab.forward`. Says "ready" when it runs. Worst case: it spins on its core until standard input is closed.
"""

from __future__ import annotations

import os
import sys
import threading

import numpy as np

from engine.io import zmq
from engine.io.atomics import store_release
from engine.io.ring import CONSUMER, PRODUCER, Ring
from engine.record.records import text16
from engine.run.links import RING_SLOTS
from perf import lab as bench


def main(arguments: list[str]) -> int:
    """Forward until standard input ends."""
    transport, feed, orders, core, io_core = arguments
    lab, events = bench.make(bench.ZMQ if transport == "zmq" else bench.SHM, 1)
    line, stop = lab.line[0], np.zeros(16, dtype=np.int64)
    line.stop = stop.ctypes.data
    context = zmq.make_context(1, [int(io_core)] if int(io_core) >= 0 else [])
    if transport == "zmq":
        sub = zmq.open_socket(context, "sub", feed, heartbeat_ms=0)
        router = zmq.open_socket(context, "router", orders, bind=True, heartbeat_ms=0)
        line.feed, line.orders = zmq.address(sub), zmq.address(router)
        lab.name[:2], line.name_bytes = text16("venues"), len("venues")
    else:
        rings = [
            Ring.create(path, RING_SLOTS, side)
            for path, side in ((feed, CONSUMER), (orders + ".in", CONSUMER), (orders + ".out", PRODUCER))
        ]
        line.feed, line.orders, line.orders_tx = (ring.address for ring in rings)

    def work() -> None:
        if int(core) >= 0:
            os.sched_setaffinity(0, {int(core)})
        bench.forward(lab, events)

    store_release(line.stop, 1)
    bench.forward(lab, events)  # compiled before anybody waits for it
    store_release(line.stop, 0)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    store_release(int(stop.ctypes.data), 1)
    thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
