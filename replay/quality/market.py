"""Where the market was at given times: one pass over a journal's quotes, chunk by chunk.

Quotes count as `replay.backtest.tape` counts them, whose rule this uses: the last of each venue, open, not voided
since, not older than `routing.stale_ms`, at the times at which the engine had them; a touch that is one-sided or
crossed is none. A time that lies on a quote's own comes after it.

Worst case: memory holds the questions (24 bytes each) and one chunk of quotes; each chunk is looked at once for each
instrument that has a question within it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.run.config import Config
from replay.backtest.quoted import OF_QUOTES, counted, of_instrument
from replay.backtest.tape import touches_of
from replay.report.gather import Array, gather_parts

if TYPE_CHECKING:
    from replay.verify import Progress


class Touches(NamedTuple):
    """National best bid and offer at some times, in price units; both 0 where there was none."""

    bid: Array
    ask: Array


class _Asked:
    """The questions of one instrument, ascending, and what was answered of them."""

    def __init__(self, times_ns: Array, venues: int) -> None:
        self.order = np.argsort(times_ns, kind="stable")
        self.times_ns = times_ns[self.order]
        self.bid, self.ask = np.zeros((2, len(times_ns)), dtype=np.int64)
        self.done = 0
        self.rows: list[Array | None] = [None] * venues

    def take(self, quotes: Array, stale_ns: int, until_ns: int) -> None:
        """Answer what comes before `until_ns` with these quotes, and with the last ones of those before them."""
        for venue in range(len(self.rows)):
            mine, last = quotes[quotes["venue_id"] == venue], self.rows[venue]
            if len(mine):
                self.rows[venue] = mine if last is None else np.concatenate([last[-1:], mine])
        end = int(np.searchsorted(self.times_ns, until_ns, side="left"))
        if end > self.done:
            rows = [found for found in self.rows if found is not None]
            bid, ask, good = touches_of(rows, self.times_ns[self.done : end], stale_ns)
            place = self.order[self.done : end]
            self.bid[place], self.ask[place] = np.where(good, bid, 0), np.where(good, ask, 0)
            self.done = end
        # All that is still to be answered comes after these quotes: the last of each venue is enough.
        self.rows = [None if row is None else row[-1:].copy() for row in self.rows]


def touches(
    run_dir: Path, config: Config, asked: Mapping[int, Array], progress: Progress | None = None
) -> dict[int, Touches]:
    """Touches at times (int64 ns, in any order) by instrument. JournalError where the journal is damaged."""
    questions = {at: _Asked(times, len(config.venue)) for at, times in asked.items() if len(times)}
    stale_ns = config.routing.stale_ms * 1_000_000
    for quotes, _, until_ns in counted(gather_parts(run_dir, OF_QUOTES, progress)) if questions else ():
        for at, question in questions.items():
            question.take(of_instrument(quotes, at), stale_ns, until_ns)
    return {at: Touches(question.bid, question.ask) for at, question in questions.items()}
