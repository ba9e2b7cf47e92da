"""How the simulated venues fill orders against what was recorded: quotes, or levels and orders, and trades.

An order that comes in takes what is open to it, best level first, each at its level's price, up to what is displayed
and our earlier fills have left of it. A pair that is told by quotes alone has one level, whose size comes back only
when the feed shows that side anew, with another price or size: a record that repeats a side does not say that anyone
refilled it. What comes back to a pair with depth is in gateways.venues.depth.

An order that rests fills at its own price: when the recorded opposite side comes to lock or cross it (up to what is
open there), and when trades print through it, or at it beyond its queue (gateways.venues.queue). Recorded trades are
the market's own and so are not used up by us twice: one print fills at most its own quantity.

An order that came to rest in a halt, or before anything was shown, has not met the market yet: when that is there, it
takes as one that comes in does.

Bias: the recorded market does not react to our orders. Fills of resting orders are therefore a model.
Worst case: a pair with n resting orders costs n steps to join and, when all are hit, n fills a quote.
"""

from __future__ import annotations

from engine.book.ladder import best_rank, rank_of
from engine.book.memory import NOWHERE
from engine.jit import kernel
from engine.record.records import ExecType, Liquidity, OrdType, Reason, Side, Tif
from gateways.venues.depth import best_open, next_open
from gateways.venues.fills import end, fill, fill_resting, join_list, trades, unrest
from gateways.venues.flight import room
from gateways.venues.ids import draw, happens
from gateways.venues.queue import after_fall, join_queue
from gateways.venues.state import PROPORTIONAL, QUEUE_UNKNOWN, TOUCH, Exchange
from gateways.venues.taken import open_at, taken_row, use_up

_BUY = int(Side.BUY)
_MARKET, _FOK = int(OrdType.MARKET), int(Tif.FOK)
_REMOVED, _EXEC_CANCELED = int(Liquidity.REMOVED), int(ExecType.CANCELED)
#: Of ExecInst: the order may not take.
POST_ONLY = 2
#: Questions to the dice, see ids.draw.
_IS_PHANTOM, _PHANTOM_LEFT = 3, 4


@kernel
def _opposite(ex: Exchange, row: int) -> int:
    """Side row of the books that an order executes against."""
    order = ex.orders[row]
    return 2 * int(order.pair) + (1 if order.side == _BUY else 0)


@kernel
def _limit_rank(ex: Exchange, row: int, side: int) -> int:
    """The worst rank of side row `side` at which an order may execute."""
    order = ex.orders[row]
    return NOWHERE + 1 if order.ord_type == _MARKET else rank_of(side, int(order.px))


@kernel
def marketable(ex: Exchange, row: int) -> bool:
    """Whether an order could execute at the opposite touch now."""
    order = ex.orders[row]
    pair = ex.pairs[order.pair]
    if not trades(ex, int(order.pair)):
        return False
    if pair.told_by != TOUCH:
        side = _opposite(ex, row)
        return bool(best_open(ex, side) >= _limit_rank(ex, row, side))
    if order.side == _BUY:
        return bool(pair.ask_qty > 0 and (order.ord_type == _MARKET or order.px >= pair.ask_px))
    return bool(pair.bid_qty > 0 and (order.ord_type == _MARKET or order.px <= pair.bid_px))


@kernel
def take(ex: Exchange, row: int, now_ns: int) -> None:
    """Execute an order that came in against what is open to it: a fill a level."""
    if not marketable(ex, row):
        return
    if ex.pairs[ex.orders[row].pair].told_by != TOUCH:
        _take_depth(ex, row, now_ns)
        return
    order = ex.orders[row]
    pair = ex.pairs[order.pair]
    buys = order.side == _BUY
    shown = _left(ex, row, int(pair.ask_qty if buys else pair.bid_qty))
    px = int(pair.ask_px if buys else pair.bid_px)
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
def _left(ex: Exchange, row: int, shown: int) -> int:
    """What of the touch's size is there when an order comes: all of it, or (a fault) a part."""
    order = ex.orders[row]
    venue = ex.venues[int(order.venue_id)]
    if not happens(venue.seed, order.order_id, _IS_PHANTOM, venue.partial_ppm):
        return shown
    left = draw(venue.seed, order.order_id, _PHANTOM_LEFT) % shown
    venue.phantoms += 1
    return left - left % int(ex.pairs[order.pair].lot_qty)


@kernel
def _take_depth(ex: Exchange, row: int, now_ns: int) -> None:
    """Take level by level, as many as message slots (but one, for the order's end) and rows of `taken` are free for.

    What is taken is settled before anything is.
    """
    order, side = ex.orders[row], _opposite(ex, row)
    limit, most = _limit_rank(ex, row, side), max(room(ex) - 1, 1)
    rank = best_open(ex, side)
    shown = open_at(ex, side, rank)
    left = _left(ex, row, shown)
    if left < shown:
        use_up(ex, side, rank, shown - left)
        rank = best_open(ex, side)
    best, total, levels, free = rank, 0, 0, int(ex.core[0].taken_head)
    while rank >= limit and total < order.leaves_qty and levels < most:
        if taken_row(ex, side, rank) < 0:
            if free < 0:
                break
            free = int(ex.taken[free].next)
        total += open_at(ex, side, rank)
        levels += 1
        rank = next_open(ex, side, rank)
    if total < order.leaves_qty and rank >= limit:
        ex.core[0].curbed += 1
    total = min(total, int(order.leaves_qty))
    if order.cum_qty + total < order.min_qty or (order.tif == _FOK and total < order.leaves_qty):
        return
    rank = best
    while total > 0:
        qty = min(open_at(ex, side, rank), total)
        use_up(ex, side, rank, qty)
        total -= qty
        fill(ex, row, rank_of(side, rank), qty, _REMOVED, now_ns)
        if total > 0:
            rank = next_open(ex, side, rank)


@kernel
def _shows(ex: Exchange, side: int) -> bool:
    """Whether the record shows anything on a side row of the books."""
    pair = ex.pairs[side >> 1]
    if pair.told_by != TOUCH:
        return bool(ex.books.books[side >> 1].broken == 0 and best_rank(ex.books, side) != NOWHERE)
    return bool((pair.bid_shown if side & 1 == 0 else pair.ask_shown) > 0)


@kernel
def rest(ex: Exchange, row: int) -> None:
    """Put an order into the list of its pair, behind all of the same or a better price, and into the queue there."""
    join_list(ex, row)
    join_queue(ex, row)
    order = ex.orders[row]
    pair_index, order.waits = int(order.pair), 0
    if not trades(ex, pair_index) or not (_shows(ex, 2 * pair_index) or _shows(ex, 2 * pair_index + 1)):
        order.waits = ex.pairs[pair_index].waits = 1


@kernel
def cross(ex: Exchange, pair_index: int, now_ns: int) -> None:
    """Fill the resting orders of a pair that the recorded other side locks or crosses, up to what is open there."""
    pair = ex.pairs[pair_index]
    if not trades(ex, pair_index):
        return
    if pair.told_by != TOUCH:
        _cross_depth(ex, int(pair.bids), 2 * pair_index + 1, now_ns)
        _cross_depth(ex, int(pair.asks), 2 * pair_index, now_ns)
    else:
        _cross_touch(ex, pair_index, now_ns)
    if pair.waits != 0 and room(ex) >= 1:
        _have_met(ex, pair_index)


@kernel
def _cross_touch(ex: Exchange, pair_index: int, now_ns: int) -> None:
    """As `cross`, where quotes alone are told."""
    pair = ex.pairs[pair_index]
    row = int(pair.bids)
    while row >= 0 and pair.ask_qty > 0 and ex.orders[row].px >= pair.ask_px:
        after = int(ex.orders[row].next)
        if ex.orders[row].waits != 0:
            _meet(ex, row, now_ns)
        else:
            pair.ask_qty -= fill_resting(ex, row, int(pair.ask_qty), now_ns)
        row = after
    row = int(pair.asks)
    while row >= 0 and pair.bid_qty > 0 and ex.orders[row].px <= pair.bid_px:
        after = int(ex.orders[row].next)
        if ex.orders[row].waits != 0:
            _meet(ex, row, now_ns)
        else:
            pair.bid_qty -= fill_resting(ex, row, int(pair.bid_qty), now_ns)
        row = after


@kernel
def _cross_depth(ex: Exchange, row: int, side: int, now_ns: int) -> None:
    """Resting orders from the best (`row`) on against side row `side`."""
    while row >= 0:
        order = ex.orders[row]
        after, rank = int(order.next), best_open(ex, side)
        if rank < rank_of(side, int(order.px)):
            return
        if order.waits != 0:
            _meet(ex, row, now_ns)
            row = after
            continue
        if not use_up(ex, side, rank, 0):
            ex.core[0].curbed += 1
            return
        done = fill_resting(ex, row, open_at(ex, side, rank), now_ns)
        use_up(ex, side, rank, done)
        if done == 0 or order.leaves_qty == 0:
            row = after


@kernel
def _meet(ex: Exchange, row: int, now_ns: int) -> None:
    """The market is there that an order had to wait for, and it would execute: it takes, as one that comes in does.

    A post-only one is cancelled. Among our own orders it keeps its place; without a message slot it goes on waiting.
    """
    order = ex.orders[row]
    if now_ns > order.expire_ns:
        return
    if room(ex) < 1:
        ex.core[0].postponed += 1
        return
    order.waits = 0
    if int(order.exec_inst) & POST_ONLY != 0:
        end(ex, row, _EXEC_CANCELED, Reason.CROSSED_QUOTE.value, 0, now_ns)
        return
    take(ex, row, now_ns)
    if order.leaves_qty > 0:
        join_queue(ex, row)
    else:
        unrest(ex, row)


@kernel
def _have_met(ex: Exchange, pair_index: int) -> None:
    """Where the other side of a pair that trades shows something, no order waits any more: it rests."""
    pair, waits = ex.pairs[pair_index], 0
    for side in range(2):
        row, met = int(pair.bids if side == 0 else pair.asks), _shows(ex, 2 * pair_index + 1 - side)
        while row >= 0:
            if met:
                ex.orders[row].waits = 0
            elif ex.orders[row].waits != 0:
                waits = 1
            row = int(ex.orders[row].next)
    pair.waits = waits


@kernel
def show(ex: Exchange, pair_index: int, bid_px: int, bid_qty: int, ask_px: int, ask_qty: int, now_ns: int) -> None:
    """Take over a recorded quote: sides that changed are whole again, resting orders that they cross fill."""
    pair = ex.pairs[pair_index]
    if bid_px != pair.bid_px or bid_qty != pair.bid_shown:
        was_px, was = int(pair.bid_px), int(pair.bid_shown)
        pair.bid_px, pair.bid_shown, pair.bid_qty = bid_px, bid_qty, bid_qty
        _see_queue(ex, 2 * pair_index, bid_px, bid_qty, was if was_px == bid_px else 0)
    if ask_px != pair.ask_px or ask_qty != pair.ask_shown:
        was_px, was = int(pair.ask_px), int(pair.ask_shown)
        pair.ask_px, pair.ask_shown, pair.ask_qty = ask_px, ask_qty, ask_qty
        _see_queue(ex, 2 * pair_index + 1, ask_px, ask_qty, was if was_px == ask_px else 0)
    if pair.bids >= 0 or pair.asks >= 0:
        cross(ex, pair_index, now_ns)


@kernel
def _see_queue(ex: Exchange, side: int, px: int, shown: int, before: int) -> None:
    """What a quote's side says of queues: how much is displayed at its price, where it was `before`, and none better.

    Orders that joined a price which was not displayed then are behind what is displayed there now. With `worst` what
    was known of a queue stays, for a quote often comes before the trade that it follows from.
    """
    if shown <= 0:
        return
    rank, share = rank_of(side, px), ex.core[0].queue == PROPORTIONAL
    row = int(ex.pairs[side >> 1].bids if side & 1 == 0 else ex.pairs[side >> 1].asks)
    while row >= 0 and rank_of(side, int(ex.orders[row].px)) > rank:
        if share or ex.orders[row].queue_ahead == QUEUE_UNKNOWN:
            ex.orders[row].queue_ahead = 0
        row = int(ex.orders[row].next)
    if share:
        after_fall(ex, side, rank, before, shown, max(before - shown, 0))
        return
    while row >= 0 and ex.orders[row].px == px:
        if ex.orders[row].queue_ahead == QUEUE_UNKNOWN:
            ex.orders[row].queue_ahead = shown
        row = int(ex.orders[row].next)
