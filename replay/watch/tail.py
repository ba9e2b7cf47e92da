"""The end of a journal that is being written, read from where somebody stopped: chunks of frames, and records in them.

A place is kept as `Mark`. Where the journal no longer has it (segments were let go, a repair gave frames up) reading
begins at the first frame that is kept, frames that were read before are left out, and `trouble` says how many are gone.

Worst case: reading a journal of many gigabytes from its first frame, at some gigabytes a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.errors import TickrouteError
from engine.io.journal_format import FRAME_HEADER, JournalError, Kind
from engine.io.journal_reader import Chunk, JournalReader, Mark
from engine.record.records import DTYPES, Template

Array = np.ndarray[Any, np.dtype[Any]]
#: Frames that hold records.
_RECORDS: Final = (Kind.INPUT, Kind.OUTPUT, Kind.OBSERVATION)


class TailError(TickrouteError):
    """A journal that cannot be followed; the message says why and what to do."""


class Tail:
    """The frames of a run from `mark` on. A context manager; JournalError where there is no journal, or damage."""

    def __init__(self, run_dir: Path, mark: Mark | None = None, *, live: bool = True) -> None:
        self.trouble = ""
        self._skip_to = -1
        try:
            self._reader = JournalReader(run_dir, live=live, at=mark)
        except JournalError as error:
            if mark is None:
                raise
            self._reader = JournalReader(run_dir, live=live)
            self._skip_to = mark.seq
            self.trouble = f"frame {mark.seq} is no longer where it was ({error.why})"
        self._mark = mark
        self.run_id = self._reader.run_id.hex()
        self.manifest = self._reader.manifest

    @property
    def mark(self) -> Mark | None:
        """Behind the last frame that was read."""
        return self._mark

    @property
    def ended(self) -> bool:
        """Whether the journal was closed, and all of it read."""
        return self._reader.end is not None

    def read(self, limit: int = 4096) -> Chunk | None:
        """The next frames; None where there are no more now."""
        while (chunk := self._reader.read(limit)) is not None:
            self._mark = self._reader.mark
            if self._skip_to < 0:
                return chunk
            first = int(chunk.rows["seq"][0])
            if first > self._skip_to + 1:
                self.trouble += f"; {first - self._skip_to - 1} frames behind it are gone and were not looked at"
            kept = chunk.rows["seq"] > self._skip_to
            if kept.any():
                self._skip_to = -1
                return chunk._replace(rows=chunk.rows[kept])
        return None

    def close(self) -> None:
        """Unmap."""
        self._reader.close()

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def templates(chunk: Chunk) -> Array:
    """Template of each frame's record (int64), -1 where it holds none."""
    words = chunk.memory[: len(chunk.memory) & -2].view("<u2")
    # Only where there is one: a pad at the end of a segment may have no byte behind its header.
    rows = np.flatnonzero(np.isin(chunk.rows["kind"], _RECORDS) & (chunk.rows["length"] >= 64))
    found: Array = np.full(len(chunk.rows), -1, dtype=np.int64)
    found[rows] = words[(chunk.rows["offset"][rows] + FRAME_HEADER + 2) // 2]
    return found


def records(chunk: Chunk, rows: Array, template: Template) -> Array:
    """The records of some rows (indices), all of one template, as a structured array."""
    dtype = DTYPES[template]
    at = chunk.rows["offset"][rows] + FRAME_HEADER
    data = chunk.memory[at[:, None] + np.arange(dtype.itemsize)]
    return np.ascontiguousarray(data).reshape(-1).view(dtype)


def column(chunk: Chunk, rows: Array, offset: int, kind: str) -> Array:
    """One field of some rows' records, by its offset in the record (a multiple of its size)."""
    size = np.dtype(kind).itemsize
    words = chunk.memory[: len(chunk.memory) & -size].view(kind)
    found: Array = words[(chunk.rows["offset"][rows] + FRAME_HEADER + offset) // size]
    return found
