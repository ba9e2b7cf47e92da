"""How far rates, positions and exposures have come towards their limits: what the core keeps beside each sum.

Worst case: a row for each session, strategy, instrument, account, and account with instrument that was ever used.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.core.limits import MAX_STRATEGIES
from engine.core.rule_limits import limit_of
from engine.core.rules import (
    CURRENCIES,
    GROSS,
    L_MAX_POSITION,
    L_RATE,
    NET,
    OFF,
    RATE_INSTRUMENTS,
    REPEATS,
    SESSION_RATES,
    STRATEGY_RATES,
)
from engine.core.state import State
from engine.run.config import Config
from replay.state.structs import Peak


def peaks(state: State, config: Config) -> Iterator[Peak]:
    """The peaks of a state, those that are zero left out."""
    strategies = [f"strategy {n}" for n in range(MAX_STRATEGIES)]
    symbols = [row.symbol for row in config.instrument]
    rows = (
        ("SESSION_RATE", SESSION_RATES, [row.name for row in config.session], SESSION_RATES),
        ("STRATEGY_RATE", STRATEGY_RATES, strategies, STRATEGY_RATES),
        ("REPEATED_EXECUTION", REPEATS, strategies, REPEATS),
        ("INSTRUMENT_RATE", RATE_INSTRUMENTS, symbols, None),
    )
    for rule, first, names, limits in rows:
        for n, name in enumerate(names):
            peak = int(state.rates[first + n]["peak"])
            if peak:
                limit = limit_of(state, n, L_RATE) if limits is None else int(state.limits[limits + n])
                yield Peak(rule=rule, whom=name, peak=peak, limit=_known(limit))
    for place, row in enumerate(state.exposures):
        account, n = divmod(place, len(state.instruments))
        peak = max(int(row["buy_peak"]), int(row["sell_peak"]))
        if peak > 0:
            whom, limit = f"account {account} {symbols[n]}", limit_of(state, n, L_MAX_POSITION)
            yield Peak(rule="MAX_POSITION", whom=whom, peak=peak, limit=_known(limit), instrument=n)
    currencies = list(dict.fromkeys(row.currency for row in config.instrument))
    for place, row in enumerate(state.accounts):
        account, slot = divmod(place, CURRENCIES)
        whom = f"account {account} {currencies[slot]}" if slot < len(currencies) else ""
        sums = (
            ("GROSS_NOTIONAL", int(row["gross_peak"]), GROSS),
            ("NET_NOTIONAL", max(int(row["long_peak"]), -int(row["short_peak"])), NET),
        )
        for rule, peak, first in sums:
            if peak:
                yield Peak(rule=rule, whom=whom, peak=peak, limit=_known(int(state.limits[first + account])))


def _known(limit: int) -> int | None:
    return None if limit == OFF else limit
