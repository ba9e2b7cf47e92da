"""Scopes of commands: what one means, and which orders are in it.

All, a venue, a session (a client's, or that of a venue), an instrument, a client, a strategy (algo_id), a trader, an
account. The engine's kills and mass cancels and the simulated venues' read an order's owner in the one way here.
"""

from __future__ import annotations

from typing import Any

from engine.core.state import NONE, State
from engine.jit import kernel
from engine.record.records import Scope

_ALL, _CLIENT, _INSTRUMENT = int(Scope.ALL), int(Scope.CLIENT), int(Scope.INSTRUMENT)
_VENUE, _SESSION = int(Scope.VENUE), int(Scope.SESSION)
_STRATEGY, _TRADER, _ACCOUNT = int(Scope.STRATEGY), int(Scope.TRADER), int(Scope.ACCOUNT)


@kernel
def target_of(scope: int, client: int, instrument: int, target: int) -> int:
    """What a scope means, from the three fields of a command that may say it; 0 of all."""
    if scope == _ALL:
        return 0
    if scope == _CLIENT:
        return client
    return instrument if scope == _INSTRUMENT else target


@kernel
def concerns(scope: int, target: int, order: Any) -> bool:
    """Whether a scope that can be read from an order itself has it: all, what is traded, and whose it is."""
    if scope == _ALL:
        return True
    if scope == _INSTRUMENT:
        return bool(order.instrument_id == target)
    if scope == _CLIENT:
        return bool(order.client_id == target)
    if scope == _STRATEGY:
        return bool(order.algo_id == target)
    if scope == _TRADER:
        return bool(order.trader_id == target)
    return scope == _ACCOUNT and bool(order.account_id == target)


@kernel
def in_scope(state: State, scope: int, target: int, order: Any, venue: int, session: int) -> bool:
    """Whether an order is in a scope. `venue` is where it is or goes, NONE of a parent; `session` its client's."""
    if scope == _VENUE:
        return venue == target
    if scope == _SESSION:
        return session == target or (venue != NONE and bool(state.venues[venue].session == target))
    return concerns(scope, target, order)
