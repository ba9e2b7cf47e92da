"""Exploration finds nothing in what is shipped, and finds what is planted, by a short list of events.

What is planted is planted in a copy of the sources, which a process of its own explores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from engine.jit import JIT
from engine.run.outside import find
from engine.run.prove import prove, prove_once
from engine.workflow.explore import Exploration
from engine.workflow.explore_events import World
from engine.workflow.explore_records import Kind
from engine.workflow.machine import MachineError
from tests.workflow.shipped import SHIPPED

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.kernel


#: One that is compiled for these tests already; the others are explored as plain Python, and in `make torture`.
EXPLORED = ["strategies.sweep"] if JIT else SHIPPED
#: A strategy that takes at one venue, whatever comes back, MOST times.
AGAIN = '''"""Takes again what comes back."""

from engine.core.children import new_child
from engine.core.emit import left_of
from engine.core.state import NONE
from engine.jit import kernel
from engine.workflow.orders import CANCELED, NEW, WORKING, Event, order_machine, recall

SENT, GIVEN_UP = 0, 1


@kernel
def route(state, p, event, outbox):
    """All that is left, at the first venue."""
    parent = state.parents[p]
    parent.rounds += 1
    if parent.rounds > MOST:
        return GIVEN_UP
    child = new_child(state, outbox, p, 0, int(state.parent_orders[p].px), left_of(state, p), 51)
    return GIVEN_UP if child == NONE else SENT


machine = order_machine("again")
machine.on((NEW, WORKING), (Event.START, Event.CHILDREN_DONE), route, {SENT: WORKING, GIVEN_UP: CANCELED})
machine.compensate(route, by=recall)
'''


@pytest.mark.parametrize("strategy", EXPLORED)
def test_what_is_shipped_holds(strategy):
    most = 10**9 if JIT else 6_000
    for found in prove(strategy, "IOC", max_transitions=most):
        print(f"{found.name}: {found.counted}, {found.seconds:.1f} s")
        assert found.violated == "", "\n".join(found.counterexample)
        assert found.states > 1_000
        assert found.complete == JIT


@pytest.mark.skipif(JIT, reason="a strategy of its own compiles for a minute; as plain Python it is explored at once")
def test_a_strategy_that_routes_again_for_ever_is_caught(tmp_path):
    """Three children are explored; what it does with a fourth, and a thousandth, is found out all the same."""
    file = tmp_path / "again.py"
    file.write_text(AGAIN.replace("MOST", "1 << 30"), encoding="utf-8")
    (found,) = prove(str(file), "IOC", max_transitions=3_000)
    assert found.violated.startswith("it may re-route without end: every child is rejected at once, and after 1,024 ")
    assert len(found.counterexample) == 1 + 2 * 3, "three children come back, and there is a fourth"
    assert not found.good
    file.write_text(AGAIN.replace("MOST", "8"), encoding="utf-8")
    (found,) = prove(str(file), "IOC", max_transitions=300)
    assert (found.violated, found.children) == ("", 3)
    assert f"{found.cut:,} paths cut at 3 children" in found.counted
    assert found.cut > 0


@pytest.mark.skipif(not JIT, reason="thousands of transitions: compiled only")
def test_whatever_has_a_record_happens(monkeypatch):
    """Every kind of event is put in somewhere: without a mishap, or with one."""
    happened: set[Kind] = set()
    put = World.put

    def watched(self: World, code: int) -> None:
        happened.add(Kind(code >> 8))
        put(self, code)

    monkeypatch.setattr(World, "put", watched)
    for troubles in (0, 1):
        prove("strategies.sweep", "DAY, rests at the venue", troubles=troubles, max_transitions=3_000)
    assert set(Kind) - happened == set()


@pytest.mark.skipif(not JIT, reason="thousands of states: compiled only")
def test_the_shipped_sweep_holds_whatever_goes_wrong_once():
    for found in prove("strategies.sweep", "one mishap", max_transitions=50_000):
        assert found.violated == "", "\n".join(found.counterexample)
        assert found.states > 10_000


@pytest.mark.torture
@pytest.mark.skipif(not JIT, reason="millions of transitions: compiled only")
@pytest.mark.parametrize("strategy", SHIPPED)
def test_every_variant_of_the_shipped_strategies_is_explored_to_its_end(strategy):
    for found in prove(strategy):
        print(f"{found.name}: {found.counted}, {found.seconds:.1f} s")
        assert found.good, (found.violated, found.counterexample)


@pytest.mark.torture
@pytest.mark.skipif(not JIT, reason="millions of transitions: compiled only")
@pytest.mark.parametrize("variant", ["DAY", "GTC"])
def test_one_mishap_while_an_order_rests(variant):
    """Not to its end: two million transitions of each."""
    for found in prove("strategies.sweep", variant, troubles=1, max_transitions=2_000_000):
        print(f"{found.name}, one mishap: {found.counted}, {found.seconds:.1f} s")
        assert found.violated == "", "\n".join(found.counterexample)
        assert found.states > 100_000


def test_the_verdict_on_a_strategy_from_outside_is_kept_beside_its_kernels(tmp_path, monkeypatch):
    """Explored before the first start with it and not before the second; a changed one is another one."""
    mine = tmp_path / "mine.py"
    asked: list[str] = []

    def explore(strategy: str, only: str, **_: Any) -> list[Exploration]:
        asked.append(only)
        return [Exploration(name=only, complete=True, states=1)]

    monkeypatch.setattr("engine.run.prove.prove", explore)
    monkeypatch.setattr("engine.run.prove.JIT", True)
    for text in (uuid.uuid4().hex, uuid.uuid4().hex):
        mine.write_text(f"machine = {text!r}", encoding="utf-8")
        find(str(mine)).folder.mkdir(parents=True)
        asked.clear()
        for _ in range(2):
            prove_once(str(mine))
            assert asked == ["IOC", "GTC, rests at the engine"]
    assert prove_once("strategies.sweep") == []
    monkeypatch.setattr("engine.run.prove.prove", lambda *_, **__: [Exploration(name="x", violated="it is wrong")])
    mine.write_text(f"machine = {uuid.uuid4().hex!r}", encoding="utf-8")
    with pytest.raises(MachineError, match="it is wrong"):
        prove_once(str(mine))


def explored(tree: Path, strategy: str, only: str, **changes: Any) -> Any:
    """What exploration says in a copy of the sources, kernels as plain Python."""
    env = os.environ | {"PYTHONPATH": str(tree), "NUMBA_DISABLE_JIT": "1", "TICKROUTE_CACHE_DIR": str(tree / "cache")}
    text = json.dumps({"max_transitions": 20_000, **changes})
    done = subprocess.run(
        [sys.executable, "-m", "tests.workflow.planted", strategy, only, text],
        cwd=tree, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)[0]


@pytest.fixture
def tree(tmp_path):
    """A copy of the sources that exploration needs."""
    for name in ("engine", "strategies", "gateways", "tests/workflow"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests/__init__.py", tmp_path / "tests/__init__.py")
    return tmp_path


def plant(tree: Path, path: str, old: str, new: str) -> None:
    """Change one place of a copied source."""
    text = (tree / path).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    (tree / path).write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "old", "new", "why", "events"),
    [
        pytest.param(
            "engine/core/reports.py", "    child.leaves_qty -= taken\n", "",
            "leaves of a child are not ordered - executed - busted", 1, id="leaves stay after a fill",
        ),
        pytest.param(
            "engine/core/children.py", "    parent.live_qty -= child.leaves_qty\n", "",
            "live quantity is 3; its children's leaves are 1", 1, id="live quantity stays after an end",
        ),
        pytest.param(
            "engine/core/children.py", "        cancel_child(state, outbox, c)\n        return\n    mark_unknown",
            "        finish_child(state, outbox, c, _S_CANCELED, _R_TIMEOUT)\n        return\n    mark_unknown",
            "without a report that ends it", 1, id="a time-out releases quantity",
        ),
        pytest.param(
            "engine/core/reports.py", "    if report.cum_qty > child.cum_qty:\n", "    if child.cum_qty < 0:\n",
            "its venue owes the reports of 1", 1, id="an end that tells of more than was heard",
        ),
    ],
)  # fmt: skip
@pytest.mark.skipif(JIT, reason="explores plain kernels in a process of its own: once is enough")
def test_a_planted_fault_is_caught(tree, path, old, new, why, events):
    plant(tree, path, old, new)
    found = explored(tree, "strategies.sweep", "IOC")
    assert why in found["violated"]
    assert len(found["counterexample"]) == 1 + 2 * events, found["counterexample"]


@pytest.mark.skipif(JIT, reason="explores plain kernels in a process of its own: once is enough")
@pytest.mark.parametrize(("only", "events"), [("one mishap, IOC", 1), ("DAY, rests at the venue", 3)])
def test_a_fault_in_expiries_is_caught(tree, only, events):
    """One immediate child may expire; one that rests may at any time."""
    old = "    if kind == _X_EXPIRED:\n        status = _S_EXPIRED\n"
    plant(tree, "engine/core/reports.py", old, old.replace("= _S_EXPIRED", "= _S_REJECTED"))
    found = explored(tree, "strategies.sweep", only)
    assert "a step leads where its table says" in found["violated"]
    assert "expired, child" in found["counterexample"][-2]
    assert len(found["counterexample"]) == 1 + 2 * events, found["counterexample"]


@pytest.mark.skipif(JIT, reason="explores plain kernels in a process of its own: once is enough")
def test_a_greedy_strategy_is_caught(tree):
    shutil.copy(tree / "strategies/sweep.py", tree / "strategies/greedy.py")
    plant(tree, "strategies/greedy.py", "left = left_of(state, p)\n", "left = 2 * left_of(state, p)\n")  # fmt: skip
    found = explored(tree, "strategies.greedy", "IOC", quotes=[[10_000, 4], [10_001, 2]])
    assert "a workflow step failed" in found["violated"], "the core does not let it send more than is left"
