"""What executions come to: money, fees, and the position of an account in an instrument.

One execution's money fits because `max_px` of an instrument is set so that it does (see engine.run.reference) and
admission refuses quantities beyond; that sums still fit is asked before an execution is booked.
"""

from __future__ import annotations

from engine.core.limits import COUNT_MAX
from engine.core.state import C_FILLS, C_QTY_FILLED, State
from engine.jit import kernel
from engine.record.records import Liquidity, Side
from engine.record.units import PPM
from engine.record.wide import mul_div

_BUY = int(Side.BUY)
_ADDED = int(Liquidity.ADDED)


@kernel
def money_of(state: State, instrument: int, px: int, qty: int) -> int:
    """Money (1e-9 of the currency) of `qty` at `px`, rounded down."""
    row = state.instruments[instrument]
    return int(px * qty * row.notional_mul // row.notional_div)


@kernel
def fee_of(state: State, venue: int, instrument: int, qty: int, money: int, liquidity: int) -> int:
    """Fee of an execution that came to `money`, in 1e-9 of the currency, rounded down; negative is a rebate.

    Beyond +-COUNT_MAX where it cannot be held.
    """
    line = state.venues[venue]
    added = liquidity == _ADDED
    rate = int(line.make_fee if added else line.take_fee)
    ppm = int(line.make_ppm if added else line.take_ppm)
    by_qty = mul_div(rate, qty, int(state.instruments[instrument].qty_unit))
    if by_qty < -COUNT_MAX or by_qty > COUNT_MAX:
        return by_qty
    return by_qty + mul_div(money, ppm, PPM)


@kernel
def position_of(state: State, c: int) -> int:
    """Place in `positions` of the account and the instrument of child c."""
    order = state.child_orders[c]
    return int(order.account_id) * len(state.instruments) + int(order.instrument_id)


@kernel
def room_for(state: State, c: int, qty: int, money: int, fee: int) -> bool:
    """Whether the sums of the position and the parent of child c can hold one more execution."""
    place, parent = state.positions[position_of(state, c)], state.parents[int(state.children[c].parent)]
    if fee < -COUNT_MAX or fee > COUNT_MAX or money > COUNT_MAX - abs(int(parent.notional)):
        return False
    if abs(fee) > COUNT_MAX - max(abs(int(place.fee)), abs(int(parent.fee))):
        return False
    most = max(int(place.bought_qty), int(place.sold_qty), int(state.counts[C_QTY_FILLED]))
    return bool(qty <= COUNT_MAX - most and money <= COUNT_MAX - abs(int(place.cost)))


@kernel
def book_position(state: State, c: int, qty: int, money: int, fee: int) -> None:
    """Add an execution of child c to its account's position: signed quantity and cost, fee."""
    place = state.positions[position_of(state, c)]
    sign = 1 if state.child_orders[c].side == _BUY else -1
    place.qty += sign * qty
    place.cost += sign * money
    place.fee += fee
    place.fills += 1
    if sign > 0:
        place.bought_qty += qty
    else:
        place.sold_qty += qty
    state.counts[C_FILLS] += 1
    state.counts[C_QTY_FILLED] += qty
