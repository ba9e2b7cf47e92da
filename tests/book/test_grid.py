"""The tick of a side follows from its prices, and no level is lost when it becomes finer."""

from __future__ import annotations

import random

import pytest

from engine.book.apply import apply_level
from engine.book.grid import BORNE, first_tick, keep_grid
from engine.book.memory import make_books
from tests.book.naive import BUY, SELL, Naive, levels_of, walk


@pytest.mark.kernel
@pytest.mark.parametrize(("px", "tick"), [(1_570_000, 10_000), (1_570_025, 1), (100, 100), (0, 1), (-500, 100)])
def test_a_side_begins_with_the_coarsest_tick(px, tick):
    b = make_books([1], width=32)
    first_tick(b, 1, px)
    assert int(b.sides[1]["tick"]) == tick


@pytest.mark.kernel
@pytest.mark.parametrize("true_tick", [1, 25, 100])
def test_the_grid_becomes_as_fine_as_the_prices_are(true_tick):
    dice = random.Random(true_tick)
    b, twin = make_books([1], width=64, far=1024), Naive()
    first_tick(b, 0, 1_000_000)
    first_tick(b, 1, 1_000_000)
    for n in range(600):
        side = dice.choice((BUY, SELL))
        px = 1_000_000 + true_tick * dice.randint(-40, 40)
        qty = dice.choice((0, 5, 10))
        apply_level(b, 0, side, 1, px, qty, 0)
        keep_grid(b, 0)
        keep_grid(b, 1)
        twin.put(side, px, qty)
        if n % 20 == 0:
            walk(b)
            assert levels_of(b, 0) == twin.levels()
    walk(b)
    assert levels_of(b, 0) == twin.levels()
    for side in b.sides:
        assert int(side["tick"]) % true_tick == 0
        assert int(side["off"]) <= max(BORNE, int(side["near"]))
