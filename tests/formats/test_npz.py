"""hftbacktest's event files: rows as a slow reading has them, there and back, both orders, damage."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from gateways.feeds.report import FeedError
from gateways.formats import dbn, known, npz
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
from gateways.formats.npz_write import in_both_orders, write_npz
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


def test_a_clear_of_one_side_and_then_the_other_is_one(tmp_path):
    kinds = [CLEAR | BUY, SNAPSHOT | BUY, CLEAR | SELL, SNAPSHOT | SELL, DEPTH | BUY, CLEAR | SELL]
    path = saved(tmp_path / "x.npz", [(k | BOTH, n, n, 1.0, 1.0, 0, 0, 0) for n, k in enumerate(kinds)])
    assert [row[0] for row in got_of(path)[0]] == ["CLEAR", "LEVEL", "LEVEL", "LEVEL", "CLEAR"]


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
