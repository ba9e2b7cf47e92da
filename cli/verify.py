"""`tickroute verify RUN_DIR`: the journal through the core again; every output must come out byte for byte.

Exit codes: 0 identical, 1 different (the first differing frame is shown, both sides), 3 damaged (a CRC, or the chain
of closed segments), unreadable, or not replayable by this build (an older schema version: intact, but not compared).
Worst case: two passes over the journal, after a minute of compiling the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.output import JsonOption, console, write_json
from engine.errors import TickrouteError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from replay.verify import Difference, Progress, Verdict

DIFFERENT, UNREADABLE = 1, 3


class Unreadable(TickrouteError):
    """A run that cannot be read or replayed; the message says what, where and what to do."""

    exit_code = UNREADABLE


def verify(
    run_dir: Annotated[Path, typer.Argument(help="Directory of a run (it holds journal/).", show_default=False)],
    *,
    json: JsonOption = None,
) -> None:
    """Replay a run's journal through the core and compare every output, byte for byte.

    Every frame's CRC and the SHA-256 chain of the closed segments are checked too. Exits 0 where all are identical, 1
    at the first that differs (decoded, both sides), 3 where the journal is damaged or cannot be read. A batch cut off
    by a crash is a torn tail and no difference; another build is said, and is none either.
    """
    out = console(json)
    with readable(), progress_bar(out, run_dir) as progress:
        from replay.verify import verify as check

        verdict = check(run_dir, progress)
    if json is not None:
        write_json(json, verdict)
    show(out, verdict)
    if verdict.chain_broken is not None:
        remedy = "restore it from a copy, or find out who changed it: what follows cannot be trusted"
        raise Unreadable(f"{verdict.chain_broken}; {remedy}")
    if verdict.difference is not None:
        raise typer.Exit(DIFFERENT)
    if verdict.not_compared is not None:
        raise typer.Exit(UNREADABLE)


@contextmanager
def readable() -> Iterator[None]:
    """Turn what keeps a journal from being replayed into one message and exit code 3."""
    from engine.io.journal_format import JournalError
    from engine.run.bind import BindError
    from engine.run.config import ConfigError
    from engine.run.manifest import ManifestError

    try:
        yield
    except (JournalError, ManifestError, ConfigError, BindError) as error:
        raise Unreadable(str(error)) from error


@contextmanager
def progress_bar(out: Console, run_dir: Path) -> Iterator[Progress]:
    """A progress bar over the journal's bytes, gone when it is done; nothing where no person watches."""
    from replay.verify import journal_bytes

    sizes = journal_bytes(run_dir)
    with byte_bar(out) as bar:
        task = bar.add_task("compiling, then replaying", total=sum(sizes) or None)
        yield lambda segment, offset: bar.update(task, completed=sum(sizes[:segment]) + offset, description="replaying")


def byte_bar(out: Console) -> Bar:
    """A progress bar with a description and a percentage, gone when it is done; nothing where no person watches."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    return Bar(*columns, console=out, transient=True, disable=not out.is_terminal)


def show(out: Console, verdict: Verdict) -> None:
    """Print a verdict, and the first difference where there is one."""
    color = "green" if verdict.result == "identical" else "red"
    if verdict.not_compared is not None:
        _show_older(out, verdict)
        return
    out.print(f"verify: [bold {color}]{verdict.result}[/]")
    rate = f"{verdict.events_per_s:,} events/s"
    out.print(f"  {verdict.inputs:,} inputs, {verdict.outputs:,} outputs compared, {verdict.seconds:.3f} s, {rate}")
    out.print(
        f"  strategy {verdict.strategy}, journal {verdict.ending.replace('_', ' ')}, state {verdict.state_hash[:16]}"
    )
    if verdict.chain_broken is None:
        out.print(f"  {verdict.chained_segments} closed segments as the chain says, its head {verdict.chain_head[:16]}")
    if verdict.after_seq >= 0:
        out.print(f"  the journal's beginning was let go: compared from the snapshot of frame {verdict.after_seq} on")
    if verdict.torn_outputs or verdict.torn_bytes:
        out.print(
            f"  torn tail: the run ended within a batch; {verdict.torn_outputs} outputs were not committed and never "
            f"sent, {verdict.torn_bytes} bytes of unfinished frames"
        )
    if verdict.dropped_batches:
        out.print(f"  {verdict.dropped_batches} incomplete batches were given up by a recovery")
    if not verdict.same_build:
        what = "build (libraries, CPU)" if verdict.same_source else "sources"
        out.print(f"  note: this is another build than the run's: other {what}")
    if verdict.difference is not None:
        _show_difference(out, verdict.difference)


def _show_older(out: Console, verdict: Verdict) -> None:
    """Print what was looked at in a journal of an older schema version."""
    whole = verdict.result == "intact"
    out.print(f"verify: [bold {'yellow' if whole else 'red'}]{verdict.result}[/], not compared")
    out.print(
        f"  {verdict.inputs:,} inputs, {verdict.outputs:,} outputs: every CRC, the order of batches, and every record"
        f"{'' if whole else ' up to there'} as schema version {verdict.schema_version} has it, field by field",
        soft_wrap=True,
    )
    ending = verdict.ending.replace("_", " ")
    out.print(
        f"  strategy {verdict.strategy}, journal {ending}, {verdict.chained_segments} closed segments as their SHA-256"
    )
    if verdict.torn_outputs or verdict.torn_bytes:
        out.print(
            f"  torn tail: {verdict.torn_outputs} outputs of an unfinished batch, {verdict.torn_bytes} bytes of "
            "unfinished frames"
        )
    out.print(f"  outputs were not compared: {verdict.not_compared}", soft_wrap=True, markup=False)
    if verdict.wrong is not None:
        out.print(f"\n{verdict.wrong}", style="bold", soft_wrap=True, markup=False)


def _show_difference(out: Console, found: Difference) -> None:
    out.print(f"\nfirst difference: {found.why}", style="bold")
    out.print(f"  frame {found.seq} at byte {found.offset} of {found.file}", soft_wrap=True, markup=False)
    out.print(f"  caused by input {found.input_seq} ({found.input_record}), output {found.batch_index} of its batch\n")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("field")
    table.add_column(f"journal: {found.journal_record or 'nothing'}", overflow="fold")
    table.add_column(f"core: {found.core_record or 'nothing'}", overflow="fold")
    for field in found.fields:
        mark, style = (">", "bold red") if field.differs else ("", "")
        table.add_row(mark, field.name, field.journal or "", field.core or "", style=style)
    out.print(table)
