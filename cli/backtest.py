"""`tickroute backtest CONFIG.toml`: a recorded feed through the engine's own step and its venues, in virtual time.

It makes a run directory like a live run's, with tables of results in it; `verify`, `explain`, `state` and `report` read
it. Exit codes: 0; 1 where it could not go on; 2 where it was asked wrongly. Worst case: a strategy that was never bound
with these sources compiles for about a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from cli.output import JsonOption, wide_console, write_json
from cli.stopping import stoppable

if TYPE_CHECKING:
    from gateways.orders.parents import Parent
    from replay.backtest.host import Feed, Watch
    from replay.backtest.results import Result
    from replay.backtest.settings import Settings
    from replay.report.structs import Compared, Measured


#: Instruments whose quantities are shown.
_MOST_SYMBOLS = 12
SyntheticOption = Annotated[
    int | None,
    typer.Option(
        min=0, max=(1 << 62) - 1, metavar="SEED", help="Play the synthetic day of this seed.", show_default=False
    ),
]


def backtest(
    config: Annotated[
        Path,
        typer.Argument(
            help="A run's TOML configuration with a \\[backtest] table; or a run directory, to play its orders again."
        ),
    ],
    feeds: Annotated[
        list[Path] | None,
        typer.Argument(help="Files of the recorded day, in the place of backtest.feeds.", show_default=False),
    ] = None,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Run directory to make.", show_default="engine.run_dir of the file")
    ] = None,
    parents: Annotated[
        Path | None, typer.Option(help="CSV file of parents, in the place of the file's.", show_default=False)
    ] = None,
    signal: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet file of positions that are wanted, in their place.", show_default=False),
    ] = None,
    orders: Annotated[
        int | None, typer.Option(min=0, help="Parents that the seed draws.", show_default="backtest.orders")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed.", show_default="backtest.seed")] = None,
    synthetic: SyntheticOption = None,
    latency: Annotated[
        Literal["measured", "configured"],
        typer.Option(help="Of a run that is played again: the latencies that it measured, or was configured with."),
    ] = "measured",
    json: JsonOption = None,
) -> None:
    """Play a recorded day to the engine and its simulated venues in virtual time: two runs give one journal.

    Writes RUN_DIR (journal and stats, as a live run has them) and RUN_DIR/results/*.parquet; docs/backtest.md says what
    is in them.
    """
    from replay.backtest.measured import measured, with_latencies
    from replay.backtest.play import prepare
    from replay.backtest.results import Result
    from replay.backtest.settings import changed
    from replay.backtest.terms import feeds_of

    screen = wide_console(json)
    settings, listed = _asked(config, out, synthetic)
    found = None
    if listed is not None:
        with screen.status("reading the run"):
            found, feeds = measured(config), feeds or [config]
        if latency == "measured":
            settings = with_latencies(settings, found)
    given = {parents, signal, orders}
    settings = changed(settings, parents=parents, signal=signal, orders=orders, seed=seed)
    with screen.status("reading the feed, compiling or loading kernels"):
        host = prepare(settings, feeds or (), out, listed if given == {None} else None, synthetic=synthetic)
    with stoppable(f"nothing of it is left in {host.run_dir}"), host, _bar(screen, host.feed) as watch:
        done = host.run(watch)
    with screen.status("writing results"):
        result = Result(host.run_dir, done)
        result.write()
    summary = result.summary() | {"feeds": feeds_of(host.run_dir)}
    if found is not None:
        with screen.status("comparing"):
            summary["compared"] = _compare(config, result, found)
    if json is not None:
        write_json(json, summary)
    if json != "-":
        _show(screen, result, summary)


def _asked(config: Path, out: Path | None, synthetic: int | None) -> tuple[Settings, list[Parent] | None]:
    """What a file says; or, of a run directory, its configuration and its orders."""
    if not (config / "journal").is_dir():
        from replay.backtest.settings import load

        return load(config), None
    from cli.verify import readable
    from engine.errors import UsageError
    from replay.backtest.compare import again

    if out is None:
        raise UsageError(f"{config} is a run; name the directory of the backtest with --out")
    if synthetic is not None:
        raise UsageError(f"{config} is a run, which has a day: --synthetic is for a configuration; leave it out")
    with readable():
        return again(config)


def _compare(run_dir: Path, result: Result, found: Measured) -> Compared:
    """Hold a backtest against the run whose orders it played; RUN_DIR/results/compared.parquet and .json."""
    import pyarrow.parquet as pq

    from replay.backtest.compare import compare, summary

    table = compare(run_dir, result)
    pq.write_table(table, result.run_dir / "results" / "compared.parquet", compression="zstd")
    told = summary(table, run_dir, result, found)
    write_json(str(result.run_dir / "results" / "compared.json"), told)
    return told


@contextmanager
def _bar(screen: Console, feed: Feed) -> Iterator[Watch]:
    """A bar over the feed's bytes with events/s and the time that is left; nothing where no person watches."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[at]}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=max(feed.size, 1), at="", rate="")

        def watch(now: Any) -> None:
            from replay.report.measure import utc

            seconds = bar.tasks[0].elapsed or 0.0
            rate = f"{now.inputs / seconds:,.0f} events/s" if seconds else ""
            bar.update(task, completed=min(now.taken, feed.size), at=utc(now.now_ns)[:19], rate=rate)

        yield watch


def _show(screen: Console, result: Result, summary: dict[str, Any]) -> None:
    """The summary as a table."""
    from rich.table import Table

    from replay.report.pages import bps, money, quantity, share

    s = summary
    screen.print(f"[bold]{', '.join(s['instruments'])}[/]  {s['from_utc']} to {s['to_utc']}, {s['strategy']}")
    screen.print(f"events    {s['inputs']:,} in {s['seconds']:.2f} s: {s['events_per_s']:,} events/s")
    for row in s["feeds"]:
        _show_feed(screen, row)
    states = ", ".join(f"{count:,} {state}" for state, count in s["parents"].items()) or "none"
    screen.print(f"parents   {sum(s['parents'].values()):,}: {states}")
    several = s["quantities"] if len(s["quantities"]) > 1 else {"": s["quantity"]}
    for symbol, q in list(several.items())[:_MOST_SYMBOLS]:
        names = ("filled", "cancelled", "rejected", "busted", "open")
        parts = " + ".join(f"{quantity(q[name])} {name}" for name in names)
        mark = "[green]adds up[/]" if q["adds_up"] else "[bold red]does not add up[/]"
        of = f" {symbol}" if symbol else ""
        screen.print(f"quantity  {quantity(q['ordered'])}{of} ordered = {parts}: {mark}")
    if len(several) > _MOST_SYMBOLS:
        screen.print(f"          and {len(several) - _MOST_SYMBOLS:,} more instruments: see --json")
    with_fees = bps(s["shortfall_with_fees_bps"])
    screen.print(f"cost      {bps(s['shortfall_bps'])} against the arrival mid, {with_fees} with fees")
    if s["without_vwap"]:
        why = "the feed tells executions by orders, without a trade of each"
        screen.print(f"vwap      none of {', '.join(s['without_vwap'])}: {why}", markup=False)
    screen.print(f"fees      {money(s['fees'])} {s['currency']} on {money(s['notional'])} traded\n")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for n, head in enumerate(("venue", "children", "routed", "filled", "rate", "fees")):
        table.add_column(head, justify="right" if n else "left")
    for v in s["venues"]:
        rate = share(v["fill_rate"]) if v["fill_rate"] is not None else ""
        cells = (f"{v['children']:,}", quantity(v["routed_qty"]), quantity(v["filled_qty"]), rate, money(v["fee"]))
        table.add_row(v["mic"], *cells)
    screen.print(table)
    _show_losses(screen, s["losses"])
    if "compared" in s:
        _show_compared(screen, s["compared"])
    screen.print(f"\nrun      {result.run_dir}", soft_wrap=True, markup=False)
    screen.print(f"results  {result.run_dir / 'results'}", soft_wrap=True, markup=False)


def _show_losses(screen: Console, found: dict[str, Any]) -> None:
    """What the venues could not do; nothing where they could do all."""
    from replay.backtest.outcome import Losses

    if parts := Losses(**found).told:
        screen.print(f"at venues {'; '.join(parts)}", soft_wrap=True, markup=False)
    names = found["broken"]
    if names:
        more = len(names) - _MOST_SYMBOLS
        which = ", ".join(names[:_MOST_SYMBOLS]) + (f" and {more:,} more" if more > 0 else "")
        screen.print("[bold red]capacity[/]  a venue had no room for all orders and levels of these books:")
        text = f"{which}. Nothing could be taken there until the feed cleared them: play fewer instruments at a time"
        screen.print(f"          {text}", soft_wrap=True, markup=False)


def _show_compared(screen: Console, found: Compared) -> None:
    """What differs from the run that was played again."""
    text = f"compared with {found.run_dir}: {found.same:,} of {found.orders:,} orders came out the same"
    screen.print(f"\n{text}", markup=False, soft_wrap=True)
    for cause, count in found.causes.items():
        screen.print(f"  {count:,} apart by {cause}")
    for row in found.different[:20]:
        screen.print(f"  {row.cl_ord_id}  {row.why}", markup=False, soft_wrap=True)
    if len(found.different) > 20:
        screen.print(f"  and {len(found.different) - 20:,} more in results/compared.parquet")


def _show_feed(screen: Console, row: dict[str, Any]) -> None:
    """What was made of a file that had to be fitted."""
    if "format" not in row:
        return
    from msgspec import convert

    from replay.report.pages import faults
    from replay.report.structs import Played

    notes = [f"{row['given']:,} records out of {row['records']:,}"]
    if row.get("skew_ns"):
        notes.append(f"recorder's clock corrected by {row['skew_ns'] / 1e9:+.9f} s")
    if row.get("negative"):
        notes.append(f"{row['negative']:,} still received before they happened")
    if row.get("clamped"):
        notes.append(f"{row['clamped']:,} out of order, by {row['most_back_ns'] / 1e6:,.3f} ms at the most")
    if row.get("rounded"):
        notes.append(f"{row['rounded']:,} finer quantities rounded down, first {row['rounded_first']}")
    notes += row.get("notes", [])
    screen.print(
        f"feed      {Path(row['file']).name}: {row['format']}, {'; '.join(notes)}", soft_wrap=True, markup=False
    )
    if "gaps" in row:
        screen.print(f"          {faults(convert(row, Played))}", soft_wrap=True, markup=False)
    for reason, count in row["skipped"].items():
        example = row["examples"].get(reason, "?")
        screen.print(f"          skipped {count:,}: {reason}, first {example}", soft_wrap=True, markup=False)
