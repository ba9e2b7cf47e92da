"""Numbers as they are held: exact decimal text to integers and back, ticks, packed identifiers, currencies and days.

Prices and quantities are integers in an instrument's own decimal units, money is in 1e-9 of its currency, days count
from 1970, ids and currencies are packed bits. Text becomes an integer exactly or not at all: nothing is rounded in
silence. Products that may exceed 63 bits are in `wide`.

Worst case: `tick_of` walks its rows; a table has a dozen, and all tables together have 64 at most.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np

from engine.errors import UsageError
from engine.jit import kernel
from engine.record.wide import INT64_MAX

#: Money is in 10^-9 of its currency.
MONEY_DECIMALS: Final = 9
#: Most decimals that an instrument's units may have.
MAX_DECIMALS: Final = 9
BPS: Final = 10_000
PPM: Final = 1_000_000

#: An order id, from the top: sign 0, shard 7 bits, trading day 16 bits (days since 1970, to 2149), counter 40 bits.
SHARD_SHIFT: Final = 56
DAY_SHIFT: Final = 40
MAX_SHARD: Final = (1 << 7) - 1
MAX_DAY: Final = (1 << 16) - 1
MAX_COUNTER: Final = (1 << DAY_SHIFT) - 1

#: Rows of tick tables, ascending in (table, from_px): a row holds from its price up to the next row's; 0 is unused.
TICK_ROW: Final = np.dtype((np.record, [("table", "<i8"), ("from_px", "<i8"), ("tick_px", "<i8")]))

#: More digits than any int64 has, so that text of any length is refused before it is converted.
_MAX_DIGITS = 40
_DECIMAL = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]+))?")
_EPOCH = date(1970, 1, 1)


class UnitError(UsageError, ValueError):
    """A number, date or code that cannot be held exactly; the text names it and says what can."""


def to_units(text: str, decimals: int, what: str = "value") -> int:
    """Decimal text as an integer of 10^-decimals, exactly: to_units("157.0150", 4) is 1570150.

    `what` names the value in errors. UnitError: no plain decimal number, finer than `decimals`, or beyond 63 bits.
    """
    match = _DECIMAL.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if match is None:
        raise UnitError(f"{what} {text[:_MAX_DIGITS]!r} is no decimal number: write digits with a point, 157.0150")
    sign, whole, fraction = match[1], match[2], (match[3] or "").rstrip("0")
    if len(fraction) > decimals:
        have = f"{len(fraction)} decimals, and {decimals} can be held"
        raise UnitError(f"{what} {text!r} has {have}: round it, or give the instrument more decimals")
    units = int(whole + fraction.ljust(decimals, "0"))
    if units > INT64_MAX:
        most = from_units(INT64_MAX, decimals)
        raise UnitError(f"{what} {text!r} is too large: with {decimals} decimals {most} is the most")
    return -units if sign == "-" else units


def from_units(units: int, decimals: int) -> str:
    """The exact text of an integer of 10^-decimals, all decimals written: from_units(1570150, 4) is "157.0150"."""
    digits = str(abs(int(units))).rjust(decimals + 1, "0")
    text = f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
    return f"-{text}" if units < 0 else text


def to_money(text: str, what: str = "amount") -> int:
    """Decimal text of an amount as an integer of 1e-9 of its currency; UnitError as `to_units`."""
    return to_units(text, MONEY_DECIMALS, what)


def from_money(money: int, decimals: int = 2) -> str:
    """Text of an amount held in 1e-9: with at least `decimals` decimals, and with as many as it needs to be exact."""
    whole, _, fraction = from_units(money, MONEY_DECIMALS).partition(".")
    fraction = fraction.rstrip("0").ljust(decimals, "0")
    return f"{whole}.{fraction}" if fraction else whole


def money_factors(px_decimals: int, qty_decimals: int, multiplier: int = 1) -> tuple[int, int]:
    """(mul, div): the money of qty at px, in their units, is px * qty * mul // div, in 1e-9 of the currency."""
    shift = MONEY_DECIMALS - px_decimals - qty_decimals
    return (multiplier * 10**shift, 1) if shift >= 0 else (multiplier, 10**-shift)


def products_fit(*factors: int) -> bool:
    """Whether the product of these (host side, any number of them) fits an int64 with its sign to spare."""
    product = 1
    for factor in factors:
        product *= int(factor)
    return abs(product) <= INT64_MAX


def largest_px(max_qty: int, px_decimals: int, qty_decimals: int, multiplier: int = 1) -> int:
    """The largest price, in price units, whose notional with `max_qty` quantity units can be computed in 63 bits."""
    mul, _ = money_factors(px_decimals, qty_decimals, multiplier)
    return INT64_MAX // max(1, max_qty * mul)


def pack_currency(code: str) -> int:
    """ISO 4217 letters in the low three bytes, little-endian: what INSTRUMENT_DEF.currency holds."""
    if not re.fullmatch(r"[A-Z]{3}", code, re.ASCII):
        raise UnitError(f"currency {code!r} is no ISO 4217 code; write three capital letters, such as USD")
    return int.from_bytes(code.encode("ascii"), "little")


def unpack_currency(packed: int) -> str:
    """The three letters of a packed currency."""
    return int(packed).to_bytes(4, "little")[:3].decode("ascii", errors="replace")


def trading_day(text: str) -> int:
    """Days since 1970 of an ISO date, of today (UTC) where it is empty. UnitError: no date, or outside 1970-2149."""
    try:
        day = date.fromisoformat(text) if text else datetime.now(UTC).date()
    except ValueError:
        raise UnitError(f"trading day {text!r} is no date; write YYYY-MM-DD, such as 2018-01-02") from None
    number = (day - _EPOCH).days
    if not 0 <= number <= MAX_DAY:
        raise UnitError(f"trading day {text!r} cannot be held in an order id; {_EPOCH} to {day_text(MAX_DAY)} can")
    return number


def day_text(number: int) -> str:
    """The ISO date of a trading day's number."""
    return (_EPOCH + timedelta(days=int(number))).isoformat()


@kernel
def order_id(shard: int, day: int, counter: int) -> int:
    """An order id of its parts; all must be within MAX_SHARD, MAX_DAY, MAX_COUNTER."""
    return (shard << SHARD_SHIFT) | (day << DAY_SHIFT) | counter


@kernel
def shard_of(identifier: int) -> int:
    """The shard in an order id."""
    return (identifier >> SHARD_SHIFT) & MAX_SHARD


@kernel
def day_of(identifier: int) -> int:
    """The trading day in an order id, days since 1970."""
    return (identifier >> DAY_SHIFT) & MAX_DAY


@kernel
def counter_of(identifier: int) -> int:
    """The counter in an order id."""
    return identifier & MAX_COUNTER


@kernel
def tick_of(rows: np.ndarray, table: int, px: int) -> int:
    """Price increment at `px` (price units) by `table`; 0 where the table has no row for it, and any price is allowed.

    rows: TICK_ROW[n], ascending in (table, from_px).
    """
    tick_px = 0
    for i in range(len(rows)):
        row = rows[i]
        if row.table == table and row.tick_px > 0 and row.from_px <= px:
            tick_px = int(row.tick_px)
    return tick_px


@kernel
def on_tick(rows: np.ndarray, table: int, px: int) -> bool:
    """Whether `px` is a whole number of increments, or the table says nothing about it."""
    tick_px = tick_of(rows, table, px)
    return tick_px == 0 or px % tick_px == 0


@kernel
def tick_down(rows: np.ndarray, table: int, px: int) -> int:
    """The highest allowed price at or below `px`: what a buyer's limit may be at most."""
    tick_px = tick_of(rows, table, px)
    return px if tick_px == 0 else px - px % tick_px


@kernel
def tick_up(rows: np.ndarray, table: int, px: int) -> int:
    """The lowest allowed price at or above `px`, where each row begins at a whole number of the increments below it."""
    tick_px = tick_of(rows, table, px)
    return px if tick_px == 0 else px + (-px) % tick_px
