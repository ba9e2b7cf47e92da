"""`tickroute perf NAME`: a benchmark, with its figures as a table and as JSON.

The benchmarks are in `perf/`; what their figures mean is in docs/perf.md. Exits 0 when a benchmark was carried out,
whether its aims were met or not: a shared machine says little about an aim, and the JSON says which were met. With
`--strict` it exits 1 where one was not. Worst case: minutes; `--quick` is a few seconds, to see that all works.
"""

from __future__ import annotations

import importlib
import inspect
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.output import JsonOption, console, write_json
from engine.errors import UsageError
from perf import BENCHES

if TYPE_CHECKING:
    from perf.result import Result


#: Columns that the table of a benchmark needs.
_TABLE_WIDTH = 136


def perf(
    name: Annotated[str | None, typer.Argument(help="Benchmark to run; --list names them.", show_default=False)] = None,
    json: JsonOption = None,
    list_: Annotated[bool, typer.Option("--list", help="Name the benchmarks and what they measure.")] = False,
    core: Annotated[
        int, typer.Option(help="CPU of the loop; -1 takes the last that this process may use.", min=-1)
    ] = -1,
    seconds: Annotated[
        float | None, typer.Option(help="Length of the paced part of steady (120).", min=1, show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option(help="A few seconds, to see that it works.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit 1 where an aim was not met.")] = False,
) -> None:
    """Run a benchmark and print its figures beside their aims.

    Ratios travel between machines, absolute times do not: each row that can has a baseline that was measured in the
    same run, alternating with ours. The JSON holds the machine's facts and the commit beside the rows.
    """
    screen = console(json)
    if list_:
        for bench, summary in BENCHES.items():
            screen.print(f"{bench:<8} {summary}")
        if json is not None:
            write_json(json, BENCHES)
        return
    if name not in BENCHES:
        hint = "tickroute perf --list says what they measure"
        raise UsageError(f"benchmark {name!r}: there are {', '.join(BENCHES)}; {hint}")
    usable = sorted(os.sched_getaffinity(0))
    if core >= 0 and core not in usable:
        raise UsageError(f"--core {core} is no CPU that this process may use; it may use {', '.join(map(str, usable))}")
    found = measure(screen, name, {"core": core, "short": quick, "seconds": seconds})
    if json is not None:
        write_json(json, found)
    if json != "-":
        show(screen, found)
    if strict and any(row.met is False for row in found.rows):
        raise typer.Exit(1)


def measure(screen: Console, name: str, options: dict[str, Any]) -> Result:
    """Run a benchmark under a progress bar; options that it does not have are left out."""
    run = importlib.import_module(f"perf.{name}").run
    known = inspect.signature(run).parameters
    chosen = {key: value for key, value in options.items() if key in known and value is not None}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bars:
        task = bars.add_task(name, total=1.0)
        found: Result = run(lambda what, part: bars.update(task, description=what, completed=part), **chosen)
        return found


def show(screen: Console, found: Result) -> None:
    """Print the rows as a table, and what the benchmark noted."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    for title in ("p50", "p99", "p99.9", "max", "n", "baseline", "ratio", "aim"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in found.rows:
        mark = {True: "[green]met[/]", False: "[yellow]not met[/]", None: ""}[row.met]
        figures = (row.p50, row.p99, row.p99_9, row.max, row.n, row.baseline, row.ratio, row.reach)
        table.add_row(row.name, *(shown(value) for value in figures), row.unit, mark)
    # A table wider than the terminal runs over: folded figures cannot be read.
    wide = Console(width=max(screen.width, _TABLE_WIDTH), stderr=screen.stderr, highlight=False)
    wide.print(table)
    for note in found.notes:
        screen.print(f"  {note}", markup=False, style="dim")
    screen.print(f"  commit {found.commit}; what the figures mean: docs/perf.md", markup=False, style="dim")


def shown(value: float | None) -> str:
    """A figure for people: no more digits than it has meaning."""
    if value is None:
        return ""
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.3g}"
