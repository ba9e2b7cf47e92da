"""A run again, from its journal: the state before the first event, the strategy bound, and frames fed through `step`.

`Rerun` is what verify, explain and recovery share. Feed it the reader's chunks in order; it stops at the first frame
that the core would not have made, and holds the state as it was after the last input that it took.

Worst case: a strategy that was never bound with these sources compiles for about a minute (`Rerun` does it at once).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from engine.core.limits import OUTBOX
from engine.core.state import make_outbox, state_hash, view_events
from engine.io.journal_format import FRAME, Kind
from engine.io.journal_reader import Chunk
from engine.io.mapping import aligned_zeros
from engine.record.records import RECORD_MAX, SBE_HEADER_SIZE, UNIT
from engine.run import drive
from engine.run.bind import bind
from engine.run.manifest import Manifest


class Stop(NamedTuple):
    """Why a rerun stopped: `why` is one of drive's reasons, `row` the place in the chunk that was being read."""

    why: int
    row: int


class Rerun:
    """One run through the core again. ManifestError, ConfigError or BindError where it cannot be set up."""

    def __init__(self, manifest: Manifest) -> None:
        """Build the state of the manifest and bind its strategy."""
        manifest.replayable()
        self.manifest = manifest
        began = time.perf_counter()
        self.bound = bind(manifest.strategy, manifest.sources)
        #: What it took to have the machine verified, and the kernels loaded or compiled.
        self.kernels_ms = (time.perf_counter() - began) * 1e3
        self.state = manifest.initial_state()
        self._drive = self.bound.drive.drive
        buffer = aligned_zeros(RECORD_MAX + UNIT, np.dtype(np.uint8))
        self.events, self.outbox = view_events(buffer), make_outbox(OUTBOX)
        self.place: np.ndarray = aligned_zeros(1, drive.PLACE_IN_JOURNAL)
        self.place[0]["event_address"] = buffer.ctypes.data
        self.place[0]["outbox_address"] = self.outbox.words.ctypes.data
        self.place[0]["input_seq"] = -1
        self._buffer = buffer
        none = np.zeros(0, dtype=FRAME)
        began = time.perf_counter()
        self._drive(self.state, self.events, self.outbox, self.place, 0, none)  # loaded here, not at the first frame
        self.kernels_ms += (time.perf_counter() - began) * 1e3

    def feed(self, chunk: Chunk) -> Stop | None:
        """Take the frames of a chunk, which must follow on the last one; None where all were as the core made them."""
        base = int(chunk.memory.ctypes.data)
        done = int(self._drive(self.state, self.events, self.outbox, self.place, base, chunk.rows))
        if done == len(chunk.rows):
            return None
        return Stop(int(self.place[0]["why"]), done)

    def feed_uncompared(self, chunk: Chunk, row: int) -> int:
        """Take what follows from frame `row` of a chunk on, whatever its outputs; how many the journal has of them."""
        self._settle()
        kept = chunk.rows[row:][chunk.rows["kind"][row:] != Kind.OUTPUT]
        for n in range(len(kept)):
            stop = self.feed(chunk._replace(rows=kept[n : n + 1]))
            assert stop is None or stop.why != drive.NO_RECORD, "the engine journaled its own record"
            self._settle()
        return len(chunk.rows) - row - len(kept)

    def _settle(self) -> None:
        self.place[0]["seen"], self.place[0]["raised"] = self.place[0]["due"], 0

    def take(self, chunk: Chunk, row: int, step: Callable[..., int]) -> Stop | None:
        """Take one input, frame `row` of a chunk, with a `step` that does as the bound one (engine.run.shown).

        Its outputs are then due like those of any input: feed the rows behind it.
        """
        at, payload = self.place[0], chunk.payload(row)
        if self.outstanding:
            return Stop(drive.MISSING, row)
        if len(payload) not in (UNIT, RECORD_MAX):
            return Stop(drive.NO_RECORD, row)
        self._buffer[: len(payload)] = payload
        try:
            at["due"] = step(self.state, self.events, 0, self.outbox)
        except Exception:  # noqa: BLE001  as in drive: the engine halted here
            self.bound.drive.forget(self.state, self.outbox)
            at["due"], at["raised"] = 0, 1
        at["seen"], at["input_seq"], at["inputs"] = 0, int(chunk.rows["seq"][row]), self.inputs + 1
        return None

    @property
    def inputs(self) -> int:
        """Inputs taken."""
        return int(self.place[0]["inputs"])

    @property
    def outputs(self) -> int:
        """Outputs compared and found the same."""
        return int(self.place[0]["outputs"])

    @property
    def input_seq(self) -> int:
        """Journal number of the input that was taken last; -1 before the first."""
        return int(self.place[0]["input_seq"])

    @property
    def outstanding(self) -> int:
        """Outputs that the core made for the last input and that have not been fed yet."""
        return int(self.place[0]["due"] - self.place[0]["seen"])

    @property
    def dropped(self) -> int:
        """Incomplete batches that a recovery gave up (never sent, so no difference)."""
        return int(self.place[0]["dropped"])

    def expected(self, k: int | None = None) -> bytes | None:
        """Record k of the last step's outputs, by default the first not yet found; None where there is none."""
        k = int(self.place[0]["seen"]) if k is None else k
        if not 0 <= k < int(self.place[0]["due"]):
            return None
        length = int(self.outbox.head[k]["block_length"]) + SBE_HEADER_SIZE
        return self.outbox.words.view(np.uint8)[k * RECORD_MAX : k * RECORD_MAX + length].tobytes()

    def hash(self) -> str:
        """SHA-256 of the state now, in hex."""
        return state_hash(self.state)
