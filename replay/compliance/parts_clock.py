"""Parts 6 and 9: the clock against its references, and the alerts against their limit."""

from __future__ import annotations

import numpy as np

from engine.io.histogram import LENGTH, record
from engine.io.journal_format import Kind
from engine.record.records import Reason, Template
from replay.compliance import tally as y
from replay.compliance.beside import ALERTS, CLOCK
from replay.compliance.context import SPREAD_COLUMNS, Context, of, spread_cells
from replay.compliance.document import Cell, Figure, Line, Part, Table, column, span
from replay.compliance.parts_latency import SEGMENTS
from replay.compliance.quantiles import Histogram, at, spread
from replay.compliance.runs import RunFacts
from replay.compliance.tally import Array
from replay.compliance.texts import listed, said
from replay.decode import reason_name

#: Points of a clock's line, and negative latencies that are listed.
POINTS = 400
_MOST = 100


def clock(c: Context) -> Part:
    """Part 6."""
    missing = []
    without = [r.label for r in c.runs if CLOCK not in r.beside.logs]
    if without:
        missing.append(said("p6.no_log", runs=listed(without)))
    count = int(c.tally["negative"][: y.INSIDE].sum())
    tables = [_offsets(c), _excursions(c), _inside(c)]
    if count:
        tables.append(_negatives(c, count))
    else:
        missing.append(said("p6.no_negative"))
    figures = [figure for figure in (_offset_figure(c), _drift_figure(c)) if figure is not None]
    return Part(
        number=6,
        title="Clock",
        texts=[said("p6.tolerance", tolerance=span(c.profile.clock_tolerance_ns))],
        tables=[table for table in tables if table.rows],
        figures=figures,
        missing=missing,
    )


def _offsets(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for r in c.runs:
        samples = r.beside.clock
        if not samples:
            continue
        known = [s for s in samples if s.offset_ns is not None and s.error_bound_ns is not None]
        inside = sum(not s.outside(c.profile.clock_tolerance_ns) for s in samples)
        gaps = np.diff(np.array([s.realtime_ns for s in samples], dtype=np.int64))
        rows.append(
            [
                r.label, ", ".join(sorted({s.source for s in samples})), len(samples), len(samples) - len(known),
                inside, inside / len(samples), max((abs(s.offset_ns or 0) for s in known), default=None),
                max((s.error_bound_ns or 0 for s in known), default=None), sum(s.step_ns != 0 for s in samples),
                int(gaps.max()) if len(gaps) else None, len(r.beside.excursions) // 2,
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
            column("share", "inside", "share", "share of all samples, unknown ones counted as outside"),
            column("worst_offset_ns", "largest offset", "ns", "largest |offset|"),
            column("worst_bound_ns", "largest error bound", "ns", "largest error bound"),
            column("steps", "steps", "int", "how often CLOCK_REALTIME was set"),
            column("widest_gap_ns", "widest gap", "ns", "longest time between two samples: a gap in the evidence"),
            column("excursions", "excursions", "int", "stretches outside"),
        ],
        rows=rows,
        source=c.source(),
    )


def _excursions(c: Context) -> Table:
    last = int(np.iinfo(np.int64).max)
    rows: list[list[Cell]] = [
        [r.label, int(begin), None if end == last else int(end)]
        for r in c.runs
        for begin, end in r.beside.excursions.reshape(-1, 2)[:_MOST]
    ]
    return Table(
        id="6.2",
        title="Excursions",
        columns=[
            column("run", "run", "text", "the run"),
            column("begin", "from", "time", "the last good sample before it"),
            column("end", "to", "time", "the next good sample; empty where none came"),
        ],
        rows=rows,
        source=c.source(),
    )


def _inside(c: Context) -> Table:
    rows: list[list[Cell]] = []
    for place, name in ((y.INSIDE, "service"), (y.RESPONSE_INSIDE, "response")):
        found = at(c.tally, place)
        if found.n:
            rows.append([name, *spread_cells(spread(found))])
    return Table(
        id="6.3",
        title="Latencies within excursions (they are in all other tables too)",
        columns=[column("measure", "measure", "text", "service or response time"), *SPREAD_COLUMNS],
        rows=rows,
        source=c.source(),
    )


def _negatives(c: Context, count: int) -> Table:
    names = dict(SEGMENTS) | {y.RESPONSE: "response", y.IN_LOOP: "service and wait"}
    listed_rows = c.tally["listed"][: int(c.tally["run"][0]["listed"])]
    mine = listed_rows[listed_rows["kind"] == y.NEGATIVE]
    rows: list[list[Cell]] = []
    for row in mine[np.isin(mine["what"], list(names))][:_MOST]:
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


def _offset_figure(c: Context) -> Figure | None:
    lines = []
    for r in c.runs:
        rows = [(s.clock_ns, s.offset_ns) for s in r.beside.clock if s.offset_ns is not None]
        if rows:
            samples = np.array(rows, dtype=np.int64)
            times, values = extremes(samples[:, 0], samples[:, 1])
            lines.append(Line(name=r.label, x=[_seconds(c, t) for t in times], y=[float(v) for v in values]))
    if not lines:
        return None
    tolerance = float(c.profile.clock_tolerance_ns)
    return Figure(
        id="6.a", title="Offset from the reference", kind="lines", lines=lines[:8], source=c.source(),
        x_label="seconds, engine clock", y_kind="ns", marks=[(tolerance, "tolerance"), (-tolerance, "")],
    )  # fmt: skip


def _drift_figure(c: Context) -> Figure | None:
    lines = []
    for r in c.runs:
        kept = r.kept(Kind.OBSERVATION, Template.CLOCK_SAMPLE)
        if kept is None or r.config.engine.clock == "feed":
            continue
        rows = kept.rows[kept.rows["realtime_ns"] > 0]
        if len(rows) >= 2:
            drift = rows["realtime_ns"] - rows["clock_ns"]
            times, values = extremes(rows["clock_ns"], drift - drift[0])
            lines.append(Line(name=r.label, x=[_seconds(c, t) for t in times], y=[float(v) for v in values]))
    if not lines:
        return None
    return Figure(
        id="6.b", title=said("p6.pairs"), kind="lines", lines=lines[:8], source=c.source(),
        x_label="seconds, engine clock", y_kind="ns",
    )  # fmt: skip


def _seconds(c: Context, time_ns: int) -> float:
    return (int(time_ns) - c.read.bin_origin_ns) / 1e9


def extremes(times: Array, values: Array) -> tuple[list[int], list[int]]:
    """A series in at most POINTS points: of each stretch of samples its lowest and its highest, in order of time."""
    if len(times) <= POINTS:
        return times.tolist(), values.tolist()
    edges = np.linspace(0, len(times), POINTS // 2 + 1).astype(np.int64)
    places: list[int] = []
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        places += sorted({begin + int(values[begin:end].argmin()), begin + int(values[begin:end].argmax())})
    return times[places].tolist(), values[places].tolist()


def alerts(c: Context) -> Part:
    """Part 9."""
    missing = []
    without = [r.label for r in c.runs if ALERTS not in r.beside.logs]
    if without:
        missing.append(said("p9.no_log", runs=listed(without)))
    counts = np.flatnonzero(c.tally["alerts"])
    journal = Table(
        id="9.1",
        title="Alerts on the journals",
        columns=[
            column("code", "alert", "text", "what it is about"),
            column("n", "n", "int", "how many"),
        ],
        rows=[[reason_name(int(code), Reason), int(c.tally["alerts"][code])] for code in counts],
        source=c.source(),
    )
    tables = [journal, *_sent(c), _codes(c)]
    figures = [figure for figure in (_delay_figure(c),) if figure is not None]
    texts = [said("p9.limit", limit=span(c.profile.alert_limit_ns))]
    seen = sum(line.seen for r in c.runs for line in r.beside.alerts)
    if seen:
        texts.append(said("p9.seen", n=f"{seen:,}"))
    return Part(
        number=9,
        title="Alerts",
        texts=texts,
        tables=[table for table in tables if table.rows],
        figures=figures,
        missing=missing if counts.size else [*missing, "No alert is on the journals."],
    )


def _delays(run: RunFacts) -> Array:
    return np.array([line.sent_ns - line.event_ns for line in run.beside.alerts], dtype=np.int64)


def _sent(c: Context) -> list[Table]:
    rows: list[list[Cell]] = []
    late: list[list[Cell]] = []
    for r in c.runs:
        delays = _delays(r)
        if not len(delays):
            continue
        over = delays > c.profile.alert_limit_ns
        rows.append([r.label, len(delays), int(over.sum()), *spread_cells(spread(of_values(delays)))])
        late += [
            [r.label, line.seq, line.event_ns, line.sent_ns, line.code, line.severity, line.sent_ns - line.event_ns]
            for line, is_late in zip(r.beside.alerts, over.tolist(), strict=True)
            if is_late
        ]
    source = [of(r) for r in c.runs if r.beside.alerts]
    sent = Table(
        id="9.2",
        title="From the event to the alert's sending",
        columns=[
            column("run", "run", "text", "the run"),
            column("alerts", "alerts", "int", "lines of alerts.jsonl"),
            column("late", "late", "int", "alerts beyond the limit"),
            *SPREAD_COLUMNS,
        ],
        rows=rows,
        source=source,
    )
    lates = Table(
        id="9.3",
        title="Late alerts",
        columns=[
            column("run", "run", "text", "the run"),
            column("seq", "number", "int", "the alert's number, or its frame"),
            column("event", "event", "time", "when it happened"),
            column("sent", "sent", "time", "when the alert was sent"),
            column("code", "alert", "text", "what it is about"),
            column("severity", "severity", "text", "how severe"),
            column("delay_ns", "delay", "ns", "from event to sending"),
        ],
        rows=late[:_MOST],
        source=source,
    )
    return [sent, lates]


def _codes(c: Context) -> Table:
    counts: dict[tuple[str, str, str], list[int]] = {}
    for r in c.runs:
        for line in r.beside.alerts:
            row = counts.setdefault((line.severity, line.kind, line.code), [0, 0])
            row[0] += 1
            row[1] += line.count
    return Table(
        id="9.4",
        title="Alerts sent, by code",
        columns=[
            column("severity", "severity", "text", "critical, warning or info"),
            column("kind", "kind", "text", "what kind of alert"),
            column("code", "alert", "text", "what it is about"),
            column("lines", "lines", "int", "lines of alerts.jsonl"),
            column("events", "events", "int", "events that they stand for"),
        ],
        rows=[[*key, *row] for key, row in sorted(counts.items())],
        source=[of(r) for r in c.runs if r.beside.alerts],
    )


def of_values(values: Array) -> Histogram:
    """A histogram of some values, those below 0 beside its cells."""
    counts = np.zeros(LENGTH, dtype=np.int64)
    for value in values[values >= 0].tolist():
        record(counts, value)
    return Histogram(counts[: y.CELLS], int(values.min()), int(values.max()), int((values < 0).sum()), 0)


def _delay_figure(c: Context) -> Figure | None:
    delays = [_delays(r) for r in c.runs]
    every = np.concatenate(delays) if delays else np.zeros(0, dtype=np.int64)
    every = every[every >= 0]
    if not every.size:
        return None
    limit = c.profile.alert_limit_ns
    edges = [0, *(10**n for n in range(3, 13))]
    counts = np.histogram(every, bins=edges)[0]
    names = [f"< {span(edge)}" for edge in edges[1:]]
    over = int((every > limit).sum())
    return Figure(
        id="9.a", title=f"Event to alert: {over:,} of {every.size:,} beyond {span(limit)}", kind="bars",
        lines=[Line(name="alerts", x=[float(n) for n in range(len(names))], y=[float(n) for n in counts])],
        source=[of(r) for r in c.runs if r.beside.alerts], x_label="delay", y_label="alerts", names=names,
        marks=[(_place(limit, edges), f"limit {span(limit)}")],
    )  # fmt: skip


def _place(value: int, edges: list[int]) -> float:
    """Where a value lies on the axis of bars whose upper edges are powers of ten."""
    n = next(k for k in range(1, len(edges)) if value <= edges[k])
    return n - 1.5 + (value - edges[n - 1]) / (edges[n] - edges[n - 1])
