"""libzmq's functions over ctypes, for NUMBA_DISABLE_JIT=1: same names and results as `zmq_native`."""

from __future__ import annotations

import ctypes

_library: ctypes.CDLL | None = None


def load(path: str) -> None:
    """Open the library that pyzmq loaded and declare what we call."""
    global _library
    library = ctypes.CDLL(path)
    for name in ("zmq_recv", "zmq_send"):
        function = getattr(library, name)
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        function.restype = ctypes.c_int
    library.zmq_getsockopt.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    _library = library


def _loaded() -> ctypes.CDLL:
    assert _library is not None, "load() comes first"
    return _library


def zmq_recv(socket: int, address: int, capacity: int, flags: int) -> int:
    """As zmq_recv(3)."""
    return int(_loaded().zmq_recv(int(socket), int(address), int(capacity), flags))


def zmq_send(socket: int, address: int, n: int, flags: int) -> int:
    """As zmq_send(3)."""
    return int(_loaded().zmq_send(int(socket), int(address), int(n), flags))


def zmq_errno() -> int:
    """As zmq_errno(3)."""
    return int(_loaded().zmq_errno())


def get_int(socket: int, option: int) -> int:
    """An int option of a socket, or -errno."""
    value, size = ctypes.c_int(0), ctypes.c_size_t(4)
    if _loaded().zmq_getsockopt(int(socket), option, ctypes.byref(value), ctypes.byref(size)):
        return -zmq_errno()
    return value.value
