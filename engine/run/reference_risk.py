"""From `[risk]` to the tables of the risk gate: limits in the rules' own units, permissions as bits.

Called once, after instruments, venues and sessions have their rows. The checks of `config_check` have passed: names
exist, decimal text is exact in the units that it is held in.
"""

from __future__ import annotations

from typing import Any, Final

from engine.core.limits import MAX_STRATEGIES
from engine.core.rules import (
    CURRENCIES,
    DUPLICATES,
    EXPOSURE_DECIMALS,
    GROSS,
    INSTRUMENTS,
    LIMIT_STRIDE,
    NET,
    OFF,
    P_INSTRUMENTS,
    P_SESSIONS,
    P_STRATEGIES,
    P_VENUES,
    PERIOD_SLOTS,
    RATE_SLOTS,
    REPEATS,
    SESSION_RATES,
    STRATEGY_RATES,
)
from engine.core.state import State
from engine.record.units import to_money, to_units
from engine.run.config import Config, ConfigError
from engine.run.config_risk import OFF as WORD

_MS: Final = 1_000_000
#: By its key: what an instrument may have of its own.
OF_INSTRUMENT: Final = (
    "max_qty max_notional collar_bps period_collar_bps fat_finger_bps max_position instrument_rate"
).split()


def own(config: Config, kind: str, name: str, value: Any, key: str) -> Any:
    """The setting `key` for one of [[risk.KIND]], the one whose `name` is `value`; else that of [risk]."""
    for row in getattr(config.risk, kind):
        if getattr(row, name) == value and getattr(row, key) is not None:
            return getattr(row, key)
    return getattr(config.risk, key)


def rules_off(config: Config) -> list[str]:
    """The keys of [risk] that say "off", those of one instrument, session, strategy or account with its name."""
    risk = config.risk
    found = [f"risk.{key}" for key in risk.__struct_fields__ if getattr(risk, key) == WORD]
    for kind in ("instrument", "session", "strategy", "account"):
        for row in getattr(risk, kind):
            fields = row.__struct_fields__
            found += [f"risk.{kind} {getattr(row, fields[0])}.{key}" for key in fields[1:] if getattr(row, key) == WORD]
    return found


def set_risk(config: Config, state: State) -> None:
    """Fill in limits, permissions, currencies and the periods. ConfigError: more currencies than there is room for."""
    for index, instrument in enumerate(config.instrument):
        _set_limits(config, state, index)
        found = list(dict.fromkeys(row.currency for row in config.instrument))
        if len(found) > CURRENCIES:
            raise ConfigError(f"instrument: {len(found)} currencies; {CURRENCIES} is the most, run another engine")
        state.instruments[index].currency_slot = found.index(instrument.currency)
    for index, session in enumerate(config.session):
        state.limits[SESSION_RATES + index] = _number(own(config, "session", "name", session.name, "session_rate"))
    for algo_id in range(MAX_STRATEGIES):
        for first, key in ((STRATEGY_RATES, "strategy_rate"), (REPEATS, "repeated_executions")):
            state.limits[first + algo_id] = _number(own(config, "strategy", "algo_id", algo_id, key))
    for account in range(config.capacity.accounts):
        for first, key in ((GROSS, "gross_notional"), (NET, "net_notional")):
            text = own(config, "account", "account", account, key)
            state.limits[first + account] = OFF if text == WORD else to_units(text, EXPOSURE_DECIMALS, f"risk.{key}")
    state.limits[DUPLICATES] = _number(config.risk.duplicate_ms, _MS)
    params = state.params[0]
    params.collar_slot_ns = -(-config.risk.collar_period_ms * _MS // (PERIOD_SLOTS - 1))
    params.trade_through = int(config.risk.trade_through != WORD)
    params.locked_crossed = int(config.risk.locked_crossed != WORD)
    params.repeat_slot_ns = -(-config.risk.repeated_executions_ms * _MS // (RATE_SLOTS - 1))
    _set_permits(config, state)


def _number(value: Any, unit: int = 1) -> int:
    return OFF if value == WORD else int(value) * unit


def _set_limits(config: Config, state: State, index: int) -> None:
    """One instrument's line of limits."""
    instrument = config.instrument[index]
    told = {key: own(config, "instrument", "symbol", instrument.symbol, key) for key in OF_INSTRUMENT}
    digits = instrument.qty_decimals
    line = [
        to_units(told["max_qty"], digits, "risk.max_qty"),
        to_money(told["max_notional"], "risk.max_notional"),
        *(_number(told[key]) for key in ("collar_bps", "period_collar_bps", "fat_finger_bps")),
        OFF if told["max_position"] == WORD else to_units(told["max_position"], digits, "risk.max_position"),
        _number(told["instrument_rate"]),
        int(instrument.symbol in config.risk.restricted),
    ]
    first = INSTRUMENTS + index * LIMIT_STRIDE
    state.limits[first : first + LIMIT_STRIDE] = line


def _set_permits(config: Config, state: State) -> None:
    """A bit a permission in the row of each session, strategy, venue and instrument that it names."""
    rows: tuple[tuple[int, str, list[Any]], ...] = (
        (P_SESSIONS, "client", [row.name if row.role == "client" else None for row in config.session]),
        (P_STRATEGIES, "strategy", list(range(MAX_STRATEGIES))),
        (P_VENUES, "venue", [row.mic for row in config.venue]),
        (P_INSTRUMENTS, "instrument", [row.symbol for row in config.instrument]),
    )
    for bit, permission in enumerate(config.risk.permission):
        for first, key, known in rows:
            named = getattr(permission, key)
            for n, name in enumerate(known):
                if name is not None and (named == "*" or name in named):
                    state.permits[first + n] |= 1 << bit
