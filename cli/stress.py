"""`tickroute stress RUN_DIR|FILE...`: the busiest recorded interval with its orders, faster and faster, until it is
too much.

What is played and how it is judged is in `replay.stress`, the processes in `cli.stress_bench`. Exit codes: 0; 1 where
no rate held, or not the one that --require names; 2 for wrong use; 3 where a journal cannot be read. Worst case:
--budget seconds and the rate in hand, after a minute of compiling the first time.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.output import JsonOption, checked, table, wide_console, write_json, write_text
from cli.stopping import stoppable
from cli.verify import byte_bar, readable
from engine.errors import TickrouteError, UsageError

if TYPE_CHECKING:
    from replay.stress.structs import Percentiles, Stress


class NoHeadroomError(TickrouteError):
    """The engine did not hold what was asked for."""


def stress(
    source: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_DIR|FILE...", help="A run, a recording, or TAQ files.", show_default=False),
    ],
    *,
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration to test; default: the run's own, or twelve US venues.", show_default=False),
    ] = None,
    orders: Annotated[
        Path | None,
        typer.Option(help="Clients' orders beside files: a CSV of `tickroute send`, with times.", show_default=False),
    ] = None,
    interval: Annotated[int, typer.Option(help="Length of the interval, ms.", min=10, max=3_600_000)] = 1000,
    rates: Annotated[
        str, typer.Option(help="Rates to try, such as 1,2,3; default: 1, 2, 4, ... until one falls behind.")
    ] = "",
    seconds: Annotated[float, typer.Option(help="Play each rate for so long.", min=0.05, max=600)] = 2.0,
    bound_ms: Annotated[float, typer.Option(help="The response that a rate must hold.", min=0.001)] = 10.0,
    budget: Annotated[float, typer.Option(help="Try no further rate after so many seconds.", min=1)] = 120.0,
    require: Annotated[float, typer.Option(help="Fail unless this rate held, such as 2.", min=0)] = 0.0,
    core: Annotated[int, typer.Option(help="CPU of the engine's loop; -1 leaves it to the scheduler.", min=-1)] = -1,
    spin: Annotated[bool, typer.Option("--spin", help="The sender spins: exact, and takes a core.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Keep the engine's run in this new directory.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write one self-contained page.", show_default=False, callback=checked)
    ] = None,
    json: JsonOption = None,
) -> None:
    """Find the busiest recorded interval and play it at 1, 2, 4 ... times its pace through a real engine process.

    Market data and clients' orders, which simulated venues answer, over the engine's real transport, with its journal,
    until the response to a record breaks the bound; twice, so that one stall of the machine is no verdict. The headroom
    is the highest rate that held. docs/stress.md.
    """
    from cli.stress_bench import Bench
    from cli.stress_run import Plan, open_market, run

    wanted = _rates(rates)
    if out is not None and out.exists():
        raise UsageError(f"{out}: is there already; name a new directory")
    screen = wide_console(json)
    plan = Plan(wanted, interval, seconds, int(bound_ms * 1e6), budget)
    with readable():
        market = open_market(source, config, orders)
    folder = out if out is not None else Path(tempfile.mkdtemp(prefix="tickroute-stress-"))
    try:
        with stoppable(f"the engine's run is in {out}" if out is not None else "nothing is left of the test"):
            folder.mkdir(parents=True, exist_ok=True)
            orders_too = market.asked is not None
            with (
                Bench(market.config, folder.resolve(), core=core, spin=spin, orders=orders_too) as bench,
                byte_bar(screen) as bar,
            ):
                found = run(bench, market, plan, bar)
    finally:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
    _tell(screen, found, json, html)
    if require and (found.headroom or 0.0) < require:
        raise NoHeadroomError(f"{require:g} times the recorded peak was asked for; {_held(found)}")
    if found.headroom is None:
        raise NoHeadroomError(f"no rate held: {found.why}")


def _tell(screen: Console, found: Stress, json: str | None, html: Path | None) -> None:
    """Write and print what was found."""
    if json is not None:
        write_json(json, found)
    if html is not None:
        from replay.stress.pictures import page

        write_text(html, page(found))
    if json != "-":
        show(screen, found)


def _rates(text: str) -> list[float]:
    """The rates that an option names, ascending; none is to double."""
    try:
        wanted = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        wanted = [0.0]
    if any(not 0.01 <= rate <= 1e6 for rate in wanted):
        raise UsageError(f"--rates {text}: give numbers from 0.01 to 1000000, such as 1,2,4")
    return sorted(set(wanted))


def show(out: Console, found: Stress) -> None:
    """Print a test."""
    from replay.stress.pictures import duration

    names = ", ".join(found.instruments[:8])
    out.print(f"[bold]{names}[/]  {found.first_utc} to {found.last_utc}, {found.messages:,} messages")
    for peak in found.peaks:
        out.print(f"peak      {peak.messages:,} in {peak.window_ms} ms ({peak.per_s:,.0f}/s), from {peak.begin_utc}")
    out.print(
        f"played    {found.interval_records:,} records of {found.interval_ms} ms, over {found.transport}, idle "
        f"{found.idle}, journal durable to {found.durability}"
    )
    out.print(f"orders    {_orders(found)}\n")
    rows = [
        (
            f"{row.times:g}x",
            f"{row.planned_per_s:,.0f}",
            f"{row.records:,}",
            *_times(row.response),
            duration(row.service.p50_ns),
            duration(row.service.p99_9_ns),
            duration(row.request_response.p99_ns or row.request_response.max_ns) if row.request_response else "",
            f"{row.reports:,}",
            f"{row.backlog_most:,}",
            "held" if row.held else "fell behind",
        )
        for row in found.rates
    ]
    heads = ("rate", "a second", "records", "p50", "p99", "p99.9", "max", "service p50", "p99.9", "requests", "reports",
             "backlog", "")  # fmt: skip
    table(out, "Response: from when a record was due to when the engine took it in", heads, rows)
    out.print(f"headroom  [bold]{_held(found)}[/]")
    if found.fell_behind_at is not None:
        out.print(f"          at {found.fell_behind_at:g} times: {found.why}", soft_wrap=True)
    else:
        out.print(f"          {found.stopped}")


def _times(values: Percentiles) -> list[str]:
    from replay.stress.pictures import duration

    return [duration(value) for value in (values.p50_ns, values.p99_ns, values.p99_9_ns, values.max_ns)]


def _orders(found: Stress) -> str:
    """What of clients was played."""
    if not found.venues:
        return "none: market data alone were played"
    told = f"{found.interval_requests:,} clients' requests among them, answered by {found.venues} venues"
    if found.opening_orders:
        told += f"; {found.opening_orders:,} orders of before are sent as it begins"
    if found.left_out:
        told += f"; {found.left_out:,} requests that name an order by the engine's id are left out"
    return told


def _held(found: Stress) -> str:
    if found.headroom is None:
        return "no rate held"
    rate = f"{found.headroom * found.interval_per_s:,.0f} a second"
    return f"{found.headroom:g} times the busiest {found.interval_ms} ms ({rate}) held"
