"""CRC32C by table, eight bytes a step, for CPUs without the instruction and for the interpreter.

The eight tables are those of "slicing by 8" (Kounavis and Berry, Intel 2005): table k is table 0 moved on by k zero
bytes, so that the eight bytes of a word are looked up independently.

Worst case: 16 KiB of tables share the first-level cache with the engine's state; about five times the instruction.
"""

from __future__ import annotations

import numpy as np

from engine.io.twins import CRC_TABLE
from engine.jit import kernel


def _tables() -> np.ndarray:
    rows = np.zeros((8, 256), dtype=np.int64)
    rows[0] = CRC_TABLE
    for k in range(1, 8):
        rows[k] = (rows[k - 1] >> 8) ^ rows[0][rows[k - 1] & 0xFF]
    return rows


_T = _tables()


@kernel
def crc32c_u8(crc: int, byte: int) -> int:
    """The CRC state after one more byte."""
    return (crc >> 8) ^ int(_T[0, (crc ^ byte) & 0xFF])


@kernel
def crc32c_u64(crc: int, word: int) -> int:
    """The CRC state (32 bits in an int64) after the eight bytes of a little-endian word."""
    low = (crc ^ word) & 0xFFFF_FFFF
    high = (word >> 32) & 0xFFFF_FFFF
    return (
        int(_T[7, low & 0xFF])
        ^ int(_T[6, (low >> 8) & 0xFF])
        ^ int(_T[5, (low >> 16) & 0xFF])
        ^ int(_T[4, low >> 24])
        ^ int(_T[3, high & 0xFF])
        ^ int(_T[2, (high >> 8) & 0xFF])
        ^ int(_T[1, (high >> 16) & 0xFF])
        ^ int(_T[0, high >> 24])
    )
