"""The demonstration's day and orders, live, over real sockets, with an engine that is killed again and again.

`Kills` plays the demonstration's synthetic day to venues and engine (processes, see `hatchery`) and sends its parents;
the day stands still while the engine is dead. Beside that an uninterrupted `Rerun` follows the journal through all
lives: what each recovery says that it found is held to it, and a frame that was once there and is not any more breaks
the journal's chain under the reader. Snapshots are written by the follower, as in production, or by `shoot` from here.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq

from cli.demo_config import VENUES, demo_toml
from cli.demo_processes import Processes
from engine.io.journal_reader import Chunk, JournalReader
from engine.jit import ROOT
from engine.run import manifest, snapshot
from engine.run.config import Config, load
from engine.run.life import Watch
from engine.run.recover import has_run
from engine.run.rerun import Rerun
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording
from gateways.feeds.synthetic import generate
from gateways.orders.client import OrderClient, OrderEntryError
from gateways.orders.parents import generate_parents
from tests.faults.hatchery import Wish
from tests.run.lives import ENDED

ORDERS = 500
#: Live seconds that the day takes.
DAY_S = 20.0
#: Records in a message of the feed at the most.
BATCH = 64
#: A busy machine is no failure.
WAIT_S = 120.0
_USUAL = (
    ('clock = "feed"', 'clock = "monotonic"'),
    ("peer_timeout_ms = 2000", "peer_timeout_ms = 500"),
    ("child_timeout_ms = 60000", "child_timeout_ms = 1000"),
    ("segment_mib = 16", "segment_mib = 1"),
)


class Hatchery:
    """The warm process, for as many desks as are made of one configuration's shape. A context manager."""

    def __init__(self, toml: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.hatchery", str(toml)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert self._said() == "ready"

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def fork(self, *argv: str, log: Path, **wishes: Any) -> int:
        """Start a process; its number. `wishes`: see hatchery.Wish, left out or empty: nothing of the kind."""
        assert self.process.stdin is not None
        given: dict[str, Any] = {
            name: str(value) if isinstance(value, Path) else value for name, value in wishes.items() if value
        }
        wish = Wish(argv=list(argv), log=str(log), **given)
        self.process.stdin.write(msgspec.json.encode(wish).decode() + "\n")
        self.process.stdin.flush()
        return int(self._said())

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def __enter__(self) -> Hatchery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def alive(pid: int) -> bool:
    """Whether a fork lives; it is nobody's zombie, for its parent ignores its end."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def desk_toml(folder: Path, sockets: Path, seed: int) -> Path:
    """The demonstration's configuration on the monotonic clock, for a run in FOLDER/run."""
    text = demo_toml(
        folder / "run", sockets, day="2030-01-02", day_end="", orders=ORDERS, seed=seed, stale_ms=60_000, idle="park"
    )
    for old, new in _USUAL:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "desk.toml"
    path.write_text(text, encoding="utf-8")
    return path


class Day:
    """The demonstration's day as messages of a feed, and where it stands."""

    def __init__(self, config: Config, seed: int, context: Any) -> None:
        self.recording: Recording = generate(seed, Names.listed([code for code, *_ in VENUES]))
        self.parents = generate_parents(self.recording, config, ORDERS, seed)
        self.times = self.recording.times
        #: Position in the day, in live seconds and in records.
        self.at_s, self.at = 0.0, 0
        self.socket = context.socket(zmq.XPUB)
        self.socket.set(zmq.LINGER, 0)
        self.socket.bind(config.feed[0].endpoint)
        self._length_ns = self.recording.last_ns - self.recording.first_ns

    @property
    def now_ns(self) -> int:
        """Recorded time."""
        return self.recording.first_ns + int(self._length_ns * self.at_s / DAY_S)

    @property
    def over(self) -> bool:
        return self.at_s >= DAY_S

    def play(self, seconds: float) -> None:
        """Send what is due in the next live seconds."""
        self.at_s += seconds
        end = int(np.searchsorted(self.times, self.now_ns, side="right"))
        while self.at < end:
            stop = min(end, self.at + BATCH)
            begins = self.recording.offsets[self.at : stop + 1]
            data = self.recording.data[begins[0] : begins[-1]].copy()
            starts = (begins[:-1] - begins[0]) // 8
            data.view("<i4")[2 * starts + 2] = 1  # stream_epoch
            data.view("<i8")[starts + 3] = time.time_ns()  # ts_event_ns
            self.socket.send(data.tobytes())
            self.at = stop


def said(chunk: Chunk) -> dict[int, int]:
    """A check sum of what each frame of a chunk says, by its number."""
    return {int(seq): zlib.crc32(chunk.payload(n).tobytes()) for n, seq in enumerate(chunk.rows["seq"])}


class Shadow:
    """An uninterrupted run through the core that follows the journal through all lives."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.reader = JournalReader(run_dir, live=True)
        run = manifest.from_bytes(self.reader.manifest)
        self.run, self.watch = Rerun(run), Watch.of(run)
        self.last_seq = -1
        #: Hash of the state behind each last frame of a life, as an uninterrupted run has it.
        self.hashes: dict[int, str] = {}
        #: Number of each frame that was there once, and a check sum of what it said.
        self.seen: dict[int, int] = {}

    def follow(self) -> None:
        """Take in all that is there; every output must be what the core makes."""
        while (chunk := self.reader.read()) is not None:
            stop = self.run.feed(chunk)
            assert stop is None, f"frame {int(chunk.rows['seq'][stop.row])} is not what an uninterrupted run makes"
            self.watch.look(chunk)
            self.seen |= said(chunk)
            self.last_seq = int(chunk.rows["seq"][-1])

    def lost(self) -> int:
        """How many frames that were there once are not in the journal any more, or say something else."""
        with JournalReader(self.run_dir) as reader:
            found = {seq: crc for chunk in reader.chunks() for seq, crc in said(chunk).items()}
        return sum(found.get(seq) != crc for seq, crc in self.seen.items())

    def note(self) -> None:
        """A life has ended here."""
        self.follow()
        if self.last_seq not in self.hashes:
            self.hashes[self.last_seq] = self.run.hash()

    def shoot(self) -> None:
        """Write a snapshot, where no batch is open."""
        if self.run.outstanding == 0 and self.last_seq > 0:
            snapshot.write(self.run_dir, self.run, self.watch, self.reader, None)
            snapshot.keep_newest(self.run_dir, 2)


class Kills:
    """One desk of the demonstration in `folder`, with engines and venues out of a hatchery. A context manager."""

    def __init__(self, folder: Path, hatchery: Hatchery, sockets: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder, self.hatchery = folder, hatchery
        self.run_dir = folder / "run"
        self.toml = desk_toml(folder, sockets, seed)
        self.config = load(self.toml)
        self.context = zmq.Context()
        self.day = Day(self.config, seed, self.context)
        self.sent = self.lives = self.engine = 0
        self.venues = hatchery.fork(
            "venues", str(self.toml), "--json", str(folder / "venues.json"), log=folder / "venues.log"
        )
        self.client = OrderClient(self.config.orders.endpoint, "desk", peer_timeout_ms=500)
        self.shadow: Shadow | None = None
        #: (life, frame, whether the state that it recovered is an uninterrupted run's) of each life that recovered one.
        self.compared: list[tuple[int, int, bool]] = []
        self._turned_s = time.monotonic()

    def __enter__(self) -> Kills:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in (self.engine, self.venues):
            if pid and alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.client.close()
        self.day.socket.close(linger=0)
        self.context.term()
        if self.shadow is not None:
            self.shadow.reader.close()

    def start(self, die: str | None = None) -> None:
        """Fork the next life."""
        self.lives += 1
        log, state = self.folder / f"engine-{self.lives}.log", self.folder / f"found-{self.lives}.json"
        told = self.folder / f"engine-{self.lives}.json"
        self.engine = self.hatchery.fork("run", str(self.toml), "--json", str(told), log=log, state=state, die=die)

    def wait_up(self) -> None:
        """Wait until client and feed are heard by this life."""
        ups = int(self.client.lives["ups"])
        self.until(lambda: self.client.up and self.client.lives["ups"] > ups)

    def kill(self) -> None:
        """kill -9 of the engine, wherever it is."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.engine, signal.SIGKILL)
        self.gone()

    def gone(self) -> None:
        """Wait for the end of the engine, follow the journal to its end, and hold what it had recovered to it."""
        until_s = time.monotonic() + WAIT_S
        while alive(self.engine):
            assert time.monotonic() < until_s, "the engine does not end"
            time.sleep(0.0005)
        self.check_found()
        if self.shadow is None and has_run(self.run_dir):
            self.shadow = Shadow(self.run_dir)
        if self.shadow is not None:
            self.shadow.note()

    def check_found(self) -> None:
        """What the life that just ended had recovered is what an uninterrupted run had there."""
        found = self.folder / f"found-{self.lives}.json"
        if found.exists():
            seq, state = json.loads(found.read_text())
            assert self.shadow is not None
            self.compared.append((self.lives, seq, self.shadow.hashes[seq] == state))

    def turn(self, *, orders: bool = True) -> None:
        """A little of the day: records, the parents that are due, and what comes."""
        now_s = time.monotonic()
        passed_s, self._turned_s = now_s - self._turned_s, now_s
        if self.client.up and orders:
            self.day.play(min(passed_s, 0.05))
            due_ns = self.day.now_ns
            while self.sent < len(self.day.parents) and self.day.parents[self.sent].at_ns <= due_ns:
                self._send()
        self.client.poll(0.001)

    def _send(self) -> None:
        parent = self.day.parents[self.sent]
        self.sent += 1
        with contextlib.suppress(OrderEntryError):  # the engine died while the queue was full
            self.client.new(
                parent.cl_ord_id, instrument_id=parent.instrument_id, side=parent.side, qty=parent.qty, px=parent.px,
                ord_type=parent.ord_type, tif=parent.tif,
            )  # fmt: skip

    def turn_for(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.turn()

    def until(self, done: Callable[[], bool]) -> None:
        until_s = time.monotonic() + WAIT_S
        while not done():
            self.turn(orders=False)
            assert time.monotonic() < until_s, self.said()
            assert alive(self.engine), self.said()
            assert alive(self.venues), (self.folder / "venues.log").read_text()

    def said(self) -> str:
        return (self.folder / f"engine-{self.lives}.log").read_text()

    def finish(self) -> dict[str, Any]:
        """Cancel what rests, wait for the end of all orders, end everything in order; the venues' counters."""
        self.client.mass_cancel()
        self.until(lambda: all(order.ord_status in ENDED for order in self.client.orders.values()))
        os.kill(self.engine, signal.SIGTERM)
        self.gone()
        os.kill(self.venues, signal.SIGTERM)
        until_s = time.monotonic() + WAIT_S
        while alive(self.venues):
            assert time.monotonic() < until_s, "the venues do not end"
            time.sleep(0.001)
        assert (self.folder / f"engine-{self.lives}.json").exists(), self.said()
        assert all(same for *_, same in self.compared), self.compared
        told: dict[str, Any] = json.loads((self.folder / "venues.json").read_text(encoding="utf-8"))
        return told


def make_sockets() -> Processes:
    """A folder with a short path for ipc endpoints (`.sockets`), as the demonstration has it."""
    return Processes(Path("/tmp"))
