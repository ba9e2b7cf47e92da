"""A recording's file, version 2: a header, blocks of records, an index at the end; every byte is under a CRC-32.

    0     header, 128 bytes: HEADER, zeros, and the CRC of all before it
    128   blocks, one behind the other: records as they are (plain), or one zstd frame each
    …     rows of the index (ROW, 64 bytes a block), then a bitmap a block: bit i is instrument i, bytes from the least
    …     names: JSON of venues, instruments with their decimals, and where the recording came from

A block's CRC is in its row, the index's (rows, bitmaps, names) in the header. The header is written last.

A live feed cannot be recorded again. Its recording begins with a header that says that it is unfinished, and a preface
with the names; each block has its row in front of it. Where its writer died, that is enough to read all whole blocks.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.record.records import SCHEMA_VERSION, UNIT
from gateways.feeds.recording import MAGIC
from gateways.feeds.report import FeedError
from gateways.formats.reader import Instrument
from gateways.formats.recorded_kernels import ROW

Array = np.ndarray[Any, np.dtype[Any]]
VERSION: Final = 2
PLAIN, ZSTD = 0, 1
#: magic, version, schema, packing, bytes of a bitmap; records, blocks, where the index is, bytes of names; its CRC
HEADER: Final = struct.Struct("<8sIIIIqqqqI")
HEADER_SIZE: Final = 128
#: Behind these: CRC of the preface, and its bytes; 0 where there is none, and no rows in front of blocks.
PREFACE: Final = struct.Struct("<Iq")
#: In the place of records and blocks, until it is finished.
UNFINISHED: Final = -1
#: Units of a block that is believed without an index.
_MOST_UNITS: Final = 1 << 16
AGAIN: Final = "copy or record the file again"


class Index(NamedTuple):
    """What a recording says of itself: rows (n,), bitmaps (n, bytes) uint8, names, and `about`."""

    packing: int
    records: int
    rows: Array
    bitmaps: Array
    venues: list[str]
    instruments: list[Instrument]
    about: dict[str, Any]
    #: Whether each block has its row in front of it.
    ahead: bool = False
    #: Bytes behind the last whole block of a recording that was not finished; -1 of one that was.
    left: int = -1

    def marked(self, marks: Array) -> Array:
        """Which blocks have a record of a marked instrument, or of all; bool (n,). marks: one an instrument."""
        wanted = bitmap(marks, self.bitmaps.shape[1])
        found: Array = (self.bitmaps & wanted).any(axis=1) | (self.rows["of_all"] > 0)
        return found


def bitmap(marks: Array, size: int) -> Array:
    """Marks, one a byte, as bits: uint8 (size)."""
    bits = np.packbits(marks != 0, bitorder="little")[:size]
    return np.pad(bits, (0, size - len(bits)))


def pack_preface(venues: Sequence[str], instruments: Sequence[Instrument]) -> bytes:
    """The names that a recording begins with, in whole units."""
    text = json.dumps({"venues": list(venues), "instruments": [list(row) for row in instruments]}).encode()
    return text.ljust(-(-len(text) // UNIT) * UNIT)


def pack_header(packing: int, preface: bytes, numbers: Sequence[int] = (0, UNFINISHED, UNFINISHED, 0, 0, 0)) -> bytes:
    """A header; numbers: bytes of a bitmap, records, blocks, where the index is, bytes of names, its CRC."""
    head = HEADER.pack(MAGIC, VERSION, SCHEMA_VERSION, packing, *numbers)
    head += PREFACE.pack(zlib.crc32(preface) if preface else 0, len(preface))
    head = head.ljust(HEADER_SIZE - 4, b"\0")
    return head + struct.pack("<I", zlib.crc32(head))


def pack_index(index: Index, at: int, preface: bytes = b"") -> tuple[bytes, bytes]:
    """The index as bytes, and the header that goes with it where it begins at byte `at`."""
    names = {"venues": index.venues, "instruments": [list(row) for row in index.instruments], "about": index.about}
    text = json.dumps(names).encode()
    data = index.rows.tobytes() + index.bitmaps.tobytes() + text
    numbers = (index.bitmaps.shape[1], index.records, len(index.rows), at, len(text), zlib.crc32(data))
    return data, pack_header(index.packing, preface, numbers)


def version_of(head: bytes) -> int:
    """The version of a recording that begins so; 0 where it is none."""
    return int.from_bytes(head[8:12], "little") if head.startswith(MAGIC) and len(head) >= 12 else 0


def read_index(path: Path, raw: Array) -> Index:
    """Header and index of a file, checked. FeedError with the place where they are damaged or of another build."""
    head = raw[:HEADER_SIZE].tobytes()
    if len(head) < HEADER_SIZE:
        raise FeedError(path, 0, f"{len(head)} bytes", "ends within its header", AGAIN, offset=len(head))
    if struct.pack("<I", zlib.crc32(head[:-4])) != head[-4:]:
        raise FeedError(path, 0, "", "the header's CRC is wrong", AGAIN, offset=0)
    _, version, schema, packing, width, records, blocks, at, names, crc = HEADER.unpack(head[: HEADER.size])
    if version != VERSION or schema != SCHEMA_VERSION or packing not in (PLAIN, ZSTD):
        found = f"version {version}, schema {schema}, packing {packing}"
        why = f"is of {found}; this build reads version {VERSION}, schema {SCHEMA_VERSION}"
        raise FeedError(path, 0, "", why, "convert its source again with this build", offset=8)
    preface = _preface(path, raw, head)
    if blocks == UNFINISHED and preface:
        return _rescued(raw, packing, preface)
    must = at + blocks * (ROW.itemsize + width) + names
    if len(raw) != must:
        why = f"must be {must} bytes long: it is cut or padded"
        raise FeedError(path, 0, f"{len(raw)} bytes", why, AGAIN, offset=min(len(raw), must))
    data = raw[at:]
    if zlib.crc32(data.data) != crc:
        raise FeedError(path, 0, "", "the CRC of its index is wrong", AGAIN, offset=at)
    rows = data[: blocks * ROW.itemsize].view(ROW)
    maps = data[blocks * ROW.itemsize : must - names - at].reshape(blocks, width)
    told = json.loads(data[must - names - at :].tobytes())
    instruments = [Instrument(*row) for row in told["instruments"]]
    return Index(packing, records, rows, maps, told["venues"], instruments, told["about"], bool(preface))


def _preface(path: Path, raw: Array, head: bytes) -> bytes:
    """What stands between header and blocks, checked."""
    crc, size = PREFACE.unpack_from(head, HEADER.size)
    data = raw[HEADER_SIZE : HEADER_SIZE + size].tobytes()
    if size and (len(data) != size or zlib.crc32(data) != crc):
        raise FeedError(path, 0, "", "the CRC of the names that it begins with is wrong", AGAIN, offset=HEADER_SIZE)
    return data


def _rescued(raw: Array, packing: int, preface: bytes) -> Index:
    """The whole blocks of a recording whose writer did not finish it."""
    rows, at = [], HEADER_SIZE + len(preface)
    while at + ROW.itemsize <= len(raw):
        one = np.frombuffer(raw[at : at + ROW.itemsize].tobytes(), ROW)
        row = one[0]
        offset, size = int(row["offset"]), int(row["size"])
        data = raw[offset : offset + size] if offset == at + ROW.itemsize and size > 0 else raw[:0]
        if len(data) != size or not 0 < int(row["units"]) <= _MOST_UNITS or zlib.crc32(data.data) != int(row["crc"]):
            break
        rows.append(one)
        at = offset + size
    told = json.loads(preface)
    instruments = [Instrument(*row) for row in told["instruments"]]
    table = np.concatenate(rows) if rows else np.zeros(0, ROW)
    maps = np.full((len(rows), -(-len(instruments) // 64) * 8), 0xFF, np.uint8)
    count = int(table["records"].sum())
    return Index(packing, count, table, maps, told["venues"], instruments, {}, True, len(raw) - at)
