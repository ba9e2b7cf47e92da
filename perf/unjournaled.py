"""In place of `engine.run.journaling` where a benchmark wants to know what journaling costs: numbers, and no frames."""

from __future__ import annotations

from engine.jit import kernel
from engine.run.journaling import INPUT, OBSERVATION, OUTPUT, short_of_room
from engine.run.wiring import Wiring

__all__ = ("INPUT", "OBSERVATION", "OUTPUT", "journal", "short_of_room")


@kernel
def journal(w: Wiring, kind: int, flags: int, batch_index: int, input_seq: int, address: int, n: int) -> int:
    """The number that a frame would have; nothing is written."""
    row = w.journal[0]
    seq = int(row.next_seq)
    row.next_seq = seq + 1
    return seq
