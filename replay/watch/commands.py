"""Commands that were refused, and a control channel in trouble, from RUN_DIR/control.log onto the alert stream.

The journal has what was taken; who was turned away, and why, is in that log alone (decision 174). Alerts are of a
person, or of a uid; those of keys that nobody knows are of "elsewhere", so that drawing new keys makes no new alerts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from engine.run.control_guard import LOG
from replay.watch.events import Event, Severity
from replay.watch.followed import Followed

_KIND, _SOURCE = "command", "control.log"
_REFUSED: Final = "refused: "
#: Other outcomes that are told.
_TROUBLE: Final = {
    "error": ("CONTROL_ERROR", Severity.WARNING),
    "dropped": ("CONNECTION_DROPPED", Severity.WARNING),
    "thread ended": ("CONTROL_THREAD_ENDED", Severity.CRITICAL),
}


def commands(run_dir: Path, run_id: str) -> Followed:
    """Follows a run's log of commands."""
    return Followed(run_dir / LOG, run_id, _KIND, _SOURCE, _events)


def _events(row: dict[str, Any]) -> Iterator[Event]:
    if left_out := row.get("lines_left_out"):
        text = f"{left_out} lines were left out of {LOG}: more than it takes in a second, or a full disk"
        yield _event(row, "LINES_LEFT_OUT", Severity.WARNING, "", text)._replace(times=int(left_out))
    outcome = str(row["outcome"])
    if outcome.startswith(_REFUSED):
        why = outcome.removeprefix(_REFUSED)
        command = row.get("request", {}).get("command", "a message")
        text = f"{command} of {row['peer']} refused, {why}: {row['text']}"
        yield _event(row, why.upper().replace(" ", "_"), Severity.WARNING, _whose(row), text)
    elif outcome in _TROUBLE:
        code, severity = _TROUBLE[outcome]
        yield _event(row, code, severity, "", str(row["text"]))


def _event(row: dict[str, Any], code: str, severity: Severity, subject: str, text: str) -> Event:
    return Event(
        kind=_KIND, code=code, severity=severity, subject=subject, text=text, source=_SOURCE, first=row["seq"],
        last=row["seq"], event_ns=row["realtime_ns"], last_event_ns=row["realtime_ns"],
    )  # fmt: skip


def _whose(row: dict[str, Any]) -> str:
    sender = str(row["sender"])
    return str(row["person"]) or (sender if sender.startswith("uid ") else "elsewhere")
