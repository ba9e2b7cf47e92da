"""The one place where kernels meet numba: the decorator, and a cache that cannot be stale.

numba's own cache does not notice that a callee in another module changed, and it ignores NUMBA_BOUNDSCHECK when
it looks a kernel up. So the cache directory's name is a hash of everything that can change the machine code: all
our sources, every NUMBA_* flag, and the versions of numba, llvmlite, numpy and the CPU.
A stale entry is then in another directory, and cannot be loaded. Whoever makes a directory removes those that
nobody has used for long (`engine.cache`).

This module must be imported before numba is imported anywhere else: it sets NUMBA_CACHE_DIR.

Worst case: a changed comment recompiles everything (about a minute). That is the price of never running old code.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from engine.cache import claim, prune

# Helper threads of the numeric libraries wake up on the loop's core and stall it by about 20 ms.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

ROOT = Path(__file__).resolve().parent.parent
#: Source trees whose text decides the machine code of a kernel.
SOURCE_TREES = ("engine", "strategies", "gateways")
#: NUMBA_* settings that say where or how to work, not what code to make.
_NEUTRAL = {"NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS"}

F = TypeVar("F", bound=Callable[..., Any])


@cache
def source_hash() -> str:
    """Hex digest over every source of ours that kernels are made of, as they were when this process first asked."""
    digest = hashlib.sha256()
    files = [path for tree in SOURCE_TREES for path in sorted((ROOT / tree).rglob("*.py"))]
    for path in files:
        digest.update(str(path.relative_to(ROOT)).encode())
        digest.update(b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def build_hash() -> str:
    """Hex digest (16 characters) of the sources, the NUMBA_* flags, the library versions and the CPU."""
    from importlib.metadata import version

    digest = hashlib.sha256(source_hash().encode())
    for package in ("numba", "llvmlite", "numpy"):
        digest.update(f"{package}={version(package)};".encode())
    flags = sorted((k, v) for k, v in os.environ.items() if k.startswith("NUMBA_") and k not in _NEUTRAL)
    digest.update(repr((flags, sys.version_info[:3], platform.machine(), _cpu_model())).encode())
    return digest.hexdigest()[:16]


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "stepping")
    return "|".join(line for line in text.split("\n\n")[0].splitlines() if line.startswith(wanted))


def cache_home() -> Path:
    """Parent of all cache directories: TICKROUTE_CACHE_DIR, else the user's cache folder."""
    home = os.environ.get("TICKROUTE_CACHE_DIR")
    if home:
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tickroute"


def _point_cache_at(path: Path) -> Path:
    if claim(path):
        prune(path.parent, f"{path.name.partition('-')[0]}-*")
    os.environ["NUMBA_CACHE_DIR"] = str(path)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(path)
    return path


@contextmanager
def cache_at(path: Path) -> Iterator[None]:
    """Kernels that are decorated meanwhile are cached below `path`: a user's strategy, in a directory of its own."""
    before = Path(os.environ["NUMBA_CACHE_DIR"])
    _point_cache_at(path)
    try:
        yield
    finally:
        _point_cache_at(before)


CACHE_DIR = _point_cache_at(cache_home() / f"kernels-{build_hash()}")

import numba  # noqa: E402  the cache directory must be set first

#: False under NUMBA_DISABLE_JIT=1: kernels are then the plain Python functions.
JIT = not numba.config.DISABLE_JIT
BOUNDSCHECK = bool(numba.config.BOUNDSCHECK)


def kernel(function: F) -> F:
    """Compile a function to nopython code that holds no GIL; cached, signatures found at the first call.

    Integer arguments are int64, whatever width or literal a caller has: else numba compiles a function again for each
    constant that it is called with, and the core takes three times as long to build.

    Kernels in a strategy's own files (`engine.run.outside`) check the bounds of what they index: a place that is not
    there raises, and is a failed step. They index little; the core, which tests run with such checks, does without.
    """
    checks = {"boundscheck": True} if _from_outside(function) else {}
    dispatcher = numba.njit(cache=True, nogil=True, **checks)(function)
    if JIT:
        _widen_calls(dispatcher)
    return dispatcher  # type: ignore[no-any-return]


def _from_outside(function: Any) -> bool:
    """Whether a function is in a copied file of a user's strategy: in CACHE_DIR/strategy-HASH."""
    folder = Path(function.__code__.co_filename).parent
    return folder.name.startswith("strategy-") and folder.parent.name == CACHE_DIR.name


def _widen_calls(dispatcher: Any) -> None:
    """Make calls from other kernels resolve to the int64 version of `dispatcher`."""
    resolve = dispatcher.get_call_template

    def widened(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        return resolve(tuple(map(_widen, args)), {name: _widen(kind) for name, kind in kws.items()})

    dispatcher.get_call_template = widened


def _widen(kind: Any) -> Any:
    literal = getattr(kind, "literal_type", kind)
    return numba.types.int64 if isinstance(literal, numba.types.Integer) else kind


def inlined(function: F) -> F:
    """As `kernel`, inlined into its callers by numba: for one-liners whose call would cost more than they do."""
    return numba.njit(cache=True, nogil=True, inline="always")(function)  # type: ignore[no-any-return]
