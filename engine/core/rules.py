"""Where the limit of each rule lies in `State.limits`: one table of integers, so that one record can change any.

Limits are in the rule's own unit, in which the risk gate compares: quantity units (MAX_QTY, MAX_POSITION), 1e-9 of the
currency (MAX_NOTIONAL), cents of it (GROSS_NOTIONAL, NET_NOTIONAL: sums over a year's positions need the room), basis
points (COLLAR, PERIOD_COLLAR, FAT_FINGER), messages a second (the rates), executions (REPEATED_EXECUTION),
nanoseconds (DUPLICATE), 0 or 1 (RESTRICTED). OFF is a rule that the configuration has switched off by that word.

An instrument's limits are one cache line. Worst case: none; a place is arithmetic.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from engine.core.limits import MAX_SESSIONS, MAX_STRATEGIES
from engine.record.records import RiskRule, Scope

#: A limit that is none: the configuration says "off".
OFF: Final = (1 << 63) - 1
#: Limits of one instrument: a cache line.
LIMIT_STRIDE: Final = 8
#: Slots of a rate, and of the period of a collar: all but one of them make the period.
RATE_SLOTS: Final = 16
PERIOD_SLOTS: Final = 16
#: Currencies of one engine's instruments: exposures are summed up in each of them.
CURRENCIES: Final = 8
#: Overrides that run at a time.
OVERRIDES: Final = 16
#: Orders that are remembered, to know a duplicate.
RECENT: Final = 4096
#: Places of the limits that are not an instrument's: a row of each for sessions, strategies (twice), accounts (twice).
MAX_ACCOUNTS: Final = 64
SESSION_RATES: Final = 0
STRATEGY_RATES: Final = SESSION_RATES + MAX_SESSIONS
REPEATS: Final = STRATEGY_RATES + MAX_STRATEGIES
GROSS: Final = REPEATS + MAX_STRATEGIES
NET: Final = GROSS + MAX_ACCOUNTS
DUPLICATES: Final = NET + MAX_ACCOUNTS
INSTRUMENTS: Final = DUPLICATES + LIMIT_STRIDE
#: Columns of an instrument's line.
(
    L_MAX_QTY, L_MAX_NOTIONAL, L_COLLAR, L_PERIOD_COLLAR, L_FAT_FINGER, L_MAX_POSITION, L_RATE, L_RESTRICTED,
) = range(LIMIT_STRIDE)  # fmt: skip
#: Rows of `State.rates`: as above for sessions, strategies and throttles, then one for each instrument.
RATE_INSTRUMENTS: Final = REPEATS + MAX_STRATEGIES
#: Rows of `State.permits`: bit n of a row is set where permission n names the client session, strategy, venue or
#: instrument.
P_SESSIONS: Final = 0
P_STRATEGIES: Final = P_SESSIONS + MAX_SESSIONS
P_VENUES: Final = P_STRATEGIES + MAX_STRATEGIES
P_INSTRUMENTS: Final = P_VENUES + 32
MAX_PERMISSIONS: Final = 62

#: Money of exposures is held in cents of the currency: this many of the 1e-9 in which orders are.
EXPOSURE_DECIMALS: Final = 2
EXPOSURE_UNIT: Final = 10 ** (9 - EXPOSURE_DECIMALS)
#: No sum of exposures leaves +-EXPOSURE_MAX: what would is refused.
EXPOSURE_MAX: Final = 1 << 60


class Rule(NamedTuple):
    """A rule whose limit can be changed: whom it is for, its first place, the step to the next, the bounds of it."""

    scope: Scope
    first: int
    step: int
    least: int
    most: int


def _of_instrument(column: int, most: int, least: int = 1) -> Rule:
    return Rule(Scope.INSTRUMENT, INSTRUMENTS + column, LIMIT_STRIDE, least, most)


#: The rules whose limits a LIMIT_CHANGE may name. MAX_NOTIONAL has a narrower bound for each instrument, see admission.
CHANGEABLE: Final = {
    RiskRule.MAX_QTY: _of_instrument(L_MAX_QTY, 1 << 53),
    RiskRule.MAX_NOTIONAL: _of_instrument(L_MAX_NOTIONAL, 1 << 61),
    RiskRule.COLLAR: _of_instrument(L_COLLAR, 100_000),
    RiskRule.PERIOD_COLLAR: _of_instrument(L_PERIOD_COLLAR, 100_000),
    RiskRule.FAT_FINGER: _of_instrument(L_FAT_FINGER, 100_000),
    RiskRule.MAX_POSITION: _of_instrument(L_MAX_POSITION, 1 << 60),
    RiskRule.INSTRUMENT_RATE: _of_instrument(L_RATE, 10**9),
    RiskRule.RESTRICTED: _of_instrument(L_RESTRICTED, 1, least=0),
    RiskRule.SESSION_RATE: Rule(Scope.SESSION, SESSION_RATES, 1, 1, 10**9),
    RiskRule.STRATEGY_RATE: Rule(Scope.STRATEGY, STRATEGY_RATES, 1, 1, 10**9),
    RiskRule.REPEATED_EXECUTION: Rule(Scope.STRATEGY, REPEATS, 1, 1, 10**9),
    RiskRule.GROSS_NOTIONAL: Rule(Scope.ACCOUNT, GROSS, 1, 1, EXPOSURE_MAX),
    RiskRule.NET_NOTIONAL: Rule(Scope.ACCOUNT, NET, 1, 1, EXPOSURE_MAX),
    RiskRule.DUPLICATE: Rule(Scope.ALL, DUPLICATES, 0, 1, 10**18),
}
