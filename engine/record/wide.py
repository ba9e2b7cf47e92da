"""Products of two int64 that may not fit one: whether they do, which is larger, and one divided by a third.

A product is held as six limbs of 21 bits, whose partial sums stay far below 2**63, so that the same integer arithmetic
is exact in compiled code and in plain Python. The domain is |x| <= 2**63 - 1; the one int64 left over, -2**63, is the
answer "does not fit".

Worst case: `mul_div` whose product exceeds 63 bits divides bit by bit, 63 steps, about 100 ns; all else is a few ns.
"""

from __future__ import annotations

from typing import Final

from engine.jit import kernel

INT64_MAX: Final = 2**63 - 1
#: Answer of `mul_div` where the quotient does not fit.
OVERFLOW: Final = -(2**63)
_LIMB: Final = 21
_LIMB_MASK: Final = (1 << _LIMB) - 1


@kernel
def mul_fits(a: int, b: int) -> bool:
    """Whether a * b fits an int64 (magnitude at most 2**63 - 1)."""
    return a == 0 or abs(b) <= INT64_MAX // abs(a)


@kernel
def mul_wide(a: int, b: int) -> tuple[int, int]:
    """(high, low) of a * b = high * 2**63 + low for 0 <= a, b <= 2**63 - 1; both are non-negative int64."""
    a0, a1, a2 = a & _LIMB_MASK, (a >> _LIMB) & _LIMB_MASK, a >> 2 * _LIMB
    b0, b1, b2 = b & _LIMB_MASK, (b >> _LIMB) & _LIMB_MASK, b >> 2 * _LIMB
    c0 = a0 * b0
    c1 = a0 * b1 + a1 * b0 + (c0 >> _LIMB)
    c2 = a0 * b2 + a1 * b1 + a2 * b0 + (c1 >> _LIMB)
    c3 = a1 * b2 + a2 * b1 + (c2 >> _LIMB)
    high = a2 * b2 + (c3 >> _LIMB)
    low = (c0 & _LIMB_MASK) | (c1 & _LIMB_MASK) << _LIMB | (c2 & _LIMB_MASK) << 2 * _LIMB
    return high << _LIMB | (c3 & _LIMB_MASK), low


@kernel
def _sign(a: int) -> int:
    return int(a > 0) - int(a < 0)


@kernel
def compare_products(a: int, b: int, c: int, d: int) -> int:
    """-1, 0 or 1 as a * b is below, equal to or above c * d, exactly, whatever their size."""
    left, right = _sign(a) * _sign(b), _sign(c) * _sign(d)
    if left != right:
        return -1 if left < right else 1
    high, low = mul_wide(abs(a), abs(b))
    other_high, other_low = mul_wide(abs(c), abs(d))
    if high == other_high and low == other_low:
        return 0
    above = high > other_high or (high == other_high and low > other_low)
    return left if above else -left


@kernel
def mul_div(a: int, b: int, divisor: int) -> int:
    """a * b // divisor (rounded down, as Python does) with the product in full; OVERFLOW where it does not fit 63 bits.

    divisor must be positive.
    """
    if mul_fits(a, b):
        return a * b // divisor
    negative = (a < 0) != (b < 0)
    high, low = mul_wide(abs(a), abs(b))
    if high >= divisor:
        return OVERFLOW
    rest, quotient = high, 0
    for i in range(62, -1, -1):
        # 2 * rest + bit may exceed 63 bits, so it is compared, and subtracted, in halves.
        bit, room = (low >> i) & 1, divisor - rest
        if rest + bit >= room:
            rest = rest - room + bit
            quotient |= 1 << i
        else:
            rest = 2 * rest + bit
    if not negative:
        return quotient
    return -quotient - 1 if rest > 0 else -quotient
