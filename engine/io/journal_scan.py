"""The journal reader's kernels: check and index frames, and look for frames behind a bad one.

`scan` follows the chain from where it was left and fills rows of FRAME, checking length, number, predecessor, kind,
CRC and padding of each frame. `find_frame` looks at every place where a frame could begin, for one that is valid by
itself: that tells damage in the middle from a tail that was never finished.

Worst case: `find_frame` over garbage that looks like long frames sums each of them; only numbers that may still come
are taken for frames, so that is 64 MiB a second at the worst and never met by chance.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.atomics import load_acquire, load_i64, load_u8
from engine.io.journal_format import ALIGN, FRAME_HEADER, SEGMENT_HEADER, Kind, frame_crc
from engine.jit import kernel

#: Where `scan` stands, and why it stopped: one row.
CURSOR: Final = np.dtype(
    (
        np.record,
        [
            ("segment", "<i8"),
            ("offset", "<i8"),  # of the next frame
            ("next_seq", "<i8"),
            ("prev_crc", "<i8"),
            ("status", "<i8"),
        ],
    )
)

#: Statuses of `scan`: rows are used up; no frame is here (yet); the segment is used up; or what is wrong.
ROWS_FULL, NO_FRAME, SEGMENT_FULL = 0, 1, 2
BAD_LENGTH, BAD_SEQ, BAD_CHAIN, BAD_KIND, BAD_CRC, BAD_PADDING = 3, 4, 5, 6, 7, 8
WHY: Final = {
    BAD_LENGTH: "the frame's length is impossible",
    BAD_SEQ: "the frame's number is not the next one",
    BAD_CHAIN: "the frame does not name its predecessor's CRC",
    BAD_KIND: "the frame is of no known kind",
    BAD_CRC: "the frame's CRC does not match its bytes",
    BAD_PADDING: "the bytes after the payload are not zero",
}
_KINDS = len(Kind)
_MASK32 = 0xFFFF_FFFF
#: Numbers this far ahead are taken for a frame by `find_frame`: more than a run can have.
_SEQ_SPAN = 1 << 40


@kernel
def check_frame(frame: int, segment: int, word: int, room: int) -> int:
    """Status of a frame by itself: ROWS_FULL where it is whole. `word` is its first eight bytes, `room` its limit."""
    length = word & _MASK32
    if length < FRAME_HEADER or length > room:
        return BAD_LENGTH
    kind = load_u8(frame + 20)
    if kind < 1 or kind > _KINDS:
        return BAD_KIND
    if frame_crc(frame, segment, length) != (word >> 32) & _MASK32:
        return BAD_CRC
    for at in range(length, (length + ALIGN - 1) & -ALIGN):
        if load_u8(frame + at) != 0:
            return BAD_PADDING
    return ROWS_FULL


@kernel
def scan(base: int, segment_bytes: int, cursor: Any, rows: Any) -> int:
    """Index the frames of the segment at address `base` from `cursor` on into `rows`; how many. `status` says why."""
    at = cursor[0]
    offset, seq, crc = int(at.offset), int(at.next_seq), int(at.prev_crc)
    segment = int(at.segment)
    count, status = 0, ROWS_FULL
    while count < len(rows):
        if offset >= segment_bytes:
            status = SEGMENT_FULL
            break
        frame = base + offset
        word = load_acquire(frame)
        if word == 0:
            status = NO_FRAME
            break
        status = check_frame(frame, segment, word, segment_bytes - offset)
        if status != ROWS_FULL:
            break
        tags = load_i64(frame + 16)
        if load_i64(frame + 8) != seq:
            status = BAD_SEQ
            break
        if tags & _MASK32 != crc:
            status = BAD_CHAIN
            break
        row = rows[count]
        row.seq = seq
        row.input_seq = load_i64(frame + 24)
        row.offset = offset
        row.length = (word & _MASK32) - FRAME_HEADER
        row.batch_index = (tags >> 48) & 0xFFFF
        row.kind = (tags >> 32) & 0xFF
        row.flag_bits = (tags >> 40) & 0xFF
        crc = (word >> 32) & _MASK32
        offset += ((word & _MASK32) + ALIGN - 1) & -ALIGN
        seq += 1
        count += 1
    at.offset, at.next_seq, at.prev_crc, at.status = offset, seq, crc, status
    return count


@kernel
def find_frame(base: int, segment_bytes: int, segment: int, offset: int, seq: int) -> int:
    """Offset of the first frame at or after `offset` that is whole by itself and numbered `seq` or later; or -1."""
    at = max(offset, SEGMENT_HEADER)
    while at < segment_bytes:
        word = load_i64(base + at)
        if word != 0:
            number = load_i64(base + at + 8)
            if seq <= number < seq + _SEQ_SPAN:
                if check_frame(base + at, segment, word, segment_bytes - at) == ROWS_FULL:
                    return at
        at += ALIGN
    return -1


@kernel
def last_byte(base: int, begin: int, end: int) -> int:
    """Offset after the last byte of begin .. end - 1 that is not zero; `begin` where all are. Both multiples of 8."""
    at = end
    while at - begin >= 64:
        line = base + at - 64
        used = load_i64(line) | load_i64(line + 8) | load_i64(line + 16) | load_i64(line + 24)
        used |= load_i64(line + 32) | load_i64(line + 40) | load_i64(line + 48) | load_i64(line + 56)
        if used != 0:
            break
        at -= 64
    while at > begin and load_i64(base + at - 8) == 0:
        at -= 8
    while at > begin and load_u8(base + at - 1) == 0:
        at -= 1
    return at
