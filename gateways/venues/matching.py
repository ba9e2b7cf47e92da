"""How the simulated venues fill orders against recorded quotes and trades.

An order that comes in takes the recorded opposite touch when its limit allows, at the touch's price, up to what our
earlier fills have left of the displayed size. The size comes back only when the feed shows that side anew, with another
price or size: a record that repeats a side does not say that anyone refilled it.

An order that rests fills at its own price: when a new opposite quote locks or crosses it (up to the displayed size),
and when trades print through it, or at it after the displayed size that was before it has traded (`queue_ahead`).
Recorded trades are the market's own and so are not used up by us twice: one print fills at most its own quantity.

Bias: we see only the touch, and the recorded market does not react to our orders. Fills of resting orders are therefore
a model. Worst case: a pair with n resting orders costs n steps to join and, when all are hit, n fills a quote.
"""

from __future__ import annotations

from engine.jit import kernel
from engine.record.records import Liquidity, OrdType, Side, Tif
from gateways.venues.flight import room, tell_fill
from gateways.venues.ids import draw, happens
from gateways.venues.second import doubt_execution, status_of
from gateways.venues.state import QUEUE_UNKNOWN, Exchange

_BUY = int(Side.BUY)
_MARKET, _FOK = int(OrdType.MARKET), int(Tif.FOK)
_ADDED, _REMOVED = int(Liquidity.ADDED), int(Liquidity.REMOVED)
#: Questions to the dice, see ids.draw.
_IS_PHANTOM, _PHANTOM_LEFT = 3, 4


@kernel
def marketable(ex: Exchange, row: int) -> bool:
    """Whether an order could execute at the opposite touch now."""
    order = ex.orders[row]
    pair = ex.pairs[order.pair]
    if order.side == _BUY:
        return bool(pair.ask_qty > 0 and (order.ord_type == _MARKET or order.px >= pair.ask_px))
    return bool(pair.bid_qty > 0 and (order.ord_type == _MARKET or order.px <= pair.bid_px))


@kernel
def fill(ex: Exchange, row: int, px: int, qty: int, liquidity: int, now_ns: int) -> None:
    """Book an execution of an order and report it."""
    order = ex.orders[row]
    order.cum_qty += qty
    order.leaves_qty -= qty
    order.ord_status = status_of(ex, row)
    slot = tell_fill(ex, row, px, qty, liquidity, now_ns)
    doubt_execution(ex, row, slot, now_ns)


@kernel
def take(ex: Exchange, row: int, now_ns: int) -> None:
    """Execute an order that came in against the opposite touch: at most one fill."""
    if not marketable(ex, row):
        return
    order = ex.orders[row]
    pair = ex.pairs[order.pair]
    venue = ex.venues[int(order.venue_id)]
    buys = order.side == _BUY
    shown = int(pair.ask_qty if buys else pair.bid_qty)
    px = int(pair.ask_px if buys else pair.bid_px)
    if happens(venue.seed, order.order_id, _IS_PHANTOM, venue.partial_ppm):
        shown = draw(venue.seed, order.order_id, _PHANTOM_LEFT) % shown
        shown -= shown % int(pair.lot_qty)
        venue.phantoms += 1
    qty = min(shown, int(order.leaves_qty))
    if order.cum_qty + qty < order.min_qty or (order.tif == _FOK and qty < order.leaves_qty):
        qty = 0
    if buys:
        pair.ask_qty = shown - qty
    else:
        pair.bid_qty = shown - qty
    if qty > 0:
        fill(ex, row, px, qty, _REMOVED, now_ns)


@kernel
def rest(ex: Exchange, row: int) -> None:
    """Put an order into the list of its pair, behind all of the same or a better price."""
    order = ex.orders[row]
    pair = ex.pairs[order.pair]
    buys = order.side == _BUY
    before, after = -1, int(pair.bids if buys else pair.asks)
    while after >= 0 and (ex.orders[after].px >= order.px if buys else ex.orders[after].px <= order.px):
        before, after = after, int(ex.orders[after].next)
    order.prev, order.next, order.resting = before, after, 1
    if after >= 0:
        ex.orders[after].prev = row
    if before >= 0:
        ex.orders[before].next = row
    elif buys:
        pair.bids = row
    else:
        pair.asks = row
    touch, shown = (int(pair.bid_px), int(pair.bid_qty)) if buys else (int(pair.ask_px), int(pair.ask_qty))
    if shown == 0 or (order.px > touch if buys else order.px < touch):
        order.queue_ahead = 0
    else:
        order.queue_ahead = shown if order.px == touch else QUEUE_UNKNOWN


@kernel
def unrest(ex: Exchange, row: int) -> None:
    """Take an order out of the list of its pair, if it is there."""
    order = ex.orders[row]
    if order.resting == 0:
        return
    order.resting = 0
    before, after = int(order.prev), int(order.next)
    if after >= 0:
        ex.orders[after].prev = before
    if before >= 0:
        ex.orders[before].next = after
    elif order.side == _BUY:
        ex.pairs[order.pair].bids = after
    else:
        ex.pairs[order.pair].asks = after


@kernel
def _fill_resting(ex: Exchange, row: int, most: int, now_ns: int) -> int:
    """Fill a resting order at its price up to `most`; returns the quantity, 0 where no report could be written."""
    order = ex.orders[row]
    qty = min(most, int(order.leaves_qty))
    if now_ns > order.expire_ns or qty <= 0:
        return 0
    if room(ex) < 1:
        ex.core[0].postponed += 1
        return 0
    fill(ex, row, int(order.px), qty, _ADDED, now_ns)
    if order.leaves_qty == 0:
        unrest(ex, row)
    return qty


@kernel
def cross(ex: Exchange, pair_index: int, now_ns: int) -> None:
    """Fill the resting orders of a pair that its touch locks or crosses, up to the displayed sizes."""
    pair = ex.pairs[pair_index]
    row = int(pair.bids)
    while row >= 0 and pair.ask_qty > 0 and ex.orders[row].px >= pair.ask_px:
        after = int(ex.orders[row].next)
        pair.ask_qty -= _fill_resting(ex, row, int(pair.ask_qty), now_ns)
        row = after
    row = int(pair.asks)
    while row >= 0 and pair.bid_qty > 0 and ex.orders[row].px <= pair.bid_px:
        after = int(ex.orders[row].next)
        pair.bid_qty -= _fill_resting(ex, row, int(pair.bid_qty), now_ns)
        row = after


@kernel
def show(ex: Exchange, pair_index: int, bid_px: int, bid_qty: int, ask_px: int, ask_qty: int, now_ns: int) -> None:
    """Take over a recorded quote: sides that changed are whole again, resting orders that they cross fill."""
    pair = ex.pairs[pair_index]
    if bid_px != pair.bid_px or bid_qty != pair.bid_shown:
        pair.bid_px, pair.bid_shown, pair.bid_qty = bid_px, bid_qty, bid_qty
        _see_queue(ex, int(pair.bids), bid_px, bid_qty)
    if ask_px != pair.ask_px or ask_qty != pair.ask_shown:
        pair.ask_px, pair.ask_shown, pair.ask_qty = ask_px, ask_qty, ask_qty
        _see_queue(ex, int(pair.asks), ask_px, ask_qty)
    if pair.bids >= 0 or pair.asks >= 0:
        cross(ex, pair_index, now_ns)


@kernel
def _see_queue(ex: Exchange, row: int, px: int, shown: int) -> None:
    """Orders that joined a price which was not displayed then are behind what is displayed there now."""
    while row >= 0:
        order = ex.orders[row]
        if order.queue_ahead == QUEUE_UNKNOWN and order.px == px:
            order.queue_ahead = shown
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
                order.queue_ahead = max(0, -reached)
                left -= _fill_resting(ex, row, min(left, reached), now_ns)
        elif order.px > px if order.side == _BUY else order.px < px:
            left -= _fill_resting(ex, row, left, now_ns)
        else:
            return
        row = after
