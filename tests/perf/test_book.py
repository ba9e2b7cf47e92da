"""The day that the book benchmark reads is a valid one, and both sides end with the same books."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from engine.book.memory import make_books
from engine.jit import JIT
from gateways.formats.batch import make_batch
from gateways.formats.itch_kernels import make_itch
from gateways.formats.symbols import make_symbols
from perf import book
from perf.book_kernels import build_all, parse_all
from perf.itch_feed import itch_day
from tests.book.naive import levels_of, walk
from tests.book.test_itch_day import naive_books


@pytest.mark.kernel
def test_the_day_is_valid_and_its_books_are_the_twins():
    count = 20_000 if JIT else 2_000
    data, highest = itch_day(count, seed=3, stocks=20, most=1_000)
    again, _ = itch_day(count, seed=3, stocks=20, most=1_000)
    assert np.array_equal(data, again)
    itch, symbols, batch = make_itch(1, "Q"), make_symbols(), make_batch(64)
    parse_all(itch, symbols, data, len(data), batch)
    assert int(itch.counts.sum()) == count
    assert int(itch.skipped.sum()) == 0
    books = make_books([100] * 20, width=64, far=4096, orders=4096)
    build_all(make_itch(1, "Q"), make_symbols(), data, len(data), batch, books)
    walk(books)
    assert int(books.core[0]["dangling"]) == int(books.core[0]["repeated"]) == 0
    twins, highest_seen = naive_books(data.tobytes())
    assert highest_seen == highest
    for number, stock in enumerate(twins):  # in the order in which they are met, as the reader numbers them
        assert levels_of(books, number) == twins[stock].levels()


@pytest.mark.skipif(not JIT or shutil.which("g++") is None, reason="compares compiled code with g++'s")
def test_both_sides_agree(monkeypatch):
    monkeypatch.setattr(book, "SHORT", 30_000)
    monkeypatch.setattr(book, "ROUNDS", 1)
    found = book.run(lambda *_: None, short=True)
    assert [row.name for row in found.rows] == ["book parse", "book build"]
    assert all(row.ratio is not None and row.ratio > 0 for row in found.rows)
