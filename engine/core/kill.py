"""The kill switch by scope: while a scope is killed no new order of it leaves, and cancels always do.

`core.killed` holds the scope ALL (1, or the Reason for which the engine itself set it), `state.kills` the others, a row
each, in the order in which they came. A KILL_OFF lifts exactly the scope that it names. Scopes: a venue, a session (a
client's, or that of a venue), an instrument, a strategy (algo_id), a trader, a client, an account.

The gate asks `kill_of` for each order that is about to leave, and `on_order` for each that comes: a parent has no
venue, so a killed venue lets it in and blocks its children there, and its workflow goes elsewhere.

Worst case: MAX_KILLS scopes are killed, and each order is held to all of them; with none it is two loads. One more
scope is refused with TABLE_FULL: kill all then.
"""

from __future__ import annotations

from typing import Any

from engine.core.emit import alert, control_report
from engine.core.limits import MAX_KILLS
from engine.core.scopes import in_scope, target_of
from engine.core.state import NONE, Events, Outbox, State
from engine.jit import kernel
from engine.record.records import ControlAction, Reason, RiskRule, Scope

_KILL, _KILL_ON = int(RiskRule.KILL), int(ControlAction.KILL_ON)
_ALL = int(Scope.ALL)
_R_KILLED, _R_FULL = int(Reason.KILLED), int(Reason.TABLE_FULL)


@kernel
def kill_of(state: State, order: Any, venue: int, session: int) -> tuple[int, int, int]:
    """(rule, value, limit) where an order may not leave: value is the killed scope, limit what it means; else rule 0.

    The scope ALL is told first, then the others in the order in which they were killed.
    """
    core = state.core[0]
    if core.killed != 0:
        return _KILL, _ALL, 0
    for k in range(core.n_kills):
        row = state.kills[k]
        if in_scope(state, int(row.scope), int(row.target), order, venue, session):
            return _KILL, int(row.scope), int(row.target)
    return 0, 0, 0


@kernel
def on_kill(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """CONTROL KILL_ON or KILL_OFF of the control link: the scope is killed, or no longer; answered and alerted."""
    command, core = events.control[i], state.core[0]
    scope, on = int(command.scope), bool(command.action == _KILL_ON)
    target = target_of(scope, int(command.client_id), int(command.instrument_id), int(command.target))
    value = max(int(command.value), 1) if on else 0
    k = control_report(state, outbox, int(command.action), scope, target, 0)
    report = outbox.control_report[k]
    report.request_id = command.request_id
    report.actor_id = command.actor_id
    report.value = value
    if scope == _ALL:
        report.old_value = core.killed
        core.killed = value
    else:
        row = _row_of(state, scope, target)
        report.old_value = state.kills[row].value if row != NONE else 0
        if on and row == NONE and core.n_kills == MAX_KILLS:
            report.value = 0
            report.reason = _R_FULL
            return
        _set(state, row, scope, target, value, int(command.actor_id))
    alert(state, outbox, _R_KILLED, -1, 0, value)


@kernel
def _row_of(state: State, scope: int, target: int) -> int:
    for k in range(state.core[0].n_kills):
        if state.kills[k].scope == scope and state.kills[k].target == target:
            return k
    return NONE


@kernel
def _set(state: State, row: int, scope: int, target: int, value: int, actor: int) -> None:
    """Write the row of a scope, or take it away (value 0); those behind it move up."""
    core = state.core[0]
    if value == 0:
        if row != NONE:
            core.n_kills -= 1
            for k in range(row, core.n_kills):
                state.kills[k] = state.kills[k + 1]
            last = state.kills[int(core.n_kills)]
            last.scope = 0
            last.target = 0
            last.value = 0
            last.actor_id = 0
        return
    if row == NONE:
        row = int(core.n_kills)
        core.n_kills += 1
    kill = state.kills[row]
    kill.scope = scope
    kill.target = target
    kill.value = value
    kill.actor_id = actor
