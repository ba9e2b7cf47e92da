"""Part 8 of the compliance report: commands as people give them, what the engine answered, names, units, peaks."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.core.rules import OFF
from engine.io.journal_format import FRAME, FRAME_HEADER, Kind
from engine.io.journal_reader import Chunk, JournalReader
from engine.record.records import (
    DTYPES,
    NOBODY,
    RECORD_MAX,
    ExecType,
    Reason,
    RiskRule,
    Scope,
    Side,
    Template,
    blank,
)
from engine.run.amounts import amount_of
from engine.run.config_control import Control, Person
from engine.run.control import limit_record
from engine.run.control_commands import Commands
from engine.run.control_guard import Log
from engine.run.control_people import People
from engine.run.control_wire import Request
from gateways.feeds import synthetic
from gateways.feeds.names import Names
from replay import wording
from replay.compliance import sealing
from replay.compliance.beside import LogError
from replay.compliance.make import make
from replay.compliance.write import rendered
from replay.state.peaks import peaks
from replay.state.reach import reach
from replay.state.sizes import Sizes
from replay.watch.chained import ChainedLog
from tests.replay.desk import Desk, config, parents
from tests.replay.made import START_NS, Made, small

pytestmark = pytest.mark.timeout(600)
ANN, BOB, CARL = 1001, 1002, 1003


def table(report, name):
    """Rows of a table as dicts; none where it is not there."""
    found = [t for part in report.parts for t in part.tables if t.id == name]
    return [dict(zip([c.key for c in found[0].columns], row, strict=True)) for row in found[0].rows] if found else []


def settings(run_dir):
    """Two persons; limits where the desk has none."""
    made = config(str(run_dir))
    people = [Person(name="ann", uid=ANN, roles=["limits", "override", "halt"])]
    people.append(Person(name="bob", uid=BOB, roles=["override"]))
    limits: dict[str, Any] = {"gross_notional": "90000000.75", "net_notional": "80000000"}
    limits |= {"session_rate": 5000, "repeated_executions": 900}
    risk = msgspec.structs.replace(made.risk, **limits)
    return msgspec.structs.replace(made, control=Control(person=people), risk=risk)


class Giver:
    """Gives commands as the control server does: from a person's request to what the core takes in."""

    def __init__(self, desk):
        self.desk, self.people = desk, People(desk.config.control)
        self.commands = Commands(desk.config, lambda: desk.now_ns)

    def request(self, command, **fields):
        return Request(id="0" * 32, sent_ns=0, command=command, **fields)

    def give(self, uid, command, **fields):
        for record in self.commands.records(self.people.by_uid[uid], self.request(command, **fields)):
            self.desk.take(record)

    def override(self, **fields):
        waiting = self.commands.ask(self.people.by_uid[ANN], self.request("override", lasts_s=60, **fields))
        self.desk.take(self.commands.approve(self.people.by_uid[BOB], waiting.number)[1])


@pytest.fixture(scope="module")
def commanded(tmp_path_factory):
    """A run of the desk's day, then commands of every kind, some of which the core refuses."""
    path = tmp_path_factory.mktemp("commanded") / "run"
    desk = Desk(settings(path), path)
    day = synthetic.generate(seed=1, names=Names.of(desk.config), quotes=600, trades=150)
    desk.play(day, parents(day, 30))
    giver = Giver(desk)
    giver.give(ANN, "limits", rule="max-qty", scope="symbol", target="XXX", value="15000")
    giver.give(ANN, "limits", rule="max-notional", scope="symbol", target="XXX", value="1500000.5")
    nobodys = limit_record(RiskRule.GROSS_NOTIONAL, Scope.ACCOUNT, 7, 100_075, request_id=4, actors=(ANN, NOBODY))
    desk.take(nobodys)
    giver.override(rule="gross-notional", scope="account", target="0", value="95000000.25")
    stale = limit_record(RiskRule.MAX_QTY, Scope.INSTRUMENT, 0, 1_000, request_id=5, actors=(CARL, NOBODY))
    stale["old_value"] = 20_000  # it was, before the first change
    desk.take(stale)
    giver.give(ANN, "halt", scope="venue", target="XNAS")
    giver.give(ANN, "resume", scope="session", target="venues")
    desk.close()
    return path


@pytest.fixture(scope="module")
def report(commanded):
    return make([commanded], "eu-2026", replays=1)


def test_limits_that_commands_changed_are_told_from_the_answers(report):
    rows = [(r["rule"], r["outcome"], r["old"], r["new"], r["unit"]) for r in table(report, "8.5")]
    assert rows == [
        ("max qty", "made", "20,000", "15,000", "shares or coins"),
        ("max notional", "made", "2,000,000.00", "1,500,000.50", "currency"),
        ("gross notional", "refused: unknown account", None, "1,000.75", "currency"),
        ("gross notional", "made", "90,000,000.75", "95,000,000.25", "currency"),
        ("max qty", "refused: limit changed", "15,000", "1,000", "shares or coins"),
    ]
    assert [r["old_units"] for r in table(report, "8.5")] == [20_000, 2_000_000 * 10**9, None, 9_000_000_075, 15_000]
    assert [r["kind"] for r in table(report, "8.5")] == ["change", "change", "change", "override", "change"]


def test_a_change_without_an_answer_is_not_told_as_made(tmp_path):
    made = Made(tmp_path / "run")
    made.input(Template.LIMIT_CHANGE, START_NS, rule=2, scope=Scope.INSTRUMENT, instrument_id=0, old_value=-1, value=9,
               actor_id=ANN, request_id=7)  # fmt: skip
    made.output(Template.CONTROL_REPORT, request_id=8, rule=2, value=9, old_value=5)  # somebody else's
    (row,) = table(make([made.close()], "uk", replays=0), "8.5")
    assert (row["old"], row["new"]) == (None, "9")
    assert "no answer" in row["outcome"]


def test_people_and_targets_have_names(report):
    change, *_, override, stale = table(report, "8.5")
    assert (change["scope"], change["target"], change["actor"]) == ("instrument", "XXX", f"ann (uid {ANN})")
    assert (override["target"], override["actor"], override["second"]) == ("0", f"ann (uid {ANN})", f"bob (uid {BOB})")
    assert stale["actor"] == f"uid {CARL}"
    assert (change["target_index"], change["actor_uid"], override["second_uid"]) == (0, ANN, BOB)
    by_what = {(r["what"], r["scope"]): r for r in table(report, "8.3")}
    assert by_what["kill on", "venue"]["target"] == "XNAS"
    assert by_what["mass cancel", "venue"]["target"] == "XNAS"
    assert by_what["kill off", "session"]["target"] == "venues"
    answered = [r for r in table(report, "8.4") if r["scope"] == "venue"]
    assert {r["target"] for r in answered} == {"XNAS"}
    assert {r["actor"] for r in answered} == {f"ann (uid {ANN})"}


def test_numbers_of_records_are_for_programs_alone(report):
    page = rendered(report, "html")[""].decode().partition("<script")[0]
    assert "ann (uid 1001)" in page
    assert "15,000" in page
    assert str(2_000_000 * 10**9) not in page
    assert f"{2_000_000 * 10**9:,}" not in page
    data = json.loads(rendered(report, "json")[""])
    (changes,) = [t for part in data["parts"] for t in part["tables"] if t["id"] == "8.5"]
    assert "old_units" in [c["key"] for c in changes["columns"]]
    files = rendered(report, "parquet")
    pq = pytest.importorskip("pyarrow.parquet")
    column = pq.read_table(io.BytesIO(files["table_8_5.parquet"]))["old_units"]
    assert column.to_pylist()[:2] == [20_000, 2_000_000 * 10**9]


def test_peaks_are_those_of_the_state(report, commanded):
    reached = reach(commanded)
    wanted = list(peaks(reached.rerun.state, reached.run.read_config()))
    rows = table(report, "8.7")
    told = [(r["whom"], r["peak_units"], r["limit_units"]) for r in rows]
    assert told[: len(wanted)] == [(p.whom, p.peak, p.limit) for p in wanted]
    by_rule = {r["rule"]: r for r in rows}
    assert set(by_rule) >= {"session rate", "gross notional", "net notional", "repeated execution"}
    gross = by_rule["gross notional"]
    assert (gross["limit"], gross["unit"]) == ("95,000,000.25", "currency")
    assert gross["peak"] == amount_of(RiskRule.GROSS_NOTIONAL, gross["peak_units"], 0)
    assert gross["share"] == gross["peak_units"] / 9_500_000_025
    (told,) = [t for t in report.parts[8].tables if t.id == "8.7"]
    assert [(s.run, s.first_seq, s.last_seq) for s in told.source] == [("R1", 0, report.runs[0].last_seq)]
    assert any("never delay" in text for text in report.parts[8].texts)


def read_slowly(run_dir):
    """The most of an order's quantity and notional, and of the position with what works, frame by frame."""
    working, sides, held = {}, {}, 0
    sizes, moneys, reached = [0], [0], [0]
    with JournalReader(run_dir) as reader:
        for frame in reader.frames():
            template = int.from_bytes(frame.payload[2:4].tobytes(), "little")
            if frame.kind not in (Kind.INPUT, Kind.OUTPUT) or template not in DTYPES:
                continue
            row = frame.payload.view(DTYPES[Template(template)])[0]
            if frame.kind == Kind.OUTPUT and template == Template.ORDER_NEW:
                qty, n = int(row["qty"]), int(row["order_id"])
                working[n], sides[n] = qty, 1 if row["side"] == Side.BUY else -1
                sizes.append(qty)
                moneys.append(int(row["px"]) * qty * 10**5)  # prices have four decimals, quantities none
            elif frame.kind == Kind.INPUT and template == Template.FILL:
                n, qty = int(row["order_id"]), int(row["last_qty"])
                working[n] -= qty
                held += sides[n] * qty
            elif frame.kind == Kind.INPUT and template in (Template.ACK, Template.REJECT):
                if template == Template.REJECT or row["exec_type"] in (ExecType.CANCELED, ExecType.EXPIRED):
                    working[int(row["order_id"])] = 0
            if frame.kind == Kind.OUTPUT and frame.last:
                buys, sells = (sum(q for n, q in working.items() if sides[n] == side) for side in (1, -1))
                reached.append(max(held + buys, sells - held))
    return max(sizes), max(moneys), max(reached)


def test_peaks_of_positions_and_of_single_orders_are_those_of_a_slow_reading(report, commanded):
    qty, money, position = read_slowly(commanded)
    by_rule = {r["rule"]: r for r in table(report, "8.7")}
    assert position > qty > 0
    assert (by_rule["max qty"]["peak_units"], by_rule["max qty"]["whom"]) == (qty, "XXX")
    assert by_rule["max notional"]["peak_units"] == money
    assert (by_rule["max position"]["peak_units"], by_rule["max position"]["whom"]) == (position, "account 0 XXX")
    assert (by_rule["max qty"]["peak"], by_rule["max qty"]["limit"]) == (f"{qty:,}", "15,000")
    assert by_rule["max qty"]["share"] == qty / 15_000


def test_the_largest_notional_is_exact_where_floating_point_is_not():
    """Two orders whose products differ by less than a double tells apart, and a replace that is the largest."""
    sizes = Sizes(config("unused"))
    rows = blank(Template.ORDER_NEW, 3)
    rows["qty"], rows["px"] = [94_906_267, 94_906_266, 5], [94_906_265, 94_906_266, 1]
    rows["template_id"][2] = Template.ORDER_REPLACE
    memory = np.zeros(3 * (FRAME_HEADER + RECORD_MAX), np.uint8)
    frames = np.zeros(3, FRAME)
    frames["kind"], frames["length"] = Kind.OUTPUT, RECORD_MAX
    frames["offset"] = np.arange(3) * (FRAME_HEADER + RECORD_MAX)
    for n in range(3):
        begin = n * (FRAME_HEADER + RECORD_MAX) + FRAME_HEADER
        memory[begin : begin + RECORD_MAX] = rows[n : n + 1].view(np.uint8)
    sizes.take(Chunk(0, memory, frames))
    mul, div = sizes._factors[0]
    assert sizes._money[0] == 94_906_266**2 * mul // div > 94_906_267 * 94_906_265 * mul // div
    assert sizes._qty[0] == 94_906_267


def test_peaks_need_a_replay_and_say_so(commanded):
    part = make([commanded], "eu-2026", replays=0).parts[8]
    assert [t.id for t in part.tables if t.id == "8.7"] == []
    assert any("peak utilisation" in text and text.startswith("R1:") for text in part.missing)


@pytest.mark.parametrize(
    ("rule", "value", "limit", "texts"),
    [
        (RiskRule.MAX_QTY, 30_000, 20_000, ("30,000", "20,000")),
        (RiskRule.MAX_NOTIONAL, 2_500_000_000, OFF, ("2.50", "off")),
        (RiskRule.GROSS_NOTIONAL, 12_345, 10_025, ("123.45", "100.25")),
        (RiskRule.COLLAR, 2 * 1_570_150, 2 * 1_500_000 + 1, ("157.015", "150.00005")),
        (RiskRule.SESSION_RATE, 1001, 1000, ("1,001", "1,000")),
        (RiskRule.VENUE_DOWN, 4, 0, ("XNAS", "")),
        (RiskRule.KILL, Scope.VENUE, 4, ("venue XNAS", "")),
        (RiskRule.KILL, Scope.ALL, 0, ("all", "")),
        (RiskRule.DUPLICATE, 1_500_000, 500_000_000, ("1.5 ms", "500 ms")),
        (RiskRule.DUPLICATE, -1, 500_000_000, ("too many orders to know", "500 ms")),
        (RiskRule.PERMISSION, 3, 0, ("strategy 3", "")),
        (RiskRule.TRADE_THROUGH, 1_500_100, 1_500_000, ("150.01", "150.00")),
        (RiskRule.LOCKED_CROSSED, 1_500_000, 1_499_950, ("150.00", "149.995")),
        (RiskRule.NO_REFERENCE, 0, 0, ("", "")),
    ],
)
def test_blocks_are_told_in_the_unit_of_their_rule(rule, value, limit, texts):
    block = blank(Template.RISK_BLOCK)
    block["rule"], block["value"], block["limit"], block["instrument_id"] = rule, value, limit, 0
    assert wording.block_texts(config(), block[0]) == texts


def test_protected_quotations_are_answered_by_the_controls(commanded):
    """A rule that was off in a run is said to have been off there, by its own key."""
    report = make([commanded], "us", replays=0)
    row = next(row for row in table(report, "0.2") if row["rule"] == "trade-through")
    assert (row["parts"], "611" in row["citation"]) == ("8", False)
    told = [text for text in report.parts[8].missing if "protected" in text]
    assert [key for text in told for key in ("trade_through", "locked_crossed") if key in text] == [
        "trade_through",
        "locked_crossed",
    ]


def test_a_throttle_names_its_strategy(tmp_path):
    made = Made(tmp_path / "run")
    made.order(1, START_NS)
    made.output(Template.ALERT, code=Reason.THROTTLED, value=3, instrument_id=0)
    (row,) = table(make([made.close()], "uk", replays=0), "8.6")
    assert (row["what"], row["about"], row["value"]) == ("throttled", "strategy 3", 3)


# Commands that never reached the engine, from control.log.


def control_log(run_dir, rows):
    with JournalReader(run_dir) as reader:
        log = ChainedLog(run_dir / "control.log", reader.run_id.hex())
    for row in rows:
        log.append(row)
    log.close()
    return run_dir / "control.log"


def said(outcome, **more):
    row = {"time": "2018-01-02T14:30:00.000001+00:00", "realtime_ns": START_NS + 1_000, "outcome": outcome, "count": 1}
    row |= {"sender": "uid 1003", "peer": "uid 1003 (carl), process 7", "person": "", "text": "not among the persons"}
    return row | more


def test_refused_commands_are_told_and_their_log_is_an_input(tmp_path):
    run = small(tmp_path / "run", 8)
    halt = {"command": "halt", "scope": "all"}
    lines = [said("taken", request=halt), said("refused: not authorised", request=halt)]
    lines.append(said("refused: malformed", text="no JSON", person="ann", lines_left_out=7))
    log = control_log(run, lines)
    report = make([run], "eu-2026", replays=0)
    rows = [(r["line"], r["what"], r["why"], r["text"], r["person"]) for r in table(report, "8.8")]
    assert rows == [
        (2, "halt", "not authorised", "not among the persons", None),
        (3, None, "malformed", "no JSON", "ann"),
    ]
    assert table(report, "8.8")[0]["peer"] == "uid 1003 (carl), process 7"
    assert table(report, "8.8")[0]["time"] == START_NS + 1_000
    assert ("R1", "control.log") in {(one.run, one.name) for one in report.inputs}
    assert "control.log" in {file.name for file in sealing.seal(run).body.files}
    left_out = {row["what"]: row["n"] for row in table(report, "13.1")}
    assert left_out["lines that control.log left out (more came in a second than it takes)"] == 7
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(bytes(data))
    with pytest.raises(LogError, match=r"control\.log, line 2"):
        make([run], "eu-2026", replays=0)


def test_a_log_of_commands_without_a_chain_is_no_evidence(tmp_path):
    run = small(tmp_path / "run", 8)
    (run / "control.log").write_text(json.dumps(said("refused: malformed")) + "\n")
    report = make([run], "eu-2026", replays=0)
    assert table(report, "8.8") == []
    assert any(text.startswith("R1: no control.log") for text in report.parts[8].missing)
    assert "control.log" not in {one.name for one in report.inputs}


def test_what_the_control_channel_writes_is_what_is_read(tmp_path):
    run = small(tmp_path / "run", 8)
    with JournalReader(run) as reader:
        log = Log(run, reader.run_id.hex())
    people = People(Control(person=[Person(name="ann", uid=ANN, roles=["halt"])]))
    request = Request(id="0" * 32, sent_ns=0, command="resume")
    log.write("taken", people.on_host(7, ANN), "halt", request, request_ids=[1])
    log.write("refused: not authorised", people.on_host(8, ANN), "ann has not the role", request)
    log.close()
    (row,) = table(make([run], "eu-2026", replays=0), "8.8")
    assert (row["line"], row["what"], row["why"], row["person"]) == (2, "resume", "not authorised", "ann")
    assert f"uid {ANN}" in row["peer"]
    assert row["time"] > START_NS
