"""Snapshots: the state behind one frame of the journal in a file, so that a recovery need not begin at frame 0.

    RUN_DIR/snapshots/NNNNNNNNNNNNNNNN.snap      N: the number of the last frame that is in it

     0  magic u8 "TICKSNAP"      8  format i4      12  bytes of the header i4
    16  SHA-256 of the header   48  the header: JSON (`Header`)
    then each array of the state that counts, in the order and at the offsets that the header tells

The state's SHA-256 is in the header and is checked after loading; a file is written to a temporary name, synced,
renamed, and its folder synced, so that a file with the right name is whole unless the disk hurt it. A snapshot that is
damaged, of another run, of another layout of the state, or of frames that the journal does not have, is skipped, said,
and an older one or the whole journal is taken. One that another build made is taken only where the journal no longer
goes back to its beginning.

Worst case: writing takes as long as the disk does; reading is one pass over some megabytes, straight into the arrays.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from engine.core.state import State, counted_arrays, state_hash
from engine.errors import TickrouteError
from engine.io.journal_chain import sync_folder
from engine.io.journal_format import JournalError
from engine.io.journal_reader import JournalReader, Mark
from engine.jit import build_hash
from engine.record.records import SCHEMA_VERSION
from engine.run import manifest as manifests
from engine.run.life import Life, Watch
from engine.run.manifest import Manifest
from engine.run.rerun import Rerun

MAGIC: Final = b"TICKSNAP"
FORMAT: Final = 1
_PREFIX: Final = struct.Struct("<8sii32s")
#: Arrays begin on a page, so that a file can be read by page.
_ALIGN: Final = 4096


class SnapshotError(TickrouteError):
    """A snapshot that cannot be used; the message names the file and why."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an array's bytes are in the file."""

    name: str
    offset: int
    size: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is of."""

    schema_version: int
    #: Of the state's arrays: names, types, lengths.
    layout: str
    build_hash: str
    run_id: str
    #: The frame behind which it stands, and the last input that is in it.
    mark: tuple[int, int, int, int, int]
    input_seq: int
    #: Inputs and outputs of the run until then.
    inputs: int
    outputs: int
    #: What `step` never sees and a recovery must know, see life.Watch.
    life: Life
    clock_ns: int
    halted_seq: int
    given_up: int
    state_hash: str
    arrays: list[Place]
    written_utc: str

    @property
    def seq(self) -> int:
        """Number of the last frame that is in it."""
        return self.mark[2]


class Start(NamedTuple):
    """A run ready to be driven: the reader stands behind what the rerun's state has taken in."""

    reader: JournalReader
    manifest: Manifest
    rerun: Rerun
    watch: Watch
    #: The snapshot that it begins with; None: the journal's first frame.
    header: Header | None
    #: Snapshots that were not used, and why.
    skipped: list[str]
    #: From before the journal was opened to the snapshot's state being there, less the kernels' load; 0: no snapshot.
    load_ms: float
    #: What the kernels' load took.
    kernels_ms: float


def folder_of(run_dir: str | Path) -> Path:
    """Where a run's snapshots are."""
    return Path(run_dir) / "snapshots"


def snapshots(run_dir: str | Path) -> list[Path]:
    """A run's snapshot files, the newest first."""
    return sorted(folder_of(run_dir).glob("*.snap"), reverse=True)


def layout_of(state: State) -> str:
    """A hash over the names, types and lengths of the arrays that count."""
    digest = hashlib.sha256()
    for name, array in counted_arrays(state).items():
        digest.update(f"{name} {array.dtype.descr} {len(array)};".encode())
    return digest.hexdigest()[:16]


def write(run_dir: str | Path, rerun: Rerun, watch: Watch, reader: JournalReader, before: Header | None) -> Path:
    """Write the state of a rerun that has taken in all that its reader gave; `before`: the snapshot it began with.

    OSError where the disk does not let us; nothing is left of it then.
    """
    assert rerun.outstanding == 0, "a batch is whole"
    folder = folder_of(run_dir)
    folder.mkdir(exist_ok=True)
    arrays = {name: array.view(np.uint8) for name, array in counted_arrays(rerun.state).items()}
    header, offset = _header(rerun, watch, reader, before, [Place(name=n, offset=0, size=0) for n in arrays]), 0
    # Offsets count from the first array's page, which follows from the header's length: no digits of its own in it.
    places = []
    for name, array in arrays.items():
        places.append(Place(name=name, offset=offset, size=array.nbytes))
        offset += -(-array.nbytes // _ALIGN) * _ALIGN
    text = msgspec.json.encode(msgspec.structs.replace(header, arrays=places))
    head = _PREFIX.pack(MAGIC, FORMAT, len(text), hashlib.sha256(text).digest()) + text
    first = -(-len(head) // _ALIGN) * _ALIGN
    path = folder / f"{header.seq:016d}.snap"
    draft = folder / f"{path.name}.{os.getpid()}.draft"
    try:
        with draft.open("wb", buffering=0) as file:
            file.write(head)
            for place in places:
                file.seek(first + place.offset)
                file.write(arrays[place.name].data)
            file.truncate(first + offset)
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    return path


def _header(rerun: Rerun, watch: Watch, reader: JournalReader, before: Header | None, places: list[Place]) -> Header:
    return Header(
        schema_version=SCHEMA_VERSION,
        layout=layout_of(rerun.state),
        build_hash=build_hash(),
        run_id=reader.run_id.hex(),
        mark=(*map(int, reader.mark),),  # type: ignore[arg-type]
        input_seq=rerun.input_seq,
        inputs=rerun.inputs + (before.inputs if before else 0),
        outputs=rerun.outputs + (before.outputs if before else 0),
        life=watch.life,
        clock_ns=max(watch.clock_ns, int(rerun.state.core[0].now_ns)),
        halted_seq=watch.halted_seq,
        given_up=watch.given_up,
        state_hash=rerun.hash(),
        arrays=places,
        written_utc=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
    )


def read_header(path: Path) -> tuple[Header, int]:
    """(header, offset of the arrays' first page) of a snapshot; SnapshotError where it is none that we know."""
    try:
        with path.open("rb") as file:
            magic, version, size, digest = _PREFIX.unpack(file.read(_PREFIX.size))
            if magic != MAGIC or version != FORMAT:
                raise SnapshotError(f"{path}: is no snapshot of format {FORMAT}")
            text = file.read(max(size, 0))
        if hashlib.sha256(text).digest() != digest:
            raise SnapshotError(f"{path}: its header is damaged")
        return msgspec.json.decode(text, type=Header), -(-(_PREFIX.size + size) // _ALIGN) * _ALIGN
    except (OSError, struct.error, msgspec.MsgspecError) as error:
        raise SnapshotError(f"{path}: cannot be read: {error}") from error


def load(path: Path, state: State) -> Header:
    """Read a snapshot into a state of the same layout. SnapshotError: it is not to be used, and the state is spoilt."""
    header, first = read_header(path)
    if header.layout != layout_of(state):
        raise SnapshotError(f"{path}: is of another layout of the state (another version or other capacities)")
    arrays = counted_arrays(state)
    with path.open("rb", buffering=0) as file:
        for place in header.arrays:
            target = arrays[place.name].view(np.uint8).data
            file.seek(first + place.offset)
            if len(target) != place.size or file.readinto(target) != place.size:
                raise SnapshotError(f"{path}: is cut short")
    if state_hash(state) != header.state_hash:
        raise SnapshotError(f"{path}: its state is damaged: the SHA-256 is another")
    return header


def check(path: Path) -> Header:
    """Hold a snapshot to its own hashes, without a state to load it into. SnapshotError: it is not whole."""
    header, first = read_header(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for place in header.arrays:
            file.seek(first + place.offset)
            digest.update(place.name.encode())
            data = file.read(place.size)
            if len(data) != place.size:
                raise SnapshotError(f"{path}: is cut short")
            digest.update(data)
    if digest.hexdigest() != header.state_hash:
        raise SnapshotError(f"{path}: its state is damaged: the SHA-256 is another")
    return header


def begin(
    run_dir: str | Path,
    *,
    live: bool = False,
    most_seq: int | None = None,
    most_ns: int | None = None,
    use: bool = True,
    oldest: bool = False,
) -> Start:
    """Make a run ready to be driven, from its newest good snapshot, else from the journal's first frame.

    `most_seq`, `most_ns`: no snapshot of later frames, or of a later time. `use=False`: no snapshot, unless the
    journal does not reach back without.
    `oldest`: the oldest good one. JournalError, ManifestError: the journal cannot be read, or no snapshot reaches back
    to where it begins.
    """
    began, kernels_ms = time.perf_counter(), 0.0
    reader = JournalReader(run_dir, live=live)
    try:
        run = manifests.from_bytes(reader.manifest)
        pruned, skipped = reader.first_segment > 0, list[str]()
        for path in sorted(snapshots(run_dir), reverse=not oldest) if use or pruned else ():
            rerun = Rerun(run)
            kernels_ms += rerun.kernels_ms
            try:
                header = _usable(path, reader, foreign_build=pruned)
                _check_age(path, header, most_seq, most_ns)
                load(path, rerun.state)
                placed = JournalReader(run_dir, live=live, at=Mark(*header.mark))
            except (SnapshotError, JournalError) as error:
                skipped.append(str(error))
                continue
            reader.close()
            rerun.place[0]["input_seq"] = header.input_seq
            watch = Watch(header.life, header.clock_ns, header.halted_seq, header.given_up)
            load_ms = (time.perf_counter() - began) * 1e3 - kernels_ms
            return Start(placed, run, rerun, watch, header, skipped, load_ms, kernels_ms)
        if pruned:
            first = reader.path_of(reader.first_segment)
            why = f"the journal begins here, and no snapshot is good: {'; '.join(skipped) or 'there is none'}"
            raise JournalError(first, 0, why, "restore a snapshot or segments from a copy")
        rerun = Rerun(run)
        return Start(reader, run, rerun, Watch.of(run), None, skipped, 0.0, kernels_ms + rerun.kernels_ms)
    except BaseException:
        reader.close()
        raise


def _check_age(path: Path, header: Header, most_seq: int | None, most_ns: int | None) -> None:
    """SnapshotError where a snapshot is of later frames or of a later time than is wanted."""
    if (most_seq is not None and header.seq > most_seq) or (most_ns is not None and header.clock_ns > most_ns):
        raise SnapshotError(f"{path}: is of later frames")


def _usable(path: Path, reader: JournalReader, *, foreign_build: bool) -> Header:
    """The header of a snapshot, if it is of this run; SnapshotError says why it is not used."""
    header, _ = read_header(path)
    if header.run_id != reader.run_id.hex():
        raise SnapshotError(f"{path}: is of another run")
    if header.schema_version != SCHEMA_VERSION:
        raise SnapshotError(f"{path}: is of schema version {header.schema_version}")
    if header.build_hash != build_hash() and not foreign_build:
        raise SnapshotError(f"{path}: was made by another build")
    return header


def keep_newest(run_dir: str | Path, count: int, before: Callable[[list[Header]], None] | None = None) -> list[Header]:
    """Remove all but the newest `count` good snapshots, and drafts that were left; headers of those kept, newest first.

    One that is damaged counts for none, and stays for whoever wants to know why, until `count` newer ones are good.
    `before` is called with those that are kept before any other is removed.
    """
    kept: list[Header] = []
    paths = snapshots(run_dir)
    while paths and len(kept) < count:
        with contextlib.suppress(SnapshotError):
            kept.append(check(paths[0]))
        paths = paths[1:]
    if before is not None:
        before(kept)
    for path in paths:
        path.unlink(missing_ok=True)
    for draft in folder_of(run_dir).glob("*.draft"):
        if draft.name.split(".")[-2] != str(os.getpid()):
            draft.unlink(missing_ok=True)
    return kept


def set_aside(run_dir: str | Path, last_seq: int) -> list[Path]:
    """Rename snapshots of frames behind `last_seq`, which the journal does not have (any more); the files made."""
    made: list[Any] = []
    for path in snapshots(run_dir):
        if int(path.stem) > last_seq:
            made.append(path.rename(path.with_suffix(".ahead")))
    return made
