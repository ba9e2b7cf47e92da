"""Reading a journal: frames in order, each checked, and a verdict on how it ends.

`chunks` gives index rows (FRAME) over mapped segments, millions of frames a second; `frames` gives one frame at a
time. Both deliver the good prefix first. Then the journal has an `end`: CLOSED (in order), OPEN (its writer lives or
was killed; nothing is lost), or TORN (bytes of frames that were never finished). What contradicts a good frame or
the header, or has whole frames behind it, is damage and raises JournalError with file, offset and remedy: a journal
is never repaired by being read.

With `live`, the writer may still be at work: `read` gives what is there and may be called again. With `at`, reading
begins behind a frame that somebody has noted (`mark`), which must be there as it was.

A journal whose oldest segments were let go begins with the first that is kept; its manifest is then the copy, which
the chain vouches for (see `journal_chain`).

Worst case: at a bad frame, everything behind it is looked through for whole frames: about 0.1 s a 64 MiB segment.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from engine.io.atomics import load_acquire, load_i32, load_i64
from engine.io.journal_chain import first_kept, manifest_link, manifest_path, read_chain
from engine.io.journal_format import (
    ALIGN,
    CLOSED,
    CONTINUES,
    FRAME,
    FRAME_HEADER,
    MAGIC,
    SEGMENT_HEADER,
    VERSION,
    JournalError,
    Kind,
    end_of,
    header_crc,
    segment_numbers,
    segment_path,
)
from engine.io.journal_scan import (
    CURSOR,
    NO_FRAME,
    SEGMENT_FULL,
    WHY,
    find_frame,
    last_byte,
    scan,
)
from engine.io.mapping import PAGE, Mapping, aligned_zeros

_RESTORE: Final = (
    "restore it from a copy, or see with `tickroute repair RUN_DIR --dry-run` what giving it up would lose"
)
_COPY: Final = "restore it from a copy"
_MASK32 = 0xFFFF_FFFF
#: Bytes of a segment that are looked at where a crash of the machine is out of the question: a header that is gone is
#: damage, and not a segment that nobody began.
_PEEK: Final = 1 << 16
#: Rows of a chunk at most.
CHUNK_ROWS: Final = 65536


class Ending(Enum):
    """How a journal ends."""

    CLOSED = "closed in order"
    OPEN = "not closed: its writer lives or was killed"
    TORN = "not closed, and behind the last frame are bytes of frames that were never finished"
    DAMAGED = "damaged: what follows is given up"


class End(NamedTuple):
    """Where a journal ends: after frame `last_seq`, at `offset` of `segment`; `torn_bytes` of no use lie behind it."""

    ending: Ending
    segment: int
    offset: int
    last_seq: int
    prev_crc: int
    torn_bytes: int


class Mark(NamedTuple):
    """A place in a journal: behind frame `seq`, which is at `last_offset` of `segment` and has the CRC `crc`."""

    segment: int
    offset: int
    seq: int
    crc: int
    last_offset: int


class Frame(NamedTuple):
    """One frame; `payload` is a read-only uint8 view of the mapped segment."""

    seq: int
    kind: Kind
    last: bool
    batch_index: int
    input_seq: int
    payload: np.ndarray
    segment: int
    offset: int


class Chunk(NamedTuple):
    """Frames in a row of one segment: `rows` (array of FRAME) over `memory` (read-only uint8, the whole segment)."""

    segment: int
    memory: np.ndarray
    rows: np.ndarray

    def payload(self, row: int) -> np.ndarray:
        """Payload of a row: read-only uint8 view."""
        begin = int(self.rows["offset"][row]) + FRAME_HEADER
        return self.memory[begin : begin + int(self.rows["length"][row])]

    def frames(self) -> Iterator[Frame]:
        """The rows as frames."""
        for row, (seq, cause, offset, _, batch_index, kind, flags) in enumerate(self.rows.tolist()):
            payload = self.payload(row)
            yield Frame(seq, Kind(kind), bool(flags & 1), batch_index, cause, payload, self.segment, offset)


def load_kernels() -> float:
    """Have what reads journals loaded, or compiled, before anything is timed; what that took in ms."""
    began = time.perf_counter()
    page = aligned_zeros(PAGE, np.dtype(np.uint8))
    base = int(page.ctypes.data)
    header_crc(base)
    for load in (load_acquire, load_i64, load_i32):
        load(base)
    cursor = np.zeros(1, dtype=CURSOR)
    cursor[0]["offset"] = SEGMENT_HEADER
    scan(base, PAGE, cursor, np.zeros(1, dtype=FRAME))
    return (time.perf_counter() - began) * 1e3


class JournalReader:
    """The journal of a run, from its first frame. `manifest` is that frame's payload, `run_id` names the run.

    `live`: the writer may be at work. `cut`: damage ends the journal (Ending.DAMAGED) instead of raising.
    `at`: begin there. JournalError where there is no journal, it is damaged, or `at` is no place in it.
    """

    def __init__(self, run_dir: str | Path, *, live: bool = False, cut: bool = False, at: Mark | None = None) -> None:
        self.run_dir = Path(run_dir)
        self.end: End | None = None
        #: Number of the first segment that is there.
        self.first_segment = min(segment_numbers(self.run_dir), default=0)
        #: Whether segments that nobody began are looked through, too, for what a power cut may have left there.
        self.thorough = True
        self._live, self._cut = live, cut
        self._cursor = np.zeros(1, dtype=CURSOR)
        self._rows = np.zeros(CHUNK_ROWS, dtype=FRAME)
        self._last_offset = 0
        first = self._map(self.first_segment)
        if first is None or load_acquire(first.address) == 0:
            raise self._error(
                self.first_segment, 0, "there is no journal", "name the directory of a run that was started"
            )
        self._mapping = first
        try:
            self._begin(first)
            if at is not None:
                self._go_to(at)
        except JournalError:
            self._mapping.close()
            raise

    def _begin(self, first: Mapping) -> None:
        """Check the first segment's header, and take the manifest."""
        self.run_id = first.memory[40:56].tobytes()
        self.segment_bytes = int(load_i64(first.address + 16))
        number = self.first_segment
        if number > 0:
            self._cursor[0]["next_seq"] = load_i64(first.address + 24)
            self._cursor[0]["prev_crc"] = load_i32(first.address + 32) & _MASK32
        self._enter(number)
        if number > 0:
            self.manifest = self._copied_manifest()
            return
        probe = self._cursor.copy()
        if scan(first.address, self.segment_bytes, probe, self._rows[:1]) != 1:
            raise self._error(0, SEGMENT_HEADER, WHY.get(int(probe[0]["status"]), "there is no manifest"), _RESTORE)
        if self._rows[0]["kind"] != Kind.MANIFEST:
            raise self._error(0, SEGMENT_HEADER, "the first frame is no manifest", _RESTORE)
        self.manifest = Chunk(0, first.memory, self._rows[:1]).payload(0).tobytes()

    def _copied_manifest(self) -> bytes:
        """The manifest of a journal that begins later, from its copy."""
        if self.first_segment > first_kept(self.run_dir):
            raise self._error(self.first_segment - 1, 0, "the segment is missing, and was not let go", _COPY)
        path = manifest_path(self.run_dir)
        try:
            manifest = path.read_bytes()
        except OSError as error:
            raise JournalError(path, 0, f"cannot be read: {error.strerror}", _COPY) from error
        if read_chain(self.run_dir)[:1] != [manifest_link(self.run_id, manifest)]:
            raise JournalError(path, 0, "is not the manifest that this run's chain begins with", _COPY)
        return manifest

    def _go_to(self, at: Mark) -> None:
        """Stand behind a frame that must be there as it was noted."""
        if at.segment != self.first_segment:
            mapping = self._map(at.segment)
            if mapping is None or load_acquire(mapping.address) == 0:
                raise self._error(at.segment, 0, "there is no such segment", _COPY)
            self._mapping.close()
            self._mapping = mapping
            self._cursor[0]["next_seq"] = load_i64(mapping.address + 24)
            self._cursor[0]["prev_crc"] = load_i32(mapping.address + 32) & _MASK32
            self._enter(at.segment)
        good = SEGMENT_HEADER <= at.last_offset <= self.segment_bytes - FRAME_HEADER and at.offset <= self.segment_bytes
        if good:
            row = self._cursor[0]
            row["offset"], row["next_seq"] = at.last_offset, at.seq
            row["prev_crc"] = load_i64(self._mapping.address + at.last_offset + 16) & _MASK32
            good = scan(self._mapping.address, self.segment_bytes, self._cursor, self._rows[:1]) == 1
            good = good and row["offset"] == at.offset and row["prev_crc"] == at.crc
        if not good:
            raise self._error(at.segment, at.last_offset, f"frame {at.seq} is not the one that was noted", _COPY)
        self._last_offset = at.last_offset

    @property
    def mark(self) -> Mark:
        """The place behind the last frame that was read; at least one must have been."""
        at = self._cursor[0]
        place = (int(at["segment"]), int(at["offset"]), int(at["next_seq"]) - 1, int(at["prev_crc"]))
        return Mark(*place, self._last_offset)

    def read(self, limit: int = CHUNK_ROWS) -> Chunk | None:
        """The next frames, at most `limit`; None at the end (`end` is set), or where a live journal has no more yet."""
        while self.end is None:
            segment = int(self._cursor[0]["segment"])
            count = scan(self._mapping.address, self.segment_bytes, self._cursor, self._rows[:limit])
            if count:
                self._last_offset = int(self._rows["offset"][count - 1])
                return Chunk(segment, self._mapping.memory, self._rows[:count].copy())
            if self._cursor[0]["status"] == SEGMENT_FULL and self._advance(segment):
                continue
            if self._live and self._cursor[0]["status"] in (NO_FRAME, SEGMENT_FULL):
                if end_of(self._mapping.address) & CLOSED == 0:
                    return None
            self.end = self._verdict()
        return None

    def chunks(self, limit: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """All frames from here on, in chunks."""
        while (chunk := self.read(limit)) is not None:
            yield chunk

    def frames(self) -> Iterator[Frame]:
        """All frames from here on, one by one, pads too."""
        for chunk in self.chunks():
            yield from chunk.frames()

    def close(self) -> None:
        """Unmap. Payloads that are still held keep their segment."""
        self._mapping.close()

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path_of(self, segment: int) -> Path:
        """Path of a segment."""
        return segment_path(self.run_dir, segment)

    def _error(self, segment: int, offset: int, why: str, remedy: str) -> JournalError:
        return JournalError(segment_path(self.run_dir, segment), offset, why, remedy)

    def _map(self, segment: int) -> Mapping | None:
        """A segment's file, or None where it is absent or too short to have begun."""
        try:
            mapping = Mapping(segment_path(self.run_dir, segment), write=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno:
                raise self._error(segment, 0, f"cannot be opened: {error.strerror}", "see its permissions") from error
            return None
        if mapping.size < SEGMENT_HEADER:
            mapping.close()
            return None
        return mapping

    def _enter(self, segment: int) -> None:
        """Check the header of the segment that is mapped, and stand at its first frame."""
        base = self._mapping.address
        at = self._cursor[0]
        wrong = ""
        if load_acquire(base) != MAGIC:
            wrong = "the header does not begin with TICKJRNL"
        elif load_i64(base + 32) >> 32 & _MASK32 != header_crc(base):
            wrong = "the header's CRC does not match"
        elif load_i32(base + 8) != VERSION:
            wrong = f"the journal is of version {load_i32(base + 8)}, this reads {VERSION}"
        elif load_i64(base + 16) != self.segment_bytes or self._mapping.size != self.segment_bytes:
            wrong = f"the segment has {self._mapping.size} bytes, not {self.segment_bytes}"
        elif self._mapping.memory[40:56].tobytes() != self.run_id or load_i32(base + 12) != segment:
            wrong = "the segment is of another run or place"
        elif load_i64(base + 24) != at["next_seq"] or load_i32(base + 32) & _MASK32 != at["prev_crc"]:
            wrong = "the segment does not follow on its predecessor"
        if wrong:
            raise self._error(segment, 0, wrong, _RESTORE)
        at["segment"], at["offset"] = segment, SEGMENT_HEADER

    def _advance(self, segment: int) -> bool:
        """Go to the next segment if it has begun."""
        if end_of(self._mapping.address) != self.segment_bytes | CONTINUES:
            return False
        following = self._map(segment + 1)
        if following is None or load_acquire(following.address) == 0:
            if following is not None:
                following.close()
            elif not self._live:
                self.end = self._damage(segment + 1, 0, "the segment is missing, and its predecessor names it")
                return True
            return False
        before, self._mapping = self._mapping, following
        try:
            self._enter(segment + 1)
        except JournalError as error:
            self._mapping = before
            following.close()
            self.end = self._damage(segment + 1, error.offset, error.why)
            return True
        before.close()
        return True

    def _here(self, ending: Ending, torn_bytes: int) -> End:
        at = self._cursor[0]
        place = (int(at["segment"]), int(at["offset"]), int(at["next_seq"]) - 1, int(at["prev_crc"]))
        return End(ending, *place, torn_bytes)

    def _damage(self, segment: int, offset: int, why: str) -> End:
        if not self._cut:
            raise self._error(segment, offset, why, _RESTORE)
        return self._here(Ending.DAMAGED, self._behind(to_the_end=True)[1])

    def _verdict(self) -> End:
        """How the journal ends here, where no next frame is."""
        at = self._cursor[0]
        segment, offset, status = int(at["segment"]), int(at["offset"]), int(at["status"])
        mark = end_of(self._mapping.address)
        why = WHY.get(status, "there is no frame")
        if mark not in (0, offset | CLOSED, offset | CONTINUES):
            told = f"the header puts the end at {mark & -ALIGN}" if mark > 0 else "the header's end is damaged"
            return self._damage(segment, offset, f"{why}, but {told}")
        found, torn_bytes = self._behind()
        if found is not None:
            return self._damage(segment, offset, f"{why}, but a whole frame follows at byte {found[1]} of {found[0]}")
        if mark == offset | CLOSED:
            if torn_bytes:
                return self._damage(segment, offset, f"the journal was closed here, and {torn_bytes} bytes follow")
            return self._here(Ending.CLOSED, 0)
        return self._here(Ending.TORN if torn_bytes else Ending.OPEN, torn_bytes)

    def _behind(self, *, to_the_end: bool = False) -> tuple[tuple[str, int] | None, int]:
        """The first whole frame behind this place (file, offset), and how many bytes up to it (or in all) are used."""
        at = self._cursor[0]
        segment, offset, seq = int(at["segment"]), int(at["offset"]), int(at["next_seq"])
        first, torn_bytes = self._look_through(self._mapping, segment, offset, seq)
        for number in [number for number in segment_numbers(self.run_dir) if number > segment]:
            if first is not None and not to_the_end:
                break
            mapping = self._map(number)
            if mapping is None:
                continue
            idle = not self.thorough and last_byte(mapping.address, 0, min(mapping.size & -8, _PEEK)) == 0
            found, size = (None, 0) if idle else self._look_through(mapping, number, 0, seq)
            mapping.close()
            if idle:
                break
            # What a segment held that is missing before one in use counts; one that is empty may follow on a gap.
            if size:
                torn_bytes += size + (number - segment - 1) * self.segment_bytes
                segment = number
            first = first or found
        return first, torn_bytes

    def _look_through(
        self, mapping: Mapping, segment: int, offset: int, seq: int
    ) -> tuple[tuple[str, int] | None, int]:
        """The first whole frame from `offset` on (file, offset), and up to where its bytes are not zero."""
        size = mapping.size & -8
        used = int(last_byte(mapping.address, offset, size)) - offset
        found = int(find_frame(mapping.address, size, segment, offset, seq)) if used else -1
        return (mapping.path.name, found) if found >= 0 else None, used
