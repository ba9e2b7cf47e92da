"""What a recovery writes down: the payload of the journal's RECOVERED frame, canonical JSON like the manifest.

A run has one manifest and as many lives as processes worked on it. The manifest is the first life's; each later one
says in its RECOVERED frame how the one before it ended, on which clock and with which build it goes on.

The engine's clock never falls. Within one boot CLOCK_MONOTONIC goes on whoever lives, so a new life takes over the
offset of the one before. After a reboot CLOCK_MONOTONIC has begun anew: the new offset puts the clock at the time of
day, but never before the last time that the journal knows. With the feed's clock there is no offset: the clock stands
at the last time that the journal knows until the feed is beyond it.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec
import numpy as np

from engine.io.atomics import monotonic_ns, realtime_ns
from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import Chunk
from engine.io.stats_file import boot_id
from engine.jit import build_hash, source_hash
from engine.record.records import Template
from engine.run.manifest import Manifest, ManifestError, installed_versions

FORMAT = 1
#: Numbers that are left out after a reboot: the journal's last frames may have been in memory only, and what was sent
#: by them must not be sent again under the same number.
REBOOT_SKIP = 1 << 20
#: The smallest frame that an output takes, in bytes.
_OUTPUT_BYTES = 96


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """How a run goes on."""

    format: int = FORMAT
    #: 2 for the first recovery.
    number: int
    #: Where the journal ended, and how: an Ending's name in lower case.
    last_seq: int
    ending: str
    torn_bytes: int
    #: Whether whole frames were given up (`tickroute repair`).
    cut: bool = False
    boot_id: str
    clock_offset_ns: int
    started_utc: str
    source_hash: str
    build_hash: str
    versions: dict[str, str]
    #: Keys of the configuration that this life has otherwise than the manifest, with their values.
    config: dict[str, Any] = {}

    @property
    def given_up(self) -> int:
        """The most outputs that the bytes given up can have held."""
        return self.torn_bytes // _OUTPUT_BYTES + 1 if self.cut else 0


def first_life(run: Manifest) -> Life:
    """The life that the manifest itself describes."""
    return Life(
        number=1,
        last_seq=-1,
        ending="new",
        torn_bytes=0,
        boot_id=run.boot_id,
        clock_offset_ns=run.clock_offset_ns,
        started_utc=run.started_utc,
        source_hash=run.source_hash,
        build_hash=run.build_hash,
        versions=run.versions,
    )


class Watch:
    """What a recovery needs to know beside the state: the last life, the clock, a halt, what a repair gave up."""

    def __init__(self, life: Life, clock_ns: int, halted_seq: int, given_up: int) -> None:
        self.life = life
        #: The latest time that an observation has.
        self.clock_ns = clock_ns
        #: Frame that says that the engine stopped itself in this life; -1: it did not.
        self.halted_seq = halted_seq
        #: Outputs given up since this life began, at the most.
        self.given_up = given_up

    @classmethod
    def of(cls, run: Manifest) -> Watch:
        """Before the first frame behind the manifest."""
        return cls(first_life(run), 0, -1, 0)

    def look(self, chunk: Chunk) -> None:
        """Take in a chunk's frames that `step` never sees."""
        rows = chunk.rows
        observed = np.flatnonzero(rows["kind"] == Kind.OBSERVATION)
        halts = observed[:0]
        if observed.size:
            words = chunk.memory[: len(chunk.memory) & -8].view("<i8")
            at = (rows["offset"][observed] + FRAME_HEADER) // 8
            self.clock_ns = max(self.clock_ns, int(words[at[-1] + 3]))
            halts = observed[(words[at] >> 16) & 0xFFFF == Template.HALTED]
        # In order: a halt is of the life that it lies in, and both may be in one chunk.
        for row in np.sort(np.concatenate((halts, np.flatnonzero(rows["kind"] == Kind.RECOVERED)))):
            if rows["kind"][row] == Kind.RECOVERED:
                self._go_on(from_bytes(chunk.payload(int(row)).tobytes()))
            else:
                self.halted_seq = int(rows["seq"][row])

    def _go_on(self, life: Life) -> None:
        self.life = life
        if life.cut:
            self.given_up += life.given_up
        else:
            self.given_up, self.halted_seq = 0, -1


def same_boot(life: Life) -> bool:
    """Whether a life was in the present boot of this machine."""
    return life.boot_id == boot_id().hex() != bytes(16).hex()


def next_offset(life: Life, clock_ns: int, *, feed: bool) -> int:
    """engine clock - CLOCK_MONOTONIC for the life after `life`, whose clock stood at `clock_ns` at the least."""
    if feed:
        return 0
    now_ns = monotonic_ns()
    if same_boot(life) and now_ns + life.clock_offset_ns >= clock_ns:
        return life.clock_offset_ns
    return int(max(realtime_ns(), clock_ns + 1)) - now_ns


def next_life(before: Life, **how: Any) -> Life:
    """The life after `before`; `how` gives last_seq, ending, torn_bytes, clock_offset_ns and what else is known."""
    return Life(
        number=before.number + 1,
        boot_id=boot_id().hex(),
        started_utc=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        source_hash=source_hash(),
        build_hash=build_hash(),
        versions=installed_versions(),
        **how,
    )


def to_bytes(life: Life) -> bytes:
    """Canonical JSON: sorted keys, no spaces."""
    return json.dumps(msgspec.to_builtins(life), sort_keys=True, separators=(",", ":")).encode()


def from_bytes(data: bytes) -> Life:
    """Read a RECOVERED frame's payload; ManifestError where it is none, or of a later format."""
    try:
        life = msgspec.json.decode(data, type=Life)
    except msgspec.MsgspecError as error:
        raise ManifestError(f"a RECOVERED frame of the journal cannot be read: {error}") from error
    if life.format > FORMAT:
        raise ManifestError(f"RECOVERED frame format {life.format}: this build reads up to {FORMAT}; use a newer one")
    return life
