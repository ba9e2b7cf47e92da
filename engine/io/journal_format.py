"""What the bytes of a journal are: segments, frames, and the error that names a place in them.

A run's journal is `RUN_DIR/journal/000000.seg`, `000001.seg`, ...: files of one size, each a 64-byte header and then
frames on 32-byte boundaries. A frame never crosses segments: a pad frame fills what is left.

    segment header (little-endian)                     frame
     0 magic u8    "TICKJRNL", stored last;             0 length i4       header and payload; stored last, with the crc
                   0: prepared, not in use              4 crc u4
     8 version i4                                       8 seq i8          dense over all frames of a run, from 0
    12 segment i4  its number, from 0                  16 prev_crc u4     the crc of the frame before
    16 size i8     of the file, in bytes               20 kind u1         see Kind
    24 first_seq i8                                    21 flags u1        1: last frame of its batch
    32 prev_crc u4 of the last frame before it         22 batch_index u2  position in its batch, from 0
    36 header_crc u4  CRC32C of 8..35 and 40..55       24 input_seq i8    the input that caused it; -1 for none
    40 run_id 16 bytes                                 32 payload, then zeros up to 32 bytes
    56 end u4      offset after the last frame, plus
                   1 (journal closed) or 2 (it goes on in the next segment); 0 while open
    60 end_crc u4  CRC32C of `end` as a u8 word, continued from header_crc

A frame's crc is the CRC32C of length (u4), segment number (u4), bytes 8..31 and the payload: bytes of another place
or another life of the file never pass. Everything from the end on is zero.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import TickrouteError
from engine.io.atomics import crc32c, crc32c_word, load_acquire, load_i32
from engine.jit import kernel

MAGIC: Final = int.from_bytes(b"TICKJRNL", "little")
VERSION: Final = 1
SEGMENT_HEADER: Final = 64
FRAME_HEADER: Final = 32
ALIGN: Final = 32
#: Bits of `flags`.
LAST: Final = 1
#: Low bits of `end` (offsets are multiples of 32).
CLOSED: Final = 1
CONTINUES: Final = 2
#: Sizes of a segment: whole pages; `end` is 32 bits wide.
SEGMENT_MIN: Final = 4096
SEGMENT_MAX: Final = 1 << 30
_MASK32 = 0xFFFF_FFFF


class Kind(IntEnum):
    """What a frame holds."""

    MANIFEST = 1
    INPUT = 2
    OUTPUT = 3
    OBSERVATION = 4
    PAD = 5
    RECOVERED = 6


#: The index row of a frame, as the reader finds it. `offset` is the frame's, `length` is the payload's in bytes.
FRAME: Final = np.dtype(
    (
        np.record,
        [
            ("seq", "<i8"),
            ("input_seq", "<i8"),
            ("offset", "<i8"),
            ("length", "<i4"),
            ("batch_index", "<u2"),
            ("kind", "u1"),
            ("flag_bits", "u1"),
        ],
    )
)


class JournalError(TickrouteError):
    """A journal that cannot be read or written: `file`, byte `offset` in it, `why`, and the `remedy`."""

    def __init__(self, file: Path | str, offset: int, why: str, remedy: str) -> None:
        super().__init__(f"{file} at byte {offset}: {why}; {remedy}")
        self.file = str(file)
        self.offset = offset
        self.why = why
        self.remedy = remedy


def segment_path(run_dir: Path, segment: int) -> Path:
    """Path of a segment file of a run."""
    return run_dir / "journal" / f"{segment:06d}.seg"


def segment_numbers(run_dir: Path) -> list[int]:
    """Numbers of the segment files that are there, in order: those in use and those prepared."""
    return sorted(int(path.stem) for path in (run_dir / "journal").glob("*.seg") if path.stem.isdigit())


@kernel
def frame_crc(frame: int, segment: int, length: int) -> int:
    """The crc that the frame of `length` bytes (header and payload) at address `frame` must carry."""
    return crc32c(crc32c_word(0, length | segment << 32), frame + 8, length - 8)


@kernel
def header_crc(base: int) -> int:
    """The crc that the segment header at address `base` must carry."""
    return crc32c(crc32c(0, base + 8, 28), base + 40, 16)


@kernel
def end_crc(base: int, end: int) -> int:
    """The crc of `end` (offset and low bits) in the segment header at address `base`."""
    return crc32c_word(load_i32(base + 36) & _MASK32, end)


@kernel
def end_word(base: int, end: int) -> int:
    """The word at 56 of the segment header at address `base` for `end` (offset and low bits)."""
    return end | end_crc(base, end) << 32


@kernel
def end_of(base: int) -> int:
    """`end` of the segment header at address `base`: 0 while open, -1 where it is damaged."""
    word = load_acquire(base + 56)
    if word == 0:
        return 0
    end = word & _MASK32
    return end if end_crc(base, end) == (word >> 32) & _MASK32 else -1
