"""Parts: kernels as other kernels call them, compiled no further than to the code that is linked into their callers.

numba makes four things of every function: its code, a wrapper for Python, a wrapper for C, and optimised machine code
of all that with everything below it linked in, though a caller takes none of the last three. In a core of some two
hundred kernels that is more than half of the time to compile. So a kernel has a twin, its part, which callers in
compiled code resolve to: it has no wrappers, stays LLVM bitcode (in the cache, too), and is optimised as a whole and
turned into machine code in those kernels alone that Python calls.

The numba methods that are replaced here are of one pinned version; `tests/house/test_parts.py` holds what they promise.
Worst case: a kernel that Python calls as well is compiled twice; its callees are not.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import llvmlite.binding as ll
import numba
from numba.core import base, codegen, cpu
from numba.core.environment import lookup_environment

_SUFFIX = "__part"
_ENVIRONMENT = "_ZN08NumbaEnv"


def part_of(function: Callable[..., Any]) -> Any:
    """The dispatcher of a kernel's part: for `get_call_template` and `get_overload` only, never to be called."""
    assert isinstance(function, FunctionType)
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__module__ = function.__module__
    twin.__qualname__ = function.__qualname__ + _SUFFIX
    return numba.njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(twin)


def _is_part(library: Any) -> bool:
    return str(library.name).endswith(_SUFFIX)


def _teach_libraries() -> None:
    kind = codegen.JITCodeLibrary
    finalize, serialize = kind._finalize_final_module, kind.serialize_using_object_code
    optimize = kind._optimize_final_module

    def optimize_at_the_end(library: Any) -> None:
        if not _is_part(library):
            optimize(library)

    def finalize_or_stay(library: Any) -> None:
        if not _is_part(library):
            finalize(library)
            return
        library._finalize_dynamic_globals()
        library._finalized = True

    def serialize_as_it_is(library: Any) -> Any:
        return library.serialize_using_bitcode() if _is_part(library) else serialize(library)

    kind._optimize_final_module = optimize_at_the_end
    kind._finalize_final_module = finalize_or_stay
    kind.serialize_using_object_code = serialize_as_it_is


def _teach_context() -> None:
    kind = cpu.CPUContext
    executable = kind.get_executable

    def executable_or_entry(context: Any, library: Any, fndesc: Any, env: Any) -> Any:
        if _is_part(library):
            return [].append  # numba's tables want a built-in function that is no other part's; nobody calls it
        made = executable(context, library, fndesc, env)
        for variable in library._final_module.global_variables:
            below = lookup_environment(variable.name) if variable.name.startswith(_ENVIRONMENT) else None
            if below is not None:
                library.codegen.set_env(variable.name, below)
        return made

    kind.get_executable = executable_or_entry
    engine = codegen.JITCPUCodegen
    set_env = engine.set_env

    def set_where_it_is(self: Any, name: str, env: Any) -> None:
        if self._engine.is_symbol_defined(name):  # a part that came from the cache has none of its own
            set_env(self, name, env)

    engine.set_env = set_where_it_is


def _drop_lock_events() -> None:
    """numba tells every listener of every call of LLVM, and each compilation adds one for all those within it."""
    for entered, left in list(ll.ffi.lib._lock._cblist):
        if entered.__module__ == base.__name__:
            ll.ffi.unregister_lock_callback(entered, left)


_teach_libraries()
_teach_context()
_drop_lock_events()
