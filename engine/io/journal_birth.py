"""A journal whose writer died before its first frame was whole: nothing was ever journaled, so nothing was ever sent.

Such a folder is no run. It is moved aside (`journal-N.unborn`), and the run begins anew. Anything whole in any of its
segments, or a segment in its chain, makes it a journal, however much its beginning is damaged.

Worst case: it is asked at each start, and looks at one frame then; only a journal without a good first frame is looked
through.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.io.journal_chain import read_chain, sync_folder
from engine.io.journal_format import FRAME, SEGMENT_HEADER, segment_numbers, segment_path
from engine.io.journal_scan import CURSOR, find_frame, scan
from engine.io.mapping import Mapping


def unborn(run_dir: Path) -> bool:
    """Whether a run's journal folder is there and has never held a frame."""
    if not (run_dir / "journal").is_dir():
        return False
    numbers = segment_numbers(run_dir)
    if numbers[:1] > [0] or len(read_chain(run_dir)) > 1:
        return False
    return not any(_holds_a_frame(segment_path(run_dir, number), number) for number in numbers)


def _holds_a_frame(path: Path, number: int) -> bool:
    if path.stat().st_size <= SEGMENT_HEADER:
        return False
    mapping = Mapping(path, write=False)
    try:
        cursor = np.zeros(1, dtype=CURSOR)
        cursor[0]["offset"], cursor[0]["segment"] = SEGMENT_HEADER, number
        rows = np.zeros(1, dtype=FRAME)
        size = mapping.size & -8
        return bool(scan(mapping.address, size, cursor, rows) or find_frame(mapping.address, size, number, 0, 0) >= 0)
    finally:
        mapping.close()


def set_unborn_aside(run_dir: Path) -> Path | None:
    """Move such a folder out of the way; where it is now, or None where there was none."""
    if not unborn(run_dir):
        return None
    count = sum(1 for _ in run_dir.glob("journal-*.unborn"))
    aside = (run_dir / "journal").rename(run_dir / f"journal-{count}.unborn")
    sync_folder(run_dir)
    return aside
