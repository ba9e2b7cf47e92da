"""The drop copy: executions as records, into RUN_DIR/executions.bin and onto a socket, as soon as they are settled.

A record is as the venue sent it or the client was told it, but for its place in a stream: `stream_id` is 0 for the
venues' side and 1 for the clients', `stream_seq` is dense from 1 in each, `stream_epoch` is the run's. The file is
records of 128 bytes, back to back; a ZeroMQ message is one record, and its first four bytes, by which a subscriber may
choose, are its length and template. A hole in the numbers is filled from the file.

After a restart the records that the file has and the checkpoint does not are made again and held against it.

Worst case: a subscriber that does not take its messages loses them at the high-water mark, and sees it by the numbers.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import TickrouteError
from engine.record.records import RECORD_MAX
from replay.watch.executions import STREAMS, Execution
from replay.watch.publish import Publisher

FILE: Final = "executions.bin"
_EPOCH_AT, _ID_AT, _SEQ_AT = 8, 12, 16  # of the prefix that all records share


class DropCopyError(TickrouteError):
    """A file that does not follow from the journal; the message says where."""


class DropCopy:
    """The one writer of a run's drop copy. `counts`: records of each stream at the place that reading goes on from."""

    def __init__(self, run_dir: Path, epoch: int, counts: list[int], publisher: Publisher | None) -> None:
        self.path = run_dir / FILE
        self._epoch, self._publisher = epoch, publisher
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        size = os.fstat(self._fd).st_size // RECORD_MAX * RECORD_MAX
        os.ftruncate(self._fd, size)  # half a record was never published
        streams = np.fromfile(self.path, dtype="<i2")[_ID_AT // 2 :: RECORD_MAX // 2]
        written = [int(np.count_nonzero(streams == stream)) for stream in range(len(STREAMS))]
        #: Records of each stream so far, by the journal.
        self.counts = counts or [0] * len(STREAMS)
        self._written = [max(pair) for pair in zip(written, self.counts, strict=True)]
        self._places = {
            (stream, n + 1): int(at) * RECORD_MAX
            for stream in range(len(STREAMS))
            for n, at in enumerate(np.flatnonzero(streams == stream))
            if n >= self.counts[stream]
        }
        os.lseek(self._fd, size, os.SEEK_SET)
        self._waiting: deque[Execution] = deque()

    def take(self, executions: Iterable[Execution]) -> None:
        """Write and publish; what the file has already is held against it. DropCopyError.

        On a full disk they wait, and go out in their order when there is room.
        """
        self._waiting.extend(executions)
        with contextlib.suppress(OSError):
            while self._waiting:
                self._take(self._waiting[0])
                self._waiting.popleft()

    @property
    def behind(self) -> int:
        """Executions that wait for room on the disk."""
        return len(self._waiting)

    def _take(self, execution: Execution) -> None:
        number = self.counts[execution.stream] + 1
        data = self._numbered(execution, number)
        if number <= self._written[execution.stream]:
            self._hold(execution.stream, number, data)
        else:
            self._write(data)
            self._written[execution.stream] = number
            if self._publisher is not None:
                self._publisher.send(data)
        self.counts[execution.stream] = number

    def _numbered(self, execution: Execution, number: int) -> bytes:
        data = bytearray(execution.data)
        struct.pack_into("<ih", data, _EPOCH_AT, self._epoch, execution.stream)
        struct.pack_into("<q", data, _SEQ_AT, number)
        return bytes(data)

    def _hold(self, stream: int, number: int, data: bytes) -> None:
        place = self._places.pop((stream, number), None)
        if place is not None and os.pread(self._fd, RECORD_MAX, place) != data:
            raise DropCopyError(
                f"{self.path} at byte {place}: record {number} of stream {STREAMS[stream]} is not what the journal "
                "has; was the file altered? Move it and watch.json aside: both are made again"
            )

    def _write(self, data: bytes) -> None:
        at = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError(28, "no space left on the device", str(self.path))
        except OSError:
            os.ftruncate(self._fd, at)
            os.lseek(self._fd, at, os.SEEK_SET)
            raise

    def serve(self) -> None:
        """Take note of subscriptions, so that their queue does not grow."""
        if self._publisher is not None:
            for _ in self._publisher.requests():
                pass

    def close(self) -> None:
        """Close the file and hang up."""
        os.close(self._fd)
        if self._publisher is not None:
            self._publisher.close()
