"""Looks at the records of a feed as they pass: books, their touch, what is wrong with it, times and clocks.

`watch_batch` takes a batch, keeps a book for each venue and instrument in which levels or orders move, and counts:
kinds of records, crossed and locked touches, changes of orders that are not there, times that run backwards, and how
long records were under way (`ts_recv_ns - ts_event_ns`). With `derive` it also writes what a router takes: the records
that are no levels and orders, a TRADE of each execution that orders alone tell of, and a QUOTE each time that a touch
has changed at the end of an event (no flag MORE), or is seen for the first time after a CLEAR or an INSTRUMENT_STATUS,
which void what a router had.

Worst case: more books than `MOST_BOOKS` or more levels and orders than there is room for: counted, and those books show
nothing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.book.apply import apply_delta, apply_level, clear_book
from engine.book.grid import begin_side, keep_grid
from engine.book.memory import Books, make_books, window_width
from engine.book.view import CROSSED, LOCKED, touch
from engine.io.mapping import aligned_zeros
from engine.jit import kernel
from engine.memory import Memory, memory, packed
from engine.record.records import SBE_HEADER_SIZE, UNIT, Flag, Side, Template
from gateways.formats.batch import Batch, new_quote
from gateways.formats.executions import is_print, tell_execution
from gateways.formats.ghosts import GHOST, look_for_ghosts, make_ghosts
from gateways.inbox import table

Array = np.ndarray[Any, np.dtype[Any]]
MOST_VENUES: Final = 64
MOST_INSTRUMENTS: Final = 1 << 14
MOST_BOOKS: Final = 1 << 14
#: Latencies that are kept for their median.
_SAMPLES: Final = 1 << 14
_BUY = int(Side.BUY)
_QUOTE, _TRADE, _LEVEL, _DELTA = (
    int(Template.QUOTE),
    int(Template.TRADE),
    int(Template.LEVEL),
    int(Template.ORDER_DELTA),
)
_CLEAR, _STATUS = int(Template.CLEAR), int(Template.INSTRUMENT_STATUS)
#: What `derive` asks for.
NOTHING, TOUCH = 0, 1
#: A state that no touch has.
_UNSHOWN: Final = -1
_MORE, _SNAPSHOT, _PRINT = int(Flag.MORE), int(Flag.SNAPSHOT), int(Flag.PRINT)

SEEN: Final = table("""
records      i8
first_ns     i8  least time of an event
last_ns      i8  greatest
late         i8  records whose event is earlier than one before
first_recv_ns i8  the same of the recorder's times, where there are any
last_recv_ns i8
late_recv    i8
timed        i8  records with both times
negative     i8  of these, received before they happened
least_ns     i8  shortest time under way
most_ns      i8  longest
samples      i8  latencies kept
stride       i8  every so many-th is kept
crossed      i8  touches that were crossed when they changed
locked       i8
touches      i8  changes of a touch
books        i8  in use
turned_away  i8  records for which there was no book
of_ghosts    i8  changes of orders that took the place of unknown ones
ghosts       i8  such orders
""")
#: A book's own counts.
OF_BOOK: Final = table("""
venue        i8
instrument   i8
records      i8  of any kind
trades       i8  and executions of orders that no trade tells of
volume       i8  quantity units of both
crossed      i8
""")


@memory
class Watch(Memory):
    """What is seen, see `make_watch`."""

    LAYOUT = packed(seen=SEEN, kinds="<i8", index="<i8", of_book=OF_BOOK, samples="<i8", ghosts=GHOST)
    seen: Array  # one row
    kinds: Array  # 64: records by template
    index: Array  # venue * MOST_INSTRUMENTS + instrument -> book + 1
    of_book: Array
    samples: Array
    ghosts: Array  # orders that replaced unknown ones


def make_watch(books: int = MOST_BOOKS) -> Watch:
    """Nothing seen yet, for so many books."""
    watch = Watch(
        seen=aligned_zeros(1, SEEN),
        kinds=aligned_zeros(64, np.dtype("<i8")),
        index=aligned_zeros(MOST_VENUES * MOST_INSTRUMENTS, np.dtype("<i8")),
        of_book=aligned_zeros(books, OF_BOOK),
        samples=aligned_zeros(_SAMPLES, np.dtype("<i8")),
        ghosts=make_ghosts(),
    )
    watch.seen["stride"] = 1
    return watch


def make_feed_books(books: int = MOST_BOOKS, *, orders: int = 1 << 21) -> Books:
    """Books for a feed whose instruments and ticks are not known; their pages are used as they are needed."""
    return make_books([1] * books, width=window_width(books), far=1 << 18, orders=orders, present=False)


@kernel
def watch_batch(w: Watch, b: Books, batch: Batch, out: Batch, derive: int) -> None:
    """Look at all records of a batch. `out` is empty, with room for three times as many units; see the module."""
    i, end = 0, int(batch.used[0])
    while i < end:
        head = batch.head[i]
        template = int(head.template_id)
        units = (int(head.block_length) + SBE_HEADER_SIZE) // UNIT
        w.kinds[template & 63] += 1
        _look_at_times(w, int(head.ts_event_ns), int(head.ts_recv_ns))
        book = _book(w, int(head.venue_id), int(batch.trade[i].instrument_id))
        if template == _LEVEL or template == _DELTA:
            if book >= 0:
                _change(w, b, batch, i, book, out, derive)
        else:
            if template == _CLEAR:
                _clear(w, b, int(head.venue_id), int(batch.clear[i].instrument_id))
            elif book >= 0 and template == _STATUS:
                b.books[book].state = _UNSHOWN
            elif book >= 0 and template == _TRADE:
                w.of_book[book].trades += 1
                w.of_book[book].volume += batch.trade[i].qty
            elif book >= 0 and template == _QUOTE:
                _look_at_quote(w, batch, i, book)
            if derive != 0:
                _pass_on(batch, i, units, out)
        i += units


@kernel
def _look_at_times(w: Watch, event_ns: int, recv_ns: int) -> None:
    seen = w.seen[0]
    seen.records += 1
    if event_ns != 0:
        if seen.first_ns == 0 or event_ns < seen.first_ns:
            seen.first_ns = event_ns
        if event_ns < seen.last_ns:
            seen.late += 1
        seen.last_ns = max(int(seen.last_ns), event_ns)
    if recv_ns == 0:
        return
    if seen.first_recv_ns == 0 or recv_ns < seen.first_recv_ns:
        seen.first_recv_ns = recv_ns
    if recv_ns < seen.last_recv_ns:
        seen.late_recv += 1
    seen.last_recv_ns = max(int(seen.last_recv_ns), recv_ns)
    if event_ns == 0:
        return
    took = recv_ns - event_ns
    seen.least_ns = took if seen.timed == 0 else min(int(seen.least_ns), took)
    seen.most_ns = took if seen.timed == 0 else max(int(seen.most_ns), took)
    if took < 0:
        seen.negative += 1
    if seen.timed % seen.stride == 0:
        if seen.samples == len(w.samples):
            for n in range(len(w.samples) // 2):
                w.samples[n] = w.samples[2 * n]
            seen.samples = len(w.samples) // 2
            seen.stride *= 2
        if seen.timed % seen.stride == 0:
            w.samples[seen.samples] = took
            seen.samples += 1
    seen.timed += 1


@kernel
def _book(w: Watch, venue: int, instrument: int) -> int:
    """The book of a record, made where it is new; -1 where it is of all instruments, or there is no room."""
    if instrument < 0:
        return -1
    seen = w.seen[0]
    if not (0 <= venue < MOST_VENUES and instrument < MOST_INSTRUMENTS):
        seen.turned_away += 1
        return -1
    k = venue * MOST_INSTRUMENTS + instrument
    book = int(w.index[k]) - 1
    if book < 0:
        if seen.books >= len(w.of_book):
            seen.turned_away += 1
            return -1
        book = int(seen.books)
        seen.books += 1
        w.index[k] = book + 1
        w.of_book[book].venue, w.of_book[book].instrument = venue, instrument
    w.of_book[book].records += 1
    return book


@kernel
def _change(w: Watch, b: Books, batch: Batch, i: int, book: int, out: Batch, derive: int) -> None:
    """A LEVEL or an ORDER_DELTA: change the book, and see what it shows now."""
    if batch.head[i].template_id == _LEVEL:
        level = batch.level[i]
        side, px, flags = int(level.side), int(level.px), int(level["flags"])
        begin_side(b, 2 * book + (0 if side == _BUY else 1), px)
        apply_level(b, book, side, int(level.action), px, int(level.qty), 0)
    else:
        delta = batch.delta[i]
        side, px, flags = int(delta.side), int(delta.px), int(delta["flags"])
        if flags & _PRINT != 0:
            w.of_book[book].trades += 1
            w.of_book[book].volume += delta.qty
        if px != 0:
            begin_side(b, 2 * book + (0 if side == _BUY else 1), px)
        of_ghost, ghost = look_for_ghosts(w.ghosts, int(w.seen[0].ghosts), b, batch, i, book)
        w.seen[0].of_ghosts += of_ghost
        w.seen[0].ghosts += ghost
        if derive != 0 and is_print(batch, i):
            tell_execution(b, book, batch, i, int(batch.head[i].venue_id), int(delta.instrument_id), out)
        apply_delta(b, book, side, int(delta.action), int(delta.venue_order), int(delta.new_order), px, int(delta.qty))
    keep_grid(b, 2 * book)
    keep_grid(b, 2 * book + 1)
    if flags & _MORE != 0:
        return
    head = batch.head[i]
    if touch(b, book, int(head.ts_event_ns)):
        _count_touch(w, int(b.books[book].state), book)
        if derive != 0:
            _derive(b, book, batch, i, out, flags & _SNAPSHOT)


@kernel
def _count_touch(w: Watch, state: int, book: int) -> None:
    seen = w.seen[0]
    seen.touches += 1
    if state & CROSSED != 0:
        seen.crossed += 1
        w.of_book[book].crossed += 1
    elif state & LOCKED != 0:
        seen.locked += 1


@kernel
def _derive(b: Books, book: int, batch: Batch, i: int, out: Batch, flags: int) -> None:
    head, row = batch.head[i], b.books[book]
    instrument = int(batch.level[i].instrument_id)
    k = new_quote(out, int(head.venue_id), instrument, int(head.ts_event_ns), int(head.ts_recv_ns))
    quote = out.quote[k]
    quote.bid_px, quote.bid_qty, quote.bid_orders = row.bid_px, row.bid_qty, row.bid_orders
    quote.ask_px, quote.ask_qty, quote.ask_orders = row.ask_px, row.ask_qty, row.ask_orders
    quote.source_seq = head.stream_seq
    quote["flags"] = flags


@kernel
def _look_at_quote(w: Watch, batch: Batch, i: int, book: int) -> None:
    quote = batch.quote[i]
    w.seen[0].touches += 1
    if quote.bid_qty > 0 and quote.ask_qty > 0 and quote.bid_px >= quote.ask_px:
        if quote.bid_px == quote.ask_px:
            w.seen[0].locked += 1
        else:
            w.seen[0].crossed += 1
            w.of_book[book].crossed += 1


@kernel
def _clear(w: Watch, b: Books, venue: int, instrument: int) -> None:
    for book in range(w.seen[0].books):
        row = w.of_book[book]
        if row.venue == venue and (instrument < 0 or row.instrument == instrument):
            clear_book(b, book)
            b.books[book].state = _UNSHOWN


@kernel
def _pass_on(batch: Batch, i: int, units: int, out: Batch) -> None:
    at, to = 8 * i, 8 * int(out.used[0])
    for n in range(8 * units):
        out.words[to + n] = batch.words[at + n]
    out.used[0] += units
