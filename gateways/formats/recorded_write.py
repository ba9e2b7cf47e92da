"""Writes a recording of version 2 block by block: beside its place, synced, then renamed.

Of a file it is there whole or not at all. A live feed's (`names` are given) begins with what it takes to read it when
its writer dies (`recorded_layout`), and is never thrown away: `finish_what_fits` makes a recording of what the disk
took, and what was left without being finished is read as far as it is whole.

Memory is one block, and 64 bytes and a bit an instrument for each block that was written.
"""

from __future__ import annotations

import errno
import os
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import zstandard

from engine.record.records import UNIT
from gateways.formats.batch import Batch, taken
from gateways.formats.blocks import Named
from gateways.formats.recorded_kernels import ROW, Filling
from gateways.formats.recorded_layout import HEADER_SIZE, PLAIN, ZSTD, Index, pack_header, pack_index, pack_preface

#: Units of a block: 1 MiB.
UNITS: Final = 1 << 14
_LEVEL: Final = 3
#: Seconds between syncs of a live feed's recording.
_SYNC_S: Final = 5.0
#: Errors of a disk on which there is no room.
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def beside(path: Path) -> Path:
    """The name under which a file is written until it is whole, of this process alone."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def unfinished(path: Path) -> list[Path]:
    """Recordings of a live feed for this place that were not finished, or are being written."""
    return sorted(path.parent.glob(f"{path.name}.*.partial"))


class RecordingWriter:
    """A recording that is being written. A context manager: left without `finish` it leaves nothing behind.

    names: those of a live feed, which do not change. Its file is then `OUT.PID.partial` until it is finished, and stays
    where it never is.
    """

    def __init__(self, path: str | Path, *, zstd: bool = True, names: Named | None = None) -> None:
        self.path = Path(path)
        self._live = names is not None
        self.partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial") if names else beside(self.path)
        self._packer = zstandard.ZstdCompressor(level=_LEVEL) if zstd else None
        self._rows: list[np.ndarray[Any, Any]] = []
        self._bitmaps: list[np.ndarray[Any, Any]] = []
        self._preface = pack_preface(names.venues, names.instruments) if names else b""
        self._file = self.partial.open("wb", buffering=0)
        self._syncer = ThreadPoolExecutor(1) if names else None
        self._syncing: Future[None] | None = None
        self._synced_s = time.monotonic()
        self._at = 0
        head = pack_header(ZSTD if zstd else PLAIN, self._preface) if names else bytes(HEADER_SIZE)
        try:
            self._at += self._write(head + self._preface)
        except OSError:
            self.abandon()
            raise

    @property
    def records(self) -> int:
        """Records in its blocks."""
        return sum(int(row["records"][0]) for row in self._rows)

    @property
    def blocks(self) -> int:
        """Blocks written."""
        return len(self._rows)

    def block(self, block: Batch, filling: Filling, names: Named) -> None:
        """Write one block. OSError as the system gives it."""
        data: Any = taken(block).data
        if self._packer is not None:
            data = self._packer.compress(data)
        row = filling.row.copy()
        row["offset"] = self._at + (UNIT if self._live else 0)
        row["size"], row["crc"] = len(data), zlib.crc32(data)
        if self._live:
            self._write(row.tobytes())
        self._write(data)
        self._at = int(row["offset"][0]) + len(data)
        self._rows.append(row)
        self._bitmaps.append(np.packbits(filling.marks[: len(names.instruments)], bitorder="little"))
        self._sync()

    def _write(self, data: Any) -> int:
        """Write all of it; its bytes."""
        left = memoryview(data).cast("B")
        size = len(left)
        while len(left):
            left = left[self._file.write(left) or 0 :]
        return size

    def _sync(self) -> None:
        """Now and then, on a thread of its own: so much less is lost with the power."""
        if self._syncer is None or (self._syncing is not None and not self._syncing.done()):
            return
        if self._syncing is not None:
            self._syncing.result()
        if time.monotonic() - self._synced_s >= _SYNC_S:
            self._synced_s = time.monotonic()
            self._syncing = self._syncer.submit(os.fdatasync, self._file.fileno())

    def finish(self, names: Named, about: dict[str, Any]) -> int:
        """Write the index and the header, sync, and put the file in its place; its bytes."""
        self._settle()
        width = -(-len(names.instruments) // 64) * 8
        rows = np.concatenate(self._rows) if self._rows else np.zeros(0, ROW)
        maps = np.zeros((len(rows), width), np.uint8)
        for n, bits in enumerate(self._bitmaps):
            maps[n, : len(bits)] = bits
        packing = PLAIN if self._packer is None else ZSTD
        index = Index(packing, self.records, rows, maps, list(names.venues), list(names.instruments), about)
        data, head = pack_index(index, self._at, self._preface)
        self._file.truncate(self._at)
        self._file.seek(self._at)
        self._write(data)
        if self._live:
            os.fsync(self._file.fileno())
        self._file.seek(0)
        self._write(head)
        os.fsync(self._file.fileno())
        self._file.close()
        self.partial.replace(self.path)
        return self._at + len(data)

    def finish_what_fits(self, names: Named, about: Callable[[], dict[str, Any]]) -> int:
        """As `finish` on a disk that may be full: blocks are given up from the end until the index fits.

        about: asked for again after each. OSError where it cannot be done: what is whole stays in `partial`.
        """
        while True:
            try:
                return self.finish(names, about())
            except OSError as error:
                if error.errno not in _NO_ROOM or not self._rows:
                    raise
            self._at = int(self._rows.pop()["offset"][0]) - (UNIT if self._live else 0)
            self._bitmaps.pop()

    def _settle(self) -> None:
        """Wait for the sync under way; a block that was written in part, and an index, are taken back by `finish`."""
        if self._syncing is not None:
            with suppress(OSError):  # the sync at the end tells it again
                self._syncing.result()
            self._syncing = None

    def leave(self) -> None:
        """Close it as it is: what is whole can be read. Without a block nothing is left. Twice is once."""
        if not self._rows:
            self.abandon()
            return
        self._settle()
        self._file.close()
        self._stop()

    def abandon(self) -> None:
        """Leave nothing behind, unless it was finished. Twice is once."""
        self._settle()
        # A disk that is full has been told already.
        with suppress(OSError):
            self._file.close()
        self.partial.unlink(missing_ok=True)
        self._stop()

    def _stop(self) -> None:
        if self._syncer is not None:
            self._syncer.shutdown()

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()
