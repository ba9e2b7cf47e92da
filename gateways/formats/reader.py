"""What a reader of a format is: the records of a file in batches, and the counts of how reading went.

A reader knows nothing of a run's configuration. It numbers venues and instruments as it meets them, in `venues` and
`instruments`, and its records carry those numbers; prices and quantities are in the instrument's decimals as listed
there. `gateways.formats.fit` turns them into a configuration's own.

`ts_event_ns` is the source's own time of the event, `ts_recv_ns` when the recorder received it, or 0 where the file
does not say. Records are in the order of the file; `stream_seq` is the source's number where it has one, else 0.

What makes the rest of a file untrustworthy is a FeedError with its place. What cannot be used is skipped, counted by
reason, and the first of each is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from gateways.formats.batch import Batch
from gateways.formats.source import Source


class Instrument(NamedTuple):
    """An instrument of a file: symbol, the decimals of its price and quantity units, its round lot (0 unknown)."""

    symbol: str
    px_decimals: int
    qty_decimals: int = 0
    lot_qty: int = 0


@dataclass
class Counts:
    """How reading a file went. `messages` is the sum of `by_type`, what was skipped too."""

    #: Messages by the format's own name of their type.
    by_type: dict[str, int] = field(default_factory=dict)
    #: Holes in the source's numbers, and how many numbers are missing.
    gaps: int = 0
    lost: int = 0
    #: Messages that came twice, or of an earlier number.
    repeated: int = 0
    #: Messages that gave no record although they should, by reason, and the first of each with its place.
    skipped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    #: What carries no message of the format, by what it is: heartbeats, a capture's packets of other kinds.
    passed_over: dict[str, int] = field(default_factory=dict)
    #: What the file does not say and was not told, and what was taken in its place: for people to read.
    notes: list[str] = field(default_factory=list)

    @property
    def messages(self) -> int:
        """All messages."""
        return sum(self.by_type.values())

    def skip(self, reason: str, example: str, count: int = 1) -> None:
        """Count what gives no record."""
        if count > 0:
            self.skipped[reason] = self.skipped.get(reason, 0) + count
            self.examples.setdefault(reason, example)


def last_of(batch: Batch, given: Callable[[], Batch]) -> Iterator[Batch]:
    """What a batch still holds at the end of a file, or before damage; `given` brings the counts up to date."""
    if int(batch.used[0]):
        yield given()
        batch.used[0] = 0
    given()


class Reader(ABC):
    """One file, being read. A context manager; `batches` may be gone through once."""

    #: Name of the format, as `feed inspect` says it.
    format: ClassVar[str]

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.source = Source(path)
        self.counts = Counts()
        self.venues: list[str] = []
        self.instruments: list[Instrument] = []

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """Batches of records, each good until the next is asked for. FeedError where the file is not to be trusted."""

    @property
    def progress(self) -> float:
        """How much of the file was read, 0 to 1."""
        return min(self.source.position / self.source.size, 1.0) if self.source.size else 1.0

    def close(self) -> None:
        """Close the file. Twice is once."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
