"""Sweeps on Ray: a local one gives the rows that processes give; where ray is not installed, the extra is named."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from cli.main import main
from replay import backtest
from replay.sweep.table import TIMING
from tests.sweep import desk


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    config = desk.written(tmp_path)
    [day, _] = desk.days(tmp_path, config)
    assert main(["sweep", str(config), str(day), "--ray", "local", "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'tickroute[ray]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: the extra tickroute[ray]")
@pytest.mark.filterwarnings("ignore")  # what ray and its clients deprecate is not ours
def test_a_local_ray(tmp_path):
    config = desk.written(tmp_path)
    days = desk.days(tmp_path, config)
    grid = {"routing.sweep.max_rounds": [1, 3]}
    here = backtest.sweep(config, grid, days, workers=1)
    there = backtest.sweep(config, grid, days, workers=2, ray="local")
    assert there["status"].to_pylist() == ["done"] * 4
    assert here.drop_columns(list(TIMING)).equals(there.drop_columns(list(TIMING)))
