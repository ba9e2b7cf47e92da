"""The control server: a thread of the engine's process that takes commands from people and tells them what came of it.

    people --AF_UNIX packets--> server --control.ring--> loop --answers.ring--> server --> the person who asked
           --CURVE, elsewhere-->

It is the only producer of the control ring. Who somebody is comes from the kernel (SO_PEERCRED, at their connecting) or
from the CURVE key that they proved to hold. A message is held to, in this order: size, rate, form, role, repetition,
names. What fails is answered with the reason where it can be, counted and logged, and never acted upon.

The loop is never waited for: its answers are polled every millisecond while any is due.

Worst case: a person who reads no answers is hung up on; MAX_CONNECTIONS connections are held, A_UID of one user.
"""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import zmq

from engine.errors import TickrouteError
from engine.io.ring import CONSUMER, Ring, ring_pop
from engine.record.records import ControlAction, Template, blank
from engine.run.config import Config
from engine.run.control import ControlError, ControlRing
from engine.run.control_commands import Commands
from engine.run.control_curve import CurveServer
from engine.run.control_guard import Guard, Log, Refused
from engine.run.control_people import Actor, Peer, People
from engine.run.control_wire import MESSAGE_MAX, SOCKET, Answer, At, Request, Why, report_of, unix_socket
from engine.run.links import ANSWERS_RING

MAX_CONNECTIONS: Final = 64
A_UID: Final = 8
_IDLE_S: Final = 600
#: How long somebody waits for answers at the most: a paced mass cancel may take minutes.
_PENDING_S: Final = 3600
_BUSY_MS, _QUIET_MS = 1, 50
_UCRED: Final = struct.Struct("3i")
Say = Callable[[Answer], None]


class Pending:
    """A command whose answers are due."""

    def __init__(self, request: Request, peer: Peer, say: Say, request_ids: list[int]) -> None:
        self.request, self.peer, self.say = request, peer, say
        self.open = set(request_ids)
        self.until_s = time.monotonic() + _PENDING_S


class ControlServer:
    """Serves one run. `start` when the loop runs, `stop` before the ring goes. `clock`: the engine's clock, ns."""

    def __init__(self, config: Config, run_dir: Path, ring: ControlRing, clock: Callable[[], int]) -> None:
        self._ring = ring
        self.people = People(config.control)
        self.guard = Guard(config.control.commands_per_s)
        self.commands = Commands(config, clock)
        self._decoder = msgspec.json.Decoder(Request)
        self._pending: dict[int, Pending] = {}
        self._connections: dict[int, Connection] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tickroute-control", daemon=True)
        self._record = blank(Template.CONTROL_REPORT)
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self.log = Log(run_dir)
            stack.callback(self.log.close)
            self._answers = Ring.attach(run_dir / ANSWERS_RING, CONSUMER)
            stack.callback(self._answers.close)
            self._answers.discard()
            ring_pop(self._answers.address, self._record.ctypes.data)  # compiled or loaded here
            self.path = Path(config.control.socket) if config.control.socket else run_dir / SOCKET
            self._listener = _listen(self.path, config)
            stack.callback(self._unlisten)
            self._poller = zmq.Poller()
            self._poller.register(self._listener.fileno(), zmq.POLLIN)
            self.curve = CurveServer(config.control, self.people, self.log) if config.control.curve else None
            if self.curve is not None:
                stack.callback(self.curve.close)
                for one in self.curve.sockets:
                    self._poller.register(one, zmq.POLLIN)
            self._closing = stack.pop_all()

    def _unlisten(self) -> None:
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End; who still waits for answers is told that the engine goes."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for pending in set(self._pending.values()):
            pending.say(Answer(id=pending.request.id, state="refused", why=Why.NO_ENGINE, text="the engine has ended"))
        for connection in list(self._connections.values()):
            connection.close()
        self._closing.close()

    # ---- the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            for ready, _ in self._poller.poll(_BUSY_MS if self._pending else _QUIET_MS):
                try:
                    self._serve(ready)
                except (OSError, zmq.ZMQError) as error:  # a peer that is gone; anything else ends the thread, loudly
                    self.log.write("error", None, str(error))
            self._tell()
            self._forget()

    def _serve(self, ready: Any) -> None:
        if self.curve is not None and ready in self.curve.sockets:
            for peer, raw, say in self.curve.take(ready):
                self.handle(peer, raw, say, oversized=len(raw) > MESSAGE_MAX)
        elif ready == self._listener.fileno():
            self._accept()
        elif ready in self._connections:
            self._connections[ready].take()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        peer = self.people.on_host(pid, uid)
        same = sum(other.peer.key == peer.key for other in self._connections.values())
        connection = Connection(sock, peer, self)
        if len(self._connections) >= MAX_CONNECTIONS or same >= A_UID:
            self.refuse(peer, connection.say, "", Refused(Why.TOO_MANY, "too many connections; close some"))
            sock.close()
            return
        self._connections[sock.fileno()] = connection
        self._poller.register(sock.fileno(), zmq.POLLIN)

    def drop(self, connection: Connection, number: int) -> None:
        """Forget a connection; its descriptor was `number`."""
        if self._connections.pop(number, None) is not None:
            self._poller.unregister(number)

    def _forget(self) -> None:
        now_s = time.monotonic()
        for connection in [c for c in self._connections.values() if now_s - c.heard_s > _IDLE_S]:
            connection.close()
        for number in [n for n, pending in self._pending.items() if pending.until_s < now_s]:
            del self._pending[number]

    # ---- messages

    def refuse(self, peer: Peer, say: Say, number: str, why: Refused, request: Request | None = None) -> None:
        """Count, log and answer a message that is not acted upon."""
        self.log.write(f"refused: {why.why}", peer, why.text, request)
        say(Answer(id=number, state="refused", why=why.why, text=why.text))

    def handle(self, peer: Peer, raw: bytes, say: Say, *, oversized: bool = False) -> None:
        """One message of a peer, from its bytes to what follows from it."""
        request: Request | None = None
        try:
            if oversized:
                raise Refused(Why.OVERSIZED, f"more than {MESSAGE_MAX} bytes")
            self.guard.within_rate(peer)
            try:
                request = self._decoder.decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise Refused(Why.MALFORMED, f"no request: {str(error)[:200]}") from error
            actor = self.commands.allowed(peer.actor, request)
            self.guard.first_time(request)
            self._carry_out(peer, actor, request, say)
        except Refused as why:
            self.refuse(peer, say, request.id if request is not None else "", why, request)

    def _carry_out(self, peer: Peer, actor: Actor, request: Request, say: Say) -> None:
        if request.command == "pending":
            text = "\n".join(row.text() for row in self.commands.waiting.values()) or "no override waits"
            say(Answer(id=request.id, state="done", text=text))
        elif request.command == "override":
            waiting = self.commands.ask(actor, request)
            self.log.write("waiting", peer, waiting.text(), request)
            say(Answer(id=request.id, state="waiting", number=waiting.number, text=waiting.text()))
        elif request.command == "approve":
            found, record = self.commands.approve(actor, request.number)
            self._push(peer, request, [record], say, f"asked by {found.by.name}: {found.text()}")
        else:
            self._push(peer, request, self.commands.records(actor, request), say, request.note)

    def _push(self, peer: Peer, request: Request, records: list[np.ndarray], say: Say, text: str) -> None:
        ids = [int(record["request_id"][0]) for record in records]
        pending = Pending(request, peer, say, ids)
        self._pending |= dict.fromkeys(ids, pending)
        try:
            self._ring.push(*records)
        except ControlError as error:
            for number in ids:
                del self._pending[number]
            raise Refused(Why.NO_ENGINE, str(error)) from error
        self.log.write("taken", peer, text, request, request_ids=ids)
        say(Answer(id=request.id, state="taken", request_id=ids[0]))

    def _tell(self) -> None:
        """Pass on what the loop has answered."""
        while ring_pop(self._answers.address, self._record.ctypes.data) > 0:
            report = report_of(self._record[0])
            pending = self._pending.get(report["request_id"])
            if pending is None:
                continue
            action = ControlAction(report["action"]).name if report["action"] else "LIMIT_CHANGE"
            pending.say(Answer(id=pending.request.id, state="report", report=report | {"action": action}))
            if report["finished"]:
                del self._pending[report["request_id"]]
                pending.open.discard(report["request_id"])
                self.log.write("finished", pending.peer, pending.request.command, report=report | {"action": action})
                if not pending.open:
                    pending.say(Answer(id=pending.request.id, state="done"))


class Connection:
    """One peer on this host."""

    def __init__(self, sock: socket.socket, peer: Peer, server: ControlServer) -> None:
        self._sock, self.peer, self._server = sock, peer, server
        self._number = sock.fileno()
        self.heard_s = time.monotonic()

    def take(self) -> None:
        """Read one packet."""
        self.heard_s = time.monotonic()
        try:
            raw, _, flags, _ = self._sock.recvmsg(MESSAGE_MAX)
        except BlockingIOError:
            return
        except OSError:
            raw, flags = b"", 0
        if not raw:
            self.close()
            return
        self._server.handle(self.peer, raw, self.say, oversized=bool(flags & socket.MSG_TRUNC))

    def say(self, answer: Answer) -> None:
        """Send an answer; a peer that does not read them is hung up on."""
        try:
            self._sock.send(msgspec.json.encode(answer), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            self.close()

    def close(self) -> None:
        """Hang up."""
        self._server.drop(self, self._number)
        self._sock.close()


def _listen(path: Path, config: Config) -> socket.socket:
    """The listening socket, its file with the permissions of the configuration before anybody can connect."""
    control = config.control
    sock = unix_socket()
    try:
        with At(path) as name:
            if path.exists() and _answers(name):
                raise ControlError(f"control.socket = {str(path)!r}: another process listens there; name another file")
            path.unlink(missing_ok=True)
            sock.bind(name)
            os.chmod(path, int(control.mode, 8))
            if control.group:
                os.chown(path, -1, grp.getgrnam(control.group).gr_gid)
        sock.setblocking(False)
        sock.listen(16)
    except KeyError as error:
        sock.close()
        raise ControlError(f"control.group = {control.group!r}: there is no such group") from error
    except OSError as error:
        sock.close()
        raise ControlError(f"{path}: cannot be a socket: {error.strerror}; see [control] socket") from error
    except TickrouteError:
        sock.close()
        raise
    return sock


def _answers(name: str) -> bool:
    """Whether somebody listens at a socket's path."""
    with unix_socket() as probe:
        return probe.connect_ex(name) == 0
