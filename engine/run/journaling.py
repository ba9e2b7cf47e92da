"""Putting frames on the journal from the loop: an event that cannot be journaled waits, and is never acted upon."""

from __future__ import annotations

from engine.io.atomics import cpu_pause, load_acquire
from engine.io.journal import NOT_READY, append
from engine.io.journal_format import Kind
from engine.jit import kernel
from engine.run.wiring import FLAG_STOP, L_JOURNAL_STALLS, Wiring

INPUT, OUTPUT, OBSERVATION = int(Kind.INPUT), int(Kind.OUTPUT), int(Kind.OBSERVATION)


@kernel
def journal(w: Wiring, kind: int, flags: int, batch_index: int, input_seq: int, address: int, n: int) -> int:
    """Append a frame and return its seq. Waits while no segment is ready; negative only when the run is stopped."""
    seq = append(w.journal, kind, flags, batch_index, input_seq, address, n)
    if seq == NOT_READY:
        w.counters[L_JOURNAL_STALLS] += 1
        while seq == NOT_READY and load_acquire(w.flags.ctypes.data + FLAG_STOP) == 0:
            cpu_pause()
            seq = append(w.journal, kind, flags, batch_index, input_seq, address, n)
    return int(seq)
