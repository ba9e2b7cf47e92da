"""What came of a backtest: the figures of its end, and what the simulated venues could not do."""

from __future__ import annotations

from typing import Final, NamedTuple

from engine.run.config import Config
from gateways.venues.state import Exchange


class Losses(NamedTuple):
    """What the venues could not do, counted.

    curbed: orders that took fewer levels than there were. postponed: fills of resting orders, for want of a message
    slot. refused: requests that nobody could answer. ignored: records of no concern to them, other kinds than they take
    among these. broken: "MIC SYMBOL" of the books that found no room for an order or a level; nobody could take from
    these until their feed cleared them.
    """

    curbed: int = 0
    postponed: int = 0
    refused: int = 0
    ignored: int = 0
    broken: tuple[str, ...] = ()

    @property
    def told(self) -> list[str]:
        """What is not zero, in words, but for `broken`."""
        return [f"{count:,} {what}" for name, what in WHATS.items() if (count := getattr(self, name))]

    def with_those_of(self, other: Losses) -> Losses:
        """Both together; a broken book is named once."""
        return Losses(
            curbed=self.curbed + other.curbed,
            postponed=self.postponed + other.postponed,
            refused=self.refused + other.refused,
            ignored=self.ignored + other.ignored,
            broken=tuple(dict.fromkeys(self.broken + other.broken)),
        )


#: What each count of `Losses` says.
WHATS: Final = {
    "curbed": "orders took fewer levels than there were",
    "postponed": "fills of resting orders had to wait for a message slot",
    "refused": "requests could not be answered",
    "ignored": "records were of no concern",
}


class Outcome(NamedTuple):
    """What came of it: inputs by where they came from, outputs, virtual time span, seconds of this machine."""

    market: int
    reports: int
    timers: int
    parents: int
    inputs: int
    outputs: int
    first_ns: int
    last_ns: int
    seconds: float
    state_hash: str
    losses: Losses

    @property
    def events_per_s(self) -> int:
        """Inputs a second."""
        return int(self.inputs / self.seconds) if self.seconds else 0


def losses_of(exchange: Exchange, config: Config) -> Losses:
    """What the venues of an exchange could not do so far."""
    core, books = exchange.core[0], exchange.books.books
    names = (f"{venue.mic} {row.symbol}" for venue in config.venue for row in config.instrument)
    rows = zip(names, exchange.pairs["broke"], books["broken"], strict=True)
    return Losses(
        curbed=int(core["curbed"]),
        postponed=int(core["postponed"]),
        refused=int(core["refused"]),
        ignored=int(core["ignored"]),
        broken=tuple(name for name, before, now in rows if before > 0 or now != 0),
    )
