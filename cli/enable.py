"""`tickroute enable RUN_DIR --strategy N`: a strategy that its throttle stopped may trade again."""

from __future__ import annotations

from cli import commanding as c
from cli.output import JsonOption
from engine.errors import UsageError


def enable(
    run_dir: c.RunDir,
    strategy: c.Strategy = "",
    reason: c.Note = "",
    wait: c.Wait = 10.0,
    connect: c.Connect = "",
    key: c.Key = None,
    server_key: c.ServerKey = None,
    socket: c.Socket = None,
    json: JsonOption = None,
) -> None:
    """Let a strategy trade again that its repeated-execution throttle has stopped: nothing else does that.

    Exit code 1: refused, or no engine.

    Example:  tickroute enable runs/today --strategy 3 --reason "checked with the desk"
    """
    if not strategy:
        raise UsageError("enable: name the strategy with --strategy")
    fields = {**c.scope_of(strategy=strategy), "note": reason}
    c.give(
        run_dir, "enable", fields, wait_s=wait, json=json, connect=connect, key=key, server_key=server_key,
        socket=socket,
    )  # fmt: skip
