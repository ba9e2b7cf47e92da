"""Our side: the executions of venues that the core booked, as the journal has them; and what a venue's stream says.

Both are records of the same layout, so one function makes entries of them. An ExecID that is no printable text is
shown as the hexadecimal of its bytes, on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from engine.record.records import EXEC_CHANGE, REPORT, Side, Template
from engine.run.config import Config
from replay.reconcile.ledger import Entry
from replay.watch.executions import VENUE, Execution, Executions
from replay.watch.tail import Tail, templates

_CHANGES: Final = (Template.BUST, Template.CORRECT)


def id_text(words: object) -> str:
    """A foreign id as text; 0x and its bytes where it is none."""
    raw = np.asarray(words, dtype="<i8").tobytes().rstrip(b"\0")
    text = raw.decode("ascii", errors="replace")
    return text if text.isascii() and text.isprintable() else "0x" + raw.hex()


def entry_of(data: bytes, config: Config) -> Entry | None:
    """The entry of a record of 128 bytes; None where it is no execution, or of no venue or instrument of the run."""
    template = int.from_bytes(data[2:4], "little")
    if template not in (Template.FILL, *_CHANGES) or len(data) != REPORT.itemsize:
        return None
    row = np.frombuffer(data, dtype=EXEC_CHANGE if template in _CHANGES else REPORT)[0]
    venue, instrument = int(row["venue_id"]), int(row["instrument_id"])
    if not (0 <= venue < len(config.venue) and 0 <= instrument < len(config.instrument)):
        return None
    side = int(row["side"])
    bust = template == Template.BUST
    return Entry(
        template=Template(template),
        mic=config.venue[venue].mic,
        exec_id=id_text(row["exec_id"]),
        ref_id=id_text(row["exec_ref_id"]) if template in _CHANGES else "",
        order_id=int(row["order_id"]),
        symbol=config.instrument[instrument].symbol,
        side=Side(side).name if side in list(Side) else str(side),
        qty=0 if bust else int(row["last_qty"]),
        px=0 if bust else int(row["last_px"]),
        time_ns=int(row["ts_event_ns"]),
    )


class Ours:
    """Our side of a run, from its first frame on; `new` gives what has been booked since the last call."""

    def __init__(self, run_dir: Path, config: Config, tail: Tail) -> None:
        self._config, self._tail = config, tail
        self._executions = Executions()
        #: The latest time of the engine's clock that was read.
        self.clock_ns = 0

    def new(self) -> Iterator[Entry]:
        """What has been booked, as far as the journal goes now."""
        while (chunk := self._tail.read(65536)) is not None:
            found = templates(chunk)
            last = np.flatnonzero(found > 0)[-1:]
            for row in last.tolist():
                head = chunk.payload(row)
                self.clock_ns = max(self.clock_ns, *(int(word) for word in head[24:40].view("<i8")))
            yield from self._entries(self._executions.look(chunk, found))
        if self._tail.ended:
            yield from self._entries(self._executions.settle())

    def _entries(self, executions: list[Execution]) -> Iterator[Entry]:
        for execution in executions:
            if execution.stream == VENUE:
                entry = entry_of(execution.data, self._config)
                if entry is not None:
                    yield entry
