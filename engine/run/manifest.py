"""The journal's first frame: everything that a replay needs, in the journal itself.

Canonical JSON: the configuration whole (reference data, limits, capacities), the trading day, the engine's epoch and
clock, the schema's version, the hashes of sources and build, how the machine was set up. `verify` under another build
says so, and does not call it tampering.
"""

from __future__ import annotations

import datetime as dt
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from engine.core.state import State
from engine.errors import TickrouteError
from engine.io.stats_file import boot_id
from engine.jit import build_hash, source_hash
from engine.record.records import SCHEMA_ID, SCHEMA_VERSION
from engine.run import config as configuration
from engine.run.commit import commit
from engine.run.config import Config
from engine.run.outside import find
from engine.run.reference import build_state, trading_day

FORMAT = 1


class ManifestError(TickrouteError):
    """A first frame that is no manifest of ours, or one of a later version."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was, as its first frame says."""

    format: int
    schema_id: int
    schema_version: int
    config: dict[str, Any]
    trading_day: str
    #: Epoch of the engine's own streams, seconds since 1970.
    stream_epoch: int
    #: engine clock - CLOCK_MONOTONIC, fixed at start; 0 where the feed is the clock.
    clock_offset_ns: int
    started_utc: str
    strategy: str
    #: File name -> text of a strategy that is not one of ours: a replay takes it from here.
    sources: dict[str, str] = {}
    source_hash: str
    build_hash: str
    versions: dict[str, str]
    #: The machine's boot at the start, 32 hex digits; zeros where the system does not say.
    boot_id: str = "0" * 32
    #: The commit that the sources' checkout stood at; empty where they are none.
    commit: str = ""
    #: How the machine was set up as the run began, by section (`engine.run.host.tuning`); empty where nobody said.
    host: dict[str, Any] = {}

    @property
    def older(self) -> bool:
        """Whether it is of an earlier schema version, whose core had other rules."""
        return self.schema_version < SCHEMA_VERSION

    def replayable(self) -> None:
        """ManifestError where this build's core has other rules than the one that wrote the journal."""
        if self.older:
            raise ManifestError(
                f"the journal is of schema version {self.schema_version}, written by tickroute "
                f"{self.versions.get('tickroute', '')} (sources {self.source_hash}): the core of version "
                f"{SCHEMA_VERSION} has other rules, so it cannot make that run's memory again. `tickroute verify` and "
                "`tickroute report` read it; what needs a replay needs the build that wrote it"
            )

    def read_config(self) -> Config:
        """The configuration of the run; ManifestError where this build does not understand it."""
        try:
            return configuration.from_json(json.dumps(self.config).encode())
        except configuration.ConfigError as error:
            raise ManifestError(f"the manifest's configuration is not one of this version: {error}") from error

    def initial_state(self) -> State:
        """The state before the first event."""
        day = dt.date.fromisoformat(self.trading_day)
        return build_state(self.read_config(), day, self.stream_epoch, self.sources)


def make(config: Config, stream_epoch: int, clock_offset_ns: int, *, host: dict[str, Any] | None = None) -> Manifest:
    """The manifest of a run that starts now. `host`: how the machine is set up, of a live run."""
    return Manifest(
        format=FORMAT,
        schema_id=SCHEMA_ID,
        schema_version=SCHEMA_VERSION,
        config=json.loads(configuration.to_canonical_json(config)),
        trading_day=trading_day(config).isoformat(),
        stream_epoch=stream_epoch,
        clock_offset_ns=clock_offset_ns,
        started_utc=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        strategy=config.routing.strategy,
        sources=find(config.routing.strategy).sources,
        source_hash=source_hash(),
        build_hash=build_hash(),
        versions=installed_versions(calendars=any(venue.calendar for venue in config.venue)),
        boot_id=boot_id().hex(),
        commit=commit(),
        host=host or {},
    )


def installed_versions(*, calendars: bool = False) -> dict[str, str]:
    """Versions of the interpreter and of packages that decide what kernels do; `calendars`: also when venues trade."""
    found = {"python": platform.python_version()}
    for package in ("tickroute", "numpy", "numba", "llvmlite", "pyzmq", *["exchange-calendars"] * calendars):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def to_bytes(manifest: Manifest) -> bytes:
    """Canonical JSON: sorted keys, no spaces."""
    return json.dumps(msgspec.to_builtins(manifest), sort_keys=True, separators=(",", ":")).encode()


def from_bytes(data: bytes) -> Manifest:
    """Read a manifest; ManifestError where it is none, or of a later format or schema."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ManifestError(f"the journal's first frame is no manifest: {error}") from error
    if manifest.format > FORMAT or manifest.schema_version > SCHEMA_VERSION:
        raise ManifestError(
            f"manifest format {manifest.format}, schema version {manifest.schema_version}: this build reads up to "
            f"{FORMAT} and {SCHEMA_VERSION}; use a newer tickroute"
        )
    return manifest
