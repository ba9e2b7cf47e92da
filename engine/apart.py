"""Kernels that are compiled once and called by name, where numba would put their code into each of their callers.

numba links what a kernel calls into the kernel's own module, all the way down, and optimises and emits the whole again:
for the core that is four seconds of the compiler for every function above it, a dozen in the loop alone. A kernel that
is *set apart* keeps its module to itself. Its callers hold a call of a symbol, which is looked up when they are loaded.

A symbol's name is the kernel's module, name and argument types: what is cached in one process and loaded in another
finds it, whoever compiled it. It must be there before a caller is loaded or compiled; `engine.run.bind` sees to that.

Worst case: a call of a symbol is not inlined, a nanosecond or two. A caller that is loaded without it ends the process.
"""

from __future__ import annotations

import copy
from typing import Any

import llvmlite.binding
import numba

from engine.jit import JIT


def set_apart(dispatcher: Any, *arguments: Any) -> None:
    """Compile or load a kernel for these types, and let kernels that are compiled from now on call it by name.

    arguments: a Memory class, `int` (int64) or what `member` gives for each argument. What is set apart stays so: a
    second time does nothing. Only what all its callers' processes have set apart may be: see the module's text.
    """
    if not JIT or getattr(dispatcher, "apart", False):
        return
    kinds = tuple(_kind(a) for a in arguments)
    dispatcher.compile(kinds)
    made = dispatcher.overloads[kinds]
    context = dispatcher.targetctx
    named = copy.copy(made.fndesc)
    named.mangled_name = f"tickroute.{named.modname}.{named.qualname}"
    llvmlite.binding.add_symbol(named.mangled_name, made.library.get_pointer_to_function(made.fndesc.llvm_func_name))
    context.remove_user_function(made.entry_point)
    context.insert_user_function(made.entry_point, named)
    dispatcher.apart = True


def member(cls: Any, name: str) -> Any:
    """The type that a member of a Memory class has in kernels, for `set_apart`; None where nothing is compiled."""
    return cls._numba_type_.members[name][0] if JIT else None


def _kind(argument: Any) -> Any:
    return numba.types.int64 if argument is int else getattr(argument, "_numba_type_", argument)
