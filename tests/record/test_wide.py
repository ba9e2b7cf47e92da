"""Products beyond 63 bits, against Python's own integers, with the edges drawn often."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.record import wide as w

pytestmark = pytest.mark.kernel

MAX = w.INT64_MAX
EDGES = [0, 1, 2, 2**21 - 1, 2**21, 2**31, 2**32 - 1, 2**42, 2**62, MAX - 1, MAX]
natural = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**32), st.integers(0, MAX))
signed = st.builds(lambda x, minus: -x if minus else x, natural, st.booleans())
positive = natural.filter(bool)


@given(signed, signed)
@example(MAX, -MAX)
def test_mul_fits(a, b):
    assert w.mul_fits(a, b) == (abs(a * b) <= MAX)


@given(natural, natural)
@example(MAX, MAX)
def test_mul_wide(a, b):
    high, low = w.mul_wide(a, b)
    assert (high << 63) + low == a * b
    assert 0 <= low <= MAX
    assert 0 <= high <= MAX


@given(signed, signed, signed, signed)
@example(MAX, MAX, MAX, MAX)
@example(MAX, -MAX, -MAX, MAX)
def test_compare_products(a, b, c, d):
    left, right = a * b, c * d
    assert w.compare_products(a, b, c, d) == (left > right) - (left < right)
    assert w.compare_products(a, b, b, a) == 0


@given(natural, natural, st.integers(-3, 3))
def test_compare_products_that_are_near(a, b, away):
    """Products that agree in all but their last digits."""
    if b + away >= 0 and b + away <= MAX:
        assert w.compare_products(a, b, a, b + away) == (away < 0 < a) - (away > 0 and a > 0)


@given(signed, signed, positive)
@example(MAX, MAX, MAX)
@example(-MAX, MAX, MAX - 1)
@example(MAX, 2, 1)
@example(MAX, -1, 1)
def test_mul_div(a, b, divisor):
    exact = a * b // divisor
    assert w.mul_div(a, b, divisor) == (exact if abs(exact) <= MAX else w.OVERFLOW)


@given(natural, positive)
def test_mul_div_undoes_a_product(a, b):
    assert w.mul_div(a, b, b) == a
