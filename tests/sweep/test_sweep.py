"""Sweeps: the same rows whatever the number of workers and whoever dies, nothing left behind, everything told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from cli.main import main
from engine.jit import ROOT
from engine.record.records import Side, Template, blank
from gateways.feeds.recording import build, load
from replay import backtest
from replay.sweep import local
from replay.sweep.cell import Done
from replay.sweep.compare import rows
from replay.sweep.grid import Axis
from replay.sweep.page import Facts, page
from replay.sweep.run import plan, sweep
from replay.sweep.table import COLUMNS, TIMING
from tests.sweep import desk


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """(configuration, days)."""
    folder = tmp_path_factory.mktemp("days")
    config = desk.written(folder)
    return config, desk.days(folder, config)


@pytest.fixture(scope="module")
def swept(asked, tmp_path_factory):
    """The whole sweep by the command, on two workers: (exit code, directory, its JSON)."""
    config, days = asked
    out = tmp_path_factory.mktemp("swept")
    grid = [f"--grid={key}={','.join(map(str, values))}" for key, values in desk.GRID.items()]
    more = ["--seeds", "1..2", "--workers", "2", "--out", str(out / "a"), "--json", str(out / "told.json")]
    code = main(["sweep", str(config), *map(str, days), *grid, *more])
    return code, out / "a", json.loads((out / "told.json").read_bytes())


def timeless(table):
    return table.drop_columns(list(TIMING))


def in_bytes(table, path):
    pq.write_table(timeless(table), path, compression="zstd")
    return path.read_bytes()


def test_a_row_a_cell_in_the_grids_order(swept):
    code, out, told = swept
    assert code == 0
    table = pq.read_table(out / "sweep.parquet")
    assert table.schema.names[1:3] == list(desk.GRID)
    assert [name for name in table.schema.names if name not in desk.GRID] == [name for name, _, _ in COLUMNS]
    keys = zip(*(table[name].to_pylist() for name in (*desk.GRID, "day", "seed")), strict=True)
    wanted = [
        (rounds, rest, f"2018-01-0{day}", seed)
        for rounds in (1, 3)
        for rest in ("engine", "venue")
        for day in (2, 3)
        for seed in (1, 2)
    ]
    assert list(keys) == wanted
    assert table["status"].to_pylist() == ["done"] * 16
    assert table["parents"].to_pylist() == [30] * 16
    assert len(set(table["journal_hash"].to_pylist())) == 16
    assert (told["cells"], told["failed"], told["retries"]) == (16, [], 0)
    assert not (out / "cells").exists()


def test_a_cell_is_the_backtest_that_it_says(swept, asked, tmp_path):
    table = pq.read_table(swept[1] / "sweep.parquet")
    config = desk.written(tmp_path, ("max_rounds = 4", "max_rounds = 3"), ('trading_day = "2018-01-02"', ""))
    result = backtest.run(config, [asked[1][1]], run_dir=tmp_path / "run", seed=2)
    row = table.slice(8 + 3, 1).to_pylist()[0]
    assert (row["day"], row["seed"], row["routing.sweep.max_rounds"]) == ("2018-01-03", 2, 3)
    assert row["journal_hash"] == result.journal_hash()
    assert result.outcome is not None
    assert row["state_hash"] == result.outcome.state_hash
    summary = result.summary()
    assert row["shortfall_with_fees_bps"] == summary["shortfall_with_fees_bps"]
    assert row["fills"] == summary["fills"] == HdrHistogram.decode(row["order_to_fill_hdr"]).get_total_count()
    columns = (result.orders()["order_id"], result.orders()["time"].cast("int64"))
    orders = dict(zip(*(column.to_pylist() for column in columns), strict=True))
    fills = result.fills()
    waits = sorted(
        at - orders[parent]
        for at, parent in zip(fills["time"].cast("int64").to_pylist(), fills["parent_id"].to_pylist(), strict=True)
    )
    assert row["order_to_fill_p99_ns"] == pytest.approx(waits[round(0.99 * len(waits) + 0.5) - 1], rel=0.01)


def test_what_the_venues_could_not_do_is_told(asked, tmp_path, capsys):
    """Levels in a recording are of no concern to venues that have touches alone."""
    day = load(asked[1][0])
    levels = np.repeat(blank(Template.LEVEL, 1), 7)
    levels["venue_id"], levels["instrument_id"], levels["side"] = 0, 0, Side.BUY
    levels["px"], levels["qty"] = 1_000_000, 100
    levels["ts_event_ns"] = day.first_ns
    build([day.records(Template.QUOTE), levels], day.names).save(tmp_path / "day.rec")
    config = desk.written(tmp_path, ('trading_day = "2018-01-02"', ""))
    more = ["--grid=simulation.depth=true,false", "--out", str(tmp_path / "out"), "--json", str(tmp_path / "told.json")]
    assert main(["sweep", str(config), str(tmp_path / "day.rec"), "--workers", "1", *more]) == 0
    told = json.loads((tmp_path / "told.json").read_bytes())["combinations"]
    ignored = {row["values"]["simulation.depth"]: row["losses"]["ignored"] for row in told}
    assert ignored == {True: 0, False: 7}
    table = pq.read_table(tmp_path / "out" / "sweep.parquet").to_pylist()
    assert [(row["ignored"], row["curbed"], row["broken"]) for row in table] == [(0, 0, None), (7, 0, None)]
    page = (tmp_path / "out" / "sweep.html").read_text(encoding="utf-8")
    assert "7 records were of no concern" in page
    assert "at venues 7 records were of no concern" in capsys.readouterr().out


def test_books_without_room_are_named():
    """Of two cells of a combination; the same book once."""
    figures = dict.fromkeys(("shortfall_with_fees_bps", "shortfall_bps", "fill_rate", "fees", "fills"))
    cells = [
        (0, "a", n, Done(n, figures=figures | {"curbed": 2, "broken": broken}))
        for n, broken in enumerate(("XNAS AA, XNYS BB", "XNYS BB, XNYS CC", None))
    ]
    found = rows([(1,)], cells)[0]
    assert found.losses == (6, 0, 0, 0, ("XNAS AA", "XNYS BB", "XNYS CC"))
    text = page([Axis("k", (1,), ((),))], [found], Facts("c", "s", ("a",), (0,), (), 0, ""))
    assert "books without room in 1 combination<" in text
    assert "6 orders took fewer levels than there were" in text
    assert "XNAS AA, XNYS BB, XNYS CC" in text


def test_the_number_of_workers_does_not_matter(swept, asked, tmp_path):
    config, days = asked
    table = backtest.sweep(config, desk.GRID, days, seeds=desk.SEEDS, workers=1, out=tmp_path / "b")
    assert in_bytes(table, tmp_path / "one") == in_bytes(pq.read_table(swept[1] / "sweep.parquet"), tmp_path / "two")
    assert (tmp_path / "b" / "sweep.html").read_bytes() == (swept[1] / "sweep.html").read_bytes()
    assert (tmp_path / "b" / "sweep.hlog").read_bytes() == (swept[1] / "sweep.hlog").read_bytes()


def test_histograms_of_cells_are_added_exactly(swept):
    table = pq.read_table(swept[1] / "sweep.parquet").to_pylist()
    log = HistogramLogReader(str(swept[1] / "sweep.hlog"), HdrHistogram(1, 3_600_000_000_000, 3))
    merged = {}
    while (one := log.get_next_interval_histogram()) is not None:
        merged[one.get_tag()] = one
    log.close()
    for n in range(4):
        for name in ("order_to_fill", "slippage_cost", "slippage_gain"):
            total = HdrHistogram(1, 3_600_000_000_000, 3)
            for row in table[4 * n : 4 * n + 4]:
                total.add(HdrHistogram.decode(row[f"{name}_hdr"]))
            assert total.encode() == merged[f"{name}.{n}"].encode()
        fills = sum(row["fills"] for row in table[4 * n : 4 * n + 4])
        assert merged[f"order_to_fill.{n}"].get_total_count() == fills
        sides = [merged[f"slippage_{side}.{n}"].get_total_count() for side in ("cost", "gain")]
        assert 0 < sum(sides) <= fills


def test_the_page_needs_nothing_else_and_ranks_by_cost(swept):
    _, out, told = swept
    page = (out / "sweep.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://www.w3.org", "")
    assert page.count("<svg") == 3
    assert len(page) < 300_000
    costs = [row["cost"]["mean"] for row in told["combinations"]]
    assert costs == sorted(costs)
    assert told["combinations"][0]["difference"] is None
    table = pq.read_table(out / "sweep.parquet").to_pylist()
    best, second = (row["values"] for row in told["combinations"][:2])
    of = [[row for row in table if {key: row[key] for key in desk.GRID} == values] for values in (best, second)]
    apart = [b["shortfall_with_fees_bps"] - a["shortfall_with_fees_bps"] for a, b in zip(*of, strict=True)]
    assert told["combinations"][1]["difference"]["mean"] == pytest.approx(sum(apart) / 4)


def test_a_combination_without_a_figure_comes_last():
    found = rows([(1,), (2,)], [])
    assert [(row.values, row.cost, row.cells) for row in found] == [((1,), None, 0), ((2,), None, 0)]


def workers_of(pid):
    """Living workers that a process started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if b"replay.sweep.worker" in words and str(pid).encode() in words and state != "Z":
            found.append(int(path.name))
    return found


def test_a_worker_that_is_killed_is_replaced(swept, asked, tmp_path, monkeypatch):
    """One is killed once; cell 3 kills every one that it is given to, and fails alone."""
    config, days = asked
    give = local._Worker.give

    def deadly(worker, task):
        give(worker, task)
        if task.what == "play" and task.cell.number == 3:
            os.kill(worker.process.pid, signal.SIGKILL)

    monkeypatch.setattr(local._Worker, "give", deadly)
    made = plan(config, {key: values[:1] for key, values in desk.GRID.items()}, days, desk.SEEDS)
    killed: list[int] = []

    def watch(now):
        if not killed and 0 < now.cells < 2:
            killed.append(workers_of(os.getpid())[0])
            os.kill(killed[0], signal.SIGKILL)

    done = sweep(made, tmp_path / "c", workers=2, watch=watch)
    assert killed
    assert done.retries == 1 + local.RETRIES
    attempts = done.table["attempts"].to_pylist()
    assert (sorted(attempts[:3]), attempts[3]) == ([1, 1, 2], 1 + local.RETRIES)
    assert timeless(done.table)[:3].equals(timeless(pq.read_table(swept[1] / "sweep.parquet"))[:3])
    [(number, _, _, why)] = done.failed
    assert number == 3
    assert "its worker died 3 times, at last killed by SIGKILL" in why
    assert "3 begun again: a worker died" in (tmp_path / "c" / "sweep.html").read_text()
    assert workers_of(os.getpid()) == []


def test_a_cell_that_fails_is_told_and_the_others_go_on(asked, tmp_path, capsys):
    config, days = asked
    data = bytearray(days[1].read_bytes())
    data[len(data) // 2] ^= 1
    bad = tmp_path / days[1].name
    bad.write_bytes(data)
    command = ["sweep", str(config), str(days[0]), str(bad), "--workers", "1", "--out", str(tmp_path / "e")]
    assert main(command) == 1
    said = capsys.readouterr().out
    assert "1 of 2 cells failed" in said
    assert "failed: cell 1, 2018-01-03, seed 1:" in said
    assert bad.name in said
    table = pq.read_table(tmp_path / "e" / "sweep.parquet")
    assert table["status"].to_pylist() == ["done", "failed"]
    assert table["shortfall_bps"].to_pylist()[1] is None
    assert "1 of 2 cells failed" in (tmp_path / "e" / "sweep.html").read_text()
    assert main(command) == 2
    assert "a sweep is there already" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left(asked, tmp_path, number):
    config, days = asked
    command = [sys.executable, "-m", "cli.main", "sweep", str(config), str(days[0]), "--seeds", "0..99"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    going = subprocess.Popen(
        [*command, "--out", str(tmp_path / "f")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
    )
    until = time.monotonic() + 60
    while not workers_of(going.pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert workers_of(going.pid)
    going.send_signal(number)
    said, _ = going.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert going.returncode == 130, said
        assert b"no process is left" in said
        assert not (tmp_path / "f" / "cells").exists()
    while workers_of(going.pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert workers_of(going.pid) == []
