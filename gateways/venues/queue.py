"""Where a resting order stands in the queue of its price, and what brings it forward.

`queue_ahead` is the displayed size before it. It joins behind all that is open at its price then. What a print at its
price trades beyond that fills it; a print through its price fills it whatever is before it. Then, as [simulation]
queue says:

worst         trades at the price alone bring it forward: who cancels was behind it
proportional  of what is cancelled at the level, the share queue_ahead / level was before it (rounded down)
exact         the orders that were there when it came leave one by one, by trade or by cancel; needs a feed of orders

With recorded depth nothing more can be before an order than its level displays. Trades are taken out of what a level
loses before the rest counts as cancelled, for a feed of levels tells both.

Worst case: a change of a level costs a step for each of our orders on its side of the pair.
"""

from __future__ import annotations

from engine.jit import kernel
from engine.record.records import Side
from engine.record.wide import mul_div
from gateways.venues.fills import fill_resting
from gateways.venues.state import EXACT, PROPORTIONAL, QUEUE_UNKNOWN, Exchange

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
def trade_through(ex: Exchange, row: int, px: int, traded: int, now_ns: int) -> None:
    """Fill resting orders of one side, from the best (`row`) on, against a recorded trade of `traded` at `px`."""
    left = traded
    while row >= 0:
        order = ex.orders[row]
        after = int(order.next)
        if order.px == px:
            if order.queue_ahead != QUEUE_UNKNOWN:
                reached = traded - int(order.queue_ahead)
                if ex.core[0].queue != EXACT:
                    order.traded_qty += traded
                    order.queue_ahead = max(0, -reached)
                left -= fill_resting(ex, row, min(left, reached), now_ns)
        elif order.px > px if order.side == _BUY else order.px < px:
            left -= fill_resting(ex, row, left, now_ns)
        else:
            return
        row = after
