"""Trading against the market: each figure against a slow reading of the same journal, and pages of odd runs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cli.main import main
from engine.io.journal_format import Kind
from engine.record.records import Flag, Template
from engine.run import manifest
from replay.backtest.results import Result
from replay.report import trading
from replay.report.gather import gather
from replay.report.measure import measure_and_draw
from replay.report.pages import page
from tests.backtest import desk

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def looked(run_dir):
    """(measures, what is drawn)"""
    return measure_and_draw(run_dir, check=False)


class Market:
    """The market of a journal, read record by record."""

    def __init__(self, run_dir):
        quote, trade = (Kind.INPUT, Template.QUOTE), (Kind.INPUT, Template.TRADE)
        names = "venue_id instrument_id bid_px bid_qty ask_px ask_qty flags ts_recv_ns"
        found = gather(run_dir, {quote: names, trade: "instrument_id px qty flags ts_recv_ns"})
        self.quotes, self.trades = found.table(*quote), found.table(*trade)
        config = manifest.from_bytes(found.manifest).read_config()
        self.stale_ns = config.routing.stale_ms * 10**6
        self.scale = 10.0 ** config.instrument[0].px_decimals

    def mid(self, at_ns):
        """The mid-point at a time; None where there is none."""
        last = {}
        for row in self.quotes:
            if row["ts_recv_ns"] <= at_ns:
                last[int(row["venue_id"])] = row
        bids, asks = [], []
        for row in last.values():
            both = row["bid_qty"] > 0 and row["ask_qty"] > 0
            if at_ns - row["ts_recv_ns"] > self.stale_ns or row["flags"] & Flag.CLOSED:
                continue
            if both and row["bid_px"] > row["ask_px"]:
                continue
            bids += [int(row["bid_px"])] if row["bid_qty"] > 0 else []
            asks += [int(row["ask_px"])] if row["ask_qty"] > 0 else []
        if not bids or not asks or max(bids) > min(asks):
            return None
        return (max(bids) + min(asks)) / 2 / self.scale


def test_costs_are_the_reports_own(looked):
    measures, _ = looked
    told = {row.name: row for row in measures.trading.benchmarks}
    assert list(told) == [
        "mid-point at arrival", "national best at arrival", "mid-point at the fill", "VWAP until the last fill",
    ]  # fmt: skip
    assert told["mid-point at arrival"].bps == pytest.approx(measures.cost.mid_bps, abs=2e-3)
    assert told["national best at arrival"].bps == pytest.approx(measures.cost.touch_bps, abs=2e-3)
    assert told["mid-point at arrival"].orders == measures.cost.orders
    assert measures.trading.slippage.bps == pytest.approx(measures.cost.mid_bps, abs=2e-3)
    assert measures.trading.market == ""


def test_markouts_are_those_of_a_slow_reading(run_dir, looked):
    measures, _ = looked
    market, table = Market(run_dir), Result(run_dir).fills()
    fills = table.select(["side", "px", "notional"]).to_pylist()
    times = table["time"].cast("int64").to_pylist()
    for row in measures.trading.markouts[::3]:
        gained, money = [], []
        for fill, at_ns in zip(fills, times, strict=True):
            mid = market.mid(at_ns + int(row.horizon_s * 1e9))
            if mid is not None:
                sign = 1 if fill["side"] == "BUY" else -1
                gained.append(sign * (mid - fill["px"]) / fill["px"] * 1e4)
                money.append(fill["notional"])
        assert row.fills == len(gained) > 0
        assert row.bps == pytest.approx(np.average(gained, weights=money))


def test_what_was_held_ends_at_the_positions(run_dir, looked):
    _, drawn = looked
    positions = Result(run_dir).positions().to_pylist()
    for course in drawn.courses:
        mine = [row for row in positions if row["symbol"] == course.symbol]
        assert course.held[0] == sum(row["opening_qty"] for row in mine)
        assert course.held[-1] == pytest.approx(sum(row["qty"] for row in mine))
        assert course.fills == len(course.fill_px)
        good = np.isfinite(course.bid)
        assert good.any()
        assert (course.bid[good] <= course.ask[good]).all()


def test_the_page_has_the_pictures_and_needs_nothing_else(looked):
    text = page(*looked)
    assert text == page(*looked)
    for title in ("price and fills, and what was held", "Cost by benchmark", "Slippage of fills", "Markouts"):
        assert title in text
    assert text.count("<svg") >= 9
    assert len(text) < 700_000
    assert "http" not in text.replace("http://www.w3.org", "")


def test_many_fills_are_drawn_thinned_and_said_to_be(looked, monkeypatch):
    measures, _ = looked
    monkeypatch.setattr(trading, "MOST_FILLS", 4)
    told, drawn = trading.look(measures.run.run_dir, 1)
    assert told == measures.trading
    assert 0 < len(drawn.courses[0].fill_px) <= 4
    assert f"{len(drawn.courses[0].fill_px)} of {drawn.courses[0].fills} fills are drawn" in page(measures, drawn)


@pytest.mark.parametrize(
    ("count", "why"), [(0, "took in no market data"), (30_000_000, "are more than the 20,000,000")]
)
def test_without_market_data_the_rest_is_reported(looked, count, why):
    measures, _ = looked
    told, drawn = trading.look(measures.run.run_dir, count)
    assert why in told.market
    assert [row.name for row in told.benchmarks] == ["mid-point at arrival", "national best at arrival"]
    assert told.markouts == []
    assert np.isnan(drawn.courses[0].bid).all()
    assert drawn.courses[0].held[-1] == looked[1].courses[0].held[-1]
    text = page(
        type(measures)(**{n: getattr(measures, n) for n in measures.__struct_fields__} | {"trading": told}), drawn
    )
    assert why in text
    assert "Markouts" not in text


def test_a_backtest_and_one_without_orders_are_reported(tmp_path, capsys):
    desk.play(desk.config(tmp_path / "none"), orders=0)
    target, html = tmp_path / "told.json", tmp_path / "r.html"
    assert main(["report", str(tmp_path / "none"), "--no-verify", "--html", str(html), "--json", str(target)]) == 0
    told = json.loads(target.read_bytes())["trading"]
    assert [row["orders"] for row in told["benchmarks"]] == [0] * 4
    assert told["slippage"]["bps"] is None
    assert "in a backtest the engine takes no time" in capsys.readouterr().out
    desk.play(desk.config(tmp_path / "some"))
    assert main(["report", str(tmp_path / "some"), "--no-verify", "--html", str(html)]) == 0
    text = html.read_text(encoding="utf-8")
    assert "AAA: price and fills" in text
    assert "BBB: price and fills" in text
    assert "None was measured" in text
