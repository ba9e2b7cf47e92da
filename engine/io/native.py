"""LLVM instructions that numba has no name for, as intrinsics: atomic loads and stores, fences, CRC32C, clocks.

Each is one or a few LLVM instructions over raw addresses (int64), so it costs what the instruction costs, allocates
nothing, and is cached with the kernel that uses it. Kernels do not import this file: they import `atomics`, which
takes these when numba compiles and `twins` when it does not.

Worst case: an address that is wrong is a crash, not an exception. Addresses come from `mapping` and `address_of` alone.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import config as _config
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic as _intrinsic

# numba's own annotations cover a part of what we use.
config: Any = _config
cgutils: Any = _cgutils
intrinsic: Any = _intrinsic
_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_VOID = ir.VoidType()
_BYTES = _I8.as_pointer()
X86 = platform.machine() in ("x86_64", "AMD64")
#: <time.h>: clock ids of Linux.
CLOCK_REALTIME = 0
CLOCK_MONOTONIC = 1

Intrinsic = Callable[..., Any]


def _cpu_has(feature: str) -> bool:
    """Whether the kernels may use a feature of the CPU: numba's own setting decides where there is one."""
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return bool(llvmlite.binding.get_host_cpu_features().get(feature, False))


#: Whether `crc32c_u64` and `crc32c_u8` exist; the table in `atomics` does their work where they do not.
CRC_INSTRUCTION = X86 and _cpu_has("sse4.2")


def _make(emit: Callable[..., Any], n_args: int, result: Any = types.int64) -> Intrinsic:
    """An intrinsic of `n_args` int64 arguments; `emit(builder, *args)` returns the LLVM value (or None for void)."""
    signature = result(*([types.int64] * n_args))

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value = emit(builder, *args)
        return context.get_dummy_value() if value is None else value

    # numba reads the arity from the function it is given, so each arity needs a definition of its own.
    definitions: dict[int, Callable[..., Any]] = {
        0: lambda typingctx: (signature, codegen),
        1: lambda typingctx, a: (signature, codegen),
        2: lambda typingctx, a, b: (signature, codegen),
        3: lambda typingctx, a, b, c: (signature, codegen),
    }
    return intrinsic(definitions[n_args])  # type: ignore[no-any-return]


def _load(bits: int, ordering: str | None, signed: bool = True) -> Intrinsic:
    word_type = ir.IntType(bits)

    def emit(builder: Any, address: Any) -> Any:
        pointer = builder.inttoptr(address, word_type.as_pointer())
        atomic = ordering is not None
        word = builder.load_atomic(pointer, ordering, bits // 8) if atomic else builder.load(pointer, align=1)
        if bits == 64:
            return word
        return builder.sext(word, _I64) if signed else builder.zext(word, _I64)

    return _make(emit, 1)


def _load_big_endian(bits: int) -> Intrinsic:
    word_type = ir.IntType(bits)

    def emit(builder: Any, address: Any) -> Any:
        word = builder.bswap(builder.load(builder.inttoptr(address, word_type.as_pointer()), align=1))
        return word if bits == 64 else builder.zext(word, _I64)

    return _make(emit, 1)


def _store(bits: int, ordering: str | None) -> Intrinsic:
    word_type = ir.IntType(bits)

    def emit(builder: Any, address: Any, value: Any) -> None:
        pointer = builder.inttoptr(address, word_type.as_pointer())
        word = value if bits == 64 else builder.trunc(value, word_type)
        if ordering is None:
            builder.store(word, pointer, align=1)
        else:
            builder.store_atomic(word, pointer, ordering, bits // 8)

    return _make(emit, 2, types.void)


def _fence(ordering: str) -> Intrinsic:
    def emit(builder: Any) -> None:
        builder.fence(ordering)

    return _make(emit, 0, types.void)


def _declare(builder: Any, name: str, result: Any, *args: Any) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, args), name)


def _copy(fixed: int) -> Intrinsic:
    """Copy of `fixed` bytes by a few vector moves; `fixed` = 0 takes the length as a third argument."""

    def emit(builder: Any, dst: Any, src: Any, n: Any = None) -> None:
        memcpy = _declare(builder, "llvm.memcpy.p0.p0.i64", _VOID, _BYTES, _BYTES, _I64, ir.IntType(1))
        length = ir.Constant(_I64, fixed) if fixed else n
        pointers = [builder.inttoptr(address, _BYTES) for address in (dst, src)]
        builder.call(memcpy, [*pointers, length, ir.Constant(ir.IntType(1), 0)])

    return _make(emit, 2 if fixed else 3, types.void)


def _zero(fixed: int) -> Intrinsic:
    """Zeros over `fixed` bytes by a few vector moves."""

    def emit(builder: Any, address: Any) -> None:
        memset = _declare(builder, "llvm.memset.p0.i64", _VOID, _BYTES, _I8, _I64, ir.IntType(1))
        pointer, length = builder.inttoptr(address, _BYTES), ir.Constant(_I64, fixed)
        builder.call(memset, [pointer, ir.Constant(_I8, 0), length, ir.Constant(ir.IntType(1), 0)])

    return _make(emit, 1, types.void)


def _tsc(builder: Any) -> Any:
    return builder.call(_declare(builder, "llvm.readcyclecounter", _I64), [])


def _pause(builder: Any) -> None:
    if X86:
        builder.call(_declare(builder, "llvm.x86.sse2.pause", _VOID), [])
    else:
        builder.fence("seq_cst")


def _clock_ns(builder: Any, clock_id: Any) -> Any:
    spec = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
    function = _declare(builder, "clock_gettime", _I32, _I32, _BYTES)
    builder.call(function, [builder.trunc(clock_id, _I32), builder.bitcast(spec, _BYTES)])
    seconds, rest = (builder.load(cgutils.gep_inbounds(builder, spec, 0, i)) for i in (0, 1))
    return builder.add(builder.mul(seconds, ir.Constant(_I64, 1_000_000_000)), rest)


def _nap(builder: Any, duration_ns: Any) -> Any:
    spec = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2))
    billion = ir.Constant(_I64, 1_000_000_000)
    builder.store(builder.sdiv(duration_ns, billion), cgutils.gep_inbounds(builder, spec, 0, 0))
    builder.store(builder.srem(duration_ns, billion), cgutils.gep_inbounds(builder, spec, 0, 1))
    function = _declare(builder, "nanosleep", _I32, _BYTES, _BYTES)
    return builder.sext(builder.call(function, [builder.bitcast(spec, _BYTES), ir.Constant(_BYTES, None)]), _I64)


def _sched_yield(builder: Any) -> Any:
    return builder.sext(builder.call(_declare(builder, "sched_yield", _I32), []), _I64)


def _madvise(builder: Any, address: Any, n: Any, advice: Any) -> Any:
    function = _declare(builder, "madvise", _I32, _BYTES, _I64, _I32)
    status = builder.call(function, [builder.inttoptr(address, _BYTES), n, builder.trunc(advice, _I32)])
    failed = builder.icmp_signed("!=", status, ir.Constant(_I32, 0))
    slot = builder.call(_declare(builder, "__errno_location", _I32.as_pointer()), [])
    error = builder.neg(builder.sext(builder.load(slot), _I64))
    return builder.select(failed, error, ir.Constant(_I64, 0))


def _thread_usage(builder: Any, address: Any) -> Any:
    function = _declare(builder, "getrusage", _I32, _I32, _BYTES)
    rusage_thread = ir.Constant(_I32, 1)
    return builder.sext(builder.call(function, [rusage_thread, builder.inttoptr(address, _BYTES)]), _I64)


def _prefetch_write(builder: Any, address: Any) -> None:
    prefetch = _declare(builder, "llvm.prefetch.p0", _VOID, _BYTES, _I32, _I32, _I32)
    write, keep, data = (ir.Constant(_I32, value) for value in (1, 3, 1))
    builder.call(prefetch, [builder.inttoptr(address, _BYTES), write, keep, data])


def _leading_zeros(builder: Any, value: Any) -> Any:
    return builder.ctlz(value, ir.Constant(ir.IntType(1), 0))


def _crc(bits: int) -> Intrinsic:
    word_type = ir.IntType(bits)
    name = f"llvm.x86.sse42.crc32.{'64.64' if bits == 64 else f'32.{bits}'}"
    state = _I64 if bits == 64 else _I32

    def emit(builder: Any, crc: Any, word: Any) -> Any:
        function = _declare(builder, name, state, state, word_type)
        if bits == 64:
            return builder.call(function, [crc, word])
        return builder.zext(builder.call(function, [builder.trunc(crc, _I32), builder.trunc(word, word_type)]), _I64)

    return _make(emit, 2)


load_acquire = _load(64, "acquire")
load_i32_acquire = _load(32, "acquire")
load_i64 = _load(64, None)
load_i32 = _load(32, None)
load_u16 = _load(16, None, signed=False)
load_u8 = _load(8, None, signed=False)
load_u16_be = _load_big_endian(16)
load_u32_be = _load_big_endian(32)
load_i64_be = _load_big_endian(64)
store_release = _store(64, "release")
store_i32_release = _store(32, "release")
store_i64 = _store(64, None)
fence_acquire = _fence("acquire")
fence_release = _fence("release")
copy_n = _copy(0)
copy_64 = _copy(64)
copy_128 = _copy(128)
zero_64 = _zero(64)
zero_128 = _zero(128)
tsc = _make(_tsc, 0)
clock_ns = _make(_clock_ns, 1)
nap = _make(_nap, 1)
sched_yield = _make(_sched_yield, 0)
cpu_pause = _make(_pause, 0, types.void)
madvise = _make(_madvise, 3)
thread_usage = _make(_thread_usage, 1)
prefetch_write = _make(_prefetch_write, 1, types.void)
leading_zeros = _make(_leading_zeros, 1)
crc32c_u64 = _crc(64)
crc32c_u8 = _crc(8)
