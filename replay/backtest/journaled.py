"""A run's own market data as a feed: what its journal says that the engine took in, at the times at which it did.

A record is played to the engine when the run's engine had it, and to its venue a feed latency earlier. So a backtest of
a live run sees the market that the run saw, in its order. Records that were refused then (repeated, after a gap) are
played like all others.

Worst case: the journal has touches and trades alone, so venues that match against depth need the recorded feed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from engine.io.journal_format import FRAME_HEADER, Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import Template
from engine.run import manifest
from engine.run.config import Config, ConfigError
from gateways.feeds.names import Names
from gateways.formats.fit import Told
from replay.backtest.merge import Part
from replay.backtest.terms import by_orders
from replay.backtest.thinned import quotes_of
from replay.backtest.window import Array

#: Words of a record's prefix.
_EVENT, _RECV = 3, 4
_ROWS: Final = 1 << 14


def is_run(path: str | Path) -> bool:
    """Whether a path is a run directory."""
    return (Path(path) / "journal").is_dir()


class JournalFeed:
    """The market data of a run, to be gone through again and again; as `streams.Stream`.

    JournalError, ManifestError: the journal cannot be read by this build. ConfigError: its venues and instruments are
    not those of `config`.
    """

    def __init__(self, run_dir: str | Path, config: Config, latency_ns: int) -> None:
        self.run_dir, self._latency_ns = Path(run_dir), latency_ns
        #: The part that is played: from <= time < to, ns.
        self.begin_ns, self.end_ns = 0, 1 << 62
        with JournalReader(self.run_dir) as reader:
            run = manifest.from_bytes(reader.manifest)
        run.replayable()
        if Names.of(run.read_config()).as_meta() != Names.of(config).as_meta():
            text = f"{run_dir}: its venues and instruments are others, or in another order"
            raise ConfigError(f"{text}; play it with its own configuration, or a file of that day")
        self.first_ns, self.size, self._count = 0, 0, 0
        for part in self.parts():
            self.first_ns = self.first_ns or int(part.times[0])
            self.size += len(part.data)
            self._count += len(part.times)

    def parts(self) -> Iterator[Part]:
        """The records that are played, some thousand frames at a time: copies."""
        with JournalReader(self.run_dir) as reader:
            for chunk in reader.chunks(_ROWS):
                rows = chunk.rows[chunk.rows["kind"] == Kind.INPUT]
                starts = (rows["offset"].astype(np.int64) + FRAME_HEADER) // 8
                words = chunk.memory.view("<i8")
                templates = words[starts] >> 16 & 0xFFFF
                part = self._part(words, starts, rows["length"].astype(np.int64) // 8, templates <= Template.VENUE_DEF)
                if len(part.times):
                    yield part

    def _part(self, words: Array, starts: Array, counts: Array, market: Array) -> Part:
        times = words[starts + _RECV] - self._latency_ns
        picked = market & (times >= self.begin_ns) & (times < self.end_ns)
        starts, counts, times = starts[picked], counts[picked], times[picked]
        ends = np.cumsum(counts)
        places = np.repeat(starts - (ends - counts), counts) + np.arange(int(ends[-1]) if len(ends) else 0)
        data = words[places]
        data[ends - counts + _EVENT] = times
        data[ends - counts + _RECV] = 0
        return Part(data.view(np.uint8), np.concatenate([[0], ends]) * 8, times)

    def quotes(self) -> Array:
        """QUOTE records of the part that is played, thinned as those of a `Stream`."""
        return quotes_of(self.parts())

    def without_orders(self) -> list[str]:
        """Symbols of which there are no orders: all."""
        return ["all of it"]

    @property
    def prints_alone(self) -> bool:
        """As of `Stream`: a run's market has touches."""
        return False

    @property
    def told(self) -> Told:
        """What was read."""
        return Told(
            file=str(self.run_dir), format="journal", records=self._count, given=self._count, deep=0,
            first_ns=self.first_ns, skew_ns=0, negative=0, clamped=0, most_back_ns=0, beside=0, unfollowed=0,
            gaps=0, lost=0, repeated=0, by_orders=by_orders(self.run_dir),
        )  # fmt: skip
