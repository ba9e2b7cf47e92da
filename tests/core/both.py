"""The core beside its slow twin: the same event to both, the same outputs and the same knowledge after it."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.core import state as codes
from engine.core.state import Event
from engine.core.step import next_deadline
from engine.record.records import (
    ControlAction,
    ExecType,
    OrdStatus,
    Outcome,
    Reason,
    RiskRule,
    Scope,
    Template,
    Tif,
)
from engine.run import config as c
from tests.core.twin import Twin
from tests.core.world import INSTRUMENTS, VENUES, World, make_config

FEES = (
    c.Venue(mic="XB", code="B", session="v1", take_fee="0.0030", make_fee="-0.0020", lot="10"),
    c.Venue(mic="XA", code="A", session="v1", take_fee="-0.0010", make_fee="0.0015", make_bps="0.11"),
    c.Venue(mic="XC", code="C", session="v2", take_bps="1.23", lot="5"),
)
#: Fees that are more than the steps of prices: the best net price is often not the best price; one venue protects none.
DEAR = (
    c.Venue(mic="XA", code="A", session="v1", take_fee="0.04"),
    c.Venue(mic="XB", code="B", session="v1", take_fee="-0.03"),
    c.Venue(mic="XC", code="C", session="v2", shows_own=True),
)
OPEN = [msgspec.structs.replace(venue, protected=venue.mic != "XB") for venue in DEAR]
#: Of ten is a round lot; odd ones may be asked for.
ROUND = [msgspec.structs.replace(instrument, lot="10", odd_lots=True) for instrument in INSTRUMENTS]
PROTECTED = {"trade_through": "block", "locked_crossed": "block"}
TIGHT = {"max_qty": "150", "max_notional": "10000", "collar_bps": 6, "reference_age_ms": 700}
#: Every rule is on, and near.
CONTROLLED = {
    "period_collar_bps": 15,
    "collar_period_ms": 6000,
    "fat_finger_bps": 40,
    "max_position": "160",
    "gross_notional": "26000",
    "net_notional": "17000",
    "duplicate_ms": 600,
    "session_rate": 30,
    "strategy_rate": 25,
    "instrument_rate": 20,
    "repeated_executions": 9,
    "repeated_executions_ms": 3000,
    "restricted": [],
    "permission": [
        c.Permission(client="*", strategy=[0, 1], instrument="*", venue="*"),
        c.Permission(client=["c1"], strategy=[2], instrument=["AAA"], venue=["XA", "XC"]),
    ],
    "account": [c.RiskAccount(account=1, gross_notional="9000")],
    **PROTECTED,
}
#: Strategies 1 and 2 may not trade at XA, where they would have to take as well.
HALFWAY = [
    c.Permission(client="*", strategy=[0], instrument="*", venue="*"),
    c.Permission(client="*", strategy=[1, 2], instrument="*", venue=["XB", "XC"]),
]
#: How often, and nothing else.
COUNTED = {
    "session_rate": 7,
    "strategy_rate": 6,
    "instrument_rate": 5,
    "repeated_executions": 3,
    "repeated_executions_ms": 5000,
    "session": [c.RiskSession(name="v2", session_rate=3)],
    "strategy": [c.RiskStrategy(algo_id=1, repeated_executions=2), c.RiskStrategy(algo_id=2, strategy_rate=3)],
    "restricted": ["BBB"],
}
ROOM = {"parents": 64, "children": 128, "executions": 128}
#: The day ends soon, so that stories get there.
SOON = {"day_end": "14:30:15"}
#: So many messages a second; two at once to v1.
SLOW = {"v1": {"messages_per_s": 3, "burst": 2}, "v2": {"messages_per_s": 2}}
CAUTIOUS = {"c1": {"cancel_on_disconnect": True}}
POST_XC = {"rest": "venue", "post_venue": "XC"}
#: Venues whose quotes have our own size in them.
SHOWN = [msgspec.structs.replace(venue, shows_own=True) for venue in VENUES]
CONFIGS = (
    make_config(VENUES, capacity=ROOM, routing=SOON),
    make_config(FEES, capacity=ROOM, routing=SOON, sweep={"max_rounds": 2}),
    make_config(FEES, capacity=ROOM, sweep={"rest": "venue", "max_rounds": 1}, risk=TIGHT, sessions=CAUTIOUS),
    make_config(VENUES, capacity=ROOM, sweep=POST_XC, routing={"max_cancels": 1, **SOON}, sessions=SLOW),
    make_config(SHOWN, capacity=ROOM, sweep=POST_XC, routing=SOON, risk=CONTROLLED, sessions=SLOW),
    make_config(FEES, capacity=ROOM, routing={"stale_ms": 5000}, risk=COUNTED),
    make_config(DEAR, ROUND, capacity=ROOM, sweep=POST_XC, risk={**PROTECTED, "permission": HALFWAY}),
    make_config(OPEN, ROUND, capacity=ROOM, sweep={"rest": "venue", "max_rounds": 1}, risk=PROTECTED),
)
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
        return ("CHILD", *terms, Tif(int(row.tif)).name, int(row.min_qty), int(row.display_qty))
    if template == Template.ORDER_REPLACE:
        return ("REPLACE", int(row.order_id), int(row.px), int(row.qty))
    if template in (Template.ORDER_CANCEL, Template.STATUS_REQUEST):
        return ("CANCEL" if template == Template.ORDER_CANCEL else template.name, int(row.order_id))
    if template == Template.REFUSAL:
        return ("REFUSAL", Template(int(row.input_template)).name, Reason(int(row.reason)).name)
    if template == Template.ALERT:
        return ("ALERT", Reason(int(row.code)).name, int(row.order_id), int(row.value))
    if template == Template.RISK_BLOCK:
        return ("BLOCK", int(row.order_id), RiskRule(int(row.rule)).name, int(row.value), int(row.limit))
    if template == Template.CONTROL_REPORT:
        if row.action == ControlAction.ENABLE:
            return ("ENABLED", int(row.target), int(row.old_value))
        counts = (row.live_children, row.cancels, row.acknowledged, row.fills_after)
        times = (row.command_ns, row.last_cancel_ns, row.last_ack_ns)
        where = (Scope(int(row.scope)), int(row.target), Reason(int(row.reason)).name, int(row.finished))
        action = ControlAction(int(row.action)).name
        return ("REPORT", int(row.request_id), action, *where, *(int(x) for x in (*counts, *times)))
    if template == Template.MASS_CANCEL:
        which = {Scope.CLIENT: row.client_id, Scope.INSTRUMENT: row.instrument_id}
        scope = Scope(int(row.scope))
        return ("MASS_CANCEL", int(row.venue_id), scope, int(which.get(scope, row.target)), int(row.request_id))
    if template == Template.SESSION_UP:
        return ("HELLO", int(row.stream_id))
    if template == Template.DECISION:
        sums = (row.routed_qty, row.venues_used, row.venue_mask, row.best_net, row.worst_net)
        rest = (row.bid_px, row.ask_px, row.round_no, row.fresh_venues, row.stale_venues)
        numbers = tuple(int(x) for x in (row.parent_id, row.leaves_qty, *sums, *rest))
        return ("DECISION", *numbers, Outcome(int(row.outcome)).name, Event(int(row.event)).name)
    status = OrdStatus(int(row.ord_status)).name
    if template in (Template.BUST, Template.CORRECT):
        numbers = tuple(int(x) for x in (row.last_px, row.last_qty, row.cum_qty, row.leaves_qty))
        return (template.name, int(row.order_id), tuple(row.exec_ref_id.tolist()), *numbers, status, int(row.venue_id))
    name = int(row.peer_id[0])
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


class SideBySide:
    """The core and its twin."""

    def __init__(self, config: c.Config) -> None:
        self.world = World(config, hello=False)
        params = self.world.state.params[0]
        self.twin = Twin(config, int(params.id_base), int(params.day_end_ns))
        self.names = 0
        self.execs = 0
        #: ExecID towards the client, by venue and the venue's.
        self.told: dict[Any, tuple[int, ...]] = {}
        for session in range(len(config.session)):
            self.do("SESSION_UP", stream_id=session)

    def do(self, kind: str, **fields: Any) -> None:
        """One event to both; AssertionError where they part."""
        w = self.world
        template = Template[kind]
        event = {"kind": kind, "now_ns": w.now_ns, **fields}
        values = {name: _value(name, value) for name, value in fields.items()}
        session = fields.get("stream_id", -1)
        own = ("MASS_CANCEL", "CONTROL", "TIMER", "ROLL", "POSITION_LOAD")
        if kind == "SESSION_DOWN" or (kind in own and session < 0):
            outputs = w.send(template, **values)
        elif template <= Template.VENUE_DEF:
            outputs = w.feed(template, values.pop("venue_id"), **values)
        else:
            outputs = w.on_session(template, values.pop("stream_id"), **values)
        event.setdefault("stream_id", -1)
        said = self.twin.take(event)
        for row in outputs:
            if row.template_id == Template.FILL:
                self.told[fields["venue_id"], fields["exec_id"]] = tuple(row.exec_id.tolist())
        said = [(*s[:2], self.told[s[2]], *s[3:]) if s[0] in ("BUST", "CORRECT") else s for s in said]
        assert [told(row) for row in outputs] == said
        self.compare()

    def compare(self) -> None:
        """What the core knows is what the twin knows."""
        f, twin, state = self.world.facts, self.twin, self.world.state
        assert next_deadline(state) == twin.deadline()
        mine = {row["order_id"]: n for n, row in enumerate(f.parent_orders) if row["order_id"]}
        assert mine.keys() == twin.parents.keys()
        for order_id, parent in twin.parents.items():
            row, order = f.parents[mine[order_id]], f.parent_orders[mine[order_id]]
            known = {name: row[name] for name in ("cum_qty", "busted_qty", "live_qty", "notional", "fee", "rounds")}
            known["ord_status"] = OrdStatus(row["ord_status"]).name
            known["phase"], known["pending"] = _PHASES[row["phase"]]
            known["excluded"] = {v for v in range(len(twin.config.venue)) if row["excluded"] >> v & 1}
            known["refused"] = {v for v in range(len(twin.config.venue)) if row["excluded"] >> 32 + v & 1}
            known["terms"] = (order["qty"], order["px"])
            assert known == parent.facts()
        mine = {row["order_id"]: n for n, row in enumerate(f.child_orders) if row["order_id"]}
        assert mine.keys() == twin.children.keys()
        for order_id, child in twin.children.items():
            row, order = f.children[mine[order_id]], f.child_orders[mine[order_id]]
            known = {name: row[name] for name in ("cum_qty", "busted_qty", "leaves_qty", "cancels")}
            known["amends"] = list(zip(*(f.amends(mine[order_id], name) for name in ("px", "qty")), strict=True))
            known["ord_status"] = OrdStatus(row["ord_status"]).name
            known["terms"] = (order["venue_id"], order["px"], order["qty"], Tif(order["tif"]).name)
            assert known == child.facts()
        for (instrument, venue), quote in twin.quotes.items():
            slot = state.quotes[instrument * len(twin.config.venue) + venue]
            assert {"bid": slot.bid_taken, "ask": slot.ask_taken} == quote.taken
        for (account, instrument), sums in twin.positions.items():
            place = state.positions[account * len(state.instruments) + instrument]
            assert [place.qty, place.cost, place.fee] == sums


def _value(name: str, value: Any) -> Any:
    """A field's value on the wire."""
    enums: dict[str, Any] = {"exec_type": ExecType, "ord_status": OrdStatus, "action": ControlAction}
    enums |= {"request": Template, "reason": Reason}
    return int(enums[name][value]) if name in enums else value
