"""Venue gateways of the simulation: they keep their own truth of orders and executions, and report it.

What a venue decides (how much it fills, whether it rejects, keeps silent, is late) is in the events; what follows from
that is here. A venue never takes an order twice, never executes one after its time to live, answers every request that
it reads, and on a status request repeats the executions of the order before it says where the order stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from engine.record.records import ExecType, Liquidity, OrdStatus, Reason, Template, Tif
from replay.simulate.network import Peer, Wire
from replay.simulate.setup import MS
from replay.simulate.wire import Record

_IMMEDIATE = (int(Tif.IOC), int(Tif.FOK))
_TERMINAL = (int(OrdStatus.FILLED), int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED), int(OrdStatus.REJECTED))


class Execution:
    """One execution at a venue, or a bust (`qty` 0) or correction of the one that `ref` names."""

    def __init__(self, exec_id: bytes, px: int, qty: int, liquidity: int, ref: bytes = b"") -> None:
        self.exec_id, self.px, self.qty, self.liquidity, self.ref = exec_id, px, qty, liquidity, ref
        #: Whether it is what counts now: nothing has taken its place.
        self.stands = qty > 0


class Order:
    """One order at a venue."""

    def __init__(self, request: Record) -> None:
        self.request = request
        self.order_id = int(request["order_id"])
        self.venue = int(request["venue_id"])
        self.qty, self.px = int(request["qty"]), int(request["px"])
        self.cum = 0
        self.leaves = self.qty
        self.status = int(OrdStatus.NEW)
        self.executions: list[Execution] = []
        #: Whether it was made larger unasked. Where that report is lost, fills end it at the engine and not here.
        self.raised = False

    @property
    def live(self) -> bool:
        """Whether it can still execute in good order."""
        return self.status not in _TERMINAL


class Gateway(Peer):
    """The peer of a venue session: all venues that it reaches."""

    def __init__(
        self, session: int, wire: Wire, remembered: Callable[[int, bytes], bool], faults: Counter[str]
    ) -> None:
        super().__init__(session, wire)
        #: By order id, in the order of arrival.
        self.orders: dict[int, Order] = {}
        #: Order ids that came more than once: there must be none.
        self.repeated: list[int] = []
        self._remembered = remembered
        self._faults = faults
        self._ids = 0

    # ---- what it is told

    def take(self, data: bytes, how: Record) -> None:
        """Read a request; `how` says what the venue makes of it (see World.take)."""
        request = self.admit(data)
        if request is None:
            return
        template = request["template_id"]
        if template == Template.ORDER_NEW:
            self._new(request, how)
        elif template == Template.ORDER_CANCEL:
            self._cancel(request, how)
        elif template == Template.STATUS_REQUEST:
            self._status(request)

    def _new(self, request: Record, how: Record) -> None:
        if request["order_id"] in self.orders:
            self.repeated.append(int(request["order_id"]))
            return
        order = self.orders[int(request["order_id"])] = Order(request)
        late = request["ttl_ms"] > 0 and self.now_ns > request["ts_event_ns"] + request["ttl_ms"] * MS
        if late or how.get("reject"):
            self._faults["reject"] += 1
            order.status, order.leaves = int(OrdStatus.REJECTED), 0
            reason = Reason.TTL_EXPIRED if late else Reason.SIMULATED
            self.report(Template.REJECT, order, exec_type=ExecType.REJECTED, reason=int(reason))
            return
        if how.get("mute"):
            self._faults["lost ack"] += 1
        else:
            self.report(Template.ACK, order, exec_type=ExecType.NEW)
        qty = order.qty * int(how.get("fill", 0)) // 1000
        if request["tif"] == Tif.FOK and qty < order.qty:
            qty = 0
        if qty > 0:
            self.execute(order, qty, int(Liquidity.REMOVED))
        if order.live and request["tif"] in _IMMEDIATE:
            self._give_back(order, how)

    def _cancel(self, request: Record, how: Record) -> None:
        order = self.orders.get(int(request["order_id"]))
        if order is not None and order.live and how.get("fill"):
            self.execute(order, max(order.leaves * int(how["fill"]) // 1000, 1), int(Liquidity.ADDED))
        if order is None or not order.live or how.get("reject"):
            fields = _named(request) if order is None else self._state(order)
            self._faults["cancel reject"] += 1
            self.say(Template.CANCEL_REJECT, **fields, exec_id=self.new_id(), reason=int(Reason.UNKNOWN_ORDER))
            return
        self._give_back(order, how)

    def _give_back(self, order: Order, how: Record) -> None:
        """Cancel what is left, unless `how` has it held; `mute`: without a word."""
        if how.get("hold"):
            self._faults["held"] += 1
        else:
            self._faults["lost ack"] += int(bool(how.get("mute")))
            self.end(order, ExecType.CANCELED, told=not how.get("mute"))

    def _status(self, request: Record) -> None:
        order = self.orders.get(int(request["order_id"]))
        if order is None:
            reject = {"exec_type": ExecType.REJECTED, "ord_status": OrdStatus.REJECTED}
            reason = int(Reason.UNKNOWN_ORDER)
            self.say(Template.REJECT, **_named(request), **reject, exec_id=self.new_id(), reason=reason)
            return
        for execution in order.executions:
            if self._remembered(order.venue, execution.exec_id):
                self._tell(order, execution)
        self.report(Template.ACK, order, exec_type=ExecType.ORDER_STATUS, request=int(Template.STATUS_REQUEST))

    # ---- what it does

    def execute(self, order: Order, qty: int, liquidity: int, *, told: bool = True) -> None:
        """Execute `qty` of an order, whatever is left of it."""
        execution = Execution(self.new_id(), order.px, qty, liquidity)
        order.executions.append(execution)
        order.cum += qty
        if order.live:
            order.leaves = max(order.leaves - qty, 0)
            order.status = _status(order)
        if told:
            self._tell(order, execution)

    def _tell(self, order: Order, execution: Execution) -> None:
        fields = self._state(order)
        fields.update(exec_id=execution.exec_id, liquidity=execution.liquidity)
        if execution.qty:
            fields.update(last_px=execution.px, last_qty=execution.qty)
        if not execution.ref:
            self.say(Template.FILL, **fields, exec_type=int(ExecType.TRADE))
            return
        del fields["peer_id"]
        template, kind = Template.BUST, ExecType.TRADE_CANCEL
        if execution.qty:
            template, kind = Template.CORRECT, ExecType.TRADE_CORRECT
        self.say(template, **fields, exec_ref_id=execution.ref, exec_type=int(kind))

    def change(self, order: Order, old: Execution, qty: int, px: int, *, first: bool) -> None:
        """Take an execution back (`qty` 0), or say that it was another. What is left of the order does not grow.

        `first`: an earlier correction of it is passed over, and what that names is named again.
        """
        ref = old.ref if first and old.ref else old.exec_id
        new = Execution(self.new_id(), px, qty, old.liquidity, ref)
        old.stands = False
        order.executions.append(new)
        more = qty - old.qty
        order.cum += more
        if order.live and more > 0:
            order.leaves = max(order.leaves - more, 0)
        if order.live:
            order.status = _status(order)
        self._tell(order, new)

    def restate(self, order: Order, leaves: int, px: int) -> None:
        """Change what is left of an order, and its price, unasked."""
        order.raised = order.raised or leaves > order.leaves
        order.qty += leaves - order.leaves
        order.leaves, order.px = leaves, px
        self.report(Template.ACK, order, exec_type=ExecType.RESTATED, last_px=px)

    def repeat(self, order: Order, n: int) -> bool:
        """Report one of an order's executions, busts and corrections again; False where there is none that may be."""
        told = [execution for execution in order.executions if self._remembered(order.venue, execution.exec_id)]
        if told:
            self._tell(order, told[n % len(told)])
        return bool(told)

    def end(self, order: Order, exec_type: int, *, told: bool = True) -> None:
        """Give back what is left of an order."""
        order.leaves = 0
        order.status = int(OrdStatus.EXPIRED if exec_type == ExecType.EXPIRED else OrdStatus.CANCELED)
        if told:
            self.report(Template.ACK, order, exec_type=exec_type)

    def late(self, order: Order, fill: int) -> bool:
        """Execute a part of what was given back: the cancel came too late after all. False where nothing was."""
        left = order.qty - order.cum
        if order.status not in (OrdStatus.CANCELED, OrdStatus.EXPIRED) or left <= 0:
            return False
        self.execute(order, max(left * fill // 1000, 1), int(Liquidity.REMOVED))
        return True

    def tell_missed(self, booked: Callable[[int, bytes], bool]) -> None:
        """Report again what the engine never booked: what was lost on the way is the venue's to send again."""
        for order in self.orders.values():
            for execution in order.executions:
                if not booked(order.venue, execution.exec_id):
                    self._tell(order, execution)

    def report(self, template: int, order: Order, **fields: int) -> None:
        """Report on an order as it stands."""
        named = {name: int(value) for name, value in fields.items()}
        self.say(template, **self._state(order), exec_id=self.new_id(), **named)

    def stray(self, venue: int, instrument: int, order_id: int, template: int) -> None:
        """Report on an order that nobody gave us."""
        fill = {"last_px": 10_000, "last_qty": 100} if template == Template.FILL else {}
        named = {"venue_id": venue, "instrument_id": instrument, "order_id": order_id}
        self.say(template, **named, **fill, exec_id=self.new_id(), exec_type=int(ExecType.TRADE))

    def new_id(self) -> bytes:
        """An ExecID of its own."""
        self._ids += 1
        return f"{self.session}E{self._ids}".encode()

    def _state(self, order: Order) -> Record:
        return {
            **_named(order.request),
            "peer_id": f"O{order.order_id & 0xFFFFFF}".encode(),
            "cum_qty": order.cum,
            "leaves_qty": order.leaves,
            "ord_status": order.status,
        }


def _status(order: Order) -> int:
    """OrdStatus of an order that has not ended by a cancel or a reject."""
    if not order.leaves:
        return int(OrdStatus.FILLED)
    return int(OrdStatus.PARTIALLY_FILLED if order.cum > 0 else OrdStatus.NEW)


def _named(request: Record) -> dict[str, Any]:
    """What a report says of the order that a request is about."""
    return {name: int(request[name]) for name in ("venue_id", "order_id", "instrument_id", "side", "client_id")}
