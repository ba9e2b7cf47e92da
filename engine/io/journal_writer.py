"""The journal's cold half: makes a run's journal, holds its memory and helpers, and closes it.

`table` is what the kernel `journal.append` takes. A clean `close` publishes the journal's end in the last segment's
header, so that a missing tail is told from one that was never written; the bytes behind it stay zero.

Worst case: `close` while a kernel still appends is a crash: stop the loop first.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

import numpy as np

from engine.io.atomics import store_release
from engine.io.journal import JOURNAL, append, begin_segment
from engine.io.journal_format import (
    CLOSED,
    FRAME_HEADER,
    LAST,
    SEGMENT_HEADER,
    SEGMENT_MAX,
    SEGMENT_MIN,
    JournalError,
    Kind,
    end_word,
    segment_path,
)
from engine.io.journal_keeper import Keeper
from engine.io.mapping import aligned_zeros, try_lock


class JournalWriter:
    """A new journal in `run_dir`, with `manifest` as its first frame (seq 0). `table` is what `append` takes.

    `segment_bytes` is a multiple of 4096 up to 1 GiB; the manifest must fit into one segment. JournalError where the
    run has a journal already, or the disk is full. The table takes no frame after `close`.
    """

    def __init__(self, run_dir: str | Path, segment_bytes: int, manifest: bytes) -> None:
        self.run_dir = Path(run_dir)
        first = segment_path(self.run_dir, 0)
        _check_sizes(first, segment_bytes, len(manifest))
        try:
            first.parent.mkdir(parents=True)
        except FileExistsError as error:
            remedy = "name another run directory"
            raise JournalError(first.parent, 0, "this run has a journal already", remedy) from error
        self.run_id = uuid.uuid4().bytes
        self._prepare(segment_bytes)
        try:
            self._open(0, new=True)
            source = np.frombuffer(manifest + b"\0", dtype=np.uint8)
            seq = append(self.table, int(Kind.MANIFEST), LAST, 0, -1, int(source.ctypes.data), len(manifest))
            assert seq == 0, "the manifest is the first frame"
        except BaseException:
            self.close()
            shutil.rmtree(first.parent)
            raise

    def _prepare(self, segment_bytes: int) -> None:
        self.table: np.ndarray = aligned_zeros(1, JOURNAL)
        self.table[0]["segment_bytes"] = segment_bytes
        self.table[0]["run_id"] = np.frombuffer(self.run_id, dtype="<i8")
        self._keeper = Keeper(self.table, self.run_dir, segment_bytes)
        self._lock = -1
        self._closed = False

    def _open(self, segment: int, *, new: bool) -> None:
        """Map and lock the segment to write to, and start the helpers; JournalError where the disk is full."""
        first = segment_path(self.run_dir, 0)
        try:
            base = self._keeper.open(segment, new=new)
            if new:
                begin_segment(self.table, base, segment)
            self._lock = os.open(first, os.O_RDWR)
            if not try_lock(self._lock, 0):
                raise JournalError(first, 0, "another process is writing this journal", "stop that process first")
            self._keeper.start()
        except OSError as error:
            size = 3 * int(self.table[0]["segment_bytes"])
            remedy = f"free {size} bytes there, or choose smaller segments ([journal] segment_mib)"
            raise JournalError(first, 0, f"cannot make segments: {error.strerror}", remedy) from error

    @property
    def next_seq(self) -> int:
        """Sequence number that the next frame gets."""
        return int(self.table[0]["next_seq"])

    @property
    def error(self) -> int:
        """errno that keeps the next segment from being prepared; 0 where all is well."""
        return int(self.table[0]["error"])

    def close(self) -> None:
        """Stop the helpers, publish the end, and unmap. No kernel may be appending. Twice is once."""
        if self._closed:
            return
        self._closed = True
        self._keeper.stop()
        row = self.table[0]
        base = int(row["address"])
        if base:
            store_release(base + 56, end_word(base, int(row["cursor"]) | CLOSED))
        # An append after this finds no room and no segment.
        row["cursor"] = row["segment_bytes"]
        row["address"] = row["ready_even"] = row["ready_odd"] = 0
        self._keeper.close()
        if self._lock >= 0:
            os.close(self._lock)

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_sizes(file: Path, segment_bytes: int, manifest_bytes: int) -> None:
    if segment_bytes % SEGMENT_MIN or not SEGMENT_MIN <= segment_bytes <= SEGMENT_MAX:
        limits = f"a multiple of {SEGMENT_MIN} from {SEGMENT_MIN} to {SEGMENT_MAX}"
        raise JournalError(file, 0, f"a segment of {segment_bytes} bytes is not possible", f"choose {limits}")
    room = segment_bytes - SEGMENT_HEADER - FRAME_HEADER
    if manifest_bytes > room:
        why = f"the manifest has {manifest_bytes} bytes, and a segment of {segment_bytes} has room for {room}"
        raise JournalError(file, 0, why, "choose larger segments ([journal] segment_mib)")
