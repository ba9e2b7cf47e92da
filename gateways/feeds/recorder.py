"""Writes what comes on live feeds into a recording, with the time at which it came.

Each endpoint has a subscriber, whose queue holds what comes while a block is written; a feed that waits for slow
subscribers waits for this one. All market data is kept as it came, duplicates too, but for `ts_recv_ns`: CLOCK_REALTIME
when the recorder took it from the socket. Clock samples and other housekeeping are counted, not kept. What is missing
between numbers of a stream is counted and told in the file.

What was recorded is kept whatever happens: a block is written when it is full or some seconds old. Where the disk takes
no more the recording ends, and what it took is finished; where the recorder dies, the file that it was writing
(`OUT.PID.partial`) is read by `feed inspect` and `feed convert` as far as it is whole.

Worst case: records that were taken at once (128 KiB) have one receive time; a disk that stalls makes later ones late.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.io.atomics import address_of, copy, realtime_ns
from engine.jit import kernel
from engine.record.records import SBE_HEADER_SIZE, UNIT, Template
from engine.run.config import Config
from gateways.feeds.subscriber import Subscriber
from gateways.formats.batch import Batch, make_batch
from gateways.formats.blocks import Blocks, Named
from gateways.formats.reader import Instrument
from gateways.formats.recorded_kernels import OK, Filling, units_of
from gateways.formats.recorded_write import UNITS, RecordingWriter

#: Bytes that are taken at once, and have one receive time.
_TAKEN_BYTES: Final = 1 << 16
#: Kinds up to this one are kept.
_LAST_KEPT: Final = int(Template.VENUE_DEF)
#: Seconds that an idle feed is waited for, before the next one is looked at.
_WAIT_S: Final = 0.05
#: Seconds for which what has come already is still taken when it is to end.
_REST_S: Final = 2.0
_TOLD_EVERY_S: Final = 0.2
#: Seconds after which a block is written that is not full.
_FLUSH_S: Final = 5.0


@dataclass
class Recorded:
    """What was recorded, as `tickroute record --json` writes it. Times are ns since 1970 UTC."""

    out: str
    endpoints: list[str]
    #: By kind.
    records: dict[str, int]
    messages: int
    blocks: int
    bytes_out: int
    seconds: float
    #: Holes in the numbers of streams, the numbers that are missing, and records whose number had passed already.
    gaps: int = 0
    lost: int = 0
    repeated: int = 0
    #: Messages that were no whole records, and records of no known kind, venue or instrument: not in the recording.
    malformed: int = 0
    left_out: int = 0
    #: Clock samples, heartbeats and the like.
    passed_over: int = 0
    #: Receive times that lie before the event's: the clocks of the two differ.
    negative: int = 0
    least_ns: int = 0
    first_ns: int = 0
    last_ns: int = 0
    #: Whether every stream that was seen had said that its day is over.
    ended: bool = False
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Why it ended before it was to, "" where it did not; and records that came and are not in the recording.
    failed: str = ""
    unwritten: int = 0


class Recorder:
    """The subscribers of some endpoints and a recording. A context manager; `run` records once, until `stop`.

    LinkError where an endpoint is not to be had; OSError where the file cannot be begun.
    """

    def __init__(self, config: Config, out: str | Path, *, zstd: bool = True) -> None:
        instruments = [Instrument(row.symbol, row.px_decimals, row.qty_decimals) for row in config.instrument]
        self._names = Named([row.code for row in config.venue], instruments)
        self._writer = RecordingWriter(out, zstd=zstd, names=self._names)
        self._stopped, self._finished = False, False
        self._feeds: list[Subscriber] = []
        self._blocks = Blocks(self._writer, UNITS)
        self._blocks.named(self._names)
        self._batch = make_batch(UNITS)
        self._counts = np.zeros(2, np.int64)
        try:
            gather(self._blocks.filling, self._batch, np.zeros(0, np.uint8), 0, self._counts)
            for row in config.feed:
                self._feeds.append(Subscriber(row.endpoint, capacity=_TAKEN_BYTES))
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """End the recording as soon as what has come already is in it. May be called by a signal's handler."""
        self._stopped = True

    def run(
        self, *, until_day_end: bool = False, progress: Callable[[int, float], None] | None = None
    ) -> Recorded:  # fmt: skip
        """Record until `stop`, or until every stream seen has said that its day is over; write the file whole.

        progress: called now and then with (records so far, seconds). A disk that takes no more ends it too: `failed`
        says so, and what was taken by then is a whole recording. OSError where not even that can be written: what is
        whole of it stays beside its place.
        """
        began_s = time.monotonic()
        failed = ""
        try:
            self._record(until_day_end, progress)
            self._blocks.flush()
        except OSError as error:
            failed = f"cannot be written: {error.strerror or error}"
        took_s = time.monotonic() - began_s

        def about() -> dict[str, Any]:
            found = asdict(self._found(took_s, failed))
            return {name: value for name, value in found.items() if name not in ("out", "bytes_out", "blocks")}

        try:
            bytes_out = self._writer.finish_what_fits(self._names, about)
        except OSError as error:
            what = f"{failed or error.strerror or error}; `tickroute feed convert` reads what is whole of it"
            raise OSError(error.errno, what, str(self._writer.partial)) from error
        self._finished = True
        found = self._found(took_s, failed)
        found.bytes_out = bytes_out
        return found

    def _record(self, until_day_end: bool, progress: Callable[[int, float], None] | None) -> None:
        """Until it is to end. OSError where the disk takes no more."""
        began_s = told_s = flushed_s = time.monotonic()
        end_s: float | None = None
        while True:
            now_s = time.monotonic()
            if end_s is None and (self._stopped or (until_day_end and all(feed.ended for feed in self._feeds))):
                end_s = now_s + _REST_S
            # After the end what has come already is still taken, without waiting for more.
            came = self._take(_WAIT_S if end_s is None else 0.0)
            if end_s is not None and (not came or now_s > end_s):
                break
            if now_s - flushed_s > _FLUSH_S:
                flushed_s = now_s
                self._blocks.flush()
            if progress is not None and now_s - told_s > _TOLD_EVERY_S:
                told_s = now_s
                progress(int(self._blocks.filling.whole[0]["records"]), now_s - began_s)

    def _take(self, wait_s: float) -> int:
        """Take once from each feed; the bytes that came."""
        total = 0
        for feed in self._feeds:
            data = feed.receive(wait_s / len(self._feeds))
            if len(data):
                self._batch.used[0] = 0
                gather(self._blocks.filling, self._batch, data, realtime_ns(), self._counts)
                self._blocks.take(self._batch, self._names)
                total += len(data)
        return total

    def _found(self, took_s: float, failed: str) -> Recorded:
        whole = self._blocks.filling.whole[0]
        streams = {f"{n}:{number}": row for n, feed in enumerate(self._feeds) for number, row in feed.streams.items()}
        return Recorded(
            out=str(self._writer.path),
            endpoints=[feed.endpoint for feed in self._feeds],
            records={Template(n).name: int(count) for n, count in enumerate(self._blocks.filling.kinds) if count},
            messages=sum(feed.messages for feed in self._feeds),
            blocks=self._writer.blocks,
            bytes_out=0,
            seconds=took_s,
            gaps=sum(row.gaps for row in streams.values()),
            lost=sum(row.missed for row in streams.values()),
            repeated=sum(row.duplicates for row in streams.values()),
            malformed=sum(feed.malformed for feed in self._feeds),
            passed_over=int(self._counts[0]),
            left_out=int(self._counts[1]),
            ended=all(feed.ended for feed in self._feeds),
            streams={name: asdict(row) for name, row in streams.items()},
            failed=failed,
            unwritten=int(whole["records"]) - self._writer.records,
            **{name: int(whole[name]) for name in "negative least_ns first_ns last_ns".split()},
        )

    def close(self) -> None:
        """Disconnect; of a recording that was not finished what is whole stays. Idempotent."""
        for feed in self._feeds:
            feed.close()
        if self._finished:
            self._writer.abandon()
        else:
            self._writer.leave()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@kernel
def gather(f: Filling, batch: Batch, data: np.ndarray, recv_ns: int, counts: np.ndarray) -> None:
    """The market data among whole records into a batch with room for all, received at `recv_ns`.

    data: uint8; counts: int64 (2): of other records, and of those that cannot be, which are left out.
    """
    source, at = address_of(data), 0
    while at < len(data):
        size = int(data[at]) + 256 * int(data[at + 1]) + SBE_HEADER_SIZE
        i = int(batch.used[0])
        copy(address_of(batch.words) + UNIT * i, source + at, size)
        at += size
        if batch.head[i].template_id > _LAST_KEPT:
            counts[0] += 1
        elif units_of(f, batch, i, i + size // UNIT) == 0:
            f.whole[0].fault = OK
            counts[1] += 1
        else:
            batch.head[i].ts_recv_ns = recv_ns
            batch.used[0] = i + size // UNIT
