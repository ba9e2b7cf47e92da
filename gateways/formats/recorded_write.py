"""Writes a recording of version 2 block by block, whole or not at all: beside its place, synced, then renamed.

Memory is one block, and 64 bytes and a bit an instrument for each block that was written.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import zstandard

from gateways.formats.batch import Batch, taken
from gateways.formats.blocks import Named
from gateways.formats.recorded_kernels import ROW, Filling
from gateways.formats.recorded_layout import HEADER_SIZE, PLAIN, ZSTD, Index, pack_index

#: Units of a block: 1 MiB.
UNITS: Final = 1 << 14
_LEVEL: Final = 3


def beside(path: Path) -> Path:
    """The name under which a file is written until it is whole, of this process alone."""
    return path.with_name(f".{path.name}.{os.getpid()}")


class RecordingWriter:
    """A recording that is being written. A context manager: left without `finish` it leaves nothing behind."""

    def __init__(self, path: str | Path, *, zstd: bool = True) -> None:
        self.path = Path(path)
        self._partial = beside(self.path)
        self._packer = zstandard.ZstdCompressor(level=_LEVEL) if zstd else None
        self._rows: list[np.ndarray[Any, Any]] = []
        self._bitmaps: list[np.ndarray[Any, Any]] = []
        self._file = self._partial.open("wb")
        self._file.write(bytes(HEADER_SIZE))
        self._at = HEADER_SIZE

    def block(self, block: Batch, filling: Filling, names: Named) -> None:
        """Write one block. OSError as the system gives it."""
        data: Any = taken(block).data
        if self._packer is not None:
            data = self._packer.compress(data)
        row = filling.row.copy()
        row["offset"], row["size"], row["crc"] = self._at, len(data), zlib.crc32(data)
        self._file.write(data)
        self._at += len(data)
        self._rows.append(row)
        self._bitmaps.append(np.packbits(filling.marks[: len(names.instruments)], bitorder="little"))

    def finish(self, names: Named, about: dict[str, Any]) -> int:
        """Write the index and the header, sync, and put the file in its place; its bytes."""
        width = -(-len(names.instruments) // 64) * 8
        rows = np.concatenate(self._rows) if self._rows else np.zeros(0, ROW)
        maps = np.zeros((len(rows), width), np.uint8)
        for n, bits in enumerate(self._bitmaps):
            maps[n, : len(bits)] = bits
        packing = PLAIN if self._packer is None else ZSTD
        count = int(rows["records"].sum())
        index = Index(packing, count, rows, maps, list(names.venues), list(names.instruments), about)
        data, head = pack_index(index, self._at)
        with self._file as file:
            file.write(data)
            file.seek(0)
            file.write(head)
            file.flush()
            os.fsync(file.fileno())
        self._partial.replace(self.path)
        return self._at + len(data)

    def abandon(self) -> None:
        """Leave nothing behind, unless it was finished. Twice is once."""
        # A disk that is full is full for what is still in the buffer too: it has been told already.
        with suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()
