"""`tickroute cancel-all RUN_DIR`: what lives in a scope is cancelled."""

from __future__ import annotations

from cli import commanding as c
from cli.output import JsonOption


def cancel_all(
    run_dir: c.RunDir,
    venue: c.Venue = "",
    session: c.Session = "",
    symbol: c.Symbol = "",
    strategy: c.Strategy = "",
    trader: c.Trader = "",
    client: c.Client = "",
    account: c.Account = "",
    reason: c.Note = "",
    wait: c.Wait = 10.0,
    connect: c.Connect = "",
    key: c.Key = None,
    server_key: c.ServerKey = None,
    socket: c.Socket = None,
    json: JsonOption = None,
) -> None:
    """Cancel all orders in a scope (everything, where none is named), and say what became of them.

    Clients' orders in the scope end. Of a venue, or a venue's session, its orders alone are cancelled, and what is left
    is routed elsewhere; to stop new ones as well, see `tickroute halt`. Exit code 1: refused, no engine, or an order
    has not ended.

    Example:  tickroute cancel-all runs/today --symbol SPY
    """
    scope = c.scope_of(
        venue=venue, session=session, symbol=symbol, strategy=strategy, trader=trader, client=client, account=account
    )
    fields = {**scope, "note": reason}
    c.give(
        run_dir, "cancel-all", fields, wait_s=wait, json=json, connect=connect, key=key, server_key=server_key,
        socket=socket,
    )  # fmt: skip
