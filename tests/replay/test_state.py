"""state: held to a slow reading of the same journal's records at many places, and every way of naming a place.

The slow reading knows no core: it keeps the last quote of each venue, adds up executions, and follows each order by the
reports about it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict

import numpy as np
import pytest

from cli.main import main
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import ExecType, OrdStatus, Side, Template, from_text16
from replay.state.reach import OtherOutputs, WrongPlace, reach
from replay.state.view import past
from replay.times import utc_ns
from tests.replay.test_explain import records
from tests.replay.test_verify import frames_of, outputs_at, write
from tests.run.test_recover import shoot

# The first test of a worker compiles the core where the cache is empty.
pytestmark = pytest.mark.timeout(600)

ENDED = {OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED}
MONEY = 100_000  # 1e-9 of a dollar in a price unit of 0.0001


class Slow:
    """What the journal's records up to a place say, put together without the core."""

    def __init__(self, run_dir, seq):
        self.quotes, self.taken = {}, defaultdict(int)
        self.children, self.parents, self.filled = {}, {}, defaultdict(int)
        self.position = {"qty": 0, "cost": 0, "bought_qty": 0, "sold_qty": 0}
        self.seq_in, self.seq_out, self.now = defaultdict(int), defaultdict(int), 0
        self.seen = set()
        for kind, cause, template, row in records(run_dir):
            if cause <= seq:
                self.take_in(template, row) if kind == Kind.INPUT else self.sent(template, row)

    def take_in(self, template, row):
        self.now = max(self.now, int(row["ts_recv_ns"]))
        if int(row["stream_id"]) >= 0 and template >= Template.ORDER_NEW:
            self.seq_in[int(row["stream_id"])] = int(row["stream_seq"])
        if template == Template.QUOTE:
            self.quotes[int(row["venue_id"])] = row
            self.taken[int(row["venue_id"]), "bid"] = self.taken[int(row["venue_id"]), "ask"] = 0
        if template in (Template.ACK, Template.REJECT) and int(row["order_id"]) in self.children:
            if int(row["exec_type"]) in (ExecType.CANCELED, ExecType.EXPIRED, ExecType.REJECTED):
                self.children.pop(int(row["order_id"]))
        if template == Template.FILL:
            self.fill(row)

    def fill(self, row):
        key = (int(row["venue_id"]), row["exec_id"].tobytes())
        if key in self.seen:
            return
        self.seen.add(key)
        sign = 1 if row["side"] == Side.BUY else -1
        self.position["qty"] += sign * int(row["last_qty"])
        self.position["cost"] += sign * int(row["last_qty"]) * int(row["last_px"]) * MONEY
        self.position["bought_qty" if sign > 0 else "sold_qty"] += int(row["last_qty"])
        order_id = int(row["order_id"])
        self.filled[order_id] += int(row["last_qty"])
        if order_id in self.children and self.filled[order_id] == int(self.children[order_id]["qty"]):
            self.children.pop(order_id)

    def sent(self, template, row):
        if int(row["stream_id"]) >= 0:
            self.seq_out[int(row["stream_id"])] += 1
        if template == Template.ORDER_NEW:
            self.children[int(row["order_id"])] = row
            side = "ask" if row["side"] == Side.BUY else "bid"
            self.taken[int(row["venue_id"]), side] += int(row["qty"])
        if template in (Template.ACK, Template.FILL) and int(row["stream_id"]) == 0:
            self.parents[int(row["order_id"])] = row


def places(run_dir, count):
    """Numbers of frames spread over a run."""
    with JournalReader(run_dir) as reader:
        last = sum(len(chunk.rows) for chunk in reader.chunks()) - 1
    return np.linspace(20, last, count).astype(int).tolist()


def test_every_place_is_as_a_slow_reading_has_it(run_dir):
    seen = {"children": 0, "parents": 0}
    for seq in places(run_dir, 12):
        slow, found = Slow(run_dir, seq), past(reach(run_dir, str(seq)), str(run_dir))
        assert found.input_seq <= seq
        assert found.clock_ns == slow.now
        for v, book in enumerate(found.instruments[0].books):
            quote = slow.quotes.get(v)
            assert (book.standing == "none") == (quote is None)
            if quote is not None:
                assert book.age_ns == slow.now - int(quote["ts_recv_ns"])
                assert [book.bid_qty, book.ask_qty] == [str(quote["bid_qty"]), str(quote["ask_qty"])]
                assert [book.bid_taken, book.ask_taken] == [str(slow.taken[v, side]) for side in ("bid", "ask")]
                assert book.ask_px is None or float(book.ask_px) * 10_000 == pytest.approx(int(quote["ask_px"]))
        assert [(s.seq_in, s.seq_out) for s in found.sessions] == [(slow.seq_in[n], slow.seq_out[n]) for n in (0, 1)]
        rows = {"qty": "0", "cost": "0", "bought_qty": "0", "sold_qty": "0"}
        for row in found.positions:
            rows = {name: getattr(row, name) for name in rows}
        assert {name: int(float(text) * (1e9 if name == "cost" else 1)) for name, text in rows.items()} == slow.position
        live = {child.order_id: child for parent in found.parents for child in parent.children}
        assert live.keys() == slow.children.keys()
        assert all(int(child.cum_qty) == slow.filled[order_id] for order_id, child in live.items())
        open_parents = {n: row for n, row in slow.parents.items() if int(row["ord_status"]) not in ENDED}
        assert {parent.order_id for parent in found.parents} == open_parents.keys()
        for parent in found.parents:
            last = open_parents[parent.order_id]
            assert (parent.cl_ord_id, int(parent.cum_qty)) == (from_text16(last["peer_id"]), int(last["cum_qty"]))
        owners = [timer.order_id for timer in found.timers if timer.owner == "child"]
        assert set(owners) <= live.keys()
        due = [timer.deadline_ns or 0 for timer in found.timers]
        assert due == sorted(due)
        seen["children"] += len(live)
        seen["parents"] += len(found.parents)
    assert min(seen.values()) > 5, seen


def test_with_snapshots_and_without_the_text_is_the_same(run_dir, tmp_path, capsys):
    copied = shutil.copytree(run_dir, tmp_path / "day")
    seqs = places(copied, 6)
    shoot(copied, seqs[1], seqs[3])
    for seq in seqs:
        told = []
        for option in ("--snapshots", "--no-snapshots"):
            assert main(["state", str(copied), "--at", str(seq), option, "--ended"]) == 0
            told.append(capsys.readouterr().out)
        assert told[0] == told[1]
        assert "Positions" in told[0]
    starts = [reach(copied, str(seq)).header for seq in seqs]
    assert starts[0] is None
    assert all(header is None or header.seq <= seq for header, seq in zip(starts, seqs, strict=True))
    assert starts[-1] is not None
    assert starts[-1].seq > seqs[2]


def test_a_place_in_time_is_the_last_input_received_by_then(run_dir):
    inputs = [(seq, int(row["ts_recv_ns"])) for kind, seq, _, row in records(run_dir) if kind == Kind.INPUT]
    for seq, time_ns in inputs[50::97]:
        last = max(n for n, at in inputs if at <= time_ns)
        by_seq = past(reach(run_dir, str(last)), "")
        for text in (str(time_ns), utc_ns(time_ns), utc_ns(time_ns)[11:-1]):
            found = past(reach(run_dir, text), "")
            assert found == by_seq, f"{seq} at {text}"
    end = past(reach(run_dir), "")
    assert end.input_seq == inputs[-1][0]
    assert end == past(reach(run_dir, str(inputs[-1][0])), "")


def test_a_snapshot_serves_a_time_behind_it_alone(run_dir, tmp_path):
    copied = shutil.copytree(run_dir, tmp_path / "day")
    shoot(copied, places(copied, 3)[1])
    inputs = [(seq, int(row["ts_recv_ns"])) for kind, seq, _, row in records(run_dir) if kind == Kind.INPUT]
    early, late = inputs[len(inputs) // 4][1], inputs[-1][1]
    assert reach(copied, str(early)).header is None
    assert reach(copied, str(late)).header is not None


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("0", "before the first input"),
        ("99999999", "ends at"),
        ("23:59:59", "leave --at out"),
        ("9" * 30, "19 digits"),
        ("25:00", "must be a number of the journal"),
        ("soon", "must be a number of the journal"),
        ("", "must be a number of the journal"),
        ("-3", "must be a number of the journal"),
    ],
)
def test_a_place_that_is_none_is_told(run_dir, at, why, capsys):
    with pytest.raises(WrongPlace, match=re.escape(why)):
        reach(run_dir, at)
    assert main(["state", str(run_dir), f"--at={at}"]) == 2
    said = capsys.readouterr().err
    assert why in said
    assert "Traceback" not in said


def test_a_run_without_inputs_has_no_state(run_dir, tmp_path, capsys):
    empty = write(tmp_path / "empty", frames_of(run_dir)[:1])
    assert main(["state", str(empty)]) == 2
    assert "holds no input yet" in capsys.readouterr().err
    assert main(["state", str(tmp_path / "nothing")]) == 3
    assert "there is no journal" in capsys.readouterr().err


def test_outputs_that_this_build_does_not_make_end_the_journey(run_dir, tmp_path):
    frames = frames_of(run_dir)
    at = outputs_at(frames, Template.ORDER_NEW)[3]
    row = frames[at][4].view("<i8")
    row[10] += 100
    changed = write(tmp_path / "changed", frames)
    with pytest.raises(OtherOutputs, match=rf"frame {at}\b"):
        reach(changed, str(at + 10))
    assert reach(changed, str(frames[at][3] - 1)).rerun.input_seq < at
    cut = write(tmp_path / "cut", frames_of(run_dir)[:at])
    with pytest.raises(OtherOutputs, match="makes an output here"):
        reach(cut)


def test_json_has_what_the_text_has(run_dir, capsys):
    assert main(["state", str(run_dir), "--at", "400", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["input_seq"] <= 400
    assert told["lineage"]["from_snapshot"] is None
    assert {"instruments", "parents", "positions", "sessions", "timers", "limits", "counters"} <= told.keys()
    assert told["limits"]["killed"] is False
