"""Recovery: a run directory that holds a run becomes the state that the run had when it ended, however it ended.

`recover` reads the manifest, refuses a configuration that would decide otherwise, takes the newest good snapshot, and
drives the journal behind it through the core; outputs are compared, never sent. What the core makes of the last input
and the journal does not have whole is a batch that was never sent. `resume` then takes the journal up again: torn
bytes go aside, a RECOVERED frame says how the run goes on (see `life`), and a RECOVERED input makes every session down
and every live child UNKNOWN, so that the peers' hellos lead to questions about them and nothing is sent twice.

Worst case: without a snapshot the whole journal is driven, at some millions of events a second. Damage in the middle,
and outputs that this build does not make, are refused with the place and what to do; nothing is ever repaired here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.core.state import State
from engine.errors import TickrouteError, UsageError
from engine.io.atomics import monotonic_ns, tsc
from engine.io.journal import append
from engine.io.journal_birth import unborn
from engine.io.journal_format import LAST, Kind
from engine.io.journal_reader import Chunk, End, Ending, JournalReader, load_kernels
from engine.io.journal_writer import JournalWriter
from engine.io.run_lock import RunLock
from engine.jit import build_hash
from engine.record.records import UNIT, Template
from engine.run import life as lives
from engine.run import manifest as manifests
from engine.run import snapshot
from engine.run.assemble import Loop
from engine.run.config import Config, to_canonical_json
from engine.run.inbox import drop_local, free_slot, put
from engine.run.life import Life, Watch
from engine.run.manifest import Manifest
from engine.run.outside import find
from engine.run.rerun import Rerun
from engine.run.snapshot import Start
from engine.run.wiring import CLOCK_FEED

#: Keys that decide nothing that `step` sees: a run may go on with others. `*` stands for any text.
FREE: Final = (
    "engine.run_dir",
    "engine.core",
    "engine.io_cores",
    "engine.idle",
    "engine.threshold_us",
    "engine.heartbeat_ms",
    "engine.peer_timeout_ms",
    "orders.endpoint",
    "feed.*.endpoint",
    "session.*.endpoint",
    "journal.durability",
    "journal.min_free_mib",
    "snapshots.*",
    "retention.*",
    "simulation.*",
    "day.*",
    "positions.file",
    "control.*",
    "venue.*.simulation*",
    "alerts.*",
    "clock.*",
    "drop_copy.*",
)
#: What a repair writes before it begins, and removes when it is done; in the run's directory.
UNFINISHED: Final = Path("journal") / "repair.json"
Progress = Callable[[int, int], None]


class RecoveryError(TickrouteError):
    """A run that cannot go on; the message says why, where, and what can be done."""


class OtherConfigError(UsageError):
    """A configuration that is not the run's; the message names the keys."""


class Recovery(NamedTuple):
    """A run as it was when it ended, ready to go on. `start` has the state, the last life, and the journal's end."""

    start: Start
    #: The least that the engine's clock may show.
    clock_ns: int
    replay_ms: float
    #: From before the journal was first opened to the state being there, less the kernels' load.
    state_ms: float
    #: Keys of the configuration that the run goes on with otherwise.
    changed: dict[str, Any]
    #: Live children by the name of their venue's session: each will be asked for.
    to_reconcile: dict[str, int]

    @property
    def state(self) -> State:
        """The state as it was."""
        return self.start.rerun.state

    @property
    def manifest(self) -> Manifest:
        """The run's manifest."""
        return self.start.manifest

    @property
    def life(self) -> Life:
        """The life that ended."""
        return self.start.watch.life

    @property
    def end(self) -> End:
        """Where the journal ended, and how."""
        assert self.start.reader.end is not None, "it was read to its end"
        return self.start.reader.end

    @property
    def torn_outputs(self) -> int:
        """Outputs of the last step that were not on the journal whole."""
        return self.start.rerun.outstanding


def has_run(run_dir: str | Path) -> bool:
    """Whether a directory holds a run. A journal whose writer died before its first frame is none."""
    return (Path(run_dir) / "journal").exists() and not unborn(Path(run_dir))


def recover(
    config: Config, *, halted: bool = False, use_snapshots: bool = True, progress: Progress | None = None
) -> Recovery:
    """The run in `config.engine.run_dir` as it ended. Its lock must be held. `progress`: see replay.verify.

    `halted` goes on with a run that stopped itself. JournalError, ManifestError: the journal cannot be read.
    OtherConfigError, RecoveryError: it cannot go on like this.
    """
    run_dir = Path(config.engine.run_dir)
    if (run_dir / UNFINISHED).exists():
        raise RecoveryError(f"{run_dir}: a repair was cut short; finish it with `tickroute repair {run_dir}`")
    load_kernels()
    opened = time.perf_counter()
    run = manifest_of(run_dir)
    changed = check_config(run, config)
    check_strategy(run, config)
    start = snapshot.begin(run_dir, use=use_snapshots)
    rerun, watch = start.rerun, start.watch
    replaying = time.perf_counter()
    with start.reader as reader:
        reader.thorough = not lives.same_boot(watch.life)
        while (chunk := reader.read()) is not None:
            for frames in _by_life(chunk):
                _feed(rerun, frames, watch, run_dir)
            reader.thorough = not lives.same_boot(watch.life)
            if progress is not None:
                progress(chunk.segment, int(chunk.rows["offset"][-1]))
    if watch.halted_seq >= 0 and not halted:
        raise RecoveryError(
            f"{run_dir}: the engine halted itself, frame {watch.halted_seq} says why; find out, then go on with "
            "--after-halt"
        )
    ended = time.perf_counter()
    return Recovery(
        start=start,
        clock_ns=max(watch.clock_ns, int(rerun.state.core[0].now_ns)),
        replay_ms=(ended - replaying) * 1e3,
        state_ms=(ended - opened) * 1e3 - start.kernels_ms,
        changed=changed,
        to_reconcile=_live_children(rerun.state, config),
    )


def _by_life(chunk: Chunk) -> Iterator[Chunk]:
    """The parts of a chunk that are of one life each; all but the first begin with RECOVERED."""
    cuts = np.flatnonzero(chunk.rows["kind"] == Kind.RECOVERED).tolist()
    for first, end in pairwise((0, *cuts, len(chunk.rows))):
        if first < end:
            yield chunk._replace(rows=chunk.rows[first:end])


def _feed(rerun: Rerun, frames: Chunk, watch: Watch, run_dir: Path) -> None:
    """Take in frames of one life; outputs behind its HALTED are not held to the journal's, their number is kept.

    An engine halts because its memory may be broken, and nobody can make again what broken memory made. Those outputs
    are cancels; the numbers that they took are left out by the next life. RecoveryError: others differ.
    """
    given_up, stop = 0, rerun.feed(frames)
    if stop is not None:
        here = Watch(watch.life, 0, watch.halted_seq, 0)
        here.look(frames._replace(rows=frames.rows[: stop.row + 1]))
        if here.halted_seq < 0:
            raise _other_outputs(run_dir, here.life, rerun, int(frames.rows["seq"][stop.row]))
        given_up = rerun.feed_uncompared(frames, stop.row)
    watch.look(frames)
    watch.given_up += given_up


def manifest_of(run_dir: Path) -> Manifest:
    """The manifest of a run."""
    with JournalReader(run_dir) as reader:
        return manifests.from_bytes(reader.manifest)


def _live_children(state: State, config: Config) -> dict[str, int]:
    """Live children by session, sessions without any left out."""
    live = state.children["leaves_qty"] > 0
    venues = state.child_orders["venue_id"][live]
    counts = np.bincount(state.venues["session"][venues], minlength=len(config.session))
    return {session.name: int(count) for session, count in zip(config.session, counts, strict=False) if count}


def resume(
    recovery: Recovery, run_dir: str | Path, lock: RunLock, *, synced: bool = False
) -> tuple[JournalWriter, Life]:
    """Take the journal up again and write the RECOVERED frame; returns the writer and the life that begins.

    `synced`: a Syncer will work on it.
    """
    end, before = recovery.end, recovery.life
    feed = recovery.manifest.config["engine"].get("clock") == "feed"
    life = lives.next_life(
        before,
        last_seq=end.last_seq,
        ending=end.ending.name.lower(),
        torn_bytes=end.torn_bytes,
        clock_offset_ns=lives.next_offset(before, recovery.clock_ns, feed=feed),
        config=recovery.changed,
    )
    writer = JournalWriter.resume(run_dir, lock=lock, read=recovery.start.reader, synced=synced)
    snapshot.set_aside(run_dir, end.last_seq)
    write_life(writer, life)
    return writer, life


def go_on(recovery: Recovery, life: Life, loop: Loop, pump: Any) -> int:
    """Set the clock and take the RECOVERED input; returns the number of outputs. The loop must not run yet."""
    state, events, outbox, w = loop
    line = w.line[0]
    if line.clock_mode == CLOCK_FEED:
        line.clock_ns = line.feed_clock_ns = recovery.clock_ns
    else:
        line.clock_ns = max(recovery.clock_ns, monotonic_ns() + life.clock_offset_ns)
    i = free_slot(w)
    assert i >= 0, "nothing was put yet"
    put(events, w, i, int(Template.RECOVERED), UNIT)
    record = events.recovered[i]
    record.last_seq = recovery.end.last_seq
    record.torn_bytes = recovery.end.torn_bytes
    record.skip = skip_of(recovery)
    pump.pump(state, events, i, outbox, w, tsc())
    drop_local(w)
    return int(outbox.count[0])


def keep_life(run_dir: str | Path, number: int) -> None:
    """Put what life `number` measured into RUN_DIR/lives/N, before the next one measures."""
    home = Path(run_dir)
    kept = home / "lives" / str(number)
    for path in [home / "stats", home / "latency.hlog", *home.glob("*.hgrm")]:
        if path.exists():
            kept.mkdir(parents=True, exist_ok=True)
            path.replace(kept / path.name)


def write_life(writer: JournalWriter, life: Life) -> None:
    """Append the RECOVERED frame of a life."""
    source = np.frombuffer(lives.to_bytes(life) + b"\0", dtype=np.uint8)
    seq = append(writer.table, int(Kind.RECOVERED), LAST, 0, -1, int(source.ctypes.data), len(source) - 1)
    if seq < 0:
        raise RecoveryError(f"{writer.run_dir}: the RECOVERED frame cannot be written (segments are too small or full)")


def skip_of(recovery: Recovery) -> int:
    """Numbers that the next life leaves out: none, unless frames may be missing that were acted upon."""
    rebooted = not lives.same_boot(recovery.life) and recovery.end.ending is not Ending.CLOSED
    return (lives.REBOOT_SKIP if rebooted else 0) + recovery.start.watch.given_up


def check_config(run: Manifest, config: Config) -> dict[str, Any]:
    """The free keys that differ from the run's, with their new values; OtherConfigError where any other does."""
    old = flat(_decoded(run.read_config()))
    new = flat(_decoded(config))
    differing = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    bound = [key for key in differing if not any(fnmatch(key, free) for free in FREE)]
    if bound:
        lines = [f"  {key} = {new.get(key)!r}: the run has {old.get(key)!r}" for key in bound]
        raise OtherConfigError(
            f"{config.engine.run_dir}: this is not the configuration of the run that is there; set these keys back, or "
            "name another run directory:\n" + "\n".join(lines)
        )
    return {key: new.get(key) for key in differing}


def check_strategy(run: Manifest, config: Config) -> None:
    """OtherConfigError where the file of the strategy no longer says what it said when the run began."""
    found = find(config.routing.strategy).sources
    differing = sorted(name for name in run.sources.keys() | found.keys() if run.sources.get(name) != found.get(name))
    if differing:
        raise OtherConfigError(
            f"routing.strategy = {config.routing.strategy!r}: {', '.join(differing)} is not what the run in "
            f"{config.engine.run_dir} began with; put the file back, or name another run directory"
        )


def _decoded(config: Config) -> Any:
    return json.loads(to_canonical_json(config))


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """A tree of JSON as {dotted key: leaf}; an item of a list goes by its place and its `name`, `mic` or `symbol`."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        items = {_name_of(item, n): item for n, item in enumerate(value)}.items()
    else:
        return {key: value}
    found: dict[str, Any] = {}
    for name, item in items:
        found |= flat(item, f"{key}.{name}" if key else name)
    return found


def _name_of(item: dict[str, Any], place: int) -> str:
    # The place is part of the name: the order of venues and sessions is what records mean by an index.
    return f"{place}-{next((item[key] for key in ('name', 'mic', 'symbol') if key in item), '')}"


def _other_outputs(run_dir: Path, life: Life, rerun: Rerun, seq: int) -> RecoveryError:
    """Frame `seq` is not what the core makes. Another build may make it; this one cannot, whatever is asked of it."""
    same = life.build_hash == build_hash()
    build = "this very build" if same else f"build {life.build_hash}"
    remedy = "Go on with the build that wrote it"
    if same:
        remedy = (
            "The memory of the engine was not as the journal says, and no build can go on from here: cancel at the "
            f"venues what lives there (`tickroute state {run_dir} --at {max(rerun.input_seq - 1, 0)}` has orders and "
            "positions as they were before), then begin in another run directory, with positions.file"
        )
    return RecoveryError(
        f"{run_dir}: the core does not make what the journal has at frame {seq} (written by {build}); "
        f"`tickroute verify {run_dir}` shows the difference. {remedy}"
    )
