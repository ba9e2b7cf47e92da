"""What a simulated venue thinks better of: an execution is busted or corrected, a resting order is cancelled unasked.

It is decided when the execution happens, or the order comes to rest, by the venue's dice (the order's id and the number
of the execution, see ids.py), and happens 1 to 50 ms of venue time later, whatever has become of the order meanwhile: a
bust may meet one that is being replaced, or has ended. A busted quantity is not put back: the order keeps its leaves,
and one that was filled is cancelled.

Corrections are of three kinds, drawn evenly: another price (one price unit better for the order), less quantity, or
more, up to the leaves of an order that is still open; where a kind cannot be, the price is corrected.

Worst case: the table of second thoughts is full; then the venue has none, and counts it.
"""

from __future__ import annotations

from typing import Final

from engine.jit import kernel
from engine.record.records import ExecType, OrdStatus, Reason, Side, Template
from gateways.venues.flight import enqueue, start
from gateways.venues.ids import draw, happens
from gateways.venues.state import Exchange

_BUST, _CORRECT, _CANCEL = int(Template.BUST), int(Template.CORRECT), int(Template.ORDER_CANCEL)
_TRADE_CANCEL, _TRADE_CORRECT = int(ExecType.TRADE_CANCEL), int(ExecType.TRADE_CORRECT)
_NEW, _PARTIAL, _FILLED = int(OrdStatus.NEW), int(OrdStatus.PARTIALLY_FILLED), int(OrdStatus.FILLED)
_CANCELED = int(OrdStatus.CANCELED)
_SIMULATED, _BUY = int(Reason.SIMULATED), int(Side.BUY)
#: Questions to the dice, see ids.draw; those about the n-th execution of an order are n * _APART further on.
_IS_BUSTED, _IS_CORRECTED, _IS_CANCELED, _WHEN, _HOW = 5, 6, 7, 8, 9
_APART = 16
#: A second thought comes at least AFTER_NS later, and less than SPREAD_NS more.
AFTER_NS: Final = 1_000_000
SPREAD_NS: Final = 49_000_000


@kernel
def status_of(ex: Exchange, row: int) -> int:
    """OrdStatus of an order that was not ended by a request or by time, from its quantities."""
    order = ex.orders[row]
    if order.leaves_qty == 0:
        return _FILLED if order.cum_qty >= order.qty else _CANCELED
    return _PARTIAL if order.cum_qty > 0 else _NEW


@kernel
def _doubt(ex: Exchange, row: int, kind: int, question: int, now_ns: int) -> int:
    """A new second thought about an order, under way; its row, -1 where there is no room."""
    core, order = ex.core[0], ex.orders[row]
    venue = ex.venues[int(order.venue_id)]
    k = int(core.second_head)
    if k < 0:
        venue.spared += 1
        return -1
    second = ex.seconds[k]
    core.second_head = second.row
    second.row, second.kind = row, kind
    after_ns = AFTER_NS + draw(venue.seed, order.order_id, question + _WHEN) % SPREAD_NS
    enqueue(ex, -1 - len(ex.orders) - k, now_ns + after_ns)
    return k


@kernel
def doubt_order(ex: Exchange, row: int, now_ns: int) -> None:
    """An order has come to rest: the venue may cancel it some time."""
    venue = ex.venues[int(ex.orders[row].venue_id)]
    if happens(venue.seed, ex.orders[row].order_id, _IS_CANCELED, venue.unsolicited_ppm):
        _doubt(ex, row, _CANCEL, 0, now_ns)


@kernel
def doubt_execution(ex: Exchange, row: int, slot: int, now_ns: int) -> None:
    """An execution was told in message slot `slot`: the venue may bust or correct it some time."""
    order = ex.orders[row]
    venue, question = ex.venues[int(order.venue_id)], (int(order.executions) + 1) * _APART
    order.executions += 1
    kind = 0
    if happens(venue.seed, order.order_id, question + _IS_BUSTED, venue.bust_ppm):
        kind = _BUST
    elif happens(venue.seed, order.order_id, question + _IS_CORRECTED, venue.correct_ppm):
        kind = _CORRECT
    if kind == 0:
        return
    k = _doubt(ex, row, kind, question, now_ns)
    if k < 0:
        return
    second, report = ex.seconds[k], ex.reports[slot]
    second.exec_id[0] = report.exec_id[0]
    second.exec_id[1] = report.exec_id[1]
    second.px = report.last_px
    second.qty = report.last_qty
    second.liquidity = report.liquidity
    second.dice = draw(venue.seed, order.order_id, question + _HOW)


@kernel
def forget(ex: Exchange, k: int) -> None:
    """Second thought k is done with: its row is free."""
    ex.seconds[k].row = ex.core[0].second_head
    ex.core[0].second_head = k


@kernel
def change(ex: Exchange, k: int, now_ns: int) -> None:
    """Bust or correct the execution that second thought k is about, and say so. A message slot must be free."""
    second = ex.seconds[k]
    row, kind = int(second.row), int(second.kind)
    order = ex.orders[row]
    venue = ex.venues[int(order.venue_id)]
    px, qty = 0, 0
    if kind == _CORRECT:
        px, qty = _corrected_px(ex, k), _corrected_qty(ex, k)
        px = int(second.px) if qty != second.qty else px
        venue.corrects += 1
    else:
        venue.busts += 1
    more = qty - int(second.qty)
    was = int(order.ord_status)
    order.cum_qty += more
    if more > 0:
        order.leaves_qty -= more
    else:
        order.busted_qty -= more
    if was in (_NEW, _PARTIAL, _FILLED):
        order.ord_status = status_of(ex, row)
    _tell(ex, k, px, qty, now_ns)


@kernel
def _corrected_px(ex: Exchange, k: int) -> int:
    """One price unit better for the order than it was."""
    second = ex.seconds[k]
    if ex.orders[second.row].side == _BUY:
        return int(max(second.px - 1, 1))
    return int(second.px + 1)


@kernel
def _corrected_qty(ex: Exchange, k: int) -> int:
    """The quantity of a corrected execution, in lots: less, more up to the leaves, or as it was."""
    second = ex.seconds[k]
    order = ex.orders[second.row]
    lot, qty, dice = int(ex.pairs[order.pair].lot_qty), int(second.qty), int(second.dice) // 3
    if second.dice % 3 == 1 and qty > lot:
        return max(dice % qty // lot * lot, lot)
    if second.dice % 3 == 2 and order.leaves_qty >= lot and order.leaves_qty > 0:
        return qty + max(dice % int(order.leaves_qty) // lot * lot, lot)
    return qty


@kernel
def _tell(ex: Exchange, k: int, px: int, qty: int, now_ns: int) -> None:
    second = ex.seconds[k]
    kind = int(second.kind)
    order = ex.orders[second.row]
    slot = start(ex, kind, int(order.venue_id), int(order.order_id), int(order.cum_qty), now_ns, 0)
    told = ex.changes[slot]
    own0, own1 = ex.reports[slot].exec_id[0], ex.reports[slot].exec_id[1]
    told.order_id = order.order_id
    told.exec_id[0] = own0
    told.exec_id[1] = own1
    told.exec_ref_id[0] = second.exec_id[0]
    told.exec_ref_id[1] = second.exec_id[1]
    told.last_px = px
    told.last_qty = qty
    told.cum_qty = order.cum_qty
    told.leaves_qty = order.leaves_qty
    told.instrument_id = order.instrument_id
    told.reason = _SIMULATED
    told.side = order.side
    told.exec_type = _TRADE_CORRECT if kind == _CORRECT else _TRADE_CANCEL
    told.ord_status = order.ord_status
    told.liquidity = second.liquidity if kind == _CORRECT else 0
    told.client_id = order.client_id
    told.request = 0
