"""`perf wire`: quote in to child order out, over ZeroMQ (ipc, tcp) and shared memory, beside a bare forwarder.

The engine is `tickroute run` in a process of its own, journal and all; the forwarder another; the harness is this
process (see perf.lab). Loops are pinned to one core, harness and all I/O threads to another. In each of PAIRS pairs
first the one and then the other is fired at, for the same time at the same rate; whoever is not, is stopped (SIGSTOP),
so that both stay warm in memory and neither takes time from the other.

    wire ipc 1k, ipc 10k, tcp 10k   ns from planned send to receipt of the order, for so many quotes a second (one of
                                    MARKED_EVERY of them sets off an order); baseline: the forwarder's p50
    ... p99                         the same for p99
    wire shm 10k                    over rings, baseline: the same forwarder over rings
    wire shm vs zmq                 p50 over shm, baseline: p50 of the engine over ipc at 10k

`ratio` is the median of the pairs' ratios. Worst case: with two cores, harness, publisher and two processes' I/O
threads share one, and its scheduling is most of what p99 shows; the forwarder suffers the same.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.io import histogram
from perf.peers import EnginePeer, ForwarderPeer, Peer
from perf.result import Progress, Result, Row, at_most, result, spread

PAIRS = 5
SECONDS = 2.0
MARKED_EVERY = 4
#: (transport, quotes a second).
CASES = (("ipc", 1_000), ("ipc", 10_000), ("tcp", 10_000), ("shm", 10_000))
P50_RATIO, P99_RATIO, SHM_RATIO = 1.05, 1.15, 1 / 50


class Pair(NamedTuple):
    """Histograms of one pair of runs."""

    ours: np.ndarray
    bare: np.ndarray


def run(progress: Progress, *, core: int = -1, short: bool = False) -> Result:
    """Measure; `core` is the loop's CPU (-1: the last that this process may use); all else is on the first other."""
    usable = sorted(os.sched_getaffinity(0))
    core = usable[-1] if core < 0 else core
    other = next((cpu for cpu in usable if cpu != core), core)
    pairs, seconds = (1, 0.3) if short else (PAIRS, SECONDS)
    found: dict[str, list[Pair]] = {}
    lost = 0
    steps, done = pairs * len(CASES), 0
    for transport in ("ipc", "tcp", "shm"):
        rates = [rate for kind, rate in CASES if kind == transport]
        progress(f"{transport}: start engine and forwarder", done / steps)
        with _peers(transport, core, other) as (engine, forwarder), _pinned(other):
            for rate in rates:
                name = f"wire {transport} {rate // 1000}k"
                for turn in range(pairs):
                    pair, missing = _pair(engine, forwarder, rate, seconds, turn % 2 == 1)
                    found.setdefault(name, []).append(pair)
                    lost, done = lost + missing, done + 1
                    progress(name, done / steps)
    rows = [row for name, runs in found.items() for row in _rows(name, runs)]
    rows.append(_against_zmq(found))
    notes = [
        f"{pairs} pairs of {seconds:g} s, loop on core {core}, harness and I/O threads on core {other}",
        f"one of {MARKED_EVERY} quotes marked; marked quotes without an order: {lost}",
    ]
    if core == other:
        notes.append("one core for everything: these figures compare schedulers")
    return result("wire", rows, notes, core)


def _pair(engine: Peer, forwarder: Peer, rate: int, seconds: float, swapped: bool) -> tuple[Pair, int]:
    """One run each, in either order; and how many orders were missing."""
    counts: dict[int, np.ndarray] = {}
    missing = 0
    for place in (1, 0) if swapped else (0, 1):
        peer = (engine, forwarder)[place]
        with peer.awake():
            counts[place], lost = peer.fire(rate, seconds, MARKED_EVERY)
            missing += lost
    return Pair(counts[0], counts[1]), missing


def _percentile(counts: np.ndarray, percentile: float) -> float:
    rows = histogram.summary(counts, (percentile,)).rows
    return float(rows[0].value_ns) if rows else float("nan")


def _rows(name: str, runs: list[Pair]) -> list[Row]:
    """Rows of one case: the whole distribution with p50's ratio, and p99 with its own."""
    ours, bare = (histogram.merge(counts) for counts in zip(*runs, strict=True))
    ratios = [[_percentile(pair.ours, p) / _percentile(pair.bare, p) for pair in runs] for p in (50.0, 99.0)]
    first = spread(name, "ns", ours, baseline=_percentile(bare, 50.0), ratio=float(np.median(ratios[0])))
    tail = Row(
        name=f"{name} p99",
        unit="ns",
        p99=_percentile(ours, 99.0),
        n=first.n,
        baseline=_percentile(bare, 99.0),
        ratio=float(np.median(ratios[1])),
    )
    if " shm " in name:
        return [first, tail]
    return [at_most(first, P50_RATIO), at_most(tail, P99_RATIO)]


def _against_zmq(found: dict[str, list[Pair]]) -> Row:
    ours = _percentile(histogram.merge(pair.ours for pair in found["wire shm 10k"]), 50.0)
    zmq = _percentile(histogram.merge(pair.ours for pair in found["wire ipc 10k"]), 50.0)
    row = Row(name="wire shm vs zmq", unit="ns", p50=ours, baseline=zmq, ratio=ours / zmq)
    return at_most(row, SHM_RATIO)


@contextlib.contextmanager
def _peers(transport: str, core: int, other: int) -> Iterator[tuple[EnginePeer, ForwarderPeer]]:
    """Both processes, started and asleep; stopped at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="tickroute-perf-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "bare").mkdir()
        engine = stack.enter_context(contextlib.closing(EnginePeer(folder, transport, core, other)))
        engine.begin()
        engine.sleep()
        forwarder = stack.enter_context(contextlib.closing(ForwarderPeer(folder / "bare", transport, core, other)))
        forwarder.begin()
        forwarder.sleep()
        yield engine, forwarder


@contextlib.contextmanager
def _pinned(core: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
