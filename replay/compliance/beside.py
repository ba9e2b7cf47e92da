"""The logs beside a run: the clock against references, alerts, breaks of reconciliations, commands that people gave.

Each is chained line by line (`replay.watch.chained`), and is read against its chain and against the heads that the
watch's checkpoint has: a byte that was altered, a line that is gone or was cut off is an error that names line and
byte. A log that is not there is said to be missing, never taken for a good one. A last line without its end was being
written: it is left out, and its bytes are counted.

Worst case: a log is in memory while it is read, some 400 bytes a line; runs are days.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from engine.errors import TickrouteError
from replay.compliance.tally import OUTSIDE, UNKNOWN, Array
from replay.watch import checkpoint
from replay.watch.chained import ChainError, Head, rows

CLOCK: Final = "clock.jsonl"
ALERTS: Final = "alerts.jsonl"
BREAKS: Final = "breaks.jsonl"
CONTROL: Final = "control.log"
LOGS: Final = (CLOCK, ALERTS, BREAKS, CONTROL)
#: How often the clock is sampled where a configuration does not say it.
_EVERY_MS: Final = 1000
#: Points of a clock's line.
POINTS: Final = 400
_NEVER: Final = int(np.iinfo(np.int64).max)


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
    monotonic_ns: int = 0

    def after_ns(self, before: ClockLine) -> int:
        """How long after another sample this one was taken, by the clock that nobody sets where both have it."""
        if self.monotonic_ns and before.monotonic_ns:
            return self.monotonic_ns - before.monotonic_ns
        return self.realtime_ns - before.realtime_ns

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
    source: str = ""


class BreakLine(msgspec.Struct, frozen=True):
    """A difference to a venue's record: `state` is open, or gone when it is no more."""

    seq: int
    state: str
    kind: str = msgspec.field(name="break")
    mic: str = ""
    exec_id: str = ""
    age_ns: int | None = None
    found_ns: int = 0


class ControlLine(msgspec.Struct, frozen=True):
    """What came of a message to the control channel; `refused: WHY` where nothing did. `sender`: the uid or key."""

    seq: int
    outcome: str
    realtime_ns: int = 0
    sender: str = ""
    peer: str = ""
    person: str = ""
    text: str = ""
    lines_left_out: int = 0
    request: dict[str, Any] = {}

    @property
    def refused(self) -> str:
        """Why it was refused; empty where it was not."""
        begin = "refused: "
        return self.outcome.removeprefix(begin) if self.outcome.startswith(begin) else ""


class Log(NamedTuple):
    """A file beside a run as it was read. `head` is the last line's chain value."""

    name: str
    size: int
    sha256: str
    lines: int
    unfinished: int
    head: str


class ClockFacts(NamedTuple):
    """A log of clock samples, summed up. `offsets`: times of the engine's clock and offsets in ns, at most POINTS, as
    `extremes` takes them of all samples that have one."""

    samples: int = 0
    sources: tuple[str, ...] = ()
    unknown: int = 0
    inside: int = 0
    worst_offset_ns: int | None = None
    worst_bound_ns: int | None = None
    steps: int = 0
    widest_gap_ns: int | None = None
    offsets: tuple[list[int], list[int]] = ([], [])


class Beside(NamedTuple):
    """What lies beside a run. `excursions`: rows of begin, end and kind, ns of the engine's clock. `headless`: logs
    whose end is held to nothing, for the watch's checkpoint has no head of them."""

    logs: dict[str, Log]
    clock: ClockFacts
    excursions: Array
    alerts: list[AlertLine]
    breaks: list[BreakLine]
    control: list[ControlLine]
    headless: list[str]


def beside(run_dir: Path, run_id: str, tolerance_ns: int, every_ms: int, begin_ns: int) -> Beside:
    """Read what lies beside a run whose first input was at `begin_ns`, and whose clock was to be sampled `every_ms`.
    LogError where a line is not as it was written."""
    found: dict[str, list[Any]] = {}
    logs = {}
    try:
        heads = checkpoint.heads(run_dir)
    except checkpoint.CheckpointError as error:
        raise LogError(f"{error}; restore it from a copy, or find out who changed it") from error
    for name, kind in zip(LOGS, (ClockLine, AlertLine, BreakLine, ControlLine), strict=True):
        log, found[name] = _read(run_dir, name, run_id, kind, heads.get(name))
        if log is not None:
            logs[name] = log
    headless = [name for name in logs if name not in heads]
    stretches = excursions(found[CLOCK], tolerance_ns, (every_ms or _EVERY_MS) * 1_000_000, begin_ns)
    clock = clock_facts(found[CLOCK], tolerance_ns)
    return Beside(logs, clock, stretches, found[ALERTS], found[BREAKS], found[CONTROL], headless)


def clock_facts(samples: list[ClockLine], tolerance_ns: int) -> ClockFacts:
    """Sum up the samples of a run's clock."""
    known = [s for s in samples if s.offset_ns is not None and s.error_bound_ns is not None]
    pairs = [(s.clock_ns, s.offset_ns) for s in samples if s.offset_ns is not None]
    offsets = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return ClockFacts(
        samples=len(samples),
        sources=tuple(sorted({s.source for s in samples})),
        unknown=len(samples) - len(known),
        inside=sum(not s.outside(tolerance_ns) for s in samples),
        worst_offset_ns=max((abs(s.offset_ns or 0) for s in known), default=None),
        worst_bound_ns=max((s.error_bound_ns or 0 for s in known), default=None),
        steps=sum(s.step_ns != 0 for s in samples),
        widest_gap_ns=max((two.after_ns(one) for one, two in pairwise(samples)), default=None),
        offsets=extremes(offsets[:, 0], offsets[:, 1]),
    )


def excursions(samples: list[ClockLine], tolerance_ns: int, every_ns: int, begin_ns: int) -> Array:
    """Stretches of the engine's clock that no evidence shows to be within the tolerance, in order: rows of begin, end
    and kind.

    OUTSIDE: from the last good sample to the next good one, where there are bad ones between. UNKNOWN: where there are
    no samples for more than twice `every_ns`, before the first, and behind the last (its end is the largest int64).
    """
    found: list[list[int]] = []

    def add(begin: int, end: int, kind: int) -> None:
        begin = max(begin, found[-1][1] if found else begin_ns)
        if end <= begin:
            return
        if found and found[-1][1] == begin and found[-1][2] == kind:
            found[-1][1] = end
        else:
            found.append([begin, end, kind])

    add(begin_ns, samples[0].clock_ns if samples else _NEVER, UNKNOWN)
    bad = [sample.outside(tolerance_ns) for sample in samples]
    for n, (one, two) in enumerate(pairwise(samples)):
        if not 0 <= two.after_ns(one) <= 2 * every_ns:
            add(one.clock_ns, two.clock_ns, UNKNOWN)
        elif bad[n] or bad[n + 1]:
            add(one.clock_ns, two.clock_ns, OUTSIDE)
    if samples:
        add(samples[-1].clock_ns, _NEVER, UNKNOWN)
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def extremes(times: Array, values: Array) -> tuple[list[int], list[int]]:
    """A series in at most POINTS points: of each stretch of samples its lowest and its highest, in order of time."""
    if len(times) <= POINTS:
        return times.tolist(), values.tolist()
    edges = np.linspace(0, len(times), POINTS // 2 + 1).astype(np.int64)
    places: list[int] = []
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        places += sorted({begin + int(values[begin:end].argmin()), begin + int(values[begin:end].argmax())})
    return times[places].tolist(), values[places].tolist()


def _read(run_dir: Path, name: str, run_id: str, kind: type[Any], head: Head | None) -> tuple[Log | None, list[Any]]:
    path = run_dir / name
    if not path.exists():
        if head is not None:
            raise LogError(f"{path}: is missing, and the watch had written it; restore it from a copy")
        return None, []
    lines: list[Any] = []
    chain = ""
    try:
        if name == CONTROL and head is None and not _chained(path):
            return None, []
        for row in rows(path, run_id, head):
            chain = str(row["chain"])
            lines.append(msgspec.convert(row, kind))
        data = path.read_bytes()
    except ChainError as error:
        raise LogError(f"{error}; restore it from a copy, or find out who changed it") from error
    except msgspec.ValidationError as error:
        raise LogError(f"{path}, line {len(lines) + 1}: {error}") from error
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror}; report as the user that it belongs to") from error
    unfinished = len(data) - data.rfind(b"\n") - 1
    return Log(name, len(data), hashlib.sha256(data).hexdigest(), len(lines), unfinished, chain), lines


def _chained(path: Path) -> bool:
    """Whether a log of commands is one that can be held to its chain, by any of its lines; earlier builds wrote plain
    lines throughout. An empty one may be either."""
    data = path.read_bytes()
    return not data or b',"chain":"' in data
