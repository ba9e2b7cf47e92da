"""Kernels for text: numbers without floats, fields, lines, dates and names, read where they lie.

Text is a uint8 array with a begin and an end; nothing is copied. A number becomes an integer of the unit that is asked
for, exactly: `MALFORMED` where it is no number, `TOO_FINE` where it would have to be rounded, `TOO_LARGE` where it has
more than 18 digits in that unit. An exponent is read as what it says (`5e-06`), never through a float.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.jit import kernel

#: Answers that are no numbers; all below zero.
MALFORMED: Final = -1
TOO_FINE: Final = -2
TOO_LARGE: Final = -3

COMMA: Final = 44
NEWLINE: Final = 10
_RETURN: Final = 13
_POINT: Final = 46
_ZERO: Final = 48
_PLUS: Final = 43
_MINUS: Final = 45
_MOST: Final = 10**18
_LONGEST_EXPONENT: Final = 3


def letters(text: str) -> np.ndarray:
    """ASCII text as kernels compare it."""
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8)


@kernel
def equals(data: np.ndarray, low: int, high: int, word: np.ndarray) -> bool:
    """Whether text is this word."""
    if high - low != len(word):
        return False
    at = 0
    while at < len(word) and data[low + at] == word[at]:
        at += 1
    return at == len(word)


@kernel
def line_end(text: np.ndarray, low: int, high: int) -> int:
    """Where the line at `low` has its newline; MALFORMED where there is none before `high`."""
    for at in range(low, high):
        if text[at] == NEWLINE:
            return at
    return MALFORMED


@kernel
def cut(text: np.ndarray, low: int, cuts: np.ndarray) -> tuple[int, int]:
    """Ends of the fields of the row at `low`, into `cuts`: (number of fields, where the next row begins)."""
    n, at = 0, low
    while at < len(text) and text[at] != NEWLINE:
        if text[at] == COMMA:
            if n < len(cuts):
                cuts[n] = at
            n += 1
        at += 1
    end = at - 1 if at > low and text[at - 1] == _RETURN else at
    if n < len(cuts):
        cuts[n] = end
    return n + 1, at + 1


@kernel
def digits(text: np.ndarray, low: int, high: int) -> int:
    """A whole number of 1 to 18 digits; MALFORMED where it is anything else."""
    if low >= high or high - low > 18:
        return MALFORMED
    value = 0
    for at in range(low, high):
        digit = int(text[at]) - _ZERO
        if digit < 0 or digit > 9:
            return MALFORMED
        value = value * 10 + digit
    return value


@kernel
def scaled(text: np.ndarray, low: int, high: int, places: int) -> int:
    """A plain decimal number times 10^places (which may be negative): an integer, or what is wrong with it.

    A lone point (".5", "5.") is no number; a number without one is.
    """
    point = low
    while point < high and text[point] != _POINT:
        point += 1
    if point == low or point == high - 1:
        return MALFORMED
    # How many digits from the left make the integer; those that follow must be zero.
    wanted, taken, value = point - low + places, 0, 0
    fine, large = False, False
    for at in range(low, high):
        if at == point:
            continue
        digit = int(text[at]) - _ZERO
        if digit < 0 or digit > 9:
            return MALFORMED
        if taken >= wanted:
            fine = fine or digit != 0
        elif value >= _MOST // 10:
            large = True
        else:
            value = value * 10 + digit
        taken += 1
    while taken < wanted and value != 0 and not large:
        large = value >= _MOST // 10
        value *= 10
        taken += 1
    if large:
        return TOO_LARGE
    return TOO_FINE if fine else value


@kernel
def decimal(text: np.ndarray, low: int, high: int, decimals: int) -> int:
    """A plain decimal number in units of 10^-decimals; an exponent is MALFORMED."""
    return int(scaled(text, low, high, decimals))


@kernel
def number(text: np.ndarray, low: int, high: int, decimals: int) -> int:
    """A decimal number, with an exponent or without, in units of 10^-decimals."""
    at = low
    while at < high and text[at] | 32 != 101:
        at += 1
    if at == high:
        return int(scaled(text, low, high, decimals))
    begin, sign = at + 1, 1
    if begin < high and (text[begin] == _MINUS or text[begin] == _PLUS):
        sign = -1 if text[begin] == _MINUS else 1
        begin += 1
    power = digits(text, begin, high)
    if power == MALFORMED or high - begin > _LONGEST_EXPONENT:
        return MALFORMED
    return int(scaled(text, low, at, decimals + sign * power))


@kernel
def days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of a Gregorian date (H. Hinnant, chrono-compatible date algorithms, days_from_civil)."""
    y = year - 1 if month <= 2 else year
    era = y // 400
    yoe = y - era * 400
    doy = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468


@kernel
def month_days(year: int, month: int) -> int:
    """Days of a month; 0 where there is no such month."""
    if month < 1 or month > 12:
        return 0
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@kernel
def time_ns(text: np.ndarray, low: int, high: int) -> int:
    """ns since 1970 of "YYYY-MM-DD HH:MM:SS[.1 to 9 digits]"; MALFORMED where it is anything else."""
    size = high - low
    if size < 19 or size == 20 or size > 29:
        return MALFORMED
    dashes = text[low + 4] == 45 and text[low + 7] == 45 and text[low + 10] == 32
    if not (dashes and text[low + 13] == 58 and text[low + 16] == 58):
        return MALFORMED
    year, month = digits(text, low, low + 4), digits(text, low + 5, low + 7)
    day, hour = digits(text, low + 8, low + 10), digits(text, low + 11, low + 13)
    minute, second = digits(text, low + 14, low + 16), digits(text, low + 17, low + 19)
    if year < 1970 or year > 2200 or day < 1 or day > month_days(year, month):
        return MALFORMED
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return MALFORMED
    fraction = 0
    if size > 19:
        fraction = digits(text, low + 20, high)
        if text[low + 19] != _POINT or fraction == MALFORMED:
            return MALFORMED
        for _ in range(29 - size):
            fraction *= 10
    return (((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + fraction


@kernel
def same(text: np.ndarray, low: int, high: int, name: np.ndarray) -> bool:
    """Whether text is this name (NUL-padded to its array's length)."""
    size = high - low
    if size < 1 or size > len(name) or (size < len(name) and name[size] != 0):
        return False
    at = 0
    while at < size and text[low + at] == name[at]:
        at += 1
    return at == size
