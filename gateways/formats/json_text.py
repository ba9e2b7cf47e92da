"""Kernels that walk JSON text in place: the members of an object, and arrays of ["price", "quantity"] pairs.

A walk goes from member to member: `at` is where an object's (an array's) bracket, or the comma behind a member, stands.
What is walked over must have its brackets, strings and commas in order; what is skipped must have its brackets and
strings in order. Numbers and text are the caller's to read, with `gateways.formats.text`; text is not unescaped.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.jit import kernel
from gateways.formats.text import MALFORMED

#: The key of a walk that is over.
LAST: Final = -2

_QUOTE: Final = 34
_COMMA: Final = 44
_COLON: Final = 58
_BACKSLASH: Final = 92
_OPEN_LIST: Final = 91
_CLOSE_LIST: Final = 93
_OPEN: Final = 123
_CLOSE: Final = 125
_DEEPEST: Final = 60


@kernel
def skip_space(text: np.ndarray, low: int, high: int) -> int:
    """The first byte at or after `low` that is no white space, or `high`."""
    at = low
    while at < high and (text[at] == 32 or (text[at] >= 9 and text[at] <= 13)):
        at += 1
    return at


@kernel
def skip_string(text: np.ndarray, low: int, high: int) -> int:
    """Behind the closing quote of the string that opens at `low`; MALFORMED where there is none."""
    if low >= high or text[low] != _QUOTE:
        return MALFORMED
    at = low + 1
    while at < high and text[at] != _QUOTE:
        if text[at] < 32:
            return MALFORMED
        at += 2 if text[at] == _BACKSLASH else 1
    return at + 1 if at < high else MALFORMED


@kernel
def _plain(byte: int) -> bool:
    """Whether a byte may stand in a number, true, false or null."""
    return (
        (byte >= 48 and byte <= 57)
        or (byte >= 97 and byte <= 122)
        or byte == 45
        or byte == 46
        or byte == 43
        or byte == 69
    )


@kernel
def skip_plain(text: np.ndarray, low: int, high: int) -> int:
    """Behind a number, true, false or null; MALFORMED where there is none."""
    at = low
    while at < high and _plain(int(text[at])):
        at += 1
    return at if at > low else MALFORMED


@kernel
def skip_value(text: np.ndarray, low: int, high: int) -> int:
    """Behind the value at `low`; MALFORMED where its brackets or strings do not close, or nest too deeply."""
    at, depth, kinds = low, 0, 0
    while at < high:
        byte = int(text[at])
        if byte == _OPEN or byte == _OPEN_LIST:
            depth += 1
            if depth > _DEEPEST:
                return MALFORMED
            kinds = kinds << 1 | int(byte == _OPEN)
            at += 1
        elif byte == _CLOSE or byte == _CLOSE_LIST:
            if depth == 0 or (kinds & 1) != int(byte == _CLOSE):
                return MALFORMED
            depth, kinds, at = depth - 1, kinds >> 1, at + 1
        elif byte == _QUOTE:
            at = skip_string(text, at, high)
        elif depth > 0 and (byte == _COMMA or byte == _COLON or byte == 32):
            at += 1
            continue
        else:
            at = skip_plain(text, at, high)
        if at == MALFORMED or depth == 0:
            return at
    return MALFORMED


@kernel
def next_member(text: np.ndarray, at: int, high: int) -> tuple[int, int, int, int, int]:
    """The member of an object behind its brace or a comma at `at`: ends of key and value, and where to go on.

    The key's begin is LAST at the end of the object, and the last answer is then behind it; MALFORMED where it is none.
    Keys are without their quotes, values with them.
    """
    if at < high and text[at] == _CLOSE:
        return LAST, 0, 0, 0, at + 1
    opened = at < high and text[at] == _OPEN
    if at >= high or not (opened or text[at] == _COMMA):
        return MALFORMED, 0, 0, 0, at
    low = skip_space(text, at + 1, high)
    if opened and low < high and text[low] == _CLOSE:
        return LAST, 0, 0, 0, low + 1
    end = skip_string(text, low, high)
    if end == MALFORMED:
        return MALFORMED, 0, 0, 0, low
    colon = skip_space(text, end, high)
    if colon >= high or text[colon] != _COLON:
        return MALFORMED, 0, 0, 0, low
    value = skip_space(text, colon + 1, high)
    value_end = skip_value(text, value, high)
    if value_end == MALFORMED:
        return MALFORMED, 0, 0, 0, value
    return low + 1, end - 1, value, value_end, skip_space(text, value_end, high)


@kernel
def bare(text: np.ndarray, low: int, high: int) -> tuple[int, int]:
    """A value without its quotes, where it has any."""
    if high - low >= 2 and text[low] == _QUOTE:
        return low + 1, high - 1
    return low, high


@kernel
def next_pair(text: np.ndarray, at: int, high: int) -> tuple[int, int, int, int, int]:
    """The [price, quantity] pair of an array behind its bracket or a comma at `at`: ends of both, and where to go on.

    Both may be text or numbers, and come without quotes; what follows them in the pair is left out. As `next_member`
    at the end and where it is none.
    """
    if at < high and text[at] == _CLOSE_LIST:
        return LAST, 0, 0, 0, at + 1
    opened = at < high and text[at] == _OPEN_LIST
    if at >= high or not (opened or text[at] == _COMMA):
        return MALFORMED, 0, 0, 0, at
    low = skip_space(text, at + 1, high)
    if opened and low < high and text[low] == _CLOSE_LIST:
        return LAST, 0, 0, 0, low + 1
    if low >= high or text[low] != _OPEN_LIST:
        return MALFORMED, 0, 0, 0, low
    first = skip_space(text, low + 1, high)
    first_end = skip_value(text, first, high)
    comma = skip_space(text, first_end, high) if first_end != MALFORMED else high
    if comma >= high or text[comma] != _COMMA:
        return MALFORMED, 0, 0, 0, low
    second = skip_space(text, comma + 1, high)
    second_end = skip_value(text, second, high)
    close = skip_space(text, second_end, high) if second_end != MALFORMED else high
    while close < high and text[close] == _COMMA:
        extra = skip_value(text, skip_space(text, close + 1, high), high)
        close = skip_space(text, extra, high) if extra != MALFORMED else high
    if close >= high or text[close] != _CLOSE_LIST:
        return MALFORMED, 0, 0, 0, low
    px_low, px_high = bare(text, first, first_end)
    qty_low, qty_high = bare(text, second, second_end)
    return px_low, px_high, qty_low, qty_high, skip_space(text, close + 1, high)
