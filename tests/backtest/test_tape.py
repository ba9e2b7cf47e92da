"""Markouts and VWAP, held to a slow reading of the journal's market data."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.io.journal_format import Kind
from engine.record.records import DTYPES, Flag, Template
from tests.backtest import desk


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return desk.play(desk.config(tmp_path_factory.mktemp("tape") / "run", stale_ms=20_000))


@pytest.fixture(scope="module")
def inputs(played):
    found = (data for kind, data in desk.frames(played.run_dir) if kind == Kind.INPUT)
    return [np.frombuffer(data, dtype=DTYPES[Template(data[2])])[0] for data in found]


def naive_mid(inputs, symbol, at_ns):
    """The mid-point at a time, one record after the other."""
    last = {}
    for r in inputs:
        if r["ts_recv_ns"] <= at_ns and r["template_id"] == Template.QUOTE:
            if desk.STOCKS[r["instrument_id"]].symbol == symbol:
                last[int(r["venue_id"])] = r
    fresh = [r for r in last.values() if at_ns - r["ts_recv_ns"] <= 20 * desk.SECOND and not r["flags"] & Flag.CLOSED]
    fresh = [r for r in fresh if not (r["bid_qty"] > 0 and r["ask_qty"] > 0 and r["bid_px"] > r["ask_px"])]
    bid = max((int(r["bid_px"]) for r in fresh if r["bid_qty"] > 0), default=0)
    ask = min((int(r["ask_px"]) for r in fresh if r["ask_qty"] > 0), default=0)
    return (bid + ask) / 20_000 if 0 < bid <= ask else None


def test_markouts(played, inputs):
    table = played.markouts((0, 2.5, 1000))
    assert table.num_rows == played.fills().num_rows > 20
    times = table["time"].cast("int64").to_pylist()
    rows = zip(
        times, *(table[n].to_pylist() for n in ("symbol", "side", "px", "mid_2.5s", "markout_2.5s")), strict=True
    )
    known = 0
    for time, symbol, side, px, mid, markout in rows:
        assert mid == pytest.approx(naive_mid(inputs, symbol, time + 2_500_000_000))
        if mid is not None:
            known += 1
            assert markout == pytest.approx((mid - px) * (1 if side == "BUY" else -1))
    assert known > 10
    assert table["mid_1000s"].null_count == table.num_rows, "the day is over then"


def test_vwap(played, inputs):
    table = played.against_vwap()
    columns = [table["time"].cast("int64"), table["last_fill"].cast("int64")]
    columns += [table[name] for name in ("symbol", "side", "avg_px", "vwap", "against_vwap_bps")]
    known = 0
    for begin, end, symbol, side, px, vwap, cost in zip(*(column.to_pylist() for column in columns), strict=True):
        trades = [
            (int(r["px"]), int(r["qty"]))
            for r in inputs
            if r["template_id"] == Template.TRADE
            and not r["flags"] & Flag.OFF_BOOK
            and desk.STOCKS[r["instrument_id"]].symbol == symbol
            and end is not None
            and begin <= r["ts_recv_ns"] <= end
        ]
        if not trades:
            assert vwap is None
            assert cost is None
            continue
        known += 1
        slow = math.fsum(p * q for p, q in trades) / sum(q for _, q in trades) / 10_000
        assert vwap == pytest.approx(slow)
        assert cost == pytest.approx((px - slow) / slow * 1e4 * (1 if side == "BUY" else -1), abs=1e-6)
    assert known > 2
