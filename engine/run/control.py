"""Control of a running engine from outside: one record into the ring that its loop reads, and the proof that it did.

The engine holds the producer's side of RUN_DIR/control.ring only while it pushes, so that another process can. Who may
write to the run's directory may control the engine; the record says whose process it was (`actor_id`, a uid).

Worst case: the loop does not take records (it waits for the disk, or its process is stopped): an error after WAIT_S.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import TickrouteError
from engine.io.atomics import realtime_ns
from engine.io.mapping import try_lock
from engine.io.ring import PRODUCER, Ring, RingError, ring_push
from engine.record.records import ControlAction, Scope, Template, blank
from engine.run.links import CONTROL_RING

#: How long a push waits for the other side of the ring, and for the loop.
WAIT_S: Final = 2.0


class ControlError(TickrouteError):
    """A run that cannot be controlled; the message says why and what to do."""


def kill_record(action: ControlAction, value: int = 0) -> np.ndarray:
    """KILL_ON (`value` is the Reason, 0 where a person asks) or KILL_OFF."""
    record = blank(Template.CONTROL)
    record["action"], record["scope"], record["value"] = action, Scope.ALL, value
    record["client_id"] = record["instrument_id"] = -1
    record["actor_id"] = os.getuid()
    return record


def cancel_all_record() -> np.ndarray:
    """A mass cancel of every parent."""
    record = blank(Template.MASS_CANCEL)
    record["scope"] = Scope.ALL
    record["client_id"] = record["instrument_id"] = -1
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


def push(run_dir: Path, record: np.ndarray, *, taken: bool = False) -> None:
    """Push a record into a run's control ring; `taken`: wait until the loop has it. ControlError, RingError."""
    record["ts_event_ns"] = realtime_ns()
    until = time.monotonic() + WAIT_S
    ring = _attach(run_dir / CONTROL_RING, until)
    try:
        if ring_push(ring.address, record.ctypes.data, record.dtype.itemsize) != 1:
            raise ControlError(f"{ring.path} is full: the loop does not take control records")
        mine = ring.pushed
        while taken and ring.popped < mine:
            if time.monotonic() > until:
                raise ControlError(
                    f"{run_dir}: the loop has not taken the record in {WAIT_S:.0f} s; it stays in the ring. See "
                    f"`tickroute status {run_dir}`"
                )
            time.sleep(0.001)
    finally:
        ring.close()


def _attach(path: Path, until: float) -> Ring:
    while True:
        try:
            return Ring.attach(path, PRODUCER)
        except RingError:
            if not path.exists() or time.monotonic() > until:
                raise
            time.sleep(0.005)  # somebody else pushes
