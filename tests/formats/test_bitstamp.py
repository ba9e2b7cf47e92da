"""Bitstamp's channels: every record as a slow reading has it, snapshots as a book of their own."""

from __future__ import annotations

import itertools
import json
import lzma
from decimal import Decimal

import pytest

from engine.jit import JIT
from engine.record.records import Flag, Side
from gateways.feeds.report import FeedError
from gateways.formats import bitstamp
from gateways.formats.known import open_file
from tests.feeds_path import feed_path
from tests.formats.reading import fuzzed, in_blocks, read

pytestmark = pytest.mark.kernel

BUY, SELL = int(Side.BUY), int(Side.SELL)
ACTION = {"order_created": 0, "order_changed": 1, "order_deleted": 2}


def lines_of(count):
    with lzma.open(feed_path("bitstamp", "2015-05-01.log.xz"), "rt") as file:
        return list(itertools.islice(file, count))


def units(value):
    exact = Decimal(value).scaleb(8)
    assert abs(exact - round(exact)) < Decimal("1e-4")
    return round(exact)


def naive(lines):
    """Records of orders and trades, and after how many records which book was shown; counts by event."""
    rows: list[tuple[object, ...]] = []
    books: list[tuple[int, dict[tuple[int, int], int]]] = []
    counts: dict[str, int] = {}
    for text in lines:
        time, event, body = text.split(" ", 2)
        message = json.loads(body, parse_float=Decimal)
        counts[event] = counts.get(event, 0) + 1
        recv = int(time) * 10**6
        if event == "order_book":
            sides = ((BUY, message["bids"]), (SELL, message["asks"]))
            books.append((recv, {(side, units(px)): units(qty) for side, pairs in sides for px, qty in pairs}))
            continue
        px, qty = units(message["price"]), units(message["amount"])
        if event == "trade":
            rows.append(("TRADE", 0, 0, 0, recv, message["id"], 0, px, qty))
        else:
            side = (BUY, SELL)[message["order_type"]]
            rows.append(("ORDER_DELTA", 0, 0, 0, recv, 0, 0, side, ACTION[event], px, qty, message["id"]))
    return rows, books, counts


def agree(got, counts, lines):
    rows, books, by_type = naive(lines)
    assert [row for row in got if row[0] != "LEVEL"] == rows
    assert counts.by_type == by_type
    shown: dict[tuple[int, int], int] = {}
    left = iter(books)
    for _, venue, _, event, recv, _, flags, side, action, px, qty in (row for row in got if row[0] == "LEVEL"):
        assert (venue, event) == (1, 0)
        assert ((side, px) in shown) == (action != 0)
        shown[side, px] = qty
        if action == 2:
            del shown[side, px]
        if not flags & Flag.MORE:
            assert shown == next(book for time, book in left if time == recv)
    assert next(left, None) is None or all(book == shown for _, book in left)


def test_every_record_is_as_a_slow_reading_has_it(tmp_path):
    lines = lines_of(4000 if JIT else 1000)
    path = tmp_path / "file"
    path.write_text("".join(lines))
    reader = open_file(path)
    assert (reader.format, reader.venues) == ("bitstamp", ["BITSTAMP", "BITSTAMP_BOOK"])
    agree(read(reader), reader.counts, lines)
    path.write_text("".join(lines[:200]))
    reader = bitstamp.open_file(path)
    agree(in_blocks(reader, 333, 9), reader.counts, lines[:200])


@pytest.mark.torture
def test_the_whole_file_is_as_a_slow_reading_has_it():
    reader = open_file(feed_path("bitstamp", "2015-05-01.log.xz"))
    agree(read(reader), reader.counts, lines_of(None))
    assert reader.counts.by_type == {
        "order_created": 24894, "order_changed": 602, "order_deleted": 24918, "trade": 575, "order_book": 5011
    }  # fmt: skip
    assert reader.counts.skipped == {}


def test_small_trades_and_what_is_skipped(tmp_path):
    path = tmp_path / "file"
    path.write_text(
        '1430438404645 trade {"price": 236.3, "amount": 3.6100000000000003e-06, "id": 1}\n'
        '1430438404646 trade {"price": 236.3, "amount": 1.0000000000000001e-09, "id": 2}\n'
        '1430438404646 trade {"price": 236.3, "amount": 0.0, "id": 3}\n'
        '1430438404647 subscribed {"channel": "x"}\n'
        '1430438404648 order_book {"bids": [["1.0", "1"], ["2.0", "1"]], "asks": []}\n'
    )
    reader = open_file(path)
    assert [row[-2:] for row in read(reader)] == [(23_630_000_000, 361)]
    assert sorted(reader.counts.skipped.values()) == [1, 1, 1, 1]
    assert reader.counts.messages == 5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('trade {"price": 1, "amount": 1}', "member"),
        ('trade {"price": "x", "amount": 1, "id": 2}', "decimal"),
        ("trade 5", "JSON"),
        ('order_created {"price": "1", "amount": "1", "id": 1, "order_type": 2}', "member"),
        ('order_book {"bids": 5}', "decimal"),
    ],
)  # fmt: skip
def test_a_bad_event_is_refused_with_its_line(tmp_path, text, why):
    path = tmp_path / "file"
    path.write_text(f'1430438404645 trade {{"price": 2, "amount": 1, "id": 1}}\n1430438404645 {text}\n')
    with open_file(path) as reader, pytest.raises(FeedError, match=why) as caught:
        list(reader.batches())
    assert caught.value.line == 2


def test_a_cut_or_changed_file_is_refused_or_counted(tmp_path):
    fuzzed(tmp_path, "".join(lines_of(40)).encode(), bitstamp.open_file)
