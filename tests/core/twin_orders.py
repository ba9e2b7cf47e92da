"""The slow twin's orders: a parent, a child, and how each ends."""

from __future__ import annotations

from typing import Any

from engine.record.records import OrdType, Tif

FINAL = ("FILLED", "CANCELED", "EXPIRED", "REJECTED")
#: OrdStatus from the strongest to the weakest.
RANKS = (
    "PENDING_CANCEL PENDING_REPLACE FILLED SUSPENDED CANCELED EXPIRED PARTIALLY_FILLED REJECTED NEW PENDING_NEW"
).split()
#: What a parent's status stays while only its CumQty changes.
STICKY = ("PENDING_CANCEL", "PENDING_REPLACE", "SUSPENDED", "CANCELED", "EXPIRED")
#: Of two requests the stronger wins.
STRENGTH = {None: 0, "REPLACE": 1, "PAUSE": 2, "CANCEL": 3, "EXPIRE": 4}
#: What a client asked with.
ASKED = {"REPLACE": "ORDER_REPLACE", "PAUSE": "CONTROL", "CANCEL": "ORDER_CANCEL"}


class Parent:
    """What a client asked for, and how far it got."""

    def __init__(self, order_id: int, e: dict[str, Any], terms: tuple[Any, ...]) -> None:
        self.order_id, self.name, self.session, self.terms = order_id, e["cl_ord_id"], e["stream_id"], terms
        self.instrument, self.side, self.account = e["instrument_id"], e["side"], e["account_id"]
        self.client, self.strategy, self.trader = (e.get(name, 0) for name in ("client_id", "algo_id", "trader_id"))
        self.qty, self.px = e["qty"], e["px"]
        self.min_qty, self.display_qty = e.get("min_qty", 0), e.get("display_qty", 0)
        self.tif, self.ord_type = Tif(e["tif"]).name, OrdType(e["ord_type"]).name
        self.cum = self.busted = self.money = self.fee = self.rounds = 0
        self.status, self.phase = "NEW", "ROUTING"
        self.pending: str | None = None
        self.wanted = (0, 0)
        self.reason = "NONE"
        self.wake: set[str] = set()
        self.excluded: set[int] = set()
        self.refused: set[int] = set()  # by the venue itself
        self.family: list[Child] = []  # live, the newest first
        self.rested = 0  # order in which it went to rest

    def left(self) -> int:
        """What is neither executed nor busted."""
        return int(max(self.qty - self.cum - self.busted, 0))

    def lacking(self) -> int:
        """What it has still to execute before that is its MinQty."""
        return int(max(min(self.min_qty, self.qty) - self.cum - self.busted, 0))

    def leaves(self) -> int:
        """What is neither executed, busted nor given up."""
        return 0 if self.status in FINAL else self.left()

    def rank(self) -> None:
        """Its status, of all that are true the strongest."""
        true = {"NEW"}
        if self.status in STICKY:
            true.add(self.status)
        elif self.phase == "DONE":
            true.add("CANCELED")
        if self.cum:
            true.add("PARTIALLY_FILLED")
        if self.cum >= self.qty:
            true.add("FILLED")
        self.status = next(status for status in RANKS if status in true)

    def facts(self) -> dict[str, Any]:
        """What the core must know of it."""
        return {
            "cum_qty": self.cum,
            "busted_qty": self.busted,
            "live_qty": sum(child.leaves for child in self.family),
            "notional": self.money,
            "fee": self.fee,
            "rounds": self.rounds,
            "ord_status": self.status,
            "phase": self.phase,
            "pending": self.pending,
            "excluded": self.excluded,
            "refused": self.refused,
            "terms": (self.qty, self.px),
        }


class Child:
    """An order at a venue."""

    def __init__(self, order_id: int, parent: Parent, venue: int, px: int, qty: int, tif: str) -> None:
        self.order_id, self.parent, self.venue = order_id, parent, venue
        self.px, self.qty, self.tif = px, qty, tif
        self.display = 0  # of its quantity; 0 is all
        self.leaves, self.cum, self.busted, self.cancels = qty, 0, 0, 0
        self.status = "PENDING_NEW"
        self.accepted = self.canceling = self.asked = False
        self.due = False  # a mass cancel will send it one
        self.passed = False  # by the risk gate
        self.amends: list[tuple[int, int]] = []  # (price, quantity) of unanswered replaces

    @property
    def live(self) -> bool:
        """Whether its venue may still execute it."""
        return self.status not in FINAL

    @property
    def done(self) -> int:
        """What is executed or busted of it."""
        return self.cum + self.busted

    def most(self) -> int:
        """What unanswered replaces may yet make of its quantity."""
        return max([self.qty, *(qty for _, qty in self.amends)])

    def true(self) -> str:
        """What its status would be if its venue were heard."""
        true = {"PENDING_CANCEL"} if self.canceling else set()
        true |= {"PENDING_REPLACE"} if self.amends else set()
        true |= {"PARTIALLY_FILLED"} if self.cum else set()
        true.add("NEW" if self.accepted else "PENDING_NEW")
        return next(status for status in RANKS if status in true)

    def rank(self) -> None:
        """Its status, of all that are true the strongest."""
        if self.live:
            self.status = self.status if self.status == "UNKNOWN" else self.true()
        elif self.cum and self.cum >= self.qty:
            self.status = "FILLED"
        elif self.status == "FILLED" or (self.status == "REJECTED" and self.cum):
            self.status = "CANCELED"

    def facts(self) -> dict[str, Any]:
        """What the core must know of it."""
        return {
            "cum_qty": self.cum,
            "busted_qty": self.busted,
            "amends": self.amends,
            "leaves_qty": self.leaves,
            "cancels": self.cancels,
            "ord_status": self.status,
            "terms": (self.venue, self.px, self.qty, self.tif),
        }
