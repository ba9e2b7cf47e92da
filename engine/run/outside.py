"""Strategies: ours, which are part of the source tree, and those of users, which live outside it.

A user's strategy is a Python file, or a module that can be imported. It is copied, with what it imports from its own
folder, into a directory of the kernel cache whose name hashes those texts, and loaded from there under a name of its
own. So an edited strategy is another one: numba finds nothing to reuse. The texts go into the run's manifest, and a
replay takes them from there, whatever has become of the files. What else it imports must be part of the build's hash
(our own sources, numpy, numba) or the standard library: an import of anything else is refused.

Worst case: two strategies that import helpers of the same name are loaded one after the other; each load takes the
names anew, so kernels of the first keep what they were made with.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from engine.errors import TickrouteError
from engine.jit import CACHE_DIR, ROOT, SOURCE_TREES
from engine.workflow.machine import ORIGINALS, place_in

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
#: Packages whose version is part of the build's hash (engine.jit).
_HASHED: Final = frozenset({"numpy", "numba", "llvmlite"})
#: Conditions whose body is for type checkers alone.
_TYPES_ONLY: Final = frozenset({"TYPE_CHECKING", "typing.TYPE_CHECKING"})


class BindError(TickrouteError):
    """A strategy that cannot be bound; names the module and what it lacks."""


class Strategy(NamedTuple):
    """Where a strategy's code is: `texts` are empty for one of ours."""

    #: Importable name.
    module: str
    #: A name for its bound package: letters, digits, underscores.
    package: str
    #: Directory of its kernels' cache and of its bound package.
    folder: Path
    #: File name -> text of a strategy from outside, its own file first; as copied, and under the names that they had.
    texts: dict[str, str]
    sources: dict[str, str]
    #: As its author names it: the module, or the file; "" where a journal holds the texts alone.
    named: str

    def load(self) -> ModuleType:
        """Import it; BindError with the place where its code is wrong."""
        if self.texts:
            for (name, text), source in zip(self.texts.items(), self.sources, strict=True):
                _write_once(self.folder / name, text)
                ORIGINALS[str(self.folder / name)] = str(Path(self.named).parent / source) if self.named else source
            # In front of the folders of strategies that were loaded before: their helpers may have the same names.
            if str(self.folder) in sys.path:
                sys.path.remove(str(self.folder))
            sys.path.insert(0, str(self.folder))
            for name in list(self.texts)[1:]:
                sys.modules.pop(Path(name).stem, None)
            importlib.invalidate_caches()
        try:
            return importlib.import_module(self.module)
        except TickrouteError:
            raise
        except Exception as error:
            named = self.named or self.module
            raise BindError(f"strategy {named} cannot be imported: {_where(error)}") from error


def find(strategy: str, sources: dict[str, str] | None = None) -> Strategy:
    """A strategy by module name or file; `sources` in place of its files. BindError where there is none."""
    if sources:
        # A manifest has them by name; which is the strategy's own its name says.
        own = Path(strategy).name if strategy.endswith(".py") else f"{strategy.rpartition('.')[2]}.py"
        return _outside({name: sources[name] for name in sorted(sources, key=lambda name: (name != own, name))}, "")
    if strategy.endswith(".py"):
        return _outside(_texts(Path(strategy)), strategy)
    if not _NAME.fullmatch(strategy):
        raise BindError(
            f"routing.strategy = {strategy!r}: a module's name such as strategies.sweep, or a file such as "
            "mine/pounce.py, is needed"
        )
    try:
        spec = importlib.util.find_spec(strategy)
    except (ImportError, ValueError) as error:
        raise BindError(f"routing.strategy = {strategy!r} cannot be imported: {error}") from error
    if spec is None or spec.origin is None:
        raise BindError(f"routing.strategy = {strategy!r} cannot be imported: there is no such module")
    if _is_ours(spec.origin):
        return Strategy(strategy, strategy.replace(".", "_"), CACHE_DIR, {}, {}, strategy)
    if not spec.origin.endswith(".py") or spec.submodule_search_locations is not None:
        raise BindError(f"routing.strategy = {strategy!r} is no file of Python; name a module that is one file")
    return _outside(_texts(Path(spec.origin)), spec.origin)


def _outside(texts: dict[str, str], named: str) -> Strategy:
    digest = hashlib.sha256()
    for name, text in texts.items():
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    stem, mark = Path(next(iter(texts))).stem, digest.hexdigest()[:16]
    # The copy has a name of its own, so that two versions can be loaded side by side.
    copies = {f"{stem}_{mark}.py" if n == 0 else name: text for n, (name, text) in enumerate(texts.items())}
    return Strategy(f"{stem}_{mark}", f"{stem}_{mark}", CACHE_DIR / f"strategy-{mark}", copies, texts, named)


def _is_ours(file: str | None) -> bool:
    """Whether a file is one of those that the build's hash is over."""
    return file is not None and any(Path(file).resolve().is_relative_to(ROOT / tree) for tree in SOURCE_TREES)


def _is_installed(origin: str | None, file: Path) -> bool:
    """Whether what a name means is a package's and not `file`, which would take its place for the engine, too."""
    folders = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return origin is not None and Path(origin) != file and any(Path(origin).is_relative_to(path) for path in folders)


def _texts(file: Path) -> dict[str, str]:
    """A strategy's file and the files of its folder that it imports, directly or not.

    BindError, with file and line, where it imports what is neither there nor part of the build's hash.
    """
    found: dict[str, str] = {}
    todo = [file]
    while todo:
        path = todo.pop(0)
        if path.name in found:
            continue
        try:
            text = path.read_text(encoding="utf-8")
            tree = ast.parse(text, str(path))
        except OSError as error:
            raise BindError(
                f"routing.strategy: {path}: {error.strerror}; name a Python file that can be read"
            ) from error
        except (SyntaxError, UnicodeDecodeError) as error:
            raise BindError(f"routing.strategy: {path}: {error}") from error
        found[path.name] = text
        for line, name in sorted(set(_imports(tree))):
            helper, why = _helper(name, file)
            if why:
                raise BindError(f"routing.strategy: {path}:{line}: import {name}: {why}")
            todo += [helper] if helper is not None else []
    return {name: found[name] for name in sorted(found, key=lambda name: (name != file.name, name))}


def _imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of each import that may run; relative ones begin with dots."""
    if isinstance(node, ast.Import):
        yield from ((node.lineno, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.lineno, "." * node.level + (node.module or "")
    elif isinstance(node, ast.If) and ast.unparse(node.test) in _TYPES_ONLY:
        for other in node.orelse:
            yield from _imports(other)
    else:
        for part in ast.iter_child_nodes(node):
            yield from _imports(part)


def _helper(name: str, own: Path) -> tuple[Path | None, str]:
    """The file beside a strategy's `own` file that an import names, if any; and why it cannot be, or ""."""
    first = name.partition(".")[0]
    file = own.parent / f"{first}.py"
    if not first:
        return None, "is relative, and a strategy is loaded as a file of its own; write: from helper import ..."
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        spec = None
    elsewhere = first in sys.stdlib_module_names or first in _HASHED
    if file.is_file():
        if elsewhere or first in SOURCE_TREES or (spec is not None and _is_installed(spec.origin, file)):
            return None, f"{file.name} of its folder has the name of a module that there is already; rename the file"
        itself = "is the strategy itself; put what both need into a third file beside them"
        return (None, itself) if file.name == own.name else (file, "")
    if elsewhere:
        return None, ""
    folder = own.parent / first
    if (spec is None and not folder.is_dir()) or (spec is not None and _is_ours(spec.origin)):
        return None, ""  # what there is not, its loading tells
    where = spec.origin if spec is not None and spec.origin else folder
    remedy = f"copy what it needs into a file of {own.parent} and import that: its text is then part of the strategy"
    return None, f"lies outside the strategy's folder ({where}), where a change of it would not be seen; {remedy}"


def _write_once(path: Path, text: str) -> None:
    """Write a file whole; one that is there is right, because its folder's name says what it holds."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{id(text)}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def _where(error: BaseException) -> str:
    """The error and the last line of the user's code that it came from."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file in ORIGINALS:
            place = f" at {place_in(file, trace.tb_lineno)}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{place}"
