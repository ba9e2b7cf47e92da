"""repair: a journal that is damaged in the middle goes on behind its last good frame; what follows is moved aside.

Nothing is destroyed. `look` says what a repair would give up: how many whole frames lie behind the damage, and which
orders of clients and to venues are among them. `repair` then

1. notes what it is about to do in `journal/repair.json`, durably: a run is not recovered while that is there,
2. moves everything behind the damage to `journal/*.torn`, snapshots of later frames to `*.ahead`, and keeps the chain
   as it was in `chain-N.torn`,
3. appends a RECOVERED frame that says how many bytes were given up, and removes the note.

The next life leaves out as many numbers as outputs can have been in those bytes, so that no id of an order that was
sent and forgotten is given again. What it cannot know is said here: orders that live at venues and that the engine
has never heard of must be cancelled there. A repair that was cut short is finished by the next one.

Damage before the newest good snapshot keeps nobody from going on, and is not touched. Worst case: the manifest's own
frame is damaged: nothing can be read then, and only a copy helps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from engine.errors import TickrouteError
from engine.io.journal_chain import sync_folder, write_whole
from engine.io.journal_format import FRAME_HEADER, JournalError, Kind, segment_numbers, segment_path
from engine.io.journal_reader import End, Ending, JournalReader, Mark
from engine.io.journal_scan import find_frame
from engine.io.journal_writer import JournalWriter
from engine.io.mapping import Mapping
from engine.io.run_lock import RunLock
from engine.jit import build_hash
from engine.record.records import DTYPES, Template, from_text16
from engine.run import life as lives
from engine.run import manifest, snapshot
from engine.run.life import Life, Watch
from engine.run.recover import UNFINISHED, write_life
from engine.run.snapshot import SnapshotError
from replay.decode import template_name


class RepairError(TickrouteError):
    """A journal that cannot be repaired; the message says why and what else helps."""


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Where and why a journal cannot be read on."""

    file: str
    offset: int
    why: str


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """What lies behind the damage, as far as whole frames tell."""

    #: Bytes in use, and whole frames among them.
    bytes: int
    frames: int
    first_seq: int
    last_seq: int
    #: Frames by kind and record: {"input ORDER_NEW": 3, "output ORDER_NEW": 5, ...}.
    records: dict[str, int]
    #: Ids of orders that were sent to venues in these frames: what lives of them is unknown to the next life.
    orders_at_venues: list[int]
    #: ClOrdIDs of orders that clients sent in them: the next life does not know them.
    orders_of_clients: list[str]


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and done. `result`: "sound", "behind a snapshot", "damaged" (nothing was done) or "repaired"."""

    result: str
    run_dir: str
    #: How the journal ends, and after which frame.
    ending: str
    last_seq: int
    torn_bytes: int
    #: Frame of the snapshot from which it was read; -1: from its first frame.
    snapshot_seq: int
    #: Snapshots that are not to be used, and why.
    bad_snapshots: list[str]
    damage: Damage | None = None
    lost: Lost | None = None
    #: Whether a repair before this one was cut short; this one finishes it.
    unfinished: bool = False
    #: Files that hold what was moved aside.
    aside: list[str] = []
    #: The life that the repair is on the journal as.
    life: int = 0


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A journal as `look` found it."""

    end: End
    watch: Watch
    damage: Damage | None
    before_snapshot: Damage | None
    mark: Mark | None
    bad_snapshots: list[str]


def repair(run_dir: str | Path, *, dry_run: bool = False) -> Repair:
    """Repair a run's journal, or say what that would do. Its engine must not live.

    RunLockedError: it does. RepairError, JournalError: it cannot be repaired. OSError: the disk does not let us; what
    was begun is finished by the next repair.
    """
    run_dir = Path(run_dir)
    if not (run_dir / "journal").is_dir():
        raise RepairError(f"{run_dir}: there is no journal; name the directory of a run")
    with RunLock(run_dir) as lock:
        found = _looked(run_dir)
        unfinished = _note(run_dir)
        lost = _lost(run_dir, found.end) if found.damage is not None else None
        result = "sound" if found.before_snapshot is None else "behind a snapshot"
        told = Repair(
            result=result if found.damage is None and unfinished is None else "damaged",
            run_dir=str(run_dir),
            ending=found.end.ending.name.lower(),
            last_seq=found.end.last_seq,
            torn_bytes=found.end.torn_bytes,
            snapshot_seq=found.mark.seq if found.mark else -1,
            bad_snapshots=found.bad_snapshots,
            damage=found.damage or found.before_snapshot,
            lost=lost,
            unfinished=unfinished is not None,
        )
        if told.result != "damaged" or dry_run:
            return told
        return _cut(run_dir, lock, found, told, unfinished)


def _looked(run_dir: Path) -> Found:
    try:
        return _look(run_dir)
    except JournalError as error:
        remedy = "without it nothing can be read: restore it from a copy"
        raise RepairError(f"{error.file} at byte {error.offset}: {error.why}; {remedy}") from error


def _look(run_dir: Path) -> Found:
    """Read a journal as a recovery would: from the newest good snapshot, else from its first frame."""
    mark, header, bad = None, None, []
    with JournalReader(run_dir) as reader:
        run, run_id, pruned = manifest.from_bytes(reader.manifest), reader.run_id.hex(), reader.first_segment > 0
    for path in snapshot.snapshots(run_dir):
        try:
            header = snapshot.check(path)
            if header.run_id != run_id or (header.build_hash != build_hash() and not pruned):
                raise SnapshotError(f"{path}: is of another run or build")
            JournalReader(run_dir, at=Mark(*header.mark)).close()
            mark = Mark(*header.mark)
            break
        except (SnapshotError, JournalError) as error:
            bad.append(str(error))
    if pruned and mark is None:
        raise RepairError(
            f"{run_dir}: the journal begins later and no snapshot is good ({'; '.join(bad)}); restore one"
        )
    watch = (
        Watch(header.life, header.clock_ns, header.halted_seq, header.given_up) if mark and header else Watch.of(run)
    )
    before = _damage(run_dir, None, mark.seq) if mark else None
    damage = _damage(run_dir, mark, -1)
    with JournalReader(run_dir, at=mark, cut=True) as reader:
        for chunk in reader.chunks():
            watch.look(chunk)
        assert reader.end is not None
        return Found(end=reader.end, watch=watch, damage=damage, before_snapshot=before, mark=mark, bad_snapshots=bad)


def _damage(run_dir: Path, at: Mark | None, until: int) -> Damage | None:
    """What keeps the frames from `at` on (up to number `until`, where that is not -1) from being read."""
    try:
        with JournalReader(run_dir, at=at) as reader:
            for chunk in reader.chunks():
                if 0 <= until <= int(chunk.rows["seq"][-1]):
                    return None
    except JournalError as error:
        return Damage(file=error.file, offset=error.offset, why=error.why)
    return None


def _lost(run_dir: Path, end: End) -> Lost:
    """Go through the whole frames behind the end, wherever they are."""
    counts: dict[str, int] = {}
    seqs: list[int] = []
    venues: list[int] = []
    clients: list[str] = []
    for seq, kind, payload in _frames_behind(run_dir, end):
        template = int(payload[2:4].view("<u2")[0]) if len(payload) >= 4 else -1
        routed = kind in (Kind.INPUT, Kind.OUTPUT, Kind.OBSERVATION)
        name = f"{kind.name.lower()} {template_name(template)}" if routed else kind.name.lower()
        counts[name] = counts.get(name, 0) + 1
        seqs.append(seq)
        if template != Template.ORDER_NEW or len(payload) != DTYPES[Template.ORDER_NEW].itemsize:
            continue
        order = payload.view(DTYPES[Template.ORDER_NEW])[0]
        if kind == Kind.OUTPUT:
            venues.append(int(order["order_id"]))
        elif kind == Kind.INPUT:
            clients.append(from_text16(order["cl_ord_id"]))
    return Lost(
        bytes=end.torn_bytes,
        frames=len(seqs),
        first_seq=min(seqs, default=-1),
        last_seq=max(seqs, default=-1),
        records=dict(sorted(counts.items())),
        orders_at_venues=venues,
        orders_of_clients=clients,
    )


def _frames_behind(run_dir: Path, end: End) -> Iterator[tuple[int, Kind, np.ndarray]]:
    """(seq, kind, payload) of each frame behind an end that is whole by itself."""
    for number in [number for number in segment_numbers(run_dir) if number >= end.segment]:
        mapping = Mapping(segment_path(run_dir, number), write=False)
        try:
            size, at = mapping.size & -8, end.offset if number == end.segment else 0
            while (at := int(find_frame(mapping.address, size, number, at, end.last_seq + 1))) >= 0:
                frame = mapping.memory[at : at + FRAME_HEADER]
                length = int(frame[:4].view("<i4")[0])
                payload = np.array(mapping.memory[at + FRAME_HEADER : at + length])
                yield int(frame[8:16].view("<i8")[0]), Kind(int(frame[20])), payload
                at += max(length & -8, 8)
        finally:
            mapping.close()


def _note(run_dir: Path) -> int | None:
    """Bytes that a repair was giving up when it was cut short; None where none was."""
    try:
        return int(json.loads((run_dir / UNFINISHED).read_bytes())["torn_bytes"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return 0


def _cut(run_dir: Path, lock: RunLock, found: Found, told: Repair, unfinished: int | None) -> Repair:
    """Do it."""
    torn_bytes = max(found.end.torn_bytes, unfinished or 0)
    write_whole(run_dir / UNFINISHED, json.dumps({"torn_bytes": torn_bytes}).encode())
    journal = run_dir / "journal"
    before = {path.name for path in journal.glob("*.torn")}
    chain = journal / "chain"
    if chain.exists():
        count = sum(1 for _ in journal.glob("chain-*.torn"))
        write_whole(journal / f"chain-{count}.torn", chain.read_bytes())
    with JournalReader(run_dir, at=found.mark, cut=True) as reader:
        for _ in reader.chunks():
            pass
        writer = JournalWriter.resume(run_dir, lock=lock, read=reader)
    with writer:
        ahead = snapshot.set_aside(run_dir, found.end.last_seq)
        life = _life(found, torn_bytes)
        write_life(writer, life)
    for number in segment_numbers(run_dir)[-1:]:
        with segment_path(run_dir, number).open("rb") as file:
            os.fsync(file.fileno())
    (run_dir / UNFINISHED).unlink()
    sync_folder(journal)
    made = sorted(path for path in journal.glob("*.torn") if path.name not in before)
    return msgspec.structs.replace(
        told, result="repaired", aside=[str(path) for path in [*made, *ahead]], life=life.number
    )


def _life(found: Found, torn_bytes: int) -> Life:
    before = found.watch.life
    return lives.next_life(
        before,
        last_seq=found.end.last_seq,
        ending=Ending.DAMAGED.name.lower(),
        torn_bytes=torn_bytes,
        cut=True,
        clock_offset_ns=before.clock_offset_ns,
        config={},
    )
