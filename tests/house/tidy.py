"""The style rules that a machine can hold, as functions from a source to a list of what is wrong with it.

They find what is spelled out in the syntax tree or the comments; taste is left to readers. Used by test_tidy.py.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

FILE_LINES = 400
FUNCTION_LINES = 70
#: Files that may be longer, and why.
LONG = {"engine/record/records.py": "one table of every record, a line a field: splitting it would hide a layout"}
#: Rooms whose kernels decide: integers only.
DECIDING = ("engine/core/", "engine/record/", "engine/workflow/", "strategies/")
#: Functions of libm or with a float result, whatever module they are taken from.
LIBM = {
    "exp", "exp2", "expm1", "float16", "float32", "float64", "floor", "ceil", "fmod", "hypot", "log", "log10", "log1p",
    "log2", "mean", "pow", "power", "round", "sqrt", "std", "true_divide",
}  # fmt: skip
#: One spelling a unit, last in the name.
UNIT_SPELLINGS = {
    "nanos": "_ns", "nanosec": "_ns", "nanoseconds": "_ns", "nsec": "_ns", "usec": "_us", "micros": "_us",
    "microseconds": "_us", "msec": "_ms", "millis": "_ms", "milliseconds": "_ms", "secs": "_s", "seconds": "_s",
    "price": "_px", "quantity": "_qty", "basis_points": "_bps",
}  # fmt: skip
#: What takes time has its unit in its name, in kernels' arguments and in records.
TIMED = {"age", "deadline", "delay", "duration", "elapsed", "interval", "latency", "timeout", "timestamp"}

#: XXX alone is the symbol of the captured stock; as a mark it has a colon.
_LEFTOVER = re.compile(r"\b(TODO|FIXME|HACK|XXX(?=:))\b")
#: The exception with its codes, then what follows in the comment. A `type: ignore[code]` is not one of these: it says
#: what the type checker cannot know, and mypy itself demands the code and its removal when it can.
_EXCEPTION = re.compile(r"#\s*(noqa(?::\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*)?)(.*)")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function of a file, methods and inner ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def is_kernel(function: Function) -> bool:
    """Whether one of its decorators is `kernel` or `inlined`."""
    return any(ast.unparse(d).split(".")[-1] in ("kernel", "inlined") for d in function.decorator_list)


def lengths(path: str, source: str) -> list[str]:
    """Files and functions that cannot be read in one sitting."""
    found = []
    lines = len(source.splitlines())
    if lines > FILE_LINES and path not in LONG:
        found.append(f"{path}: {lines} lines, {FILE_LINES} is the most: it has two subjects")
    for function in functions(ast.parse(source)):
        size = (function.end_lineno or function.lineno) - function.lineno + 1
        if size > FUNCTION_LINES:
            found.append(f"{path}:{function.lineno}: {function.name} has {size} lines, {FUNCTION_LINES} is the most")
    return found


def docstring(path: str, source: str) -> list[str]:
    """A file that does not say what it is."""
    return [] if ast.get_docstring(ast.parse(source)) else [f"{path}: no module docstring"]


def leftovers(path: str, source: str) -> list[str]:
    """Marks of unfinished work in comments and docstrings."""
    rows = _comments(source) + [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value
    ]
    found = ((line, _LEFTOVER.search(text)) for line, text in rows)
    return [f"{path}:{line}: {match[0]}: finish it, or open an issue" for line, match in found if match]


def unreasoned(path: str, source: str) -> list[str]:
    """Lint exceptions, skips and expected failures without a reason."""
    found = []
    for line, text in _comments(source):
        match = _EXCEPTION.search(text)
        if match and not re.search(r"\w{2}", match[2]):
            found.append(f"{path}:{line}: {match[1]} has no reason: write it behind")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("mark.skip", "mark.skipif", "mark.xfail")):
            if not any(k.arg == "reason" for k in node.keywords):
                found.append(f"{path}:{node.lineno}: {ast.unparse(node.func)} has no reason=")
    return found


def floats(path: str, source: str) -> list[str]:
    """Float literals, true division and libm in kernels that decide."""
    if not path.startswith(DECIDING):
        return []
    found = []
    for function in filter(is_kernel, functions(ast.parse(source))):
        for node in (child for statement in function.body for child in ast.walk(statement)):
            line = getattr(node, "lineno", function.lineno)
            what = None
            if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
                what = f"float literal {node.value!r}"
            elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
                what = "true division"
            elif isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                what = f"{name}()" if name in LIBM or name == "float" else None
            if what:
                found.append(f"{path}:{line}: {what} in kernel {function.name}: no float decides")
    return found


def unit_names(path: str, source: str) -> list[str]:
    """Names whose unit is spelled in another way than ours, and times in kernels without a unit."""
    found = []
    tree = ast.parse(source)
    names = [(n.lineno, n.id) for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    names += [(n.lineno, n.arg) for n in ast.walk(tree) if isinstance(n, ast.arg)]
    for line, name in sorted(set(names)):
        ending = next((bad for bad in UNIT_SPELLINGS if name.endswith(f"_{bad}")), None)
        if ending:
            found.append(f"{path}:{line}: {name}: the unit is spelled {UNIT_SPELLINGS[ending]}")
    for function in filter(is_kernel, functions(tree)):
        for arg in function.args.args:
            if arg.arg.split("_")[-1] in TIMED:
                found.append(f"{path}:{function.lineno}: {function.name}({arg.arg}): the unit of a time goes last")
    return found


RULES = (lengths, docstring, leftovers, unreasoned, floats, unit_names)


def _comments(source: str) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]
