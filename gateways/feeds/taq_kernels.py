"""The kernels that turn TAQ text into records, in place and without floats.

A row is cut at its commas, then each field is parsed from its bytes. A kernel stops at the first row that it cannot
trust and leaves code, line and place of the offending field in `Scan.cursor`; rows that merely cannot be used are
counted in `Scan.tally`, which keeps the place of the first of each reason.
Worst case: symbols are searched one by one, so a file of many symbols with most of them configured is slow (the last
hit is tried first, which makes files grouped by symbol fast).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.jit import kernel
from engine.record.records import Flag
from gateways.feeds.names import Names

#: Fields of `Scan.cursor`.
LAST_NS, LINE, ERROR, LOW, HIGH, SYMBOL_HIT = 0, 1, 2, 3, 4, 5
#: Fields of a row of `Scan.tally`: how many, and the line and place of the first.
COUNT, AT_LINE, AT_LOW, AT_HIGH = 0, 1, 2, 3
BAD_ROW, BAD_TIME, BAD_ORDER, BAD_PRICE, BAD_SIZE = 1, 2, 3, 4, 5
SKIP_VENUE, SKIP_SYMBOL, SKIP_PRICE, SKIP_CORRECTION, SKIP_EMPTY = 0, 1, 2, 3, 4
#: Answers of `decimal` that are no numbers.
MALFORMED, TOO_FINE = -1, -2

_FIELDS = 7
_COMMA, _NEWLINE, _RETURN, _POINT, _ZERO = 44, 10, 13, 46, 48
_ODD_LOT_MARK = ord("I")
_MAX_WHOLE = 10**12
_MAX_SIZE = 10**9
_OFF_BOOK, _ODD_LOT = int(Flag.OFF_BOOK), int(Flag.ODD_LOT)


class Scan(NamedTuple):
    """What the kernels need and keep between blocks. All int64 but `symbols`.

    venues (256): index by letter, -1 where unknown; off_book (256): 1 where the letter's trades are off exchange;
    symbols uint8 (n, 16): NUL-padded; units (n, 3): index, price decimals, factor from shares to quantity units;
    lot (1): shares a unit of size; cursor (6); tally (5, 4); cuts (8): ends of the fields of the row at hand.
    """

    venues: np.ndarray
    off_book: np.ndarray
    symbols: np.ndarray
    units: np.ndarray
    lot: np.ndarray
    cursor: np.ndarray
    tally: np.ndarray
    cuts: np.ndarray


def new_scan(names: Names, off_book_codes: str, lot: int) -> Scan:
    """Tables for one file. Venue codes of more than one letter are not TAQ's and match nothing."""
    venues, off_book = np.full(256, -1, dtype=np.int64), np.zeros(256, dtype=np.int64)
    for code, index in names.venues.items():
        if len(code) == 1:
            venues[ord(code)] = index
    for code in off_book_codes:
        off_book[ord(code)] = 1
    symbols = np.zeros((len(names.symbols), 16), dtype=np.uint8)
    units = np.zeros((len(names.symbols), 3), dtype=np.int64)
    for row, (name, symbol) in enumerate(names.symbols.items()):
        symbols[row, : len(name)] = np.frombuffer(name.encode("ascii"), dtype=np.uint8)
        units[row] = symbol.instrument_id, symbol.px_decimals, 10**symbol.qty_decimals
    zeros = np.zeros
    one = np.array([lot], dtype=np.int64)
    return Scan(venues, off_book, symbols, units, one, zeros(6, np.int64), zeros((5, 4), np.int64), zeros(8, np.int64))


@kernel
def cut(text: np.ndarray, low: int, cuts: np.ndarray) -> tuple[int, int]:
    """Ends of the fields of the row at `low`, into `cuts`: (number of fields, where the next row begins)."""
    n, at = 0, low
    while at < len(text) and text[at] != _NEWLINE:
        if text[at] == _COMMA:
            if n < len(cuts):
                cuts[n] = at
            n += 1
        at += 1
    end = at - 1 if at > low and text[at - 1] == _RETURN else at
    if n < len(cuts):
        cuts[n] = end
    return n + 1, at + 1


@kernel
def digits(text: np.ndarray, low: int, high: int) -> int:
    """A whole number of 1 to 18 digits; MALFORMED where it is anything else."""
    if low >= high or high - low > 18:
        return MALFORMED
    value = 0
    for at in range(low, high):
        digit = int(text[at]) - _ZERO
        if digit < 0 or digit > 9:
            return MALFORMED
        value = value * 10 + digit
    return value


@kernel
def decimal(text: np.ndarray, low: int, high: int, decimals: int) -> int:
    """A decimal number in units of 10^-decimals (at most 9); MALFORMED, or TOO_FINE if it had to be rounded."""
    point = low
    while point < high and text[point] != _POINT:
        point += 1
    whole = digits(text, low, point)
    if whole == MALFORMED or whole >= _MAX_WHOLE:
        return MALFORMED
    # A lone point ("157.") is no number; a number without one is.
    if point == high - 1:
        return MALFORMED
    value, left, fine = whole, decimals, False
    for at in range(point + 1, high):
        digit = int(text[at]) - _ZERO
        if digit < 0 or digit > 9:
            return MALFORMED
        if left > 0:
            value = value * 10 + digit
            left -= 1
        elif digit != 0:
            fine = True
    if fine:
        return TOO_FINE
    for _ in range(left):
        value *= 10
    # 10^12 whole units with 9 decimals would pass 2^63.
    return value if value < 10**18 and (decimals <= 6 or whole < 10**9) else MALFORMED


@kernel
def days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of a Gregorian date (H. Hinnant, chrono-compatible date algorithms, days_from_civil)."""
    y = year - 1 if month <= 2 else year
    era = y // 400
    yoe = y - era * 400
    doy = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468


@kernel
def month_days(year: int, month: int) -> int:
    """Days of a month; 0 where there is no such month."""
    if month < 1 or month > 12:
        return 0
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@kernel
def time_ns(text: np.ndarray, low: int, high: int) -> int:
    """ns since 1970 of "YYYY-MM-DD HH:MM:SS[.1 to 9 digits]"; MALFORMED where it is anything else."""
    size = high - low
    if size < 19 or size == 20 or size > 29:
        return MALFORMED
    dashes = text[low + 4] == 45 and text[low + 7] == 45 and text[low + 10] == 32
    if not (dashes and text[low + 13] == 58 and text[low + 16] == 58):
        return MALFORMED
    year, month = digits(text, low, low + 4), digits(text, low + 5, low + 7)
    day, hour = digits(text, low + 8, low + 10), digits(text, low + 11, low + 13)
    minute, second = digits(text, low + 14, low + 16), digits(text, low + 17, low + 19)
    if year < 1970 or year > 2200 or day < 1 or day > month_days(year, month):
        return MALFORMED
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return MALFORMED
    fraction = 0
    if size > 19:
        fraction = digits(text, low + 20, high)
        if text[low + 19] != _POINT or fraction == MALFORMED:
            return MALFORMED
        for _ in range(29 - size):
            fraction *= 10
    return (((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + fraction


@kernel
def same(text: np.ndarray, low: int, high: int, symbol: np.ndarray) -> bool:
    """Whether a field is this symbol (NUL-padded to 16 bytes)."""
    size = high - low
    if size < 1 or size > 16 or (size < 16 and symbol[size] != 0):
        return False
    at = 0
    while at < size and text[low + at] == symbol[at]:
        at += 1
    return at == size


@kernel
def find_symbol(text: np.ndarray, low: int, high: int, scan: Scan) -> int:
    """Row of the symbol table; -1 where the symbol is not configured."""
    hit = int(scan.cursor[SYMBOL_HIT])
    if hit < len(scan.symbols) and same(text, low, high, scan.symbols[hit]):
        return hit
    for row in range(len(scan.symbols)):
        if same(text, low, high, scan.symbols[row]):
            scan.cursor[SYMBOL_HIT] = row
            return row
    return -1


@kernel
def fail(scan: Scan, error: int, low: int, high: int) -> None:
    """Leave what is wrong with the row at hand, and where."""
    scan.cursor[ERROR] = error
    scan.cursor[LOW] = low
    scan.cursor[HIGH] = high


@kernel
def skip(scan: Scan, reason: int, low: int, high: int) -> None:
    """Count a row that gives no record; keep the place of the first."""
    if scan.tally[reason, COUNT] == 0:
        scan.tally[reason, AT_LINE] = scan.cursor[LINE] + 1
        scan.tally[reason, AT_LOW] = low
        scan.tally[reason, AT_HIGH] = high
    scan.tally[reason, COUNT] += 1


@kernel
def open_row(text: np.ndarray, low: int, fields: int, end: int, scan: Scan) -> int:
    """Checks that every row must pass: its time in ns, or MALFORMED with the error left in the cursor."""
    if fields != _FIELDS:
        fail(scan, BAD_ROW, low, end - 1)
        return MALFORMED
    time = time_ns(text, low, int(scan.cuts[0]))
    if time == MALFORMED:
        fail(scan, BAD_TIME, low, int(scan.cuts[0]))
        return MALFORMED
    if time < scan.cursor[LAST_NS]:
        fail(scan, BAD_ORDER, low, int(scan.cuts[0]))
        return MALFORMED
    scan.cursor[LAST_NS] = time
    return time


@kernel
def find_venue(text: np.ndarray, low: int, high: int, scan: Scan) -> int:
    """Index of the venue with this one-letter code; -1 where it is not configured."""
    return int(scan.venues[text[low]]) if high - low == 1 else -1


@kernel
def size_of(text: np.ndarray, low: int, high: int, factor: int, scan: Scan) -> int:
    """A size in quantity units; MALFORMED, with the error left in the cursor, where it is none."""
    value = digits(text, low, high)
    if value == MALFORMED or value >= _MAX_SIZE:
        fail(scan, BAD_SIZE, low, high)
        return MALFORMED
    return value * int(scan.lot[0]) * factor


@kernel
def price_of(text: np.ndarray, low: int, high: int, decimals: int, scan: Scan) -> int:
    """A price in price units; MALFORMED with the error left in the cursor; TOO_FINE where it must be skipped."""
    value = decimal(text, low, high, decimals)
    if value == MALFORMED:
        fail(scan, BAD_PRICE, low, high)
    return value


@kernel
def parse_quotes(text: np.ndarray, scan: Scan, rows: np.ndarray) -> int:
    """Fill QUOTE records from whole rows of DT,EX,BID,BIDSIZ,OFR,OFRSIZ,SYMBOL; how many were filled.

    text: uint8, ends with a line end; rows: blank QUOTE records, one a row at least. An error is in scan.cursor.
    """
    at, n, cuts = 0, 0, scan.cuts
    while at < len(text):
        fields, end = cut(text, at, cuts)
        time = open_row(text, at, fields, end, scan)
        if time == MALFORMED:
            return n
        symbol = find_symbol(text, cuts[5] + 1, cuts[6], scan)
        venue = find_venue(text, cuts[0] + 1, cuts[1], scan)
        if symbol < 0:
            skip(scan, SKIP_SYMBOL, cuts[5] + 1, cuts[6])
        elif venue < 0:
            skip(scan, SKIP_VENUE, cuts[0] + 1, cuts[1])
        else:
            units = scan.units[symbol]
            bid = price_of(text, cuts[1] + 1, cuts[2], int(units[1]), scan)
            ask = price_of(text, cuts[3] + 1, cuts[4], int(units[1]), scan)
            bid_qty = size_of(text, cuts[2] + 1, cuts[3], int(units[2]), scan)
            ask_qty = size_of(text, cuts[4] + 1, cuts[5], int(units[2]), scan)
            if scan.cursor[ERROR] != 0:
                return n
            if bid == TOO_FINE:
                skip(scan, SKIP_PRICE, cuts[1] + 1, cuts[2])
            elif ask == TOO_FINE:
                skip(scan, SKIP_PRICE, cuts[3] + 1, cuts[4])
            else:
                row = rows[n]
                row.ts_event_ns = time
                row.venue_id = venue
                row.instrument_id = units[0]
                if bid > 0 and bid_qty > 0:
                    row.bid_px = bid
                    row.bid_qty = bid_qty
                if ask > 0 and ask_qty > 0:
                    row.ask_px = ask
                    row.ask_qty = ask_qty
                n += 1
        scan.cursor[LINE] += 1
        at = end
    return n


@kernel
def parse_trades(text: np.ndarray, scan: Scan, rows: np.ndarray) -> int:
    """Fill TRADE records from whole rows of DT,EX,SYMBOL,COND,SIZE,PRICE,CORR; how many were filled.

    text: uint8, ends with a line end; rows: blank TRADE records, one a row at least. An error is in scan.cursor.
    """
    at, n, cuts = 0, 0, scan.cuts
    while at < len(text):
        fields, end = cut(text, at, cuts)
        time = open_row(text, at, fields, end, scan)
        if time == MALFORMED:
            return n
        symbol = find_symbol(text, cuts[1] + 1, cuts[2], scan)
        venue = find_venue(text, cuts[0] + 1, cuts[1], scan)
        if symbol < 0:
            skip(scan, SKIP_SYMBOL, cuts[1] + 1, cuts[2])
        elif venue < 0:
            skip(scan, SKIP_VENUE, cuts[0] + 1, cuts[1])
        elif digits(text, cuts[5] + 1, cuts[6]) != 0:
            skip(scan, SKIP_CORRECTION, cuts[5] + 1, cuts[6])
        else:
            units = scan.units[symbol]
            px = price_of(text, cuts[4] + 1, cuts[5], int(units[1]), scan)
            qty = size_of(text, cuts[3] + 1, cuts[4], int(units[2]), scan)
            if scan.cursor[ERROR] != 0:
                return n
            if px == TOO_FINE:
                skip(scan, SKIP_PRICE, cuts[4] + 1, cuts[5])
            elif px == 0 or qty == 0:
                skip(scan, SKIP_EMPTY, at, end - 1)
            else:
                row = rows[n]
                row.ts_event_ns = time
                row.venue_id = venue
                row.instrument_id = units[0]
                row.px = px
                row.qty = qty
                row["flags"] = trade_flags(text, scan)
                n += 1
        scan.cursor[LINE] += 1
        at = end
    return n


@kernel
def trade_flags(text: np.ndarray, scan: Scan) -> int:
    """Flags of the trade at hand: off book by its venue letter, odd lot by the tape's mark in COND."""
    flags = _OFF_BOOK if scan.off_book[text[scan.cuts[0] + 1]] != 0 else 0
    for at in range(scan.cuts[2] + 1, scan.cuts[3]):
        if text[at] == _ODD_LOT_MARK:
            flags |= _ODD_LOT
    return flags
