"""Recovery of a run directory: every kind of end, with and without snapshots, gives an uninterrupted run's state."""

from __future__ import annotations

import hashlib
import shutil
import time

import msgspec
import numpy as np
import pytest

from engine.core.state import state_hash
from engine.io.journal_format import JournalError, Kind, segment_path
from engine.io.journal_reader import Ending, JournalReader
from engine.jit import JIT
from engine.run import manifest, snapshot
from engine.run.bind import bind
from engine.run.recover import FREE, OtherConfigError, RecoveryError, check_config, recover
from engine.run.reference import build_state
from engine.run.rerun import Rerun
from tests.replay.desk import config, record_day

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A closed run with two snapshots in its middle; tests work on copies."""
    path = tmp_path_factory.mktemp("recover") / "day"
    size = {"quotes": 600, "trades": 150, "orders": 30} if JIT else {"quotes": 60, "trades": 10, "orders": 8}
    record_day(path, **size)
    frames = sum(len(chunk.rows) for chunk in JournalReader(path).chunks())
    shoot(path, frames // 3, 2 * frames // 3)
    return path


def shoot(run_dir, *seqs):
    """Write snapshots behind the first whole batch from each of these frames on."""
    start = snapshot.begin(run_dir, use=False)
    with start.reader as reader:
        for seq in seqs:
            while reader.end is None and (reader.mark.seq < seq or start.rerun.outstanding):
                chunk = reader.read(1)
                if chunk is not None:
                    assert start.rerun.feed(chunk) is None
                    start.watch.look(chunk)
            snapshot.write(run_dir, start.rerun, start.watch, reader, None)


def copy(day, tmp_path, name="copy"):
    return shutil.copytree(day, tmp_path / name)


def settings(run_dir):
    return config(str(run_dir))


def uninterrupted(run_dir, last_seq):
    """Hash of the state after an uninterrupted run up to a frame."""
    with JournalReader(run_dir, cut=True) as reader:
        run = Rerun(manifest.from_bytes(reader.manifest))
        for chunk in reader.chunks(limit=64):
            rows = chunk.rows[chunk.rows["seq"] <= last_seq]
            assert run.feed(chunk._replace(rows=rows)) is None
    return run.hash()


def cut_at(run_dir, offset):
    """The first segment as a kill leaves it that fell after `offset` bytes: not closed, zeros behind."""
    path = segment_path(run_dir, 0)
    data = path.read_bytes()
    path.write_bytes(data[:56] + bytes(8) + data[64:offset] + bytes(len(data) - offset))


def frames_of(run_dir):
    with JournalReader(run_dir) as reader:
        return np.concatenate([chunk.rows for chunk in reader.chunks()])


def test_a_closed_run_comes_back_as_it_was_from_snapshots_and_without(day, tmp_path):
    run_dir = copy(day, tmp_path)
    last = int(frames_of(run_dir)["seq"][-1])
    wanted = uninterrupted(day, last)
    recovery = recover(settings(run_dir))
    assert recovery.end.ending is Ending.CLOSED
    assert recovery.start.header is not None
    assert f"{recovery.start.header.seq:016d}.snap" == snapshot.snapshots(run_dir)[0].name
    assert state_hash(recovery.state) == wanted
    assert recovery.torn_outputs == 0
    whole = recover(settings(run_dir), use_snapshots=False)
    assert whole.start.header is None
    assert state_hash(whole.state) == wanted
    assert whole.start.rerun.inputs > recovery.start.rerun.inputs > 0
    assert recovery.start.header.inputs + recovery.start.rerun.inputs == whole.start.rerun.inputs
    assert whole.clock_ns == recovery.clock_ns >= int(whole.state.core[0].now_ns) > 0
    assert recovery.start.watch.__dict__ == whole.start.watch.__dict__


def test_the_time_to_the_state_has_all_in_it_but_the_kernels(day, tmp_path, monkeypatch):
    run_dir = copy(day, tmp_path)
    recover(settings(run_dir))  # whatever is loaded late is loaded now
    usual = recover(settings(run_dir)).state_ms

    def slow(seconds, function):
        def slower(*args, **kwargs):
            time.sleep(seconds)
            return function(*args, **kwargs)

        return slower

    monkeypatch.setattr("engine.run.manifest.build_state", slow(0.3, build_state))
    monkeypatch.setattr("engine.run.rerun.bind", slow(2.0 + usual / 1e3, bind))
    recovery = recover(settings(run_dir))
    assert 300 <= recovery.start.load_ms <= recovery.state_ms < 2_000 + usual
    assert recovery.replay_ms < recovery.state_ms


def test_a_tail_cut_at_each_byte_of_the_last_frames_gives_the_exact_prefix(day, tmp_path):
    run_dir = copy(day, tmp_path)
    original = segment_path(day, 0).read_bytes()
    rows = frames_of(day)
    outputs = np.flatnonzero((rows["kind"] == Kind.OUTPUT) & (rows["batch_index"] == 1))
    last = rows[outputs[-1] : outputs[-1] + 3]
    stop = int(last["offset"][-1]) + 32 + int(last["length"][-1])
    hashes = {}
    ends = [*last["offset"].tolist(), stop]
    for offset in sorted({*range(ends[0], stop, 1 if JIT else 37), *ends}):
        segment_path(run_dir, 0).write_bytes(original)
        cut_at(run_dir, offset)
        recovery = recover(settings(run_dir))
        seq = recovery.end.last_seq
        assert recovery.end.ending in (Ending.OPEN, Ending.TORN)
        assert int(last["seq"][0]) - 1 <= seq <= int(last["seq"][-1])
        if seq not in hashes:
            hashes[seq] = uninterrupted(day, seq)
        assert state_hash(recovery.state) == hashes[seq]
    assert len(hashes) == 4


def test_an_incomplete_batch_is_told_and_its_input_is_taken(day, tmp_path):
    run_dir = copy(day, tmp_path)
    rows = frames_of(day)
    at = np.flatnonzero((rows["kind"] == Kind.OUTPUT) & (rows["batch_index"] == 1))[-1]
    cut_at(run_dir, int(rows["offset"][at]))
    recovery = recover(settings(run_dir))
    assert recovery.torn_outputs >= 1
    assert recovery.start.rerun.input_seq == rows["input_seq"][at]


def test_damage_in_the_middle_is_refused_with_the_place_and_the_command(day, tmp_path):
    run_dir = copy(day, tmp_path)
    rows = frames_of(day)
    offset = int(rows["offset"][-40])
    path = segment_path(run_dir, 0)
    data = bytearray(path.read_bytes())
    data[offset + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalError, match=rf"000000\.seg at byte {offset}: .*tickroute repair RUN_DIR --dry-run"):
        recover(settings(run_dir))
    assert path.read_bytes() == data, "nothing is repaired silently"


def test_bad_foreign_and_stale_snapshots_are_skipped_and_said(day, tmp_path):
    run_dir = copy(day, tmp_path)
    wanted = state_hash(recover(settings(run_dir)).state)
    newest, older = snapshot.snapshots(run_dir)
    good = newest.read_bytes()
    header, first = snapshot.read_header(newest)
    at = first + next(place.offset for place in header.arrays if place.name == "venues") + 100
    stale = msgspec.structs.replace(header, mark=(*header.mark[:3], header.mark[3] ^ 1, header.mark[4]))
    for data, why in (
        (good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], "its state is damaged"),
        (good[:100] + bytes([good[100] ^ 1]) + good[101:], "its header is damaged"),
        (good[: len(good) // 2], "is cut short"),
        (b"", "cannot be read"),
        (bytes(5000), "is no snapshot of format 1"),
        (rewritten(good, msgspec.structs.replace(header, run_id="00" * 16)), "is of another run"),
        (rewritten(good, msgspec.structs.replace(header, build_hash="0")), "was made by another build"),
        (rewritten(good, msgspec.structs.replace(header, layout="0")), "is of another layout"),
        (rewritten(good, msgspec.structs.replace(header, schema_version=1)), "is of schema version 1"),
        (rewritten(good, stale), f"frame {header.seq} is not the one that was noted"),
    ):
        newest.write_bytes(data)
        recovery = recover(settings(run_dir))
        assert [why in text for text in recovery.start.skipped] == [True], recovery.start.skipped
        assert recovery.start.header is not None
        assert recovery.start.header.seq == int(older.stem)
        assert state_hash(recovery.state) == wanted
    older.write_bytes(b"")
    recovery = recover(settings(run_dir))
    assert recovery.start.header is None
    assert len(recovery.start.skipped) == 2
    assert state_hash(recovery.state) == wanted


def rewritten(data, header):
    """The bytes of a snapshot with another header."""
    (
        _,
        size,
    ) = snapshot._PREFIX.unpack(data[: snapshot._PREFIX.size])[1:3]
    first = -(-(snapshot._PREFIX.size + size) // 4096) * 4096
    text = msgspec.json.encode(header)
    digest = hashlib.sha256(text).digest()
    head = snapshot._PREFIX.pack(snapshot.MAGIC, snapshot.FORMAT, len(text), digest) + text
    return head + bytes(-len(head) % 4096) + data[first:]


def test_a_snapshot_of_frames_that_the_journal_lost_is_not_used(day, tmp_path):
    """A power cut can take frames that were not yet on the disk when the snapshot was."""
    run_dir = copy(day, tmp_path)
    newest, older = snapshot.snapshots(run_dir)
    rows = frames_of(day)
    at = int(np.searchsorted(rows["seq"], int(newest.stem) - 3))
    cut_at(run_dir, int(rows["offset"][at]))
    recovery = recover(settings(run_dir))
    assert recovery.start.header is not None
    assert recovery.start.header.seq == int(older.stem)
    assert state_hash(recovery.state) == uninterrupted(day, int(rows["seq"][at]) - 1)
    assert snapshot.set_aside(run_dir, recovery.end.last_seq) == [newest.with_suffix(".ahead")]


def test_another_configuration_is_refused_by_name_and_what_decides_nothing_may_differ(day, tmp_path):
    run_dir = copy(day, tmp_path)
    mine = settings(run_dir)
    free = msgspec.structs.replace(mine, engine=msgspec.structs.replace(mine.engine, idle="park", threshold_us=7))
    assert recover(free).changed == {
        "engine.idle": "park", "engine.threshold_us": 7, "engine.run_dir": str(run_dir),
    }  # fmt: skip
    routing = msgspec.structs.replace(mine.routing, stale_ms=1)
    venue = [msgspec.structs.replace(mine.venue[0], take_fee="0.5"), *mine.venue[1:]]
    with pytest.raises(OtherConfigError) as caught:
        recover(msgspec.structs.replace(mine, routing=routing, venue=venue))
    assert "  routing.stale_ms = 1: the run has 60000" in str(caught.value)
    assert f"  venue.0-{mine.venue[0].mic}.take_fee = '0.5': the run has" in str(caught.value)
    swapped = msgspec.structs.replace(mine, venue=[mine.venue[1], mine.venue[0], *mine.venue[2:]])
    with pytest.raises(OtherConfigError, match=r"venue\.0-"):
        recover(swapped)
    assert all("*" in key or "." in key for key in FREE)
    with JournalReader(run_dir) as reader:
        assert "engine.run_dir" in check_config(manifest.from_bytes(reader.manifest), mine)


def test_outputs_that_this_build_does_not_make_are_refused(day, tmp_path):
    run_dir = tmp_path / "changed"
    from tests.replay.test_verify import frames_of as lists
    from tests.replay.test_verify import write

    frames = lists(day)
    at = next(n for n, frame in enumerate(frames) if frame[0] == Kind.OUTPUT)
    frames[at][4][20] ^= 1
    write(run_dir, frames)
    with pytest.raises(RecoveryError, match=rf"does not make what the journal has at frame {at} .*tickroute verify"):
        recover(settings(run_dir))
