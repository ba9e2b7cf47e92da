"""The journal's cold half: makes or resumes a run's journal, holds its memory and helpers, and closes it.

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
from engine.io.journal_chain import Chain
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
    segment_numbers,
    segment_path,
)
from engine.io.journal_keeper import Keeper
from engine.io.journal_reader import End, JournalReader
from engine.io.journal_scan import last_byte
from engine.io.mapping import Mapping, aligned_zeros
from engine.io.run_lock import RunLock


class JournalWriter:
    """A new journal in `run_dir`, with `manifest` as its first frame (seq 0). `table` is what `append` takes.

    `segment_bytes` is a multiple of 4096 up to 1 GiB; the manifest must fit into one segment. `lock` is the run's,
    where the caller holds it. JournalError where the run has a journal already, or the disk is full; RunLockedError
    where another process works on it. The table takes no frame after `close`. `synced`: segments are
    prepared for a Syncer, clean on the disk.
    """

    #: How the journal ended that was resumed; None for a new one.
    recovered: End | None

    def __init__(
        self,
        run_dir: str | Path,
        segment_bytes: int,
        manifest: bytes,
        *,
        lock: RunLock | None = None,
        synced: bool = False,
    ) -> None:
        self.run_dir = Path(run_dir)
        self._synced = synced
        first = segment_path(self.run_dir, 0)
        _check_sizes(first, segment_bytes, len(manifest))
        self._lock = RunLock(run_dir) if lock is None else None
        try:
            first.parent.mkdir(parents=True)
        except FileExistsError as error:
            self._unlock()
            remedy = "name another run directory, or resume this run"
            raise JournalError(first.parent, 0, "this run has a journal already", remedy) from error
        self.run_id = uuid.uuid4().bytes
        self._prepare(segment_bytes)
        try:
            self._open(0, manifest, new=True)
            source = np.frombuffer(manifest + b"\0", dtype=np.uint8)
            seq = append(self.table, int(Kind.MANIFEST), LAST, 0, -1, int(source.ctypes.data), len(manifest))
            assert seq == 0, "the manifest is the first frame"
        except BaseException:
            self.close()
            shutil.rmtree(first.parent)
            raise

    @classmethod
    def resume(
        cls,
        run_dir: str | Path,
        *,
        cut: bool = False,
        lock: RunLock | None = None,
        read: JournalReader | None = None,
        synced: bool = False,
    ) -> JournalWriter:
        """Go on with the journal of a run that ended, however it did; `recovered` says how.

        Bytes behind the last frame are kept aside in `journal/*.torn`, never lost. JournalError where it is damaged:
        `cut` gives up, aside too, what follows the damage. RunLockedError where another process works on it. Who holds
        the run's `lock`, and has since then read the journal to its end, gives `read` and spares the second reading.
        The caller appends a frame of Kind.RECOVERED.
        """
        if not (Path(run_dir) / "journal").exists():
            JournalReader(run_dir)  # raises, and no directory is made
        writer = cls.__new__(cls)
        writer.run_dir = Path(run_dir)
        writer._synced = synced
        writer._lock = RunLock(run_dir) if lock is None else None
        try:
            if read is None:
                with JournalReader(run_dir, cut=cut) as read:
                    for _ in read.chunks():
                        pass
            assert read.end is not None, "a reader that is not live comes to an end"
            writer.run_id = read.run_id
            writer._prepare(read.segment_bytes)
        except BaseException:
            writer._unlock()
            raise
        try:
            set_aside(writer.run_dir, read.end)
            writer._go_on(read.end, read.manifest)
        except BaseException:
            writer._closed = True
            writer._keeper.stop()
            writer._keeper.close()
            writer._unlock()
            raise
        return writer

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _go_on(self, end: End, manifest: bytes) -> None:
        row = self.table[0]
        row["segment"], row["cursor"] = end.segment, end.offset
        row["next_seq"], row["prev_crc"] = end.last_seq + 1, end.prev_crc
        self.recovered = end
        self._open(end.segment, manifest, new=False)

    def _prepare(self, segment_bytes: int) -> None:
        self.table: np.ndarray = aligned_zeros(1, JOURNAL)
        self.table[0]["segment_bytes"] = segment_bytes
        self.table[0]["run_id"] = np.frombuffer(self.run_id, dtype="<i8")
        self._keeper = Keeper(self.table, self.run_dir, segment_bytes, synced=self._synced)
        self._closed = False
        self.recovered = None

    def _open(self, segment: int, manifest: bytes, *, new: bool) -> None:
        """Map the segment to write to, and start the helpers; JournalError where the disk is full."""
        try:
            self._keeper.chain = Chain(self.run_dir, self.run_id, manifest, segment)
            address = self._keeper.open(segment, new=new)
            if new:
                begin_segment(self.table, address, segment)
            else:
                self.table[0]["address"] = address
                store_release(address + 56, 0)
            self._keeper.start()
        except OSError as error:
            size = 3 * int(self.table[0]["segment_bytes"])
            remedy = f"free {size} bytes there, or choose smaller segments ([journal] segment_mib)"
            first = segment_path(self.run_dir, 0)
            raise JournalError(first, 0, f"cannot make segments: {error.strerror}", remedy) from error

    @property
    def next_seq(self) -> int:
        """Sequence number that the next frame gets."""
        return int(self.table[0]["next_seq"])

    @property
    def error(self) -> int:
        """errno that keeps the next segment from being prepared; 0 where all is well."""
        return int(self.table[0]["error"])

    @property
    def room(self) -> int:
        """Bytes that can still be written without another segment."""
        row = self.table[0]
        ready = int(row["ready_even"] != 0) + int(row["ready_odd"] != 0)
        return int(row["segment_bytes"] * (ready + 1) - row["cursor"])

    def close(self, *, in_order: bool = True) -> None:
        """Stop the helpers, publish the end, and unmap. No kernel may be appending. Twice is once.

        `in_order` False: the last step's outputs are not all there, and the journal ends as if its writer had died.
        """
        if self._closed:
            return
        self._closed = True
        self._keeper.stop()
        row = self.table[0]
        base = int(row["address"])
        if base:
            store_release(base + 56, end_word(base, int(row["cursor"]) | (CLOSED if in_order else 0)))
        # An append after this finds no room and no segment.
        row["cursor"] = row["segment_bytes"]
        row["address"] = row["ready_even"] = row["ready_odd"] = 0
        self._keeper.close()
        self._unlock()

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def set_aside(run_dir: Path, end: End) -> list[Path]:
    """Move what lies behind the end of a journal to files of its own (`journal/*.torn`), synced before it is erased.

    Segments behind the end are renamed, or removed where they are all zero. Returns the files made.
    """
    path = segment_path(run_dir, end.segment)
    path.with_suffix(".sha256").unlink(missing_ok=True)
    made = []
    used = _used(path, end.offset)
    if used > end.offset:
        made.append(_torn_name(path, end.offset))
        with path.open("r+b") as file, made[-1].open("xb") as copy:
            file.seek(end.offset)
            copy.write(file.read(used - end.offset))
            os.fsync(copy.fileno())
            file.seek(end.offset)
            file.write(bytes(used - end.offset))
    for segment in [number for number in segment_numbers(run_dir) if number > end.segment]:
        path = segment_path(run_dir, segment)
        path.with_suffix(".sha256").unlink(missing_ok=True)
        if _used(path, 0):
            made.append(path.rename(_torn_name(path, 0)))
        else:
            path.unlink()
    return made


def _used(path: Path, offset: int) -> int:
    """Offset behind the last byte of a segment that is not zero; `offset`, a multiple of 8, where none is behind it."""
    if path.stat().st_size <= offset:
        return offset
    mapping = Mapping(path, write=False)
    try:
        whole = mapping.size & -8
        if mapping.memory[whole:].any():
            return mapping.size
        return int(last_byte(mapping.address, min(offset, whole), whole))
    finally:
        mapping.close()


def _torn_name(path: Path, offset: int) -> Path:
    """A name that is free: a journal may be torn at one place more than once."""
    count = sum(1 for _ in path.parent.glob(f"{path.stem}-{offset}-*.torn"))
    return path.with_name(f"{path.stem}-{offset}-{count}.torn")


def _check_sizes(file: Path, segment_bytes: int, manifest_bytes: int) -> None:
    if segment_bytes % SEGMENT_MIN or not SEGMENT_MIN <= segment_bytes <= SEGMENT_MAX:
        limits = f"a multiple of {SEGMENT_MIN} from {SEGMENT_MIN} to {SEGMENT_MAX}"
        raise JournalError(file, 0, f"a segment of {segment_bytes} bytes is not possible", f"choose {limits}")
    room = segment_bytes - SEGMENT_HEADER - FRAME_HEADER
    if manifest_bytes > room:
        why = f"the manifest has {manifest_bytes} bytes, and a segment of {segment_bytes} has room for {room}"
        raise JournalError(file, 0, why, "choose larger segments ([journal] segment_mib)")
