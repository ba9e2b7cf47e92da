"""A reconciliation of a run: our executions from its journal, the venues' from files or streams, and what differs.

`against_files` compares two whole records. `Following` compares as executions come, until it is told to stop; what only
one side has is a break once it is older than the grace time.

Breaks go into RUN_DIR/breaks.jsonl, and from there onto the alert stream: the watch beside the engine reads it; where
none is at work, a short one is run to tell them.

Worst case: both sides in memory, see `compare`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from engine.run import manifest
from engine.run.config import Config
from replay.reconcile.breaks import BreaksLog
from replay.reconcile.compare import OURS, THEIRS, Break, Reconciler
from replay.reconcile.ledger import Entry
from replay.reconcile.ours import Ours, entry_of
from replay.reconcile.stream import VenueStream
from replay.watch.main import Watch, WatchError, once
from replay.watch.tail import Tail


class Outcome(NamedTuple):
    """What a reconciliation found; `as_of_ns` is what ages are up to."""

    ours: int
    theirs: int
    agreed: int
    breaks: list[Break]
    as_of_ns: int | None
    stream: dict[str, int]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {**self._asdict(), "breaks": [row._asdict() for row in self.breaks]}


class Run:
    """A run's own side. A context manager; JournalError, ManifestError."""

    def __init__(self, run_dir: Path, *, live: bool) -> None:
        self.run_dir = run_dir
        self._tail = Tail(run_dir, live=live)
        self.run_id = self._tail.run_id
        run = manifest.from_bytes(self._tail.manifest)
        run.replayable()
        self.config: Config = run.read_config()
        self.ours = Ours(run_dir, self.config, self._tail)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._tail.close()


def against_files(run: Run, theirs: Iterable[Entry], venues: list[str]) -> Outcome:
    """Our executions up to now against the whole records of venues."""
    reconciler = Reconciler()
    for entry in run.ours.new():
        if not venues or entry.mic in venues:
            reconciler.take(OURS, entry, 0)
    latest = run.ours.clock_ns
    for entry in theirs:
        latest = max(latest, entry.time_ns or 0)
        reconciler.take(THEIRS, entry, 0)
    reconciler.turn(0, latest)
    found = reconciler.aged(latest)
    log = BreaksLog(run.run_dir, run.run_id)
    try:
        log.write(found, ())
        log.settle(row for row in found)
    finally:
        log.close()
    return outcome(reconciler, found, latest, {})


class Following:
    """Our executions against venues' streams, as they come. `turn` often; `close` gives the outcome."""

    def __init__(self, run: Run, endpoints: list[str], venues: list[str], grace_ms: int) -> None:
        self._run, self._venues = run, venues
        self._streams = [VenueStream(endpoint) for endpoint in endpoints]
        self._reconciler = Reconciler(grace_ms * 1_000_000)
        self._log = BreaksLog(run.run_dir, run.run_id)
        self._latest = 0

    def turn(self) -> tuple[list[Break], list[Break]]:
        """Take in what came; (breaks that are new, breaks that are no more)."""
        now_ns = time.monotonic_ns()
        for entry in self._run.ours.new():
            self._take(OURS, entry, now_ns)
        for stream in self._streams:
            for data in stream.new():
                told = entry_of(data, self._run.config)
                if told is not None:
                    self._take(THEIRS, told, now_ns)
        new, gone = self._reconciler.turn(now_ns, self.as_of_ns)
        self._log.write(new, gone)
        return new, gone

    def _take(self, side: int, entry: Entry, now_ns: int) -> None:
        if not self._venues or entry.mic in self._venues:
            self._latest = max(self._latest, entry.time_ns or 0)
            self._reconciler.take(side, entry, now_ns)

    @property
    def as_of_ns(self) -> int:
        """The latest time that either side has."""
        return max(self._latest, self._run.ours.clock_ns)

    def close(self) -> Outcome:
        """Hang up; what there is then."""
        told = {
            name: sum(int(getattr(stream, name)) for stream in self._streams)
            for name in ("missing", "malformed", "repeated", "restarts")
        }
        for stream in self._streams:
            stream.close()
        found = self._reconciler.aged(self.as_of_ns)
        self._log.settle(found)
        self._log.close()
        return outcome(self._reconciler, found, self.as_of_ns, told)


def outcome(reconciler: Reconciler, found: list[Break], as_of_ns: int, stream: dict[str, int]) -> Outcome:
    """What a reconciler has come to."""
    ours, theirs = (ledger.count for ledger in reconciler.ledgers)
    return Outcome(ours, theirs, reconciler.agreed, found, as_of_ns or None, stream)


def tell(run_dir: Path) -> bool:
    """Have the breaks told on the alert stream; False: the watch that is at work does it."""
    try:
        watching = Watch(run_dir, sample=False)
    except WatchError:
        return False
    try:
        once(watching)
    finally:
        watching.close()
    return True
