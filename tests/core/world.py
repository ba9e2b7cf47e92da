"""A desk for tests of the core: a small configuration, records by keyword, time by hand, outputs as records.

Every record goes through the bound `step` as it would in the loop; after each, `validate` walks the invariants. The
world numbers streams, keeps the sum of the executions that were booked, and fires timers when time moves past them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import numpy as np

from engine.core.day import day_now
from engine.core.limits import OUTBOX
from engine.core.state import C_BUSTS, C_CORRECTS, C_FILLS, COUNTERS, NEVER, make_outbox, state_hash, view_events
from engine.core.step import next_deadline
from engine.record.records import (
    DTYPES,
    ControlAction,
    OrdType,
    Reason,
    Side,
    Template,
    Tif,
    blank,
    from_text16,
    text16,
)
from engine.run import config as c
from engine.run.bind import bind
from engine.run.reference import build_state
from tests.core.invariants import Booked, validate
from tests.core.world_venues import Venues

DAY = dt.date(2018, 1, 2)
#: 14:30 UTC of the day.
START_NS = int(dt.datetime(2018, 1, 2, 14, 30, tzinfo=dt.UTC).timestamp()) * 1_000_000_000
MS = 1_000_000
SECOND = 1_000_000_000

BUY, SELL, SHORT = Side.BUY, Side.SELL, Side.SELL_SHORT
DAY_TIF, GTC, IOC, FOK = Tif.DAY, Tif.GTC, Tif.IOC, Tif.FOK

#: Three venues on two sessions: no fees, lots of 1. Prices are in cents.
VENUES = (
    c.Venue(mic="XA", code="A", session="v1"),
    c.Venue(mic="XB", code="B", session="v1"),
    c.Venue(mic="XC", code="C", session="v2"),
)
INSTRUMENTS = (
    c.Instrument(symbol="AAA", px_decimals=2, tick_table="cents"),
    c.Instrument(symbol="BBB", px_decimals=2, tick_table="cents"),
)


def make_config(
    venues: Iterable[c.Venue] = VENUES,
    instruments: Iterable[c.Instrument] = INSTRUMENTS,
    *,
    sweep: dict[str, Any] | None = None,
    routing: dict[str, Any] | None = None,
    risk: dict[str, Any] | None = None,
    capacity: dict[str, int] | None = None,
    tick_rows: Iterable[tuple[str, str]] = (("0", "0.01"),),
    sessions: dict[str, dict[str, Any]] | None = None,
) -> c.Config:
    """A configuration: two clients, the venues' sessions, wide limits; sections are changed by keyword."""
    venues, instruments = list(venues), list(instruments)
    names = list(dict.fromkeys(venue.session for venue in venues))
    more = sessions or {}
    return c.Config(
        engine=c.Engine(run_dir="unused", trading_day=DAY.isoformat()),
        orders=c.Orders(endpoint="ipc:///unused"),
        risk=c.Risk(
            **{
                **c.ALL_OFF,
                "max_qty": "100000",
                "max_notional": "10000000",
                "collar_bps": 5000,
                "reference_age_ms": 5000,
                **(risk or {}),
            }
        ),
        feed=[],
        session=[
            c.Session(name="c1", role="client", **{"accounts": [0, 1], **more.get("c1", {})}),
            c.Session(name="c2", role="client", **more.get("c2", {})),
            *(c.Session(name=name, role="venue", **more.get(name, {})) for name in names),
        ],
        venue=venues,
        instrument=instruments,
        tick_table=[c.TickTable(name="cents", rows=list(tick_rows))],
        capacity=c.Capacity(
            **{
                "instruments": len(instruments),
                "venues": len(venues),
                "parents": 32,
                "children": 64,
                "executions": 64,
                "accounts": 2,
                **(capacity or {}),
            }
        ),
        routing=c.Routing(
            **{
                "stale_ms": 1000,
                "child_timeout_ms": 500,
                "max_cancels": 2,
                "day_end": "21:00:00",
                "sweep": c.Sweep(**{"max_rounds": 3, **(sweep or {})}),
                **(routing or {}),
            }
        ),
    )


def bound_step() -> Any:
    """The step that has sweep in it, in the mode of this run."""
    return bind("strategies.sweep").step


class World(Venues):
    """A state, and one record after another. `send` returns the outputs as records."""

    #: A live child that a scene wants to be remembered.
    child: Any = None

    def __init__(self, config: c.Config | None = None, *, hello: bool = True, check: bool = True) -> None:
        self.config = config or make_config()
        self.state = build_state(self.config, DAY, 7)
        self.buffer = np.zeros(192, dtype=np.uint8)
        self.events = view_events(self.buffer)
        self.outbox = make_outbox(OUTBOX)
        self.step = bind(self.config.routing.strategy).step
        self.now_ns = START_NS
        self.check = check
        self.booked = Booked()
        self.numbers: dict[tuple[str, int], int] = {}
        self.execs = 0
        self.sessions = {session.name: n for n, session in enumerate(self.config.session)}
        if hello:
            for n in range(len(self.config.session)):
                self.up(n)

    # ---- sending

    def number(self, kind: str, stream: int) -> int:
        """The next stream_seq of a venue's feed ("feed") or of a session ("session")."""
        self.numbers[kind, stream] = self.numbers.get((kind, stream), 0) + 1
        return self.numbers[kind, stream]

    def put(self, rows: np.ndarray) -> list[Any]:
        """Take one record (array of one) in as it is; its outputs."""
        raw = np.frombuffer(rows.tobytes(), np.uint8)
        self.buffer[:] = 0xAA  # what lies behind a record must not matter
        self.buffer[: len(raw)] = raw
        fills, changes = int(self.state.counts[C_FILLS]), self._changes()
        count = self.step(self.state, self.events, 0, self.outbox)
        outputs = [self.output(k) for k in range(count)]
        refused = any(row.template_id == Template.REFUSAL for row in outputs)
        if rows[0].template_id == Template.ROLL and not refused:
            self.booked.roll()
        if rows[0].template_id == Template.POSITION_LOAD and not refused:
            self.booked.load(self.state, rows[0])
        if int(self.state.counts[C_FILLS]) > fills:
            self.booked.add(self.state, rows[0])
        if self._changes() > changes:
            self.booked.change(self.state, rows[0])
        if self.check:
            self.facts = validate(self.state, self.booked)
        return outputs

    def _changes(self) -> int:
        return int(self.state.counts[C_BUSTS]) + int(self.state.counts[C_CORRECTS])

    def output(self, k: int) -> Any:
        """The k-th output as a record."""
        template = Template(int(self.outbox.head[k].template_id))
        dtype = DTYPES[template]
        raw = self.outbox.words[k * 16 : k * 16 + dtype.itemsize // 8].tobytes()
        return np.frombuffer(raw, dtype)[0]

    def send(self, template: Template, **fields: Any) -> list[Any]:
        """Take a record in, received now. Ids may be text or a word."""
        rows = blank(template)
        rows["ts_recv_ns"] = self.now_ns
        rows["ts_event_ns"] = self.now_ns
        for name, value in fields.items():
            if name in ("cl_ord_id", "exec_id", "exec_ref_id", "peer_id"):
                value = text16(value) if isinstance(value, str) else (value, 0)
            rows[name] = value
        return self.put(rows)

    def feed(self, template: Template, venue: int, **fields: Any) -> list[Any]:
        """A market-data record of a venue's stream."""
        own = {"stream_id": venue, "stream_epoch": 1, **fields}
        own.setdefault("stream_seq", self.number("feed", venue))
        return self.send(template, venue_id=venue, **own)

    def on_session(self, template: Template, session: int, **fields: Any) -> list[Any]:
        """A record of a session's peer."""
        own = {"stream_epoch": 1, **fields}
        if "stream_seq" not in own:
            own["stream_seq"] = self.number("session", session)
        return self.send(template, stream_id=session, **own)

    # ---- market data

    def quote(self, venue: int, bid_px: int, bid_qty: int, ask_px: int, ask_qty: int, **more: Any) -> list[Any]:
        """A QUOTE, instrument 0 unless named."""
        sides = {"bid_px": bid_px, "bid_qty": bid_qty, "ask_px": ask_px, "ask_qty": ask_qty}
        return self.feed(Template.QUOTE, venue, **{"instrument_id": 0, **sides, **more})

    def offers(self, *rows: tuple[int, int, int], bid_px: int = 9_900) -> None:
        """(venue, ask_px, ask_qty): one quote each; their bids are for one share."""
        for venue, px, qty in rows:
            self.quote(venue, bid_px, 1, px, qty)

    # ---- clients

    def new(self, cl: str | int, side: int = BUY, qty: int = 100, px: int = 10_000, **more: Any) -> list[Any]:
        """ORDER_NEW of client session 0: a limit day order in instrument 0 unless it says otherwise; px 0: market"""
        fields = {
            "cl_ord_id": cl,
            "side": side,
            "qty": qty,
            "px": px,
            "ord_type": OrdType.LIMIT if px else OrdType.MARKET,
            "tif": Tif.DAY,
            "instrument_id": 0,
            "account_id": 0,
            **more,
        }
        return self.on_session(Template.ORDER_NEW, fields.pop("session", 0), **fields)

    def request(self, template: Template, cl: str | int, **more: Any) -> list[Any]:
        """An ORDER_CANCEL, ORDER_REPLACE or STATUS_REQUEST of client session 0."""
        return self.on_session(template, more.pop("session", 0), **{"cl_ord_id": cl, **more})

    def cancel(self, cl: str | int, **more: Any) -> list[Any]:
        """An ORDER_CANCEL."""
        return self.request(Template.ORDER_CANCEL, cl, **more)

    def replace(self, cl: str | int, qty: int, px: int, **more: Any) -> list[Any]:
        """An ORDER_REPLACE."""
        return self.request(Template.ORDER_REPLACE, cl, qty=qty, px=px, **more)

    def pause(self, cl: str | int) -> list[Any]:
        """A CONTROL that pauses."""
        return self.on_session(Template.CONTROL, 0, cl_ord_id=cl, action=ControlAction.PAUSE)

    def resume(self, cl: str | int) -> list[Any]:
        """A CONTROL that resumes."""
        return self.on_session(Template.CONTROL, 0, cl_ord_id=cl, action=ControlAction.RESUME)

    def kill(self, on: bool = True) -> list[Any]:
        """A CONTROL of the control link."""
        return self.send(Template.CONTROL, action=ControlAction.KILL_ON if on else ControlAction.KILL_OFF)

    def load(self, **fields: Any) -> list[Any]:
        """A POSITION_LOAD of the driver's; instrument 0 and account 0 unless it says otherwise."""
        return self.send(Template.POSITION_LOAD, **{"instrument_id": 0, "account_id": 0, **fields})

    # ---- time

    def roll(self, days: int = 1, day_end_ns: int = NEVER) -> list[Any]:
        """A ROLL by so many days, with all the TIMERs that its work needs."""
        return self.send(Template.ROLL, trading_day=day_now(self.state) + days, day_end_ns=day_end_ns) + self.drain()

    def timer(self, *, cancels_only: bool = False) -> list[Any]:
        """One TIMER input now; `cancels_only` as after a stall."""
        return self.send(Template.TIMER, deadline_ns=next_deadline(self.state), cancels_only=int(cancels_only))

    def advance(self, ns: int) -> list[Any]:
        """Let time pass, with a TIMER at each deadline on the way; all outputs."""
        until = self.now_ns + ns
        found: list[Any] = []
        while next_deadline(self.state) <= until:
            self.now_ns = max(self.now_ns, next_deadline(self.state))
            found += self.timer()
        self.now_ns = until
        return found

    def drain(self) -> list[Any]:
        """TIMER inputs for what is due now, e.g. work that did not fit into one step."""
        return self.advance(0)

    # ---- looking

    def parent(self, cl: str | int, session: int = 0) -> tuple[Any, Any]:
        """(its order, its row) of the parent that a session named so."""
        words = text16(cl) if isinstance(cl, str) else (cl, 0)
        for p in np.flatnonzero(self.state.parent_orders["order_id"]):
            order, row = self.state.parent_orders[p], self.state.parents[p]
            if tuple(order.cl_ord_id) == words and row.session == session:
                return order, row
        raise LookupError(cl)

    def counter(self, name: str) -> int:
        """A counter of the core."""
        return int(self.state.counts[COUNTERS.index(name)])

    def refused(self, reason: Reason) -> int:
        """How often something was refused for a reason."""
        return int(self.state.refusals[reason])

    def hash(self) -> str:
        """The hash over the state."""
        return state_hash(self.state)


def of(outputs: Iterable[Any], template: Template) -> list[Any]:
    """The outputs of one kind."""
    return [row for row in outputs if row.template_id == template]


def children(outputs: Iterable[Any]) -> list[Any]:
    """The child orders among outputs."""
    return of(outputs, Template.ORDER_NEW)


def kinds(outputs: Iterable[Any]) -> list[str]:
    """The kinds of outputs in order, by name."""
    return [Template(int(row.template_id)).name for row in outputs]


def reports(outputs: Iterable[Any]) -> list[tuple[str, str, str, str]]:
    """(kind, ClOrdID, ExecType, OrdStatus) of what clients are told."""
    told = (Template.ACK, Template.FILL, Template.REJECT, Template.CANCEL_REJECT, Template.BUST, Template.CORRECT)
    return [
        (Template(int(row.template_id)).name, _name(row), chr(row.exec_type), chr(row.ord_status))
        for row in outputs
        if row.template_id in told
    ]


def _name(row: Any) -> str:
    """The ClOrdID of a report; a bust or correction has none, it names the order."""
    return "" if row.template_id in (Template.BUST, Template.CORRECT) else from_text16(row.peer_id)


def reasons(outputs: Iterable[Any]) -> list[Reason]:
    """Reasons of the refusals among outputs."""
    return [Reason(int(row.reason)) for row in of(outputs, Template.REFUSAL)]
