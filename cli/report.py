"""`tickroute report RUN_DIR`: what a run did, in numbers: on the terminal, as JSON, as one HTML page.

The numbers are `replay.report.measure`'s, the page is `replay.report.pages`'. With --profile it is the compliance
report, `cli.report_full`'s. Exit codes: 0; 1 where the verification
found a difference; 3 where the journal cannot be read. Worst case: two passes over the journal, and a minute of
compiling the first time; `--no-verify` leaves out the second pass and the compiling of the core.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.output import JsonOption, checked, table, wide_console, write_json, write_text
from cli.report_full import (
    BucketsOption,
    Given,
    ReferenceOption,
    RunDirs,
    SealKeyOption,
    SealOption,
    StressOption,
    compliance,
)
from cli.verify import DIFFERENT, progress_bar, readable
from engine.errors import UsageError

if TYPE_CHECKING:
    from replay.report.structs import Measures
    from replay.report.trading import Drawn


def report(
    run_dirs: RunDirs,
    *,
    profile: Annotated[
        str | None,
        typer.Option(help="Rule profile of the compliance report: eu-2026, uk or us.", show_default=False),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Of the compliance report: html, pdf, json, parquet (html).", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File of the compliance report, or folder of Parquet.", show_default=False)
    ] = None,
    replays: Annotated[int, typer.Option(help="How often the compliance report replays each run.", min=0, max=9)] = 2,
    seal: SealOption = None,
    seal_key: SealKeyOption = None,
    stress: StressOption = None,
    buckets: BucketsOption = None,
    reference: ReferenceOption = None,
    json: JsonOption = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write the quick report as one self-contained page.", show_default=False, callback=checked),
    ] = None,
    verify: Annotated[bool, typer.Option(help="Replay the run and compare every output.")] = True,
) -> None:
    """Report on a run: orders, cost and fees, venues, latency by stage, what was refused, and where it comes from.

    Prints to the terminal; --html writes a page that can be mailed and printed, --json the same numbers for programs.
    With --profile it is the compliance report instead: fourteen parts from one run or from months of them, as HTML,
    PDF, JSON or Parquet; `tickroute report verify` makes it again and compares.
    """
    out = wide_console(json)
    if profile is not None:
        if html is not None or not verify:
            raise UsageError("--html and --no-verify are of the quick report; use --output and --replays")
        given = Given(seal or [], stress or [], seal_key, buckets, reference)
        compliance(out, run_dirs, profile, formats or ["html"], output, replays, given, json)
        return
    if formats or output is not None or seal or stress or seal_key or buckets or reference:
        raise UsageError(
            "--format, --output, --seal, --seal-key, --stress, --buckets and --reference need --profile: eu-2026, ..."
        )
    if len(run_dirs) > 1:
        raise UsageError("the quick report is of one run; with --profile it is of many")
    _quick(out, run_dirs[0], json, html, verify)


def _quick(out: Console, run_dir: Path, json: str | None, html: Path | None, verify: bool) -> None:
    """The report on the terminal, as JSON, as one page."""
    with readable(), progress_bar(out, run_dir) as progress:
        from replay.report.measure import measure_and_draw

        measures, drawn = measure_and_draw(run_dir, check=verify, progress=progress)
    if json is not None:
        write_json(json, measures)
    if html is not None:
        write_page(html, measures, drawn)
    if json != "-":
        show(out, measures)
    if html is not None:
        out.print(f"report: {html}", soft_wrap=True, markup=False)
    if measures.verify is not None and measures.verify.difference is not None:
        raise typer.Exit(DIFFERENT)


def write_page(path: Path, measures: Measures, drawn: Drawn) -> None:
    """Write the HTML page, whole or not at all. OSError as is."""
    from replay.report.pages import page

    write_text(path, page(measures, drawn))


def show(out: Console, m: Measures) -> None:
    """Print a report."""
    from replay.report.pages import bps, clock, money, quantity, share

    out.print(
        f"[bold]{', '.join(m.run.instruments)}, {m.run.trading_day}[/]  {' to '.join(map(clock, m.run.period_utc))}"
    )
    out.print(f"{m.run.strategy}, {len(m.run.venues)} venues, {m.feed.messages:,} market data, {m.feed.gaps} gaps")
    _show_verdict(out, m)
    states = ", ".join(f"{count:,} {state}" for state, count in m.parents.by_state.items())
    out.print(f"\nparents   {m.parents.sent:,} sent: {states}")
    fresh = ", ".join(f"{name}: {count:,}" for name, count in m.parents.fresh.items())
    out.print(f"          by fresh venues at arrival {fresh} ({share(m.parents.share_2_or_more)} saw two or more)")
    s = m.shares
    parts = f"{quantity(s.filled)} filled + {quantity(s.cancelled)} cancelled + {quantity(s.rejected)} rejected"
    parts += f" + {quantity(s.busted)} busted" if s.busted else ""
    parts += f" + {quantity(s.open)} open" if s.open else ""
    parts += f" - {quantity(s.overfilled)} overfilled" if s.overfilled else ""
    mark = "[green]adds up[/]" if s.adds_up else "[bold red]does not add up[/]"
    out.print(f"quantity  {quantity(s.ordered)} ordered = {parts}: {mark}")
    c = m.cost
    out.print(
        f"cost      {bps(c.touch_bps)} against the arrival touch (buy: offer, sell: bid), "
        f"{bps(c.touch_with_fees_bps)} with fees; {bps(c.mid_bps)} against the mid-point"
    )
    out.print(
        f"          apart: {c.crossed} crossed, {c.one_sided} one-sided, {c.no_quote} empty arrivals; "
        f"{quantity(c.apart_qty)} filled on them"
    )
    o = m.outcome
    out.print(f"fees      {money(o.fees)} {o.currency} on {money(o.notional)} traded")
    _show_played(out, m)
    _show_trading(out, m)
    _show_changes(out, m)
    _show_venues(out, m)
    _show_latency(out, m)
    _show_trouble(out, m)


def _show_played(out: Console, m: Measures) -> None:
    """What was wrong with the files that a backtest played."""
    from replay.report.pages import faults

    for row in m.played:
        out.print(f"feed      {row.file}: {faults(row)}", markup=False, soft_wrap=True)


def _show_trading(out: Console, m: Measures) -> None:
    """Cost by benchmark, and where the market went after fills."""
    from replay.report.pages import bps

    if m.trading is None:
        return
    told = [f"{row.name} {bps(row.bps)}" for row in m.trading.benchmarks if row.bps is not None]
    out.print(f"against   {', '.join(told) or 'nothing that can be said'}")
    marks = [f"{row.horizon_s:g} s {bps(row.bps)}" for row in m.trading.markouts if row.bps is not None]
    if marks:
        out.print(f"markouts  {', '.join(marks)}")
    if m.trading.market:
        out.print(f"          without what needs market data: {m.trading.market}")
    out.print()


def _show_changes(out: Console, m: Measures) -> None:
    """What venues took back or changed, and what was asked to be changed there."""
    from replay.report.pages import quantity

    o = m.outcome
    said = [
        (o.busts, f"{o.busts:,} executions busted by venues ({quantity(m.shares.busted)} taken back)"),
        (o.corrects, f"{o.corrects:,} corrected"),
        (o.unsolicited, f"{o.unsolicited:,} orders ended or changed unasked"),
        (o.replaces, f"{o.replaces:,} replaces sent"),
    ]
    if any(count for count, _ in said):
        out.print(f"changes   {', '.join(text for count, text in said if count)}\n")


def _show_verdict(out: Console, m: Measures) -> None:
    if m.verify is None:
        out.print("verify: [yellow]left out[/]")
    elif m.verify.not_compared is not None:
        out.print(f"verify: [bold]{m.verify.result}[/]; {m.verify.not_compared}", soft_wrap=True)
    elif m.verify.chain_broken is not None:
        out.print(f"verify: [bold red]{m.verify.result}[/]: {m.verify.chain_broken}", soft_wrap=True)
    elif m.verify.difference is None:
        out.print(f"verify: [bold green]identical[/] ({m.verify.outputs:,} outputs)")
    else:
        out.print(f"verify: [bold red]different[/] at frame {m.verify.difference.seq}; tickroute verify shows it")


def _show_venues(out: Console, m: Measures) -> None:
    from replay.report.pages import mean, money, quantity, share

    rows = [
        (
            v.mic,
            f"{v.children:,}",
            quantity(v.routed),
            quantity(v.filled),
            share(v.fill_rate) if v.fill_rate is not None else "",
            mean(v.average_fill),
            str(v.rejects or ""),
            str(v.timeouts or ""),
            money(v.fees),
        )
        for v in m.outcome.venues
    ]
    heads = ("venue", "children", "routed", "filled", "rate", "avg fill", "rejects", "timeouts", "fees")
    table(out, "Routing by venue", heads, rows)


def _show_latency(out: Console, m: Measures) -> None:
    from replay.report.pages import latency_rows

    if not any(row.count for row in m.latency_ns.values()):
        out.print("latency   none was measured: in a backtest the engine takes no time\n")
        return
    source = "all events" if m.latency_source == "stats" else "events that sent something"
    heads = ("stage", "n", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max")
    table(out, f"Latency by stage ({source})", heads, [(stage, *cells) for stage, cells in latency_rows(m)])


def _show_trouble(out: Console, m: Measures) -> None:
    from replay.times import time_text

    o = m.outcome
    for title, rows in (("refused", o.refusals), ("risk gate", o.risk_blocks), ("alerts", o.alerts)):
        if rows:
            texts = ", ".join(f"{row.count:,} {row.what} {row.reason}" for row in rows)
            out.print(f"{title:<10}{texts}", markup=False)
    if m.loop is not None:
        out.print(
            f"loop      longest cycle {time_text(m.loop['longest_cycle_ns'])}, {m.loop['cycles_over_threshold']:,} "
            f"over the threshold, {m.loop['empty_polls']:,} empty polls, {m.loop['journal_stalls']:,} journal stalls"
        )
    files = len(m.lineage.segments)
    out.print(f"journal   {files} files, chain head {m.lineage.chain_head} after frame {m.lineage.last_seq:,}")
