"""The functions of `native` in plain Python over ctypes, for NUMBA_DISABLE_JIT=1 and as a reference in tests.

Same names, same arguments, same results. An aligned load or store of ctypes is one machine move, and the interpreter
reorders nothing, so on x86 these are as atomic as the instructions they stand for.

Worst case: about 100 times slower than `native`; the ordering holds on x86 only.
"""

from __future__ import annotations

import ctypes
import os
import time

CLOCK_REALTIME = time.CLOCK_REALTIME
CLOCK_MONOTONIC = time.CLOCK_MONOTONIC
#: The interpreter has no CRC instruction; `crc32c_u64` and `crc32c_u8` are tables here.
CRC_INSTRUCTION = False


def _crc_table() -> list[int]:
    rows = []
    for crc in range(256):
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        rows.append(crc)
    return rows


CRC_TABLE = _crc_table()
_LIBC = ctypes.CDLL(None, use_errno=True)


def load_i64(address: int) -> int:
    """The int64 at an address."""
    return ctypes.c_int64.from_address(int(address)).value


def load_i32(address: int) -> int:
    """The int32 at an address."""
    return ctypes.c_int32.from_address(int(address)).value


def load_u16(address: int) -> int:
    """The uint16 at an address."""
    return ctypes.c_uint16.from_address(int(address)).value


def load_u8(address: int) -> int:
    """The byte at an address."""
    return ctypes.c_uint8.from_address(int(address)).value


def load_u16_be(address: int) -> int:
    """The big-endian uint16 at an address."""
    return int.from_bytes(ctypes.string_at(int(address), 2), "big")


def load_u32_be(address: int) -> int:
    """The big-endian uint32 at an address."""
    return int.from_bytes(ctypes.string_at(int(address), 4), "big")


def load_i64_be(address: int) -> int:
    """The big-endian int64 at an address."""
    return int.from_bytes(ctypes.string_at(int(address), 8), "big", signed=True)


def store_i64(address: int, value: int) -> None:
    """Store an int64."""
    ctypes.c_int64.from_address(int(address)).value = int(value)


def store_i32_release(address: int, value: int) -> None:
    """Store the low 32 bits."""
    ctypes.c_int32.from_address(int(address)).value = int(value)


load_acquire = load_i64
load_i32_acquire = load_i32
store_release = store_i64


def fence_acquire() -> None:
    """The interpreter keeps program order."""


fence_release = fence_acquire
cpu_pause = fence_acquire


def copy_n(dst: int, src: int, n: int) -> None:
    """Copy `n` bytes."""
    ctypes.memmove(int(dst), int(src), int(n))


def copy_64(dst: int, src: int) -> None:
    """Copy 64 bytes."""
    ctypes.memmove(int(dst), int(src), 64)


def copy_128(dst: int, src: int) -> None:
    """Copy 128 bytes."""
    ctypes.memmove(int(dst), int(src), 128)


def zero_64(address: int) -> None:
    """Zeros over 64 bytes."""
    ctypes.memset(int(address), 0, 64)


def zero_128(address: int) -> None:
    """Zeros over 128 bytes."""
    ctypes.memset(int(address), 0, 128)


def tsc() -> int:
    """The monotonic clock stands in for the counter: Python cannot read it."""
    return time.monotonic_ns()


def clock_ns(clock_id: int) -> int:
    """A clock of <time.h> in ns."""
    return time.clock_gettime_ns(clock_id)


def nap(duration_ns: int) -> int:
    """Sleep for `duration_ns`."""
    time.sleep(duration_ns / 1e9)
    return 0


def sched_yield() -> int:
    """Give the core to another thread."""
    os.sched_yield()
    return 0


def prefetch_write(address: int) -> None:
    """A hint, and nothing to the interpreter."""


def madvise(address: int, n: int, advice: int) -> int:
    """madvise(2): 0 or -errno."""
    status = _LIBC.madvise(ctypes.c_void_p(int(address)), ctypes.c_size_t(int(n)), int(advice))
    return -ctypes.get_errno() if status else 0


def thread_usage(address: int) -> int:
    """getrusage(2) of this thread."""
    return int(_LIBC.getrusage(1, ctypes.c_void_p(int(address))))


def leading_zeros(value: int) -> int:
    """Zero bits above the highest one of 64."""
    return 64 - (int(value) & 0xFFFF_FFFF_FFFF_FFFF).bit_length()


def crc32c_u8(crc: int, byte: int) -> int:
    """CRC state after a byte."""
    return (crc >> 8) ^ CRC_TABLE[(crc ^ byte) & 0xFF]


def crc32c_u64(crc: int, word: int) -> int:
    """CRC state after the eight bytes of a word."""
    for byte in (int(word) & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little"):
        crc = crc32c_u8(crc, byte)
    return crc


def crc32c(seed: int, address: int, n: int) -> int:
    """CRC32C of `n` bytes at an address, continued from `seed`."""
    return crc32c_bytes(seed, ctypes.string_at(int(address), int(n)))


def crc32c_bytes(seed: int, data: bytes) -> int:
    """CRC32C of `data`, continued from `seed` (0 to begin): what `atomics.crc32c` gives for the same bytes."""
    crc = ~seed & 0xFFFF_FFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF_FFFF
