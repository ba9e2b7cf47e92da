"""`perf steady`: whether the loop stays as it began: no fault, no allocation, flat memory, no interpreter in its way.

The loop of `perf core` runs in this thread. First EVENTS events at full speed, then one record a millisecond for two
minutes, with duty cycles between them: the pace at which pages of the journal are written back before they are reached.
Both parts run in turns: one quiet, one while another Python thread of the process spins holding the GIL.

    steady minor-faults, major-faults   page faults of the loop's thread inside the kernels, after the warm-up (aim 0)
    steady allocations                  allocations of numba's runtime, the only one that a kernel can reach (aim 0)
    steady rss-growth                   anonymous memory of the process, last third against first; journal not counted
    steady p99 gil                      p99 of an event beside a busy interpreter; baseline: p99 of the quiet turns

Rows of the slow part end in 1k; times there run from the planned moment. `ratio` is the median over pairs of turns.
Worst case: whatever else runs on the loop's core is in p99, in both kinds of turns.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.io import histogram
from engine.run.wiring import TOTAL
from perf import rig
from perf.bench import Bench, days, opened, stages
from perf.result import Progress, Result, Row, at_most, result

EVENTS = 10_000_000
SECONDS = 120.0
#: More than three segments of the journal: pages that were made present before a compiler's minute have been written
#: back meanwhile, and would fault again.
WARM_UP = 2_000_000
CHUNK = 40_000
#: Chunks a turn at full speed; records a turn at 1,000 a second.
TURN_CHUNKS, TURN_RECORDS = 10, 5_000
INTERVAL_NS = 1_000_000
#: A p99 within a tenth is unmoved; memory within a mebibyte is flat.
UNMOVED, FLAT_BYTES = 1.1, float(1 << 20)


class Turn(NamedTuple):
    """What one turn showed."""

    busy: bool
    minor: int
    major: int
    allocations: int
    anonymous_bytes: int
    p99_ns: float
    events: int


def run(
    progress: Progress, *, core: int = -1, seconds: float = SECONDS, events: int = EVENTS, short: bool = False
) -> Result:
    """Measure; `core` is the CPU to run on (-1: the last that this process may use), `seconds` the slow part."""
    core = max(os.sched_getaffinity(0)) if core < 0 else core
    if short:
        seconds, events = 2.0, 40_000
    progress("compile and rehearse", 0.0)
    with opened(core, 8 if short else 64) as bench, _counting():
        name, day = days(bench.config, short)[0]
        bench.load(day)
        done = 0
        while done < (20_000 if short else WARM_UP):
            bench.settle()
            done += bench.play(min(CHUNK, day.count))
        bench.pace(100 if short else 1_000, INTERVAL_NS)
        fast = _fast(bench, events, 2 if short else TURN_CHUNKS, 5_000 if short else CHUNK, progress)
        slow = _slow(bench, seconds, 500 if short else TURN_RECORDS, progress)
        bench.check()
    notes = [f"the {name} day, {day.count:,} records; {events:,} events, then {seconds:g} s of 1,000 records a second"]
    return result("steady", [*_rows(fast, ""), *_rows(slow, " 1k")], notes, core)


def _fast(bench: Bench, events: int, chunks: int, chunk: int, progress: Progress) -> list[Turn]:
    """Turns at full speed until there were that many events."""
    turns: list[Turn] = []
    done = 0
    hist = stages(bench.loop)[TOTAL]

    def one() -> int:
        return bench.play(chunk)

    while done < events or len(turns) < 4:
        hist[:] = 0
        turns.append(_turn(bench, len(turns) % 2 == 1, one, chunks, bench.settle, lambda: hist))
        done += turns[-1].events
        progress("full speed", min(done / events, 1.0) / 2)
    return turns


def _slow(bench: Bench, seconds: float, records: int, progress: Progress) -> list[Turn]:
    """Turns of one record a millisecond for that many seconds."""
    rig_ = bench.rig
    assert rig_ is not None
    turns: list[Turn] = []
    count = max(int(seconds * 1e9 / INTERVAL_NS / records), 2)
    for number in range(count):
        rig.clear(rig_)
        play = lambda: bench.pace(records, INTERVAL_NS)  # noqa: E731  the one statement that a turn repeats
        turns.append(_turn(bench, number % 2 == 1, play, 1, lambda: None, lambda: rig_.paced))
        progress("1,000 a second", 0.5 + (number + 1) / count / 2)
    return turns


def _turn(
    bench: Bench, busy: bool, play: Callable[[], int], times: int, settle: Callable[[], None], hist: Callable[[], Any]
) -> Turn:
    """Play some times, with the interpreter busy or not, counting what happens inside the kernels."""
    assert bench.rig is not None
    faults = bench.rig.faults
    minor = major = allocations = done = 0
    with _busy_interpreter() if busy else contextlib.nullcontext():
        for _ in range(times):
            settle()
            allocated, before = _allocations(), faults.tolist()
            done += play()
            after = faults.tolist()
            allocations += _allocations() - allocated
            minor += after[0] - before[0]
            major += after[1] - before[1]
    p99 = histogram.summary(hist(), (99.0,)).rows
    return Turn(busy, minor, major, allocations, anonymous(), float(p99[0].value_ns) if p99 else float("nan"), done)


def _rows(turns: list[Turn], suffix: str) -> list[Row]:
    """The table of one part."""
    events = sum(turn.events for turn in turns)
    counted = {
        "minor-faults": sum(turn.minor for turn in turns),
        "major-faults": sum(turn.major for turn in turns),
        "allocations": sum(turn.allocations for turn in turns),
    }
    rows = [
        at_most(Row(name=f"steady {name}{suffix}", unit="count", p50=float(value), n=events), 0.0)
        for name, value in counted.items()
    ]
    third = max(len(turns) // 3, 1)
    first, last = (np.median([turn.anonymous_bytes for turn in part]) for part in (turns[:third], turns[-third:]))
    growth = Row(
        name=f"steady rss-growth{suffix}", unit="bytes", p50=float(last - first), baseline=float(first), n=events
    )
    rows.append(at_most(growth, FLAT_BYTES))
    quiet, busy = ([turn.p99_ns for turn in turns if turn.busy is kind] for kind in (False, True))
    ratio = float(np.median([b / q for q, b in zip(quiet, busy, strict=False)]))
    calm = float(np.median(quiet))
    rows.append(Row(name=f"steady p99 quiet{suffix}", unit="ns", p99=calm, max=max(quiet), n=len(quiet)))
    spun = Row(
        name=f"steady p99 gil{suffix}",
        unit="ns",
        p99=float(np.median(busy)),
        max=max(busy),
        n=len(busy),
        baseline=calm,
        ratio=ratio,
    )
    return [*rows, at_most(spun, UNMOVED)]


@contextlib.contextmanager
def _busy_interpreter() -> Iterator[None]:
    """A Python thread that never gives the GIL up of its own accord, on other cores than the caller's."""
    stop = threading.Event()
    home = os.sched_getaffinity(0)

    def spin() -> None:
        others = set(range(os.cpu_count() or 1)) - home
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, others or home)
        while not stop.is_set():
            pass

    thread = threading.Thread(target=spin, name="gil-spinner", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _counting() -> Iterator[None]:
    """Have numba's runtime count its allocations inside."""
    from numba.core.runtime import _nrt_python as runtime

    was = runtime.memsys_stats_enabled()
    runtime.memsys_enable_stats()
    try:
        yield
    finally:
        if not was:
            runtime.memsys_disable_stats()


def _allocations() -> int:
    """Allocations of numba's runtime so far, in this process."""
    from numba.core.runtime import _nrt_python as runtime

    return int(runtime.memsys_get_stats_alloc())


def anonymous() -> int:
    """Anonymous resident memory of the process, in bytes: without mapped files, so without the journal."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0
