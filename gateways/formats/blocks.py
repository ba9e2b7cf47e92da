"""Batches of any reader gathered into blocks of one size, for what writes blocks: a recording, a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from gateways.feeds.report import FeedError
from gateways.formats.batch import Batch, make_batch
from gateways.formats.reader import Instrument
from gateways.formats.recorded_kernels import FAULTS, Filling, make_filling, take

Array = np.ndarray[Any, np.dtype[Any]]


class Named(NamedTuple):
    """What the numbers in records mean."""

    venues: Sequence[str]
    instruments: Sequence[Instrument]


class Sink(Protocol):
    """Writes blocks to a file, which is there when it has been finished and not before."""

    def block(self, block: Batch, filling: Filling, names: Named) -> None:
        """Write one block; it is good for the call alone. OSError as the system gives it."""

    def finish(self, names: Named, about: dict[str, Any]) -> int:
        """Complete the file, with what is to be told of it; its bytes."""

    def abandon(self) -> None:
        """Leave nothing behind, unless it was finished. Twice is once."""


class Blocks:
    """Fills blocks of `units` units and gives each, full, to a sink; without one it only counts (see `filling`)."""

    def __init__(self, sink: Sink | None, units: int) -> None:
        self._sink = sink
        self._block = make_batch(units)
        self._names = Named((), ())
        self.filling = make_filling(units)
        #: Blocks that were given away.
        self.given = 0

    def take(self, batch: Batch, names: Named, skew_ns: int = 0) -> None:
        """Add the records of a batch, receive times later by `skew_ns`. ValueError where one of them cannot be."""
        self.named(names)
        at, whole = 0, self.filling.whole[0]
        while at < int(batch.used[0]):
            at = int(take(self.filling, self._block, batch, at, skew_ns))
            if int(whole["fault"]):
                raise ValueError(f"record {int(whole['records'])}: {FAULTS[int(whole['fault'])]}")
            if at < int(batch.used[0]):
                self.flush()

    def flush(self) -> None:
        """Give away what is in the block, unless there is nothing."""
        if not int(self._block.used[0]):
            return
        if self._sink is not None:
            self._sink.block(self._block, self.filling, self._names)
        self.given += 1
        self._block.used[0] = 0
        self.filling.row[:] = np.zeros(1, self.filling.row.dtype)
        self.filling.marks[:] = 0

    def named(self, names: Named) -> None:
        """What the numbers in the records to come mean."""
        self._names = names
        self.filling = with_names(self.filling, len(names.venues), len(names.instruments))


def with_names(filling: Filling, venues: int, instruments: int) -> Filling:
    """The same, for so many venues and instruments: another object where there are more instruments than before."""
    if len(filling.marks) < instruments:
        marks = np.zeros(max(instruments, 2 * len(filling.marks)), np.uint8)
        marks[: len(filling.marks)] = filling.marks
        filling = Filling(**(filling.arrays() | {"marks": marks}))
    filling.whole["venues"], filling.whole["instruments"] = venues, instruments
    return filling


def refused(path: Any, error: ValueError) -> FeedError:
    """The error of a feed whose records cannot be."""
    return FeedError(path, 0, "", str(error), "report it: the reader of this format is wrong")
