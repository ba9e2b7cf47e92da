"""Planting a bug: a piece of one function's source is another for a while, in a process whose kernels are plain Python.

The function keeps its identity and its module's names; only its code is swapped. So everyone who has imported it runs
the bug, and nothing is compiled. A patch that no longer fits raises DoesNotFitError: it must then be written anew, or
its bug has become impossible.

A list of bugs is text, four kinds of lines a bug:

    # what is wrong
    @ module:function; profile seed             where, and a run that shows it (module:Class.method for a method)
    - source that is there once                 lines as in the file, the first without its indentation
    + what it becomes

In the table of a child's life a pair may take another step instead: `@ STATE x EVENT = STEP; profile seed`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from engine.core.lifecycle import EVENTS, STATES, ChildEvent, Step
from engine.record.records import OrdStatus
from engine.run.bind import bind

STRATEGY = "strategies.sweep"
#: Files that `engine.run.bind` writes out for each strategy: what runs is the copy.
_BOUND = ("engine.run.turn", "engine.run.bound", "engine.run.drive")


class DoesNotFitError(Exception):
    """A patch whose place is not there, or there more than once."""


class Bug(NamedTuple):
    """One bug; `old` and `new` are empty where `where` is a pair of the table."""

    name: str
    where: str
    old: str
    new: str
    faults: str
    seed: int


def bugs_of(text: str) -> list[Bug]:
    """The bugs of a list."""
    bugs = []
    for part in ("\n" + text.strip()).split("\n# ")[1:]:
        name, place, *lines = part.splitlines()
        where, _, run = place.removeprefix("@ ").rpartition("; ")
        faults, seed = run.split()
        old, new = ("\n".join(line[2:] for line in lines if line[0] == mark) for mark in "-+")
        bugs.append(Bug(name, where, old, new, faults, int(seed)))
    return bugs


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The bug is there meanwhile. DoesNotFitError where it cannot be."""
    if not bug.old:
        with _pair(bug):
            yield
        return
    function = _function(bug.where)
    before = function.__code__
    function.__code__ = _patched(function, bug)
    try:
        yield
    finally:
        function.__code__ = before


@contextmanager
def _pair(bug: Bug) -> Iterator[None]:
    pair, _, step = bug.where.partition(" = ")
    status, _, event = pair.partition(" x ")
    place = list(STATES).index(OrdStatus[status]) * EVENTS + ChildEvent[event]
    lifecycle: Any = importlib.import_module("engine.core.lifecycle")
    before = lifecycle.STEP
    if before[place] == Step[step]:
        raise DoesNotFitError(f"{bug.name}: {pair} is {step} already")
    lifecycle.STEP = before.copy()
    lifecycle.STEP[place] = Step[step]
    try:
        yield
    finally:
        lifecycle.STEP = before


def _function(where: str) -> FunctionType:
    module_name, _, path = where.partition(":")
    found: Any = _module(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            raise DoesNotFitError(f"{where}: there is no {name}")
        found = getattr(found, name)
    function = inspect.unwrap(getattr(found, "__func__", found))
    assert isinstance(function, FunctionType), f"{where}: kernels must be plain Python (NUMBA_DISABLE_JIT=1)"
    return function


def _module(name: str) -> ModuleType:
    if name not in _BOUND:
        return importlib.import_module(name)
    package = bind(STRATEGY).drive.__name__.rpartition(".")[0]
    return sys.modules[f"{package}.{name.rpartition('.')[2]}"]


def _patched(function: FunctionType, bug: Bug) -> CodeType:
    """The function's code with the patch in it."""
    path = Path(function.__code__.co_filename)
    text = path.read_text(encoding="utf-8")
    first, last = _lines(text, function.__qualname__)
    lines = text.splitlines(keepends=True)
    body = "".join(lines[first:last])
    if body.count(bug.old) != 1:
        raise DoesNotFitError(f"{bug.name}: {bug.where} has {body.count(bug.old)} times {bug.old!r}")
    source = "".join(lines[:first]) + body.replace(bug.old, bug.new) + "".join(lines[last:])
    code = compile(source, str(path), "exec", dont_inherit=True)
    for name in function.__qualname__.split("."):
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)
    return code


def _lines(text: str, qualname: str) -> tuple[int, int]:
    """(first line, line after the last) of a function, from 0."""
    body: Any = ast.parse(text).body
    node: Any = None
    for name in qualname.split("."):
        node = next(n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == name)
        body = node.body
    return node.lineno - 1, node.end_lineno
