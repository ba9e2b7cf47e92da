"""Limits that change while the engine runs: by a journaled LIMIT_CHANGE of the control link, and by nothing else.

A change names the rule, whom it is for (`scope`, and `instrument_id` or `target`), the new value, the value that it
replaces (`old_value`; -1: whatever it is) and who asks: nobody (-1) changes no limit. One with `expires_ns` is an
override: two persons must have asked, neither of them root (0), and at that time of the engine's clock the limit is
what it was, journaled as an ALERT OVERRIDE_EXPIRED. A
change that stays ends an override of the same limit. Each is answered with a CONTROL_REPORT, refused ones as well.

ENABLE lets a strategy trade again that its throttle has latched; a named person must ask for it.

Worst case: OVERRIDES rows are looked at once a change, and once when one of them ends.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.core.emit import alert, control_report
from engine.core.limits import MAX_STRATEGIES
from engine.core.rates import enable
from engine.core.rules import CHANGEABLE
from engine.core.state import NEVER, NONE, Events, Outbox, State
from engine.jit import kernel
from engine.record.records import ControlAction, Reason, RiskRule, Scope

N_RULES: Final = max(RiskRule) + 1
_SCOPE, _FIRST, _STEP = np.full(N_RULES, NONE), np.zeros(N_RULES, np.int64), np.zeros(N_RULES, np.int64)
_LEAST, _MOST = np.zeros(N_RULES, np.int64), np.zeros(N_RULES, np.int64)
for _rule, _row in CHANGEABLE.items():
    _SCOPE[_rule], _FIRST[_rule], _STEP[_rule] = _row.scope, _row.first, _row.step
    _LEAST[_rule], _MOST[_rule] = _row.least, _row.most

_INSTRUMENT, _SESSION, _STRATEGY = int(Scope.INSTRUMENT), int(Scope.SESSION), int(Scope.STRATEGY)
_ACCOUNT, _ALL = int(Scope.ACCOUNT), int(Scope.ALL)
_MAX_NOTIONAL, _REPEATED = int(RiskRule.MAX_NOTIONAL), int(RiskRule.REPEATED_EXECUTION)
_ENABLE = int(ControlAction.ENABLE)
_R = {reason.name: int(reason) for reason in Reason}
_R_NONE, _R_UNSUPPORTED, _R_CHANGED, _R_EXPIRED = (
    _R["NONE"],
    _R["UNSUPPORTED"],
    _R["LIMIT_CHANGED"],
    _R["OVERRIDE_EXPIRED"],
)
_R_INSTRUMENT, _R_SESSION, _R_ACCOUNT = _R["UNKNOWN_INSTRUMENT"], _R["UNKNOWN_SESSION"], _R["UNKNOWN_ACCOUNT"]
_R_SECOND, _R_OVERFLOW, _R_PENDING = _R["SECOND_PERSON"], _R["OVERFLOW"], _R["REQUEST_PENDING"]
_R_FULL, _R_ORDER, _R_NOT = _R["TABLE_FULL"], _R["NOT_IN_ORDER"], _R["NOT_AUTHORISED"]
#: `old_value` of a change that does not say what it replaces.
ANY_VALUE: Final = -1


@kernel
def target_of(state: State, events: Events, i: int) -> int:
    """Whom the LIMIT_CHANGE at i is for, as its rule counts them."""
    change = events.limit_change[i]
    return int(change.instrument_id) if change.scope == _INSTRUMENT else int(change.target)


@kernel
def _known(state: State, scope: int, target: int) -> tuple[int, int]:
    """(reason, most) why a target does not exist; reason 0 where it does."""
    params = state.params[0]
    if scope == _INSTRUMENT:
        return (_R_INSTRUMENT if target < 0 or target >= params.n_instruments else 0), int(params.n_instruments)
    if scope == _SESSION:
        return (_R_SESSION if target < 0 or target >= params.n_sessions else 0), int(params.n_sessions)
    if scope == _ACCOUNT:
        return (_R_ACCOUNT if target < 0 or target >= params.n_accounts else 0), int(params.n_accounts)
    most = 0 if scope == _ALL else MAX_STRATEGIES
    return (_R_UNSUPPORTED if target < 0 or target > max(most - 1, 0) else 0), most


@kernel
def admit_limit_change(state: State, events: Events, i: int) -> tuple[int, int, int]:
    """(reason, value, limit) why the LIMIT_CHANGE at i must be refused; reason 0 admits it."""
    change = events.limit_change[i]
    rule, scope, value = int(change.rule), int(change.scope), int(change.value)
    if rule < 0 or rule >= N_RULES or _SCOPE[rule] == NONE:
        return _R_UNSUPPORTED, rule, 0
    if scope != _SCOPE[rule]:
        return _R_UNSUPPORTED, scope, int(_SCOPE[rule])
    if change["flags"] != 0:
        return _R_UNSUPPORTED, int(change["flags"]), 0
    if change.actor_id < 0:
        return _R_NOT, int(change.actor_id), 0
    target = target_of(state, events, i)
    reason, most = _known(state, scope, target)
    if reason != 0:
        return reason, target, most
    if value < _LEAST[rule] or value > _MOST[rule]:
        return _R_UNSUPPORTED, value, int(_MOST[rule])
    if rule == _MAX_NOTIONAL and value > _MOST[rule] // int(state.instruments[target].notional_div):
        return _R_OVERFLOW, value, int(_MOST[rule]) // int(state.instruments[target].notional_div)
    place = int(_FIRST[rule] + _STEP[rule] * target)
    if change.old_value != ANY_VALUE and change.old_value != state.limits[place]:
        return _R_CHANGED, int(change.old_value), int(state.limits[place])
    return _admit_override(state, events, i, place)


@kernel
def _admit_override(state: State, events: Events, i: int, place: int) -> tuple[int, int, int]:
    """An override has two persons and an end that is to come, and is the only one of its limit."""
    change = events.limit_change[i]
    if change.expires_ns == 0:
        return 0, 0, 0
    if change.actor_id <= 0 or change.actor_2 <= 0 or change.actor_id == change.actor_2:
        return _R_SECOND, int(change.actor_2), int(change.actor_id)
    if change.expires_ns <= state.core[0].now_ns:
        return _R_ORDER, int(change.expires_ns), int(state.core[0].now_ns)
    free = NONE
    for n in range(len(state.overrides)):
        if state.overrides[n].place == place:
            return _R_PENDING, n, 0
        if state.overrides[n].place == NONE:
            free = n
    return (0, 0, 0) if free != NONE else (_R_FULL, len(state.overrides), len(state.overrides))


@kernel
def admit_enable(state: State, events: Events, i: int) -> tuple[int, int, int]:
    """(reason, value, limit) why CONTROL ENABLE at i must be refused: it names a strategy and a person."""
    control = events.control[i]
    if control.scope != _STRATEGY:
        return _R_UNSUPPORTED, int(control.scope), _STRATEGY
    if control.target < 0 or control.target >= MAX_STRATEGIES:
        return _R_UNSUPPORTED, int(control.target), MAX_STRATEGIES
    if control.actor_id <= 0:
        return _R_NOT, int(control.actor_id), 1
    return 0, 0, 0


@kernel
def answer_limit_change(
    state: State, events: Events, i: int, outbox: Outbox, reason: int, value: int, old_value: int
) -> None:
    """CONTROL_REPORT to the LIMIT_CHANGE at i."""
    change = events.limit_change[i]
    report = outbox.control_report[
        control_report(state, outbox, 0, int(change.scope), target_of(state, events, i), reason)
    ]
    report.request_id = change.request_id
    report.rule = change.rule
    report.value = value
    report.old_value = old_value
    report.actor_id = change.actor_id
    report.actor_2 = change.actor_2


@kernel
def refuse_limit_change(state: State, events: Events, i: int, outbox: Outbox, reason: int) -> None:
    """Answer a LIMIT_CHANGE that was refused, with the value in force; ANY_VALUE where it names no limit."""
    change, now = events.limit_change[i], ANY_VALUE
    rule, target = int(change.rule), target_of(state, events, i)
    if 0 <= rule < N_RULES and _SCOPE[rule] == change.scope and _known(state, int(change.scope), target)[0] == 0:
        now = int(state.limits[int(_FIRST[rule] + _STEP[rule] * target)])
    answer_limit_change(state, events, i, outbox, reason, int(change.value), now)


@kernel
def on_limit_change(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """LIMIT_CHANGE: the limit is another from here on, or until the override ends."""
    change = events.limit_change[i]
    rule, target = int(change.rule), target_of(state, events, i)
    place, value = int(_FIRST[rule] + _STEP[rule] * target), int(change.value)
    old_value = int(state.limits[place])
    restore = old_value
    for n in range(len(state.overrides)):
        if state.overrides[n].place == place:
            restore = int(state.overrides[n].restore)
            _end(state, outbox, n, value)
    state.limits[place] = value
    if change.expires_ns != 0:
        _begin(state, events, i, place, restore, target)
    instrument = target if change.scope == _INSTRUMENT else -1
    alert(state, outbox, _R_CHANGED, instrument, 0, value)
    answer_limit_change(state, events, i, outbox, _R_NONE, value, old_value)


@kernel
def _begin(state: State, events: Events, i: int, place: int, restore: int, target: int) -> None:
    change, n = events.limit_change[i], 0
    while state.overrides[n].place != NONE:
        n += 1
    row = state.overrides[n]
    row.place = place
    row.value = change.value
    row.restore = restore
    row.expires_ns = change.expires_ns
    row.rule = change.rule
    row.scope = change.scope
    row.target = target
    row.actor_id = change.actor_id
    row.actor_2 = change.actor_2
    _renew_due(state)


@kernel
def _end(state: State, outbox: Outbox, n: int, value: int) -> None:
    """Override n is over, and the limit is `value` again."""
    row = state.overrides[n]
    instrument = int(row.target) if row.scope == _INSTRUMENT else -1
    state.limits[int(row.place)] = value
    row.place = NONE
    alert(state, outbox, _R_EXPIRED, instrument, 0, value)
    _renew_due(state)


@kernel
def _renew_due(state: State) -> None:
    due = NEVER
    for n in range(len(state.overrides)):
        if state.overrides[n].place != NONE:
            due = min(due, int(state.overrides[n].expires_ns))
    state.core[0].override_due_ns = due


@kernel
def end_overrides(state: State, outbox: Outbox) -> None:
    """End each override whose time is over: the limit is what it was."""
    for n in range(len(state.overrides)):
        row = state.overrides[n]
        if row.place != NONE and row.expires_ns <= state.core[0].now_ns:
            _end(state, outbox, n, int(row.restore))


@kernel
def on_enable(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """CONTROL ENABLE: a latched strategy may trade again, its executions counted from zero."""
    control = events.control[i]
    strategy = int(control.target)
    was = enable(state, strategy)
    k = control_report(state, outbox, _ENABLE, _STRATEGY, strategy, _R_NONE)
    report = outbox.control_report[k]
    report.request_id = control.request_id
    report.rule = _REPEATED
    report.old_value = was
    report.actor_id = control.actor_id
    report.actor_2 = control.actor_2
