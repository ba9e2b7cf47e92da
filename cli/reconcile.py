"""`tickroute reconcile RUN_DIR`: what the engine booked against what venues say that they executed.

Worst case: a file of a million executions takes some ten seconds; both sides are held in memory.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.output import JsonOption, wide_console, write_json

if TYPE_CHECKING:
    from replay.reconcile.compare import Break
    from replay.reconcile.run import Outcome

_SHOWN = 50
_TURN_S = 0.02


def reconcile(
    run_dir: Annotated[Path, typer.Argument(help="The run's directory.", show_default=False)],
    venue_file: Annotated[
        list[Path] | None, typer.Option("--venue-file", help="A venue's record: CSV or Parquet; may be repeated.")
    ] = None,
    stream: Annotated[
        list[str] | None, typer.Option("--stream", help="Endpoint of a venue's drop copy; may be repeated.")
    ] = None,
    venue: Annotated[
        list[str] | None, typer.Option("--venue", metavar="MIC", help="Only these venues; may be repeated.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="NAME=COLUMN", help="A file's own name of a column.")
    ] = None,
    grace_ms: Annotated[
        int, typer.Option(min=0, help="With --stream: what only one side has is a break after so long.")
    ] = 2000,
    seconds: Annotated[
        float, typer.Option(min=0, help="With --stream: stop after so long; 0 runs until Ctrl-C.")
    ] = 0.0,
    json: JsonOption = None,
) -> None:
    """Hold the engine's executions against venues' own records, and show each break with its age.

    A break is an execution that one side misses, that differs in price, quantity, side, order or symbol, that came
    twice, or whose bust or correction one side does not have. Breaks go onto the run's alert stream, and into
    RUN_DIR/breaks.jsonl. Exit code 0: both sides agree; 1: there are breaks.

    Example:  tickroute reconcile runs/today --venue-file XNYS.csv --venue XNYS
    """
    from engine.errors import UsageError
    from replay.reconcile.run import Run, against_files, tell
    from replay.reconcile.venue_file import read

    files, endpoints, venues = venue_file or [], stream or [], venue or []
    if bool(files) == bool(endpoints):
        raise UsageError("give --venue-file FILE, or --stream ENDPOINT: whom to reconcile against")
    with Run(run_dir, live=True) as run:
        mics = [row.mic for row in run.config.venue]
        unknown = [mic for mic in venues if mic not in mics]
        if unknown:
            raise UsageError(f"--venue {unknown[0]}: must be one of the run's venues: {', '.join(mics)}")
        screen = wide_console(json)
        if files:
            columns = _columns(column or [])
            theirs = [entry for path in files for entry in read(path, run.config, columns, venues)]
            found = against_files(run, theirs, venues)
        else:
            found = _follow(screen, run, endpoints, venues, grace_ms, seconds)
    tell(run_dir)
    if json is not None:
        write_json(json, {"run_dir": str(run_dir), **found.plain()})
    if json != "-":
        _print(screen, found)
    if found.breaks or found.stream.get("missing"):
        raise typer.Exit(1)


def _columns(given: list[str]) -> dict[str, str]:
    from engine.errors import UsageError

    found = {}
    for text in given:
        name, mark, value = text.partition("=")
        if not mark or not value:
            raise UsageError(f"--column {text}: give NAME=COLUMN, such as exec_id=ExecID")
        found[name] = value
    return found


def _follow(
    screen: Console, run: Any, endpoints: list[str], venues: list[str], grace_ms: int, seconds: float
) -> Outcome:
    """Compare until the time is over, or a signal."""
    from cli.stopping import stop_on_signals
    from replay.reconcile.run import Following

    stop_on_signals()
    following = Following(run, endpoints, venues, grace_ms)
    until_s = time.monotonic() + seconds if seconds else float("inf")
    try:
        while time.monotonic() < until_s:
            new, gone = following.turn()
            for row in new:
                screen.print(f"[yellow]break[/] {_line(row)}", soft_wrap=True)
            for row in gone:
                screen.print(f"[dim]no more[/] {_line(row)}", soft_wrap=True)
            time.sleep(_TURN_S)
    except KeyboardInterrupt:
        pass
    return following.close()


def _line(row: Break) -> str:
    said = "; ".join(
        text for text in (f"ours {row.ours}" if row.ours else "", f"theirs {row.theirs}" if row.theirs else "") if text
    )
    return escape(f"{row.kind} {row.mic} {row.exec_id}: {said}")


def _print(screen: Console, found: Outcome) -> None:
    from replay.times import span_text, utc_ns

    if found.breaks:
        table = Table(box=None, header_style="dim")
        for title in ("break", "venue", "execution", "order", "symbol", "ours", "theirs", "since", "age"):
            table.add_column(title)
        for row in found.breaks[:_SHOWN]:
            age = span_text(row.age_ns) if row.age_ns is not None else "unknown"
            table.add_row(
                row.kind, row.mic, escape(row.exec_id), str(row.order_id or ""), row.symbol, row.ours, row.theirs,
                utc_ns(row.since_ns or 0), age,
            )  # fmt: skip
        screen.print(table)
        if len(found.breaks) > _SHOWN:
            screen.print(f"and {len(found.breaks) - _SHOWN} more (--json has them all)")
    told = f"; {found.stream['missing']} records of the stream are missing" if found.stream.get("missing") else ""
    screen.print(
        f"{found.ours:,} records here, {found.theirs:,} there, {found.agreed:,} executions agree, "
        f"{len(found.breaks):,} breaks{told}"
    )
