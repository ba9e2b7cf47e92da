"""What venues and sessions say in the core's tests, and replaces of children: the part of `World` for them."""

from __future__ import annotations

from typing import Any

from engine.core.amend import replace_child
from engine.core.ids import child_slot
from engine.core.risk import gate
from engine.core.state import Outbox, State
from engine.core.step import end
from engine.record.records import ExecType, Liquidity, OrdStatus, Reason, Template
from engine.run import config as c
from tests.core.invariants import Booked, Facts, validate


class Venues:
    """Verbs of venue gateways; `World` gives the frame."""

    config: c.Config
    state: State
    outbox: Outbox
    sessions: dict[str, int]
    check: bool
    booked: Booked
    facts: Facts
    execs = 0
    #: Whether the last `amend` sent a request.
    amended = False

    def send(self, template: Template, **fields: Any) -> list[Any]:
        """Take a record in."""
        raise NotImplementedError

    def on_session(self, template: Template, session: int, **fields: Any) -> list[Any]:
        """A record of a session's peer."""
        raise NotImplementedError

    def output(self, k: int) -> Any:
        """The k-th output as a record."""
        raise NotImplementedError

    def up(self, session: int, **more: Any) -> list[Any]:
        """A peer's SESSION_UP."""
        return self.on_session(Template.SESSION_UP, session, **more)

    def silent(self, session: int) -> list[Any]:
        """The driver's SESSION_DOWN: a peer was silent too long."""
        return self.send(Template.SESSION_DOWN, stream_id=session, reason=Reason.PEER_SILENT)

    def venue_session(self, venue: int) -> int:
        """The session that reaches a venue."""
        return self.sessions[self.config.venue[venue].session]

    def report(self, template: Template, child: Any, **more: Any) -> list[Any]:
        """A report of its venue on a child, named by the ORDER_NEW (or request) that went out."""
        venue = int(child.venue_id)
        fields = {
            "venue_id": venue,
            "order_id": int(child.order_id),
            "instrument_id": int(child.instrument_id),
            "side": int(child.side),
            **more,
        }
        return self.on_session(template, fields.pop("session", self.venue_session(venue)), **fields)

    def ack(self, child: Any, **more: Any) -> list[Any]:
        """ACK New."""
        return self.report(Template.ACK, child, **{"exec_type": ExecType.NEW, "ord_status": OrdStatus.NEW, **more})

    def fill(self, child: Any, qty: int | None = None, px: int | None = None, **more: Any) -> list[Any]:
        """FILL of all (or `qty`) at the child's price (or `px`), with an ExecID of its own."""
        self.execs += 1
        fields = {
            "exec_id": self.execs,
            "last_qty": int(child.qty) if qty is None else qty,
            "last_px": int(child.px) if px is None else px,
            "exec_type": ExecType.TRADE,
            **more,
        }
        return self.report(Template.FILL, child, **fields)

    def done(self, child: Any, cum: int = 0, **more: Any) -> list[Any]:
        """ACK Canceled: the venue gives the rest back."""
        kind = {"exec_type": ExecType.CANCELED, "ord_status": OrdStatus.CANCELED, "cum_qty": cum}
        return self.report(Template.ACK, child, **{**kind, **more})

    def reject(self, child: Any, **more: Any) -> list[Any]:
        """REJECT."""
        return self.report(Template.REJECT, child, **{"reason": Reason.SIMULATED, **more})

    def status(self, child: Any, status: int, cum: int = 0, **more: Any) -> list[Any]:
        """ACK OrderStatus: the answer to a STATUS_REQUEST."""
        kind = {"exec_type": ExecType.ORDER_STATUS, "ord_status": status, "cum_qty": cum}
        return self.report(Template.ACK, child, **{**kind, **more})

    def bust(self, child: Any, ref: Any, **more: Any) -> list[Any]:
        """BUST of the execution `ref` (its exec_id), with an ExecID of its own."""
        self.execs += 1
        kind = {"exec_id": 1_000_000 + self.execs, "exec_ref_id": ref, "exec_type": ExecType.TRADE_CANCEL}
        return self.report(Template.BUST, child, **{**kind, **more})

    def correct(self, child: Any, ref: Any, qty: int, px: int, **more: Any) -> list[Any]:
        """CORRECT of the execution `ref` to another quantity and price."""
        kind = {"exec_type": ExecType.TRADE_CORRECT, "last_qty": qty, "last_px": px, "liquidity": Liquidity.REMOVED}
        self.execs += 1
        ids = {"exec_id": 1_000_000 + self.execs, "exec_ref_id": ref}
        return self.report(Template.CORRECT, child, **{**ids, **kind, **more})

    def replaced(self, child: Any, px: int, cum: int, leaves: int, **more: Any) -> list[Any]:
        """ACK Replaced."""
        kind = {"exec_type": ExecType.REPLACED, "last_px": px, "cum_qty": cum, "leaves_qty": leaves}
        return self.report(Template.ACK, child, **{**kind, "request": Template.ORDER_REPLACE, **more})

    def replace_reject(self, child: Any, reason: Reason, **more: Any) -> list[Any]:
        """CANCEL_REJECT of a replace."""
        return self.report(
            Template.CANCEL_REJECT, child, **{"reason": reason, "request": Template.ORDER_REPLACE, **more}
        )

    def amend(self, child: Any, px: int, qty: int) -> list[Any]:
        """What a strategy's turn does when it replaces a child: the request, the gate, numbers. Its outputs."""
        slot = child_slot(self.state, int(child.order_id))
        self.outbox.count[0] = 0
        self.state.core[0].gated = 0
        self.amended = bool(replace_child(self.state, self.outbox, slot, px, qty))
        gate(self.state, self.outbox)
        end(self.state, self.outbox)
        if self.check:
            self.facts = validate(self.state, self.booked)
        return [self.output(k) for k in range(int(self.outbox.count[0]))]

    def row(self, child: Any) -> tuple[Any, Any]:
        """(its order, its row) of a child by what was sent."""
        slot = child_slot(self.state, int(child.order_id))
        return self.state.child_orders[slot], self.state.children[slot]
