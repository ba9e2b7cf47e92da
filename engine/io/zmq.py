"""ZeroMQ sockets: opened by Python with the options we insist on, used by kernels through libzmq itself.

`open_socket` makes a socket of one of our roles and connects or binds it; `address(socket)` is what the kernels
take. `recv`, `send`, `more` and `events` call the very libzmq that pyzmq loaded, so a waiting 64-byte message costs
30 to 44 ns and no interpreter. Nothing here knows what a message means.

Options, all roles: LINGER 0, MAXMSGSIZE, heartbeats every 100 ms. Order sockets: IMMEDIATE (nothing is queued for a
peer that is not connected, to be sent late). ROUTER: MANDATORY (a send to an unknown peer fails) and HANDOVER (a
restarted peer takes its name back). XPUB: NODROP (a slow subscriber is seen as EAGAIN, not as a gap).

Worst case: an empty receive costs 0.55 to 1.2 us, so have few sockets. A socket belongs to one thread; a kernel must
not use one that Python has closed. Pin the loop's thread after `make_context`, or its I/O threads share your core.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import zmq

from engine.errors import TickrouteError
from engine.jit import JIT, kernel

#: errno values that the kernels return negated.
EAGAIN: Final = errno.EAGAIN
EHOSTUNREACH: Final = errno.EHOSTUNREACH
EINTR: Final = errno.EINTR
ETERM: Final = int(zmq.ETERM)
ENOTSOCK: Final = errno.ENOTSOCK
#: Bits of `events`.
POLLIN: Final = 1
POLLOUT: Final = 2
#: <zmq.h>
_DONTWAIT: Final = 1
_SNDMORE: Final = 2
_RCVMORE: Final = 13
_EVENTS: Final = 15
#: Sends tried after EAGAIN while the socket says that it has room.
SEND_TRIES: Final = 8
#: A message holds whole records: this many bytes are the most that a peer may send in one.
MAX_MESSAGE: Final = 65536
#: sun_path of <sys/un.h> is 108 bytes with its NUL.
IPC_PATH_MAX: Final = 107

ROLES: Final = {"sub": zmq.SUB, "router": zmq.ROUTER, "dealer": zmq.DEALER, "xpub": zmq.XPUB}


class LinkError(TickrouteError):
    """A socket that cannot be opened; the message names the endpoint, the value at fault and the remedy."""


def library_path() -> str:
    """Path of the libzmq that pyzmq loaded into this process; LinkError where it is linked in statically."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        path = line.split(maxsplit=5)[-1]
        if path.startswith("/") and "libzmq" in path.rsplit("/", 1)[-1]:
            return path
    raise LinkError("pyzmq has no shared libzmq in this process: install the pyzmq wheel from PyPI (pip install pyzmq)")


if JIT:
    from engine.io import zmq_native as _lib
else:
    from engine.io import zmq_twins as _lib  # type: ignore[no-redef]

_lib.load(library_path())

_zmq_recv: Any = _lib.zmq_recv
_zmq_send: Any = _lib.zmq_send
_zmq_errno: Any = _lib.zmq_errno
_get_int: Any = _lib.get_int


@kernel
def recv(socket: int, address: int, capacity: int) -> int:
    """Take one message part without waiting: its length in bytes, or -errno (-EAGAIN: nothing there).

    A part longer than `capacity` is cut, and its full length is returned: compare before reading it.
    """
    n = int(_zmq_recv(socket, address, capacity, _DONTWAIT))
    if n < 0:
        return -int(_zmq_errno())
    return n


@kernel
def send(socket: int, address: int, n: int, more: int) -> int:
    """Send one message part of `n` bytes (`more` = 1: parts follow) without waiting: `n`, or -errno.

    libzmq says EAGAIN for up to 1.6 ms although there is room, until its events are read: so they are read here, and
    the send is tried again while the socket claims room, at most SEND_TRIES times. -EAGAIN then means full.
    """
    flags = _DONTWAIT | (_SNDMORE if more else 0)
    sent = int(_zmq_send(socket, address, n, flags))
    if sent >= 0:
        return sent
    error = int(_zmq_errno())
    for _ in range(SEND_TRIES):
        if error != EAGAIN:
            break
        if _get_int(socket, _EVENTS) & POLLOUT == 0:
            break
        sent = int(_zmq_send(socket, address, n, flags))
        if sent >= 0:
            return sent
        error = int(_zmq_errno())
    return -error


@kernel
def more(socket: int) -> int:
    """1 if the part just received is followed by another of the same message, 0 if it was the last."""
    return _get_int(socket, _RCVMORE)  # type: ignore[no-any-return]


@kernel
def events(socket: int) -> int:
    """POLLIN and POLLOUT bits of the socket now, or -errno. Reading them makes libzmq do its pending work."""
    return _get_int(socket, _EVENTS)  # type: ignore[no-any-return]


def address(socket: zmq.Socket[bytes]) -> int:
    """What the kernels take for a socket. Valid until the socket is closed."""
    return int(socket.underlying)


def make_context(io_threads: int = 1, io_cores: Sequence[int] = ()) -> zmq.Context[zmq.Socket[bytes]]:
    """A context whose I/O threads run on `io_cores` (empty: wherever the scheduler puts them)."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=io_threads)
    for core in io_cores:
        try:
            context.set(zmq.THREAD_AFFINITY_CPU_ADD, core)
        except zmq.ZMQError as error:
            context.term()
            what = f"cannot put ZeroMQ's I/O threads on core {core}: {error}"
            raise LinkError(f"{what}; name a core of this host") from error
    return context


def open_socket(
    context: zmq.Context[zmq.Socket[bytes]],
    role: str,
    endpoint: str,
    *,
    bind: bool = False,
    name: bytes = b"",
    prefixes: Sequence[bytes] = (b"",),
    high_water: int = 65536,
    max_message: int = MAX_MESSAGE,
    heartbeat_ms: int = 100,
) -> zmq.Socket[bytes]:
    """A socket of a role (`sub`, `router`, `dealer`, `xpub`), bound or connected to `endpoint`.

    `name` is a dealer's routing id; `prefixes` are a sub's subscriptions; `high_water` counts messages in each
    direction; a peer silent for 4 `heartbeat_ms` is disconnected. LinkError where that fails.
    """
    if role not in ROLES:
        raise LinkError(f"{endpoint}: no socket role {role!r}; there are {', '.join(ROLES)}")
    _check_endpoint(endpoint)
    socket = context.socket(ROLES[role])
    try:
        _set_options(socket, high_water, max_message, heartbeat_ms)
        if role in ("router", "dealer"):
            # Not on a sub: its subscriptions would then wait until somebody reads it.
            socket.set(zmq.IMMEDIATE, 1)
        if role == "router":
            socket.set(zmq.ROUTER_MANDATORY, 1)
            socket.set(zmq.ROUTER_HANDOVER, 1)
        elif role == "xpub":
            socket.set(zmq.XPUB_NODROP, 1)
        elif role == "dealer" and name:
            socket.set(zmq.ROUTING_ID, name)
        if role == "sub":
            for prefix in prefixes:
                socket.set(zmq.SUBSCRIBE, prefix)
        if bind:
            socket.bind(endpoint)
        else:
            socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise LinkError(f"{endpoint}: cannot {'bind' if bind else 'connect'} {role}: {_remedy(error)}") from error
    return socket


def _set_options(socket: zmq.Socket[bytes], high_water: int, max_message: int, heartbeat_ms: int) -> None:
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.MAXMSGSIZE, max_message)
    socket.set(zmq.SNDHWM, high_water)
    socket.set(zmq.RCVHWM, high_water)
    socket.set(zmq.HEARTBEAT_IVL, heartbeat_ms)
    socket.set(zmq.HEARTBEAT_TIMEOUT, 4 * heartbeat_ms)
    socket.set(zmq.RECONNECT_IVL, 10)
    socket.set(zmq.RECONNECT_IVL_MAX, 500)


def _check_endpoint(endpoint: str) -> None:
    transport, separator, rest = endpoint.partition("://")
    if not separator or transport not in ("ipc", "tcp", "inproc") or not rest:
        raise LinkError(f"endpoint {endpoint!r} is not of the form ipc:///path, tcp://host:port or inproc://name")
    if transport != "ipc":
        return
    size = len(rest.encode())
    if size > IPC_PATH_MAX:
        raise LinkError(f"{endpoint}: the path is {size} bytes long and {IPC_PATH_MAX} is the most; use a shorter one")
    if rest.startswith("/") and not Path(rest).parent.is_dir():
        raise LinkError(f"{endpoint}: folder {Path(rest).parent} does not exist; create it first")


def _remedy(error: zmq.ZMQError) -> str:
    remedies = {
        errno.EADDRINUSE: "another process has it; stop that process or choose another endpoint",
        errno.EADDRNOTAVAIL: "no interface of this host has that address; use one that `ip address` shows, or *",
        errno.EACCES: "no permission; choose a folder you may write to, or a port above 1023",
        errno.ENODEV: "no such network interface; use one that `ip link` shows",
        errno.EINVAL: "the endpoint or an option is out of range; see the values above",
        errno.EMFILE: "too many open files; raise `ulimit -n`",
    }
    known = remedies.get(error.errno or 0)
    return f"{error.strerror}: {known}" if known else f"{error.strerror} (errno {error.errno})"
