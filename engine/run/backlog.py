"""What clients missed: a thread that reads the journal for them, beside the loop.

The loop puts a question into `Wiring.asks` (link, first number wanted) and takes the answer from the link's backlog
ring (`engine.run.resend`). To answer, the segment that holds the first number is looked for from the newest backwards;
from there on every output on that session's stream is pushed, byte for byte, through to the live end of the journal and
after it, until the loop says that the link has caught up. Several clients are served in turn; one whose ring is full
waits and keeps nobody.

Reading is all kernels without the GIL over read-only mappings of its own; the loop waits for none of it. What the
journal no longer holds (segments that retention removed, numbers that a recovery skipped) is said with a
SEQUENCE_RESET record in the ring.

Worst case: a client that was away for days: each segment since then is mapped and checked once to find the place
(0.1 s for 64 MiB), and again to send. Damage found on the way counts as what the journal no longer holds.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.core.limits import MAX_SESSIONS
from engine.core.rows import ints
from engine.core.state import FROM_CLIENT
from engine.io.atomics import address_of, load_acquire, load_i32, load_i64, load_u16
from engine.io.journal import SEGMENT
from engine.io.journal_format import FRAME, FRAME_HEADER, MAGIC, SEGMENT_HEADER, Kind, header_crc, segment_path
from engine.io.journal_scan import CURSOR, SEGMENT_FULL, scan
from engine.io.journal_sync import DURABLE
from engine.io.mapping import Mapping, aligned_zeros
from engine.io.ring import private_ring, ring_push
from engine.jit import kernel
from engine.record.records import HEAD, UNIT, Reason, Template, blank
from engine.run.wiring import ASK, Wiring

#: Records that wait for the loop, a client: 128 KiB.
SLOTS: Final = 1024
#: Frames that are looked at for one client before the next one's turn.
TURN: Final = 4096
#: Naps: where nobody asks (each look takes the core that it runs on some 50 µs), while a ring is full, and before a
#: second look for a segment that could not be read.
_IDLE_S, _FULL_S, _RETRY_S = 0.025, 0.0005, 0.25
_MASK32 = 0xFFFF_FFFF
_OUTPUT = int(Kind.OUTPUT)
_ALL = 1 << 62

#: What is being sent to one client; one row.
PLACE: Final = ints("session next_seq ring row limit_seq")


def _offset(dtype: Any, name: str) -> int:
    return int(dtype.fields[name][1])


_STREAM_ID, _STREAM_SEQ = _offset(HEAD, "stream_id"), _offset(HEAD, "stream_seq")
_GENERATION, _ACTIVE, _FROM = (_offset(ASK, name) for name in ("generation", "active", "from_seq"))


@kernel
def note_first(base: int, rows: Any, first: Any) -> None:
    """For each session the number of its first output among `rows` of the segment at `base`, where it has none yet."""
    for n in range(len(rows)):
        if rows[n].kind == _OUTPUT:
            payload = base + int(rows[n].offset) + FRAME_HEADER
            session = load_u16(payload + _STREAM_ID)  # 65535 where it is for no session
            if session < len(first) and first[session] == 0:
                first[session] = load_i64(payload + _STREAM_SEQ)


@kernel
def push_outputs(base: int, rows: Any, place: Any, reset: Any) -> int:
    """Push the outputs of place[0]'s session from its next_seq on; how many rows were done (fewer: the ring is full).

    Where numbers are missing, `reset` is pushed first and says so. Frames beyond limit_seq are not on the disk yet.
    """
    at = place[0]
    ring = int(at.ring)
    for n in range(int(at.row), len(rows)):
        if rows[n].kind != _OUTPUT:
            continue
        if rows[n].seq > at.limit_seq:
            return n
        payload = base + int(rows[n].offset) + FRAME_HEADER
        if load_u16(payload + _STREAM_ID) != at.session:
            continue
        seq = load_i64(payload + _STREAM_SEQ)
        if seq < at.next_seq:
            continue
        if seq > at.next_seq:
            reset[0].begin_seq_no = at.next_seq
            reset[0].new_seq_no = seq
            if ring_push(ring, address_of(reset), UNIT) != 1:
                return n
            at.next_seq = seq
        if ring_push(ring, payload, int(rows[n].length)) != 1:
            return n
        at.next_seq = seq + 1
    return len(rows)


class Segment:
    """One segment, mapped by us alone; OSError or ValueError where it is not there, has not begun, or is damaged."""

    def __init__(self, run_dir: Path, number: int) -> None:
        self.number = number
        self.mapping = Mapping(segment_path(run_dir, number), write=False)
        base = self.mapping.address
        whole = self.mapping.size >= SEGMENT_HEADER and load_acquire(base) == MAGIC
        if not whole or load_i64(base + 32) >> 32 & _MASK32 != header_crc(base):
            self.mapping.close()
            raise ValueError("it has not begun, or is damaged")
        self.cursor = np.zeros(1, dtype=CURSOR)
        at = self.cursor[0]
        at["segment"], at["offset"] = number, SEGMENT_HEADER
        at["next_seq"], at["prev_crc"] = load_i64(base + 24), load_i32(base + 32) & _MASK32

    def read(self, rows: np.ndarray) -> int:
        """Index frames into `rows`: how many are there (0: see `full` and `damaged`)."""
        return int(scan(self.mapping.address, self.mapping.size, self.cursor, rows))

    @property
    def full(self) -> bool:
        """Whether all frames that it can ever hold have been read."""
        return bool(self.cursor[0]["status"] == SEGMENT_FULL)

    @property
    def damaged(self) -> bool:
        """Whether reading stopped at bytes that are no frame."""
        return bool(self.cursor[0]["status"] > SEGMENT_FULL)

    def close(self) -> None:
        """Unmap it."""
        self.mapping.close()


class Job:
    """One client's catching up."""

    def __init__(self, generation: int, segment: Segment, place: np.ndarray) -> None:
        self.generation, self.segment, self.place = generation, segment, place
        self.rows: np.ndarray = np.zeros(TURN, dtype=FRAME)
        self.count = 0


class Backlog:
    """The thread. Gives each client link of `wiring` its backlog ring; `start` it before the loop, `stop` it after."""

    def __init__(self, run_dir: Path, wiring: Wiring, slots: int = SLOTS) -> None:
        self._run_dir, self._wiring = run_dir, wiring
        self._asks: np.ndarray = wiring.asks
        self._newest = int(wiring.journal.ctypes.data) + SEGMENT
        self._durable = int(wiring.sync.ctypes.data) + DURABLE if len(wiring.held_seqs) else 0
        self._rings: dict[int, np.ndarray] = {}
        self._not_before_s: dict[int, float] = {}
        self._jobs: dict[int, Job] = {}
        #: First number of each session in a segment that is full, once somebody looked.
        self._first: dict[int, np.ndarray] = {}
        self._reset = blank(Template.SEQUENCE_RESET)
        self._reset["reason"] = Reason.RECORDS_GONE
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        for row in np.flatnonzero((wiring.links["source"] == FROM_CLIENT) & (wiring.links["session"] >= 0)).tolist():
            self._rings[row] = private_ring(slots)
            wiring.links["backlog"][row] = self._rings[row].ctypes.data
        self._compile()

    def _compile(self) -> None:
        """Have the kernels loaded before the loop runs: a compiler beside it would cost it a core."""
        rows, first = np.zeros(0, dtype=FRAME), np.zeros(MAX_SESSIONS, dtype=np.int64)
        note_first(0, rows, first)
        push_outputs(0, rows, aligned_zeros(1, PLACE), self._reset)

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="tickroute-backlog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop it and unmap everything. Twice is once."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for row in list(self._jobs):
            self._drop(row)

    def _run(self) -> None:
        while not self._stopping.is_set():
            moved = self.turn()
            if not moved:
                self._stopping.wait(_FULL_S if self._jobs else _IDLE_S)

    def turn(self) -> int:
        """Look at each client's question once; returns the frames that were gone through."""
        moved = 0
        for row in self._rings:
            ask = address_of(self._asks) + row * ASK.itemsize
            generation = load_acquire(ask + _GENERATION)
            job = self._jobs.get(row)
            if load_acquire(ask + _ACTIVE) == 0:
                self._drop(row)
                continue
            if job is None or job.generation != generation:
                self._drop(row)
                if time.monotonic() < self._not_before_s.get(row, 0.0):
                    continue
                job = self._begin(row, generation, load_acquire(ask + _FROM))
            if job is not None:
                moved += self._advance(job)
        return moved

    def _drop(self, row: int) -> None:
        job = self._jobs.pop(row, None)
        if job is not None:
            job.segment.close()

    def _begin(self, row: int, generation: int, wanted: int) -> Job | None:
        session = int(self._wiring.links["session"][row])
        segment = self._find(session, wanted)
        if segment is None:
            self._not_before_s[row] = time.monotonic() + _RETRY_S
            return None
        place = aligned_zeros(1, PLACE)
        place[0]["session"], place[0]["next_seq"] = session, wanted
        place[0]["ring"] = self._rings[row].ctypes.data
        self._jobs[row] = Job(generation, segment, place)
        return self._jobs[row]

    def _find(self, session: int, wanted: int) -> Segment | None:
        """The newest segment that holds a record of the session numbered `wanted` or lower, or else the oldest."""
        oldest = None
        for number in range(load_acquire(self._newest), -1, -1):
            first = self._first_in(number)
            if first is None:
                break
            oldest = number
            if 0 < first[session] <= wanted:
                break
        try:
            return Segment(self._run_dir, oldest) if oldest is not None else None
        except (OSError, ValueError):
            return None  # removed meanwhile

    def _first_in(self, number: int) -> np.ndarray | None:
        """First number of each session in a segment (0: none); None where the segment cannot be read."""
        if number in self._first:
            return self._first[number]
        try:
            segment = Segment(self._run_dir, number)
        except (OSError, ValueError):
            return None
        first, rows = np.zeros(MAX_SESSIONS, dtype=np.int64), np.zeros(TURN, dtype=FRAME)
        while (count := segment.read(rows)) > 0:
            note_first(segment.mapping.address, rows[:count], first)
        if segment.full:
            self._first[number] = first
        damaged = segment.damaged
        segment.close()
        return None if damaged else first

    def _advance(self, job: Job) -> int:
        """Push what comes next for one client; returns the frames gone through."""
        at, segment = job.place[0], job.segment
        if int(at["row"]) >= job.count:
            job.count, at["row"] = segment.read(job.rows), 0
            if job.count == 0:
                return self._next_segment(job)
        before = int(at["row"])
        at["limit_seq"] = load_acquire(self._durable) if self._durable else _ALL
        at["row"] = push_outputs(segment.mapping.address, job.rows[: job.count], job.place, self._reset)
        return int(at["row"]) - before

    def _next_segment(self, job: Job) -> int:
        """Go on in the segment after one that is full (or damaged); 1 where that could be done."""
        if not (job.segment.full or job.segment.damaged):
            return 0
        try:
            following = Segment(self._run_dir, job.segment.number + 1)
        except (OSError, ValueError):
            return 0
        job.segment.close()
        job.segment = following
        return 1
