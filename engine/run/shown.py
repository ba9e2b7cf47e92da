"""`step` with a look inside: a bound step and its turns as Python, with a call around each event of a workflow.

Explaining a decision needs the state at the moment at which it was made, in the middle of a step. The functions here
are not written again for that: they are the kernels' own source, run by the interpreter, with `fire` wrapped. All below
`fire` is the compiled code that made the decision.

Worst case: some hundred times slower than the bound step; it is for the inputs that someone asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from engine.core.state import Outbox, State
from engine.run.bind import Bound

#: Called before (False) and after (True) an event goes through the machine: (parent's slot, event, fired).
Look = Callable[[int, int, bool], None]


def shown(bound: Bound, look: Look) -> Callable[..., int]:
    """A step(state, events, i, outbox) that does what `bound.step` does, and calls `look` around each event."""
    turn = _source(bound.step).__globals__["turn"]
    names = _source(turn).__globals__
    fire = names["fire"]

    def shown_fire(state: State, p: int, event: int, outbox: Outbox) -> None:
        look(int(p), int(event), False)
        fire(state, p, event, outbox)
        look(int(p), int(event), True)

    requests = _again(names["_requests"], fire=shown_fire)
    return _again(bound.step, turn=_again(turn, fire=shown_fire, _requests=requests))


def _source(kernel: Any) -> FunctionType:
    """The Python function that a kernel was made of; itself where it is one."""
    function = getattr(kernel, "py_func", kernel)
    assert isinstance(function, FunctionType), f"{kernel!r} is no kernel"
    return function


def _again(kernel: Any, **names: Any) -> Callable[..., Any]:
    """The Python function of a kernel, with some of the names that it calls replaced."""
    function = _source(kernel)
    missing = set(names) - set(function.__code__.co_names)
    assert not missing, f"{function.__qualname__} does not call {missing}"
    return FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__)
