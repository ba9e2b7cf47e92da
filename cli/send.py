"""`tickroute send`: parents into a running engine, one from the command line or many from a CSV file.

It stays connected until every parent has ended (or --wait is over) and shows each report. What is still open then stays
with the engine.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.output import JsonOption, console, write_json
from engine.errors import UsageError


def send(
    config: Annotated[Path, typer.Argument(help="The run's TOML configuration: endpoint, sessions, instruments.")],
    csv: Annotated[
        Path | None,
        typer.Argument(help="Parents: cl_ord_id, symbol, side, qty, px, ord_type, tif, account, at ..."),
    ] = None,
    symbol: Annotated[str, typer.Option(help="Instrument of a single parent.")] = "",
    side: Annotated[str, typer.Option(help="BUY, SELL or SELL_SHORT.")] = "BUY",
    qty: Annotated[str, typer.Option(help="Shares or coins.")] = "",
    px: Annotated[str, typer.Option(help="Limit price; none is a market order.")] = "",
    tif: Annotated[str, typer.Option(help="DAY, GTC, IOC or FOK.")] = "DAY",
    cl_ord_id: Annotated[str, typer.Option(help="The order's own id.", show_default="made from the time")] = "",
    session: Annotated[str, typer.Option(help="Client session.", show_default="the first of the configuration")] = "",
    wait: Annotated[float, typer.Option(help="Seconds to wait for the parents to end.", min=0)] = 30.0,
    json: JsonOption = None,
) -> None:
    """Send parents to a running engine and follow them to their end.

    Example:  tickroute send desk.toml --symbol XXX --side BUY --qty 500 --px 157.02 --tif IOC

    Example:  tickroute send desk.toml parents.csv --wait 60
    """
    from engine.run.config import load
    from gateways.orders.client import OrderClient

    settings = load(config)
    name = session or next((row.name for row in settings.session if row.role == "client"), "")
    known = {row.name: row for row in settings.session if row.role == "client"}
    if name not in known:
        raise UsageError(f"--session {name!r} is no client session of {config}; there are {', '.join(known) or 'none'}")
    parents = _parents(csv, settings, symbol, side, qty, px, tif, cl_ord_id)
    endpoint = settings.orders.endpoint if known[name].endpoint == "zmq" else known[name].endpoint
    screen = console(json)
    with OrderClient(endpoint, name, peer_timeout_ms=settings.engine.peer_timeout_ms) as client:
        client.connect()
        _follow(screen, client, parents, wait)
        orders = list(client.orders.values())
    rows = [_row(order) for order in orders]
    if json is not None:
        write_json(json, {"parents": rows, "open": sum(row["open"] for row in rows)})
    if json != "-":
        table = Table(box=None, header_style="dim")
        busted = any(row["busted_qty"] for row in rows)
        for title in ("cl_ord_id", "status", "filled", "left", *(["busted"] if busted else [])):
            table.add_column(title, justify="left" if title in ("cl_ord_id", "status") else "right")
        for row in rows[:50]:
            numbers = ["cum_qty", "leaves_qty", *(["busted_qty"] if busted else [])]
            table.add_row(row["cl_ord_id"], row["status"], *(f"{row[name]:,}" for name in numbers))
        screen.print(table)
        if len(rows) > 50:
            screen.print(f"... and {len(rows) - 50} more (--json has all)")
    if any(row["open"] for row in rows):
        raise typer.Exit(1)


def _parents(
    csv: Path | None, settings: Any, symbol: str, side: str, qty: str, px: str, tif: str, cl_ord_id: str
) -> list[Any]:
    """From the file, or the one that the options describe (by way of the same reader and its checks)."""
    import tempfile

    from gateways.orders.parents_file import read_parents

    if csv is not None:
        if symbol or qty:
            raise UsageError("give either a CSV file or --symbol and --qty, not both")
        return list(read_parents(csv, settings, time.time_ns()))
    if not symbol or not qty:
        raise UsageError("nothing to send: give a CSV file, or --symbol and --qty")
    ord_type = "LIMIT" if px else "MARKET"
    own = cl_ord_id or f"S{time.time_ns() // 1_000_000:x}"
    with tempfile.NamedTemporaryFile("w", suffix=".csv", prefix="options-", delete=True) as file:
        file.write("cl_ord_id,symbol,side,qty,px,ord_type,tif\n")
        file.write(f"{own},{symbol},{side},{qty},{px},{ord_type},{tif}\n")
        file.flush()
        return list(read_parents(file.name, settings))


def _follow(screen: Any, client: Any, parents: list[Any], wait: float) -> None:
    """Send each parent at its time, and take reports until all have ended or the wait is over."""
    from gateways.orders.status import OPEN

    waiting = sorted(parents, key=lambda parent: parent.at_ns)
    deadline = time.monotonic() + wait
    columns = (TextColumn("parents ended"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    with Progress(*columns, TimeElapsedColumn(), console=screen, transient=True) as bar:
        task = bar.add_task("", total=len(parents))
        while True:
            while waiting and waiting[0].at_ns <= time.time_ns():
                one = waiting.pop(0)
                client.new(
                    one.cl_ord_id,
                    instrument_id=one.instrument_id,
                    side=one.side,
                    qty=one.qty,
                    px=one.px,
                    ord_type=one.ord_type,
                    tif=one.tif,
                    account_id=one.account_id,
                    min_qty=one.min_qty,
                    display_qty=one.display_qty,
                )
                deadline = time.monotonic() + wait
            client.poll(0.01)
            ended = sum(order.ord_status not in OPEN for order in client.orders.values())
            bar.update(task, completed=ended)
            if ended == len(parents) or (not waiting and time.monotonic() > deadline):
                return


def _row(order: Any) -> dict[str, Any]:
    from gateways.orders.status import OPEN

    return {
        "cl_ord_id": order.cl_ord_id,
        "status": order.ord_status.name,
        "cum_qty": order.cum_qty,
        "leaves_qty": order.leaves_qty,
        "busted_qty": order.busted_qty,
        "open": order.ord_status in OPEN,
    }
