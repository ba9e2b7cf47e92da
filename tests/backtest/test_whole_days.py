"""Whole recorded days, routed: they run, verify as identical and are reported, and every row is counted."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from cli.main import main
from engine.jit import JIT
from replay import backtest
from replay.backtest.terms import feeds_of
from replay.verify import verify
from tests.feeds_path import feed_path

pytestmark = pytest.mark.skipif(not JIT, reason="whole days are for compiled kernels")
DOCS = Path(__file__).resolve().parents[2] / "docs"
#: As shared/feeds/README.md lists them: the venues of the quotes; trades are of D too.
TWELVE = set("NYBPTZKXVJAM")
BTC = ("spot_btcusdt_20240808.gz", "usdm_btcusdt_20240808.gz", "cm_btcusd_perp_20240808.gz")


def routed(folder, config, files, orders):
    """A run over whole files, verified and reported: the result, and the report's figures."""
    result = backtest.run(DOCS / config, files, run_dir=folder / "run", orders=orders)
    result.write()
    assert result.outcome is not None
    verdict = verify(result.run_dir)
    assert (verdict.result, verdict.state_hash) == ("identical", result.outcome.state_hash)
    page, figures = folder / "r.html", folder / "r.json"
    assert main(["report", str(result.run_dir), "--html", str(page), "--json", str(figures)]) == 0
    found = json.loads(figures.read_bytes())
    assert found["verify"]["result"] == "identical"
    assert (found["parents"]["sent"], found["agrees_with_core"]) == (orders, True)
    assert found["parents"]["terminal"] == orders
    assert [row["file"] for row in found["played"]] == [path.name for path in files]
    assert page.stat().st_size > 100_000
    summary = result.summary()
    assert summary["quantity"]["adds_up"]
    assert summary["fills"] == sum(row["fills"] for row in found["outcome"]["venues"]) > orders // 4
    return result, found


def test_the_taq_day(tmp_path):
    """Twelve venues, one stock: all rows but what was printed off exchange is given, and orders go to many venues."""
    files = [feed_path("taq", f"XXX_2018-01-02_{kind}.csv.gz") for kind in ("quotes", "trades")]
    quotes, trades = (
        [line.split(",") for line in gzip.decompress(path.read_bytes()).decode().splitlines()[1:]] for path in files
    )
    assert {row[1] for row in quotes} == TWELVE
    assert {row[1] for row in trades} <= TWELVE | {"D"}
    off_penny = sum(round(float(row[5]) * 10_000) % 100 != 0 for row in trades) / len(trades)
    assert 0.19 < off_penny < 0.21, "as the folder's page says"
    result, found = routed(tmp_path, "backtest.toml", files, 500)
    told = {Path(row["file"]).name: row for row in feeds_of(result.run_dir)}
    of_quotes, of_trades = (told[path.name] for path in files)
    elsewhere = sum(row[1] == "D" for row in trades)
    assert of_quotes["records"] == of_quotes["given"] == len(quotes) == 66_693
    assert of_trades["records"] == len(trades) == 39_462
    assert of_trades["skipped"]["venue code is not configured"] == elsewhere > 1000
    assert of_trades["given"] == len(trades) - sum(of_trades["skipped"].values())
    kinds = result.summary()["by_kind"]
    assert (kinds["QUOTE"], kinds["TRADE"]) == (of_quotes["given"], of_trades["given"])
    assert result.summary()["refusals"] == {}
    reached = {row["mic"] for row in found["outcome"]["venues"] if row["fills"]}
    assert len(reached) >= 6, "one stock, many venues"
    assert result.orders()["vwap"].null_count < 500


def test_three_products_whole(tmp_path):
    """Spot, USD-M and COIN-M over the same minutes: every message is counted, each order stays with its product."""
    files = [feed_path("binance", name) for name in BTC]
    lines = {path.name: gzip.decompress(path.read_bytes()).count(b"\n") for path in files}
    assert lines == dict(zip(BTC, (41_249, 93_954, 48_270), strict=True))
    result, found = routed(tmp_path, "backtest-btc.toml", files, 300)
    rows = feeds_of(result.run_dir)
    assert [Path(row["file"]).name for row in rows] == list(BTC)
    for row in rows:
        assert (row["format"], row["skew_ns"], row["negative"]) == ("binance", 1_274_761_454, 0)
        assert 1.27e9 < row["skew_ns"] < 1.28e9, "the recorder's clock was 1.27 s behind, the folder's page says"
    kinds = result.summary()["by_kind"]
    assert sum(row["given"] for row in rows) == kinds["QUOTE"] + kinds["TRADE"] + kinds["CLEAR"] - 3
    assert result.summary()["from_utc"][:16] == "2024-08-08T23:54"
    pairs = Counter(zip(result.children()["symbol"].to_pylist(), result.children()["mic"].to_pylist(), strict=True))
    assert set(pairs) == {("BTCUSDT", "SPOT"), ("BTCUSDT-PERP", "USDM"), ("BTCUSD-PERP", "COINM")}
    assert {row["mic"] for row in found["outcome"]["venues"] if row["fills"]} == {"SPOT", "USDM", "COINM"}
    assert result.summary()["without_vwap"] == []
