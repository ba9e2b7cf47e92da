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
from typing import Any, Final, NamedTuple

import numpy as np

from engine.errors import TickrouteError
from engine.io import zmq
from engine.io.atomics import address_of, cpu_pause, monotonic_ns, nap
from engine.io.mapping import aligned_zeros
from engine.jit import kernel
from engine.record.records import ORDER, RECORD_MAX, SBE_HEADER_SIZE, UNIT
from gateways.inbox import Array, Inbox, make_inbox, table, units_of, whole
from gateways.session import Port, Sessions, admit, keep, make_sessions, receive, transmit
from replay.stress.requests import Load

_SLICE_NS: Final = 2_000_000
_KEEP_NS: Final = 1_000_000
#: A sleep ends so much later than it was asked to.
_SLACK_NS: Final = 60_000
_BLOCKED_NAP_NS: Final = 50_000
_MAX_MESSAGE: Final = 65536

PLAY: Final = table("""
next       i8  the request that leaves next
stop       i8  how many there are
origin_ns  i8  CLOCK_MONOTONIC at which due times begin
offset_ns  i8  the engine's clock less CLOCK_MONOTONIC
kept_ns    i8  when the sessions were last looked after
waiting    i8  1: a full queue keeps the next one
blocked    i8  counted: requests that a full queue kept
late_ns    i8  the longest that one left after it was due
reports    i8  counted: records that came
""")


class Sent(NamedTuple):
    """What a load came to: how often a full queue kept a request, and the longest delay of one."""

    blocked: int
    late_ns: int


@kernel
def take_reports(s: Sessions, inbox: Inbox, play: Any, row: int) -> None:
    """Take what has come on a session: its hellos and heartbeats count, the rest is let go."""
    n = int(receive(s, row, address_of(inbox.head), _MAX_MESSAGE))
    while n > 0:
        if whole(inbox, 0, n):
            at = 0
            while at < n // UNIT:
                admit(s, row, inbox, at, monotonic_ns())
                play.reports += 1
                at += int(units_of(inbox, at))
        n = int(receive(s, row, address_of(inbox.head), _MAX_MESSAGE))


@kernel
def send_next(s: Sessions, play: Any, rows: Array, due_ns: Array, lines: Array, now_ns: int) -> bool:
    """Send the next request; False where its session takes nothing now."""
    n = int(play.next)
    row, line = rows[n], int(lines[n])
    link = s.links[line]
    due = int(play.origin_ns + due_ns[n])
    row.stream_epoch = link.epoch
    row.stream_seq = link.seq_out + 1
    row.ts_event_ns = due + play.offset_ns
    size = int(row.block_length) + SBE_HEADER_SIZE
    if not transmit(s, line, address_of(rows) + n * RECORD_MAX, size, now_ns):
        play.blocked += 1 - play.waiting
        play.waiting = 1
        return False
    link.seq_out += 1
    play.next = n + 1
    play.waiting = 0
    play.late_ns = max(int(play.late_ns), now_ns - due)
    return True


@kernel
def run_slice(s: Sessions, inbox: Inbox, state: Array, rows: Array, due_ns: Array, lines: Array, slice_ns: int) -> None:
    """Send what is due, and look after the sessions once a millisecond, for `slice_ns`. state: PLAY (1)."""
    play = state[0]
    now_ns = monotonic_ns()
    end_ns = now_ns + slice_ns
    while now_ns < end_ns:
        if now_ns - play.kept_ns >= _KEEP_NS:
            play.kept_ns = now_ns
            for row in range(len(s.links)):
                keep(s, row, now_ns)
                take_reports(s, inbox, play, row)
        wait_ns = min(end_ns, int(play.kept_ns) + _KEEP_NS) - now_ns
        if play.next < play.stop:
            due = int(play.origin_ns + due_ns[int(play.next)])
            if due <= now_ns:
                wait_ns = 0 if send_next(s, play, rows, due_ns, lines, now_ns) else _BLOCKED_NAP_NS + _SLACK_NS
            else:
                wait_ns = min(wait_ns, due - now_ns)
        if wait_ns > 2 * _SLACK_NS:
            nap(wait_ns - _SLACK_NS)
        elif wait_ns > 0:
            cpu_pause()
        now_ns = monotonic_ns()


class Desk:
    """The client sessions `names` of the engine at `endpoint`, served by a thread until `close`. A context manager.

    OrderEntryError's kin: SessionError where the endpoint cannot be used.
    """

    def __init__(self, endpoint: str, names: Sequence[str], *, heartbeat_ms: int, peer_timeout_ms: int) -> None:
        self.epoch = int(time.time())
        self._sessions = make_sessions(
            len(names), epoch=self.epoch, heartbeat_ms=heartbeat_ms, timeout_ms=peer_timeout_ms
        )
        self._sessions.links["session"] = -1
        self._inbox = make_inbox(_MAX_MESSAGE)
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
