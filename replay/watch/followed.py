"""A chained log that somebody else writes beside a run, followed from its beginning onto the alert stream.

What the alert log has is recognised by its number (see `stream`). A line that was altered, or a log that may not be
read, ends it, and is an alert itself.

Worst case: a log of a million lines is read again at each start of the watch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from replay.watch.chained import ChainError, Head, Reading
from replay.watch.events import Event, Severity


class Followed:
    """Follows one log. `look` gives the events of what was appended, as `events` reads them out of a line."""

    def __init__(
        self, path: Path, run_id: str, kind: str, source: str, events: Callable[[dict[str, Any]], Iterable[Event]]
    ) -> None:
        self._path, self._kind, self._source, self._events = path, kind, source, events
        self._reading = Reading(path, run_id)
        self._broken = False

    @property
    def heads(self) -> dict[str, Head]:
        """How far it was read; empty where there is none."""
        return {self._path.name: self._reading.head} if self._reading.head.lines else {}

    def look(self) -> Iterator[Event]:
        """What came since the last look."""
        try:
            if self._broken or os.stat(self._path).st_size <= self._reading.offset:
                return
        except OSError:
            return  # nobody has written it yet
        try:
            for row in self._reading.rows():
                yield from self._events(row)
        except ChainError as error:
            yield self._end("LOG_ALTERED", str(error), error.line)
        except OSError as error:
            yield self._end("LOG_UNREADABLE", f"{self._path}: {error.strerror}", self._reading.lines + 1)

    def _end(self, code: str, text: str, line: int) -> Event:
        self._broken = True
        now_ns = time.time_ns()
        return Event(
            kind=self._kind, code=code, severity=Severity.CRITICAL, subject="", text=text, source=self._source,
            first=line, last=line, event_ns=now_ns, last_event_ns=now_ns, seen=True,
        )  # fmt: skip
