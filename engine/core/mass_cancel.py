"""Cancelling all that lives in a scope, at once: straight from the children table, before any workflow has a turn.

    MASS_CANCEL       each live child in the scope is marked (M_DUE), each parent in it woken, the command answered
    this and TIMERs   one cancel after the other, session by session, as many as a step's outbox takes
    then              the parents' turns: each workflow hears that its order is cancelled, and ends with its children
    reports           each marked child that ends, and each execution on one, is counted
    at last           CONTROL_REPORT: cancels sent, orders ended, executions after the command, times

A session with a limit (`pace_ns`) gets its cancels no faster than that, by the engine's clock: the next is due when the
limit allows it, and a TIMER comes then. All that leaves on a session uses its limit, cancels are never blocked by it,
and as long as some are due the risk gate lets no new order and no replace out there (CANCELS_FIRST).
Cancels that timers send on such a session (an order's venue is silent) wait in the same line: they are marked M_DUE.
A venue whose session offers mass cancels gets one MASS_CANCEL in the place of its orders' cancels, where the scope is
one that it can know. Immediate orders end by themselves; what is asked to be cancelled already is not asked again,
unless its venue is silent about it.

What lives at a session that is down is UNKNOWN and cannot be cancelled: it is counted, and taken back when its venue
says that it lives. The last report waits for the orders as long as cancels are sent again, and says then how many have
not ended. A cancel that is lost on the way is sent again by its order's timer, like every other.

Worst case: one pass over the children table for the marks, and one a session for the cancels, about 2 ns a row.
MAX_MASSES commands are waited for at a time, and one more ends the waiting of the oldest (its report says TABLE_FULL).
"""

from __future__ import annotations

from engine.core.children import ask_cancel, cancel_child, immediate, terminal, wake
from engine.core.emit import control_report, is_open, mass_request
from engine.core.ids import in_use, slot_of_parent
from engine.core.lifecycle import M_CANCEL, M_DUE
from engine.core.limits import MAX_MASSES, MAX_VENUES, OUTBOX
from engine.core.parents import ending
from engine.core.scopes import in_scope, target_of
from engine.core.state import NEVER, NONE, W_CANCEL, Events, Outbox, State
from engine.jit import kernel
from engine.record.records import NOBODY, ControlAction, OrdStatus, Reason, Scope, SessionFlag

_CANCEL = int(ControlAction.CANCEL)
_ALL, _VENUE, _SESSION = int(Scope.ALL), int(Scope.VENUE), int(Scope.SESSION)
_UNKNOWN = int(OrdStatus.UNKNOWN)
_OFFERED = int(SessionFlag.MASS_CANCEL)
_R_MASS, _R_TIMEOUT, _R_FULL = int(Reason.MASS_CANCEL), int(Reason.TIMEOUT), int(Reason.TABLE_FULL)
#: What `mass_ended` is where a TIMER says that some have waited long enough, and not only that all orders of one ended.
GIVE_UP = 2
#: Slots of the outbox that cancels leave free: for the last reports, one a row, and for an alert.
_LEFT_FREE = MAX_MASSES + 2

assert 1 + MAX_VENUES + _LEFT_FREE < OUTBOX, "the first report and one MASS_CANCEL a venue fit into one step"


@kernel
def on_mass_cancel(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """MASS_CANCEL: of a client, its own parents in scope; over the control link, all that lives in scope, answered."""
    request = events.mass_cancel[i]
    session, scope = int(request.stream_id), int(request.scope)
    target = target_of(scope, int(request.client_id), int(request.instrument_id), int(request.target))
    _wake_parents(state, scope, target, session)
    if session < 0:
        _begin(state, outbox, scope, target, int(request.request_id), int(request.actor_id))


@kernel
def cancel_session(state: State, outbox: Outbox, session: int) -> None:
    """Cancel all that a client session has, because it went down: as a MASS_CANCEL that nobody gave."""
    _wake_parents(state, _SESSION, session, NONE)
    _begin(state, outbox, _SESSION, session, 0, NOBODY)


@kernel
def _wake_parents(state: State, scope: int, target: int, session: int) -> None:
    """Wake each parent in scope to be cancelled; `session` NONE: of all sessions."""
    for p in range(len(state.parents)):
        parent = state.parents[p]
        if not is_open(state, p) or ending(state, p):
            continue
        if session >= 0 and parent.session != session:
            continue
        if in_scope(state, scope, target, state.parent_orders[p], NONE, int(parent.session)):
            parent.reason = _R_MASS
            wake(state, p, W_CANCEL)


@kernel
def _begin(state: State, outbox: Outbox, scope: int, target: int, request_id: int, actor_id: int) -> None:
    """Mark what lives in scope, answer, and send the first cancels."""
    core = state.core[0]
    m = _take_row(state, outbox)
    row = state.masses[m]
    row.request_id = request_id
    row.scope = scope
    row.target = target
    row.actor_id = actor_id
    row.command_ns = core.now_ns
    row.due_ns = core.now_ns + _patience(state)
    asked = _mark(state, m, scope, target)
    k = _report(state, outbox, m, 0)
    for s in range(state.params[0].n_sessions):
        state.sessions[s].due_at = 0
    for v in range(state.params[0].n_venues):
        if (asked >> v) & 1:
            wide = scope == _VENUE or scope == _SESSION
            mass_request(state, outbox, v, _ALL if wide else scope, 0 if wide else target, request_id)
            _count_cancel(state, 1 << m)
    if row.live == 0:
        outbox.control_report[k].finished = 1
        return
    row.open = 1
    carry_on(state, outbox)


@kernel
def _take_row(state: State, outbox: Outbox) -> int:
    """A zeroed row for a mass cancel; where all are open, the oldest is reported and given up."""
    oldest = 0
    for m in range(MAX_MASSES):
        if state.masses[m].open == 0:
            oldest = m
            break
        if state.masses[m].command_ns < state.masses[oldest].command_ns:
            oldest = m
    if state.masses[oldest].open != 0:
        k = _report(state, outbox, oldest, _R_FULL)
        outbox.control_report[k].finished = 1
    row = state.masses[oldest]
    row.open = 0
    row.live = 0
    row.cancels = 0
    row.acknowledged = 0
    row.fills = 0
    row.last_cancel_ns = 0
    row.last_ack_ns = 0
    return oldest


@kernel
def _patience(state: State) -> int:
    """How long after its last cancel an order is waited for: while cancels are sent again."""
    return int(state.params[0].child_timeout_ns) * (int(state.params[0].max_cancels) + 1)


@kernel
def _mark(state: State, m: int, scope: int, target: int) -> int:
    """Mark and count the live children in scope; returns the venues (bits) that take one MASS_CANCEL for theirs."""
    bit, live, asked = 1 << m, 0, 0
    for c in range(len(state.children)):
        child = state.children[c]
        child.masses = int(child.masses) & ~bit
        if not in_use(state, c) or terminal(int(child.ord_status)):
            continue
        order = state.child_orders[c]
        venue = int(order.venue_id)
        if not in_scope(state, scope, target, order, venue, int(state.parents[slot_of_parent(state, c)].session)):
            continue
        live += 1
        child.masses = int(child.masses) | bit
        line = state.sessions[int(state.venues[venue].session)]
        if line.up == 0 or not _to_be_asked(state, c):
            continue
        if int(line.capability) & _OFFERED and (scope != _SESSION or state.venues[venue].session == target):
            if int(child.marks) & M_DUE:
                child.marks = int(child.marks) & ~M_DUE
                line.due -= 1
            ask_cancel(state, c)
            asked |= 1 << venue
        elif int(child.marks) & M_DUE == 0:
            child.marks = int(child.marks) | M_DUE
            line.due += 1
    state.masses[m].live = live
    return asked


@kernel
def _to_be_asked(state: State, c: int) -> bool:
    """Whether a cancel of child c makes sense: not of one that never rests, nor of one that is asked already."""
    child = state.children[c]
    if immediate(int(state.child_orders[c].tif)):
        return False
    return int(child.marks) & M_CANCEL == 0 or bool(child.ord_status == _UNKNOWN)


@kernel
def carry_on(state: State, outbox: Outbox) -> None:
    """Send the cancels that are due, as many as fit; note when to go on, and when to stop waiting for the answers."""
    core = state.core[0]
    goes_on_ns = NEVER
    for s in range(state.params[0].n_sessions):
        if state.sessions[s].due > 0:
            goes_on_ns = min(goes_on_ns, _send_cancels(state, outbox, s))
    core.mass_at_ns = goes_on_ns
    for m in range(MAX_MASSES):
        if state.masses[m].open != 0 and goes_on_ns < NEVER:
            state.masses[m].due_ns = max(int(state.masses[m].due_ns), goes_on_ns + _patience(state))
    _note_due(state)


@kernel
def _note_due(state: State) -> None:
    """When the next mass cancel stops waiting for its orders."""
    core = state.core[0]
    core.mass_due_ns = NEVER
    for m in range(MAX_MASSES):
        if state.masses[m].open != 0:
            core.mass_due_ns = min(int(core.mass_due_ns), int(state.masses[m].due_ns))


@kernel
def _send_cancels(state: State, outbox: Outbox, s: int) -> int:
    """Send cancels on session s until its limit or the outbox ends it; when it goes on, NEVER where all are sent.

    What was asked already has a timer, which fires when its venue is silent: without one it is to be asked again, and
    is no cancel of a mass cancel.
    """
    line, now_ns = state.sessions[s], int(state.core[0].now_ns)
    paced_ns = max(int(line.paced_ns), now_ns)
    c = int(line.due_at)
    while line.due > 0 and c < len(state.children):
        child = state.children[c]
        if int(child.marks) & M_DUE == 0 or state.venues[int(state.child_orders[c].venue_id)].session != s:
            c += 1
            continue
        asked = not _to_be_asked(state, c)
        if line.up == 0 or (asked and state.timer_pos[len(state.parents) + c] != NONE):
            child.marks = int(child.marks) & ~M_DUE
            line.due -= 1
            c += 1
            continue
        line.due_at = c
        if outbox.count[0] + _LEFT_FREE > OUTBOX:
            return now_ns
        if line.pace_ns > 0:
            if paced_ns > now_ns + line.burst_ns:
                return paced_ns - int(line.burst_ns)
            paced_ns += int(line.pace_ns)  # `seal` takes it from the session's limit
        child.marks = int(child.marks) & ~M_DUE
        line.due -= 1
        cancel_child(state, outbox, c)
        if not asked:
            _count_cancel(state, int(child.masses))
        c += 1
    line.due_at = c
    assert line.due == 0, "each cancel that is due is found behind the place of the last"
    return NEVER


@kernel
def _count_cancel(state: State, bits: int) -> None:
    for m in range(MAX_MASSES):
        if (bits >> m) & 1:
            row = state.masses[m]
            row.cancels += 1
            row.last_cancel_ns = state.core[0].now_ns
            row.due_ns = state.core[0].now_ns + _patience(state)


@kernel
def report_ended(state: State, outbox: Outbox) -> None:
    """The last report of each mass cancel whose orders have ended, or (at a TIMER) that waits no longer; what does not
    fit waits."""
    core = state.core[0]
    gives_up = core.mass_ended == GIVE_UP
    core.mass_ended = 0
    for m in range(MAX_MASSES):
        row = state.masses[m]
        if row.open == 0 or (row.acknowledged < row.live and not (gives_up and row.due_ns <= core.now_ns)):
            continue
        if outbox.count[0] == OUTBOX:
            core.mass_ended = 1
            core.mass_due_ns = core.now_ns
            return
        k = _report(state, outbox, m, _R_TIMEOUT if row.acknowledged < row.live else 0)
        outbox.control_report[k].finished = 1
        row.open = 0
    _note_due(state)


@kernel
def _report(state: State, outbox: Outbox, m: int, reason: int) -> int:
    """A CONTROL_REPORT on the mass cancel in row m as it stands, not the last; returns its slot."""
    row = state.masses[m]
    k = control_report(state, outbox, _CANCEL, int(row.scope), int(row.target), reason)
    report = outbox.control_report[k]
    report.request_id = row.request_id
    report.actor_id = row.actor_id
    report.finished = 0
    report.live_children = row.live
    report.cancels = row.cancels
    report.acknowledged = row.acknowledged
    report.fills_after = row.fills
    report.command_ns = row.command_ns
    report.last_cancel_ns = row.last_cancel_ns
    report.last_ack_ns = row.last_ack_ns
    return k
