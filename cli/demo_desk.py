"""The demonstration's desk: sends each parent when the feed's clock reaches its time, and takes the reports.

Worst case: a busy machine delays this process, and parents are sent late by the clock; nothing else follows from it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.record.records import OrdStatus, Template
from gateways.feeds.subscriber import Subscriber
from gateways.orders.client import OrderClient

#: First bytes of a CLOCK_SAMPLE message: block length and template id.
CLOCK_PREFIX = struct.pack("<HH", 56, int(Template.CLOCK_SAMPLE))
_TERMINAL = {OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED}
_SEND_AT_ONCE = 16


class Desk:
    """A client session and the parents that it still has to send, in time order."""

    def __init__(self, client: OrderClient, clock: Subscriber, parents: Sequence[Any], end_ns: int) -> None:
        self.client, self.clock = client, clock
        self.parents = sorted(parents, key=lambda parent: parent.at_ns)
        self.end_ns = end_ns
        self.sent = 0
        self._swept = False

    @property
    def done(self) -> int:
        """Parents that have ended."""
        return sum(order.ord_status in _TERMINAL for order in self.client.orders.values())

    @property
    def finished(self) -> bool:
        """Whether every parent was sent and has ended."""
        return self.sent == len(self.parents) and self.done == self.sent

    def turn(self) -> None:
        """Take reports, look at the clock, send what is due."""
        self.clock.receive()
        self.client.poll(0.001)
        now = self.clock.clock_ns
        for _ in range(_SEND_AT_ONCE):
            if self.sent == len(self.parents) or self.parents[self.sent].at_ns > now:
                break
            self._send(self.parents[self.sent])
        if now > self.end_ns and not self._swept:
            self._swept = True
            self.client.mass_cancel()

    def _send(self, parent: Any) -> None:
        self.sent += 1
        self.client.new(
            parent.cl_ord_id,
            instrument_id=parent.instrument_id,
            side=parent.side,
            qty=parent.qty,
            px=parent.px,
            ord_type=parent.ord_type,
            tif=parent.tif,
            min_qty=parent.min_qty,
            display_qty=parent.display_qty,
        )

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Take turns until `until()`; False where that takes longer than `seconds`."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                return False
            self.turn()
        return True
