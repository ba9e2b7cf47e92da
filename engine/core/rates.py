"""Messages a second, and executions of a strategy: how many there were within a period that ends now.

A period is SLOTS - 1 whole slots and the one that runs, so what is counted covers the period and at most one slot more:
never more than the limit within any period, at times a little less. New orders and replaces are stopped at the limit;
cancels, also those of a whole scope in one message, are counted and never stopped. A rule that is off counts nothing.

The throttle of Art. 15(3) of RTS 6 counts a strategy's executions in the same way; at its limit the strategy is
latched: nothing new leaves for it until a named person enables it again. No time does that.

Worst case: after a long silence a row forgets all of its slots: 16 stores.
"""

from __future__ import annotations

from typing import Final

from engine.core.emit import alert
from engine.core.rules import (
    INSTRUMENTS,
    L_RATE,
    LIMIT_STRIDE,
    OFF,
    RATE_INSTRUMENTS,
    RATE_SLOTS,
    REPEATS,
    SESSION_RATES,
    STRATEGY_RATES,
)
from engine.core.state import Outbox, State
from engine.jit import kernel
from engine.record.records import Reason, RiskRule, Scope

#: Fifteen of these are no less than a second.
SLOT_NS: Final = 66_666_667
_MASK: Final = RATE_SLOTS - 1
_THROTTLED = int(Reason.THROTTLED)
_SESSION_RATE, _STRATEGY_RATE = int(RiskRule.SESSION_RATE), int(RiskRule.STRATEGY_RATE)
_INSTRUMENT_RATE = int(RiskRule.INSTRUMENT_RATE)
_STRATEGY, _INSTRUMENT = int(Scope.STRATEGY), int(Scope.INSTRUMENT)

assert SLOT_NS * _MASK >= 1_000_000_000


@kernel
def _renew(state: State, n: int, slot: int) -> None:
    """Let row n forget what is older than its period, at a time within `slot`."""
    row = state.rates[n]
    if slot == row.slot:
        return
    if slot - row.slot > _MASK:
        for k in range(RATE_SLOTS):
            row.counts[k] = 0
        row.total = 0
    else:
        for past in range(int(row.slot) + 1, slot + 1):
            row.total -= row.counts[past & _MASK]
            row.counts[past & _MASK] = 0
    row.slot = slot


@kernel
def _would_be(state: State, n: int, slot: int) -> int:
    """How many there are within the period of row n with one more."""
    _renew(state, n, slot)
    return int(state.rates[n].total) + 1


@kernel
def _add(state: State, n: int, slot: int) -> None:
    _renew(state, n, slot)
    row = state.rates[n]
    row.counts[slot & _MASK] += 1
    row.total += 1
    if row.total > row.peak:
        row.peak = row.total


@kernel
def check_rates(state: State, session: int, strategy: int, instrument: int) -> tuple[int, int, int]:
    """(rule, value, limit) of the first rate that one more message would break; rule 0 where none."""
    slot = int(state.core[0].now_ns) // SLOT_NS
    limit = int(state.limits[SESSION_RATES + session])
    if limit != OFF and _would_be(state, SESSION_RATES + session, slot) > limit:
        return _SESSION_RATE, int(state.rates[SESSION_RATES + session].total) + 1, limit
    limit = int(state.limits[STRATEGY_RATES + strategy])
    if limit != OFF and _would_be(state, STRATEGY_RATES + strategy, slot) > limit:
        return _STRATEGY_RATE, int(state.rates[STRATEGY_RATES + strategy].total) + 1, limit
    limit = int(state.limits[INSTRUMENTS + instrument * LIMIT_STRIDE + L_RATE])
    if limit != OFF and _would_be(state, RATE_INSTRUMENTS + instrument, slot) > limit:
        return _INSTRUMENT_RATE, int(state.rates[RATE_INSTRUMENTS + instrument].total) + 1, limit
    return 0, 0, 0


@kernel
def count_message(state: State, session: int, strategy: int, instrument: int) -> None:
    """One message to a venue goes out: a new order, a replace or a cancel."""
    slot = int(state.core[0].now_ns) // SLOT_NS
    if state.limits[SESSION_RATES + session] != OFF:
        _add(state, SESSION_RATES + session, slot)
    if state.limits[STRATEGY_RATES + strategy] != OFF:
        _add(state, STRATEGY_RATES + strategy, slot)
    if state.limits[INSTRUMENTS + instrument * LIMIT_STRIDE + L_RATE] != OFF:
        _add(state, RATE_INSTRUMENTS + instrument, slot)


@kernel
def count_mass(state: State, session: int, scope: int, target: int) -> None:
    """One MASS_CANCEL to a venue: a message of its session, and of the strategy or instrument that it names."""
    slot = int(state.core[0].now_ns) // SLOT_NS
    if state.limits[SESSION_RATES + session] != OFF:
        _add(state, SESSION_RATES + session, slot)
    if scope == _STRATEGY and state.limits[STRATEGY_RATES + target] != OFF:
        _add(state, STRATEGY_RATES + target, slot)
    if scope == _INSTRUMENT and state.limits[INSTRUMENTS + target * LIMIT_STRIDE + L_RATE] != OFF:
        _add(state, RATE_INSTRUMENTS + target, slot)


@kernel
def count_execution(state: State, outbox: Outbox, strategy: int, instrument: int, order_id: int) -> None:
    """A strategy was executed once more; at the limit it is latched, and alerted once."""
    limit = int(state.limits[REPEATS + strategy])
    if limit == OFF:
        return
    row = state.rates[REPEATS + strategy]
    _add(state, REPEATS + strategy, int(state.core[0].now_ns) // int(state.params[0].repeat_slot_ns))
    if row.total >= limit and row.latched == 0:
        row.latched = row.total
        alert(state, outbox, _THROTTLED, instrument, order_id, strategy)


@kernel
def latched(state: State, strategy: int) -> int:
    """The executions at which a strategy was latched; 0 where it is not."""
    return int(state.rates[REPEATS + strategy].latched)


@kernel
def enable(state: State, strategy: int) -> int:
    """Let a latched strategy trade again, its executions counted from zero; returns at how many it was latched."""
    row = state.rates[REPEATS + strategy]
    was = int(row.latched)
    row.latched = 0
    row.total = 0
    for k in range(RATE_SLOTS):
        row.counts[k] = 0
    return was
