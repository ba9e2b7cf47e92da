"""Alerts that the journal does not tell of: counters of the loop, how full tables, rings and the disk are, silence.

The engine is not asked: its stats file and the heads of its rings are mapped read-only. Counters become events when
they have grown; levels are conditions that begin at `near_percent` and end ten percent below it. A counter belongs to
one life of the run, so nothing is told twice after a restart of either side.

    LOOP_STALL       the loop was kept from its core for 5 ms or more      JOURNAL_STALL  no segment was ready
    SYNC_STALL       durability disk: so much waited that nothing was taken in
    QUEUE_FULL       the driver's own queue had no room                    SEND_FAILED    records that could not leave
    RECORDS_GONE     a client missed records that are no longer there      BROKEN_OFF     a venue skipped a number
    NEAR_CAPACITY    a table, a ring, the disk                             LOOP_SILENT    no sign of it for a second

Worst case: what fills and empties between two looks (100 ms) is not seen.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from engine.core.limits import power_of_two
from engine.io.atomics import monotonic_ns
from engine.io.mapping import Mapping
from engine.io.ring import MAGIC, ring_depth
from engine.io.stats_file import StatsError, StatsReader
from engine.run.config import Config
from replay.watch.events import Conditions, Event, Severity

#: Counter -> (kind, code, severity, what a person is told).
COUNTED: Final = {
    "stalls": ("stall", "LOOP_STALL", Severity.WARNING, "the loop was kept from its core for 5 ms or more"),
    "journal_stalls": ("stall", "JOURNAL_STALL", Severity.WARNING, "no segment of the journal was ready"),
    "feed_waits": ("stall", "JOURNAL_STALL", Severity.WARNING, "the journal is short of segments: feeds wait"),
    "sync_stalls": ("stall", "SYNC_STALL", Severity.WARNING, "the disk is slow: nothing was taken in meanwhile"),
    "inbox_overflow": ("capacity", "QUEUE_FULL", Severity.WARNING, "the driver's own queue had no room"),
    "dropped": ("send", "SEND_FAILED", Severity.WARNING, "records had no way to leave"),
    "records_gone": ("gap", "RECORDS_GONE", Severity.WARNING, "a client missed records that are no longer there"),
    "broken_off": ("gap", "BROKEN_OFF", Severity.WARNING, "a venue skipped a number: its session was broken off"),
}
#: A loop that has not published its figures for so long is silent.
SILENT_NS: Final = 1_000_000_000
#: How far below the threshold a level must fall before its condition ends, percent.
_BACK: Final = 10
_HEAD, _TAIL_SLOTS = 768, 16


class Level(NamedTuple):
    """How full something is."""

    name: str
    used: int
    room: int


class Gauges:
    """Looks at one run. `look` gives events of counters, `conditions` the levels that begin or end to be too high."""

    def __init__(self, config: Config, run_dir: Path, conditions: Conditions) -> None:
        self._config, self._run_dir, self._conditions = config, run_dir, conditions
        self._reader: StatsReader | None = None
        self._rings: dict[str, Mapping] = {}
        #: Counters as they were told, and the life that they are of.
        self.life, self.told = 0, dict.fromkeys(COUNTED, 0)
        #: Figures of the last look.
        self.figures: dict[str, int] = {}
        #: Whether the loop has ended in order: it is not silent then.
        self.over = False

    def look(self) -> Iterator[Event]:
        """What has happened since the last look. Without a stats file: nothing."""
        if not self._open():
            return
        assert self._reader is not None
        self.figures = self._reader.counters()
        life = self._reader.start_realtime_ns
        if life != self.life:
            self.life, self.told = life, dict.fromkeys(COUNTED, 0)
        now_ns = time.time_ns()
        for name, (kind, code, severity, text) in COUNTED.items():
            value, before = self.figures.get(name, 0), self.told[name]
            if value > before:
                self.told[name] = value
                yield Event(
                    kind=kind, code=code, severity=severity, subject="", text=text, source=f"stats {life}",
                    first=before + 1, last=value, event_ns=now_ns, last_event_ns=now_ns, times=value - before,
                    clock_ns=self.figures["clock_ns"], value=value, seen=True,
                )  # fmt: skip

    def _open(self) -> bool:
        """Have the stats file of the life that is now; False where there is none."""
        path = self._run_dir / "stats"
        if self._reader is not None and self._reader.age_ns(monotonic_ns()) is None:
            self._drop()  # its writer left: there may be another
        if self._reader is None:
            with contextlib.suppress(StatsError):
                self._reader = StatsReader(path)
        return self._reader is not None

    def _drop(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @property
    def next_seq(self) -> int:
        """Number of the frame that the loop writes next, as it last said between two events; 0 where nothing is known.

        What was taken in before it is done: its outputs are on the journal.
        """
        return self._reader.counters()["journal_next_seq"] if self._open() and self._reader is not None else 0

    def levels(self) -> Iterator[Event]:
        """Conditions that begin or end now."""
        if not self.figures:
            return
        now_ns = time.time_ns()
        for level in self._levels():
            percent = 100 * level.used // max(level.room, 1)
            event = Event(
                kind="capacity", code="NEAR_CAPACITY", severity=Severity.WARNING, subject=level.name,
                text=f"{level.name} is {percent} % full", source="gauge", first=now_ns, last=now_ns, event_ns=now_ns,
                last_event_ns=now_ns, clock_ns=self.figures["clock_ns"], value=level.used, limit=level.room, seen=True,
            )  # fmt: skip
            near = self._config.alerts.near_percent
            holds = percent >= (near - _BACK if event.key in self._conditions.since_ns else near)
            yield from _given(self._conditions.update(event, holds))
        yield from self._silence(now_ns)

    def _silence(self, now_ns: int) -> Iterator[Event]:
        beat_ns = self.figures["heartbeat_ns"]
        quiet_ns = monotonic_ns() - beat_ns
        working = self._reader is not None and self._reader.age_ns(monotonic_ns()) is not None
        began_ns = now_ns - max(quiet_ns - SILENT_NS, 0)
        event = Event(
            kind="stall", code="LOOP_SILENT", severity=Severity.CRITICAL, subject="", source="gauge",
            text="no sign of the loop", first=now_ns, last=now_ns, event_ns=began_ns, last_event_ns=began_ns,
            clock_ns=self.figures["clock_ns"], value=quiet_ns, limit=SILENT_NS,
        )  # fmt: skip
        holds = working and not self.over and beat_ns > 0 and quiet_ns > SILENT_NS
        yield from _given(self._conditions.update(event, holds))

    def _levels(self) -> Iterator[Level]:
        capacity, figures = self._config.capacity, self.figures
        parents, children = power_of_two(capacity.parents), power_of_two(capacity.children)
        yield Level("table of parents", figures["live_parents"], parents)
        yield Level("table of children", figures["live_children"], children)
        yield Level("timers", figures["armed_timers"], parents + children)
        yield Level("work queue", figures["work_queue"], parents)
        # Full at `min_free_mib`: from there on the engine is cancel-only.
        free_mib, least = figures["free_mib"], max(self._config.journal.min_free_mib, self._config.journal.segment_mib)
        if free_mib > 0:
            yield Level("disk of the journal", min(100 * least // free_mib, 100), 100)
        yield from self._ring_levels()

    def _ring_levels(self) -> Iterator[Level]:
        for name, path in self._ring_paths():
            ring = self._rings.get(name)
            if ring is None:
                with contextlib.suppress(OSError):
                    ring = self._rings[name] = Mapping(path, write=False)
            if ring is None or ring.size < 4096 or int(ring.memory[:8].view("<i8")[0]) != MAGIC:
                continue
            slots = int(ring.memory[_TAIL_SLOTS : _TAIL_SLOTS + 8].view("<i8")[0])
            yield Level(f"ring {name}", int(ring_depth(ring.address)), slots)

    def _ring_paths(self) -> Iterator[tuple[str, Path]]:
        yield "control", self._run_dir / "control.ring"
        for feed in self._config.feed:
            if feed.endpoint.startswith("shm://"):
                yield f"feed {feed.name}", Path(feed.endpoint[6:])
        for session in self._config.session:
            if session.endpoint.startswith("shm://"):
                yield f"session {session.name} in", Path(session.endpoint[6:] + ".in")
                yield f"session {session.name} out", Path(session.endpoint[6:] + ".out")

    def close(self) -> None:
        """Unmap everything."""
        self._drop()
        for ring in self._rings.values():
            ring.close()
        self._rings = {}


def _given(event: Event | None) -> Iterator[Event]:
    if event is not None:
        yield event
