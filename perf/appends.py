"""The kernels of `perf journal`: appends to a journal and plain copies, each one timed, or only all of them.

A copy is what an append cannot do without: the same bytes to the next place of memory that is there. Its target is gone
through as a journal is, from its beginning to its end, and then again. Worst case: no segment is ready, which counts in
the append that waits for it, as it does in the loop.
"""

from __future__ import annotations

import numpy as np

from engine.io.atomics import copy, tsc
from engine.io.histogram import record
from engine.io.journal_format import ALIGN, FRAME_HEADER, LAST
from engine.jit import kernel
from engine.run.journaling import INPUT, journal
from engine.run.meter import ticks_to_ns
from engine.run.wiring import Wiring


@kernel
def append_timed(w: Wiring, source: np.ndarray, n: int, count: int, counts: np.ndarray) -> int:
    """Append `count` frames of n bytes, each one's ns into the histogram `counts`; the number of the last."""
    address, seq = source.ctypes.data, -1
    for _ in range(count):
        began = tsc()
        seq = journal(w, INPUT, LAST, 0, -1, address, n)
        record(counts, ticks_to_ns(w, tsc() - began))
    return seq


@kernel
def append_all(w: Wiring, source: np.ndarray, n: int, count: int) -> int:
    """Append `count` frames of n bytes; the number of the last."""
    address, seq = source.ctypes.data, -1
    for _ in range(count):
        seq = journal(w, INPUT, LAST, 0, -1, address, n)
    return seq


@kernel
def copy_timed(w: Wiring, target: np.ndarray, source: np.ndarray, n: int, count: int, counts: np.ndarray) -> int:
    """Copy n bytes `count` times to the next frame's place in `target` (uint8); the offset behind the last."""
    address, base, span, at = source.ctypes.data, target.ctypes.data, (n + FRAME_HEADER + ALIGN - 1) & -ALIGN, 0
    for _ in range(count):
        began = tsc()
        if at + span > len(target):
            at = 0
        copy(base + at + FRAME_HEADER, address, n)
        at += span
        record(counts, ticks_to_ns(w, tsc() - began))
    return at


@kernel
def copy_all(target: np.ndarray, source: np.ndarray, n: int, count: int) -> int:
    """Copy n bytes `count` times to the next frame's place in `target` (uint8); the offset behind the last."""
    address, base, span, at = source.ctypes.data, target.ctypes.data, (n + FRAME_HEADER + ALIGN - 1) & -ALIGN, 0
    for _ in range(count):
        if at + span > len(target):
            at = 0
        copy(base + at + FRAME_HEADER, address, n)
        at += span
    return at
