"""A run's files after a crash of the machine or the disk: an exact prefix, or a refusal that names place and remedy.

Cut tails, zeroed sectors and pages, pages written in another order, flipped bits: recovery never goes on with a state
that an uninterrupted run did not have behind some frame, and never with one that lacks frames in the middle.
"""

from __future__ import annotations

import os
import random
import re
import shutil

import numpy as np
import pytest

from engine.core.state import state_hash
from engine.io.journal_format import JournalError, segment_path
from engine.io.journal_reader import Ending, JournalReader
from engine.run import manifest
from engine.run.recover import recover
from engine.run.rerun import Rerun
from replay.repair import repair
from tests.replay.desk import config, record_day
from tests.replay.test_verify import frames_of, write

pytestmark = pytest.mark.timeout(900)
SEGMENT = 1 << 16
SECTOR, PAGE = 512, 4096
PARTS = 8


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A run of about a thousand frames in some segments, as a kill left it; nothing was hashed of its last segment."""
    folder = tmp_path_factory.mktemp("files")
    record_day(folder / "whole", quotes=500, trades=100, orders=30)
    run_dir = write(folder / "day", frames_of(folder / "whole"), SEGMENT)
    last = max(int(path.stem) for path in (run_dir / "journal").glob("*.seg"))
    path = segment_path(run_dir, last)
    data = path.read_bytes()
    path.write_bytes(data[:56] + bytes(8) + data[64:])
    return run_dir


class Prefixes:
    """Hashes of an uninterrupted run behind each frame that is asked for."""

    def __init__(self, run_dir):
        with JournalReader(run_dir) as reader:
            self.chunks = [chunk._replace(rows=chunk.rows) for chunk in reader.chunks()]
            self.manifest = manifest.from_bytes(reader.manifest)
        self.rows = np.concatenate([chunk.rows for chunk in self.chunks])
        self.known: dict[int, str] = {}

    def hash(self, last_seq):
        if last_seq not in self.known:
            run = Rerun(self.manifest)
            for chunk in self.chunks:
                assert run.feed(chunk._replace(rows=chunk.rows[chunk.rows["seq"] <= last_seq])) is None
            self.known[last_seq] = run.hash()
        return self.known[last_seq]


@pytest.fixture(scope="module")
def prefixes(day):
    return Prefixes(day)


def copy(day, folder):
    return shutil.copytree(day, folder)


def last_segment(day):
    return max(int(path.stem) for path in (day / "journal").glob("*.seg"))


def outcome(run_dir, prefixes):
    """Recover it: the last frame of the exact prefix that came, or None where that was refused with its place."""
    try:
        found = recover(config(str(run_dir)))
    except JournalError as error:
        if not re.search(r"\.seg at byte \d+: .*tickroute repair RUN_DIR --dry-run", str(error)):
            raise
        return None
    assert found.end.ending in (Ending.OPEN, Ending.TORN)
    assert state_hash(found.state) == prefixes.hash(found.end.last_seq)
    return found.end.last_seq


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.torture)])
def test_a_tail_cut_at_each_byte_of_the_last_three_frames(day, prefixes, tmp_path, step):
    number = last_segment(day)
    rows = prefixes.rows[-3:]
    data = segment_path(day, number).read_bytes()
    run_dir = copy(day, tmp_path / "cut")
    end = int(rows["offset"][-1]) + 32 + int(rows["length"][-1])
    told = []
    for offset in range(int(rows["offset"][0]), end, step):
        if not any(data[offset:end]):
            break  # what is cut off is zeros: nothing is
        segment_path(run_dir, number).write_bytes(data[:offset] + bytes(len(data) - offset))
        told.append(outcome(run_dir, prefixes))
    assert set(told) == set(range(int(rows["seq"][0]) - 1, int(rows["seq"][-1])))
    assert told == sorted(told)


@pytest.mark.parametrize("most", [24, pytest.param(1 << 20, marks=pytest.mark.torture)])
@pytest.mark.parametrize("grain", [SECTOR, PAGE])
def test_each_sector_and_page_that_was_never_written(day, prefixes, tmp_path, grain, most):
    """One at a time, in the last segment: what lies before it is there, what lies behind it is not lost silently."""
    number = last_segment(day)
    data = segment_path(day, number).read_bytes()
    used = int(prefixes.rows["offset"][-1]) + 32 + int(prefixes.rows["length"][-1])
    run_dir = copy(day, tmp_path / "holes")
    places = range(grain if grain == PAGE else 0, used, grain)
    step = max(1, len(places) // most)
    for begin in [*places[::step], places[-1]]:
        hole = data[:begin] + bytes(grain) + data[begin + grain :]
        segment_path(run_dir, number).write_bytes(hole[: len(data)])
        before = prefixes.rows[prefixes.rows["offset"] + 32 + prefixes.rows["length"] <= begin]
        last = outcome(run_dir, prefixes) if begin else None
        if last is not None:
            assert begin + grain >= int(prefixes.rows["offset"][-1]), "frames behind the hole were lost silently"
            here = before["seq"][before["seq"] >= first_of(prefixes, number)]
            assert last >= (int(here[-1]) if len(here) else first_of(prefixes, number) - 1)


@pytest.mark.parametrize("grain", [SECTOR, PAGE])
def test_a_segment_whose_beginning_is_gone_is_damage_and_not_one_that_nobody_began(day, tmp_path, grain):
    run_dir = copy(day, tmp_path / "headless")
    for number in range(1, last_segment(day) + 1):
        data = segment_path(day, number).read_bytes()
        segment_path(run_dir, number).write_bytes(bytes(grain) + data[grain:])
        with pytest.raises(JournalError, match=r"a whole frame follows at byte \d+ of 00000\d\.seg"):
            recover(config(str(run_dir)))
        segment_path(run_dir, number).write_bytes(data)


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("grain", [SECTOR, PAGE])
def test_each_hole_in_an_earlier_segment_refuses_to_start(day, prefixes, tmp_path, grain):
    run_dir = copy(day, tmp_path / "holes")
    for number in range(last_segment(day)):
        rows = np.concatenate([chunk.rows for chunk in prefixes.chunks if chunk.segment == number])
        data = segment_path(day, number).read_bytes()
        for begin in range(0, int(rows["offset"][-1]) + 32, grain):
            segment_path(run_dir, number).write_bytes(data[:begin] + bytes(grain) + data[begin + grain :])
            with pytest.raises(JournalError):
                recover(config(str(run_dir)))
        segment_path(run_dir, number).write_bytes(data)


def first_of(prefixes, number):
    return int(next(chunk for chunk in prefixes.chunks if chunk.segment == number).rows["seq"][0])


def test_pages_that_reached_the_disk_in_another_order(day, prefixes, tmp_path):
    """A power cut keeps any of the pages that were not synced: a prefix, or a refusal and a repair that gives one."""
    dice, number = random.Random(5), last_segment(day)
    data = segment_path(day, number).read_bytes()
    pages = (int(prefixes.rows["offset"][-1]) + 32) // PAGE + 1
    seen = {"prefix": 0, "refused": 0}
    for trial in range(12):
        run_dir = copy(day, tmp_path / str(trial))
        kept = [page for page in range(1, pages) if dice.random() < 0.7]
        mixed = bytearray(len(data))
        for page in [0, *kept]:
            mixed[page * PAGE : (page + 1) * PAGE] = data[page * PAGE : (page + 1) * PAGE]
        segment_path(run_dir, number).write_bytes(mixed)
        if outcome(run_dir, prefixes) is not None:
            seen["prefix"] += 1
            continue
        seen["refused"] += 1
        told = repair(run_dir)
        assert told.result == "repaired"
        found = recover(config(str(run_dir)))
        assert state_hash(found.state) == prefixes.hash(told.last_seq)
    assert seen["refused"] > 0


def test_bytes_of_another_life_of_the_file_never_pass(day, prefixes, tmp_path):
    """A file whose blocks held an older journal of this very run, another segment, or another run."""
    number = last_segment(day)
    data = segment_path(day, number).read_bytes()
    end = int(prefixes.rows["offset"][-1]) + ((32 + int(prefixes.rows["length"][-1]) + 31) & -32)
    stale = segment_path(day, number - 1).read_bytes()
    run_dir = copy(day, tmp_path / "stale")
    last = int(prefixes.rows["seq"][-1])
    for tail in (stale[end:], stale[64:], data[64:], bytes(96) + stale[64:]):
        mixed = (data[:end] + tail + bytes(len(data)))[: len(data)]
        segment_path(run_dir, number).write_bytes(mixed)
        assert outcome(run_dir, prefixes) == last


def flips(run_dir, rows, bits):
    """Flip each of the bits (place in the journal's used bytes) alone; those that nothing noticed."""
    missed = []
    files = {number: os.open(segment_path(run_dir, number), os.O_RDWR) for number in {n for n, _ in bits}}
    for number, bit in bits:
        (byte,) = os.pread(files[number], 1, bit // 8)
        os.pwrite(files[number], bytes([byte ^ 1 << bit % 8]), bit // 8)
        try:
            with JournalReader(run_dir) as reader:
                count = sum(len(chunk.rows) for chunk in reader.chunks())
                # What hurts the last frame alone cannot be told from a frame that was never finished.
                if count >= rows:
                    missed.append((number, bit))
                elif count < rows - 1:
                    missed.append((number, bit))
        except JournalError:
            pass
        os.pwrite(files[number], bytes([byte]), bit // 8)
    for file in files.values():
        os.close(file)
    return missed


def used_bits(prefixes):
    """Every bit of headers and frames: (segment, bit)."""
    places = []
    for chunk in prefixes.chunks:
        end = int(chunk.rows["offset"][-1]) + ((32 + int(chunk.rows["length"][-1]) + 31) & -32)
        places.append((chunk.segment, end))
    ends: dict[int, int] = {}
    for number, end in places:
        ends[number] = max(end, ends.get(number, 0))
    return [(number, bit) for number, end in ends.items() for bit in range(end * 8)]


def test_flipped_bits_are_found_and_damage_in_the_middle_refuses_to_start(day, prefixes, tmp_path):
    dice, run_dir = random.Random(9), copy(day, tmp_path / "flips")
    bits = used_bits(prefixes)
    assert flips(run_dir, len(prefixes.rows), dice.sample(bits, 600)) == []
    before = [segment_path(folder, 0).read_bytes() for folder in (day, run_dir)]
    assert before[0] == before[1], "each bit is put back"
    middle = [bit for bit in bits if bit[0] == 1 and bit[1] > 64 * 8]
    for number, bit in dice.sample(middle, 12):
        data = bytearray(segment_path(day, number).read_bytes())
        data[bit // 8] ^= 1 << bit % 8
        segment_path(run_dir, number).write_bytes(data)
        with pytest.raises(JournalError, match=r"000001\.seg at byte \d+: .*tickroute repair"):
            recover(config(str(run_dir)))
        assert segment_path(run_dir, number).read_bytes() == data, "nothing is repaired silently"
        shutil.copy(segment_path(day, number), segment_path(run_dir, number))


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_bit_of_a_run(day, prefixes, tmp_path, part):
    """In parts, so that each core has some of them."""
    run_dir = copy(day, tmp_path / "flips")
    bits = used_bits(prefixes)[part::PARTS]
    missed = flips(run_dir, len(prefixes.rows), bits)
    print(f"{len(prefixes.rows)} frames, {len(bits)} bits flipped, {len(missed)} not detected")
    assert missed == []
