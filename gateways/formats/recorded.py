"""The project's own recording: blocks of records with an index of times and instruments (layout: `recorded_layout`).

The file is mapped. Plain blocks are views of the mapping: nothing is copied, and what a caller writes into a batch
stays in its own memory. `between` reads the blocks that the index names for a span and instruments, and no others.
A recording of version 1, the whole day that the player plays, is read too.

A live feed's that was not finished is read as far as its blocks are whole: that, and the bytes behind them, are counted
among what was skipped, and gaps by the numbers of its streams.

Worst case: a packed block is unpacked whole, 1 MiB, for one record of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import zstandard

from engine.record.records import UNIT, Template
from gateways.feeds.recording import load
from gateways.feeds.report import FeedError
from gateways.feeds.subscriber import DUPLICATES, GAPS, MISSED, follow, make_account
from gateways.formats.batch import Batch, batch_over, make_batch
from gateways.formats.blocks import with_names
from gateways.formats.reader import Instrument, Reader
from gateways.formats.recorded_kernels import FAULTS, Filling, look, make_filling, pick
from gateways.formats.recorded_layout import AGAIN, HEADER_SIZE, ZSTD, read_index, version_of

Array = np.ndarray[Any, np.dtype[Any]]
_ALWAYS: Final = (-(2**63), 2**63 - 1)


def recognises(head: bytes) -> bool:
    """Whether a file that begins so is a recording, of any version."""
    return version_of(head) > 0


def open_file(path: str | Path) -> Reader:
    """A reader of a recording. FeedError where it cannot be read, is damaged, or is of a build that is newer."""
    with Path(path).open("rb") as file:
        version = version_of(file.read(12))
    return WholeDayReader(path) if version == 1 else RecordedReader(path)


class RecordedReader(Reader):
    """One recording. `about` is what its writer told of it: the file that it came from, its gaps, its skew."""

    format: ClassVar[str] = "tickroute"

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._done = 0
        #: Blocks that were read.
        self.blocks_read = 0
        try:
            self._raw: Array = np.asarray(np.memmap(path, dtype=np.uint8, mode="c"))
            index = read_index(self.path, self._raw)
        except (OSError, ValueError) as error:
            self.close()
            raise FeedError(path, 0, "", f"cannot be read: {error}", AGAIN, offset=0) from error
        except FeedError:
            self.close()
            raise
        self.index, self.about = index, index.about
        self.venues, self.instruments = index.venues, index.instruments
        self._packed = index.packing == ZSTD
        self.source.packing = "zstd blocks" if self._packed else ""
        largest = max(int(index.rows["units"].max(initial=0)), 1)
        self._rescued = index.left >= 0
        self._block = make_batch(largest) if self._packed or self._rescued else None
        self._filling = with_names(make_filling(largest), len(self.venues), len(self.instruments))
        for name in ("gaps", "lost", "repeated"):
            setattr(self.counts, name, int(self.about.get(name, 0)))
        self.counts.notes += self.about.get("notes", [])
        if self._rescued:
            end = f"byte {len(self._raw) - index.left} of {len(self._raw)}"
            self.counts.skip("the recording was not finished: it ends with its last whole block", end)
            self.counts.skip("bytes behind the last whole block of a recording that was not finished", end, index.left)
        self._account = make_account()

    @property
    def progress(self) -> float:
        """How many of its blocks were gone through, 0 to 1."""
        return self._done / len(self.index.rows) if len(self.index.rows) else 1.0

    def batches(self) -> Iterator[Batch]:
        """Its blocks. FeedError with the place where one is damaged."""
        for n in range(len(self.index.rows)):
            block = self._read(n)
            if self._rescued:
                self._follow(block)
            yield block
            self._done = n + 1

    def _follow(self, block: Batch) -> None:
        """Count what is missing in the numbers of streams, as the recorder would have told it."""
        follow(block.words.view(np.uint8), 0, UNIT * int(block.used[0]), self._account)
        streams = self._account.streams
        for name, column in (("gaps", GAPS), ("lost", MISSED), ("repeated", DUPLICATES)):
            setattr(self.counts, name, int(streams[:, column].sum()))

    def between(
        self, from_ns: int = _ALWAYS[0], to_ns: int = _ALWAYS[1], instruments: Iterable[int | str] | None = None
    ) -> Iterator[Batch]:
        """The records with from_ns <= time < to_ns of some instruments (numbers or symbols), in order; None is all.

        A record's time is that of its event, or of its receipt where it has none; what is of all instruments is of
        each. Each batch is good until the next is asked for. FeedError as `batches`; ValueError for unknown ones.
        """
        rows = self.index.rows
        hit = (rows["last_ns"] >= from_ns) & (rows["first_ns"] < to_ns)
        wanted = Filling(**(make_filling(1).arrays() | {"marks": np.zeros(0, np.uint8)}))
        if instruments is not None:
            wanted = Filling(**(wanted.arrays() | {"marks": self._marks(instruments)}))
            hit &= self.index.marked(wanted.marks)
        out: Batch | None = None
        for n in np.flatnonzero(hit):
            block, row = self._read(int(n)), rows[n]
            if instruments is None and row["first_ns"] >= from_ns and row["last_ns"] < to_ns:
                yield block
                continue
            out = out or make_batch(len(self._filling.starts))
            out.used[0] = 0
            pick(self._filling, wanted, block, out, from_ns, to_ns)
            if int(out.used[0]):
                yield out

    def _marks(self, instruments: Iterable[int | str]) -> Array:
        marks = np.zeros(max(len(self.instruments), 1), np.uint8)
        symbols = np.array([row.symbol for row in self.instruments], dtype=object)
        for one in instruments:
            found = np.flatnonzero(symbols == one) if isinstance(one, str) else np.array([one], dtype=np.int64)
            if not len(found) or not 0 <= int(found[0]) < len(symbols):
                raise ValueError(f"{self.path} has no instrument {one!r}; it has {len(symbols)}")
            marks[found] = 1
        return marks

    def _read(self, n: int) -> Batch:
        row = self.index.rows[n]
        at, units = int(row["offset"]), int(row["units"])
        data = self._raw[at : at + int(row["size"])]
        if at < HEADER_SIZE or len(data) != int(row["size"]) or zlib.crc32(data.data) != int(row["crc"]):
            raise self._wrong(n, "its CRC is wrong")
        if self.index.ahead and self._raw[at - UNIT : at].tobytes() != row.tobytes():
            raise self._wrong(n, "what is in front of it is not its row of the index")
        block = self._block if self._block is not None else self._view(n, at, units)
        if self._packed:
            self._unpack(n, data, units, block)
        elif self._rescued:
            if len(data) != units * UNIT:
                raise self._wrong(n, "its size is not what its records take")
            block.words[: units * UNIT // 8] = np.frombuffer(data.tobytes(), "<i8")
        block.used[0] = units
        self._filling.row[:] = np.zeros(1, self._filling.row.dtype)
        self._filling.marks[:] = 0
        look(self._filling, block)
        fault, found = int(self._filling.whole["fault"][0]), self._filling.row[0]
        if fault:
            raise self._wrong(n, FAULTS[fault])
        if any(int(found[name]) != int(row[name]) for name in "units records first_ns last_ns of_all".split()):
            raise self._wrong(n, "the index does not say what it holds")
        self.blocks_read += 1
        for template in np.flatnonzero(self._filling.kinds):
            self.counts.by_type[Template(int(template)).name] = int(self._filling.kinds[template])
        return block

    def _view(self, n: int, at: int, units: int) -> Batch:
        # The index follows the last block, so the unit that lies behind a block is always in the file.
        if at % UNIT or units * UNIT != int(self.index.rows[n]["size"]) or at + (units + 1) * UNIT > len(self._raw):
            raise self._wrong(n, "its size or place is not what its records take")
        return batch_over(self._raw[at : at + (units + 1) * UNIT])

    def _unpack(self, n: int, data: Array, units: int, block: Batch) -> None:
        try:
            found = zstandard.ZstdDecompressor().decompress(data.data, max_output_size=units * UNIT)
        except zstandard.ZstdError as error:
            raise self._wrong(n, str(error)) from error
        if len(found) != units * UNIT:
            raise self._wrong(n, "it unpacks to another size than its records take")
        block.words[: units * UNIT // 8] = np.frombuffer(found, "<i8")

    def _wrong(self, n: int, why: str) -> FeedError:
        offset = int(self.index.rows[n]["offset"])
        return FeedError(self.path, 0, "", f"block {n} of {len(self.index.rows)}: {why}", AGAIN, offset=offset)


class WholeDayReader(Reader):
    """A recording of version 1: one block, in order of time; prices and quantities in the decimals of its day."""

    format: ClassVar[str] = "tickroute, version 1"

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        try:
            self._day = load(path)
        except FeedError:
            self.close()
            raise
        names = self._day.names
        self.venues = names.codes()
        self.instruments = [Instrument(*row) for row in names.as_meta()["symbols"]]
        self._done = 0

    @property
    def progress(self) -> float:
        """How many of its records were given, 0 to 1."""
        return self._done / self._day.count if self._day.count else 1.0

    def batches(self) -> Iterator[Batch]:
        """Its records, some thousands at a time."""
        batch, day = make_batch(), self._day
        while self._done < day.count:
            begin = int(day.offsets[self._done])
            to = int(np.searchsorted(day.offsets, begin + len(batch.head) * UNIT, side="right")) - 1
            part = day.data[begin : int(day.offsets[to])]
            batch.words[: len(part) // 8] = part.view("<i8")
            batch.used[0] = len(part) // UNIT
            kinds = day.data.view("<u2")[day.offsets[self._done : to] // 2 + 1]
            for kind, count in zip(*np.unique(kinds, return_counts=True), strict=True):
                name = Template(int(kind)).name
                self.counts.by_type[name] = self.counts.by_type.get(name, 0) + int(count)
            self._done = to
            yield batch
