"""Part 13: how figures are made, their limits, and everything that is left out, counted."""

from __future__ import annotations

from engine.io.journal_format import Kind
from engine.record.records import Template
from replay.compliance import parts_alerts, parts_clock, parts_controls, quality, quantiles
from replay.compliance import tally as y
from replay.compliance.context import Context
from replay.compliance.document import Part, Table, column
from replay.compliance.quantiles import at
from replay.compliance.rare import CLOCKS, MOST
from replay.compliance.texts import list_said


def method(c: Context) -> Part:
    """Part 13."""
    tally = c.tally
    named: list[tuple[str, int]] = [
        ("events without a measurement (they sent nothing)", _inputs(c) - int(tally["checks"][y.C_STAGES])),
        ("latencies below 0, in no cell, kept in the ranks", int(tally["negative"][: y.INSIDE].sum())),
        ("latencies above an hour, in no cell, kept in the ranks", int(tally["over"][: y.INSIDE].sum())),
        ("orders beyond the tables of this report, in no figure of parts 10 and 11", sum(r.overflow for r in c.runs)),
        ("refused inputs, in no figure but part 7", int(tally["refusals"].sum())),
        ("torn bytes behind journals' last frames", sum(r.torn_bytes for r in c.runs)),
        ("unfinished bytes at the end of logs", _unfinished(c)),
        ("events whose response time is not known (the feed was the clock)", _without_response(c)),
        *_cuts(c),
    ]
    table = Table(
        id="13.1",
        title="What is left out, counted",
        columns=[column("what", "what", "text", "what is left out"), column("n", "n", "int", "how many")],
        rows=[[name, n] for name, n in named],
        source=c.source(),
    )
    words = list_said("p13.method", draws=f"{quantiles.DRAWS:,}", seed=quantiles.SEED) + list_said("p13.limits")
    return Part(number=13, title="Method, limits, exclusions", texts=words, tables=[table], figures=[], missing=[])


def _inputs(c: Context) -> int:
    return sum(n for r in c.runs for n in r.inputs.values())


def _unfinished(c: Context) -> int:
    return sum(log.unfinished for r in c.runs for log in r.beside.logs.values())


def _without_response(c: Context) -> int:
    return at(c.tally, y.TOTAL).n - at(c.tally, y.RESPONSE).n


def _cuts(c: Context) -> list[tuple[str, int]]:
    """What tables and figures leave out because there is much of it; each is counted in another table."""

    def beyond(n: int, most: int) -> int:
        return max(n - most, 0)

    offsets, drifts = len(parts_clock.offset_runs(c)), len(parts_clock.drift_runs(c))
    blocks = [len(kept.rows) for r in c.runs if (kept := r.kept(Kind.OUTPUT, Template.RISK_BLOCK)) is not None]
    refused = [len(parts_controls.refusals(r)) for r in c.runs]
    rare = sum(kept.total - len(kept.rows) for r in c.runs for key, kept in r.tables.items() if key != CLOCKS)
    breaks = sum(len(r.beside.breaks) for r in c.runs)
    return [
        ("runs that figure 6.a does not draw", beyond(offsets, parts_clock.LINES)),
        ("runs that figure 6.b does not draw", beyond(drifts, parts_clock.LINES)),
        ("samples of both clocks that figure 6.b does not look at", parts_clock.thinned_samples(c)),
        ("stretches that table 6.2 does not list", beyond(parts_clock.listed_stretches(c), parts_clock.MOST)),
        ("negative latencies that table 6.4 does not list", parts_clock.unlisted_negatives(c)),
        (f"records beyond the first {MOST:,} of a kind a run, not listed in parts 7 and 8", rare),
        ("runs that tables 10.3 to 10.6 leave out (part 10 says why)", len(c.runs) - len(quality.measured(c))),
        ("blocks that table 8.2 does not list", sum(beyond(n, parts_controls.BLOCKS) for n in blocks)),
        ("refused commands that table 8.8 does not list", sum(beyond(n, MOST) for n in refused)),
        ("lines that control.log left out (more came in a second than it takes)", _left_out(c)),
        ("late alerts that table 9.3 does not list", beyond(parts_alerts.late(c), parts_alerts.MOST)),
        ("orphans and breaks that table 11.3 does not list", _unlisted(c)),
        ("breaks that table 11.4 does not list", beyond(breaks, MOST)),
    ]


def _left_out(c: Context) -> int:
    return sum(line.lines_left_out for r in c.runs for line in r.beside.control)


def _unlisted(c: Context) -> int:
    """Orphans and breaks that there was no room for in the list of table 11.3."""
    counted = sum(int(c.tally["checks"][place]) for place in (y.C_ORPHANS, y.C_CUM_FELL, y.C_CUM_JUMPED))
    kinds = c.tally["listed"]["kind"][: int(c.tally["run"][0]["listed"])]
    return counted - sum(int((kinds == kind).sum()) for kind in (y.ORPHAN, y.CUM_FELL, y.CUM_JUMPED))
