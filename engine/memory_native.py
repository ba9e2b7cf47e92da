"""numba's side of `engine.memory`: the type of a Memory, how it enters a kernel, and how a member is read.

See https://numba.readthedocs.io/en/stable/extending/low-level.html for the extension points used here.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils as _cgutils
from numba.core.datamodel import register_default
from numba.core.datamodel.models import OpaqueModel
from numba.core.typing.templates import AttributeTemplate
from numba.extending import NativeValue, infer_getattr, lower_getattr_generic, typeof_impl, unbox
from numba.np import arrayobj, numpy_support

cgutils: Any = _cgutils


#: Name of a Memory class -> the module that it is in.
_homes: dict[str, str] = {}


class MemoryType(types.Type):  # type: ignore[misc]
    """The numba type of one Memory class; its name is the class's, so signatures stay short."""

    def __init__(self, name: str, members: dict[str, tuple[Any, int, int]]) -> None:
        self.members = members
        super().__init__(name=name)


@register_default(MemoryType)
class _MemoryModel(OpaqueModel):  # type: ignore[misc]
    """One pointer."""


@infer_getattr
class _MemoryAttribute(AttributeTemplate):  # type: ignore[misc]
    key = MemoryType

    def generic_resolve(self, memory: MemoryType, name: str) -> types.Type | None:
        if name in memory.members:
            return memory.members[name][0]
        return None


@lower_getattr_generic(MemoryType)  # type: ignore[untyped-decorator]
def _read_member(context: Any, builder: Any, memory: MemoryType, value: Any, name: str) -> Any:
    array_type, place, stride = memory.members[name]
    words = builder.bitcast(value, ir.IntType(64).as_pointer())
    data = _load_fixed(builder, words, 2 * place)
    if isinstance(array_type, MemoryType):
        return builder.inttoptr(data, ir.IntType(8).as_pointer())
    count = _load_fixed(builder, words, 2 * place + 1)
    view = arrayobj.make_array(array_type)(context, builder)
    itemsize = context.get_abi_sizeof(context.get_data_type(array_type.dtype))
    word = ir.IntType(64)
    arrayobj.populate_array(
        view,
        data=builder.inttoptr(data, view.data.type),
        shape=cgutils.pack_array(builder, [count]),
        strides=cgutils.pack_array(builder, [ir.Constant(word, stride)]),
        itemsize=ir.Constant(word, itemsize),
        meminfo=None,
    )
    return view._getvalue()


def _load_fixed(builder: Any, words: Any, place: int) -> Any:
    """A word of the table; it never changes while kernels run."""
    loaded = builder.load(builder.gep(words, [ir.Constant(ir.IntType(64), place)]))
    loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
    return loaded


@unbox(MemoryType)  # type: ignore[untyped-decorator]
def _enter(memory: MemoryType, obj: Any, c: Any) -> Any:
    address = c.pyapi.object_getattr_string(obj, "address")
    value = c.pyapi.long_as_longlong(address)
    c.pyapi.decref(address)
    return NativeValue(c.builder.inttoptr(value, ir.IntType(8).as_pointer()), is_error=c.pyapi.c_api_error())


def register(cls: Any) -> None:
    """Make the numba type of a Memory class and tell numba's dispatcher of it.

    TypeError where another class has that name: to numba, types of one name are one type.
    """
    home = _homes.setdefault(cls.__name__, cls.__module__)
    if home != cls.__module__ and "__main__" not in (home, cls.__module__):
        raise TypeError(f"{cls.__module__}.{cls.__name__}: there is a Memory of that name in {home}; choose another")
    members: dict[str, tuple[Any, int, int]] = {
        name: (inner._numba_type_, place, 0) for place, (name, inner) in enumerate(cls.INNER.items(), len(cls.LAYOUT))
    }
    for place, (name, (dtype, stride)) in enumerate(cls.LAYOUT.items()):
        element = numpy_support.from_dtype(dtype)
        layout = "C" if stride == dtype.itemsize else "A"
        members[name] = (types.Array(element, 1, layout), place, stride)
    kind = MemoryType(cls.__name__, members)
    cls._numba_type_ = kind
    typeof_impl.register(cls)(lambda value, context: kind)
