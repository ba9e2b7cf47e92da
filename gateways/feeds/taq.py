"""Reader of NYSE TAQ days: one CSV(.gz) of quotes and one of trades, exact to the last digit.

The text is parsed in place by a nopython kernel, block by block, straight into QUOTE and TRADE records: decimal text
becomes integers without ever being a float. Quote sizes are round lots (x 100), trade sizes are shares. A zero bid,
offer or size is no bid or offer on that side. Times (column DT) are UTC and must not fall.

Decisions that one could make otherwise:
- Trades of code D (off exchange: FINRA's facilities) carry Flag.OFF_BOOK. A record needs a stream, and a stream is a
  venue of the configuration; so where D is not configured its trades are skipped and counted, as any unknown code.
- At the same time and venue a trade comes before a quote: the quote is what the trade left.
- Flag.ODD_LOT is the tape's own mark (an I in COND), not a guess from the size.
- Prints of auctions and crosses (COND O, 5, 6, X) are Flag.AUCTION. What did not trade against the book when it was
  printed (Z, U, L, W, B, 4, 7 and others, see `taq_kernels`) is Flag.OFF_BOOK, whatever venue printed it; so are the
  official opens and closes (Q, M), whose volume the print of the auction tells: Flag.NOT_PRINTED too.
- A row whose CORR is not 0 (cancelled, corrected) is skipped and counted: the file does not say when it was corrected.
- A quote that crosses or locks itself is passed on and counted: what to do with it is the book's business.

Worst case: `read_day` holds a day in memory whole (about 200 bytes a row), `blocks_of` some megabytes; a damaged file
is read up to the damage.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from engine.record.records import Flag, Template, blank
from gateways.feeds import taq_kernels as k
from gateways.feeds.names import Names
from gateways.feeds.recording import Recording, build
from gateways.feeds.report import FeedError, ReadReport

QUOTE_COLUMNS = "DT,EX,BID,BIDSIZ,OFR,OFRSIZ,SYMBOL"
TRADE_COLUMNS = "DT,EX,SYMBOL,COND,SIZE,PRICE,CORR"
#: TAQ codes whose trades were made off exchange.
OFF_BOOK_CODES = "D"
ROUND_LOT = 100
_BLOCK = 1 << 22
_MAX_ROW = 1 << 12

SKIPS = {
    k.SKIP_VENUE: "venue code is not configured",
    k.SKIP_SYMBOL: "symbol is not configured",
    k.SKIP_PRICE: "price does not fit the instrument's decimals",
    k.SKIP_CORRECTION: "CORR is not 0: corrected or cancelled",
    k.SKIP_EMPTY: "price or size is zero",
}
ERRORS = {
    k.BAD_ROW: ("the row does not have 7 fields", "remove or complete the row"),
    k.BAD_TIME: ("DT is no time of the form YYYY-MM-DD HH:MM:SS.nnnnnnnnn", "write DT in that form, in UTC"),
    k.BAD_ORDER: ("DT is before the row above it", "sort the file by DT"),
    k.BAD_PRICE: ("the price is no plain positive decimal number below 10^12", "write it as digits with a point"),
    k.BAD_SIZE: ("the size is no whole number below 10^9", "write it as digits"),
}


def read_day(
    quotes: str | Path | None, trades: str | Path | None, names: Names, round_lot: int = ROUND_LOT
) -> tuple[Recording, ReadReport]:
    """Read both files (either may be None) into one day, merged and numbered, and the report of it.

    Raises FeedError with file, line, value and remedy where a file is missing, damaged, of other columns, or not in
    order of time.
    """
    report = ReadReport()
    quote_rows, trade_rows = blank(Template.QUOTE, 0), blank(Template.TRADE, 0)
    if quotes is not None:
        quote_rows = _read(Path(quotes), Template.QUOTE, names, report, round_lot)
    if trades is not None:
        trade_rows = _read(Path(trades), Template.TRADE, names, report, 1)
    report.count_quotes(quote_rows)
    report.trades = len(trade_rows)
    report.off_book = int(np.count_nonzero(trade_rows["flags"] & Flag.OFF_BOOK))
    report.odd_lots = int(np.count_nonzero(trade_rows["flags"] & Flag.ODD_LOT))
    report.count_venues(names.codes(), quote_rows, trade_rows)
    return build([trade_rows, quote_rows], names), report


def _read(path: Path, template: Template, names: Names, report: ReadReport, lot: int) -> np.ndarray:
    """All records of one file, in its order."""
    return np.concatenate([blank(template, 0), *blocks_of(path, template, names, report, lot)])


def blocks_of(
    path: Path, template: Template, names: Names, report: ReadReport, lot: int = ROUND_LOT
) -> Iterator[np.ndarray]:
    """The records of one file (QUOTE or TRADE, in its order), some ten thousand rows at a time, so that a day of any
    length takes the same memory. `report` has the file's rows and what was skipped when they are at an end.

    lot: shares a unit of a quote's size; a trade's is shares. FeedError as of `read_day`, behind the good part.
    """
    report.files.append(str(path))
    lot = lot if template == Template.QUOTE else 1
    scan = k.new_scan(names, OFF_BOOK_CODES, lot)
    parse = k.parse_quotes if template == Template.QUOTE else k.parse_trades
    columns = QUOTE_COLUMNS if template == Template.QUOTE else TRADE_COLUMNS
    scan.cursor[k.LINE] = 1
    for text in _blocks(path, columns, scan.cursor):
        rows = blank(template, int(np.count_nonzero(text == ord("\n"))))
        seen = scan.tally[:, k.COUNT].copy()
        n = parse(text, scan, rows)
        _explain(path, text, scan, seen, report)
        yield rows[:n]
    report.rows += int(scan.cursor[k.LINE]) - 1
    for code, reason in SKIPS.items():
        if scan.tally[code, k.COUNT]:
            report.skipped[reason] = report.skipped.get(reason, 0) + int(scan.tally[code, k.COUNT])


def _explain(path: Path, text: np.ndarray, scan: k.Scan, seen: np.ndarray, report: ReadReport) -> None:
    """Raise what the kernel found wrong, and keep the first row of each new reason to skip."""
    error = int(scan.cursor[k.ERROR])
    if error:
        why, remedy = ERRORS[error]
        value = _text(text, scan.cursor[k.LOW], scan.cursor[k.HIGH])
        raise FeedError(path, int(scan.cursor[k.LINE]) + 1, value, why, remedy)
    for code, reason in SKIPS.items():
        if scan.tally[code, k.COUNT] and not seen[code] and reason not in report.examples:
            _, line, low, high = (int(x) for x in scan.tally[code])
            report.examples[reason] = f"{path.name}:{line}: {_text(text, low, high)}"


def _text(text: np.ndarray, low: int, high: int) -> str:
    return bytes(text[int(low) : int(high)]).decode("ascii", errors="replace")[:80]


def _blocks(path: Path, columns: str, cursor: np.ndarray) -> Iterator[np.ndarray]:
    """The file's rows after the header as read-only uint8 arrays that end with a line end. `cursor` tells the line."""
    try:
        with _open(path) as file:
            header = file.readline(4096).decode("ascii", errors="replace").rstrip("\r\n")
            if header != columns:
                raise FeedError(path, 1, header[:200], f"the columns must be {columns}", "name the right file")
            rest = b""
            while block := file.read(_BLOCK):
                whole, newline, rest = (rest + block).rpartition(b"\n")
                if not newline and len(rest) > _MAX_ROW:
                    why = f"a row is longer than {_MAX_ROW} bytes"
                    raise FeedError(path, int(cursor[k.LINE]) + 1, _shown(rest), why, "name the right file")
                yield np.frombuffer(whole + newline, dtype=np.uint8)
            if rest:
                why = "the file ends in the middle of a row: it was cut"
                raise FeedError(path, int(cursor[k.LINE]) + 1, _shown(rest), why, "fetch it again")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        why = f"the gzip data are damaged or cut: {error}"
        raise FeedError(path, int(cursor[k.LINE]) + 1, "", why, "fetch it again; `gzip -t` checks it") from error
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        raise FeedError(path, 0, "", why, "check the path and its permissions") from error


def _shown(raw: bytes) -> str:
    return raw[:80].decode("ascii", errors="replace")


def _open(path: Path) -> gzip.GzipFile | BinaryIO:
    """The file's text: gunzipped where it begins with gzip's magic."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")
