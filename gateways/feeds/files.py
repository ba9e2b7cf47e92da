"""Opens the files of a day, whatever they are: a recording, or TAQ quotes and trades. What a file is, its content says.

Worst case: the formats are tried by their first line, so a file of an unknown kind is refused without a guess.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from engine.record.records import Flag, Template
from gateways.feeds import recording, taq
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording
from gateways.feeds.report import FeedError, ReadReport

_KINDS = {taq.QUOTE_COLUMNS.encode(): "taq quotes", taq.TRADE_COLUMNS.encode(): "taq trades"}
_KNOWN = "name a recording, or a TAQ file of quotes, of trades, or one of each (CSV or CSV.gz)"


def kind_of(path: str | Path) -> str:
    """`recording`, `taq quotes` or `taq trades`; FeedError where it is none of them or cannot be read.

    A recording in blocks (`gateways.formats.recorded`) is none of them: it is read as the other formats are.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(1024)
        if head[:2] == b"\x1f\x8b":
            with gzip.open(path, "rb") as file:
                head = file.read(1024)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FeedError(path, 0, "", f"the gzip data are damaged or cut: {error}", "fetch it again") from error
    except OSError as error:
        raise FeedError(path, 0, "", f"cannot be read: {error.strerror}", "check the path") from error
    if head.startswith(recording.MAGIC):
        if int.from_bytes(head[8:12], "little") > recording.VERSION:
            raise FeedError(
                path, 0, "", "is a recording in blocks, which is played by itself", "name it alone, or TAQ files"
            )
        return "recording"
    first = head.split(b"\n")[0].rstrip(b"\r")
    if first not in _KINDS:
        raise FeedError(path, 1, first[:80].decode("ascii", errors="replace"), "is of no known format", _KNOWN)
    return _KINDS[first]


def read_files(paths: Sequence[str | Path], names: Names) -> tuple[Recording, ReadReport]:
    """One day from its files, with venues and instruments as `names` index them, and how reading went.

    A recording must have been made for the same venues and instruments. FeedError as the readers raise it, and where
    the files do not make up one day.
    """
    kinds = [kind_of(path) for path in paths]
    if kinds == ["recording"]:
        day = recording.load(paths[0])
        day.check_names(names, paths[0])
        return day, report_of(day, str(paths[0]))
    if not paths or "recording" in kinds or len(set(kinds)) < len(kinds):
        raise FeedError(", ".join(map(str, paths)) or "feed", 0, ", ".join(kinds), "these do not make up a day", _KNOWN)
    found = dict(zip(kinds, paths, strict=True))
    return taq.read_day(found.get("taq quotes"), found.get("taq trades"), names)


def report_of(day: Recording, file: str) -> ReadReport:
    """The counts of a day that is already recorded."""
    quotes, trades = day.records(Template.QUOTE), day.records(Template.TRADE)
    report = ReadReport(files=[file], rows=day.count, trades=len(trades))
    report.count_quotes(quotes)
    report.off_book = int(((trades["flags"] & Flag.OFF_BOOK) != 0).sum())
    report.odd_lots = int(((trades["flags"] & Flag.ODD_LOT) != 0).sum())
    report.count_venues(day.names.codes(), quotes, trades)
    return report
