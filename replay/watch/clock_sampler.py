"""The clock sampler: once a second a line in RUN_DIR/clock.jsonl, in a thread of its own.

    realtime_ns, monotonic_ns  both clocks, read together within bracket_ns     clock_ns  the engine's clock then
    source, offset_ns, error_bound_ns, synchronised, detail   see `clock_sources`; source "none": nobody knows
    step_ns       by how much CLOCK_REALTIME was set since the sample before: slewing moves both clocks, a step only one
    tolerance_ns, within, why   whether UTC was shown to be within the tolerance, and why not

Missing data is not good data: a sample without an offset or without a bound is not within.

Worst case: a sample is late by as long as the programs take that are asked; a gap between lines is one of evidence.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from engine.run.config_beside import Clock
from replay.watch.chained import ChainedLog, Head
from replay.watch.clock_sources import Reading, chrony_clock, kernel_clock, ptp_clock

CLOCK_FILE: Final = "clock.jsonl"
#: What reading the two clocks can differ by beyond the bracket; less is no step.
_STEP_NS: Final = 1000
_TRIES: Final = 5


class Pair(NamedTuple):
    """Both clocks at one moment, known to `bracket_ns`."""

    realtime_ns: int
    monotonic_ns: int
    bracket_ns: int


class Sample(NamedTuple):
    """One line of the log, as it concerns alerts."""

    realtime_ns: int
    clock_ns: int
    why: tuple[str, ...]
    offset_ns: int | None
    text: str


def read_pair() -> Pair:
    """CLOCK_REALTIME between two readings of CLOCK_MONOTONIC, the closest of five."""
    rows = []
    for _ in range(_TRIES):
        before_ns = time.monotonic_ns()
        now_ns = time.time_ns()
        after_ns = time.monotonic_ns()
        rows.append((after_ns - before_ns, now_ns, (before_ns + after_ns) // 2))
    bracket_ns, realtime_ns, monotonic_ns = min(rows)
    return Pair(realtime_ns, monotonic_ns, bracket_ns)


def step_between(before: Pair | None, now: Pair) -> int:
    """By how much CLOCK_REALTIME was set between two pairs, ns; 0 where it was not."""
    if before is None:
        return 0
    step_ns = (now.realtime_ns - now.monotonic_ns) - (before.realtime_ns - before.monotonic_ns)
    return step_ns if abs(step_ns) > _STEP_NS + now.bracket_ns + before.bracket_ns else 0


def reasons(reading: Reading, step_ns: int, tolerance_ns: int) -> tuple[str, ...]:
    """Why a sample does not show the clock to be within the tolerance; none where it does."""
    why = []
    if not reading.synchronised:
        why.append("UNSYNCHRONISED")
    if reading.offset_ns is None:
        why.append("NO_OFFSET")
    elif abs(reading.offset_ns) > tolerance_ns:
        why.append("OFFSET")
    if reading.error_bound_ns is None:
        why.append("NO_BOUND")
    elif reading.error_bound_ns > tolerance_ns:
        why.append("BOUND")
    if abs(step_ns) > tolerance_ns:
        why.append("STEP")
    return tuple(why)


class Sampler:
    """Samples from `start` to `close`. `samples` is what the other thread takes; `engine_ns` gives the engine's clock
    at a time of CLOCK_MONOTONIC.
    """

    def __init__(self, run_dir: Path, run_id: str, settings: Clock, engine_ns: Callable[[int], int]) -> None:
        self._log = ChainedLog(run_dir / CLOCK_FILE, run_id)
        self._settings, self._engine_ns = settings, engine_ns
        self.samples: deque[Sample] = deque(maxlen=1000)
        self._before: Pair | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._said = ""

    def start(self) -> None:
        """Sample from now on."""
        self._thread = threading.Thread(target=self._run, name="clock-sampler", daemon=True)
        self._thread.start()

    @property
    def head(self) -> Head:
        """Where the log stands."""
        return self._log.head

    def _run(self) -> None:
        every_s = self._settings.every_ms / 1000
        due_s = time.monotonic()
        while not self._stop.is_set():
            try:
                self.samples.append(self.take())
                self._said = ""
            except OSError as error:
                if self._said != str(error):  # a full disk: said once, and the gap is in the log
                    self._said = str(error)
                    print(f"no clock sample: {error}", file=sys.stderr, flush=True)
            now_s = time.monotonic()
            due_s = max(due_s + every_s, now_s)
            self._stop.wait(due_s - now_s)

    def take(self) -> Sample:
        """Ask, and write a line. OSError where it cannot be written."""
        kernel = kernel_clock()
        reading = self._ask(kernel.reading if kernel else None, kernel.tai_s if kernel else 0)
        pair = read_pair()
        step_ns = step_between(self._before, pair)
        self._before = pair
        tolerance_ns = self._settings.tolerance_us * 1000
        why = reasons(reading, step_ns, tolerance_ns)
        clock_ns = self._engine_ns(pair.monotonic_ns)
        row: dict[str, Any] = {
            **pair._asdict(),
            "clock_ns": clock_ns,
            **reading._asdict(),
            "step_ns": step_ns,
            "kernel_synchronised": kernel.reading.synchronised if kernel else None,
            "kernel_max_error_ns": kernel.reading.error_bound_ns if kernel else None,
            "freq_ppb": kernel.freq_ppb if kernel else None,
            "tolerance_ns": tolerance_ns,
            "within": not why,
            "why": list(why),
        }
        self._log.append(row)
        offset = "unknown" if reading.offset_ns is None else f"{reading.offset_ns} ns"
        return Sample(pair.realtime_ns, clock_ns, why, reading.offset_ns, f"{reading.source}: offset {offset}")

    def _ask(self, kernel: Reading | None, tai_s: int) -> Reading:
        """The first source that answers; an unsynchronised one only where no other is better."""
        asked: dict[str, Callable[[], Reading | None]] = {
            "ptp": lambda: ptp_clock(tai_s),
            "chrony": chrony_clock,
            "kernel": lambda: kernel,
        }
        worse: Reading | None = None
        for name in self._settings.sources:
            found = asked[name]()
            if found is not None and found.synchronised:
                return found
            worse = worse or found
        return worse or Reading("none", None, None, False, "no source answered")

    def close(self) -> None:
        """Stop sampling and close the log."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._log.close()
