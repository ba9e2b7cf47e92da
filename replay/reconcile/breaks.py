"""The log of breaks: RUN_DIR/breaks.jsonl, chained; a line when a break is found and one when it is no more.

It is what the alert stream tells of, and what says how long a break was open. A reconciliation that finds what is there
already adds nothing.

Worst case: as the log that it is, see `replay.watch.chained`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from replay.reconcile.compare import Break
from replay.watch.breaks import BREAKS_FILE
from replay.watch.chained import ChainedLog, rows


class BreaksLog:
    """The one writer at a time of a run's log of breaks. ChainError where it was altered."""

    def __init__(self, run_dir: Path, run_id: str) -> None:
        path = run_dir / BREAKS_FILE
        self.open: set[tuple[str, str, str]] = set()
        if path.exists():
            for row in rows(path, run_id):
                key = row["break"], row["mic"], row["exec_id"]
                (self.open.add if row["state"] == "open" else self.open.discard)(key)
        self._log = ChainedLog(path, run_id)

    def write(self, new: Iterable[Break], gone: Iterable[Break]) -> int:
        """Note breaks that came and went; how many lines that took."""
        count = 0
        for state, found in (("gone", gone), ("open", new)):
            for row in found:
                if (row.key in self.open) != (state == "open"):
                    self._log.append(self._row(state, row))
                    (self.open.add if state == "open" else self.open.discard)(row.key)
                    count += 1
        return count

    def settle(self, breaks: Iterable[Break]) -> int:
        """Note as gone what the log has open and a whole reconciliation did not find."""
        found = {row.key for row in breaks}
        gone = [Break(kind, mic, exec_id, None, "", "", "", None, None) for kind, mic, exec_id in self.open - found]
        return self.write((), sorted(gone, key=lambda row: row.key))

    def _row(self, state: str, row: Break) -> dict[str, Any]:
        fields = row._asdict()
        return {"state": state, "break": fields.pop("kind"), **fields, "found_ns": time.time_ns()}

    def close(self) -> None:
        """Close it."""
        self._log.close()
