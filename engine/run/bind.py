"""Binding: one strategy and the core become one compiled `step` and one compiled loop.

numba does not cache a function that takes another as an argument. So the few lines that join the core to a strategy are a
template, written out as a module that imports the strategy's `route` by name, and kept in the cache directory, whose
name hashes all sources. The core's parts stay ordinary modules, and the strategy's calls are direct (and inlined).

`bind(strategy)` returns the module. Its functions:

    step(state, events, i, outbox)                 the pure function: replay, verify, tests
    step_staged(state, events, i, outbox, stamps)  the same, which also reads the time stamp counter between its stages
    pump(...)                                      see engine.run.pump: events through journal, step and send
    duty_cycle(...)                                see engine.run.loop
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from engine.errors import TickrouteError
from engine.jit import CACHE_DIR

_TEMPLATE = Path(__file__).with_name("bound.py.in")


class BindError(TickrouteError):
    """A strategy that cannot be bound; names the module and what it lacks."""


def bind(strategy: str) -> ModuleType:
    """The bound module for a strategy, by its importable module name, e.g. "strategies.sweep"."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", strategy):
        raise BindError(f"routing.strategy = {strategy!r}: a Python module name such as strategies.sweep is needed")
    try:
        module = importlib.import_module(strategy)
    except ImportError as error:
        raise BindError(f"routing.strategy = {strategy!r}: cannot be imported: {error}") from error
    if not callable(getattr(module, "route", None)):
        raise BindError(f"routing.strategy = {strategy!r}: it has no kernel route(state, p, event, outbox)")
    name = "tickroute_bound_" + strategy.replace(".", "_")
    if name in sys.modules:
        return sys.modules[name]
    path = CACHE_DIR / f"{name}.py"
    text = _TEMPLATE.read_text(encoding="utf-8").replace("@STRATEGY@", strategy)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    bound = importlib.util.module_from_spec(spec)
    sys.modules[name] = bound
    spec.loader.exec_module(bound)
    return bound
