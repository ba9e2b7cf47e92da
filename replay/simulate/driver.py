"""The engine process of the simulation: the bound `step` and the real journal under a small driver that can die.

It does what the loop does: stamp the input, put it on the journal, step, put the outputs on the journal as one batch,
and only then hand them to the peers. Clock and death are set from outside; `recover` is what the next process does.

Worst case: a death with recovery writes and reads the run's files once, some milliseconds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from engine.core.halt import A_STEP
from engine.core.limits import OUTBOX
from engine.core.state import make_outbox, state_hash, view_events
from engine.core.step import cancels_due, next_deadline
from engine.io.journal_format import LAST, Kind
from engine.record.records import (
    RECORD_MAX,
    SBE_HEADER_SIZE,
    SCHEMA_ID,
    SCHEMA_VERSION,
    UNIT,
    ControlAction,
    Reason,
    Template,
)
from engine.run import manifest as manifests
from engine.run.bind import bind
from engine.run.config import to_canonical_json
from engine.run.life import REBOOT_SKIP
from engine.run.outside import find
from replay.simulate.disk import Disk
from replay.simulate.reboot import Files, Found, Frame, life_of
from replay.simulate.resending import Resending
from replay.simulate.setup import CLIENTS, DAY, MS, Setup, config
from replay.simulate.violation import Violation
from replay.simulate.wire import Record, name, pack, stamped, unpack

_ORDER_NEW = int(Template.ORDER_NEW)
_EPOCH = 7


class Death(NamedTuple):
    """Where the process dies: after so many whole frames of the next input (itself, then its outputs), with `torn`
    bytes of the one after them, or, where all are whole, after so many records have been sent."""

    frames: int
    torn: int
    sent: int


class Engine:
    """One engine over all its lives. `send(session, record)` hands a record to a peer and says whether it left."""

    def __init__(
        self, setup: Setup, send: Callable[[int, bytes], bool], note: Callable[..., None], faults: Counter[str]
    ) -> None:
        self.setup = setup
        self.config = config(setup)
        self.manifest = make_manifest(setup)
        self.step = bind(setup.strategy).step
        self.state = self.manifest.initial_state()
        self.buffer = np.zeros(RECORD_MAX + UNIT, dtype=np.uint8)
        self.events, self.outbox = view_events(self.buffer), make_outbox(OUTBOX)
        self._words = self.outbox.words.view(np.uint8)
        self.disk = Disk(setup.segment_bytes, hashlib.sha256(b"simulation").digest()[:16])
        self.faults = faults
        self.files = Files(self.config, self.disk, faults)
        self.frames: list[Frame] = []
        self._send, self._note = send, note
        self.alive = True
        #: Whether it has stopped itself.
        self.halted = False
        self.death: Death | None = None
        #: Sessions whose peer can be reached, as the driver knows.
        self.linked = [False] * setup.sessions
        #: The clock as it is read now, and as the driver uses it: it never falls.
        self.reading_ns = self.clock_ns = 0
        self._local: list[bytes] = []
        #: Outputs that could not be put on the journal yet, and outputs that wait for the disk.
        self._unfinished: tuple[int, list[bytes], int] | None = None
        self._held: list[tuple[int, list[bytes]]] = []
        self._seen_at_sync = [(0, 0)] * setup.sessions
        self.sent_seq, self.hash_at_death = -1, ""
        self._commit(Kind.MANIFEST, LAST, 0, -1, manifests.to_bytes(self.manifest))
        self.disk.sync()  # as the Syncer does before it starts
        self.resending = Resending(self.config, self.state, self.disk, _EPOCH)

    # ---- time

    def read_clock(self, reading_ns: int) -> None:
        """Read the clock, whatever it shows."""
        self.reading_ns = reading_ns
        self.clock_ns = max(self.clock_ns, reading_ns)

    def deadline_ns(self, *, waits: bool = False) -> int:
        """When the core wants to be told the time; `waits`: though what came meanwhile was not read."""
        return int(cancels_due(self.state) if waits else next_deadline(self.state))

    def timer(self, *, waits: bool = False) -> bool:
        """A TIMER input, now; `waits` as the loop puts it after a stall."""
        return self.take(pack(Template.TIMER, deadline_ns=self.deadline_ns(waits=waits), cancels_only=int(waits)))

    # ---- an event's way

    @property
    def ready(self) -> bool:
        """Whether the process lives and does not stand still for want of a segment."""
        return self.alive and self._unfinished is None

    def take(self, data: bytes) -> bool:
        """Take an input all the way, then what it made the driver say; False where it was not taken in."""
        taken = self._take(data)
        while taken and self._local and self.ready:
            self._take(self._local.pop(0))
        return taken

    def _take(self, data: bytes) -> bool:
        if not self.ready:
            return False
        death, self.death = self.death, None
        data = stamped(data, self.reading_ns)
        if death is not None and death.frames == 0:
            self.disk.append_torn(Kind.INPUT, LAST, 0, -1, data, death.torn)
            self._die(death.torn)
            return True
        seq = self._commit(Kind.INPUT, LAST, 0, -1, data)
        if seq < 0:
            self.death = death
            return False
        outputs = self._step(data)
        self._note(seq, data, outputs)
        self._unfinished = (seq, outputs, 0)
        self._finish(death)
        return True

    def _step(self, data: bytes) -> list[bytes]:
        self.buffer[:] = 0xAA  # what lies behind a record must not matter
        self.buffer[: len(data)] = np.frombuffer(data, dtype=np.uint8)
        try:
            count = int(self.step(self.state, self.events, 0, self.outbox))
        except (AssertionError, IndexError, ZeroDivisionError, OverflowError) as error:
            raise Violation("the core raised", f"{type(error).__name__} {error} at {_brief(data)}") from error
        outputs = []
        for k in range(count):
            head = self._words[k * RECORD_MAX : (k + 1) * RECORD_MAX].tobytes()
            outputs.append(head[: int.from_bytes(head[:2], "little") + SBE_HEADER_SIZE])
        return outputs

    def _finish(self, death: Death | None = None, *, waited: bool = False) -> None:
        """Put what is left of the batch on the journal, then send it. Stops where no segment is ready."""
        assert self._unfinished is not None
        seq, outputs, first = self._unfinished
        last_seq = seq
        for k in range(first, len(outputs)):
            mark = LAST if k == len(outputs) - 1 else 0
            if death is not None and death.frames == k + 1:
                self.disk.append_torn(Kind.OUTPUT, mark, k, seq, outputs[k], death.torn)
                self._die(death.torn)
                return
            last_seq = self._commit(Kind.OUTPUT, mark, k, seq, outputs[k])
            if last_seq < 0:
                self._unfinished = (seq, outputs, k)
                return
        self._unfinished = None
        if self.setup.durability == "disk":
            self._held.append((last_seq, outputs))
            if death is not None:
                self._die()
            return
        self._hand_over(last_seq, outputs, death, waited=waited)

    def _hand_over(
        self, last_seq: int, outputs: list[bytes], death: Death | None = None, *, waited: bool = False
    ) -> None:
        """`waited` for the disk: an order whose time to live is over by now is not sent."""
        self.sent_seq = max(self.sent_seq, last_seq)
        for k, data in enumerate(outputs):
            if death is not None and k >= death.sent:
                break
            session = int.from_bytes(data[12:14], "little", signed=True)
            if 0 <= session < CLIENTS:
                self._to_client(session, data)
            elif session >= 0 and (
                (waited and self._expired(data)) or not (self.linked[session] and self._send(session, data))
            ):
                self._not_sent(data)
        if death is not None:
            self._die()

    def _to_client(self, session: int, data: bytes) -> None:
        """A client gets what is new only when it has what is old; a full queue is caught up with from the journal."""
        if not self.resending.deferred(session) and not self._send(session, data):
            self.faults["queue full"] += 1
            self.resending.full(session, int(unpack(data)["stream_seq"]))

    def catch_up(self) -> None:
        """A turn of what is sent again. With durability `disk` only what is on the disk may be."""
        safe = self.setup.durability != "disk" or self.disk.synced_seq == self.disk.next_seq - 1
        if not (self.ready and safe and self.resending.busy):
            return
        resent, resets = self.resending.counted
        for session, data in self.resending.turn():
            self._send(session, data)
        self._note_resets()
        self.faults["sent again"] += self.resending.counted[0] - resent
        self.faults["sequence reset"] += self.resending.counted[1] - resets

    def _note_resets(self) -> None:
        """Sequence resets are journaled as observations by the kernel that tells them."""
        while len(self.frames) < self.disk.next_seq:
            self.frames.append(Frame(*self.disk.frame(len(self.frames))))

    def hello(self, session: int, data: bytes) -> None:
        """A peer can be reached; a client's hello says what it has seen."""
        self.linked[session] = True
        if session < CLIENTS:
            self.resending.hello(session, data, self.clock_ns)
            self._note_resets()

    def goodbye(self, session: int) -> None:
        """A peer cannot be reached any more."""
        self.linked[session] = False
        if session < CLIENTS:
            self.resending.down(session)

    def _expired(self, data: bytes) -> bool:
        order = unpack(data)
        if order["template_id"] != _ORDER_NEW or order["ttl_ms"] == 0:
            return False
        return bool(self.clock_ns > order["ts_event_ns"] + order["ttl_ms"] * MS)

    def _not_sent(self, data: bytes) -> None:
        """Nobody else will ever report on an order that did not leave."""
        order = unpack(data)
        if order["template_id"] == _ORDER_NEW:
            same = {key: order[key] for key in ("venue_id", "order_id", "instrument_id", "side")}
            reject = pack(Template.REJECT, **same, reason=int(Reason.NOT_SENT), request=_ORDER_NEW)
            self._local.append(reject)

    def _commit(self, kind: int, flags: int, batch_index: int, input_seq: int, data: bytes) -> int:
        seq = self.disk.append(kind, flags, batch_index, input_seq, data)
        if seq >= 0:
            while len(self.frames) < seq:  # pads
                self.frames.append(Frame(Kind.PAD, 0, -1, b""))
            self.frames.append(Frame(kind, batch_index, input_seq, data))
        return seq

    def seen(self, session: int) -> tuple[int, int]:
        """(epoch, number) up to which the engine may say that it has seen a peer's records: what a crash leaves."""
        if self.setup.durability == "disk":
            return self._seen_at_sync[session]
        line = self.state.sessions[session]
        return int(line.epoch_in), int(line.seq_in)

    # ---- the disk

    def disk_full(self, full: bool) -> None:
        """No further segment can be made, or they can again; what stood still goes on."""
        self.disk.full = full
        if not full:
            self.disk.prepare()
            if self.alive and self._unfinished is not None:
                self._finish(waited=True)

    def synced(self) -> None:
        """The disk has all that is there: what waited for that is sent."""
        self.disk.sync()
        lines = self.state.sessions[: self.setup.sessions]
        self._seen_at_sync = [(int(line.epoch_in), int(line.seq_in)) for line in lines]
        held, self._held = self._held, []
        for last_seq, outputs in held:
            if last_seq <= self.disk.synced_seq:
                self._hand_over(last_seq, outputs, waited=True)
            else:
                self._held.append((last_seq, outputs))

    def halt(self) -> bool:
        """The disk has failed: write down why, cancel what lives, and end. False where it cannot be written down."""
        if not self.ready:
            return False
        live = np.flatnonzero(self.state.children["leaves_qty"] > 0)
        why = {"reason": int(Reason.BROKEN_INVARIANT), "input_seq": -1, "live_children": len(live)}
        record = pack(Template.HALTED, ts_event_ns=self.clock_ns, **why)
        if self._commit(Kind.OBSERVATION, LAST, 0, -1, record) >= 0:
            self.halted = True
            for first in [0, *live[A_STEP::A_STEP].tolist()]:
                stop = {"action": int(ControlAction.STOP), "client_id": -1, "instrument_id": -1, "value": first}
                self.take(pack(Template.CONTROL, **stop))
        if self.alive:
            self._die()
        return True

    # ---- death and recovery

    def kill(self) -> None:
        """Die between two inputs."""
        if self.alive:
            self._die()

    def _die(self, torn: int = 0) -> None:
        self.alive = False
        self.faults["torn"] += torn > 0
        self.hash_at_death = state_hash(self.state)
        self._local, self._held, self._unfinished, self.death = [], [], None, None
        self.linked = [False] * self.setup.sessions

    def snapshot(self) -> bool:
        """Have the follower write a snapshot; False where it cannot now."""
        return self.files.follow()

    def recover(self, found: Found, check: Callable[[int], None]) -> None:
        """A new process on what is found of the journal, by the engine's own recovery. `check` gets its last frame.

        Lost pages and sectors count where the machine died (durability `disk`); else the process died alone.
        """
        power = self.setup.durability == "disk" and bool(found.pages or found.sectors)
        self.faults["power" if power else "killed"] += 1
        recovery, given_up = self.files.recover(found, self.frames, power=power, halted=self.halted)
        self.halted = False
        end = recovery.end
        self._check_prefix(end.last_seq, power)
        self.state = recovery.state
        self.resending.close()
        self.resending = Resending(self.config, self.state, self.disk, _EPOCH)
        del self.frames[end.last_seq + 1 :]
        self.alive = True
        check(end.last_seq)
        self.clock_ns = max(recovery.clock_ns, self.reading_ns)
        if power or self.setup.durability == "disk":
            self.synced()
        skip = (REBOOT_SKIP if power else 0) + given_up + recovery.start.watch.given_up
        self._commit(Kind.RECOVERED, LAST, 0, -1, life_of(end))
        self.take(pack(Template.RECOVERED, last_seq=end.last_seq, torn_bytes=end.torn_bytes, skip=skip))

    def _check_prefix(self, last_seq: int, power: bool) -> None:
        least = self.disk.synced_seq if power else len(self.frames) - 1
        if last_seq < least:
            raise Violation("no committed frame is lost", f"frames {last_seq + 1} to {least} are gone")
        if last_seq < self.sent_seq:
            raise Violation("nothing is sent before it is safe", f"frame {self.sent_seq} was sent and is gone")

    def journal_hash(self) -> str:
        """SHA-256 of the journal's segments."""
        digest = hashlib.sha256()
        for data in self.disk.digest_source():
            digest.update(data)
        return digest.hexdigest()

    def stream(self, session: int) -> list[int]:
        """The numbers on the journal of what was said on a session."""
        outputs = (frame.payload for frame in self.frames if frame.kind == Kind.OUTPUT)
        return [unpack(data)["stream_seq"] for data in outputs if int.from_bytes(data[12:14], "little") == session]

    def read_record(self, seq: int) -> Record | None:
        """The record of a committed frame; None where it is none."""
        frame = self.frames[seq]
        return unpack(frame.payload) if frame.kind in (Kind.INPUT, Kind.OUTPUT) else None


def make_manifest(setup: Setup) -> manifests.Manifest:
    """The manifest of a simulated run: the same on every machine and in every mode."""
    return manifests.Manifest(
        format=manifests.FORMAT,
        schema_id=SCHEMA_ID,
        schema_version=SCHEMA_VERSION,
        config=msgspec.json.decode(to_canonical_json(config(setup))),
        trading_day=DAY.isoformat(),
        stream_epoch=_EPOCH,
        clock_offset_ns=0,
        started_utc="2018-01-02T14:30:00+00:00",
        strategy=setup.strategy,
        sources=find(setup.strategy).sources,
        source_hash="simulation",
        build_hash="simulation",
        versions={},
    )


def _brief(data: bytes) -> str:
    try:
        return name(int.from_bytes(data[2:4], "little"))
    except ValueError:
        return "a record of no known kind"
