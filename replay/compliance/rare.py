"""Records that people look at one by one (sessions, controls, alerts): the first MOST of a kind a run, all counted; and
samples of both clocks, thinned evenly to MOST, since they are a line over the whole run.

Worst case: MOST records of each kind, 128 bytes each.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import Chunk
from engine.record.records import SCHEMA_VERSION, Template
from engine.record.versions import VersionError, dtype_in, upgrade
from replay.compliance.tally import Array

#: Records of a kind that are kept of each run.
MOST: Final = 2000
#: Samples of both clocks; those without CLOCK_REALTIME are left out.
CLOCKS: Final = Kind.OBSERVATION, Template.CLOCK_SAMPLE


class Kept(NamedTuple):
    """Records of one kind: the first MOST (of CLOCK_SAMPLE see `Thinned`), with their frames, what was live then, the
    engine's time, and how many inputs the run had had."""

    total: int
    rows: Array
    seq: Array
    live: Array
    clock_ns: Array
    inputs: Array


class Thinned:
    """Records in even steps: each `step`th from the first, and the last. A step doubles when MOST do not hold them, so
    what is kept follows from the records alone, however they come."""

    def __init__(self) -> None:
        self.step = 1
        self.seen = 0
        self.parts: list[tuple[Array, Array]] = []
        self.last: tuple[Array, Array] | None = None

    def add(self, records: Array, rows: Array) -> None:
        """Take records with their rows (RARE), in order."""
        if not len(records):
            return
        on = (self.seen + np.arange(len(records))) % self.step == 0
        self.parts.append((records[on], rows[on]))
        self.last = records[-1:], rows[-1:].copy()
        self.seen += len(records)
        while sum(len(records) for records, _ in self.parts) > MOST:
            records, rows = self._joined()
            self.parts = [(records[::2].copy(), rows[::2].copy())]
            self.step *= 2

    def kept(self) -> Kept | None:
        """What is left; None where nothing came."""
        if self.last is None:
            return None
        if (self.seen - 1) % self.step:
            self.parts.append(self.last)
        records, rows = self._joined()
        return Kept(self.seen, records, rows["seq"], rows["live"], rows["clock_ns"], rows["inputs"])

    def _joined(self) -> tuple[Array, Array]:
        records, rows = zip(*self.parts, strict=True)
        return np.concatenate(records), np.concatenate(rows)


class Rare:
    """Records that are looked at one by one, taken from chunks."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.counts: dict[tuple[Kind, Template], int] = {}
        self.parts: dict[tuple[Kind, Template], list[tuple[Array, Array]]] = {}
        self.samples = Thinned()

    def take(self, chunk: Chunk, rows: Array) -> None:
        """Take the records that `rows` (RARE) point at."""
        for kind, template in {(int(k), int(t)) for k, t in zip(rows["kind"], rows["template"], strict=True)}:
            if template not in list(Template):
                continue
            key = Kind(kind), Template(template)
            mine = rows[(rows["kind"] == kind) & (rows["template"] == template)]
            if key == CLOCKS:
                samples = self._records(key, chunk, mine)
                if samples is not None:
                    timed = samples["realtime_ns"] > 0
                    self.samples.add(samples[timed], mine[timed])
                continue
            room = MOST - min(self.counts.get(key, 0), MOST)
            self.counts[key] = self.counts.get(key, 0) + len(mine)
            records = self._records(key, chunk, mine[:room]) if room else None
            if records is not None:
                self.parts.setdefault(key, []).append((records, mine[:room].copy()))

    def _records(self, key: tuple[Kind, Template], chunk: Chunk, rows: Array) -> Array | None:
        """The records of rows, as this build has them; None of a kind that the version did not have, which admission
        refused."""
        try:
            dtype = dtype_in(self.version, key[1])
        except VersionError:
            return None
        starts = (rows["offset"] + FRAME_HEADER) // 8
        words = chunk.memory.view("<i8")[starts[:, None] + np.arange(dtype.itemsize // 8)]
        records = np.ascontiguousarray(words).view(dtype).reshape(-1)
        if self.version < SCHEMA_VERSION:
            records = upgrade(records.view(np.uint8), self.version, key[1])
        return records

    def tables(self) -> dict[tuple[Kind, Template], Kept]:
        """What was taken, by kind of frame and template."""
        found = {}
        for key, parts in self.parts.items():
            rows = np.concatenate([rows for _, rows in parts])
            records = np.concatenate([records for records, _ in parts])
            found[key] = Kept(self.counts[key], records, rows["seq"], rows["live"], rows["clock_ns"], rows["inputs"])
        samples = self.samples.kept()
        if samples is not None:
            found[CLOCKS] = samples
        return found
