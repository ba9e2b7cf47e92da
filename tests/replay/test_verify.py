"""verify: identical runs, every way of being different, torn tails, and the command's exit codes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from cli.main import main
from engine.io.journal import NOT_READY, append
from engine.io.journal_chain import let_go, read_chain
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.io.journal_writer import JournalWriter
from engine.record.records import DTYPES, Template
from engine.run import snapshot
from engine.run.follow import Policy, retain
from replay.verify import verify
from tests.replay.desk import record_day
from tests.run.test_recover import shoot

# The first test of a worker compiles the core where the cache is empty.
pytestmark = pytest.mark.timeout(600)


def frames_of(run_dir):
    """Frames of a run as mutable lists [kind, flags, batch_index, input_seq, payload], pads left out."""
    with JournalReader(run_dir) as reader:
        return [
            [frame.kind, int(frame.last), frame.batch_index, frame.input_seq, frame.payload.copy()]
            for frame in reader.frames()
        ]


def write(run_dir, frames, segment_bytes=1 << 20):
    """A journal of these frames, with true CRCs; `input_seq` is a place in `frames`, and pads move the numbers."""
    assert not any(frame[0] == Kind.PAD for frame in frames)
    with JournalWriter(run_dir, segment_bytes, frames[0][4].tobytes()) as writer:
        seqs = [0]
        for kind, flags, index, cause, payload in frames[1:]:
            cause = seqs[cause] if 0 <= cause < len(seqs) else cause
            address = int(payload.ctypes.data)
            while (seq := append(writer.table, int(kind), flags, index, cause, address, len(payload))) < 0:
                assert seq == NOT_READY
            seqs.append(seq)
    return run_dir


def outputs_at(frames, template):
    return [n for n, frame in enumerate(frames) if frame[0] == Kind.OUTPUT and frame[4].view("<u2")[1] == template]


def test_a_run_is_identical(run_dir):
    verdict = verify(run_dir)
    assert verdict.result == "identical"
    assert verdict.difference is None
    assert verdict.ending == "closed"
    assert verdict.same_build
    assert verdict.inputs > 750
    assert verdict.outputs > 100
    counts = verdict.counters
    assert counts["qty_ordered"] == counts["qty_filled"] + counts["qty_canceled"] + counts["qty_rejected"] > 0
    assert verify(run_dir).state_hash == verdict.state_hash


@pytest.mark.kernel
def test_a_run_is_identical_in_this_mode_too(tmp_path):
    record_day(tmp_path / "day", quotes=40, trades=10, orders=4)
    assert verify(tmp_path / "day").result == "identical"


def test_rewriting_alone_changes_nothing(run_dir, tmp_path):
    assert verify(write(tmp_path / "again", frames_of(run_dir))).result == "identical"


def test_a_changed_output_is_shown_field_by_field(run_dir, tmp_path):
    frames = frames_of(run_dir)
    at = outputs_at(frames, Template.ORDER_NEW)[3]
    frames[at][4].view(DTYPES[Template.ORDER_NEW])["px"] += 100
    verdict = verify(write(tmp_path / "changed", frames))
    found = verdict.difference
    assert verdict.result == "different"
    assert found is not None
    assert found.seq == at
    assert found.journal_record == found.core_record == "ORDER_NEW"
    assert [field.name for field in found.fields if field.differs] == ["px"]
    px = next(field for field in found.fields if field.name == "px")
    assert int(px.journal or 0) == int(px.core or 0) + 100


def test_a_changed_input_is_found_where_it_first_matters(run_dir, tmp_path):
    frames = frames_of(run_dir)
    at = next(n for n, f in enumerate(frames) if f[0] == Kind.INPUT and f[4].view("<u2")[1] == Template.ORDER_NEW)
    frames[at][4].view(DTYPES[Template.ORDER_NEW])["qty"] += 1
    found = verify(write(tmp_path / "input", frames)).difference
    assert found is not None
    assert found.input_seq == at
    assert found.input_record == "ORDER_NEW"


def test_a_record_that_the_core_does_not_make(run_dir, tmp_path):
    frames = frames_of(run_dir)
    at = next(n for n, f in enumerate(frames) if f[0] == Kind.OUTPUT and f[1])
    extra = [Kind.OUTPUT, 1, frames[at][2] + 1, frames[at][3], frames[at][4].copy()]
    found = verify(write(tmp_path / "more", [*frames[: at + 1], extra])).difference
    assert found is not None
    assert found.core_record is None
    assert "does not make" in found.why


def test_a_missing_output_of_a_closed_journal(run_dir, tmp_path):
    frames = frames_of(run_dir)
    at = next(n for n, f in enumerate(frames) if f[0] == Kind.OUTPUT and f[1])
    found = verify(write(tmp_path / "less", frames[:at])).difference
    assert found is not None
    assert found.journal_record is None
    assert found.seq == at


def test_a_wrong_last_mark(run_dir, tmp_path):
    frames = frames_of(run_dir)
    at = next(n for n, f in enumerate(frames) if f[0] == Kind.OUTPUT and not f[1])
    frames[at][1] = 1
    found = verify(write(tmp_path / "mark", frames)).difference
    assert found is not None
    assert [field.name for field in found.fields if field.differs] == ["frame last of batch"]


def test_an_incomplete_batch_is_a_torn_tail(run_dir, tmp_path):
    frames = frames_of(run_dir)
    first = next(n for n, f in enumerate(frames) if f[0] == Kind.OUTPUT and not f[1])
    path = write(tmp_path / "torn", frames[: first + 1])
    segment = path / "journal" / "000000.seg"
    with segment.open("r+b") as file:  # as a kill leaves it: the end was never published
        file.seek(56)
        file.write(bytes(8))
    chain = path / "journal" / "chain"
    chain.write_text(chain.read_text().splitlines(keepends=True)[0])  # nor was the segment hashed
    verdict = verify(path)
    assert verdict.result == "identical"
    assert verdict.ending == "open"
    assert verdict.torn_outputs > 0


def test_a_batch_that_a_recovery_gave_up(run_dir, tmp_path):
    frames = frames_of(run_dir)
    first = next(n for n, f in enumerate(frames) if f[0] == Kind.OUTPUT and not f[1])
    recovered = [Kind.RECOVERED, 1, 0, -1, np.zeros(64, dtype=np.uint8)]
    verdict = verify(write(tmp_path / "recovered", [*frames[: first + 1], recovered]))
    assert verdict.result == "identical"
    assert verdict.dropped_batches == 1


def test_exit_codes_of_the_command(run_dir, tmp_path, capsys):
    assert main(["verify", str(run_dir), "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["result"] == "identical"
    frames = frames_of(run_dir)
    frames[outputs_at(frames, Template.FILL)[0]][4].view(DTYPES[Template.FILL])["last_qty"] += 1
    assert main(["verify", str(write(tmp_path / "different", frames))]) == 1
    said = capsys.readouterr().out
    assert "different" in said
    assert "last_qty" in said
    assert main(["verify", str(tmp_path / "nothing")]) == 3
    assert "there is no journal" in capsys.readouterr().err


def test_damage_is_unreadable(run_dir, tmp_path, capsys):
    path = tmp_path / "damaged"
    shutil.copytree(run_dir, path)
    segment = path / "journal" / "000000.seg"
    data = bytearray(segment.read_bytes())
    data[20_000] ^= 4
    segment.write_bytes(data)
    assert main(["verify", str(path)]) == 3
    assert "000000.seg at byte" in capsys.readouterr().err


def test_the_chain_of_closed_segments_is_checked(run_dir, tmp_path, capsys):
    """A journal that somebody wrote again, with true CRCs, is found by its SHA-256 alone."""
    frames = frames_of(run_dir)
    path = write(tmp_path / "chained", frames, 1 << 16)
    verdict = verify(path)
    assert (verdict.result, verdict.chain_broken) == ("identical", None)
    assert verdict.chained_segments == len(list((path / "journal").glob("*.seg"))) > 2
    assert verdict.chain_head == read_chain(path)[-1].chain
    forged = write(tmp_path / "forged", frames, 1 << 16)
    shutil.copy(path / "journal" / "chain", forged / "journal" / "chain")
    with JournalReader(path) as one, JournalReader(forged) as two:
        assert (one.manifest, one.run_id != two.run_id) == (two.manifest, True)
    assert main(["verify", str(forged), "--json", str(tmp_path / "told.json")]) == 3
    assert "line 1: the manifest is not the one that the chain begins with" in capsys.readouterr().err
    assert json.loads((tmp_path / "told.json").read_bytes())["result"] == "damaged"
    chain = path / "journal" / "chain"
    digest = read_chain(path)[2].digest
    chain.write_text(chain.read_text().replace(digest, digest[::-1]))
    verdict = verify(path)
    assert verdict.result == "damaged"
    assert verdict.difference is None
    assert "chain line 3: does not follow on the line before it" in str(verdict.chain_broken)
    whole = chain.read_text().replace(digest[::-1], digest)
    lines = whole.splitlines(keepends=True)
    for number, text in ((3, whole.replace(digest, "x" + digest[1:])), (len(lines), "".join(lines[:-1]))):
        chain.write_text(text)
        verdict = verify(path)
        assert verdict.result == "damaged"
        assert f"chain line {number}: is " in str(verdict.chain_broken)


def test_a_journal_whose_beginning_was_let_go_is_compared_from_its_oldest_snapshot(run_dir, tmp_path, capsys):
    path = write(tmp_path / "long", frames_of(run_dir), 1 << 16)
    last = verify(path)
    with JournalReader(path) as reader:
        seqs = [frame.seq for frame in reader.frames() if frame.segment == 2]
    shoot(path, seqs[0], seqs[-1] + 10)
    headers = snapshot.keep_newest(path, 2)
    assert retain(path, headers, Policy(mib=1)) == []
    assert retain(path, headers[:1], Policy(hours=1, mib=0)) == []
    let_go(path, 2)
    assert retain(path, headers, Policy()) == [0, 1]
    verdict = verify(path)
    assert (verdict.result, verdict.state_hash, verdict.last_seq) == ("identical", last.state_hash, last.last_seq)
    assert verdict.after_seq == headers[-1].seq >= seqs[0]
    assert main(["verify", str(path)]) == 0
    assert f"compared from the snapshot of frame {verdict.after_seq} on" in capsys.readouterr().out


def test_another_build_is_said_and_is_no_difference(run_dir, tmp_path, capsys):
    frames = frames_of(run_dir)
    told = json.loads(frames[0][4].tobytes())
    told["source_hash"] = told["build_hash"] = "0" * 16
    frames[0][4] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
    assert main(["verify", str(write(tmp_path / "other", frames))]) == 0
    assert "another build" in capsys.readouterr().out
