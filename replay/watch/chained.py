"""Reading logs of JSON lines in which one altered byte is found (`engine.io.chained` writes them and says how).

Worst case: a log is read whole, about 200 MB a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import TickrouteError
from engine.io.chained import END_BYTES, ChainedLog, Head, chain_of, link, subject

__all__ = ("ChainError", "ChainedLog", "Head", "Reading", "check", "link", "rows", "subject")


class ChainError(TickrouteError):
    """A line that is not as it was written; the message names file, line and byte, and what is wrong."""

    def __init__(self, path: Path, line: int, offset: int, why: str) -> None:
        super().__init__(f"{path}, line {line} (byte {offset}): {why}; nothing from there on is evidence")
        self.path, self.line, self.offset, self.why = path, line, offset, why


class Reading:
    """A log that is read from its beginning, and again as it grows. `head` and `offset` are how far that has come."""

    def __init__(self, path: Path, run_id: str) -> None:
        self._path = path
        self._chain = subject(run_id, path.name)
        self.lines = self.offset = 0

    @property
    def head(self) -> Head:
        """Lines that were read, and the last one's chain value."""
        return Head(self.lines, self._chain.hex())

    def rows(self) -> Iterator[dict[str, Any]]:
        """The lines that are there now, each held against the chain; ChainError, OSError. A torn last one waits."""
        with self._path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                row = _read(self._path, self.lines + 1, self.offset, line, self._chain)
                self._chain = link(self._chain, line[:-END_BYTES])
                self.lines += 1
                self.offset += len(line)
                yield row


def rows(path: Path, run_id: str, head: Head | None = None) -> Iterator[dict[str, Any]]:
    """The lines of a log in order, each held against the chain; ChainError at the first that is not as it was written.

    `head`: what is kept elsewhere; the log must have come to it. A torn last line is left out: it was never whole.
    """
    reading = Reading(path, run_id)
    for row in reading.rows():
        if head is not None and reading.lines == head.lines and reading.head != head:
            raise ChainError(path, reading.lines, reading.offset, f"the chain is {row['chain']}, and was {head.chain}")
        yield row
    if head is not None and reading.lines < head.lines:
        why = f"the log ends before it, and had {head.lines} lines"
        raise ChainError(path, reading.lines + 1, reading.offset, why)


def _read(path: Path, number: int, offset: int, line: bytes, before: bytes) -> dict[str, Any]:
    found = chain_of(line)
    if found is None:
        raise ChainError(path, number, offset, "the line does not end in its chain value")
    if found != link(before, line[:-END_BYTES]):
        raise ChainError(path, number, offset, "the chain does not fit: this line was altered, or one is missing")
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ChainError(path, number, offset, f"no JSON: {error}") from error
    if not isinstance(row, dict) or row.get("seq") != number:
        raise ChainError(path, number, offset, "the line is not the one of this number")
    return row


def check(path: Path, run_id: str, head: Head | None = None) -> Head:
    """Read a log whole and say where it stands; ChainError as `rows`."""
    found = Head(0, subject(run_id, path.name).hex())
    for row in rows(path, run_id, head):
        found = Head(found.lines + 1, str(row["chain"]))
    return found
