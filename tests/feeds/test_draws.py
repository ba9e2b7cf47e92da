"""The random numbers: the published answers, a slow twin, and distributions that are what they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.feeds import draws

pytestmark = pytest.mark.kernel

WORD = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_answers(key, counter, expected) -> None:
    """Random123 1.09, tests/kat_vectors, threefry2x32 with 20 rounds."""
    assert draws.draw(*key, *counter) == expected


def naive_threefry(k0: int, k1: int, x0: int, x1: int) -> tuple[int, int]:
    keys = [k0, k1, 0x1BD11BDA ^ k0 ^ k1]
    x = [(x0 + k0) % 2**32, (x1 + k1) % 2**32]
    for i in range(20):
        rotation = [13, 15, 26, 6, 17, 29, 16, 24][i % 8]
        x[0] = (x[0] + x[1]) % 2**32
        x[1] = ((x[1] * 2**rotation) % 2**32 + x[1] // 2 ** (32 - rotation)) ^ x[0]
        if i % 4 == 3:
            turn = i // 4 + 1
            x = [(x[0] + keys[turn % 3]) % 2**32, (x[1] + keys[(turn + 1) % 3] + turn) % 2**32]
    return x[0], x[1]


@given(WORD, WORD, WORD, WORD)
def test_threefry_equals_its_slow_twin(k0: int, k1: int, x0: int, x1: int) -> None:
    assert draws.draw(k0, k1, x0, x1) == naive_threefry(k0, k1, x0, x1)


@given(WORD, st.integers(1, 2**31 - 1))
def test_scaling_stays_in_range(word: int, n: int) -> None:
    assert draws.below(word, n) == word * n // 2**32


@given(WORD)
def test_logarithm_is_right_to_its_last_bit(word: int) -> None:
    exact = -math.log2((word + 1) / 2**32) * 65536
    assert abs(draws.neg_log2_q16(word) - exact) <= 1.5


@given(WORD, WORD, st.integers(1, 1 << 18))
def test_sizes_begin_at_one(first: int, second: int, spread: int) -> None:
    assert 1 <= draws.log_sizes(first, second, spread) <= 1 << 8


def test_distributions_have_the_shape_they_claim() -> None:
    words = [w for i in range(1000) for w in draws.draw(7, 1, i, 0)]
    gaps = np.array([draws.exponential(w, 10**6) for w in words])
    assert abs(gaps.mean() / 1e6 - 1) < 0.1
    assert abs(np.median(gaps) / (1e6 * math.log(2)) - 1) < 0.1
    assert abs(np.mean(words) / 2**31 - 1) < 0.05
