"""Binding: one strategy and the core become one compiled `step` and one compiled loop.

numba does not cache a function that takes another as an argument. So `bind` verifies the strategy's machine, writes its
tables and calls as a module (`engine.workflow.table`), and writes five of our own source files out again beside it,
into a package in the cache directory, with imports of one another and of the tables renamed. Everything else in them
is as it is read in this folder.

Nothing that is cached can be stale. The cache directory's name hashes all our sources; a strategy that is not among
them is copied, with what it imports from its own folder, into a directory whose name hashes those sources, and
compiled from there (`engine.run.outside`).

Worst case: a strategy that was never bound with these sources compiles for about a minute.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from engine.apart import set_apart
from engine.core.state import Events, Outbox, State
from engine.core.step import apply, begin
from engine.jit import cache_at
from engine.run.outside import BindError, Strategy, find
from engine.workflow.child import check_child
from engine.workflow.machine import Machine
from engine.workflow.orders import OrderMachine
from engine.workflow.table import source
from engine.workflow.verify import check

__all__ = ("BindError", "Bound", "bind", "declared", "machine_of")

_HERE = Path(__file__).parent
_MODULES = ("turn", "bound", "pump", "loop", "drive")
_TABLES = "engine.workflow.null_tables"
#: Machines that have verified, by id: a module's is declared once, and a recovery asks for it again and again.
_verified: WeakValueDictionary[int, OrderMachine] = WeakValueDictionary()


class Bound(NamedTuple):
    """A strategy and its compiled functions; signatures are in engine.run.bound, .pump, .loop and .drive."""

    machine: Machine
    step: Callable[..., int]
    pump: Any
    loop: Any
    drive: Any


def machine_of(strategy: str, sources: dict[str, str] | None = None) -> OrderMachine:
    """The verified machine of a strategy; nothing is compiled. See `bind` for arguments and errors."""
    with _found(strategy, sources) as (_, module):
        return _machine(strategy, module)


def declared(strategy: str) -> OrderMachine:
    """The machine of a strategy as it is declared, verified or not. See `bind` for arguments; BindError."""
    with _found(strategy, None) as (_, module):
        return _declared(strategy, module)


def bind(strategy: str, sources: dict[str, str] | None = None) -> Bound:
    """Verify and bind a strategy, by module name ("strategies.sweep") or by file ("mine/pounce.py").

    `sources` are the texts of its files, by name, where a journal holds them: they are then taken in place of the
    files. BindError: it cannot be found, imported, or has no machine. MachineError: its machine does not verify.
    """
    with _found(strategy, sources) as (found, module):
        machine = _machine(strategy, module)
        package = "bound_" + found.package
        folder = found.folder / package
        folder.mkdir(parents=True, exist_ok=True)
        _write(
            folder / "__init__.py", f'"""The engine with {found.module} bound into it; written by engine.run.bind."""\n'
        )
        _write(folder / "tables.py", source(machine))
        for name in _MODULES:
            text = (_HERE / f"{name}.py").read_text(encoding="utf-8")
            text = text.replace(f"from {_TABLES} import", f"from {package}.tables import")
            for other in _MODULES:
                text = text.replace(f"from engine.run.{other} import", f"from {package}.{other} import")
            _write(folder / f"{name}.py", text)
        if str(found.folder) not in sys.path:
            sys.path.append(str(found.folder))
        importlib.invalidate_caches()
        made = {name: importlib.import_module(f"{package}.{name}") for name in _MODULES}
    for part in (begin, apply):
        set_apart(part, State, Events, int, Outbox)
    set_apart(made["turn"].turn, State, int, Outbox)
    return Bound(machine, made["bound"].step, made["pump"], made["loop"], made["drive"])


@contextmanager
def _found(strategy: str, sources: dict[str, str] | None) -> Iterator[tuple[Strategy, ModuleType]]:
    """A strategy and its module, with numba's cache where its kernels belong."""
    found = find(strategy, sources)
    with cache_at(found.folder):
        yield found, found.load()


def _machine(strategy: str, module: ModuleType) -> OrderMachine:
    machine = _declared(strategy, module)
    if _verified.get(id(machine)) is not machine:
        check_child()
        check(machine)
        _verified[id(machine)] = machine
    return machine


def _declared(strategy: str, module: ModuleType) -> OrderMachine:
    machine = getattr(module, "machine", None)
    if not isinstance(machine, OrderMachine):
        raise BindError(f'routing.strategy = {strategy!r} has no `machine`; make one: machine = order_machine("NAME")')
    return machine


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, and leave it alone when it is right: its time is part of numba's key."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    temporary = path.with_suffix(f".{id(text)}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
