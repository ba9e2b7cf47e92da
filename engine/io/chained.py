"""Writing logs of JSON lines in which one altered byte is found: each line carries the SHA-256 of all before it and
itself. `replay.watch.chained` reads them.

    {"seq":1,"...":...,"chain":"<64 hex digits>"}

`seq` is dense from 1 and the first member, `chain` the last. chain(n) is the SHA-256 of the 32 bytes of chain(n - 1)
and the bytes of line n before `,"chain":`; chain(0) is the SHA-256 of the log's subject, "<run id> <name>". Whoever
keeps a chain value elsewhere (a seal, the closing data of a run) can show that no line up to it was altered or removed;
what was cut off behind it, or computed anew from the first line on, is found against that value and by nothing else.

A line is written with one call, so a crash leaves at most one torn line at the end. `ChainedLog` removes that when it
is opened; a line that was altered is not its affair: it goes on behind the last line, and a reader finds it.

Worst case: opening reads the whole log, about 200 MB a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

_MARK: Final = b',"chain":"'
#: How a line ends, and how many bytes that is.
_END: Final = re.compile(_MARK + rb'([0-9a-f]{64})"}\n\Z')
END_BYTES: Final = len(_MARK) + 64 + len(b'"}\n')


class Head(NamedTuple):
    """Where a log stands: lines, and the chain value of the last (of the subject where there is none)."""

    lines: int
    chain: str


def subject(run_id: str, name: str) -> bytes:
    """chain(0) of the log `name` of a run."""
    return hashlib.sha256(f"{run_id} {name}".encode()).digest()


def link(before: bytes, body: bytes) -> bytes:
    """chain(n) from chain(n - 1) and the line's bytes before `,"chain":`."""
    return hashlib.sha256(before + body).digest()


def chain_of(line: bytes) -> bytes | None:
    """The chain value that a line ends in; None where it ends otherwise, in capitals for instance."""
    found = _END.search(line)
    return bytes.fromhex(found[1].decode("ascii")) if found else None


class ChainedLog:
    """The one writer of a log. `head` is where it stands; `mode` is that of a new file. OSError as it comes."""

    def __init__(self, path: Path, run_id: str, mode: int = 0o644) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
        self._chain = subject(run_id, path.name)
        self.lines, size = 0, 0
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                size += len(line)
                self.lines += 1
                self._chain = chain_of(line) or self._chain
        os.ftruncate(self._fd, size)

    @property
    def head(self) -> Head:
        """Lines so far, and the last one's chain value."""
        return Head(self.lines, self._chain.hex())

    def append(self, row: dict[str, Any]) -> bytes:
        """Write a line, `seq` before and `chain` behind the row's members; the line as it was written.

        OSError where it could not be: the log is then as it was.
        """
        body = json.dumps({"seq": self.lines + 1, **row}, separators=(",", ":"), ensure_ascii=True).encode()[:-1]
        chain = link(self._chain, body)
        line = body + _MARK + chain.hex().encode() + b'"}\n'
        at = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                raise OSError(28, "no space left on the device", str(self.path))
        except OSError:
            os.ftruncate(self._fd, at)
            raise
        self._chain = chain
        self.lines += 1
        return line

    def close(self) -> None:
        """Give the file back. Twice is once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
