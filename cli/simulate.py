"""`tickroute simulate`: the real core in a made-up world with faults, from seeds; failures are made short and kept.

Exit codes: 0 where every invariant held, 1 where one broke, 2 where it was asked wrongly. Worst case: a minute of
compiling the first time; making a failure short takes some hundred runs, seconds when compiled.
"""

from __future__ import annotations

from collections import Counter
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
    seeds: Annotated[str, typer.Option(metavar="A..B", help="The seeds to run, both ends too.")] = "0..99",
    seed: Annotated[int | None, typer.Option(min=0, help="Run this seed alone.", show_default=False)] = None,
    profile: Annotated[
        str, typer.Option(help="What goes wrong: none, feed, venues, reports, sessions, machine, disk, all, hostile.")
    ] = "all",
    strategy: Annotated[str, typer.Option(help="The strategy: a module, a file, or one of ours.")] = "strategies.sweep",
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
    from cli.machine import resolve
    from replay.simulate.profiles import find

    find(profile)
    strategy = resolve(strategy)
    first, last = (seed, seed) if seed is not None else _range(seeds)
    out = console(json)
    if replay is not None:
        found, done, counted = _again(replay)
    else:
        found, done, counted = _many(out, first, last, profile, strategy, inputs)
    if found is not None and shrink:
        found = _shorter(out, found)
    result: dict[str, Any] = {"runs": done, "failed": found is not None, "profile": profile, "strategy": strategy}
    result["faults"] = dict(sorted(counted.items()))
    command = ""
    if found is not None:
        _keep(keep, found)
        command = _command(found, profile, strategy, inputs)
        result.update(rule=found.rule, seen=found.seen, seed=found.seed, events=found.events)
        result.update(file=str(keep), command=command)
    if json is not None:
        write_json(json, result)
    if found is None:
        out.print(f"simulate: [bold green]all invariants held[/] in {done:,} runs")
        _show_faults(out, counted)
        return
    _show(out, found, keep, command)
    raise typer.Exit(FAILED)


def _range(text: str) -> tuple[int, int]:
    """(first, last) of A..B; one number is that seed."""
    first, dots, last = text.partition("..")
    try:
        a, b = int(first), int(last if dots else first)
    except ValueError:
        raise UsageError(f"--seeds {text}: is no range of seeds; write it as 0..99") from None
    if not 0 <= a <= b:
        raise UsageError(f"--seeds {text}: seeds begin at 0, and the first is not above the last")
    return a, b


def _many(
    out: Console, first: int, last: int, profile: str, strategy: str, inputs: int
) -> tuple[Result | None, int, Counter[str]]:
    """Run seeds until one fails: (it, or None; how many were run; how often each family of faults took place)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from replay.simulate.run import simulate as run

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.speed:.1f} seeds/s"),
        TimeRemainingColumn(),
    )
    counted, count = Counter[str](), last - first + 1
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal or count == 1) as bar:
        task = bar.add_task("simulating", total=count)
        for n in range(count):
            result = run(first + n, profile, strategy, inputs)
            counted.update(result.faults)
            if result.failed:
                return result, n + 1, counted
            bar.advance(task)
    return None, count, counted


def _again(path: Path) -> tuple[Result | None, int, Counter[str]]:
    """Run the events of a file; the result where it fails."""
    import msgspec

    from replay.simulate.run import Result, replay

    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Result)
    except OSError as error:
        raise UsageError(f"--replay {path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"--replay {path}: not a list of events that tickroute simulate wrote: {error}") from error
    result = replay(kept.setup, kept.events)
    return (result if result.failed else None), 1, Counter(result.faults)


def _shorter(out: Console, found: Result) -> Result:
    from replay.simulate.shrink import shrink

    with out.status(f"{found.rule}: making {len(found.events)} events fewer") as status:
        return shrink(found, progress=lambda runs, events: status.update(f"{runs} runs, {events} events"))


def _keep(path: Path, found: Result) -> None:
    import msgspec

    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def _command(found: Result, profile: str, strategy: str, inputs: int) -> str:
    """The command that runs the seed again; empty where there was none."""
    if found.seed is None:
        return ""
    default = "" if strategy == "strategies.sweep" else f" --strategy {strategy}"
    length = "" if inputs == 250 else f" --inputs {inputs}"
    return f"tickroute simulate --seed {found.seed} --profile {profile}{default}{length}"


def _show_faults(out: Console, counted: Counter[str]) -> None:
    """How often each family took place, in the order of the families."""
    from replay.simulate.faults import RANGES

    told = [f"{family} {counted[family]:,}" for family in RANGES if counted[family]]
    if told:
        out.print(f"  faults: {', '.join(told)}", markup=False)


def _show(out: Console, found: Result, path: Path, command: str) -> None:
    from replay.simulate.story import lines

    where = "" if found.seed is None else f" (seed {found.seed})"
    out.print(f"simulate: [bold red]an invariant broke[/]{where}")
    out.print(f"  must hold: {found.rule}", markup=False)
    out.print(f"  seen:      {found.seen}\n", markup=False, soft_wrap=True)
    for line in lines(found):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    out.print(f"\n  {len(found.events)} events in {path}; run them: tickroute simulate --replay {path}", markup=False)
    if command:
        out.print(f"  the whole run again: {command}", markup=False)
