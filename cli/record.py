"""`tickroute record CONFIG.toml OUT`: what comes on the configuration's feeds, as a recording with receive times."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.output import JsonOption, checked, console, write_json
from engine.errors import UsageError

if TYPE_CHECKING:
    from gateways.feeds.recorder import Recorded


def record(
    config: Annotated[Path, typer.Argument(help="The run's TOML configuration: venues, instruments, feed endpoints.")],
    out: Annotated[Path, typer.Argument(help="The recording to write.")],
    zstd: Annotated[bool, typer.Option("--zstd/--plain", help="Blocks packed, or plain.")] = True,
    until_day_end: Annotated[
        bool, typer.Option("--until-day-end", help="Stop when every stream has said that its day is over.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT.")] = False,
    json: JsonOption = None,
) -> None:
    """Subscribe to the feeds of a configuration and write what they send, until Ctrl-C or SIGTERM.

    OUT is there when it ends. A full disk ends it with exit code 1, and what the disk took is a recording; of one that
    was killed `tickroute feed convert OUT.PID.partial OUT` reads what is whole. Missing records are counted.

    Example:  tickroute record desk.toml today.rec
    """
    from engine.run.config import load
    from gateways.feeds.recorder import Recorder
    from gateways.formats.recorded_write import unfinished

    settings = load(config)
    if out.exists() and not force:
        raise UsageError(f"{out}: is there already; name another file, or overwrite it with --force")
    checked(out)
    screen = console(json)
    for left in unfinished(out):
        rescue = f"`tickroute feed convert {left} FILE` reads what is whole of it"
        screen.print(f"[bold yellow]unfinished[/]: {left} is of a recorder that did not end; {rescue}", soft_wrap=True)
    with Recorder(settings, out, zstd=zstd) as recorder, screen.status("recording") as line:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: recorder.stop())
        screen.print(f"recording {', '.join(row.endpoint for row in settings.feed)}", soft_wrap=True)
        found = recorder.run(
            until_day_end=until_day_end, progress=lambda n, s: line.update(f"{n:,} records, {s:,.0f} s, {n / s:,.0f}/s")
        )
    _told(screen, found, json)
    if found.failed:
        raise typer.Exit(1)


def _told(screen: Console, found: Recorded, json: str | None) -> None:
    if json is not None:
        write_json(json, found)
    records = ", ".join(f"{name} {count:,}" for name, count in found.records.items()) or "none"
    screen.print(f"[bold]{found.out}[/]: {found.blocks:,} blocks, {found.bytes_out:,} bytes", soft_wrap=True)
    screen.print(f"records {sum(found.records.values()):,}: {records}")
    screen.print(f"gaps {found.gaps:,} ({found.lost:,} records lost), repeated {found.repeated:,}")
    if found.malformed or found.left_out:
        bad = f"{found.malformed:,} messages and {found.left_out:,} records cannot be, and are not in it"
        screen.print(f"[bold yellow]left out[/]: {bad}")
    if found.negative:
        bad = f"{found.negative:,} records came before they happened, the least by {-found.least_ns:,} ns"
        screen.print(f"[bold yellow]clock skew[/]: {bad}")
    if found.failed:
        bad = f"{found.failed}; {found.unwritten:,} records that came are not in it; free space, and record on"
        screen.print(f"[bold red]ended early[/]: {bad}", soft_wrap=True)
