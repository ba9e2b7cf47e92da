"""Going back: a run's state as it was after one of its inputs, by driving the journal through the core to it.

A place is a journal sequence number (the last input at or before that frame) or a time of the engine's clock (the last
input received by then). The drive begins at the nearest snapshot before it, where there is one, and holds every output
on its way to the journal's, those of the last input too.

Of a run whose engine is at work the end is the last batch that is whole on the journal when it is read; nothing is
locked, and the engine does not notice.

Worst case: without a snapshot, one pass over the journal up to the place, after a minute of compiling the first time.
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from engine.errors import TickrouteError, UsageError
from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import Chunk, Ending, JournalReader
from engine.io.run_lock import is_held
from engine.run import drive, snapshot
from engine.run import manifest as manifests
from engine.run.manifest import Manifest
from engine.run.rerun import Rerun
from engine.run.snapshot import Header, Start
from replay.times import parse_time, utc_ns
from replay.verify import WHY

if TYPE_CHECKING:
    from replay.verify import Progress

_CHUNK: Final = 16384
#: Numbers up to here are of frames, larger ones are ns since 1970: no journal has as many frames.
MOST_SEQ: Final = 1 << 40
#: How long the outputs of the last input are waited for, while the engine is at work.
_BATCH_S: Final = 1.0
#: Word of a record that holds ts_recv_ns.
_RECV_WORD: Final = 4


class WrongPlace(UsageError):
    """No place in time, or none in this run; the message says what there is."""


class OtherOutputs(TickrouteError):
    """This build makes other outputs than the journal has, so its state is not the run's."""


class Place(NamedTuple):
    """Where to go: to the last input at or before frame `seq`, or received by `time_ns`; the other one is None."""

    text: str
    seq: int | None
    time_ns: int | None


class Reached(NamedTuple):
    """A run as it was after input `rerun.input_seq`. `header`: the snapshot that the drive began with."""

    run_id: str
    run: Manifest
    rerun: Rerun
    header: Header | None
    inputs: int
    outputs: int
    #: Whether the outputs of the last input were never whole on the journal, and so never sent.
    torn: bool
    #: Whether the engine was at work while the journal was read.
    live: bool


def place_of(text: str, day: dt.date) -> Place:
    """Read SEQ, ns since 1970, a time of day (UTC, on the run's trading day) or an ISO date and time; WrongPlace."""
    if text.isascii() and text.isdecimal():
        number = int(text)
        if number > np.iinfo(np.int64).max:
            raise WrongPlace(f"--at {text}: no clock goes so far; ns since 1970 have 19 digits")
        return Place(text, number, None) if number <= MOST_SEQ else Place(text, None, number)
    time_ns = parse_time(text, day)
    if time_ns is None:
        raise WrongPlace(
            f"--at {text!r}: must be a number of the journal (412), a time UTC (14:30:05.25, on the trading day "
            f"{day.isoformat()}; or 2018-01-02T14:30:05Z), or ns since 1970"
        )
    return Place(text, None, time_ns)


def reach(
    run_dir: str | Path, at: str | None = None, *, use_snapshots: bool = True, progress: Progress | None = None
) -> Reached:
    """Drive a run to a place, or to its end. `progress` is called with (segment, offset) on the way.

    WrongPlace: `at` is no place, or not in this run. OtherOutputs: this build does not make what the journal has.
    JournalError, ManifestError, ConfigError, BindError: the journal cannot be read or replayed.
    """
    path = Path(run_dir)
    with JournalReader(path) as reader:
        day = dt.date.fromisoformat(manifests.from_bytes(reader.manifest).trading_day)
    place = place_of(at, day) if at is not None else Place("the end", None, None)
    live = is_held(path)
    start = snapshot.begin(path, live=live, use=use_snapshots, most_seq=place.seq, most_ns=place.time_ns)
    with start.reader:
        return _Driver(path, start, place, progress).drive(live=live)


class _Driver:
    def __init__(self, run_dir: Path, start: Start, place: Place, progress: Progress | None) -> None:
        self.run_dir, self.start, self.place, self.progress = run_dir, start, place, progress
        self.first_ns = self.last_ns = -1

    def drive(self, *, live: bool) -> Reached:
        """Take what lies before the place, and the outputs of the last input."""
        rerun, header = self.start.rerun, self.start.header
        whole = False
        while not whole and (chunk := self._read()) is not None:
            stop = self._stop(chunk)
            self._feed(chunk._replace(rows=chunk.rows[:stop]))
            whole = stop < len(chunk.rows)
            if self.progress is not None:
                self.progress(chunk.segment, int(chunk.rows["offset"][-1]))
        if not whole:
            self._ended()
        elif rerun.outstanding:
            raise OtherOutputs(self._differs(drive.MISSING, rerun.input_seq))
        inputs = rerun.inputs + (header.inputs if header else 0)
        if inputs == 0:
            raise WrongPlace(self._nothing())
        return Reached(
            run_id=self.start.reader.run_id.hex(),
            run=self.start.manifest,
            rerun=rerun,
            header=header,
            inputs=inputs,
            outputs=rerun.outputs + (header.outputs if header else 0),
            torn=rerun.outstanding > 0,
            live=live,
        )

    def _read(self) -> Chunk | None:
        """The next frames; None at the end, which of a journal that is being written is behind a whole batch."""
        reader, until = self.start.reader, time.monotonic() + _BATCH_S
        while (chunk := reader.read(_CHUNK)) is None:
            if reader.end is not None or not self.start.rerun.outstanding or time.monotonic() > until:
                return None
            time.sleep(0.001)
        return chunk

    def _stop(self, chunk: Chunk) -> int:
        """Row of the first input beyond the place; the number of rows where there is none."""
        inputs = np.flatnonzero(chunk.rows["kind"] == Kind.INPUT)
        if not len(inputs):
            return len(chunk.rows)
        words = chunk.memory[: len(chunk.memory) & -8].view("<i8")
        received = words[(chunk.rows["offset"][inputs] + FRAME_HEADER) // 8 + _RECV_WORD]
        if self.first_ns < 0:
            self.first_ns = int(received[0])
        self.last_ns = max(self.last_ns, int(received[-1]))
        if self.place.time_ns is not None:
            beyond = received > self.place.time_ns
        elif self.place.seq is not None:
            beyond = chunk.rows["seq"][inputs] > self.place.seq
        else:
            return len(chunk.rows)
        return int(inputs[beyond][0]) if beyond.any() else len(chunk.rows)

    def _feed(self, chunk: Chunk) -> None:
        found = self.start.rerun.feed(chunk)
        if found is not None:
            seq = int(chunk.rows["seq"][min(found.row, len(chunk.rows) - 1)]) if len(chunk.rows) else -1
            raise OtherOutputs(self._differs(found.why, seq))

    def _differs(self, why: int, seq: int) -> str:
        return (
            f"{self.run_dir}: {WHY[why]} (frame {seq}), so what the run had in memory is not known; "
            f"tickroute verify {self.run_dir} shows the difference. The build that wrote it can go back"
        )

    def _ended(self) -> None:
        """The journal ended before an input beyond the place: that is right for its last frames alone."""
        rerun, place, end = self.start.rerun, self.place, self.start.reader.end
        last_seq = end.last_seq if end is not None else self.start.reader.mark.seq
        if rerun.outstanding and end is not None and end.ending is Ending.CLOSED:
            raise OtherOutputs(self._differs(drive.MISSING, rerun.input_seq))
        last = max(self.last_ns, int(rerun.state.core[0]["now_ns"]))
        if place.seq is not None and place.seq > last_seq:
            raise WrongPlace(f"--at {place.text}: the journal of {self.run_dir} ends at {last_seq}")
        if place.time_ns is not None and place.time_ns > last > 0:
            raise WrongPlace(
                f"--at {place.text}: the last input of {self.run_dir} is of {utc_ns(last)} (frame {rerun.input_seq}); "
                "leave --at out for the end"
            )

    def _nothing(self) -> str:
        """Why no input lies before the place."""
        if self.first_ns < 0:
            return f"{self.run_dir}: the journal holds no input yet, so there is no state to show"
        return (
            f"--at {self.place.text}: before the first input of {self.run_dir}, which is of {utc_ns(self.first_ns)} "
            f"(the frames before it hold none)"
        )
