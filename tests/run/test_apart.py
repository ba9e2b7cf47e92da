"""What is set apart is in no caller's module: the core's machine code is there once."""

from __future__ import annotations

from typing import Any

import numba
import pytest

from engine.core.state import Events, Outbox, State
from engine.core.step import apply, begin
from engine.jit import JIT
from engine.run.bind import bind
from gateways.venues import apart

pytestmark = pytest.mark.skipif(not JIT, reason="nothing is compiled")


def test_a_caller_holds_a_call_and_not_the_code():
    bound: Any = bind("strategies.sweep").step
    step = numba.njit(nogil=True)(bound.py_func)  # not from the cache, which keeps no text
    kinds: list[Any] = [State, Events, Outbox]
    state, events, outbox = (kind._numba_type_ for kind in kinds)
    step.compile((state, events, numba.types.int64, outbox))
    (text,) = step.inspect_llvm().values()
    for kernel in (begin, apply):
        symbol = f"@tickroute.engine.core.step.{kernel.__name__}("
        lines = [line for line in text.splitlines() if symbol in line]
        assert [line for line in lines if line.startswith("declare")]
        assert [line for line in lines if "call" in line]
        assert not [line for line in lines if line.startswith("define")]
    assert "seal" in text, "what is not set apart is there"
    assert "on_position_load" not in text


def test_the_venues_set_apart_what_is_theirs_alone(monkeypatch):
    """A kernel that is called without an Exchange as well, in a process that never settles, would not find it."""
    found = []
    monkeypatch.setattr(apart, "set_apart", lambda dispatcher, *kinds: found.append(dispatcher.py_func.__module__))
    apart.settle()
    assert found
    assert all(module.startswith("gateways.venues.") for module in found)
