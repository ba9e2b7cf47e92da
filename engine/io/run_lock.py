"""One engine a run directory: a lock on RUN_DIR/lock that dies with its holder.

The kernel releases it however the process dies, so it is never stale: there is no time-out, and no process number that
somebody else may have by now. The file's text (the holder's process number) is for the message of whoever is refused;
the heartbeat in the stats file says when the holder was last seen at work.

Worst case: a file system that knows no open-file-description locks (old network mounts) refuses to lock: an OSError.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from engine.errors import TickrouteError
from engine.io.mapping import is_locked, try_lock
from engine.io.stats_file import StatsError, StatsReader


class RunLockedError(TickrouteError):
    """Another process works on this run; the message names directory, process and remedy."""


class RunLock:
    """Be the only one who writes in `run_dir` (made where it is absent), until `close` or the end of the process.

    RunLockedError where another holder lives, in this process or another.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self.run_dir = Path(run_dir)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not try_lock(fd, 0):
            text = os.pread(fd, 64, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise RunLockedError(_refusal(self.run_dir, text or "unknown"))
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the text
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
        self._file = os.fdopen(fd)

    def close(self) -> None:
        """Let the next one in. Twice is once."""
        self._file.close()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_held(run_dir: str | Path) -> bool:
    """Whether somebody works on a run now; nothing is written or locked by asking. OSError where it cannot be asked."""
    try:
        fd = os.open(Path(run_dir) / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return is_locked(fd, 0)
    finally:
        os.close(fd)


def _refusal(run_dir: Path, pid: str) -> str:
    """What whoever is refused reads."""
    beat = ""
    try:
        reader = StatsReader(run_dir / "stats")
    except StatsError:
        reader = None
    if reader is not None:
        age_ns = reader.age_ns(time.monotonic_ns())
        reader.close()
        if age_ns is not None:
            beat = f" (last heartbeat {age_ns / 1e6:,.0f} ms ago)"
    remedy = f"stop it first (kill -TERM {pid}), or name another run directory"
    return f"{run_dir}: process {pid} works on this run{beat}; {remedy}"
