"""Halting: what the driver does when the core has raised, or when nothing can be trusted to reach the disk any more.

    HALTED        an observation: why, at which input, what lived
    CONTROL STOP  inputs whose step cancels what lives (engine.core.halt), journaled and sent like all others

An input at which the core raises has no outputs; what it changed before it raised stays as it is, in the engine and in
every replay (`engine.run.drive`), because both run the same code on the same bytes. Then the process ends with exit
code 1. A run that halted goes on with `--after-halt` only, and then with the kill flag on.

Called in the loop's thread once the loop has ended. Worst case: no segment of the journal is ready; what is not on the
journal is not sent, and what lives is told to whoever reads the message. Where halting raises, too, that is said, and
the run has halted all the same.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.core.halt import A_STEP
from engine.core.state import C_CANCELS_SENT, State
from engine.errors import TickrouteError
from engine.io.atomics import store_release, tsc
from engine.io.journal import NOT_READY, append
from engine.io.journal_format import LAST, Kind
from engine.record.records import RECORD_MAX, UNIT, ControlAction, Reason, Template, blank
from engine.run.assemble import Loop
from engine.run.held import flush
from engine.run.inbox import free_slot, put
from engine.run.wiring import FLAG_STOP, L_SENT

#: The text of a halt, in the run directory.
HALTED_FILE: Final = "halted.txt"
_WAIT_S = 1.0


class HaltedError(TickrouteError):
    """The engine stopped itself; the message says why, where, and what lives."""


class Halt(NamedTuple):
    """How an engine stopped itself."""

    reason: Reason
    why: str
    #: Journal number of the input at which the core raised; -1 where it was none's fault.
    input_seq: int
    live_children: int
    #: Cancels made, and records that left.
    cancels: int
    sent: int
    journaled: bool
    #: What halting itself raised; empty where it did not.
    broken: str = ""

    def text(self, run_dir: Path) -> str:
        """For people: one line of what, one of what to do."""
        at = f" at input {self.input_seq}" if self.input_seq >= 0 else ""
        told = f"{self.live_children} orders lived at venues, {self.sent} of {self.cancels} cancels left"
        if self.broken:
            told = f"halting raised {self.broken}: orders may live at venues, cancel them there"
        elif not self.journaled:
            told = f"the journal took no more: {self.live_children} orders live at venues, cancel them there"
        return (
            f"{run_dir}: halted{at}, {self.reason.name}: {self.why}; {told}. Find out ({run_dir / HALTED_FILE}), then "
            "go on with `tickroute run --after-halt`, cancel-only until `tickroute resume RUN_DIR`"
        )


def halt(loop: Loop, pump: Any, reason: Reason, error: BaseException | str) -> Halt:
    """Write down why, cancel what lives, and say what was done. The loop must have ended. It does not raise."""
    try:
        return _halt(loop, pump, reason, error)
    except Exception as broken:  # noqa: BLE001  whatever it was, the process must not end as if nothing had been
        return _broken(loop, reason, error, broken)


def _broken(loop: Loop, reason: Reason, error: BaseException | str, broken: Exception) -> Halt:
    """Halting raised: write down at least that the run has halted, once more where it was. Nothing else is sure."""
    journaled = False
    with contextlib.suppress(Exception):
        journaled = _write(loop, reason, -1, 0)
        loop.wiring.line[0].cut = 1  # a batch may not be whole: the journal was not closed in order
    return Halt(
        reason=reason,
        why=_why(error),
        input_seq=-1,
        live_children=0,
        cancels=0,
        sent=0,
        journaled=journaled,
        broken=_why(broken),
    )


def _halt(loop: Loop, pump: Any, reason: Reason, error: BaseException | str) -> Halt:
    state, events, outbox, w = loop
    store_release(w.flags.ctypes.data + FLAG_STOP, 1)
    raised = isinstance(error, BaseException)
    line = w.line[0]
    input_seq = int(line.input_seq) if raised else -1
    line.halted = int(reason)
    line.inbox_head = line.inbox_count = 0
    outbox.count[0] = 0
    state.undo["active"] = 0
    live = _live(state)
    cancels, sent = int(state.counts[C_CANCELS_SENT]), int(w.counters[L_SENT])
    journaled = _write(loop, reason, input_seq, len(live))
    for first in [0, *live[A_STEP::A_STEP].tolist()]:
        try:
            journaled = journaled and _stop(loop, pump, first)
        except Exception:  # noqa: BLE001  the state is broken: the next rows may still be cancelled
            outbox.count[0] = 0
            _write(loop, reason, int(line.input_seq), len(live))
    flush(events, w, int(reason == Reason.DISK_ERROR))
    return Halt(
        reason=reason,
        why=_why(error),
        input_seq=input_seq,
        live_children=len(live),
        cancels=int(state.counts[C_CANCELS_SENT]) - cancels,
        sent=int(w.counters[L_SENT]) - sent,
        journaled=journaled,
    )


def write_text(run_dir: Path, found: Halt, error: BaseException | str) -> None:
    """Keep the message, and the traceback where there is one, in the run directory."""
    lines = [found.text(run_dir), ""]
    if isinstance(error, BaseException):
        lines += traceback.format_exception(error)
    with contextlib.suppress(OSError):  # a full disk: the journal and standard error say it
        (run_dir / HALTED_FILE).write_text("\n".join(lines), encoding="utf-8")


def _why(error: BaseException | str) -> str:
    if isinstance(error, str):
        return error
    text = ""
    with contextlib.suppress(Exception):  # what it says may be what is broken
        text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _live(state: State) -> np.ndarray:
    """Slots of children with leaves, by what they say themselves."""
    return np.flatnonzero(state.children["leaves_qty"] > 0)


def _write(loop: Loop, reason: Reason, input_seq: int, live: int) -> bool:
    """Journal HALTED; False where the journal takes nothing for a second."""
    record = blank(Template.HALTED)
    record["ts_event_ns"] = loop.wiring.line[0].clock_ns
    record["reason"], record["input_seq"], record["live_children"] = reason, input_seq, live
    address = int(record.ctypes.data)
    until = time.monotonic() + _WAIT_S
    if loop.wiring.line[0].cut:
        return False
    while True:
        seq = append(loop.wiring.journal, int(Kind.OBSERVATION), LAST, 0, -1, address, record.dtype.itemsize)
        if seq != NOT_READY or time.monotonic() > until:
            return bool(seq >= 0)
        time.sleep(0.001)


def _stop(loop: Loop, pump: Any, first: int) -> bool:
    """Take in one CONTROL STOP; False where the journal does not take it."""
    state, events, outbox, w = loop
    w.line[0].inbox_head = w.line[0].inbox_count = 0
    i = free_slot(w)
    put(events, w, i, int(Template.CONTROL), RECORD_MAX)
    events.control[i]["action"] = ControlAction.STOP
    events.control[i]["value"] = first
    return bool(pump.pump(state, events, i, outbox, w, tsc()) >= 0)


assert blank(Template.HALTED).dtype.itemsize == UNIT
assert blank(Template.CONTROL).dtype.itemsize == RECORD_MAX
