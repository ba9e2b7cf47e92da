"""`tickroute limits RUN_DIR RULE VALUE`: another limit of the risk gate, from now on."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import commanding as c
from cli.output import JsonOption

Rule = Annotated[str, typer.Argument(help="The rule, such as max-qty.", show_default=False)]
Value = Annotated[str, typer.Argument(help="The limit, a decimal number in the rule's unit.", show_default=False)]


def limits(
    run_dir: c.RunDir,
    rule: Rule,
    value: Value,
    session: c.Session = "",
    symbol: c.Symbol = "",
    strategy: c.Strategy = "",
    account: c.Account = "",
    reason: c.Note = "",
    wait: c.Wait = 10.0,
    connect: c.Connect = "",
    key: c.Key = None,
    server_key: c.ServerKey = None,
    socket: c.Socket = None,
    json: JsonOption = None,
) -> None:
    """Change a limit while the engine runs. The change is journaled with who asked for it.

    Of an instrument (--symbol): max-qty, max-position (shares or coins), max-notional (currency), collar,
    period-collar, fat-finger (basis points), instrument-rate (messages a second), restricted (0 or 1). Of a session:
    session-rate. Of a strategy: strategy-rate, repeated-execution. Of an account: gross-notional, net-notional. Of all:
    duplicate (ms). `tickroute state` shows the limits in force. Exit code 1: refused, or no engine.

    Example:  tickroute limits runs/today max-qty 5000 --symbol SPY
    """
    fields = {**c.scope_of(session=session, symbol=symbol, strategy=strategy, account=account)}
    fields |= {"rule": rule, "value": value, "note": reason}
    c.give(
        run_dir, "limits", fields, wait_s=wait, json=json, connect=connect, key=key, server_key=server_key,
        socket=socket,
    )  # fmt: skip
