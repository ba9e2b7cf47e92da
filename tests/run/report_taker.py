"""A client as a process of its own, to be killed: it sends what it is told to and writes down each report it was given.

    python -m tests.run.report_taker ENDPOINT SESSION FILE EPOCH ORDERS [SEEN_EPOCH SEEN_SEQ]

ORDERS odd lots are sent at once (each gives a REJECT), and a line on standard output says so. At a line on standard
input it goes on: it polls until it is killed, appending each report's 128 bytes to FILE as it is given. Another line
says when the engine has sent everything again ("caught up").
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from engine.record.records import Side
from gateways.orders.client import OrderClient


def main() -> None:
    endpoint, session, file, epoch, orders, *seen = sys.argv[1:]
    path = Path(file)
    name = f"{int(time.time() * 1000) % 10**9}"
    where = (int(seen[0]), int(seen[1])) if seen else None
    life = OrderClient(endpoint, session, seen=where, epoch=int(epoch), peer_timeout_ms=400)
    with life as client, path.open("ab", buffering=0) as out:
        client.connect()
        for n in range(int(orders)):
            client.new(f"{name}-{n}", instrument_id=0, side=Side.BUY, qty=150, px=1_570_000)
        print("sent", flush=True)
        sys.stdin.readline()
        said = False
        while True:
            if client.caught_up and not said:
                said = True
                print("caught up", flush=True)
            for report in client.poll(0.02):
                out.write(report.record.tobytes())


if __name__ == "__main__":
    main()
