"""A recorded file of any known format to a recording, to Parquet, or to hftbacktest's `.npz`; whole or not at all.

Memory is bounded, but for an `.npz`, whose rows are in memory until they are sorted.

Clocks: where a record was received before it happened, the recorder's clock was behind the source's. Such a file is
refused with the skew named, unless its receive times are corrected by a constant, or it is to be kept as it is. What
was done is told in the file that is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from engine.errors import UsageError
from engine.record.records import Template
from gateways.feeds.report import FeedError
from gateways.formats import parquet, recorded_write
from gateways.formats.batch import Batch, make_batch
from gateways.formats.blocks import Blocks, Named, Sink, refused
from gateways.formats.known import UNTOLD, Given, open_file
from gateways.formats.npz_sink import NpzSink
from gateways.formats.npz_write import NpzTold
from gateways.formats.parquet import ParquetSink
from gateways.formats.reader import Reader
from gateways.formats.recorded_write import RecordingWriter
from gateways.formats.watch import make_feed_books, make_watch, watch_batch

Progress = Callable[[float, int], None]
#: ns that are added to receive times; `auto` is what the file needs, `keep` leaves negative latencies, None refuses.
Skew = int | Literal["auto", "keep"] | None


@dataclass
class Converted:
    """What was read and written, as `tickroute feed convert --json` writes it. Times are ns since 1970 UTC."""

    file: str
    out: str
    #: `recording`, `parquet` or `npz`, and how it is packed.
    to: str
    packing: str
    format: str
    messages: int
    #: Records written, by kind.
    records: dict[str, int]
    blocks: int
    bytes_in: int
    bytes_out: int
    venues: int
    instruments: int
    first_ns: int
    last_ns: int
    #: Whether levels and orders were made into the quotes that they come to.
    quotes: bool
    #: ns that were added to the receive times, and what is left after it.
    skew_ns: int
    timed: int
    negative: int
    least_ns: int
    gaps: int
    lost: int
    repeated: int
    skipped: dict[str, int]
    examples: dict[str, str]
    #: With `quotes`: records that found no room in the books, whose touches are missing.
    unfollowed: int
    #: What the file does not say, and what was taken in its place.
    notes: list[str]
    #: Of an `.npz`: what became of the records.
    npz: NpzTold | None = None


class _Wish(NamedTuple):
    """What is to be written, and how."""

    zstd: bool
    quotes: bool
    skew: Skew
    instrument: str
    venue: str


def convert(
    path: str | Path, out: str | Path, *, zstd: bool = True, quotes: bool = False, skew: Skew = None,
    force: bool = False, instrument: str = "", venue: str = "", given: Given = UNTOLD, progress: Progress | None = None,
) -> Converted:  # fmt: skip
    """Convert a file; to Parquet where `out` ends with .parquet, to an event file where with .npz, else to a recording.

    `instrument` and `venue` say which one an .npz has, where the feed has several; `given` what the file does not say.

    FeedError where the input is of no known format, cut, damaged, or has negative latencies; UsageError where `out` is
    there (without `force`) or is the input, or where an .npz would hold several instruments. In every case of an error
    there is nothing at `out` that was not before.
    """
    path, out = Path(path), Path(out)
    if out.exists() and path.exists() and os.path.samefile(path, out):
        raise UsageError(f"{out}: is the input itself; name another file to write")
    if out.exists() and not force:
        raise UsageError(f"{out}: is there already; name another file, or overwrite it with --force")
    if (instrument or venue) and out.suffix != ".npz":
        asked = " at ".join(name for name in (instrument, venue) if name)
        raise UsageError(f"{out}: is to hold all of the feed, and not {asked} alone; only an .npz does; leave that out")
    wish = _Wish(zstd, quotes, skew, instrument, venue)
    show_rest: Progress = progress or (lambda part, messages: None)
    added = skew if isinstance(skew, int) else 0
    if skew == "auto":
        show = show_rest
        added = max(-_least(path, given, lambda part, n: show(part / 2, n)), 0)
        show_rest = lambda part, n: show(0.5 + part / 2, n)  # noqa: E731  the second half of one bar
    with open_file(path, given) as reader:
        sink, units = _sink(out, wish)
        try:
            blocks = Blocks(sink, units)
            unfollowed = _fill(blocks, reader, added, quotes, show_rest)
            if skew != "keep":
                _refuse_negative(path, blocks, added)
            found = _converted(reader, blocks, out, added, quotes, unfollowed)
            found.to, found.packing = _kind(out, wish)
            found.bytes_out = sink.finish(Named(reader.venues, reader.instruments), _about(found))
            found.npz = sink.told if isinstance(sink, NpzSink) else None
        except OSError as error:
            why = f"cannot be written: {error.strerror or error}"
            raise FeedError(out, 0, "", why, "free space there, or name another place") from error
        finally:
            sink.abandon()
    return found


def _sink(out: Path, wish: _Wish) -> tuple[Sink, int]:
    """What writes a file, and the units of its blocks."""
    if out.suffix == ".parquet":
        return ParquetSink(out), parquet.UNITS
    if out.suffix == ".npz":
        return NpzSink(out, wish.instrument, wish.venue), recorded_write.UNITS
    return RecordingWriter(out, zstd=wish.zstd), recorded_write.UNITS


def _kind(out: Path, wish: _Wish) -> tuple[str, str]:
    """What a file is, and how it is packed."""
    if out.suffix == ".parquet":
        return "parquet", "zstd"
    if out.suffix == ".npz":
        return "npz", "deflate"
    return "recording", "zstd" if wish.zstd else "plain"


def _fill(blocks: Blocks, reader: Reader, skew_ns: int, quotes: bool, show: Progress) -> int:
    """All records of a reader into blocks; how many found no room in the books."""
    watch, books = (make_watch(), make_feed_books()) if quotes else (None, None)
    out: Batch | None = None
    for batch in reader.batches():
        if watch is not None and books is not None:
            if out is None or len(out.head) < 2 * len(batch.head):
                out = make_batch(2 * len(batch.head))
            out.used[0] = 0
            watch_batch(watch, books, batch, out, 1)
            batch = out
        try:
            blocks.take(batch, Named(reader.venues, reader.instruments), skew_ns)
        except ValueError as error:
            raise refused(reader.path, error) from error
        show(reader.progress, reader.counts.messages)
    blocks.flush()
    return int(watch.seen[0]["turned_away"] + books.core[0]["full"]) if watch is not None and books is not None else 0


def _least(path: Path, given: Given, show: Progress) -> int:
    """The shortest time under way in a file, ns; 0 where nothing says it."""
    with open_file(path, given) as reader:
        blocks = Blocks(None, recorded_write.UNITS)
        _fill(blocks, reader, 0, False, show)
        return int(blocks.filling.whole[0]["least_ns"])


def _refuse_negative(path: Path, blocks: Blocks, added_ns: int) -> None:
    whole = blocks.filling.whole[0]
    count, least = int(whole["negative"]), int(whole["least_ns"])
    if not count:
        return
    after = f" after {added_ns} ns were added" if added_ns else ""
    why = (
        f"{count:,} of {int(whole['timed']):,} records were received before they happened{after}: the recorder's clock "
        f"is at least {-least} ns ({-least / 1e9:.3f} s) behind the source's"
    )
    remedy = f"correct the receive times with --skew auto (or --skew {added_ns - least}), or keep them with --skew keep"
    raise FeedError(path, 0, "", why, remedy)


def _converted(
    reader: Reader, blocks: Blocks, out: Path, skew_ns: int, quotes: bool, unfollowed: int
) -> Converted:  # fmt: skip
    whole, counts = blocks.filling.whole[0], reader.counts
    return Converted(
        file=str(reader.path),
        out=str(out),
        to="",
        packing="",
        format=reader.format,
        messages=counts.messages,
        records={Template(n).name: int(count) for n, count in enumerate(blocks.filling.kinds) if count},
        blocks=blocks.given,
        bytes_in=reader.source.size,
        bytes_out=0,
        venues=len(reader.venues),
        instruments=len(reader.instruments),
        quotes=quotes,
        skew_ns=skew_ns,
        gaps=counts.gaps,
        lost=counts.lost,
        repeated=counts.repeated,
        skipped=dict(counts.skipped),
        examples=dict(counts.examples),
        unfollowed=unfollowed,
        notes=list(counts.notes),
        npz=None,
        **{name: int(whole[name]) for name in "first_ns last_ns timed negative least_ns".split()},
    )


def _about(found: Converted) -> dict[str, Any]:
    """What the file tells of where it came from: no path of this machine, and nothing that it says itself."""
    left_out = {"out", "bytes_out", "to", "packing", "blocks", "records", "npz"}
    told = {name: value for name, value in asdict(found).items() if name not in left_out}
    return told | {"file": Path(found.file).name}
