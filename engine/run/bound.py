"""`step`: the core with a strategy in its middle. This file is the seam; `engine.run.bind` fills it.

As it stands here it holds the empty workflow. To bind a strategy, `bind` writes this file out again with `turn` below
imported from that strategy's own, so the call is direct, numba can cache it, and what runs is what is written here.

`step` is pure: it reads and writes its arguments alone, and time is a field of the event. `step_staged` is the same
function with the time stamp counter read between its stages into `stamps`, which `step` itself never reads.
"""

from __future__ import annotations

import numpy as np

from engine.core.risk import gate
from engine.core.state import NONE, Events, Outbox, State
from engine.core.step import apply, begin, end, next_turn
from engine.io.atomics import tsc
from engine.jit import kernel
from engine.run.turn import turn

#: Places in `stamps`: after admission, after the state took the event, ticks spent deciding and in the risk gate.
ADMITTED, BOOKED, DECIDE_TICKS, RISK_TICKS = 0, 1, 2, 3
N_STAMPS = 4


@kernel
def step(state: State, events: Events, i: int, outbox: Outbox) -> int:
    """Take record i of `events` into the state and fill the outbox; returns the number of records in it."""
    if begin(state, events, i, outbox) == 0:
        apply(state, events, i, outbox)
        p = next_turn(state, outbox)
        while p != NONE:
            turn(state, p, outbox)
            gate(state, outbox)
            p = next_turn(state, outbox)
    end(state, outbox)
    return int(outbox.count[0])


@kernel
def step_staged(state: State, events: Events, i: int, outbox: Outbox, stamps: np.ndarray) -> int:
    """`step`, with the counter read between stages; `stamps` is int64[4], see ADMITTED and its neighbours."""
    refused = begin(state, events, i, outbox)
    stamps[ADMITTED] = tsc()
    stamps[DECIDE_TICKS] = 0
    stamps[RISK_TICKS] = 0
    if refused == 0:
        apply(state, events, i, outbox)
        stamps[BOOKED] = tsc()
        p = next_turn(state, outbox)
        before = int(stamps[BOOKED])
        while p != NONE:
            turn(state, p, outbox)
            decided = tsc()
            gate(state, outbox)
            passed = tsc()
            stamps[DECIDE_TICKS] += decided - before
            stamps[RISK_TICKS] += passed - decided
            before = passed
            p = next_turn(state, outbox)
    else:
        stamps[BOOKED] = stamps[ADMITTED]
    end(state, outbox)
    return int(outbox.count[0])
