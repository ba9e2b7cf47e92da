"""Putting frames on the journal from the loop: an event that cannot be journaled waits, and is never acted upon."""

from __future__ import annotations

from engine.io.atomics import cpu_pause, load_acquire
from engine.io.journal import NOT_READY, READY, append
from engine.io.journal_format import Kind
from engine.jit import kernel
from engine.run.wiring import FLAG_STOP, L_FEED_WAITS, L_JOURNAL_STALLS, Wiring

INPUT, OUTPUT, OBSERVATION = int(Kind.INPUT), int(Kind.OUTPUT), int(Kind.OBSERVATION)
#: The end of the last segment that is ready is for orders, reports and commands: 10,000 cancels and their answers take
#: some 8 MiB. Of a smaller segment a quarter. On a full disk the engine halts when half of it is left.
RESERVE = 16 << 20


@kernel
def journal(w: Wiring, kind: int, flags: int, batch_index: int, input_seq: int, address: int, n: int) -> int:
    """Append a frame and return its seq. Waits while no segment is ready; negative only when the run is stopped.

    A wait is noted (`waited`): what is sent next may be late. After a step whose outputs did not all get onto the
    journal nothing more does: its frames are the last.
    """
    if w.line[0].cut != 0:
        return NOT_READY
    seq = append(w.journal, kind, flags, batch_index, input_seq, address, n)
    if seq == NOT_READY:
        w.counters[L_JOURNAL_STALLS] += 1
        w.line[0].waited = 1
        while seq == NOT_READY and load_acquire(w.flags.ctypes.data + FLAG_STOP) == 0:
            cpu_pause()
            seq = append(w.journal, kind, flags, batch_index, input_seq, address, n)
    return int(seq)


@kernel
def short_of_room(w: Wiring) -> bool:
    """Whether the feeds wait, so that what is left of the journal is for orders and commands; counted as it begins.

    The disk is behind by two segments then. A feed that is faster than it would otherwise have each frame of the next
    segment too, and a mass cancel would wait for the disk with it.
    """
    row, line = w.journal[0], w.line[0]
    if row.segment_bytes - row.cursor >= min(RESERVE, int(row.segment_bytes) >> 2):
        line.short = 0
        return False
    if load_acquire(w.journal.ctypes.data + READY + 8 * ((int(row.segment) + 1) & 1)) != 0:
        line.short = 0
        return False
    if line.short == 0:
        line.short = 1
        w.counters[L_FEED_WAITS] += 1
    return True
