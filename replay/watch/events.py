"""What an alert is made of, and how the same thing told again and again becomes one alert with a count.

An `Event` is something that happened once (or `times` times): a limit hit, a gap, a stall. The first of its key (kind,
code, subject) is told at once. Those that follow within `repeat_ms` are counted, and told as one when that time is
over: nothing is dropped, and no key is told more often than once in `repeat_ms`. The counts of all alerts add up to
the events.

A condition (a stale feed, a table that is nearly full) is told when it begins and when it ends; see `Condition`.

Worst case: as many alerts in `repeat_ms` as there are keys: kinds and codes times instruments, venues or sessions.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final, NamedTuple

_MS: Final = 1_000_000


class Severity(StrEnum):
    """How bad it is: CRITICAL wants somebody now, WARNING today, INFO is for the record."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class State(StrEnum):
    """Whether an alert is of a moment, or of a condition that begins or ends."""

    MOMENT = "moment"
    RAISED = "raised"
    CLEARED = "cleared"


class Event(NamedTuple):
    """Something to tell. `source`, `first` and `last` say where it was read: frames of the journal, a counter's value.

    `event_ns` is UTC, the first one's; `seen` says that it is the time at which it was seen, for want of a better one.
    """

    kind: str
    code: str
    severity: Severity
    subject: str
    text: str
    source: str
    first: int
    last: int
    event_ns: int
    last_event_ns: int
    clock_ns: int = 0
    times: int = 1
    order_id: int = 0
    instrument: str = ""
    value: int | None = None
    limit: int | None = None
    seen: bool = False
    state: State = State.MOMENT

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two events the same thing."""
        return self.kind, self.code, self.subject

    def row(self, sent_ns: int, late_ns: int) -> dict[str, Any]:
        """The members of its line in the log, but for number and chain."""
        row = self._asdict()
        row.pop("first")
        row.pop("last")
        row["count"] = row.pop("times")
        journaled = self.source == "journal"
        return {
            **row,
            "source_from": self.first,
            "source_to": self.last,
            "journal_seq": self.first if journaled else None,
            "sent_ns": sent_ns,
            "late": sent_ns - self.event_ns > late_ns,
        }


class _Window:
    """The time after an alert in which the same thing is counted."""

    def __init__(self, until_ns: int) -> None:
        self.until_ns = until_ns
        self.waiting: Event | None = None


class Collapser:
    """Takes events, gives those that are to be told now. Times are CLOCK_MONOTONIC, ns."""

    def __init__(self, repeat_ms: int) -> None:
        self._repeat_ns = repeat_ms * _MS
        self._windows: dict[tuple[str, str, str], _Window] = {}

    def add(self, event: Event, now_ns: int) -> Event | None:
        """The event itself, where it is to be told at once; None where it is counted with others."""
        window = self._windows.get(event.key)
        if window is None:
            self._windows[event.key] = _Window(now_ns + self._repeat_ns)
            return event
        window.waiting = event if window.waiting is None else merged(window.waiting, event)
        return None

    def due(self, now_ns: int, *, everything: bool = False) -> Iterator[Event]:
        """What has waited long enough; `everything`: what waits at all."""
        for key, window in list(self._windows.items()):
            if now_ns < window.until_ns and not everything:
                continue
            waiting, window.waiting = window.waiting, None
            window.until_ns = now_ns + self._repeat_ns
            if waiting is None:
                del self._windows[key]
            else:
                yield waiting

    def waiting(self) -> list[Event]:
        """What waits, for a checkpoint."""
        return [window.waiting for window in self._windows.values() if window.waiting is not None]


def merged(one: Event, two: Event) -> Event:
    """Both as one event: the first one's order and value, the counts added."""
    return one._replace(
        last=max(one.last, two.last),
        last_event_ns=max(one.last_event_ns, two.last_event_ns),
        times=one.times + two.times,
        severity=max(one.severity, two.severity, key=list(Severity).index),
    )


def from_row(row: dict[str, Any]) -> Event:
    """An event from a line of the log, or from a checkpoint. KeyError, ValueError where it is none."""
    others = ("first", "last", "severity", "state", "times")
    return Event(
        **{name: row[name] for name in Event._fields if name not in others},
        times=row["count"],
        first=row["source_from"],
        last=row["source_to"],
        severity=Severity(row["severity"]),
        state=State(row["state"]),
    )


class Conditions:
    """Which conditions hold, by key, and since when (UTC, ns)."""

    def __init__(self) -> None:
        self.since_ns: dict[tuple[str, str, str], int] = {}

    def told(self, event: Event) -> None:
        """Take note of what the log says."""
        if event.state == State.RAISED:
            self.since_ns[event.key] = event.event_ns
        elif event.state == State.CLEARED:
            self.since_ns.pop(event.key, None)

    def update(self, event: Event, holds: bool) -> Event | None:
        """The alert that is due, where a condition begins or ends; `event` describes it. `value` at its end is ns."""
        before = self.since_ns.get(event.key)
        if holds and before is None:
            raised = event._replace(state=State.RAISED)
            self.told(raised)
            return raised
        if not holds and before is not None:
            ended = event._replace(
                state=State.CLEARED,
                severity=Severity.INFO,
                value=max(event.event_ns - before, 0),
                text=f"over: {event.text}",
            )
            self.told(ended)
            return ended
        return None
