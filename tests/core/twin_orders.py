"""The slow twin's orders: a parent, a child, and how each ends."""

from __future__ import annotations

from typing import Any

from engine.record.records import OrdType, Tif

FINAL = ("FILLED", "CANCELED", "EXPIRED", "REJECTED")
#: Of two requests the stronger wins.
STRENGTH = {None: 0, "REPLACE": 1, "PAUSE": 2, "CANCEL": 3, "EXPIRE": 4}
#: What a client asked with.
ASKED = {"REPLACE": "ORDER_REPLACE", "PAUSE": "CONTROL", "CANCEL": "ORDER_CANCEL"}


class Parent:
    """What a client asked for, and how far it got."""

    def __init__(self, order_id: int, e: dict[str, Any], terms: tuple[Any, ...]) -> None:
        self.order_id, self.name, self.session, self.terms = order_id, e["cl_ord_id"], e["stream_id"], terms
        self.instrument, self.side, self.account = e["instrument_id"], e["side"], e["account_id"]
        self.qty, self.px = e["qty"], e["px"]
        self.tif, self.ord_type = Tif(e["tif"]).name, OrdType(e["ord_type"]).name
        self.cum = self.money = self.fee = self.rounds = 0
        self.status, self.phase = "NEW", "ROUTING"
        self.pending: str | None = None
        self.wanted = (0, 0)
        self.reason = "NONE"
        self.wake: set[str] = set()
        self.excluded: set[int] = set()
        self.family: list[Child] = []  # live, the newest first
        self.rested = 0  # order in which it went to rest

    def leaves(self) -> int:
        """What is neither executed nor given up."""
        return 0 if self.status in FINAL else max(self.qty - self.cum, 0)

    def facts(self) -> dict[str, Any]:
        """What the core must know of it."""
        return {
            "cum_qty": self.cum,
            "live_qty": sum(child.leaves for child in self.family),
            "notional": self.money,
            "fee": self.fee,
            "rounds": self.rounds,
            "ord_status": self.status,
            "phase": self.phase,
            "pending": self.pending,
            "excluded": self.excluded,
            "terms": (self.qty, self.px),
        }


class Child:
    """An order at a venue."""

    def __init__(self, order_id: int, parent: Parent, venue: int, px: int, qty: int, tif: str) -> None:
        self.order_id, self.parent, self.venue = order_id, parent, venue
        self.px, self.qty, self.tif = px, qty, tif
        self.leaves, self.cum, self.cancels = qty, 0, 0
        self.status = "PENDING_NEW"

    @property
    def live(self) -> bool:
        """Whether its venue may still execute it."""
        return self.status not in FINAL

    def facts(self) -> dict[str, Any]:
        """What the core must know of it."""
        return {
            "cum_qty": self.cum,
            "leaves_qty": self.leaves,
            "cancels": self.cancels,
            "ord_status": self.status,
            "terms": (self.venue, self.px, self.qty, self.tif),
        }
