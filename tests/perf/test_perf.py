"""The benchmarks in a few seconds each: every row of the format, no record refused. No figure is asserted.

Those that start many processes or compile drivers of their own are torture tests.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from cli import main as cli
from engine.core.limits import Limits
from engine.core.state import allocate
from engine.io.histogram import empty, record
from engine.jit import ROOT
from perf import BENCHES
from perf.memory import PARTS, computed
from perf.result import Row, at_least, at_most, commit, spread

# With an empty kernel cache the drivers are compiled beside the engine, on a loaded machine for minutes.
pytestmark = pytest.mark.timeout(900)
FIELDS = ["name", "unit", "p50", "p99", "p99_9", "max", "n", "baseline", "ratio", "reach", "met"]


def test_what_stands_in_for_the_journal_has_all_that_the_loop_imports_of_it():
    """`perf journal` writes loop and pump out again with `perf.unjournaled` in the journal's place."""
    from perf import unjournaled

    for part in ("loop", "pump"):
        tree = ast.parse((ROOT / "engine" / "run" / f"{part}.py").read_text(encoding="utf-8"))
        named = [
            name.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module == "engine.run.journaling"
            for name in node.names
        ]
        assert named
        assert set(named) <= set(unjournaled.__all__)


def run(name, tmp_path, *more):
    target = tmp_path / "found.json"
    assert cli.main(["perf", name, "--quick", "--json", str(target), *more]) == 0
    found = json.loads(target.read_text())
    assert found["bench"] == name
    assert found["host"]["machine"]["cpus"] >= 1
    assert found["rows"]
    names = [row["name"] for row in found["rows"]]
    assert len(set(names)) == len(names)
    for row in found["rows"]:
        assert list(row) == FIELDS
        assert row["name"].startswith(f"{name} ")
        assert row["unit"]
        assert row["met"] in (True, False, None)
        assert (row["met"] is None) == (row["reach"] is None)
    return {row["name"]: row for row in found["rows"]}


def test_core(tmp_path):
    rows = run("core", tmp_path)
    assert rows["core all"]["n"] > 10_000
    assert rows["core routing"]["n"] > 10
    assert 0 < rows["core all"]["p50"] <= rows["core all"]["p99"] <= rows["core all"]["max"]
    assert rows["core mean"]["reach"] == 200
    assert rows["core rate"]["p50"] > 0


@pytest.mark.torture
def test_risk(tmp_path):
    rows = run("risk", tmp_path)
    assert rows["risk gate"]["n"] == 10_000
    assert rows["risk gate"]["baseline"] > 0
    assert rows["risk added"]["reach"] == 60
    assert rows["risk routing"]["n"] > 10


@pytest.mark.torture
def test_wire(tmp_path):
    rows = run("wire", tmp_path)
    for name in ("wire ipc 1k", "wire ipc 10k", "wire tcp 10k", "wire shm 10k"):
        assert rows[name]["n"] > 10
        assert rows[name]["ratio"] > 0
        assert rows[f"{name} p99"]["baseline"] > 0
    assert rows["wire shm vs zmq"]["reach"] == 0.02


@pytest.mark.torture
def test_report(tmp_path):
    rows = run("report", tmp_path)
    assert rows["report make"]["p50"] > 0
    assert rows["report memory"]["p50"] > 50
    assert rows["report whole"]["baseline"] > 0


def test_steady(tmp_path):
    rows = run("steady", tmp_path)
    for end in ("", " 1k"):
        assert rows[f"steady allocations{end}"]["p50"] == 0
        assert rows[f"steady major-faults{end}"]["n"] > 100
        assert rows[f"steady p99 gil{end}"]["ratio"] > 0


def test_machine(tmp_path):
    rows = run("machine", tmp_path)
    assert rows["machine tickroute"]["reach"] == 3
    assert rows["machine undoable"]["p50"] > rows["machine tickroute"]["p50"]
    for name in set(rows) & {"machine transitions", "machine python-statemachine", "machine xstate"}:
        assert rows[name]["ratio"] > 10


@pytest.mark.torture
def test_recovery(tmp_path):
    rows = run("recovery", tmp_path)
    assert rows["recovery replay"]["reach"] == 5e6
    assert rows["recovery state snapshot"]["p50"] < rows["recovery ready snapshot"]["p50"]


@pytest.mark.torture
def test_journal(tmp_path):
    rows = run("journal", tmp_path)
    for level in ("process", "disk"):
        assert rows[f"journal append {level}"]["n"] == 4_000
        assert rows[f"journal append {level}"]["p50"] > 0
    assert rows["journal append process"]["baseline"] > 0
    assert rows["journal durable disk"]["n"] == 200
    assert rows["journal durable disk"]["p50"] > 1_000
    assert rows["journal core bare"]["n"] > 1_000
    assert rows["journal adds"]["reach"] == 50


def test_memory(tmp_path):
    rows = run("memory", tmp_path)
    for part in ("order", "workflow", "child"):
        assert rows[f"memory {part}"]["met"], part
        assert rows[f"memory {part}"]["p50"] == rows[f"memory {part}"]["baseline"] == computed(part)
    # Resident memory grows by pages, and the interpreter's own moves with it.
    for part in ("parent", "child"):
        row = rows[f"memory {part} resident"]
        assert row["p50"] == pytest.approx(row["baseline"], rel=0.1)


def test_every_table_that_grows_with_orders_is_counted():
    for what, parts in (("parents", ("order", "workflow")), ("children", ("child",))):
        small, large = (allocate(Limits(**{what: 1 << n})).arrays() for n in (10, 11))
        grown = {name: (large[name].nbytes - small[name].nbytes) / (1 << 10) for name in small}
        counted = {table: size for part in parts for table, size in PARTS[part].items()}
        assert {name: size for name, size in grown.items() if size} == counted


def test_make_perf_runs_all():
    makefile = (Path(__file__).resolve().parents[2] / "Makefile").read_text(encoding="utf-8")
    [listed] = [line.split("?=")[1].split() for line in makefile.splitlines() if line.startswith("BENCHES ?=")]
    assert sorted(listed) == sorted(BENCHES)


def test_list_names_each_benchmark(capsys):
    assert cli.main(["perf", "--list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in BENCHES)


@pytest.mark.parametrize("arguments", [["perf", "speed"], ["perf"]])
def test_unknown_benchmark(arguments, capsys):
    assert cli.main(arguments) == 2
    assert f"there are {', '.join(BENCHES)};" in capsys.readouterr().err


def test_a_row_of_a_histogram():
    counts = empty()
    for value in range(1, 1001):
        record(counts, value)
    row = spread("x y", "ns", counts)
    assert (row.p50, row.p99, row.max, row.n) == (500, 990, 1000, 1000)
    assert spread("x z", "ns", np.zeros_like(counts)).n == 0


def test_aims():
    row = Row(name="x y", unit="ns", p50=100.0)
    assert at_most(row, 100).met
    assert not at_most(row, 99).met
    assert at_most(Row(name="x y", unit="ns", p50=500.0, ratio=1.0), 1.05).met
    assert at_least(Row(name="x y", unit="x", p50=3.0, ratio=60.0), 50).met
    assert at_most(Row(name="x y", unit="ns"), 1.0).met is None


def test_commit_is_named():
    assert commit()
