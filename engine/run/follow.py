"""The follower: a process beside the engine that writes its snapshots and lets old segments go.

    python -m engine.run.follow RUN_DIR [--every SECONDS] [--keep N] [--keep-mib N] [--keep-hours N] [--parent PID]

It drives the journal through the core as the loop does, a little behind it, so that the loop never stops for a
snapshot: the state that it writes is its own. The engine starts one when the first snapshot is due (`[snapshots]` in
the configuration) and again where it died; by hand it may be started at any time, also on a run that has ended. It
ends when the journal is closed or its parent is gone, after a last snapshot. Only one follows a run at a time.

What is older than the oldest snapshot that is kept is removed only once that one's frames are synced, whatever the
run's durability: after a power cut at least one snapshot is of frames that are there.

Segments are let go after a snapshot was written, never before: those that lie wholly before the oldest snapshot that is
kept, that are hashed in the chain, and that the policy no longer wants. Every snapshot that is kept was read again and
its state's hash compared first. With one good snapshot only, nothing is let go.

Worst case: it is slower than the loop (no core of its own): snapshots are then of older frames, and nothing else. It
holds a second copy of the state. Damage, and outputs that the core does not make, end it with a message: what is on the
disk already stays as it is.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

from engine.errors import TickrouteError
from engine.io.journal_chain import first_kept, let_go, read_chain
from engine.io.journal_format import segment_numbers, segment_path
from engine.io.mapping import try_lock
from engine.run import snapshot
from engine.run.snapshot import Header

#: Between two looks at a journal that had no more.
_IDLE_S: Final = 0.05
#: Rows between two looks at signals and clock.
_ROWS: Final = 4096
#: Snapshots that must be good before anything is let go.
_SURE: Final = 2


class FollowError(TickrouteError):
    """The follower cannot go on; the message says where and why."""


class Policy(NamedTuple):
    """How many snapshots are kept (2 or more), and which segments: the newest `mib` MiB, and those younger than
    `hours`; a segment goes when neither wants it. 0 sets no limit; two zeros keep everything."""

    snapshots: int = 2
    mib: int = 0
    hours: int = 0


KEEP_ALL: Final = Policy()


class Follower:
    """One follower of one run. `turn` takes in what is there, `shoot` writes a snapshot. A context manager."""

    def __init__(self, run_dir: str | Path, policy: Policy = KEEP_ALL) -> None:
        """Begin at the newest good snapshot. FollowError where another one follows this run; as snapshot.begin."""
        self.run_dir, self.policy = Path(run_dir), policy
        self._lock = _lock(self.run_dir)
        try:
            self.start = snapshot.begin(self.run_dir, live=True)
        except BaseException:
            os.close(self._lock)
            raise
        self.written_seq = self.start.header.seq if self.start.header else -1
        self.closed = False
        self._synced = -1

    def turn(self, rows: int = _ROWS) -> bool:
        """Take in at most so many frames; False: there are no more now. FollowError where the core makes others."""
        chunk = self.start.reader.read(rows)
        if chunk is None:
            self.closed = self.start.reader.end is not None
            return False
        stop = self.start.rerun.feed(chunk)
        if stop is not None:
            seq = int(chunk.rows["seq"][min(stop.row, len(chunk.rows) - 1)])
            raise FollowError(
                f"{self.run_dir}: the core does not make what the journal has at frame {seq}; "
                f"`tickroute verify {self.run_dir}` shows the difference"
            )
        self.start.watch.look(chunk)
        return True

    def shoot(self) -> Path | None:
        """Write a snapshot and tidy up; None where a batch is open or there is nothing new. OSError: a full disk."""
        reader, rerun = self.start.reader, self.start.rerun
        seq = reader.mark.seq
        if rerun.outstanding or seq <= max(self.written_seq, 0):
            return None
        path = snapshot.write(self.run_dir, rerun, self.start.watch, reader, self.start.header)
        self.written_seq = seq
        self.tidy()
        return path

    def tidy(self) -> list[int]:
        """Remove snapshots beyond the policy's, and let segments go; the segments that went."""
        run_id = self.start.reader.run_id.hex()
        kept = snapshot.keep_newest(self.run_dir, max(self.policy.snapshots, _SURE), self._secure)
        return retain(self.run_dir, [header for header in kept if header.run_id == run_id], self.policy)

    def _secure(self, kept: list[Header]) -> None:
        """Have the frames of the oldest snapshot that is kept on the disk, before anything older is removed.

        A snapshot of frames that a power cut took is of no use; this one then is. Its frames are some time old, so
        that this is seldom the segment in use, and seldom work for the disk.
        """
        needed = min((header.mark[0] for header in kept), default=-1)
        for number in segment_numbers(self.run_dir):
            if self._synced < number <= needed:
                with segment_path(self.run_dir, number).open("rb") as file:
                    os.fsync(file.fileno())
        # The segment of the mark may have been in use: it is synced again the next time.
        self._synced = max(self._synced, needed - 1)

    def close(self) -> None:
        """Let the next one follow. Twice is once."""
        self.start.reader.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock(run_dir: Path) -> int:
    """A descriptor that holds the followers' lock of a run."""
    folder = snapshot.folder_of(run_dir)
    folder.mkdir(exist_ok=True)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if try_lock(fd, 0):
        return fd
    os.close(fd)
    raise FollowError(f"{run_dir}: another process writes this run's snapshots; stop it first")


def retain(run_dir: Path, good: list[Header], policy: Policy) -> list[int]:
    """Let go what neither the policy nor a snapshot wants; the numbers of the segments removed, the oldest first.

    `good`: the snapshots that are kept and were found good. What is let go is said durably (`kept.json`) before the
    first file is removed, and files go in order, so that a crash leaves a journal that begins a little earlier.
    """
    numbers = segment_numbers(run_dir)
    first = first_kept(run_dir)
    if len(good) >= _SURE and (policy.mib or policy.hours):
        needed = min(header.mark[0] for header in good)
        hashed = read_chain(run_dir)[-1:]
        most = min(needed, hashed[0].segment + 1 if hashed else 0)
        first = max(first, _unwanted(run_dir, [number for number in numbers if number < most], numbers, policy))
        if first > first_kept(run_dir):
            let_go(run_dir, first)
    gone = [number for number in numbers if number < first]
    for number in gone:
        segment_path(run_dir, number).with_suffix(".sha256").unlink(missing_ok=True)
        segment_path(run_dir, number).unlink(missing_ok=True)
    return gone


def _unwanted(run_dir: Path, candidates: list[int], numbers: list[int], policy: Policy) -> int:
    """Number behind the last of the candidates (oldest first) that the policy does not want."""
    sizes = {number: segment_path(run_dir, number).stat().st_size for number in numbers}
    behind = sum(sizes.values())
    first = 0
    for number in candidates:
        behind -= sizes[number]
        wanted = policy.mib and behind < policy.mib << 20
        if policy.hours:
            age_s = time.time() - segment_path(run_dir, number).stat().st_mtime
            wanted = wanted or age_s < policy.hours * 3600
        if wanted:
            break
        first = number + 1
    return first


def follow(follower: Follower, every_s: float, parent: int) -> None:
    """Follow until the journal is closed, the parent is gone or a signal comes; a last snapshot then."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: stopping.append(got))
    due_s = time.monotonic()
    while True:
        # Asked before reading: what a parent wrote before its end is then taken in.
        ending = bool(stopping) or (parent > 0 and os.getppid() != parent)
        while follower.turn() and not stopping:
            if time.monotonic() >= due_s and _try(follower):
                due_s = time.monotonic() + every_s
        if time.monotonic() >= due_s and _try(follower):
            due_s = time.monotonic() + every_s
        if ending or follower.closed:
            _try(follower)
            return
        time.sleep(_IDLE_S)


def _try(follower: Follower) -> bool:
    """Write a snapshot where it can be; False where a batch is open: try again soon. A full disk is said, no more."""
    while follower.start.rerun.outstanding:
        if not follower.turn(1):
            return False
    try:
        path = follower.shoot()
    except OSError as error:
        print(f"no snapshot: {error.strerror}", file=sys.stderr, flush=True)
        return True
    if path is not None:
        print(f"snapshot {path.name}", flush=True)
    return True


def main(argv: list[str] | None = None) -> int:
    """The command; 0 at the end, 1 with a message where it cannot go on."""
    parser = argparse.ArgumentParser(prog="python -m engine.run.follow", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between snapshots")
    parser.add_argument("--keep", type=int, default=2, help="snapshots that are kept")
    parser.add_argument("--keep-mib", type=int, default=0, help="newest MiB of journal that are kept; 0 sets no limit")
    parser.add_argument("--keep-hours", type=int, default=0, help="hours of journal that are kept; 0 sets no limit")
    parser.add_argument("--parent", type=int, default=0, help="end when this process is no longer the parent")
    parser.add_argument("--once", action="store_true", help="take in what is there, write one snapshot, and end")
    options = parser.parse_args(argv)
    try:
        with Follower(options.run_dir, Policy(options.keep, options.keep_mib, options.keep_hours)) as follower:
            if options.once:
                while follower.turn():
                    pass
                _try(follower)
            else:
                follow(follower, options.every, options.parent)
    except (TickrouteError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
