"""A time of day that a test sets, for some processes alone: the machine's own clock is left as it is.

`Wall` is the test's end: a file with an offset in seconds. `hang` is for a process that looks at it: the first bytes of
libc's `clock_gettime` become code that adds the offset to CLOCK_REALTIME and asks the kernel for all else. Whatever
asks libc for the time of day (compiled kernels, the interpreter, ZeroMQ) sees every step at once, as if the clock had
been set; CLOCK_MONOTONIC and the time stamp counter go on, as they do then. x86-64 only (`POSSIBLE`).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
import sys
import time
from pathlib import Path

POSSIBLE = sys.platform == "linux" and platform.machine() == "x86_64"
_PAGE = 4096
#: Maps that processes of ours look at, so that nobody unmaps them.
_kept: list[mmap.mmap] = []


def _map(path: Path) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(fd, _PAGE)
    finally:
        os.close(fd)


class Wall:
    """The time of day of the processes that hang on `path`. `step` sets it forward or back; `offset_s`: by how much."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_PAGE))
        self.path = path
        self._map = _map(path)
        self.offset_s = 0

    def step(self, seconds: int) -> None:
        self.offset_s += seconds
        struct.pack_into("<q", self._map, 0, self.offset_s)

    def time_ns(self) -> int:
        """What those processes take for the time of day."""
        return time.time_ns() + self.offset_s * 1_000_000_000


def hang(path: str) -> None:
    """Let this process take its time of day from a Wall's file, for good."""
    kept = _map(Path(path))
    _kept.append(kept)
    offset = ctypes.addressof(ctypes.c_char.from_buffer(kept))
    code = (
        b"\xb8\xe4\x00\x00\x00"  # mov eax, 228        clock_gettime; edi is the clock, rsi the answer
        b"\x0f\x05"  # syscall
        b"\x85\xff"  # test edi, edi       CLOCK_REALTIME is 0
        b"\x75\x10"  # jne the end
        b"\x48\xb9" + struct.pack("<Q", offset) +  # mov rcx, offset
        b"\x48\x8b\x11"  # mov rdx, [rcx]
        b"\x48\x01\x16"  # add [rsi], rdx      seconds
        b"\xc3"  # ret
    )  # fmt: skip
    libc = ctypes.CDLL(None, use_errno=True)
    at = ctypes.cast(libc.clock_gettime, ctypes.c_void_p).value
    assert at is not None
    first = at & -_PAGE
    size = (at + len(code) - first + _PAGE - 1) & -_PAGE
    if libc.mprotect(ctypes.c_void_p(first), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "the clock cannot be replaced here")
    ctypes.memmove(at, code, len(code))
