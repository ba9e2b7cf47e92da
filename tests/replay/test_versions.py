"""Journals of schema version 1: one that its own build wrote, read by this one; records upgraded field by field.

`version1.tar.xz` is the journal of 60 quotes, 12 trades and 7 parents of the synthetic day, written by the last build
of version 1. Nothing here can make it again; it is never to be written anew.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cli.main import main
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.record import records as r
from engine.record.versions import OLDEST, VersionError, dtype_in, fields_of, upgrade
from engine.run import manifest
from engine.run.manifest import ManifestError
from engine.run.recover import recover
from engine.run.rerun import Rerun
from replay.decode import decode
from replay.report.measure import measure
from replay.verify import verify
from tests.replay.test_verify import frames_of, write

pytestmark = pytest.mark.kernel

T = r.Template
FIXTURE = Path(__file__).with_name("version1.tar.xz")
NEW_IN_2 = {T.SEQUENCE_RESET, T.ROLL, T.FAILURE, T.HALTED}


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The run directory of version 1; tests do not write to it."""
    path = tmp_path_factory.mktemp("version1")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(path, filter="data")
    return path


def payloads(run_dir, kind):
    with JournalReader(run_dir) as reader:
        return [frame.payload.tobytes() for frame in reader.frames() if frame.kind == kind]


def test_its_manifest_and_configuration_are_read(old):
    with JournalReader(old) as reader:
        run = manifest.from_bytes(reader.manifest)
    assert (run.schema_version, run.older, run.strategy) == (1, True, "strategies.sweep")
    config = run.read_config()
    assert len(config.venue) == 12
    assert config.day.roll == config.positions.file == ""


def test_verify_says_what_it_looked_at_and_that_it_did_not_compare(old, capsys):
    verdict = verify(old)
    assert (verdict.result, verdict.schema_version, verdict.ending) == ("intact", 1, "closed")
    assert (verdict.inputs, verdict.outputs, verdict.chained_segments) == (128, 62, 1)
    assert verdict.difference is None
    assert verdict.wrong is None
    assert verdict.chain_broken is None
    assert "has other rules" in (verdict.not_compared or "")
    assert main(["verify", str(old)]) == 3
    said = capsys.readouterr().out
    assert "intact" in said
    assert "not compared" in said
    assert "identical" not in said
    assert main(["verify", str(old), "--json", "-"]) == 3
    assert json.loads(capsys.readouterr().out)["result"] == "intact"


def test_the_report_reads_it(old, capsys):
    measures = measure(old)
    assert (measures.parents.sent, measures.shares.adds_up) == (7, True)
    assert measures.agrees_with_core is None
    told = sum(int(decode(p)[1]["last_qty"]) for p in payloads(old, Kind.INPUT) if decode(p)[0] == "FILL")
    assert int(measures.shares.filled) == told > 0
    assert main(["report", str(old)]) == 0
    assert "verify: intact; the journal is of schema version 1" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["state"], ["state", "--at", "40"], ["explain", "P000001"]])
def test_what_needs_a_replay_says_so(old, command, capsys):
    assert main([command[0], str(old), *command[1:]]) == 3
    said = capsys.readouterr().err
    assert "schema version 1" in said
    assert "the build that wrote it" in said


def test_neither_a_rerun_nor_a_recovery_touches_it(old):
    with JournalReader(old) as reader:
        run = manifest.from_bytes(reader.manifest)
    with pytest.raises(ManifestError, match="schema version 1"):
        Rerun(run)
    config = run.read_config()
    engine = msgspec.structs.replace(config.engine, run_dir=str(old))
    with pytest.raises(ManifestError, match="schema version 1"):
        recover(msgspec.structs.replace(config, engine=engine))


def test_every_record_of_it_is_read_as_the_present_one(old):
    seen = set()
    for payload in [*payloads(old, Kind.INPUT), *payloads(old, Kind.OUTPUT), *payloads(old, Kind.OBSERVATION)]:
        template = T(int.from_bytes(payload[2:4], "little"))
        seen.add(template)
        (row,) = upgrade(np.frombuffer(payload, np.uint8), 1, template)
        name, fields = decode(payload)
        assert name == template.name
        assert fields["version"] == "1"
        assert row["version"] == r.SCHEMA_VERSION
        if template == T.DECISION:
            bit = int(np.frombuffer(payload, dtype_in(1, template))["event"][0])
            assert bit == 1 << int(row["event"]), "a wake's bit became the event's number"
    assert {T.QUOTE, T.ORDER_NEW, T.ACK, T.FILL, T.DECISION, T.STAGES, T.SESSION_UP} <= seen


def test_damage_is_seen_in_an_old_journal_too(old, tmp_path, capsys):
    frames = frames_of(old)
    at = next(n for n, frame in enumerate(frames) if frame[0] == Kind.OUTPUT and not frame[1])
    del frames[at]
    short = write(tmp_path / "short", frames)
    verdict = verify(short)
    assert verdict.result == "damaged"
    assert "is due" in (verdict.wrong or "")
    assert main(["verify", str(short)]) == 3
    frames = frames_of(old)
    frames[at][4].view("<u2")[1] = T.ROLL
    strange = verify(write(tmp_path / "strange", frames))
    assert strange.result == "damaged"
    assert "schema version 1 has no ROLL" in (strange.wrong or "")
    segment = tmp_path / "flipped" / "journal" / "000000.seg"
    segment.parent.mkdir(parents=True)
    data = bytearray((old / "journal" / "000000.seg").read_bytes())
    data[600_000] ^= 1  # behind the last frame: no CRC covers it, the file's SHA-256 does
    segment.write_bytes(data)
    (segment.parent / "000000.sha256").write_bytes((old / "journal" / "000000.sha256").read_bytes())
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "flipped")]) == 3
    assert "000000.seg" in capsys.readouterr().err


# ---- the upgrade itself


@pytest.mark.parametrize("template", sorted(set(T) - NEW_IN_2), ids=lambda t: t.name)
def test_each_kind_is_upgraded_by_name(template):
    dtype = dtype_in(1, template)
    assert dtype.itemsize == r.DTYPES[template].itemsize
    raw = np.arange(1, 3 * dtype.itemsize + 1, dtype=np.uint8)
    old = raw.view(dtype)
    made = upgrade(raw, 1, template)
    assert made.dtype == r.DTYPES[template]
    for name in made.dtype.names or ():
        was = {"skip": "reserved"}.get(name, name) if template == T.RECOVERED else name
        if name == "version":
            assert (made[name] == r.SCHEMA_VERSION).all()
        elif name == "block_length":
            assert (made[name] == dtype.itemsize - 8).all()
        elif (template, name) != (T.DECISION, "event"):
            assert (made[name] == old[was]).all(), name


def test_a_decision_says_by_number_what_led_to_it():
    rows = np.zeros(5, dtype=dtype_in(1, T.DECISION))
    rows["event"] = [1, 2, 4, 0, 9]
    assert upgrade(rows.view(np.uint8), 1, T.DECISION)["event"].tolist() == [0, 1, 2, 0, 9]


@pytest.mark.parametrize("template", sorted(NEW_IN_2), ids=lambda t: t.name)
def test_a_kind_that_came_later_is_none_of_its_version(template):
    with pytest.raises(VersionError, match=f"version 1 has no {template.name}"):
        fields_of(1, template)
    assert dtype_in(2, template) == r.DTYPES[template]


@pytest.mark.parametrize("version", [0, r.SCHEMA_VERSION + 1])
def test_versions_that_never_were(version):
    with pytest.raises(VersionError, match=f"reads {OLDEST} to {r.SCHEMA_VERSION}"):
        dtype_in(version, T.QUOTE)


def test_bytes_that_are_no_record():
    with pytest.raises(VersionError, match="no whole QUOTE"):
        upgrade(np.zeros(64, np.uint8), 1, T.QUOTE)
