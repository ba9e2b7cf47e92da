"""What all parts of a report are made from, and how they name their sources."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from replay.compliance.document import Source, column
from replay.compliance.profile import Profile
from replay.compliance.quantiles import PERCENTILES, Spread
from replay.compliance.runs import Read, RunFacts
from replay.compliance.sealing import Sealed
from replay.compliance.stressed import Stressed
from replay.compliance.tally import Array
from replay.state.structs import Peak


class Replayed(NamedTuple):
    """What replays of a run came to: how often, whether all outputs were the journal's, and the state's hashes."""

    result: str
    outputs: int
    hashes: list[str]
    note: str
    #: How far limits were used, of the run's state at its end.
    peaks: list[Peak] = []  # noqa: RUF012  never written


class Context(NamedTuple):
    """Everything that parts are made from. `replayed` and `sealed` have an entry a run."""

    read: Read
    profile: Profile
    replayed: list[Replayed | None]
    sealed: list[Sealed | None]
    stressed: list[Stressed] = []  # noqa: RUF012  never written
    #: Files of `tickroute quality`: its divisions, and its reference data.
    buckets: Path | None = None
    reference: Path | None = None

    @property
    def runs(self) -> list[RunFacts]:
        """The runs, in order of time."""
        return self.read.runs

    @property
    def tally(self) -> dict[str, Array]:
        """The tally's arrays."""
        return self.read.tally

    def source(self) -> list[Source]:
        """All of every run."""
        return [of(run) for run in self.runs]


def of(run: RunFacts) -> Source:
    """The whole range of a run."""
    return Source(run=run.label, first_seq=run.first_seq, last_seq=run.last_seq)


#: Columns of a row of percentiles, after those that name it.
SPREAD_COLUMNS = [
    column("n", "n", "int", "how many values, those below 0 and above an hour too"),
    column("min_ns", "min", "ns", "the smallest value, exact"),
    *[
        column(f"p{p:g}_ns".replace(".", "_"), f"p{p:g}", "interval", f"percentile {p:g} with its 95 % interval", "ns")
        for p in PERCENTILES
    ],
    column("max_ns", "max", "ns", "the largest value, exact"),
    column("negative", "< 0", "int", "values below 0: in the ranks, never clipped; listed in part 6"),
    column("over", "> 1 h", "int", "values above an hour: in the ranks at the upper end"),
]


def spread_cells(row: Spread) -> list[int | float | str | None]:
    """Cells of SPREAD_COLUMNS. A percentile is "value low high" in ns, or None where it may not be quoted."""
    quantiles = [f"{q.value_ns} {q.low_ns} {q.high_ns}" if q.value_ns is not None else None for q in row.quantiles]
    return [row.n, row.lowest_ns, *quantiles, row.highest_ns, row.negative, row.over]
