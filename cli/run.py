"""`tickroute run CONFIG.toml`: the engine as a daemon in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption, console, write_json


def run(
    config: Annotated[Path, typer.Argument(help="TOML configuration; docs/example.toml explains every key")],
    seconds: Annotated[float, typer.Option(help="stop after this long; 0 runs until a signal")] = 0.0,
    json: JsonOption = None,
) -> None:
    """Run the engine: connect to feeds, take orders, route, journal.

    Nothing is sent before every kernel is compiled, loaded and rehearsed. SIGINT (Ctrl-C) and SIGTERM cancel what is
    live, wait up to two seconds for the venues, and close the journal.

    Example:  tickroute run desk.toml
    """
    from engine.run.config import load
    from engine.run.daemon import Engine

    settings = load(config)
    # Until the loop runs there is nothing to end in order: a signal ends the compiler as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    out = console(json)
    out.print(f"compiling and rehearsing {settings.routing.strategy} (a minute the first time) ...")
    engine = Engine(settings)
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _frame: stopping.append(got))
    engine.start()
    core = settings.engine.core if settings.engine.core >= 0 else "any"
    out.print(
        f"ready after {time.monotonic() - began:.1f} s: run {engine.run_dir}, core {core}, "
        f"idle {settings.engine.idle}, clock {settings.engine.clock}, durability {settings.journal.durability}, "
        f"orders {settings.orders.endpoint}"
    )
    until = time.monotonic() + seconds if seconds > 0 else float("inf")
    while not stopping and engine.running and time.monotonic() < until:
        engine.poll()
        time.sleep(0.05)
    final = engine.stop()
    out.print(
        f"stopped: {final['inputs']} inputs, {final['outputs']} outputs, {final['live_parents']} parents and "
        f"{final['live_children']} children left live, {final['refusals']} refusals"
    )
    if json is not None:
        write_json(json, {"run_dir": str(engine.run_dir), "figures": final})
