"""The slow twin's decisions: turns of parents, requests, the sweep, the risk gate, what is told to clients."""

from __future__ import annotations

from typing import Any

from engine.core.limits import MAX_CHILDREN_A_TURN
from engine.record.records import Side
from engine.run.config import Config
from tests.core.twin_market import opposite
from tests.core.twin_orders import ASKED, FINAL, STRENGTH, Child, Parent
from tests.core.twin_risk import Controls


class Routing(Controls):
    """What happens to a parent in its turn."""

    parents: dict[int, Parent]
    timers: dict[Any, tuple[int, int]]
    id_base: int
    day_end_ns: int
    #: What a mass cancel has to do with an order, see twin_control.
    ended_in_masses: Any
    filled_in_masses: Any
    use_limits: Any

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.rests = 0
        self.gated = 0  # outputs that the gate has seen

    # ---- saying

    def tell(self, p: Parent, kind: str, exec_type: str, reason: str, request: str | None = None) -> None:
        """Report to the client."""
        self.out.append((kind, p.name, exec_type, p.status, reason, p.cum, p.leaves(), request))

    def refuse(self, template: str, reason: str) -> None:
        """Journal a refusal."""
        self.out.append(("REFUSAL", template, reason))

    # ---- turns

    def resting(self, instrument: int) -> list[Parent]:
        """Those that rest, the newest first."""
        found = [p for p in self.parents.values() if p.phase == "RESTING" and p.instrument == instrument]
        return sorted(found, key=lambda p: -p.rested)

    def within(self, p: Parent, px: int) -> bool:
        """Whether a price is within the limit."""
        return bool(p.px == 0 or (px <= p.px if p.side == Side.BUY else px >= p.px))

    def turn(self, p: Parent) -> None:
        """Requests first, then the strategy."""
        why, p.wake = p.wake, set()
        if p.phase == "DONE":
            return
        if p.tif == "DAY" and self.now_ns >= self.day_end_ns:
            why.add("EXPIRE")
        for request in ("EXPIRE", "CANCEL", "PAUSE", "REPLACE"):
            if request in why:
                self.request(p, request)
        if p.phase == "PAUSED" and p.pending == "REPLACE":
            self.settle(p)
            if p.phase == "DONE":
                return
        if "RESUME" in why and (p.phase != "PAUSED" or p.pending):
            if p.pending == "PAUSE":
                p.pending = None
                self.tell(p, "ACK", "NEW", "CLIENT_REQUEST", "CONTROL")
            else:
                self.tell(p, "CANCEL_REJECT", "NEW", "NOT_IN_ORDER", "CONTROL")
        complete = p.left() == 0
        if p.family:
            if complete:
                self.recall(p)
        elif complete and (p.pending != "REPLACE" or p.wanted[0] == p.qty):
            p.status = "FILLED" if p.cum >= p.qty else "PARTIALLY_FILLED" if p.cum else "NEW"
            if p.pending in ASKED:
                self.tell(p, "CANCEL_REJECT", "NEW", "ORDER_TERMINAL", ASKED[p.pending])
            self.complete(p)
        elif p.pending:
            self.settle(p)
        elif p.phase == "PAUSED":
            if "RESUME" in why:
                p.status = "PARTIALLY_FILLED" if p.cum else "NEW"
                self.tell(p, "ACK", "NEW", "CLIENT_REQUEST", "CONTROL")
                self.episode(p, "START")
        elif "START" in why or "CHILDREN_DONE" in why:
            self.route(p, "START" if "START" in why else "CHILDREN_DONE")
        elif "QUOTE" in why and p.phase == "RESTING":
            self.episode(p, "QUOTE")

    def request(self, p: Parent, what: str) -> None:
        """Note a request; of two, the weaker is refused."""
        weaker = min(what, p.pending, key=lambda name: STRENGTH[name])
        if weaker in ASKED:
            self.tell(p, "CANCEL_REJECT", "NEW", "REQUEST_PENDING", ASKED[weaker])
        if STRENGTH[what] <= STRENGTH[p.pending]:
            return
        p.pending = what
        if p.family and what in ("CANCEL", "REPLACE"):
            p.status = f"PENDING_{what}"
            self.tell(p, "ACK", p.status, "NONE", ASKED[what])
        self.recall(p)

    def recall(self, p: Parent) -> None:
        """Ask the venues to cancel what rests there."""
        for child in p.family:
            if child.tif == "DAY" and not child.cancels and not child.due:
                self.cancel_child(child)

    def settle(self, p: Parent) -> None:
        """Carry out the pending request."""
        what, p.pending = p.pending, None
        self.unwatch(p)
        if what == "EXPIRE":
            self.finish(p, "EXPIRED", "DAY_END")
        elif what == "CANCEL":
            self.finish(p, "CANCELED", p.reason)
        elif what == "PAUSE":
            p.phase, p.status = "PAUSED", "SUSPENDED"
            self.tell(p, "ACK", "SUSPENDED", "CLIENT_REQUEST", "CONTROL")
        else:
            qty, px = p.wanted
            paused = p.phase == "PAUSED"
            p.qty, p.px = max(qty, p.cum + p.busted), px
            p.status = "PARTIALLY_FILLED" if p.cum else "NEW"
            if p.cum >= p.qty:
                p.status = "FILLED"
            elif paused:
                p.status = "SUSPENDED"
            self.tell(p, "ACK", "REPLACED", "NONE", "ORDER_REPLACE")
            if p.left() == 0:
                self.complete(p)
            elif paused:
                p.phase = "PAUSED"
            else:
                self.episode(p, "START")

    def complete(self, p: Parent) -> None:
        """Nothing is left: filled, or a part of it was busted."""
        p.reason = p.reason if p.cum >= p.qty else "BUSTED"
        self.finish(p, *(("FILLED", "NONE") if p.cum >= p.qty else ("CANCELED", "BUSTED")))

    def unwatch(self, p: Parent) -> None:
        """Who rests no longer begins anew."""
        if p.phase == "RESTING":
            p.rounds, p.excluded, p.refused = 0, set(), set()

    def finish(self, p: Parent, status: str, reason: str) -> None:
        """A filled parent was told with its last fill; others are told now."""
        self.timers.pop(p, None)
        self.unwatch(p)
        p.phase, p.pending, p.status = "DONE", None, status
        if status != "FILLED":
            self.tell(p, "ACK", status, reason, "ORDER_CANCEL" if reason == "CLIENT_REQUEST" else None)

    # ---- children

    def timeout(self) -> int:
        """How long a venue may be silent."""
        return self.config.routing.child_timeout_ms * 1_000_000

    def arm(self, owner: Any, at_ns: int) -> None:
        """Set a timer."""
        raise NotImplementedError

    def wake(self, parent: Parent, why: str) -> None:
        """Put a parent on the queue."""
        raise NotImplementedError

    def new_child(
        self, p: Parent, venue: int, px: int, qty: int, tif: str, *, min_qty: int = 0, display_qty: int = 0
    ) -> None:
        """Make a child and send it."""
        child = Child(self.id_base + (1 << 39) + len(self.children) + 1, p, venue, px, qty, tif)
        self.children[child.order_id] = child
        child.display = display_qty
        p.family.insert(0, child)
        if tif == "IOC":
            self.quotes[p.instrument, venue].taken[opposite(p.side)] += qty
        self.arm(child, self.now_ns + self.timeout())
        self.out.append(("CHILD", child.order_id, p.order_id, venue, p.side, px, qty, tif, min_qty, display_qty))

    def cancel_child(self, child: Child) -> None:
        """Ask its venue to cancel it."""
        self.out.append(("CANCEL", child.order_id))
        self.ask_cancel(child)

    def ask_cancel(self, child: Child) -> None:
        """Its venue is asked to cancel it."""
        child.canceling = True
        child.rank()
        child.cancels += 1
        self.arm(child, self.now_ns + self.timeout())

    def lose(self, child: Child) -> None:
        """It is UNKNOWN from now on."""
        if child.status != "UNKNOWN":
            child.status = "UNKNOWN"
            self.out.append(("ALERT", "UNKNOWN_CHILD", child.order_id, child.leaves))

    def end(self, child: Child, status: str) -> None:
        """It has ended: what is left of it is its parent's again."""
        p = child.parent
        child.status, child.leaves, child.amends = status, 0, []
        child.canceling = child.asked = child.due = False
        self.ended_in_masses(child)
        if status == "REJECTED":
            p.excluded.add(child.venue)
        p.family.remove(child)
        self.timers.pop(child, None)
        if not p.family and p.phase != "DONE":
            self.wake(p, "CHILDREN_DONE")

    # ---- the sweep

    def episode(self, p: Parent, event: str) -> None:
        """Begin anew."""
        p.rounds, p.excluded, p.refused, p.phase = 0, set(), set(), "ROUTING"
        self.route(p, event)

    def route(self, p: Parent, event: str) -> None:
        """Take the best net prices first; what is left is cancelled back, posted, or rests."""
        p.rounds += 1
        best = self.best(p.instrument)
        shown = {v: q for (i, v), q in self.quotes.items() if i == p.instrument and q.qty[opposite(p.side)] > 0}
        fresh = {v: q for v, q in shown.items() if self.is_fresh(q)}
        rows = []
        for v, quote in fresh.items():
            px, lot = quote.px[opposite(p.side)], self.lot(p.instrument, v)
            qty = self.left(quote, p.side) // lot * lot
            if v not in p.excluded and self.venue_session(v) in self.up and qty > 0 and self.within(p, px):
                rows.append((self.net(v, p.side, px), -qty, self.config.venue[v].mic, v, px))
        left, plan = p.left(), list[tuple[int, int, int, int]]()
        for net, size, _, v, px in sorted(rows):
            lot = self.lot(p.instrument, v)
            qty = min(-size, left - sum(row[2] for row in plan)) // lot * lot
            if qty > 0 and len(plan) < MAX_CHILDREN_A_TURN:
                plan.append((v, px, qty, net))
        allotted = sum(row[2] for row in plan)
        outcome, reason = "NOTHING_MARKETABLE", "NOT_MARKETABLE"
        if p.rounds > self.config.routing.sweep.max_rounds:
            outcome, reason = "ROUNDS_EXHAUSTED", "ROUNDS_EXHAUSTED"
        elif not fresh:
            outcome, reason = "NO_FRESH_VENUE", "NO_FRESH_VENUE"
        elif plan and p.tif == "FOK" and (event != "START" or allotted < left):
            outcome, reason = "NOT_ENOUGH_FOR_FOK", "FOK_NOT_FILLABLE"
        elif plan and allotted < p.lacking():
            outcome, reason = "NOT_ENOUGH_FOR_MIN_QTY", "MIN_QTY_NOT_FILLABLE"
        elif plan:
            outcome = "ROUTED"
        plan = plan if outcome == "ROUTED" else []
        nets = [row[3] for row in plan] or [0]
        sums = (sum(row[2] for row in plan), len(plan), sum(1 << row[0] for row in plan), nets[0], nets[-1])
        seen = (len(fresh), len(shown) - len(fresh))
        self.out.append(("DECISION", p.order_id, left, *sums, *best, p.rounds, *seen, outcome, event))
        for v, px, qty, _ in plan:
            self.new_child(p, v, px, qty, "IOC", min_qty=p.lacking() if len(plan) == 1 else 0)
        if outcome != "ROUTED":
            p.reason = reason
            if p.tif in ("IOC", "FOK"):
                self.finish(p, "CANCELED", reason)
            elif not self.post(p, left):
                p.phase = "RESTING"
                self.rests += 1
                p.rested = self.rests

    def post(self, p: Parent, left: int) -> bool:
        """Rest what is left at the posting venue, where that can be."""
        sweep = self.config.routing.sweep
        order = sorted(self.config.venue, key=lambda v: (float(v.make_fee), v.mic))
        mic = sweep.post_venue or order[0].mic
        venue = [v.mic for v in self.config.venue].index(mic)
        lot = self.lot(p.instrument, venue)
        can = (
            sweep.rest == "venue"
            and not p.lacking()
            and p.px != 0
            and venue not in p.excluded
            and p.rounds <= sweep.max_rounds + 1
        )
        if not can or self.venue_session(venue) not in self.up or left < lot:
            return False
        qty, shown = left // lot * lot, 0
        if p.display_qty:
            shown = min(max(p.display_qty // lot * lot, lot), qty)
        self.new_child(p, venue, p.px, qty, "DAY", display_qty=shown)
        return True

    # ---- the gate

    def gate(self) -> None:
        """Stop each order and replace among the outputs since the last time that breaks a rule; count what passes."""
        first = self.gated
        for k in range(first, len(self.out)):
            kind = self.out[k][0]
            if kind == "CHILD":
                self.gate_child(k)
            elif kind == "REPLACE":
                self.gate_replace(k)
            elif kind == "CANCEL":
                self.count(self.children[self.out[k][1]])
            elif kind == "MASS_CANCEL":
                self.count_mass(*self.out[k][1:4])
        self.gated = len(self.out)
        while sum(self.look_again(k) for k in range(first, len(self.out))):
            pass

    def look_again(self, k: int) -> bool:
        """Stop what has passed where it passes a protected quote now, for what was to take that was stopped."""
        if self.out[k][0] not in ("CHILD", "REPLACE"):
            return False
        child = self.children[self.out[k][1]]
        px, qty = self.out[k][2:] if self.out[k][0] == "REPLACE" else (child.px, child.qty)
        broken = self.protected(child, px, qty, new=self.out[k][0] == "CHILD")
        if broken:
            self.met.append((broken[0], "again"))
            (self.stop_child if self.out[k][0] == "CHILD" else self.stop_replace)(k, child, broken)
        return bool(broken)

    def gate_child(self, k: int) -> None:
        """A new child: passed and counted, or rejected."""
        child = self.children[self.out[k][1]]
        broken = self.broken(child, child.px, child.qty, new=True, bold=True, before=[])
        if not broken:
            child.passed = True
            self.count(child)
        else:
            self.stop_child(k, child, broken)

    def stop_child(self, k: int, child: Child, broken: tuple[str, int, int]) -> None:
        """It is blocked: what it was to take is there for others."""
        self.met.append((broken[0], "CHILD"))
        self.out[k] = ("BLOCK", child.order_id, *broken)
        if child.tif == "IOC":
            self.quotes[child.parent.instrument, child.venue].taken[opposite(child.parent.side)] -= child.qty
        self.end(child, "REJECTED")

    def gate_replace(self, k: int) -> None:
        """A replace: one that neither asks for more shares or money nor comes nearer only has the rates."""
        _, order_id, px, qty = self.out[k]
        child = self.children[order_id]
        bold = qty > child.qty or px > child.px or (px < child.px and child.parent.side != Side.BUY)
        broken = self.broken(child, px, qty, new=False, bold=bold, before=child.amends[:-1])
        if not broken:
            self.count(child)
        else:
            self.stop_replace(k, child, broken)

    def stop_replace(self, k: int, child: Child, broken: tuple[str, int, int]) -> None:
        """It is blocked: the child is as it was."""
        self.met.append((broken[0], "REPLACE"))
        self.out[k] = ("BLOCK", child.order_id, *broken)
        child.amends.pop()
        child.asked = child.asked and bool(child.amends)
        if child.accepted:
            self.hear(child)
        else:
            child.rank()

    def hear(self, child: Child) -> None:
        """Its venue says that it lives; a timer is for what waits for an answer."""
        was = child.status
        if was == "UNKNOWN" and self.venue_session(child.venue) not in self.up:
            return
        child.status = child.true()
        if child.tif == "DAY" and not child.cancels and not child.amends:
            self.timers.pop(child, None)
        elif was == "UNKNOWN":
            self.arm(child, self.now_ns + self.timeout())


assert set(ASKED.values()).isdisjoint(FINAL)
