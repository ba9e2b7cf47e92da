"""A client as a process, to be stopped: its orders rest, and each report it is given is written down.

    python -m tests.faults.resting_client ENDPOINT SESSION FILE STEPS COUNT PX TICK

COUNT buy orders of one lot at each of STEPS prices from PX down, TICK apart. Each report's
bytes are appended to FILE as it is given. FILE.resting is made when all orders are taken; it polls until it is killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from engine.record.records import OrdStatus, Side
from gateways.orders.client import OrderClient


def main() -> None:
    endpoint, session, file, *numbers = sys.argv[1:]
    resting = Path(file + ".resting")
    steps, count, px, tick = map(int, numbers)
    with OrderClient(endpoint, session, peer_timeout_ms=500) as client, Path(file).open("wb", buffering=0) as out:
        client.connect(60)
        for step in range(steps):
            for n in range(count):
                client.new(f"R{step}-{n}", instrument_id=0, side=Side.BUY, qty=100, px=px - step * tick)
            for report in client.poll(0.02):  # within the limit of messages a second
                out.write(report.record.tobytes())
        while True:
            for report in client.poll(0.02):
                out.write(report.record.tobytes())
            if not resting.exists() and all(one.ord_status == OrdStatus.NEW for one in client.orders.values()):
                resting.touch()


if __name__ == "__main__":
    main()
