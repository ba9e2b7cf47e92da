"""Commands from other hosts: a ZeroMQ ROUTER with CURVE, and its allow-list of keys.

libzmq asks over ZAP whether a key may connect; the answer is yes for the keys of [[control.person]], and the key comes
back with each message (User-Id), so a message's sender is whoever proved to hold that key's secret. Messages are
encrypted and authenticated, a copied one is none of this connection; a copied request is refused by its id.

What is larger than MESSAGE_MAX is refused like everywhere, up to MOST_BYTES. Beyond that libzmq reads no further and
drops the connection, and says so to nobody: `_Wire` holds a second descriptor of each connection, and what libzmq left
unread there tells a message that was too large from a peer that has hung up. Both are counted, the first is refused
and logged with the peer's address.

Worst case: a key that is not known costs a handshake, which is counted and logged. Of more than _HELD connections the
oldest are no longer looked at; that they were dropped is logged all the same, without an address.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import zmq
import zmq.auth
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from engine.run.config_control import Control
from engine.run.control_guard import Log
from engine.run.control_people import Peer, People
from engine.run.control_wire import DOMAIN, Answer, Why

_ZAP: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"
#: Larger ones are dropped by libzmq with their connection. A peer that has proved nothing yet can make us hold as much.
MOST_BYTES: Final = 1 << 20
#: Connections of which a second descriptor is held.
_HELD: Final = 256
_HEARTBEAT_MS, _SILENT_MS = 5000, 15_000
_HANDSHAKE_MS: Final = 3000
_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
#: tcpi_last_data_recv of struct tcp_info: ms since the last data came.
_LAST_DATA: Final = struct.Struct("I")
_CONNECTIONS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
Taken = tuple[Peer, bytes, Callable[[Answer], None]]


class CurveError(OSError):
    """A CURVE server that cannot be; the message says why."""


class CurveServer:
    """The ROUTER, the ZAP handler and the monitor; `take` reads from any of `sockets`."""

    def __init__(self, control: Control, people: People, log: Log) -> None:
        self._people, self._log = people, log
        public, secret = _own_key(control.secret_key)
        self._context = zmq.Context(io_threads=1)
        self._context.setsockopt(zmq.LINGER, 0)
        self._zap = self._context.socket(zmq.REP)
        self._zap.bind(_ZAP)
        self._router = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.CURVE_SERVER, 1), (zmq.MAXMSGSIZE, MOST_BYTES), (zmq.HANDSHAKE_IVL, _HANDSHAKE_MS),
            (zmq.HEARTBEAT_IVL, _HEARTBEAT_MS), (zmq.HEARTBEAT_TIMEOUT, _SILENT_MS), (zmq.RCVHWM, 16),
            (zmq.SNDHWM, 1000),
        ):  # fmt: skip
            self._router.setsockopt(option, value)
        self._router.curve_secretkey, self._router.curve_publickey = secret, public
        self._router.zap_domain = DOMAIN.encode()
        self._monitor: Any = self._router.get_monitor_socket(_FAILED | _CONNECTIONS)
        self._wire = _Wire(log)
        try:
            self._router.bind(control.curve)
        except zmq.ZMQError as error:
            self.close()
            raise CurveError(error.errno, f"control.curve = {control.curve!r}: {error.strerror}") from error

    @property
    def sockets(self) -> tuple[Any, ...]:
        """What to poll."""
        return (self._zap, self._router, self._monitor)

    def take(self, ready: Any) -> Iterator[Taken]:
        """What came on a socket: messages of people, each with a way to answer."""
        if ready is self._zap:
            self._authenticate()
        elif ready is self._monitor:
            event = recv_monitor_message(self._monitor)
            if event["event"] & _CONNECTIONS:
                self._wire.heard(event["event"], int(event["value"]))
                return
            peer = Peer("handshake", f"a peer of {event['endpoint'].decode(errors='replace')}", None)
            self._log.write(f"refused: {Why.NOT_AUTHORISED}", peer, f"handshake failed, {event['event'].name}")
        else:
            with contextlib.suppress(zmq.Again):
                yield from self._read()

    def _read(self) -> Iterator[Taken]:
        frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
        key = frames[-1].get("User-Id")
        peer = self._people.elsewhere(key if isinstance(key, str) else "")
        peer = peer._replace(text=f"{peer.text} from {frames[-1].get('Peer-Address')}")
        name = frames[0].bytes
        body = frames[1].bytes if len(frames) == 2 else b""
        yield peer, body, lambda answer: self._say(name, answer)

    def _say(self, name: bytes, answer: Answer) -> None:
        with contextlib.suppress(zmq.ZMQError):
            self._router.send_multipart([name, msgspec.json.encode(answer)], zmq.NOBLOCK)

    def _authenticate(self) -> None:
        """Answer one question of libzmq's: may this key connect?"""
        frames = self._zap.recv_multipart()
        number = frames[1] if len(frames) > 1 else b""
        code, text, user = b"400", b"no", b""
        if len(frames) == 7 and frames[0] == _VERSION and frames[5] == b"CURVE" and len(frames[6]) == 32:
            key = z85.encode(frames[6]).decode()
            if self._people.elsewhere(key).actor is not None and frames[2] == DOMAIN.encode():
                code, text, user = b"200", b"OK", key.encode()
            else:
                address = frames[3].decode(errors="replace")
                peer = Peer(f"key {key}", f"key {key} from {address}", None)
                self._log.write(f"refused: {Why.NOT_AUTHORISED}", peer, "a key that is not among [[control.person]]")
        self._zap.send_multipart([_VERSION, number, code, text, user, b""])

    def close(self) -> None:
        """Close all."""
        self._router.disable_monitor()
        self._wire.close()
        self._context.destroy(linger=0)


class _Wire:
    """Connections as the kernel sees them, by the number of their descriptor in libzmq."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._held: OrderedDict[int, tuple[socket.socket, str]] = OrderedDict()

    def heard(self, event: int, number: int) -> None:
        """A connection was accepted, or has ended."""
        gone = self._held.pop(number, None)
        if event == zmq.EVENT_DISCONNECTED:
            self._ended(gone)
        elif gone is not None:
            gone[0].close()
        if event == zmq.EVENT_ACCEPTED:
            self._hold(number)

    def _hold(self, number: int) -> None:
        """A second descriptor of a connection, which libzmq's closing does not close."""
        try:
            sock = socket.socket(fileno=os.dup(number))
        except OSError:
            return  # it has ended already
        try:
            host, port = sock.getpeername()[:2]
        except (OSError, ValueError):
            sock.close()
            return
        self._held[number] = sock, f"{host}:{port}"
        if len(self._held) > _HELD:
            self._held.popitem(last=False)[1][0].close()

    def _ended(self, gone: tuple[socket.socket, str] | None) -> None:
        """Say how a connection has ended: libzmq reads all that a peer sends before it hangs up.

        A connection that the peer has not closed was dropped here: for what it sent, or because it was silent.
        """
        if gone is None:
            self._log.write("dropped", Peer("elsewhere", "a peer that was gone", None), "a connection has ended")
            return
        sock, address = gone
        peer = Peer(f"address {address}", f"a peer of {address}", None)
        with sock:
            try:
                unread = sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                (silent_ms,) = _LAST_DATA.unpack_from(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64), 52)
                if silent_ms >= _SILENT_MS:
                    self._log.write("dropped", peer, f"silent for {silent_ms / 1000:.0f} s; the connection is dropped")
                    return
                unread = b"?"
            except OSError:
                unread = b""
        if unread:
            text = f"more than {MOST_BYTES:,} bytes, or no ZMTP: not read, and the connection is dropped"
            self._log.write(f"refused: {Why.OVERSIZED}", peer, text)
        else:
            self._log.counts["hung up"] += 1

    def close(self) -> None:
        """Let go of all."""
        for sock, _ in self._held.values():
            sock.close()
        self._held.clear()


def _own_key(path: str) -> tuple[bytes, bytes]:
    """The server's (public, secret) key; CurveError where its file is none, or is for others to read."""
    try:
        if os.stat(path).st_mode & 0o077:
            raise CurveError(1, f"control.secret_key = {path!r}: others may read it; chmod 600 {path}")
        public, secret = zmq.auth.load_certificate(Path(path))
    except CurveError:
        raise
    except (OSError, ValueError) as error:
        raise CurveError(2, f"control.secret_key = {path!r}: {error}") from error
    if secret is None:
        raise CurveError(2, f"control.secret_key = {path!r}: has no secret key; name the .key_secret file")
    return public, secret
