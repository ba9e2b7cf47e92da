"""`tickroute sweep CONFIG.toml --grid KEY=V1,V2`: a backtest for each combination, day and seed, on all cores.

It writes one Parquet file with a row a cell, one page that compares, and merged histograms. Exit codes: 0; 1 where a
cell failed or it could not go on; 2 where it was asked wrongly; 130 after Ctrl-C or SIGTERM, with no process left.
Worst case: a first minute of compiling, before the first cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.output import JsonOption, console, wide_console, write_json
from cli.stopping import stop_on_signals
from engine.errors import UsageError

if TYPE_CHECKING:
    from replay.sweep.local import Watch
    from replay.sweep.run import Plan, Swept

FAILED = 1


def sweep(
    config: Annotated[
        Path, typer.Argument(help="A TOML configuration, as tickroute backtest takes it.", show_default=False)
    ],
    feeds: Annotated[
        list[Path] | None, typer.Argument(help="Files of days, as --days: for a shell's *.", show_default=False)
    ] = None,
    *,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2", help="A key and its values; 1..9 or 10..90:10 are ranges.", show_default=False
        ),
    ] = None,
    days: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILES",
            help="A file, a folder or a pattern; files of one date are a day.",
            show_default="feeds of the file",
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="A..B", help="Seeds of each.", show_default="backtest.seed")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; on Ray, cells at a time.", show_default="all CPUs")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Play on this Ray cluster; local starts one.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of the results.")] = Path("runs/sweep"),
    keep: Annotated[bool, typer.Option("--keep", help="Keep each cell's run directory, OUT/cells/NNNNN.")] = False,
    json: JsonOption = None,
) -> None:
    """Play a backtest for each combination of values, day and seed; compare what they cost.

    Writes OUT/sweep.parquet (a row a cell), OUT/sweep.html (the combinations compared) and OUT/sweep.hlog (their
    histograms). Everything asked for is checked before anything runs; docs/backtest.md says what is in the files.
    """
    from replay.sweep.grid import pairs
    from replay.sweep.run import plan
    from replay.sweep.run import sweep as play

    stop_on_signals()
    screen = console(json)
    with screen.status("checking the grid and the days"):
        made = plan(config, pairs(grid or []), [*(days or []), *(feeds or [])], numbers(seeds) if seeds else None)
    parts = f"{len(made.variants):,} combinations x {len(made.days):,} days x {len(made.seeds):,} seeds"
    screen.print(f"{parts}: {made.size:,} cells")
    try:
        with _bar(screen, made) as watch:
            done = play(made, out, workers=workers, ray=ray, keep=keep, watch=watch)
    except KeyboardInterrupt:
        screen.print("stopped: nothing is written, and no process is left")
        raise typer.Exit(130) from None
    if json is not None:
        write_json(json, _told(done, out))
    if json != "-":
        _show(wide_console(json), done, out)
    if done.failed:
        raise typer.Exit(FAILED)


def numbers(text: str) -> list[int]:
    """Seeds: A..B (both ends too), or A,B,C. UsageError."""
    found: list[int] = []
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        try:
            low, high = int(first), int(last if dots else first)
        except ValueError:
            raise UsageError(f"--seeds {text}: write seeds as 0..9, or as 1,5,7") from None
        if not 0 <= low <= high or high - low >= 1_000_000:
            raise UsageError(f"--seeds {text}: seeds begin at 0, from low to high, a million at the most")
        found.extend(range(low, high + 1))
    return found


@contextmanager
def _bar(screen: Console, made: Plan) -> Iterator[Watch]:
    """A bar over the cells with events/s, retries and the time that is left; nothing where no person watches."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[at]}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=made.size, at="compiling or loading kernels", rate="")

        def watch(now: Any) -> None:
            seconds = bar.tasks[0].elapsed or 0.0
            rate = f"{now.inputs / seconds:,.0f} events/s" if seconds else ""
            again = f", {now.retries} begun again" if now.retries else ""
            bar.update(task, completed=now.cells, at=f"{int(now.cells):,} of {now.total:,} cells{again}", rate=rate)

        yield watch


def _told(done: Swept, out: Path) -> dict[str, Any]:
    """The result for programs: combinations, the cheapest first, and what failed."""
    keys = [axis.key for axis in done.plan.axes]
    rows = []
    for row in done.rows:
        told = {name: value for name, value in row._asdict().items() if name not in ("values", "figures", "histograms")}
        told["losses"] = row.losses._asdict()
        spreads = {name: told[name]._asdict() if told[name] else None for name in ("cost", "difference")}
        rows.append({"values": dict(zip(keys, row.values, strict=True))} | told | spreads)
    return {
        "config": done.plan.config,
        "grid": {axis.key: list(axis.values) for axis in done.plan.axes},
        "days": [day.name for day in done.plan.days],
        "seeds": done.plan.seeds,
        "cells": done.plan.size,
        "failed": [{"cell": n, "day": day, "seed": seed, "error": why} for n, day, seed, why in done.failed],
        "retries": done.retries,
        "combinations": rows,
        "parquet": str(out / "sweep.parquet"),
        "html": str(out / "sweep.html"),
    }


def _show(screen: Console, done: Swept, out: Path) -> None:
    """The combinations as a table, and what failed."""
    from rich.table import Table

    from replay.report.pages import share
    from replay.times import time_text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for axis in done.plan.axes:
        table.add_column(axis.key, justify="right", overflow="fold")
    for head in ("cells", "cost, bps", "+-", "beside the best", "fill rate", "fills", "order to fill p50"):
        table.add_column(head, justify="right")
    for row in done.rows[:40]:
        cost = (
            (f"{row.cost.mean:+.3f}", "" if row.cost.error is None else f"{row.cost.error:.3f}")
            if row.cost
            else ("n/a", "")
        )
        apart = "" if row.difference is None else f"{row.difference.mean:+.3f}"
        if row.difference is not None and row.difference.error is not None:
            apart += f" +- {row.difference.error:.3f}"
        to_fill = "" if row.order_to_fill_p50_ns is None else time_text(row.order_to_fill_p50_ns)
        cells = (str(row.cells - row.failed), *cost, apart, share(row.fill_rate), f"{row.fills:,}", to_fill)
        table.add_row(*map(str, row.values), *cells)
    screen.print(table)
    if len(done.rows) > 40:
        screen.print(f"and {len(done.rows) - 40:,} more in sweep.parquet")
    _show_losses(screen, done)
    if done.retries:
        screen.print(f"[yellow]{done.retries} cells were begun again: a worker died[/]")
    for number, day, seed, why in done.failed[:20]:
        screen.print(f"failed: cell {number}, {day}, seed {seed}: {why}", style="red", markup=False, soft_wrap=True)
    if done.failed:
        screen.print(f"[bold red]{len(done.failed)} of {done.plan.size} cells failed[/]")
    screen.print(f"\ntable    {out / 'sweep.parquet'}\npage     {out / 'sweep.html'}", soft_wrap=True, markup=False)


def _show_losses(screen: Console, done: Swept) -> None:
    """What the venues of all cells could not do; nothing where they could do all."""
    from functools import reduce

    from replay.backtest.outcome import Losses

    found = reduce(Losses.with_those_of, (row.losses for row in done.rows), Losses())
    if found.told:
        screen.print(f"at venues {'; '.join(found.told)}", soft_wrap=True, markup=False)
    if found.broken:
        more = f" and {len(found.broken) - 6:,} more" if len(found.broken) > 6 else ""
        screen.print("[bold red]capacity[/]  a venue had no room for all orders and levels of these books:")
        screen.print(f"          {', '.join(found.broken[:6])}{more}; the column broken has the cells", markup=False)
