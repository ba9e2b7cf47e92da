"""The risk gate: every order that is about to leave passes here, whatever strategy made it. Hard blocks only.

Rules, in the order in which they are tried: kill flag, venue down, quantity, notional, reference price, collar. The
collar is on the aggressive side: a buy may not be priced above the reference by more than `collar_bps`, a sell not
below it. Without a reference price an order is blocked. A replace passes here like a new order where it raises the
quantity or comes closer to the other side; one that does neither, like a cancel, is never blocked.

A blocked order's record in the outbox becomes a RISK_BLOCK record in place, so the journal holds what was stopped, by
which rule, with value and limit; the child is rejected, and its parent's workflow hears of it. A blocked replace leaves
its child as it was.

Products: admitted prices are at most `max_px` and quantities at most `max_qty`, whose product the configuration bounds.
"""

from __future__ import annotations

from engine.core.amend import withdraw_amend
from engine.core.books import reference_px2, take
from engine.core.children import finish_child, immediate, quote_slot
from engine.core.emit import WORDS
from engine.core.ids import child_slot
from engine.core.kill import kill_of
from engine.core.positions import money_of
from engine.core.state import C_RISK_BLOCKS, Outbox, State
from engine.jit import kernel
from engine.record.records import OrdStatus, Reason, RiskRule, Side, Template
from engine.record.units import BPS

_ORDER_NEW, _REPLACE = int(Template.ORDER_NEW), int(Template.ORDER_REPLACE)
_RISK_BLOCK = int(Template.RISK_BLOCK)
_BUY = int(Side.BUY)
_REJECTED = int(OrdStatus.REJECTED)
_RISK = int(Reason.RISK)
_MAX_QTY, _MAX_NOTIONAL = int(RiskRule.MAX_QTY), int(RiskRule.MAX_NOTIONAL)
_COLLAR, _NO_REFERENCE, _VENUE_DOWN = int(RiskRule.COLLAR), int(RiskRule.NO_REFERENCE), int(RiskRule.VENUE_DOWN)


@kernel
def check_size(state: State, instrument: int, px: int, qty: int) -> tuple[int, int, int]:
    """(rule, value, limit) of the first broken rule on quantity and notional; rule 0 where all hold."""
    row = state.instruments[instrument]
    if qty > row.max_qty:
        return _MAX_QTY, qty, int(row.max_qty)
    if px > 0:
        money = money_of(state, instrument, px, qty)
        if money > row.max_notional:
            return _MAX_NOTIONAL, money, int(row.max_notional)
    return 0, 0, 0


@kernel
def check_price(state: State, instrument: int, side: int, px: int) -> tuple[int, int, int]:
    """(rule, value, limit) of the collar; value and limit are twice a price, in price units."""
    ref2 = reference_px2(state, instrument)
    if ref2 == 0:
        return _NO_REFERENCE, 0, 0
    bps = int(state.params[0].collar_bps)
    room = ref2 // BPS * bps + ref2 % BPS * bps // BPS  # ref2 * bps // BPS, which may not fit
    if side == _BUY and 2 * px > ref2 + room:
        return _COLLAR, 2 * px, ref2 + room
    if side != _BUY and 2 * px < ref2 - room:
        return _COLLAR, 2 * px, ref2 - room
    return 0, 0, 0


@kernel
def gate(state: State, outbox: Outbox) -> None:
    """Check each order record that was put into the outbox since the last call; block what breaks a rule."""
    core = state.core[0]
    k = int(core.gated)
    while k < outbox.count[0]:
        template = outbox.head[k].template_id
        if template == _ORDER_NEW or (template == _REPLACE and _bolder(state, outbox, k)):
            order = outbox.order[k]
            instrument, px, qty = int(order.instrument_id), int(order.px), int(order.qty)
            rule, value, limit = _killed(state, outbox, k)
            if rule == 0:
                rule, value, limit = check_size(state, instrument, px, qty)
            if rule == 0 and state.sessions[int(state.venues[int(order.venue_id)].session)].up == 0:
                rule, value, limit = _VENUE_DOWN, int(order.venue_id), 0
            if rule == 0:
                rule, value, limit = check_price(state, instrument, int(order.side), px)
            if rule != 0:
                _block(state, outbox, k, rule, value, limit)
        k += 1
    core.gated = k


@kernel
def _killed(state: State, outbox: Outbox, k: int) -> tuple[int, int, int]:
    """What `kill_of` says of the child whose order is in slot k."""
    if state.core[0].killed == 0 and state.core[0].n_kills == 0:
        return 0, 0, 0
    order = outbox.order[k]
    child = state.children[child_slot(state, int(order.order_id))]
    return kill_of(state, order, int(order.venue_id), int(state.parents[int(child.parent)].session))


@kernel
def _bolder(state: State, outbox: Outbox, k: int) -> bool:
    """Whether the ORDER_REPLACE in slot k asks for more than its child has, or for a price nearer to the other side."""
    order = outbox.order[k]
    mine = state.child_orders[child_slot(state, int(order.order_id))]
    if order.qty > mine.qty:
        return True
    return bool(order.px > mine.px) if order.side == _BUY else bool(order.px < mine.px)


@kernel
def _block(state: State, outbox: Outbox, k: int, rule: int, value: int, limit: int) -> None:
    """Turn order record k into a RISK_BLOCK and reject its child, or withdraw the replace of it."""
    order = outbox.order[k]
    c = child_slot(state, int(order.order_id))
    if order.template_id == _REPLACE:
        px, qty = int(order.px), int(order.qty)
        write_block(state, outbox, k, rule, value, limit)
        withdraw_amend(state, c, px, qty)
        return
    if immediate(int(order.tif)):
        take(state, quote_slot(state, c), int(order.side), -int(order.qty))
    write_block(state, outbox, k, rule, value, limit)
    finish_child(state, outbox, c, _REJECTED, _RISK)


@kernel
def write_block(state: State, outbox: Outbox, k: int, rule: int, value: int, limit: int) -> None:
    """Overwrite outbox slot k, an order record, with the RISK_BLOCK that says why it was stopped."""
    order = outbox.order[k]
    order_id, parent_id, px, qty = int(order.order_id), int(order.parent_id), int(order.px), int(order.qty)
    instrument, side, client = int(order.instrument_id), int(order.side), int(order.client_id)
    account, venue = int(order.account_id), int(order.venue_id)
    block = outbox.risk_block[k]
    block.template_id = _RISK_BLOCK
    block.stream_id = -1
    block.venue_id = venue
    for w in range(k * WORDS + 5, (k + 1) * WORDS):
        outbox.words[w] = 0
    block.order_id = order_id
    block.parent_id = parent_id
    block.value = value
    block.limit = limit
    block.reference_px = reference_px2(state, instrument) // 2
    block.px = px
    block.qty = qty
    block.instrument_id = instrument
    block.rule = rule
    block.side = side
    block.client_id = client
    block.account_id = account
    state.counts[C_RISK_BLOCKS] += 1
