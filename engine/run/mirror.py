"""The loop's figures in the stats file: the loop writes to memory of its own, a helper copies it every PERIOD_NS.

The file lies in the run's directory, on a disk: whenever its pages have been written back, the next write to each is a
page fault. They are the helper's. It runs a nopython kernel without the GIL, so that a busy interpreter does not make
the figures old.

Worst case: a reader sees the figures PERIOD_NS late, and as late as the helper's core is taken away. After a kill -9
the file has what was copied last.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from engine.io.atomics import copy, load_acquire, load_i64, nap, store_i64, store_release
from engine.io.mapping import aligned_zeros
from engine.io.stats import RECORD_HEAD, read_record, write_begin, write_end
from engine.io.stats_file import StatsWriter
from engine.jit import kernel
from engine.run.assemble import Figures
from engine.run.publish import SPACING
from engine.run.wiring import PROGRESS

#: Between two copies; one of all histograms takes some 50 us.
PERIOD_NS: Final = 10_000_000
#: Words of `table`: addresses of the loop's figures, then those in the file, the sizes of both, and the flag to stop.
_WORDS: Final = 12
(
    _FROM_PUBLISHED, _FROM_HIST, _FROM_LOCK, _FROM_FIELDS, _TO_PUBLISHED, _TO_HIST, _TO_LOCK, _SCRATCH, _PUBLISHED,
    _HIST, _FIELDS_BYTES, _STOP,
) = range(_WORDS)  # fmt: skip


@kernel
def copy_figures(table: np.ndarray) -> None:
    """Copy everything once. table: int64 array, see _WORDS."""
    for k in range(table[_PUBLISHED]):
        at = 8 * SPACING * k
        store_release(table[_TO_PUBLISHED] + at, load_acquire(table[_FROM_PUBLISHED] + at))
    for k in range(table[_HIST]):
        store_i64(table[_TO_HIST] + 8 * k, load_i64(table[_FROM_HIST] + 8 * k))
    offset = table[_FROM_FIELDS] - table[_FROM_LOCK]
    if read_record(table[_FROM_LOCK], offset, table[_SCRATCH], table[_FIELDS_BYTES]) == 1:
        write_begin(table[_TO_LOCK])
        copy(table[_TO_LOCK] + RECORD_HEAD, table[_SCRATCH], table[_FIELDS_BYTES])
        write_end(table[_TO_LOCK])


@kernel
def keep_copied(table: np.ndarray) -> None:
    """Copy every PERIOD_NS until the flag is set."""
    while load_acquire(table.ctypes.data + 8 * _STOP) == 0:
        copy_figures(table)
        nap(PERIOD_NS)


class Mirror:
    """Copies `figures` into a stats file: by `copy`, and from `start` to `stop` by itself."""

    def __init__(self, figures: Figures, stats: StatsWriter) -> None:
        self._kept = (figures, stats)
        self._scratch = aligned_zeros(1, PROGRESS)
        self._table = aligned_zeros(_WORDS, np.dtype("<i8"))
        lock = figures.progress_lock.ctypes.data
        self._table[:] = [
            figures.published.ctypes.data, figures.hist.ctypes.data, lock, figures.progress.ctypes.data,
            stats.counters.ctypes.data, stats.histograms.ctypes.data, stats.records["progress"].lock,
            self._scratch.ctypes.data, len(figures.published) // SPACING, len(figures.hist), PROGRESS.itemsize, 0,
        ]  # fmt: skip
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Copy every PERIOD_NS from now on, in a thread of its own."""
        self._thread = threading.Thread(target=keep_copied, args=(self._table,), name="tickroute-figures", daemon=True)
        self._thread.start()

    def copy(self) -> None:
        """Copy now; not while the thread runs."""
        copy_figures(self._table)

    def stop(self) -> None:
        """End the thread, and copy a last time. Twice is once."""
        store_release(int(self._table.ctypes.data) + 8 * _STOP, 1)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.copy()
