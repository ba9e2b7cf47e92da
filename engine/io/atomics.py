"""Memory that others touch, copies, clocks and CRC32C, for kernels and for Python alike.

Addresses are int64. An index, flag or length that another thread or process reads is stored with `store_release`
after the data it announces, and read with `load_acquire` before them; plain array accesses may be hoisted out of a
loop or reordered. Every function here is a kernel over one or two LLVM instructions (`native`); with
NUMBA_DISABLE_JIT=1 it runs over ctypes (`twins`).

Worst case: a wrong address is a crash. `address_of` does not keep its array alive: its owner must.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.io import crc_table, twins
from engine.jit import JIT, kernel

native: Any
if JIT:
    from engine.io import native
else:
    native = twins

_load_acquire: Any = native.load_acquire
_load_i32_acquire: Any = native.load_i32_acquire
_load_i64: Any = native.load_i64
_load_i32: Any = native.load_i32
_load_u16: Any = native.load_u16
_load_u8: Any = native.load_u8
_load_u16_be: Any = native.load_u16_be
_load_u32_be: Any = native.load_u32_be
_load_i64_be: Any = native.load_i64_be
_store_release: Any = native.store_release
_store_i32_release: Any = native.store_i32_release
_store_i64: Any = native.store_i64
_fence_acquire: Any = native.fence_acquire
_fence_release: Any = native.fence_release
_copy_n: Any = native.copy_n
_copy_64: Any = native.copy_64
_copy_128: Any = native.copy_128
_zero_64: Any = native.zero_64
_zero_128: Any = native.zero_128
_tsc: Any = native.tsc
_clock_ns: Any = native.clock_ns
_nap: Any = native.nap
_sched_yield: Any = native.sched_yield
_cpu_pause: Any = native.cpu_pause
_madvise: Any = native.madvise
_thread_usage: Any = native.thread_usage
_prefetch_write: Any = native.prefetch_write
_leading_zeros: Any = native.leading_zeros
_CLOCK_REALTIME = native.CLOCK_REALTIME
_CLOCK_MONOTONIC = native.CLOCK_MONOTONIC
#: True where `crc32c` is the CPU's instruction, False where it is a table (5 times slower).
CRC_INSTRUCTION = native.CRC_INSTRUCTION
_MASK32 = 0xFFFF_FFFF


@kernel
def load_acquire(address: int) -> int:
    """The int64 at an 8-byte aligned address; nothing after it is read before it."""
    return _load_acquire(address)  # type: ignore[no-any-return]


@kernel
def load_i32_acquire(address: int) -> int:
    """The int32 at a 4-byte aligned address, as int64; nothing after it is read before it."""
    return _load_i32_acquire(address)  # type: ignore[no-any-return]


@kernel
def store_release(address: int, value: int) -> None:
    """Store an int64 at an 8-byte aligned address; everything written before is visible to whoever sees it."""
    _store_release(address, value)


@kernel
def store_i32_release(address: int, value: int) -> None:
    """Store the low 32 bits at a 4-byte aligned address; everything written before is visible to whoever sees it."""
    _store_i32_release(address, value)


@kernel
def load_i64(address: int) -> int:
    """The int64 at any address, without ordering: for memory that nobody else writes now."""
    return _load_i64(address)  # type: ignore[no-any-return]


@kernel
def load_i32(address: int) -> int:
    """The int32 at any address as int64, without ordering."""
    return _load_i32(address)  # type: ignore[no-any-return]


@kernel
def load_u16(address: int) -> int:
    """The uint16 at any address as int64, without ordering."""
    return _load_u16(address)  # type: ignore[no-any-return]


@kernel
def load_u8(address: int) -> int:
    """The byte at an address as int64, without ordering."""
    return _load_u8(address)  # type: ignore[no-any-return]


@kernel
def load_u16_be(address: int) -> int:
    """The big-endian uint16 at any address as int64, without ordering."""
    return _load_u16_be(address)  # type: ignore[no-any-return]


@kernel
def load_u32_be(address: int) -> int:
    """The big-endian uint32 at any address as int64, without ordering."""
    return _load_u32_be(address)  # type: ignore[no-any-return]


@kernel
def load_i64_be(address: int) -> int:
    """The big-endian int64 at any address, without ordering."""
    return _load_i64_be(address)  # type: ignore[no-any-return]


@kernel
def store_i64(address: int, value: int) -> None:
    """Store an int64 at any address, without ordering."""
    _store_i64(address, value)


@kernel
def fence_acquire() -> None:
    """Reads after the fence happen after the reads before it."""
    _fence_acquire()


@kernel
def fence_release() -> None:
    """Writes after the fence become visible after everything before it."""
    _fence_release()


@kernel
def copy(dst_address: int, src_address: int, n: int) -> None:
    """Copy `n` bytes between ranges that do not overlap. Records (64, 128 bytes) take a few vector moves, no call."""
    if n == 64:
        _copy_64(dst_address, src_address)
    elif n == 128:
        _copy_128(dst_address, src_address)
    else:
        _copy_n(dst_address, src_address, n)


@kernel
def zero_64(address: int) -> None:
    """Zeros over the 64 bytes at an address."""
    _zero_64(address)


@kernel
def zero_128(address: int) -> None:
    """Zeros over the 128 bytes at an address."""
    _zero_128(address)


@kernel
def address_of(array: Any) -> int:
    """Address of an array's first element. The caller keeps the array alive."""
    return np.int64(array.ctypes.data)  # type: ignore[return-value]


@kernel
def tsc() -> int:
    """The CPU's time stamp counter, not serialised; unjitted it is `monotonic_ns`. Only differences mean anything."""
    return _tsc()  # type: ignore[no-any-return]


@kernel
def monotonic_ns() -> int:
    """CLOCK_MONOTONIC in ns: never falls, the same for all processes of a boot."""
    return _clock_ns(_CLOCK_MONOTONIC)  # type: ignore[no-any-return]


@kernel
def realtime_ns() -> int:
    """CLOCK_REALTIME in ns since 1970 UTC: may step."""
    return _clock_ns(_CLOCK_REALTIME)  # type: ignore[no-any-return]


@kernel
def cpu_pause() -> None:
    """The spin-wait hint: frees the core's other hyperthread for about 40 to 140 cycles."""
    _cpu_pause()


@kernel
def nap(duration_ns: int) -> None:
    """Sleep for at least `duration_ns` (the kernel adds about 50 us of slack), or until a signal."""
    _nap(duration_ns)


@kernel
def sched_yield() -> None:
    """Let another runnable thread of this core go first."""
    _sched_yield()


@kernel
def madvise(address: int, n: int, advice: int) -> int:
    """madvise(2) on whole pages: 0 or -errno."""
    return _madvise(address, n, advice)  # type: ignore[no-any-return]


@kernel
def thread_usage(address: int) -> int:
    """getrusage(2) of this thread into the 144 bytes at `address`: word 8 counts its minor, 9 its major page faults."""
    return _thread_usage(address)  # type: ignore[no-any-return]


@kernel
def prefetch_write(address: int) -> None:
    """Fetch a cache line (and its page's translation) that will be written soon. No address can make it fail."""
    _prefetch_write(address)


@kernel
def leading_zeros(value: int) -> int:
    """Zero bits above the highest one in a 64-bit word; 64 for 0."""
    return _leading_zeros(value)  # type: ignore[no-any-return]


_crc_u64: Any = native.crc32c_u64 if CRC_INSTRUCTION else crc_table.crc32c_u64
_crc_u8: Any = native.crc32c_u8 if CRC_INSTRUCTION else crc_table.crc32c_u8

if JIT:

    @kernel
    def crc32c(seed: int, address: int, n: int) -> int:
        """CRC32C (Castagnoli, RFC 3720 appendix B.4) of `n` bytes, 0 .. 2^32-1, continued from `seed` (0 to begin).

        crc32c(crc32c(0, a), b) is the CRC of a and b in a row; of the nine bytes "123456789" it is 0xE3069283.
        """
        crc = ~seed & _MASK32
        words_end = address + (n & ~7)
        end = address + n
        while address < words_end:
            crc = _crc_u64(crc, _load_i64(address))
            address += 8
        while address < end:
            crc = _crc_u8(crc, _load_u8(address))
            address += 1
        return crc ^ _MASK32

else:
    crc32c = twins.crc32c


@kernel
def crc32c_word(seed: int, word: int) -> int:
    """CRC32C of the eight little-endian bytes of `word`, continued from `seed`."""
    return _crc_u64(~seed & _MASK32, word) ^ _MASK32  # type: ignore[no-any-return]
