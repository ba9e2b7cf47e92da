"""The memory of the books: ladders a side, levels far from the touch, orders; and `make_books`, which allocates it.

A *book* is a venue's market in one instrument, at `venue * instruments + instrument`; a *side* is row `2 * book` (bids)
or `2 * book + 1` (offers). Both sides count in *ranks*: the price of a bid, the negated price of an offer, so that
higher is better on either and one set of kernels serves both.

A side's window holds the `width` levels around its touch, a level at `rank // tick` modulo the width, with a bit for
each that is occupied. A level whose price is not on the tick grid, or lies outside the window, is a row of `far`: found
by hash, and listed by side. The window follows the touch; nothing is lost by that, it is only slower.

Capacities: `far` levels and `orders`, for all books together. What finds no room is counted (`full`), and its book is
broken until it is cleared: a touch that is not the market's is never shown.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.mapping import aligned_zeros
from engine.memory import Memory, memory, packed

Array = np.ndarray[Any, np.dtype[Any]]
#: No rank is this low.
NOWHERE: Final = -(2**62)
#: Bits of a word of the bitmap; words are int64, and their sign bit stays out of it.
BITS: Final = 32
#: Levels of the windows of all books together, a side, and the most of one.
_WINDOWS: Final = 1 << 21
_WIDEST: Final = 1 << 15


def _row(text: str) -> np.dtype[Any]:
    fields = [(line.split()[0], "<" + line.split()[1]) for line in text.strip().splitlines()]
    return np.dtype((np.record, np.dtype(fields, align=True)))


SIDE: Final = _row("""
tick          i8  price units between two levels of the window
lines         f8  1 / tick: a guess to be checked, see ladder.level_of
low           i8  lowest level of the window
best          i8  best level in the window; good while near > 0
near          i8  occupied levels in the window
far           i8  levels outside it
off           i8  of those, levels that are not on the tick grid
off_best      i8  best rank of these; NOWHERE where there is none
first         i8  first row of `far`; -1 is none
""")
BOOK: Final = _row("""
orders        i8  live orders
broken        i8  1: something found no room; not to be trusted until it is cleared
changes       i8  counted: records taken
bid_px        i8  the touch as last shown, see engine.book.view
bid_qty       i8
bid_orders    i8
ask_px        i8
ask_qty       i8
ask_orders    i8
shown_ns      i8  when it was shown last; 0 is never
state         i8  see engine.book.view
home          i8  what is added to an order's number for its place: another for each venue
""")
LEVEL: Final = _row("""
qty           i8  quantity at the level
orders        i8  orders there; 0 where the feed does not say
""")
FAR: Final = _row("""
rank          i8
qty           i8
orders        i8
side          i8  row of its side
next          i8  next of its side, or next free row; -1 is the last
prev          i8  the one before; -1 is the first
chain         i8  next row of the bucket; -1 is the last
""")
ORDER: Final = _row("""
id            i8  the venue's number of the order; 0 is an empty place
px            i8
qty           i8  what is left of it
side          i4  row of its side
arrival       i4  stamp of when it got its place in the queue, for comparing modulo 2^32
""")
assert ORDER.itemsize == 32
CORE: Final = _row("""
width_mask    i8  levels of a window - 1
words         i8  words of a window's bitmap
instruments   i8  instruments a venue
venues        i8
free_far      i8  first free row of `far`; -1 is none
order_mask    i8  places of the order table - 1
spill_mask    i8  places of its overflow - 1
spilled       i8  orders in the overflow
live          i8  orders in all
arrivals      i8  stamps given
dangling      i8  counted: changes of orders that are not there
repeated      i8  counted: orders that were there already
full          i8  counted: what found no room
shifts        i8  counted: windows that moved
ignored       i8  counted: records that say nothing possible
""")


@memory
class Books(Memory):
    """All books, see `make_books`."""

    LAYOUT = packed(
        core=CORE,
        books=BOOK,
        sides=SIDE,
        levels=LEVEL,
        bits="<i8",
        far=FAR,
        buckets="<i8",
        orders=ORDER,
        spill=ORDER,
    )
    core: Array  # one row
    books: Array  # venues * instruments
    sides: Array  # two a book
    levels: Array  # width a side
    bits: Array  # words a side
    far: Array
    buckets: Array  # a power of two: hash of (side, rank) -> row of far + 1
    orders: Array  # a power of two: place = the order's number, modulo the size
    spill: Array  # a power of two, open addressing: orders whose place was taken


def window_width(books: int) -> int:
    """Levels of a window where so many books may take 64 MiB: 32,768 for sixty-four books, 256 for thousands.

    A feed of levels changes them thousands of ticks from the touch, and one outside the window costs as much as five.
    """
    return max(min(_WINDOWS >> max(books - 1, 0).bit_length(), _WIDEST), 256)


def make_books(
    ticks: list[int],
    venues: int = 1,
    *,
    width: int = 256,
    far: int = 1 << 14,
    orders: int = 1 << 16,
    present: bool = True,
) -> Books:
    """Empty books of `venues` venues in instruments whose ticks (price units) are given.

    width: levels of a window, a power of two from 32. far: levels outside windows, all books together. orders: live
    orders, all books together, rounded up to a power of two; 0 for books without orders. present: touch all pages now,
    not when they are first used. ValueError where a tick or the width is impossible.
    """
    if width < BITS or width & (width - 1):
        raise ValueError(f"width = {width}: a power of two from {BITS} is needed")
    if not ticks or min(ticks) < 1:
        raise ValueError(f"ticks = {ticks}: one of 1 price unit or more for each instrument is needed")
    count = venues * len(ticks)
    places = 1 << max(orders - 1, 1).bit_length()
    books = Books(
        core=aligned_zeros(1, CORE),
        books=aligned_zeros(count, BOOK),
        sides=aligned_zeros(2 * count, SIDE),
        levels=aligned_zeros(2 * count * width, LEVEL),
        bits=aligned_zeros(2 * count * (width // BITS), np.dtype("<i8")),
        far=aligned_zeros(far, FAR),
        buckets=aligned_zeros(1 << (2 * far - 1).bit_length(), np.dtype("<i8")),
        orders=aligned_zeros(places, ORDER),
        spill=aligned_zeros(places, ORDER),
    )
    for array in books.arrays().values() if present else ():
        array.view(np.uint8)[::4096] |= 0
    core = books.core[0]
    core["width_mask"], core["words"] = width - 1, width // BITS
    core["instruments"], core["venues"] = len(ticks), venues
    core["order_mask"] = core["spill_mask"] = places - 1
    books.far["next"] = np.arange(1, far + 1)
    books.far["next"][-1] = -1
    books.books["home"] = np.repeat(np.arange(venues), len(ticks)) * 0x2545F49
    books.sides["tick"] = np.tile(np.repeat(ticks, 2), venues)
    books.sides["lines"] = 1 / books.sides["tick"]
    books.sides["off_best"], books.sides["first"] = NOWHERE, -1
    return books
