"""`tickroute explain RUN_DIR ORDER`: one order's whole story, by replaying the journal to each input that concerned it.

The story is `replay.explain.story`'s, the page is `replay.explain.pages`'. Exit codes: 0; 1 where there is no such
order, or this build makes another output than the journal has; 3 where the journal cannot be read. Worst case: two
passes over the journal, and a minute of compiling the first time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.output import JsonOption, checked, wide_console, write_json, write_text
from cli.verify import DIFFERENT, progress_bar, readable

if TYPE_CHECKING:
    from replay.explain.structs import Child, Decision, Moment, Order, Story


def explain(
    run_dir: Annotated[Path, typer.Argument(help="Directory of a run (it holds journal/).", show_default=False)],
    order: Annotated[
        str, typer.Argument(help="Id of an order or of a child of it, or its ClOrdID.", show_default=False)
    ],
    *,
    session: Annotated[
        str | None, typer.Option(help="Session that sent the ClOrdID, where two used it.", show_default=False)
    ] = None,
    json: JsonOption = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write the story as one self-contained page.", show_default=False, callback=checked),
    ] = None,
) -> None:
    """Tell one order's whole story: every decision with the books it saw, and why each venue was taken or left.

    The journal is replayed through the core up to each input that concerned the order; what is shown is what the core
    had in its memory, and every output on the way is held to the journal's.
    """
    out = wide_console(json)
    with readable(), progress_bar(out, run_dir) as progress:
        from replay.explain.story import explain as tell

        story = tell(run_dir, order, session=session, progress=progress)
    if json is not None:
        write_json(json, story)
    if html is not None:
        from replay.explain.pages import page

        write_text(html, page(story))
    if json != "-":
        show(out, story)
    if html is not None:
        out.print(f"page: {html}", soft_wrap=True, markup=False)
    if story.lineage.difference is not None:
        raise typer.Exit(DIFFERENT)


def show(out: Console, story: Story) -> None:
    """Print a story."""
    _head(out, story)
    for moment in story.moments:
        _moment(out, moment)
    _children(out, story)


def _head(out: Console, story: Story) -> None:
    from replay.times import span_text

    o, run = story.order, story.lineage
    out.print(f"{title(o)}", style="bold", markup=False)
    names = f"order {o.order_id}" if o.order_id else "never accepted"
    out.print(f"{o.cl_ord_id} from {o.session}, {names}", markup=False)
    end = ", still open"
    if o.ended_ns is not None:
        life_ns = o.ended_ns - o.arrived_ns
        end = f", ended {span_text(life_ns)} later" if life_ns else ", ended at once"
    out.print(f"arrived  {o.arrived_at}{end}", markup=False)
    out.print(f"outcome  {outcome(o)}", markup=False)
    out.print(f"arrival  {touch(o)}", markup=False)
    if run.difference is None:
        out.print(
            f"replay   {run.inputs:,} inputs, {run.outputs:,} outputs [green]as in the journal[/]"
            + ("" if run.same_build else " (this is another build than the run's)")
        )
    else:
        out.print(f"replay   [bold red]stopped[/]: {run.difference}; tickroute verify shows it")
    for note in story.notes:
        out.print(f"note     {note}", markup=False, style="yellow")
    out.print()


def title(o: Order) -> str:
    """BUY 300 XXX at 157.01 DAY."""
    from engine.run.amounts import commas

    px = f"at {o.first_px}" if o.first_px else "at the market"
    return f"{o.side.replace('_', ' ')} {commas(o.first_qty)} {o.symbol} {px} {o.tif}"


def outcome(o: Order) -> str:
    """What became of the order, in a line."""
    from engine.run.amounts import commas

    parts = [f"{o.ord_status}{f' ({o.reason})' if o.reason else ''}: {commas(o.cum_qty)} filled"]
    if o.average_px is not None:
        parts[0] += f" at {o.average_px} on average"
    if o.canceled_qty != "0":
        parts.append(f"{commas(o.canceled_qty)} given back")
    if o.busted_qty != "0":
        parts.append(f"{commas(o.busted_qty)} busted")
    if o.leaves_qty != "0":
        parts.append(f"{commas(o.leaves_qty)} open")
    parts.append(f"fees {o.fees} {o.currency}")
    return ", ".join(parts)


def touch(o: Order) -> str:
    """The market at arrival, and what the order cost against it."""
    if o.arrival_bid_px is None and o.arrival_ask_px is None:
        return "no fresh quotes"
    text = f"bid {o.arrival_bid_px or 'none'}, offer {o.arrival_ask_px or 'none'}"
    if o.cost_bps is not None:
        side = "offer" if o.side == "BUY" else "bid"
        text += f"; filled {o.cost_bps + 0.0:+.2f} bps against the {side} (positive is a cost), before fees"
    return text


def _moment(out: Console, m: Moment) -> None:
    from replay.times import clock_text, span_text, time_text

    head = Text(f"{m.seq:>9}  {clock_text(m.ts_ns)}  +{span_text(m.since_ns):<10} ", style="dim")
    head.append(f"{m.source}: {m.text}", style="not dim bold")
    out.print(head)
    for change in m.transitions:
        if change.event == "decision" and change.after == "PENDING_NEW":
            continue  # the outputs below name each new child
        out.print(f"{'':11}{change.of}: {change.before} -> {change.event} -> {change.after}", markup=False)
    for decision in m.decisions:
        _decision(out, decision)
    for output in m.outputs:
        if output.record != "DECISION":
            out.print(f"{'':11}> {output.to}: {output.text}", markup=False)
    if not m.committed:
        out.print(f"{'':11}these outputs were never sent: the engine died before they were whole", style="yellow")
    if m.stages_ns is not None:
        parts = ", ".join(f"{stage} {time_text(ns)}" for stage, ns in m.stages_ns.items())
        out.print(f"{'':11}took: {parts}", style="dim", markup=False, soft_wrap=True)


def _decision(out: Console, d: Decision) -> None:
    from engine.run.amounts import commas
    from replay.times import time_text

    limit = f", limit {d.limit_px}" if d.limit_px else ""
    out.print(
        f"{'':11}decision {d.number} (round {d.round_no}, on {d.event}): {d.outcome}, {commas(d.routed_qty)} of "
        f"{commas(d.leaves_qty)}"
        f"{limit}; best bid {d.bid_px or 'none'}, best offer {d.ask_px or 'none'}; {d.fresh_venues} fresh venues, "
        f"{d.stale_venues} stale",
        markup=False,
    )
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for name in ("", "venue", "bid", "offer", "age", "net", "sent", "why"):
        left = name in ("venue", "why")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "why", overflow="fold")
    for v in d.venues:
        style = {"chosen": "green", "posted": "green", "blocked": "red"}.get(v.verdict, "dim")
        cells = (
            str(v.place or ""),
            v.mic,
            f"{commas(v.bid_qty)} x {v.bid_px}" if v.bid_px else "",
            f"{v.ask_px} x {commas(v.ask_qty)}" if v.ask_px else "",
            time_text(v.age_ns) if v.age_ns is not None else "",
            v.net or "",
            commas(v.sent_qty or ""),
            v.why,
        )
        table.add_row(*cells, style=style)
    out.print(Padding(table, (0, 0, 0, 11)))
    if not d.agrees:
        out.print(f"{'':11}the strategy chose by a rule of its own, not by net price alone", style="yellow")


def _filled(child: Child) -> str:
    """What a child executed, and what of it was taken back."""
    from engine.run.amounts import commas

    busted = f" ({commas(child.busted_qty)} busted)" if child.busted_qty not in ("", "0") else ""
    return f"{commas(child.cum_qty)}{busted}"


def _children(out: Console, story: Story) -> None:
    if not story.children:
        return
    from engine.run.amounts import commas
    from replay.times import span_text

    table = Table(title="Children", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for n, name in enumerate(("child", "venue", "qty", "px", "filled", "status", "acked", "first fill", "ended", "id")):
        table.add_column(name, justify="left" if n in (0, 1, 5) else "right", header_style="dim")
    for c in story.children:
        times = [span_text(t - c.sent_ns) if t is not None else "" for t in (c.acked_ns, c.first_fill_ns, c.ended_ns)]
        status = f"{c.ord_status}{f' ({c.reason})' if c.reason else ''}"
        table.add_row(c.name, c.mic, commas(c.qty), c.px, _filled(c), status, *times, str(c.order_id))
    out.print()
    out.print(table)
