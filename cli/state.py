"""`tickroute state RUN_DIR --at SEQ|TIME`: what the engine had in memory then, by driving its journal to that input.

Going there is `replay.state.reach`'s, what is shown `replay.state.view`'s. Exit codes: 0; 1 where this build makes
other outputs than the journal has on the way; 2 where the place is not in the run; 3 where the journal cannot be read.
Worst case: one pass over the journal up to the place, after a minute of compiling the first time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.output import JsonOption, wide_console, write_json
from cli.verify import progress_bar, readable

if TYPE_CHECKING:
    from replay.state.structs import Instrument, Parent, Past


def state(
    run_dir: Annotated[Path, typer.Argument(help="Directory of a run (it holds journal/).", show_default=False)],
    *,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="SEQ|TIME",
            help="A frame's number in the journal; a time of day UTC or an ISO date and time; or ns since 1970. "
            "Without it, the end.",
            show_default=False,
        ),
    ] = None,
    ended: Annotated[bool, typer.Option("--ended", help="Show ended orders that are still remembered, too.")] = False,
    snapshots: Annotated[
        bool, typer.Option("--snapshots/--no-snapshots", help="Begin at the nearest snapshot before, or at frame 0.")
    ] = True,
    json: JsonOption = None,
) -> None:
    """Print the state as it was: books by venue, orders, positions, sessions, limits, timers, counters.

    The journal is driven through the core up to the last input at or before the place, from the nearest snapshot where
    there is one, and every output on the way is held to the journal's.
    """
    out = wide_console(json)
    with readable(), progress_bar(out, run_dir) as progress:
        from replay.state.reach import reach
        from replay.state.view import past

        found = past(reach(run_dir, at, use_snapshots=snapshots, progress=progress), str(run_dir), ended=ended)
    if json is not None:
        write_json(json, found)
    if json != "-":
        show(out, found)


def show(out: Console, found: Past) -> None:
    """Print a state."""
    _head(out, found)
    for instrument in found.instruments:
        _instrument(out, instrument)
    _parents(out, found)
    _positions(out, found)
    _sessions(out, found)
    _timers(out, found)
    _counters(out, found)


def _head(out: Console, found: Past) -> None:
    from replay.times import span_text

    out.print(f"state after input {found.input_seq}", style="bold")
    out.print(f"  time      {found.at}, trading day {found.trading_day}", markup=False)
    out.print(f"  taken     {found.inputs:,} inputs, {found.outputs:,} outputs [green]as in the journal[/]")
    unknown = f", {found.unknown_children} of them UNKNOWN" if found.unknown_children else ""
    waiting = f"; {found.waiting} wait for a turn" if found.waiting else ""
    out.print(f"  open      {found.live_parents} parents, {found.live_children} children{unknown}{waiting}")
    out.print(f"  hash      {found.state_hash}", soft_wrap=True)
    rules = found.limits
    why = f" ({rules.kill_reason})" if rules.kill_reason else ""
    kill = f"[bold red]on{why}, nothing new is sent[/]" if rules.killed else "off"
    out.print(
        f"  limits    kill flag {kill}; reference no older than "
        f"{span_text(rules.reference_age_ns)}, quotes than {span_text(rules.stale_ns)}",
        soft_wrap=True,
    )
    for strategy in rules.latched:
        out.print(f"  latched   [bold red]strategy {strategy}[/]: nothing new is sent for it until a person enables it")
    for row in rules.overrides:
        out.print(
            f"  override  {row.rule} of {row.scope.lower()} {row.target} is {row.value:,} until {row.until}, then "
            f"{row.restore:,} (asked for by {row.actor_id} and {row.actor_2})",
            soft_wrap=True,
        )
    if rules.rules_off:
        out.print(f"  off       {', '.join(rules.rules_off)}", soft_wrap=True, markup=False)
    for peak in rules.peaks:
        limit = "off" if peak.limit is None else f"{peak.limit:,}"
        out.print(f"  peak      {peak.rule} of {peak.whom}: {peak.peak:,}, limit {limit}", markup=False)
    end = f"day orders expire at {rules.day_end_at}" if rules.day_end_at else "day orders do not expire"
    out.print(
        f"  orders    a child has {span_text(rules.child_timeout_ns)}, then {rules.max_cancels} cancels; {end}",
        soft_wrap=True,
    )
    if found.lineage.live:
        out.print("  note      the engine is at work: there may be more by now")
    if found.torn:
        out.print("  torn      the last input's outputs were never whole on the journal: they were not sent")
    if not found.lineage.same_build:
        out.print("  note      this is another build than the run's; its outputs are the same so far")


def _table(*columns: str, left: int = 1) -> Table:
    """A table whose first `left` columns are words; the others are numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for n, name in enumerate(columns):
        table.add_column(name, justify="left" if n < left else "right", overflow="fold")
    return table


def _title(out: Console, text: str) -> None:
    out.print()
    out.print(text, style="bold", markup=False, soft_wrap=True)


def _instrument(out: Console, found: Instrument) -> None:
    from engine.run.amounts import commas
    from replay.times import span_text

    best = f"bid {found.bid_px or 'none'}, offer {found.ask_px or 'none'}"
    _title(out, f"{found.symbol}: {best} over fresh venues")
    age = span_text(found.reference_age_ns) if found.reference_age_ns is not None else ""
    reference = f"reference {found.reference_px}, {age} old" if found.reference_px else "no reference"
    trade = f"last trade {found.trade_px}" if found.trade_px else "no trade"
    out.print(
        f"  {reference}; {trade}; {found.resting} parents wait for a quote; an order has {commas(found.max_qty)} and "
        f"{commas(found.max_notional)} {found.currency} at most, collar {found.collar_bps} bps"
        + ("; restricted, nothing is sent" if found.restricted else ""),
        soft_wrap=True,
        markup=False,
    )
    table = _table("  venue", "quote", "bid", "offer", "taken", "age", left=2)
    for book in found.books:
        taken = [commas(qty) for qty in (book.bid_taken, book.ask_taken)]
        table.add_row(
            f"  {book.mic}",
            book.standing,
            f"{commas(book.bid_qty)} x {book.bid_px}" if book.bid_px else "",
            f"{book.ask_px} x {commas(book.ask_qty)}" if book.ask_px else "",
            " / ".join(taken) if taken != ["0", "0"] else "",
            span_text(book.age_ns) if book.age_ns is not None else "",
            style="" if book.standing == "fresh" else "dim",
        )
    out.print(table)


def _parents(out: Console, found: Past) -> None:
    open_now = sum(parent.ord_status not in ("FILLED", "CANCELED", "EXPIRED", "REJECTED") for parent in found.parents)
    shown = f"Parents: {open_now} open" + (f", {len(found.parents) - open_now} ended" * (len(found.parents) > open_now))
    _title(out, shown)
    for parent in found.parents:
        _parent(out, parent)


def _parent(out: Console, parent: Parent) -> None:
    from engine.run.amounts import commas
    from replay.times import clock_text_of

    px = f"at {parent.px}" if parent.px else "at the market"
    out.print(
        f"  {parent.cl_ord_id}  {parent.side.replace('_', ' ')} {commas(parent.qty)} {parent.symbol} {px} {parent.tif}"
        f"  {parent.ord_status}, {parent.workflow_state}  (order {parent.order_id}, {parent.session})",
        markup=False,
        soft_wrap=True,
    )
    parts = [f"{commas(parent.cum_qty)} filled", f"{commas(parent.live_qty)} at venues"]
    parts.append(f"{commas(parent.leaves_qty)} leaves")
    parts += [f"{commas(parent.busted_qty)} busted"] * (parent.busted_qty != "0")
    parts += [f"round {parent.rounds}"] * (parent.rounds > 0)
    parts += [f"not to {', '.join(parent.excluded)}"] * bool(parent.excluded)
    parts += [f"last reason: {parent.reason}"] * bool(parent.reason)
    out.print(f"    {', '.join(parts)}; arrived {clock_text_of(parent.arrived_at)}", markup=False, soft_wrap=True)
    for child in parent.children:
        px = f" at {child.px}" if child.px else ""
        asked = f", {child.cancels} cancels sent" if child.cancels else ""
        asked += f", {child.replaces} replaces unanswered" if child.replaces else ""
        out.print(
            f"    > {child.mic}  {commas(child.qty)}{px} {child.tif}  {child.ord_status}: {commas(child.cum_qty)} "
            f"filled, {commas(child.leaves_qty)} leaves{asked}; sent {clock_text_of(child.sent_at)} "
            f"(child {child.order_id})",
            markup=False,
            soft_wrap=True,
        )


def _positions(out: Console, found: Past) -> None:
    from engine.run.amounts import commas

    _title(out, f"Positions: {len(found.positions) or 'none'}")
    if not found.positions:
        return
    table = _table("  account", "symbol", "position", "cost", "", "bought", "sold", "fees", "fills", left=2)
    for row in found.positions:
        numbers = [commas(text) for text in (row.qty, row.cost)]
        more = [commas(text) for text in (row.bought_qty, row.sold_qty, row.fee)]
        table.add_row(f"  {row.account_id}", row.symbol, *numbers, row.currency, *more, f"{row.fills:,}")
    out.print(table)


def _sessions(out: Console, found: Past) -> None:
    _title(out, "Sessions and feeds")
    table = _table("  session", "role", "is", "in", "out", "gaps", "epoch in", left=3)
    for row in found.sessions:
        numbers = [f"{n:,}" for n in (row.seq_in, row.seq_out, row.gaps)]
        style = "" if row.up else "red"
        table.add_row(f"  {row.name}", row.role, "up" if row.up else "down", *numbers, str(row.epoch_in), style=style)
    for feed in found.feeds:
        lost = f"{feed.gaps:,}" + (f" ({feed.lost:,} lost)" if feed.lost else "")
        table.add_row(f"  {feed.mic}", "feed", "", f"{feed.seq:,}", "", lost, str(feed.epoch))
    out.print(table)


def _timers(out: Console, found: Past) -> None:
    from replay.times import span_text

    names = {parent.order_id: parent.cl_ord_id for parent in found.parents}
    names |= {c.order_id: f"{p.cl_ord_id} at {c.mic}" for p in found.parents for c in p.children}
    _title(out, f"Timers: {len(found.timers) or 'none'}")
    if not found.timers:
        return
    table = _table("  due", "in", "whose", left=1)
    for timer in found.timers:
        span = span_text(timer.in_ns) if timer.in_ns is not None else ""
        table.add_row(f"  {timer.at}", span, names.get(timer.order_id, f"{timer.owner} {timer.order_id}"))
    out.print(table)


def _counters(out: Console, found: Past) -> None:
    _title(out, "Counters")
    rows = [(name, value) for name, value in found.counters.items() if value]
    rows += [(f"refused: {name}", value) for name, value in found.refusals.items()]
    for name, value in rows:
        out.print(f"  {name.replace('_', ' '):<28}{value:>14,}", markup=False)
    if not rows:
        out.print("  all zero")
