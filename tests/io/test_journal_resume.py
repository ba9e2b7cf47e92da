"""Journals whose writer was killed, torn or damaged: nothing promised is lost, and the next writer goes on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.io.journal_format import JournalError, Kind
from engine.io.journal_reader import Ending, JournalReader
from engine.io.journal_writer import JournalWriter
from engine.io.mapping import allocate
from engine.io.run_lock import RunLockedError
from engine.jit import JIT, ROOT
from tests.io.journal_peer import BATCH
from tests.io.journal_twin import parse
from tests.io.test_journal import files_of, put
from tests.io.test_journal_reader import SIZE, lay, starts_of, twin_of

pytestmark = pytest.mark.kernel


def test_a_closed_journal_goes_on_as_if_it_had_not_been_closed(tmp_path):
    with JournalWriter(tmp_path, SIZE, b"{}") as writer:
        for _ in range(50):
            put(writer, bytes(64))
        run_id = writer.run_id
    with JournalWriter.resume(tmp_path) as writer:
        assert writer.recovered is not None
        assert writer.recovered.ending is Ending.CLOSED
        assert writer.run_id == run_id
        first = writer.next_seq
        assert put(writer, bytes(64), Kind.RECOVERED) == first
        for _ in range(100):
            put(writer, bytes(64))
    frames = parse(files_of(tmp_path))
    assert frames[first].kind == Kind.RECOVERED
    assert not list((tmp_path / "journal").glob("*.torn"))
    for path in (tmp_path / "journal").glob("*.seg"):
        assert path.with_suffix(".sha256").exists()


def test_torn_bytes_are_kept_aside_and_the_next_frame_takes_their_place(tmp_path):
    twin = twin_of(20)
    (data,) = twin.files(closed=False)
    _, begin = starts_of([data])[-1]
    torn = data[:begin] + bytes(4) + data[begin + 4 :]
    for again in range(2):
        lay_torn = torn if again == 0 else files_of(tmp_path)[0][:begin] + torn[begin:]
        (tmp_path / "journal").mkdir(exist_ok=True)
        (tmp_path / "journal" / "000000.seg").write_bytes(lay_torn)
        with JournalWriter.resume(tmp_path) as writer:
            assert writer.recovered is not None
            assert (writer.recovered.ending, writer.recovered.last_seq) == (Ending.TORN, twin.seq - 2)
            assert put(writer, b"again") == twin.seq - 1
        kept = (tmp_path / "journal" / f"000000-{begin}-{again}.torn").read_bytes()
        assert kept == torn[begin:].rstrip(b"\0")
        assert parse(files_of(tmp_path))[-1].payload == b"again"
        # The second time, as if the process had died before it closed.
        data = files_of(tmp_path)[0]
        (tmp_path / "journal" / "000000.seg").write_bytes(data[:56] + bytes(8) + data[64:])


def test_a_damaged_journal_is_resumed_only_when_told_to_cut(tmp_path):
    twin = twin_of(130)
    files = twin.files(closed=True)
    places = starts_of(files)
    segment, offset = next(place for place in places if place[0] == 1)
    hurt = bytearray(files[1])
    hurt[offset + 36] ^= 8
    lay(tmp_path, [files[0], bytes(hurt), *files[2:]])
    before = files_of(tmp_path)
    with pytest.raises(JournalError):
        JournalWriter.resume(tmp_path)
    assert files_of(tmp_path) == before
    with JournalWriter.resume(tmp_path, cut=True) as writer:
        assert writer.recovered is not None
        assert writer.recovered.ending is Ending.DAMAGED
        assert (writer.recovered.segment, writer.recovered.offset) == (segment, offset)
        put(writer, b"on")
    assert len(parse(files_of(tmp_path))) == places.index((segment, offset)) + 1
    assert sorted(path.name for path in (tmp_path / "journal").glob("*.torn")) == [
        f"000001-{offset}-0.torn",
        "000002-0-0.torn",
        "000003-0-0.torn",
    ]


def test_a_writer_killed_while_it_removed_what_was_prepared_leaves_a_gap_that_is_none(tmp_path):
    twin = twin_of(20)
    (data,) = twin.files(closed=False)
    lay(tmp_path, [data])
    for number in (2, 3):
        (tmp_path / "journal" / f"{number:06d}.seg").write_bytes(bytes(SIZE))
    with JournalWriter.resume(tmp_path) as writer:
        assert writer.recovered is not None
        assert (writer.recovered.ending, writer.recovered.torn_bytes) == (Ending.OPEN, 0)
        for _ in range(200):
            put(writer, bytes(64))
    assert list((tmp_path / "journal").glob("*.torn")) == []


def test_segments_behind_damage_go_aside_and_count_though_one_is_missing(tmp_path):
    twin = twin_of(250)
    files = twin.files(closed=True)
    assert len(files) > 5
    lay(tmp_path, files)
    (tmp_path / "journal" / "000002.seg").unlink()
    with JournalReader(tmp_path, cut=True) as reader:
        for _ in reader.chunks():
            pass
        assert reader.end is not None
        assert (reader.end.ending, reader.end.segment) == (Ending.DAMAGED, 1)
        assert (len(files) - 2) * SIZE - reader.end.torn_bytes < SIZE
    with JournalWriter.resume(tmp_path, cut=True) as writer:
        for _ in range(250):
            put(writer, bytes(64))
    assert len(list((tmp_path / "journal").glob("*.torn"))) == len(files) - 3


def test_a_living_journal_is_not_resumed(tmp_path):
    with JournalWriter(tmp_path, SIZE, b"{}") as writer:
        put(writer, bytes(64))
        with pytest.raises(RunLockedError, match=r"process [0-9]+ works on this run"):
            JournalWriter.resume(tmp_path)
        assert put(writer, bytes(64)) == 2
    with pytest.raises(JournalError, match="there is no journal"):
        JournalWriter.resume(tmp_path / "nowhere")


def killed(run_dir: Path, *arguments: str) -> int:
    """Start a writing process, kill it at a random moment; the last number that it promised."""
    command = [sys.executable, "-m", "tests.io.journal_peer", str(run_dir), *arguments]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(random.random() * 0.05)
    child.kill()
    child.communicate()
    return int(np.fromfile(run_dir / "seen", dtype="<i8")[0])


def kill_and_resume(run_dir: Path, kills: int, segment_bytes: int) -> None:
    run_dir.mkdir(exist_ok=True)
    allocate(run_dir / "seen", 4096)
    resumed: list[str] = []
    for kill in range(kills):
        promised = killed(run_dir, str(segment_bytes), *resumed)
        with JournalReader(run_dir) as reader:
            rows = np.concatenate([chunk.rows for chunk in reader.chunks()])
            end = reader.end
        assert end is not None
        assert end.ending in (Ending.OPEN, Ending.TORN)
        assert end.last_seq >= promised > 0
        assert np.array_equal(rows["seq"], np.arange(len(rows)))
        outputs = rows[rows["kind"] == Kind.OUTPUT]
        inputs = rows["seq"][rows["kind"] == Kind.INPUT]
        sizes = np.bincount(outputs["input_seq"], minlength=len(rows))[inputs]
        # Only the input that a kill fell on has less than its whole batch.
        assert np.count_nonzero(sizes != BATCH) <= kill + 1
        assert np.count_nonzero(rows["kind"] == Kind.RECOVERED) == kill
        resumed = ["resume"]


def test_a_killed_writer_keeps_its_promises_and_its_successor_goes_on(tmp_path):
    kill_and_resume(tmp_path / "run", 5 if JIT else 3, 1 << 20 if JIT else 1 << 14)


@pytest.mark.torture
def test_a_thousand_kills(tmp_path):
    for number in range(int(os.environ.get("TICKROUTE_KILLS", "1000")) // 10):
        kill_and_resume(tmp_path / f"run-{number}", 10, 1 << 16)


def test_a_live_reader_follows_a_writer_in_another_process(tmp_path):
    allocate(tmp_path / "seen", 4096)
    command = [sys.executable, "-m", "tests.io.journal_peer", str(tmp_path), str(1 << 20 if JIT else 1 << 14)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        wanted, seen = (100_000, 0) if JIT else (500, 0)
        with JournalReader(tmp_path, live=True) as reader:
            while seen < wanted:
                chunk = reader.read()
                if chunk is not None:
                    assert chunk.rows["seq"][0] == seen
                    seen += len(chunk.rows)
            assert reader.end is None
    finally:
        child.kill()
        child.communicate()
