"""The watch: one process beside an engine that tells alerts, samples clocks, and copies executions.

    python -m replay.watch.main RUN_DIR [--settings JSON] [--parent PID] [--once]

`tickroute run` starts it; by hand it may be started at any time, also on a run that has ended. It reads the tail of the
journal and the stats file, and the engine never waits for it, nor knows of it. It ends when the journal is closed or
its parent is gone, after all that is there was told. Only one watches a run at a time.

    RUN_DIR/alerts.jsonl    what was told, chained (stream.py)      RUN_DIR/clock.jsonl  clock samples, chained
    RUN_DIR/executions.bin  the drop copy (dropcopy.py)             RUN_DIR/watch.json   where it stands (checkpoint.py)
    RUN_DIR/breaks.jsonl    is read: breaks of reconciliations go onto the stream; so is control.log: refused commands

Worst case: it has no core. Then it is late, and the alerts say so; what the engine does is as before.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from engine.errors import TickrouteError
from engine.io.journal_format import JournalError, Kind
from engine.io.journal_reader import Chunk
from engine.io.mapping import try_lock
from engine.run import manifest
from engine.run.config import Config
from engine.run.life import from_bytes
from engine.run.manifest import Manifest
from replay.watch import checkpoint
from replay.watch.breaks import breaks
from replay.watch.clock_sampler import CLOCK_FILE, Sample, Sampler
from replay.watch.commands import commands
from replay.watch.dropcopy import DropCopy
from replay.watch.events import Event, Severity
from replay.watch.executions import Executions
from replay.watch.gauges import Gauges
from replay.watch.journaled import JournalAlerts
from replay.watch.names import Names, UtcClock
from replay.watch.publish import Publisher, PublishError
from replay.watch.stale import StaleFeeds
from replay.watch.stream import ALERTS_FILE, AlertStream
from replay.watch.tail import Tail, templates

#: Between two looks at a journal that had no more.
IDLE_S: Final = 0.002
#: Between two looks at what waits and who asks, at figures, and between two checkpoints.
_TURN_S, _FIGURES_S, _KEEP_S = 0.01, 0.1, 1.0
#: Sections that may be other than the manifest has them.
SETTINGS: Final = ("alerts", "clock", "drop_copy", "feed", "session", "journal")


class WatchError(TickrouteError):
    """A run that cannot be watched; the message says why."""


class Watch:
    """One watch of one run. `turn` does what there is to do; `close` ends it in order."""

    def __init__(self, run_dir: Path, settings: dict[str, Any] | None = None, *, sample: bool = True) -> None:
        """Go on from the checkpoint. WatchError where another one is at work; JournalError, ManifestError."""
        self.run_dir = run_dir
        with ExitStack() as stack:
            stack.callback(os.close, _lock(run_dir))
            first = stack.enter_context(Tail(run_dir))
            self._begin(stack, first, settings or {}, sample)
            self._closing = stack.pop_all()

    def _begin(self, stack: ExitStack, first: Tail, settings: dict[str, Any], sample: bool) -> None:
        self.run_id = first.run_id
        self._manifest = manifest.from_bytes(first.manifest)
        config = self.config = configured(self._manifest, settings)
        self._state = checkpoint.read(self.run_dir, self.run_id)
        self._tail = stack.enter_context(Tail(self.run_dir, self._state.mark))
        self._offset_ns = self._state.offset_ns or self._manifest.clock_offset_ns
        names, self._clock = Names(config), UtcClock(config)
        if self._clock.delta_ns is not None and self._state.delta_ns is not None:
            self._clock.delta_ns = self._state.delta_ns
        unbound: list[str] = []
        publisher = _publisher("alerts.endpoint", config.alerts.endpoint, unbound)
        self.stream = AlertStream(self.run_dir, self.run_id, config.alerts, publisher)
        stack.callback(self.stream.close)
        publisher = _publisher("drop_copy.endpoint", config.drop_copy.endpoint, unbound)
        self._copy = DropCopy(self.run_dir, self._manifest.stream_epoch, self._state.executions, publisher)
        stack.callback(self._copy.close)
        self._executions = Executions()
        self._alerts = JournalAlerts(names, self._clock)
        self._gauges = Gauges(config, self.run_dir, self.stream.conditions)
        stack.callback(self._gauges.close)
        self._gauges.life, self._gauges.told = self._state.life, self._gauges.told | self._state.counters
        self._stale = StaleFeeds(config.alerts.stale_feed_ms, names, self._clock, self.stream.conditions)
        self._stale.heard_ns = dict(self._state.heard_ns)
        self._logs = (breaks(self.run_dir, self.run_id), commands(self.run_dir, self.run_id))
        self.sampler: Sampler | None = None
        if sample and config.clock.every_ms:
            self.sampler = Sampler(self.run_dir, self.run_id, config.clock, self._engine_ns)
            stack.callback(self.sampler.close)
            self.sampler.start()
        self._turned_s = self._figures_s = self._keep_s = 0.0
        self._alerts.causes = self._state.causes
        self._keep_place()
        self.stream.resume(self._state.waiting)
        if self._tail.trouble:
            self._tell("journal", "RECORDS_GONE", Severity.CRITICAL, self._tail.trouble)
        for text in unbound:
            self._tell("stream", "NOT_PUBLISHED", Severity.CRITICAL, text)

    def _engine_ns(self, monotonic_ns: int) -> int:
        """The engine's clock at a time of CLOCK_MONOTONIC; with the feed's clock, what the loop last said."""
        if self._clock.seen:
            return self._gauges.figures.get("clock_ns", 0)
        return monotonic_ns + self._offset_ns

    @property
    def ended(self) -> bool:
        """Whether the journal was closed, and all of it was taken in."""
        return self._tail.ended

    def turn(self) -> bool:
        """Do what there is to do; False: nothing new is on the journal."""
        settled = self._gauges.next_seq if self._executions.waiting else 0
        busy = False
        while (chunk := self._tail.read()) is not None:
            busy = True
            self._take(chunk)
            if time.monotonic() - self._figures_s > _FIGURES_S:
                break
        else:
            self._copy.take(self._executions.settle(settled))
        now_s = time.monotonic()
        if now_s - self._figures_s >= _FIGURES_S:
            self._figures_s = now_s
            self._look()
        if now_s - self._turned_s >= _TURN_S:
            self._turned_s = now_s
            self.stream.turn()
            self._copy.serve()
        if now_s - self._keep_s >= _KEEP_S:
            self._keep_s = now_s
            self.stream.beat()
            self.keep()
        return busy

    def damaged(self, error: JournalError) -> None:
        """Tell that the journal is damaged: once, however often it is tried again."""
        now_ns, place = time.time_ns(), f"byte {error.offset} of {error.file}"
        event = Event(
            kind="journal", code="JOURNAL_DAMAGED", severity=Severity.CRITICAL, subject=place, text=str(error),
            source="watch", first=now_ns, last=now_ns, event_ns=now_ns, last_event_ns=now_ns, seen=True,
        )  # fmt: skip
        told = self.stream.conditions.update(event, holds=True)
        if told is not None:
            self.stream.tell(told)

    def _take(self, chunk: Chunk) -> None:
        """Everything that one chunk says."""
        for row in np.flatnonzero(chunk.rows["kind"] == Kind.RECOVERED).tolist():
            self._offset_ns = from_bytes(chunk.payload(row).tobytes()).clock_offset_ns
        found = templates(chunk)
        self._stale.look(chunk, found)
        for event in sorted(self._alerts.look(chunk, found, self.stream.covered), key=lambda event: event.first):
            self.stream.tell(event)
        self._copy.take(self._executions.look(chunk, found))
        self._keep_place()

    def _keep_place(self) -> None:
        """Remember this place, where nothing is open that a reader who goes on from here would not see again."""
        if not self._executions.waiting and not self._copy.behind:
            self._kept = self._tail.mark, [*self._copy.counts], self._alerts.causes

    def _look(self) -> None:
        """What is not on the journal: counters, levels, silence, clocks."""
        for event in [*self._gauges.look(), *self._gauges.levels()]:
            self.stream.tell(event)
        for event in self._stale.conditions(self._gauges.figures.get("clock_ns", 0)):
            self.stream.tell(event)
        while self.sampler is not None and self.sampler.samples:
            self._excursion(self.sampler.samples.popleft())
        for log in self._logs:
            for event in log.look():
                self.stream.tell(event)

    def _excursion(self, sample: Sample) -> None:
        """A clock that is not shown to be within its tolerance, from the sample that says so to the first that does."""
        event = Event(
            kind="clock", code="CLOCK_EXCURSION", severity=Severity.WARNING, subject="", source="clock",
            text=f"{', '.join(sample.why) or 'within'}; {sample.text}", first=sample.realtime_ns,
            last=sample.realtime_ns, event_ns=sample.realtime_ns, last_event_ns=sample.realtime_ns,
            clock_ns=sample.clock_ns, value=sample.offset_ns, limit=self.config.clock.tolerance_us * 1000,
        )  # fmt: skip
        told = self.stream.conditions.update(event, bool(sample.why))
        if told is not None:
            self.stream.tell(told)

    def _tell(self, kind: str, code: str, severity: Severity, text: str) -> None:
        now_ns = time.time_ns()
        event = Event(
            kind=kind, code=code, severity=severity, subject="", text=text, source="watch", first=now_ns, last=now_ns,
            event_ns=now_ns, last_event_ns=now_ns, seen=True,
        )  # fmt: skip
        self.stream.tell(event)

    def gone(self) -> None:
        """Tell that the engine is gone, and did not close its journal."""
        self._tell(
            "halt", "ENGINE_GONE", Severity.CRITICAL, "the engine's process is gone and did not close its journal"
        )

    def keep(self, *, closed: bool = False) -> None:
        """Write the checkpoint; a full disk is said, no more."""
        mark, counts, causes = self._kept
        heads = {ALERTS_FILE: self.stream.head}
        for log in self._logs:
            heads |= log.heads
        if self.sampler is not None:
            heads[CLOCK_FILE] = self.sampler.head
        elif CLOCK_FILE in self._state.heads:
            heads[CLOCK_FILE] = self._state.heads[CLOCK_FILE]
        state = checkpoint.Checkpoint(
            run_id=self.run_id, mark=mark, causes=causes, waiting=self.stream.waiting(), life=self._gauges.life,
            counters=self._gauges.told, heard_ns=self._stale.heard_ns, delta_ns=self._clock.delta_ns,
            offset_ns=self._offset_ns, executions=counts, closed=closed, heads=heads,
        )  # fmt: skip
        try:
            checkpoint.write(self.run_dir, state)
        except OSError as error:
            print(f"no checkpoint: {error.strerror}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Tell all that waits, keep the place and the heads of the logs, and give everything back."""
        self._gauges.over = self._tail.ended
        if self._tail.ended:
            self._copy.take(self._executions.settle())
            self._keep_place()
        self._look()
        self.stream.turn(everything=True)
        self.stream.beat()
        if self.sampler is not None:
            self.sampler.close()
            self._look()
        self.keep(closed=self._tail.ended)
        self._closing.close()


def _publisher(key: str, endpoint: str, unbound: list[str]) -> Publisher | None:
    """The socket of an endpoint. One that cannot be bound costs the socket, and not the log: why goes to `unbound`."""
    if not endpoint:
        return None
    try:
        return Publisher(key, endpoint)
    except PublishError as error:
        unbound.append(str(error))
        return None


def _lock(run_dir: Path) -> int:
    """A descriptor that holds the watches' lock of a run."""
    fd = os.open(run_dir / "watch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if try_lock(fd, 0):
        return fd
    os.close(fd)
    raise WatchError(f"{run_dir}: another process watches this run; stop it first")


def configured(run: Manifest, settings: dict[str, Any]) -> Config:
    """The run's configuration, with the sections that this life of it has otherwise."""
    run.replayable()
    config = run.read_config()
    sections = msgspec.to_builtins(config)
    changed = {name: settings[name] for name in SETTINGS if name in settings}
    return msgspec.convert(sections | changed, Config)


def watch(watching: Watch, parent: int) -> None:
    """Watch until the journal is closed, the parent is gone or a signal comes."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: stopping.append(got))
    while not stopping:
        # Asked before reading: what a parent wrote before its end is then taken in.
        gone = parent > 0 and os.getppid() != parent
        busy = watching.turn()
        if watching.ended or (gone and not busy):
            if gone and not watching.ended:
                watching.gone()
            return
        if not busy:
            time.sleep(IDLE_S)


def once(watching: Watch) -> None:
    """Take in what is there."""
    while watching.turn():
        pass


def main(argv: list[str] | None = None) -> int:
    """The command; 0 at the end, 1 with a message where it cannot go on."""
    parser = argparse.ArgumentParser(prog="python -m replay.watch.main", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--settings", default="{}", help="sections of the configuration, as JSON")
    parser.add_argument("--parent", type=int, default=0, help="end when this process is no longer the parent")
    parser.add_argument("--once", action="store_true", help="take in what is there, and end; no clock samples")
    options = parser.parse_args(argv)
    try:
        watching = Watch(options.run_dir, json.loads(options.settings), sample=not options.once)
        try:
            if options.once:
                once(watching)
            else:
                watch(watching, options.parent)
        except JournalError as error:
            watching.damaged(error)
            raise
        finally:
            watching.close()
    except (TickrouteError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
