"""Limits as people read them: each value in the unit in which it is set, on the command line and in [risk]."""

from __future__ import annotations

from typing import Final

from engine.core.rules import EXPOSURE_DECIMALS, OFF
from engine.record.records import RiskRule
from engine.record.units import from_money, from_units

#: Rules whose limits are basis points around a price.
COLLARS: Final = (RiskRule.COLLAR, RiskRule.PERIOD_COLLAR, RiskRule.FAT_FINGER)
#: Milliseconds are held in ns.
MS_DECIMALS: Final = 6


def amount_of(rule: int, value: int, qty_decimals: int) -> str:
    """A value of a rule in the unit that its limit is set in. `qty_decimals` are the instrument's, where it has one."""
    if value == OFF:
        return "off"
    if rule in (RiskRule.MAX_QTY, RiskRule.MAX_POSITION):
        return commas(trimmed(from_units(value, qty_decimals)))
    if rule == RiskRule.MAX_NOTIONAL:
        return commas(from_money(value))
    if rule in (RiskRule.GROSS_NOTIONAL, RiskRule.NET_NOTIONAL):
        return commas(trimmed(from_units(value, EXPOSURE_DECIMALS)))
    if rule == RiskRule.DUPLICATE:
        return f"{commas(trimmed(from_units(value, MS_DECIMALS)))} ms"
    return f"{value:,} bps" if rule in COLLARS else f"{value:,}"


def commas(text: str) -> str:
    """Decimal text with commas between thousands; what is no number stays as it is."""
    whole, point, fraction = text.partition(".")
    return f"{int(whole):,}{point}{fraction}" if whole.lstrip("-").isdecimal() else text


def trimmed(text: str, least: int = 0) -> str:
    """Decimal text without trailing zeros, but with `least` decimals where it has that many."""
    whole, _, fraction = text.partition(".")
    kept = fraction.rstrip("0").ljust(min(least, len(fraction)), "0")
    return f"{whole}.{kept}" if kept else whole
