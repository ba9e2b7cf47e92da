"""Directories of compiled kernels: claimed while they are in use, removed when nobody has used them for long.

Each build (and each strategy from outside) compiles into a directory whose name is a hash of what was compiled, so a
change leaves the old one behind. `claim` locks a directory shared for the life of the process, with the kernel's own
lock that dies with its holder, and notes the time. `prune` removes those that are neither in use, nor among the KEEP
used last, nor used within FRESH_S. Processes may do both at once: a directory goes under another name before its
files go, and who had just opened it sees that and makes it anew.

This module is imported before numba, so it imports nothing of ours. Worst case: a directory of a process that was
killed while it removed one; the next prune finishes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import Final, NamedTuple

#: Directories that stay however old they are, and how long any of them stays after its last use.
KEEP: Final = 12
FRESH_S: Final = 86_400.0
_LOCK: Final = ".in-use"
_GOING: Final = ".going-"
#: Descriptors of what this process has claimed.
_claimed: dict[Path, int] = {}


class Entry(NamedTuple):
    """One directory: bytes of its files, seconds since its last use, whether a living process has it."""

    path: Path
    size_bytes: int
    age_s: float
    in_use: bool


def claim(path: Path) -> bool:
    """Make `path` where it is absent, and keep it from being removed while this process lives; whether it was made.

    OSError where it cannot be made. In a directory that may not be written nothing is locked.
    """
    if path in _claimed:
        return False
    made = False
    while True:
        if not path.is_dir():
            try:
                path.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                if path.exists() and not path.is_dir():
                    raise
                continue  # made by another, and removed since
            made = True
        try:
            fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue  # removed since
        except OSError:
            return made  # read-only: nobody can remove it either
        fcntl.flock(fd, fcntl.LOCK_SH)
        if _is_at(fd, path / _LOCK):
            os.utime(fd)
            _claimed[path] = fd
            return made
        os.close(fd)


def prune(home: Path, pattern: str, keep: int = KEEP, fresh_s: float = FRESH_S) -> list[Path]:
    """Remove what nobody needs of home/pattern; the directories that are gone."""
    for left in home.glob(f"{_GOING}*"):
        shutil.rmtree(left, ignore_errors=True)
    found = sorted(((_used_s(path), path) for path in home.glob(pattern) if path.is_dir()), reverse=True)
    now_s = time.time()
    return [path for used_s, path in found[keep:] if now_s - used_s > fresh_s and _remove(path, now_s - fresh_s)]


def entries(home: Path, pattern: str) -> list[Entry]:
    """What is there, used last first."""
    now_s = time.time()
    found = []
    for path in home.glob(pattern):
        sizes = [_size(file) for file in path.rglob("*")]
        found.append(Entry(path, sum(sizes), max(now_s - _used_s(path), 0.0), _held(path)))
    return sorted(found, key=lambda entry: entry.age_s)


def _remove(path: Path, before_s: float) -> bool:
    """Remove one directory, unless a process has it or had it since `before_s`."""
    try:
        fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(fd, path / _LOCK) or _used_s(path) > before_s:
            return False
        going = path.with_name(f"{_GOING}{os.getpid()}-{path.name}")
        path.rename(going)
        shutil.rmtree(going, ignore_errors=True)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _is_at(fd: int, path: Path) -> bool:
    """Whether an open file is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _used_s(path: Path) -> float:
    """When a directory was claimed last, or made, where nobody ever claimed it."""
    for file in (path / _LOCK, path):
        with contextlib.suppress(OSError):
            return file.stat().st_mtime
    return 0.0


def _held(path: Path) -> bool:
    try:
        fd = os.open(path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _size(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.stat().st_size
    return 0
