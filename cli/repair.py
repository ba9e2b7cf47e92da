"""`tickroute repair RUN_DIR`: a journal that is damaged in the middle goes on behind its last good frame.

Exit codes: 0 sound or repaired, 1 it cannot be repaired or an engine works on it, 3 damaged, and nothing was done
(--dry-run). Worst case: three passes over the journal, without the core.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.output import JsonOption, console, write_json

if TYPE_CHECKING:
    from replay.repair import Lost, Repair

DAMAGED = 3
_SHOWN = 12


def repair(
    run_dir: Annotated[Path, typer.Argument(help="Directory of a run (it holds journal/).", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be given up, and change nothing.")] = False,
    json: JsonOption = None,
) -> None:
    """Give up what follows damage in the middle of a journal, so that the run can go on.

    Nothing is destroyed: what is given up is moved aside within RUN_DIR, and what it held is said. Orders that the
    engine sent in it live on at their venues unknown to it: cancel them there. A torn tail needs no repair. Restore the
    journal from a copy instead where there is one.

    Example:  tickroute repair runs/today --dry-run
    """
    from replay.repair import repair as work

    told = work(run_dir, dry_run=dry_run)
    if json is not None:
        write_json(json, told)
    show(console(json), told)
    if told.result == "damaged":
        raise typer.Exit(DAMAGED)


def show(out: Console, told: Repair) -> None:
    """Print what was found and done."""
    color = "green" if told.result in ("sound", "repaired") else "red" if told.result == "damaged" else "yellow"
    out.print(f"repair: [bold {color}]{told.result}[/]")
    since = f"the snapshot of frame {told.snapshot_seq}" if told.snapshot_seq >= 0 else "its first frame"
    out.print(f"  read from {since} to frame {told.last_seq}; it ends {told.ending}")
    for why in told.bad_snapshots:
        out.print(f"  snapshot not to be used: {why}", markup=False, soft_wrap=True)
    if told.damage is not None:
        at = f"  damage in {told.damage.file} at byte {told.damage.offset}: {told.damage.why}"
        out.print(at, markup=False, soft_wrap=True)
    if told.unfinished:
        out.print("  a repair was cut short" + (", and is finished now" if told.result == "repaired" else ""))
    if told.result == "behind a snapshot":
        out.print(
            "  it lies before the snapshot: the run goes on without a repair; restore the segment for your records"
        )
    if told.result == "sound" and told.ending == "torn":
        out.print(f"  {told.torn_bytes} torn bytes: frames that were never finished; the next start sets them aside")
    if told.lost is not None:
        _show_lost(out, told.lost, done=told.result == "repaired")
    if told.result == "damaged":
        out.print("  nothing was changed. Restore the journal from a copy, or run this without --dry-run")
    for path in told.aside:
        out.print(f"  moved aside: {path}", markup=False, soft_wrap=True)


def _show_lost(out: Console, lost: Lost, *, done: bool) -> None:
    word = "given up" if done else "to be given up"
    out.print(f"  {word}: {lost.bytes:,} bytes, {lost.frames:,} whole frames among them", end="")
    out.print(f" ({lost.first_seq} to {lost.last_seq})" if lost.frames else "")
    for name, count in lost.records.items():
        out.print(f"    {count:>8,}  {name}", markup=False)
    _show_ids(out, "sent to venues, cancel there what lives", lost.orders_at_venues)
    _show_ids(out, "from clients, which the engine will not know", lost.orders_of_clients)


def _show_ids(out: Console, what: str, ids: list[int] | list[str]) -> None:
    if ids:
        more = f" and {len(ids) - _SHOWN} more (--json has all)" if len(ids) > _SHOWN else ""
        out.print(f"  orders {what}: {', '.join(map(str, ids[:_SHOWN]))}{more}", markup=False, soft_wrap=True)
