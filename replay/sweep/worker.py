"""A worker of a sweep, `python -m replay.sweep.worker`: tasks in on standard input, results out, a line of JSON each.

A line in is a `Task`; lines out are `Told`: how far it is, a few times a second, and at last what came of it. The
worker ends when its input does, and the kernel ends it with the process that started it, however that dies.
What a cell prints goes to standard error.

Worst case: a task that takes a machine's memory; the worker is killed, and whoever started it knows which task it had.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import Any, BinaryIO, Final, Literal

import msgspec

from replay.sweep.cell import Cell, Done, play, warm

_PR_SET_PDEATHSIG: Final = 1
_EVERY_S: Final = 0.25


class Task(msgspec.Struct, frozen=True):
    """Something to do."""

    what: Literal["warm", "play"]
    cell: Cell


class Told(msgspec.Struct, frozen=True):
    """How far a task is (share of its feed, inputs), or, at its end, what came of it."""

    share: float = 0.0
    inputs: int = 0
    done: Done | None = None


def do(task: Task, watch: Any = None) -> Done:
    """Do a task."""
    return warm(task.cell) if task.what == "warm" else play(task.cell, watch)


def main() -> None:
    """Take tasks until there are no more."""
    parent = int(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return  # it died before it could take us along
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        task = msgspec.json.decode(line, type=Task)
        said_s = time.monotonic()

        def watch(share: float, inputs: int) -> None:
            nonlocal said_s
            if time.monotonic() - said_s > _EVERY_S:
                said_s = time.monotonic()
                _say(out, Told(share, inputs))

        _say(out, Told(1.0, done=do(task, watch)))


def _say(out: BinaryIO, told: Told) -> None:
    out.write(msgspec.json.encode(told) + b"\n")
    out.flush()


if __name__ == "__main__":
    main()
