"""`tickroute resume RUN_DIR`: orders of a halted scope may leave again."""

from __future__ import annotations

from cli import commanding as c
from cli.output import JsonOption


def resume(
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
    """Let orders of a halted scope leave again: of exactly the scope that is named, other halts stay.

    Without a scope it lifts the halt of everything, also one that the engine set itself (a full disk, a broken
    invariant). Exit code 1: refused, or no engine.

    Example:  tickroute resume runs/today --strategy 3
    """
    scope = c.scope_of(
        venue=venue, session=session, symbol=symbol, strategy=strategy, trader=trader, client=client, account=account
    )
    fields = {**scope, "note": reason}
    c.give(
        run_dir, "resume", fields, wait_s=wait, json=json, connect=connect, key=key, server_key=server_key,
        socket=socket,
    )  # fmt: skip
