"""The follower: snapshots of a journal that is being written, and what is let go after them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.core.state import state_hash
from engine.io.journal_chain import check, first_kept, read_chain
from engine.io.journal_format import segment_numbers, segment_path
from engine.io.journal_reader import JournalReader
from engine.io.journal_writer import JournalWriter
from engine.jit import JIT, ROOT
from engine.run import manifest, snapshot
from engine.run.follow import Follower, FollowError, Policy, main, retain
from engine.run.recover import recover
from engine.run.snapshot import SnapshotError
from tests.io.test_journal import put
from tests.replay.desk import config, record_day

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("follow") / "day"
    record_day(
        path, **({"quotes": 600, "trades": 150, "orders": 30} if JIT else {"quotes": 60, "trades": 10, "orders": 8})
    )
    return path


def copy(day, tmp_path):
    return shutil.copytree(day, tmp_path / "copy")


def test_snapshots_of_a_follower_are_what_a_recovery_begins_with(day, tmp_path):
    run_dir = copy(day, tmp_path)
    wanted = state_hash(recover(config(str(run_dir))).state)
    with Follower(run_dir) as follower:
        for _ in range(3):
            follower.turn(100 if JIT else 40)
            while follower.start.rerun.outstanding:
                follower.turn(1)
            assert follower.shoot() is not None
            assert follower.shoot() is None, "there is nothing new"
        while follower.turn():
            pass
        assert follower.closed
    assert len(snapshot.snapshots(run_dir)) == 2
    found = recover(config(str(run_dir)))
    assert found.start.header is not None
    assert found.start.header.seq == follower.written_seq
    assert state_hash(found.state) == wanted
    with Follower(run_dir) as again:
        assert again.start.header == found.start.header, "a follower goes on from the newest"


def test_only_one_follows_a_run(day, tmp_path):
    run_dir = copy(day, tmp_path)
    with Follower(run_dir), pytest.raises(FollowError, match="another process writes this run's snapshots"):
        Follower(run_dir)
    Follower(run_dir).close()


def test_a_damaged_snapshot_does_not_count_and_stays_until_two_newer_ones_are_good(day, tmp_path):
    run_dir = copy(day, tmp_path)
    with Follower(run_dir) as follower:
        for n in range(4):
            follower.turn(60 if JIT else 20)
            while follower.start.rerun.outstanding:
                follower.turn(1)
            path = follower.shoot()
            assert path is not None
            if n == 1:
                data = bytearray(path.read_bytes())
                data[-5000] ^= 1
                path.write_bytes(data)
                with pytest.raises(SnapshotError, match="its state is damaged"):
                    snapshot.check(path)
            if n == 2:
                assert len(snapshot.snapshots(run_dir)) == 3
        assert len(snapshot.snapshots(run_dir)) == 2


def test_frames_of_the_oldest_snapshot_are_synced_before_anything_older_goes(day, tmp_path, monkeypatch):
    run_dir = copy(day, tmp_path)
    happened: list[str] = []
    sync, unlink = os.fsync, Path.unlink

    def synced(fd: int) -> None:
        happened.append(os.readlink(f"/proc/self/fd/{fd}"))
        sync(fd)

    def removed_file(path: Path, missing_ok: bool = False) -> None:
        happened.append(f"- {path}")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "unlink", removed_file)
    with Follower(run_dir) as follower:
        for _ in range(3):
            follower.turn(60 if JIT else 20)
            while follower.start.rerun.outstanding:
                follower.turn(1)
            assert follower.shoot() is not None
    [removed] = [n for n, what in enumerate(happened) if what.startswith("- ") and what.endswith(".snap")]
    assert str(segment_path(run_dir, 0)) in happened[:removed]


class At:
    """As much of a snapshot's header as retention looks at."""

    def __init__(self, segment):
        self.mark = (segment, 0, 0, 0, 0)


def kept_of(folder, segments, policy, count=600, **ages_h):
    """Segments that are left of a journal of many, with good snapshots in `segments`."""
    with JournalWriter(folder, 4096, b"{}") as writer:
        for number in range(count):
            put(writer, bytes([number % 256]) * 64)
        run_id, current = writer.run_id, int(writer.table[0]["segment"])
        while read_chain(folder)[-1].segment < current - 1:
            time.sleep(0.01)
        for name, age in ages_h.items():
            then = time.time() - age * 3600
            os.utime(segment_path(folder, int(name[1:])), (then, then))
        gone = retain(folder, [At(segment) for segment in segments], policy)  # type: ignore[misc]
        put(writer, bytes(64))
    with JournalReader(folder) as reader:
        assert sum(1 for _ in reader.frames()) > 0
        assert reader.first_segment == first_kept(folder) == len(gone)
    assert check(folder, run_id, b"{}").broken is None
    return segment_numbers(folder)[0], current


def test_what_a_snapshot_needs_is_never_let_go(tmp_path):
    everything = Policy(2, 0, 1)
    old = {f"s{n}": 5.0 for n in range(9)}
    for n, (segments, first) in enumerate([((9, 4), 4), ((7, 1), 1), ((3, 0), 0), ((5,), 0), ((), 0), ((5, 5), 5)]):
        assert kept_of(tmp_path / str(n), segments, everything, **old)[0] == first


def test_the_policy_keeps_by_size_and_by_age_and_everything_by_default(tmp_path):
    old = {f"s{n}": 5.0 for n in range(3)}
    assert kept_of(tmp_path / "all", (8, 7), Policy(), **old)[0] == 0
    assert kept_of(tmp_path / "age", (8, 7), Policy(2, 0, 2), **old)[0] == 3
    assert kept_of(tmp_path / "large", (8, 7), Policy(2, 1, 0), **old)[0] == 0
    first, current = kept_of(tmp_path / "size", (10**6, 10**6), Policy(2, 1, 0), count=12_000)
    prepared = current + 3
    assert first == prepared - 256, "a MiB of segments is left"


def test_a_crash_while_segments_go_leaves_a_journal_that_is_read(tmp_path):
    """Said first, then removed, the oldest first: what is left is removed at the next look."""
    kept_of(tmp_path, (9, 4), Policy(2, 0, 1), **{f"s{n}": 5.0 for n in range(9)})
    assert segment_numbers(tmp_path)[0] == 4
    shutil.copy(segment_path(tmp_path, 5), tmp_path / "five")
    from engine.io.journal_chain import let_go

    let_go(tmp_path, 6)
    segment_path(tmp_path, 4).unlink()
    with JournalReader(tmp_path) as reader:
        assert reader.first_segment == 5
    assert retain(tmp_path, [], Policy()) == [5]


def test_outputs_that_the_core_does_not_make_end_it(day, tmp_path, capsys):
    from tests.replay.test_verify import frames_of, write

    frames = frames_of(day)
    at = next(n for n, frame in enumerate(frames) if frame[0] == 3)
    frames[at][4][20] ^= 1
    run_dir = write(tmp_path / "changed", frames)
    assert main([str(run_dir), "--once"]) == 1
    assert f"does not make what the journal has at frame {at}" in capsys.readouterr().err
    assert snapshot.snapshots(run_dir) == []


@pytest.mark.skipif(not JIT, reason="a process")
def test_as_a_process_it_ends_with_a_last_snapshot_when_the_journal_is_closed(day, tmp_path):
    run_dir = copy(day, tmp_path)
    command = [sys.executable, "-m", "engine.run.follow", str(run_dir), "--every", "0.1"]
    done = subprocess.run(command, cwd=ROOT, timeout=240, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    path = snapshot.snapshots(run_dir)[0]
    assert done.stdout.splitlines()[-1] == f"snapshot {path.name}"
    with JournalReader(run_dir) as reader:
        last = [int(chunk.rows["seq"][-1]) for chunk in reader.chunks()][-1]
        assert manifest.from_bytes(reader.manifest)
    assert int(path.stem) == last
    assert recover(config(str(run_dir))).start.rerun.inputs == 0
