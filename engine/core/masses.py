"""What mass cancels count of their orders: which have ended, and what was executed after the command.

A child's `masses` has a bit for each row of `state.masses` in whose scope it was. The bits stay when it ends, until the
row is taken again, so that an execution that is late still counts. Worst case: MAX_MASSES bits a report.
"""

from __future__ import annotations

from engine.core.limits import MAX_MASSES
from engine.core.state import State
from engine.jit import kernel


@kernel
def count_ended(state: State, c: int) -> None:
    """Child c, which was in the scope of a mass cancel, has ended."""
    bits = int(state.children[c].masses)
    for m in range(MAX_MASSES):
        row = state.masses[m]
        if (bits >> m) & 1 and row.open != 0:
            row.acknowledged += 1
            row.last_ack_ns = state.core[0].now_ns
            if row.acknowledged == row.live:
                state.core[0].mass_ended = 1


@kernel
def count_fill(state: State, c: int) -> None:
    """Child c, which was in the scope of a mass cancel, has executed since."""
    bits = int(state.children[c].masses)
    for m in range(MAX_MASSES):
        if (bits >> m) & 1 and state.masses[m].open != 0:
            state.masses[m].fills += 1
