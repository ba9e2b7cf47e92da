"""What the files of a simulated run go through: a follower's snapshots, and what a new process finds after a death.

The disk's image is written out as files, so that the engine's own snapshot writer, recovery and journal reader do what
they do on a disk. A power cut (durability `disk`) loses pages and sectors that were not synced, and may leave stale
bytes there; then whole frames behind a hole are an operator's to give up. A flipped bit must be refused, or cut before
the flip: the operator then has a copy. A damaged snapshot must be left for an older one, or for the whole journal.

Worst case: a recovery drives the whole journal, as often as it is asked for; some milliseconds when compiled.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from engine.io.journal_format import JournalError, Kind, segment_path
from engine.io.journal_reader import End, JournalReader
from engine.io.journal_writer import set_aside
from engine.run import life as lives
from engine.run import snapshot
from engine.run.config import Config
from engine.run.recover import Recovery, RecoveryError, recover
from replay.simulate.disk import Disk, write_image
from replay.simulate.violation import Violation, must

#: The smallest frame that an output takes.
_OUTPUT_BYTES = 96
#: Where a segment's header says its end.
_END_WORD = 56
_KEPT = 2
_PREFIX = "recovery finds a prefix"


class Frame(NamedTuple):
    """A frame that was committed."""

    kind: int
    batch_index: int
    input_seq: int
    payload: bytes


class Found(NamedTuple):
    """What is found after a death: see World._restart."""

    pages: Sequence[int] = ()
    sectors: Sequence[int] = ()
    stale: bool = False
    flips: Sequence[int] = ()
    snap: int = 0


class Files:
    """One run's files: `snapshots` are the bytes of those kept, by name."""

    def __init__(self, config: Config, disk: Disk, faults: Counter[str]) -> None:
        self._config, self.disk, self._faults = config, disk, faults
        self.snapshots: dict[str, bytes] = {}

    def _folder(self, name: str) -> Config:
        return msgspec.structs.replace(self._config, engine=msgspec.structs.replace(self._config.engine, run_dir=name))

    def _write(self, run_dir: Path, image: list[bytes]) -> None:
        write_image(run_dir, image)
        if self.snapshots:
            snapshot.folder_of(run_dir).mkdir()
        for name, data in self.snapshots.items():
            (snapshot.folder_of(run_dir) / name).write_bytes(data)

    def _read_snapshots(self, run_dir: Path) -> None:
        kept = snapshot.snapshots(run_dir)[:_KEPT]
        self.snapshots = {path.name: path.read_bytes() for path in reversed(kept)}

    def follow(self) -> bool:
        """Follow the journal as it is now and write a snapshot; False where a step's batch is not whole yet."""
        with tempfile.TemporaryDirectory(prefix="tickroute-simulate-") as folder:
            run_dir = Path(folder)
            self._write(run_dir, self.disk.image())
            start = snapshot.begin(run_dir, live=True)
            with start.reader as reader:
                while (chunk := reader.read()) is not None:
                    stop = start.rerun.feed(chunk)
                    must(stop is None, "a follower makes the same outputs", f"stopped: {stop}")
                    start.watch.look(chunk)
                if start.rerun.outstanding:
                    return False
                snapshot.write(run_dir, start.rerun, start.watch, reader, start.header)
            self._read_snapshots(run_dir)
        return True

    def recover(self, found: Found, frames: list[Frame], *, power: bool, halted: bool) -> tuple[Recovery, int]:
        """What a new process makes of the files: (its recovery, how many outputs were given up at the most).

        `frames` are all that were committed; `halted`: it had stopped itself, and an operator lets it go on. The disk
        goes on behind what was found. Violation where that is not whole.
        """
        lost: tuple[Sequence[int], Sequence[int]] = (found.pages, found.sectors) if power else ((), ())
        with tempfile.TemporaryDirectory(prefix="tickroute-simulate-") as folder:
            run_dir = Path(folder)
            self._write(run_dir, self.disk.image(*lost, stale=found.stale))
            for flip in () if power else found.flips:  # what a power cut took cannot be told from what a flip did
                self._flip(run_dir, flip, frames)
            if found.snap:
                self._damage(run_dir, found.snap)
            given_up = _give_up(run_dir) if power else 0
            try:
                recovery = recover(self._folder(folder), halted=halted)
            except (JournalError, RecoveryError) as error:
                raise Violation("a death is recovered from", str(error).replace(folder, "RUN_DIR")) from error
            self._faults["snapshot"] += recovery.start.header is not None
            _compare(run_dir, frames)
            set_aside(run_dir, recovery.end)
            snapshot.set_aside(run_dir, recovery.end.last_seq)
            self._read_snapshots(run_dir)
            self.disk.load(run_dir, recovery.end)
            must(self.disk.blank_ahead(), "nothing is behind the end", f"of frame {recovery.end.last_seq}")
        return recovery, given_up

    def _flip(self, run_dir: Path, flip: int, frames: list[Frame]) -> None:
        """Flip a bit of what is in use, read the journal, and flip it back."""
        places = [
            (number, at)
            for number, data in enumerate(self.disk.digest_source())
            for at in range(0, int(np.flatnonzero(np.frombuffer(data, dtype=np.uint8))[-1]) + 1, 64)
        ]
        number, at = places[flip // 512 % len(places)]
        at, bit = at + flip // 8 % 64, 1 << flip % 8
        path = segment_path(run_dir, number)
        good = bytearray(path.read_bytes())
        bad = bytearray(good)
        bad[at] ^= bit
        path.write_bytes(bad)
        self._faults["flip"] += 1
        try:
            last_seq, torn_bytes = _compare(run_dir, frames)
            where = f"bit {bit} of byte {at} of segment {number}"
            must(torn_bytes > 0 or last_seq < len(frames) - 1, "a flipped bit is noticed", where)
            must(last_seq >= len(frames) - 2, "damage in the middle is refused", f"{where}: cut behind {last_seq}")
        except JournalError:
            pass  # refused: an operator takes a copy
        path.write_bytes(good)

    def _damage(self, run_dir: Path, how: int) -> None:
        """Cut or flip the newest snapshot."""
        newest = next(iter(snapshot.snapshots(run_dir)), None)
        if newest is None:
            return
        self._faults["snapshot damaged"] += 1
        data = bytearray(newest.read_bytes())
        if how % 3 == 0:
            newest.write_bytes(data[: how % len(data)])
        else:
            data[how % len(data)] ^= 1 << how % 8
            newest.write_bytes(data)


def _give_up(run_dir: Path) -> int:
    """Whole frames behind a page that was lost are an operator's to give up; how many outputs they may have held.

    The disk wrote them before others, so nothing that was sent is among them.
    """
    try:
        with JournalReader(run_dir) as reader:
            for _ in reader.chunks():
                pass
        return 0
    except JournalError:
        pass
    with JournalReader(run_dir, cut=True) as reader:
        for _ in reader.chunks():
            pass
        assert reader.end is not None, "a reader that is not live comes to an end"
        end = reader.end
    set_aside(run_dir, end)
    with segment_path(run_dir, end.segment).open("r+b") as file:  # as a writer does that goes on there
        file.seek(_END_WORD)
        file.write(bytes(8))
    return end.torn_bytes // _OUTPUT_BYTES + 1


def _compare(run_dir: Path, frames: list[Frame]) -> tuple[int, int]:
    """(last frame, torn bytes) of a journal, each of whose frames must be as it was written."""
    with JournalReader(run_dir) as reader:
        for frame in reader.frames():
            if frame.kind == Kind.PAD:
                continue
            must(frame.seq < len(frames), _PREFIX, f"frame {frame.seq} was never committed")
            same = frame.payload.tobytes() == frames[frame.seq].payload
            must(same, _PREFIX, f"frame {frame.seq} is not as it was written")
        assert reader.end is not None, "a reader that is not live comes to an end"
        return reader.end.last_seq, reader.end.torn_bytes


def life_of(end: End) -> bytes:
    """The payload of a RECOVERED frame: the same on every machine."""
    return lives.to_bytes(
        lives.Life(
            number=2,
            last_seq=end.last_seq,
            ending=end.ending.name.lower(),
            torn_bytes=end.torn_bytes,
            boot_id="0" * 32,
            clock_offset_ns=0,
            started_utc="2018-01-02T14:30:00+00:00",
            source_hash="simulation",
            build_hash="simulation",
            versions={},
        )
    )
