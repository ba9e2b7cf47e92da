"""`tickroute halt RUN_DIR`: no new order of a scope leaves, and what lives in it is cancelled."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import commanding as c
from cli.output import JsonOption


def halt(
    run_dir: c.RunDir,
    venue: c.Venue = "",
    session: c.Session = "",
    symbol: c.Symbol = "",
    strategy: c.Strategy = "",
    trader: c.Trader = "",
    client: c.Client = "",
    account: c.Account = "",
    keep_orders: Annotated[bool, typer.Option("--keep-orders", help="Leave what lives at venues alone.")] = False,
    reason: c.Note = "",
    wait: c.Wait = 10.0,
    connect: c.Connect = "",
    key: c.Key = None,
    server_key: c.ServerKey = None,
    socket: c.Socket = None,
    json: JsonOption = None,
) -> None:
    """Stop trading in a scope (everything, where none is named): no new order leaves, what lives is cancelled.

    Cancels always leave. Orders may leave again after `tickroute resume` of the same scope. Exit code 1: refused, no
    engine, or an order has not ended.

    Example:  tickroute halt runs/today --strategy 3 --reason "prices look wrong"
    """
    scope = c.scope_of(
        venue=venue, session=session, symbol=symbol, strategy=strategy, trader=trader, client=client, account=account
    )
    fields = {**scope, "note": reason, "keep_orders": keep_orders}
    c.give(
        run_dir, "halt", fields, wait_s=wait, json=json, connect=connect, key=key, server_key=server_key, socket=socket
    )
