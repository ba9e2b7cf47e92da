"""Imports point down: cli > replay > gateways > strategies > engine, and the floors inside the engine.

Read from the syntax tree, so an import inside a function, under TYPE_CHECKING or through import_module("a.b") counts
like any other. Names that are put together at run time are not seen; the loop binds strategies that way, on purpose.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = ("cli", "engine", "gateways", "perf", "replay", "strategies")

#: Rooms, from the ground up. A room may import rooms on its own floor (but see APART) and below.
FLOORS = {
    "engine": 0,  # the package itself, jit and errors
    "engine.record": 1,
    "engine.core": 2,
    "engine.io": 2,
    "engine.workflow": 2,
    "engine.book": 3,
    "engine.run": 3,
    "strategies": 4,
    "gateways": 5,
    "replay": 6,
    "cli": 7,
}
#: Same floor, but the loop introduces them: meaning without bytes, bytes without meaning.
APART = {("engine.core", "engine.io"), ("engine.io", "engine.core")}
#: Outside the house: they may import any floor, and only the command may name the benchmarks.
OUTSIDE = {"perf": {"cli"}, "tests": set[str]()}
#: What would let step see more than its arguments: clocks, chance, threads, sockets.
IMPURE = {"datetime", "random", "secrets", "select", "socket", "threading", "time", "zmq"}


class Import(NamedTuple):
    """One import: where it stands, and the modules it may mean (from a import b: a and a.b)."""

    path: str
    line: int
    module: str


def room(module: str) -> str | None:
    """The room a module is in; None where it is not ours."""
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in FLOORS or name in OUTSIDE), None)


def imports_of(path: str, source: str) -> Iterator[Import]:
    """Every import in a file, relative ones resolved."""
    package = path.removesuffix(".py").removesuffix("/__init__").split("/")
    if not path.endswith("__init__.py"):
        package = package[:-1]
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(path, node.lineno, f"{module}.{alias.name}")
        elif isinstance(node, ast.Call) and node.args:
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if function in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield Import(path, node.lineno, str(first.value))


def problem(here: str, there: str) -> str | None:
    """Why `here` may not import `there`; None where it may."""
    if there == "cli":
        return "nothing imports cli"
    if there in OUTSIDE:
        return None if here in OUTSIDE[there] or here == there else f"{there} stands outside the house"
    if here in OUTSIDE:
        return None
    if (here, there) in APART:
        return "the loop introduces them"
    return "points up" if FLOORS[there] > FLOORS[here] else None


def violations(files: dict[str, str]) -> list[str]:
    """What is wrong with the imports of these files (path to source), a line each."""
    found = []
    edges: dict[tuple[str, str], Import] = {}
    for path, source in files.items():
        here = room(path.removesuffix(".py").replace("/", "."))
        assert here is not None, f"{path} is in no room: add its room to FLOORS"
        for item in imports_of(path, source):
            there = room(item.module)
            if here == "engine.core" and item.module.split(".")[0] in IMPURE:
                found.append(f"{path}:{item.line}: {item.module}: step sees nothing but its arguments")
            if there is None or there == here:
                continue
            why = problem(here, there)
            if why:
                found.append(f"{path}:{item.line}: {here} imports {item.module}: {why}")
            edges.setdefault((here, there), item)
    for (here, there), item in sorted(edges.items()):
        if here < there and (there, here) in edges and not (problem(here, there) or problem(there, here)):
            back = edges[there, here]
            found.append(f"{item.path}:{item.line} and {back.path}:{back.line}: {here} and {there} import each other")
    return found


def house() -> dict[str, str]:
    paths = [path for tree in TREES for path in sorted((ROOT / tree).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def test_imports_point_down():
    assert violations(house()) == []


@pytest.mark.parametrize(
    ("path", "source", "why"),
    [
        ("engine/run/loop.py", "import strategies.sweep", "points up"),
        ("engine/run/loop.py", "from strategies import sweep", "points up"),
        ("engine/jit.py", "import engine.record.records", "points up"),
        ("engine/record/units.py", "from engine.core import state", "points up"),
        ("engine/core/step.py", "from ..run import loop", "points up"),
        ("engine/core/step.py", "def f():\n    from engine.io.ring import Ring", "introduces"),
        ("engine/io/ring.py", "from engine.core.state import State", "introduces"),
        ("engine/core/step.py", "import time", "nothing but its arguments"),
        ("engine/core/step.py", "from random import random", "nothing but its arguments"),
        ("strategies/sweep.py", "import gateways", "points up"),
        ("gateways/feeds/taq.py", "import importlib\nimportlib.import_module('replay.verify')", "points up"),
        ("gateways/feeds/taq.py", "__import__('replay')", "points up"),
        ("replay/verify.py", "from cli.main import main", "nothing imports cli"),
        ("perf/core.py", "import cli.main", "nothing imports cli"),
        ("replay/report/pages.py", "import perf.core", "outside"),
        ("cli/demo.py", "from tests import modes", "outside"),
        ("engine/run/loop.py", "if TYPE_CHECKING:\n    from gateways.feeds.taq import Taq", "points up"),
    ],
)
def test_planted_violation_is_found(path, source, why):
    found = violations({path: source})
    assert len(found) == 1
    assert why in found[0]
    assert path in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cli/perf.py", "import perf.core, replay.verify, engine.run.loop"),
        ("perf/core.py", "from replay import verify\nfrom tests_of_others import x"),
        ("engine/run/loop.py", "from engine.core import step\nfrom engine.io import ring\nimport time"),
        (
            "engine/core/step.py",
            "from .state import State\nfrom ..record import records\nimport engine.jit",
        ),
        ("engine/core/orders.py", "from engine.workflow.machine import Machine"),
        ("gateways/feeds/__init__.py", "from . import taq\nfrom .. import venues"),
    ],
)
def test_allowed_import_is_allowed(path, source):
    assert violations({path: source}) == []


def test_rooms_on_one_floor_do_not_import_each_other():
    files = {
        "engine/core/orders.py": "import engine.workflow.machine",
        "engine/workflow/machine.py": "import engine.core.orders",
    }
    assert any("import each other" in line for line in violations(files))
