"""The writing process of the crash tests: `python -m tests.io.journal_peer RUN_DIR SEGMENT_BYTES [resume]`.

Appends frames of 64 and 128 bytes in batches of three, as fast as it can, and after each batch stores its last
number in `RUN_DIR/seen` (mapped), as an engine tells its venue. Killed from outside.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from engine.io.atomics import nap, store_release
from engine.io.journal import NOT_READY, append
from engine.io.journal_format import LAST, Kind
from engine.io.journal_writer import JournalWriter
from engine.io.mapping import Mapping
from engine.jit import kernel

BATCH = 3
_INPUT, _OUTPUT = int(Kind.INPUT), int(Kind.OUTPUT)


@kernel
def put(journal: Any, kind: int, flags: int, index: int, cause: int, source: int, n: int) -> int:
    """Append, waiting for a segment."""
    seq = NOT_READY
    while seq == NOT_READY:
        seq = append(journal, kind, flags, index, cause, source, n)
        if seq == NOT_READY:
            nap(50_000)
    return seq


@kernel
def write_on(journal: Any, record: Any, seen: int, rounds: int) -> None:
    """An input, its batch of outputs, and the promise that they are kept: `rounds` times."""
    source = record.ctypes.data
    for number in range(rounds):
        record[:] = number
        cause = put(journal, _INPUT, LAST, 0, -1, source, 64)
        last = cause
        for index in range(BATCH):
            flags = LAST if index == BATCH - 1 else 0
            last = put(journal, _OUTPUT, flags, index, cause, source, 128)
        store_release(seen, last)


def main(run_dir: str, segment_bytes: str, resume: str = "") -> None:
    """Make or resume the journal, say so, and write until killed."""
    seen = Mapping(Path(run_dir) / "seen", write=True)
    writer = JournalWriter.resume(run_dir) if resume else JournalWriter(run_dir, int(segment_bytes), b"{}")
    record = np.zeros(16, dtype=np.int64)
    if resume:
        put(writer.table, int(Kind.RECOVERED), LAST, 0, -1, int(record.ctypes.data), 64)
    write_on(writer.table, record, seen.address, 1)
    print("ready", flush=True)
    write_on(writer.table, record, seen.address, 1 << 40)


if __name__ == "__main__":
    main(*sys.argv[1:])
