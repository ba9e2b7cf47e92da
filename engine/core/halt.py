"""The last step of an engine that stops itself: what lives at venues is cancelled, whatever its workflow says.

The driver gives CONTROL STOP (by way of `engine.run.halt`), `value` being the first slot of the children table to look
at. Nothing runs but this: the state may be broken, so no workflow has a turn, no status is believed, and no table of
states is asked. The kill flag is on from then on, and stays on after a recovery until somebody lifts it.

Worst case: more than A_STEP live children are several inputs.
"""

from __future__ import annotations

from engine.core.emit import alert, child_request
from engine.core.lifecycle import M_CANCEL
from engine.core.state import Events, Outbox, State
from engine.jit import kernel
from engine.record.records import Reason, Template

#: Children that one STOP cancels at the most.
A_STEP = 128
_CANCEL = int(Template.ORDER_CANCEL)
_HALTED = int(Reason.BROKEN_INVARIANT)


@kernel
def on_stop(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """CONTROL STOP: the kill flag, an alert, and a cancel for each of the next A_STEP children with leaves."""
    control, core = events.control[i], state.core[0]
    if core.killed == 0:
        core.killed = _HALTED
    first = int(control.value)
    if first == 0:
        alert(state, outbox, _HALTED, -1, 0, int(core.live_children))
    asked = 0
    for c in range(first, len(state.children)):
        child = state.children[c]
        if child.leaves_qty <= 0:
            continue
        if asked == A_STEP:
            return
        asked += 1
        child.marks = int(child.marks) | M_CANCEL
        child.cancels += 1
        child_request(state, outbox, c, _CANCEL)
