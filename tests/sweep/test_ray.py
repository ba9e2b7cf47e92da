"""Sweeps on Ray: a local one gives the rows that processes give; where ray is not installed, the extra is named."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest

from cli.main import main
from engine.errors import UsageError
from replay import backtest
from replay.sweep.cluster import check
from replay.sweep.table import TIMING
from tests.sweep import desk


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    config = desk.written(tmp_path)
    [day, _] = desk.days(tmp_path, config)
    assert main(["sweep", str(config), str(day), "--ray", "local", "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'tickroute[ray]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "is no address; name host:port"),
        ("127.0.0.1:99999", "is no address"),
        ("http://127.0.0.1:80", "is no address"),
        ("127.0.0.1:1", "nothing answers there"),
        ("ray://127.0.0.1:1", "nothing answers there"),
    ],
)
def test_an_address_is_checked_before_anything_runs(address, said):
    with pytest.raises(UsageError, match=said):
        check(address)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: the extra tickroute[ray]")
@pytest.mark.filterwarnings("ignore")  # what ray and its clients deprecate is not ours
def test_a_local_ray(tmp_path):
    config = desk.written(tmp_path)
    days = desk.days(tmp_path, config)
    grid = {"routing.sweep.max_rounds": [1, 3]}
    here = backtest.sweep(config, grid, days, workers=1)
    killed: list[int] = []

    def kill_one(now):
        if not killed and now.cells < 4:
            killed.extend(playing()[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    there = backtest.sweep(config, grid, days, workers=2, ray="local", progress=kill_one)
    assert there["status"].to_pylist() == ["done"] * 4
    assert here.drop_columns(list(TIMING)).equals(there.drop_columns(list(TIMING)))
    assert killed
    assert sum(there["attempts"].to_pylist()) == 4 + len(killed)


def playing():
    """Ray's workers below this process that are at a cell."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cmdline").read_bytes().startswith(b"ray::on_host") and os.getpid() in above(int(path.name)):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def above(pid):
    """The processes that a process comes from."""
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        yield pid
