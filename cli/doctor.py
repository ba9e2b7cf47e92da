"""`tickroute doctor`: what this machine would do to a busy-polling loop; settings read, stalls measured.

The facts are in `engine.run.host`, the verdicts in `engine.run.checks`, the measurements in `engine.run.probe`; here
they are shown. Worst case: about five seconds, two of them a busy core; `--seconds 0` reads the settings alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.output import JsonOption, console, write_json
from engine.errors import UsageError
from engine.run import checks
from engine.run.host import default_core, host_facts

_MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "unknown": "[dim]unknown[/]"}


def doctor(
    *,
    json: JsonOption = None,
    core: Annotated[
        int, typer.Option(help="CPU that the loop will have; -1 takes the first isolated one.", min=-1)
    ] = -1,
    seconds: Annotated[
        float, typer.Option(help="How long to watch for stalls; 0 measures nothing.", min=0, max=60)
    ] = 2.0,
    folder: Annotated[
        Path | None, typer.Option(help="Where to measure an fsync.", show_default="temporary folder")
    ] = None,
) -> None:
    """Check this machine for what stalls a busy-polling loop, and measure what it does to one.

    Reads settings of boot, power, clock, memory, kernel, interrupts, network and container, and says for each what is
    wanted, why, and what to do; "unknown" is said where nothing can be read. Then measures: stalls of a spinning core,
    a system call, an fsync, a ZeroMQ round trip. Changes nothing, needs no privileges. Exits 0 whatever it finds.
    """
    usable = sorted(os.sched_getaffinity(0))
    if core >= 0 and core not in usable:
        raise UsageError(f"--core {core} is no CPU that this process may use; it may use {', '.join(map(str, usable))}")
    core = default_core() if core < 0 else core
    screen = console(json)
    facts = host_facts(core)
    found = checks.check(facts, core)
    result: dict[str, Any] = {"core": core, "host": facts, "measured": None}
    if seconds > 0:
        from engine.run.probe import measure

        with screen.status(f"watching core {core} for {seconds:g} s"):
            result["measured"] = measure(core, seconds, folder)
        found += checks.check(result["measured"], core, checks.MEASURED)
    result["checks"] = [row._asdict() for row in found]
    result["kernel_cache"] = kernel_cache()
    result["summary"] = {verdict: sum(row.verdict == verdict for row in found) for verdict in _MARKS}
    if json is not None:
        write_json(json, result)
    if json != "-":
        show(screen, core, found, result)


def kernel_cache() -> dict[str, int]:
    """How many builds' kernels are kept, what they take, and how many of them living processes use."""
    from engine.cache import entries
    from engine.jit import cache_home

    found = entries(cache_home(), "kernels-*")
    size = sum(entry.size_bytes for entry in found)
    return {"builds": len(found), "size_bytes": size, "in_use": sum(entry.in_use for entry in found)}


def show(screen: Console, core: int, found: Sequence[checks.Check], result: dict[str, Any]) -> None:
    """Print the verdicts by section, what interrupted the core, and what to do about each warning."""
    machine = result["host"]["machine"]
    kind = "virtual machine" if machine["virtual"] else "machine"
    screen.print(
        f"{machine['cpu'] or machine['architecture']}, {machine['cpus']} CPUs, {kind}; the loop's core: {core}\n"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "check", "here", "wanted"):
        table.add_column(title, overflow="fold")
    section = ""
    for row in found:
        if row.section != section:
            section = row.section
            table.add_row("", f"[bold]{section.replace('_', ' ')}[/]")
        table.add_row(_MARKS[row.verdict], row.name, shown(row.value), row.wanted)
    screen.print(table)
    rates = (result["measured"] or {}).get("interrupts") or {}
    if rates:
        screen.print("\n[bold]what interrupted the core[/], a second")
        for name, rate in list(rates.items())[:5]:
            screen.print(f"  {rate:>9}  {name}", markup=False)
    warnings = [row for row in found if row.verdict == "warn"]
    if warnings:
        screen.print("\n[bold]what to do[/], in the order of the list")
        for row in warnings:
            screen.print(f"  {row.name}: {row.why}\n    {row.remedy}", markup=False)
    kept = result["kernel_cache"]
    screen.print(
        f"\nkernel cache: {kept['builds']} builds, {kept['size_bytes'] / 2**20:,.0f} MiB, {kept['in_use']} in use; the "
        "next build removes what nobody has used for a day, but the dozen used last"
    )
    totals = ", ".join(f"{count} {verdict}" for verdict, count in result["summary"].items())
    screen.print(f"\n{totals}")


def shown(value: Any) -> str:
    """A fact for people: yes and no for truth, unknown for None, "none" for what is empty."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        parts = [f"{v['name']} {v['latency_us']} us" if isinstance(v, dict) else str(v) for v in value]
        return ", ".join(parts) or "none"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value) if value != "" else "none"
