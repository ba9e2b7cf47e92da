"""Seals of a report: malformed ones, the key that must have signed them, and files of execution quality as inputs;
the heads of the logs, alerts' bars and the order of runs."""

from __future__ import annotations

import hashlib
import re

import msgspec
import pytest

from cli.main import main
from engine.io.journal_reader import JournalReader
from engine.io.journal_writer import JournalWriter
from engine.record.records import Template
from replay.compliance import parts_gaps, sealing
from replay.compliance.beside import LogError, beside
from replay.compliance.context import Context
from replay.compliance.document import canonical
from replay.compliance.make import _sealed, make
from replay.compliance.profile import load
from replay.compliance.runs import Pass
from replay.compliance.write import read_report
from replay.quality.measure import measure
from replay.quality.settings import DEFAULTS
from replay.watch import checkpoint
from replay.watch.chained import ChainedLog, check
from tests.io.test_journal import put
from tests.replay.made import START_NS, Made, alert_log, clock_log, sample, small
from tests.replay.test_compliance_proof import _keys

pytestmark = pytest.mark.timeout(600)


def table(report, name):
    """Rows of a table as dicts."""
    found = next(t for part in report.parts for t in part.tables if t.id == name)
    return [dict(zip([c.key for c in found.columns], row, strict=True)) for row in found.rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small(tmp_path_factory.mktemp("seals") / "run", 40)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Public keys by name; "ann" has signed the seal."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ann", "bob"):
        _keys(folder / f"{name}.key", folder / f"{name}.pub")
    return folder


@pytest.fixture(scope="module")
def signed(run, keys):
    path = keys / "run.seal"
    path.write_bytes(sealing.to_bytes(sealing.sign(sealing.seal(run), keys / "ann.key")))
    return path


def forged(run, target, **changes):
    """A seal whose first file says something else, its hash made anew."""
    body = sealing.seal(run).body
    first = msgspec.structs.replace(body.files[0], **{k: v for k, v in changes.items() if k != "block_bytes"})
    body = msgspec.structs.replace(
        body, files=[first, *body.files[1:]], block_bytes=changes.get("block_bytes", body.block_bytes)
    )
    seal = sealing.Seal(body=body, sha256=hashlib.sha256(canonical(body)).hexdigest())
    target.write_bytes(sealing.to_bytes(seal))
    return target


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"blocks": []}, "has 0 blocks"),
        ({"blocks": ["00"] * 9}, "has 9 blocks"),
        ({"name": "/etc/passwd"}, "is no file of a run"),
        ({"name": "../run/journal/000000.seg"}, "is no file of a run"),
        ({"name": "journal/../../secret"}, "is no file of a run"),
        ({"name": ""}, "is no file of a run"),
        ({"name": "journal"}, "is no file of a run"),
        ({"block_bytes": 7}, "block_bytes is 7"),
        ({"block_bytes": 0}, "block_bytes is 0"),
        ({"used": -1}, "cannot be read as a seal"),
    ],
)
def test_a_malformed_seal_is_refused(run, tmp_path, capsys, changes, why):
    path = forged(run, tmp_path / "bad.seal", **changes)
    for command in (
        ["seal", "verify", str(path), str(run)],
        ["report", str(run), "--profile", "uk", "--replays", "0", "--seal", str(path), "--output", str(tmp_path / "r")],
    ):
        assert main(command) == 3
        assert why in capsys.readouterr().err


def test_a_report_can_ask_for_the_key_of_its_seals(run, keys, signed, tmp_path, capsys):
    out = tmp_path / "r.json"
    made = ["report", str(run), "--profile", "uk", "--replays", "0", "--format", "json", "--output", str(out)]
    assert main([*made, "--seal-key", str(keys / "ann.pub")]) == 2  # there is no seal to hold to it
    assert main([*made, "--seal", str(signed), "--seal-key", str(keys / "bob.pub")]) == 1
    assert "is signed by" in capsys.readouterr().err
    assert not out.exists()
    assert main([*made, "--seal", str(signed), "--seal-key", str(keys / "ann.pub")]) == 0
    report = read_report(out)
    ann = sealing.public_key(keys / "ann.pub")
    assert report.options.seal_key == ann
    assert table(report, "1.4")[0]["key"] == ann
    assert any(ann in text and "told to hold" in text for text in report.parts[1].texts)
    again = ["report", "verify", str(out), str(run), "--seal", str(signed)]
    assert main(again) == 0
    assert main([*again, "--seal-key", str(keys / "ann.pub")]) == 0
    assert main([*again, "--seal-key", str(keys / "bob.pub")]) == 1


def test_a_report_says_when_nobody_asked_for_a_key(run, keys, signed, tmp_path):
    unsigned = tmp_path / "unsigned.seal"
    unsigned.write_bytes(sealing.to_bytes(sealing.seal(run)))
    ann = sealing.public_key(keys / "ann.pub")
    for path, word in ((signed, "no key was asked for"), (unsigned, "is not signed")):
        missing = " ".join(make([run], "uk", replays=0, seals=[path]).parts[1].missing)
        assert word in missing
        assert (ann in missing) == (path == signed)
    with pytest.raises(sealing.SealKeyError, match="nobody"):
        make([run], "uk", replays=0, seals=[unsigned], seal_key=ann)


def test_files_of_execution_quality_are_inputs(run_dir, tmp_path, capsys):
    buckets, out = tmp_path / "mine.toml", tmp_path / "r.json"
    text = DEFAULTS.read_text(encoding="utf-8")
    buckets.write_text(re.sub(r"(?m)^horizons_ms = .*$", "horizons_ms = [20, 400]", text))
    made = ["report", str(run_dir), "--profile", "us", "--replays", "0", "--format", "json", "--output", str(out)]
    assert main([*made, "--buckets", str(buckets)]) == 0
    report = read_report(out)
    assert ("buckets", "mine.toml") in {(one.run, one.name) for one in report.inputs}
    wanted = measure([run_dir], buckets=buckets).venue_strategies
    rows = table(report, "10.6")
    assert [row["realised_400ms_bps"] for row in rows] == [r.spreads.later[1].realized_spread_bps for r in wanted]
    assert any(row["realised_20ms_bps"] is not None for row in rows)
    verify = ["report", "verify", str(out), str(run_dir)]
    assert main([*verify, "--buckets", str(buckets)]) == 0
    assert main(verify) == 1
    assert "mine.toml: the report follows from it" in " ".join(capsys.readouterr().out.split())
    buckets.write_text("horizons_ms = 7")
    assert main([*made, "--buckets", str(buckets)]) == 2


# The heads of the logs, and tables and pictures of many runs.


def logged(path, lines=6):
    """A run with a clock log, and its watch's checkpoint."""
    small(path, 8)
    with JournalReader(path) as reader:
        run_id = reader.run_id.hex()
    log = clock_log(path, run_id, [sample(START_NS + n * 10**9, 1_000, 2_000) for n in range(lines)])
    checkpoint.write(path, checkpoint.Checkpoint(run_id=run_id, heads={log.name: check(log, run_id)}))
    return path, run_id, log


def test_a_checkpoint_that_is_no_checkpoint_does_not_turn_off_the_check_of_the_logs_ends(tmp_path):
    path, run_id, log = logged(tmp_path / "run")
    assert beside(path, run_id, 0, 1000, START_NS).headless == []
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-2]))
    with pytest.raises(LogError, match="the log ends before it, and had 6 lines"):
        beside(path, run_id, 0, 1000, START_NS)
    file = path / checkpoint.FILE
    good = file.read_bytes()
    for bad in (
        b"",
        good[: len(good) // 2],
        b'{"heads": []}',
        b"null",
        b"{}",
        b'{"heads": {"clock.jsonl": 7}}',
        b"\xff",
    ):
        file.write_bytes(bad)
        with pytest.raises(LogError, match=re.escape(str(file))):
            beside(path, run_id, 0, 1000, START_NS)
    file.unlink()
    assert beside(path, run_id, 0, 1000, START_NS).headless == ["clock.jsonl"]
    missing = make([path], "uk", replays=0).parts[1].missing
    assert any("no head of clock.jsonl lies beside the run" in text for text in missing)


def test_a_log_of_commands_whose_first_line_lost_its_chain_is_not_taken_for_an_old_one(tmp_path):
    path, run_id, _ = logged(tmp_path / "run")
    log = ChainedLog(path / "control.log", run_id)
    for n in range(3):
        log.append({"outcome": "done", "realtime_ns": n})
    log.close()
    data = (path / "control.log").read_bytes()
    assert len(beside(path, run_id, 0, 1000, START_NS).control) == 3
    (path / "control.log").write_bytes(data.replace(b',"chain":', b',"chaim":', 1))
    with pytest.raises(LogError, match="line 1"):
        beside(path, run_id, 0, 1000, START_NS)
    (path / "control.log").write_bytes(b'{"outcome": "done"}\n')  # an earlier build's
    assert beside(path, run_id, 0, 1000, START_NS).control == []


def test_every_alert_is_in_a_bar(tmp_path):
    path, run_id, _ = logged(tmp_path / "run")
    delays = [-5, 0, 999, 1_000, 10**12 - 1, 10**12, 10**15]
    alert_log(path, run_id, [{"event_ns": START_NS, "sent_ns": START_NS + d, "code": "X"} for d in delays])
    (figure,) = make([path], "uk", replays=0).parts[9].figures
    (line,) = figure.lines
    assert (figure.names[0], figure.names[-1][-7:]) == ("< 0", "or more")
    assert len(line.y) == len(figure.names)
    assert (line.y[0], line.y[1], line.y[2], line.y[-2], line.y[-1]) == (1, 2, 1, 1, 2)
    assert sum(n or 0 for n in line.y) == len(delays)


def test_sessions_of_the_tenth_run_are_behind_those_of_the_second(tmp_path):
    for n in range(10):
        made = Made(tmp_path / f"run{n}")
        made.input(Template.SESSION_DOWN, START_NS + n * 10**9, stream_id=1)
        made.close()
    read = Pass([tmp_path / f"run{n}" for n in range(10)], 0).read()
    context = Context(read, load("uk"), [None] * 10, [None] * 10, [], None, None)
    sessions = next(t for t in parts_gaps.gaps(context).tables if t.id == "7.1")
    assert [row[0] for row in sessions.rows] == [f"R{n}" for n in range(1, 11)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"files": []}, "is not in the seal"),
        ({"last_seq": 10**6}, "frames up to 1,000,000 were sealed"),
        ({"last_seq": 0}, "has CRC"),
        ({"head_crc": "00000000"}, "has CRC"),
        ({"chain_head": "00" * 32}, "no line with the chain's head"),
        ({"manifest_sha256": "00" * 32}, "its manifest is not the one"),
    ],
)
def test_a_seal_that_claims_what_its_files_do_not_bear_out_is_refused(run, tmp_path, changes, why):
    path = tmp_path / "bad.seal"
    body = msgspec.structs.replace(sealing.seal(run).body, **changes)
    path.write_bytes(sealing.to_bytes(sealing.Seal(body=body, sha256=hashlib.sha256(canonical(body)).hexdigest())))
    assert why in str(sealing.compare(sealing.read(path), run))


def test_a_run_is_held_to_every_seal_and_the_widest_is_stated(tmp_path):
    run = small(tmp_path / "run", 20)
    last = sorted((run / "journal").glob("*.seg"))[-1]
    data = last.read_bytes()
    last.write_bytes(data[:56] + bytes(8) + data[64:])  # killed
    old, new, bad = tmp_path / "old.seal", tmp_path / "new.seal", tmp_path / "bad.seal"
    old.write_bytes(sealing.to_bytes(sealing.seal(run)))
    with JournalWriter.resume(run) as writer:
        for _ in range(3):
            put(writer, bytes(64))
    new.write_bytes(sealing.to_bytes(sealing.seal(run)))
    body = sealing.read(old).body
    first = msgspec.structs.replace(body.files[0], blocks=["00" * 32] * len(body.files[0].blocks))
    body = msgspec.structs.replace(body, files=[first, *body.files[1:]])
    bad.write_bytes(sealing.to_bytes(sealing.Seal(body=body, sha256=hashlib.sha256(canonical(body)).hexdigest())))
    read = Pass([run], 0).read()
    for files in ([old, new], [new, old]):
        (sealed,) = _sealed(read, files, "")
        assert sealed is not None
        assert sealed.last_seq == read.runs[0].last_seq
    for files in ([bad, new], [new, bad]):
        with pytest.raises(sealing.SealError, match=r"bad\.seal"):
            _sealed(read, files, "")
