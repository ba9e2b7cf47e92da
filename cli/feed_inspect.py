"""`tickroute feed inspect FILE`: what a recorded file holds, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.given import DayOption, DecimalsOption, MarketOption, ProductOption, SymbolOption, given_of
from cli.output import JsonOption, wide_console, write_json
from cli.reading import reading

if TYPE_CHECKING:
    from gateways.formats.inspection import Inspection

#: Rows of a table that are shown; the JSON has all.
_SHOWN = 20


def inspect(
    file: Annotated[Path, typer.Argument(help="A recorded file, of whatever known format and packing.")],
    day: DayOption = None,
    market: MarketOption = None,
    symbol: SymbolOption = None,
    decimals: DecimalsOption = None,
    product: ProductOption = None,
    json: JsonOption = None,
) -> None:
    """Read a recorded file whole: its format, messages by type, instruments, span, gaps, crossed books, clocks.

    Nothing is corrected. A file that is cut, damaged or of no known format is refused with the place and the reason.

    Example:  tickroute feed inspect 20240808.gz --json found.json
    """
    from gateways.formats.inspection import inspect as look

    out = wide_console(json)
    given = given_of(day, market, symbol, decimals, product)
    with reading(out, "reading") as progress:
        found = look(file, progress, given)
    if json is not None:
        write_json(json, found)
    _show(out, found)


def _show(out: Console, found: Inspection) -> None:
    out.print(f"[bold]{escape(found.file)}[/]: {found.format}, {found.packing}, {found.bytes:,} bytes", soft_wrap=True)
    for note in found.notes:
        out.print(f"[bold yellow]note[/]: {escape(note)}")
    out.print(f"{found.messages:,} messages, {sum(found.records.values()):,} records: {_counts(found.records)}")
    out.print(f"events    {_span(found.first_ns, found.last_ns)}, {found.late:,} out of order")
    if found.first_recv_ns:
        out.print(f"received  {_span(found.first_recv_ns, found.last_recv_ns)}, {found.late_recv:,} out of order")
    out.print(f"gaps {found.gaps:,} ({found.lost:,} messages lost), repeated {found.repeated:,}")
    later = f", of orders that replaced one of these {found.dangling_after_replace:,}"
    out.print(f"changes of orders that were never added {found.dangling:,}{later if found.dangling else ''}")
    out.print(f"touches {found.touches:,}, crossed {found.crossed:,}, locked {found.locked:,}")
    if found.latency is not None:
        each = " / ".join(
            f"{ns / 1e6:,.3f}" for ns in (found.latency.least_ns, found.latency.median_ns, found.latency.most_ns)
        )
        negative = f"{found.latency.negative:,} of {found.latency.timed:,} negative"
        out.print(f"under way {each} ms (least / median / most), {negative}")
    if found.skew_ns:
        out.print(
            f"[bold yellow]clock skew[/]: the recorder's clock is at least {found.skew_ns / 1e9:.3f} s behind the "
            "source's; correct it with `feed convert --skew auto`, or leave its times alone"
        )
    for reason, count in found.skipped.items():
        out.print(f"skipped {count:,}: {reason}, first {found.examples.get(reason, '?')}", markup=False)
    if found.passed_over:
        out.print(f"passed over, as no messages of the format: {_counts(found.passed_over)}")
    if found.unfollowed:
        out.print(f"[bold yellow]not followed[/]: {found.unfollowed:,} records found no room in the books")
    _table(out, "message", [(name, f"{count:,}") for name, count in found.by_type.items()])
    columns = sorted(found.instruments, key=lambda row: -row.records)
    rows = [(r.symbol, r.venue, f"{r.records:,}", f"{r.trades:,}", f"{r.crossed:,}") for r in columns]
    _table(out, "instrument", rows, "venue", "records", "trades", "crossed")


def _table(out: Console, name: str, rows: Sequence[tuple[str, ...]], *more: str) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column(name)
    for column in more or ("count",):
        table.add_column(column, justify="left" if column == "venue" else "right")
    for row in rows[:_SHOWN]:
        table.add_row(*map(escape, row))
    out.print(table)
    if len(rows) > _SHOWN:
        out.print(f"… and {len(rows) - _SHOWN:,} more (--json has all)")


def _counts(records: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in records.items()) or "none"


def _span(first_ns: int, last_ns: int) -> str:
    if not first_ns:
        return "none"
    first, last = (datetime.fromtimestamp(ns // 10**9, UTC) for ns in (first_ns, last_ns))
    return f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC ({(last_ns - first_ns) / 1e9:,.3f} s)"
