"""What a recorded file holds: one pass through it, in bounded memory, with the books of all its instruments.

Counts are exact. Times under way are what the file says (receive time less event time): where they are negative, the
recorder's clock was behind the source's, by `skew_ns` at the least; nothing is corrected here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.record.records import Template
from gateways.formats.batch import make_batch
from gateways.formats.known import UNTOLD, Given, open_file
from gateways.formats.reader import Reader
from gateways.formats.watch import Watch, make_feed_books, make_watch, watch_batch

Progress = Callable[[float, int], None]


@dataclass
class InstrumentSeen:
    """An instrument at a venue."""

    symbol: str
    venue: str
    px_decimals: int
    qty_decimals: int
    records: int
    #: With the executions of orders that no trade tells of (ITCH E and C, LOBSTER 4).
    trades: int
    #: In the instrument's quantity units.
    volume: int
    crossed: int


@dataclass
class Latency:
    """Time under way, ns: of how many records, and how many of these were received before they happened."""

    timed: int
    negative: int
    least_ns: int
    median_ns: int
    most_ns: int


@dataclass
class Inspection:
    """The findings, as `tickroute feed inspect --json` writes them. Times are ns since 1970 UTC, 0 where none are."""

    file: str
    format: str
    packing: str
    bytes: int
    messages: int
    by_type: dict[str, int]
    #: Records made, by kind.
    records: dict[str, int]
    venues: list[str]
    instruments: list[InstrumentSeen]
    first_ns: int
    last_ns: int
    first_recv_ns: int
    last_recv_ns: int
    #: Records whose event, or receipt, is earlier than that of a record before them.
    late: int
    late_recv: int
    gaps: int
    lost: int
    repeated: int
    #: Changes of orders that were never added: from before the file's beginning.
    dangling: int
    #: Beside these, changes of orders that had replaced such ones.
    dangling_after_replace: int
    #: Changes of a touch, and how many of them left it crossed, or locked.
    touches: int
    crossed: int
    locked: int
    latency: Latency | None
    #: The recorder's clock is at least so far behind the source's; 0 where nothing shows that it is.
    skew_ns: int
    skipped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    #: What carries no message of the format, by what it is: heartbeats, a capture's packets of other kinds.
    passed_over: dict[str, int] = field(default_factory=dict)
    #: Instruments and levels that found no room: their books were not followed.
    unfollowed: int = 0
    #: What the file does not say and was not told, and what was taken in its place.
    notes: list[str] = field(default_factory=list)


def inspect(path: str | Path, progress: Progress | None = None, given: Given = UNTOLD) -> Inspection:
    """Read a file whole and say what it holds. FeedError where it is of no known format, cut or damaged.

    progress: called now and then with (part of the file read, messages so far). given: what the file does not say.
    """
    with open_file(path, given) as reader:
        watch, books, out = make_watch(), make_feed_books(), make_batch(2)
        for batch in reader.batches():
            watch_batch(watch, books, batch, out, 0)
            if progress is not None:
                progress(reader.progress, reader.counts.messages)
        return _found(reader, watch, books.core[0])


def _found(reader: Reader, watch: Watch, core: Any) -> Inspection:
    seen, counts = watch.seen[0], reader.counts
    latency = None
    if seen["timed"]:
        kept = np.sort(watch.samples[: int(seen["samples"])])
        values = (seen["timed"], seen["negative"], seen["least_ns"], kept[len(kept) // 2], seen["most_ns"])
        latency = Latency(*(int(value) for value in values))
    rows = watch.of_book[: int(seen["books"])]
    plain = (
        "first_ns",
        "last_ns",
        "first_recv_ns",
        "last_recv_ns",
        "late",
        "late_recv",
        "touches",
        "crossed",
        "locked",
    )
    return Inspection(
        file=str(reader.path),
        format=reader.format,
        packing=reader.source.packing or "plain",
        bytes=reader.source.size,
        messages=counts.messages,
        by_type=dict(sorted(counts.by_type.items(), key=lambda item: -item[1])),
        records={Template(n).name: int(count) for n, count in enumerate(watch.kinds) if count},
        venues=list(reader.venues),
        instruments=[_instrument(reader, row) for row in rows],
        gaps=counts.gaps,
        lost=counts.lost,
        repeated=counts.repeated + int(core["repeated"]),
        dangling=int(core["dangling"] - seen["of_ghosts"]),
        dangling_after_replace=int(seen["of_ghosts"]),
        latency=latency,
        skew_ns=max(-latency.least_ns, 0) if latency is not None else 0,
        skipped=counts.skipped,
        examples=counts.examples,
        passed_over=counts.passed_over,
        unfollowed=int(seen["turned_away"] + core["full"]),
        notes=list(counts.notes),
        **{name: int(seen[name]) for name in plain},
    )


def _instrument(reader: Reader, row: Any) -> InstrumentSeen:
    number, venue = int(row["instrument"]), int(row["venue"])
    found = reader.instruments[number]
    return InstrumentSeen(
        symbol=found.symbol,
        venue=reader.venues[venue],
        px_decimals=found.px_decimals,
        qty_decimals=found.qty_decimals,
        records=int(row["records"]),
        trades=int(row["trades"]),
        volume=int(row["volume"]),
        crossed=int(row["crossed"]),
    )
