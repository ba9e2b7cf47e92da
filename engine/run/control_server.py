"""The control server: a thread of the engine's process that takes commands from people and tells them what came of it.

    people --AF_UNIX packets--> server --control.ring--> loop --answers.ring--> server --> the person who asked
           --CURVE, elsewhere-->

It is the only producer of the control ring. Who somebody is comes from the kernel (SO_PEERCRED, at their connecting) or
from the CURVE key that they proved to hold. A message is held to, in this order: size, rate, form, role, repetition,
names. What fails is answered with the reason where it can be, counted and logged, and never acted upon.

What a message breaks costs its connection: the error is counted and logged, and the next one is heard. Whoever looks
after the engine calls `revive` now and then: a thread that ended all the same is started again, and that is logged.

The loop is never waited for: its answers are polled every millisecond while any is due.

Worst case: a person who reads no answers is hung up on; MAX_CONNECTIONS connections are held, A_UID of one user, and
STRANGERS of all who are no person of the configuration, besides.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import zmq

from engine.io.ring import CONSUMER, Ring, ring_pop
from engine.record.records import ControlAction, Template, blank
from engine.run.config import Config
from engine.run.control import ControlError, ControlRing
from engine.run.control_commands import Commands
from engine.run.control_curve import CurveServer
from engine.run.control_guard import URGENT, Guard, Log, Refused
from engine.run.control_listen import listen, remove
from engine.run.control_people import Actor, Peer, People
from engine.run.control_wire import MESSAGE_MAX, SOCKET, Answer, Request, Why, report_of
from engine.run.links import ANSWERS_RING

MAX_CONNECTIONS: Final = 64
A_UID: Final = 8
#: Connections of all who are no person of the configuration; they take no room from those who are.
STRANGERS: Final = 8
#: How long a connection may say nothing; of a stranger, how long it may be at all.
_IDLE_S: Final = 600
_STRANGER_S: Final = 5
#: How long somebody waits for answers at the most: a paced mass cancel may take minutes.
_PENDING_S: Final = 3600
#: Between two attempts to go on after an error that is of no connection, and to start a thread that has ended.
_AGAIN_S: Final = 0.05
_BUSY_MS, _QUIET_MS = 1, 50
_UCRED: Final = struct.Struct("3i")
Say = Callable[[Answer], None]


def _unheard(answer: Answer) -> None:
    """What is said to somebody who has hung up."""


class Pending:
    """A command whose answers are due."""

    def __init__(self, request: Request, peer: Peer, say: Say, request_ids: list[int]) -> None:
        self.request, self.peer, self.say = request, peer, say
        self.open = set(request_ids)
        self.until_s = time.monotonic() + _PENDING_S


class ControlServer:
    """Serves one run. `start` when the loop runs, `stop` before the ring goes. `clock`: the engine's clock, ns."""

    def __init__(
        self, config: Config, run_dir: Path, ring: ControlRing, clock: Callable[[], int], *, run_id: str
    ) -> None:
        self._ring = ring
        self.people = People(config.control)
        self.guard = Guard(config.control.commands_per_s)
        self.commands = Commands(config, clock)
        self._decoder = msgspec.json.Decoder(Request)
        self._pending: dict[int, Pending] = {}
        self._connections: dict[int, Connection] = {}
        self._started = False
        self._stopping = threading.Event()
        self._again_s = 0.0
        self._thread = self._new_thread()
        self._record = blank(Template.CONTROL_REPORT)
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self.log = Log(run_dir, run_id)
            stack.callback(self.log.close)
            self._answers = Ring.attach(run_dir / ANSWERS_RING, CONSUMER)
            stack.callback(self._answers.close)
            self._answers.discard()
            ring_pop(self._answers.address, self._record.ctypes.data)  # compiled or loaded here
            self.path = Path(config.control.socket) if config.control.socket else run_dir / SOCKET
            self._listener = listen(self.path, config.control)
            stack.callback(self._unlisten)
            self._poller = zmq.Poller()
            self._poller.register(self._listener.fileno(), zmq.POLLIN)
            self.curve = CurveServer(config.control, self.people, self.log) if config.control.curve else None
            if self.curve is not None:
                stack.callback(self.curve.close)
                for one in self.curve.sockets:
                    self._poller.register(one, zmq.POLLIN)
            self._closing = stack.pop_all()

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="tickroute-control", daemon=True)

    def _unlisten(self) -> None:
        self._listener.close()
        remove(self.path)

    def start(self) -> None:
        """Begin to serve."""
        self._started = True
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread is there that takes commands."""
        return self._thread.is_alive()

    def revive(self) -> None:
        """Start the thread again where it has ended; where that cannot be, say so in the log and on stderr."""
        if self.alive or not self._started or self._stopping.is_set() or time.monotonic() < self._again_s:
            return
        self._again_s = time.monotonic() + 1
        self.log.write("thread ended", None, "the thread that takes commands has ended; it is started again")
        self._thread = self._new_thread()
        try:
            self._thread.start()
        except RuntimeError as error:
            said = f"the thread that takes commands cannot be started again, nobody can halt: {error}"
            self.log.write("thread ended", None, said)
            print(f"error: {said}", file=sys.stderr, flush=True)

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
            try:
                for ready, _ in self._poller.poll(_BUSY_MS if self._pending else _QUIET_MS):
                    self._serve(ready)
                self._tell()
                self._forget()
            except Exception as error:  # noqa: BLE001  whatever it was: the next command is heard
                self.log.write("error", None, f"{type(error).__name__}: {error}")
                self._stopping.wait(_AGAIN_S)

    def _serve(self, ready: Any) -> None:
        """Take what came on a socket. An error costs the connection that it came of, and no other."""
        connection = self._connections.get(ready)
        try:
            if connection is not None:
                connection.take()
            elif self.curve is not None and ready in self.curve.sockets:
                for peer, raw, say in self.curve.take(ready):
                    self.handle(peer, raw, say, oversized=len(raw) > MESSAGE_MAX)
            elif ready == self._listener.fileno():
                self._accept()
        except Exception as error:  # noqa: BLE001  the others are served
            peer_of = connection.peer if connection is not None else None
            self.log.write("error", peer_of, f"{type(error).__name__}: {error}")
            if connection is not None:
                connection.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        peer = self.people.on_host(pid, uid)
        connection = Connection(sock, peer, self)
        if not self._has_room(peer):
            self.refuse(peer, connection.say, "", Refused(Why.TOO_MANY, "too many connections; close some"))
            connection.close()
            return
        self._connections[sock.fileno()] = connection
        self._poller.register(sock.fileno(), zmq.POLLIN)

    def _has_room(self, peer: Peer) -> bool:
        """Whether one more connection of a peer is taken: who is no person keeps no person out."""
        if peer.actor is None:
            return sum(other.peer.actor is None for other in self._connections.values()) < STRANGERS
        persons = [other.peer.key for other in self._connections.values() if other.peer.actor is not None]
        return len(persons) < MAX_CONNECTIONS and persons.count(peer.key) < A_UID

    def drop(self, connection: Connection, number: int) -> None:
        """Forget a connection, and what it was to be told. `number` was its descriptor, and may be another's by now."""
        if self._connections.get(number) is connection:
            del self._connections[number]
            self._poller.unregister(number)
        for pending in self._pending.values():
            if pending.say == connection.say:
                pending.say = _unheard

    def _forget(self) -> None:
        now_s = time.monotonic()
        for connection in [c for c in self._connections.values() if now_s > c.until_s]:
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
        found: Request | Refused = (
            Refused(Why.OVERSIZED, f"more than {MESSAGE_MAX} bytes") if oversized else self._read(raw)
        )
        request = found if isinstance(found, Request) else None
        try:
            if not oversized:
                self.guard.within_rate(peer, urgent=request is not None and request.command in URGENT)
            if isinstance(found, Refused):
                raise found
            actor = self.commands.allowed(peer.actor, found)
            self.guard.first_time(found)
            self._carry_out(peer, actor, found, say)
        except Refused as why:
            self.refuse(peer, say, request.id if request is not None else "", why, request)

    def _read(self, raw: bytes) -> Request | Refused:
        """The request that bytes are, or why they are none."""
        try:
            return self._decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return Refused(Why.MALFORMED, f"no request: {str(error)[:200]}")

    def _carry_out(self, peer: Peer, actor: Actor, request: Request, say: Say) -> None:
        if request.command == "pending":
            text = "\n".join(row.text() for row in self.commands.waiting.values()) or "no override waits"
            say(Answer(id=request.id, state="done", text=text))
        elif request.command == "override":
            waiting = self.commands.ask(actor, request)
            self.log.write("waiting", peer, waiting.text(), request)
            say(Answer(id=request.id, state="waiting", number=waiting.number, text=waiting.text()))
        elif request.command == "approve":
            terms, record = self.commands.approve(actor, request.number)
            self._push(peer, request, [record], say, terms)
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
        terms = text if request.command == "approve" else ""
        say(Answer(id=request.id, state="taken", request_id=ids[0], text=terms))

    def _tell(self) -> None:
        """Pass on what the loop has answered."""
        while ring_pop(self._answers.address, self._record.ctypes.data) > 0:
            report = report_of(self._record[0])
            pending = self._pending.get(report["request_id"])
            if pending is None:
                continue
            text = "" if report["action"] else self.commands.told(report)
            report |= {"action": ControlAction(report["action"]).name if report["action"] else "LIMIT_CHANGE"}
            pending.say(Answer(id=pending.request.id, state="report", report=report, text=text))
            if report["finished"]:
                del self._pending[report["request_id"]]
                pending.open.discard(report["request_id"])
                self.log.write("finished", pending.peer, text or pending.request.command, report=report)
                if not pending.open:
                    pending.say(Answer(id=pending.request.id, state="done"))


class Connection:
    """One peer on this host."""

    def __init__(self, sock: socket.socket, peer: Peer, server: ControlServer) -> None:
        self._sock, self.peer, self._server = sock, peer, server
        self._number = sock.fileno()
        self._closed = False
        #: When it is hung up on, if nothing more comes.
        self.until_s = time.monotonic() + (_IDLE_S if peer.actor is not None else _STRANGER_S)

    def take(self) -> None:
        """Read one packet."""
        if self.peer.actor is not None:
            self.until_s = time.monotonic() + _IDLE_S
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
        if self._closed:
            return
        try:
            self._sock.send(msgspec.json.encode(answer), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            self.close()

    def close(self) -> None:
        """Hang up. Twice is once."""
        if self._closed:
            return
        self._closed = True
        self._server.drop(self, self._number)
        self._sock.close()
