"""`tickroute halt`, `resume` and `cancel-all` at an engine that works: rings, a real socket, the journal."""

from __future__ import annotations

import json
import re
import stat
import threading
from decimal import Decimal

import msgspec
import pytest

from cli.main import main
from engine.core.rules import CHANGEABLE, OFF
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.jit import JIT
from engine.record import records as r
from engine.run.control_commands import Commands
from engine.run.control_people import Actor
from engine.run.control_wire import SCOPES, new_request
from engine.run.reference import build_state, trading_day
from replay.verify import verify
from tests.run.engine_peers import ack, fill, make_config, order, wait_for
from tests.run.test_engine import Desk

T = r.Template


#: What each limit that can be changed is called in [risk], with another value than that of the tests' configuration.
SET = {
    r.RiskRule.MAX_QTY: ("max_qty", "700"),
    r.RiskRule.MAX_NOTIONAL: ("max_notional", "123456.78"),
    r.RiskRule.COLLAR: ("collar_bps", 77),
    r.RiskRule.PERIOD_COLLAR: ("period_collar_bps", 78),
    r.RiskRule.FAT_FINGER: ("fat_finger_bps", 79),
    r.RiskRule.MAX_POSITION: ("max_position", "900"),
    r.RiskRule.INSTRUMENT_RATE: ("instrument_rate", 41),
    r.RiskRule.SESSION_RATE: ("session_rate", 42),
    r.RiskRule.STRATEGY_RATE: ("strategy_rate", 43),
    r.RiskRule.REPEATED_EXECUTION: ("repeated_executions", 44),
    r.RiskRule.GROSS_NOTIONAL: ("gross_notional", "5000000.25"),
    r.RiskRule.NET_NOTIONAL: ("net_notional", "4000000.5"),
    r.RiskRule.DUPLICATE: ("duplicate_ms", 45),
}
TARGETS = {
    r.Scope.ALL: "",
    r.Scope.INSTRUMENT: "XXX",
    r.Scope.SESSION: "sim",
    r.Scope.STRATEGY: "2",
    r.Scope.ACCOUNT: "0",
}


@pytest.mark.parametrize("rule", CHANGEABLE, ids=lambda rule: rule.name)
def test_a_command_says_a_limit_in_the_unit_of_the_configuration(rule, tmp_path):
    """The same text in the file and on the command line is the same limit."""
    config = make_config(tmp_path / "run", tmp_path, transport="shm")
    row = CHANGEABLE[rule]
    word = next(word for word, scope in SCOPES.items() if scope is row.scope)
    commands = Commands(config, lambda: 0)
    actor = Actor("a person", 1001, frozenset({"limits"}))
    key, value = SET.get(rule, ("restricted", 1))
    request = new_request(
        "limits", scope=word, target=TARGETS[row.scope], rule=rule.name.lower().replace("_", "-"), value=str(value)
    )
    (record,) = commands.records(actor, request)
    risk = msgspec.structs.replace(config.risk, **{key: ["XXX"] if key == "restricted" else value})
    state = build_state(msgspec.structs.replace(config, risk=risk), trading_day(config), 1)
    target = commands.target(row.scope, TARGETS[row.scope])
    assert record["value"][0] == state.limits[row.first + row.step * target]
    old = {"old_value": OFF, "reason": "NONE"}
    said = commands.told({"rule": rule, "scope": row.scope, "target": target, "value": int(record["value"][0]), **old})
    amount = re.fullmatch(rf"limit {request.rule}(?: of .*)?: ([0-9,.]+)(?: bps| ms)?, was off", said)
    assert amount is not None, said
    assert Decimal(amount[1].replace(",", "")) == Decimal(str(value)), "and it is said in that unit"


class House(Desk):
    """An engine whose orders rest at venue XV0, and which takes a client's along when it goes."""

    def __init__(self, run_dir, sockets) -> None:
        config = make_config(run_dir, sockets, transport="shm", more=("second",))
        sweep = msgspec.structs.replace(config.routing.sweep, rest="venue", post_venue="XV0")
        sessions = [msgspec.structs.replace(s, cancel_on_disconnect=s.name == "second") for s in config.session]
        routing = msgspec.structs.replace(config.routing, sweep=sweep)
        super().__init__(
            run_dir, sockets, "shm", config=msgspec.structs.replace(config, routing=routing, session=sessions)
        )
        self.found = 0

    def resting(self, count, name, client=None):
        """Orders that rest at the venue."""
        for n in range(count):
            (client or self.client).send(order(f"{name}{n}", r.Side.BUY, 300, 1_500_000, r.Tif.DAY))
        placed = self.take(self.venue, T.ORDER_NEW, count)
        for child in placed:
            self.venue.send(ack(child, r.ExecType.NEW, r.OrdStatus.NEW))
        return placed

    def give(self, *words, answers=lambda: None):
        """Give a command as a person would, while the peers live; (exit code, what it says as JSON)."""
        self.found += 1
        path = self.engine.run_dir / f"told{self.found}.json"
        code: list[int] = []
        command = [words[0], str(self.engine.run_dir), *words[1:], "--json", str(path)]
        thread = threading.Thread(target=lambda: code.append(main(command)))
        thread.start()
        answers()
        wait_for(lambda: bool(code), self.client, self.venue)
        thread.join()
        return code[0], json.loads(path.read_text())


@pytest.fixture
def house(tmp_path, sockets):
    if not JIT:
        pytest.skip("the loop needs the GIL released, which only compiled code does")
    made = House(tmp_path / "run", sockets)
    yield made
    made.stop()


def test_people_stop_and_start_an_engine_and_hear_what_it_did(house):
    house.feed.quote(0, 1_569_900, 1_570_000)
    wait_for(lambda: house.engine.gauge("quotes") == 1, house.client, house.venue)
    placed = house.resting(3, "A")

    def end():
        cancels = house.take(house.venue, T.ORDER_CANCEL, 3)
        assert [row.order_id for row in cancels] == [child.order_id for child in placed]
        house.venue.send(fill(placed[0], 1))
        for child in placed[1:]:
            house.venue.send(ack(child, r.ExecType.CANCELED, r.OrdStatus.CANCELED))

    code, told = house.give("halt", "--symbol", "XXX", "--reason", "a test", answers=end)
    assert (code, told["done"], told["state"]) == (0, True, "done")
    halted, cancelled = told["reports"]
    assert (halted["action"], halted["value"]) == ("KILL_ON", 1)
    counts = [cancelled[name] for name in ("live_children", "cancels", "acknowledged", "fills_after")]
    assert counts == [3, 3, 3, 1]
    assert cancelled["command_ns"] <= cancelled["last_cancel_ns"] < cancelled["last_ack_ns"]
    house.client.send(order("B", r.Side.BUY, 300, 1_570_000))
    assert house.take(house.client, T.REJECT)[0].reason == r.Reason.KILLED
    assert house.give("resume")[1]["reports"][0]["old_value"] == 0
    code, told = house.give("resume", "--symbol", "XXX")
    assert told["reports"][0]["old_value"] == 1
    house.resting(1, "C")
    assert house.give("cancel-all", "--venue", "XV1")[1]["reports"][0]["live_children"] == 0
    code, told = house.give(
        "cancel-all",
        "--session",
        "sim",
        answers=lambda: [
            house.venue.send(ack(row, r.ExecType.CANCELED, r.OrdStatus.CANCELED))
            for row in house.take(house.venue, T.ORDER_CANCEL)
        ],
    )
    assert (code, told["reports"][0]["acknowledged"]) == (0, 1)
    assert house.give("halt", "--venue", "XNYS")[0] == 1
    assert house.give("limits", "max-gold", "1")[0] == 1
    home = house.engine.run_dir
    for name in ("control.ring", "answers.ring"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    house.stop()
    assert not (home / "control.sock").exists()
    with JournalReader(home) as reader:
        actors = [
            int(frame.payload.view(r.DTYPES[T.CONTROL])["request_id"][0])
            for frame in reader.frames()
            if frame.kind == Kind.INPUT and frame.payload.view("<u2")[1] == T.CONTROL
        ]
    lines = [json.loads(line) for line in (home / "control.log").read_text().splitlines()]
    taken = {number for line in lines if line["outcome"] == "taken" for number in line["request_ids"]}
    assert len(actors) == 3
    assert set(actors) <= taken
    assert verify(home).result == "identical"


def test_a_client_that_is_lost_leaves_no_order_behind(house):
    from tests.run.engine_peers import Peer

    second = Peer(house.config, 2, house.context)
    wait_for(lambda: house.engine.gauge("sessions_up") == 3, house.client, house.venue, second)
    house.feed.quote(0, 1_569_900, 1_570_000)
    wait_for(lambda: house.engine.gauge("quotes") == 1, house.client, house.venue, second)
    house.resting(1, "A")
    placed = house.resting(2, "B", second)
    cancels = house.take(house.venue, T.ORDER_CANCEL, 2)  # the second is silent from here on
    assert {row.order_id for row in cancels} == {child.order_id for child in placed}
    second.close()
