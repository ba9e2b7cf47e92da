"""The slow twin's kills and mass cancels: lists of scopes and of orders, gone through from front to back."""

from __future__ import annotations

from typing import Any

from engine.record.records import Scope, SessionFlag
from engine.run.config import Config
from tests.core.twin_orders import STRENGTH, Child, Parent
from tests.core.twin_reports import Reports

NEVER = (1 << 63) - 1
ROWS = 8
#: Scopes that a venue knows from the orders that it was sent.
OURS = (Scope.SESSION, Scope.VENUE)


class Mass:
    """A mass cancel, and the orders that were in its scope."""

    def __init__(self, scope: Scope, target: int, e: dict[str, Any], now_ns: int) -> None:
        self.scope, self.target, self.command_ns = scope, target, now_ns
        self.request_id = e.get("request_id", 0)
        self.orders: list[Child] = []
        self.cancels = self.ended = self.fills = self.last_cancel_ns = self.last_ack_ns = self.due_ns = 0

    def report(self, reason: str, finished: bool) -> tuple[Any, ...]:
        """The CONTROL_REPORT on it as it stands."""
        counts = (len(self.orders), self.cancels, self.ended, self.fills)
        times = (self.command_ns, self.last_cancel_ns, self.last_ack_ns)
        return ("REPORT", self.request_id, "CANCEL", self.scope, self.target, reason, int(finished), *counts, *times)


class Control(Reports):
    """What comes over the control link, and what follows from it."""

    on_request: Any
    slot: Any

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        #: Killed scopes, ALL first: (scope, target) -> value.
        self.kills: dict[tuple[Scope, int], int] = {}
        self.masses: list[Mass | None] = [None] * ROWS
        self.paced = {n: 0 for n, session in enumerate(config.session) if session.messages_per_s}
        self.offers: set[int] = set()
        self.mass_at_ns = self.mass_due_ns = NEVER

    @property
    def killed(self) -> bool:
        """Whether anything is."""
        return bool(self.kills)

    # ---- scopes

    def target(self, e: dict[str, Any], scope: Scope) -> int:
        """What the scope of a command means."""
        names = {Scope.CLIENT: "client_id", Scope.INSTRUMENT: "instrument_id"}
        return int(e.get(names.get(scope, "target"), 0)) if scope != Scope.ALL else 0

    def inside(self, scope: Scope, target: int, p: Parent, venue: int | None) -> bool:
        """Whether an order of parent p, at a venue or not, is in a scope."""
        sessions = {p.session} | (set() if venue is None else {self.venue_session(venue)})
        facts: dict[Scope, bool] = {
            Scope.ALL: True,
            Scope.VENUE: venue == target,
            Scope.SESSION: target in sessions,
            Scope.INSTRUMENT: p.instrument == target,
            Scope.CLIENT: p.client == target,
            Scope.STRATEGY: p.strategy == target,
            Scope.TRADER: p.trader == target,
            Scope.ACCOUNT: p.account == target,
        }
        return facts[scope]

    def kill_of(self, p: Parent, venue: int | None) -> tuple[Any, ...] | None:
        """The rule, with the scope that is killed; ALL first."""
        for scope, target in sorted(self.kills, key=lambda kill: kill[0] != Scope.ALL):
            if self.inside(scope, target, p, venue):
                return ("KILL", int(scope), target)
        return None

    def on_control(self, e: dict[str, Any]) -> None:
        """Pause, resume, the kill of a scope, a latched strategy that is enabled."""
        if e["action"] == "ENABLE":
            was = self.latched.pop(e["target"], 0)
            self.fills[e["target"]].clear()
            self.out.append(("ENABLED", e["target"], was))
        elif e["action"].startswith("KILL"):
            scope = Scope(e.get("scope", 0))
            key = (scope, self.target(e, scope))
            on = e["action"] == "KILL_ON"
            if on:
                self.kills.setdefault(key, 1)
            else:
                self.kills.pop(key, None)
            self.out.append(
                ("REPORT", e.get("request_id", 0), e["action"], *key, "NONE", 1, 0, 0, 0, 0, self.now_ns, 0, 0)
            )
            self.out.append(("ALERT", "KILLED", 0, int(on)))
        elif parent := self.on_request(e, "CONTROL"):
            self.wake(parent, e["action"])

    # ---- mass cancels

    def on_mass_cancel(self, e: dict[str, Any]) -> None:
        """Cancel all that is in the scope, and that the sender may."""
        scope = Scope(e.get("scope", 0))
        target = self.target(e, scope)
        self.cancel_parents(scope, target, e["stream_id"])
        if e["stream_id"] < 0:
            self.cancel_children(scope, target, e)

    def cancel_parents(self, scope: Scope, target: int, session: int) -> None:
        """Parents in the scope are cancelled in the order in which they are kept."""
        for parent in sorted(self.parents.values(), key=self.slot):
            mine = session < 0 or parent.session == session
            if parent.phase != "DONE" and STRENGTH[parent.pending] < STRENGTH["CANCEL"] and "CANCEL" not in parent.wake:
                if mine and self.inside(scope, target, parent, None):
                    parent.reason = "MASS_CANCEL"
                    self.wake(parent, "CANCEL")

    def patience(self) -> int:
        """How long an order is waited for."""
        return self.timeout() * (self.config.routing.max_cancels + 1)

    def kept(self) -> list[Child]:
        """Live children in the order of the table."""
        size = self.config.capacity.children
        return sorted((c for c in self.children.values() if c.live), key=lambda c: c.order_id % (1 << 39) % size)

    def to_be_asked(self, child: Child) -> bool:
        """Whether a cancel of it makes sense."""
        return child.tif == "DAY" and (not child.canceling or child.status == "UNKNOWN")

    def cancel_children(self, scope: Scope, target: int, e: dict[str, Any]) -> None:
        """What lives in the scope gets its cancel, or its venue one for all."""
        mass = Mass(scope, target, e, self.now_ns)
        mass.due_ns = self.now_ns + self.patience()
        free = [n for n, row in enumerate(self.masses) if row is None]
        if not free:
            rows = [(row.command_ns, n, row) for n, row in enumerate(self.masses) if row]
            _, place, oldest = min(rows, key=lambda row: row[:2])
            self.out.append(oldest.report("TABLE_FULL", finished=True))
            free = [place]
        self.masses[free[0]] = None
        whole = set()
        for child in self.kept():
            if not self.inside(scope, target, child.parent, child.venue):
                continue
            mass.orders.append(child)
            session = self.venue_session(child.venue)
            if session not in self.up or not self.to_be_asked(child):
                continue
            if session in self.offers and (scope != Scope.SESSION or session == target):
                child.due = False
                self.ask_cancel(child)
                whole.add(child.venue)
            else:
                child.due = True
        self.out.append(mass.report("NONE", finished=not mass.orders))
        for venue in sorted(whole):
            told = (Scope.ALL, 0) if scope in OURS else (scope, target)
            self.out.append(("MASS_CANCEL", venue, *told, mass.request_id))
            self.count_cancel(mass)
        if mass.orders:
            self.masses[free[0]] = mass
            self.carry_on()

    def count_cancel(self, mass: Mass) -> None:
        """One more was sent."""
        mass.cancels += 1
        mass.last_cancel_ns = self.now_ns
        mass.due_ns = self.now_ns + self.patience()

    def carry_on(self) -> None:
        """Cancels that are due, session by session, each as fast as its limit allows."""
        goes_on = NEVER
        for session, line in enumerate(self.config.session):
            used = max(self.paced.get(session, 0), self.now_ns)
            for child in self.kept():
                if not child.due or self.venue_session(child.venue) != session:
                    continue
                again = not self.to_be_asked(child)
                if session not in self.up or (again and child in self.timers):
                    child.due = False
                    continue
                if session in self.paced:
                    every_ns = -(-1_000_000_000 // line.messages_per_s)
                    if used > self.now_ns + every_ns * (line.burst - 1):
                        goes_on = min(goes_on, used - every_ns * (line.burst - 1))
                        break
                    used += every_ns
                child.due = False
                self.cancel_child(child)
                for mass in filter(None, self.masses):
                    if child in mass.orders and not again:
                        self.count_cancel(mass)
        self.mass_at_ns = goes_on
        for mass in filter(None, self.masses):
            if goes_on < NEVER:
                mass.due_ns = max(mass.due_ns, goes_on + self.patience())
        self.note_due()

    def cancels_due(self, session: int) -> int:
        """How many cancels wait for the limit of a session."""
        if session not in self.paced:
            return 0
        waiting = [child for child in self.children.values() if child.due and child.live]
        return sum(self.venue_session(child.venue) == session for child in waiting)

    def note_due(self) -> None:
        """When the next of them stops waiting for its orders."""
        self.mass_due_ns = min([NEVER, *(mass.due_ns for mass in filter(None, self.masses))])

    def ended_in_masses(self, child: Child) -> None:
        """One of them has ended."""
        for mass in filter(None, self.masses):
            if child in mass.orders:
                mass.ended += 1
                mass.last_ack_ns = self.now_ns

    def filled_in_masses(self, child: Child) -> None:
        """One of them has executed since."""
        for mass in filter(None, self.masses):
            mass.fills += child in mass.orders

    def report_masses(self, timed: bool) -> None:
        """The last report of each that is over."""
        over = [m for m in filter(None, self.masses) if m.ended == len(m.orders)]
        timed = timed and self.mass_due_ns <= self.now_ns
        if over or timed:
            for n, mass in enumerate(self.masses):
                if mass and (mass.ended == len(mass.orders) or (timed and mass.due_ns <= self.now_ns)):
                    self.out.append(mass.report("NONE" if mass.ended == len(mass.orders) else "TIMEOUT", finished=True))
                    self.masses[n] = None
            self.note_due()

    def use_limits(self) -> None:
        """What has left used up the limits of the sessions."""
        for kind, *words in self.out:
            session = -1
            if kind in ("CHILD", "REPLACE", "CANCEL", "STATUS_REQUEST"):
                session = self.venue_session(self.children[words[0]].venue)
            elif kind == "MASS_CANCEL":
                session = self.venue_session(words[0])
            elif kind == "HELLO":
                session = words[0]
            if session in self.paced:
                every_ns = -(-1_000_000_000 // self.config.session[session].messages_per_s)
                burst_ns = every_ns * (self.config.session[session].burst - 1)
                most = self.now_ns + burst_ns + 1_000_000_000  # what is older than a second counts no more
                self.paced[session] = min(max(self.paced[session], self.now_ns) + every_ns, most)

    def said_hello(self, e: dict[str, Any]) -> None:
        """What a peer says that it can do."""
        self.offers.discard(e["stream_id"])
        if e.get("capability", 0) & SessionFlag.MASS_CANCEL:
            self.offers.add(e["stream_id"])
