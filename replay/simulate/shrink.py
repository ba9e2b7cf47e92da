"""A failing list of events made short: delta debugging, which leaves out what the failure does not need.

Any part of a list of events is a list of events (see world.py), so pieces are left out, large ones first, as long as
the same rule still breaks; then single events until none can go. Zeller and Hildebrandt, "Simplifying and isolating
failure-inducing input" (2002).

Worst case: `tries` runs; compiled a run takes some ten milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from replay.simulate.run import Result, replay
from replay.simulate.world import Event

#: Runs at most.
TRIES = 1500


def shrink(result: Result, tries: int = TRIES, progress: Callable[[int, int], None] | None = None) -> Result:
    """The shortest failing run that was found for the rule that `result` broke; `progress(runs, events)`."""
    best, runs, parts = result, 0, 2
    while runs < tries and len(best.events) > 1:
        size = -(-len(best.events) // parts)
        shorter = None
        # From the end: what came last is needed least.
        for begin in range((len(best.events) - 1) // size * size, -1, -size):
            runs += 1
            shorter = _fails(best, best.events[:begin] + best.events[begin + size :])
            if progress is not None:
                progress(runs, len(best.events))
            if shorter is not None or runs >= tries:
                break
        if shorter is not None:
            best, parts = shorter, max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(2 * parts, len(best.events))
    return best


def _fails(result: Result, events: list[Event]) -> Result | None:
    """What these events come to, where they break the same rule."""
    found = replay(result.setup, events)
    return msgspec.structs.replace(found, seed=result.seed) if found.rule == result.rule else None
