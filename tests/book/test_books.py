"""Books against the naive twin: any order of events, windows that move, prices off the grid, tables that overflow."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.book.apply import (
    ADD,
    CHANGE,
    DELETE,
    EXECUTE,
    REDUCE,
    REPLACE,
    apply_delta,
    apply_level,
    apply_quote,
    book_of,
    clear_book,
)  # fmt: skip
from engine.book.ladder import best_rank
from engine.book.memory import NOWHERE, make_books
from engine.book.view import BROKEN, CROSSED, LOCKED, NO_ASK, NO_BID, STALE, best_of, touch
from tests.book.naive import BUY, SELL, Naive, levels_of, walk

TICK = 100


def compare(b, twins):
    walk(b)
    for book, twin in enumerate(twins):
        assert levels_of(b, book) == twin.levels()
        assert int(b.books[book]["orders"]) == len(twin.orders)
    assert int(b.core[0]["dangling"]) == sum(twin.dangling for twin in twins)
    assert int(b.core[0]["repeated"]) == sum(twin.repeated for twin in twins)


def drive(dice, b, twins, count, *, spread, off_grid, drift=0, numbers=400):
    """Random orders around a middle that wanders."""
    middle = 50_000
    for _ in range(count):
        middle += dice.randint(-drift, drift)
        book = dice.randrange(len(twins))
        twin = twins[book]
        side = dice.choice((BUY, SELL))
        ticks = middle + dice.randint(-spread, spread)
        px = ticks * TICK + (dice.randrange(TICK) if dice.random() < off_grid else 0)
        number = dice.choice(list(twin.orders)) if twin.orders and dice.random() < 0.8 else dice.randrange(1, numbers)
        new = dice.randrange(1, numbers)
        qty = dice.randint(0, 5) * 10
        action = dice.choices((ADD, CHANGE, DELETE, EXECUTE, REDUCE, REPLACE), (50, 10, 15, 10, 5, 10))[0]
        if action == ADD:
            number = new
        apply_delta(b, book, side, action, number, new, px, qty)
        if action == ADD:
            twin.add(side, number, px, qty)
        elif action == CHANGE:
            twin.change(side, number, px, qty)
        elif action == DELETE:
            twin.end(number)
        elif action == REPLACE:
            twin.replace(number, new, px, qty)
        else:
            twin.reduce(number, qty)


@pytest.mark.kernel
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([3, 20, 200]),
    off_grid=st.sampled_from([0.0, 0.0, 0.2, 1.0]),
    drift=st.sampled_from([0, 3, 100]),
    places=st.sampled_from([4, 64, 512]),
)
def test_orders_in_any_order_are_the_twins_book(seed, spread, off_grid, drift, places):
    dice = random.Random(seed)
    b = make_books([TICK, TICK], 2, width=32, far=2048, orders=max(places, 1024) if places > 64 else 1024)
    twins = [Naive() for _ in range(4)]
    for _ in range(6):
        drive(dice, b, twins, 60, spread=spread, off_grid=off_grid, drift=drift, numbers=places * 4)
        compare(b, twins)
    book = dice.randrange(4)
    clear_book(b, book)
    twins[book].clear()
    compare(b, twins)


@pytest.mark.kernel
def test_orders_whose_place_is_taken_overflow_and_come_back():
    """Numbers that agree modulo the table's size, at two venues."""
    b = make_books([TICK], 2, width=64, orders=64)
    twins = [Naive(), Naive()]
    for venue, twin in enumerate(twins):
        for n in range(1, 13):
            apply_delta(b, venue, BUY, ADD, 64 * n, 0, 100 * n, 10)
            twin.add(BUY, 64 * n, 100 * n, 10)
    assert int(b.core[0]["spilled"]) == 22
    compare(b, twins)
    for n in (1, 5, 12, 3):
        apply_delta(b, 1, BUY, DELETE, 64 * n, 0, 0, 0)
        twins[1].end(64 * n)
        compare(b, twins)
    clear_book(b, 0)
    twins[0].clear()
    compare(b, twins)


@pytest.mark.kernel
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_levels_in_any_order_are_the_twins_book(data):
    b, twin = make_books([TICK], width=32, far=512, orders=0), Naive()
    step = st.tuples(st.sampled_from([BUY, SELL]), st.integers(-90, 90), st.integers(0, 3), st.booleans())
    for side, ticks, qty, off in data.draw(st.lists(step, min_size=1, max_size=120)):
        px = (500 + ticks) * TICK + (7 if off else 0)
        apply_level(b, 0, side, 1 if qty else 2, px, qty, 0)
        twin.put(side, px, qty)
        assert levels_of(b, 0) == twin.levels()
    walk(b)


@pytest.mark.kernel
def test_prices_may_be_negative_or_zero():
    b, twin = make_books([25], width=32, orders=64), Naive()
    for n, px in enumerate((-50, -25, 0, 25, -1000, 0)):
        apply_delta(b, 0, SELL, ADD, n + 1, 0, px, 5)
        twin.add(SELL, n + 1, px, 5)
    compare(b, [twin])
    assert -best_rank(b, 1) == -1000


@pytest.mark.kernel
def test_the_touch_says_what_changed_and_what_is_wrong():
    b = make_books([TICK], width=32, orders=64)
    assert touch(b, 0, 1)
    assert int(b.books[0]["state"]) == NO_BID | NO_ASK
    apply_delta(b, 0, BUY, ADD, 1, 0, 1000, 5)
    assert touch(b, 0, 2)
    assert int(b.books[0]["state"]) == NO_ASK
    apply_delta(b, 0, BUY, ADD, 2, 0, 900, 5)
    assert not touch(b, 0, 3), "what lies behind the touch is not shown"
    apply_delta(b, 0, SELL, ADD, 3, 0, 1000, 7)
    assert touch(b, 0, 4)
    assert int(b.books[0]["state"]) == LOCKED
    apply_delta(b, 0, SELL, ADD, 4, 0, 900, 7)
    assert touch(b, 0, 5)
    row = b.books[0]
    assert int(row["state"]) == CROSSED
    shown = [int(row[n]) for n in ("bid_px", "bid_qty", "bid_orders", "ask_px", "ask_qty", "ask_orders", "shown_ns")]
    assert shown == [1000, 5, 1, 900, 7, 1, 5]
    apply_quote(b, 0, 800, 1, 0, 0)
    assert touch(b, 0, 6)
    assert int(b.books[0]["state"]) == NO_ASK


@pytest.mark.kernel
def test_no_room_breaks_a_book_until_it_is_cleared():
    b = make_books([TICK], width=32, far=4, orders=64)
    for n in range(8):
        apply_level(b, 0, BUY, 0, 100_000 - 10_000 * n, 5, 0)
    assert touch(b, 0, 1)
    assert int(b.books[0]["state"]) == BROKEN | NO_BID | NO_ASK
    assert int(b.core[0]["full"]) > 0
    apply_level(b, 0, SELL, 0, 100_000, 5, 0)
    assert not touch(b, 0, 2)
    clear_book(b, 0)
    apply_level(b, 0, BUY, 0, 100, 5, 0)
    touch(b, 0, 3)
    assert (int(b.books[0]["bid_px"]), int(b.books[0]["state"])) == (100, NO_ASK)
    walk(b)


@pytest.mark.kernel
def test_the_best_over_venues_counts_the_fresh_ones():
    b = make_books([TICK, TICK], 3, width=32, orders=0)
    for venue, (bid, ask, at_ns) in enumerate(((1000, 1200, 100), (1100, 1300, 200), (1100, 1250, 300))):
        apply_quote(b, book_of(b, venue, 1), bid, 10 + venue, ask, 20 + venue)
        touch(b, book_of(b, venue, 1), at_ns)
    assert best_of(b, 1, 300, 1000) == (1100, 23, 1200, 20, 0)
    assert best_of(b, 1, 300, 100) == (1100, 23, 1250, 22, STALE)
    assert best_of(b, 1, 900, 100)[4] == STALE | NO_BID | NO_ASK
    assert best_of(b, 0, 300, 1000)[4] == NO_BID | NO_ASK
    apply_quote(b, book_of(b, 0, 1), 1250, 1, 1260, 1)
    touch(b, book_of(b, 0, 1), 300)
    assert best_of(b, 1, 300, 1000) == (1250, 1, 1250, 22, LOCKED)
    apply_quote(b, book_of(b, 0, 1), 1255, 1, 1260, 1)
    touch(b, book_of(b, 0, 1), 300)
    assert best_of(b, 1, 300, 1000)[4] == CROSSED
    assert book_of(b, 3, 0) == book_of(b, 0, 2) == book_of(b, -1, 0) == -1


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="width = 48"):
        make_books([1], width=48)
    with pytest.raises(ValueError, match=r"ticks = \[0\]"):
        make_books([0])
    assert NOWHERE < -(2**61)
