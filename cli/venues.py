"""`tickroute venues CONFIG.toml`: the simulated venues as a process of their own."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from cli.output import JsonOption, console, write_json


def venues(
    config: Annotated[
        Path, typer.Argument(help="The run's TOML configuration; \\[simulation] says how venues behave.")
    ],
    feed: Annotated[
        list[str] | None, typer.Option(help="Endpoint of the feed; none is [\\[feed]] of the configuration.")
    ] = None,
    session: Annotated[list[str] | None, typer.Option(help="Venue session to serve; none is all.")] = None,
    shadow: Annotated[
        Path | None, typer.Option(hidden=True, help="Be the venues of this run directory's shadow engine.")
    ] = None,
    drop_copy: Annotated[
        str | None,
        typer.Option(help="Write executions down: a CSV file, or an endpoint (ipc://, tcp://) to publish on."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Stop after this long; 0 runs until a signal.", min=0)] = 0.0,
    json: JsonOption = None,
) -> None:
    """Be the venues of a configuration: match orders against the recorded quotes, with latency, rejects, partial fills.

    It dials into the engine, and again when the engine restarts. Ctrl-C ends it cleanly.

    Example:  tickroute venues desk.toml --json venues.json
    """
    from engine.run.config import load
    from engine.run.shadow import shadowed
    from gateways.venues.simulated import run_venues

    settings = load(config)
    if shadow is not None:
        engine = msgspec.structs.replace(settings.engine, run_dir=str(shadow))
        settings = shadowed(msgspec.structs.replace(settings, engine=engine))
        threading.Thread(target=_end_with_parent, daemon=True).start()
    screen = console(json)
    screen.print("loading kernels ...")
    counters = run_venues(
        settings,
        feed or None,
        session or None,
        on_ready=lambda _: screen.print(f"ready: {len(settings.venue)} venues"),
        seconds=seconds or None,
        record=drop_copy,
    )
    if json is not None:
        write_json(json, counters)
    if json == "-":
        return
    table = Table(box=None, header_style="dim")
    columns = ("orders", "fills", "filled_qty", "rejects", "lost")
    for title in ("venue", *columns):
        table.add_column(title, justify="left" if title == "venue" else "right")
    for mic, row in counters["venues"].items():
        table.add_row(mic, *(f"{row[name]:,}" for name in columns))
    screen.print(table)


def _end_with_parent() -> None:
    """Wait until the engine's process is no more (our input closes), and end as a signal would end us."""
    while os.read(0, 1 << 10):  # not through sys.stdin, whose lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)
