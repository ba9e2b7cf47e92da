"""A recorded day in memory and on disk: whole records back to back, in the order in which they are played.

Records are 64 or 128 bytes, merged by (time, venue code, order in the source). Each venue is a stream: `stream_id` is
the venue's index and `stream_seq` is dense from 1. `stream_epoch` is 0 here; the player stamps it. `build` is the only
place that merges and numbers, so a captured day and a synthetic one cannot differ in it.

The file is a 128-byte header, the names as JSON, and the records from a page boundary on, so that processes map it and
share one copy. Header, names and records each have a CRC, and loading walks every record once.
Worst case: loading reads the whole file (about 1 GB/s); there is no partial load.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.jit import kernel
from engine.record.records import DTYPES, SCHEMA_ID, SCHEMA_VERSION, UNIT, Template
from gateways.feeds.names import Names
from gateways.feeds.report import FeedError

MAGIC = b"TRDAY\r\n\x1a"
VERSION = 1
#: magic, file version, schema version, records, bytes of records, their offset, bytes of names, CRCs of both
_HEADER = struct.Struct("<8sIIqqqqII")
HEADER_SIZE = 128
_PAGE = 4096

# Positions in a record, in words of 8 bytes.
_SEQ, _TIME = 2, 3
_MAX_STREAMS = 1 << 15

OK, BAD_RECORD, BAD_TIME, BAD_SEQ = 0, 1, 2, 3
_FAULTS = {
    BAD_RECORD: "a record has an unknown template, schema or length",
    BAD_TIME: "time runs backwards",
    BAD_SEQ: "the sequence of a stream has a gap",
}


def _sizes() -> np.ndarray:
    sizes = np.zeros(64, dtype=np.int64)
    for template, dtype in DTYPES.items():
        sizes[template] = dtype.itemsize
    return sizes


@dataclass(frozen=True)
class Recording:
    """A day, immutable.

    data: uint8 (n bytes), 64-byte aligned, read-only; offsets: int64 (count + 1), where record i begins and the last
    ends; times: int64 (count), its ts_event_ns, ascending; names: what the indices in the records mean.
    """

    data: np.ndarray
    offsets: np.ndarray
    times: np.ndarray
    names: Names

    @property
    def count(self) -> int:
        """Number of records."""
        return len(self.times)

    @property
    def first_ns(self) -> int:
        """Time of the first record; 0 in an empty day."""
        return int(self.times[0]) if self.count else 0

    @property
    def last_ns(self) -> int:
        """Time of the last record; 0 in an empty day."""
        return int(self.times[-1]) if self.count else 0

    def positions(self, template: Template) -> np.ndarray:
        """Indices (int64) of the records of one kind."""
        kinds = self.data.view("<u2")[self.offsets[:-1] // 2 + 1]
        return np.flatnonzero(kinds == template)

    def records(self, template: Template) -> np.ndarray:
        """All records of one kind, in order: a copy, as a structured array."""
        dtype = DTYPES[template]
        words = self.data.view("<i8")
        starts = self.offsets[self.positions(template)] // 8
        taken = words[starts[:, None] + np.arange(dtype.itemsize // 8)]
        return np.ascontiguousarray(taken).view(dtype).reshape(-1)

    def last_seqs(self) -> np.ndarray:
        """The last stream_seq of each venue, by index: int64, 0 where a venue has no record."""
        return np.bincount(self.data.view("<i2")[self.offsets[:-1] // 2 + 7], minlength=len(self.names.venues))

    def cut(self, from_ns: int, to_ns: int) -> Recording:
        """The records with from_ns <= time < to_ns, numbered anew from 1."""
        lo, hi = np.searchsorted(self.times, [from_ns, to_ns])
        data = _aligned(int(self.offsets[hi] - self.offsets[lo]))
        data[:] = self.data[self.offsets[lo] : self.offsets[hi]]
        offsets = self.offsets[lo : hi + 1] - self.offsets[lo]
        return _finish(data, offsets, self.times[lo:hi].copy(), self.names)

    def check_names(self, names: Names, path: str | Path = "recording") -> None:
        """FeedError where the recording was made for venues or symbols in another order than `names`."""
        mine, theirs = self.names.as_meta(), names.as_meta()
        for what in ("venues", "symbols"):
            if mine[what] != theirs[what][: len(mine[what])]:
                why = f"it was recorded with {what} {mine[what]}, the configuration has {theirs[what]}"
                raise FeedError(path, 0, "", why, "record the day again with this configuration")

    def save(self, path: str | Path) -> None:
        """Write the file whole (to a temporary name, then renamed). OSError as the system gives it."""
        meta = json.dumps(self.names.as_meta()).encode()
        start = -(-(HEADER_SIZE + len(meta)) // _PAGE) * _PAGE
        crcs = zlib.crc32(self.data.data), zlib.crc32(meta)
        head = _HEADER.pack(MAGIC, VERSION, SCHEMA_VERSION, self.count, self.data.nbytes, start, len(meta), *crcs)
        head += struct.pack("<I", zlib.crc32(head))
        partial = Path(f"{path}.partial-{os.getpid()}")
        with partial.open("wb") as file:
            file.write((head.ljust(HEADER_SIZE, b"\0") + meta).ljust(start, b"\0"))
            file.write(self.data.data)
        partial.replace(path)


def build(parts: Sequence[np.ndarray], names: Names, after: np.ndarray | None = None) -> Recording:
    """Merge structured arrays of records (each with venue_id and ts_event_ns set) into a day and number its streams.

    after: last numbers of the streams by venue, where the day is the continuation of another one (int64).
    Records with equal time and venue keep the order of `parts`, and within a part their own. ValueError where a
    venue_id is not in `names` or a part's records are not 64 or 128 bytes long.
    """
    if not parts or not sum(map(len, parts)):
        return _finish(_aligned(0), np.zeros(1, np.int64), np.zeros(0, np.int64), names)
    for part in parts:
        if part.itemsize not in (UNIT, 2 * UNIT):
            raise ValueError(f"records of {part.itemsize} bytes; a record is {UNIT} or {2 * UNIT} bytes long")
    venues = np.concatenate([part["venue_id"] for part in parts]).astype(np.int64)
    if venues.min() < 0 or venues.max() >= len(names.venues):
        raise ValueError(f"venue_id {venues.min()} to {venues.max()}; the names have 0 to {len(names.venues) - 1}")
    times = np.concatenate([part["ts_event_ns"] for part in parts]).astype(np.int64)
    order = np.lexsort((np.asarray(names.ranks())[venues], times))
    sizes = np.repeat([part.itemsize for part in parts], [len(part) for part in parts])[order]
    offsets = np.zeros(len(order) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    starts = np.empty(len(order), dtype=np.int64)
    starts[order] = offsets[:-1] // 8
    data = _aligned(int(offsets[-1]))
    words = data.view("<i8")
    first = 0
    for part in parts:
        width = part.itemsize // 8
        rows = np.ascontiguousarray(part).view("<i8").reshape(-1, width)
        words[starts[first : first + len(part)][:, None] + np.arange(width)] = rows
        first += len(part)
    return _finish(data, offsets, times[order], names, after)


def from_records(records: np.ndarray, names: Names) -> Recording:
    """A day of whole records (uint8) that are in order of time already; streams are numbered anew."""
    data = _aligned(len(records))
    data[:] = records
    halves, starts, at = data.view("<u2"), [], 0
    while at < len(data):
        starts.append(at)
        at += int(halves[at // 2]) + 8
    offsets = np.array([*starts, at], dtype=np.int64)
    return _finish(data, offsets, data.view("<i8")[offsets[:-1] // 8 + _TIME].copy(), names)


def _finish(
    data: np.ndarray, offsets: np.ndarray, times: np.ndarray, names: Names, after: np.ndarray | None = None
) -> Recording:
    """Number the streams: stream_id is the venue, stream_seq dense from 1 or what comes `after`, stream_epoch 0."""
    starts = offsets[:-1]
    halves, words = data.view("<i2"), data.view("<i8")
    venues = halves[starts // 2 + 7]
    halves[starts // 2 + 6] = venues
    data.view("<i4")[starts // 4 + 2] = 0
    for venue in np.unique(venues):
        where = starts[venues == venue] // 8 + _SEQ
        words[where] = np.arange(1, len(where) + 1) + (int(after[venue]) if after is not None else 0)
    for array in (data, offsets, times):
        array.flags.writeable = False
    return Recording(data, offsets, times, names)


def _aligned(size: int) -> np.ndarray:
    """Zeroed uint8 array that begins on a cache line."""
    raw = np.zeros(size + UNIT, dtype=np.uint8)
    skip = -raw.ctypes.data % UNIT
    return raw[skip : skip + size]


def load(path: str | Path) -> Recording:
    """Map a file of `Recording.save`, read-only. FeedError where it is missing, damaged or of another version."""
    again = "copy or record the file again"
    try:
        raw = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise FeedError(path, 0, "", f"cannot be read: {error}", "check the path and its permissions") from error
    head = raw[: _HEADER.size].tobytes()
    if len(raw) < HEADER_SIZE or head[:8] != MAGIC:
        raise FeedError(path, 0, head[:8].hex(), "is no recording: it does not begin with its magic", again)
    _, version, schema, count, size, start, meta_size, data_crc, meta_crc = _HEADER.unpack(head)
    if version == VERSION + 1:
        raise FeedError(path, 0, "", "is a recording in blocks", "read it by its own reader, gateways.formats")
    if raw[_HEADER.size : _HEADER.size + 4].tobytes() != struct.pack("<I", zlib.crc32(head)):
        raise FeedError(path, 0, "", "the header's CRC is wrong", again)
    if version != VERSION or schema != SCHEMA_VERSION:
        why = f"is of file version {version}, schema {schema}; this build reads {VERSION}, {SCHEMA_VERSION}"
        raise FeedError(path, 0, "", why, "record the day again with this build")
    if len(raw) != start + size:
        raise FeedError(path, 0, f"{len(raw)} bytes", f"must be {start + size} bytes long: it is cut or padded", again)
    meta = raw[HEADER_SIZE : HEADER_SIZE + meta_size].tobytes()
    if zlib.crc32(meta) != meta_crc:
        raise FeedError(path, 0, "", "the CRC of its names is wrong", again)
    data = np.asarray(raw[start:])
    if zlib.crc32(data.data) != data_crc:
        raise FeedError(path, 0, "", "the CRC of its records is wrong", again)
    return _indexed(path, data, count, Names.from_meta(json.loads(meta)))


def _indexed(path: str | Path, data: np.ndarray, count: int, names: Names) -> Recording:
    offsets, times = np.zeros(count + 1, dtype=np.int64), np.zeros(count, dtype=np.int64)
    seqs = np.zeros(_MAX_STREAMS, dtype=np.int64)
    found, fault = index_records(data.view("<i8"), _sizes(), seqs, offsets, times)
    if fault != OK or found != count:
        why = _FAULTS.get(fault, f"it holds {found} records, its header says {count}")
        raise FeedError(path, 0, f"record {found}", why, "record the day again: the file was written wrongly")
    offsets.flags.writeable = times.flags.writeable = False
    return Recording(data, offsets, times, names)


@kernel
def index_records(
    words: np.ndarray, sizes: np.ndarray, seqs: np.ndarray, offsets: np.ndarray, times: np.ndarray
) -> tuple[int, int]:
    """Walk records and fill offsets (count + 1) and times (count); give (records that are good, fault code).

    words: int64 view of the records; sizes: int64 (64), bytes by template; seqs: int64, zeros, one a stream.
    """
    at, n, last = 0, 0, 0
    while at < len(words) and n < len(times):
        head = int(words[at])
        template = (head >> 16) & 0xFFFF
        size = (head & 0xFFFF) + 8
        if template >= 64 or sizes[template] != size or (head >> 32) & 0xFFFF != SCHEMA_ID:
            return n, BAD_RECORD
        if at + size // 8 > len(words):
            return n, BAD_RECORD
        time = int(words[at + _TIME])
        if time < last:
            return n, BAD_TIME
        stream = (int(words[at + 1]) >> 32) & 0x7FFF
        if int(words[at + _SEQ]) != int(seqs[stream]) + 1:
            return n, BAD_SEQ
        seqs[stream] += 1
        times[n] = time
        last = time
        at += size // 8
        n += 1
        offsets[n] = at * 8
    if at != len(words):
        return n, BAD_RECORD
    return n, OK
