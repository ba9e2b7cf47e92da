"""`tickroute run CONFIG.toml`: the engine as a daemon in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from cli.output import JsonOption, console, write_json
from cli.shadow import ShadowVenues, forgotten_on_error
from cli.verify import progress_bar
from cli.watch import Watching

if TYPE_CHECKING:
    from engine.run.config import Config
    from engine.run.daemon import Engine
    from engine.run.life import Life
    from engine.run.recover import Recovery


def run(
    config: Annotated[Path, typer.Argument(help="TOML configuration; docs/example.toml explains every key")],
    seconds: Annotated[float, typer.Option(help="stop after this long; 0 runs until a signal")] = 0.0,
    no_snapshots: Annotated[
        bool, typer.Option("--no-snapshots", help="recover from the journal's first frame, as a check")
    ] = False,
    after_halt: Annotated[bool, typer.Option("--after-halt", help="go on with a run that had halted itself")] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="live feed, simulated venues: no order leaves for the configured ones")
    ] = False,
    no_watch: Annotated[
        bool, typer.Option("--no-watch", help="without the process beside it: no alerts, clock samples, drop copy")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Run the engine: connect to feeds, take orders, route, journal.

    Nothing is sent before every kernel is compiled, loaded and rehearsed. SIGINT (Ctrl-C) and SIGTERM cancel what is
    live, wait up to two seconds for the venues, and close the journal. An engine that finds itself broken cancels what
    is live, writes why into RUN_DIR/halted.txt, and ends with exit code 1.

    Where the run directory holds a run, however it ended, it is recovered and goes on: the journal is driven through
    the core to the state that it had, every live order is asked about at its venue, and nothing is sent twice.

    A process beside the engine tells alerts, samples the clock and copies executions (docs/alerts.md).

    With --shadow (or [engine] shadow = true) orders go to simulated venues that follow the same live feed, and nothing
    to the configured ones; everything else is as in production.

    Example:  tickroute run desk.toml
    """
    from engine.run.config import load
    from engine.run.daemon import Engine
    from engine.run.halt import HaltedError
    from engine.run.shadow import shadowed

    settings = load(config)
    if shadow or settings.engine.shadow:
        settings = shadowed(settings)
    # Until the loop runs there is nothing to end in order: a signal ends the compiler as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    out = console(json)
    out.print(f"compiling and rehearsing {settings.routing.strategy} (a minute the first time) ...")
    _prove(out, settings.routing.strategy)
    venues = ShadowVenues(settings, config, out) if settings.engine.shadow else None
    with forgotten_on_error(venues), progress_bar(out, Path(settings.engine.run_dir)) as progress:
        engine = Engine(settings, halted=after_halt, use_snapshots=not no_snapshots, progress=progress)
    if engine.recovery is not None:
        _tell(out, engine.recovery, engine.life)
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _frame: stopping.append(got))
    if venues is not None:
        venues.start(settings)
    watching = None if no_watch else Watching(settings)
    if watching is not None:
        watching.start()
    engine.start()
    ready_ms = since_exec_ms()
    _say_ready(out, settings, engine, time.monotonic() - began)
    final = _until_stopped(engine, venues, watching, stopping, seconds)
    _say_stopped(out, settings, engine, final, ready_ms, json)
    if engine.halted is not None:
        raise HaltedError(engine.halted.text(engine.run_dir))


def _say_ready(out: Console, settings: Config, engine: Engine, seconds: float) -> None:
    from engine.run.reference_risk import rules_off

    core = settings.engine.core if settings.engine.core >= 0 else "any"
    out.print(
        f"ready after {seconds:.1f} s: run {engine.run_dir}, core {core}, "
        f"idle {settings.engine.idle}, clock {settings.engine.clock}, durability {settings.journal.durability}, "
        f"orders {settings.orders.endpoint}"
    )
    if off := rules_off(settings):
        out.print(f"pre-trade rules that are off: {', '.join(off)}", style="yellow")


def _say_stopped(
    out: Console, settings: Config, engine: Engine, final: dict[str, int], ready_ms: float, json: str | None
) -> None:
    out.print(
        f"stopped: {final['inputs']} inputs, {final['outputs']} outputs, {final['live_parents']} parents and "
        f"{final['live_children']} children left live, {final['refusals']} refusals"
    )
    if json is not None:
        recovered = _figures(engine.recovery, engine.life, ready_ms) if engine.recovery is not None else None
        halted = engine.halted._asdict() if engine.halted is not None else None
        write_json(
            json,
            {
                "run_dir": str(engine.run_dir),
                "shadow": settings.engine.shadow,
                "figures": final,
                "recovery": recovered,
                "halted": halted,
            },
        )


def _until_stopped(
    engine: Engine, venues: ShadowVenues | None, watching: Watching | None, stopping: list[int], seconds: float
) -> dict[str, int]:
    """Look after the engine until a signal, its end, or for so long (0: for ever); its last figures."""
    until = time.monotonic() + seconds if seconds > 0 else float("inf")
    try:
        while not stopping and engine.running and time.monotonic() < until:
            engine.poll()
            if venues is not None:
                venues.poll()
            if watching is not None:
                watching.poll()
            time.sleep(0.05)
        return engine.stop()
    finally:
        if watching is not None:
            watching.stop()
        if venues is not None:
            venues.stop()


def _prove(out: Console, strategy: str) -> None:
    """A strategy from outside is explored before the first start with it."""
    from engine.run.prove import prove_once

    for found in prove_once(strategy):
        whole = "holds" if found.complete else "[yellow]holds as far as it was explored[/]"
        out.print(f"{strategy}, {found.name}: {whole}; {found.counted}, {found.seconds:.1f} s")


def since_exec_ms() -> float:
    """Milliseconds since this process began, to some 10 ms (the kernel's clock tick)."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")) * 1e3


def _tell(out: Console, recovery: Recovery, life: Life) -> None:
    """Say what a recovery found."""
    start = recovery.start
    since = f"snapshot {start.header.seq}, loaded in {start.load_ms:,.0f} ms" if start.header else "the first frame"
    out.print(
        f"recovered {start.rerun.inputs:,} inputs in {recovery.replay_ms:,.0f} ms from {since}: life {life.number} of "
        f"this run; the journal was {recovery.end.ending.name.lower()}, {recovery.end.torn_bytes} torn bytes set aside"
    )
    for why in start.skipped:
        out.print(f"[yellow]snapshot skipped:[/] {escape(why)}")
    if recovery.torn_outputs:
        out.print(f"{recovery.torn_outputs} outputs of the last input were not on the journal whole and never sent")
    if start.watch.given_up:
        out.print(f"[yellow]a repair gave up at most {start.watch.given_up} outputs; as many numbers are left out[/]")
    if recovery.to_reconcile:
        told = ", ".join(f"{name} ({count})" for name, count in recovery.to_reconcile.items())
        out.print(f"to reconcile: live children by session: {told}; each is asked for when its session is up")
    for key, value in recovery.changed.items():
        out.print(f"changed: {key} = {value!r}", markup=False)


def _figures(recovery: Recovery, life: Life, ready_ms: float) -> dict[str, Any]:
    return {
        "life": life.number,
        "ready_ms": round(ready_ms, 3),
        "state_ms": round(recovery.state_ms, 3),
        "replay_ms": round(recovery.replay_ms, 3),
        "snapshot_seq": recovery.start.header.seq if recovery.start.header else None,
        "snapshot_load_ms": round(recovery.start.load_ms, 3),
        "snapshots_skipped": recovery.start.skipped,
        "inputs_replayed": recovery.start.rerun.inputs,
        "ending": recovery.end.ending.name.lower(),
        "torn_bytes": recovery.end.torn_bytes,
        "torn_outputs": recovery.torn_outputs,
        "last_seq": recovery.end.last_seq,
        "to_reconcile": recovery.to_reconcile,
    }
