"""`perf core`: what an event costs from receipt to hand-over, without a wire.

The day (the captured one where it is here, else the synthetic; then the synthetic one) goes record by record through
the loop's own functions, decode, book, decide, risk, journal, encode, over a real journal, at full speed and again and
again until EVENTS events are measured; every ORDER_EVERY records a client's order comes, and its children are filled.

    core all       every event: the engine's own `total`, receipt to the end of its turn
    core routing   the events from which child orders left
    core answers   the other events with outputs: fills, orders that rest
    core mean      CPU time of the thread / events, with duty cycles, housekeeping and all stamps in it
    core rate      events a second by the clock on the wall, the median of chunks of CHUNK records (max: the best)
    core STAGE     the engine's own stages (one event in 64, and all that could have outputs)
    core sustained as rate, without waiting for the journal's helper to prepare its segments

Rows of the second day have its name behind theirs. Worst case: a machine whose other cores are busy; the journal's
helper and the scheduler then show in p99.9 and beyond, and the median round stands for the rate.
"""

from __future__ import annotations

import os
import time

import numpy as np

from engine.io.histogram import summary
from engine.run.wiring import STAGES, TOTAL
from gateways.feeds.recording import Recording
from perf import rig
from perf.bench import Bench, days, opened, stages
from perf.result import Progress, Result, Row, at_most, result, spread

EVENTS = 5_000_000
WARM_UP = 400_000
CHUNK = 40_000
#: The aims, ns.
MEAN_NS, P50_NS, P99_NS, P99_9_NS = 200.0, 150.0, 1000.0, 3000.0


def run(progress: Progress, *, core: int = -1, events: int = EVENTS, short: bool = False) -> Result:
    """Measure; `core` is the CPU to run on (-1: the last that this process may use)."""
    core = max(os.sched_getaffinity(0)) if core < 0 else core
    rows: list[Row] = []
    notes: list[str] = []
    progress("compile and rehearse", 0.0)
    with opened(core, 8 if short else 64) as bench:
        found = days(bench.config, short)
    for number, (name, day) in enumerate(found):
        suffix = f" {name}" if number else ""
        with opened(core, 8 if short else 64) as bench:
            bench.load(day)
            rows += _one(bench, day, name, suffix, events, progress)
        notes.append(f"core{suffix or ''}: the {name} day, {day.count:,} records, replayed for {events:,} events")
    return result("core", rows, notes, core)


def _one(bench: Bench, day: Recording, name: str, suffix: str, events: int, progress: Progress) -> list[Row]:
    """All rows of one day."""
    progress(f"{name} day: warm-up", 0.0)
    done = 0
    while done < min(WARM_UP, events):
        bench.settle()
        done += bench.play(min(CHUNK, day.count))
    rig_ = bench.rig
    assert rig_ is not None
    bench.loop.wiring.hist[:] = 0
    rig.clear(rig_)
    rates, done, spent_ns = [], 0, 0
    while done < events:
        bench.settle()
        began, began_cpu = time.perf_counter_ns(), time.thread_time_ns()
        pumped = bench.play(CHUNK)
        spent_ns += time.thread_time_ns() - began_cpu
        rates.append(pumped * 1e9 / (time.perf_counter_ns() - began))
        done += pumped
        progress(f"{name} day", done / events)
    bench.check()
    rows = _latency_rows(bench, suffix)
    mean = Row(name=f"core mean{suffix}", unit="ns", p50=spent_ns / done, n=done)
    rate = Row(name=f"core rate{suffix}", unit="events/s", p50=float(np.median(rates)), max=max(rates), n=len(rates))
    return [*rows[:3], at_most(mean, MEAN_NS), rate, *rows[3:], _sustained(bench, suffix, events // 4)]


def _latency_rows(bench: Bench, suffix: str) -> list[Row]:
    rig_ = bench.rig
    assert rig_ is not None
    hist = stages(bench.loop)
    every = hist[TOTAL]
    whole = at_most(spread(f"core all{suffix}", "ns", every), P50_NS)
    aims = []
    for percentile, aim in ((99.0, P99_NS), (99.9, P99_9_NS)):
        found = float(summary(every, (percentile,)).rows[0].value_ns)
        label = f"core p{percentile:g}{suffix}"
        aims.append(at_most(Row(name=label, unit="ns", p50=found, n=whole.n), aim))
    routing = spread(f"core routing{suffix}", "ns", rig_.routing)
    answers = spread(f"core answers{suffix}", "ns", rig_.answers)
    rows = [whole, *aims, routing, answers]
    return rows + [spread(f"core {stage}{suffix}", "ns", hist[n]) for n, stage in enumerate(STAGES) if n != TOTAL]


def _sustained(bench: Bench, suffix: str, events: int) -> Row:
    """Full speed with nobody waiting for the journal's helper but the loop itself."""
    began, done = time.perf_counter_ns(), 0
    while done < events:
        done += bench.play(CHUNK)
    rate = done * 1e9 / (time.perf_counter_ns() - began)
    return Row(name=f"core sustained{suffix}", unit="events/s", p50=rate, n=done)
