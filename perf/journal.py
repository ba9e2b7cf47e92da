"""`perf journal`: what an append costs, and what journaling adds to an event's way through the core.

    journal append process     ns to append a frame of 128 bytes, each timed; baseline: a plain copy, timed alike
    journal append disk        the same while a helper syncs the journal, each frame wanted on the disk at once
    journal durable disk       ns from a frame's planned time until it is on the disk, RATE frames a second
    journal ... p99.99         the same, further out
    journal append mean        ns an append when nobody reads a clock between them; baseline: the copies alike
    journal core               ns an event through the core (`core all`), journal and all
    journal core bare          the same engine, compiled with a journal that gives out numbers and writes nothing
    journal adds               the difference of their p50, the median over pairs of rounds
    journal adds mean          the same of the CPU time an event

Appends and copies, and the two engines, take turns. With durability `process` nothing waits for a disk: a frame is safe
in memory that outlives the process. With `disk` the loop does not wait either, but what it sends does: `journal durable
disk` is what an answer is late by. TMPDIR decides which disk that is. Worst case: the helper that prepares segments has
no core of its own; `max` then shows an append that waited for one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec import structs

from engine.errors import TickrouteError
from engine.io import histogram
from engine.io.histogram import empty, summary
from engine.io.mapping import aligned_zeros
from engine.record.records import RECORD_MAX
from engine.run.wiring import TOTAL
from perf import appends
from perf.bench import Bench, days, opened, stages
from perf.result import Progress, Result, Row, at_most, result, spread

#: Appends a chunk: less than a segment has room for, so that each chunk finds one prepared.
CHUNK, CHUNKS = 100_000, 30
#: Records of the day a chunk, and chunks for each of the two engines.
RECORDS, ROUNDS = 40_000, 40
ADDS_NS = 50.0
#: Frames a second, and frames, of the row that waits for the disk.
RATE, FRAMES = 1_000, 10_000
_CORE_WARM = 5


class JournalBenchError(TickrouteError):
    """Appends that are not on the journal: a bug in perf/."""


def run(progress: Progress, *, core: int = -1, short: bool = False) -> Result:
    """Measure; `core` is the CPU to run on (-1: the last that this process may use)."""
    core = max(os.sched_getaffinity(0)) if core < 0 else core
    segment_mib = 8 if short else 64
    chunk, chunks = (2_000, 2) if short else (CHUNK, CHUNKS)
    progress("compile and rehearse", 0.0)
    with opened(core, segment_mib) as bench:
        rows = _append_rows(bench, chunk, chunks, progress)
    with opened(core, segment_mib, synced=True) as bench:
        rows += _disk_rows(bench, chunk, chunks, 200 if short else FRAMES, progress)
    records, rounds = (2_000, 2) if short else (RECORDS, ROUNDS)
    with opened(core, segment_mib) as bench, opened(core, segment_mib, journaled=False) as bare:
        name, day = days(bench.config, short)[0]
        for one in (bench, bare):
            one.load(day)
        rows += _core_rows(bench, bare, records, rounds, progress)
    notes = [
        f"frames of {RECORD_MAX} bytes, {chunks * chunk:,} appends a level; durable at {RATE:,} a second",
        f"core: the {name} day, {rounds} rounds of {records:,} records each way",
    ]
    return result("journal", rows, notes, core)


def _append_rows(bench: Bench, chunk: int, chunks: int, progress: Progress) -> list[Row]:
    """Appends and copies in turns, timed one by one and all together."""
    w = bench.loop.wiring
    source = aligned_zeros(RECORD_MAX // 8, np.dtype("<i8"))
    source[:] = np.arange(1, len(source) + 1)
    target: np.ndarray = aligned_zeros(int(w.journal[0]["segment_bytes"]), np.dtype(np.uint8))
    ours, plain = empty(), empty()
    means: dict[str, list[float]] = {"append": [], "copy": []}
    for number in range(chunks + 1):
        progress("append", 0.3 * number / (chunks + 1))
        if number == 1:  # the first turn compiles and warms up
            ours[:] = plain[:] = 0
            means = {"append": [], "copy": []}
        before = int(w.journal[0]["next_seq"])
        bench.settle()
        last = int(appends.append_timed(w, source, RECORD_MAX, chunk, ours))
        appends.copy_timed(w, target, source, RECORD_MAX, chunk, plain)
        bench.settle()
        means["append"].append(_mean(lambda: appends.append_all(w, source, RECORD_MAX, chunk), chunk))
        means["copy"].append(_mean(lambda: appends.copy_all(target, source, RECORD_MAX, chunk), chunk))
        if not before + chunk - 1 <= last <= before + chunk + 1:
            raise JournalBenchError(f"{chunk} appends after frame {before - 1} ended at {last}: a bug in perf/")
    base, row = spread("journal copy", "ns", plain), spread("journal append process", "ns", ours)
    row = structs.replace(row, baseline=base.p50, ratio=_ratio(row.p50, base.p50))
    mean, copied = (float(np.median(means[kind])) for kind in ("append", "copy"))
    return [
        row,
        _far("journal append process", ours),
        Row(name="journal append mean", unit="ns", p50=mean, n=chunks, baseline=copied, ratio=_ratio(mean, copied)),
    ]


def _disk_rows(bench: Bench, chunk: int, chunks: int, frames: int, progress: Progress) -> list[Row]:
    """Appends while the journal is synced, and how long frames take to the disk."""
    w, counts, late = bench.loop.wiring, empty(), empty()
    source = aligned_zeros(RECORD_MAX // 8, np.dtype("<i8"))
    for number in range(chunks + 1):
        progress("append, synced", 0.3 + 0.1 * number / (chunks + 1))
        if number == 1:
            counts[:] = 0
        bench.settle()
        appends.append_wanted(w, source, RECORD_MAX, chunk, counts)
    progress("durable", 0.4)
    bench.settle()
    for count, target in ((20, empty()), (frames, late)):
        seqs: np.ndarray = np.zeros(count, dtype="<i8")
        done = int(appends.durable_paced(w, source, RECORD_MAX, 1_000_000_000 // RATE, seqs, target))
        if done < count:
            raise JournalBenchError(
                f"{count - done} of {count} frames did not get to the disk: it is too slow, or failed"
            )
    rows = [(f"journal {name} disk", found) for name, found in (("append", counts), ("durable", late))]
    return [row for name, found in rows for row in (spread(name, "ns", found), _far(name, found))]


def _far(name: str, counts: np.ndarray) -> Row:
    found = summary(counts, (99.99,))
    return Row(name=f"{name} p99.99", unit="ns", p50=float(found.rows[0].value_ns), n=found.total)


def _mean(work: Callable[[], Any], count: int) -> float:
    began = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - began) / count


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def _core_rows(bench: Bench, bare: Bench, records: int, rounds: int, progress: Progress) -> list[Row]:
    """The two engines in turns."""
    hists: dict[str, list[np.ndarray]] = {"core": [], "core bare": []}
    means: dict[str, list[float]] = {"core": [], "core bare": []}
    for number in range(_CORE_WARM + rounds):
        turn = [("core", bench), ("core bare", bare)]
        for kind, one in turn if number % 2 else turn[::-1]:
            progress(kind, 0.5 + 0.5 * number / (_CORE_WARM + rounds))
            counts = stages(one.loop)[TOTAL]
            counts[:] = 0
            one.settle()
            began = time.thread_time_ns()
            events = one.play(records)
            spent = time.thread_time_ns() - began
            if number >= _CORE_WARM:
                hists[kind].append(counts.copy())
                means[kind].append(spent / events)
    for one in (bench, bare):
        one.check()
    rows = [spread(f"journal {kind}", "ns", histogram.merge(found)) for kind, found in hists.items()]
    p50s = {
        kind: [float(summary(counts, (50.0,)).rows[0].value_ns) for counts in found] for kind, found in hists.items()
    }
    return [
        *rows,
        at_most(_adds("journal adds", p50s), ADDS_NS),
        _adds("journal adds mean", means),
    ]


def _adds(name: str, found: dict[str, list[float]]) -> Row:
    """A row of what the first of two adds to the second; baseline: the second."""
    more = [ours - bare for ours, bare in zip(found["core"], found["core bare"], strict=True)]
    bare = float(np.median(found["core bare"]))
    return Row(name=name, unit="ns", p50=float(np.median(more)), max=max(more), n=len(more), baseline=bare)
