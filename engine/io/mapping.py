"""Files mapped into memory, with an address for kernels and a lock that dies with its process.

A new file's blocks are allocated before it is mapped, so that a full disk is an error here and never a SIGBUS in a
kernel. The lock is Linux's open-file-description lock on one byte: two holders exclude each other, in one process
too, and the kernel releases it however its holder dies; no time-out, no pid that somebody else may have by now.

Worst case: `close` while a kernel still uses the address is a crash. A view of `memory` keeps the mapping alive;
an address does not.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

PAGE: Final = 4096
#: MADV_POPULATE_WRITE of <linux/mman.h>, since Linux 5.14.
POPULATE_WRITE: Final = 23
#: Two cache lines: the prefetcher fetches them in pairs.
_LINES: Final = 128
#: struct flock of <fcntl.h> for 64-bit Linux: type, whence, start, length, pid.
_FLOCK: Final = "hhqqi4x"


class Mapping:
    """A file mapped shared: `address` (int), `memory` (uint8 array), `size` in bytes. Errors are OSError."""

    def __init__(self, path: Path, *, write: bool, populate: bool = False) -> None:
        """Map an existing file whole, `populate`: without a fault left for later; OSError where absent or empty."""
        self.path = path
        self.fd = os.open(path, os.O_RDWR if write else os.O_RDONLY)
        try:
            self.size = os.fstat(self.fd).st_size
            if self.size == 0:
                raise OSError(0, "the file is empty")
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
            flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if populate else 0)
            self._mmap = mmap.mmap(self.fd, self.size, flags=flags, prot=protection)
            if populate and write:
                # MAP_POPULATE leaves the first write to each page of a disk's file a fault. Linux before 5.14: EINVAL.
                with contextlib.suppress(OSError):
                    self._mmap.madvise(POPULATE_WRITE)
        except BaseException:
            os.close(self.fd)
            raise
        self.memory: np.ndarray = np.frombuffer(self._mmap, dtype=np.uint8)
        self.address = int(self.memory.ctypes.data)

    def try_lock(self, byte: int) -> bool:
        """Take the lock on one byte of the file, until `close` or the end of the process; False if it is held."""
        return try_lock(self.fd, byte)

    def close(self) -> None:
        """Release the locks, and the memory as soon as no array looks at it. Twice is once."""
        if self.fd < 0:
            return
        # The mapping holds a duplicate of the descriptor, which would keep the locks.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
        os.close(self.fd)
        self.fd = -1
        self.address = 0
        del self.memory
        with contextlib.suppress(BufferError):
            self._mmap.close()


def try_lock(fd: int, byte: int) -> bool:
    """Lock one byte of an open file until its last descriptor is closed; False if another holder has it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    except BlockingIOError:
        return False
    return True


def is_locked(fd: int, byte: int) -> bool:
    """Whether another holder has the lock on one byte of an open file; nothing is locked by asking."""
    told = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    return bool(struct.unpack(_FLOCK, told)[0] != fcntl.F_UNLCK)


def aligned_zeros(count: int, dtype: np.dtype[Any]) -> np.ndarray:
    """`count` zeroed items at a 128-byte boundary, so that no cache line is shared with anything else.

    Writing the zeros makes the pages present: what np.zeros gives faults at the first touch.
    """
    size = count * dtype.itemsize
    raw = np.empty(size + 2 * _LINES, dtype=np.uint8)
    raw[:] = 0
    skip = -raw.ctypes.data % _LINES
    return raw[skip : skip + size].view(dtype)


def allocate(path: Path, size: int, *, zero: bool = False) -> None:
    """Make a file of `size` bytes of zeros with all blocks allocated; FileExistsError, or OSError (ENOSPC) and no file.

    `zero` writes the zeros instead of leaving them to the file system: the first write to a page is then cheaper.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.posix_fallocate(fd, 0, size)
        if zero:
            block = memoryview(bytes(min(size, 1 << 20)))
            for offset in range(0, size, len(block)):
                os.pwrite(fd, block[: size - offset], offset)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
