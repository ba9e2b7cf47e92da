"""Markouts and VWAP, held to a slow reading of the journal's market data."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.io.journal_format import Kind
from engine.record.records import DTYPES, Flag, Template, blank
from gateways.feeds.names import Names
from gateways.feeds.recording import build
from replay.backtest.passing import around
from replay.backtest.schemas import HORIZONS_S
from tests.backtest import desk


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    settings = desk.config(tmp_path_factory.mktemp("tape") / "run", stale_ms=20_000)
    return desk.play(settings, orders=60, day=interrupted(settings))


def interrupted(settings):
    """The day with halts of a stock at a venue, each with its end, and with clears of a venue, among its quotes."""
    names, day = Names.of(settings), desk.day_of(settings)
    quotes, trades = day.records(Template.QUOTE), day.records(Template.TRADE)
    step = (day.last_ns - day.first_ns) // 24
    halts, ends = (blank(Template.INSTRUMENT_STATUS, 24) for _ in range(2))
    clears = blank(Template.CLEAR, 12)
    halts["status"] = np.arange(24) % 3 + 1
    for rows in (halts, ends):
        rows["venue_id"], rows["instrument_id"] = np.arange(24) % 4, np.arange(24) // 4 % 2
        rows["ts_event_ns"] = day.first_ns + step * np.arange(24)
    ends["ts_event_ns"] += step // 3
    clears["venue_id"], clears["instrument_id"] = np.arange(12) % 4, np.arange(12) % 3 - 1
    clears["ts_event_ns"] = day.first_ns + 2 * step * np.arange(12) + step // 2
    return build([trades, quotes, halts, ends, clears], names)


@pytest.fixture(scope="module")
def inputs(played):
    found = (data for kind, data in desk.frames(played.run_dir) if kind == Kind.INPUT)
    return [np.frombuffer(data, dtype=DTYPES[Template(data[2])])[0] for data in found]


def naive_mid(inputs, symbol, at_ns):
    """The mid-point at a time, one record after the other. What a CLEAR or a halt voids is no quote."""
    last: dict[int, np.void] = {}
    halted: set[int] = set()
    for r in inputs:
        template = r["template_id"]
        if r["ts_recv_ns"] > at_ns or template > Template.VENUE_DEF:
            continue
        venue, instrument = int(r["venue_id"]), int(r["instrument_id"])
        if instrument >= 0 and desk.STOCKS[instrument].symbol != symbol:
            continue
        if template == Template.CLEAR:
            last.pop(venue, None)
        elif template == Template.INSTRUMENT_STATUS:
            (halted.add if r["status"] else halted.discard)(venue)
            if r["status"]:
                last.pop(venue, None)
        elif template == Template.QUOTE and venue not in halted:
            last[venue] = r
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


@pytest.mark.parametrize("rows", [1, 7, 1 << 20])
def test_one_pass_in_parts_is_the_whole_in_memory(played, rows):
    fills, orders = played.tables.fills, played.tables.orders
    found = around(played.run_dir, played.config, fills, orders, (0, 2.5, 60), rows)
    slow = played.tape.markouts(fills, (0, 2.5, 60))
    for n, name in enumerate(("mid_0s", "mid_2.5s", "mid_60s")):
        must = slow[name].to_numpy(zero_copy_only=False).astype(float)
        assert found.mids[n] == pytest.approx(must, nan_ok=True)
    vwap = played.tape.against_vwap(orders)["vwap"].to_numpy(zero_copy_only=False).astype(float)
    assert found.vwap == pytest.approx(vwap, nan_ok=True)


def test_markouts_and_costs_are_in_the_files(played, inputs, tmp_path):
    files = {path.stem: pq.read_table(path) for path in played.write(tmp_path)}
    marks, fills = files["markouts"], files["fills"]
    assert marks["journal_seq"].to_pylist() == fills["journal_seq"].to_pylist()
    known = 0
    for at_ns, row in zip(marks["time"].cast("int64").to_pylist(), _plain(marks), strict=True):
        sign = 1 if row["side"] == "BUY" else -1
        for horizon_s in HORIZONS_S:
            mid = naive_mid(inputs, row["symbol"], at_ns + int(horizon_s * desk.SECOND))
            known += mid is not None
            assert row[f"mid_{horizon_s:g}s"] == pytest.approx(mid)
            if mid is not None:
                assert row[f"markout_{horizon_s:g}s"] == pytest.approx(sign * (mid - row["px"]))
    assert known > 40
    costs = 0
    for row in _plain(files["orders"]):
        two_sided = row["arrival_mid"] is not None and row["avg_px"] is not None
        if not two_sided:
            assert row["against_nbbo_bps"] is None
            continue
        costs += 1
        sign = 1 if row["side"] == "BUY" else -1
        touch = row["arrival_ask"] if sign > 0 else row["arrival_bid"]
        assert row["against_nbbo_bps"] == pytest.approx(sign * (row["avg_px"] - touch) / touch * 1e4, abs=1e-6)
    assert costs > 10
    table = played.against_vwap()
    assert files["orders"]["against_vwap_bps"].to_pylist() == table["against_vwap_bps"].to_pylist()
    assert files["orders"]["vwap"].null_count < files["orders"].num_rows


def _plain(table):
    """Rows without their times, whose nanoseconds a Python datetime has not."""
    return table.drop_columns([field.name for field in table.schema if "timestamp" in str(field.type)]).to_pylist()


def test_without_fills_there_are_files_as_well(tmp_path):
    result = desk.play(desk.config(tmp_path / "run"), orders=0)
    files = {path.stem: pq.read_table(path) for path in result.write()}
    assert files["markouts"].num_rows == files["orders"].num_rows == 0
