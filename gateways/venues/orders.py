"""What a simulated venue does with each request, once it has arrived: checks, the order table, and the answers.

Every request has one definite answer. A new order is remembered even when it is rejected (only one for an unknown
instrument, or without a place in the table, is not), so that the same content under
the same id is answered with its status and other content is refused. All functions take the request's message slot and
the time at which it is executed, and need RESERVE free message slots.
"""

from __future__ import annotations

from engine.jit import kernel
from engine.record.records import ExecType, OrdStatus, OrdType, Reason, Side, Template, Tif
from engine.record.units import on_tick
from gateways.venues.fills import end, unrest
from gateways.venues.flight import refuse, tell
from gateways.venues.ids import happens, splitmix64, write_id
from gateways.venues.matching import POST_ONLY, marketable, rest, take
from gateways.venues.second import doubt_order, status_of
from gateways.venues.state import EXACT, NEVER, ORDERS, Exchange

_ACK, _REJECT, _CANCEL_REJECT = int(Template.ACK), int(Template.REJECT), int(Template.CANCEL_REJECT)
_ORDER_NEW, _ORDER_CANCEL = int(Template.ORDER_NEW), int(Template.ORDER_CANCEL)
_ORDER_REPLACE, _STATUS_REQUEST = int(Template.ORDER_REPLACE), int(Template.STATUS_REQUEST)
_BUY, _SELL, _SHORT = int(Side.BUY), int(Side.SELL), int(Side.SELL_SHORT)
_MARKET, _LIMIT = int(OrdType.MARKET), int(OrdType.LIMIT)
_DAY, _GTC, _IOC, _FOK = int(Tif.DAY), int(Tif.GTC), int(Tif.IOC), int(Tif.FOK)
_NEW, _PARTIAL = int(OrdStatus.NEW), int(OrdStatus.PARTIALLY_FILLED)
_REJECTED = int(OrdStatus.REJECTED)
_EXEC_NEW, _EXEC_CANCELED, _EXEC_REPLACED = int(ExecType.NEW), int(ExecType.CANCELED), int(ExecType.REPLACED)
_EXEC_REJECTED, _EXEC_STATUS = int(ExecType.REJECTED), int(ExecType.ORDER_STATUS)
#: Of INSTRUMENT_STATUS.
_CLOSED = 2
#: Questions to the dice, see ids.draw.
_IS_REFUSED, _IS_LOST, _IS_MUTED = 0, 1, 2


@kernel
def find(ex: Exchange, order_id: int) -> int:
    """Row of an order; where it is unknown, -1 - (the bucket where it belongs)."""
    mask = len(ex.buckets) - 1
    at = splitmix64(order_id) & mask
    while ex.buckets[at] != 0:
        row = int(ex.buckets[at]) - 1
        if ex.orders[row].order_id == order_id:
            return row
        at = (at + 1) & mask
    return int(-1 - at)


@kernel
def live(status: int) -> bool:
    """Whether an order of this OrdStatus is still open at the venue."""
    return status in (_NEW, _PARTIAL)


@kernel
def fault(ex: Exchange, message: int, pair_index: int) -> int:
    """Reason to refuse the terms of a new order or a replace; 0 where they are good."""
    order, pair = ex.requests[message], ex.pairs[pair_index]
    if order.side != _BUY and order.side != _SELL and order.side != _SHORT:
        return Reason.BAD_SIDE.value
    if order.ord_type != _LIMIT and order.ord_type != _MARKET:
        return Reason.BAD_ORD_TYPE.value
    once = order.tif == _IOC or order.tif == _FOK
    if not once and (order.ord_type == _MARKET or (order.tif != _DAY and order.tif != _GTC)):
        return Reason.BAD_TIF.value
    if order.ord_type == _LIMIT:
        if order.px <= 0:
            return Reason.IMPOSSIBLE_PRICE.value
        if not on_tick(ex.ticks, int(pair.tick_table), int(order.px)):
            return Reason.BAD_TICK.value
    if order.qty <= 0 or order.min_qty < 0 or order.min_qty > order.qty:
        return Reason.IMPOSSIBLE_QTY.value
    if order.qty % pair.lot_qty != 0:
        return Reason.ODD_LOT.value
    if order.display_qty < 0 or order.display_qty > order.qty:
        return Reason.IMPOSSIBLE_QTY.value
    if order.display_qty % pair.lot_qty != 0:
        return Reason.ODD_LOT.value
    if ex.venues[pair_index // int(ex.core[0].instruments)].closed != 0 or pair.status == _CLOSED:
        return Reason.MARKET_CLOSED.value
    if once and pair.status != 0:
        return Reason.TRADING_HALTED.value
    if not once and ex.core[0].queue == EXACT and pair.told_by != ORDERS:
        return Reason.UNSUPPORTED.value
    return 0


@kernel
def _late(ex: Exchange, message: int, now_ns: int) -> bool:
    request = ex.requests[message]
    return bool(request.ttl_ms > 0 and now_ns > request.ts_event_ns + int(request.ttl_ms) * 1_000_000)


@kernel
def _same(ex: Exchange, message: int, row: int) -> bool:
    """Whether a new order repeats the content of a known one."""
    new, old = ex.requests[message], ex.orders[row]
    return bool(
        new.px == old.first_px
        and new.qty == old.first_qty
        and new.min_qty == old.first_min
        and new.display_qty == old.first_display
        and new.instrument_id == old.instrument_id
        and new.venue_id == old.venue_id
        and new.side == old.side
        and new.ord_type == old.ord_type
        and new.tif == old.tif
        and new["flags"] == old.exec_inst
    )


@kernel
def _remember(ex: Exchange, message: int, place: int, pair_index: int) -> int:
    """Enter a new order into the table; returns its row."""
    new, core = ex.requests[message], ex.core[0]
    row = int(core.count)
    core.count += 1
    ex.buckets[place] = row + 1
    order, venue = ex.orders[row], ex.venues[int(new.venue_id)]
    order.order_id = new.order_id
    write_id(order.peer_id, venue.order_prefix, venue.prefix_length, venue.next_order)
    venue.next_order += 1
    order.px = order.first_px = new.px
    order.qty = order.first_qty = order.leaves_qty = new.qty
    order.cum_qty = 0
    order.busted_qty = 0
    order.executions = 0
    order.min_qty = order.first_min = new.min_qty
    order.display_qty = order.first_display = new.display_qty
    order.shown_qty = new.qty
    order.expire_ns = NEVER
    if new.ttl_ms > 0:
        order.expire_ns = new.ts_event_ns + int(new.ttl_ms) * 1_000_000
    order.pair = pair_index
    order.instrument_id = new.instrument_id
    order.venue_id = new.venue_id
    order.client_id = new.client_id
    order.account_id = new.account_id
    order.trader_id = new.trader_id
    order.algo_id = new.algo_id
    order.side = new.side
    order.ord_type = new.ord_type
    order.tif = new.tif
    order.exec_inst = new["flags"]
    order.ord_status = _NEW
    order.resting = order.waits = 0
    order.muted = happens(venue.seed, new.order_id, _IS_MUTED, venue.lost_ack_ppm)
    venue.muted += order.muted
    return row


@kernel
def _reject(ex: Exchange, row: int, reason: int, now_ns: int) -> None:
    order = ex.orders[row]
    order.leaves_qty = 0
    order.ord_status = _REJECTED
    tell(ex, row, _REJECT, _EXEC_REJECTED, reason, _ORDER_NEW, now_ns)


@kernel
def _known_again(ex: Exchange, message: int, row: int, now_ns: int) -> None:
    if _same(ex, message, row):
        tell(ex, row, _ACK, _EXEC_STATUS, Reason.NONE.value, _ORDER_NEW, now_ns)
    else:
        refuse(ex, message, Reason.DUPLICATE_ORDER.value, now_ns)


@kernel
def on_new(ex: Exchange, message: int, now_ns: int) -> int:
    """A new order is executed. Returns its row when it rests with a time to live (the caller arms it), else -1."""
    new, venue = ex.requests[message], ex.venues[int(ex.requests[message].venue_id)]
    venue.orders += 1
    if new.order_id <= 0:
        refuse(ex, message, Reason.MISSING_ID.value, now_ns)
        return -1
    if new.instrument_id < 0 or new.instrument_id >= ex.core[0].instruments:
        refuse(ex, message, Reason.UNKNOWN_INSTRUMENT.value, now_ns)
        return -1
    row = find(ex, int(new.order_id))
    if row >= 0:
        _known_again(ex, message, row, now_ns)
        return -1
    if happens(venue.seed, new.order_id, _IS_LOST, venue.lost_order_ppm):
        venue.lost += 1
        return -1
    if ex.core[0].count == len(ex.orders):
        refuse(ex, message, Reason.TABLE_FULL.value, now_ns)
        return -1
    pair_index = int(new.venue_id) * int(ex.core[0].instruments) + int(new.instrument_id)
    row = _remember(ex, message, -1 - row, pair_index)
    reason = fault(ex, message, pair_index)
    if reason == 0 and _late(ex, message, now_ns):
        reason = Reason.TTL_EXPIRED.value
    if reason == 0 and (int(new["flags"]) & POST_ONLY) != 0 and marketable(ex, row):
        reason = Reason.CROSSED_QUOTE.value
    if reason == 0 and happens(venue.seed, new.order_id, _IS_REFUSED, venue.reject_ppm):
        reason = Reason.SIMULATED.value
    if reason != 0:
        _reject(ex, row, reason, now_ns)
        return -1
    return _accept(ex, row, now_ns)


@kernel
def _accept(ex: Exchange, row: int, now_ns: int) -> int:
    """Acknowledge, match, and rest or cancel the remainder."""
    order = ex.orders[row]
    tell(ex, row, _ACK, _EXEC_NEW, Reason.NONE.value, _ORDER_NEW, now_ns)
    take(ex, row, now_ns)
    if order.leaves_qty == 0:
        return -1
    if order.tif == _DAY or order.tif == _GTC:
        rest(ex, row)
        doubt_order(ex, row, now_ns)
        return row if order.expire_ns != NEVER else -1
    reason = Reason.FOK_NOT_FILLABLE.value if order.tif == _FOK else Reason.NOT_MARKETABLE.value
    end(ex, row, _EXEC_CANCELED, reason, 0, now_ns)
    return -1


@kernel
def _find_for(ex: Exchange, message: int) -> int:
    """Row of the order that a cancel, replace or status request names, at the venue that it was sent to; else -1."""
    request = ex.requests[message]
    row = find(ex, int(request.order_id))
    if row < 0 or ex.orders[row].venue_id != request.venue_id:
        return -1
    return row


@kernel
def on_cancel(ex: Exchange, message: int, now_ns: int) -> None:
    """A cancel is executed."""
    row = _find_for(ex, message)
    if row < 0:
        refuse(ex, message, Reason.UNKNOWN_ORDER.value, now_ns)
    elif live(int(ex.orders[row].ord_status)):
        end(ex, row, _EXEC_CANCELED, Reason.CLIENT_REQUEST.value, _ORDER_CANCEL, now_ns)
    else:
        tell(ex, row, _CANCEL_REJECT, _EXEC_REJECTED, Reason.ORDER_TERMINAL.value, _ORDER_CANCEL, now_ns)


@kernel
def _refusal_of_replace(ex: Exchange, message: int, row: int, now_ns: int) -> int:
    request, order = ex.requests[message], ex.orders[row]
    if not live(int(order.ord_status)):
        return Reason.ORDER_TERMINAL.value
    if request.side != order.side:
        return Reason.BAD_SIDE.value
    if request.instrument_id != order.instrument_id:
        return Reason.UNKNOWN_INSTRUMENT.value
    if request.tif != order.tif:
        return Reason.BAD_TIF.value
    if request.ord_type != order.ord_type:
        return Reason.BAD_ORD_TYPE.value
    reason = fault(ex, message, int(order.pair))
    if reason == 0 and _late(ex, message, now_ns):
        return Reason.TTL_EXPIRED.value
    return reason


@kernel
def _keeps_place(ex: Exchange, message: int, row: int) -> bool:
    """Whether a replace leaves an order where it is: its price stays, it is for no more, and displays no more."""
    request, order = ex.requests[message], ex.orders[row]
    if request.px != order.px or request.qty > order.qty or marketable(ex, row):
        return False
    shown = int(request.display_qty) if request.display_qty > 0 else int(request.qty)
    return bool(shown <= (order.display_qty if order.display_qty > 0 else order.qty))


@kernel
def on_replace(ex: Exchange, message: int, now_ns: int) -> None:
    """A replace is executed: new price, total, least and displayed quantity, the old time to live.

    An order that has to leave its place joins the end of the queue.
    """
    row = _find_for(ex, message)
    if row < 0:
        refuse(ex, message, Reason.UNKNOWN_ORDER.value, now_ns)
        return
    request, order = ex.requests[message], ex.orders[row]
    reason = _refusal_of_replace(ex, message, row, now_ns)
    if reason == 0 and (int(order.exec_inst) & POST_ONLY) != 0:
        old_px = int(order.px)
        order.px = request.px
        if marketable(ex, row):
            reason = Reason.CROSSED_QUOTE.value
        order.px = old_px
    if reason != 0:
        tell(ex, row, _CANCEL_REJECT, _EXEC_REJECTED, reason, _ORDER_REPLACE, now_ns)
        return
    keeps = _keeps_place(ex, message, row)
    order.px, order.min_qty, order.display_qty = request.px, request.min_qty, request.display_qty
    done = int(order.cum_qty) + int(order.busted_qty)
    order.qty = max(int(request.qty), done)
    order.leaves_qty = order.qty - done
    if order.leaves_qty == 0:
        order.ord_status = status_of(ex, row)
    if not keeps or order.leaves_qty == 0:
        unrest(ex, row)
    tell(ex, row, _ACK, _EXEC_REPLACED, Reason.NONE.value, _ORDER_REPLACE, now_ns)
    if keeps:
        most = int(order.display_qty) if order.display_qty > 0 else int(order.leaves_qty)
        order.shown_qty = min(int(order.shown_qty), most, int(order.leaves_qty))
        return
    if order.leaves_qty > 0:
        take(ex, row, now_ns)
    if order.leaves_qty > 0:
        rest(ex, row)


@kernel
def on_status(ex: Exchange, message: int, now_ns: int) -> None:
    """A status request is executed; it is answered for orders whose acknowledgements are lost too."""
    row = _find_for(ex, message)
    if row < 0:
        refuse(ex, message, Reason.UNKNOWN_ORDER.value, now_ns)
        return
    order = ex.orders[row]
    muted = int(order.muted)
    order.muted = 0
    tell(ex, row, _ACK, _EXEC_STATUS, Reason.NONE.value, _STATUS_REQUEST, now_ns)
    order.muted = muted
