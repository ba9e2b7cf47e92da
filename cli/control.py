"""`tickroute control RUN_DIR kill-on | kill-off | cancel-all`: tell a running engine what it must do."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import JsonOption, console, write_json
from cli.status import killed_text

_SETTLE_S = 1.0


class Action(StrEnum):
    """What can be asked for."""

    KILL_ON = "kill-on"
    KILL_OFF = "kill-off"
    CANCEL_ALL = "cancel-all"


def control(
    run_dir: Annotated[Path, typer.Argument(help="The run's directory.", show_default=False)],
    action: Annotated[Action, typer.Argument(help="What the engine must do.", show_default=False)],
    json: JsonOption = None,
) -> None:
    """Tell a running engine what it must do, and wait until it has heard it.

    kill-on: no new order leaves, cancels do. kill-off: orders may leave again, also after a full disk or a halt had set
    the kill flag. cancel-all: every open order is cancelled.

    The record is journaled like every other input. Exit code 1: no engine runs there, or it does not listen.

    Example:  tickroute control runs/today kill-on
    """
    from engine.io.ring import RingError
    from engine.io.stats_file import StatsReader
    from engine.record.records import ControlAction
    from engine.run.control import ControlError, alive, cancel_all_record, kill_record, push

    if not alive(run_dir):
        there = "there is no run" if not (run_dir / "journal").exists() else "no engine works on this run"
        raise ControlError(f"{run_dir}: {there}; start it (tickroute run), or name a run directory that is in use")
    kill = action is not Action.CANCEL_ALL
    on = action is Action.KILL_ON
    record = kill_record(ControlAction.KILL_ON if on else ControlAction.KILL_OFF) if kill else cancel_all_record()
    try:
        push(run_dir, record, taken=True)
    except RingError as error:
        raise ControlError(f"{run_dir}: the engine is not ready yet, or on its way out: {error}") from error
    reader = StatsReader(run_dir / "stats")
    try:
        figures = _settled(reader, on if kill else None)
    finally:
        reader.close()
    found = {"run_dir": str(run_dir), "action": action.value, **figures}
    if json is not None:
        write_json(json, found)
    told = f"kill flag: {killed_text(figures['killed'])}"
    console(json).print(
        f"{action.value} taken: {told}; {figures['live_parents']} parents and {figures['live_children']} children live"
    )


def _settled(reader: Any, killed: bool | None) -> dict[str, int]:
    """Figures once they show the kill flag as it was asked for; what a cancel leads to takes the venues' time."""
    until = time.monotonic() + _SETTLE_S
    while True:
        counters = reader.counters()
        if killed is None or bool(counters["killed"]) == killed or time.monotonic() > until:
            return {name: int(counters[name]) for name in ("killed", "live_parents", "live_children")}
        time.sleep(0.002)
