"""A strategy in a file of the user, named in the TOML, run by `tickroute run`: real processes.

What is edited between two runs is what runs, what does not verify does not start: kernels as plain Python. Compiled:
an edit of the strategy and one of its helper alone, with kernels cached by the process before (each bound whole and run
in torture), and a strategy that breaks a rule in the exploration, which does not start.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cli.demo_config import demo_toml
from cli.demo_processes import Processes
from engine.io.journal_reader import JournalReader
from engine.jit import JIT, cache_at
from engine.record.records import OrdStatus, Side, Tif
from engine.run import manifest
from engine.run.bind import machine_of
from engine.run.config import load
from engine.run.outside import find
from gateways.orders.client import OrderClient

ROOT = Path(__file__).resolve().parents[2]
#: A plain engine's start, and a compiled one's: the strategy is bound anew, on a busy machine.
START_S, COMPILE_S = 60.0, 500.0
GIVE_BACK = '''"""Gives every order back; helper.py says how."""

from engine.jit import kernel
from engine.workflow.orders import CANCELED, NEW, WORKING, Event, order_machine
from helper import ANSWER

GIVEN_UP = 0


@kernel
def decide(state, p, event, outbox):
    """Nothing is routed."""
    return ANSWER


machine = order_machine("mine")
machine.on(NEW, Event.START, decide, {GIVEN_UP: CANCELED})
machine.on(WORKING, Event.CHILDREN_DONE, decide, {GIVEN_UP: CANCELED})
'''
#: It does first what helper.py says, and gives up next; to wait is to wait ten seconds.
PATIENT = '''"""Waits, and then gives the order back."""

from engine.jit import kernel
from engine.workflow.machine import after_ms
from engine.workflow.orders import CANCELED, NEW, WORKING, Event, order_machine
from helper import first

WAIT, GIVEN_UP = 0, 1


@kernel
def decide(state, p, event, outbox):
    """As the helper says at first, then give up."""
    return first() if event == 0 else GIVEN_UP


machine = order_machine("mine")
HELD = machine.state("HELD", timeout=after_ms(10_000))
machine.on(NEW, Event.START, decide, {WAIT: HELD, GIVEN_UP: CANCELED})
machine.on(WORKING, Event.CHILDREN_DONE, decide, {GIVEN_UP: CANCELED, WAIT: HELD})
machine.on(HELD, Event.TIMEOUT, decide, {WAIT: HELD, GIVEN_UP: CANCELED})
machine.ignore(HELD, Event.CHILDREN_DONE, why="no child is live in it")
'''
HELPER = """from engine.jit import kernel

ANSWER, WAIT, GIVEN_UP = 0, 0, 1


@kernel
def first():
    return WAIT
"""
HASTY = HELPER.replace("return WAIT", "return GIVEN_UP")
#: It verifies as a declaration; what it sends shows when it runs.
GREEDY = '''"""Sends twice what is left."""

from engine.core.children import new_child
from engine.core.emit import left_of
from engine.jit import kernel
from engine.record.records import Tif
from engine.workflow.orders import NEW, WORKING, Event, order_machine, recall

SENT = 0
_IOC = int(Tif.IOC)


@kernel
def take(state, p, event, outbox):
    """All at the first venue, and as much again."""
    new_child(state, outbox, p, 0, int(state.parent_orders[p].px), 2 * left_of(state, p), _IOC)
    return SENT


machine = order_machine("greedy")
machine.on(NEW, Event.START, take, {SENT: WORKING})
machine.on(WORKING, Event.CHILDREN_DONE, take, {SENT: WORKING})
machine.compensate(take, by=recall)
'''
#: Calls the step `decide` of a strategy as it was declared; prints what it answers, and whether it came from the cache.
PROBE = """
import json, sys
from engine.run.bind import machine_of
(step,) = {t.step for t in machine_of(sys.argv[1]).transitions if getattr(t.step, "__name__", "") == "decide"}
print(json.dumps([int(step(0, 0, 0, 0)), sum(step.stats.cache_hits.values())]))
"""
pytestmark = pytest.mark.skipif(not JIT, reason="processes of their own: once is enough")


@pytest.fixture
def desk(tmp_path):
    """A folder with desk.toml, which names mine/give.py; engines are started in it by `run`."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/give.py").write_text(GIVE_BACK, encoding="utf-8")
    (tmp_path / "mine/helper.py").write_text(HELPER, encoding="utf-8")
    return tmp_path


def plain(folder: Path) -> dict[str, str]:
    """The environment of an engine that does not compile."""
    return {"NUMBA_DISABLE_JIT": "1", "TICKROUTE_CACHE_DIR": str(folder / "cache")}


def write_toml(folder: Path, name: str, sockets: Path) -> Path:
    """The configuration of a run NAME; the strategy's path is relative to it."""
    text = demo_toml(
        folder / name, sockets, day="2030-01-02", day_end="", orders=100, seed=1, stale_ms=1000, idle="park",
        strategy="mine/give.py",
    )  # fmt: skip
    toml = folder / "desk.toml"
    small = {
        'clock = "feed"': 'clock = "monotonic"',
        "parents = 1024": "parents = 16",
        "children = 16384": "children = 16",
    }
    for old, new in small.items():
        text = text.replace(old, new)
    toml.write_text(text, encoding="utf-8")
    return toml


def answer(folder: Path, name: str, env: dict[str, str], start_s: float = START_S) -> OrdStatus:
    """Run the engine, send it one order, and say what the order is half a second after it was accepted or ended."""
    (folder / name).mkdir()
    with Processes(folder / name) as processes:
        toml = write_toml(folder, name, processes.sockets)
        with pytest.MonkeyPatch.context() as patch:
            for key, value in env.items():
                patch.setenv(key, value)
            processes.start("engine", "run", str(toml))
        client = OrderClient(load(toml).orders.endpoint, "desk", peer_timeout_ms=2000)
        try:
            wait(lambda: client.up, client, processes, start_s)
            order = client.new("A", instrument_id=0, side=Side.BUY, qty=100, px=1_000_000, tif=Tif.DAY)
            wait(lambda: order.ord_status != OrdStatus.PENDING_NEW, client, processes)
            until = time.monotonic() + 0.5
            wait(lambda: time.monotonic() > until or order.ord_status != OrdStatus.NEW, client, processes)
        finally:
            client.close()
        processes.stop("engine")
        return OrdStatus(order.ord_status)


def wait(done, client: OrderClient, processes: Processes, seconds: float = START_S) -> None:
    until = time.monotonic() + seconds
    while not done():
        client.poll(0.01)
        processes.check()
        assert time.monotonic() < until, processes.said("engine")


def tickroute(*arguments: str, env: dict[str, str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip


def edited(desk: Path, env: dict[str, str], start_s: float = START_S) -> None:
    """Three runs: as it is, with another strategy, with another helper of the same strategy."""
    assert answer(desk, "first", env, start_s) == OrdStatus.CANCELED
    (desk / "mine/give.py").write_text(PATIENT, encoding="utf-8")
    assert answer(desk, "second", env, start_s) == OrdStatus.NEW, "the new code waits"
    (desk / "mine/helper.py").write_text(HASTY, encoding="utf-8")
    assert answer(desk, "third", env, start_s) == OrdStatus.CANCELED, "the new helper does not"
    for name, texts in (("first", (GIVE_BACK, HELPER)), ("second", (PATIENT, HELPER)), ("third", (PATIENT, HASTY))):
        with JournalReader(desk / name) as reader:
            kept = manifest.from_bytes(reader.manifest).sources
        assert kept == dict(zip(("give.py", "helper.py"), texts, strict=True)), "a replay needs no file of the user's"
    again = tickroute("verify", str(desk / "second"), env=env, timeout_s=start_s)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "identical" in again.stdout


def test_what_was_edited_between_two_runs_is_what_runs(desk):
    edited(desk, plain(desk))


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_what_was_edited_between_two_runs_is_what_runs_compiled(desk):
    edited(desk, {}, COMPILE_S)


def test_what_another_process_compiled_before_an_edit_is_not_found_again(desk):
    """numba's cache looks at one file's text and time: not at a helper's, whose code is part of its callers'."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "TICKROUTE_CACHE_DIR": str(desk / "cache")}

    def life() -> tuple[int, int]:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(desk / "mine/give.py")], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outcome, hits = json.loads(done.stdout)
        return outcome, hits

    (desk / "mine/give.py").write_text(PATIENT, encoding="utf-8")
    assert life() == (0, 0)
    assert life() == (0, 1), "what did not change is loaded"
    (desk / "mine/helper.py").write_text(HASTY, encoding="utf-8")
    assert life() == (1, 0), "the helper alone was edited"
    (desk / "mine/give.py").write_text(PATIENT.replace("first() if event == 0 else", ""), encoding="utf-8")
    (desk / "mine/helper.py").write_text(HELPER, encoding="utf-8")
    assert life() == (1, 0), "the strategy was edited"


def fails(folder: Path, env: dict[str, str], timeout_s: float = START_S) -> str:
    """What `tickroute run` says when it does not start."""
    done = tickroute("run", str(write_toml(folder, "run", folder)), env=env, timeout_s=timeout_s)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "run/journal").exists(), "nothing was begun"
    return done.stderr


def line_of(text: str, part: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)


def test_what_does_not_verify_does_not_start(desk):
    text = PATIENT.replace(", timeout=after_ms(10_000)", "").replace("machine.ignore(HELD", "#")
    (desk / "mine/give.py").write_text(text, encoding="utf-8")
    said = fails(desk, plain(desk))
    place = f"{desk}/mine/give.py:{line_of(text, 'machine.state(')}"
    assert "machine mine does not verify" in said
    assert f"{place}: HELD waits without a time-out" in said
    assert f"{place}: HELD x CHILDREN_DONE has no answer" in said


def test_what_the_exploration_refutes_does_not_start(desk):
    """Compiled, as it would trade."""
    (desk / "mine/give.py").write_text(GREEDY, encoding="utf-8")
    said = fails(desk, {}, COMPILE_S)
    assert f"error: strategy {desk}/mine/give.py does not hold (IOC, rests at the engine): a workflow step" in said
    assert re.search(r"the shortest way there:\n +parent CANCELED FAILED: ordered 3, cum 0, live 0\n", said)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "give.py: No such file or directory; name a Python file that can be read"),
        ("x = = 1\n", "give.py: invalid syntax"),
        ("x = 1\n", "has no `machine`; make one"),
        ("import helper\nhelper.nothing()\n", "AttributeError: module 'helper' has no attribute 'nothing' at {file}:2"),
    ],
)
def test_a_file_that_is_no_strategy_is_told_with_its_name_and_line(desk, text, why):
    file = desk / "mine/give.py"
    file.unlink() if text is None else file.write_text(text, encoding="utf-8")
    assert why.format(file=file) in fails(desk, plain(desk))


def test_an_edited_file_is_another_strategy_in_one_process_too(tmp_path):
    file = tmp_path / "give.py"
    (tmp_path / "helper.py").write_text(HELPER, encoding="utf-8")
    file.write_text(PATIENT, encoding="utf-8")
    assert [state.name for state in machine_of(str(file)).states][-1] == "HELD"
    file.write_text(PATIENT.replace("HELD", "KEPT"), encoding="utf-8")
    assert [state.name for state in machine_of(str(file)).states][-1] == "KEPT"


def test_a_files_kernels_check_the_bounds_of_what_they_index(tmp_path):
    """Compiled too: what lies behind a table is not read, and the step has failed."""
    file = tmp_path / "reads.py"
    text = "from engine.jit import kernel\n\n\n@kernel\ndef read(values, place):\n    return values[place]\n"
    file.write_text(text, encoding="utf-8")
    found = find(str(file))
    with cache_at(found.folder):
        read = found.load().read
    memory = np.arange(8)
    assert [read(memory[:2], place) for place in (0, 1, -1)] == [0, 1, 1]
    with pytest.raises(IndexError):
        read(memory[:2], 5)
    assert read.signatures
