"""The core beside its slow twin: the same events to both, the same outputs and the same knowledge after each.

Hypothesis makes lists of small numbers; each becomes an event that makes sense where the two stand (a report on a child
that there is, a request about an order that was sent). After each event the invariants are walked as well.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import state as codes
from engine.core.state import NONE, Event
from engine.core.step import next_deadline
from engine.record.records import (
    ControlAction,
    ExecType,
    Liquidity,
    OrdStatus,
    OrdType,
    Outcome,
    Reason,
    RiskRule,
    Side,
    Template,
    Tif,
)
from engine.run import config as c
from tests.core.twin import Twin
from tests.core.world import MS, VENUES, World, make_config
from tests.modes import flagged_mode

pytestmark = pytest.mark.kernel

EXAMPLES = {"jit": 150, "plain": 60, "boundscheck": 60}[flagged_mode()]

FEES = (
    c.Venue(mic="XB", code="B", session="v1", take_fee="0.0030", make_fee="-0.0020", lot="10"),
    c.Venue(mic="XA", code="A", session="v1", take_fee="-0.0010", make_fee="0.0015", make_bps="0.11"),
    c.Venue(mic="XC", code="C", session="v2", take_bps="1.23", lot="5"),
)
TIGHT = {"max_qty": "150", "max_notional": "10000", "collar_bps": 6, "reference_age_ms": 700}
ROOM = {"parents": 64, "children": 128, "executions": 128}
#: The day ends soon, so that stories get there.
SOON = {"day_end": "14:30:15"}
POST_XC = {"rest": "venue", "post_venue": "XC"}
CONFIGS = (
    make_config(VENUES, capacity=ROOM, routing=SOON),
    make_config(FEES, capacity=ROOM, routing=SOON, sweep={"max_rounds": 2}),
    make_config(FEES, capacity=ROOM, sweep={"rest": "venue", "max_rounds": 1}, risk=TIGHT),
    make_config(VENUES, capacity=ROOM, sweep=POST_XC, routing={"max_cancels": 1, **SOON}),
)
QTYS = (0, 5, 10, 25, 40, 50, 100, 160)
TIMES_MS = (1, 100, 499, 500, 501, 1000, 2500, 10_000)
TIFS = (Tif.DAY, Tif.IOC, Tif.DAY, Tif.FOK, Tif.GTC, Tif.IOC, Tif.DAY, Tif.DAY)
SIDES = (Side.BUY, Side.SELL, Side.BUY, Side.SELL_SHORT)
#: A kind of event, as often as it is named.
EVENTS = (
    "quote quote quote quote quote quote new new new fill fill fill partial partial ended ended accepted status reject "
    "cancel_reject again overfill cancel replace pause resume ask time time time down up mass kill trade clear"
).split()

#: State of the workflow -> the twin's (phase, pending request).
_PHASES = {
    codes.NEW: ("ROUTING", None),
    codes.WORKING: ("ROUTING", None),
    codes.RESTING: ("RESTING", None),
    codes.PAUSED: ("PAUSED", None),
    codes.PENDING_REPLACE: ("ROUTING", "REPLACE"),
    codes.PENDING_PAUSE: ("ROUTING", "PAUSE"),
    codes.PENDING_CANCEL: ("ROUTING", "CANCEL"),
    codes.PENDING_EXPIRE: ("ROUTING", "EXPIRE"),
    **dict.fromkeys((codes.FILLED, codes.CANCELED, codes.EXPIRED), ("DONE", None)),
}


def told(row: Any) -> tuple[Any, ...]:
    """What an output of the core says, as the twin says it."""
    template = Template(int(row.template_id))
    if template == Template.ORDER_NEW:
        terms = (int(row.order_id), int(row.parent_id), int(row.venue_id), int(row.side), int(row.px), int(row.qty))
        return ("CHILD", *terms, Tif(int(row.tif)).name)
    if template in (Template.ORDER_CANCEL, Template.STATUS_REQUEST):
        return ("CANCEL" if template == Template.ORDER_CANCEL else template.name, int(row.order_id))
    if template == Template.REFUSAL:
        return ("REFUSAL", Template(int(row.input_template)).name, Reason(int(row.reason)).name)
    if template == Template.ALERT:
        return ("ALERT", Reason(int(row.code)).name, int(row.order_id), int(row.value))
    if template == Template.RISK_BLOCK:
        return ("BLOCK", int(row.order_id), RiskRule(int(row.rule)).name, int(row.value), int(row.limit))
    if template == Template.SESSION_UP:
        return ("HELLO", int(row.stream_id))
    if template == Template.DECISION:
        sums = (row.routed_qty, row.venues_used, row.venue_mask, row.best_net, row.worst_net)
        rest = (row.bid_px, row.ask_px, row.round_no, row.fresh_venues, row.stale_venues)
        numbers = tuple(int(x) for x in (row.parent_id, row.leaves_qty, *sums, *rest))
        return ("DECISION", *numbers, Outcome(int(row.outcome)).name, Event(int(row.event)).name)
    name, status = int(row.peer_id[0]), OrdStatus(int(row.ord_status)).name
    if template == Template.REJECT:
        return ("REJECT", name, Reason(int(row.reason)).name)
    if template == Template.FILL:
        filled = (row.last_px, row.last_qty, row.cum_qty, row.leaves_qty)
        return ("FILL", name, *(int(x) for x in filled), status, int(row.venue_id))
    if template == Template.CANCEL_REJECT and row.exec_type == ExecType.REJECTED:
        return ("CANCEL_REJECT", name, Reason(int(row.reason)).name)
    request = Template(int(row.request)).name if row.request else None
    kind, reason = ExecType(int(row.exec_type)).name, Reason(int(row.reason)).name
    return (template.name, name, kind, status, reason, int(row.cum_qty), int(row.leaves_qty), request)


class Both:
    """The core and its twin, side by side."""

    def __init__(self, config: c.Config) -> None:
        self.world = World(config, hello=False)
        params = self.world.state.params[0]
        self.twin = Twin(config, int(params.id_base), int(params.day_end_ns))
        self.names = 0
        self.execs = 0
        for session in range(len(config.session)):
            self.do("SESSION_UP", stream_id=session)

    def do(self, kind: str, **fields: Any) -> None:
        """One event to both; AssertionError where they part."""
        w = self.world
        template = Template[kind]
        event = {"kind": kind, "now_ns": w.now_ns, **fields}
        values = {name: _value(name, value) for name, value in fields.items()}
        session = fields.get("stream_id", -1)
        if kind == "SESSION_DOWN" or (kind in ("MASS_CANCEL", "CONTROL", "TIMER") and session < 0):
            outputs = w.send(template, **values)
        elif template <= Template.VENUE_DEF:
            outputs = w.feed(template, values.pop("venue_id"), **values)
        else:
            outputs = w.on_session(template, values.pop("stream_id"), **values)
        event.setdefault("stream_id", -1)
        assert [told(row) for row in outputs] == self.twin.take(event)
        self.compare()

    def compare(self) -> None:
        """What the core knows is what the twin knows."""
        f, twin, state = self.world.facts, self.twin, self.world.state
        assert next_deadline(state) == twin.deadline()
        mine = {row["order_id"]: n for n, row in enumerate(f.parent_orders) if row["order_id"]}
        assert mine.keys() == twin.parents.keys()
        for order_id, parent in twin.parents.items():
            row, order = f.parents[mine[order_id]], f.parent_orders[mine[order_id]]
            known = {name: row[name] for name in ("cum_qty", "live_qty", "notional", "fee", "rounds")}
            known["ord_status"] = OrdStatus(row["ord_status"]).name
            known["phase"], known["pending"] = _PHASES[row["phase"]]
            known["excluded"] = {v for v in range(len(twin.config.venue)) if row["excluded"] >> v & 1}
            known["terms"] = (order["qty"], order["px"])
            assert known == parent.facts()
        mine = {row["order_id"]: n for n, row in enumerate(f.child_orders) if row["order_id"]}
        assert mine.keys() == twin.children.keys()
        for order_id, child in twin.children.items():
            row, order = f.children[mine[order_id]], f.child_orders[mine[order_id]]
            known = {name: row[name] for name in ("cum_qty", "leaves_qty", "cancels")}
            known["ord_status"] = OrdStatus(row["ord_status"]).name
            known["terms"] = (order["venue_id"], order["px"], order["qty"], Tif(order["tif"]).name)
            assert known == child.facts()
            assert (row["parent"] == NONE) is False
        for (instrument, venue), quote in twin.quotes.items():
            slot = state.quotes[instrument * len(twin.config.venue) + venue]
            assert {"bid": slot.bid_taken, "ask": slot.ask_taken} == quote.taken
        for (account, instrument), sums in twin.positions.items():
            place = state.positions[account * len(state.instruments) + instrument]
            assert [place.qty, place.cost, place.fee] == sums

    # ---- small numbers to events

    def event(self, kind: str, a: int, b: int, d: int) -> None:
        """The event that three numbers from 0 to 7 stand for."""
        getattr(self, kind)(a, b, d)

    def quote(self, a: int, b: int, d: int) -> None:
        """A quote; sometimes one-sided, locked or crossed."""
        bid = 9_990 + 3 * b
        ask = bid + (5, 1, 10, 0, 3, 7, -1, 2)[d]
        qtys = {"bid_qty": QTYS[(a + b) % 8], "ask_qty": QTYS[(b + d + 1) % 8]}
        self.do("QUOTE", venue_id=a % 3, instrument_id=a // 6, bid_px=bid, ask_px=ask, **qtys)

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
            instrument_id=a // 7,
            account_id=d & 1,
        )

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
        """Cancel everything of a client, or everything."""
        del d
        if a >= 6:
            self.do("MASS_CANCEL", stream_id=b // 4 - 1)

    def kill(self, a: int, b: int, d: int) -> None:
        """The kill flag: seldom on, soon off."""
        del d
        if self.twin.killed or (a == 7 and b < 4):
            self.do("CONTROL", action="KILL_OFF" if self.twin.killed else "KILL_ON")

    def report(self, kind: str, a: int, d: int, **fields: Any) -> None:
        """A report on a live child mostly, else on one that ended."""
        known = [child for child in self.twin.children.values() if child.live or d == 7]
        if not known:
            return
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

    def accepted(self, a: int, b: int, d: int) -> None:
        """ACK New."""
        del b
        self.report("ACK", a, d, exec_type="NEW", ord_status="NEW", cum_qty=0)

    def status(self, a: int, b: int, d: int) -> None:
        """The answer to a status request, asked for or not."""
        told = ("NEW", "PARTIALLY_FILLED", "CANCELED", "FILLED", "REJECTED", "EXPIRED", "CANCELED", "NEW")[b]
        self.report("ACK", a, d, exec_type="ORDER_STATUS", ord_status=told, cum_qty=lambda child: child.cum)

    def reject(self, a: int, b: int, d: int) -> None:
        """REJECT."""
        del b
        self.report("REJECT", a, d)

    def cancel_reject(self, a: int, b: int, d: int) -> None:
        """CANCEL_REJECT."""
        del b
        self.report("CANCEL_REJECT", a, d)

    def down(self, a: int, b: int, d: int) -> None:
        """A peer is silent, seldom."""
        del d
        if b < 3:
            self.do("SESSION_DOWN", stream_id=a % 4)

    def up(self, a: int, b: int, d: int) -> None:
        """A peer is there (again)."""
        del b, d
        self.do("SESSION_UP", stream_id=a % 4)

    def time(self, a: int, b: int, d: int) -> None:
        """Time passes; timers fire when they are due. The end of the day comes seldom."""
        del d
        until = self.world.now_ns + TIMES_MS[a if b > 5 else a % 7] * MS
        while self.twin.deadline() <= until:
            self.world.now_ns = max(self.world.now_ns, self.twin.deadline())
            self.do("TIMER")
        self.world.now_ns = until


def _value(name: str, value: Any) -> Any:
    """A field's value on the wire."""
    enums: dict[str, Any] = {"exec_type": ExecType, "ord_status": OrdStatus, "action": ControlAction}
    return int(enums[name][value]) if name in enums else value


DIGIT = st.integers(0, 7)
STORY = st.lists(st.tuples(st.sampled_from(EVENTS), DIGIT, DIGIT, DIGIT), min_size=40, max_size=80)


@given(st.sampled_from(range(len(CONFIGS))), STORY)
@settings(max_examples=EXAMPLES)
def test_core_does_what_its_twin_does(which, story):
    both = Both(CONFIGS[which])
    for kind, a, b, d in story:
        both.event(kind, a, b, d)
