"""Tardis.dev's CSV files, made up after its documentation: every row as csv and Decimal read it."""

from __future__ import annotations

import csv
import gzip
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.record.records import Flag, Side
from gateways.feeds.report import FeedError
from gateways.formats import tardis
from gateways.formats.inspection import inspect
from gateways.formats.known import open_file
from tests.formats.reading import fuzzed, in_blocks, read

pytestmark = pytest.mark.kernel

BUY, SELL = int(Side.BUY), int(Side.SELL)
L2, TRADES, QUOTES = tardis.COLUMNS


def units(text):
    exact = Decimal(text).scaleb(8)
    assert exact == int(exact)
    return int(exact)


class Naive:
    """Rows by csv and Decimal."""

    def __init__(self, path):
        self.rows, self.names, self.venues = [], [], []
        self.state, self.skipped, self.repeated, self.shown = {}, 0, 0, {}
        with path.open() as file:
            header = file.readline()
            file.seek(0)
            for row in csv.DictReader(file):
                self.take(row)
        if "is_snapshot" in header:
            self.join()

    def join(self):
        """A level behind which one of the same instrument and receive time follows is not its message's last."""
        for n, (row, following) in enumerate(zip(self.rows, self.rows[1:], strict=False)):
            same = row[0] == following[0] == "LEVEL" and row[1:3] == following[1:3]
            if same and (row[4] == following[4] != 0 or row[3:5] == following[3:5]):
                self.rows[n] = (*row[:6], row[6] | int(Flag.MORE), *row[7:])

    def take(self, row):
        name = (row["exchange"], row["symbol"])
        if name[0] not in self.venues:
            self.venues.append(name[0])
        if name not in self.names:
            self.names.append(name)
        times = [int(row["timestamp"]) * 1000, int(row["local_timestamp"]) * 1000]
        common = (self.venues.index(name[0]), self.names.index(name), *times)
        if "is_snapshot" in row:
            self.level(row, name, common)
        elif "id" in row:
            flags = {"buy": Flag.AGGRESSOR_BUY, "sell": Flag.AGGRESSOR_SELL, "unknown": 0}[row["side"]]
            number = int(row["id"]) if row["id"].isdigit() else 0
            self.rows.append(("TRADE", *common, number, int(flags), units(row["price"]), units(row["amount"])))
        elif "ask_price" in row:
            best = []
            for side in ("bid", "ask"):
                there = row[f"{side}_price"] and row[f"{side}_amount"]
                best += [units(row[f"{side}_price"]), units(row[f"{side}_amount"])] if there else [0, 0]
            self.rows.append(("QUOTE", *common, 0, 0, *best))
        else:
            self.book(row, name, common)

    def level(self, row, name, common):
        snapshot = row["is_snapshot"] == "true"
        state = self.state.get(name)
        if not snapshot and state is None:
            self.skipped += 1
            return
        if snapshot and state != "snapshot":
            self.rows.append(("CLEAR", *common, 0, 0))
        self.state[name] = "snapshot" if snapshot else "live"
        qty = units(row["amount"])
        action = 2 if qty == 0 else 0 if snapshot else 1
        side = BUY if row["side"] == "bid" else SELL
        self.rows.append(("LEVEL", *common, 0, int(snapshot), side, action, units(row["price"]), qty))

    def book(self, row, name, common):
        now = {}
        for word, side in (("bids", BUY), ("asks", SELL)):
            for n in range(5):
                if row[f"{word}[{n}].price"]:
                    now[side, units(row[f"{word}[{n}].price"])] = units(row[f"{word}[{n}].amount"])
        old = self.shown.get(name, {})
        first = int(Flag.SNAPSHOT) if not old else 0
        made = []
        for side in (BUY, SELL):
            gone = sorted((px for s, px in old if s == side and (s, px) not in now), reverse=side == BUY)
            made += [("LEVEL", *common, 0, first, side, 2, px, 0) for px in gone]
        for side in (BUY, SELL):
            for px in sorted((px for s, px in now if s == side), reverse=side == BUY):
                if old.get((side, px)) != now[side, px]:
                    action = 1 if (side, px) in old else 0
                    made.append(("LEVEL", *common, 0, first, side, action, px, now[side, px]))
        self.rows += [(*row[:6], row[6] | int(Flag.MORE), *row[7:]) for row in made[:-1]] + made[-1:]
        self.repeated += not made
        self.shown[name] = now


def write(folder, header, rows):
    path = folder / "file"
    path.write_text("".join(",".join(row) + "\n" for row in [[header], *rows]))
    return path


NUMBERS = st.sampled_from(["0.00000001", "1", "61789.99000000", "2.5", "1e-05", "3.2E+2", "12345678.5", "7"])
NAMES = st.sampled_from([("deribit", "BTC-PERPETUAL"), ("binance", "BTCUSDT"), ("binance", "ETHUSDT"), ("x", "A")])
TIMES = st.tuples(st.integers(0, 2 * 10**15), st.one_of(st.integers(0, 2 * 10**15), st.sampled_from([0, 7, 8])))
HEADS = st.tuples(NAMES, TIMES).map(lambda made: [*made[0], *map(str, made[1])])
AMOUNTS = st.one_of(NUMBERS, st.just("0"))
ROWS = {
    L2: st.tuples(st.sampled_from(["true", "false"]), st.sampled_from(["bid", "ask"]), NUMBERS, AMOUNTS),
    TRADES: st.tuples(
        st.sampled_from(["", "17", "a-b"]), st.sampled_from(["buy", "sell", "unknown"]), NUMBERS, NUMBERS
    ),
    QUOTES: st.one_of(
        st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), st.tuples(st.just(""), st.just(""), NUMBERS, NUMBERS)
    ),
}  # fmt: skip


@pytest.mark.parametrize("header", ROWS)
@settings(max_examples=30)
@given(data=st.data(), block=st.integers(1, 200))
def test_every_row_is_as_csv_and_decimal_read_it(tmp_path_factory, header, data, block):
    made = data.draw(st.lists(st.tuples(HEADS, ROWS[header]), max_size=25))
    path = write(tmp_path_factory.mktemp("tardis"), header, [[*head, *row] for head, row in made])
    reader, slow = open_file(path), Naive(path)
    assert in_blocks(reader, block, 9) == slow.rows
    assert reader.counts.messages == len(made)
    assert sum(reader.counts.skipped.values()) == slow.skipped
    assert (reader.venues, [row.symbol for row in reader.instruments]) == (
        slow.venues,
        [name[1] for name in slow.names],
    )


BOOKS = st.dictionaries(st.integers(1, 40), st.integers(1, 3), max_size=5)


@settings(max_examples=30)
@given(st.lists(st.tuples(HEADS, BOOKS, BOOKS), max_size=15), st.integers(1, 500))
def test_book_snapshots_are_the_changes_from_row_to_row(tmp_path_factory, made, block):
    rows = []
    for head, bids, asks in made:
        cells = [[["", ""]] * 5, [["", ""]] * 5]
        for side, levels in enumerate((asks, bids)):
            shown = [[str(px), str(qty)] for px, qty in sorted(levels.items(), reverse=side == 1)]
            cells[side] = shown + cells[side][len(shown) :]
        pairs = [pair for both in zip(*cells, strict=True) for pair in both]
        rows.append([*head, *(text for pair in pairs for text in pair)])
    path = write(tmp_path_factory.mktemp("tardis"), tardis.book_columns(5), rows)
    reader, slow = open_file(path), Naive(path)
    assert in_blocks(reader, block, 9) == slow.rows
    assert (reader.counts.repeated, reader.counts.messages) == (slow.repeated, len(rows))


HEAD = ["binance", "BTCUSDT", "1598918400000000", "1598918400123456"]


def test_rows_of_one_receive_time_are_one_message_and_one_touch(tmp_path):
    """The market moves from 10/11 to 12/13: between the two rows its book is crossed, and nobody sees that."""
    first = [[*HEAD, "true", side, px, "1"] for side, px in (("bid", "10"), ("ask", "11"), ("ask", "13"))]
    moved = [("bid", "12", "1"), ("ask", "11", "0"), ("bid", "10", "0")]
    rows = first + [[*HEAD[:3], "1598918400123457", "false", *row] for row in moved]
    path = write(tmp_path, L2, rows)
    more = int(Flag.MORE)
    flags = [row[6] & more for row in read(open_file(path)) if row[0] == "LEVEL"]
    assert flags == [more, more, 0, more, more, 0]
    for units in (9, 12):
        assert in_blocks(open_file(path), 60, units) == Naive(path).rows
    found = inspect(path)
    assert (found.touches, found.crossed, found.locked) == (2, 0, 0)


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["maybe", "bid", "1", "1"], "is_snapshot"), (["true", "buy", "1", "1"], "side"),
        (["true", "bid", "", "1"], "decimal"), (["true", "bid", "1", "1", "1"], "fields"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_its_line(tmp_path, cells, why):
    path = write(tmp_path, L2, [[*HEAD, "true", "bid", "1", "1"], [*HEAD, *cells]])
    with open_file(path) as reader, pytest.raises(FeedError, match=why) as caught:
        list(reader.batches())
    assert caught.value.line == 3


def test_what_does_not_fit_is_skipped_and_counted(tmp_path):
    rows = [[*HEAD, "1", "buy", px, "1"] for px in ("-5", "0.000000001", "1e-9", "99999999999", "0", "2")]
    path = write(tmp_path, TRADES, rows)
    path.write_bytes(gzip.compress(path.read_bytes()))
    reader = open_file(path)
    assert [row[-2] for row in read(reader)] == [2 * 10**8]
    assert sorted(reader.counts.skipped.values()) == [1, 4]


def test_a_file_of_many_symbols_finds_each(tmp_path):
    rows = [[f"x{n % 3}", f"S{n * 7 % 40}", "1", "2", str(n), "buy", "1", "1"] for n in range(200)]
    path = write(tmp_path, TRADES, rows)
    reader, slow = open_file(path), Naive(path)
    assert read(reader) == slow.rows
    assert len(reader.instruments) == len(slow.names) > 100


def test_other_columns_and_cut_files_are_refused(tmp_path):
    with pytest.raises(FeedError, match="columns"):
        read(open_file(write(tmp_path, L2 + ",more", [])))
    # Each row is a message: where a file is cut nobody knows whether its last message went on.
    rows = [[*HEAD[:3], str(n), str(n == 0).lower(), "bid", str(n + 1), "12.5"] for n in range(20)]
    path = write(tmp_path, L2, rows)
    assert len(read(open_file(path))) == 21
    fuzzed(tmp_path, path.read_bytes(), tardis.open_file)
    path.write_bytes(write(tmp_path, L2, rows).read_bytes()[:-1])
    with pytest.raises(FeedError, match="cut"):
        read(open_file(path))
