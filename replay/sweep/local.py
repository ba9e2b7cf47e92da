"""The cells of a sweep on this machine's cores: worker processes that are given one cell after another.

First one worker warms up (compiles every kernel that the sweep needs, into the cache that all share); then the others
start. A worker that dies is replaced, and its cell is given to another, RETRIES times at the most; then the cell has
failed. Workers are in sessions of their own, so that a Ctrl-C reaches them through us alone; leaving `run` in any way
kills those that are left, by process id.

Worst case: cells that each kill their worker cost (1 + RETRIES) starts of an interpreter, a second each.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Final, NamedTuple

import msgspec

from engine.errors import TickrouteError
from engine.jit import ROOT
from replay.sweep.cell import Cell, Done
from replay.sweep.worker import Task, Told

#: Times that a cell is given to another worker after its worker died.
RETRIES: Final = 2
_READ: Final = 1 << 16


class SweepError(TickrouteError):
    """A sweep that cannot go on; the message says why and what to do."""


class Now(NamedTuple):
    """How far a sweep is: cells that have ended (parts of cells count), of how many; inputs; retries so far."""

    cells: float
    total: int
    inputs: int
    retries: int


class Ended(NamedTuple):
    """A cell that has ended, and how often it was begun."""

    done: Done
    attempts: int


Watch = Callable[[Now], None]


class _Worker:
    """One process; `task` is what it is at."""

    def __init__(self) -> None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by `end`
        self.process = subprocess.Popen(
            [sys.executable, "-m", "replay.sweep.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        self.task: Task | None = None
        self.share, self.inputs = 0.0, 0
        self._buffer = b""

    @property
    def out(self) -> IO[bytes]:
        """Where it talks."""
        assert self.process.stdout is not None
        return self.process.stdout

    def give(self, task: Task) -> None:
        """Give it something to do; that it is dead shows when it is listened to."""
        self.task, self.share, self.inputs = task, 0.0, 0
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(msgspec.json.encode(task) + b"\n")
            self.process.stdin.flush()

    def hear(self) -> list[Told] | None:
        """What it has said since; None where it has ended."""
        data = os.read(self.out.fileno(), _READ)
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [msgspec.json.decode(line, type=Told) for line in lines]

    def end(self) -> str:
        """End it, dead or alive; how it ended, and what it said last."""
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.said.seek(0)
        last = self.said.read().decode("utf-8", errors="replace").strip().splitlines()[-1:]
        self.said.close()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return ": ".join([how, *last])


class _Crew:
    """Workers, what they are to do, and what came of it. While it warms up there is one of them."""

    def __init__(self, cells: Sequence[Cell], warm: Sequence[Cell], count: int, watch: Watch | None) -> None:
        self.waiting = deque([*(Task("warm", cell) for cell in warm), *(Task("play", cell) for cell in cells)])
        self.total, self.warming = len(cells), len(warm)
        self.count, self.watch = count, watch
        self.attempts: dict[tuple[str, int], int] = {}
        self.ended, self.inputs, self.retries = 0, 0, 0
        self.selector = selectors.DefaultSelector()
        self.workers: list[_Worker] = []

    def run(self) -> Iterator[Ended]:
        """Do all tasks; what came of each cell, as they end."""
        try:
            while self.ended < self.total:
                while self.waiting and len(self.workers) < (1 if self.warming else self.count):
                    self._start()
                for key, _ in self.selector.select(0.5):
                    yield from self._heard(key.data)
                self._tell()
        finally:
            for worker in self.workers:
                worker.end()
            self.selector.close()

    def _start(self) -> None:
        worker = _Worker()
        self.workers.append(worker)
        self.selector.register(worker.out, selectors.EVENT_READ, worker)
        self._next(worker)

    def _next(self, worker: _Worker) -> None:
        worker.task = None
        if self.waiting:
            task = self.waiting.popleft()
            self.attempts[_key(task)] = self.attempts.get(_key(task), 0) + 1
            worker.give(task)

    def _heard(self, worker: _Worker) -> Iterator[Ended]:
        told = worker.hear()
        if told is None:
            yield from self._died(worker)
            return
        for one in told:
            worker.share, worker.inputs = one.share, one.inputs
            if one.done is not None:
                assert worker.task is not None, "it does what it was given"
                yield from self._did(worker.task, one.done)
                self._next(worker)

    def _did(self, task: Task, done: Done) -> Iterator[Ended]:
        if task.what == "warm":
            self.warming -= 1  # what is wrong with a cell, the cell says when it is played
            return
        self.ended += 1
        self.inputs += int(done.figures.get("inputs") or 0)
        yield Ended(done, self.attempts[_key(task)])

    def _died(self, worker: _Worker) -> Iterator[Ended]:
        self.selector.unregister(worker.out)
        self.workers.remove(worker)
        how, task = worker.end(), worker.task
        if task is None:
            return
        times = self.attempts[_key(task)]
        if times <= RETRIES:
            self.retries += 1
            self.waiting.appendleft(task)
            return
        why = f"its worker died {times} times, at last {how}"
        if task.what == "warm":
            raise SweepError(f"warming up with cell {task.cell.number}: {why}")
        done = Done(task.cell.number, f"{why}; memory may be short (--workers), or look at it with tickroute backtest")
        yield from self._did(task, done)

    def _tell(self) -> None:
        if self.watch is not None:
            going = [worker for worker in self.workers if worker.task is not None and worker.task.what == "play"]
            cells = self.ended + sum(worker.share for worker in going)
            inputs = self.inputs + sum(worker.inputs for worker in going)
            self.watch(Now(cells, self.total, inputs, self.retries))


def _key(task: Task) -> tuple[str, int]:
    return task.what, task.cell.number


def run(cells: Sequence[Cell], warm: Sequence[Cell], workers: int, watch: Watch | None = None) -> Iterator[Ended]:
    """Play cells on `workers` processes after one has warmed up; what came of each, as they end.

    SweepError: warming up killed its worker again and again.
    """
    yield from _Crew(cells, warm, workers, watch).run()
