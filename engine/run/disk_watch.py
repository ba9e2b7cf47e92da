"""The disk under the journal, watched by the main thread: when to cancel only, and when to stop.

    less than [journal] min_free_mib free, or no room for a segment   KILL_ON, reason DISK_FULL: cancel-only
    no room for a segment, and little left of those prepared          halt, reason DISK_FULL, while it can be journaled
    an I/O error where a segment is prepared, or a failed sync        halt, reason DISK_ERROR; never tried again

The kill flag is lifted by a person alone (`tickroute resume RUN_DIR`); while the disk is still full it comes
back a second later.

Worst case: between two looks (50 ms) more is written than the reserve holds. The loop then waits, and acts on nothing.
"""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from engine.io.journal_sync import Syncer
from engine.io.journal_writer import JournalWriter
from engine.record.records import Reason

#: What says that there is no room: the disk, a quota, or a limit on a file's size.
FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
#: Between two times that the kill flag is asked for.
AGAIN_S: Final = 1.0


class Finding(NamedTuple):
    """What is wrong with the disk, and whether the engine must stop."""

    halt: bool
    reason: Reason
    why: str


class DiskWatch:
    """Looks at a writer and, with durability `disk`, its syncer."""

    def __init__(self, journal: JournalWriter, syncer: Syncer | None, min_free_mib: int) -> None:
        self._journal, self._syncer, self._min_free_mib = journal, syncer, min_free_mib

    def look(self) -> Finding | None:
        """What is wrong now; None where nothing is."""
        if self._syncer is not None and self._syncer.error:
            return Finding(True, Reason.DISK_ERROR, f"the journal cannot be synced: {os.strerror(self._syncer.error)}")
        failed = self._journal.error
        if failed == errno.EIO:
            return Finding(True, Reason.DISK_ERROR, f"no segment can be prepared: {os.strerror(failed)}")
        if failed:
            why = f"no segment can be prepared: {os.strerror(failed)}"
            reason = Reason.DISK_FULL if failed in FULL else Reason.DISK_ERROR
            size = int(self._journal.table[0]["segment_bytes"])
            return Finding(self._journal.room < size // 8, reason, why)
        free_mib = int(self._journal.table[0]["free_mib"])
        if free_mib < self._min_free_mib:
            why = f"{free_mib} MiB are free, and journal.min_free_mib is {self._min_free_mib}"
            return Finding(False, Reason.DISK_FULL, why)
        return None
