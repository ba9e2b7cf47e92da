"""The cells of a sweep on a Ray cluster, `--ray ADDRESS`; "local" starts a Ray of this machine for the sweep alone.

Ray is an extra (`pip install 'tickroute[ray]'`) and imported here only. Every host must have this build of tickroute
and see the feed's files under the paths given; cells are played in a directory of the host's own, and only what came of
them travels. Each host is warmed up once. A worker's death is a retry as on one machine, a host's too; Ray itself tries
nothing again, so that attempts are counted in one place.

Worst case: a cluster without a free core waits; Ray says so, and a Ctrl-C ends the sweep and its tasks.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.errors import UsageError
from engine.jit import ROOT
from replay.sweep.cell import Cell, Done, sources, where_kept
from replay.sweep.local import RETRIES, Ended, Now, SweepError, Watch
from replay.sweep.worker import Task, do

_ADDRESS: Final = re.compile(r"(?:ray://)?([A-Za-z0-9_.\-]+|\[[0-9A-Fa-f:]+\]):(\d{1,5})")
_PATIENCE_S: Final = 5.0


def imported() -> Any:
    """The ray module; UsageError that names the extra where it is not installed."""
    try:
        import ray
    except ImportError as error:
        text = "--ray: ray is not installed here; install the extra: pip install 'tickroute[ray]'"
        raise UsageError(text) from error
    return ray


def check(address: str) -> None:
    """UsageError where an address is none, or nothing listens there: Ray itself would try for minutes."""
    if address in ("local", "auto"):
        return
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found[2]) < 65536:
        raise UsageError(f"--ray {address}: is no address; name host:port, ray://host:port, auto, or local")
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=_PATIENCE_S).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(
            f"--ray {address}: nothing answers there: {why}; start Ray, or name another address"
        ) from error


def run(
    cells: Sequence[Cell], warm: Sequence[Cell], address: str, workers: int | None, watch: Watch | None = None
) -> Iterator[Ended]:
    """Play cells on a cluster; what came of each, as they end. `workers`: cells at a time, by default all its cores.

    UsageError: ray is not installed, or nothing answers at the address. SweepError: a host has another build.
    """
    ray = imported()
    _connect(ray, address, workers)
    try:
        _warm(ray, warm)
        most = workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        yield from _played(ray, cells, most, watch)
    finally:
        ray.shutdown()


def on_host(data: bytes) -> bytes:
    """Do a task that came as JSON, in a directory of this host's own; what came of it, as JSON."""
    task = msgspec.json.decode(data, type=Task)
    with tempfile.TemporaryDirectory(prefix="tickroute-") as folder:
        number = task.cell.number
        cell = msgspec.structs.replace(task.cell, run_dir=str(where_kept(Path(folder), number)), keep=False)
        return msgspec.json.encode(do(Task(task.what, cell)))


def _connect(ray: Any, address: str, workers: int | None) -> None:
    local = address == "local"
    # Ray would print to the terminal, draw bars, and ask the network about itself.
    settings: dict[str, Any] = {"include_dashboard": False, "num_cpus": workers} if local else {"address": address}
    environment = {name: os.environ[name] for name in ("TICKROUTE_CACHE_DIR",) if local and name in os.environ}
    if local:
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            logging_level="ERROR", log_to_driver=False, runtime_env={"env_vars": environment} if environment else None,
            **settings,
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        remedy = "a cluster with tokens wants RAY_AUTH_MODE=token and its RAY_AUTH_TOKEN here too"
        raise UsageError(f"--ray {address}: no cluster that lets us in: {error}; {remedy}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_term)  # Ray's own would end the process without a word of ours


def _warm(ray: Any, warm: Sequence[Cell]) -> None:
    """Compile on every host, once, and hold each to this build."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(max_retries=0)(on_host)
    asked = []
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            for cell in warm:
                data = msgspec.json.encode(Task("warm", cell))
                asked.append((node["NodeManagerHostname"], remote.options(scheduling_strategy=there).remote(data)))
    for host, answer in asked:
        try:
            done = msgspec.json.decode(ray.get(answer), type=Done)
        except ray.exceptions.RayError as error:
            raise SweepError(f"warming up on {host}: {error}; is this build of tickroute installed there?") from error
        if done.sources != sources():
            raise SweepError(f"{host} has another build of tickroute ({done.sources[:12]}); install this one there")


def _played(ray: Any, cells: Sequence[Cell], most: int, watch: Watch | None) -> Iterator[Ended]:
    remote = ray.remote(max_retries=0)(on_host)
    waiting, attempts = list(reversed(cells)), dict.fromkeys((cell.number for cell in cells), 0)
    at: dict[Any, Cell] = {}
    ended, inputs, retries = 0, 0, 0
    while waiting or at:
        while waiting and len(at) < most:
            cell = waiting.pop()
            attempts[cell.number] += 1
            at[remote.remote(msgspec.json.encode(Task("play", cell)))] = cell
        ready, _ = ray.wait(list(at), num_returns=1, timeout=0.5)
        for answer in ready:
            cell = at.pop(answer)
            number = cell.number
            try:
                done = msgspec.json.decode(ray.get(answer), type=Done)
            except ray.exceptions.RayError as error:
                if attempts[number] <= RETRIES:
                    retries += 1
                    waiting.append(cell)
                    continue
                last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                done = Done(number, f"its worker died {attempts[number]} times, at last: {last}")
            ended += 1
            inputs += int(done.figures.get("inputs") or 0)
            yield Ended(done, attempts[number])
        if watch is not None:
            watch(Now(ended, len(cells), inputs, retries))
