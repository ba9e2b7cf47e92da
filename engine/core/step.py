"""What an event does to the state: the parts that every bound `step` is made of.

A step is: `begin` (admission), `apply` (the state takes the event in), then turns of `next_turn` (one parent's
workflow, which the strategy decides) and the risk gate until no work is left, then `end` (outgoing records are
numbered, the next deadline is known). `engine.run.bind` puts a strategy in the middle and calls the whole `step(state,
events, i, outbox)`.

Nothing here reads a clock: the time is the event's. The same inputs give the same outputs, byte for byte, jitted or
not.
"""

from __future__ import annotations

from engine.core import timers
from engine.core.admit import admit, answerable
from engine.core.answers import answer_refused
from engine.core.books import on_clear, on_quote, on_status, on_trade
from engine.core.changes import on_change
from engine.core.children import on_child_timer, wake
from engine.core.day import forget_executions, on_position_load, on_roll
from engine.core.emit import client_reject, refusal, seal
from engine.core.guard import check_report
from engine.core.halt import on_stop
from engine.core.limit_change import end_overrides, on_limit_change, refuse_limit_change
from engine.core.limits import OUTBOX, TIMERS_A_STEP, TURN_OUTPUTS
from engine.core.mass_cancel import GIVE_UP, carry_on, on_mass_cancel, report_ended
from engine.core.reports import on_fill, on_report
from engine.core.requests import on_control, on_order
from engine.core.resting import wake_on_quote
from engine.core.risk import count_cancels
from engine.core.sessions import on_recovered, on_session_down, on_session_up
from engine.core.state import (
    C_CONTROLS,
    C_ORDERS_IN,
    C_REPORTS_IN,
    C_TIMERS,
    NONE,
    W_EXPIRE,
    W_TIMEOUT,
    Events,
    Outbox,
    State,
)
from engine.jit import kernel
from engine.record.records import ControlAction, Reason, Template, Tif

_QUOTE, _TRADE, _CLEAR = int(Template.QUOTE), int(Template.TRADE), int(Template.CLEAR)
_INSTRUMENT_STATUS = int(Template.INSTRUMENT_STATUS)
_ORDER_NEW, _STATUS_REQUEST = int(Template.ORDER_NEW), int(Template.STATUS_REQUEST)
_MASS_CANCEL = int(Template.MASS_CANCEL)
_ACK, _FILL, _REJECT = int(Template.ACK), int(Template.FILL), int(Template.REJECT)
_CANCEL_REJECT, _BUST, _CORRECT = int(Template.CANCEL_REJECT), int(Template.BUST), int(Template.CORRECT)
_SESSION_UP, _SESSION_DOWN = int(Template.SESSION_UP), int(Template.SESSION_DOWN)
_LIMIT_CHANGE = int(Template.LIMIT_CHANGE)
_RECOVERED, _ROLL, _POSITION = int(Template.RECOVERED), int(Template.ROLL), int(Template.POSITION_LOAD)
_DAY = int(Tif.DAY)
_STOP = int(ControlAction.STOP)
_R_LENGTH, _R_SCHEMA = int(Reason.WRONG_LENGTH), int(Reason.WRONG_SCHEMA)
#: What `begin` returns of a record that is taken in already: nothing else may run on it.
TAKEN = -1
_TIMER, _CONTROL, _MALFORMED = int(Template.TIMER), int(Template.CONTROL), int(Template.MALFORMED)


@kernel
def begin(state: State, events: Events, i: int, outbox: Outbox) -> int:
    """Empty the outbox, take the event's time, check the record: 0 admits it, TAKEN is done, else it was refused."""
    outbox.count[0] = 0
    core = state.core[0]
    core.gated = 0
    head = events.head[i]
    if head.ts_recv_ns > core.now_ns:
        core.now_ns = head.ts_recv_ns
    reason, value, limit = admit(state, events, i, outbox)
    template = int(head.template_id)
    if reason == 0:
        if template == _CONTROL and events.control[i].action == _STOP:
            on_stop(state, events, i, outbox)
            return TAKEN
        return 0
    refusal(state, outbox, template, reason, value, limit)
    if template == _LIMIT_CHANGE and head.stream_id < 0 and reason != _R_LENGTH and reason != _R_SCHEMA:
        refuse_limit_change(state, events, i, outbox, reason)
    if answerable(template, reason) and head.stream_id >= 0:
        answer = _REJECT if template == _ORDER_NEW else _CANCEL_REJECT
        if template == _CONTROL:
            client_reject(state, outbox, events.control[i], answer, int(head.stream_id), reason)
        else:
            client_reject(state, outbox, events.order[i], answer, int(head.stream_id), reason)
    elif head.stream_id == NONE:
        answer_refused(state, events, i, outbox, template, reason)
    return reason


@kernel
def apply(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """Let the admitted record i change the state; parents that it concerns are woken."""
    template = int(events.head[i].template_id)
    if template == _QUOTE:
        on_quote(state, events, i)
        quote = events.quote[i]
        wake_on_quote(state, int(quote.instrument_id), int(quote.venue_id))
    elif template == _TRADE:
        on_trade(state, events, i)
    elif template == _TIMER:
        _on_timer(state, outbox, int(events.timer[i].cancels_only))
    elif _ACK <= template <= _CORRECT:
        state.counts[C_REPORTS_IN] += 1
        _on_report(state, events, i, template, outbox)
    elif template == _MASS_CANCEL:
        on_mass_cancel(state, events, i, outbox)
    elif _ORDER_NEW <= template <= _STATUS_REQUEST:
        state.counts[C_ORDERS_IN] += 1
        on_order(state, events, i, outbox)
    elif template == _CONTROL:
        state.counts[C_CONTROLS] += 1
        on_control(state, events, i, outbox)
    elif template == _SESSION_UP:
        on_session_up(state, events, i, outbox)
    elif template == _SESSION_DOWN:
        on_session_down(state, events, i, outbox)
    elif template == _CLEAR:
        on_clear(state, events, i)
    elif template == _INSTRUMENT_STATUS:
        on_status(state, events, i)
    elif template == _RECOVERED:
        on_recovered(state, events, i, outbox)
    elif template == _ROLL:
        on_roll(state, events, i, outbox)
    elif template == _LIMIT_CHANGE:
        state.counts[C_CONTROLS] += 1
        on_limit_change(state, events, i, outbox)
    elif template == _POSITION:
        on_position_load(state, events, i)
    else:
        assert template == _MALFORMED, "admit refuses every other template"
        record = events.malformed[i]
        refusal(state, outbox, template, int(record.reason), int(record.length), 0)


@kernel
def _on_report(state: State, events: Events, i: int, template: int, outbox: Outbox) -> None:
    if template == _FILL:
        on_fill(state, events, i, outbox)
    elif template == _BUST or template == _CORRECT:
        on_change(state, events, i, outbox)
    else:
        on_report(state, events, i, outbox)
    check_report(state, int(events.report[i].order_id))


@kernel
def _on_timer(state: State, outbox: Outbox, cancels_only: int) -> None:
    """Fire what is due, ties in arming order; what does not fit stays due and fires at the next TIMER.

    `cancels_only`: the driver was away and has not read what came meanwhile, so nothing that waits for it may fire.
    """
    core = state.core[0]
    state.counts[C_TIMERS] += 1
    if core.override_due_ns <= core.now_ns:
        end_overrides(state, outbox)
    if core.mass_at_ns <= core.now_ns:
        carry_on(state, outbox)
    if cancels_only != 0:
        return
    if core.mass_due_ns <= core.now_ns:
        core.mass_ended = GIVE_UP
    if outbox.count[0] + 3 * TIMERS_A_STEP + TURN_OUTPUTS > OUTBOX:
        return
    parents = len(state.parents)
    for _ in range(TIMERS_A_STEP):
        if timers.first_due(state) > core.now_ns:
            return
        owner = int(state.timer_owner[0])
        timers.disarm(state, owner)
        if owner < parents:
            over = state.parent_orders[owner].tif == _DAY and core.now_ns >= state.params[0].day_end_ns
            wake(state, owner, W_EXPIRE if over else W_TIMEOUT)
        else:
            on_child_timer(state, outbox, owner - parents)


@kernel
def next_turn(state: State, outbox: Outbox) -> int:
    """Slot of the next parent with work, taken off the queue; NONE where there is none, or no room for its outputs."""
    core = state.core[0]
    if core.work_count == 0 or outbox.count[0] + TURN_OUTPUTS > OUTBOX:
        return NONE
    p = int(state.work[core.work_head])
    core.work_head = (core.work_head + 1) & (len(state.work) - 1)
    core.work_count -= 1
    state.parents[p].queued = 0
    return p


@kernel
def end(state: State, outbox: Outbox) -> None:
    """Number what leaves; forget an earlier day's executions where the last child has just ended."""
    if state.core[0].old_execs != 0 and state.core[0].live_children == 0:
        forget_executions(state)
    if state.core[0].mass_ended != 0:
        report_ended(state, outbox)
    if outbox.count[0] > 0:
        count_cancels(state, outbox)
        seal(state, outbox)


@kernel
def next_deadline(state: State) -> int:
    """Engine time at which a TIMER input is due: now while work waits, else the earliest of the timers, of the ends of
    overrides and of the next cancels of a mass cancel; NEVER where there is none."""
    if state.core[0].work_count > 0:
        return int(state.core[0].now_ns)
    return min(timers.first_due(state), cancels_due(state), int(state.core[0].mass_due_ns))


@kernel
def cancels_due(state: State) -> int:
    """Engine time at which a TIMER is due that does not depend on what peers may have said: of the next cancels of a
    mass cancel, and of the end of an override; NEVER where there is none."""
    return min(int(state.core[0].mass_at_ns), int(state.core[0].override_due_ns))
