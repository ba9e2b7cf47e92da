"""What a journal's writer needs done beside it: segments prepared ahead, pages kept populated, old segments put away.

Two threads. One, in Python, allocates, zero-writes and maps the next two segments, and hands their addresses over
through the table (`ready_even`, `ready_odd`); it hashes those that are done with (SHA-256 in NNNNNN.sha256, as
sha256sum writes it, and linked in the chain) and unmaps them. The other runs a nopython kernel without the GIL, so
that a busy interpreter cannot starve it: it keeps the window ahead of the cursor populated, because pages that were
written back fault again (8 us, 111 us at worst).

It also looks how much is free on the disk (`free_mib`).

Worst case: a full disk. The blocks of a segment are allocated before it is mapped, so that is an errno in the table
(`error`), tried again every 250 ms, and never a SIGBUS; what is prepared already lasts for up to two segments more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.io.atomics import address_of, load_acquire, madvise, monotonic_ns, nap, store_release
from engine.io.journal import ADDRESS, CURSOR, READY, SEGMENT
from engine.io.journal_chain import Chain, file_digest
from engine.io.journal_format import segment_path
from engine.io.mapping import PAGE, POPULATE_WRITE, Mapping, aligned_zeros, allocate
from engine.jit import kernel

#: Bytes ahead of the cursor that are kept populated: 16 ms at 250 MB/s, for the helper may have to wait for its core.
WINDOW: Final = 1 << 22
#: With a Syncer: each page of the window is dirty, and every sync writes it (measured: 16 KiB 1.3 ms, 128 KiB 3.2 ms).
SYNCED_WINDOW: Final = 1 << 15
#: Bytes ahead of the cursor whose pages are populated again at each look, for they may have been written back since.
NEAR: Final = 1 << 15
#: Between two looks at the cursor (a nap costs about 20 us of CPU), and between two rounds over the whole window.
LOOK_NS: Final = 1_000_000
ROUND_NS: Final = 20_000_000
_EINVAL = errno.EINVAL
_IDLE_S = 0.005
#: What tells how full a disk is; tests put a full one in its place.
statvfs = os.statvfs
_RETRY_S = 0.25


@kernel
def populate(begin: int, end: int) -> int:
    """Populate the pages of addresses begin .. end - 1: 0 or -errno."""
    first = begin & -PAGE
    size = ((end + PAGE - 1) & -PAGE) - first
    return madvise(first, size, POPULATE_WRITE) if size > 0 else 0


@kernel
def keep_populated(journal: Any, stop: Any, window: int) -> None:
    """Keep `window` bytes after the cursor populated, into the next segment where it is ready, until stop[0] is not 0.

    Pages that come into the window are populated at once, those next to the cursor at each look, and all of them every
    ROUND_NS: a page that was written back faults again.
    """
    row = journal[0]
    table, flag = address_of(journal), address_of(stop)
    address, done, round_ns = 0, 0, 0
    while load_acquire(flag) == 0:
        now_ns = monotonic_ns()
        segment = load_acquire(table + SEGMENT)
        whole = load_acquire(table + ADDRESS) != address or now_ns - round_ns >= ROUND_NS
        if whole:
            address, round_ns = load_acquire(table + ADDRESS), now_ns
        cursor, end = address + load_acquire(table + CURSOR), address + row.segment_bytes
        goal = cursor + window
        if whole:
            done = cursor
        else:
            populate(cursor, min(cursor + NEAR, done))
        status = populate(done, min(goal, end))
        done = max(done, min(goal, end))
        following = load_acquire(table + READY + 8 * ((segment + 1) & 1))
        if whole and goal > end and following != 0:
            status = populate(following, following + min(goal - end, row.segment_bytes))
        row.populate_error = -status
        if status == -_EINVAL:
            return
        nap(LOOK_NS)


class Keeper:
    """The two helpers of one writer, and the mappings of its segments. Made by JournalWriter alone."""

    def __init__(self, table: np.ndarray, run_dir: Path, segment_bytes: int, *, synced: bool = False) -> None:
        self._synced = synced
        self._looked_at = 0.0
        self._table = table
        self._address = int(table.ctypes.data)
        self._run_dir = run_dir
        self._bytes = segment_bytes
        self._mappings: dict[int, Mapping] = {}
        self.chain: Chain | None = None
        self._next = 0
        self._retry_at = 0.0
        self._stop: np.ndarray = aligned_zeros(16, np.dtype(np.int64))
        self._threads: list[threading.Thread] = []

    def open(self, segment: int, *, new: bool) -> int:
        """Map the segment to begin or go on with, and return its address; OSError where the disk does not let us."""
        path = segment_path(self._run_dir, segment)
        if new:
            allocate(path, self._bytes, zero=True)
        self._next = segment + 1
        return self._map(segment)

    def start(self) -> None:
        """Prepare the next two segments and start the threads; OSError where the disk is full now."""
        self._look_at_disk()
        for _ in range(2):
            self._prepare()
        arguments = (self._table, self._stop, SYNCED_WINDOW if self._synced else WINDOW)
        self._threads = [
            threading.Thread(target=self._run, name="journal-segments", daemon=True),
            threading.Thread(target=keep_populated, args=arguments, name="journal-pages", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop both threads and wait for them."""
        store_release(self._stop.ctypes.data, 1)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def close(self) -> None:
        """Hash what is written, remove what was prepared in vain, unmap everything."""
        current = int(self._table[0]["segment"])
        if current in self._mappings:
            self._put_away(current + 1)
        for segment, mapping in self._mappings.items():
            mapping.close()
            if segment > current:
                mapping.path.unlink(missing_ok=True)
        self._mappings.clear()

    def _run(self) -> None:
        while not self._stop[0]:
            if time.monotonic() - self._looked_at >= _RETRY_S:
                self._look_at_disk()
            slot = self._address + READY + 8 * (self._next & 1)
            if load_acquire(slot) == 0 and time.monotonic() >= self._retry_at:
                try:
                    self._prepare()
                except OSError as error:
                    self._table[0]["error"] = error.errno or errno.EIO
                    self._retry_at = time.monotonic() + _RETRY_S
                else:
                    self._table[0]["error"] = 0
            else:
                self._put_away(load_acquire(self._address + SEGMENT))
                time.sleep(_IDLE_S)

    def _look_at_disk(self) -> None:
        """Put what is free for us into the table."""
        self._looked_at = time.monotonic()
        with contextlib.suppress(OSError):
            found = statvfs(self._run_dir / "journal")
            self._table[0]["free_mib"] = found.f_bavail * found.f_frsize >> 20

    def _prepare(self) -> None:
        path = segment_path(self._run_dir, self._next)
        allocate(path, self._bytes, zero=True)
        address = self._map(self._next)
        if self._synced:
            os.fsync(self._mappings[self._next].fd)  # or the first sync of its frames writes all of it
        store_release(self._address + READY + 8 * (self._next & 1), address)
        self._next += 1

    def _map(self, segment: int) -> int:
        """Map a segment with every page populated for writing, without the GIL."""
        mapping = Mapping(segment_path(self._run_dir, segment), write=True)
        populate(mapping.address, mapping.address + mapping.size)
        self._mappings[segment] = mapping
        return mapping.address

    def _put_away(self, current: int) -> None:
        """Hash the segments before `current`; unmap those before its predecessor, which no helper still looks at."""
        while self.chain is not None and self.chain.following < current:
            path = segment_path(self._run_dir, self.chain.following)
            try:
                digest = file_digest(path)
                path.with_suffix(".sha256").write_text(f"{digest}  {path.name}\n", encoding="ascii")
                self.chain.append(digest)
            except OSError:
                # A full disk: the segment itself is safe, and is hashed at the next look, or by the next writer.
                break
        for segment in [number for number in self._mappings if number < current - 1]:
            self._mappings.pop(segment).close()
