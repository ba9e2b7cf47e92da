"""Breaks of reconciliations, from RUN_DIR/breaks.jsonl onto the alert stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from replay.watch.events import Event, Severity
from replay.watch.followed import Followed

BREAKS_FILE: Final = "breaks.jsonl"
_KIND, _SOURCE = "reconciliation", "breaks"


def breaks(run_dir: Path, run_id: str) -> Followed:
    """Follows a run's log of breaks."""
    return Followed(run_dir / BREAKS_FILE, run_id, _KIND, _SOURCE, _events)


def _events(row: dict[str, Any]) -> Iterator[Event]:
    gone = row["state"] == "gone"
    said = "; ".join(f"{who} {row[who]}" for who in ("ours", "theirs") if row[who])
    yield Event(
        kind=_KIND,
        code="RECONCILIATION_BREAK",
        severity=Severity.INFO if gone else Severity.CRITICAL,
        subject=f"venue {row['mic']}, {row['break']}" + (", no more" if gone else ""),
        text=f"{'no more: ' if gone else ''}{row['break']} {row['mic']} {row['exec_id']}: {said}",
        source=_SOURCE,
        first=row["seq"],
        last=row["seq"],
        event_ns=row["found_ns"],
        last_event_ns=row["found_ns"],
        order_id=row["order_id"] or 0,
        instrument=row["symbol"],
        value=row["age_ns"],
    )
