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
from gateways.formats.text import MALFORMED, TOO_FINE, TOO_LARGE, cut, decimal, digits, same, time_ns

#: Fields of `Scan.cursor`.
LAST_NS, LINE, ERROR, LOW, HIGH, SYMBOL_HIT = 0, 1, 2, 3, 4, 5
#: Fields of a row of `Scan.tally`: how many, and the line and place of the first.
COUNT, AT_LINE, AT_LOW, AT_HIGH = 0, 1, 2, 3
BAD_ROW, BAD_TIME, BAD_ORDER, BAD_PRICE, BAD_SIZE = 1, 2, 3, 4, 5
SKIP_VENUE, SKIP_SYMBOL, SKIP_PRICE, SKIP_CORRECTION, SKIP_EMPTY = 0, 1, 2, 3, 4

_FIELDS = 7
#: Sale conditions of prints of an auction or a cross: opening, reopening, closing, cross.
AUCTIONS = "O56X"
#: Of a market centre's official open and close: no trade, but the price of one that was printed.
OFFICIAL = "MQ"
#: Of prints that did not trade against the book when they were printed: out of sequence or late (Z, U, L, G, 2, 3), at
#: an average, bunched, derived, prior or corrected price (B, W, H, P, 4, 9), bound to another trade (V, 7), not settled
#: as others are (C, N, R), of stopped or split orders, blocks, acquisitions and distributions (1, S, K, A, D).
APART = "ZULG23BWHP49V7CNR1SKAD"
_MAX_SIZE = 10**9
_MAX_WHOLE = 10**12
_OFF_BOOK, _ODD_LOT, _AUCTION = int(Flag.OFF_BOOK), int(Flag.ODD_LOT), int(Flag.AUCTION)
_NOT_PRINTED = int(Flag.NOT_PRINTED)


def condition_flags() -> np.ndarray:
    """Flags by letter of COND, int64 (256)."""
    flags = np.zeros(256, dtype=np.int64)
    for letters, flag in (
        ("I", _ODD_LOT), (AUCTIONS, _AUCTION), (OFFICIAL, _OFF_BOOK | _NOT_PRINTED), (APART, _OFF_BOOK),
    ):  # fmt: skip
        for letter in letters:
            flags[ord(letter)] = flag
    return flags


class Scan(NamedTuple):
    """What the kernels need and keep between blocks. All int64 but `symbols`.

    venues (256): index by letter, -1 where unknown; off_book (256): 1 where the letter's trades are off exchange;
    conditions (256): flags by letter of COND;
    symbols uint8 (n, 16): NUL-padded; units (n, 3): index, price decimals, factor from shares to quantity units;
    lot (1): shares a unit of size; cursor (6); tally (5, 4); cuts (8): ends of the fields of the row at hand.
    """

    venues: np.ndarray
    off_book: np.ndarray
    conditions: np.ndarray
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
    rest = zeros(6, np.int64), zeros((5, 4), np.int64), zeros(8, np.int64)
    return Scan(venues, off_book, condition_flags(), symbols, units, one, *rest)


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
    if value == MALFORMED or value == TOO_LARGE or value // 10**decimals >= _MAX_WHOLE:
        fail(scan, BAD_PRICE, low, high)
        return MALFORMED
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
    """Flags of the trade at hand: off book by its venue letter, all else by the tape's marks in COND."""
    flags = _OFF_BOOK if scan.off_book[text[scan.cuts[0] + 1]] != 0 else 0
    for at in range(scan.cuts[2] + 1, scan.cuts[3]):
        flags |= int(scan.conditions[text[at]])
    return flags
