"""Where a watch stands: RUN_DIR/watch.json, written whole or not at all, once a second and at the end.

It names a place in the journal and what was known there. Lines and records that were written behind it are recognised
when the journal is read again from it; see `stream` and `dropcopy`. It has the heads of the logs, against which they
are checked: those of the last checkpoint, with `closed`, are a run's closing data.

Worst case: a checkpoint that cannot be read counts as none, and the journal is read from its first frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from engine.errors import TickrouteError
from engine.io.journal_reader import Mark
from replay.watch.chained import Head

FILE: Final = "watch.json"
FORMAT: Final = 1


class Checkpoint(msgspec.Struct, kw_only=True):
    """What a watch knows behind the frame `mark`."""

    format: int = FORMAT
    run_id: str = ""
    mark: Mark | None = None
    #: The last input before it, and its template.
    causes: dict[int, int] = {}
    #: Alerts that wait to be told with others like them.
    waiting: list[dict[str, Any]] = []
    #: Counters of the stats file that were told, and the life that they are of.
    life: int = 0
    counters: dict[str, int] = {}
    #: When each venue was last heard, engine clock.
    heard_ns: dict[int, int] = {}
    delta_ns: int | None = None
    #: engine clock - CLOCK_MONOTONIC of the life that is now.
    offset_ns: int = 0
    #: Records of the drop copy.
    executions: list[int] = []
    #: Whether the journal was closed and all of it read, and how the logs stand.
    closed: bool = False
    heads: dict[str, Head] = {}


def read(run_dir: Path, run_id: str) -> Checkpoint:
    """The checkpoint of a run; a new one where there is none of it."""
    try:
        found = msgspec.json.decode((run_dir / FILE).read_bytes(), type=Checkpoint)
    except (OSError, msgspec.MsgspecError):
        return Checkpoint(run_id=run_id)
    return found if found.run_id == run_id and found.format == FORMAT else Checkpoint(run_id=run_id)


def write(run_dir: Path, checkpoint: Checkpoint) -> None:
    """Replace a run's checkpoint. OSError as it comes; the old one then stays."""
    draft = run_dir / f"{FILE}.draft"
    draft.write_bytes(msgspec.json.encode(checkpoint) + b"\n")
    draft.replace(run_dir / FILE)


class CheckpointError(TickrouteError):
    """A checkpoint that is there, and does not say how the logs stand: the file, and why."""


class _Heads(msgspec.Struct):
    heads: dict[str, Head]


def heads(run_dir: Path) -> dict[str, Head]:
    """The heads of the logs as the last checkpoint has them; empty where there is no checkpoint. CheckpointError where
    it cannot be read, or has no heads: a log whose end was cut off would pass for whole."""
    path = run_dir / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Heads).heads
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: does not say how the logs stand: {error}") from error
