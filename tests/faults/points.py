"""Named points at which a process of ours can be told to die (SIGKILL), and how it is made to.

`die_at(NAME)` puts a function in another's place, in this process, before its work begins: all of these points are in
Python, and none is on the loop's way. Points of the loop itself, which is compiled, are in `tests.faults.strikes`.
"""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from engine.io.atomics import store_release
from engine.io.journal_format import SEGMENT_HEADER


class Point(NamedTuple):
    """Before, after or in the middle (`half`) of the `nth` call of a function whose first argument ends in `about`."""

    module: str
    function: str
    when: str
    nth: int = 1
    about: str = ""


#: On the way of a start.
POINTS: Final = {
    "before-recover": Point("engine.run.daemon", "recover", "before"),
    "after-recover": Point("engine.run.daemon", "recover", "after"),
    "after-keeping-the-last-life": Point("engine.run.daemon", "keep_life", "after"),
    "before-resume": Point("engine.run.daemon", "resume", "before"),
    "before-torn-bytes-go-aside": Point("engine.io.journal_writer", "set_aside", "before"),
    "after-torn-bytes-went-aside": Point("engine.io.journal_writer", "set_aside", "after"),
    "after-snapshots-went-aside": Point("engine.run.snapshot", "set_aside", "after"),
    "before-the-recovered-frame": Point("engine.run.recover", "write_life", "before"),
    "after-the-recovered-frame": Point("engine.run.recover", "write_life", "after"),
    "before-the-recovered-input": Point("engine.run.daemon", "go_on", "before"),
    "after-the-recovered-input": Point("engine.run.daemon", "go_on", "after"),
}
#: On the way of a run's very first start.
BIRTHS: Final = {
    "before-the-first-chain": Point("engine.io.journal_writer", "Chain", "before"),
    "after-the-first-chain": Point("engine.io.journal_writer", "Chain", "after"),
    "before-the-first-segment": Point("engine.io.journal_keeper", "allocate", "before"),
    "half-of-the-first-segment": Point("engine.io.journal_keeper", "allocate", "half"),
    "after-the-first-segment": Point("engine.io.journal_keeper", "allocate", "after"),
    "before-the-first-header": Point("engine.io.journal_writer", "begin_segment", "before"),
    "after-the-first-header": Point("engine.io.journal_writer", "begin_segment", "after"),
    "before-the-manifest": Point("engine.io.journal_writer", "append", "before"),
    "half-of-the-manifest": Point("engine.io.journal_writer", "append", "half"),
    "after-the-manifest": Point("engine.io.journal_writer", "append", "after"),
}
#: Of the journal's helper, as one segment follows another; a life that was recovered prepares two at its start.
ROLLS: Final = {
    "before-a-segment-is-prepared": Point("engine.io.journal_keeper", "allocate", "before", 3),
    "half-of-a-segment": Point("engine.io.journal_keeper", "allocate", "half", 3),
    "before-a-segment-is-hashed": Point("engine.io.journal_keeper", "file_digest", "before"),
    "after-a-segment-is-hashed": Point("engine.io.journal_keeper", "file_digest", "after"),
    "before-a-segment-is-in-the-chain": Point("engine.io.journal_chain", "Chain.append", "before"),
    "after-a-segment-is-in-the-chain": Point("engine.io.journal_chain", "Chain.append", "after"),
}
#: Of the follower, as it writes a snapshot and lets segments go.
FOLLOWS: Final = {
    "half-of-a-snapshot": Point("os", "fsync", "half"),
    "before-a-snapshot-has-its-name": Point("os", "fsync", "after"),
    "after-a-snapshot-has-its-name": Point("engine.run.snapshot", "sync_folder", "before"),
    "before-an-old-snapshot-goes": Point("os", "unlink", "before", 1, ".snap"),
    "after-an-old-snapshot-went": Point("os", "unlink", "after", 1, ".snap"),
    "before-segments-are-let-go": Point("engine.run.follow", "let_go", "before"),
    "after-segments-are-let-go": Point("engine.run.follow", "let_go", "after"),
    "after-a-hash-went": Point("os", "unlink", "after", 1, ".sha256"),
    "after-a-segment-went": Point("os", "unlink", "after", 1, ".seg"),
}


def _half_of_a_file(original: Callable[..., Any], fd: int) -> None:
    """A file of which half was written when its writer died."""
    os.ftruncate(fd, os.fstat(fd).st_size // 2)


def _half_of_a_segment(original: Callable[..., Any], path: Any, size: int, **kwargs: Any) -> None:
    original(path, size // 2, **kwargs)


def _half_of_a_frame(original: Callable[..., Any], table: Any, *args: Any) -> None:
    """All of the first frame but its length, which is stored last."""
    original(table, *args)
    store_release(int(table[0]["address"]) + SEGMENT_HEADER, 0)


_HALVES: Final[dict[str, Callable[..., None]]] = {
    "fsync": _half_of_a_file,
    "allocate": _half_of_a_segment,
    "append": _half_of_a_frame,
}


def die_at(name: str) -> None:
    """Have this process die at a point."""
    point = (POINTS | BIRTHS | ROLLS | FOLLOWS)[name]
    *outer, function = point.function.split(".")
    owner: Any = importlib.import_module(point.module)
    for part in outer:
        owner = getattr(owner, part)
    original, calls = getattr(owner, function), 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if not point.about or str(args[0]).endswith(point.about):
            calls += 1
            if calls == point.nth:
                if point.when == "after":
                    original(*args, **kwargs)
                if point.when == "half":
                    _HALVES[function](original, *args, **kwargs)
                os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, function, dying)
