"""The journal's writer against a plain twin: the same bytes, dense numbers, defined refusals, helpers that keep up."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.io import atomics, journal_keeper, mapping
from engine.io.journal import JOURNAL, NOT_READY, TOO_LONG, append
from engine.io.journal_format import JournalError, Kind, segment_path
from engine.io.journal_writer import JournalWriter
from engine.jit import JIT, ROOT, kernel
from tests.io.journal_twin import JournalTwin, parse

pytestmark = pytest.mark.kernel

MANIFEST = b'{"run":"test"}'


def put(
    writer: JournalWriter, payload: bytes, kind: int = Kind.OUTPUT, flags: int = 0, index: int = 0, cause: int = -1
):
    """Append, waiting for a segment as the loop does."""
    source = np.frombuffer(payload + b"\0", dtype=np.uint8)
    while True:
        seq = append(writer.table, int(kind), flags, index, cause, source.ctypes.data, len(payload))
        if seq != NOT_READY:
            return int(seq)
        time.sleep(0.001)


def files_of(run_dir: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((run_dir / "journal").glob("*.seg"))]


def run_dir_of(base: Path) -> Path:
    return base / f"run-{time.monotonic_ns()}"


frames = st.lists(
    st.tuples(
        st.binary(max_size=200) | st.sampled_from([64, 128]).map(bytes),
        st.sampled_from([Kind.INPUT, Kind.OUTPUT, Kind.OBSERVATION, Kind.RECOVERED]),
        st.integers(0, 1),
        st.integers(0, 65535),
        st.integers(-1, 2**62),
    ),
    max_size=120,
)


@given(frames, st.binary(max_size=300))
def test_the_bytes_are_those_of_the_twin(tmp_path_factory, rows, manifest):
    run_dir = run_dir_of(tmp_path_factory.getbasetemp())
    with JournalWriter(run_dir, 4096, manifest) as writer:
        twin = JournalTwin(4096, writer.run_id, manifest)
        for payload, kind, flags, index, cause in rows:
            assert put(writer, payload, kind, flags, index, cause) == twin.append(kind, flags, index, cause, payload)
        assert writer.next_seq == twin.seq
    files = files_of(run_dir)
    assert files == twin.files(closed=True)
    parsed = parse(files)
    assert [frame.seq for frame in parsed] == list(range(twin.seq))
    assert parsed[0].payload == manifest
    kept = [frame[1:] for frame in parsed[1:] if frame.kind != Kind.PAD]
    assert kept == [(int(kind), flags, index, cause, payload) for payload, kind, flags, index, cause in rows]


def test_a_frame_that_fits_no_segment_is_refused_and_one_that_just_fits_is_not(tmp_path):
    with JournalWriter(tmp_path / "run", 4096, MANIFEST) as writer:
        room = 4096 - 64 - 32
        source = np.zeros(8192, dtype=np.uint8)
        assert append(writer.table, 3, 0, 0, -1, source.ctypes.data, room + 1) == TOO_LONG
        assert writer.next_seq == 1
        assert put(writer, bytes(room)) == 2
    assert [(f.kind, len(f.payload)) for f in parse(files_of(tmp_path / "run"))] == [(1, 14), (5, 3936), (3, room)]


@pytest.mark.parametrize(("payload", "fit", "pads"), [(32, 62, 0), (64, 41, 1)])
def test_a_pad_fills_what_is_left_of_a_segment_and_nothing_where_nothing_is(tmp_path, payload, fit, pads):
    with JournalWriter(tmp_path / "run", 4096, bytes(32)) as writer:
        for expected in range(1, fit + 1):
            assert put(writer, bytes(payload)) == expected
        assert put(writer, bytes(payload)) == fit + 1 + pads
    kinds = [frame.kind for frame in parse(files_of(tmp_path / "run"))]
    assert kinds.count(Kind.PAD) == pads
    assert len(kinds) == fit + 2 + pads


@pytest.mark.parametrize("size", [0, 4095, 5000, 2 << 30])
def test_segment_sizes_are_whole_pages_in_bounds(tmp_path, size):
    with pytest.raises(JournalError, match="a multiple of 4096") as caught:
        JournalWriter(tmp_path / "run", size, MANIFEST)
    assert str(size) in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_manifest_of_megabytes_is_kept_and_one_that_does_not_fit_is_refused(tmp_path):
    manifest = os.urandom(3 << 20 if JIT else 3 << 12)
    size = 4 << 20 if JIT else 4 << 12
    with JournalWriter(tmp_path / "run", size, manifest):
        pass
    assert parse(files_of(tmp_path / "run"))[0].payload == manifest
    with pytest.raises(JournalError, match="larger segments"):
        JournalWriter(tmp_path / "other", 4096, manifest)


def test_a_run_has_one_journal(tmp_path):
    JournalWriter(tmp_path / "run", 4096, MANIFEST).close()
    before = files_of(tmp_path / "run")
    with pytest.raises(JournalError, match="has a journal already"):
        JournalWriter(tmp_path / "run", 4096, MANIFEST)
    assert files_of(tmp_path / "run") == before


def test_after_close_nothing_is_appended_and_no_prepared_file_or_thread_is_left(tmp_path):
    threads = threading.active_count()
    writer = JournalWriter(tmp_path / "run", 4096, MANIFEST)
    assert len(files_of(tmp_path / "run")) == 3
    writer.close()
    writer.close()
    assert threading.active_count() == threads
    source = np.zeros(64, dtype=np.uint8)
    assert append(writer.table, 3, 0, 0, -1, source.ctypes.data, 64) == NOT_READY
    assert len(files_of(tmp_path / "run")) == 1


def test_closed_segments_carry_their_hash(tmp_path):
    with JournalWriter(tmp_path / "run", 4096, MANIFEST) as writer:
        for _ in range(200):
            put(writer, bytes(64))
    segments = sorted((tmp_path / "run" / "journal").glob("*.seg"))
    assert len(segments) > 3
    for path in segments:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.with_suffix(".sha256").read_text() == f"{digest}  {path.name}\n"


def test_without_a_ready_segment_nothing_is_written_until_there_is_one(tmp_path, monkeypatch):
    real = mapping.allocate
    full = threading.Event()

    def allocate(path: Path, size: int, *, zero: bool) -> None:
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, size, zero=zero)

    monkeypatch.setattr(journal_keeper, "allocate", allocate)
    monkeypatch.setattr(journal_keeper, "_RETRY_S", 0.01)
    with JournalWriter(tmp_path / "run", 4096, MANIFEST) as writer:
        full.set()
        source = np.zeros(64, dtype=np.uint8)
        count = 1
        while append(writer.table, 3, 0, 0, -1, source.ctypes.data, 64) >= 0:
            count += 1
        table = writer.table.copy()
        deadline = time.monotonic() + 10
        while writer.error != errno.ENOSPC:
            assert time.monotonic() < deadline
        assert append(writer.table, 3, 0, 0, -1, source.ctypes.data, 64) == NOT_READY
        assert writer.table[0]["cursor"] == table[0]["cursor"]
        full.clear()
        assert put(writer, bytes(64)) > count
        while writer.error:
            assert time.monotonic() < deadline
    assert len(parse(files_of(tmp_path / "run"))) == writer.next_seq


def test_a_full_disk_at_the_start_is_explained(tmp_path, monkeypatch):
    def allocate(path: Path, size: int, *, zero: bool) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal_keeper, "allocate", allocate)
    with pytest.raises(JournalError, match="No space left on device; free 12288 bytes"):
        JournalWriter(tmp_path / "run", 4096, MANIFEST)
    assert not (tmp_path / "run" / "journal").exists()


_FILL = """
import sys, errno, numpy as np
from engine.io.journal import append
from engine.io.journal_format import JournalError
from engine.io.journal_writer import JournalWriter
run = sys.argv[1] + "/run"
source = np.zeros(64, dtype=np.uint8)
with JournalWriter(run, 1 << 16, b"{}") as writer:
    while writer.error == 0:
        append(writer.table, 3, 0, 0, -1, source.ctypes.data, 64)
    assert writer.error == errno.ENOSPC
    while append(writer.table, 3, 0, 0, -1, source.ctypes.data, 64) >= 0:
        pass
    written = writer.next_seq
try:
    JournalWriter(run + "2", 1 << 19, b"{}")
    raise SystemExit("a journal on a full disk")
except JournalError as error:
    assert "No space left" in str(error)
from engine.io.journal_reader import JournalReader
reader = JournalReader(run)
assert sum(len(chunk.rows) for chunk in reader.chunks()) == written
print("survived", written > 1000)
"""


def test_a_disk_that_fills_up_is_an_error_and_no_signal(tmp_path):
    """On a real small file system, mounted in a namespace of its own, which ends with the child."""
    inside = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"'
    enter = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    probe = subprocess.run([*enter, 'mount -t tmpfs none "$1"', "sh", str(tmp_path)], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no right to mount a file system of our own here: {probe.stderr.decode().strip()}")
    command = [*enter, inside, "sh", str(tmp_path), sys.executable, _FILL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "survived True\n"), done.stderr


@kernel
def burst(journal: Any, source: int, count: int) -> int:
    """Append `count` records of 64 bytes; how often no segment was ready."""
    stalls = 0
    for number in range(count):
        while append(journal, 3, 1, 0, number, source, 64) < 0:
            stalls += 1
            atomics.nap(20_000)
    return stalls


def test_the_helpers_keep_up_while_the_interpreter_is_busy(tmp_path):
    count = 60_000 if JIT else 2_000
    with JournalWriter(tmp_path / "run", 1 << 20, MANIFEST) as writer:
        source = np.arange(8, dtype=np.int64)
        loop = threading.Thread(target=burst, args=(writer.table, source.ctypes.data, count))
        loop.start()
        while loop.is_alive():
            sum(range(1000))
        loop.join()
        assert writer.table[0]["populate_error"] in (0, errno.EINVAL)
        written = writer.next_seq
    assert written >= count
    if not JIT:
        assert len(parse(files_of(tmp_path / "run"))) == written


@pytest.mark.skipif(not JIT, reason="the interpreter allocates, and so faults, as it likes")
def test_the_loop_does_not_fault(tmp_path):
    faults: list[int] = []

    def loop(count: int) -> None:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        burst(writer.table, source.ctypes.data, count)
        faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

    with JournalWriter(tmp_path / "run", 16 << 20, MANIFEST) as writer:
        source = np.arange(8, dtype=np.int64)
        for count in (10, 100_000):
            thread = threading.Thread(target=loop, args=(count,))
            thread.start()
            thread.join()
        if writer.table[0]["populate_error"] == errno.EINVAL:
            pytest.skip("Linux before 5.14 has no MADV_POPULATE_WRITE")
    # 2,300 pages were written.
    assert faults[1] < 100


def test_the_table_is_two_pairs_of_lines():
    assert JOURNAL.itemsize == 256
    assert segment_path(Path("r"), 12) == Path("r/journal/000012.seg")
