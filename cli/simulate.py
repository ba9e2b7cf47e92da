"""`tickroute simulate`: the real core in a made-up world with faults, from seeds; failures are made short and kept.

Exit codes: 0 where every invariant held, 1 where one broke. Worst case: a minute of compiling the first time; making a
failure short takes some hundred runs, seconds when compiled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.output import JsonOption, checked, console, write_json
from engine.errors import UsageError

if TYPE_CHECKING:
    from replay.simulate.run import Result

FAILED = 1


def simulate(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds to run.")] = 100,
    seed: Annotated[int | None, typer.Option(help="Run this seed alone.", show_default=False)] = None,
    start: Annotated[int, typer.Option("--from", min=0, help="The first seed.")] = 0,
    faults: Annotated[
        str, typer.Option(help="What goes wrong: none, feed, venues, sessions, machine, all, hostile.")
    ] = ("all"),
    strategy: Annotated[str, typer.Option(help="The strategy, a Python module.")] = "strategies.sweep",
    inputs: Annotated[int, typer.Option(min=1, help="Inputs that the engine takes in each seed.")] = 250,
    shrink: Annotated[bool, typer.Option(help="Make a failing list of events short.")] = True,
    keep: Annotated[Path, typer.Option(help="Where a failing list of events is written.", callback=checked)] = Path(
        "simulate-failed.json"
    ),
    replay: Annotated[
        Path | None, typer.Option(help="Run the events of such a file instead of seeds.", show_default=False)
    ] = None,
    json: JsonOption = None,
) -> None:
    """Run the core in a made-up world whose venues, network, clock and disk misbehave; hold it to its invariants.

    Each seed is one run: the same seed gives the same journal. At the first run that breaks an invariant it stops,
    makes the list of events short, prints it, and writes it to a file that --replay runs again.
    """
    from replay.simulate.profiles import find

    find(faults)
    out = console(json)
    if replay is not None:
        found, done = _again(replay), 1
    else:
        first, count = (start, seeds) if seed is None else (seed, 1)
        found, done = _many(out, first, count, faults, strategy, inputs)
    if found is not None and shrink:
        found = _shorter(out, found)
    result = {"runs": done, "failed": found is not None, "faults": faults, "strategy": strategy}
    if found is not None:
        _keep(keep, found)
        result.update(rule=found.rule, seen=found.seen, seed=found.seed, events=found.events, file=str(keep))
    if json is not None:
        write_json(json, result)
    if found is None:
        out.print(f"simulate: [bold green]all invariants held[/] in {done:,} runs")
        return
    _show(out, found, keep)
    raise typer.Exit(FAILED)


def _many(out: Console, first: int, count: int, faults: str, strategy: str, inputs: int) -> tuple[Any, int]:
    """Run seeds until one fails: (it, or None; how many were run)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from replay.simulate.run import simulate as run

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.speed:.1f} seeds/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal or count == 1) as bar:
        task = bar.add_task("simulating", total=count)
        for n in range(count):
            result = run(first + n, faults, strategy, inputs)
            if result.failed:
                return result, n + 1
            bar.advance(task)
    return None, count


def _again(path: Path) -> Any:
    """Run the events of a file; the result where it fails."""
    import msgspec

    from replay.simulate.run import Result, replay

    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Result)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: not a list of events that tickroute simulate wrote: {error}") from error
    result = replay(kept.setup, kept.events)
    return result if result.failed else None


def _shorter(out: Console, found: Result) -> Result:
    from replay.simulate.shrink import shrink

    with out.status(f"{found.rule}: making {len(found.events)} events fewer") as status:
        return shrink(found, progress=lambda runs, events: status.update(f"{runs} runs, {events} events"))


def _keep(path: Path, found: Result) -> None:
    import msgspec

    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def _show(out: Console, found: Result, path: Path) -> None:
    from replay.simulate.story import lines

    where = "" if found.seed is None else f" (seed {found.seed})"
    out.print(f"simulate: [bold red]an invariant broke[/]{where}")
    out.print(f"  must hold: {found.rule}", markup=False)
    out.print(f"  seen:      {found.seen}\n", markup=False, soft_wrap=True)
    for line in lines(found):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    out.print(
        f"\n  {len(found.events)} events in {path}; run them again: tickroute simulate --replay {path}", markup=False
    )
