"""hftbacktest's event files: rows as a slow reading has them, there and back, both orders, damage."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from engine.record.records import Flag
from gateways.feeds.report import FeedError
from gateways.formats import dbn, known, npz
from gateways.formats.batch import make_batch, new_level, new_status, new_trade
from gateways.formats.inspection import inspect
from gateways.formats.npz_kernels import (
    ADD,
    BBO,
    BUY,
    CANCEL,
    CLEAR,
    DEPTH,
    EVENT,
    EXCH,
    FILL,
    LOCAL,
    MODIFY,
    SELL,
    SNAPSHOT,
    TRADE,
)
from gateways.formats.npz_write import NpzRows, NpzTold, in_both_orders, write_npz
from tests.feeds_path import feed_path
from tests.formats.dbn_twin import given

pytestmark = pytest.mark.kernel
BOTH = EXCH | LOCAL


def saved(path, rows, save=np.savez_compressed):
    save(path, data=np.array(rows, dtype=EVENT))
    return path


def got_of(path, **options):
    with npz.open_file(path, **options) as reader:
        rows, _ = given(reader.batches())
    return rows, reader


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_each_kind_of_event(tmp_path, save):
    kinds = [CLEAR, DEPTH | BUY, DEPTH | SELL, SNAPSHOT | BUY, TRADE | SELL, BBO | BUY, BBO | SELL, ADD | BUY,
        MODIFY | BUY, FILL | BUY, CANCEL | BUY, 99]  # fmt: skip
    rows: list[tuple[float, ...]] = [
        (k | BOTH, 10 * n, 10 * n + 3, round(0.1 * (n + 1), 1), 0.0 if n == 2 else 0.25, 7, 0, 0.0)
        for n, k in enumerate(kinds)
    ]
    rows.append((DEPTH | BUY | EXCH, 1, 2, 1.0, 1.0, 0, 0, 0))
    path = saved(tmp_path / "BTCUSDT.npz", rows, save)
    with known.open_file(path) as reader:
        got, _ = given(reader.batches())
    assert [i.symbol for i in reader.instruments] == ["BTCUSDT"]
    buy, sell, unit, quarter = ord("1"), ord("2"), 10**7, 25 * 10**6
    assert got == [
        ("CLEAR", 0, 3, 0, 0),
        ("LEVEL", 10, 13, 0, 0, buy, 1, 2 * unit, quarter),
        ("LEVEL", 20, 23, 0, 0, sell, 2, 3 * unit, 0),
        ("LEVEL", 30, 33, 0, 1, buy, 1, 4 * unit, quarter),
        ("TRADE", 40, 43, 0, 128, 5 * unit, quarter),
        ("QUOTE", 50, 53, 0, 0, 6 * unit, quarter, 0, 0, 0, 0, 0),
        ("QUOTE", 60, 63, 0, 0, 6 * unit, quarter, 7 * unit, quarter, 0, 0, 0),
        ("ORDER_DELTA", 70, 73, 0, 0, buy, 0, 8 * unit, quarter, 7, 0),
        ("ORDER_DELTA", 80, 83, 0, 0, buy, 1, 9 * unit, quarter, 7, 0),
        ("ORDER_DELTA", 100, 103, 0, 0, buy, 2, 11 * unit, quarter, 7, 0),
    ]
    assert reader.counts.messages == len(rows)
    assert reader.counts.by_type["depth (exchange only)"] == 1
    assert reader.counts.skipped["an unknown kind of event"] == 1


@settings(max_examples=60)
@drawn(st.integers(0, 9), st.integers(-(10**12), 10**12), st.sampled_from([0, 1e-7, 0.5, float("nan"), float("inf")]))
def test_floats_are_integers_exactly_or_are_skipped(tmp_path_factory, decimals, units, off):
    px = float(Decimal(units).scaleb(-decimals)) + off * 10.0**-decimals
    path = saved(tmp_path_factory.mktemp("npz") / "x.npz", [(DEPTH | BUY | BOTH, 1, 2, px, 1.0, 0, 0, 0)])
    got, reader = got_of(path, px_decimals=decimals, qty_decimals=0)
    exact = px == px and abs(px) != float("inf") and px == float(Decimal(units).scaleb(-decimals))
    assert [row[7] for row in got] == ([units] if exact else [])
    assert reader.counts.messages == 1
    assert sum(reader.counts.skipped.values()) == (not exact)


@settings(max_examples=60)
@drawn(st.lists(st.tuples(st.integers(0, 20), st.integers(-3, 9)), max_size=25))
def test_both_orders_hold_and_nothing_is_lost(times):
    rows = np.array([(DEPTH, t, t + d, n, 1, 0, 0, 0) for n, (t, d) in enumerate(times)], dtype=EVENT)
    out = in_both_orders(rows)
    for bit, name in ((EXCH, "exch_ts"), (LOCAL, "local_ts")):
        mine = out[out["ev"] & np.uint64(bit) > 0]
        assert (np.diff(mine[name]) >= 0).all()
        assert sorted(mine["px"]) == list(range(len(times)))


def levels_of(records):
    """The book that records of levels come to."""
    book: dict[tuple[int, int], int] = {}
    for row in records:
        if row[0] == "CLEAR":
            book = {}
        elif row[6] == 2:
            book.pop((row[5], row[7]))
        else:
            book[row[5], row[7]] = row[8]
    return book


CLEARS = st.tuples(
    st.just(CLEAR), st.sampled_from([BUY, BUY, SELL, SELL, 0]),
    st.sampled_from([3.0, 5.0, 5.5, 7.25, 1e300, float("nan"), float("inf")]), st.just(0),
)  # fmt: skip
DEPTHS = st.tuples(
    st.sampled_from([DEPTH, SNAPSHOT]), st.sampled_from([BUY, SELL]), st.integers(1, 10).map(float), st.integers(1, 3)
)


@settings(max_examples=60)
@drawn(st.lists(st.one_of(DEPTHS, DEPTHS, DEPTHS, CLEARS), max_size=40))
def test_a_clear_takes_its_side_up_to_its_price_and_nothing_else(tmp_path_factory, made):
    book: dict[tuple[int, float], int] = {}
    for kind, side, px, qty in made:
        code = ord("1") if side == BUY else ord("2")
        if kind != CLEAR:
            book[code, px] = qty
        elif side == 0:
            book = {}
        else:
            every = px != px or px == float("inf")
            taken = {at for at in book if at[0] == code and (every or (at[1] >= px if side == BUY else at[1] <= px))}
            book = {at: had for at, had in book.items() if at not in taken}
    rows = [(kind | side | BOTH, n, n, px, qty, 0, 0, 0) for n, (kind, side, px, qty) in enumerate(made)]
    path = saved(tmp_path_factory.mktemp("npz") / "x.npz", rows)
    with npz.open_file(path, px_decimals=0, qty_decimals=0) as reader:
        reader.batch = make_batch(9)
        records, _ = given(reader.batches())
    assert levels_of(records) == book
    assert reader.counts.messages == len(made)
    assert not reader.counts.skipped


def test_a_clear_of_one_side_of_orders_voids_the_book_and_is_told(tmp_path):
    kinds = [ADD | BUY, CLEAR | SELL, ADD | BUY]
    path = saved(tmp_path / "x.npz", [(k | BOTH, n, n, 1.0, 1.0, n + 1, 0, 0) for n, k in enumerate(kinds)])
    records, reader = got_of(path)
    assert [row[0] for row in records] == ["ORDER_DELTA", "CLEAR", "ORDER_DELTA"]
    assert reader.counts.skipped == {"clear of one side of what is no book of levels: the whole book is void": 1}
    assert list(reader.counts.examples.values()) == ["row 1"]


def test_large_quantities_are_exact_or_told_to_be_too_large(tmp_path):
    sizes = [100_000_000.0, 123_456_789.5, 2.0**53, 1e15, float("inf")]
    path = saved(tmp_path / "x.npz", [(DEPTH | BUY | BOTH, n, n, 1.0, q, 0, 0, 0) for n, q in enumerate(sizes)])
    records, reader = got_of(path)
    assert [row[8] for row in records] == [10**16, 12_345_678_950_000_000]
    reason = "a price or quantity that is too large for a float to tell in the instrument's decimals"
    assert reader.counts.skipped == {reason: 3}
    records, reader = got_of(path, qty_decimals=2)
    assert [row[8] for row in records] == [10**10, 12_345_678_950, 10**17]
    assert reader.counts.skipped == {reason: 2}


def test_rows_of_one_time_are_one_message(tmp_path):
    """The market goes up: a row for itself would cross the book, and so would a side of the touch for itself."""
    rows = [(DEPTH | BUY, 1, 10.0), (DEPTH | SELL, 1, 11.0), (DEPTH | BUY, 2, 12.0), (DEPTH | SELL, 2, 11.0)]
    made: list[tuple[float, ...]] = [
        (kind | BOTH, at, at, px, 0.0 if n == 3 else 1.0, 0, 0, 0) for n, (kind, at, px) in enumerate(rows)
    ]
    made += [(BBO | BUY | BOTH, 3, 4, 5.0, 1.0, 0, 0, 0), (BBO | SELL | BOTH, 3, 4, 6.0, 1.0, 0, 0, 0)]
    made += [(BBO | BUY | BOTH, 4, 5, 7.0, 1.0, 0, 0, 0), (BBO | SELL | BOTH, 4, 5, 8.0, 1.0, 0, 0, 0)]
    path = saved(tmp_path / "x.npz", made)
    for units in (9, 10, 11, 12, 1 << 12):
        with npz.open_file(path, px_decimals=0, qty_decimals=0) as reader:
            reader.batch = make_batch(units)
            records, _ = given(reader.batches())
        assert [row[4] for row in records if row[0] == "LEVEL"] == [Flag.MORE, 0, Flag.MORE, 0]
        assert [row[5:9] for row in records if row[0] == "QUOTE"] == [(5, 1, 6, 1), (7, 1, 8, 1)]
    found = inspect(path)
    assert (found.touches, found.crossed) == (4, 0)


@pytest.mark.parametrize("name", ["mbo", "mbp-1", "mbp-10", "trades"])
def test_records_go_there_and_come_back(tmp_path, name):
    source = feed_path("dbn", "fixtures", f"test_data.{name}.dbn")
    with dbn.open_file(source) as reader:
        want, _ = given(reader.batches())
    with dbn.open_file(source) as reader:
        write_npz(tmp_path / "x.npz", reader.batches(), px_decimals=9)
    got, back = got_of(tmp_path / "x.npz", px_decimals=9, qty_decimals=0)
    assert not back.counts.skipped
    if name == "mbp-1":
        assert [row[:3] + row[5:9] for row in got if row[7] and row[8]][-1] == want[-1][:3] + want[-1][5:9]
    elif name == "mbp-10":
        assert sorted(r[1:3] + r[5:6] + r[7:] for r in got) == sorted(r[1:3] + r[5:6] + r[7:] for r in want)
    else:
        assert [(r[0], r[1], r[2], *r[5:]) for r in got] == [(r[0], r[1], r[2], *r[5:]) for r in want]


def test_times_that_are_not_there_are_counted_and_never_zero(tmp_path):
    batch = make_batch()
    for event, recv in ((100, 105), (0, 110), (120, 0), (0, 0), (130, 131)):
        trade = batch.trade[new_trade(batch, 0, 0, event, recv)]
        trade.px, trade.qty = 7, 1
    new_status(batch, 0, 0, 140, 141, 1)
    told = write_npz(tmp_path / "x.npz", [batch], px_decimals=0, latency_ns=3, skew=10)
    times = [(100, 115), (120, 120), (120, 123), (130, 141)]
    assert [(int(row["exch_ts"]), int(row["local_ts"])) for row in np.load(tmp_path / "x.npz")["data"]] == times
    assert told == NpzTold(
        rows=4, records=6, no_event_time=1, no_receive_time=1, no_time=1, other_kind=1, timed=3, least_ns=11
    )


def test_negative_latencies_are_refused_unless_they_are_to_be_kept(tmp_path):
    batch = make_batch()
    for event, recv in ((100, 90), (110, 105), (120, 121)):
        batch.trade[new_trade(batch, 0, 0, event, recv)].qty = 1
    with pytest.raises(FeedError, match="2 of 3 records were received before they happened; add at least 10 ns"):
        write_npz(tmp_path / "x.npz", [batch], px_decimals=0)
    with pytest.raises(FeedError, match=r"1 of 3 .* add at least 10 ns"):
        write_npz(tmp_path / "x.npz", [batch], px_decimals=0, skew=6)
    assert list(tmp_path.iterdir()) == []
    assert write_npz(tmp_path / "x.npz", [batch], px_decimals=0, skew=10).negative == 0
    assert write_npz(tmp_path / "x.npz", [batch], px_decimals=0, skew="keep").negative == 2


def test_records_of_another_venue_are_not_written(tmp_path):
    batch = make_batch()
    for venue in (0, 1, 1):
        trade = batch.trade[new_trade(batch, venue, 0, 100 + venue, 105)]
        trade.px, trade.qty = venue + 1, 1
    told = write_npz(tmp_path / "x.npz", [batch], px_decimals=0, venue=1)
    assert (told.records, told.others) == (2, 1)
    assert np.load(tmp_path / "x.npz")["data"]["px"].tolist() == [2.0, 2.0]


def test_rows_in_memory_are_arrays():
    """As tuples and their numbers they were more than twice as many bytes."""
    batch, rows = make_batch(), NpzRows(0, 0, 0, 0)
    for n in range(10_000):
        level = batch.level[new_level(batch, 0, 0, 10**18 + n, 10**18 + n + n % 7)]
        level.side, level.px, level.qty = ord("1"), 1000 + n % 50, 3
    in_both_orders(np.array([(DEPTH, 1, 5, 1, 1, 0, 0, 0), (DEPTH, 2, 4, 1, 1, 0, 0, 0)], dtype=EVENT))  # compiles
    tracemalloc.start()
    try:
        rows.take(batch)
        rows.take(batch)
        count = len(rows.sorted())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count >= 20_000
    assert peak / 20_000 < 380


def test_every_cut_and_flipped_bits_are_told(tmp_path):
    good = saved(tmp_path / "x.npz", [(DEPTH | BUY | BOTH, n, n, 1.0, 1.0, 0, 0, 0) for n in range(20)], np.savez)
    data = good.read_bytes()
    bad = tmp_path / "bad.npz"
    for cut in range(4, len(data), 7):
        bad.write_bytes(data[:cut])
        with pytest.raises(FeedError):
            got_of(bad)
    for bit in range(200 * 8, len(data) * 8, 37):
        hurt = bytearray(data)
        hurt[bit // 8] ^= 1 << bit % 8
        bad.write_bytes(hurt)
        try:
            rows, _ = got_of(bad)
        except FeedError:
            continue
        assert len(rows) == 20


def test_another_array_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", data=np.arange(9))
    with pytest.raises(FeedError, match="no events of hftbacktest"):
        got_of(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", a=np.arange(9), b=np.arange(9))
    with pytest.raises(FeedError, match="one array"):
        got_of(tmp_path / "y.npz")
