"""The stats file: its bytes, one writer, readers that are never torn (two processes), errors, takeover, refusals."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from engine.io import histogram, stats_file
from engine.io.atomics import load_i64, store_i64
from engine.io.stats import OTHERS, beat, note_error, write_begin, write_end
from engine.io.stats_file import StatsError, StatsReader, StatsWriter, boot_id
from engine.jit import JIT, ROOT
from tests.io import stats_peer

pytestmark = pytest.mark.kernel

CYCLE = np.dtype([("longest_ns", "<i8"), ("cycles", "<i8"), ("core", "<i4"), ("state", "<i4")])


def make(path: Path, errors: int = 4) -> StatsWriter:
    counters = {"inputs": "records taken in", "stalls": "appends that waited"}
    return StatsWriter(path, counters, {"cycle": CYCLE, "whole": stats_peer.WHOLE}, ["decode", "send"], errors)


@contextmanager
def child_writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.io.stats_peer", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_what_the_writer_counts_is_what_the_reader_sees(tmp_path):
    writer = make(tmp_path / "stats")
    reader = StatsReader(tmp_path / "stats")
    assert reader.counters() == {"inputs": 0, "stalls": 0}
    writer.counters[writer.counter_index["stalls"]].value += 7
    slot = writer.records["cycle"]
    write_begin(slot.lock)
    slot.fields[0].longest_ns = 1234
    slot.fields[0].state = -1
    write_end(slot.lock)
    histogram.record(writer.histograms[writer.stage_index["send"]], 5_000)
    assert reader.counters() == {"inputs": 0, "stalls": 7}
    row = reader.record("cycle")
    assert row is not None
    assert row[0].item() == (1234, 0, 0, -1)
    assert histogram.summary(reader.histogram("send")).total == 1
    assert histogram.summary(reader.histogram("decode")).total == 0
    assert reader.stages == ["decode", "send"]
    assert reader.counter_help["inputs"] == "records taken in"
    assert (reader.pid, reader.boot_id) == (os.getpid(), boot_id())
    writer.close()
    reader.close()


def test_the_bytes_are_as_documented(tmp_path):
    writer = make(tmp_path / "stats", errors=3)
    writer.counters[1].value = 42
    note_error(writer.errors, 9, 5, 100)
    data = (tmp_path / "stats").read_bytes()
    magic, version, size, pid, realtime_ns, start_ns, boot = struct.unpack_from("<8s5q16s", data)
    beat_ns, meta_at, meta_bytes, counters_at, records_at, errors_at, histograms_at, rows = struct.unpack_from(
        "<8q", data, 64
    )
    assert (magic, version, size, pid, boot) == (b"TICKSTAT", 1, len(data), os.getpid(), boot_id())
    assert abs(realtime_ns - time.time_ns()) < 60 * 10**9
    assert beat_ns == start_ns
    assert rows == 3
    meta = json.loads(data[meta_at : meta_at + meta_bytes])
    assert meta["counters"] == [["inputs", "records taken in"], ["stalls", "appends that waited"]]
    assert [row[0] for row in meta["records"]] == ["cycle", "whole"]
    assert meta["records"][0][1] == records_at
    assert meta["records"][0][2][2] == ["core", "<i4"]
    assert meta["stages"] == ["decode", "send"]
    assert struct.unpack_from("<q", data, counters_at + 64) == (42,)
    assert struct.unpack_from("<6q", data, errors_at) == (2, 9, 1, 100, 100, 5)
    assert len(data) == histograms_at + 2 * histogram.LENGTH * 8
    assert all(at % 128 == 0 for at in (meta_at, counters_at, records_at, errors_at, histograms_at))
    writer.close()


def test_distinct_errors_are_logged_and_a_full_log_counts_the_rest(tmp_path):
    writer = make(tmp_path / "stats", errors=3)
    reader = StatsReader(tmp_path / "stats")
    assert reader.errors() == []
    for now_ns, code in enumerate([5, 7, 5, 11, 13, 7, 11]):
        note_error(writer.errors, code, code * 10, now_ns)
    assert reader.errors() == [(5, 2, 0, 2, 50), (7, 2, 1, 5, 70), (OTHERS, 3, 3, 6, 110)]
    writer.close()
    reader.close()


def test_a_record_that_is_being_written_is_not_given_out(tmp_path):
    writer = make(tmp_path / "stats")
    reader = StatsReader(tmp_path / "stats")
    write_begin(writer.records["cycle"].lock)
    assert reader.record("cycle") is None
    assert reader.record("whole") is not None
    write_end(writer.records["cycle"].lock)
    assert reader.record("cycle") is not None
    writer.close()
    reader.close()


def torn_reads(path: Path, reads: int) -> int:
    with child_writer(path):
        reader = StatsReader(path)
        lock = reader._address + reader._records["whole"][0]
        first = load_i64(lock)
        torn = stats_peer.count_torn(lock, np.zeros(stats_peer.WORDS, dtype=np.int64), reads)
        written = (load_i64(lock) - first) // 2
        assert written > 0, "the writer wrote while we read"
        print(f"{reads} reads beside {written} writes, {torn} torn")
        for row in reader.errors():
            assert row.last_value >= row.times
            assert row.last_ns > row.first_ns or row.times == 1
        reader.close()
        return int(torn)


def test_no_read_beside_a_writer_is_torn(tmp_path):
    assert torn_reads(tmp_path / "stats", 1_000_000 if JIT else 3_000) == 0


@pytest.mark.skipif(not JIT, reason="the writer is too slow to be met")
def test_a_reader_that_does_not_ask_is_torn(tmp_path):
    with child_writer(tmp_path / "stats"):
        reader = StatsReader(tmp_path / "stats")
        lock = reader._address + reader._records["whole"][0]
        words = np.zeros(stats_peer.WORDS, dtype=np.int64)
        until_s = time.monotonic() + 30
        while stats_peer.count_torn_unasked(lock, words, 100_000) == 0:
            assert time.monotonic() < until_s, "the writer and this reader never met: the test beside it shows nothing"
        reader.close()


@pytest.mark.torture
def test_no_read_of_a_billion_is_torn(tmp_path):
    assert torn_reads(tmp_path / "stats", int(os.environ.get("TICKROUTE_STATS_READS", "1000000000"))) == 0


def test_a_second_writer_is_refused_while_the_first_lives_and_not_after(tmp_path):
    path = tmp_path / "stats"
    with child_writer(path) as child:
        with pytest.raises(StatsError, match=f"process {child.pid} writes it"):
            make(path)
        # Stopped is not dead.
        child.send_signal(signal.SIGSTOP)
        with pytest.raises(StatsError, match="stop it first"):
            make(path)
        before = StatsReader(path)
        child.kill()
        child.wait()
    writer = make(path)
    reader = StatsReader(path)
    assert (before.pid, reader.pid) == (child.pid, os.getpid())
    assert before.counter_help != reader.counter_help
    age_ns = before.age_ns(time.monotonic_ns())
    assert age_ns is not None
    writer.close()
    again = make(path)
    again.close()
    before.close()
    reader.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["stats"]


def test_the_beat_ages_and_ends_with_the_writer_and_with_the_boot(tmp_path, monkeypatch):
    writer = make(tmp_path / "stats")
    reader = StatsReader(tmp_path / "stats")
    now_ns = time.monotonic_ns()
    beat(writer.address, now_ns)
    assert reader.age_ns(now_ns + 5) == 5
    assert reader.age_ns(now_ns - 5) == 0
    writer.beat(now_ns + 7)
    assert reader.age_ns(now_ns + 7) == 0
    with monkeypatch.context() as patch:
        patch.setattr(stats_file, "boot_id", lambda: bytes(16))
        assert reader.age_ns(now_ns) is None
    writer.close()
    writer.close()
    assert reader.age_ns(now_ns) is None
    reader.close()


def test_files_that_are_no_stats_are_refused(tmp_path):
    path = tmp_path / "stats"
    with pytest.raises(StatsError, match="is the engine running"):
        StatsReader(path)
    with pytest.raises(StatsError, match="folder that exists"):
        make(tmp_path / "none" / "stats")
    for content in (b"", b"x" * 200):
        path.write_bytes(content)
        with pytest.raises(StatsError, match=str(path)):
            StatsReader(path)
    writer = make(path)
    for version, words in ((0, "not ready yet"), (2, "version 2, this reads 1")):
        store_i64(writer.address + 8, version)
        with pytest.raises(StatsError, match=words):
            StatsReader(path)
    store_i64(writer.address + 8, 1)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(StatsError, match="cut short"):
        StatsReader(path)
    whole = bytearray(path.read_bytes() + bytes(8))
    whole[128] = ord("x")
    path.write_bytes(whole)
    with pytest.raises(StatsError, match="no JSON"):
        StatsReader(path)


@pytest.mark.parametrize(
    "dtype", [np.dtype("<i8"), np.dtype([("a", ">i8")]), np.dtype([("a", "i1"), ("b", "i8")], True)]
)
def test_records_are_packed_plain_numbers(tmp_path, dtype):
    with pytest.raises(StatsError, match="record 'odd'"):
        StatsWriter(tmp_path / "stats", {}, {"odd": dtype}, [])
