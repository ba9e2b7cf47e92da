"""A parent's turn: the reasons that it was woken for become events, and each event goes through the machine's tables.

    step = STEP[state, event]                 one load
    outcome = step(state, p, event, outbox)   the strategy's or the shared kernel
    state = NEXT[state, event, outcome]       one load; nothing there: the step has failed

A step that fails (an outcome that was not declared, an assertion, no room) is undone: every row that it changed is put
back, its outputs are cut off, a FAILURE record says what happened, the workflow goes to FAILING and its compensations
run, the newest effect's first. No other workflow notices. What runs then (the state's leave action, compensations) may
fail too: it is undone by itself, alerted, and the order goes on to its end.

While a child is live a turn is for requests, for FULL and for the state's time-out; a quote that comes then is not kept
for later. CHILDREN_DONE comes when the last child has ended, or when a request has changed the state and waits for no
child; a request that was refused brings none.

`engine.run.bind` writes this file out again for each strategy, with the one import of the machine below replaced.
Worst case: five requests in one turn, each a step, and then one decision: see limits.TURN_OUTPUTS.
"""

from __future__ import annotations

from engine.core import timers, undo
from engine.core.children import wake
from engine.core.emit import alert, is_open, left_of, new_record
from engine.core.guard import check_step
from engine.core.parents import refuse_request
from engine.core.resting import unrest
from engine.core.state import (
    C_WORKFLOW_FAILURES,
    FAILED,
    FAILING,
    NEVER,
    NEW,
    W_CANCEL,
    W_CHILDREN_DONE,
    W_EXPIRE,
    W_PAUSE,
    W_QUOTE,
    W_REPLACE,
    W_RESUME,
    W_TIMEOUT,
    Event,
    Outbox,
    State,
)
from engine.jit import kernel
from engine.record.records import UNIT, Reason, Template, Tif
from engine.workflow.machine import MAX_OUTCOMES
from engine.workflow.null_tables import (
    COMPENSATION,
    EFFECT,
    FOR_CHILDREN,
    NEXT,
    REASON,
    STEP,
    TIMEOUT_NS,
    enter,
    leave,
    run_step,
)
from engine.workflow.table import IGNORE, NO_STATE, REFUSE

_START, _CHILDREN_DONE, _QUOTE = int(Event.START), int(Event.CHILDREN_DONE), int(Event.QUOTE)
_TIMEOUT, _EXPIRE, _CANCEL = int(Event.TIMEOUT), int(Event.EXPIRE), int(Event.CANCEL)
_PAUSE, _REPLACE, _RESUME = int(Event.PAUSE), int(Event.REPLACE), int(Event.RESUME)
_FULL, _COMPLETE = int(Event.FULL), int(Event.COMPLETE)
N_EVENTS = len(Event)
N_OUTCOMES = MAX_OUTCOMES
_REQUESTS = W_EXPIRE | W_CANCEL | W_PAUSE | W_REPLACE | W_RESUME
_T_FAILURE = int(Template.FAILURE)
_T_REPLACE, _T_CANCEL, _T_CONTROL = int(Template.ORDER_REPLACE), int(Template.ORDER_CANCEL), int(Template.CONTROL)
_R_FAILED = int(Reason.STEP_FAILED)
_DAY = int(Tif.DAY)


@kernel
def turn(state: State, p: int, outbox: Outbox) -> None:
    """One turn of parent p: its requests first, then what its children, time or the market brought."""
    parent = state.parents[p]
    bits = int(parent.wake)
    parent.wake = 0
    if not is_open(state, p):
        return
    came = int(parent.phase)
    if state.parent_orders[p].tif == _DAY and state.core[0].now_ns >= state.params[0].day_end_ns:
        bits |= W_EXPIRE  # its timer may come later: after a stall, and where the order itself came late
    if bits & _REQUESTS:
        _requests(state, p, bits, outbox)
        if not is_open(state, p):
            return
    if parent.live_children > 0:
        if left_of(state, p) == 0:
            fire(state, p, _FULL, outbox)
        if bits & W_TIMEOUT and is_open(state, p):
            fire(state, p, _TIMEOUT, outbox)
        return
    if left_of(state, p) == 0:
        fire(state, p, _COMPLETE, outbox)
    elif bits & W_CHILDREN_DONE != 0 or parent.phase != came:
        before = int(parent.phase)
        fire(state, p, _CHILDREN_DONE, outbox)
        if bits & W_TIMEOUT and parent.phase == before:
            wake(state, p, W_TIMEOUT)  # one decision a turn: the time-out has the next one
    elif bits & W_TIMEOUT:
        fire(state, p, _TIMEOUT, outbox)
    elif bits & W_QUOTE:
        fire(state, p, _QUOTE, outbox)
    if parent.phase == NEW:
        fire(state, p, _START, outbox)


@kernel
def _requests(state: State, p: int, bits: int, outbox: Outbox) -> None:
    """The strongest first; each finds the state that the one before it left."""
    if bits & W_EXPIRE:
        fire(state, p, _EXPIRE, outbox)
    if bits & W_CANCEL:
        fire(state, p, _CANCEL, outbox)
    if bits & W_PAUSE:
        fire(state, p, _PAUSE, outbox)
    if bits & W_REPLACE:
        fire(state, p, _REPLACE, outbox)
    if bits & W_RESUME:
        fire(state, p, _RESUME, outbox)


@kernel
def fire(state: State, p: int, event: int, outbox: Outbox) -> None:
    """One event through the tables: the step, the state that its outcome leads to, and the way back where it fails."""
    parent = state.parents[p]
    before = int(parent.phase)
    row = before * N_EVENTS + event
    step = int(STEP[row])
    if step == IGNORE:
        return
    if step == REFUSE:
        refuse_request(state, outbox, p, _request_of(event), int(REASON[row]))
        return
    outputs = int(outbox.count[0])
    undo.begin(state, p)
    outcome = _attempt(state, p, event, step, row, outbox)
    if outcome >= 0 and _next(row, outcome) != NO_STATE:
        undo.commit(state)
        return
    cut = int(outbox.count[0]) - outputs
    restored = undo.roll_back(state, p, outbox, outputs)
    _fail(state, p, event, step, outcome, restored, cut, outbox)


@kernel
def _next(row: int, outcome: int) -> int:
    return int(NEXT[row * N_OUTCOMES + outcome]) if 0 <= outcome < N_OUTCOMES else NO_STATE


@kernel
def _attempt(state: State, p: int, event: int, step: int, row: int, outbox: Outbox) -> int:
    """Run a step and move to the state that it leads to; its outcome, or -1 where something in it was wrong."""
    try:
        parent = state.parents[p]
        before, live_qty = int(parent.phase), int(parent.live_qty)
        if parent.live_children == 0:
            parent.effects = 0  # what was sent has ended: there is nothing to take back
        leave(before, state, p, outbox)
        outcome = int(run_step(step, state, p, event, outbox))
        check_step(state, p, live_qty)
        after = _next(row, outcome)
        if after != NO_STATE:
            if EFFECT[step] != 0:
                _push_effect(state, p, int(EFFECT[step]))
            _move(state, p, before, after, event, outbox)
        return outcome
    except Exception:  # noqa: BLE001  whatever a step raises, it has failed
        return -1


@kernel
def _move(state: State, p: int, before: int, after: int, event: int, outbox: Outbox) -> None:
    """Be in state `after`. Its time-out runs from now, unless the workflow was in it already."""
    decided = event <= _TIMEOUT
    assert not decided or FOR_CHILDREN[after] == 0 or state.parents[p].live_children > 0, "it waits for no child"
    state.parents[p].phase = after
    timed = TIMEOUT_NS[before] > 0 or TIMEOUT_NS[after] > 0
    if timed and (after != before or event == _TIMEOUT):
        _arm(state, p, int(TIMEOUT_NS[after]))
    enter(after, state, p, outbox)


@kernel
def _arm(state: State, p: int, timeout_ns: int) -> None:
    """Set the parent's one timer to what comes first: the state's time-out or, for a day order, the day's end."""
    at_ns = NEVER
    if state.parent_orders[p].tif == _DAY:
        at_ns = int(state.params[0].day_end_ns)
    if timeout_ns > 0:
        at_ns = min(at_ns, int(state.core[0].now_ns) + timeout_ns)
    if at_ns == NEVER:
        timers.disarm(state, p)
    else:
        timers.arm(state, p, at_ns)


@kernel
def _push_effect(state: State, p: int, effect: int) -> None:
    """Note that a step with an effect has run: the newest in the low four bits, each at most once."""
    older, kept, shift = int(state.parents[p].effects), 0, 4
    while older != 0:
        if older & 15 != effect:
            kept |= (older & 15) << shift
            shift += 4
        older >>= 4
    state.parents[p].effects = kept | effect


@kernel
def _fail(state: State, p: int, event: int, step: int, outcome: int, restored: int, cut: int, outbox: Outbox) -> None:
    """What follows a step that was undone: a FAILURE record, FAILING, and the compensations, newest effect first."""
    parent = state.parents[p]
    before = int(parent.phase)
    _leave_anyway(state, p, before, outbox)
    parent.phase = FAILING
    parent.reason = _R_FAILED
    state.counts[C_WORKFLOW_FAILURES] += 1
    k = new_record(state, outbox, _T_FAILURE, UNIT)
    record = outbox.failure[k]
    record.parent_id = state.parent_orders[p].order_id
    record.reason = _R_FAILED
    record.outcome = outcome
    record.workflow_state = before
    record.event = event
    record.step = step
    record.undone_bytes = restored
    record.cut_outputs = cut
    effects = int(parent.effects) if parent.live_children > 0 else 0
    parent.effects = 0
    done = 0
    while effects != 0:
        if _compensate(state, p, event, int(COMPENSATION[effects & 15]), outbox):
            done += 1
        effects >>= 4
    record.compensations = done
    if parent.live_children == 0:
        _move(state, p, FAILING, FAILED, event, outbox)
    elif TIMEOUT_NS[before] > 0:
        _arm(state, p, 0)


@kernel
def _leave_anyway(state: State, p: int, before: int, outbox: Outbox) -> None:
    """Leave state `before`, whose step was undone. An action that fails is undone too, and alerted with the state's
    code, negative; whatever it left undone, a workflow that has failed watches no quotes."""
    outputs = int(outbox.count[0])
    undo.begin(state, p)
    if _left(state, p, before, outbox):
        undo.commit(state)
    else:
        undo.roll_back(state, p, outbox, outputs)
        order = state.parent_orders[p]
        alert(state, outbox, _R_FAILED, int(order.instrument_id), int(order.order_id), -before)
    unrest(state, p)


@kernel
def _left(state: State, p: int, before: int, outbox: Outbox) -> bool:
    try:
        leave(before, state, p, outbox)
        return True
    except Exception:  # noqa: BLE001  whatever an action raises, it has failed
        return False


@kernel
def _compensate(state: State, p: int, event: int, step: int, outbox: Outbox) -> bool:
    """Run one compensation; one that fails itself is undone and alerted, and what it should have taken back is left to
    the children's own time-outs."""
    outputs = int(outbox.count[0])
    undo.begin(state, p)
    if _run(state, p, event, step, outbox) >= 0:
        undo.commit(state)
        return True
    undo.roll_back(state, p, outbox, outputs)
    order = state.parent_orders[p]
    alert(state, outbox, _R_FAILED, int(order.instrument_id), int(order.order_id), step)
    return False


@kernel
def _run(state: State, p: int, event: int, step: int, outbox: Outbox) -> int:
    try:
        return int(run_step(step, state, p, event, outbox))
    except Exception:  # noqa: BLE001  whatever a compensation raises, it has failed
        return -1


@kernel
def _request_of(event: int) -> int:
    """The template of the record that brings a request."""
    if event == _REPLACE:
        return _T_REPLACE
    return _T_CANCEL if event == _CANCEL else _T_CONTROL
