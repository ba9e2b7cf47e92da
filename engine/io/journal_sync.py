"""Durability `disk`: a helper that syncs the journal, and publishes how far it is safe.

The loop says up to which frame it wants the disk (`wanted_seq`) and never waits: it keeps what it has to send until
`durable_seq` has passed it (`engine.run.held`). The helper, a thread, syncs the segments written since the last time
(fdatasync, and the directory where a segment is new) and then stores what the loop had wanted before it began. While
the disk works, more frames gather: one sync serves them all.

Worst case: a sync fails. What the kernel could not write it may have dropped, and a second sync would say that all is
well; so there is none. `error` has the errno, the helper has ended, and the engine halts.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.io.atomics import address_of, load_acquire, monotonic_ns, nap, store_release
from engine.io.journal import SEGMENT
from engine.io.journal_format import JournalError, segment_numbers, segment_path
from engine.io.mapping import aligned_zeros
from engine.jit import kernel

#: Shared by loop and helper, a row; each side writes its own cache lines.
SYNC: Final = np.dtype(
    (
        np.record,
        [
            ("wanted_seq", "<i8"),
            ("spare", "<i8", (15,)),
            ("durable_seq", "<i8"),
            ("error", "<i8"),
            ("syncs", "<i8"),
            ("last_ns", "<i8"),
            ("longest_ns", "<i8"),
            ("spare_2", "<i8", (11,)),
        ],
    )
)
assert SYNC.fields is not None
WANTED: Final = int(SYNC.fields["wanted_seq"][1])
DURABLE: Final = int(SYNC.fields["durable_seq"][1])
ERROR: Final = int(SYNC.fields["error"][1])
assert (WANTED, DURABLE) == (0, 128)

#: Between two looks at what is wanted, soon after something was and later, and the longest wait in one call.
_SOON_NS, _LATER_NS, _AWAKE_NS, _CALL_NS = 50_000, 500_000, 5_000_000, 50_000_000
#: What syncs a file; tests put a slow or failing one in its place.
fdatasync = os.fdatasync


@kernel
def await_wanted(sync: Any, stop: Any, after: int) -> int:
    """Wait until more than frame `after` is wanted, stop[0] is not 0, or some time has passed; what is wanted."""
    table, flag = address_of(sync), address_of(stop)
    began = monotonic_ns()
    while True:
        wanted, waited = load_acquire(table + WANTED), monotonic_ns() - began
        if wanted > after or load_acquire(flag) != 0 or waited > _CALL_NS:
            return wanted
        nap(_SOON_NS if waited < _AWAKE_NS else _LATER_NS)


class Syncer:
    """The helper of one writer, whose table is `journal`. `table` (SYNC) is what the loop shares with it."""

    def __init__(self, run_dir: Path, journal: np.ndarray) -> None:
        self._run_dir = run_dir
        self._newest = int(journal.ctypes.data) + SEGMENT
        self._first = int(journal[0]["segment"])
        self._files: dict[int, int] = {}
        self._stop: np.ndarray = aligned_zeros(16, np.dtype(np.int64))
        self.table: np.ndarray = aligned_zeros(1, SYNC)
        self.table[0]["wanted_seq"] = int(journal[0]["next_seq"]) - 1
        self.table[0]["durable_seq"] = -1
        self._address = int(self.table.ctypes.data)
        await_wanted(self.table, self._stop, -2)  # compiled before the loop runs
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)

    @property
    def error(self) -> int:
        """errno of the sync that failed; 0 where none did."""
        return int(load_acquire(self._address + ERROR))

    def start(self) -> None:
        """Sync what is there, and start it; JournalError where the disk does not take it.

        All that a frame builds on is on the disk before it is written: the manifest, and what an earlier life, which
        died or did not sync, has left behind.
        """
        try:
            for number in segment_numbers(self._run_dir):
                if number < self._first:
                    fdatasync(self._file(number))
                    os.close(self._files.pop(number))
            self._sync()
        except OSError as error:
            first = segment_path(self._run_dir, self._first)
            why = f"the journal cannot be synced: {error.strerror}"
            raise JournalError(first, 0, why, "name a run directory on a disk that works") from error
        self.table[0]["durable_seq"] = self.table[0]["wanted_seq"]
        self._thread.start()

    def stop(self) -> None:
        """Sync what is wanted still, and end. Twice is once."""
        store_release(self._stop.ctypes.data, 1)
        if self._thread.is_alive():
            self._thread.join()
        for number in list(self._files):
            os.close(self._files.pop(number))

    def _run(self) -> None:
        durable, stopping = int(self.table[0]["durable_seq"]), False
        while not stopping:
            stopping = load_acquire(self._stop.ctypes.data) != 0
            wanted = int(await_wanted(self.table, self._stop, durable))
            if wanted <= durable:
                continue
            try:
                self._sync()
            except OSError as error:
                store_release(self._address + ERROR, error.errno or errno.EIO)
                return
            durable = wanted
            store_release(self._address + DURABLE, durable)

    def _sync(self) -> None:
        """Sync every segment that was written to since the last time."""
        began, row = monotonic_ns(), self.table[0]
        current = load_acquire(self._newest)
        for number in range(self._first, current + 1):
            fdatasync(self._file(number))
        for number in range(self._first, current):
            os.close(self._files.pop(number))
        self._first = current
        row["syncs"] += 1
        row["last_ns"] = monotonic_ns() - began
        row["longest_ns"] = max(int(row["longest_ns"]), int(row["last_ns"]))

    def _file(self, number: int) -> int:
        """A segment's descriptor of our own; where it is new to us, its name is on the disk first."""
        if number not in self._files:
            self._files[number] = os.open(segment_path(self._run_dir, number), os.O_RDWR | os.O_CLOEXEC)
            folder = os.open(self._run_dir / "journal", os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return self._files[number]
