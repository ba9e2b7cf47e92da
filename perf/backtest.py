"""`perf backtest`: events a second of a backtest, beside hftbacktest over the same events, and what memory it takes.

    backtest noop      levels and trades of a perpetual, ten million events, and nothing is done with them
    backtest routing   the same with an order each 100 ms: immediate ones, and resting ones that are cancelled
    backtest ... touch the same where our venue matches against the best bid and offer ([simulation] depth = false)
    backtest memory    the peak of a process that plays a streamed file, against one that is a tenth as long

Both sides are processes of their own on one core, warm before anything is timed, with the events in memory; they play
in turns. A rate is events a second of CPU time of the whole process, so what else runs on the machine is hardly in it;
`p50` and `baseline` are medians of the rounds, `ratio` is the median of the rounds' ratios. Ours has fitting, books,
the journal on a disk and its helper's work in it. Both must end with the same touch.

Worst case: without hftbacktest (or its own Python, see `get`) the rows have no baseline, and a note says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TextIO, cast

import numpy as np

from engine.errors import TickrouteError
from perf.backtest_feed import binance_lines, captured, read_day, save
from perf.result import Progress, Result, Row, at_least, at_most, result

EVENTS: Final = 10_000_000
SHORT: Final = 400_000
ROUNDS: Final = 5
#: What is done with the events, and what our venue knows of its market.
MODES: Final = ("noop", "routing", "noop touch", "routing touch")
#: Aims: of the peer's rate, and of the memory that a tenth of the feed takes.
REACH: Final = {"noop": 2.0, "routing": 1.0}
MEMORY_REACH: Final = 1.1
#: Depth updates of the file whose memory is measured, and of the generated day.
UPDATES: Final = 4_000
DAY_UPDATES: Final = 6_500
TIMES: Final = 10
HFTBACKTEST: Final = "2.4.4"
ROOT: Final = Path(__file__).resolve().parent.parent
_WAIT_S: Final = 900


class BacktestBenchError(TickrouteError):
    """A side that does not start, fails, or ends with another touch; the message holds what it said."""


def peer_python() -> Path:
    """The interpreter that hftbacktest is installed for: it wants a numpy of its own."""
    return Path(os.environ.get("TICKROUTE_PEERS", f"{sys.prefix}/peers")) / "hftbacktest" / "bin" / "python"


def get() -> str:
    """How it is installed."""
    folder = peer_python().parent.parent
    return f"python3 -m venv {folder} && {folder}/bin/pip install hftbacktest=={HFTBACKTEST}"


def why_not() -> str | None:
    """Why the peer cannot be measured here; None where it can."""
    python = peer_python()
    if not python.exists():
        return f"hftbacktest is not installed: {get()}"
    code = "import importlib.metadata as m; print(m.version('hftbacktest'))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode or done.stdout.strip() != HFTBACKTEST:
        found = done.stdout.strip() or "none"
        return f"{python} has hftbacktest {found}, not {HFTBACKTEST}: {get()}"
    return None


def run(progress: Progress, core: int = -1, short: bool = False) -> Result:
    """Measure; `short` plays some hundred thousand events, once."""
    why = why_not()
    pinned = core if core >= 0 else max(os.sched_getaffinity(0))
    rounds = 1 if short else ROUNDS
    with tempfile.TemporaryDirectory(prefix="tickroute-backtest-") as name:
        folder = Path(name)
        progress("read the day", 0.0)
        path = captured()
        if path is None or short:
            path = folder / "generated.gz"
            binance_lines(path, 400 if short else DAY_UPDATES)
        day = read_day(path)
        save(day, folder)
        times = max((SHORT if short else EVENTS) // len(day.words), 1)
        found: dict[str, list[tuple[dict[str, Any], dict[str, Any] | None]]] = {}
        for n, mode in enumerate(MODES):
            progress(f"{mode}: compile", 0.1 + 0.2 * n)
            found[mode] = _rounds(
                folder, mode, times, pinned, rounds, why is None,
                lambda part, n=n, mode=mode: progress(mode, 0.1 + 0.2 * (n + part)),
            )  # fmt: skip
        rows = [_row(mode, found[mode]) for mode in MODES]
        progress("memory", 0.9)
        rows.append(memory_row(folder, UPDATES // (20 if short else 1)))
    notes = [_played(day.name, times * len(day.words), mode, found[mode][-1]) for mode in MODES]
    notes.append(f"hftbacktest {HFTBACKTEST} in a Python of its own" if why is None else why)
    return result("backtest", rows, notes, core)


def _played(name: str, events: int, mode: str, last: tuple[dict[str, Any], dict[str, Any] | None]) -> str:
    ours, theirs = last
    told = f"{mode}: {name}, {events:,} events; ours {ours['inputs']:,} inputs, {ours['outputs']:,} outputs journaled"
    told += (
        f", {ours['orders']:,} orders, {ours['reports']:,} reports; CPU {ours['cpu_s'] / events * 1e9:.1f} ns an event"
    )
    if theirs is not None:
        told += (
            f"; theirs {theirs['orders']:,} orders, {theirs['fills']:,} fills, {theirs['cpu_s'] / events * 1e9:.1f} ns"
        )
    return told


def _rounds(
    folder: Path, mode: str, times: int, core: int, rounds: int, with_peer: bool, show: Any
) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    what, _, touch = mode.partition(" ")
    arguments = [str(folder), what, str(times), str(core)]
    mine = [sys.executable, "-m", "perf.backtest_ours", *arguments, touch or "depth"]
    found = []
    with ExitStack() as stack:
        ours = stack.enter_context(Side("tickroute", mine, folder))
        theirs = None
        if with_peer:
            script = str(Path(__file__).with_name("backtest_peer.py"))
            theirs = stack.enter_context(Side("hftbacktest", [str(peer_python()), script, *arguments], folder))
        for n in range(rounds):
            show(n / rounds)
            turn = [side for side in (ours, theirs) if side is not None]
            played = {side.name: side.play() for side in (turn if n % 2 == 0 else turn[::-1])}
            one, other = played["tickroute"], played.get("hftbacktest")
            if other is not None and any(abs(one[key] - other[key]) > 1e-6 for key in ("bid", "ask")):
                at = f"{other['bid']} / {other['ask']}; ours at {one['bid']} / {one['ask']}"
                raise BacktestBenchError(f"{mode}: hftbacktest ends at {at}: the events are not the same")
            found.append((one, other))
    return found


def _row(mode: str, found: Sequence[tuple[dict[str, Any], dict[str, Any] | None]]) -> Row:
    ours = [one["events"] / one["cpu_s"] for one, _ in found]
    row = Row(name=f"backtest {mode}", unit="events/s", p50=float(np.median(ours)), max=max(ours), n=len(ours))
    theirs = [other["events"] / other["cpu_s"] for _, other in found if other is not None]
    if not theirs:
        return row
    ratio = float(np.median(np.array(ours) / np.array(theirs)))
    whole = Row(
        name=row.name, unit=row.unit, p50=row.p50, max=row.max, n=row.n, baseline=float(np.median(theirs)), ratio=ratio
    )
    return at_least(whole, REACH[mode.partition(" ")[0]])


def memory_row(folder: Path, updates: int) -> Row:
    """Peak resident memory of a process that plays a streamed file, and of one that plays a tenth of it."""
    peaks = [_peak(folder, updates * times) for times in (1, TIMES)]
    row = Row(name="backtest memory", unit="bytes", p50=float(peaks[1]), n=TIMES, baseline=float(peaks[0]),
              ratio=peaks[1] / peaks[0])  # fmt: skip
    return at_most(row, MEMORY_REACH)


def _peak(folder: Path, updates: int) -> int:
    file = folder / f"streamed-{updates}.gz"
    binance_lines(file, updates)
    with Side("memory", [sys.executable, "-m", "perf.backtest_memory", str(folder), str(file)], folder) as side:
        return int(side.said["peak"])


class Side:
    """A process that says when it is ready, and plays when it is told to. A context manager."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self._errors = (folder / f"{name}.err").open("w+", encoding="utf-8")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self._errors, text=True, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self.said: dict[str, Any] = {}

    def __enter__(self) -> Side:
        self.said = self._answer()
        return self

    def play(self) -> dict[str, Any]:
        """One play. BacktestBenchError where the process ends instead."""
        stdin = cast(TextIO, self._process.stdin)
        stdin.write("play\n")
        stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = cast(TextIO, self._process.stdout).readline()
        if not line:
            self._process.wait(_WAIT_S)
            self._errors.seek(0)
            code, text = self._process.returncode, self._errors.read()[-2000:]
            raise BacktestBenchError(f"{self.name} ended with {code}: {text}")
        told: dict[str, Any] = json.loads(line)
        return told

    def __exit__(self, *_: object) -> None:
        cast(TextIO, self._process.stdin).close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        cast(TextIO, self._process.stdout).close()
        self._errors.close()
