"""The kernels of `perf journal`: appends to a journal and plain copies, each one timed, or only all of them.

A copy is what an append cannot do without: the same bytes to the next place of memory that is there. Its target is gone
through as a journal is, from its beginning to its end, and then again. Worst case: no segment is ready, which counts in
the append that waits for it, as it does in the loop.
"""

from __future__ import annotations

import numpy as np

from engine.io.atomics import copy, cpu_pause, load_acquire, monotonic_ns, store_release, tsc
from engine.io.histogram import record
from engine.io.journal_format import ALIGN, FRAME_HEADER, LAST
from engine.io.journal_sync import DURABLE, WANTED
from engine.jit import kernel
from engine.run.journaling import INPUT, journal
from engine.run.meter import ticks_to_ns
from engine.run.wiring import Wiring

GIVE_UP_NS = 30_000_000_000


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
def append_wanted(w: Wiring, source: np.ndarray, n: int, count: int, counts: np.ndarray) -> int:
    """As `append_timed`, and each frame is wanted on the disk at once, as one with outputs is."""
    address, wanted, seq = source.ctypes.data, w.sync.ctypes.data + WANTED, -1
    for _ in range(count):
        began = tsc()
        seq = journal(w, INPUT, LAST, 0, -1, address, n)
        store_release(wanted, seq)
        record(counts, ticks_to_ns(w, tsc() - began))
    return seq


@kernel
def durable_paced(w: Wiring, source: np.ndarray, n: int, interval_ns: int, seqs: np.ndarray, counts: np.ndarray) -> int:
    """Append a frame every `interval_ns`; ns from each one's planned time until it is on the disk into `counts`.

    `seqs` is int64, a place a frame. Returns how many came to be on the disk; it gives up GIVE_UP_NS after the last.
    """
    address, sync = source.ctypes.data, w.sync.ctypes.data
    began = monotonic_ns() + interval_ns
    k, done = 0, 0
    while done < len(seqs):
        now_ns = monotonic_ns()
        if k < len(seqs) and now_ns >= began + k * interval_ns:
            seqs[k] = journal(w, INPUT, LAST, 0, -1, address, n)
            store_release(sync + WANTED, int(seqs[k]))
            k += 1
        durable = load_acquire(sync + DURABLE)
        while done < k and seqs[done] <= durable:
            record(counts, monotonic_ns() - began - done * interval_ns)
            done += 1
        if now_ns > began + len(seqs) * interval_ns + GIVE_UP_NS:
            break
        cpu_pause()
    return done


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
