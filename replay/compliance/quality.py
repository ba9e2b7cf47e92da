"""Execution quality for part 10, from `replay.quality`: spreads, price improvement, where prices lay, markouts.

Worst case: `replay.quality` holds the orders of a run; a run beyond MOST_ORDERS is left out, and said to be.
"""

from __future__ import annotations

from typing import Final

from replay.compliance.context import Context, of
from replay.compliance.document import Cell, Column, Source, Table, column
from replay.compliance.runs import RunFacts
from replay.compliance.texts import said
from replay.quality.measure import measure
from replay.quality.structs import Quality, Row

#: Orders at venues of a run, at the most.
MOST_ORDERS: Final = 500_000


def orders(run: RunFacts) -> int:
    """Orders at venues of a run."""
    return sum(run.children.values())


def measured(c: Context) -> list[RunFacts]:
    """The runs whose execution quality is told."""
    return [r for r in c.runs if not _why_not(r)]


def quality(c: Context) -> Quality | None:
    """The execution quality of the runs that are `measured`; None where no order of theirs was sent."""
    runs = measured(c)
    if not any(orders(r) for r in runs):
        return None
    return measure([r.path for r in runs], buckets=c.buckets, reference=c.reference)


def why_not(c: Context) -> list[str]:
    """The runs that execution quality leaves out, and why."""
    return [reason for r in c.runs if (reason := _why_not(r))]


def _why_not(run: RunFacts) -> str:
    if orders(run) > MOST_ORDERS:
        return said("p10.left_out", run=run.label, n=f"{orders(run):,}", most=f"{MOST_ORDERS:,}")
    if run.first_seq > 0:
        return said("p10.begins_late", run=run.label)
    return said("p10.orphans", run=run.label, n=f"{run.orphans:,}") if run.orphans else ""


def _source(c: Context) -> list[Source]:
    return [of(r) for r in measured(c)]


def tables(c: Context, found: Quality) -> list[Table]:
    """By venue and strategy, by client, and what is in no figure."""
    return [
        _table(c, found, "10.3", "Quality by venue and strategy", ("venue", "strategy"), found.venue_strategies),
        _table(c, found, "10.4", "Quality by client", ("client",), found.clients),
        Table(
            id="10.5",
            title="In no figure of execution quality",
            columns=[column("what", "what", "wide", "what is missing"), column("n", "n", "int", "how often")],
            rows=[[what, n] for what, n in sorted(found.missing.items())],
            source=_source(c),
            note=f"Buckets and horizons: SHA-256 {found.buckets.sha256}; reference data: {_named(found)}.",
        ),
        _realised(c, found),
    ]  # fmt: skip


def _table(c: Context, found: Quality, key: str, title: str, by: tuple[str, ...], rows: list[Row]) -> Table:
    return Table(
        id=key,
        title=title,
        columns=[*[column(name, name, "text", f"the {name}") for name in by], *_columns(found)],
        rows=[[*[row.by.get(name) for name in by], *_cells(row)] for row in rows],
        source=_source(c),
        note="References: of a venue the quotes of the decision that sent the order, of a client those of its arrival.",
    )


def _columns(found: Quality) -> list[Column]:
    return [
        column("currency", "currency", "text", "the currency of spreads and fees"),
        column("qty", "with quotes", "qty", "executed quantity that had a two-sided reference"),
        column("effective_bps", "effective spread", "bps", "twice the distance from the mid-point"),
        column("quoted_bps", "quoted spread", "bps", "of the same quantity"),
        column("net_improvement_bps", "net improvement", "bps", "better less worse than the quote"),
        column("improved_qty", "improved", "qty", "executed better than the far side"),
        column("mid_qty", "at mid", "qty", "executed at the mid-point"),
        column("near_qty", "near", "qty", "executed at the near side or better"),
        column("far_qty", "far", "qty", "executed at the far side or worse"),
        column("fees_bps", "fees", "bps", "by money; negative is a rebate"),
        column("p50_ns", "time to fill p50", "ns", "to the first execution, engine clock"),
        *[column(f"markout_{ms}ms_bps", _label(ms), "bps", f"gained {ms} ms later") for ms in found.horizons_ms],
    ]


def _label(ms: int) -> str:
    """Heading of a markout."""
    return f"+{ms} ms" if ms < 1000 else f"+{ms // 1000} s"


def _cells(row: Row) -> list[Cell]:
    s = row.spreads
    later = [told.markout_bps for told in s.later]
    return [
        row.by.get("currency"), s.qty, s.effective_spread_bps, s.quoted_spread_bps, s.net_improvement_bps,
        s.improved_qty, s.mid_qty, s.near_qty, s.far_qty, row.fees_bps, row.time_to_fill_p50_ns, *later,
    ]  # fmt: skip


def _named(found: Quality) -> str:
    return f"SHA-256 {found.reference.sha256}" if found.reference is not None else "none"


def _realised(c: Context, found: Quality) -> Table:
    """Realised spreads by venue and strategy, a column a horizon."""
    rows: list[list[Cell]] = [
        [
            *(row.by.get(name) for name in ("venue", "strategy", "currency")), row.spreads.qty,
            row.spreads.effective_spread_bps, *(told.realized_spread_bps for told in row.spreads.later),
        ]
        for row in found.venue_strategies
    ]  # fmt: skip
    return Table(
        id="10.6",
        title="Realised spread by venue and strategy",
        columns=[
            column("venue", "venue", "text", "the venue"),
            column("strategy", "strategy", "text", "the strategy"),
            column("currency", "currency", "text", "the currency of spreads"),
            column("qty", "with quotes", "qty", "executed quantity that had a two-sided reference"),
            column("effective_bps", "effective spread", "bps", "twice the distance from the mid-point at the decision"),
            *[
                column(f"realised_{ms}ms_bps", _label(ms), "bps", f"twice the distance from the mid {ms} ms later")
                for ms in found.horizons_ms
            ],
        ],
        rows=rows,
        source=_source(c),
        note="What a venue's liquidity kept of the effective spread: the smaller, the more the market moved with us.",
    )
