"""`tickroute feed convert IN OUT`: a recorded file of any known format to our recording, Parquet or an `.npz`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cli.given import DayOption, DecimalsOption, MarketOption, ProductOption, SymbolOption, given_of
from cli.output import JsonOption, checked, console, write_json
from cli.reading import reading
from cli.stopping import stoppable
from engine.errors import UsageError

if TYPE_CHECKING:
    from gateways.formats.convert import Converted, Skew
    from gateways.formats.npz_write import NpzTold

_SKEW = "Add NS to receive times so that none is before its event; auto finds NS, keep leaves such times as they are."


def convert(
    file: Annotated[Path, typer.Argument(help="A recorded file, of whatever known format and packing.")],
    out: Annotated[
        Path, typer.Argument(help="The file to write; Parquet where it ends with .parquet, hftbacktest's with .npz.")
    ],
    quotes: Annotated[
        bool, typer.Option("--quotes", help="Write the quotes that levels and orders come to, not these.")
    ] = False,
    zstd: Annotated[
        bool | None, typer.Option("--zstd/--plain", help="A recording's blocks: packed (so unless said), or plain.")
    ] = None,
    skew: Annotated[str | None, typer.Option(metavar="NS|auto|keep", help=_SKEW)] = None,
    instrument: Annotated[
        str, typer.Option("--instrument", help="Of an .npz: its instrument, as the file has it, where it has several.")
    ] = "",
    venue: Annotated[
        str, typer.Option("--venue", help="Of an .npz: its venue, as the file has it, where it has several.")
    ] = "",
    day: DayOption = None,
    market: MarketOption = None,
    symbol: SymbolOption = None,
    decimals: DecimalsOption = None,
    product: ProductOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT.")] = False,
    json: JsonOption = None,
) -> None:
    """Write a recorded file as our own recording (indexed by time and instrument), as one Parquet table, or as .npz.

    An .npz holds one instrument of one venue: --instrument and --venue say which where the file has several.

    OUT is written whole or not at all. A file that is cut, damaged or of no known format is refused with the place and
    the reason; so is one whose records were received before they happened, unless --skew says what to do about it.

    Example:  tickroute feed convert 20240808.gz day.rec --skew auto
    """
    from gateways.formats.convert import convert as run

    if zstd is not None and out.suffix in (".parquet", ".npz"):
        what = "Parquet" if out.suffix == ".parquet" else "an .npz"
        raise UsageError(f"{out}: {what} is packed in its own way; leave --zstd and --plain out")
    screen = console(json)
    correct, given = _skew(skew), given_of(day, market, symbol, decimals, product)
    checked(out)
    with stoppable(f"{out} is as it was"), reading(screen, "converting") as progress:
        found = run(
            file, out, zstd=zstd is not False, quotes=quotes, skew=correct, force=force, instrument=instrument,
            venue=venue, given=given, progress=progress,
        )  # fmt: skip
    if json is not None:
        write_json(json, found)
    _show(screen, found)


def _skew(text: str | None) -> Skew:
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if text == "keep":
        return "keep"
    try:
        value = int(text)
    except ValueError as error:
        raise UsageError(f"--skew {text!r}: must be nanoseconds, auto or keep") from error
    if abs(value) >= 1 << 62:
        raise UsageError(f"--skew {text}: is out of range; receive times are nanoseconds")
    return value


def _show(out: Console, found: Converted) -> None:
    records = ", ".join(f"{name} {count:,}" for name, count in found.records.items()) or "none"
    out.print(f"[bold]{escape(found.file)}[/]: {found.format}, {found.messages:,} messages", soft_wrap=True)
    for note in found.notes:
        out.print(f"[bold yellow]note[/]: {escape(note)}", soft_wrap=True)
    size = f"{found.blocks:,} blocks, {found.bytes_out:,} bytes"
    out.print(f"[bold]{escape(found.out)}[/]: {found.to}, {found.packing}, {size}", soft_wrap=True)
    out.print(f"records {sum(found.records.values()):,}: {records}")
    if found.gaps or found.repeated:
        out.print(f"gaps {found.gaps:,} ({found.lost:,} messages lost), repeated {found.repeated:,}")
    if found.skew_ns:
        out.print(f"receive times are {found.skew_ns:,} ns later than in the source")
    if found.negative:
        kept = f"{found.negative:,} of {found.timed:,} records were received before they happened, and are kept so"
        out.print(f"[bold yellow]clock skew[/]: {kept}; the least is {found.least_ns:,} ns")
    if found.npz is not None:
        _show_npz(out, found.npz)
    for reason, count in found.skipped.items():
        out.print(f"skipped {count:,}: {reason}, first {found.examples.get(reason, '?')}", markup=False)
    if found.unfollowed:
        out.print(f"[bold yellow]not followed[/]: {found.unfollowed:,} records found no room in the books")


def _show_npz(out: Console, told: NpzTold) -> None:
    """What became of the records, of which an event file has some only."""
    out.print(f"rows {told.rows:,}, of {told.records:,} records; of other instruments or venues {told.others:,}")
    for count, what in (
        (told.no_event_time, "records have no time of their event: exch_ts is that of their receipt"),
        (told.no_receive_time, "records have no time of receipt: local_ts is that of their event"),
        (told.no_time, "records have no time at all, and are left out"),
        (told.other_kind, "records are of a kind that such a file has not, and are left out"),
    ):
        if count:
            out.print(f"{count:,} {what}")
