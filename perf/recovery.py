"""`perf recovery`: how long a run that ended takes to be ready again.

A run is made whose journal holds EVENTS events of the day of `perf core` with their outputs; shortly before its end,
TAIL events, the follower's code writes a snapshot. Its directory is copied while the writer still has it: what a kill
leaves. Then real processes, `tickroute run`, take it up, ROUNDS times each way; between them all caches stay warm.

    recovery ready              ms from exec to ready to route, the whole journal driven
    recovery replay             events/s of that replay alone: frames checked, driven through the core, outputs compared
    recovery scan               frames/s of checking them alone, in this process: the most that a replay could reach
    recovery ready snapshot     ms from exec to ready to route with the snapshot
    recovery state snapshot     ms from before the journal is opened to the state being there, less the kernels' load:
                                configuration compared, tables made, snapshot, tail, the journal's end

Capacities are the configuration's own; `notes` tells them. Worst case: a disk that holds the journal no longer in
memory; the first round then is the disk's, and in `max` alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import TickrouteError
from engine.io.journal_reader import JournalReader
from engine.run.follow import Follower
from perf import desk
from perf.bench import Bench, days, opened
from perf.peers import ROOT
from perf.result import Progress, Result, Row, at_least, at_most, result

EVENTS, TAIL = 1_000_000, 20_000
ROUNDS = 5
CHUNK = 40_000
#: The aims: events a second, ms.
REPLAY_RATE, STATE_MS = 5e6, 40.0
#: A process that compiles first takes a minute; more is an error.
PROCESS_S = 600


class RecoveryBenchError(TickrouteError):
    """A recovery that failed; the message holds what the process said."""


def run(progress: Progress, *, core: int = -1, short: bool = False) -> Result:
    """Measure; `core` is the CPU that the run is made on (-1: the last that this process may use)."""
    core = max(os.sched_getaffinity(0)) if core < 0 else core
    events, tail, rounds = (20_000, 2_000, 1) if short else (EVENTS, TAIL, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="tickroute-perf-") as name:
        folder = Path(name)
        progress("make a run", 0.0)
        told = _make(folder, core, events, tail, short, progress)
        scans = [_scan(folder / "run") for _ in range(rounds)]
        found: dict[str, list[dict[str, Any]]] = {"whole": [], "snapshot": []}
        for number in range(rounds):
            for place, (kind, more) in enumerate((("whole", ["--no-snapshots"]), ("snapshot", []))):
                progress(f"recover: {kind}", (2 + number + place / 2) / (2 + rounds))
                found[kind].append(_recover(folder, more))
    _check(found, events, tail)
    replayed = found["whole"][0]["inputs_replayed"]
    notes = [told, f"{replayed:,} events; with the snapshot {found['snapshot'][0]['inputs_replayed']:,} of them"]
    return result("recovery", _rows(found, scans), notes, core)


def _make(folder: Path, core: int, events: int, tail: int, short: bool, progress: Progress) -> str:
    """A run in `folder`/run as a kill would leave it, and its configuration; what it is, in words."""
    with opened(core, 8 if short else 64) as bench:
        name, day = days(bench.config, short)[0]
        bench.load(day)
        _play(bench, events - tail, progress)
        source = Path(bench.config.engine.run_dir)
        with Follower(source) as follower:
            while follower.turn(1 << 16):
                pass
            if follower.shoot() is None:
                raise RecoveryBenchError(f"{source}: no snapshot could be written")
        _play(bench, events, progress)
        bench.check()
        shutil.copytree(source, folder / "run", ignore=shutil.ignore_patterns("lock"))
        capacity = bench.config.capacity
    desk.write(folder, segment_mib=8 if short else 64)
    size = sum(path.stat().st_size for path in (folder / "run").rglob("*.snap")) / (1 << 20)
    return (
        f"the {name} day; capacity {capacity.parents:,} parents, {capacity.children:,} children, "
        f"{capacity.executions:,} executions; the snapshot has {size:.1f} MiB"
    )


def _play(bench: Bench, until: int, progress: Progress) -> None:
    """Play until that many events have been pumped in all."""
    assert bench.rig is not None, "a day is loaded"
    line = bench.rig.line[0]
    while int(line.events) < until:
        bench.settle()
        bench.play(min(CHUNK, until - int(line.events)))
        progress("make a run", 0.2 * int(line.events) / until)


def _scan(run_dir: Path) -> float:
    """Frames a second of reading the journal alone."""
    began, count = time.perf_counter(), 0
    with JournalReader(run_dir) as reader:
        reader.thorough = False
        for chunk in reader.chunks():
            count += len(chunk.rows)
    return count / (time.perf_counter() - began)


def _recover(folder: Path, more: list[str]) -> dict[str, Any]:
    """What `tickroute run` tells of a recovery: a process from exec to its orderly end."""
    told = folder / "told.json"
    code = "import sys; from cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["run", str(folder / "desk.toml"), "--seconds", "0.01", "--json", str(told), *more]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
        check=False,
    )
    if done.returncode:
        raise RecoveryBenchError(f"tickroute run ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))["recovery"]
    return found


def _check(found: dict[str, list[dict[str, Any]]], events: int, tail: int) -> None:
    """RecoveryBenchError where a process did other work than its row says."""
    for kind, least, most in (("whole", events, 2 * events), ("snapshot", 1, 4 * tail)):
        for one in found[kind]:
            assert (one["snapshot_seq"] is None) == (kind == "whole"), one
            if not least <= one["inputs_replayed"] <= most or one["torn_bytes"] or one["snapshots_skipped"]:
                raise RecoveryBenchError(f"{kind}: {one}: a bug in perf/, or the snapshot cannot be used")


def _rows(found: dict[str, list[dict[str, Any]]], scans: list[float]) -> list[Row]:
    whole, short = found["whole"], found["snapshot"]
    rates = [one["inputs_replayed"] * 1e3 / one["replay_ms"] for one in whole]
    states = [one["state_ms"] for one in short]
    scan = float(np.median(scans))
    replay = Row(name="recovery replay", unit="events/s", p50=float(np.median(rates)), max=max(rates), n=len(rates))
    return [
        _ms("recovery ready", [one["ready_ms"] for one in whole]),
        at_least(replay, REPLAY_RATE),
        Row(name="recovery scan", unit="frames/s", p50=scan, max=max(scans), n=len(scans)),
        _ms("recovery ready snapshot", [one["ready_ms"] for one in short]),
        at_most(_ms("recovery state snapshot", states), STATE_MS),
    ]


def _ms(name: str, values: list[float]) -> Row:
    return Row(name=name, unit="ms", p50=float(np.median(values)), max=max(values), n=len(values))
