"""A slow reading of framed ITCH messages into the naive books, for tests that have such bytes."""

from __future__ import annotations

import struct

from tests.book.naive import BUY, SELL, Naive


def naive_books(data: bytes) -> tuple[dict[int, Naive], int]:
    """(stock locate -> book, in the order in which they are met; highest order number)."""
    books: dict[int, Naive] = {}
    at, highest = 0, 0
    while at < len(data):
        (length,) = struct.unpack_from(">H", data, at)
        m = data[at + 2 : at + 2 + length]
        at += 2 + length
        kind, stock = chr(m[0]), struct.unpack_from(">H", m, 1)[0]
        book = books.setdefault(stock, Naive())
        if kind == "P":
            continue
        (number,) = struct.unpack_from(">Q", m, 11)
        if kind == "A":
            qty, _, px = struct.unpack_from(">I8sI", m, 20)
            book.add(BUY if m[19:20] == b"B" else SELL, number, px, qty)
        elif kind == "D":
            book.end(number)
        elif kind == "U":
            new, qty, px = struct.unpack_from(">QII", m, 19)
            book.replace(number, new, px, qty)
            number = new
        else:
            assert kind in "EX"
            book.reduce(number, struct.unpack_from(">I", m, 19)[0])
        highest = max(highest, number)
        assert book.dangling == 0, "every reference is valid"
    return books, highest


def test_it_reads_what_a_hand_wrote():
    head = struct.pack(">HH6s", 1, 0, bytes(6))
    add = b"A" + head + struct.pack(">QcI8sI", 7, b"B", 300, b"ABC     ", 10_000)
    cut = b"X" + head + struct.pack(">QI", 7, 100)
    books, highest = naive_books(b"".join(struct.pack(">H", len(m)) + m for m in (add, cut)))
    assert highest == 7
    assert books[1].levels() == ([(10_000, 200, 1)], [])
