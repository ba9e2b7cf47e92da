"""libzmq's functions for nopython code. Kernels do not import this file: they import `engine.io.zmq`.

Symbols are found by name in the process, so `load` must run before a kernel that uses them is loaded from the cache.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic as _intrinsic

cgutils: Any = _cgutils
intrinsic: Any = _intrinsic
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()

zmq_recv = types.ExternalFunction("zmq_recv", types.int32(types.int64, types.int64, types.int64, types.int32))
zmq_send = types.ExternalFunction("zmq_send", types.int32(types.int64, types.int64, types.int64, types.int32))
zmq_errno = types.ExternalFunction("zmq_errno", types.int32())


def load(path: str) -> None:
    """Make the symbols of the library at `path` known to compiled code."""
    llvmlite.binding.load_library_permanently(path)


def _get_int(typingctx: Any, socket: Any, option: Any) -> Any:
    """An int option of a socket as int64, or -errno. Its two buffers are on the stack: nothing is allocated."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        handle, number = args
        value = cgutils.alloca_once(builder, _I32)
        size = cgutils.alloca_once(builder, _I64)
        builder.store(ir.Constant(_I64, 4), size)
        function_type = ir.FunctionType(_I32, [_I64, _I32, _BYTES, _BYTES])
        function = cgutils.get_or_insert_function(builder.module, function_type, "zmq_getsockopt")
        pointers = [builder.bitcast(slot, _BYTES) for slot in (value, size)]
        status = builder.call(function, [handle, builder.trunc(number, _I32), *pointers])
        result = cgutils.alloca_once_value(builder, builder.sext(builder.load(value), _I64))
        with builder.if_then(builder.icmp_signed("!=", status, ir.Constant(_I32, 0)), likely=False):
            error_type = ir.FunctionType(_I32, [])
            error = builder.call(cgutils.get_or_insert_function(builder.module, error_type, "zmq_errno"), [])
            builder.store(builder.neg(builder.sext(error, _I64)), result)
        return builder.load(result)

    return types.int64(types.int64, types.int64), codegen


get_int = intrinsic(_get_int)
