"""What can be said of a journal of an older schema version: that it is whole, and what it holds.

The core of the present version has other rules than the one that wrote it, so its outputs are not compared: they would
differ, and that would mean nothing. Checked is all that does not need the old core: each frame's CRC and link (the
reader's), the SHA-256 that was kept of each closed segment, that every output belongs to the input before it and each
batch is numbered and marked, and that every record is one that its version has, field by field.

Worst case: one pass over the journal, unjitted but for the reader: some hundred thousand frames a second.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from engine.io import journal_chain
from engine.io.journal_format import Kind, segment_numbers, segment_path
from engine.io.journal_reader import Ending, Frame, JournalReader
from engine.record.records import Template
from engine.record.versions import VersionError, upgrade
from engine.run.manifest import Manifest

if TYPE_CHECKING:
    from replay.verify import Progress


class Whole:
    """What was found; `broken` says what is wrong with the closed segments, `wrong` with the first bad record."""

    def __init__(self) -> None:
        self.inputs = self.outputs = 0
        self.last_seq = -1
        self.wrong: str | None = None
        self.seconds = 0.0
        self.ending = "not reached"
        self.torn_bytes = self.torn_outputs = self.dropped = 0
        self.segments = 0
        self.broken: str | None = None


def look(run_dir: Path, reader: JournalReader, run: Manifest, progress: Progress | None) -> Whole:
    """Read a journal of an older version to its end, or to the first record that cannot be."""
    found, batch, began = Whole(), _Batch(), time.perf_counter()
    while found.wrong is None and (chunk := reader.read(16384)) is not None:
        for frame in chunk.frames():
            found.wrong = _take(found, batch, frame, run.schema_version)
            if found.wrong is not None:
                found.wrong = (
                    f"frame {frame.seq} at byte {frame.offset} of {reader.path_of(frame.segment)}: {found.wrong}"
                )
                break
            found.last_seq = frame.seq
        if progress is not None:
            progress(chunk.segment, int(chunk.rows["offset"][-1]))
    found.seconds = max(time.perf_counter() - began, 1e-9)
    end = reader.end
    if found.wrong is None:
        assert end is not None, "it was read to its end"
        found.ending, found.torn_bytes = end.ending.name.lower(), end.torn_bytes
        if batch.open and end.ending is Ending.CLOSED:
            found.wrong = f"the journal was closed within the outputs of input {batch.cause}"
        elif batch.open:
            found.torn_outputs = batch.index
    found.segments, found.broken = _segments(run_dir, reader, run)
    return found


class _Batch:
    """The outputs of one input as they come."""

    def __init__(self) -> None:
        self.cause, self.index, self.open = -1, 0, False


def _take(found: Whole, batch: _Batch, frame: Frame, version: int) -> str | None:
    """Take a frame; what is wrong with it."""
    if frame.kind == Kind.RECOVERED:
        found.dropped += int(batch.open)
        batch.open = False
        return None
    if frame.kind not in (Kind.INPUT, Kind.OUTPUT, Kind.OBSERVATION):
        return None
    if frame.kind == Kind.INPUT:
        if batch.open:
            return f"an input within the outputs of input {batch.cause}"
        batch.cause, batch.index, batch.open = frame.seq, 0, False
        found.inputs += 1
    elif frame.kind == Kind.OUTPUT:
        if frame.input_seq != batch.cause or frame.batch_index != batch.index:
            return f"output {frame.batch_index} of input {frame.input_seq}, where {batch.index} of {batch.cause} is due"
        batch.index += 1
        batch.open = not frame.last
        found.outputs += 1
    return _record(frame, version)


def _record(frame: Frame, version: int) -> str | None:
    """What is wrong with a frame's record. A refused input may be anything, so long as it is whole."""
    number = int.from_bytes(frame.payload[2:4].tobytes(), "little")
    if number not in list(Template):
        return None if frame.kind == Kind.INPUT else f"a record of template {number}, which is none"
    try:
        upgrade(frame.payload, version, Template(number))
    except VersionError as error:
        return None if frame.kind == Kind.INPUT else str(error)
    return None


def _segments(run_dir: Path, reader: JournalReader, run: Manifest) -> tuple[int, str | None]:
    """(closed segments that are as their SHA-256 says, what is wrong with the first other one)."""
    if (run_dir / "journal" / "chain").exists():
        chain = journal_chain.check(run_dir, reader.run_id, reader.manifest)
        short = None
        if chain.broken is None and (end := reader.end) is not None:
            short = journal_chain.shortened(run_dir, end.segment, closed=end.ending is Ending.CLOSED)
        return chain.segments, chain.broken or short
    good = 0
    for number in segment_numbers(run_dir):
        # Version 1 kept a hash beside each closed segment, as sha256sum writes it, and no chain.
        kept, path = segment_path(run_dir, number).with_suffix(".sha256"), segment_path(run_dir, number)
        if not kept.exists():
            continue
        if kept.read_text(encoding="ascii", errors="replace").split()[:1] != [journal_chain.file_digest(path)]:
            return good, f"{path}: is not what it was when it was closed ({kept.name})"
        good += 1
    return good, None
