"""The journal's reader: what the twin wrote, how journals end, and every flipped bit, cut and swap is found."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.io.journal_format import FRAME, JournalError, Kind
from engine.io.journal_reader import Ending, JournalReader
from engine.io.journal_writer import JournalWriter
from engine.jit import JIT
from tests.io.journal_twin import JournalTwin, parse
from tests.io.test_journal import frames, put

pytestmark = pytest.mark.kernel

RUN_ID = bytes(range(16))
SIZE = 4096


def lay(run_dir: Path, files: list[bytes]) -> Path:
    """Write segment files; returns the run directory."""
    folder = run_dir / "journal"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, data in enumerate(files):
        (folder / f"{number:06d}.seg").write_bytes(data)
    return run_dir


def twin_of(count: int, size: int = SIZE) -> JournalTwin:
    """A journal of `count` frames after its manifest, of several sizes."""
    twin = JournalTwin(size, RUN_ID, b"{}")
    for number in range(count):
        payload = bytes([number % 255 + 1]) * (64, 128, 7)[number % 3]
        twin.append(2 + number % 3, number & 1, number % 5, number - 1, payload)
    return twin


def read(run_dir: Path, **options: Any):
    """All frames as the twin has them, and the end."""
    with JournalReader(run_dir, **options) as reader:
        rows = [
            (f.seq, int(f.kind), int(f.last), f.batch_index, f.input_seq, bytes(f.payload)) for f in reader.frames()
        ]
        return rows, reader.end


@given(frames, st.binary(max_size=300), st.booleans())
def test_what_the_twin_wrote_is_read(tmp_path_factory, rows, manifest, closed):
    twin = JournalTwin(SIZE, RUN_ID, manifest)
    for payload, kind, flags, index, cause in rows:
        twin.append(int(kind), flags, index, cause, payload)
    files = twin.files(closed=closed)
    run_dir = lay(tmp_path_factory.getbasetemp() / "twin", [*files, bytes(SIZE)] if not closed else files)
    got, end = read(run_dir)
    assert got == parse(files)
    assert end is not None
    assert (end.ending, end.last_seq, end.torn_bytes) == (Ending.CLOSED if closed else Ending.OPEN, twin.seq - 1, 0)
    assert (end.segment, end.prev_crc) == (len(files) - 1, twin.crc)
    with JournalReader(run_dir) as reader:
        assert (reader.manifest, reader.run_id, reader.segment_bytes) == (manifest, RUN_ID, SIZE)
        chunks = [chunk.rows for chunk in reader.chunks(limit=7)]
    assert max(len(chunk) for chunk in chunks) <= 7
    assert np.concatenate(chunks)["seq"].tolist() == list(range(twin.seq))


def test_what_the_writer_wrote_is_read_and_payloads_outlive_the_reader(tmp_path):
    with JournalWriter(tmp_path, SIZE, b"{}") as writer:
        for number in range(200):
            put(writer, bytes([number]) * 64, cause=number)
    with JournalReader(tmp_path) as reader:
        payloads = [f.payload for f in reader.frames() if f.kind == Kind.OUTPUT]
        assert reader.end is not None
        assert reader.end.ending is Ending.CLOSED
        assert reader.read() is None
    assert [bytes(p) for p in payloads] == [bytes([n]) * 64 for n in range(200)]
    assert not payloads[0].flags.writeable
    assert FRAME.itemsize == 32


def test_a_live_journal_is_followed_across_segments_and_to_its_close(tmp_path):
    writer = JournalWriter(tmp_path, SIZE, b"{}")
    with JournalReader(tmp_path, live=True) as reader:
        seen = 0
        for round_no in range(300):
            put(writer, bytes(64), cause=round_no)
            while (chunk := reader.read()) is not None:
                assert chunk.rows["seq"].tolist() == list(range(seen, seen + len(chunk.rows)))
                seen += len(chunk.rows)
            assert seen == writer.next_seq
            assert reader.end is None
        writer.close()
        assert reader.read() is None
        assert reader.end is not None
        assert reader.end.ending is Ending.CLOSED


def flips(size: int, seed: int, sample: int | None):
    """Every bit of a file of `size` bytes, or a sample."""
    if sample is None:
        return range(size * 8)
    return np.random.default_rng(seed).choice(size * 8, min(sample, size * 8), replace=False).tolist()


def undetected_flips(run_dir: Path, files: list[bytes], good, sample: int | None) -> list[tuple[int, int]]:
    """Flip bits one by one; those after which a reader finds nothing wrong, or gives a frame that was not written."""
    lay(run_dir, files)
    missed = []
    for number, data in enumerate(files):
        with (run_dir / "journal" / f"{number:06d}.seg").open("r+b", buffering=0) as file:
            for bit in flips(len(data), number, sample):
                file.seek(bit // 8)
                file.write(bytes([data[bit // 8] ^ 1 << bit % 8]))
                got = []
                try:
                    with JournalReader(run_dir) as reader:
                        for chunk in reader.chunks():
                            got += chunk.rows["seq"].tolist()
                        found = reader.end is not None and reader.end.ending is Ending.TORN
                except JournalError as error:
                    found = error.file.endswith(".seg") and 0 <= error.offset <= len(data) and bool(error.remedy)
                if not found or got != list(range(len(got))) or len(got) > good:
                    missed.append((number, bit))
                file.seek(bit // 8)
                file.write(data[bit // 8 : bit // 8 + 1])
    return missed


@pytest.mark.parametrize("closed", [True, False])
def test_every_flipped_bit_of_a_small_journal_is_found(tmp_path, closed):
    twin = twin_of(20)
    files = twin.files(closed=closed)
    assert len(files) == 1
    assert undetected_flips(tmp_path, files, twin.seq, None if JIT and closed else 400) == []


@pytest.mark.parametrize("closed", [True, False])
def test_flipped_bits_of_a_longer_journal_are_found(tmp_path, closed):
    twin = twin_of(130)
    files = twin.files(closed=closed)
    assert len(files) == 4
    if not closed:
        files.append(bytes(SIZE))
    assert undetected_flips(tmp_path, files, twin.seq, 1500 if JIT else 60) == []


@pytest.mark.torture
def test_every_flipped_bit_of_a_thousand_frames_is_found(tmp_path):
    twin = twin_of(1000, 1 << 17)
    assert undetected_flips(tmp_path, twin.files(closed=True), twin.seq, None) == []


def starts_of(files: list[bytes]) -> list[tuple[int, int]]:
    """Segment and offset of every frame."""
    places = []
    for number, data in enumerate(files):
        offset = 64
        while offset < len(data) and (length := int.from_bytes(data[offset : offset + 4], "little")):
            places.append((number, offset))
            offset += (length + 31) // 32 * 32
    return places


def test_a_tail_cut_at_each_byte_of_the_last_frames_leaves_the_exact_prefix(tmp_path):
    twin = twin_of(20)
    (data,) = twin.files(closed=False)
    whole = parse([data])
    places = [offset for _, offset in starts_of([data])]
    used = len(data.rstrip(b"\0"))
    for cut in range(places[-3], used + 1):
        got, end = read(lay(tmp_path, [data[:cut].ljust(SIZE, b"\0")]))
        # A frame that ends in zeros is whole before its last byte is there.
        kept = sum(stop <= cut for stop in [*places[1:], used])
        assert got[:kept] == whole[:kept]
        assert len(got) - kept in (0, 1)
        assert got == whole[: len(got)]
        assert end.last_seq == len(got) - 1
        assert (end.ending is Ending.TORN) == (end.torn_bytes > 0) == any(data[end.offset : cut])


@pytest.mark.parametrize("grain", [512, 4096])
def test_a_zeroed_sector_or_page_leaves_the_exact_prefix(tmp_path, grain):
    twin = twin_of(130)
    files = twin.files(closed=False)
    whole = parse(files)
    for number in range(len(files)):
        for begin in range(0, SIZE, grain):
            data = files[number]
            hurt = data[:begin] + bytes(grain) + data[begin + grain :]
            if hurt == data:
                continue
            run_dir = lay(tmp_path, [*files[:number], hurt, *files[number + 1 :]])
            if number == 0 and begin == 0:
                with pytest.raises(JournalError):
                    read(run_dir)
                continue
            got, end = read(run_dir, cut=True)
            assert got == whole[: len(got)]
            assert len(got) < len(whole)
            if number < len(files) - 1:
                assert end.ending is Ending.DAMAGED
                with pytest.raises(JournalError, match=r"tickroute repair RUN_DIR --dry-run"):
                    read(run_dir)


def test_damage_in_the_middle_is_told_from_a_torn_tail(tmp_path):
    twin = twin_of(20)
    (data,) = twin.files(closed=False)
    places = [offset for _, offset in starts_of([data])]
    middle = bytearray(data)
    middle[places[10] + 40] ^= 1
    run_dir = lay(tmp_path, [bytes(middle)])
    with pytest.raises(JournalError) as caught:
        read(run_dir)
    error = caught.value
    assert error.file == str(run_dir / "journal" / "000000.seg")
    assert error.offset == places[10]
    assert f"CRC does not match its bytes, but a whole frame follows at byte {places[11]}" in error.why
    assert "restore it from a copy" in error.remedy
    got, end = read(run_dir, cut=True)
    assert (len(got), end.ending, end.last_seq) == (10, Ending.DAMAGED, 9)
    tail = bytearray(data)
    tail[places[-1] + 40] ^= 1
    got, end = read(lay(tmp_path, [bytes(tail)]))
    assert (len(got), end.ending) == (len(places) - 1, Ending.TORN)
    assert end.torn_bytes == len(data.rstrip(b"\0")) - places[-1]


def test_segments_that_are_missing_swapped_cut_or_of_another_run_are_refused(tmp_path):
    files = twin_of(130).files(closed=True)
    other = JournalTwin(SIZE, bytes(16), b"{}")
    for _ in range(100):
        other.append(3, 0, 0, -1, bytes(64))
    strange = other.files(closed=True)[1]
    for hurt, words in (
        ([files[0], files[2], files[1], files[3]], "another run or place"),
        ([files[0], strange, *files[2:]], "another run or place"),
        ([files[0], files[1][:-1], *files[2:]], "has 4095 bytes, not 4096"),
        (files[:-1], "missing"),
        ([files[0], bytes(SIZE), *files[2:]], "a whole frame follows"),
        ([bytes(SIZE), *files[1:]], "there is no journal"),
        ([files[0][:4000], *files[1:]], "has 4000 bytes, not 4096"),
        ([b"x" * SIZE], "TICKJRNL"),
        ([b""], "there is no journal"),
        ([], "there is no journal"),
    ):
        with pytest.raises(JournalError, match=words):
            read(lay(tmp_path, hurt))


def test_a_manifest_is_the_first_frame(tmp_path):
    twin = JournalTwin(SIZE, RUN_ID, b"")
    twin.segments[0] = twin.segments[0][:64]
    twin.seq = twin.crc = 0
    twin.append(2, 0, 0, -1, bytes(64))
    with pytest.raises(JournalError, match="no manifest"):
        read(lay(tmp_path, twin.files(closed=False)))
