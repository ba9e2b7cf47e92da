"""verify: the journal's inputs through the core again, and every output held to the journal's, byte for byte.

Compared are the outputs' payloads, the input that caused them, their order and the mark of the last one of a batch;
never other frame headers or observations (the reader has checked CRCs and links of all frames). The closed segments'
files are held to the SHA-256 chain. A batch that was not
complete when the journal ended without being closed was never sent: that is a torn tail, and no difference. The same
goes for one that a recovery gave up. Another build may still give the same bytes: that it
is another is said, and no more.

Worst case: the whole journal is read once, at some millions of events a second after compiling.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.core.state import COUNTERS
from engine.io import journal_chain
from engine.io.journal_reader import Chunk, Ending, JournalReader
from engine.jit import build_hash, source_hash
from engine.record.records import SCHEMA_VERSION
from engine.run import drive, manifest, snapshot
from engine.run.rerun import Rerun, Stop
from replay import verify_older
from replay.decode import decode
from replay.state.peaks import peaks
from replay.state.sizes import Sizes
from replay.state.structs import Peak

_CHUNK: Final = 16384
WHY: Final = {
    drive.NO_RECORD: "an input frame holds no record of 64 or 128 bytes",
    drive.MISSING: "the core makes an output here that the journal does not have",
    drive.SURPLUS: "the journal has an output here that the core does not make",
    drive.PLACE: "the output belongs to another input or place in its batch",
    drive.LENGTH: "the output has another length",
    drive.BYTES: "the output has other content",
    drive.RAISED: "the core raises at an input before this frame, and the engine did not halt",
    drive.NOT_RAISED: "the engine halted where the core does not raise: its memory was not as the journal says",
}


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of the two sides; a text is None where that side has no such field."""

    name: str
    journal: str | None
    core: str | None
    differs: bool


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame that is not as the core makes it. `journal_record` and `core_record` name the two records."""

    why: str
    seq: int
    input_seq: int
    batch_index: int
    file: str
    offset: int
    input_record: str
    journal_record: str | None
    core_record: str | None
    fields: list[Field]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found. `result` is "identical", "different", or "damaged": a closed segment is not what the
    chain says (then `difference` may be there too). Of an older schema version it is "intact" or "damaged": outputs
    were not compared, and `not_compared` says why; `wrong` is the first record that cannot be."""

    result: str
    run_dir: str
    schema_version: int
    strategy: str
    inputs: int
    outputs: int
    #: Behind which frame it began: that of the oldest good snapshot where the journal's beginning was let go, else -1.
    after_seq: int
    #: Last journal sequence number read.
    last_seq: int
    #: How the journal ends: closed, open or torn.
    ending: str
    torn_bytes: int
    #: Outputs of the last step that the journal does not have, because the run ended between: they were never sent.
    torn_outputs: int
    #: Incomplete batches that recoveries gave up.
    dropped_batches: int
    #: SHA-256 of the state after the last input.
    state_hash: str
    #: Whether sources and build are those that made the journal.
    same_source: bool
    same_build: bool
    seconds: float
    events_per_s: int
    #: The core's own counters after the last input: those of its last trading day, and how often that had rolled over.
    counters: dict[str, int]
    rolls: int = 0
    #: How far rates, positions, exposures and single orders came towards their limits.
    peaks: list[Peak] = []
    difference: Difference | None = None
    #: Closed segments whose SHA-256 is that of the chain, the hash of the chain's last line, and what is wrong with it.
    chained_segments: int
    chain_head: str
    chain_broken: str | None
    not_compared: str | None = None
    wrong: str | None = None


Progress = Callable[[int, int], None]


def verify(run_dir: str | Path, progress: Progress | None = None) -> Verdict:
    """Replay a run and compare, and hold its closed segments to the chain. `progress` is called with (segment, offset).

    JournalError: the journal cannot be read. ManifestError, ConfigError, BindError: this build cannot replay it.
    """
    with JournalReader(run_dir) as reader:
        run = manifest.from_bytes(reader.manifest)
        if run.older:
            return _older(Path(run_dir), reader, run, progress)
    # The chain is read first: what is closed while we look is not in it.
    start = snapshot.begin(run_dir, use=False, oldest=True)
    run, rerun = start.manifest, start.rerun
    with start.reader as reader:
        chain = journal_chain.check(Path(run_dir), reader.run_id, reader.manifest)
        began = time.perf_counter()
        last_seq, difference = -1, None
        sizes = Sizes(run.read_config())
        before: Chunk | None = None
        while (chunk := reader.read(_CHUNK)) is not None:
            stop = rerun.feed(chunk)
            if stop is not None:
                difference = _difference(reader, rerun, chunk, stop)
                break
            sizes.take(chunk)
            last_seq = int(chunk.rows["seq"][-1])
            before = chunk
            if progress is not None:
                progress(chunk.segment, int(chunk.rows["offset"][-1]))
        seconds = max(time.perf_counter() - began, 1e-9)
        torn_outputs = 0
        if difference is None and rerun.outstanding:
            assert reader.end is not None
            assert before is not None
            if reader.end.ending is Ending.CLOSED:
                difference = _difference(reader, rerun, before, Stop(drive.MISSING, len(before.rows)))
            else:
                torn_outputs = rerun.outstanding
        end = reader.end
    if chain.broken is None and end is not None:
        short = journal_chain.shortened(Path(run_dir), end.segment, closed=end.ending is Ending.CLOSED)
        chain = chain._replace(broken=short)
    result = "identical" if difference is None else "different"
    return Verdict(
        result=result if chain.broken is None else "damaged",
        run_dir=str(run_dir),
        schema_version=run.schema_version,
        strategy=run.strategy,
        inputs=rerun.inputs,
        outputs=rerun.outputs,
        after_seq=start.header.seq if start.header else -1,
        last_seq=last_seq,
        ending=end.ending.name.lower() if end is not None else "not reached",
        torn_bytes=end.torn_bytes if end is not None else 0,
        torn_outputs=torn_outputs,
        dropped_batches=rerun.dropped,
        state_hash=rerun.hash(),
        same_source=run.source_hash == source_hash(),
        same_build=run.build_hash == build_hash(),
        seconds=round(seconds, 6),
        events_per_s=int(rerun.inputs / seconds),
        counters={name: int(value) for name, value in zip(COUNTERS, rerun.state.counts, strict=True)},
        rolls=int(rerun.state.core[0].rolls),
        peaks=[*peaks(rerun.state, run.read_config()), *sizes.peaks(rerun.state)],
        difference=difference,
        chained_segments=chain.segments,
        chain_head=chain.head,
        chain_broken=chain.broken,
    )


def _older(run_dir: Path, reader: JournalReader, run: manifest.Manifest, progress: Progress | None) -> Verdict:
    """The verdict on a journal of an older schema version: whole or not, its outputs not compared."""
    found = verify_older.look(run_dir, reader, run, progress)
    return Verdict(
        result="intact" if found.wrong is None and found.broken is None else "damaged",
        run_dir=str(run_dir),
        schema_version=run.schema_version,
        strategy=run.strategy,
        inputs=found.inputs,
        outputs=found.outputs,
        after_seq=-1,
        last_seq=found.last_seq,
        ending=found.ending,
        torn_bytes=found.torn_bytes,
        torn_outputs=found.torn_outputs,
        dropped_batches=found.dropped,
        state_hash="",
        same_source=False,
        same_build=False,
        seconds=round(found.seconds, 6),
        events_per_s=int(found.inputs / found.seconds),
        counters={},
        chained_segments=found.segments,
        chain_head="",
        chain_broken=found.broken,
        not_compared=(
            f"the journal is of schema version {run.schema_version}, and the core of version {SCHEMA_VERSION} has "
            f"other rules; the build that wrote it (sources {run.source_hash}) can compare"
        ),
        wrong=found.wrong,
    )


def _difference(reader: JournalReader, rerun: Rerun, chunk: Chunk, stop: Stop) -> Difference:
    """The frame at which a rerun stopped, with both sides decoded. At the end of the journal there is no frame."""
    here = stop.row < len(chunk.rows)
    row = min(stop.row, len(chunk.rows) - 1)
    frame = chunk.rows[row]
    theirs = chunk.payload(row).tobytes() if here and stop.why not in (drive.MISSING, drive.RAISED) else None
    mine = rerun.expected() if stop.why not in (drive.NO_RECORD, drive.RAISED) else None
    journal_name, journal_fields = decode(theirs) if theirs is not None else (None, {})
    core_name, core_fields = decode(mine) if mine is not None else (None, {})
    if stop.why == drive.PLACE:
        journal_fields = _journal_place(frame) | journal_fields
        core_fields = _core_place(rerun) | core_fields
    names = list(dict.fromkeys([*journal_fields, *core_fields]))
    both = theirs is not None and mine is not None
    return Difference(
        why=WHY[stop.why],
        seq=int(frame["seq"]) + (0 if here else 1),
        input_seq=rerun.input_seq,
        batch_index=int(rerun.place[0]["seen"]),
        file=str(reader.run_dir / "journal" / f"{chunk.segment:06d}.seg"),
        offset=int(frame["offset"]),
        input_record=_input_name(rerun),
        journal_record=journal_name,
        core_record=core_name,
        fields=[
            Field(
                name=name,
                journal=journal_fields.get(name),
                core=core_fields.get(name),
                differs=both and journal_fields.get(name) != core_fields.get(name),
            )
            for name in names
        ],
    )


def _input_name(rerun: Rerun) -> str:
    return decode(rerun.events.words.view("u1")[:64].tobytes())[0] if rerun.inputs else "none"


def _journal_place(frame: Any) -> dict[str, str]:
    last = int(frame["flag_bits"]) & 1
    return {
        "frame input_seq": str(int(frame["input_seq"])),
        "frame batch_index": str(int(frame["batch_index"])),
        "frame last of batch": str(last),
    }


def _core_place(rerun: Rerun) -> dict[str, str]:
    at = rerun.place[0]
    return {
        "frame input_seq": str(int(at["input_seq"])),
        "frame batch_index": str(int(at["seen"])),
        "frame last of batch": str(int(at["seen"] == at["due"] - 1)),
    }


def journal_bytes(run_dir: str | Path) -> list[int]:
    """Sizes of a run's segment files in order, for a progress bar; empty where there are none."""
    return [path.stat().st_size for path in sorted((Path(run_dir) / "journal").glob("*.seg"))]
