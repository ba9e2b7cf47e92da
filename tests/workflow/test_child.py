"""The child's machine: it verifies, what is planted in it is found, and the core looks up the table it declares."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from engine.core import child_table
from engine.core.lifecycle import STATES, ChildEvent
from engine.record.records import Reason
from engine.workflow import child, child_page
from engine.workflow.diagram import mermaid
from engine.workflow.drawing import svg
from engine.workflow.machine import MachineError
from engine.workflow.verify import verify

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_it_verifies_and_the_core_has_its_table():
    assert verify(child.machine) == []
    child.check_child()
    assert Path(child_table.__file__).read_text(encoding="utf-8") == child.source(), "python -m engine.workflow.child"
    assert len(child.machine.transitions) == len(STATES) * len(ChildEvent)


def without(state, event):
    """The machine without its answer to an event."""
    planted = copy.copy(child.machine)
    planted.transitions = [
        t for t in child.machine.transitions if t.state is not state or (event is not None and t.event != event)
    ]
    return planted


@pytest.mark.parametrize(
    ("state", "event", "rules"),
    [
        (child.UNKNOWN, ChildEvent.BUST, {"total"}),
        (child.FILLED, ChildEvent.FULL_FILL, {"total"}),
        (child.PENDING_CANCEL, ChildEvent.TIMEOUT, {"total", "timeout"}),
        (child.NEW, ChildEvent.ASK_CANCEL, {"total", "timeout"}),
    ],
)
def test_answer_that_is_missing_is_found(state, event, rules):
    findings = verify(without(state, event))
    assert {finding.rule for finding in findings} == rules
    for finding in findings:
        assert f"{state.name} x {event.name}" in str(finding)
        assert "engine/workflow/child.py:" in str(finding)


def test_replace_without_its_compensation_is_found():
    planted = copy.copy(child.machine)
    planted.compensations = []
    (finding,) = verify(planted)
    assert finding.rule == "compensation"
    assert "replace_child sends orders" in finding.text


def test_second_answer_and_refusal_of_what_nobody_asked_are_found():
    planted = copy.copy(child.machine)
    planted.transitions = list(child.machine.transitions)
    planted.refuse(child.NEW, ChildEvent.TIMEOUT, reason=Reason.NOT_IN_ORDER)
    assert {finding.rule for finding in verify(planted)} == {"deterministic", "refuse"}


def test_table_of_another_declaration_stops_the_engine(monkeypatch):
    old = child_table.STEP.copy()
    old[3] = 0
    monkeypatch.setattr(child_table, "STEP", old)
    with pytest.raises(MachineError, match=r"child_table.*python -m engine.workflow.child"):
        child.check_child()
    assert np.count_nonzero(old != child.dense()["STEP"]) == 1


def test_table_in_the_docs_is_that_of_the_machine():
    page = (DOCS / "lifecycle.md").read_text(encoding="utf-8")
    assert child_page.rewrite(page) == page, "python -m engine.workflow.child"
    told = " ".join(word for row in child_page.table().splitlines()[2:] for word in row.split("|")[2].split(","))
    assert sorted(told.split()) == sorted(t.state.name for t in child.machine.transitions), "every pair is there once"


def test_the_command_shows_and_checks_it(capsys, monkeypatch):
    assert main(["machine", "child", "--check", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["machine"], told["good"], told["findings"]) == ("child", True, [])
    assert len(told["transitions"]) == len(STATES) * len(ChildEvent)
    assert main(["machine", "child", "--table"]) == 0
    assert "ACK_PENDING" in capsys.readouterr().out
    monkeypatch.setattr(child.machine, "transitions", child.machine.transitions[1:])
    assert main(["machine", "child", "--check"]) == 1
    assert "PENDING_NEW x ACK_NEW has no answer" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "draw"), [("child.mmd", mermaid), ("child.svg", svg)])
def test_diagram_in_the_docs_is_that_of_the_machine(name, draw):
    drawn = (DOCS / "machines" / name).read_text(encoding="utf-8")
    assert drawn == draw(child.machine), f"tickroute machine child --diagram docs/machines/{name}"
