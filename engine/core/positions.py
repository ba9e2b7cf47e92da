"""What executions come to: money, fees, and the position of an account in an instrument.

One execution's money fits because `max_px` of an instrument is set so that it does (see engine.run.reference) and
admission refuses quantities beyond; that sums still fit is asked before anything is booked. What a bust or a correction
undoes is worked out anew from the execution's own terms, so that it is to the unit what was booked.
"""

from __future__ import annotations

from engine.core.limits import COUNT_MAX
from engine.core.state import C_QTY_FILLED, NONE, State
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
def fits(total: int, more: int) -> bool:
    """Whether a sum within +-COUNT_MAX stays there with `more` (within +-COUNT_MAX too) added."""
    if more < -COUNT_MAX or more > COUNT_MAX:
        return False
    return total <= COUNT_MAX - more if more > 0 else total >= -COUNT_MAX - more


@kernel
def room_for(state: State, place: int, side: int, p: int, qty: int, money: int, fee: int) -> bool:
    """Whether the sums of a position and of parent p (NONE: of none) can take these changes."""
    row = state.positions[place]
    sign = 1 if side == _BUY else -1
    if not fits(int(row.fee), fee) or not fits(int(row.cost), sign * money):
        return False
    if p != NONE and not (fits(int(state.parents[p].fee), fee) and fits(int(state.parents[p].notional), money)):
        return False
    most = max(int(row.bought_qty), int(row.sold_qty), int(state.counts[C_QTY_FILLED]))
    return fits(most, qty)


@kernel
def move_position(state: State, place: int, side: int, qty: int, money: int, fee: int, fills: int) -> None:
    """Change a position by an execution's quantity, money and fee, or by what of it was undone (negative)."""
    row = state.positions[place]
    sign = 1 if side == _BUY else -1
    row.qty += sign * qty
    row.cost += sign * money
    row.fee += fee
    row.fills += fills
    if sign > 0:
        row.bought_qty += qty
    else:
        row.sold_qty += qty
    state.counts[C_QTY_FILLED] += qty
