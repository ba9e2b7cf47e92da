"""The stats file's two ends in Python: StatsWriter makes it and hands arrays to the loop, StatsReader looks at it.

The writer holds a lock on the file that dies with it, so a second engine on the same path is refused for as long as
the first one lives (stopped or not), and never because of one that is dead or of an earlier boot: that one's file is
replaced whole, and whoever still maps it keeps the old one. The layout is in `stats`.

On a disk each write to a page that has been written back is a page fault: let a helper write (`engine.run.mirror`).

Worst case: a reader of a replaced file sees a dead heartbeat and must open the path again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.errors import TickrouteError
from engine.io import histogram
from engine.io.atomics import load_acquire, load_i64, store_release
from engine.io.mapping import Mapping, allocate, try_lock
from engine.io.stats import (
    COUNTER,
    ERROR,
    HEADER,
    HEARTBEAT,
    MAGIC,
    RECORD_HEAD,
    SECTION,
    VERSION,
    beat,
    read_record,
)

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_FIELD_TYPES: Final = ("<i8", "<i4", "<i2", "<u8", "<u4", "<u2", "|i1", "|u1", "<f8")


class StatsError(TickrouteError):
    """A stats file that cannot be made or read; the message names the path, what is wrong and the remedy."""


class ErrorRow(NamedTuple):
    """A distinct error of the log; times are of the writer's clock."""

    code: int
    times: int
    first_ns: int
    last_ns: int
    last_value: int


class Slot(NamedTuple):
    """A record of the file for kernels: `lock` for write_begin and write_end, and its fields as a 1-element array."""

    lock: int
    fields: np.ndarray


def boot_id() -> bytes:
    """16 bytes that differ from boot to boot; zeros where the system does not say."""
    try:
        return bytes.fromhex(_BOOT_ID.read_text(encoding="ascii").strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


def _up(offset: int, step: int = SECTION) -> int:
    return -(-offset // step) * step


class _Layout:
    """Where everything is, computed from what the writer was asked for."""

    def __init__(
        self, counters: Dict[str, str], records: Dict[str, np.dtype[Any]], stages: Sequence[str], errors: int
    ) -> None:
        record_rows: list[list[Any]] = [[name, 0, fields_of(name, dtype)] for name, dtype in records.items()]
        meta = {"counters": list(counters.items()), "records": record_rows, "stages": list(stages)}
        # Offsets are of fixed width in the text's place, so that its length is known before they are.
        self.metadata_room = _up(len(json.dumps(meta).encode()) + 20 * len(record_rows))
        self.counters = HEADER + self.metadata_room
        self.records = at = _up(self.counters + len(counters) * COUNTER.itemsize)
        self.slots: dict[str, int] = {}
        for row, dtype in zip(record_rows, records.values(), strict=True):
            self.slots[row[0]] = row[1] = at
            at = _up(at + RECORD_HEAD + dtype.itemsize)
        self.errors = at
        self.histograms = _up(at + errors * ERROR.itemsize)
        self.size = self.histograms + len(stages) * histogram.LENGTH * 8
        self.metadata = json.dumps(meta).encode()


def fields_of(name: str, dtype: np.dtype[Any]) -> list[list[str]]:
    """[[field, type], ...] of a packed structured dtype of plain numbers; StatsError for any other."""
    rows = [[field, dtype[field].str] for field in dtype.names or ()]
    packed = dtype.itemsize == sum(dtype[field].itemsize for field, _ in rows)
    if not rows or not packed or any(kind not in _FIELD_TYPES for _, kind in rows):
        raise StatsError(f"record {name!r}: {dtype} is not a packed dtype of plain little-endian numbers; make it one")
    return rows


class StatsWriter:
    """The one writer of a stats file. For kernels: `counters` (array of COUNTER), `records` (name to Slot), `errors`
    (array of ERROR), `histograms` (int64, stages x histogram.LENGTH), and `address` for `stats.beat`.

    `counters` maps names to help texts; `records` names to packed dtypes; `stages` names histograms; `errors` is the
    capacity of the log. StatsError where the path is not to be had or has a living writer.
    """

    def __init__(
        self,
        path: str | Path,
        counters: Dict[str, str],
        records: Dict[str, np.dtype[Any]],
        stages: Sequence[str],
        errors: int = 64,
    ) -> None:
        self.path = Path(path)
        layout = _Layout(counters, records, stages, errors)
        self._mapping = self._claim(layout.size)
        memory, self.address = self._mapping.memory, self._mapping.address
        memory[HEADER : HEADER + len(layout.metadata)] = np.frombuffer(layout.metadata, dtype=np.uint8)
        self.counters = memory[layout.counters :][: len(counters) * COUNTER.itemsize].view(COUNTER)
        self.errors = memory[layout.errors :][: errors * ERROR.itemsize].view(ERROR)
        self.histograms = memory[layout.histograms :].view(np.int64).reshape(len(stages), histogram.LENGTH)
        self.counter_index = {name: index for index, name in enumerate(counters)}
        self.stage_index = {name: index for index, name in enumerate(stages)}
        self.records = {
            name: Slot(self.address + at, memory[at + RECORD_HEAD :][: dtype.itemsize].view((np.record, dtype)))
            for (name, at), dtype in zip(layout.slots.items(), records.values(), strict=True)
        }
        now_ns = time.monotonic_ns()
        words = [MAGIC, 0, layout.size, os.getpid(), time.time_ns(), now_ns]
        words += np.frombuffer(boot_id(), dtype="<i8").tolist()
        words += [now_ns, HEADER, len(layout.metadata), layout.counters, layout.records, layout.errors]
        words += [layout.histograms, errors]
        memory[:HEADER].view(np.int64)[:] = words
        store_release(self.address + 8, VERSION)

    def _claim(self, size: int) -> Mapping:
        """A new zeroed file at the path, locked by us. The old one, if any, is locked while it is replaced."""
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.draft")
        try:
            while True:
                old = self._lock_old()
                draft.unlink(missing_ok=True)
                allocate(draft, size)
                new = Mapping(draft, write=True, populate=True)
                assert new.try_lock(0), "nobody else knows the draft"
                try:
                    if old is None:
                        os.link(draft, self.path)
                        draft.unlink()
                    else:
                        draft.replace(self.path)
                    return new
                except FileExistsError:
                    # Another writer made the file just now: look at it.
                    new.close()
                finally:
                    if old is not None:
                        os.close(old)
        except OSError as error:
            draft.unlink(missing_ok=True)
            what = f"{self.path}: cannot make a stats file of {size} bytes: {error.strerror}"
            raise StatsError(f"{what}; choose a folder that exists and has room") from error

    def _lock_old(self) -> int | None:
        """A locked descriptor of the file that is there; None where none is; StatsError where its writer lives."""
        while True:
            try:
                fd = os.open(self.path, os.O_RDWR)
            except FileNotFoundError:
                return None
            if not try_lock(fd, 0):
                head = os.pread(fd, HEADER, 0).ljust(HEADER, b"\0")
                os.close(fd)
                pid, beat_ns = np.frombuffer(head, dtype="<i8")[[3, HEARTBEAT // 8]].tolist()
                age_ms = (time.monotonic_ns() - beat_ns) // 1_000_000
                raise StatsError(f"{self.path}: process {pid} writes it (last beat {age_ms} ms ago): stop it first")
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(fd).st_ino == os.stat(self.path).st_ino:
                    return fd
            os.close(fd)

    def beat(self, now_ns: int) -> None:
        """Tell readers that we live at `now_ns` (CLOCK_MONOTONIC)."""
        beat(self.address, now_ns)

    def close(self) -> None:
        """Say that the writer has left in order. The file stays for readers; no kernel may write to it any more."""
        if self.address:
            beat(self.address, 0)
            self.address = 0
            self._mapping.close()


class StatsReader:
    """A read-only look at a stats file. `pid`, `start_realtime_ns`, `start_monotonic_ns`, `boot_id`; StatsError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._mapping = Mapping(self.path, write=False)
        except OSError as error:
            raise StatsError(f"{path}: cannot open the stats file: {error.strerror}; is the engine running?") from error
        try:
            self._address = self._mapping.address
            self._check()
            head = self._mapping.memory[:HEADER].view(np.int64).tolist()
            self.pid, self.start_realtime_ns, self.start_monotonic_ns = head[3:6]
            self.boot_id = self._mapping.memory[48:64].tobytes()
            _, meta_at, meta_bytes, self._counters_at, _, self._errors_at, self._histograms_at, self._n_errors = head[
                8:
            ]
            meta = json.loads(self._mapping.memory[meta_at : meta_at + meta_bytes].tobytes())
        except StatsError:
            self._mapping.close()
            raise
        except ValueError as error:
            self._mapping.close()
            raise StatsError(f"{path}: its metadata is no JSON ({error}): remove the file and start again") from error
        self.counter_help: dict[str, str] = dict(meta["counters"])
        self.stages: list[str] = meta["stages"]
        self._records = {name: (at, np.dtype([tuple(row) for row in rows])) for name, at, rows in meta["records"]}

    def _check(self) -> None:
        size = self._mapping.size
        if size < HEADER or load_i64(self._address) != MAGIC:
            raise StatsError(f"{self.path}: is no stats file ({size} bytes): name the stats file of a run")
        version = load_acquire(self._address + 8)
        if version == 0:
            raise StatsError(f"{self.path}: is not ready yet: try again")
        if version != VERSION:
            raise StatsError(f"{self.path}: is of version {version}, this reads {VERSION}: use the engine's own tool")
        if load_i64(self._address + 16) != size:
            raise StatsError(f"{self.path}: {size} bytes, its header says {load_i64(self._address + 16)}: cut short")

    def age_ns(self, now_ns: int) -> int | None:
        """Time from the last beat to `now_ns` (CLOCK_MONOTONIC); None: the writer left in order, or in another boot."""
        beat_ns = int(load_acquire(self._address + HEARTBEAT))
        if beat_ns == 0 or self.boot_id != boot_id():
            return None
        return max(now_ns - beat_ns, 0)

    def counters(self) -> dict[str, int]:
        """Value of every counter now."""
        at = self._address + self._counters_at
        return {name: int(load_acquire(at + i * COUNTER.itemsize)) for i, name in enumerate(self.counter_help)}

    def record(self, name: str) -> np.ndarray | None:
        """A copy of a record (1-element structured array), never torn; None where its writer died in the middle."""
        at, dtype = self._records[name]
        out = np.zeros(1, dtype=dtype)
        done = read_record(self._address + at, RECORD_HEAD, int(out.ctypes.data), dtype.itemsize)
        return out if done else None

    def errors(self) -> list[ErrorRow]:
        """The distinct errors so far, in the order in which they first came; code stats.OTHERS: the log was full."""
        rows = []
        out = np.zeros(1, dtype=ERROR)
        for index in range(self._n_errors):
            lock = self._address + self._errors_at + index * ERROR.itemsize
            if read_record(lock, 0, int(out.ctypes.data), ERROR.itemsize) and out["times"][0]:
                rows.append(ErrorRow(*(int(out[field][0]) for field in ErrorRow._fields)))
        return rows

    def histogram(self, stage: str) -> np.ndarray:
        """A copy of a stage's cumulative histogram (int64, histogram.LENGTH)."""
        at = self._histograms_at + self.stages.index(stage) * histogram.LENGTH * 8
        return self._mapping.memory[at : at + histogram.LENGTH * 8].view(np.int64).copy()

    def close(self) -> None:
        """Unmap the file."""
        self._mapping.close()
