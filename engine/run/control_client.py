"""The other side of the control server: sends one command and yields the answers to it.

    with dial(run_dir) as line: for answer in line.ask(new_request("halt"), 10.0): ...

Worst case: no answer within the time: ControlError, and the command may have been taken; the journal says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import zmq
import zmq.auth

from engine.run.control import ControlError, alive
from engine.run.control_wire import MESSAGE_MAX, SOCKET, Answer, At, Request, unix_socket

_CONNECT_S: Final = 5.0


class Line:
    """A connection to a run's control server: over its socket, or (`send` and `receive` replaced) over CURVE."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._decoder = msgspec.json.Decoder(Answer)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        raise NotImplementedError

    def _send(self, raw: bytes) -> None:
        raise NotImplementedError

    def _receive(self, timeout_s: float) -> bytes | None:
        raise NotImplementedError

    def ask(self, request: Request, wait_s: float) -> Iterator[Answer]:
        """Send a request; its answers as they come, the last one `done`, `refused` or `waiting`. ControlError."""
        self._send(msgspec.json.encode(request))
        until_s = time.monotonic() + wait_s
        while True:
            raw = self._receive(until_s - time.monotonic())
            if raw is None:
                raise ControlError(
                    f"{self.where}: no last answer to {request.command} in {wait_s:g} s; it may have been taken, or "
                    "still be under way: see control.log and `tickroute status`"
                )
            answer = self._decoder.decode(raw)
            if answer.id not in (request.id, ""):
                continue
            yield answer
            if answer.state in ("done", "refused", "waiting"):
                return


class _Local(Line):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._sock = unix_socket()
        try:
            with At(path) as name:
                self._sock.connect(name)
        except OSError as error:
            self._sock.close()
            raise ControlError(_why_not(path, error)) from error

    def close(self) -> None:
        self._sock.close()

    def _send(self, raw: bytes) -> None:
        try:
            self._sock.send(raw)
        except OSError as error:
            raise ControlError(f"{self.where}: the engine has hung up ({error.strerror})") from error

    def _receive(self, timeout_s: float) -> bytes | None:
        self._sock.settimeout(max(timeout_s, 0.001))
        try:
            raw = self._sock.recv(MESSAGE_MAX)
        except TimeoutError:
            return None
        except OSError:
            raw = b""
        if not raw:
            raise ControlError(f"{self.where}: the engine has hung up; it may have ended")
        return raw


class _Curve(Line):
    def __init__(self, endpoint: str, secret_key: Path, server_key: Path) -> None:
        super().__init__(endpoint)
        self._context = zmq.Context(io_threads=1)
        self._socket = self._context.socket(zmq.DEALER)
        try:
            public, secret = zmq.auth.load_certificate(secret_key)
            server, _ = zmq.auth.load_certificate(server_key)
            if secret is None:
                raise ValueError(f"{secret_key}: has no secret key; name the .key_secret file")
            self._socket.curve_secretkey, self._socket.curve_publickey = secret, public
            self._socket.curve_serverkey = server
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
            self._socket.connect(endpoint)
        except (OSError, ValueError, zmq.ZMQError) as error:
            self.close()
            raise ControlError(f"{endpoint}: {error}") from error

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _send(self, raw: bytes) -> None:
        if not self._socket.poll(int(_CONNECT_S * 1000), zmq.POLLOUT):
            raise ControlError(
                f"{self.where}: no connection in {_CONNECT_S:g} s; is it the control.curve of a running engine, is "
                "--server-key its public key, and is your key among its [[control.person]]?"
            )
        self._socket.send(raw)

    def _receive(self, timeout_s: float) -> bytes | None:
        if not self._socket.poll(max(int(timeout_s * 1000), 1)):
            return None
        raw: Any = self._socket.recv()
        return bytes(raw)


def dial(run_dir: Path, path: Path | None = None) -> Line:
    """The control server of the engine that works on a run, on this host. ControlError."""
    return _Local(path or run_dir / SOCKET)


def dial_curve(endpoint: str, secret_key: Path, server_key: Path) -> Line:
    """The control server of an engine elsewhere. ControlError."""
    return _Curve(endpoint, secret_key, server_key)


def _why_not(path: Path, error: OSError) -> str:
    run_dir = path.parent
    if isinstance(error, PermissionError):
        return f"{path}: uid {os.getuid()} may not connect; see [control] mode and group of the run's configuration"
    if (run_dir / "lock").exists() and alive(run_dir):
        return f"{path}: the engine is not ready yet, or on its way out ({error.strerror})"
    there = "there is no run" if not (run_dir / "journal").exists() else "no engine works on this run"
    return f"{run_dir}: {there}; start it (tickroute run), or name a run directory that is in use"
