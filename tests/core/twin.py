"""A slow, obvious twin of the core with sweep in it: dicts, lists and names, one method an event.

`take(event)` returns what the core must say, as tuples of what matters; `facts()` what it must then know. It has no
tables to run full, no heap and no ids to look up; where the core is clever it is plain. Numbers of streams are not its
affair, nor are records that admission refuses.
"""

from __future__ import annotations

from typing import Any

from engine.record.records import Scope, Side, Template
from engine.run.config import Config
from tests.core.twin_control import Control
from tests.core.twin_market import Market, opposite
from tests.core.twin_orders import FINAL, STRENGTH, Child, Parent

MS = 1_000_000


class Twin(Control, Market):
    """The whole: market, parents, children, timers, sessions, positions."""

    def __init__(self, config: Config, id_base: int, day_end_ns: int) -> None:
        super().__init__(config)
        self.id_base, self.day_end_ns = id_base, day_end_ns
        self.parents: dict[int, Parent] = {}
        self.children: dict[int, Child] = {}
        self.work: list[Parent] = []
        self.timers: dict[Any, tuple[int, int]] = {}
        self.armed = 0
        self.up: set[int] = set()
        self.old_execs = False  # whether executions of an earlier day are remembered
        self.sessions = [session.name for session in config.session]
        self.out: list[tuple[Any, ...]] = []

    def own_shown(self, instrument: int, venue: int, side: str, px: int) -> int:
        """What our own resting orders display at a price there."""
        return sum(
            min(child.display or child.leaves, child.leaves)
            for child in self.children.values()
            if child.live and child.tif != "IOC" and (child.parent.instrument, child.venue) == (instrument, venue)
            if (side, child.px) == ("bid" if child.parent.side == Side.BUY else "ask", px)
        )

    # ---- the frame of a step

    def take(self, e: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Take one event in and do all the work that it makes."""
        self.out, self.gated = [], 0
        self.now_ns = max(self.now_ns, e["now_ns"])
        getattr(self, "on_" + e["kind"].lower())(e)
        while self.work:
            parent = self.work.pop(0)
            self.turn(parent)
            self.gate()
        self.gate()
        if self.old_execs and not any(child.live for child in self.children.values()):
            self.executions.clear()
            self.old_execs = False
        self.report_masses(e["kind"] == "TIMER" and not e.get("cancels_only"))
        self.use_limits()
        return self.out

    def wake(self, parent: Parent, why: str) -> None:
        """Put a parent on the queue, once."""
        parent.wake.add(why)
        if parent not in self.work:
            self.work.append(parent)

    def arm(self, owner: Any, at_ns: int) -> None:
        """Set a timer; a later one of the same owner takes its place."""
        self.armed += 1
        self.timers[owner] = (at_ns, self.armed)

    def deadline(self) -> int:
        """When the next TIMER is due."""
        return min([self.mass_at_ns, self.mass_due_ns, *(at for at, _ in self.timers.values())])

    # ---- market data

    def on_quote(self, e: dict[str, Any]) -> None:
        """A quote wakes the resting parents that it is marketable for, the newest first."""
        self.take_quote(e)
        self.note_reference(e["instrument_id"])
        self.wake_resting(e["instrument_id"], e["venue_id"])

    def wake_resting(self, instrument: int, venue: int) -> None:
        """Wake those that a venue's quote is marketable for, if orders can go there."""
        quote = self.quotes[instrument, venue]
        if not self.is_fresh(quote) or self.venue_session(venue) not in self.up:
            return
        for p in self.resting(instrument):
            px = quote.px[opposite(p.side)]
            if self.within(p, px) and self.left(quote, p.side) >= self.lot(instrument, venue):
                self.wake(p, "QUOTE")

    def on_trade(self, e: dict[str, Any]) -> None:
        """A trade is remembered."""
        self.trades[e["instrument_id"]] = (e["px"], self.now_ns)

    def on_clear(self, e: dict[str, Any]) -> None:
        """A venue's books are void."""
        for (_, venue), quote in self.quotes.items():
            if venue == e["venue_id"]:
                quote.valid = False

    # ---- clients

    def find(self, e: dict[str, Any]) -> Parent | None:
        """The session's own parent of this name."""
        found = [p for p in self.parents.values() if p.name == e["cl_ord_id"] and p.session == e["stream_id"]]
        return found[-1] if found else None

    def of_today(self, order_id: int) -> bool:
        """Whether an id was given on this trading day."""
        return order_id >= self.id_base

    def known(self, e: dict[str, Any]) -> Any:
        """As ever, but for ended children of an earlier day whose executions are forgotten."""
        child = super().known(e)
        if child and not child.live and not self.old_execs and not self.of_today(child.order_id):
            return None
        return child

    def on_roll(self, e: dict[str, Any]) -> None:
        """Another trading day: day orders expire, positions and GTC orders go on."""
        day = self.id_base >> 40 & 0xFFFF
        if e["trading_day"] <= day:
            self.refuse("ROLL", "NOT_IN_ORDER")
            return
        self.id_base += e["trading_day"] - day << 40
        self.day_end_ns, self.old_execs = e["day_end_ns"], True
        for sums in self.positions.values():
            sums[2] = 0
        for parent in sorted(self.parents.values(), key=self.slot):
            if parent.phase != "DONE" and parent.tif == "DAY":
                self.timers.pop(parent, None)
                self.wake(parent, "EXPIRE")
        self.out.append(("ALERT", "DAY_END", 0, e["trading_day"]))

    def on_position_load(self, e: dict[str, Any]) -> None:
        """What an account holds before the first order."""
        if self.parents:
            self.refuse("POSITION_LOAD", "NOT_IN_ORDER")
        else:
            self.positions[e["account_id"], e["instrument_id"]] = [e["qty"], e["qty"] * e["px"] * 10**7, 0]
            self.values[e["account_id"], e["instrument_id"]] = e["qty"] * e["px"]

    def on_order_new(self, e: dict[str, Any]) -> None:
        """A new order, or the same one again."""
        known = self.find(e)
        if known and known.phase == "DONE" and not self.of_today(known.order_id):
            known = None
        terms = tuple(e[name] for name in ("instrument_id", "side", "qty", "px", "ord_type", "tif", "account_id"))
        terms += (e.get("min_qty", 0), e.get("display_qty", 0))
        if known:
            if terms == known.terms:
                self.tell(known, "ACK", "ORDER_STATUS", "DUPLICATE_ORDER", "ORDER_NEW")
            else:
                self.refuse("ORDER_NEW", "DUPLICATE_ORDER")
                self.out.append(("REJECT", e["cl_ord_id"], "DUPLICATE_ORDER"))
            return
        px = e["px"] or (self.reference2(e["instrument_id"]) + 1) // 2
        who = (e["stream_id"], e.get("algo_id", 0), e["instrument_id"])
        same = (e["stream_id"], *(e[name] for name in ("account_id", "instrument_id", "side", "px", "qty")))
        broken = self.kill_of(Parent(0, e, terms), None) or self.size(px, e["qty"]) or self.leave(*who, None)
        broken = broken or (self.finger(px, self.reference2(who[2])) if e["px"] else None) or self.duplicate(same)
        if broken:
            reason = {"KILL": "KILLED", "REPEATED_EXECUTION": "THROTTLED"}.get(broken[0], "RISK")
            self.out.append(("BLOCK", 0, *broken))
            self.refuse("ORDER_NEW", reason)
            self.out.append(("REJECT", e["cl_ord_id"], reason))
            return
        self.orders.append((self.now_ns, same))
        parent = Parent(self.id_base + len(self.parents) + 1, e, terms)
        self.parents[parent.order_id] = parent
        self.best(parent.instrument)
        self.tell(parent, "ACK", "NEW", "NONE", "ORDER_NEW")
        if parent.tif == "DAY":
            self.arm(parent, self.day_end_ns)
        self.wake(parent, "START")

    def on_request(self, e: dict[str, Any], template: str) -> Parent | None:
        """What all requests have in common: the parent, where there is one that still lives."""
        parent = self.find(e)
        if parent is None:
            self.refuse(template, "UNKNOWN_ORDER")
            self.out.append(("CANCEL_REJECT", e["cl_ord_id"], "UNKNOWN_ORDER"))
            return None
        if template == "STATUS_REQUEST":
            return parent
        if parent.phase == "DONE" or parent.status in FINAL:
            self.refuse(template, "ORDER_TERMINAL")
            self.tell(parent, "CANCEL_REJECT", "NEW", "ORDER_TERMINAL", template)
            return None
        return parent

    def on_status_request(self, e: dict[str, Any]) -> None:
        """Tell the status."""
        if parent := self.on_request(e, "STATUS_REQUEST"):
            self.tell(parent, "ACK", "ORDER_STATUS", "NONE", "STATUS_REQUEST")

    def on_order_cancel(self, e: dict[str, Any]) -> None:
        """Cancel."""
        if parent := self.on_request(e, "ORDER_CANCEL"):
            if STRENGTH[parent.pending] < STRENGTH["CANCEL"]:
                parent.reason = "CLIENT_REQUEST"
            self.wake(parent, "CANCEL")

    def on_order_replace(self, e: dict[str, Any]) -> None:
        """Replace quantity and price."""
        parent = self.on_request(e, "ORDER_REPLACE")
        if parent is None:
            return
        reason = None
        if (e["px"] == 0) != (parent.ord_type == "MARKET"):
            reason = "IMPOSSIBLE_PRICE"
        elif parent.pending:
            reason = "REQUEST_PENDING"
        elif e["qty"] > parent.qty or e["px"] > parent.px:
            px = e["px"] or (self.reference2(parent.instrument) + 1) // 2
            if broken := self.kill_of(parent, None) or self.size(px, e["qty"]):
                self.out.append(("BLOCK", parent.order_id, *broken))
                reason = "KILLED" if broken[0] == "KILL" else "RISK"
        if reason:
            self.refuse("ORDER_REPLACE", reason)
            self.tell(parent, "CANCEL_REJECT", "NEW", reason, "ORDER_REPLACE")
            return
        parent.wanted = (e["qty"], e["px"])
        self.wake(parent, "REPLACE")

    def slot(self, parent: Parent) -> int:
        """Where the core keeps it: mass cancels go in that order."""
        return (parent.order_id - self.id_base) % self.config.capacity.parents

    # ---- venues

    def venue_session(self, venue: int) -> int:
        """The session that reaches a venue."""
        return self.sessions.index(self.config.venue[venue].session)

    def on_session_up(self, e: dict[str, Any]) -> None:
        """A peer is there: ask for what is UNKNOWN."""
        session = e["stream_id"]
        back = session not in self.up
        self.up.add(session)
        self.said_hello(e)
        self.out.append(("HELLO", session))
        for child in self.of_session(session):
            if child.status == "UNKNOWN":
                child.cancels = self.config.routing.max_cancels
                self.arm(child, self.now_ns)
        for venue in range(len(self.config.venue)) if back else ():
            for instrument in range(len(self.config.instrument)):
                if self.venue_session(venue) == session and (instrument, venue) in self.quotes:
                    self.wake_resting(instrument, venue)

    def of_session(self, session: int) -> list[Child]:
        """The live children at a session, as the core walks them."""
        size = self.config.capacity.children
        found = [c for c in self.children.values() if c.live and self.venue_session(c.venue) == session]
        return sorted(found, key=lambda c: c.order_id % (1 << 39) % size)

    def on_session_down(self, e: dict[str, Any]) -> None:
        """A peer is silent: what lives there is UNKNOWN."""
        session = e["stream_id"]
        if session not in self.up:
            return
        self.up.discard(session)
        self.out.append(("ALERT", "PEER_SILENT", 0, session))
        lost = self.of_session(session)
        for child in lost:
            child.status = "UNKNOWN"
            self.timers.pop(child, None)
        if lost:
            self.out.append(("ALERT", "UNKNOWN_CHILD", 0, len(lost)))
        if self.config.session[session].cancel_on_disconnect:
            self.cancel_parents(Scope.SESSION, session, -1)
            self.cancel_children(Scope.SESSION, session, {})

    # ---- time

    def on_timer(self, e: dict[str, Any]) -> None:
        """Fire what is due, in the order of time and arming."""
        assert e["kind"] == Template.TIMER.name
        if self.mass_at_ns <= self.now_ns:
            self.carry_on()
        if e.get("cancels_only"):
            return
        for owner, (at_ns, _) in sorted(self.timers.items(), key=lambda item: item[1])[:32]:
            if at_ns <= self.now_ns:
                del self.timers[owner]
                if isinstance(owner, Parent):
                    self.wake(owner, "EXPIRE")
                else:
                    self.child_timer(owner)

    def child_timer(self, child: Child) -> None:
        """A venue has been silent too long: cancel, again, then ask."""
        if self.venue_session(child.venue) not in self.up:
            self.lose(child)
            return
        most = self.config.routing.max_cancels
        if not child.cancels and not child.asked:
            self.out.append(("ALERT", "TIMEOUT", child.order_id, 0))
            if child.amends:
                child.asked = True
                self.out.append(("STATUS_REQUEST", child.order_id))
                self.arm(child, self.now_ns + self.timeout())
                return
        if child.cancels < most:
            if self.venue_session(child.venue) in self.paced:
                child.due, self.mass_at_ns = True, self.now_ns
            else:
                self.cancel_child(child)
            return
        self.lose(child)
        child.asked = True
        self.out.append(("STATUS_REQUEST", child.order_id))
        tries = child.cancels - most
        child.cancels += tries < 6
        self.arm(child, self.now_ns + self.timeout() * min(2 ** (tries + 1), 64))
