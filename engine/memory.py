"""Many arrays behind one pointer: how kernels are handed the state, the events and the outbox.

numba can take a NamedTuple of arrays, but it passes every array as seven arguments, names every record field in every
type, and pays for both in each function that it compiles: two minutes for the core. A `Memory` is one word instead: the
address of a table of base addresses and lengths. Reading `state.parents` in a kernel loads two words of the table
(marked invariant, so a loop loads them once) and gives an ordinary array view that owns nothing and counts no
references. Unjitted, a Memory is a plain object with arrays as attributes, and the same source runs.

Worst case: the table holds raw addresses. The Python object keeps the arrays alive; a kernel must not outlive it.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from engine.jit import JIT

#: Member name -> (dtype, stride in bytes).
Layout: TypeAlias = dict[str, tuple[np.dtype[Any], int]]
M = TypeVar("M", bound="Memory")


class Memory:
    """Base of records of arrays. A subclass names its members in LAYOUT; make one with keyword arguments.

    It also annotates them, in the same order, for readers and type checkers; `memory` holds the two together.

    A stride other than the item size makes overlapping or spaced views. INNER names members that are Memories
    themselves; they come after those of LAYOUT.
    """

    LAYOUT: ClassVar[Layout] = {}
    INNER: ClassVar[dict[str, type[Memory]]] = {}
    __slots__ = ("__dict__", "address", "table")

    def __init__(self, **arrays: Any) -> None:
        names = [*self.LAYOUT, *self.INNER]
        if set(arrays) != set(names):
            raise ValueError(f"{type(self).__name__} needs {sorted(names)}, got {sorted(arrays)}")
        self.table = np.zeros(2 * len(names), dtype=np.int64)
        for n, (name, kind) in enumerate(self.INNER.items(), len(self.LAYOUT)):
            if type(arrays[name]) is not kind:
                raise ValueError(f"{type(self).__name__}.{name}: {type(arrays[name])}; not as in INNER")
            setattr(self, name, arrays[name])
            self.table[2 * n] = arrays[name].address
        for n, (name, (dtype, stride)) in enumerate(self.LAYOUT.items()):
            array = arrays[name]
            if array.dtype != dtype or array.ndim != 1 or (len(array) > 1 and array.strides != (stride,)):
                raise ValueError(
                    f"{type(self).__name__}.{name}: {array.dtype}, strides {array.strides}; not as in LAYOUT"
                )
            setattr(self, name, array)
            self.table[2 * n] = array.ctypes.data
            self.table[2 * n + 1] = len(array)
        self.address = int(self.table.ctypes.data)

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name, in order."""
        return {name: getattr(self, name) for name in self.LAYOUT}


def packed(**dtypes: Any) -> Layout:
    """LAYOUT of contiguous members."""
    return {name: (np.dtype(dtype), np.dtype(dtype).itemsize) for name, dtype in dtypes.items()}


def spaced(stride: int, **dtypes: Any) -> Layout:
    """LAYOUT of members whose items begin `stride` bytes apart."""
    return {name: (np.dtype(dtype), stride) for name, dtype in dtypes.items()}


def memory(cls: type[M]) -> type[M]:
    """Class decorator: let kernels take instances of this Memory. TypeError where annotations and LAYOUT differ."""
    annotated = [name for name in cls.__annotations__ if name not in ("LAYOUT", "INNER")]
    named = [*cls.LAYOUT, *cls.INNER]
    if annotated != named:
        raise TypeError(f"{cls.__name__}: annotated members {annotated} are not those of LAYOUT and INNER, {named}")
    if JIT:
        from engine.memory_native import register

        register(cls)
    return cls
