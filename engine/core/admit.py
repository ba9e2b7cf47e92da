"""Admission: whether a record may touch the state at all. Everything refused here leaves the state as it was, but for
the count of the refusal and the place of its stream, and is journaled with a reason, the value and what is allowed; a
client is answered, unless what it sent is not whole, not in its place, or a repetition.

`allowed_from` and `length_of` are for the driver, which frames messages; `admit` is for `step`.
"""

from __future__ import annotations

import numpy as np

from engine.core.books import admit_stream
from engine.core.day import cost_of_load, day_now
from engine.core.limit_change import admit_enable, admit_limit_change
from engine.core.limits import COUNT_MAX, MAX_QTY, MAX_STRATEGIES
from engine.core.scopes import target_of
from engine.core.sessions import follow_session
from engine.core.state import FROM_CLIENT, FROM_CONTROL, FROM_FEED, FROM_VENUE, Events, Outbox, State
from engine.jit import kernel
from engine.record.records import (
    DTYPES,
    N_REASONS,
    SBE_HEADER_SIZE,
    SCHEMA_ID,
    SCHEMA_VERSION,
    ControlAction,
    OrdType,
    PositionFlag,
    Reason,
    Scope,
    Side,
    Template,
    Tif,
)
from engine.record.units import MAX_DAY, tick_of

_LENGTHS = np.zeros(64, dtype=np.int64)
for _template, _dtype in DTYPES.items():
    _LENGTHS[_template] = _dtype.itemsize
#: Bit s set: a record of this template may come from source s.
_SOURCES = np.zeros(64, dtype=np.int64)
for _template in DTYPES:
    if _template <= Template.VENUE_DEF or _template == Template.CLOCK_SAMPLE:
        _SOURCES[_template] |= 1 << FROM_FEED
    if Template.ORDER_NEW <= _template <= Template.STATUS_REQUEST or _template == Template.CONTROL:
        _SOURCES[_template] |= 1 << FROM_CLIENT
    if Template.ACK <= _template <= Template.CORRECT:
        _SOURCES[_template] |= 1 << FROM_VENUE
    if _template in (Template.SESSION_UP, Template.SESSION_DOWN, Template.HEARTBEAT):
        _SOURCES[_template] |= (1 << FROM_CLIENT) | (1 << FROM_VENUE)
    if _template in (Template.CONTROL, Template.LIMIT_CHANGE, Template.MASS_CANCEL, Template.POSITION_LOAD):
        _SOURCES[_template] |= 1 << FROM_CONTROL
#: Bit r set: step takes this template on a session of role r (FROM_CLIENT, FROM_VENUE), or, bit 0, from the driver and
#: the control link themselves, which have no session. No bit: step has no use for it.
_ROLES = np.zeros(64, dtype=np.int64)
for _template in DTYPES:
    if Template.ORDER_NEW <= _template <= Template.STATUS_REQUEST or _template == Template.CONTROL:
        _ROLES[_template] |= 1 << FROM_CLIENT
    if Template.ACK <= _template <= Template.CANCEL_REJECT:
        _ROLES[_template] |= (1 << FROM_VENUE) | 1
    if _template in (Template.BUST, Template.CORRECT):
        _ROLES[_template] |= 1 << FROM_VENUE
    if _template in (Template.SESSION_UP, Template.SESSION_DOWN):
        _ROLES[_template] |= (1 << FROM_CLIENT) | (1 << FROM_VENUE)
    if _template in (Template.MASS_CANCEL, Template.CONTROL, Template.TIMER, Template.MALFORMED, Template.RECOVERED):
        _ROLES[_template] |= 1
    if _template in (Template.ROLL, Template.POSITION_LOAD, Template.LIMIT_CHANGE):
        _ROLES[_template] |= 1

_QUOTE, _TRADE, _CLEAR = int(Template.QUOTE), int(Template.TRADE), int(Template.CLEAR)
_STATUS = int(Template.INSTRUMENT_STATUS)
_ORDER_FIRST, _ORDER_LAST = int(Template.ORDER_NEW), int(Template.STATUS_REQUEST)
_MASS_CANCEL = int(Template.MASS_CANCEL)
_REPORT_FIRST, _REPORT_LAST = int(Template.ACK), int(Template.CORRECT)
_BUST, _CORRECT = int(Template.BUST), int(Template.CORRECT)
_FILL, _CONTROL, _RECOVERED = int(Template.FILL), int(Template.CONTROL), int(Template.RECOVERED)
_VENUE_DEF = int(Template.VENUE_DEF)
_LIMIT_CHANGE, _ENABLE = int(Template.LIMIT_CHANGE), int(ControlAction.ENABLE)
_ROLL, _POSITION = int(Template.ROLL), int(Template.POSITION_LOAD)
_BUY, _SELL, _SHORT = int(Side.BUY), int(Side.SELL), int(Side.SELL_SHORT)
_MARKET, _LIMIT = int(OrdType.MARKET), int(OrdType.LIMIT)
_DAY, _GTC, _IOC, _FOK = int(Tif.DAY), int(Tif.GTC), int(Tif.IOC), int(Tif.FOK)
_R = {reason.name: int(reason) for reason in Reason}
_R_TEMPLATE, _R_LENGTH, _R_SCHEMA = _R["UNKNOWN_TEMPLATE"], _R["WRONG_LENGTH"], _R["WRONG_SCHEMA"]
_R_INSTRUMENT, _R_VENUE, _R_SESSION = _R["UNKNOWN_INSTRUMENT"], _R["UNKNOWN_VENUE"], _R["UNKNOWN_SESSION"]
_R_PX, _R_QTY, _R_SIDE, _R_TYPE = _R["IMPOSSIBLE_PRICE"], _R["IMPOSSIBLE_QTY"], _R["BAD_SIDE"], _R["BAD_ORD_TYPE"]
_R_TIF, _R_TICK, _R_LOT, _R_ACCOUNT = _R["BAD_TIF"], _R["BAD_TICK"], _R["ODD_LOT"], _R["UNKNOWN_ACCOUNT"]
_R_ID, _R_UNSUPPORTED, _R_OVERFLOW = _R["MISSING_ID"], _R["UNSUPPORTED"], _R["OVERFLOW"]
_R_REPEATED, _R_OLD_EPOCH, _R_ORDER = _R["DUPLICATE_RECORD"], _R["OLD_EPOCH"], _R["NOT_IN_ORDER"]
_PAUSE, _RESUME = int(ControlAction.PAUSE), int(ControlAction.RESUME)
_KILL_ON, _KILL_OFF, _STOP = int(ControlAction.KILL_ON), int(ControlAction.KILL_OFF), int(ControlAction.STOP)
_SCOPE_MAX, _ORDER = int(Scope.ACCOUNT), int(Scope.ORDER)
_INSTRUMENT, _VENUE, _SESSION = int(Scope.INSTRUMENT), int(Scope.VENUE), int(Scope.SESSION)
_STRATEGY, _ACCOUNT = int(Scope.STRATEGY), int(Scope.ACCOUNT)
#: Clients and traders are int16 in an order.
_ID_MAX = (1 << 15) - 1
_POSITION_FLAGS = int(PositionFlag.COST)
#: Numbers that one recovery may leave out; a day's order counter has room for many such.
_SKIP_MAX = 1 << 32


@kernel
def length_of(template: int) -> int:
    """Bytes of a record of this template; 0 where there is no such template."""
    if template < 0 or template >= 64:
        return 0
    return int(_LENGTHS[template])


@kernel
def allowed_from(template: int, source: int) -> bool:
    """Whether a record of this template may come from a source (FROM_*)."""
    if template < 0 or template >= 64:
        return False
    return bool((_SOURCES[template] >> source) & 1)


@kernel
def admit(state: State, events: Events, i: int, outbox: Outbox) -> tuple[int, int, int]:
    """(reason, value, limit) why record i must be refused; reason 0 admits it.

    A whole record moves the position of its venue's stream or of its session, because it did arrive.
    """
    head = events.head[i]
    template = int(head.template_id)
    length = length_of(template)
    if length == 0:
        return _R_TEMPLATE, template, 0
    if int(head.block_length) != length - SBE_HEADER_SIZE:
        return _R_LENGTH, int(head.block_length), length - SBE_HEADER_SIZE
    if head.schema_id != SCHEMA_ID or head.version > SCHEMA_VERSION or head.version < 1:
        return _R_SCHEMA, int(head.schema_id) * 65536 + int(head.version), SCHEMA_ID * 65536 + SCHEMA_VERSION
    if template <= _VENUE_DEF:
        return _admit_market_data(state, events, i, template, outbox)
    if _ROLES[template] == 0:
        return _R_UNSUPPORTED, template, 0
    session, n_sessions = int(head.stream_id), int(state.params[0].n_sessions)
    if session < -1 or session >= n_sessions:
        return _R_SESSION, session, n_sessions
    role = int(state.sessions[session].role) if session >= 0 else 0
    if (_ROLES[template] >> role) & 1 == 0:
        return _R_SESSION, session, n_sessions
    if session >= 0:
        reason = follow_session(state, events, i, outbox)
        if reason != 0:
            return reason, int(head.stream_seq), int(state.sessions[session].seq_in)
    if template == _MASS_CANCEL:
        request = events.mass_cancel[i]
        scope = int(request.scope)
        if session >= 0 and (scope == _VENUE or scope == _SESSION):
            return _R_UNSUPPORTED, scope, _SCOPE_MAX
        target = target_of(scope, int(request.client_id), int(request.instrument_id), int(request.target))
        return _admit_scope(state, scope, target)
    if template == _CONTROL:
        return _admit_control(state, events, i, session)
    if template == _RECOVERED:
        skip = int(events.recovered[i].skip)
        return (0, 0, 0) if 0 <= skip <= _SKIP_MAX else (_R_UNSUPPORTED, skip, _SKIP_MAX)
    if template == _ROLL:
        day, now = int(events.roll[i].trading_day), day_now(state)
        return (0, 0, 0) if now < day <= MAX_DAY else (_R_ORDER, day, now)
    if template == _LIMIT_CHANGE:
        return admit_limit_change(state, events, i)
    if template == _POSITION:
        return _admit_position(state, events, i)
    if _ORDER_FIRST <= template <= _ORDER_LAST:
        return _admit_order(state, events, i, template, session)
    if _REPORT_FIRST <= template <= _REPORT_LAST:
        return _admit_report(state, events, i, template, session)
    return 0, 0, 0


@kernel
def _admit_position(state: State, events: Events, i: int) -> tuple[int, int, int]:
    """An opening position comes before the first order, and is one that can be held."""
    load, params = events.position[i], state.params[0]
    instrument, account, qty, px = int(load.instrument_id), int(load.account_id), int(load.qty), int(load.px)
    if instrument < 0 or instrument >= params.n_instruments:
        return _R_INSTRUMENT, instrument, int(params.n_instruments)
    if account < 0 or account >= params.n_accounts:
        return _R_ACCOUNT, account, int(params.n_accounts)
    if qty < -MAX_QTY or qty > MAX_QTY:
        return _R_QTY, qty, MAX_QTY
    if int(load["flags"]) == 0 and (px < 0 or px > state.instruments[instrument].max_px):
        return _R_PX, px, int(state.instruments[instrument].max_px)
    if int(load["flags"]) < 0 or int(load["flags"]) > _POSITION_FLAGS:
        return _R_UNSUPPORTED, int(load["flags"]), _POSITION_FLAGS
    cost = cost_of_load(state, events, i)
    if cost < -COUNT_MAX or cost > COUNT_MAX:
        return _R_OVERFLOW, qty, px
    if state.core[0].next_parent != 1:
        return _R_ORDER, int(state.core[0].next_parent), 1
    return 0, 0, 0


@kernel
def answerable(template: int, reason: int) -> bool:
    """Whether a client hears of a record that was refused for this reason."""
    if template != _CONTROL and (template < _ORDER_FIRST or template > _ORDER_LAST or template == _MASS_CANCEL):
        return False
    if reason == _R_LENGTH or reason == _R_SCHEMA or reason == _R_SESSION:
        return False  # what it holds, or whose it is, cannot be trusted
    return reason != _R_REPEATED and reason != _R_OLD_EPOCH and reason != _R_ORDER


@kernel
def _admit_market_data(state: State, events: Events, i: int, template: int, outbox: Outbox) -> tuple[int, int, int]:
    params = state.params[0]
    venue = int(events.head[i].venue_id)
    if venue < 0 or venue >= params.n_venues:
        return _R_VENUE, venue, int(params.n_venues)
    reason = admit_stream(state, events, i, outbox)
    if reason != 0:
        return reason, int(events.head[i].stream_seq), int(state.venues[venue].feed_seq)
    if template != _QUOTE and template != _TRADE and template != _CLEAR and template != _STATUS:
        return _R_UNSUPPORTED, template, 0
    instrument = int(events.trade[i].instrument_id)
    if instrument < 0 or instrument >= params.n_instruments:
        if instrument == -1 and template == _CLEAR:
            return 0, 0, 0
        return _R_INSTRUMENT, instrument, int(params.n_instruments)
    if template == _QUOTE:
        return _admit_quote(state, events, i, instrument)
    if template == _TRADE:
        trade = events.trade[i]
        if trade.px <= 0 or trade.px > state.instruments[instrument].max_px:
            return _R_PX, int(trade.px), int(state.instruments[instrument].max_px)
        if trade.qty <= 0 or trade.qty > MAX_QTY:
            return _R_QTY, int(trade.qty), MAX_QTY
    return 0, 0, 0


@kernel
def _admit_quote(state: State, events: Events, i: int, instrument: int) -> tuple[int, int, int]:
    """A side with quantity needs a possible price; a side without quantity is none, whatever its price."""
    quote = events.quote[i]
    top = int(state.instruments[instrument].max_px)
    if quote.bid_qty < 0 or quote.bid_qty > MAX_QTY:
        return _R_QTY, int(quote.bid_qty), MAX_QTY
    if quote.ask_qty < 0 or quote.ask_qty > MAX_QTY:
        return _R_QTY, int(quote.ask_qty), MAX_QTY
    if quote.bid_px < 0 or quote.bid_px > top or (quote.bid_px == 0 and quote.bid_qty > 0):
        return _R_PX, int(quote.bid_px), top
    if quote.ask_px < 0 or quote.ask_px > top or (quote.ask_px == 0 and quote.ask_qty > 0):
        return _R_PX, int(quote.ask_px), top
    return 0, 0, 0


@kernel
def _admit_control(state: State, events: Events, i: int, session: int) -> tuple[int, int, int]:
    """Clients pause and resume their parents; the kill flag (with a Reason) and STOP are for the control link alone."""
    action, value = int(events.control[i].action), int(events.control[i].value)
    if action == _PAUSE or action == _RESUME:
        return 0, 0, 0
    if action == _ENABLE and session < 0:
        return admit_enable(state, events, i)
    if session >= 0 or (action != _KILL_ON and action != _KILL_OFF and action != _STOP):
        return _R_UNSUPPORTED, action, 0
    most = len(state.children) if action == _STOP else N_REASONS - 1
    if value < 0 or value > most:
        return _R_UNSUPPORTED, value, most
    command = events.control[i]
    scope = int(command.scope)
    target = target_of(scope, int(command.client_id), int(command.instrument_id), int(command.target))
    return _admit_scope(state, scope, target)


@kernel
def _admit_scope(state: State, scope: int, target: int) -> tuple[int, int, int]:
    """A scope of orders, and something that it can mean: what no order can be of is refused, so that nobody believes
    that it was stopped. Traders and clients are any int16."""
    params = state.params[0]
    if scope < 0 or scope > _SCOPE_MAX or scope == _ORDER:
        return _R_UNSUPPORTED, scope, _SCOPE_MAX
    if scope == _INSTRUMENT and (target < 0 or target >= params.n_instruments):
        return _R_INSTRUMENT, target, int(params.n_instruments)
    if scope == _VENUE and (target < 0 or target >= params.n_venues):
        return _R_VENUE, target, int(params.n_venues)
    if scope == _SESSION and (target < 0 or target >= params.n_sessions):
        return _R_SESSION, target, int(params.n_sessions)
    if scope == _STRATEGY and (target < 0 or target >= MAX_STRATEGIES):
        return _R_UNSUPPORTED, target, MAX_STRATEGIES
    if scope == _ACCOUNT and (target < 0 or target >= params.n_accounts):
        return _R_ACCOUNT, target, int(params.n_accounts)
    if scope != 0 and (target < 0 or target > _ID_MAX):
        return _R_UNSUPPORTED, target, _ID_MAX
    return 0, 0, 0


@kernel
def _admit_order(state: State, events: Events, i: int, template: int, session: int) -> tuple[int, int, int]:
    order = events.order[i]
    params = state.params[0]
    if order.cl_ord_id[0] == 0 and (order.order_id == 0 or template == _ORDER_FIRST):
        return _R_ID, 0, 0
    if template != _ORDER_FIRST:
        return 0, 0, 0
    instrument, account = int(order.instrument_id), int(order.account_id)
    if instrument < 0 or instrument >= params.n_instruments:
        return _R_INSTRUMENT, instrument, int(params.n_instruments)
    if account < 0 or account >= params.n_accounts or (state.sessions[session].account_mask >> account) & 1 == 0:
        return _R_ACCOUNT, account, int(state.sessions[session].account_mask)
    if order.side != _BUY and order.side != _SELL and order.side != _SHORT:
        return _R_SIDE, int(order.side), _BUY
    if order.ord_type != _MARKET and order.ord_type != _LIMIT:
        return _R_TYPE, int(order.ord_type), _LIMIT
    if order.tif != _DAY and order.tif != _GTC and order.tif != _IOC and order.tif != _FOK:
        return _R_TIF, int(order.tif), _DAY
    if order.algo_id < 0 or order.algo_id >= MAX_STRATEGIES:
        return _R_UNSUPPORTED, int(order.algo_id), MAX_STRATEGIES
    if order["flags"] != 0:
        return _R_UNSUPPORTED, int(order["flags"]), 0
    reason, value, limit = check_terms(state, instrument, int(order.ord_type), int(order.px), int(order.qty))
    if reason == 0 and (order.min_qty != 0 or order.display_qty != 0):
        return _check_parts(state, events, i)
    return reason, value, limit


@kernel
def _check_parts(state: State, events: Events, i: int) -> tuple[int, int, int]:
    """MinQty and DisplayQty are parts of OrderQty, and what never stands in a book displays nothing there."""
    order = events.order[i]
    qty, min_qty, display_qty = int(order.qty), int(order.min_qty), int(order.display_qty)
    if min_qty < 0 or min_qty > qty:
        return _R_QTY, min_qty, qty
    if display_qty < 0 or display_qty > qty:
        return _R_QTY, display_qty, qty
    if display_qty > 0 and (order.ord_type == _MARKET or order.tif == _IOC or order.tif == _FOK):
        return _R_UNSUPPORTED, display_qty, 0
    row = state.instruments[int(order.instrument_id)]
    if row.odd_lots == 0 and display_qty % row.lot_qty != 0:
        return _R_LOT, display_qty, int(row.lot_qty)
    return 0, 0, 0


@kernel
def check_terms(state: State, instrument: int, ord_type: int, px: int, qty: int) -> tuple[int, int, int]:
    """(reason, value, limit) of the first thing wrong with a price and a quantity; reason 0 where nothing is."""
    row = state.instruments[instrument]
    if qty <= 0 or qty > MAX_QTY:
        return _R_QTY, qty, MAX_QTY
    if row.odd_lots == 0 and qty % row.lot_qty != 0:
        return _R_LOT, qty, int(row.lot_qty)
    if ord_type == _MARKET:
        if px != 0:
            return _R_PX, px, 0
        return 0, 0, 0
    if px <= 0 or px > row.max_px:
        return _R_PX, px, int(row.max_px)
    tick_px = tick_of(state.ticks, int(row.tick_table), px)
    if tick_px > 0 and px % tick_px != 0:
        return _R_TICK, px, tick_px
    return 0, 0, 0


@kernel
def _admit_report(state: State, events: Events, i: int, template: int, session: int) -> tuple[int, int, int]:
    """A venue speaks of its own orders on its own session; session -1 is the driver, of orders it could not send."""
    report = events.report[i]
    params = state.params[0]
    venue, instrument = int(report.venue_id), int(report.instrument_id)
    if venue < 0 or venue >= params.n_venues or (session >= 0 and state.venues[venue].session != session):
        return _R_VENUE, venue, int(params.n_venues)
    if instrument < 0 or instrument >= params.n_instruments:
        return _R_INSTRUMENT, instrument, int(params.n_instruments)
    row = state.instruments[instrument]
    if report.last_px < 0 or report.last_px > row.max_px:
        return _R_PX, int(report.last_px), int(row.max_px)
    if report.cum_qty < 0 or report.leaves_qty < 0:
        return _R_QTY, int(min(report.cum_qty, report.leaves_qty)), 0
    if template == _BUST or template == _CORRECT:  # their fields from last_px on lie where a REPORT's do
        change = events.change[i]
        if change.exec_id[0] == 0 and change.exec_id[1] == 0:
            return _R_ID, 0, 0
        if change.exec_ref_id[0] == 0 and change.exec_ref_id[1] == 0:
            return _R_ID, 0, 0
    if template != _FILL and template != _CORRECT:
        return (0, 0, 0) if report.last_qty >= 0 else (_R_QTY, int(report.last_qty), 0)
    if report.last_px == 0:
        return _R_PX, 0, int(row.max_px)
    most = min(COUNT_MAX // (int(report.last_px) * int(row.notional_mul)), MAX_QTY)
    if report.last_qty <= 0 or report.last_qty > most:
        return _R_QTY, int(report.last_qty), most
    if template == _FILL and report.exec_id[0] == 0 and report.exec_id[1] == 0:
        return _R_ID, 0, 0
    return 0, 0, 0
