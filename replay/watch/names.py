"""What numbers in records mean in one run: symbols, venues, sessions, and the time of day of its clock.

The engine's clock is CLOCK_MONOTONIC plus an offset; once a second the journal says where it and CLOCK_REALTIME stand
(CLOCK_SAMPLE), and what happened between two samples follows from the one before. With the feed's clock a time is one
of the recorded day, and says nothing of when something happened here: the time at which it was seen is taken then.

Worst case: before the first sample of a life, the offset at the start of the run holds.
"""

from __future__ import annotations

import time

from engine.run.config import Config


class Names:
    """Names of a run's instruments, venues and sessions by their index; an index that is none is shown as a number."""

    def __init__(self, config: Config) -> None:
        self._instruments = [row.symbol for row in config.instrument]
        self._venues = [row.mic for row in config.venue]
        self._sessions = [row.name for row in config.session]

    def instrument(self, index: int) -> str:
        """Symbol; empty for -1."""
        return _at(self._instruments, index)

    def venue(self, index: int) -> str:
        """MIC; empty for -1."""
        return _at(self._venues, index)

    def session(self, index: int) -> str:
        """Name of a session; empty for -1."""
        return _at(self._sessions, index)


def _at(names: list[str], index: int) -> str:
    if 0 <= index < len(names):
        return names[index]
    return "" if index == -1 else str(index)


class UtcClock:
    """From the engine's clock to UTC. `delta_ns` is what is added; None where the clock is the feed's."""

    def __init__(self, config: Config) -> None:
        self.delta_ns: int | None = 0 if config.engine.clock == "monotonic" else None

    def sample(self, clock_ns: int, realtime_ns: int) -> None:
        """Take in a CLOCK_SAMPLE of the journal."""
        if self.delta_ns is not None and realtime_ns > 0:
            self.delta_ns = realtime_ns - clock_ns

    @property
    def seen(self) -> bool:
        """Whether times are those at which things were seen."""
        return self.delta_ns is None

    def utc_ns(self, clock_ns: int) -> int:
        """UTC of a time of the engine's clock, ns; now, where that cannot be said."""
        return time.time_ns() if self.delta_ns is None else clock_ns + self.delta_ns
