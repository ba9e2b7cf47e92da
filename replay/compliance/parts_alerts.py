"""Part 9: the alerts, held to their limit, and the journaled events that no alert was sent for."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.io.histogram import LENGTH, record
from engine.io.journal_format import Kind
from engine.record.records import Reason, Template
from replay.compliance import tally as y
from replay.compliance.beside import ALERTS
from replay.compliance.context import SPREAD_COLUMNS, Context, of, spread_cells
from replay.compliance.document import Cell, Figure, Line, Part, Table, column, span
from replay.compliance.quantiles import Histogram, spread
from replay.compliance.runs import RunFacts
from replay.compliance.tally import Array
from replay.compliance.texts import listed, said
from replay.decode import reason_name
from replay.watch.journaled import RULES, told_as

#: Late alerts that are listed.
MOST: Final = 100


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
    tables = [journal, *_sent(c), _codes(c), _unsent(c)]
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
        rows=late[:MOST],
        source=source,
        note=said("p9.first", most=f"{MOST:,}", n=f"{len(late):,}") if len(late) > MOST else "",
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


#: Edges of the bars of figure 9.a, ns: beyond the last one and below the first lies a bar each.
_EDGES: Final = (0, *(10**n for n in range(3, 13)))


def _delay_figure(c: Context) -> Figure | None:
    delays = [_delays(r) for r in c.runs]
    every = np.concatenate(delays) if delays else np.zeros(0, dtype=np.int64)
    if not every.size:
        return None
    limit = c.profile.alert_limit_ns
    counts = np.bincount(np.searchsorted(_EDGES, every, side="right"), minlength=len(_EDGES) + 1)
    names = ["< 0", *(f"< {span(edge)}" for edge in _EDGES[1:]), f"{span(_EDGES[-1])} or more"]
    over = int((every > limit).sum())
    return Figure(
        id="9.a", title=f"Event to alert: {over:,} of {every.size:,} beyond {span(limit)}", kind="bars",
        lines=[Line(name="alerts", x=[float(n) for n in range(len(names))], y=[float(n) for n in counts])],
        source=[of(r) for r in c.runs if r.beside.alerts], x_label="delay", y_label="alerts", names=names,
        marks=[(_place(limit), f"limit {span(limit)}")],
    )  # fmt: skip


def _place(value: int) -> float:
    """Where a value from 0 lies on the axis of these bars; those beyond the last edge in the middle of its bar."""
    n = int(np.searchsorted(_EDGES, value, side="right"))
    if n == len(_EDGES):
        return float(n)
    return float(n - 0.5 + (value - _EDGES[n - 1]) / (_EDGES[n] - _EDGES[n - 1]))


def late(c: Context) -> int:
    """Alerts beyond the limit, of all runs."""
    return sum(int((_delays(r) > c.profile.alert_limit_ns).sum()) for r in c.runs)


#: Kinds of events that are counted on the journal as they are in the log. Rejects are not: a log has those that clients
#: were sent and those of venues together, and part 10 counts them.
_COUNTED: Final = (
    (Kind.INPUT, Template.CONTROL), (Kind.INPUT, Template.MASS_CANCEL), (Kind.INPUT, Template.LIMIT_CHANGE),
    (Kind.INPUT, Template.MALFORMED), (Kind.OUTPUT, Template.CONTROL_REPORT), (Kind.OBSERVATION, Template.HALTED),
    (Kind.OBSERVATION, Template.SEND_RESULT),
)  # fmt: skip


def journaled(r: RunFacts) -> dict[tuple[str, str], int]:
    """Events on a run's journal that alerts are due for, by kind and code of the alert."""
    found: dict[tuple[str, str], int] = {}

    def add(kind: Kind, template: Template, number: int, n: int) -> None:
        key = told_as(RULES[kind, template], template, number)[:2]
        found[key] = found.get(key, 0) + n

    for code in np.flatnonzero(r.alerts).tolist():
        add(Kind.OUTPUT, Template.ALERT, code, int(r.alerts[code]))
    for rule in np.flatnonzero(r.blocks).tolist():
        add(Kind.OUTPUT, Template.RISK_BLOCK, rule, int(r.blocks[rule]))
    refused = r.refusals.reshape(-1, y.REASONS).sum(axis=0)
    for reason in np.flatnonzero(refused).tolist():
        add(Kind.OUTPUT, Template.REFUSAL, reason, int(refused[reason]))
    for kind, template in _COUNTED:
        kept = r.kept(kind, template)
        if kept is None:
            continue
        rows = kept.rows[kept.rows["reason"] != 0] if template == Template.CONTROL_REPORT else kept.rows
        for number in rows[RULES[kind, template].code].tolist():
            add(kind, template, int(number), 1)
    return found


def _unsent(c: Context) -> Table:
    """What the journals tell of, and no alert does; of runs that have a log."""
    runs = [r for r in c.runs if ALERTS in r.beside.logs]
    rows: list[list[Cell]] = []
    for r in runs:
        told: dict[tuple[str, str], int] = {}
        for line in r.beside.alerts:
            if line.source == "journal":
                key = line.kind, line.code
                told[key] = told.get(key, 0) + line.count
        for key, n in sorted(journaled(r).items()):
            sent = min(told.get(key, 0), n)
            rows.append([r.label, *key, n, sent, n - sent])
    return Table(
        id="9.5",
        title="Journaled events, and those without an alert",
        columns=[
            column("run", "run", "text", "the run"),
            column("kind", "kind", "text", "what kind of alert is due"),
            column("code", "alert", "text", "what it is about"),
            column("journaled", "journaled", "int", "events on the journal that an alert is due for"),
            column("sent", "alerted", "int", "of those: events that alerts of the log stand for"),
            column("unsent", "without an alert", "int", "events that no alert of the log stands for"),
        ],
        rows=rows,
        source=[of(r) for r in runs],
        note=said("p9.unsent"),
    )
