"""What the books show: the touch of one, and the best of all venues in an instrument, with what is wrong with it.

`touch` keeps what was shown last (`books.bid_px` …) and says whether that changed: a feed of orders or levels becomes a
feed of quotes by asking it after each event. `best_of` looks at what was shown, so it costs a cache line a venue.
"""

from __future__ import annotations

from engine.book.ladder import at, best_rank
from engine.book.memory import NOWHERE, Books
from engine.jit import kernel

#: `state` of a book and of the view over venues, bits.
NO_BID, NO_ASK, LOCKED, CROSSED, BROKEN, STALE = 1, 2, 4, 8, 16, 32


@kernel
def touch(b: Books, book: int, now_ns: int) -> bool:
    """Bring what the book shows up to date; whether it changed. A broken book shows nothing."""
    row = b.books[book]
    bid, ask = best_rank(b, 2 * book), best_rank(b, 2 * book + 1)
    state, bid_px, bid_qty, bid_orders, ask_px, ask_qty, ask_orders = 0, 0, 0, 0, 0, 0, 0
    if row.broken != 0:
        state = BROKEN | NO_BID | NO_ASK
    else:
        if bid == NOWHERE:
            state |= NO_BID
        else:
            bid_px = bid
            bid_qty, bid_orders = at(b, 2 * book, bid)
        if ask == NOWHERE:
            state |= NO_ASK
        else:
            ask_px = -ask
            ask_qty, ask_orders = at(b, 2 * book + 1, ask)
        if state == 0 and bid_px >= ask_px:
            state = LOCKED if bid_px == ask_px else CROSSED
    same = (
        row.bid_px == bid_px
        and row.bid_qty == bid_qty
        and row.ask_px == ask_px
        and row.ask_qty == ask_qty
        and row.bid_orders == bid_orders
        and row.ask_orders == ask_orders
        and row.state == state
    )
    row.shown_ns = now_ns
    if same:
        return False
    row.bid_px, row.bid_qty, row.bid_orders = bid_px, bid_qty, bid_orders
    row.ask_px, row.ask_qty, row.ask_orders = ask_px, ask_qty, ask_orders
    row.state = state
    return True


@kernel
def best_of(b: Books, instrument: int, now_ns: int, stale_ns: int) -> tuple[int, int, int, int, int]:
    """The best over all venues: (bid price, its quantity over venues, offer price, its quantity, state).

    A venue that was not heard of for `stale_ns` does not count; STALE where that left one out. Prices mean nothing
    where the state has NO_BID or NO_ASK.
    """
    bid_px, bid_qty, ask_px, ask_qty, state = 0, 0, 0, 0, 0
    for venue in range(b.core[0].venues):
        row = b.books[venue * b.core[0].instruments + instrument]
        if row.shown_ns == 0 or row.state & BROKEN != 0:
            continue
        if now_ns - row.shown_ns > stale_ns:
            state |= STALE
            continue
        if row.bid_qty > 0:
            if bid_qty == 0 or row.bid_px > bid_px:
                bid_px, bid_qty = int(row.bid_px), 0
            if row.bid_px == bid_px:
                bid_qty += int(row.bid_qty)
        if row.ask_qty > 0:
            if ask_qty == 0 or row.ask_px < ask_px:
                ask_px, ask_qty = int(row.ask_px), 0
            if row.ask_px == ask_px:
                ask_qty += int(row.ask_qty)
    if bid_qty == 0:
        state |= NO_BID
    if ask_qty == 0:
        state |= NO_ASK
    if bid_qty > 0 and ask_qty > 0 and bid_px >= ask_px:
        state |= LOCKED if bid_px == ask_px else CROSSED
    return bid_px, bid_qty, ask_px, ask_qty, state
