"""What a machine does to a busy loop, measured: stalls, a system call, an fsync, a ZeroMQ round trip.

The stalls are the gaps between clock readings of a kernel that does nothing else, on one core, for two seconds:
whatever takes the core away shows as a gap. The interrupts that the core served meanwhile are counted beside them.

Everything is bounded in time. Worst case: a disk that needs long for an fsync; after a second no other is begun.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.io.atomics import madvise, monotonic_ns
from engine.jit import kernel
from engine.run.host import interrupt_counts

#: A gap counts from here on; a clock reading takes 25 to 50 ns.
GAPS_NS = (1_000, 10_000, 100_000, 1_000_000)
_READS, _LONGEST, _LOST, _FIRST_GAP = 0, 1, 2, 3
_ROUND_TRIPS = 1000
_ROUND_TRIP_LIMIT_S = 3.0
_FSYNC_LIMIT_S = 1.0


@kernel
def spin(duration_ns: int, limits: np.ndarray, found: np.ndarray) -> None:
    """Read the clock for `duration_ns`; found: readings, longest gap, time in gaps, then gaps beyond each limit.

    limits int64[n], ascending, ns; found int64[3 + n], is overwritten.
    """
    found[:] = 0
    start = monotonic_ns()
    last = start
    while last - start < duration_ns:
        now = monotonic_ns()
        gap = now - last
        last = now
        found[_READS] += 1
        if gap > limits[0]:
            found[_LOST] += gap
            for i in range(len(limits)):
                if gap > limits[i]:
                    found[_FIRST_GAP + i] += 1
        if gap > found[_LONGEST]:
            found[_LONGEST] = gap


@kernel
def time_calls(calls: int, times: np.ndarray) -> None:
    """Fill times (int64[n]) with the ns that `calls` system calls take: madvise of nothing, which does no work."""
    for i in range(len(times)):
        start = monotonic_ns()
        for _ in range(calls):
            madvise(0, 0, 0)
        times[i] = monotonic_ns() - start


def measure(core: int, seconds: float = 2.0, folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """All measurements, each by name with plain values; times in ns. `core` is where the loop would run.

    seconds: length of the spin. folder: where the file for the fsync is made; the system's temporary folder otherwise.
    OSError: no file can be written there.
    """
    spun: dict[str, dict[str, Any]] = {}
    thread = threading.Thread(target=lambda: spun.update(_on_core(core, lambda: _stalls(core, seconds))))
    thread.start()
    thread.join()
    with tempfile.TemporaryDirectory(prefix="tickroute-", dir=folder) as name:
        return {**spun, "system_call": _system_call(), "fsync": _fsync(Path(name)), "zmq_round_trip": _zmq(Path(name))}


def percentiles(times: list[int]) -> dict[str, int]:
    """p50, p99, max and n of times in ns; a percentile p with n(1 - p) < 10 is left out."""
    ordered = sorted(times)
    found = {"p50_ns": ordered[len(ordered) // 2], "max_ns": ordered[-1], "n": len(ordered)}
    if len(ordered) >= 1000:
        found["p99_ns"] = ordered[len(ordered) * 99 // 100]
    return found


def _on_core(core: int, work: Callable[[], dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Run `work` with this thread on `core`, where that is allowed."""
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        core = -1
    found = work()
    found["clock_gaps"]["core"] = core
    return found


def _stalls(core: int, seconds: float) -> dict[str, dict[str, Any]]:
    limits = np.array(GAPS_NS, dtype=np.int64)
    found = np.zeros(_FIRST_GAP + len(limits), dtype=np.int64)
    spin(0, limits, found)  # compiled before it counts
    before = interrupt_counts(core)
    begin = time.monotonic_ns()
    spin(int(seconds * 1e9), limits, found)
    elapsed_ns = time.monotonic_ns() - begin
    after = interrupt_counts(core)
    reads = max(int(found[_READS]), 1)
    gaps = {
        "seconds": seconds,
        "reads": int(found[_READS]),
        "read_ns": round((elapsed_ns - int(found[_LOST])) / reads, 1),
        "longest_ns": int(found[_LONGEST]),
        "lost_percent": round(100 * int(found[_LOST]) / max(elapsed_ns, 1), 4),
    }
    for limit, count in zip(GAPS_NS, found[_FIRST_GAP:], strict=True):
        gaps[f"over_{limit}_ns"] = int(count)
    return {"clock_gaps": gaps, "interrupts": _rates(before, after, elapsed_ns)}


def _rates(before: dict[str, int] | None, after: dict[str, int] | None, elapsed_ns: int) -> dict[str, Any]:
    """Interrupts a second by name, most first, those that came; {} where they cannot be counted."""
    if before is None or after is None:
        return {}
    counts = {name: count - before.get(name, 0) for name, count in after.items()}
    rates = {name: round(count * 1e9 / max(elapsed_ns, 1), 1) for name, count in counts.items() if count > 0}
    return dict(sorted(rates.items(), key=lambda row: -row[1]))


def _system_call() -> dict[str, Any]:
    calls, times = 200, np.zeros(50, dtype=np.int64)
    time_calls(1, times[:1])
    time_calls(calls, times)
    return percentiles([int(t) // calls for t in times])


def _fsync(folder: Path) -> dict[str, Any]:
    times: list[int] = []
    page = bytes(4096)
    limit = time.monotonic() + _FSYNC_LIMIT_S
    with (folder / "fsync").open("wb", buffering=0) as file:
        while len(times) < 32 and (not times or time.monotonic() < limit):
            begin = time.monotonic_ns()
            file.write(page)
            os.fsync(file.fileno())
            times.append(time.monotonic_ns() - begin)
    return percentiles(times)


def _zmq(folder: Path) -> dict[str, Any]:
    """Round trips of 64 bytes over ipc between two threads that block: what a sleeping peer costs."""
    import zmq

    times: list[int] = []
    message = bytes(64)
    with zmq.Context() as context, context.socket(zmq.PAIR) as near, context.socket(zmq.PAIR) as far:
        for socket in (near, far):
            socket.linger = 0
            socket.rcvtimeo = socket.sndtimeo = int(_ROUND_TRIP_LIMIT_S * 1000)
        far.bind(f"ipc://{folder}/pair")
        near.connect(f"ipc://{folder}/pair")
        echo = threading.Thread(target=_echo, args=(far,))
        echo.start()
        limit = time.monotonic() + _ROUND_TRIP_LIMIT_S
        try:
            while len(times) < _ROUND_TRIPS and (not times or time.monotonic() < limit):
                begin = time.monotonic_ns()
                near.send(message)
                near.recv()
                times.append(time.monotonic_ns() - begin)
        finally:
            near.send(b"")
            echo.join()
    return percentiles(times[min(len(times) // 10, 100) :])


def _echo(socket: Any) -> None:
    """Send back what comes until it is empty, or nothing comes."""
    import zmq

    try:
        while message := socket.recv():
            socket.send(message)
    except zmq.Again:
        return
