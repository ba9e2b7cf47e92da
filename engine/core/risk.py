"""The risk gate: every order that is about to leave passes here, whatever strategy made it. Hard blocks only.

Rules, in the order in which they are tried: kill flag, quantity, notional, latched strategy, permission, restricted,
halted, venue down, reference price, collar, collar over a period, fat finger, position, gross and net exposure, cancels
first (paced cancels wait for the session), rates, trade-through, locked or crossed quotations (protected.py).
docs/controls.md has each one's unit, key and block. What passes is reserved (exposure.py) and counted (rates.py) before
it leaves. A replace passes here like a new order where it raises the quantity or the price or comes closer to the other
side; one that does none of these only has to be within the rates, and to wait for cancels. The rules on protected
quotations see one that asks for more, or comes nearer. A cancel is counted, and never blocked.

Those rules need the whole step: a child may pass a better quote only because another child of the step takes it. So
they count as taken what all of the step's children go after, and where one of these is blocked, what had passed is
looked at again, until all hold. What that stops had been counted as a message, and stays so: a rate is never exceeded.

A blocked order's record in the outbox becomes a RISK_BLOCK record in place, so the journal holds what was stopped, by
which rule, with value and limit; the child is rejected, and its parent's workflow hears of it. A blocked replace leaves
its child as it was.

Products: a price is at most `max_px`, whose product with `safe_qty` the configuration bounds; larger quantities, which
a changed limit may allow, are multiplied in full.
"""

from __future__ import annotations

from engine.core.amend import withdraw_amend
from engine.core.books import reference_px2, take
from engine.core.children import finish_child, immediate, quote_slot
from engine.core.duplicates import NO_DUPLICATE, find_duplicate
from engine.core.emit import WORDS
from engine.core.exposure import check_exposure, peaks_of, put_peaks_back, settle
from engine.core.ids import child_slot, slot_of_parent
from engine.core.kill import kill_of
from engine.core.periods import extremes
from engine.core.positions import money_of
from engine.core.protected import check_protected, protects
from engine.core.rates import check_rates, count_mass, count_message, latched
from engine.core.rule_limits import limit_of, permitted
from engine.core.rules import (
    DUPLICATES,
    L_COLLAR,
    L_FAT_FINGER,
    L_MAX_NOTIONAL,
    L_MAX_QTY,
    L_PERIOD_COLLAR,
    L_RESTRICTED,
    OFF,
    REPEATS,
)
from engine.core.scopes import target_of
from engine.core.state import C_RISK_BLOCKS, NONE, Events, Outbox, State
from engine.jit import kernel
from engine.record.records import OrdStatus, Reason, RiskRule, Side, Template
from engine.record.units import BPS
from engine.record.wide import OVERFLOW, mul_div

_ORDER_NEW, _REPLACE, _CANCEL = int(Template.ORDER_NEW), int(Template.ORDER_REPLACE), int(Template.ORDER_CANCEL)
_RISK_BLOCK, _MASS_CANCEL = int(Template.RISK_BLOCK), int(Template.MASS_CANCEL)
_BUY = int(Side.BUY)
_REJECTED = int(OrdStatus.REJECTED)
_R_RISK, _R_KILLED, _R_THROTTLED = int(Reason.RISK), int(Reason.KILLED), int(Reason.THROTTLED)
_RULES = {rule.name: int(rule) for rule in RiskRule}
_KILL, _MAX_QTY, _MAX_NOTIONAL = _RULES["KILL"], _RULES["MAX_QTY"], _RULES["MAX_NOTIONAL"]
_COLLAR, _NO_REFERENCE, _VENUE_DOWN = _RULES["COLLAR"], _RULES["NO_REFERENCE"], _RULES["VENUE_DOWN"]
_PERIOD_COLLAR, _FAT_FINGER, _DUPLICATE = _RULES["PERIOD_COLLAR"], _RULES["FAT_FINGER"], _RULES["DUPLICATE"]
_REPEATED, _PERMISSION = _RULES["REPEATED_EXECUTION"], _RULES["PERMISSION"]
_RESTRICTED, _HALTED = _RULES["RESTRICTED"], _RULES["INSTRUMENT_HALTED"]
_CANCELS_FIRST = _RULES["CANCELS_FIRST"]
_MONEY_MAX = (1 << 63) - 1


@kernel
def check_size(state: State, instrument: int, px: int, qty: int) -> tuple[int, int, int]:
    """(rule, value, limit) of the first broken rule on quantity and notional; rule 0 where all hold."""
    row = state.instruments[instrument]
    most = limit_of(state, instrument, L_MAX_QTY)
    if qty > most:
        return _MAX_QTY, qty, most
    if px > 0:
        if qty <= row.safe_qty:
            money = money_of(state, instrument, px, qty)
        else:
            money = mul_div(int(px * row.notional_mul), qty, int(row.notional_div))
            money = _MONEY_MAX if money == OVERFLOW else money
        most = limit_of(state, instrument, L_MAX_NOTIONAL)
        if money > most:
            return _MAX_NOTIONAL, money, most
    return 0, 0, 0


@kernel
def _check_leave(state: State, session: int, strategy: int, instrument: int, venue: int) -> tuple[int, int, int]:
    """(rule, value, limit) of the first broken rule on who may trade what where; `venue` NONE: at any. 0: all hold."""
    if latched(state, strategy) != 0:
        return _REPEATED, latched(state, strategy), int(state.limits[REPEATS + strategy])
    if not permitted(state, session, strategy, instrument, venue):
        return _PERMISSION, strategy, 0
    if limit_of(state, instrument, L_RESTRICTED) != 0:
        return _RESTRICTED, 1, 0
    if venue != NONE and (int(state.instruments[instrument].halted_venues) >> venue) & 1 != 0:
        return _HALTED, venue, 0
    return 0, 0, 0


@kernel
def _share(ref2: int, bps: int) -> int:
    """ref2 * bps // BPS, whose product may not fit."""
    return ref2 // BPS * bps + ref2 % BPS * bps // BPS


@kernel
def check_price(state: State, instrument: int, side: int, px: int) -> tuple[int, int, int]:
    """(rule, value, limit) of the collars and the fat finger; value and limit are twice a price, in price units."""
    ref2 = reference_px2(state, instrument)
    if ref2 == 0:
        return _NO_REFERENCE, 0, 0
    room = _share(ref2, limit_of(state, instrument, L_COLLAR))
    if side == _BUY and 2 * px > ref2 + room:
        return _COLLAR, 2 * px, ref2 + room
    if side != _BUY and 2 * px < ref2 - room:
        return _COLLAR, 2 * px, ref2 - room
    bps = limit_of(state, instrument, L_PERIOD_COLLAR)
    if bps != OFF:
        low, high = extremes(state, instrument, ref2)
        if side == _BUY and 2 * px > low + _share(low, bps):
            return _PERIOD_COLLAR, 2 * px, low + _share(low, bps)
        if side != _BUY and 2 * px < high - _share(high, bps):
            return _PERIOD_COLLAR, 2 * px, high - _share(high, bps)
    return _check_finger(state, instrument, px, ref2)


@kernel
def _check_finger(state: State, instrument: int, px: int, ref2: int) -> tuple[int, int, int]:
    """(rule, value, limit) of the fat finger: a price far from the reference, on whichever side."""
    bps = limit_of(state, instrument, L_FAT_FINGER)
    if bps == OFF:
        return 0, 0, 0
    room = _share(ref2, bps)
    if 2 * px > ref2 + room:
        return _FAT_FINGER, 2 * px, ref2 + room
    if 2 * px < ref2 - room:
        return _FAT_FINGER, 2 * px, ref2 - room
    return 0, 0, 0


@kernel
def check_entry(state: State, events: Events, i: int, session: int) -> tuple[int, int, int]:
    """(rule, value, limit) of the first rule that a client's ORDER_NEW breaks beside its size; rule 0: none.

    A limit price is held against the reference where there is one; where there is none its children will be stopped.
    """
    order = events.order[i]
    instrument = int(order.instrument_id)
    rule, value, limit = _check_leave(state, session, int(order.algo_id), instrument, NONE)
    if rule != 0:
        return rule, value, limit
    if order.px > 0:
        ref2 = reference_px2(state, instrument)
        if ref2 > 0:
            rule, value, limit = _check_finger(state, instrument, int(order.px), ref2)
            if rule != 0:
                return rule, value, limit
    age = find_duplicate(state, events, i, session)
    if age != NO_DUPLICATE:
        return _DUPLICATE, age, int(state.limits[DUPLICATES])
    return 0, 0, 0


@kernel
def reason_of(rule: int) -> int:
    """The Reason for which a client's order is refused that broke a rule."""
    if rule == _KILL:
        return _R_KILLED
    if rule == _REPEATED:
        return _R_THROTTLED
    return _R_RISK


@kernel
def gate(state: State, outbox: Outbox) -> None:
    """Check each order record that was put into the outbox since the last call; block what breaks a rule."""
    core = state.core[0]
    first = k = int(core.gated)
    c, given_back, peaks = NONE, False, (0, 0, 0, 0, 0)
    while k < outbox.count[0]:
        template = outbox.head[k].template_id
        if template == _ORDER_NEW or template == _REPLACE:
            if c == NONE:
                c = child_slot(state, int(outbox.order[k].order_id))
                peaks = peaks_of(state, c)
            rule, value, limit = _check(state, outbox, k, bool(template == _ORDER_NEW or _bolder(state, outbox, k)))
            if rule != 0:
                given_back = _block(state, outbox, k, rule, value, limit) or given_back
            else:
                settle(state, child_slot(state, int(outbox.order[k].order_id)))
                _count(state, outbox, k)
        else:
            _count_cancel(state, outbox, k)
        k += 1
    core.gated = k
    if given_back and protects(state):
        while given_back:
            given_back = _look_again(state, outbox, first)
        put_peaks_back(state, c, peaks)


@kernel
def _look_again(state: State, outbox: Outbox, first: int) -> bool:
    """Block what passed and now passes a protected quote, because what was to take that is blocked; all are of one
    parent. Returns whether one of these was to take something itself."""
    given_back = False
    for k in range(first, int(outbox.count[0])):
        template = outbox.head[k].template_id
        if template == _ORDER_NEW or template == _REPLACE:
            rule, value, limit = _check_protected(state, outbox, k)
            if rule != 0:
                given_back = _block(state, outbox, k, rule, value, limit) or given_back
    return given_back


@kernel
def _killed(state: State, outbox: Outbox, k: int) -> tuple[int, int, int]:
    """What `kill_of` says of the child whose order is in slot k."""
    if state.core[0].killed == 0 and state.core[0].n_kills == 0:
        return 0, 0, 0
    order = outbox.order[k]
    c = child_slot(state, int(order.order_id))
    return kill_of(state, order, int(order.venue_id), int(state.parents[slot_of_parent(state, c)].session))


@kernel
def _check(state: State, outbox: Outbox, k: int, bold: bool) -> tuple[int, int, int]:
    """(rule, value, limit) of the first rule that order record k breaks; one that is not bold only has the pace and the
    rates."""
    order = outbox.order[k]
    instrument, venue, strategy = int(order.instrument_id), int(order.venue_id), int(order.algo_id)
    line = int(state.venues[venue].session)
    rule, value, limit = 0, 0, 0
    if bold:
        c, px = child_slot(state, int(order.order_id)), int(order.px)
        rule, value, limit = _killed(state, outbox, k)
        if rule == 0:
            rule, value, limit = check_size(state, instrument, px, int(order.qty))
        if rule == 0:
            session = int(state.parents[slot_of_parent(state, c)].session)
            rule, value, limit = _check_leave(state, session, strategy, instrument, venue)
        if rule == 0 and state.sessions[line].up == 0:
            rule, value, limit = _VENUE_DOWN, venue, 0
        if rule == 0:
            rule, value, limit = check_price(state, instrument, int(order.side), px)
        if rule == 0:
            rule, value, limit = check_exposure(state, c)
    if rule == 0 and state.sessions[line].pace_ns > 0 and state.sessions[line].due > 0:
        rule, value, limit = _CANCELS_FIRST, int(state.sessions[line].due), 0
    if rule == 0:
        rule, value, limit = check_rates(state, line, strategy, instrument)
    if rule == 0:
        rule, value, limit = _check_protected(state, outbox, k)
    return rule, value, limit


@kernel
def _check_protected(state: State, outbox: Outbox, k: int) -> tuple[int, int, int]:
    """`check_protected` of order record k; a replace that neither asks for more nor comes nearer breaks nothing."""
    order = outbox.order[k]
    c, px = child_slot(state, int(order.order_id)), int(order.px)
    if order.template_id == _REPLACE:
        mine = state.child_orders[c]
        nearer = px > mine.px if order.side == _BUY else px < mine.px
        if order.qty <= mine.qty and not nearer:
            return 0, 0, 0
    return check_protected(state, c, px)


@kernel
def _count(state: State, outbox: Outbox, k: int) -> None:
    order = outbox.order[k]
    line = int(state.venues[int(order.venue_id)].session)
    count_message(state, line, int(order.algo_id), int(order.instrument_id))


@kernel
def _count_cancel(state: State, outbox: Outbox, k: int) -> None:
    """Count what is in slot k where it is a cancel, of one order or of a scope."""
    template = outbox.head[k].template_id
    if template == _CANCEL:
        _count(state, outbox, k)
    elif template == _MASS_CANCEL:
        mass = outbox.mass_cancel[k]
        scope = int(mass.scope)
        target = target_of(scope, int(mass.client_id), int(mass.instrument_id), int(mass.target))
        count_mass(state, int(outbox.head[k].stream_id), scope, target)


@kernel
def count_cancels(state: State, outbox: Outbox) -> None:
    """Count the cancels that were made where no strategy had its turn: by time, by reports, by a stop."""
    for k in range(int(state.core[0].gated), int(outbox.count[0])):
        _count_cancel(state, outbox, k)
    state.core[0].gated = outbox.count[0]


@kernel
def _bolder(state: State, outbox: Outbox, k: int) -> bool:
    """Whether the ORDER_REPLACE in slot k asks for more than its child has, in quantity or, by a higher price, in
    money, or for a price nearer to the other side."""
    order = outbox.order[k]
    mine = state.child_orders[child_slot(state, int(order.order_id))]
    if order.qty > mine.qty:
        return True
    return bool(order.px > mine.px) or bool(order.side != _BUY and order.px < mine.px)


@kernel
def _block(state: State, outbox: Outbox, k: int, rule: int, value: int, limit: int) -> bool:
    """Turn order record k into a RISK_BLOCK and reject its child, or withdraw the replace of it. Returns whether it was
    to take what a venue displays."""
    order = outbox.order[k]
    c = child_slot(state, int(order.order_id))
    if order.template_id == _REPLACE:
        px, qty = int(order.px), int(order.qty)
        write_block(state, outbox, k, rule, value, limit)
        withdraw_amend(state, c, px, qty)
        return False
    taking = immediate(int(order.tif))
    if taking:
        take(state, quote_slot(state, c), int(order.side), -int(order.qty))
    write_block(state, outbox, k, rule, value, limit)
    finish_child(state, outbox, c, _REJECTED, _R_RISK)
    return taking


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
