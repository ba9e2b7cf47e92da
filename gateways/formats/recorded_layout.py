"""A recording's file, version 2: a header, blocks of records, an index at the end; every byte is under a CRC-32.

    0     header, 128 bytes: HEADER, zeros, and the CRC of all before it
    128   blocks, one behind the other: records as they are (plain), or one zstd frame each
    …     rows of the index (ROW, 64 bytes a block), then a bitmap a block: bit i is instrument i, bytes from the least
    …     names: JSON of venues, instruments with their decimals, and where the recording came from

A block's CRC is in its row, the index's (rows, bitmaps, names) in the header. The header is written last.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.record.records import SCHEMA_VERSION
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

    def marked(self, marks: Array) -> Array:
        """Which blocks have a record of a marked instrument, or of all; bool (n,). marks: one an instrument."""
        wanted = bitmap(marks, self.bitmaps.shape[1])
        found: Array = (self.bitmaps & wanted).any(axis=1) | (self.rows["of_all"] > 0)
        return found


def bitmap(marks: Array, size: int) -> Array:
    """Marks, one a byte, as bits: uint8 (size)."""
    bits = np.packbits(marks != 0, bitorder="little")[:size]
    return np.pad(bits, (0, size - len(bits)))


def pack_index(index: Index, at: int) -> tuple[bytes, bytes]:
    """The index as bytes, and the header that goes with it where it begins at byte `at`."""
    names = {"venues": index.venues, "instruments": [list(row) for row in index.instruments], "about": index.about}
    text = json.dumps(names).encode()
    data = index.rows.tobytes() + index.bitmaps.tobytes() + text
    size = index.bitmaps.shape[1]
    numbers = (index.records, len(index.rows), at, len(text), zlib.crc32(data))
    head = HEADER.pack(MAGIC, VERSION, SCHEMA_VERSION, index.packing, size, *numbers).ljust(HEADER_SIZE - 4, b"\0")
    return data, head + struct.pack("<I", zlib.crc32(head))


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
    return Index(packing, records, rows, maps, told["venues"], instruments, told["about"])
