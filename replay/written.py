"""Kernels outside the engine that call a bound `step` or loop: their files are written out for each strategy.

numba does not cache a function that takes another as an argument, so a kernel that calls what a strategy is bound
into imports it by name. The file is written again, with those imports renamed, among the kernels of that strategy.
numba's own key of a cached kernel is the file that it is in and nothing of what that calls, and the cache directory's
name hashes the engine's sources alone: so the written file's name hashes its text and that of its companions, the
files outside the engine that it imports. Whoever edits one of them gets another module, and never the old code.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.jit import cache_at


def write_out(folder: Path, stem: str, text: str, companions: Iterable[Path] = ()) -> str:
    """Write a module into `folder`, which is made importable; its name, which differs with each text."""
    told = "".join([text, *(path.read_text(encoding="utf-8") for path in companions)])
    module = f"{stem}_{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    path = folder / f"{module}.py"
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    return module


def bind_file(bound: Any, file: Path, stem: str, companions: Iterable[Path]) -> ModuleType:
    """The module `file`, with what it imports from the bound files of engine.run taken from `bound`'s package.

    bound: what `engine.run.bind.bind` gave. companions: the files of its own floor that it imports.
    """
    package, _, _ = str(bound.pump.__name__).partition(".")
    folder = Path(str(bound.pump.__file__)).parent.parent
    text = file.read_text(encoding="utf-8")
    for part in ("bound", "pump", "loop", "turn"):
        text = text.replace(f"from engine.run.{part} import", f"from {package}.{part} import")
    with cache_at(folder):
        return importlib.import_module(write_out(folder, stem, text, companions))
