"""Commands as records, and the ring by which they reach the loop: only the engine's own process pushes into it.

    RUN_DIR/control.ring   commands to the loop      both are the engine's user's alone (0600), and the producer's side
    RUN_DIR/answers.ring   CONTROL_REPORTs from it   of the first is held for the engine's life

Who gives a command is known before it is a record: `actor_id` is the peer's uid as the control server found it (0 is
root), or NOBODY (-1) where the engine acts by itself. No field that a sender fills says who it is.

Worst case: the loop takes no records (it waits for the disk): the ring holds some thousands, then a push is an error.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import TickrouteError
from engine.io.atomics import realtime_ns
from engine.io.mapping import try_lock
from engine.io.ring import PRODUCER, Ring, ring_push
from engine.record.records import NOBODY, ControlAction, RiskRule, Scope, Template, blank
from engine.run.links import CONTROL_RING

#: `old_value` of a change of a limit that does not say what it replaces.
ANY_VALUE: Final = -1


class ControlError(TickrouteError):
    """A run that cannot be controlled; the message says why and what to do."""


def control_record(
    action: ControlAction, scope: Scope = Scope.ALL, target: int = 0, *, value: int = 0, request_id: int = 0,
    actor: int = NOBODY,
) -> np.ndarray:  # fmt: skip
    """CONTROL of a scope; of KILL_ON `value` is the Reason, 0 where a person asks, whose uid is `actor`."""
    record = blank(Template.CONTROL)
    record["action"], record["value"] = action, value
    return _filled(record, scope, target, request_id, actor)


def mass_cancel_record(
    scope: Scope = Scope.ALL, target: int = 0, *, request_id: int = 0, actor: int = NOBODY
) -> np.ndarray:
    """A mass cancel of a scope; `actor` is the uid of who gave it."""
    return _filled(blank(Template.MASS_CANCEL), scope, target, request_id, actor)


def limit_record(
    rule: RiskRule, scope: Scope, target: int, value: int, *, request_id: int, actors: tuple[int, int],
    expires_ns: int = 0,
) -> np.ndarray:  # fmt: skip
    """LIMIT_CHANGE: another limit from now on, or (`expires_ns`, with two actors) an override until then.

    `actors`: the uids of who asked and of who approved, NOBODY where one is enough.
    """
    record = blank(Template.LIMIT_CHANGE)
    record["rule"], record["value"], record["old_value"] = rule, value, ANY_VALUE
    record["actor_2"], record["expires_ns"] = actors[1], expires_ns
    return _filled(record, scope, target, request_id, actors[0])


def _filled(record: np.ndarray, scope: Scope, target: int, request_id: int, actor: int) -> np.ndarray:
    record["scope"], record["request_id"] = scope, request_id
    record["client_id"] = target if scope is Scope.CLIENT else -1
    record["instrument_id"] = target if scope is Scope.INSTRUMENT else -1
    record["target"] = 0 if scope in (Scope.CLIENT, Scope.INSTRUMENT) else target
    record["actor_id"] = actor
    return record


def alive(run_dir: Path) -> bool:
    """Whether a process works on this run: its lock is held."""
    try:
        fd = os.open(run_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not try_lock(fd, 0)
    finally:
        os.close(fd)


class ControlRing:
    """The producer's side of a run's control ring; any thread of the engine's process may push."""

    def __init__(self, run_dir: Path) -> None:
        self._ring = Ring.attach(run_dir / CONTROL_RING, PRODUCER)
        self._lock = threading.Lock()

    def push(self, *records: np.ndarray) -> None:
        """Push records (arrays of one), one behind the other; ControlError where the ring is full or closed."""
        with self._lock:
            for record in records:
                record["ts_event_ns"] = realtime_ns()
                if not self._ring.address:
                    raise ControlError(f"{self._ring.path}: the engine is on its way out")
                if ring_push(self._ring.address, record.ctypes.data, record.dtype.itemsize) != 1:
                    raise ControlError(f"{self._ring.path} is full: the loop does not take control records")

    def close(self) -> None:
        """Give the side back."""
        with self._lock:
            self._ring.close()
