"""What goes wrong in a simulation and how often: named profiles, in the ranges of what a real desk meets and beyond."""

from __future__ import annotations

from typing import Final

import msgspec

from engine.errors import UsageError


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Chances in parts per thousand, of each message or order; mean intervals in ms of virtual time, 0 for never."""

    # the feed
    quote_ms: int = 8
    feed_lost: int = 0
    feed_twice: int = 0
    feed_late: int = 0
    publisher_ms: int = 0
    halt_ms: int = 0
    # clients
    ask_ms: int = 25
    # sessions
    lost: int = 0
    twice: int = 0
    reordered: int = 0
    down_ms: int = 0
    # venues
    reject: int = 20
    mute: int = 0
    hold: int = 30
    work_ms: int = 60
    late: int = 0
    over: int = 0
    stray: int = 0
    # the engine's machine
    clock_ms: int = 0
    stall_ms: int = 0
    die_ms: int = 0
    full_ms: int = 0
    control_ms: int = 0


PROFILES: Final[dict[str, Profile]] = {
    "none": Profile(reject=0, hold=0),
    "feed": Profile(feed_lost=80, feed_twice=150, feed_late=150, publisher_ms=900, halt_ms=900),
    "venues": Profile(reject=100, mute=80, hold=150, work_ms=20, late=60, over=40, stray=40),
    "sessions": Profile(lost=40, twice=80, reordered=30, down_ms=250, hold=80, work_ms=40),
    "machine": Profile(clock_ms=250, stall_ms=400, die_ms=180, full_ms=600, control_ms=900, down_ms=600),
    "all": Profile(
        feed_lost=30, feed_twice=60, feed_late=60, publisher_ms=1500, halt_ms=2000, lost=15, twice=40, reordered=10,
        down_ms=500, reject=60, mute=40, hold=80, work_ms=40, late=30, over=20, stray=20, clock_ms=700, stall_ms=900,
        die_ms=450, full_ms=1500, control_ms=2000,
    ),
    "hostile": Profile(
        feed_lost=300, feed_twice=500, feed_late=400, publisher_ms=300, halt_ms=500, lost=300, twice=500,
        reordered=200, down_ms=150, reject=200, mute=200, hold=300, work_ms=15, late=100, over=80, stray=80,
        clock_ms=200, stall_ms=300, die_ms=200, full_ms=500, control_ms=800,
    ),
}  # fmt: skip


def find(name: str) -> Profile:
    """A profile by its name; UsageError where there is none."""
    if name not in PROFILES:
        raise UsageError(f"--faults {name}: there is no such profile; there are {', '.join(PROFILES)}")
    return PROFILES[name]
