"""What `fit` does to each record: names to indices, decimals to decimals, one time that does not fall, dense numbers.

`look` goes through a file once without changing anything: times under way, and what shows a touch. `mapped`, `scale`
and `set_times` are what becomes of one record afterwards; `gateways.formats.fit_pass` goes through a file with them.

What is displayed in a quantity that is finer than the configuration's is rounded down: less of it there is than before
all the same, and a record that was left out would leave the old quantity to be filled against.

Worst case: a division for each price and quantity that the configuration has in coarser units. What cannot be fitted
is counted by reason, the first of each with its place.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.mapping import aligned_zeros
from engine.jit import kernel
from engine.memory import Memory, memory, packed
from engine.record.records import SBE_HEADER_SIZE, UNIT, Template
from gateways.formats.batch import Batch
from gateways.formats.executions import is_print
from gateways.formats.ghosts import GHOST, make_ghosts
from gateways.inbox import table

Array = np.ndarray[Any, np.dtype[Any]]
MOST_VENUES: Final = 64
MOST_INSTRUMENTS: Final = 1 << 16
#: A record that is earlier than one before it by more than this is no matter of order.
MOST_BACK_NS: Final = 10_000_000_000
#: As the engine's: largest quantity of a record.
MAX_QTY: Final = 1 << 53

OTHER_VENUE, OTHER_SYMBOL, TOO_FINE, TOO_LARGE, NOT_POSITIVE, NO_TIME, OTHER_KIND, BESIDE = range(8)
#: Beyond the tables, and records that were given with a quantity rounded down.
MANY_VENUES, MANY_INSTRUMENTS, ROUNDED = range(8, 11)
#: Bits of a slot: what the file has of it. ORDERS comes with BOOK; PRINTS are executions that orders alone tell of, in
#: `look` all of them, in a pass those of which no TRADE could be made.
QUOTES, BOOK, ORDERS, PRINTS = 1, 2, 4, 8

LINE: Final = table("""
records     i8  of the file, so far
given       i8  after fitting, but for levels and orders
deep        i8  levels and orders after fitting
last_ns     i8  time of the last one given
clamped     i8  records that took the time of one before them
most_back_ns i8  the most by which one was earlier
backwards   i8  1 where it was by more than MOST_BACK_NS: the file is not to be trusted
timed       i8  records with both times
negative    i8  of these, received before they happened, after correction
least_ns    i8  shortest time under way, as the file has it
first_ns    i8  time of the first record, as the file has it
first_recv  i8  1 where that is the recorder's
skew_ns     i8  added to the recorder's times
moves       i8  levels and orders selected
quotes      i8  records that show a touch, and trades and the like
unfollowed  i8  levels and orders of which no book could be made
crossed     i8  touches that were crossed when they changed
of_ghosts   i8  changes of orders that had replaced unknown ones
ghosts      i8  such orders
untold      i8  executions that orders alone tell of, of which no TRADE could be made
books       i8  in use
instruments i8  of the configuration
inexact     i8  levels that cannot be given as they are
depth       i8  1: levels and orders are given too
play        i8  1: the time on our side becomes the time of the event
live        i8  1: what comes is live: a hole in the source's numbers is one in the stream's, no time is too far back
follows     i8  1: books are kept and touches derived; 0: whoever plays the levels does that
adopts      i8  1: an instrument's own quotes take the place of its book's touch from the first one on
epoch       i8  of the streams
""")
SKIPPED: Final = table("""
count       i8
record      i8  number of the first in its file, from 1
value       i8
venue       i8  as the configuration has it, or the file where it is not configured
instrument  i8
""")
#: Of an instrument of the file: the configuration's index or -1, and how its units become the configuration's.
FACTORS: Final = table("""
instrument  i8
px_mul      i8
px_div      i8
qty_mul     i8
qty_div     i8
most_px     i8  largest price, before px_mul
most_qty    i8
px_lines    f8  1 / px_div: a guess to be checked, see scaled
qty_lines   f8
""")

_QUOTE, _TRADE = int(Template.QUOTE), int(Template.TRADE)
_LEVEL, _DELTA = int(Template.LEVEL), int(Template.ORDER_DELTA)
#: `action` of a LEVEL that is gone.
_DELETE: Final = 2


@memory
class Fit(Memory):
    """See `make_fit`."""

    LAYOUT = packed(
        line=LINE,
        skipped=SKIPPED,
        venues="<i8",
        of_file=FACTORS,
        ours=FACTORS,
        has="<i8",
        use="<i8",
        books="<i8",
        seqs="<i8",
        ghosts=GHOST,
        homes="<i8",
    )
    line: Array  # one row
    skipped: Array  # by reason
    venues: Array  # of the file -> of the configuration, or -1
    of_file: Array  # by instrument of the file
    ours: Array  # the same by instrument of the configuration; two instruments of a file never become one
    has: Array  # venue * instruments + instrument, of the configuration: QUOTES, BOOK
    use: Array  # the one of these that shows the touch
    books: Array  # by the same: its book + 1, of those that show a touch
    seqs: Array  # last number of each venue's stream
    ghosts: Array  # orders that replaced unknown ones
    homes: Array  # by book: its venue


def make_fit(venues: int, instruments: int) -> Fit:
    """Nothing mapped yet, for a configuration of so many venues and instruments."""
    fit = Fit(
        line=aligned_zeros(1, LINE),
        skipped=aligned_zeros(ROUNDED + 1, SKIPPED),
        venues=np.full(MOST_VENUES, -1, dtype=np.int64),
        of_file=aligned_zeros(MOST_INSTRUMENTS, FACTORS),
        ours=aligned_zeros(max(instruments, 1), FACTORS),
        has=np.zeros(max(venues * instruments, 1), dtype=np.int64),
        use=np.zeros(max(venues * instruments, 1), dtype=np.int64),
        books=np.zeros(max(venues * instruments, 1), dtype=np.int64),
        seqs=np.zeros(max(venues, 1), dtype=np.int64),
        ghosts=make_ghosts(),
        homes=np.zeros(max(venues * instruments, 1), dtype=np.int64),
    )
    fit.of_file["instrument"] = -1
    fit.line["instruments"], fit.line["follows"] = instruments, 1
    return fit


@kernel
def skip(fit: Fit, reason: int, value: int, venue: int, instrument: int) -> None:
    """Count a record that is not given on."""
    row = fit.skipped[reason]
    if row.count == 0:
        row.record = fit.line[0].records
        row.value, row.venue, row.instrument = value, venue, instrument
    row.count += 1


@kernel
def mapped(fit: Fit, venue: int, instrument: int) -> tuple[int, int]:
    """Venue and instrument of the configuration; a venue of -1 where it has not both. Instrument -1 is all."""
    if venue >= len(fit.venues):
        skip(fit, MANY_VENUES, 0, venue, instrument)
        return -1, -1
    if venue < 0 or fit.venues[venue] < 0:
        skip(fit, OTHER_VENUE, 0, venue, instrument)
        return -1, -1
    if instrument == -1:
        return int(fit.venues[venue]), -1
    if instrument >= len(fit.of_file):
        skip(fit, MANY_INSTRUMENTS, 0, venue, instrument)
        return -1, -1
    if instrument < 0 or fit.of_file[instrument].instrument < 0:
        skip(fit, OTHER_SYMBOL, 0, venue, instrument)
        return -1, -1
    return int(fit.venues[venue]), int(fit.of_file[instrument].instrument)


@kernel
def units_of(batch: Batch, i: int) -> int:
    """Units that record i takes."""
    return (int(batch.head[i].block_length) + SBE_HEADER_SIZE) // UNIT


@kernel
def look(fit: Fit, batch: Batch) -> None:
    """See what a batch has of the configuration's instruments, and how long it was under way."""
    line = fit.line[0]
    i, end = 0, int(batch.used[0])
    while i < end:
        head = batch.head[i]
        line.records += 1
        template, instrument = int(head.template_id), int(batch.trade[i].instrument_id)
        venue, ours = mapped(fit, int(head.venue_id), instrument)
        if venue >= 0:
            _look_at_times(fit, int(head.ts_event_ns), int(head.ts_recv_ns))
            if template == _LEVEL or template == _DELTA:
                line.moves += 1
            else:
                line.quotes += 1
            if ours >= 0 and template == _LEVEL:
                level = batch.level[i]
                _, _, why, rounded = _displayed(fit, ours, int(level.px), int(level.qty))
                line.inexact += 1 if why != 0 or rounded else 0
            if ours >= 0 and (template == _LEVEL or template == _DELTA):
                fit.has[venue * line.instruments + ours] |= BOOK if template == _LEVEL else BOOK | ORDERS
                if template == _DELTA and is_print(batch, i):
                    fit.has[venue * line.instruments + ours] |= PRINTS
            elif ours >= 0 and template == _QUOTE:
                fit.has[venue * line.instruments + ours] |= QUOTES
        i += units_of(batch, i)


@kernel
def _look_at_times(fit: Fit, event_ns: int, recv_ns: int) -> None:
    line = fit.line[0]
    if line.first_ns == 0:
        line.first_ns = recv_ns if recv_ns != 0 else event_ns
        line.first_recv = 1 if recv_ns != 0 else 0
    if event_ns == 0 or recv_ns == 0:
        return
    took = recv_ns - event_ns
    line.least_ns = took if line.timed == 0 else min(int(line.least_ns), took)
    line.timed += 1
    if took < 0:
        line.negative += 1


@kernel
def scale(fit: Fit, batch: Batch, i: int) -> bool:
    """Prices and quantities of a record, exactly but for what is displayed; False, and counted, where it cannot be."""
    template, instrument = int(batch.head[i].template_id), int(batch.trade[i].instrument_id)
    px, why, rounded = 0, 0, False
    if template == _LEVEL:
        level = batch.level[i]
        px = int(level.px)
        level.px, level.qty, why, rounded = _displayed(fit, instrument, px, int(level.qty))
        if rounded and level.qty == 0:
            level.action = _DELETE
    elif template == _QUOTE:
        q = batch.quote[i]
        px, ask = int(q.bid_px) if q.bid_qty != 0 else 0, int(q.ask_px) if q.ask_qty != 0 else 0
        bare = (px == 0 and q.bid_qty != 0) or (ask == 0 and q.ask_qty != 0)
        q.bid_px, q.bid_qty, why, rounded = _displayed(fit, instrument, px, int(q.bid_qty))
        q.ask_px, q.ask_qty, other, also = _displayed(fit, instrument, ask, int(q.ask_qty))
        if rounded and q.bid_qty == 0:
            q.bid_px = 0
        if also and q.ask_qty == 0:
            q.ask_px = 0
        why, rounded = max(why, other), rounded or also
        if why == 0 and bare:
            why = NOT_POSITIVE
    elif template == _TRADE:
        t = batch.trade[i]
        px = int(t.px)
        bare = px == 0 or t.qty == 0
        t.px, t.qty, why = _fitted(fit, instrument, px, int(t.qty))
        if why == 0 and bare:
            why = NOT_POSITIVE
    elif template == _DELTA:
        delta = batch.delta[i]
        px = int(delta.px)
        delta.px, delta.qty, why = _fitted(fit, instrument, px, int(delta.qty))
        delta.exec_px, _, other = _fitted(fit, instrument, int(delta.exec_px), 0)
        why = max(why, other)
    if why != 0:
        skip(fit, why, px, int(batch.head[i].venue_id), instrument)
        return False
    if rounded:
        skip(fit, ROUNDED, px, int(batch.head[i].venue_id), instrument)
    return True


@kernel
def _displayed(fit: Fit, instrument: int, px: int, qty: int) -> tuple[int, int, int, bool]:
    """As `_fitted`, of what a book displays: a finer quantity is rounded down, which the last says."""
    row = fit.ours[instrument]
    px, why = scaled(px, int(row.px_mul), int(row.px_div), row.px_lines, int(row.most_px))
    ours, other = scaled(qty, int(row.qty_mul), int(row.qty_div), row.qty_lines, int(row.most_qty))
    rounded = other == TOO_FINE
    if rounded:
        qty -= qty % int(row.qty_div)
        ours, other = scaled(qty, int(row.qty_mul), int(row.qty_div), row.qty_lines, int(row.most_qty))
    return px, ours, max(why, other), rounded


@kernel
def _fitted(fit: Fit, instrument: int, px: int, qty: int) -> tuple[int, int, int]:
    """A price and a quantity in our units, and why they cannot be; 0 where they can."""
    row = fit.ours[instrument]
    px, why = scaled(px, int(row.px_mul), int(row.px_div), row.px_lines, int(row.most_px))
    qty, other = scaled(qty, int(row.qty_mul), int(row.qty_div), row.qty_lines, int(row.most_qty))
    return px, qty, max(why, other)


@kernel
def scaled(value: int, mul: int, div: int, lines: float, most: int) -> tuple[int, int]:
    """value * mul / div, and why that cannot be; one of mul and div is 1. most: of it, before the multiplication.

    The quotient is guessed by a multiplication with lines = 1 / div, and integers decide whether the guess is right: a
    division takes ten times as long, and four of them a record would be most of what fitting costs.
    """
    if value < 0:
        return value, NOT_POSITIVE
    if div != 1:
        quotient = int(value * lines + 0.5)
        if quotient * div != value:
            quotient = value // div
            if quotient * div != value:
                return value, TOO_FINE
        value = quotient
    if value > most:
        return value, TOO_LARGE
    return value * mul, 0


@kernel
def set_times(fit: Fit, batch: Batch, i: int) -> bool:
    """The two times of a record; False where it has none, or its time is too far back."""
    line, head = fit.line[0], batch.head[i]
    event_ns, recv_ns = int(head.ts_event_ns), int(head.ts_recv_ns)
    ours_ns = recv_ns + int(line.skew_ns) if recv_ns != 0 else event_ns
    if ours_ns <= 0:
        skip(fit, NO_TIME, ours_ns, int(head.venue_id), int(batch.trade[i].instrument_id))
        return False
    if event_ns == 0:
        event_ns = ours_ns
    elif recv_ns != 0:
        line.timed += 1
        if ours_ns < event_ns:
            line.negative += 1
    if ours_ns < line.last_ns:
        back_ns = int(line.last_ns) - ours_ns
        if back_ns > MOST_BACK_NS and line.live == 0:
            line.backwards = 1
            line.most_back_ns = back_ns
            return False
        line.clamped += 1
        line.most_back_ns = max(int(line.most_back_ns), back_ns)
        ours_ns = int(line.last_ns)
    line.last_ns = ours_ns
    if line.play == 0:
        head.ts_event_ns, head.ts_recv_ns = event_ns, ours_ns
        return True
    if head.template_id == _QUOTE and batch.quote[i].ts_source_ns == 0:
        batch.quote[i].ts_source_ns = event_ns
    head.ts_event_ns, head.ts_recv_ns = ours_ns, 0
    return True


@kernel
def index_batch(batch: Batch, offsets: Array, times: Array) -> int:
    """Where the records of a batch begin (bytes, and where the last ends) and their ts_event_ns; their number."""
    i, n, end = 0, 0, int(batch.used[0])
    while i < end:
        offsets[n], times[n] = UNIT * i, batch.head[i].ts_event_ns
        i += units_of(batch, i)
        n += 1
    offsets[n] = UNIT * i
    return n
