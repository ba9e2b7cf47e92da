"""What a step may return, read from its source: the names of its outcomes, and whether there can be others.

A step returns outcomes by name (`return SENT`), by a variable that holds such names, or as another kernel's
(`return _post(...)`). The source is followed through names and calls as far as it is plain; where something else is
returned (a sum, an item of an array) the answer says that it is not complete, and nothing is claimed.

Worst case: a step whose source cannot be had (typed at a prompt) has no names and no claims.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.workflow.machine import Place, Step, Transition, place_in


@dataclass
class Returned:
    """What a function may return: value -> (name, where); `complete` where there is nothing else."""

    values: dict[int, tuple[str, Place]] = field(default_factory=dict)
    complete: bool = True

    def add(self, other: Returned) -> None:
        """Take what another may return in, too."""
        for value, found in other.values.items():
            self.values.setdefault(value, found)
        self.complete &= other.complete


def outcome_name(transition: Transition, outcome: int) -> str:
    """An outcome's name: its enum member's, else the name that the step returns it by, else its number."""
    name = transition.names[outcome]
    if name != str(outcome) or transition.step is None:
        return name
    found = returned(transition.step).values.get(outcome)
    return found[0] if found is not None else name


def function_of(step: Step) -> Any:
    """The Python function of a kernel, compiled or not."""
    return getattr(step, "py_func", step)


def returned(step: Step) -> Returned:
    """What a step may return."""
    return _returned(function_of(step), ())


def _returned(function: Any, callers: tuple[Any, ...]) -> Returned:
    """What a function may return; a call of one of its callers adds nothing to what they return themselves."""
    if function in callers:
        return Returned()
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError):
        return Returned(complete=False)
    if not isinstance(tree, ast.FunctionDef):
        return Returned(complete=False)
    reader = _Reader(function, tree, (*callers, function))
    found = Returned()
    for node in _own(tree):
        if isinstance(node, ast.Return):
            found.add(reader.value(node.value, ()))
    return found


def _own(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, those of functions in it left out."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            yield node
            yield from _own(node)


class _Reader:
    """Reads expressions of one function."""

    def __init__(self, function: Any, tree: ast.FunctionDef, callers: tuple[Any, ...]) -> None:
        self.function, self.tree, self.callers = function, tree, callers
        self.parameters = {a.arg for a in (*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs)}
        self.assigned = {n.id for n in _own(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

    def value(self, node: ast.expr | None, following: tuple[str, ...]) -> Returned:
        """What an expression may be; `following` are the variables on the way to it."""
        if isinstance(node, ast.IfExp):
            found = self.value(node.body, following)
            found.add(self.value(node.orelse, following))
            return found
        if isinstance(node, ast.Name) and node.id in self.assigned | self.parameters:
            return self._variable(node.id, following)
        if isinstance(node, (ast.Name, ast.Attribute, ast.Constant)):
            return self._constant(node)
        if isinstance(node, ast.Call):
            return self._call(node, following)
        return Returned(complete=False)

    def _variable(self, name: str, following: tuple[str, ...]) -> Returned:
        """What is assigned to a variable anywhere; one that is made otherwise can be anything."""
        if name in following:
            return Returned()
        if name in self.parameters:
            return Returned(complete=False)
        found = Returned()
        for node in _own(self.tree):
            targets: list[ast.expr] = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                if isinstance(target, ast.Name) and target.id == name:
                    found.add(self.value(node.value, (*following, name)))  # type: ignore[attr-defined]
                elif isinstance(target, ast.Tuple) and any(getattr(e, "id", None) == name for e in target.elts):
                    found.add(self._unpacked(target, node.value, name, (*following, name)))  # type: ignore[attr-defined]
            if not isinstance(node, ast.Assign) and _stores(node, name):
                found.complete = False
        return found

    def _unpacked(self, target: ast.Tuple, value: ast.expr, name: str, following: tuple[str, ...]) -> Returned:
        if not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
            return Returned(complete=False)
        found = Returned()
        for element, part in zip(target.elts, value.elts, strict=True):
            if getattr(element, "id", None) == name:
                found.add(self.value(part, following))
        return found

    def _constant(self, node: ast.Name | ast.Attribute | ast.Constant) -> Returned:
        value, name = self._resolve(node), ast.unparse(node)
        if not isinstance(value, int):
            return Returned(complete=False)
        code = self.function.__code__
        place = place_in(code.co_filename, code.co_firstlineno + node.lineno - 1)
        return Returned({int(value): (getattr(value, "name", name.rpartition(".")[2].lstrip("_")), place)})

    def _call(self, node: ast.Call, following: tuple[str, ...]) -> Returned:
        if isinstance(node.func, ast.Name) and node.func.id == "int" and len(node.args) == 1:
            return self.value(node.args[0], following)
        called = function_of(self._resolve(node.func))
        if not inspect.isfunction(called):
            return Returned(complete=False)
        return _returned(called, self.callers)

    def _resolve(self, node: ast.expr) -> Any:
        """A global of the function, or an attribute of one; None where it is something else."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self.function.__globals__.get(node.id)
        if isinstance(node, ast.Attribute):
            return getattr(self._resolve(node.value), node.attr, None)
        return None


def _stores(node: ast.AST, name: str) -> bool:
    """Whether a statement other than an assignment gives a variable its value."""
    if not isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For, ast.NamedExpr, ast.With)):
        return False
    target = getattr(node, "target", None)
    return isinstance(target, ast.Name) and target.id == name
