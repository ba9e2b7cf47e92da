"""The clients of a stress test: each request leaves when it is due, on its session, whatever becomes of those before.

One thread serves all sessions, nopython between slices of 2 ms, so that it keeps its time beside the player of feeds.
What the engine answers is taken off its hands and not looked at: the engine's journal has it.

Worst case: some hundred thousand requests a second on one core; what is sent late is counted, and so is a full queue,
which delays all that comes after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from engine.errors import TickrouteError
from engine.io import zmq
from engine.io.mapping import aligned_zeros
from engine.record.records import ORDER
from gateways.inbox import make_inbox
from gateways.orders.paced import MAX_MESSAGE, PLAY, run_slice
from gateways.session import Port, make_sessions
from replay.stress.requests import Load

_SLICE_NS: Final = 2_000_000


class Sent(NamedTuple):
    """What a load came to: how often a full queue kept a request, and the longest delay of one."""

    blocked: int
    late_ns: int


class Desk:
    """The client sessions `names` of the engine at `endpoint`, served by a thread until `close`. A context manager.

    SessionError where the endpoint cannot be used.
    """

    def __init__(self, endpoint: str, names: Sequence[str], *, heartbeat_ms: int, peer_timeout_ms: int) -> None:
        self.epoch = int(time.time())
        self._sessions = make_sessions(
            len(names), epoch=self.epoch, heartbeat_ms=heartbeat_ms, timeout_ms=peer_timeout_ms
        )
        self._sessions.links["session"] = -1
        self._inbox = make_inbox(MAX_MESSAGE)
        self._state = aligned_zeros(1, PLAY)
        self._load = (np.zeros(0, dtype=ORDER), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
        self._next: tuple[Load, Callable[[], int], int] | None = None
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._error: BaseException | None = None
        self._slice(0)  # compiles or loads the kernels before anybody listens
        self._context = zmq.make_context()
        self._ports = [Port(self._sessions, n, endpoint, name, self._context) for n, name in enumerate(names)]
        self._thread = threading.Thread(target=self._work, name="stress-desk", daemon=True)
        self._thread.start()

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _slice(self, slice_ns: int) -> None:
        run_slice(self._sessions, self._inbox, self._state, *self._load, slice_ns)

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                self._take_up()
                self._slice(_SLICE_NS)
        except BaseException as error:  # noqa: BLE001  told by `check`
            self._error = error

    def _take_up(self) -> None:
        """Begin with a load once its origin is known."""
        with self._lock:
            if self._next is None or not (origin_ns := self._next[1]()):
                return
            load, _, offset_ns = self._next
            self._load = (load.rows, load.due_ns, load.sessions)
            play = self._state[0]
            play.next, play.stop, play.waiting, play.blocked, play.late_ns = 0, len(load.rows), 0, 0, 0
            play.origin_ns, play.offset_ns = origin_ns, offset_ns
            self._next = None

    # From the test's own thread

    def play(self, load: Load, origin: Callable[[], int], offset_ns: int = 0) -> None:
        """Send a load (its sessions are indices of ours); `origin` says when due times begin, 0 as long as that is not
        known. The one before must be finished.
        """
        with self._lock:
            self._next = (load, origin, offset_ns)

    @property
    def finished(self) -> bool:
        """Whether all has left."""
        with self._lock:
            return self._next is None and bool(self._state[0].next >= self._state[0].stop)

    @property
    def up(self) -> bool:
        """Whether the engine has answered on every session."""
        return bool((self._sessions.links["up"] == 1).all())

    @property
    def numbers(self) -> list[int]:
        """The last number that was used on each session."""
        return [int(number) for number in self._sessions.links["seq_out"]]

    @property
    def sent(self) -> Sent:
        """What the load in hand came to."""
        play = self._state[0]
        return Sent(int(play.blocked), int(play.late_ns))

    def check(self) -> None:
        """TickrouteError where the thread has ended by an error."""
        if self._error is not None:
            raise TickrouteError(f"the clients of the stress test ended: {self._error!r}") from self._error

    def close(self) -> None:
        """Hang up. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        for port in self._ports:
            port.close()
        self._context.term()
