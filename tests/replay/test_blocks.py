"""Each rule of the risk gate stops an order, and the line that says so is on a real journal: rule, value and limit.

One run; each rule's limit is made tight by a LIMIT_CHANGE, an order breaks it, and the limit is made wide again. The
journal is read frame by frame.
"""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
import pytest

from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import JournalReader
from engine.jit import JIT
from engine.record.records import (
    DTYPES,
    ControlAction,
    ExecType,
    OrdType,
    Reason,
    RiskRule,
    Scope,
    Side,
    Template,
    Tif,
    blank,
    text16,
)
from engine.run import config as c
from replay.explain.story import explain
from tests.replay.desk import DAY, Desk, config
from tests.replay.test_replaces import STRATEGY as NUDGE

pytestmark = pytest.mark.timeout(900)
SECOND = 1_000_000_000
#: 149.00 and 151.00 in price units; the reference is 150.00.
BID, ASK = 1_490_000, 1_510_000
WIDE = {
    RiskRule.MAX_QTY: 20_000, RiskRule.MAX_NOTIONAL: 2_000_000 * SECOND, RiskRule.COLLAR: 5000,
    RiskRule.PERIOD_COLLAR: 5000, RiskRule.FAT_FINGER: 5000, RiskRule.MAX_POSITION: 10**9,
    RiskRule.GROSS_NOTIONAL: 10**15, RiskRule.NET_NOTIONAL: 10**15, RiskRule.SESSION_RATE: 10**6,
    RiskRule.STRATEGY_RATE: 10**6, RiskRule.INSTRUMENT_RATE: 10**6, RiskRule.REPEATED_EXECUTION: 10**6,
    RiskRule.RESTRICTED: 0, RiskRule.DUPLICATE: 1,
}  # fmt: skip
#: Whom a limit is for: the instrument, venues' session 1, strategy 1, account 0.
WHOM = {
    RiskRule.SESSION_RATE: (Scope.SESSION, 1), RiskRule.STRATEGY_RATE: (Scope.STRATEGY, 1),
    RiskRule.REPEATED_EXECUTION: (Scope.STRATEGY, 1), RiskRule.GROSS_NOTIONAL: (Scope.ACCOUNT, 0),
    RiskRule.NET_NOTIONAL: (Scope.ACCOUNT, 0), RiskRule.DUPLICATE: (Scope.ALL, 0),
}  # fmt: skip
#: Those of runs of their own: no shipped strategy sends to a venue whose session is down, one of the tests' does; and
#: those for which there is another venue.
ELSEWHERE = {RiskRule.VENUE_DOWN, RiskRule.TRADE_THROUGH, RiskRule.LOCKED_CROSSED}


class House:
    """A journaled desk, and what is sent to it."""

    def __init__(self, run_dir, *, post="XNYS", lots=None, risk=None, **routing):
        settings = config(str(run_dir), sweep=c.Sweep(rest="venue", post_venue=post), **routing)
        venues = [msgspec.structs.replace(row, lot=(lots or {}).get(row.mic, "1")) for row in settings.venue]
        risk = msgspec.structs.replace(settings.risk, **(risk or {}))
        settings = msgspec.structs.replace(settings, venue=venues, risk=risk)
        slow = [msgspec.structs.replace(row, messages_per_s=int(row.role == "venue")) for row in settings.session]
        settings = msgspec.structs.replace(settings, session=slow)
        only = c.Permission(client="*", strategy=[0, 1, 2], instrument="*", venue="*")
        settings = msgspec.structs.replace(settings, risk=msgspec.structs.replace(settings.risk, permission=[only]))
        self.desk = Desk(settings, run_dir)
        day = dt.datetime.combine(dt.date.fromisoformat(DAY), dt.time(14, 30), dt.UTC)
        self.desk.now_ns = int(day.timestamp()) * SECOND
        self.count = self.feed_seq = 0

    def market(self, template, **fields):
        self.feed_seq += 1
        row = blank(template)
        for name, value in {
            "stream_id": 0,
            "venue_id": 0,
            "stream_epoch": 1,
            "stream_seq": self.feed_seq,
            **fields,
        }.items():
            row[name] = value
        self.desk.take(row)

    def limit(self, rule, value):
        scope, target = WHOM.get(rule, (Scope.INSTRUMENT, 0))
        row = blank(Template.LIMIT_CHANGE)
        row["rule"], row["scope"], row["value"], row["old_value"], row["actor_id"] = rule, scope, value, -1, 1000
        row["instrument_id"] = row["target"] = target
        row["stream_id"] = -1
        self.desk.take(row)

    def control(self, action):
        row = blank(Template.CONTROL)
        row["action"], row["scope"], row["actor_id"], row["stream_id"] = action, Scope.ALL, 1000, -1
        self.desk.take(row)

    def cancel_all(self):
        row = blank(Template.MASS_CANCEL)
        row["scope"], row["actor_id"], row["stream_id"] = Scope.ALL, 1000, -1
        self.desk.take(row)

    def timer(self):
        row = blank(Template.TIMER)
        row["deadline_ns"], row["cancels_only"] = self.desk.now_ns, 1
        self.desk.take(row)

    def order(self, px=BID, qty=100, tif=Tif.DAY, algo=2):
        """An order of a name of its own; the children that left for it."""
        self.count += 1
        self.desk.now_ns += SECOND // 2
        row = blank(Template.ORDER_NEW)
        row["cl_ord_id"] = text16(f"P{self.count}")
        row["side"], row["px"], row["qty"], row["tif"], row["algo_id"] = Side.BUY, px, qty, tif, algo
        row["ord_type"] = OrdType.LIMIT
        self.desk.take(row, 0)
        box = self.desk.outbox
        slots = [k for k in range(int(box.count[0])) if box.head[k]["template_id"] == Template.ORDER_NEW]
        return [box.order[k].copy() for k in slots]

    def fill(self, child):
        row = blank(Template.FILL)
        row["venue_id"], row["order_id"], row["side"] = child["venue_id"], child["order_id"], child["side"]
        row["last_qty"], row["last_px"], row["exec_type"] = child["qty"], child["px"], ExecType.TRADE
        row["exec_id"] = (1, 1)
        self.desk.take(row, 1)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """(rule, value, limit, template of the input behind it) of each RISK_BLOCK on the journal of the run."""
    run_dir = tmp_path_factory.mktemp("blocks") / "run"
    house = House(run_dir)
    for rule, value in WIDE.items():
        house.limit(rule, value)
    house.order()  # nothing has been quoted: no reference
    house.market(Template.QUOTE, bid_px=BID, bid_qty=1000, ask_px=ASK, ask_qty=1000)
    house.control(ControlAction.KILL_ON)
    house.order()
    house.control(ControlAction.KILL_OFF)
    house.order(algo=5)
    house.market(Template.INSTRUMENT_STATUS, status=1)
    house.order()
    house.market(Template.INSTRUMENT_STATUS, status=0)
    house.market(Template.QUOTE, bid_px=BID, bid_qty=1000, ask_px=ASK, ask_qty=1000)
    for rule, tight, order in (
        (RiskRule.MAX_QTY, 50, {}),
        (RiskRule.MAX_NOTIONAL, 1000 * SECOND, {}),
        (RiskRule.RESTRICTED, 1, {}),
        (RiskRule.COLLAR, 10, {"px": ASK, "tif": Tif.IOC}),
        (RiskRule.PERIOD_COLLAR, 10, {"px": ASK, "tif": Tif.IOC}),
        (RiskRule.FAT_FINGER, 10, {}),
        (RiskRule.MAX_POSITION, 50, {}),
        (RiskRule.GROSS_NOTIONAL, 100, {}),
        (RiskRule.NET_NOTIONAL, 100, {}),
    ):
        house.limit(rule, tight)
        house.order(**order)
        house.limit(rule, WIDE[rule])
    for rule in (RiskRule.SESSION_RATE, RiskRule.STRATEGY_RATE, RiskRule.INSTRUMENT_RATE):
        house.desk.now_ns += 2 * SECOND
        house.limit(rule, 1)
        house.order(algo=1)
        house.order(algo=1)
        house.limit(rule, WIDE[rule])
    house.limit(RiskRule.DUPLICATE, SECOND)
    house.order()
    house.order()
    house.limit(RiskRule.DUPLICATE, 1)
    house.desk.now_ns += 2 * SECOND
    house.cancel_all()
    house.order()
    for _ in range(20):
        house.desk.now_ns += SECOND
        house.timer()
    house.market(Template.QUOTE, bid_px=BID, bid_qty=1000, ask_px=ASK, ask_qty=1000)
    house.limit(RiskRule.REPEATED_EXECUTION, 1)
    house.fill(house.order(algo=1)[0])
    house.order(algo=1)
    house.desk.close()
    return read(run_dir)


def read(run_dir):
    found, inputs, left, blocked = [], {}, set(), set()
    with JournalReader(run_dir) as reader:
        for chunk in reader.chunks(64):
            for frame in chunk.rows:
                first = int(frame["offset"]) + FRAME_HEADER
                raw = chunk.memory[first : first + int(frame["length"])].tobytes()
                template = int.from_bytes(raw[2:4], "little")
                if frame["kind"] == Kind.INPUT:
                    inputs[int(frame["seq"])] = template
                elif frame["kind"] == Kind.OUTPUT and template in (Template.ORDER_NEW, Template.ORDER_REPLACE):
                    left.add(int(frame["input_seq"]))
                elif frame["kind"] == Kind.OUTPUT and template == Template.RISK_BLOCK:
                    row = np.frombuffer(raw, DTYPES[Template.RISK_BLOCK])[0]
                    cause = inputs[int(frame["input_seq"])]
                    blocked.add(int(frame["input_seq"]))
                    found.append((RiskRule(int(row["rule"])), int(row["value"]), int(row["limit"]), cause))
    assert not left & blocked, "each of these orders has one child: where it was blocked, nothing left"
    return found


@pytest.mark.skipif(JIT, reason="a strategy of its own compiles for a minute; as plain Python it runs at once")
def test_a_venue_whose_session_is_down_has_its_line_too(tmp_path):
    house = House(tmp_path / "run", strategy=str(NUDGE))
    for rule, value in WIDE.items():
        house.limit(rule, value)
    house.market(Template.QUOTE, bid_px=BID, bid_qty=1000, ask_px=ASK, ask_qty=1000)
    down = blank(Template.SESSION_DOWN)
    down["stream_id"], down["reason"] = 1, Reason.PEER_SILENT
    house.desk.take(down)
    house.order()
    house.desk.close()
    found = read(tmp_path / "run")
    assert [(rule, limit, cause) for rule, _, limit, cause in found] == [
        (RiskRule.VENUE_DOWN, 0, Template.ORDER_NEW)
    ] * 4, "it tries four venues"
    assert len({value for _, value, *_ in found}) == 4


def test_what_passes_another_venues_protected_quote_has_its_line_too(tmp_path):
    """XNYS deals in hundreds: of fifty it takes none, and what it offers may not be passed, nor locked by a bid."""
    rules = {"trade_through": "block", "locked_crossed": "block"}
    house = House(tmp_path / "run", post="BATY", lots={"XNYS": "100"}, risk=rules)
    baty = [venue.mic for venue in house.desk.config.venue].index("BATY")
    sides = {"bid_px": BID, "bid_qty": 100, "ask_qty": 100}
    house.market(Template.QUOTE, ask_px=1_500_000, **sides)
    house.market(Template.QUOTE, stream_id=baty, venue_id=baty, stream_seq=1, ask_px=1_500_100, **sides)
    house.order(px=1_500_100, qty=50, tif=Tif.IOC)
    house.market(Template.CLEAR, stream_id=baty, venue_id=baty, stream_seq=2, instrument_id=-1)
    house.order(px=1_500_000, qty=50)
    house.desk.close()
    assert read(tmp_path / "run") == [
        (RiskRule.TRADE_THROUGH, 1_500_100, 1_500_000, Template.ORDER_NEW),
        (RiskRule.LOCKED_CROSSED, 1_500_000, 1_500_000, Template.ORDER_NEW),
    ]
    told = [
        " ".join(said.text for moment in explain(tmp_path / "run", name).moments for said in moment.outputs)
        for name in ("P1", "P2")
    ]
    assert "trade through: 150.01, another venue's protected quote is at 150.00" in told[0]
    assert "locked crossed: 150.00, another venue's protected quote is at 150.00" in told[1]


def test_every_rule_has_its_line(blocks):
    assert {rule for rule, *_ in blocks} == set(RiskRule) - {RiskRule.NONE} - ELSEWHERE
    assert {cause for *_, cause in blocks} == {Template.ORDER_NEW}


@pytest.mark.parametrize(
    ("rule", "value", "limit"),
    [
        (RiskRule.KILL, Scope.ALL, 0),
        (RiskRule.NO_REFERENCE, 0, 0),
        (RiskRule.PERMISSION, 5, 0),
        (RiskRule.INSTRUMENT_HALTED, 0, 0),
        (RiskRule.MAX_QTY, 100, 50),
        (RiskRule.MAX_NOTIONAL, 14_900 * SECOND, 1000 * SECOND),
        (RiskRule.RESTRICTED, 1, 0),
        (RiskRule.COLLAR, 2 * ASK, 3_003_000),
        (RiskRule.PERIOD_COLLAR, 2 * ASK, 3_003_000),
        (RiskRule.FAT_FINGER, 2 * BID, 2_997_000),
        (RiskRule.MAX_POSITION, 100, 50),
        (RiskRule.GROSS_NOTIONAL, 1_490_000, 100),
        (RiskRule.NET_NOTIONAL, 1_490_000, 100),
        (RiskRule.SESSION_RATE, 2, 1),
        (RiskRule.STRATEGY_RATE, 2, 1),
        (RiskRule.INSTRUMENT_RATE, 2, 1),
        (RiskRule.DUPLICATE, SECOND // 2, SECOND),
        (RiskRule.CANCELS_FIRST, 3, 0),  # of four that rest one has left
        (RiskRule.REPEATED_EXECUTION, 1, 1),
    ],
)
def test_a_line_says_rule_value_and_limit(blocks, rule, value, limit):
    assert [row[1:3] for row in blocks if row[0] == rule] == [(value, limit)]
