"""`tickroute backtest`: a part of the captured day end to end, and every mistake told with its line and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import csv

from cli.main import main
from engine.errors import UsageError
from replay import backtest
from tests.feeds_path import feed_path

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = (DOCS / "backtest.toml").read_text(encoding="utf-8")


def written(folder, *changes):
    """The example with parts replaced, as a file."""
    text = EXAMPLE
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "bt.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def taq():
    """The captured day's files."""
    return [feed_path("taq", f"XXX_2018-01-02_{kind}.csv.gz") for kind in ("quotes", "trades")]


def test_a_part_of_the_captured_day(tmp_path, taq, capsys):
    part = (('from = ""', 'from = "15:00:00"'), ('to = ""', 'to = "15:05:00"'))
    path = written(tmp_path, *part, ("feeds = []", f"feeds = {[str(file) for file in taq]}"))
    told = tmp_path / "told.json"
    assert main(["backtest", str(path), "--out", str(tmp_path / "run"), "--orders", "25", "--json", str(told)]) == 0
    summary = json.loads(told.read_bytes())
    assert "25:" in capsys.readouterr().out
    assert sum(summary["parents"].values()) == 25
    assert summary["quantity"]["adds_up"]
    assert summary["fills"] > 5
    assert summary["from_utc"] >= "2018-01-02T15:00:00"
    assert summary["refusals"] == {}
    assert main(["verify", str(tmp_path / "run")]) == 0
    assert main(["status", str(tmp_path / "run")]) == 0
    page, figures = tmp_path / "r.html", tmp_path / "r.json"
    assert main(["report", str(tmp_path / "run"), "--html", str(page), "--json", str(figures)]) == 0
    found = json.loads(figures.read_bytes())
    assert found["verify"]["result"] == "identical"
    assert (found["parents"]["sent"], found["shares"]["adds_up"], found["agrees_with_core"]) == (25, True, True)
    assert found["shares"]["filled"] == summary["quantity"]["filled"]
    assert sum(row["fills"] for row in found["outcome"]["venues"]) == summary["fills"]
    assert [row["file"] for row in found["played"]] == [file.name for file in taq]
    text = page.read_text(encoding="utf-8")
    assert "verify: identical" in text
    assert taq[0].name in text
    terms = json.loads((tmp_path / "run" / "backtest.json").read_bytes())
    assert (terms["from"], terms["orders"], terms["seed"], terms["feed_latency_us"]) == ("15:00:00", 25, 1, 50)
    assert [row["bytes"] for row in terms["feeds"]] == [file.stat().st_size for file in taq]
    assert [row["records"] - row["given"] for row in summary["feeds"]] == [0, 12_614]
    assert summary["feeds"][1]["skipped"] == {"venue code is not configured": 12_614}
    result = backtest.read(tmp_path / "run")
    assert result.fills().num_rows == summary["fills"]
    again = backtest.run(path, taq, run_dir=tmp_path / "again", orders=25)
    assert again.journal_hash() == result.journal_hash()
    assert again.outcome is not None
    assert again.outcome.state_hash == summary["state_hash"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("orders = 500", "orders = -1"), "backtest.orders = -1: must be a whole number from 0 to 1000000"),
        (("orders = 500", "oders = 500"), "backtest.oders: unknown key; did you mean backtest.orders?"),
        (('from = ""', 'from = "9:30"'), 'backtest.from = "9:30": must be a time UTC, HH:MM:SS'),
        (('from = ""', 'from = "25:00:00"'), 'backtest.from = "25:00:00": hour must be in 0..23'),
        (("orders = 500", 'orders = 500\nparents = "p.csv"'), "backtest.orders = 500: backtest.parents names a file"),
        (("feed_latency_us = 50", 'feed_latency_us = "50"'), 'backtest.feed_latency_us = "50": must be a whole number'),
        (
            ("seed = 1 ", f"seed = {10**20} "),
            f"backtest.seed = {10**20}: must be a whole number from 0 to 4611686018427387903",
        ),
        (('max_qty = "50000"', 'max_qty = "0"'), 'risk.max_qty = "0": must be above 0'),
    ],
)
def test_mistakes_of_the_file(tmp_path, capsys, change, said):
    path = written(tmp_path, change)
    assert main(["backtest", str(path), "quotes.csv.gz"]) == 2
    line = 1 + path.read_text(encoding="utf-8")[: path.read_text(encoding="utf-8").index(change[1])].count("\n")
    error = capsys.readouterr().err
    assert said in error
    assert any(f"{path}:{n}: " in error for n in (line, line + 1))


def test_other_mistakes(tmp_path, taq, capsys):
    path = written(tmp_path)
    assert main(["backtest", str(path)]) == 2
    assert "backtest.feeds: there is none" in capsys.readouterr().err
    assert main(["backtest", str(path), str(tmp_path / "nothing.gz")]) == 1
    assert "nothing.gz" in capsys.readouterr().err
    assert main(["backtest", str(path), "a", "--parents", "b", "--orders", "3"]) == 2
    assert "give one of them" in capsys.readouterr().err
    path = written(tmp_path, ('from = ""', 'from = "2018-01-03T10:00:00"'))
    assert main(["backtest", str(path), *map(str, taq)]) == 2
    assert "no record of the feed lies in between" in capsys.readouterr().err
    path = written(tmp_path)
    assert main(["backtest", str(path), str(taq[0]), str(taq[0])]) == 2
    assert "is named twice" in capsys.readouterr().err
    path = written(tmp_path, ('symbol = "XXX"', 'symbol = "YYY"'))
    assert main(["backtest", str(path), *map(str, taq)]) == 1
    assert "rows can be used: symbol is not configured, first" in capsys.readouterr().err
    path = written(tmp_path, ('trading_day = "2018-01-02"', 'trading_day = "2019-01-02"'))
    assert main(["backtest", str(path), *map(str, taq)]) == 2
    assert "'2019-01-02': the feed begins at 2018-01-02 09:04:13 UTC" in capsys.readouterr().err
    path = written(tmp_path, ("parameters = {  }", "parameters = { nope = 1 }"))
    assert main(["backtest", str(path), *map(str, taq), "--out", str(tmp_path / "run")]) == 2
    assert "routing.parameters.nope" in capsys.readouterr().err
    assert not (tmp_path / "run").exists(), "what could not begin is no run"
    path = written(tmp_path, ("orders = 500", 'parents = "p.csv"'))
    (tmp_path / "p.csv").write_text("cl_ord_id,symbol,side,qty,px,account\nA,XXX,BUY,100,157,1\n")
    assert main(["backtest", str(path), *map(str, taq)]) == 2
    assert "account 1 is no client session's" in capsys.readouterr().err


def test_a_signal_is_traded_after(tmp_path, taq, capsys):
    part = (('from = ""', 'from = "15:00:00"'), ('to = ""', 'to = "15:05:00"'), ("orders = 500", "orders = 0"))
    signal = tmp_path / "signal.csv"
    signal.write_text("at,symbol,target\n15:01:00,XXX,1000\n15:02:00,XXX,400\n15:03:00,XXX,-200\n")
    path = written(tmp_path, *part, ('signal = ""', 'signal = "signal.csv"'))
    assert main(["backtest", str(path), *map(str, taq), "--out", str(tmp_path / "run")]) == 0
    result = backtest.read(tmp_path / "run")
    orders = result.orders()
    told = [orders[name].to_pylist() for name in ("cl_ord_id", "side", "qty", "ord_type")]
    assert list(zip(*told, strict=True)) == [
        ("S000002", "BUY", 1000, "MARKET"),
        ("S000003", "SELL", 600, "MARKET"),
        ("S000004", "SELL", 600, "MARKET"),
    ]
    [held] = result.positions().to_pylist()
    filled = orders["filled_qty"].to_pylist()
    assert held["qty"] == filled[0] - filled[1] - filled[2]
    assert sum(filled) > 0
    table = csv.read_csv(signal, convert_options=csv.ConvertOptions(column_types={"at": "string"}))
    again = backtest.run(written(tmp_path, *part), taq, run_dir=tmp_path / "again", signal=table.to_pydict())
    rows = [again.orders()[name].to_pylist() for name in ("side", "qty", "ord_type")]
    assert rows == told[1:]
    capsys.readouterr()
    assert main(["backtest", str(path), *map(str, taq), "--signal", str(signal), "--orders", "3"]) == 2
    assert "give one of them; a signal is where parents come from" in capsys.readouterr().err
    signal.write_text("at,symbol,target\n15:01:00,XXX,10.5\n")
    options = ["--signal", str(signal), "--out", str(tmp_path / "other")]
    assert main(["backtest", str(path), *map(str, taq), *options]) == 2
    assert f"{signal}:2: column target = '10.5': " in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    with pytest.raises(UsageError, match="a signal and other orders"):
        backtest.run(path, taq, run_dir=tmp_path / "other", signal=table, orders=3)
