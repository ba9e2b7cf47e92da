"""What a log of alerts says in figures: counts by code, conditions that hold, the time from event to sending.

The time is taken from each line's own stamps. Alerts whose event has no better time than that at which it was seen are
counted apart: their time says how fast they were told, and nothing of how fast they were seen. A negative time (a clock
that was set back between the two) is counted and never clipped.

Worst case: the whole log in memory, about a kilobyte a line.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.errors import TickrouteError
from engine.io.journal_reader import JournalReader
from replay.watch.chained import rows
from replay.watch.stream import ALERTS_FILE

#: What RTS 6, Article 16(5) allows.
RULE_S: Final = 5
_RULE_NS: Final = RULE_S * 1_000_000_000
_QUANTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9}


class NoAlertsError(TickrouteError):
    """A run without a log of alerts."""


class Read(NamedTuple):
    """A log as it was read: its lines, and the bytes up to their end."""

    path: Path
    rows: list[dict[str, Any]]
    size: int


def read_alerts(run_dir: Path) -> Read:
    """A run's alerts, held against their chain. NoAlertsError, ChainError, JournalError."""
    path = run_dir / ALERTS_FILE
    if not path.exists():
        raise NoAlertsError(
            f"{path}: there is none; the run had no watch (tickroute run --no-watch), or name another run"
        )
    with JournalReader(run_dir, live=True) as reader:
        run_id = reader.run_id.hex()
    found = list(rows(path, run_id))
    size = 0
    with path.open("rb") as file:
        for _ in found:
            size += len(file.readline())
    return Read(path, found, size)


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Plain data for JSON and tables."""
    alerts: Counter[tuple[str, str, str]] = Counter()
    events: Counter[tuple[str, str, str]] = Counter()
    conditions: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in found:
        key = row["kind"], row["code"], row["severity"]
        alerts[key] += 1
        events[key] += row["count"]
        place = row["kind"], row["code"], row["subject"]
        if row["state"] == "raised":
            conditions[place] = row
        elif row["state"] == "cleared":
            conditions.pop(place, None)
    return {
        "events": sum(events.values()),
        "codes": [
            {"kind": kind, "code": code, "severity": severity, "alerts": count, "events": events[kind, code, severity]}
            for (kind, code, severity), count in sorted(alerts.items())
        ],
        "conditions": list(conditions.values()),
        "event_to_sent_ns": latencies(found),
    }


def latencies(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Percentiles of sent_ns - event_ns, how many were later than the rule allows, and how many were negative."""
    told = np.array([row["sent_ns"] - row["event_ns"] for row in found if not row["seen"]], dtype=np.int64)
    result: dict[str, Any] = {"count": len(told), "seen_only": len(found) - len(told), "rule_s": RULE_S}
    result["late"] = int(np.count_nonzero(told > _RULE_NS))
    result["negative"] = int(np.count_nonzero(told < 0))
    if len(told):
        told.sort()
        for name, percent in _QUANTILES.items():
            result[name] = int(told[min(int(np.ceil(len(told) * percent / 100)), len(told)) - 1])
        result["max"], result["min"] = int(told[-1]), int(told[0])
    return result
