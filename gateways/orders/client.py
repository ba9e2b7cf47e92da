"""Order entry: a client's session with the engine, over ZeroMQ or shared memory.

    with OrderClient("ipc:///run/orders", "desk-1") as client:
        client.connect()
        order = client.new("A1", instrument_id=0, side=Side.BUY, qty=300, px=1566000)
        for report in client.reports(timeout_s=5):
            ...
        print(order.ord_status, order.cum_qty, order.avg_px)

Nothing runs in the background: `poll` (or `reports`, `wait`) takes what has come and keeps the session alive, so call
it at least every `heartbeat_ms`; a client that is silent for the engine's `peer_timeout_ms` is taken for down, and its
session comes up again with the next `poll`. Whatever it missed meanwhile the engine then sends again, in order, before
anything newer: each report is given once. A client that was restarted says with `seen` where it stopped (`client.seen`
of its earlier life, kept by the application), and gets what came after.

Orders are never sent again by themselves. When a session comes back, the status of those that the engine never spoke
of is asked for; of all open ones where the engine is a new one, or has to say that it cannot send something again. An
order that the engine does not know then is REJECTED (it never came) or, if it was acknowledged before, UNKNOWN.

Worst case: a send waits up to `SEND_WAIT_S` for a full queue, then it raises. Reading costs some 20 µs a report.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import zmq as pyzmq

from engine.errors import TickrouteError
from engine.io import zmq
from engine.io.atomics import address_of, monotonic_ns
from engine.record.records import (
    UNIT,
    ControlAction,
    OrdType,
    Reason,
    SessionFlag,
    Side,
    Template,
    Tif,
    blank,
)
from gateways.inbox import make_inbox, units_of, whole
from gateways.orders import requests
from gateways.orders.requests import Record
from gateways.orders.status import Order, Report, counts_of
from gateways.session import Port, SessionError, admit, keep, make_sessions, receive, rehearse, transmit

SEND_WAIT_S: Final = 0.5
_MAX_MESSAGE: Final = 65536
_REPORTS: Final = frozenset({Template.ACK, Template.FILL, Template.REJECT, Template.CANCEL_REJECT})
_CHANGES: Final = frozenset({Template.BUST, Template.CORRECT})


_NAMES: Final = {int(template): template.name for template in Template}


class OrderEntryError(TickrouteError):
    """Something that cannot be sent, or a session that does not come up; names endpoint, value and remedy."""


def _goodbye() -> Record:
    row = blank(Template.SESSION_DOWN)
    row["session_id"], row["reason"] = -1, Reason.CLIENT_REQUEST
    return row


class OrderClient:
    """A client session `session_name` of the engine at `endpoint` (ipc://, tcp:// or shm:///path). A context manager.

    client_id, account_id: indices of the configuration that new orders carry. clock: gives `ts_event_ns`, ns since 1970
    (in a replay, the feed's time). epoch: start in seconds, larger than in any life before; None is now. Where a life
    before turns out to have had it, or a later one, the session takes one of its own and begins again. seen: the
    engine's (epoch, number) that an earlier life saw last: what came after is sent again; (0, 0): all that there is of
    this session; None: nothing, begin with what comes.
    """

    def __init__(
        self,
        endpoint: str,
        session_name: str,
        client_id: int = 0,
        *,
        account_id: int = 0,
        heartbeat_ms: int = 50,
        peer_timeout_ms: int = 300,
        clock: Callable[[], int] = time.time_ns,
        epoch: int | None = None,
        seen: tuple[int, int] | None = None,
    ) -> None:
        self.endpoint, self.session_name = endpoint, session_name
        self.client_id, self.account_id, self.clock = client_id, account_id, clock
        self.orders: dict[str, Order] = {}
        #: The engine's id of an order -> its ClOrdID: busts and corrections name orders so.
        self._names: dict[int, str] = {}
        #: What was sent and what came, by name of the template.
        self.sent: dict[str, int] = {}
        self.received: dict[str, int] = {}
        self.malformed = 0
        life = int(time.time()) if epoch is None else epoch
        rehearse()
        self._session = make_sessions(1, epoch=life, heartbeat_ms=heartbeat_ms, timeout_ms=peer_timeout_ms)
        self._link = self._session.links[0]
        self._link.session, self._link.resumes = -1, 1
        if seen is not None:
            self._link.seen_epoch, self._link.seen_seq = seen
            self._link.capability = SessionFlag.FROM_START
        self._nap_s = heartbeat_ms / 4000
        self._inbox = make_inbox(_MAX_MESSAGE)
        self._address = address_of(self._inbox.head)
        #: (hellos answered, resets, engine restarts) that were acted upon.
        self._followed = (0, 0, 0)
        self._waiting: list[Report] = []
        self._context = zmq.make_context()
        try:
            self._port = Port(self._session, 0, endpoint, session_name, self._context)
        except SessionError as error:
            self._context.term()
            raise OrderEntryError(str(error)) from error

    def __enter__(self) -> OrderClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The session

    @property
    def up(self) -> bool:
        """Whether the engine has answered, and lately."""
        return bool(self._link.up)

    @property
    def caught_up(self) -> bool:
        """Whether the engine has answered our last hello: all that it had sent before that has come, or is lost."""
        return bool(self._link.up and self._link.welcomed == self._link.hello_seq)

    @property
    def lives(self) -> dict[str, int]:
        """What happened to the session: times up, down, engine restarts; gaps in the engine's numbers, records seen
        before, sent again, and lost, and times that the engine said so."""
        names = ("ups", "downs", "restarts", "gaps", "duplicates", "resent", "lost", "resets", "taken")
        return {name: int(self._link[name]) for name in names}

    @property
    def seen(self) -> tuple[int, int]:
        """The engine's (epoch, number) of the last record before those that `poll` has still to give."""
        if self._waiting:
            first = self._waiting[0].record
            return int(first.stream_epoch), int(first.stream_seq) - 1
        return int(self._link.seen_epoch), int(self._link.seen_seq)

    def connect(self, timeout_s: float = 10.0) -> None:
        """Wait until the engine answers; OrderEntryError where it does not."""
        deadline_s = time.monotonic() + timeout_s
        while not self.up:
            if time.monotonic() >= deadline_s:
                raise OrderEntryError(
                    f"{self.endpoint}: no answer to session {self.session_name!r} within {timeout_s:g} s; start the "
                    "engine, and see that [orders] has this endpoint and a [[session]] of role client this name"
                )
            got = self.poll(self._nap_s)
            self._waiting = got + self._waiting

    def close(self) -> None:
        """Say goodbye and hang up; open orders stay with the engine. Idempotent."""
        if self.up:
            with contextlib.suppress(OrderEntryError):  # it will notice our silence
                self._send(_goodbye)
        self._port.close()
        self._context.term()

    # Requests

    def new(
        self,
        cl_ord_id: str,
        *,
        instrument_id: int,
        side: Side,
        qty: int,
        px: int = 0,
        ord_type: OrdType = OrdType.LIMIT,
        tif: Tif = Tif.DAY,
        account_id: int | None = None,
        min_qty: int = 0,
        display_qty: int = 0,
    ) -> Order:
        """Send an order (price and quantity in the instrument's units) and return what will be known of it."""
        if cl_ord_id in self.orders:
            raise self._wrong(f"cl_ord_id = {cl_ord_id!r}: this session has used it; give each order its own")
        account = self.account_id if account_id is None else account_id
        terms = (cl_ord_id, instrument_id, side, qty, px, ord_type, tif, account, monotonic_ns(), min_qty, display_qty)
        order = Order(*terms, leaves_qty=qty)
        self._send(requests.new_order, order, self.client_id)
        self.orders[cl_ord_id] = order
        return order

    def cancel(self, cl_ord_id: str) -> None:
        """Ask for an order to be cancelled."""
        self._send(requests.cancel, self._known(cl_ord_id), self.client_id)

    def replace(self, cl_ord_id: str, *, qty: int | None = None, px: int | None = None) -> None:
        """Ask for another total quantity or limit price."""
        self._send(requests.replace, self._known(cl_ord_id), self.client_id, qty, px)

    def status(self, cl_ord_id: str) -> None:
        """Ask for an order's status."""
        self._send(requests.status, self._known(cl_ord_id), self.client_id)

    def pause(self, cl_ord_id: str) -> None:
        """Ask for an order to be suspended."""
        self._send(requests.control, ControlAction.PAUSE, self._known(cl_ord_id), self.client_id)

    def resume(self, cl_ord_id: str) -> None:
        """Ask for a suspended order to go on."""
        self._send(requests.control, ControlAction.RESUME, self._known(cl_ord_id), self.client_id)

    def mass_cancel(self, instrument_id: int | None = None) -> None:
        """Ask for all orders of this session (in one instrument) to be cancelled."""
        self._send(requests.mass_cancel, instrument_id)

    # Reports

    def poll(self, timeout_s: float = 0.0) -> list[Report]:
        """Reports that have come, at most one wait of `timeout_s` for the first; keeps the session alive."""
        reports, self._waiting = self._waiting, []
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._keep_alive()
            while (n := int(receive(self._session, 0, self._address, _MAX_MESSAGE))) > 0:
                reports += self._read(n)
            self._follow_up()
            left_s = deadline_s - time.monotonic()
            if reports or left_s <= 0:
                return reports
            self._sleep(min(left_s, self._nap_s))

    def reports(self, timeout_s: float | None = None) -> Iterator[Report]:
        """Reports as they come, until none has come for `timeout_s` (None: for ever)."""
        quiet_since_s = time.monotonic()
        while timeout_s is None or time.monotonic() - quiet_since_s < timeout_s:
            for report in self.poll(self._nap_s):
                yield report
                quiet_since_s = time.monotonic()

    def wait(self, done: Callable[[], bool], timeout_s: float = 10.0) -> bool:
        """Poll until `done()`, at most `timeout_s`; the reports are applied, and given by the next `poll`."""
        deadline_s = time.monotonic() + timeout_s
        kept: list[Report] = []
        while not (finished := done()) and time.monotonic() < deadline_s:
            kept += self.poll(min(self._nap_s, 0.005))
        self._waiting = kept + self._waiting
        return finished

    def positions(self) -> dict[tuple[int, int], tuple[int, int]]:
        """(account, instrument) -> (quantity, cost in price units x quantity) of this session's standing executions."""
        sums: dict[tuple[int, int], tuple[int, int]] = {}
        for order in self.orders.values():
            qty, cost = sums.get((order.account_id, order.instrument_id), (0, 0))
            paid = order.notional if order.side == Side.BUY else -order.notional
            sums[order.account_id, order.instrument_id] = qty + order.signed_qty, cost + paid
        return sums

    def counters(self) -> dict[str, Any]:
        """Orders by status, quantities, records sent and received, and the life of the session, as plain data."""
        return {
            **counts_of(list(self.orders.values())),
            "sent": dict(self.sent),
            "received": dict(self.received),
            "malformed": self.malformed,
            "session": self.lives,
        }

    # Inside

    def _keep_alive(self) -> None:
        self._port.attach()
        keep(self._session, 0, monotonic_ns())

    def _sleep(self, seconds: float) -> None:
        if self._port.socket is not None:
            self._port.socket.poll(max(1, int(seconds * 1000)), pyzmq.POLLIN)
        else:
            time.sleep(min(seconds, 0.0002))

    def _read(self, size: int) -> list[Report]:
        if not whole(self._inbox, 0, size):
            self.malformed += 1
            return []
        found, at = [], 0
        while at < size // UNIT:
            template = int(self._inbox.head[at].template_id)
            if admit(self._session, 0, self._inbox, at, monotonic_ns()):
                name = _NAMES.get(template, str(template))
                self.received[name] = self.received.get(name, 0) + 1
                if template in _REPORTS:
                    found.append(self._apply(Report.of(self._inbox.report[at])))
                elif template in _CHANGES:
                    change = self._inbox.change[at]
                    name = self._names.get(int(change.order_id), "")
                    found.append(self._apply(Report.of_change(change, name)))
            at += int(units_of(self._inbox, at))
        return found

    def _apply(self, report: Report) -> Report:
        order = self.orders.get(report.cl_ord_id)
        if order is not None:
            order.apply(report)
            self._names.setdefault(order.order_id, order.cl_ord_id)
        return report

    def _follow_up(self) -> None:
        """Ask for the status of orders that what the engine sends again will not tell us of."""
        link = self._link
        now = (int(link.welcomed), int(link.resets), int(link.restarts))
        answered = link.welcomed == link.hello_seq or link.resets != self._followed[1]
        if now == self._followed or not self.up or not answered:
            return
        forgot = now[1:] != self._followed[1:]
        self._followed = now
        for order in self.orders.values():
            if order.is_open and (forgot or not order.order_id) and order.sent_ns < link.hello_ns:
                self.status(order.cl_ord_id)

    def _known(self, cl_ord_id: str) -> Order:
        order = self.orders.get(cl_ord_id)
        if order is None:
            raise self._wrong(f"cl_ord_id = {cl_ord_id!r}: no order of this session has it; send the order first")
        return order

    def _wrong(self, what: str) -> OrderEntryError:
        return OrderEntryError(f"{self.endpoint}, session {self.session_name}: {what}")

    def _send(self, make: Callable[..., Record], *terms: Any) -> None:
        """Make a record, number and send it; OrderEntryError where it cannot be made or sent."""
        try:
            row = make(*terms)
        except ValueError as error:
            raise self._wrong(str(error)) from error
        kind = Template(int(row["template_id"][0])).name
        if not self.up:
            raise self._wrong(f"{kind}: the session is not up; call connect(), or poll() until `up`")
        row["stream_epoch"], row["stream_seq"] = self._link.epoch, self._link.seq_out + 1
        row["ts_event_ns"] = self.clock()
        deadline_s = time.monotonic() + SEND_WAIT_S
        while not transmit(self._session, 0, row.ctypes.data, row.nbytes, monotonic_ns()):
            if time.monotonic() >= deadline_s:
                raise self._wrong(f"{kind}: the engine takes nothing for {SEND_WAIT_S:g} s; see whether it runs")
            time.sleep(0.0005)
        self._link.seq_out += 1
        self.sent[kind] = self.sent.get(kind, 0) + 1
