"""`tickroute quality RUN_DIR...`: execution quality by venue, strategy and client, of one run or of months of them.

The numbers are `replay.quality.measure`'s. Exit codes: 0; 2 where an option's file is wrong; 3 where a journal cannot
be read. Worst case: two passes over each journal; memory is that of the run with the most orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from cli.output import JsonOption, table, wide_console, write_json
from cli.verify import byte_bar, readable
from engine.errors import UsageError

#: Kinds of what is missing that are printed.
_MOST_MISSING = 16

if TYPE_CHECKING:
    from replay.quality.measure import Begin
    from replay.quality.structs import Quality, Row
    from replay.verify import Progress


def quality(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR...", help="Directories of runs, added up.", show_default=False)
    ],
    *,
    buckets: Annotated[
        Path | None,
        typer.Option(help="TOML file of sizes, kinds of orders, times; default: the usual.", show_default=False),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="TOML file of LEIs, person codes, classes, rates of exchange.", show_default=False),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write tables and records as CSV files.", show_default=False)
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the same as Parquet files.", show_default=False)
    ] = None,
    json: JsonOption = None,
) -> None:
    """Say how well orders were executed: fill rates, times, spreads, price improvement, markouts, fees, rejects.

    By venue, strategy and client, and in the shape of Rules 605 and 606 and of RTS 28. Many runs are read one after
    another and added up exactly. What a figure leaves out is counted. docs/quality.md says what is measured against
    what.

    --csv and --parquet write these tables, order records in the shape of RTS 24 and events in the shape of CAT;
    docs/quality-columns.md is the dictionary of their columns.
    """
    from replay.quality.reference import Reference
    from replay.quality.settings import load

    load(buckets)  # a mistake in a file is wrong use, and said before the work
    known = Reference.load(reference)
    for folder in (csv, parquet):
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file; name a directory to write into")
    out = wide_console(json)
    files: list[Path] = []
    with readable(), reading(out, runs, 2 if csv is None and parquet is None else 3) as begin:
        from replay.quality.measure import measure

        found = measure(runs, buckets=buckets, reference=reference, begin=begin)
        if csv is not None or parquet is not None:
            from replay.quality.export import export

            files = export(found, runs, known, csv, parquet, begin)
            missing = {f"rows without {name}": count for name, count in sorted(known.missing.items())}
            found = msgspec.structs.replace(found, missing=found.missing | missing)
    if json is not None:
        write_json(json, found)
    if json != "-":
        show(out, found)
        for file in files:
            out.print(f"written   {file}", soft_wrap=True, markup=False)


@contextmanager
def reading(out: Console, runs: Sequence[Path], passes: int) -> Iterator[Begin]:
    """A progress bar over the bytes of all runs' journals, which are read so often; gone when it is done.

    A run is measured in two passes; its records are a third.
    """
    from replay.verify import journal_bytes

    sizes = {path: journal_bytes(path) for path in runs}
    with byte_bar(out) as bar:
        task = bar.add_task("reading", total=passes * sum(map(sum, sizes.values())) or None)
        before, seen = 0, list[Path]()

        def begin(path: Path) -> Progress:
            nonlocal before
            mine, start, last, again = sizes[path], before, -1, 0
            seen.append(path)
            before += sum(mine) * (2 if len(seen) <= len(runs) else 1)
            bar.update(task, completed=start, description=path.name)

            def tell(segment: int, offset: int) -> None:
                nonlocal last, again
                at = sum(mine[:segment]) + offset
                again += at < last  # the second pass begins
                last = at
                bar.update(task, completed=start + at + again * sum(mine))

            return tell

        yield begin


def show(out: Console, found: Quality) -> None:
    """Print the tables that a person reads first; the rest is in the JSON."""
    for run in found.runs:
        note = f"; [yellow]{run.no_market}: nothing after executions[/]" if run.no_market else ""
        out.print(
            f"{run.run_dir}: {run.trading_day}, {run.strategy}, frames {run.first_seq:,} to {run.last_seq:,}{note}"
        )
    out.print()
    for title, rows in (
        ("By venue: orders sent there, against the market of the decision", found.venues),
        ("By strategy: clients' orders, against the market at their arrival", found.strategies),
        ("By client", found.clients),
    ):
        _executed(out, title, rows)
        _priced(out, rows, found.horizons_ms)
    for name, count in found.refused_orders.items():
        out.print(f"refused   {count:,} orders: {name}", markup=False)
    for name, count in list(found.missing.items())[:_MOST_MISSING]:
        out.print(f"left out  {count:,} {name}", markup=False)
    if len(found.missing) > _MOST_MISSING:
        out.print(
            f"          and {len(found.missing) - _MOST_MISSING} more kinds: see `missing` in the JSON", markup=False
        )


def _name(row: Row) -> str:
    return " ".join(row.by.values())


def _executed(out: Console, title: str, rows: Sequence[Row]) -> None:
    from replay.report.pages import mean, money, quantity, share
    from replay.times import time_text

    heads = ("", "orders", "routed", "filled", "rate", "avg fill", "added", "rejects", "late", "p50", "p99", "fees")
    cells = [
        (
            _name(row),
            f"{row.orders:,}",
            quantity(row.ordered_qty),
            quantity(row.filled_qty),
            share(row.fill_rate) if row.fill_rate is not None else "",
            mean(row.average_fill_qty),
            quantity(row.added_qty),
            str(row.rejects or ""),
            str(row.timeouts or ""),
            time_text(row.time_to_fill_p50_ns) if row.time_to_fill_p50_ns is not None else "",
            time_text(row.time_to_fill_p99_ns) if row.time_to_fill_p99_ns is not None else "",
            money(row.fees),
        )
        for row in rows
    ]
    table(out, title, heads, cells)


def _priced(out: Console, rows: Sequence[Row], horizons_ms: Sequence[int]) -> None:
    """Spreads and markouts in basis points."""
    later = [f"{horizon_ms / 1000:g} s" for horizon_ms in horizons_ms]
    heads = ("", "effective", "quoted", "E/Q", "improved", "at quote", "outside", *later)
    cells = []
    for row in rows:
        s = row.spreads
        parts = [_part(part, s.qty) for part in (s.improved_qty, s.at_quote_qty, s.outside_qty)]
        marks = [_number(part.markout_bps) for part in s.later]
        figures = (_number(s.effective_spread_bps), _number(s.quoted_spread_bps), _number(s.effective_over_quoted))
        cells.append((_name(row), *figures, *parts, *marks))
    table(out, "spreads and markouts, bps", heads, cells)


def _part(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _number(value: float | None) -> str:
    return f"{value:.2f}" if value is not None else ""
