"""A recording in blocks as a whole day in memory, for the player: fitted to a configuration, its levels as touches.

Worst case: memory is all its quotes and trades, 128 and 64 bytes each, and as much again while they are put together.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gateways.feeds.names import Names
from gateways.feeds.recording import MAGIC, VERSION, Recording, from_records
from gateways.feeds.report import FeedError
from gateways.formats.batch import taken
from gateways.formats.fit import Fitted, Target, Told
from gateways.formats.source import head_of


def in_blocks(path: str | Path) -> bool:
    """Whether a file is a recording in blocks. FeedError where it cannot be read."""
    head = head_of(path, 12)
    return head.startswith(MAGIC) and int.from_bytes(head[8:12], "little") > VERSION


def read_blocks(path: str | Path, target: Target, names: Names) -> tuple[Recording, Told]:
    """The day of a recording in blocks, and how it was fitted. FeedError, UsageError as of `Fitted`."""
    fitted = Fitted(path, target, play=True)
    parts = [taken(batch).copy() for batch in fitted.batches()]
    if not parts:
        raise FeedError(path, 0, "", "has nothing to play", "name a recording of what is configured")
    return from_records(np.concatenate(parts), names), fitted.told
