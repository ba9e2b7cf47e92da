"""Clients of the simulation: what they ask for, and what they believe of their orders from what they were told."""

from __future__ import annotations

from typing import Any

from engine.record.records import ControlAction, ExecType, OrdStatus, OrdType, Scope, Side, Template, Tif
from replay.simulate.network import Peer, Wire
from replay.simulate.setup import MS
from replay.simulate.wire import Record, text, unpack

TERMINAL = (int(OrdStatus.FILLED), int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED), int(OrdStatus.REJECTED))
#: Between two questions about what is missing.
_PATIENCE_NS = 20 * MS
_REQUESTS = {
    "new": Template.ORDER_NEW,
    "again": Template.ORDER_NEW,
    "replace": Template.ORDER_REPLACE,
    "cancel": Template.ORDER_CANCEL,
    "status": Template.STATUS_REQUEST,
}


class View:
    """What a client believes of one order."""

    def __init__(self, order: Record) -> None:
        self.order = order
        self.status = int(OrdStatus.PENDING_NEW)
        self.cum = self.leaves = 0
        self.order_id = 0
        self.executions: dict[bytes, int] = {}

    @property
    def open(self) -> bool:
        """Whether it may still trade, for all that the client knows."""
        return self.status not in TERMINAL


class Client(Peer):
    """The peer of a client session."""

    def __init__(self, session: int, wire: Wire) -> None:
        super().__init__(session, wire)
        self.views: dict[str, View] = {}
        #: (first, one after the last) of the numbers that it was told will not come.
        self.gone: list[tuple[int, int]] = []
        #: When it last asked for what is missing.
        self._asked_ns = 0

    def ask(self, what: str, cl: str, how: Record) -> None:
        """Ask for something; an order that was never sent cannot be asked about."""
        if what == "mass":
            self.say(Template.MASS_CANCEL, scope=int(Scope.ALL), client_id=self.session, instrument_id=-1)
            return
        if what == "new":
            if cl in self.views:
                return
            self.views[cl] = View(_order(cl, self.session, how))
        elif cl not in self.views:
            return
        if what in ("pause", "resume"):
            action = ControlAction.PAUSE if what == "pause" else ControlAction.RESUME
            self.say(Template.CONTROL, cl_ord_id=cl.encode(), action=int(action), client_id=self.session)
            return
        fields = dict(self.views[cl].order)
        if what == "replace":
            fields.update(qty=int(how["qty"]), px=int(how["px"]))
        self.say(_REQUESTS[what], **fields)

    def hear(self, data: bytes) -> None:
        """Take a record of the engine's in."""
        record = self._in_order(data)
        if record is None or record["template_id"] not in (
            Template.ACK,
            Template.FILL,
            Template.REJECT,
            Template.CANCEL_REJECT,
            Template.BUST,
            Template.CORRECT,
        ):
            return
        if record["template_id"] in (Template.BUST, Template.CORRECT):
            self._change(record)
            return
        view = self.views.get(text(record["peer_id"]))
        if view is None:
            return
        if record["template_id"] == Template.FILL:
            view.executions[record["exec_id"]] = int(record["last_qty"])
        refused = record["exec_type"] == ExecType.REJECTED and view.status != OrdStatus.PENDING_NEW
        if not refused and not (record["template_id"] == Template.CANCEL_REJECT and record["order_id"] == 0):
            view.status = int(record["ord_status"])
            view.cum, view.leaves = int(record["cum_qty"]), int(record["leaves_qty"])
            view.order_id = int(record["order_id"])

    def _in_order(self, data: bytes) -> Record | None:
        """What comes next in the engine's stream; what is behind a gap is dropped, and asked for."""
        record = unpack(data)
        if record["template_id"] == Template.SEQUENCE_RESET:
            if record["stream_epoch"] >= self.seen_epoch and record["begin_seq_no"] == self.seen_seq + 1:
                self.seen_epoch, self.seen_seq = int(record["stream_epoch"]), int(record["new_seq_no"]) - 1
                self.gone.append((int(record["begin_seq_no"]), int(record["new_seq_no"])))
            return None
        if record["stream_epoch"] == max(self.seen_epoch, 1) or self.seen_epoch == 0:
            if record["stream_seq"] > self.seen_seq + 1:
                self.wonder()
                return None
        return self.admit(data)

    def wonder(self) -> None:
        """Something is missing: ask for it, unless it may still be on its way."""
        if self.up and abs(self.now_ns - self._asked_ns) > _PATIENCE_NS:  # its clock may step, too
            self._asked_ns = self.now_ns
            self.ask_again()

    def _change(self, record: Record) -> None:
        """An execution that it was told of was busted, or is another."""
        for view in self.views.values():
            if view.order_id == record["order_id"]:
                view.cum, view.leaves = int(record["cum_qty"]), int(record["leaves_qty"])
                view.status = int(record["ord_status"])
                if record["exec_ref_id"] in view.executions:
                    view.executions[record["exec_ref_id"]] = int(record["last_qty"])


def _order(cl: str, client: int, how: Record) -> dict[str, Any]:
    px = int(how.get("px", 0))
    return {
        "cl_ord_id": cl.encode(),
        "side": int(Side[how["side"].upper()]),
        "tif": int(Tif[how["tif"].upper()]),
        "ord_type": int(OrdType.LIMIT if px else OrdType.MARKET),
        "px": px,
        "qty": int(how["qty"]),
        "instrument_id": int(how.get("instrument", 0)),
        "account_id": int(how.get("account", 0)) if client == 0 else 0,
        "client_id": client,
        "capacity": ord("A"),
    }
