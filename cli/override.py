"""`tickroute override RUN_DIR RULE VALUE --for 15m`: another limit for a while, by two persons."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from cli import commanding as c
from cli.output import JsonOption
from engine.errors import UsageError

_SPAN = re.compile(r"([0-9]{1,5})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def override(
    run_dir: c.RunDir,
    rule: Annotated[str, typer.Argument(help="The rule, such as max-qty.", show_default=False)] = "",
    value: Annotated[str, typer.Argument(help="The limit, in the rule's unit.", show_default=False)] = "",
    session: c.Session = "",
    symbol: c.Symbol = "",
    strategy: c.Strategy = "",
    account: c.Account = "",
    lasts: Annotated[str, typer.Option("--for", help="How long, such as 90s, 15m or 2h.", show_default=False)] = "",
    approve: Annotated[int, typer.Option(min=0, help="Be the second person of this override.")] = 0,
    pending: Annotated[bool, typer.Option("--pending", help="List those that wait for a second person.")] = False,
    reason: c.Note = "",
    wait: c.Wait = 10.0,
    connect: c.Connect = "",
    key: c.Key = None,
    server_key: c.ServerKey = None,
    socket: c.Socket = None,
    json: JsonOption = None,
) -> None:
    """Ask for another limit for a while, or approve what another person has asked for.

    It takes effect when a second person approves it, and ends by itself. Rules and scopes are those of `tickroute
    limits`. Exit code 1: refused, or no engine.

    Example:  tickroute override runs/today max-qty 50000 --symbol SPY --for 15m
    """
    fields: dict[str, Any] = {"note": reason}
    command = "approve" if approve else "pending" if pending else "override"
    if command == "override":
        span = _SPAN.fullmatch(lasts)
        if not rule or not value or span is None:
            raise UsageError(
                "override: name a rule, its value and how long, max-qty 50000 --for 15m; or --approve, or --pending"
            )
        fields |= c.scope_of(session=session, symbol=symbol, strategy=strategy, account=account)
        fields |= {"rule": rule, "value": value, "lasts_s": int(span[1]) * _SECONDS[span[2]]}
    elif rule or value or lasts:
        raise UsageError(f"--{command} stands alone: the override says the rest")
    else:
        fields["number"] = approve
    c.give(
        run_dir, command, fields, wait_s=wait, json=json, connect=connect, key=key, server_key=server_key,
        socket=socket,
    )  # fmt: skip
