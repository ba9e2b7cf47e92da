"""The shared stats file: what the engine counts and measures, for others to read without asking it.

One writer, through plain arrays over the mapped file (of an engine the helper `engine.run.mirror`); any number of
readers map it read-only and cost the writer nothing. `stats_file` makes and reads it; here are the layout and the
kernels.

    header, 128 bytes (little-endian i8 unless said)
      0 magic "TICKSTAT"   8 version, stored last: the file is ready   16 bytes of the file   24 pid
      32 start, CLOCK_REALTIME ns   40 start, CLOCK_MONOTONIC ns   48 boot id, 16 bytes
      64 heartbeat, CLOCK_MONOTONIC ns; 0: closed in order   72 metadata offset   80 metadata bytes
      88 counters offset   96 records offset   104 errors offset   112 histograms offset   120 rows of the error log
    metadata   JSON: {"counters": [[name, help], ...], "records": [[name, offset, [[field, type], ...]], ...],
               "stages": [name, ...]}; offsets are from the start of the file
    counters   64 bytes each: i8 value, zeros
    records    several fields under one seqlock: i8 lock (odd: being written), 56 zeros, then the fields, packed
    errors     64 bytes each, under a seqlock: a distinct code, how often, when first and last, and a value
    histograms of `histogram.LENGTH` i8 each, in the order of the stages, cumulative: readers subtract

Sections begin at multiples of 128. Counts and values are 8-byte aligned, so a reader sees each whole.

Worst case: a writer killed inside a record leaves its lock odd: readers then get that record no more.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.atomics import (
    address_of,
    copy,
    cpu_pause,
    fence_acquire,
    fence_release,
    load_acquire,
    load_i64,
    store_i64,
    store_release,
)
from engine.jit import kernel

MAGIC: Final = int.from_bytes(b"TICKSTAT", "little")
VERSION: Final = 1
HEADER: Final = 128
HEARTBEAT: Final = 64
SECTION: Final = 128
#: Bytes between a record's lock and its fields.
RECORD_HEAD: Final = 64
#: Looks at a record that is being written, before a reader gives up.
READ_TRIES: Final = 100_000

#: A counter: one cache line, so that its readers disturb no other.
COUNTER: Final = np.dtype((np.record, [("value", "<i8"), ("spare", "<i8", (7,))]))
#: A distinct error. Times are the caller's clock; the last row, code OTHERS, counts what found no row.
ERROR: Final = np.dtype(
    (
        np.record,
        [
            ("lock", "<i8"),
            ("code", "<i8"),
            ("times", "<i8"),
            ("first_ns", "<i8"),
            ("last_ns", "<i8"),
            ("last_value", "<i8"),
            ("spare", "<i8", (2,)),
        ],
    )
)
OTHERS: Final = -1
assert COUNTER.itemsize == ERROR.itemsize == 64


@kernel
def write_begin(lock_address: int) -> None:
    """Before changing the fields of a record: from here on readers wait."""
    store_i64(lock_address, load_i64(lock_address) + 1)
    fence_release()


@kernel
def write_end(lock_address: int) -> None:
    """After changing the fields of a record: readers see them all."""
    store_release(lock_address, load_i64(lock_address) + 1)


@kernel
def read_record(lock_address: int, fields_offset: int, dst_address: int, n: int) -> int:
    """Copy `n` bytes of fields, never torn: 1, or 0 where the writer is in the middle for READ_TRIES looks."""
    for _ in range(READ_TRIES):
        before = load_acquire(lock_address)
        if before & 1 == 0:
            copy(dst_address, lock_address + fields_offset, n)
            fence_acquire()
            if load_acquire(lock_address) == before:
                return 1
        cpu_pause()
    return 0


@kernel
def note_error(errors: Any, code: int, value: int, now_ns: int) -> None:
    """Count an error in the log of distinct ones. `errors`: array of ERROR; `code` above 0; a full log: OTHERS.

    Cold: it looks through the log, about 1 ns a row.
    """
    last = len(errors) - 1
    at = 0
    while at < last and errors[at].code != code and errors[at].code != 0:
        at += 1
    row = errors[at]
    lock_address = address_of(errors) + at * 64
    write_begin(lock_address)
    if row.times == 0:
        row.code = code if at < last else OTHERS
        row.first_ns = now_ns
    row.times += 1
    row.last_ns = now_ns
    row.last_value = value
    write_end(lock_address)


@kernel
def beat(stats_address: int, now_ns: int) -> None:
    """Tell readers that the writer lives at `now_ns` (CLOCK_MONOTONIC)."""
    store_release(stats_address + HEARTBEAT, now_ns)
