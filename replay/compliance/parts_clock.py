"""Part 6: the clock against its references, and the time for which nobody knows it."""

from __future__ import annotations

from typing import Final

import numpy as np

from replay.compliance import tally as y
from replay.compliance.beside import extremes
from replay.compliance.context import SPREAD_COLUMNS, Context, spread_cells
from replay.compliance.document import Cell, Figure, Line, Part, Table, column, span
from replay.compliance.parts_latency import SEGMENTS
from replay.compliance.quantiles import at, spread
from replay.compliance.rare import CLOCKS
from replay.compliance.rare import MOST as KEPT
from replay.compliance.runs import RunFacts
from replay.compliance.tally import Array
from replay.compliance.texts import listed, said

#: Lines of a figure, and negative latencies and excursions that are listed.
LINES: Final = 8
MOST: Final = 100
_KINDS: Final = {y.OUTSIDE: "outside", y.UNKNOWN: "unknown"}


def clock(c: Context) -> Part:
    """Part 6."""
    missing = []
    without = [r.label for r in c.runs if not r.beside.clock.samples]
    if without:
        missing.append(said("p6.no_log", runs=listed(without)))
    count = int(c.tally["negative"][: y.INSIDE].sum())
    tables = [_offsets(c), _excursions(c), _inside(c)]
    if count:
        tables.append(_negatives(c, count))
    else:
        missing.append(said("p6.no_negative"))
    series = (("6.a", offset_runs(c)), ("6.b", drift_runs(c)))
    figures = [figure for figure in (_offset_figure(c), _drift_figure(c)) if figure is not None]
    return Part(
        number=6,
        title="Clock",
        texts=[
            said("p6.tolerance", tolerance=span(c.profile.clock_tolerance_ns)),
            *(
                said("p6.drawn", figure=key, shown=LINES, n=f"{len(runs):,}")
                for key, runs in series
                if len(runs) > LINES
            ),
            *([said("p6.thinned", most=f"{KEPT:,}", n=f"{thinned:,}")] if (thinned := thinned_samples(c)) else []),
        ],
        tables=[table for table in tables if table.rows],
        figures=figures,
        missing=missing,
    )


def _offsets(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r in c.runs:
        found = r.beside.clock
        rows.append(
            [
                r.label, ", ".join(found.sources) or None, found.samples, found.unknown, found.inside, *_shares(r),
                found.worst_offset_ns, found.worst_bound_ns, found.steps, found.widest_gap_ns,
                *(len(stretches(r, kind)) for kind in _KINDS),
            ]
        )  # fmt: skip
    return Table(
        id="6.1",
        title="Offset against the reference",
        columns=[
            column("run", "run", "text", "the run"),
            column("sources", "sources", "text", "what the clock was compared with"),
            column("samples", "samples", "int", "lines of clock.jsonl"),
            column("unknown", "unknown", "int", "samples whose source could not say"),
            column("inside", "inside", "int", "samples within the tolerance"),
            column("share", "time inside", "share", "share of the run's time between good samples"),
            column("share_outside", "time outside", "share", "share of the run's time in excursions"),
            column("share_unknown", "time unknown", "share", "share of the run's time without samples"),
            column("worst_offset_ns", "largest offset", "ns", "largest |offset|"),
            column("worst_bound_ns", "largest error bound", "ns", "largest error bound"),
            column("steps", "steps", "int", "how often CLOCK_REALTIME was set"),
            column("widest_gap_ns", "widest gap", "ns", "longest time between two samples: a gap in the evidence"),
            column("excursions", "excursions", "int", "stretches outside"),
            column("gaps", "unknown stretches", "int", "stretches without samples"),
        ],
        rows=rows,
        source=c.source(),
    )


def stretches(r: RunFacts, kind: int) -> list[tuple[int, int]]:
    """Begin and end of a run's stretches of a kind, within the run."""
    return [(begin, end) for begin, end, of_kind in _within(r) if of_kind == kind]


def _within(r: RunFacts) -> list[tuple[int, int, int]]:
    """(begin, end, kind) of the stretches without evidence that the clock was good, cut to the run's time."""
    rows = ((int(begin), min(int(end), r.end_ns), int(kind)) for begin, end, kind in r.beside.excursions)
    return [row for row in rows if row[0] < row[1]]


def _shares(r: RunFacts) -> tuple[float | None, float | None, float | None]:
    """Shares of a run's time inside, outside and unknown; None of a run without any."""
    whole = r.end_ns - r.begin_ns
    if whole <= 0:
        return None, None, None
    outside, unknown = (sum(end - begin for begin, end in stretches(r, kind)) for kind in (y.OUTSIDE, y.UNKNOWN))
    return (whole - outside - unknown) / whole, outside / whole, unknown / whole


def _excursions(c: Context) -> Table:
    rows: list[list[Cell]] = [[r.label, _KINDS[kind], begin, end] for r in c.runs for begin, end, kind in _within(r)]
    return Table(
        id="6.2",
        title="Excursions, and time without samples",
        columns=[
            column("run", "run", "text", "the run"),
            column("kind", "kind", "text", "outside: no sample shows the clock to be good; unknown: there is none"),
            column("begin", "from", "time", "the last good sample before it; of unknown time the last sample at all"),
            column("end", "to", "time", "the next good sample, the next sample at all, or the run's end"),
        ],
        rows=rows[:MOST],
        source=c.source(),
        note=said("p6.first", most=MOST, n=f"{len(rows):,}") if len(rows) > MOST else "",
    )


def listed_stretches(c: Context) -> int:
    """Rows that table 6.2 has or would have."""
    return sum(len(_within(r)) for r in c.runs)


def _inside(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for place, name, kind in (
        (y.INSIDE, "service", y.OUTSIDE),
        (y.RESPONSE_INSIDE, "response", y.OUTSIDE),
        (y.UNKNOWN_INSIDE, "service", y.UNKNOWN),
        (y.RESPONSE_UNKNOWN, "response", y.UNKNOWN),
    ):
        found = at(c.tally, place)
        if found.n:
            rows.append([name, _KINDS[kind], *spread_cells(spread(found))])
    return Table(
        id="6.3",
        title="Latencies within excursions and unknown time (they are in all other tables too)",
        columns=[
            column("measure", "measure", "text", "service or response time"),
            column("kind", "clock", "text", "outside, or unknown: as in table 6.2"),
            *SPREAD_COLUMNS,
        ],
        rows=rows,
        source=c.source(),
    )


def _negatives(c: Context, count: int) -> Table:
    names = dict(SEGMENTS) | {y.RESPONSE: "response", y.IN_LOOP: "service and wait"}
    listed_rows = c.tally["listed"][: int(c.tally["run"][0]["listed"])]
    mine = listed_rows[listed_rows["kind"] == y.NEGATIVE]
    rows: list[list[Cell]] = []
    for row in mine[np.isin(mine["what"], list(names))][:MOST]:
        rows.append([f"R{row['run']}", int(row["seq"]), names[int(row["what"])], int(row["value"])])
    return Table(
        id="6.4",
        title="Negative latencies",
        columns=[
            column("run", "run", "text", "the run"),
            column("seq", "frame", "int", "the input's frame"),
            column("what", "segment", "text", "which latency"),
            column("value_ns", "value", "ns", "as it came out"),
        ],
        rows=rows,
        source=c.source(),
        note=said("p6.negative", shown=len(rows), count=f"{count:,}"),
    )


def unlisted_negatives(c: Context) -> int:
    """Negative latencies that table 6.4 has no row for."""
    count = int(c.tally["negative"][: y.INSIDE].sum())
    return count - len(_negatives(c, count).rows)


def offset_runs(c: Context) -> list[RunFacts]:
    """Runs with a line in figure 6.a."""
    return [r for r in c.runs if r.beside.clock.offsets[0]]


def _offset_figure(c: Context) -> Figure | None:
    lines = []
    for r in offset_runs(c)[:LINES]:
        times, values = r.beside.clock.offsets
        lines.append(Line(name=r.label, x=[_seconds(c, t) for t in times], y=[float(v) for v in values]))
    if not lines:
        return None
    tolerance = float(c.profile.clock_tolerance_ns)
    return Figure(
        id="6.a", title="Offset from the reference", kind="lines", lines=lines, source=c.source(),
        x_label="seconds, engine clock", y_kind="ns", marks=[(tolerance, "tolerance"), (-tolerance, "")],
    )  # fmt: skip


def _pairs(r: RunFacts) -> Array | None:
    """A run's samples of both clocks; None where they are fewer than two, or the feed was the clock."""
    kept = r.kept(*CLOCKS)
    if kept is None or r.config.engine.clock == "feed":
        return None
    return kept.rows if len(kept.rows) >= 2 else None


def thinned_samples(c: Context) -> int:
    """Samples of both clocks between those that figure 6.b looks at."""
    found = [r.kept(*CLOCKS) for r in drift_runs(c)]
    return sum(kept.total - len(kept.rows) for kept in found if kept is not None)


def drift_runs(c: Context) -> list[RunFacts]:
    """Runs with a line in figure 6.b."""
    return [r for r in c.runs if _pairs(r) is not None]


def _drift_figure(c: Context) -> Figure | None:
    lines = []
    for r in drift_runs(c)[:LINES]:
        rows = _pairs(r)
        assert rows is not None
        drift = rows["realtime_ns"] - rows["clock_ns"]
        times, values = extremes(rows["clock_ns"], drift - drift[0])
        lines.append(Line(name=r.label, x=[_seconds(c, t) for t in times], y=[float(v) for v in values]))
    if not lines:
        return None
    return Figure(
        id="6.b", title=said("p6.pairs"), kind="lines", lines=lines, source=c.source(),
        x_label="seconds, engine clock", y_kind="ns",
    )  # fmt: skip


def _seconds(c: Context, time_ns: int) -> float:
    return (int(time_ns) - c.read.bin_origin_ns) / 1e9
