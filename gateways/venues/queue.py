"""Where a resting order stands in the queue of its price, and what brings it forward.

`queue_ahead` is the displayed size before it. It joins behind all that is open at its price then. What a print at its
price trades beyond that fills it; a print through its price fills it whatever is before it. Of either what our better
and earlier orders took is gone. Then, as [simulation] queue says:

worst         trades at the price alone bring it forward: who cancels was behind it
proportional  of what is cancelled at the level, the share queue_ahead / level was before it (rounded down)
exact         the orders that were there when it came leave one by one, by trade or by cancel; needs a feed of orders

With recorded depth nothing more can be before an order than its level displays. Trades are taken out of what a level
loses before the rest counts as cancelled, for a feed of levels tells both.

An order with a displayed quantity (DisplayQty) has the rest of it behind all that is displayed at its price: a print
that takes all of that reaches it. When the part that it shows is filled, the next part joins the end of the queue.

Worst case: a change of a level costs a step for each of our orders on its side of the pair.
"""

from __future__ import annotations

from engine.book.ladder import at as level_at
from engine.book.ladder import next_rank, rank_of
from engine.book.memory import NOWHERE
from engine.jit import kernel
from engine.record.records import Side
from engine.record.wide import mul_div
from gateways.venues.fills import fill_resting, join_list, unrest
from gateways.venues.state import EXACT, LEVELS, PROPORTIONAL, QUEUE_UNKNOWN, TOUCH, Exchange
from gateways.venues.taken import open_at

_BUY = int(Side.BUY)
#: Stamps of the book's orders are 31 bits.
_STAMPS, _HALF = (1 << 31) - 1, 1 << 30


@kernel
def first_at(ex: Exchange, side: int, px: int) -> int:
    """Our first resting order at a price of a side row of the books; -1 where there is none."""
    pair = ex.pairs[side >> 1]
    buys = side & 1 == 0
    row = int(pair.bids if buys else pair.asks)
    while row >= 0 and (ex.orders[row].px > px if buys else ex.orders[row].px < px):
        row = int(ex.orders[row].next)
    return row if row >= 0 and ex.orders[row].px == px else -1


@kernel
def after_fall(ex: Exchange, side: int, rank: int, before: int, after: int, cancelled: int) -> None:
    """A level shows `after` where it showed `before`; of what it lost, `cancelled` was not told as an execution."""
    px = rank if side & 1 == 0 else -rank
    row = first_at(ex, side, px)
    while row >= 0 and ex.orders[row].px == px:
        order = ex.orders[row]
        if order.queue_ahead == QUEUE_UNKNOWN and after > 0:
            order.queue_ahead = after
        elif ex.core[0].queue == PROPORTIONAL and before > 0 and order.queue_ahead > 0:
            gone = max(cancelled - int(order.traded_qty), 0)
            order.queue_ahead -= mul_div(gone, min(int(order.queue_ahead), before), before)
        order.queue_ahead = min(int(order.queue_ahead), after)
        order.traded_qty = 0
        row = int(order.next)


@kernel
def after_leaving(ex: Exchange, side: int, px: int, arrival: int, qty: int) -> None:
    """An order of the record, by its stamp of arrival, is less at its price: with `exact` what is behind moves up."""
    if ex.core[0].queue != EXACT or qty <= 0:
        return
    row = first_at(ex, side, px)
    while row >= 0 and ex.orders[row].px == px:
        order = ex.orders[row]
        if (int(order.joined) - arrival) & _STAMPS < _HALF and order.queue_ahead > 0:
            order.queue_ahead = max(int(order.queue_ahead) - qty, 0)
        row = int(order.next)


@kernel
def join_queue(ex: Exchange, row: int) -> None:
    """An order comes to rest, or shows more of what it hides: it is behind what is open at its price, if that is known.

    Levels may be told to some depth only: of a price that is worse than all of them nobody knows.
    """
    order = ex.orders[row]
    pair = ex.pairs[order.pair]
    buys = order.side == _BUY
    order.traded_qty, order.joined = 0, ex.books.core[0].arrivals
    order.shown_qty = order.leaves_qty
    if order.display_qty > 0:
        order.shown_qty = min(order.display_qty, order.leaves_qty)
    if pair.told_by != TOUCH:
        side = 2 * int(order.pair) + (0 if buys else 1)
        rank = rank_of(side, int(order.px))
        shown, _ = level_at(ex.books, side, rank)
        if shown == 0 and pair.told_by == LEVELS and next_rank(ex.books, side, rank) == NOWHERE:
            order.queue_ahead = QUEUE_UNKNOWN
        else:
            order.queue_ahead = open_at(ex, side, rank)
        return
    touch, shown = (int(pair.bid_px), int(pair.bid_qty)) if buys else (int(pair.ask_px), int(pair.ask_qty))
    if shown == 0 or (order.px > touch if buys else order.px < touch):
        order.queue_ahead = 0
    else:
        order.queue_ahead = shown if order.px == touch else QUEUE_UNKNOWN


@kernel
def _displayed(ex: Exchange, row: int) -> int:
    """What the record displays at an order's price, as it was before what is printing; QUEUE_UNKNOWN is not known."""
    order = ex.orders[row]
    pair = ex.pairs[order.pair]
    buys = order.side == _BUY
    if pair.told_by != TOUCH:
        side = 2 * int(order.pair) + (0 if buys else 1)
        shown, _ = level_at(ex.books, side, rank_of(side, int(order.px)))
        return int(shown)
    if order.px == (pair.bid_px if buys else pair.ask_px):
        return int(pair.bid_shown if buys else pair.ask_shown)
    return QUEUE_UNKNOWN


@kernel
def _reached(ex: Exchange, row: int, ahead: int, beyond: int) -> int:
    """Of a trade at an order's price, `beyond` the `ahead` before it: what it gets.

    What it hides is behind all that is shown there, of our own orders too.
    """
    order = ex.orders[row]
    if order.display_qty == 0 or beyond <= order.shown_qty:
        return beyond
    shown = _displayed(ex, row)
    if shown == QUEUE_UNKNOWN:
        return int(order.shown_qty)
    last, behind, other = max(shown, ahead), 0, int(order.next)
    while other >= 0 and ex.orders[other].px == order.px:
        one = ex.orders[other]
        if one.queue_ahead != QUEUE_UNKNOWN and one.printed != ex.core[0].prints:
            last = max(last, int(one.queue_ahead))
            behind += min(int(one.shown_qty), int(one.leaves_qty))
        other = int(one.next)
    return int(order.shown_qty) + max(beyond - int(order.shown_qty) - behind - (last - ahead), 0)


@kernel
def _show_more(ex: Exchange, row: int, traded: int) -> None:
    """What was displayed of a reserve order is filled: the next part of it is shown, behind all at its price."""
    order = ex.orders[row]
    unrest(ex, row)
    join_list(ex, row)
    shown = _displayed(ex, row)
    join_queue(ex, row)
    if shown != QUEUE_UNKNOWN:  # the record still shows what has just traded; with exact queues it leaves by itself
        order.queue_ahead = shown if ex.core[0].queue == EXACT else max(shown - traded, 0)


@kernel
def trade_through(ex: Exchange, row: int, px: int, traded: int, now_ns: int) -> None:
    """Fill resting orders of one side, from the best (`row`) on, against a recorded trade of `traded` at `px`.

    What our better and earlier orders take of it does not reach the others.
    """
    left, ahead = traded, 0
    ex.core[0].prints += 1
    while row >= 0:
        order = ex.orders[row]
        after = int(order.next)
        if order.printed == ex.core[0].prints:  # it has joined the queue again in this print
            row = after
            continue
        order.printed = ex.core[0].prints
        if order.px == px:
            if order.queue_ahead != QUEUE_UNKNOWN:
                ahead = max(ahead, int(order.queue_ahead))
                most = _reached(ex, row, ahead, left - ahead)
                if ex.core[0].queue != EXACT:
                    order.traded_qty += traded
                    order.queue_ahead = max(int(order.queue_ahead) - traded, 0)
                shown = int(order.shown_qty)
                done = fill_resting(ex, row, most, now_ns)
                left -= done
                if order.leaves_qty > 0 and done >= shown:
                    _show_more(ex, row, traded)
        elif order.px > px if order.side == _BUY else order.px < px:
            left -= fill_resting(ex, row, left, now_ns)
        else:
            return
        row = after
