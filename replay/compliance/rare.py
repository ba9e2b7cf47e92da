"""Records that people look at one by one (sessions, controls, alerts): the first MOST of a kind a run, all counted.

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


class Kept(NamedTuple):
    """Records of one kind: the first MOST, with their frames, what was live then, and the engine's time."""

    total: int
    rows: Array
    seq: Array
    live: Array
    clock_ns: Array


class Rare:
    """Records that are looked at one by one, taken from chunks."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.counts: dict[tuple[Kind, Template], int] = {}
        self.parts: dict[tuple[Kind, Template], list[tuple[Array, Array]]] = {}

    def take(self, chunk: Chunk, rows: Array) -> None:
        """Take the records that `rows` (RARE) point at."""
        for kind, template in {(int(k), int(t)) for k, t in zip(rows["kind"], rows["template"], strict=True)}:
            if template not in list(Template):
                continue
            key = Kind(kind), Template(template)
            mine = rows[(rows["kind"] == kind) & (rows["template"] == template)]
            room = MOST - min(self.counts.get(key, 0), MOST)
            self.counts[key] = self.counts.get(key, 0) + len(mine)
            if room:
                self._keep(key, chunk, mine[:room])

    def _keep(self, key: tuple[Kind, Template], chunk: Chunk, rows: Array) -> None:
        try:
            dtype = dtype_in(self.version, key[1])
        except VersionError:
            return  # a kind of record that the version did not have: admission refused it
        starts = (rows["offset"] + FRAME_HEADER) // 8
        words = chunk.memory.view("<i8")[starts[:, None] + np.arange(dtype.itemsize // 8)]
        records = np.ascontiguousarray(words).view(dtype).reshape(-1)
        if self.version < SCHEMA_VERSION:
            records = upgrade(records.view(np.uint8), self.version, key[1])
        self.parts.setdefault(key, []).append((records, rows.copy()))

    def tables(self) -> dict[tuple[Kind, Template], Kept]:
        """What was taken, by kind of frame and template."""
        found = {}
        for key, parts in self.parts.items():
            rows = np.concatenate([rows for _, rows in parts])
            records = np.concatenate([records for records, _ in parts])
            found[key] = Kept(self.counts[key], records, rows["seq"], rows["live"], rows["clock_ns"])
        return found
