"""The kernels of `perf machine`: workflows taken through a machine's tables, as the loop's turn takes them.

`walk` is what a transition is beside its step: the state's byte in the parent's row, STEP at (state, event), NEXT at
(state, event, outcome) by the turn's own function, the byte written back; what a step would return is given.
`undoable` is the turn's own `fire`, whole: undo log opened and closed, step called by its number, effects, state. Its
step is the recall of children where there are none, so next to nothing of it is the step's.

`perf.bench.bind_driver` writes this file out again with its imports naming a strategy's own tables and turn. Worst
case: a (state, event, outcome) that the tables do not have ends the walk, and its place is returned instead of a sum.
"""

from __future__ import annotations

import numpy as np

from engine.core.state import NEW, WORKING, Event, Outbox, State
from engine.jit import kernel
from engine.run.turn import N_EVENTS, _next, fire
from engine.workflow.null_tables import STEP
from engine.workflow.table import FIRST_STEP, NO_STATE

_FULL = int(Event.FULL)


@kernel
def walk(state: State, moves: np.ndarray, outcomes: np.ndarray, workflows: int, rounds: int) -> int:
    """Take workflows 0 .. n - 1 in turn through the moves, each round from NEW; the sum of all states come to.

    `moves` (events) and `outcomes` are uint8, `workflows` is a power of two. -1 - k where move k leads nowhere.
    """
    mask, total = workflows - 1, 0
    for _ in range(rounds):
        for p in range(workflows):
            state.parents[p].phase = NEW
        for k in range(len(moves)):
            parent = state.parents[k & mask]
            row = int(parent.phase) * N_EVENTS + int(moves[k])
            if STEP[row] < FIRST_STEP:
                return -1 - k
            after = _next(row, int(outcomes[k]))
            if after == NO_STATE:
                return -1 - k
            parent.phase = after
            total += after
    return total


@kernel
def undoable(state: State, outbox: Outbox, workflows: int, count: int) -> int:
    """FULL for workflows in turn, `count` times, through `fire`; how many came back to WORKING, as all should."""
    mask, good = workflows - 1, 0
    for p in range(workflows):
        state.parents[p].phase = WORKING
    for k in range(count):
        fire(state, k & mask, _FULL, outbox)
        good += 1 if state.parents[k & mask].phase == WORKING and outbox.count[0] == 0 else 0
    return good
