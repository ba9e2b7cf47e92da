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
    slow: int = 0
    down_ms: int = 0
    silent_ms: int = 0
    # venues
    reject: int = 20
    mute: int = 0
    hold: int = 30
    work_ms: int = 60
    late: int = 0
    over: int = 0
    stray: int = 0
    repeat: int = 0
    bust: int = 0
    correct: int = 0
    restate: int = 0
    # the engine's machine
    clock_ms: int = 0
    skew_ms: int = 0
    stall_ms: int = 0
    die_ms: int = 0
    snapshot_ms: int = 0
    full_ms: int = 0
    fail_ms: int = 0
    control_ms: int = 0


PROFILES: Final[dict[str, Profile]] = {
    "none": Profile(reject=0, hold=0),
    "feed": Profile(feed_lost=80, feed_twice=150, feed_late=150, publisher_ms=900, halt_ms=900),
    "venues": Profile(
        reject=100, mute=80, hold=150, work_ms=15, late=60, over=40, stray=40, repeat=60, bust=90, correct=90,
        restate=50, silent_ms=400, skew_ms=500,
    ),
    "reports": Profile(
        reject=30, mute=30, hold=500, work_ms=6, late=100, over=200, stray=60, repeat=100, bust=100, correct=100,
        restate=250, lost=10, down_ms=300,
    ),
    "sessions": Profile(
        lost=40, twice=80, reordered=30, slow=20, down_ms=250, silent_ms=400, hold=80, work_ms=40, bust=30, correct=30,
        repeat=30,
    ),
    "machine": Profile(
        clock_ms=250, skew_ms=400, stall_ms=400, die_ms=180, snapshot_ms=250, full_ms=600, control_ms=900, down_ms=600,
        bust=30,
    ),
    "disk": Profile(
        die_ms=200, snapshot_ms=200, full_ms=300, fail_ms=300, control_ms=500, hold=300, work_ms=20, bust=50,
    ),
    "all": Profile(
        feed_lost=30, feed_twice=60, feed_late=60, publisher_ms=1500, halt_ms=2000, lost=15, twice=40, reordered=10,
        slow=10, down_ms=500, silent_ms=900, reject=60, mute=40, hold=80, work_ms=30, late=30, over=20, stray=20,
        repeat=30, bust=50, correct=50, restate=30, clock_ms=700, skew_ms=900, stall_ms=900, die_ms=450,
        snapshot_ms=900, full_ms=1500, control_ms=2000,
    ),
    "hostile": Profile(
        feed_lost=300, feed_twice=500, feed_late=400, publisher_ms=300, halt_ms=500, lost=300, twice=500,
        reordered=200, slow=50, down_ms=150, silent_ms=200, reject=200, mute=200, hold=300, work_ms=12, late=100,
        over=80, stray=80, repeat=100, bust=120, correct=120, restate=80, clock_ms=200, skew_ms=300, stall_ms=300,
        die_ms=200, snapshot_ms=300, full_ms=500, control_ms=800,
    ),
}  # fmt: skip


def find(name: str) -> Profile:
    """A profile by its name; UsageError where there is none."""
    if name not in PROFILES:
        raise UsageError(f"--profile {name}: there is no such profile; there are {', '.join(PROFILES)}")
    return PROFILES[name]
