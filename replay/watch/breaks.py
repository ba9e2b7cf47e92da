"""Breaks of reconciliations, from RUN_DIR/breaks.jsonl onto the alert stream.

The log is read from its beginning, and what the alert log has is recognised by its number (see `stream`). A line that
was altered ends it, and is an alert itself. Worst case: a log of a million breaks is read again at each start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from replay.watch.chained import ChainError, Head, Reading
from replay.watch.events import Event, Severity

BREAKS_FILE: Final = "breaks.jsonl"


class Breaks:
    """Follows a run's log of breaks. `look` gives the events of what was appended."""

    def __init__(self, run_dir: Path, run_id: str) -> None:
        self._path = run_dir / BREAKS_FILE
        self._reading = Reading(self._path, run_id)
        self._broken = False

    @property
    def heads(self) -> dict[str, Head]:
        """How far it was read; empty where there is none."""
        return {BREAKS_FILE: self._reading.head} if self._reading.head.lines else {}

    def look(self) -> Iterator[Event]:
        """What came since the last look."""
        try:
            if self._broken or os.stat(self._path).st_size <= self._reading.offset:
                return
        except OSError:
            return  # there is no reconciliation yet
        try:
            for row in self._reading.rows():
                yield _event(row)
        except ChainError as error:
            self._broken = True
            yield _told("LOG_ALTERED", str(error), error.line, 0)


def _event(row: dict[str, Any]) -> Event:
    gone = row["state"] == "gone"
    said = "; ".join(f"{who} {row[who]}" for who in ("ours", "theirs") if row[who])
    text = f"{'no more: ' if gone else ''}{row['break']} {row['mic']} {row['exec_id']}: {said}"
    event = _told("RECONCILIATION_BREAK", text, row["seq"], row["found_ns"])
    return event._replace(
        subject=f"venue {row['mic']}, {row['break']}" + (", no more" if gone else ""),
        severity=Severity.INFO if gone else Severity.CRITICAL,
        order_id=row["order_id"] or 0,
        instrument=row["symbol"],
        value=row["age_ns"],
    )


def _told(code: str, text: str, number: int, at_ns: int) -> Event:
    return Event(
        kind="reconciliation", code=code, severity=Severity.CRITICAL, subject="", text=text, source="breaks",
        first=number, last=number, event_ns=at_ns, last_event_ns=at_ns,
    )  # fmt: skip
