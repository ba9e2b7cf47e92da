"""The logs beside a run, which its watch writes: the clock against references, alerts, breaks of reconciliations.

Each is chained line by line (`replay.watch.chained`), and is read against its chain and against the heads that the
watch's checkpoint has: a byte that was altered, a line that is gone or was cut off is an error that names line and
byte. A log that is not there is said to be missing, never taken for a good one. A last line without its end was being
written: it is left out, and its bytes are counted.

Worst case: a log is in memory while it is read, some 400 bytes a line; runs are days.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from engine.errors import TickrouteError
from replay.compliance.tally import Array
from replay.watch import checkpoint
from replay.watch.chained import ChainError, rows

CLOCK: Final = "clock.jsonl"
ALERTS: Final = "alerts.jsonl"
BREAKS: Final = "breaks.jsonl"
LOGS: Final = (CLOCK, ALERTS, BREAKS)


class LogError(TickrouteError):
    """A log beside a run that cannot be read: file, line, and why."""

    exit_code = 3


class ClockLine(msgspec.Struct, frozen=True):
    """A sample of the clock. `offset_ns`: this clock minus UTC; what is None nobody knows."""

    realtime_ns: int
    clock_ns: int
    source: str
    offset_ns: int | None = None
    error_bound_ns: int | None = None
    synchronised: bool = True
    step_ns: int = 0

    def outside(self, tolerance_ns: int) -> bool:
        """Whether the sample does not show the clock to be within a tolerance."""
        if self.offset_ns is None or self.error_bound_ns is None or not self.synchronised:
            return True
        return abs(self.step_ns) > tolerance_ns or max(abs(self.offset_ns), self.error_bound_ns) > tolerance_ns


class AlertLine(msgspec.Struct, frozen=True):
    """An alert as it was sent. `seen`: event_ns is when the watch saw it, since nobody knows it closer."""

    seq: int
    event_ns: int
    sent_ns: int
    code: str
    severity: str = ""
    kind: str = ""
    subject: str = ""
    count: int = 1
    seen: bool = False


class BreakLine(msgspec.Struct, frozen=True):
    """A difference to a venue's record: `state` is open, or gone when it is no more."""

    seq: int
    state: str
    kind: str = msgspec.field(name="break")
    mic: str = ""
    exec_id: str = ""
    age_ns: int | None = None
    found_ns: int = 0


class Log(NamedTuple):
    """A file beside a run as it was read. `head` is the last line's chain value."""

    name: str
    size: int
    sha256: str
    lines: int
    unfinished: int
    head: str


class Beside(NamedTuple):
    """What lies beside a run. `excursions`: begin and end in turn, ns of the engine's clock."""

    logs: dict[str, Log]
    clock: list[ClockLine]
    excursions: Array
    alerts: list[AlertLine]
    breaks: list[BreakLine]


def beside(run_dir: Path, run_id: str, tolerance_ns: int) -> Beside:
    """Read what lies beside a run. LogError where a line is not as it was written."""
    found: dict[str, list[Any]] = {}
    logs = {}
    for name, kind in ((CLOCK, ClockLine), (ALERTS, AlertLine), (BREAKS, BreakLine)):
        log, found[name] = _read(run_dir, name, run_id, kind)
        if log is not None:
            logs[name] = log
    return Beside(logs, found[CLOCK], excursions(found[CLOCK], tolerance_ns), found[ALERTS], found[BREAKS])


def excursions(samples: list[ClockLine], tolerance_ns: int) -> Array:
    """Stretches of the engine's clock without a sample that shows it to be within the tolerance: from the last good
    sample (0: there was none) to the next good one (the largest int64: none came)."""
    found: list[int] = []
    outside, good_ns = False, 0
    for sample in samples:
        bad = sample.outside(tolerance_ns)
        if bad and not outside:
            found.append(good_ns)
        elif outside and not bad:
            found.append(sample.clock_ns)
        outside = bad
        good_ns = good_ns if bad else sample.clock_ns
    if outside:
        found.append(int(np.iinfo(np.int64).max))
    return np.array(found, dtype=np.int64)


def _read(run_dir: Path, name: str, run_id: str, kind: type[Any]) -> tuple[Log | None, list[Any]]:
    path = run_dir / name
    if not path.exists():
        if name in checkpoint.heads(run_dir):
            raise LogError(f"{path}: is missing, and the watch had written it; restore it from a copy")
        return None, []
    lines: list[Any] = []
    chain = ""
    try:
        for row in rows(path, run_id, checkpoint.heads(run_dir).get(name)):
            chain = str(row["chain"])
            lines.append(msgspec.convert(row, kind))
    except ChainError as error:
        raise LogError(f"{error}; restore it from a copy, or find out who changed it") from error
    except msgspec.ValidationError as error:
        raise LogError(f"{path}, line {len(lines) + 1}: {error}") from error
    data = path.read_bytes()
    unfinished = len(data) - data.rfind(b"\n") - 1
    return Log(name, len(data), hashlib.sha256(data).hexdigest(), len(lines), unfinished, chain), lines
