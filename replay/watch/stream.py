"""The alert stream: events in, lines of RUN_DIR/alerts.jsonl and messages out, each event told once.

The log is what was told. After a restart it says which conditions hold and, for each key, up to where its source was
told, so that what is read again from an older checkpoint is neither lost nor repeated.

Worst case: the disk is full. Alerts then go out on the socket alone, wait for the log, and `unwritten` counts them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from engine.run.config_beside import Alerts
from replay.watch.chained import ChainedLog, Head
from replay.watch.events import Collapser, Conditions, Event, State, from_row
from replay.watch.publish import Publisher

ALERTS_FILE: Final = "alerts.jsonl"
_MS: Final = 1_000_000


class AlertStream:
    """The one writer of a run's alerts. `resume`, then `tell` and `turn`."""

    def __init__(self, run_dir: Path, run_id: str, settings: Alerts, publisher: Publisher | None) -> None:
        self._log = ChainedLog(run_dir / ALERTS_FILE, run_id)
        self._publisher = publisher
        self._late_ns = settings.late_ms * _MS
        self._collapser = Collapser(settings.repeat_ms)
        self.conditions = Conditions()
        #: (source, key) -> the last number of that source that was told.
        self._covered: dict[tuple[str, tuple[str, str, str]], int] = {}
        self._unwritten: list[Event] = []

    def resume(self, waiting: list[dict[str, Any]]) -> None:
        """Take up what the log says was told, and what waited at the checkpoint."""
        for event in filter(None, map(_event_of, self._lines())):
            self.conditions.told(event)
            if event.state == State.MOMENT:
                place = event.source, event.key
                self._covered[place] = max(self._covered.get(place, -1), event.last)
        for event in map(from_row, waiting):
            self.tell(event)
            # The journal may be read again from before it: what waits is as good as told.
            place = event.source, event.key
            self._covered[place] = max(self._covered.get(place, -1), event.last)

    def _lines(self) -> Iterator[bytes]:
        with self._log.path.open("rb") as file:
            yield from file

    @property
    def head(self) -> Head:
        """Where the log stands."""
        return self._log.head

    @property
    def unwritten(self) -> int:
        """Alerts that the log does not have, because it could not be written."""
        return len(self._unwritten)

    def waiting(self) -> list[dict[str, Any]]:
        """What waits to be told, for a checkpoint."""
        return [event.row(0, 0) for event in [*self._unwritten, *self._collapser.waiting()]]

    def covered(self, source: str, key: tuple[str, str, str]) -> int:
        """Up to which number the events of a source and key were told in an earlier life of the watch; -1: none."""
        return self._covered.get((source, key), -1)

    def tell(self, event: Event) -> None:
        """Tell an event now, or count it with those like it. What was told before is left out."""
        told = self.covered(event.source, event.key)
        if event.state == State.MOMENT and event.first <= told:
            if event.last <= told:
                return
            # Of a counter: what is beyond the value that was told. (Frames are left out where they are read.)
            event = event._replace(first=told + 1, times=event.last - told)
        # A condition is told when it begins and ends: both matter, and there cannot be many.
        now = event if event.state != State.MOMENT else self._collapser.add(event, time.monotonic_ns())
        if now is not None:
            self._send(now)

    def turn(self, *, everything: bool = False) -> None:
        """Tell what has waited long enough (`everything`: all that waits), and answer subscribers."""
        unwritten, self._unwritten = self._unwritten, []
        for event in unwritten:
            self._write(event)
        for event in self._collapser.due(time.monotonic_ns(), everything=everything):
            self._send(event)
        if self._publisher is not None:
            self._publisher.serve(self._from)

    def _send(self, event: Event) -> None:
        line = self._write(event)
        if self._publisher is not None:
            if line is None:
                line = json.dumps(event.row(time.time_ns(), self._late_ns)).encode()
            self._publisher.send(f"alert.{event.severity}".encode(), line)

    def _write(self, event: Event) -> bytes | None:
        try:
            return self._log.append(event.row(time.time_ns(), self._late_ns))
        except OSError:
            self._unwritten.append(event)
            return None

    def beat(self) -> None:
        """Say to subscribers that we live, and the last number, so that a loss at the end shows."""
        if self._publisher is not None:
            lines, chain = self._log.head
            said = {"seq": lines, "sent_ns": time.time_ns(), "chain": chain}
            self._publisher.send(b"beat", json.dumps(said).encode())

    def _from(self, number: int) -> Iterator[bytes]:
        for n, line in enumerate(self._lines(), 1):
            if n >= number:
                yield line

    def close(self) -> None:
        """Close the log and hang up."""
        self._log.close()
        if self._publisher is not None:
            self._publisher.close()


def _event_of(line: bytes) -> Event | None:
    try:
        return from_row(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return None  # an altered line: `check` finds it
