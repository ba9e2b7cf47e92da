"""LOBSTER's files: every message as a plain reading has it, and every row of the order book from the messages alone."""

from __future__ import annotations

import csv
import shutil
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.record.records import Flag, Side
from gateways.feeds.report import FeedError
from gateways.formats import lobster
from gateways.formats.inspection import inspect
from gateways.formats.lobster import initial_levels, open_file
from tests.feeds_path import feed_path
from tests.formats.reading import fuzzed, in_blocks, read, read_until_refused, tuples

pytestmark = pytest.mark.kernel

NAME = "AAPL_2012-06-21_34200000_57600000_{}_10.csv"
MIDNIGHT = int(datetime(2012, 6, 21, 4, tzinfo=UTC).timestamp()) * 10**9
BUY, SELL = int(Side.BUY), int(Side.SELL)
ACTION = {"1": 0, "2": 4, "3": 2, "4": 3}
NAMES = {
    "1": "new", "2": "partial_cancel", "3": "delete", "4": "execute",
    "5": "execute_hidden", "6": "cross_trade", "7": "halt",
}  # fmt: skip


def naive(rows):
    """The records of message rows, by Decimal."""
    found: list[tuple[object, ...]] = []
    for time, kind, order, size, px, direction in rows:
        common = (0, 0, MIDNIGHT + int(Decimal(time) * 10**9), 0, 0)
        side = BUY if direction == "1" else SELL
        if kind in ACTION:
            flags = int(Flag.PRINT) if kind == "4" else 0
            found.append(("ORDER_DELTA", *common, flags, side, ACTION[kind], int(px), int(size), int(order)))
        elif kind == "7":
            found.append(("INSTRUMENT_STATUS", *common, {"-1": 1, "0": 3, "1": 0}[px]))
        else:
            taker = Flag.AGGRESSOR_SELL if side == BUY else Flag.AGGRESSOR_BUY
            found.append(("TRADE", *common, int(taker) if kind == "5" else int(Flag.AUCTION), int(px), int(size)))
    return found


def test_inspect_counts_what_orders_tell_of_executions():
    path = feed_path("lobster", NAME.format("message"))
    with path.open() as file:
        rows = [(row[1], int(row[3])) for row in csv.reader(file)]
    [seen] = inspect(path).instruments
    traded = [size for kind, size in rows if kind in "456"]
    assert sum(kind == "4" for kind, _ in rows) == 98
    assert (seen.trades, seen.volume) == (len(traded), sum(traded))


def number_of(side, px):
    """The number of a level of the opening book."""
    return (1 << 60) + 2 * px + (side == SELL)


def with_book(rows, levels):
    """The records of message rows behind an opening book {(side, px): qty}, which has the first of them already."""
    left, added, found = dict(levels), set(), []
    for n, (row, message) in enumerate(zip(rows, naive(rows), strict=True)):
        kind, order, size, px = row[1], row[2], int(row[3]), int(row[4])
        side = BUY if row[5] == "1" else SELL
        if n == 0:
            if kind == "1":
                left[side, px] -= size
            common = (0, 0, message[3], 0, 0)
            bids = sorted((px for s, px in left if s == BUY and left[s, px]), reverse=True)
            asks = sorted(px for s, px in left if s == SELL and left[s, px])
            flags = int(Flag.SNAPSHOT | Flag.MORE)
            for s, p in [(BUY, px) for px in bids] + [(SELL, px) for px in asks]:
                found.append(("ORDER_DELTA", *common, flags, s, 0, p, left[s, p], number_of(s, p)))
            if found:
                found[-1] = (*found[-1][:6], int(Flag.SNAPSHOT), *found[-1][7:])
        if kind == "1":
            added.add(order)
        elif n and kind in ACTION and order not in added and left.get((side, px), 0) > 0:
            taken = min(size, left[side, px])
            left[side, px] -= taken
            message = (*message[:8], 3 if kind == "4" else 4, px, taken, number_of(side, px))
        found.append(message)
    return found


def write(folder, rows):
    path = folder / NAME.format("message")
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    return path


def test_every_message_is_as_a_plain_reading_has_it():
    path = feed_path("lobster", NAME.format("message"))
    reader = lobster.Messages(path, book=False)
    with path.open() as file:
        rows = list(csv.reader(file))
    assert read(reader) == naive(rows)
    assert reader.counts.messages == len(rows) == 999
    assert reader.counts.by_type == {
        name: n for kind, name in NAMES.items() if (n := sum(row[1] == kind for row in rows))
    }
    assert (reader.instruments[0].symbol, reader.instruments[0].px_decimals) == ("AAPL", 4)
    assert in_blocks(lobster.Messages(path, book=False), 50, 9) == naive(rows)


@pytest.fixture
def day():
    """The message rows of the recorded day, and the rows of its order book."""
    found = []
    for kind in ("message", "orderbook"):
        with feed_path("lobster", NAME.format(kind)).open() as file:
            found.append(list(csv.reader(file)))
    return found


def test_the_order_book_beside_the_messages_is_the_opening_book(day, monkeypatch):
    rows, books = day
    path = feed_path("lobster", NAME.format("message"))
    reader = open_file(path)
    assert read(reader) == with_book(rows, row_of_book(books[0])[0])
    assert reader.counts.messages == 999
    assert reader.counts.notes == [f"the book at the begin is the first row of {NAME.format('orderbook')}: 20 levels"]
    monkeypatch.setattr(lobster, "_FIRST_ROOM", 4)
    assert in_blocks(open_file(path), 50, 9) == with_book(rows, row_of_book(books[0])[0])


def test_orders_alone_come_to_the_recorded_book_row_after_row(day):
    """At every one of 999 messages, within the prices that all rows so far show: what is deeper has no messages."""
    rows, books = day
    records = read(open_file(feed_path("lobster", NAME.format("message"))))
    _, common = row_of_book(books[0])
    agreed = 0
    orders: dict[int, list[int]] = {}
    records, seeds = records[len(records) - len(rows) :], records[: len(records) - len(rows)]
    for n, record in enumerate(seeds + records):
        if record[0] == "ORDER_DELTA":
            side, action, px, qty, number = record[7:12]
            if action == 0:
                orders[number] = [side, px, qty]
            elif action == 2:
                orders.pop(number, None)
            elif number in orders:
                orders[number][2] -= qty
                assert orders[number][2] >= 0
        if n < len(seeds):
            continue
        shown, last = row_of_book(books[n - len(seeds)])
        common = {BUY: max(last[BUY], common[BUY]), SELL: min(last[SELL], common[SELL])}
        levels: dict[tuple[int, int], int] = {}
        for side, px, qty in orders.values():
            levels[side, px] = levels.get((side, px), 0) + qty
        assert seen(levels, common) == seen(shown, common), f"row {n - len(seeds) + 1}"
        agreed += len(seen(shown, common))
    assert agreed > 5000


def test_without_an_order_book_that_is_noted_and_changes_dangle(tmp_path, day):
    path = feed_path("lobster", NAME.format("message"))
    alone = inspect(shutil.copy(path, tmp_path / path.name))
    assert [note[:36] for note in alone.notes] == ["the book at the begin is not known: "]
    beside = inspect(path)
    assert beside.dangling < alone.dangling
    assert beside.records["ORDER_DELTA"] - alone.records["ORDER_DELTA"] in (19, 20)


def test_a_first_message_that_adds_is_taken_off_the_opening_book(tmp_path):
    """The row after it has its order: 18 of 30 at 5853300 are older. One older order goes, and one of no level."""
    (tmp_path / NAME.format("orderbook")).write_text("5859400,200,5853300,30\n" * 4)
    rows = [
        ["34200.1", "1", "5", "18", "5853300", "1"], ["34200.2", "4", "4", "7", "5853300", "1"],
        ["34200.3", "3", "3", "9", "5853300", "1"], ["34200.4", "2", "2", "9", "5853300", "1"],
        ["34200.5", "3", "5", "18", "5853300", "1"], ["34200.6", "3", "1", "9", "5840000", "1"],
    ]  # fmt: skip
    records = read(open_file(write(tmp_path, rows)))
    assert records == with_book(rows, {(BUY, 5853300): 30, (SELL, 5859400): 200})
    old = number_of(BUY, 5853300)
    assert [(row[8], row[10], row[11]) for row in records[2:]] == [
        (0, 18, 5), (3, 7, old), (4, 5, old), (4, 9, 2), (2, 18, 5), (2, 9, 1),
    ]  # fmt: skip


def row_of_book(row):
    """{(side, px): qty} of an order-book row, and the last price shown of each side."""
    values = [int(x) for x in row]
    sides = {SELL: values[0::4], BUY: values[2::4]}
    sizes = {SELL: values[1::4], BUY: values[3::4]}
    levels = {(side, px): qty for side in sides for px, qty in zip(sides[side], sizes[side], strict=True)}
    return levels, {side: prices[-1] for side, prices in sides.items()}


def seen(levels, last):
    """The levels that a row with these last prices shows."""
    inside = {BUY: lambda px: px >= last[BUY], SELL: lambda px: px <= last[SELL]}
    return {(side, px): qty for (side, px), qty in levels.items() if qty and inside[side](px)}


def test_all_998_row_deltas_of_the_order_book_follow_from_the_messages():
    messages = read(lobster.Messages(feed_path("lobster", NAME.format("message")), book=False))
    with feed_path("lobster", NAME.format("orderbook")).open() as file:
        rows = [row_of_book(row) for row in csv.reader(file)]
    agreed = 0
    for message, (before, last), (after, next_last) in zip(messages[1:], rows, rows[1:], strict=False):
        made = dict(before)
        if message[0] == "ORDER_DELTA":
            side, action, px, qty = message[7:11]
            made[side, px] = made.get((side, px), 0) + (qty if action == 0 else -qty)
            assert made[side, px] >= 0 or (side, px) not in before
        # What only one of the two rows shows lies behind its last level: neither says anything of it.
        common = {BUY: max(last[BUY], next_last[BUY]), SELL: min(last[SELL], next_last[SELL])}
        agreed += seen(made, common) == seen(after, common)
    assert agreed == 998


def test_the_first_row_seeds_the_book_and_all_rows_follow_as_level_changes():
    with feed_path("lobster", NAME.format("orderbook")).open() as file:
        rows = [row_of_book(row)[0] for row in csv.reader(file)]
    first = tuples(initial_levels(feed_path("lobster", NAME.format("message"))).view(np.uint8))
    assert {(row[7], row[9]): row[10] for row in first} == rows[0]
    assert {row[3] for row in first} == {MIDNIGHT + 34_200_004_241_176}
    assert all(row[6] & Flag.SNAPSHOT and row[8] == 0 for row in first)
    reader = open_file(feed_path("lobster", NAME.format("orderbook")))
    assert reader.format == "lobster_orderbook"
    shown: dict[tuple[int, int], int] = {}
    n = 0
    for _, _, _, _, _, _, flags, side, action, px, qty in read(reader):
        assert ((side, px) in shown) == (action != 0)
        shown[side, px] = qty
        if action == 2:
            del shown[side, px]
        if not flags & Flag.MORE:
            while rows[n] != shown:
                assert rows[n] == rows[n - 1], f"row {n + 1}"
                n += 1
            n += 1
    assert reader.counts.by_type == {"row": len(rows)}
    assert all(row == rows[n - 1] for row in rows[n:])


ROWS = st.lists(
    st.tuples(
        st.sampled_from("1234567"), st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, 10**9), st.booleans(),
        st.integers(0, 10**9), st.integers(0, 9), st.sampled_from(["-1", "0", "1"]),
    ), max_size=30,
)  # fmt: skip


@settings(max_examples=40)
@given(ROWS, st.integers(1, 100))
def test_made_up_messages_of_every_type(tmp_path_factory, made, block):
    rows, time = [], Decimal(0)
    for kind, order, size, px, buy, step, places, halt in made:
        time += Decimal(step).scaleb(-places)
        if time >= 86_400:
            break
        rows.append((f"{time:f}", kind, str(order), str(size), halt if kind == "7" else str(px), "1" if buy else "-1"))
    path = write(tmp_path_factory.mktemp("lobster"), rows)
    assert in_blocks(lobster.Messages(path, None, ""), block, 9) == naive(rows)


GOOD = ["34200.5", "1", "7", "100", "5853300", "1"]


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        (0, "34200.1234567891", "time"), (0, "86400", "time"), (0, "34199", "before the row"), (1, "8", "type"),
        (2, "-7", "number"), (3, "0", "size"), (4, "-5853300", "price"), (4, "585.33", "price"),
        (5, "0", "direction"), (5, "1,1", "fields"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_its_line_after_what_is_before_it(tmp_path, field, value, why):
    bad = [*GOOD[:field], value, *GOOD[field + 1 :]]
    reader = lobster.Messages(write(tmp_path, [GOOD, bad, GOOD]), None, "")
    found, error = read_until_refused(reader)
    assert len(found) == 1
    assert error is not None
    assert why in error.why
    assert error.line == 2
    assert error.offset >= len(",".join(GOOD))


def test_a_cut_or_changed_file_is_refused_or_counted(tmp_path):
    data = b"".join(feed_path("lobster", NAME.format("message")).read_bytes().splitlines(keepends=True)[:80])
    fuzzed(tmp_path, data, lambda path: lobster.Messages(path, None, ""))


def test_a_book_that_is_not_sorted_is_refused(tmp_path):
    path = tmp_path / NAME.format("orderbook")
    path.write_text("5859400,200,5853300,18,5859300,200,5853000,150\n")
    with pytest.raises(FeedError, match="best first"):
        read(open_file(path))


def test_what_is_recognised():
    assert lobster.recognises(b"34200.004241176,1,16113575,18,5853300,1\n34200.")
    assert lobster.recognises(b"5859400,200,-9999999999,0\r\n")
    assert not lobster.recognises(b"5859400,200,5853300\n")
    assert not lobster.recognises(b"exchange,symbol,timestamp\n")
    assert not lobster.recognises(b"")
