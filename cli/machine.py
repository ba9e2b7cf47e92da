"""`tickroute machine NAME`: a strategy's machine, shown, drawn and proved before anything trades.

Exit codes: 0 where it verifies, 1 where something does not hold (every finding with its line), 2 wrong use. Worst case:
`--check` compiles the strategy the first time, a minute, and explores it, some minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.output import JsonOption, checked, console, write_json

#: The machine of child orders, which every strategy shares.
CHILD = "child"

if TYPE_CHECKING:
    from engine.workflow.explore import Exploration
    from engine.workflow.machine import Machine, Transition


def machine(
    name: Annotated[
        str,
        typer.Argument(help="A module (strategies.sweep), a file (mine/pounce.py), one of ours (sweep), or child."),
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Prove it: the declaration, then every order of events.")
    ] = False,
    table: Annotated[bool, typer.Option("--table", help="Every state and event, and what is done.")] = False,
    diagram: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it: FILE.svg or FILE.mmd.", callback=checked)
    ] = None,
    json: JsonOption = None,
) -> None:
    """Show a strategy's machine: states, time-outs, steps, and what takes a step back.

    --check verifies the declaration (total, deterministic, every state reachable and with a way to an end, no wait
    without a time-out, no effect without a compensation), and exits 1 with a line for each thing that does not hold.
    """
    from engine.run.bind import declared
    from engine.workflow.machine import MachineError
    from engine.workflow.verify import verify

    out = console(json)
    found = declared(resolve(name)) if name != CHILD else _child()
    findings = verify(found)
    result = describe(found, findings)
    if diagram is not None:
        _draw(found, diagram)
        out.print(f"wrote {diagram}", markup=False)
    if table:
        out.print(table_of(found))
    violated: list[str] = []
    if check and not findings:
        out.print(f"machine {found.name}: the declaration verifies", markup=False)
    if check and not findings and name == CHILD:
        _check_child(out)
    elif check and not findings:
        explored = prove(out, resolve(name))
        result["explored"] = explored
        violated = [row.name for row in explored if not row.good]
    result["good"] = not findings and not violated
    if not (check or table or diagram):
        summary(out, found)
    if json is not None:
        write_json(json, result)
    if findings:
        lines = "\n".join(f"  {finding}" for finding in findings)
        raise MachineError(f"machine {found.name} does not verify:\n{lines}")
    if violated:
        raise MachineError(f"machine {found.name} does not hold: {'; '.join(violated)}; see above")


def _child() -> Machine:
    from engine.workflow.child import machine as child

    return child


def _check_child(out: Console) -> None:
    """The child's machine is run by every exploration of a strategy; alone, its table is held against it."""
    from engine.workflow.child import check_child

    check_child()
    out.print("machine child: the core's table is the one that it declares", markup=False)


def prove(out: Console, strategy: str) -> list[Exploration]:
    """Explore every variant of a strategy, and tell each as it is done."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from engine.run.prove import prove as explore

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("compiling, then exploring", total=None)
        return explore(
            strategy,
            each=lambda found: show_explored(bar.console, found),
            progress=lambda name, states, transitions: bar.update(
                task, description=f"exploring {name}: {states:,} states, {transitions:,} transitions"
            ),
        )


def show_explored(out: Console, found: Exploration) -> None:
    """What exploring one variant found, and the shortest way to what does not hold."""
    word = "holds" if found.good else "[bold red]does not hold[/]" if found.violated else "[yellow]not complete[/]"
    out.print(
        f"  {found.name}: {word}; {found.counted}, {found.depth} events deep, {found.seconds:.1f} s",
        soft_wrap=True,
    )
    if found.violated:
        out.print(f"    {found.violated}; the shortest way there:", markup=False, soft_wrap=True)
        for line in found.counterexample:
            out.print(f"    {line}", markup=False, soft_wrap=True)


def resolve(name: str) -> str:
    """A module's name or a file for what was typed: "sweep" is strategies.sweep."""
    from importlib.util import find_spec

    if name.isidentifier() and not Path(f"{name}.py").exists() and find_spec(f"strategies.{name}") is not None:
        return f"strategies.{name}"
    return name


def _draw(found: Machine, target: Path) -> None:
    from engine.errors import UsageError
    from engine.workflow.diagram import mermaid
    from engine.workflow.drawing import svg

    if target.suffix == ".svg":
        target.write_text(svg(found), encoding="utf-8")
    elif target.suffix == ".mmd":
        target.write_text(mermaid(found), encoding="utf-8")
    else:
        raise UsageError(f"--diagram {target}: name a file that ends in .svg or .mmd")


def describe(found: Machine, findings: list[Any]) -> dict[str, Any]:
    """A machine as plain data."""
    from engine.workflow.machine import step_name
    from engine.workflow.returns import outcome_name
    from engine.workflow.verify import effects_of

    by_step = {step: by for step, by, _ in found.compensations}
    return {
        "machine": found.name,
        "events": [event.name for event in found.events],
        "states": [
            {
                "name": state.name,
                "code": state.code,
                "initial": state.initial,
                "terminal": state.terminal,
                "timeout": state.timeout.text if state.timeout else None,
                "enter": step_name(state.enter) if state.enter else None,
                "leave": step_name(state.leave) if state.leave else None,
            }
            for state in found.states
        ],
        "transitions": [
            {
                "state": t.state.name,
                "event": t.event.name,
                "step": step_name(t.step) if t.step else None,
                "outcomes": {outcome_name(t, outcome): target.name for outcome, target in t.outcomes.items()},
                "refuse": t.refuse.name if t.refuse else None,
                "ignore": t.why or None,
                "file": t.place.file,
                "line": t.place.line,
            }
            for t in found.transitions
        ],
        "steps": [
            {
                "name": step_name(step),
                "effects": sorted(effects_of(step, found.effects)),
                "compensation": step_name(by_step[step]) if step in by_step else None,
            }
            for step in found.steps()
        ],
        "parameters": {name: default for name, (_, default) in found.parameters.items()},
        "findings": [{"rule": f.rule, "text": f.text, "file": f.place.file, "line": f.place.line} for f in findings],
    }


def table_of(found: Machine) -> Table:
    """Every state and event with its answer."""
    rows = Table(title=f"machine {found.name}", title_justify="left", pad_edge=False)
    for heading in ("state", "event", "answer", "leads to"):
        rows.add_column(heading, overflow="fold")
    answers = {(t.state, int(t.event)): t for t in found.transitions}
    for state in found.states:
        if state.terminal and not found.ends_answer:
            continue
        for n, event in enumerate(found.events):
            t = answers.get((state, int(event)))
            rows.add_row(state.name if n == 0 else "", event.name, *_answer(t), end_section=n == len(found.events) - 1)
    return rows


def _answer(t: Transition | None) -> tuple[str, str]:
    from engine.workflow.machine import step_name
    from engine.workflow.returns import outcome_name

    if t is None:
        return "[bold red]none[/]", ""
    if t.step is not None:
        return f"[bold]{step_name(t.step)}[/]", "\n".join(
            f"{outcome_name(t, outcome)} → {target.name}" for outcome, target in t.outcomes.items()
        )
    if t.refuse is not None:
        return f"[yellow]refused[/], {t.refuse.name}", ""
    return f"[dim]ignored: {t.why}[/]", ""


def summary(out: Console, found: Machine) -> None:
    """States with their time-outs, steps with their effects."""
    from engine.workflow.machine import step_name
    from engine.workflow.verify import effects_of

    states = Table(title=f"machine {found.name}: states", title_justify="left", pad_edge=False)
    for heading in ("state", "lasts", "events it takes"):
        states.add_column(heading, overflow="fold")
    for state in found.states:
        lasts = "[dim]an end[/]" if state.terminal else state.timeout.text if state.timeout else "[bold red]for ever[/]"
        takes = [t.event.name for t in found.transitions if t.state is state and t.step is not None]
        states.add_row(state.name, lasts, ", ".join(takes))
    out.print(states)
    steps = Table(title="steps", title_justify="left", pad_edge=False)
    for heading in ("step", "effect", "compensated by"):
        steps.add_column(heading, overflow="fold")
    by_step = {step: by for step, by, _ in found.compensations}
    for step in found.steps():
        calls = ", ".join(sorted(name.rpartition(".")[2] for name in effects_of(step, found.effects)))
        steps.add_row(step_name(step), calls, step_name(by_step[step]) if step in by_step else "")
    out.print(steps)
    if found.parameters:
        values = ", ".join(f"{name} = {default}" for name, (_, default) in found.parameters.items())
        out.print(f"parameters (routing.parameters): {values}", markup=False)
