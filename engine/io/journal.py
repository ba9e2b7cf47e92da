"""The journal's hot half: the table that a writer is, and the kernel that appends a frame to populated memory.

`append` copies a record into the current segment, sums it, and stores the frame's length last with release ordering:
a reader, or whoever comes after a crash, sees a frame whole or not at all. Nothing is synced: what is appended
survives the death of the process, not that of the machine. `journal_writer` makes the table, `journal_keeper`
prepares segments ahead of it, `journal_format` says what the bytes are.

Worst case: no segment is ready (disk full, or the keeper starved of CPU): `append` returns -1, writes nothing, and
the table's `error` says why. The caller counts the stall and tries again, or cancels what it can.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.atomics import (
    address_of,
    copy,
    crc32c,
    crc32c_word,
    load_acquire,
    prefetch_write,
    store_i64,
    store_release,
)
from engine.io.journal_format import (
    ALIGN,
    CONTINUES,
    FRAME_HEADER,
    MAGIC,
    SEGMENT_HEADER,
    VERSION,
    Kind,
    end_word,
    header_crc,
)
from engine.jit import kernel

#: The writer's state, one row: what `append` takes. The first line is the loop's, the second is shared with helpers.
JOURNAL: Final = np.dtype(
    (
        np.record,
        [
            ("address", "<i8"),  # of the current segment
            ("cursor", "<i8"),  # offset of the next frame
            ("segment_bytes", "<i8"),
            ("next_seq", "<i8"),
            ("prev_crc", "<i8"),
            ("segment", "<i8"),  # its number
            ("run_id", "<i8", (2,)),
            ("spare", "<i8", (8,)),
            ("ready_even", "<i8"),  # address of the next prepared segment with an even number; 0: none
            ("ready_odd", "<i8"),
            ("error", "<i8"),  # errno of the helper that prepares segments; 0: well
            ("populate_error", "<i8"),  # errno of the helper that keeps pages populated; 0: well
            ("free_mib", "<i8"),  # room on the journal's disk, as its helper saw it last
            ("spare_2", "<i8", (11,)),
        ],
    )
)


def offset_of(field: str) -> int:
    """Offset of a field in the table, in bytes."""
    assert JOURNAL.fields is not None
    return int(JOURNAL.fields[field][1])


#: What helpers reach through addresses, with ordering.
ADDRESS: Final = offset_of("address")
CURSOR: Final = offset_of("cursor")
SEGMENT: Final = offset_of("segment")
READY: Final = offset_of("ready_even")
assert JOURNAL.itemsize == 256
assert READY == 128
assert offset_of("ready_odd") == READY + 8, "an odd segment's slot is eight bytes further"
_PAD = int(Kind.PAD)

#: How far ahead of the cursor lines are fetched, in bytes.
_AHEAD: Final = 1024

#: What `append` returns in place of a sequence number.
NOT_READY: Final = -1
TOO_LONG: Final = -2


@kernel
def append(journal: Any, kind: int, flags: int, batch_index: int, input_seq: int, src_address: int, n: int) -> int:
    """Append a frame of `n` payload bytes and return its seq; NOT_READY (try again) or TOO_LONG (no segment holds it).

    `journal` is the writer's table; `kind` a Kind; `flags` LAST on the last of a batch; `batch_index` 0 .. 65535;
    `input_seq` the seq of the input that caused it, or -1.
    """
    row = journal[0]
    span = (n + FRAME_HEADER + ALIGN - 1) & -ALIGN
    if row.cursor + span > row.segment_bytes:
        if span > row.segment_bytes - SEGMENT_HEADER:
            return TOO_LONG
        if not _turn(journal):
            return NOT_READY
    return _write(journal, kind, flags, batch_index, input_seq, src_address, n)


@kernel
def _write(journal: Any, kind: int, flags: int, batch_index: int, input_seq: int, src_address: int, n: int) -> int:
    """Write a frame at the cursor, where there is room for it. A pad frame has no source: its payload is zero."""
    row = journal[0]
    length = n + FRAME_HEADER
    frame = int(row.address) + int(row.cursor)
    for line in range(frame + _AHEAD, frame + _AHEAD + length, 64):
        prefetch_write(line)
    seq = int(row.next_seq)
    tags = int(row.prev_crc) | kind << 32 | flags << 40 | batch_index << 48
    store_i64(frame + 8, seq)
    store_i64(frame + 16, tags)
    store_i64(frame + 24, input_seq)
    if kind == _PAD:
        src_address = frame + FRAME_HEADER
    else:
        copy(frame + FRAME_HEADER, src_address, n)
    # As `frame_crc`, but from the source: reading back what was just stored waits for its cache line.
    crc = crc32c_word(crc32c_word(0, length | int(row.segment) << 32), seq)
    crc = crc32c(crc32c_word(crc32c_word(crc, tags), input_seq), src_address, n)
    store_release(frame, length | crc << 32)
    row.prev_crc = crc
    row.next_seq = seq + 1
    row.cursor += (length + ALIGN - 1) & -ALIGN
    return seq


@kernel
def _turn(journal: Any) -> int:
    """Close the segment and begin the next: 1, or 0 where none is ready (then nothing is written)."""
    row = journal[0]
    size, following = int(row.segment_bytes), int(row.segment) + 1
    slot = address_of(journal) + READY + 8 * (following & 1)
    base = load_acquire(slot)
    if base == 0:
        return 0
    rest = size - int(row.cursor)
    if rest > 0:
        _write(journal, _PAD, 0, 0, -1, 0, rest - FRAME_HEADER)
    store_release(int(row.address) + 56, end_word(int(row.address), size | CONTINUES))
    begin_segment(journal, base, following)
    store_release(slot, 0)
    return 1


@kernel
def begin_segment(journal: Any, base: int, segment: int) -> None:
    """Write the header of a zeroed segment at address `base` and make it the current one."""
    row = journal[0]
    store_i64(base + 8, VERSION | segment << 32)
    store_i64(base + 16, row.segment_bytes)
    store_i64(base + 24, row.next_seq)
    store_i64(base + 40, row.run_id[0])
    store_i64(base + 48, row.run_id[1])
    store_i64(base + 32, int(row.prev_crc))
    store_i64(base + 32, int(row.prev_crc) | header_crc(base) << 32)
    store_release(base, MAGIC)
    table = address_of(journal)
    # The helpers look at these three: a segment's number is there once the other two are.
    store_release(table + ADDRESS, base)
    store_release(table + CURSOR, SEGMENT_HEADER)
    store_release(table + SEGMENT, segment)
