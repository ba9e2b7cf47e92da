"""Commands, scopes and limits as text, in the names of a run's configuration and the units in which limits are set.

`explain` and the compliance report say the same record in the same words: both take them from here. What the
configuration has no name for is shown as its number, never left out.
"""

from __future__ import annotations

from typing import Any, Final

from engine.record.records import ControlAction, RiskRule, Scope
from engine.record.units import from_units
from engine.run.amounts import COLLARS, amount_of, trimmed
from engine.run.config import Config
from replay.decode import reason_name

#: Rules whose limits are quantities or money, and messages in a second.
AMOUNTS: Final = (
    RiskRule.MAX_QTY, RiskRule.MAX_POSITION, RiskRule.MAX_NOTIONAL, RiskRule.GROSS_NOTIONAL, RiskRule.NET_NOTIONAL,
)  # fmt: skip
RATES: Final = (RiskRule.SESSION_RATE, RiskRule.STRATEGY_RATE, RiskRule.INSTRUMENT_RATE)
#: Rules on other venues' protected quotations: value and limit are prices.
PROTECTIONS: Final = (RiskRule.TRADE_THROUGH, RiskRule.LOCKED_CROSSED)
_QUANTITIES: Final = (RiskRule.MAX_QTY, RiskRule.MAX_POSITION)
_EXPOSURES: Final = (RiskRule.GROSS_NOTIONAL, RiskRule.NET_NOTIONAL)


def rule_name(rule: int) -> str:
    """A rule in small letters."""
    return reason_name(rule, RiskRule)


def target_of(row: Any) -> int:
    """What the scope of a command, of a change of a limit or of an answer means: of clients and instruments there is a
    field of its own, but in an answer."""
    kind = int(row["scope"])
    field = "client_id" if kind == Scope.CLIENT else "instrument_id" if kind == Scope.INSTRUMENT else "target"
    return int(row[field if field in (row.dtype.names or ()) else "target"])


def target_name(config: Config, kind: int, target: int) -> str:
    """What a scope means by its name: a MIC, a symbol, a session's name; else the number. Empty for everybody."""
    if kind == Scope.ALL:
        return ""
    names: list[str] = []
    if kind == Scope.VENUE:
        names = [row.mic for row in config.venue]
    elif kind == Scope.SESSION:
        names = [row.name for row in config.session]
    elif kind == Scope.INSTRUMENT:
        names = [row.symbol for row in config.instrument]
    return names[target] if 0 <= target < len(names) else str(target)


def scope_text(config: Config, row: Any) -> str:
    """Whom a command or its answer is for: everybody, venue XNAS, account 3; an instrument by its symbol alone."""
    kind, target = int(row["scope"]), target_of(row)
    if kind == Scope.ALL:
        return "everybody"
    if kind == Scope.INSTRUMENT and 0 <= target < len(config.instrument):
        return config.instrument[target].symbol
    return f"{reason_name(kind, Scope)} {target_name(config, kind, target)}"


def person(config: Config, uid: int) -> str:
    """Who a uid is: the name that [[control.person]] gives it, with the uid; the uid alone where it has none."""
    names = [row.name for row in config.control.person if row.uid == uid]
    return f"{names[0]} (uid {uid})" if names else f"uid {uid}"


def unit_of(rule: int) -> str:
    """The unit in which the limit of a rule is set; empty where it has none."""
    if rule in _QUANTITIES:
        return "shares or coins"
    if rule == RiskRule.MAX_NOTIONAL or rule in _EXPOSURES:
        return "currency"
    if rule in RATES:
        return "messages in a second"
    return "executions" if rule == RiskRule.REPEATED_EXECUTION else ""


def qty_decimals(config: Config, instrument: int) -> int:
    """Decimals of an instrument's quantities; 0 where there is no such instrument."""
    return config.instrument[instrument].qty_decimals if 0 <= instrument < len(config.instrument) else 0


def block_texts(config: Config, row: Any) -> tuple[str, str]:
    """What broke the rule of a RISK_BLOCK and what it allows, each in the unit that the rule is in."""
    rule, value, limit, index = (int(row[name]) for name in ("rule", "value", "limit", "instrument_id"))
    if rule in COLLARS and 0 <= index < len(config.instrument):
        decimals = config.instrument[index].px_decimals + 1
        return trimmed(from_units(5 * value, decimals), 2), trimmed(from_units(5 * limit, decimals), 2)
    if rule in PROTECTIONS and 0 <= index < len(config.instrument):
        decimals = config.instrument[index].px_decimals
        return trimmed(from_units(value, decimals), 2), trimmed(from_units(limit, decimals), 2)
    if rule in AMOUNTS or rule in RATES or rule == RiskRule.REPEATED_EXECUTION:
        digits = qty_decimals(config, index)
        return amount_of(rule, value, digits), amount_of(rule, limit, digits)
    if rule in (RiskRule.VENUE_DOWN, RiskRule.INSTRUMENT_HALTED):
        return target_name(config, Scope.VENUE, value), ""
    if rule == RiskRule.DUPLICATE:
        age = "too many orders to know" if value < 0 else amount_of(rule, value, 0)
        return age, amount_of(rule, limit, 0)
    if rule == RiskRule.CANCELS_FIRST:
        return f"{value:,} cancels wait", ""
    if rule == RiskRule.PERMISSION:
        return f"strategy {value}", ""
    if rule == RiskRule.KILL:
        return f"{reason_name(value, Scope)} {target_name(config, value, limit)}".strip(), ""
    return "", ""


def command_name(action: int, rule: int) -> str:
    """What a command asked for: an action, or the limit of a rule."""
    return reason_name(action, ControlAction) if action else f"limit {rule_name(rule)}"
