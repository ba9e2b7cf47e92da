"""What executions come to: money, fees, and the position of an account in an instrument.

Products stay within 63 bits: `max_px` of an instrument is set so that they do (see engine.run.reference).
"""

from __future__ import annotations

from engine.core.state import C_FILLS, C_QTY_FILLED, State
from engine.jit import kernel
from engine.record.records import Liquidity, Side

_BUY = int(Side.BUY)
_ADDED = int(Liquidity.ADDED)


@kernel
def book_position(state: State, c: int, venue: int, px: int, qty: int, liquidity: int) -> None:
    """Add an execution of child c to its account's position: signed quantity and cost, fee."""
    order = state.child_orders[c]
    instrument = int(order.instrument_id)
    place = state.positions[int(order.account_id) * len(state.instruments) + instrument]
    sign = 1 if order.side == _BUY else -1
    place.qty += sign * qty
    place.cost += sign * money_of(state, instrument, px, qty)
    place.fee += fee_of(state, venue, instrument, px, qty, liquidity)
    place.fills += 1
    if sign > 0:
        place.bought_qty += qty
    else:
        place.sold_qty += qty
    state.counts[C_FILLS] += 1
    state.counts[C_QTY_FILLED] += qty


@kernel
def money_of(state: State, instrument: int, px: int, qty: int) -> int:
    """Money (1e-9 of the currency) of `qty` at `px`; the product is bounded by max_px and max_qty."""
    row = state.instruments[instrument]
    return int(px * qty * row.notional_mul // row.notional_div)


@kernel
def fee_of(state: State, venue: int, instrument: int, px: int, qty: int, liquidity: int) -> int:
    """Fee of an execution in 1e-9 of the currency; negative is a rebate. Rounded down."""
    line = state.venues[venue]
    added = liquidity == _ADDED
    rate = line.make_fee if added else line.take_fee
    ppm = line.make_ppm if added else line.take_ppm
    return int(rate * qty + money_of(state, instrument, px, qty) // 1_000_000 * ppm)
