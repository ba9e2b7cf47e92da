"""Binding: one strategy and the core become one compiled `step` and one compiled loop.

numba does not cache a function that takes another as an argument. So `bind` writes four of our own source files out
again, into a package in the cache directory, with one import line changed: `bound.py` then imports the strategy's
`route`, and `pump.py`, `loop.py` and `drive.py` import that `bound`. Everything else in them is as it is read in this
folder. The cache directory's name hashes all sources, so what is cached cannot be stale.

Worst case: a strategy that was never bound with these sources compiles for about a minute.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import TickrouteError
from engine.jit import CACHE_DIR

_HERE = Path(__file__).parent
_ROUTE_IMPORT = "from engine.workflow.null import route"
_MODULES = ("bound", "pump", "loop", "drive")


class BindError(TickrouteError):
    """A strategy that cannot be bound; names the module and what it lacks."""


class Bound(NamedTuple):
    """The compiled functions of one strategy; signatures are in engine.run.bound, .pump, .loop and .drive."""

    step: Callable[..., int]
    pump: Any
    loop: Any
    drive: Any


def bind(strategy: str) -> Bound:
    """The functions of a strategy, by its importable module name, e.g. "strategies.sweep"."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", strategy):
        raise BindError(f"routing.strategy = {strategy!r}: a Python module name such as strategies.sweep is needed")
    try:
        module = importlib.import_module(strategy)
    except ImportError as error:
        raise BindError(f"routing.strategy = {strategy!r} cannot be imported: {error}") from error
    if not callable(getattr(module, "route", None)):
        raise BindError(f"routing.strategy = {strategy!r} has no kernel route(state, p, event, outbox)")
    package = _package(strategy)
    folder = CACHE_DIR / package
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "__init__.py", f'"""The engine with {strategy} bound into it; written by engine.run.bind."""\n')
    for name in _MODULES:
        text = (_HERE / f"{name}.py").read_text(encoding="utf-8")
        text = text.replace(_ROUTE_IMPORT, f"from {strategy} import route")
        for other in _MODULES:
            text = text.replace(f"from engine.run.{other} import", f"from {package}.{other} import")
        _write(folder / f"{name}.py", text)
    if str(CACHE_DIR) not in sys.path:
        sys.path.append(str(CACHE_DIR))
    importlib.invalidate_caches()
    bound, pump, loop, drive = (importlib.import_module(f"{package}.{name}") for name in _MODULES)
    return Bound(step=bound.step, pump=pump, loop=loop, drive=drive)


def _package(strategy: str) -> str:
    return "bound_" + strategy.replace(".", "_")


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and leave it alone when it is right: its time is part of numba's key."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    temporary = path.with_suffix(f".{id(text)}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
