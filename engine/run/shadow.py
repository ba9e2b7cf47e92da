"""Shadow mode: a run on live data whose orders go to simulated venues, and never to the venues' own gateways.

`shadowed` gives every venue session of a configuration a pair of rings in the run's own folder, in the place of the
endpoint that it names. What dials into `[orders] endpoint` as a venue is a stranger to the engine then, and a ring that
the configuration names is neither made nor opened. Nothing else changes: journal, risk, limits, reports.

`[engine] shadow` is in the manifest, so a run that began in shadow is not taken up for real, nor the other way round;
`check` refuses an engine that is told to be one and whose venue sessions lead elsewhere.

Worst case: a feed over shared memory has one reader, so the simulated venues cannot follow it: refused.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.errors import UsageError
from engine.run.config import Config

#: In the run directory: rings of the simulated venues, what they say, and their figures at the end.
FOLDER = "shadow"
_SHM = "shm://"


def folder_of(config: Config) -> Path:
    """Where the rings of a shadow run are."""
    return Path(config.engine.run_dir).resolve() / FOLDER


def is_shadow(run_dir: Path | str) -> bool:
    """Whether a run directory is a shadow run's; its manifest says the same, and for ever."""
    return (Path(run_dir) / FOLDER).is_dir()


def shadowed(config: Config) -> Config:
    """The configuration in shadow mode; one that is so already comes out the same. UsageError where it cannot be."""
    rings = [feed.name for feed in config.feed if feed.endpoint.startswith(_SHM)]
    if rings:
        text = f"feed {', '.join(rings)}: a ring has one reader, and the simulated venues follow the same feed"
        raise UsageError(f"{text}; give it a ZeroMQ endpoint for shadow mode")
    folder = folder_of(config)
    sessions = [
        msgspec.structs.replace(row, endpoint=f"{_SHM}{folder / row.name}") if row.role == "venue" else row
        for row in config.session
    ]
    engine = msgspec.structs.replace(config.engine, shadow=True)
    # What the simulated venues have of ours is not in the real venues' quotes.
    venues = [msgspec.structs.replace(row, shows_own=False) for row in config.venue]
    return msgspec.structs.replace(config, engine=engine, session=sessions, venue=venues)


def check(config: Config) -> None:
    """UsageError where a run is to be a shadow, and a venue session of it leads out of its own folder."""
    if config.engine.shadow and config != shadowed(config):
        raise UsageError(
            "engine.shadow = true: the venue sessions are not those of a shadow run; start it with `tickroute run`, "
            "which gives it simulated venues"
        )
