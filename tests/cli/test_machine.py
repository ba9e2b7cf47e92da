"""`tickroute machine`, `demo --strategy`: what is shown, what is drawn, errors that name file, line and remedy."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from cli import main as cli
from cli.machine import show_explored
from cli.run import _prove
from engine.workflow.explore import Exploration

POUNCE = Path(__file__).resolve().parents[2] / "strategies" / "pounce.py"


def said(capsys, *arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command."""
    code = cli.main(list(arguments))
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return code, out.out, out.err


@pytest.fixture
def mine(tmp_path):
    """A copy of pounce that is the user's."""
    file = tmp_path / "pounce.py"
    file.write_text(POUNCE.read_text(encoding="utf-8"), encoding="utf-8")
    return file


@pytest.mark.parametrize("name", ["pounce", "strategies.pounce", "sweep", "child"])
def test_shows_a_shipped_machine(name, capsys):
    code, out, _ = said(capsys, "machine", name)
    assert code == 0
    assert "WORKING" in out or "PENDING_NEW" in out


def test_shows_a_file_as_data_and_draws_it(mine, tmp_path, capsys):
    code, out, _ = said(capsys, "machine", str(mine), "--json", "-")
    shown = json.loads(out)
    assert code == 0
    assert (shown["machine"], shown["good"], shown["findings"]) == ("pounce", True, [])
    assert shown["parameters"] == {"improvement": 1, "rounds": 3}
    (waiting,) = [state for state in shown["states"] if state["name"] == "WAITING"]
    assert waiting["timeout"] == "250 ms"
    (on_quote,) = [t for t in shown["transitions"] if (t["state"], t["event"]) == ("WAITING", "QUOTE")]
    assert on_quote["outcomes"] == {"WAIT": "WAITING", "SENT": "WORKING", "RESTED": "RESTING", "GIVEN_UP": "CANCELED"}
    lines = mine.read_text(encoding="utf-8").splitlines()
    assert (on_quote["file"], "WAITING, Event.QUOTE" in lines[on_quote["line"] - 1]) == (str(mine), True)
    for target in ("m.svg", "m.mmd"):
        assert said(capsys, "machine", str(mine), "--diagram", str(tmp_path / target))[0] == 0
        assert "WAITING" in (tmp_path / target).read_text(encoding="utf-8")
    code, _, error = said(capsys, "machine", str(mine), "--diagram", str(tmp_path / "m.png"))
    assert (code, ".svg or .mmd" in error) == (2, True)


@pytest.mark.parametrize(
    ("old", "new", "line", "why"),
    [
        ("timeout=after_ms(250), ", "", "WAITING = machine.state", "WAITING waits without a time-out"),
        ("machine.compensate(take, by=recall)", "", "machine.on(WAITING, Event.TIMEOUT",
         "WAITING x TIMEOUT: step take sends orders (new_child) and has no compensation"),
        ("machine.on(RESTING, Event.QUOTE, take, TAKEN)", "", "", "RESTING x QUOTE has no answer"),
        ("machine.ignore(WAITING", "machine.refuse(WAITING", "", "unexpected keyword argument 'why'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_state_event_and_line(mine, capsys, old, new, line, why):
    text = mine.read_text(encoding="utf-8")
    assert old in text
    mine.write_text(text.replace(old, new), encoding="utf-8")
    code, _, error = said(capsys, "machine", str(mine), "--check")
    assert code == 1
    assert why in error
    if line:
        number = next(n for n, row in enumerate(mine.read_text(encoding="utf-8").splitlines(), 1) if line in row)
        assert f"{mine}:{number}: " in error


@pytest.mark.parametrize("command", [("machine",), ("demo", "--strategy")])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file or directory; name a Python file that can be read"),
        ("def f(:\n", "invalid syntax"),
        ("x = 1\n", 'has no `machine`; make one: machine = order_machine("NAME")'),
        ("\nx = 1 / 0\n", "ZeroDivisionError: division by zero at {file}:2"),
        ("import no_such_module_here\n", "No module named 'no_such_module_here' at {file}:1"),
    ],
)
def test_a_file_that_is_no_strategy(tmp_path, capsys, command, text, why):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    code, _, error = said(capsys, *command, str(file))
    assert code == 1
    assert str(file) in error
    assert why.format(file=file) in error


@pytest.mark.parametrize(("name", "why"), [("nothing.here", "No module named"), ("a b", "a module's name"),
                                           ("json", "no file of Python")])  # fmt: skip
def test_a_name_that_is_no_module(name, why, capsys):
    code, _, error = said(capsys, "machine", name)
    assert (code, why in error) == (1, True)


@pytest.mark.parametrize("given", ["x=1", "rounds", "rounds=two"])
def test_demo_refuses_what_is_no_parameter(given, tmp_path, capsys):
    code, _, error = said(capsys, "demo", "--strategy", "pounce", "--parameter", given, "--out", str(tmp_path / "run"))
    assert code == 2
    assert f"--parameter {given}" in error
    assert not (tmp_path / "run").exists()


def test_paths_that_were_cut_are_told(monkeypatch):
    """By `machine --check`, and before a first start."""
    found = Exploration(name="IOC", complete=True, states=5, transitions=7, depth=2, cut=1204, children=3)
    monkeypatch.setattr("engine.run.prove.prove_once", lambda _: [found])
    out = Console(file=io.StringIO(), width=200)
    show_explored(out, found)
    show_explored(out, Exploration(name="FOK", complete=True, states=5, transitions=7, depth=2, children=3))
    _prove(out, "mine.py")
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().splitlines() == [
        "  IOC: holds; 5 states, 7 transitions, 1,204 paths cut at 3 children, 2 events deep, 0.0 s",
        "  FOK: holds; 5 states, 7 transitions, 2 events deep, 0.0 s",
        "mine.py, IOC: holds; 5 states, 7 transitions, 1,204 paths cut at 3 children, 0.0 s",
    ]
