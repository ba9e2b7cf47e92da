"""A disk in memory under the real journal: segments that `append` writes to, and what is left of them after a death.

The writer's table and kernel, the frame format, the reader and the scan are the engine's own; only the files are
simulated. A process that dies leaves all that it stored, and perhaps a part of a frame that it was storing. A machine
that dies leaves what was synced, and of the pages behind it any that happened to be written.

For recovery the image is written out as files, so that the real reader and `set_aside` do what they do on a disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from engine.io.atomics import store_release
from engine.io.journal import JOURNAL, append, begin_segment
from engine.io.journal_format import FRAME, FRAME_HEADER, SEGMENT_HEADER, segment_path
from engine.io.journal_reader import End
from engine.io.journal_scan import CURSOR, scan
from engine.io.mapping import aligned_zeros

PAGE: Final = 4096
SECTOR: Final = 512
#: Segments that are prepared ahead of the one in use.
_AHEAD: Final = 1


class Disk:
    """The journal of one simulated run. `full`: no further segment can be made."""

    def __init__(self, segment_bytes: int, run_id: bytes) -> None:
        self.segment_bytes = segment_bytes
        self.segments: list[np.ndarray] = []
        self.full = False
        self.table: np.ndarray = aligned_zeros(1, JOURNAL)
        self.table[0]["segment_bytes"] = segment_bytes
        self.table[0]["run_id"] = np.frombuffer(run_id, dtype="<i8")
        self._synced: list[bytes] = []
        #: (segment, byte) behind what was synced: from there on a disk may show what it showed before.
        self._synced_end = (0, 0)
        #: Number of the last frame that survives the machine's death.
        self.synced_seq = -1
        begin_segment(self.table, self._segment(0), 0)
        self.prepare()

    def _segment(self, number: int) -> int:
        """Address of a segment, made where it is not there yet."""
        while len(self.segments) <= number:
            self.segments.append(aligned_zeros(self.segment_bytes // 8, np.dtype("<i8")))
        return int(self.segments[number].ctypes.data)

    def prepare(self) -> None:
        """Have the next segment ready, unless the disk is full: what the keeper's thread does."""
        row = self.table[0]
        following = int(row["segment"]) + _AHEAD
        name = "ready_odd" if following & 1 else "ready_even"
        if not self.full and row[name] == 0:
            row[name] = self._segment(following)

    @property
    def next_seq(self) -> int:
        """The number that the next frame gets."""
        return int(self.table[0]["next_seq"])

    def append(self, kind: int, flags: int, batch_index: int, input_seq: int, data: bytes) -> int:
        """The real append; its frame's number, negative where there is no room."""
        source = np.frombuffer(data + b"\0", dtype=np.uint8)
        seq = int(append(self.table, kind, flags, batch_index, input_seq, int(source.ctypes.data), len(data)))
        self.prepare()
        return seq

    def append_torn(self, kind: int, flags: int, batch_index: int, input_seq: int, data: bytes, torn: int) -> None:
        """Begin a frame and die: `torn` bytes of it were stored, and of those the length was to come last.

        Nothing may be appended after it.
        """
        before = int(self.table[0]["next_seq"])
        if self.append(kind, flags, batch_index, input_seq, data) < 0:
            return
        assert int(self.table[0]["next_seq"]) > before
        size = (FRAME_HEADER + len(data) + 31) & -32
        end = int(self.table[0]["cursor"])
        memory = self.segments[int(self.table[0]["segment"])].view(np.uint8)
        frame = memory[end - size : end]
        frame[:8] = 0
        frame[min(8 + torn, size) :] = 0

    def blank_ahead(self) -> bool:
        """Whether there is nothing behind the last frame."""
        segment = self.segments[int(self.table[0]["segment"])]
        return not segment[int(self.table[0]["cursor"]) // 8 :].any()

    def sync(self) -> None:
        """What is there now survives the machine's death."""
        self._synced = [segment.tobytes() for segment in self.segments]
        self._synced_end = (int(self.table[0]["segment"]), int(self.table[0]["cursor"]))
        self.synced_seq = self.next_seq - 1

    def image(
        self, lost_pages: Sequence[int] = (), lost_sectors: Sequence[int] = (), stale: bool = False
    ) -> list[bytes]:
        """The segments as they are found after a death.

        Lost pages and sectors (the machine died) are counted over all segments from the first that is not as it was
        synced; they are as they were synced, or `stale`, where nothing was synced: as the first segment is there. None
        are lost where the process died alone.
        """
        now = [segment.tobytes() for segment in self.segments]
        for size, lost in ((PAGE, lost_pages), (SECTOR, lost_sectors)):
            if lost:
                now = self._without(now, size, lost, stale)
        return now

    def _without(self, now: list[bytes], size: int, lost: Sequence[int], stale: bool) -> list[bytes]:
        changed = []
        images = [bytearray(data) for data in now]
        for number, data in enumerate(images):
            old = self._synced[number] if number < len(self._synced) else bytes(len(data))
            for at in range(0, len(data), size):
                if data[at : at + size] != old[at : at + size]:
                    found = now[0] if stale and number > 0 and (number, at) >= self._synced_end else old
                    changed.append((number, at, found[at : at + size]))
        for place in lost:
            if place < len(changed):
                number, at, old_bytes = changed[place]
                images[number][at : at + size] = old_bytes
        return [bytes(data) for data in images]

    def load(self, run_dir: Path, end: End) -> None:
        """Go on behind the end of the journal whose files are in `run_dir`, as JournalWriter.resume does."""
        self.segments = []
        for number in range(end.segment + 1):
            raw = np.frombuffer(segment_path(run_dir, number).read_bytes(), dtype="<i8")
            self._segment(number)
            self.segments[number][:] = raw
        row = self.table[0]
        row["segment"], row["cursor"] = end.segment, end.offset
        row["next_seq"], row["prev_crc"] = end.last_seq + 1, end.prev_crc
        row["address"] = self._segment(end.segment)
        row["ready_even"] = row["ready_odd"] = 0
        store_release(int(row["address"]) + 56, 0)
        self.prepare()

    def frame(self, seq: int) -> tuple[int, int, int, bytes]:
        """(kind, place in the batch, input, payload) of a frame in the segment in use or the one before it."""
        newest = int(self.table[0]["segment"])
        for number in range(max(newest - 1, 0), newest + 1):
            cursor, rows = np.zeros(1, dtype=CURSOR), np.zeros(self.segment_bytes // FRAME_HEADER, dtype=FRAME)
            memory = self.segments[number]
            cursor[0]["segment"], cursor[0]["offset"] = number, SEGMENT_HEADER
            cursor[0]["next_seq"], cursor[0]["prev_crc"] = int(memory[3]), int(memory[4]) & 0xFFFF_FFFF
            count = int(scan(int(memory.ctypes.data), self.segment_bytes, cursor, rows))
            for row in rows[:count][rows["seq"][:count] == seq]:
                begin = int(row["offset"]) + FRAME_HEADER
                payload = memory.view(np.uint8)[begin : begin + int(row["length"])].tobytes()
                return int(row["kind"]), int(row["batch_index"]), int(row["input_seq"]), payload
        raise AssertionError(f"frame {seq} is not there")

    def digest_source(self) -> list[bytes]:
        """The bytes of all segments in use."""
        return [segment.tobytes() for segment in self.segments[: int(self.table[0]["segment"]) + 1]]


def write_image(run_dir: Path, image: list[bytes]) -> None:
    """The image as files of a run directory."""
    first = segment_path(run_dir, 0)
    first.parent.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(image):
        segment_path(run_dir, number).write_bytes(data)
