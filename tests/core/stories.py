"""Events for the core and its twin: small numbers become what makes sense where the two stand.

A report is on a child that there is, a request about an order that was sent; seldom it is not, and both must say so.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from engine.record.records import Liquidity, OrdType, Scope, SessionFlag, Side, Tif
from engine.run import config as c
from tests.core.both import SideBySide, told
from tests.core.world import MS

QTYS = (0, 5, 10, 25, 40, 50, 100, 160)
TIMES_MS = (1, 100, 499, 500, 501, 1000, 2500, 10_000)
TIFS = (Tif.DAY, Tif.IOC, Tif.DAY, Tif.FOK, Tif.GTC, Tif.IOC, Tif.DAY, Tif.DAY)
SIDES = (Side.BUY, Side.SELL, Side.BUY, Side.SELL_SHORT)
#: A kind of event, as often as it is named.
EVENTS = (
    "quote quote quote quote quote shown quote new new new fill fill fill partial partial ended ended accepted status "
    "reject cancel_reject again overfill cancel replace pause resume ask time time time down up mass kill trade clear "
    "bust bust correct correct enable amend amend amend amend replaced replaced restated refused roll load"
).split()


class Both(SideBySide):
    """The core and its twin, and events for them."""

    def event(self, kind: str, a: int, b: int, d: int) -> None:
        """The event that three numbers from 0 to 7 stand for."""
        getattr(self, kind)(a, b, d)

    def quote(self, a: int, b: int, d: int) -> None:
        """A quote; sometimes one-sided, locked or crossed."""
        bid = 9_990 + 3 * b
        ask = bid + (5, 1, 10, 0, 3, 7, -1, 2)[d]
        qtys = {"bid_qty": QTYS[(a + b) % 8], "ask_qty": QTYS[(b + d + 1) % 8]}
        self.do("QUOTE", venue_id=a % 3, instrument_id=a // 6, bid_px=bid, ask_px=ask, **qtys)

    def shown(self, a: int, b: int, d: int) -> None:
        """A quote whose best is the price of an order of ours that rests there, if there is one."""
        posted = [child for child in self.twin.children.values() if child.live and child.tif != "IOC"]
        if not posted:
            self.quote(a, b, d)
            return
        child = posted[-1 - a % len(posted)]
        bid = child.px if child.parent.side == Side.BUY else child.px - 5
        qtys = {"bid_qty": QTYS[(a + b) % 8], "ask_qty": QTYS[(b + d + 1) % 8]}
        where = {"venue_id": child.venue, "instrument_id": child.parent.instrument}
        self.do("QUOTE", **where, bid_px=bid, ask_px=bid + 5, **qtys)

    def trade(self, a: int, b: int, d: int) -> None:
        """A trade."""
        self.do("TRADE", venue_id=a % 3, instrument_id=d // 7, px=9_990 + 3 * b, qty=1)

    def clear(self, a: int, b: int, d: int) -> None:
        """A venue's books are void."""
        del b, d
        self.do("CLEAR", venue_id=a % 3, instrument_id=-1)

    def new(self, a: int, b: int, d: int) -> None:
        """A new order, or, rarely, a former one again."""
        if self.names >= 40:
            return
        if d != 7 or not self.names:
            self.names += 1
        px = 0 if b == 7 else 9_990 + 4 * b
        self.do(
            "ORDER_NEW",
            stream_id=0,
            cl_ord_id=self.names,
            side=SIDES[a % 4],
            qty=max(QTYS[(a + b + d) % 8], 5),
            px=px,
            ord_type=OrdType.LIMIT if px else OrdType.MARKET,
            tif=TIFS[d],
            **self.parts(a, b, d),
            instrument_id=a // 7,
            account_id=d & 1,
            client_id=a % 2,
            algo_id=(a + d) % 4 if b < 2 else (a + d) % 3,
            trader_id=d % 3,
        )

    def enable(self, a: int, b: int, d: int) -> None:
        """A person enables a strategy, mostly one that is latched."""
        del d
        if self.twin.latched or b == 7:
            strategy = min(self.twin.latched, default=a % 4)
            self.do("CONTROL", action="ENABLE", scope=Scope.STRATEGY, target=strategy, actor_id=1000)

    @staticmethod
    def parts(a: int, b: int, d: int) -> dict[str, int]:
        """MinQty and DisplayQty, of some orders; DisplayQty is for orders that may rest, with a limit."""
        qty = max(QTYS[(a + b + d) % 8], 5)
        shown = qty // 4 if b == 3 and TIFS[d] in (Tif.DAY, Tif.GTC) else 0
        return {"min_qty": qty // 2 if b in (1, 3) and a % 2 else 0, "display_qty": shown}

    def name(self, a: int, d: int) -> int:
        """The name of an order that lives, mostly; else of any, or of none."""
        names = [p.name for p in self.twin.parents.values() if p.phase != "DONE" or d == 7]
        return names[-1 - a % len(names)] if names else 1000

    def cancel(self, a: int, b: int, d: int) -> None:
        """Cancel."""
        if b < 4:
            self.do("ORDER_CANCEL", stream_id=0, cl_ord_id=self.name(a, d))

    def ask(self, a: int, b: int, d: int) -> None:
        """Ask for the status; on the wrong session at times."""
        self.do("STATUS_REQUEST", stream_id=b // 7, cl_ord_id=self.name(a, d))

    def replace(self, a: int, b: int, d: int) -> None:
        """Replace."""
        self.do(
            "ORDER_REPLACE", stream_id=0, cl_ord_id=self.name(a, d), qty=max(QTYS[(b + d) % 8], 1), px=9_990 + 4 * b
        )

    def pause(self, a: int, b: int, d: int) -> None:
        """Pause."""
        del b
        self.do("CONTROL", stream_id=0, cl_ord_id=self.name(a, d), action="PAUSE")

    def resume(self, a: int, b: int, d: int) -> None:
        """Resume."""
        del b
        self.do("CONTROL", stream_id=0, cl_ord_id=self.name(a, d), action="RESUME")

    def mass(self, a: int, b: int, d: int) -> None:
        """Cancel everything of a client, or of a scope."""
        if a >= 4:
            self.do("MASS_CANCEL", stream_id=b // 5 - 1, request_id=a, **self.scope(b, d, client=b // 5 > 0))

    def scope(self, b: int, d: int, client: bool = False) -> dict[str, int]:
        """A scope, and what it means; such as a client may name."""
        scopes = (
            Scope.ALL,
            Scope.CLIENT,
            Scope.INSTRUMENT,
            Scope.STRATEGY,
            Scope.TRADER,
            Scope.ACCOUNT,
            Scope.VENUE,
            Scope.SESSION,
        )
        scope = scopes[d % (6 if client else 8)]
        target = b % (
            2 if scope is Scope.ACCOUNT else 3
        )  # of which there are two; what admission refuses is not told here
        return {"scope": int(scope), "target": target, "client_id": b % 2, "instrument_id": b % 2}

    def kill(self, a: int, b: int, d: int) -> None:
        """The kill of a scope: seldom on, soon off."""
        if kills := list(self.twin.kills):
            scope, target = kills[a % len(kills)]
            which = dict.fromkeys(("target", "client_id", "instrument_id"), target)
            self.do("CONTROL", action="KILL_OFF", request_id=b, scope=int(scope), **which)
        if len(kills) < 2 and a >= 6 and b < 4:
            self.do("CONTROL", action="KILL_ON", request_id=b, **self.scope(b, d))

    def report(self, kind: str, a: int, d: int, **fields: Any) -> None:
        """A report on a live child mostly, rather on one with an unanswered replace; else on one that ended."""
        known = [child for child in self.twin.children.values() if child.live or d == 7]
        if not known:
            return
        if a < 6 and (kind == "ACK" or fields.get("request") == "ORDER_REPLACE"):
            known = [child for child in known if child.amends] or known
        child = known[-1 - a % len(known)]
        session = self.twin.venue_session(child.venue)
        who = {"order_id": child.order_id, "venue_id": child.venue, "instrument_id": child.parent.instrument}
        values = {name: value(child) if callable(value) else value for name, value in fields.items()}
        self.do(kind, stream_id=session, **who, **values)

    def executed(self, a: int, b: int, d: int, qty: Any) -> None:
        """A FILL with an ExecID of its own."""
        self.execs += 1
        liquidity = Liquidity.ADDED if b & 1 else Liquidity.REMOVED
        px = {"last_px": lambda child: child.px - b // 6}
        self.report("FILL", a, d, exec_id=self.execs, last_qty=qty, liquidity=liquidity, **px)

    def fill(self, a: int, b: int, d: int) -> None:
        """All that is left."""
        self.executed(a, b, d, lambda child: child.leaves or child.qty)

    def partial(self, a: int, b: int, d: int) -> None:
        """A part."""
        self.executed(a, b, d, lambda child: max(child.leaves // 2, 1))

    def overfill(self, a: int, b: int, d: int) -> None:
        """More than was asked for, seldom."""
        if b < 2:
            self.executed(a, b, d, lambda child: child.qty + 3)

    def again(self, a: int, b: int, d: int) -> None:
        """An ExecID that may have been seen."""
        self.report("FILL", a, d, exec_id=max(self.execs - b, 1), last_qty=1, last_px=9_990, liquidity=2)

    def ended(self, a: int, b: int, d: int) -> None:
        """The venue gives the rest back; seldom after executions that we have not seen."""
        kind = "EXPIRED" if b == 6 else "CANCELED"
        self.report("ACK", a, d, exec_type=kind, ord_status=kind, cum_qty=lambda child: child.cum + (b == 7))

    def bust(self, a: int, b: int, d: int) -> None:
        """An execution, or a correction of one, or what never was, is taken back."""
        self.change("BUST", a, b, d)

    def correct(self, a: int, b: int, d: int) -> None:
        """An execution was another: more, less, or at another price."""
        self.change("CORRECT", a, b, d, last_qty=max(QTYS[(b + d) % 8] // 2, 1), last_px=9_990 + b, liquidity=d % 3)

    def change(self, kind: str, a: int, b: int, d: int, **terms: int) -> None:
        """A BUST or CORRECT of one of the newest executions; seldom one of another child, or one seen before."""
        keys = [key for key, known in self.twin.executions.items() if known.qty or b == 7]
        if not keys:
            return
        venue, ref = keys[-1 - a % len(keys)]
        child = self.twin.executions[venue, ref].child
        if d == 6:
            child = next(iter(self.twin.children.values()))
        if d == 5:
            ref = 999_999
        self.execs += d != 7
        who = {"order_id": child.order_id, "venue_id": venue, "instrument_id": child.parent.instrument}
        ids = {"exec_id": max(self.execs, 1), "exec_ref_id": ref}
        self.do(kind, stream_id=self.twin.venue_session(venue), **who, **ids, **terms)

    def amend(self, a: int, b: int, d: int) -> None:
        """A child is replaced, as a turn would do it."""
        known = [child for child in self.twin.children.values() if child.tif == "DAY" and (child.live or d == 7)]
        if not known:
            return
        child, w = known[-1 - a % len(known)], self.world
        px, qty = child.px + (0, -1, 1, 2)[d % 4], max(child.qty + (-10, 0, 5, -40, 10, 40, -5, 100)[b], 0)
        outputs = w.amend(_Named(child.order_id), px, qty)
        assert [told(row) for row in outputs] == self.twin.amend(child, px, qty)
        assert w.amended == bool(outputs)
        self.compare()

    def replaced(self, a: int, b: int, d: int) -> None:
        """Its venue has taken a replace on, mostly one that was asked for."""
        self.terms("REPLACED", a, b, d)

    def restated(self, a: int, b: int, d: int) -> None:
        """Its venue changes the terms by itself, seldom."""
        if b < 3:
            self.terms("RESTATED", a, d, b + 4)

    def terms(self, kind: str, a: int, b: int, d: int) -> None:
        """An ACK with terms: those of the oldest replace or of the newest, those that it has, or odd ones."""

        def wanted(child: Any) -> tuple[int, int]:
            asked = [*child.amends, (child.px, child.qty)]
            px, qty = asked[0 if b < 5 else min(1, len(asked) - 1) if b < 7 else -1]
            return px, max(qty - child.done, 0) + (0, 0, 0, 0, 0, -5, 5, 0)[d]

        leaves = {"leaves_qty": lambda child: max(wanted(child)[1], 0), "last_px": lambda child: wanted(child)[0]}
        self.report("ACK", a, d, exec_type=kind, ord_status="NEW", cum_qty=lambda child: child.cum, **leaves)

    def refused(self, a: int, b: int, d: int) -> None:
        """A replace is refused."""
        reason = ("REQUEST_PENDING", "SIMULATED", "ORDER_TERMINAL", "SIMULATED")[b % 4]
        self.report("CANCEL_REJECT", a, d, request="ORDER_REPLACE", reason=reason)

    def accepted(self, a: int, b: int, d: int) -> None:
        """ACK New."""
        del b
        self.report("ACK", a, d, exec_type="NEW", ord_status="NEW", cum_qty=0)

    def status(self, a: int, b: int, d: int) -> None:
        """The answer to a status request, asked for or not."""
        told = ("NEW", "PENDING_REPLACE", "CANCELED", "FILLED", "REJECTED", "EXPIRED", "PARTIALLY_FILLED", "NEW")[b]
        if b in (0, 1, 6, 7):
            terms = {
                "leaves_qty": lambda child: max((child.amends or [(0, child.qty)])[b // 7 - 1][1] - child.done, 0),
                "last_px": lambda child: (child.amends or [(child.px, 0)])[b // 7 - 1][0],
            }
        else:
            terms = {"leaves_qty": lambda child: 0, "last_px": lambda child: 0}
        cum = {"cum_qty": lambda child: child.cum}
        self.report("ACK", a, d, exec_type="ORDER_STATUS", ord_status=told, **cum, **terms)

    def reject(self, a: int, b: int, d: int) -> None:
        """REJECT."""
        del b
        self.report("REJECT", a, d)

    def cancel_reject(self, a: int, b: int, d: int) -> None:
        """CANCEL_REJECT."""
        del b
        self.report("CANCEL_REJECT", a, d, request="ORDER_CANCEL", reason="ORDER_TERMINAL")

    def down(self, a: int, b: int, d: int) -> None:
        """A peer is silent, seldom."""
        del d
        if b < 3:
            self.do("SESSION_DOWN", stream_id=a % 4)

    def up(self, a: int, b: int, d: int) -> None:
        """A peer is there (again); some take mass cancels."""
        del d
        self.do("SESSION_UP", stream_id=a % 4, capability=int(SessionFlag.MASS_CANCEL) if b >= 5 else 0)

    def roll(self, a: int, b: int, d: int) -> None:
        """Another trading day begins, seldom; very seldom it is no later one."""
        day = (self.twin.id_base >> 40 & 0xFFFF) + (d != 7) * (1 + a % 3)
        if b < 3:
            self.do("ROLL", trading_day=day, day_end_ns=self.world.now_ns + (15_000 if d else 1) * MS)

    def load(self, a: int, b: int, d: int) -> None:
        """An opening position; it comes too late where there is an order."""
        self.do("POSITION_LOAD", account_id=d & 1, instrument_id=a & 1, qty=100 * (b - 4), px=9_990 + d)

    def time(self, a: int, b: int, d: int) -> None:
        """Time passes; timers fire when they are due, or the driver was away first. The end of the day comes seldom."""
        until = self.world.now_ns + TIMES_MS[a if b > 5 else a % 7] * MS
        while self.twin.deadline() <= until:
            self.world.now_ns = max(self.world.now_ns, self.twin.deadline())
            self.do("TIMER", cancels_only=0)
        self.world.now_ns = until
        if d & 1:
            self.do("TIMER", cancels_only=1)


class _Named:
    """What `World.amend` wants to know of a child."""

    def __init__(self, order_id: int) -> None:
        self.order_id = order_id


DIGIT = st.integers(0, 7)
STORY = st.lists(st.tuples(st.sampled_from(EVENTS), DIGIT, DIGIT, DIGIT), min_size=40, max_size=80)

#: Many quotes and orders, for the rules on protected quotations.
QUOTED = (
    "quote quote quote quote quote quote new new new amend amend amend amend amend accepted replaced replaced reject "
    "ended accepted fill down up up time"
).split()

#: What may happen to a child that rests at a venue, and is replaced again and again.
POSTED = (
    "amend amend amend amend replaced replaced refused refused shown shown new mass status status accepted "
    "partial partial fill ended bust correct restated cancel_reject down up enable overfill time "
    "time time cancel pause resume reject kill again"
).split()
POSTED_STORY = st.lists(st.tuples(st.sampled_from(POSTED), DIGIT, DIGIT, DIGIT), min_size=10, max_size=40)


def posted(config: c.Config) -> Both:
    """The two where an order rests at a venue."""
    both = Both(config)
    for venue in range(3):
        both.do("QUOTE", venue_id=venue, instrument_id=0, bid_px=9_900, ask_px=10_100, bid_qty=50, ask_qty=50)
    terms = {"side": Side.BUY, "qty": 100, "px": 10_000, "ord_type": OrdType.LIMIT, "tif": Tif.DAY}
    both.names = 1
    both.do("ORDER_NEW", stream_id=0, cl_ord_id=1, instrument_id=0, account_id=0, **terms)
    (child,) = both.twin.children.values()
    assert (child.tif, child.qty) == ("DAY", 100)
    return both
