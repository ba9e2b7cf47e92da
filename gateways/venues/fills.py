"""Executions at the simulated venues: what a fill or an end does to an order, and to the list of the orders that rest.

Worst case: a resting order whose report finds no message slot keeps its quantity, and that is counted.
"""

from __future__ import annotations

from engine.jit import kernel
from engine.record.records import ExecType, Liquidity, OrdStatus, Side, Template
from gateways.venues.flight import room, tell, tell_fill
from gateways.venues.second import doubt_execution, status_of
from gateways.venues.state import Exchange

_BUY, _ADDED = int(Side.BUY), int(Liquidity.ADDED)
_ACK, _EXEC_EXPIRED = int(Template.ACK), int(ExecType.EXPIRED)
_CANCELED, _EXPIRED = int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED)


@kernel
def trades(ex: Exchange, pair_index: int) -> bool:
    """Whether a pair is in continuous trading: open by its feed's word, and its venue by its hours."""
    return bool(ex.pairs[pair_index].status == 0 and ex.venues[pair_index // int(ex.core[0].instruments)].closed == 0)


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
def end(ex: Exchange, row: int, exec_type: int, reason: int, request: int, now_ns: int) -> None:
    """Take what is left of a live order off the market (cancelled or expired) and say so."""
    unrest(ex, row)
    order = ex.orders[row]
    order.leaves_qty = 0
    order.ord_status = _EXPIRED if exec_type == _EXEC_EXPIRED else _CANCELED
    tell(ex, row, _ACK, exec_type, reason, request, now_ns)


@kernel
def fill_resting(ex: Exchange, row: int, most: int, now_ns: int) -> int:
    """Fill a resting order at its price up to `most`; returns the quantity, 0 where no report could be written."""
    order = ex.orders[row]
    qty = min(most, int(order.leaves_qty))
    if now_ns > order.expire_ns or qty <= 0:
        return 0
    if room(ex) < 1:
        ex.core[0].postponed += 1
        return 0
    fill(ex, row, int(order.px), qty, _ADDED, now_ns)
    order.shown_qty -= qty
    if order.shown_qty <= 0:  # all that it showed, and maybe what it hides: the next part is shown
        order.shown_qty = min(int(order.display_qty), int(order.leaves_qty))
    if order.leaves_qty == 0:
        unrest(ex, row)
    return qty


@kernel
def join_list(ex: Exchange, row: int) -> None:
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
