"""An engine for the client's tests: a thread that answers like one, and can die and come back."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from engine.record.records import ExecType, OrdStatus, Reason, Template, blank
from tests.venues.peers import Engine

REQUESTS = (Template.ORDER_NEW, Template.ORDER_CANCEL, Template.ORDER_REPLACE, Template.STATUS_REQUEST)


class Desk:
    """Accepts orders, fills half of each at its price, cancels on request; `book` is cl_ord_id -> its last report."""

    def __init__(self, endpoint: str, epoch: int = 1000, book: dict[Any, Any] | None = None) -> None:
        self.engine = Engine(endpoint, epoch)
        self.book: dict[Any, Any] = {} if book is None else book
        self.requests: list[Any] = []
        self.mute = False
        self.next_exec = 0
        #: What the thread, which owns the socket, shall do next.
        self.todo: list[Callable[[], None]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self.engine.close()

    def _run(self) -> None:
        beaten = 0.0
        while not self._stop.is_set():
            self.engine.silent = self.mute
            self.engine.poll(0.002)
            while self.todo:
                self.todo.pop(0)()
            got, self.engine.got = self.engine.got, []
            for name, record in got:
                if record.template_id != Template.HEARTBEAT:
                    self.requests.append(record)
                if not self.mute:
                    self._answer(name, record)
            if time.monotonic() - beaten > 0.02:
                beaten = time.monotonic()
                self.engine.beat_all()

    def _answer(self, name: str, record: Any) -> None:
        if record.template_id not in REQUESTS:
            return
        key = tuple(int(word) for word in record.cl_ord_id)
        if record.template_id == Template.ORDER_NEW:
            half = int(record.qty) // 2
            self.report(name, record, Template.ACK, ExecType.NEW, OrdStatus.NEW, 0)
            fill = {"last_px": int(record.px), "last_qty": half, "liquidity": 2}
            self.report(name, record, Template.FILL, ExecType.TRADE, OrdStatus.PARTIALLY_FILLED, half, **fill)
        elif key not in self.book:
            answer = {"reason": Reason.UNKNOWN_ORDER, "order_id": 0, "leaves_qty": 0}
            self.report(name, record, Template.CANCEL_REJECT, ExecType.REJECTED, OrdStatus.REJECTED, 0, **answer)
        elif record.template_id == Template.ORDER_CANCEL:
            end = {"reason": Reason.CLIENT_REQUEST, "leaves_qty": 0}
            cum = int(self.book[key]["cum_qty"][0])
            self.report(name, record, Template.ACK, ExecType.CANCELED, OrdStatus.CANCELED, cum, **end)
        else:
            kind = ExecType.REPLACED if record.template_id == Template.ORDER_REPLACE else ExecType.ORDER_STATUS
            last = self.book[key]
            self.report(name, record, Template.ACK, kind, int(last["ord_status"][0]), int(last["cum_qty"][0]))

    def report(
        self, name: str, record: Any, template: int, exec_type: int, ord_status: int, cum_qty: int, **more: int
    ) -> None:
        """Send a report on the order that a request names."""
        row = blank(Template(template))
        self.next_exec += 1
        row["peer_id"], row["exec_id"] = record.cl_ord_id, (self.engine.epoch, self.next_exec)
        fields = {
            "order_id": 77,
            "exec_type": exec_type,
            "ord_status": ord_status,
            "cum_qty": cum_qty,
            "leaves_qty": int(record.qty) - cum_qty,
            "last_px": int(record.px),
            "request": int(record.template_id),
            **more,
        }
        for field, value in fields.items():
            row[field] = value
        if template != Template.CANCEL_REJECT:
            self.book[tuple(int(word) for word in record.cl_ord_id)] = row.copy()
        with contextlib.suppress(zmq.ZMQError):  # the client has left
            self.engine.send(name, row)
