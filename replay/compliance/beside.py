"""The logs beside a run: its clock against references, and its alerts; what they say, and when the clock was outside.

    clock.jsonl   a line a sample: realtime_ns, clock_ns, source, offset_ns, error_bound_ns
    alerts.jsonl  a line an alert: seq, event_ns, sent_ns, code, severity

A log that is not there is said to be missing, never taken for a good one. A line that cannot be read is an error that
names file and line: a report does not pass over it. A last line without its end was being written: it is left out, and
counted.

Worst case: a clock sample costs 40 bytes; a sample a second over a year is 1.3 GB a run, so runs are days.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from engine.errors import TickrouteError
from replay.compliance.tally import Array

CLOCK: Final = "clock.jsonl"
ALERTS: Final = "alerts.jsonl"


class LogError(TickrouteError):
    """A log beside a run that cannot be read: file, line, and why."""

    exit_code = 3


class ClockLine(msgspec.Struct, frozen=True):
    """A sample of the clock. `offset_ns`: our clock less the reference; None where the source could not say."""

    realtime_ns: int
    clock_ns: int
    source: str
    offset_ns: int | None = None
    error_bound_ns: int | None = None


class AlertLine(msgspec.Struct, frozen=True):
    """An alert as it was sent."""

    seq: int
    event_ns: int
    sent_ns: int
    code: str
    severity: str = ""


class Log(NamedTuple):
    """A file beside a run as it was read."""

    name: str
    size: int
    sha256: str
    lines: int
    unfinished: int


class Beside(NamedTuple):
    """What lies beside a run. `clock`: int64 rows of (clock_ns, offset_ns, error_bound_ns, known); `excursions`: begin
    and end in turn, ns of the engine's clock."""

    clock_log: Log | None
    alert_log: Log | None
    clock: Array
    sources: list[str]
    excursions: Array
    alerts: list[AlertLine]


def beside(run_dir: Path, tolerance_ns: int) -> Beside:
    """Read what lies beside a run. LogError where a line cannot be read."""
    clock_log, clock_lines = _read(run_dir / CLOCK, ClockLine)
    alert_log, alerts = _read(run_dir / ALERTS, AlertLine)
    rows = np.zeros((len(clock_lines), 4), dtype=np.int64)
    for n, line in enumerate(clock_lines):
        known = line.offset_ns is not None
        rows[n] = line.clock_ns, line.offset_ns or 0, line.error_bound_ns or 0, known
    sources = sorted({line.source for line in clock_lines})
    return Beside(clock_log, alert_log, rows, sources, excursions(rows, tolerance_ns), alerts)


def excursions(clock: Array, tolerance_ns: int) -> Array:
    """Stretches of the engine's clock in which it was outside its tolerance: |offset| + error bound beyond it, or not
    known. A stretch reaches from the last good sample to the next good one."""
    found: list[int] = []
    outside = (np.abs(clock[:, 1]) + clock[:, 2] > tolerance_ns) | (clock[:, 3] == 0)
    times = clock[:, 0]
    begin = -1
    for n in np.flatnonzero(np.diff(np.concatenate([[False], outside, [False]]).astype(np.int8))):
        if begin < 0:
            begin = int(times[n - 1]) if n else 0
        else:
            end = int(times[n]) if n < len(times) else int(np.iinfo(np.int64).max)
            found += [begin, end]
            begin = -1
    return np.array(found, dtype=np.int64)


def _read(path: Path, kind: type[Any]) -> tuple[Log | None, list[Any]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None, []
    lines, decoder = [], msgspec.json.Decoder(kind)
    pieces = data.split(b"\n")
    unfinished = len(pieces.pop())
    for number, text in enumerate(pieces, 1):
        try:
            lines.append(decoder.decode(text))
        except msgspec.MsgspecError as error:
            raise LogError(
                f"{path} line {number}: {error}; restore the file from a copy, or find out who changed it"
            ) from error
    return Log(path.name, len(data), hashlib.sha256(data).hexdigest(), len(lines), unfinished), lines
