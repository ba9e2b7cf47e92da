"""The watch over a journal: what it tells, that each event is told once whatever happens to it, and the drop copy."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter

import numpy as np
import pytest

from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.jit import JIT
from engine.record.records import DTYPES, ControlAction, ExecType, Reason, RiskRule, Template
from replay.watch import checkpoint
from replay.watch.chained import check
from replay.watch.dropcopy import FILE, DropCopyError
from replay.watch.main import Watch, WatchError, once
from replay.watch.summary import read_alerts, summary
from replay.watch.tail import Tail
from tests.replay.desk import record_day

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]
E = ExecType


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("watch") / "day"
    record_day(
        path, **({"quotes": 1500, "trades": 300, "orders": 120} if JIT else {"quotes": 60, "trades": 15, "orders": 40})
    )
    return path


@pytest.fixture
def run_dir(day, tmp_path):
    return shutil.copytree(day, tmp_path / "run")


def watched(run_dir):
    watching = Watch(run_dir, sample=False)
    once(watching)
    watching.close()
    return read_alerts(run_dir).rows


def frames_of(run_dir):
    """(frame, its record or None) one by one."""
    with JournalReader(run_dir) as reader:
        for frame in reader.frames():
            template = int(frame.payload[2:4].view("<u2")[0]) if len(frame.payload) >= 64 else 0
            known = frame.kind in (Kind.INPUT, Kind.OUTPUT, Kind.OBSERVATION) and template in list(Template)
            yield frame, frame.payload.view(DTYPES[Template(template)])[0] if known else None


def expected(run_dir):
    """(kind of frame, template, code) -> count, by a slow reading of the table in docs/alerts.md."""
    found: Counter[tuple[str, str]] = Counter()
    for frame, record in frames_of(run_dir):
        if record is None:
            continue
        template = Template(int(record["template_id"]))
        if frame.kind == Kind.OUTPUT and template == Template.RISK_BLOCK:
            found["block", RiskRule(int(record["rule"])).name] += 1
        elif frame.kind == Kind.OUTPUT and template == Template.ALERT:
            found["alert", Reason(int(record["code"])).name] += 1
        elif frame.kind == Kind.OUTPUT and template == Template.REFUSAL:
            found["refusal", Reason(int(record["reason"])).name] += 1
        elif template in (Template.REJECT, Template.CANCEL_REJECT):
            if frame.kind == Kind.INPUT or template == Template.REJECT:
                found["reject", Reason(int(record["reason"])).name] += 1
        elif frame.kind == Kind.INPUT and template == Template.CONTROL:
            found["control", ControlAction(int(record["action"])).name] += 1
        elif frame.kind == Kind.INPUT and template == Template.MASS_CANCEL:
            found["control", "MASS_CANCEL"] += 1
    return found


def told(rows):
    """The same of alerts."""
    families = {"limit": "block", "throttle": "block", "refusal": "refusal", "reject": "reject", "control": "control"}
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if row["source"] == "journal":
            family = families.get(row["kind"], "alert")
            if row["kind"] == "kill":
                family = "block" if row["limit"] is not None else "control"
            if row["kind"] == "reject" and row["code"] == "UNSOLICITED":
                family = "alert"
            found[family, row["code"]] += row["count"]
    return found


def test_every_event_of_the_journal_is_told_and_counted(run_dir):
    rows = watched(run_dir)
    wanted = expected(run_dir)
    assert told(rows) == wanted
    assert len(wanted) > 4, "a day with trouble of many kinds"
    for row in rows:
        assert row["sent_ns"] >= row["event_ns"]
        assert not row["late"]
    [block] = [row for row in rows if row["code"] == "MAX_QTY"][:1]
    assert block["value"] > block["limit"] > 0
    assert block["instrument"] == "XXX"
    assert block["journal_seq"] == block["source_from"]
    result = summary(rows)
    assert result["events"] == sum(row["count"] for row in rows)


@pytest.mark.parametrize("seed", range(2))
def test_a_watch_that_is_killed_anywhere_loses_and_repeats_nothing(seed, day, run_dir, tmp_path, monkeypatch):
    """Kills are between any two reads; the checkpoint is of any moment before, or gone."""
    whole = shutil.copytree(day, tmp_path / "whole")
    wanted = told(watched(whole))
    draw = random.Random(seed)
    read = Tail.read
    monkeypatch.setattr(Tail, "read", lambda tail, limit=0: read(tail, draw.choice((1, 3, 17, 100))))
    for _ in range(6):
        watching = Watch(run_dir, sample=False)
        for _ in range(draw.randrange(30)):
            watching._take(chunk) if (chunk := watching._tail.read()) is not None else None
            if draw.random() < 0.2:
                watching.stream.turn()
            if draw.random() < 0.2:
                watching.keep()
        watching._closing.close()  # as a SIGKILL does: nothing is written, descriptors and locks go
        if draw.random() < 0.3:
            (run_dir / checkpoint.FILE).unlink(missing_ok=True)
    rows = watched(run_dir)
    assert told(rows) == wanted
    assert (run_dir / FILE).read_bytes() == (whole / FILE).read_bytes()
    assert check(
        run_dir / "alerts.jsonl", Watch(run_dir, sample=False).run_id, checkpoint.heads(run_dir)["alerts.jsonl"]
    )


def test_a_second_watch_is_refused_and_a_finished_run_is_told_once(run_dir):
    first = Watch(run_dir, sample=False)
    with pytest.raises(WatchError, match="another process watches this run"):
        Watch(run_dir, sample=False)
    once(first)
    first.close()
    lines = (run_dir / "alerts.jsonl").read_bytes()
    watched(run_dir)
    assert (run_dir / "alerts.jsonl").read_bytes() == lines
    assert json.loads((run_dir / checkpoint.FILE).read_bytes())["closed"] is True


def slow_executions(run_dir):
    """What the drop copy must have, frame by frame: (stream, frame's bytes) in order."""
    inputs: dict[int, bytes] = {}
    refused: set[int] = set()
    batches: dict[int, list[tuple[int, bytes]]] = {}
    order: list[tuple[int, int, bytes]] = []
    for frame, record in frames_of(run_dir):
        if record is None or frame.kind == Kind.OBSERVATION:
            continue
        template = int(record["template_id"])
        named = template in (Template.FILL, Template.BUST, Template.CORRECT)
        named = named or (template == Template.ACK and record["exec_type"] in (E.CANCELED, E.EXPIRED))
        if frame.kind == Kind.INPUT and named:
            inputs[frame.seq] = frame.payload.tobytes()
        elif frame.kind == Kind.OUTPUT:
            if template == Template.REFUSAL:
                refused.add(frame.input_seq)
            if named:
                batches.setdefault(frame.input_seq, []).append((frame.seq, frame.payload.tobytes()))
    order += [(seq, 0, data) for seq, data in inputs.items() if seq not in refused]
    order += [(seq, 1, data) for batch in batches.values() for seq, data in batch]
    return [(stream, data) for _, stream, data in sorted(order)]


def test_the_drop_copy_is_what_was_booked_and_told(run_dir):
    watched(run_dir)
    wanted = slow_executions(run_dir)
    rows = np.fromfile(run_dir / FILE, dtype=DTYPES[Template.FILL])
    assert len(rows) == len(wanted) > 20
    counts = [0, 0]
    for row, (stream, data) in zip(rows, wanted, strict=True):
        counts[stream] += 1
        assert (row["stream_id"], row["stream_seq"]) == (stream, counts[stream])
        assert row.tobytes()[24:] == data[24:]
        assert row.tobytes()[14:16] == data[14:16]
    assert counts[0] > 5
    assert counts[1] > 5


def test_a_drop_copy_that_was_altered_behind_the_checkpoint_is_found(run_dir):
    watched(run_dir)
    (run_dir / checkpoint.FILE).unlink()
    data = bytearray((run_dir / FILE).read_bytes())
    data[3 * 128 + 70] ^= 1
    (run_dir / FILE).write_bytes(data)
    watching = Watch(run_dir, sample=False)
    with pytest.raises(DropCopyError, match="at byte 384: record"):
        once(watching)
    watching._closing.close()
