"""The watch over a journal: what it tells, that each event is told once whatever happens to it, and the drop copy."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest

from cli import main as cli
from engine.io.journal import NOT_READY, append
from engine.io.journal_format import FRAME, LAST, Kind
from engine.io.journal_reader import Chunk, JournalReader
from engine.io.journal_writer import JournalWriter
from engine.io.ring import CONSUMER, Ring, ring_push
from engine.io.stats_file import StatsWriter
from engine.jit import ROOT
from engine.record.records import DTYPES, ControlAction, ExecType, Reason, RiskRule, Template, blank
from engine.run import manifest
from engine.run.publish import PUBLISHED
from engine.run.wiring import PROGRESS, STAGES
from replay.watch import checkpoint
from replay.watch.chained import ChainedLog, check
from replay.watch.dropcopy import FILE, DropCopyError
from replay.watch.events import Conditions
from replay.watch.gauges import Gauges
from replay.watch.main import Watch, WatchError, once
from replay.watch.summary import read_alerts, summary
from replay.watch.tail import Tail, templates
from tests.replay.desk import config

pytestmark = pytest.mark.timeout(600)
E = ExecType
REPORT = Template.CONTROL_REPORT


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
        elif frame.kind == Kind.OUTPUT and template == REPORT and record["reason"] != 0:
            found["control", Reason(int(record["reason"])).name] += 1
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


@pytest.fixture(scope="module")
def crowded(day, tmp_path_factory):
    """A journal of much trouble of few kinds: what is told as one alert is of many frames, in and across chunks."""
    path = tmp_path_factory.mktemp("crowded") / "run"
    draw = random.Random(1)
    with JournalReader(day) as reader:
        text = reader.manifest
    with JournalWriter(path, 1 << 20, text) as writer:
        for _ in range(1500):
            template = draw.choice((Template.QUOTE, Template.FILL, Template.CANCEL_REJECT, Template.ORDER_NEW))
            seq = put(writer, Kind.INPUT, template, -1, 0, LAST, venue_id=draw.randrange(2))
            outputs = draw.choice(
                ([], [Template.ALERT], [Template.RISK_BLOCK, Template.REJECT], [Template.REFUSAL], [REPORT])
            )
            if template == Template.FILL:
                outputs = draw.choice(([], [Template.REFUSAL], [Template.FILL], [Template.ALERT, Template.FILL]))
            for n, output in enumerate(outputs):
                fields = {"code": Reason.SEQUENCE_GAP, "instrument_id": -1, "value": draw.randrange(3)}
                fields |= {"rule": RiskRule.COLLAR, "reason": draw.choice((0, 1, 2)), "stream_id": 0}
                put(writer, Kind.OUTPUT, output, seq, n, LAST if n == len(outputs) - 1 else 0, **fields)
    return path


def put(writer, kind, template, input_seq, place, flags, **fields):
    """Append one record; its number."""
    record = blank(template)
    for name in set(fields) & set(record.dtype.names or ()):
        record[name] = fields[name]
    address, size = int(record.ctypes.data), record.dtype.itemsize
    until_s = time.monotonic() + 20
    while (seq := append(writer.table, int(kind), flags, place, input_seq, address, size)) == NOT_READY:
        assert time.monotonic() < until_s
        time.sleep(0.001)
    return int(seq)


@pytest.mark.parametrize("seed", range(3))
def test_a_watch_that_is_killed_anywhere_loses_and_repeats_nothing(seed, crowded, tmp_path, monkeypatch):
    """Kills are between any two reads; the checkpoint is of any moment before, or gone."""
    run_dir = shutil.copytree(crowded, tmp_path / "run")
    draw = random.Random(seed)
    read = Tail.read
    with monkeypatch.context() as cut:
        cut.setattr(Tail, "read", lambda tail, limit=0: read(tail, draw.choice((1, 3, 17, 100, 500))))
        for _ in range(12):
            watching = Watch(run_dir, sample=False)
            for _ in range(draw.randrange(12)):
                if (chunk := watching._tail.read()) is not None:
                    watching._take(chunk)
                if draw.random() < 0.2:
                    watching.stream.turn(everything=draw.random() < 0.5)
                if draw.random() < 0.2:
                    watching.keep()
            watching._closing.close()  # as a SIGKILL does: nothing is written, descriptors and locks go
            if draw.random() < 0.2:
                (run_dir / checkpoint.FILE).unlink(missing_ok=True)
        rows = watched(run_dir)
    assert told(rows) == expected(run_dir)
    subjects: Counter[str] = Counter()
    for row in rows:
        subjects[row["subject"]] += row["count"] if row["code"] == "SEQUENCE_GAP" else 0
    assert +subjects == gaps(run_dir)
    kept = np.fromfile(run_dir / FILE, dtype=DTYPES[Template.FILL])
    assert [row.tobytes()[24:] for row in kept] == [data[24:] for _, data in slow_executions(run_dir)]
    assert check(run_dir / "alerts.jsonl", run_id_of(run_dir), checkpoint.heads(run_dir)["alerts.jsonl"])


def run_id_of(run_dir):
    with JournalReader(run_dir) as reader:
        return reader.run_id.hex()


def gaps(run_dir):
    """Gaps by whom they are of, as the alert's cause says: a record of the feed, or one of a session."""
    found: Counter[str] = Counter()
    causes = {}
    with JournalReader(run_dir) as reader:
        settings = manifest.from_bytes(reader.manifest).read_config()
    for frame, record in frames_of(run_dir):
        if record is not None and frame.kind == Kind.INPUT:
            causes = {frame.seq: int(record["template_id"])}
        elif record is not None and record["template_id"] == Template.ALERT:
            value = int(record["value"])
            of_feed = causes[frame.input_seq] < Template.ORDER_NEW
            names = [row.mic for row in settings.venue] if of_feed else [row.name for row in settings.session]
            name = names[value] if value < len(names) else str(value)
            found[f"feed {name}" if of_feed else f"session {name}"] += 1
    return found


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


def test_the_command_shows_alerts_counts_and_an_altered_line(run_dir, capsys):
    rows = watched(run_dir)
    assert cli.main(["alerts", str(run_dir), "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["seq"] for row in said["alerts"]] == [row["seq"] for row in rows]
    assert said["events"] == sum(row["events"] for row in said["codes"])
    assert cli.main(["alerts", str(run_dir), "--severity", "critical", "--last", "3"]) == 0
    assert "MAX_QTY: " not in capsys.readouterr().out
    assert cli.main(["alerts", str(run_dir), "--severity", "loud"]) == 2
    assert "must be one of info, warning, critical" in capsys.readouterr().err
    path = run_dir / "alerts.jsonl"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert cli.main(["alerts", str(run_dir)]) == 1
    assert f"alerts.jsonl, line {data[: len(data) // 2].count(10) + 1} (byte " in capsys.readouterr().err
    path.unlink()
    assert cli.main(["alerts", str(run_dir)]) == 1
    assert "there is none; the run had no watch" in capsys.readouterr().err


def test_following_shows_each_alert_as_it_was_written(run_dir, capfd):
    watching = Watch(run_dir, sample=False)

    def watch_later():
        time.sleep(0.3)
        once(watching)
        watching.close()

    thread = threading.Thread(target=watch_later)
    (run_dir / "alerts.jsonl").touch()
    thread.start()
    assert cli.main(["alerts", str(run_dir), "--follow", "--seconds", "2", "--json", "-"]) == 0
    thread.join()
    assert capfd.readouterr().out == (run_dir / "alerts.jsonl").read_text()


def test_alerts_of_a_full_disk_wait_and_are_written_when_there_is_room(run_dir, monkeypatch):
    wanted = told(watched(shutil.copytree(run_dir, run_dir.parent / "whole")))
    watching = Watch(run_dir, sample=False)
    with monkeypatch.context() as full:
        full.setattr(ChainedLog, "append", refuse)
        while (chunk := watching._tail.read()) is not None:
            watching._take(chunk)
        assert watching.stream.unwritten > 3
    watching.turn()
    assert watching.stream.unwritten == 0
    watching.close()
    assert told(read_alerts(run_dir).rows) == wanted


def refuse(*_):
    raise OSError(28, "No space left on device")


def test_conditions_are_told_when_they_begin_and_end(tmp_path):
    """A stats file whose tables fill and empty: nearly full once, over once, and not in between."""
    settings = config(str(tmp_path))
    writer = StatsWriter(tmp_path / "stats", {name: name for name in PUBLISHED}, {"progress": PROGRESS}, STAGES)
    conditions = Conditions()
    gauges = Gauges(settings, tmp_path, conditions)
    found = []
    for live in (0, 100, 409, 410, 512, 380, 359, 358, 100, 411, 0):  # 512 parents: 80 % are 410, 70 % are 359
        writer.counters["value"][writer.counter_index["live_parents"]] = live
        writer.counters["value"][writer.counter_index["stalls"]] += 2
        writer.counters["value"][writer.counter_index["heartbeat_ns"]] = time.monotonic_ns()
        writer.beat(time.monotonic_ns())
        stalls = list(gauges.look())
        assert [(event.code, event.times) for event in stalls] == [("LOOP_STALL", 2)]
        found += [(event.code, event.subject, event.state, event.value) for event in gauges.levels()]
    told_of = [(state, value) for code, subject, state, value in found if subject == "table of parents"]
    assert [state for state, _ in told_of] == ["raised", "cleared", "raised", "cleared"]
    assert told_of[0][1] == 410
    writer.counters["value"][writer.counter_index["heartbeat_ns"]] = time.monotonic_ns() - 3_000_000_000
    list(gauges.look())
    [silent] = list(gauges.levels())
    assert (silent.code, silent.state) == ("LOOP_SILENT", "raised")
    assert (silent.value or 0) > 3_000_000_000
    ring = Ring.create(tmp_path / "control.ring", 16, CONSUMER)
    record = blank(Template.CONTROL)
    for _ in range(13):
        assert ring_push(ring.address, record.ctypes.data, record.dtype.itemsize) == 1
    assert [(event.subject, event.value, event.limit) for event in gauges.levels()] == [("ring control", 13, 16)]
    ring.close()
    gauges.close()
    writer.close()


def test_an_engine_that_is_gone_is_told(run_dir):
    """Its journal was not closed, and the parent that the watch was given is not its parent."""
    last = sorted((run_dir / "journal").glob("*.seg"))
    used = max(path for path in last if path.read_bytes()[56:64] != bytes(8))
    data = bytearray(used.read_bytes())
    data[56:64] = bytes(8)
    used.write_bytes(data)
    command = [sys.executable, "-m", "replay.watch.main", str(run_dir), "--parent", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rows = read_alerts(run_dir).rows
    assert [row["severity"] for row in rows if row["code"] == "ENGINE_GONE"] == ["critical"]
    assert told(rows)["block", "MAX_QTY"] == expected(run_dir)["block", "MAX_QTY"]
    assert json.loads((run_dir / checkpoint.FILE).read_bytes())["closed"] is False


def test_an_endpoint_that_cannot_be_bound_costs_the_socket_and_is_told(run_dir):
    sections = {"alerts": {"endpoint": "ipc:///nowhere/at/all"}, "drop_copy": {"endpoint": "tcp://192.0.2.1:1"}}
    watching = Watch(run_dir, sections, sample=False)
    once(watching)
    watching.close()
    rows = read_alerts(run_dir).rows
    assert told(rows) == expected(run_dir)
    texts = [row["text"] for row in rows if row["code"] == "NOT_PUBLISHED"]
    assert [text.split(" = ")[0] for text in texts] == ["alerts.endpoint", "drop_copy.endpoint"]


def test_a_pad_that_ends_a_segment_has_no_record():
    rows = np.zeros(1, dtype=FRAME)
    rows["offset"], rows["kind"] = 4096 - 32, Kind.PAD
    assert templates(Chunk(0, np.zeros(4096, np.uint8), rows)).tolist() == [-1]
