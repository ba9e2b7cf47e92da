"""One pass over a journal: what a report needs, column by column, and nothing of the market data but its count.

Frames are read in chunks and their records taken as arrays, so that a journal of any length goes through at the speed
of memory. What is kept grows with orders, reports and observations, not with quotes: about 100 bytes each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import Chunk, End, JournalReader
from engine.record.records import DTYPES, RECORD_MAX, SCHEMA_VERSION, UNIT, Template
from engine.record.versions import VersionError, dtype_in, upgrade
from engine.run import manifest

if TYPE_CHECKING:
    from replay.verify import Progress

Array = np.ndarray[Any, np.dtype[Any]]
T = Template
#: (kind of frame, template) -> the fields that a pass keeps of such records.
Kept = dict[tuple[Kind, Template], str]

#: Frames that are read at once.
ROWS: Final = 1 << 15
#: What is kept: (kind of frame, template) -> its fields. `seq` and `input_seq` of the frame come before them, and
#: `cause`, the template of the input that caused it (an input is its own cause).
_CHANGE = "order_id venue_id exec_id exec_ref_id last_px last_qty liquidity"
_REPORT = "order_id exec_type ord_status cum_qty leaves_qty reason request"
KEPT: Final[Kept] = {
    (Kind.INPUT, T.ORDER_NEW): "instrument_id side qty px ts_recv_ns",
    (Kind.INPUT, T.FILL): "order_id venue_id instrument_id exec_id last_px last_qty liquidity ts_recv_ns",
    (Kind.INPUT, T.BUST): _CHANGE,
    (Kind.INPUT, T.CORRECT): _CHANGE,
    (Kind.INPUT, T.REJECT): "order_id venue_id reason",
    (Kind.OUTPUT, T.ACK): _REPORT,
    (Kind.OUTPUT, T.FILL): _REPORT,
    (Kind.OUTPUT, T.REJECT): _REPORT,
    (Kind.OUTPUT, T.BUST): "order_id ord_status cum_qty leaves_qty",
    (Kind.OUTPUT, T.CORRECT): "order_id ord_status cum_qty leaves_qty",
    (Kind.OUTPUT, T.ORDER_REPLACE): "order_id",
    (Kind.OUTPUT, T.ORDER_NEW): "order_id parent_id venue_id instrument_id side qty ts_event_ns",
    (Kind.OUTPUT, T.DECISION): "parent_id bid_px ask_px fresh_venues stale_venues event outcome",
    (Kind.OUTPUT, T.REFUSAL): "input_template reason",
    (Kind.OUTPUT, T.RISK_BLOCK): "order_id rule",
    (Kind.OUTPUT, T.ALERT): "code order_id value ts_event_ns",
    (Kind.OBSERVATION, T.STAGES): (
        "clock_ns receive_ns decode_ns book_ns decide_ns risk_ns journal_ns encode_ns send_ns total_ns"
    ),
    (Kind.OBSERVATION, T.CLOCK_SAMPLE): "clock_ns realtime_ns",
}


def _dtype(template: Template, names: str) -> np.dtype[Any]:
    fields = DTYPES[template].fields
    assert fields is not None
    rows: list[tuple[str, Any]] = [("seq", "<i8"), ("input_seq", "<i8"), ("cause", "<i4")]
    return np.dtype(rows + [(name, fields[name][0]) for name in names.split()])


class Segment(NamedTuple):
    """One segment as it was read: frames and the engine's time of its first and last input (0 where it has none)."""

    number: int
    frames: int
    first_ns: int
    last_ns: int


class Gathered(NamedTuple):
    """What one pass found. `tables` holds an array for each kind of record that was kept, in the journal's order."""

    manifest: bytes
    run_id: str
    tables: dict[tuple[Kind, Template], Array]
    frames: dict[str, int]
    inputs: dict[str, int]
    segments: list[Segment]
    first_ns: int
    last_ns: int
    end: End | None

    def table(self, kind: Kind, template: Template) -> Array:
        """The rows kept of one kind."""
        return self.tables[kind, template]


class _Gatherer:
    """Takes chunks in order. Records of an older schema version are read as the present ones."""

    def __init__(self, kept: Kept, version: int) -> None:
        self.kept, self.version = kept, version
        self.parts: dict[tuple[Kind, Template], list[Array]] = {key: [] for key in kept}
        self.dtypes = {key: _dtype(key[1], names) for key, names in kept.items()}
        self.kinds = np.zeros(len(Kind) + 1, dtype=np.int64)
        self.templates = np.zeros(1 << 16, dtype=np.int64)
        self.segments: list[Segment] = []
        self.cause = 0

    def take(self, chunk: Chunk) -> None:
        rows = chunk.rows
        self.kinds += np.bincount(rows["kind"], minlength=len(self.kinds))
        whole = (rows["length"] == UNIT) | (rows["length"] == RECORD_MAX)
        starts = rows["offset"] + FRAME_HEADER
        halves = chunk.memory.view("<u2")
        places = np.minimum(starts // 2 + 1, len(halves) - 1)  # a pad may end where its segment ends
        templates = np.where(whole, halves[places], 0).astype(np.int64)
        is_input = rows["kind"] == Kind.INPUT
        self.templates += np.bincount(templates[is_input], minlength=len(self.templates))
        causes = self._causes(templates, is_input)
        for (kind, template), names in self.kept.items():
            picked = np.flatnonzero((rows["kind"] == kind) & (templates == template))
            if picked.size:
                self._keep((kind, template), names, chunk, picked, causes)
        self._segment(chunk, starts[is_input & whole])

    def _causes(self, templates: Array, is_input: Array) -> Array:
        """Template of the input at or before each row; inputs of earlier chunks count."""
        last = np.maximum.accumulate(np.where(is_input, np.arange(len(templates)), -1))
        causes = np.where(last >= 0, templates[np.maximum(last, 0)], self.cause)
        self.cause = int(causes[-1])
        return causes

    def _keep(self, key: tuple[Kind, Template], names: str, chunk: Chunk, picked: Array, causes: Array) -> None:
        try:
            dtype = dtype_in(self.version, key[1])
        except VersionError:
            return  # a kind of record that the version did not have: admission refused it
        whole = chunk.rows["length"][picked] == dtype.itemsize
        picked = picked[whole]
        starts = (chunk.rows["offset"][picked] + FRAME_HEADER) // 8
        words = chunk.memory.view("<i8")[starts[:, None] + np.arange(dtype.itemsize // 8)]
        records = np.ascontiguousarray(words).view(dtype).reshape(-1)
        if self.version < SCHEMA_VERSION:
            records = upgrade(records.view(np.uint8), self.version, key[1])
        part = np.zeros(len(picked), dtype=self.dtypes[key])
        part["seq"], part["input_seq"] = chunk.rows["seq"][picked], chunk.rows["input_seq"][picked]
        part["cause"] = causes[picked]
        for name in names.split():
            part[name] = records[name]
        self.parts[key].append(part)

    def tables(self) -> dict[tuple[Kind, Template], Array]:
        """What was kept since this was last asked."""
        taken = {
            key: np.concatenate(parts) if parts else np.zeros(0, dtype=self.dtypes[key])
            for key, parts in self.parts.items()
        }
        self.parts = {key: [] for key in self.kept}
        return taken

    def _segment(self, chunk: Chunk, starts: Array) -> None:
        """Count the chunk to its segment; times are `ts_recv_ns` of its first and last input."""
        every = chunk.memory.view("<i8")[starts // 8 + 4]
        every = every[every > 0]
        times = every[[0, -1]].tolist() if len(every) else [0, 0]
        row = Segment(chunk.segment, len(chunk.rows), *times)
        if self.segments and self.segments[-1].number == chunk.segment:
            old = self.segments.pop()
            row = Segment(
                old.number, old.frames + row.frames, old.first_ns or row.first_ns, max(old.last_ns, row.last_ns)
            )
        self.segments.append(row)


def gather(run_dir: str | Path, kept: Kept = KEPT, progress: Progress | None = None) -> Gathered:
    """Read a run's journal once, keeping the columns of `kept`. JournalError where it is damaged.

    `progress` is called with (segment, offset) as it goes.
    """
    with JournalReader(run_dir) as reader:
        found = _Gatherer(kept, manifest.from_bytes(reader.manifest).schema_version)
        for chunk in reader.chunks(ROWS):
            found.take(chunk)
            if progress is not None:
                progress(chunk.segment, int(chunk.rows["offset"][-1]))
    return Gathered(
        manifest=reader.manifest,
        run_id=reader.run_id.hex(),
        tables=found.tables(),
        frames={kind.name.lower(): int(found.kinds[kind]) for kind in Kind if found.kinds[kind]},
        inputs={T(t).name: int(found.templates[t]) for t in T if found.templates[t]},
        segments=found.segments,
        first_ns=next((s.first_ns for s in found.segments if s.first_ns), 0),
        last_ns=max((s.last_ns for s in found.segments), default=0),
        end=reader.end,
    )


def gather_parts(
    run_dir: str | Path, kept: Kept, progress: Progress | None = None, rows: int = ROWS
) -> Iterator[dict[tuple[Kind, Template], Array]]:
    """As `gather`, a chunk of the journal at a time: for what is looked at once and too much to be kept."""
    with JournalReader(run_dir) as reader:
        yield from parts_of(reader, kept, progress, rows)


def parts_of(
    reader: JournalReader, kept: Kept, progress: Progress | None = None, rows: int = ROWS
) -> Iterator[dict[tuple[Kind, Template], Array]]:
    """The same from where a reader stands; of a live journal, as far as it goes now."""
    found = _Gatherer(kept, manifest.from_bytes(reader.manifest).schema_version)
    for chunk in reader.chunks(rows):
        found.take(chunk)
        if progress is not None:
            progress(chunk.segment, int(chunk.rows["offset"][-1]))
        yield found.tables()
