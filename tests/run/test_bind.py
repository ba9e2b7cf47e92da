"""A strategy's machine is verified before it is used, and once in a process."""

from __future__ import annotations

import pytest

from engine.run import bind
from engine.workflow.machine import MachineError

STRATEGY = "strategies.sweep"


def test_a_machine_is_verified_once(monkeypatch):
    seen: list[object] = []
    monkeypatch.setattr(bind, "check", seen.append)
    monkeypatch.setattr(bind, "_verified", type(bind._verified)())
    first = bind.machine_of(STRATEGY)
    assert bind.machine_of(STRATEGY) is first
    assert seen == [first]


def test_one_that_does_not_verify_is_refused_each_time(monkeypatch):
    def refuse(machine):
        raise MachineError(machine.name)

    monkeypatch.setattr(bind, "check", refuse)
    monkeypatch.setattr(bind, "_verified", type(bind._verified)())
    for _ in range(2):
        with pytest.raises(MachineError, match="sweep"):
            bind.machine_of(STRATEGY)
