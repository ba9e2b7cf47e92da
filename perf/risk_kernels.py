"""The kernel of `perf risk`: child orders through the real gate, one after the other, each timed by the counter."""

from __future__ import annotations

import numpy as np

from engine.core.children import finish_child, new_child
from engine.core.risk import gate
from engine.core.state import NONE, Outbox, State
from engine.io.atomics import tsc
from engine.io.histogram import record
from engine.jit import kernel
from engine.record.records import OrdStatus, Tif

_DAY, _CANCELED = int(Tif.DAY), int(OrdStatus.CANCELED)


@kernel
def pass_orders(state: State, outbox: Outbox, n: int, gap_ns: int, px: int, qty: int, counts: np.ndarray) -> int:
    """Send n children of parent 0 to the venues in turn, `gap_ns` apart; ticks in the gate go into `counts`.

    Each has ended before the next is made. Returns how many were made.
    """
    core, venues, made = state.core[0], int(state.params[0].n_venues), 0
    for k in range(n):
        core.now_ns += gap_ns
        state.instruments[0].reference_ns = core.now_ns
        outbox.count[0] = 0
        core.gated = 0
        c = new_child(state, outbox, 0, k % venues, px + k % 8, qty, _DAY)
        if c == NONE:
            return made
        made += 1
        before = tsc()
        gate(state, outbox)
        record(counts, tsc() - before)
        if state.children[c].leaves_qty > 0:
            finish_child(state, outbox, c, _CANCELED, 0)
    return made
