"""`docs/backtest-es.toml`: orders routed over a day of ES, order by order, played twice, verified and told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import main
from engine.jit import JIT
from replay import backtest
from tests.feeds_path import feed_path

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "backtest-es.toml"


@pytest.mark.skipif(not JIT, reason="a day of 68,792 rows, compiled")
def test_a_routed_day_of_es(tmp_path, capsys):
    day, run, told = feed_path("dbn", "esh4-glbx-mdp3-20231225.mbo.dbn.zst"), tmp_path / "run", tmp_path / "told.json"
    assert main(["backtest", str(EXAMPLE), str(day), "--out", str(run), "--json", str(told)]) == 0
    summary = json.loads(told.read_bytes())
    assert sum(summary["parents"].values()) == 100
    assert summary["quantity"]["adds_up"]
    assert summary["fills"] > 20
    (fed,) = json.loads((run / "backtest.json").read_bytes())["feeds"]
    assert fed["skipped"] == {"a fill of an order that does not rest": 7}
    assert (fed["unfollowed"], fed["gaps"], fed["negative"]) == (0, 0, 0)
    assert fed["deep"] > 60_000
    assert main(["verify", str(run)]) == 0
    capsys.readouterr()
    result = backtest.read(run)
    fills = result.fills().to_pylist()
    assert all(float(fill["px"] * 4).is_integer() for fill in fills)
    assert all(fill["notional"] == pytest.approx(fill["px"] * fill["qty"] * 50) for fill in fills)
    again = backtest.run(EXAMPLE, [day], run_dir=tmp_path / "again")
    assert again.journal_hash() == result.journal_hash()
