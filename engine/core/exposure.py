"""What is at stake, held or working at venues: reserved before an order leaves, given back by reports.

A child reserves what it may yet execute (its leaves, and what unanswered replaces may add) at the least favourable of
the prices that it has or has asked for. `settle` brings that up to date after anything that changes a child, so a
reserve is always what the child's rows say, and the sums are always the sums of the reserves; the walker of the tests
holds both after each step. Nothing is reserved within a strategy's step: the gate does it when the step is good.

A position is worth its quantity at the price of its last execution, bust or correction; no market data moves it. For
an account in an instrument, `worst` is the larger of |value + working buys| and |value - working sells|: an order that
closes a position adds nothing. An account's gross is the sum of `worst` over the instruments of a currency; `long` and
`short` are the sums of value + working buys and of value - working sells. The furthest that each of these has been is
kept, and of a position with its working orders, long and short.

Worst case: one multiplication and one division for each child that changes; the sums are kept, never summed again.
"""

from __future__ import annotations

from typing import Final

from engine.core.limits import COUNT_MAX, MAX_QTY
from engine.core.positions import money_of
from engine.core.rule_limits import limit_of
from engine.core.rules import CURRENCIES, EXPOSURE_MAX, EXPOSURE_UNIT, GROSS, L_MAX_POSITION, NET, OFF
from engine.core.state import State
from engine.jit import kernel
from engine.record.records import RiskRule, Side
from engine.record.wide import mul_div

_QTY_BITS: Final = 54
_QTY_MASK: Final = (1 << _QTY_BITS) - 1
_BUY: Final = int(Side.BUY)
_MAX_POSITION, _GROSS, _NET = (
    int(RiskRule.MAX_POSITION),
    int(RiskRule.GROSS_NOTIONAL),
    int(RiskRule.NET_NOTIONAL),
)


@kernel
def may_become(state: State, c: int) -> int:
    """The largest OrderQty that child c has or has asked for."""
    most = int(state.child_orders[c].qty)
    for k in range(state.children[c].amends):
        most = max(most, int(state.amends[c].qty[k]))
    return most


@kernel
def _wanted(state: State, c: int) -> tuple[int, int]:
    """(quantity, money) that child c must reserve; money in cents of the currency, rounded up."""
    child, order = state.children[c], state.child_orders[c]
    qty = int(child.leaves_qty)
    px = int(order.px)
    if child.amends > 0:
        qty += may_become(state, c) - int(order.qty)
        for k in range(child.amends):
            px = max(px, int(state.amends[c].px[k]))
    if qty == 0:
        return 0, 0
    money = money_of(state, int(order.instrument_id), px, qty)
    return qty, (money + EXPOSURE_UNIT - 1) // EXPOSURE_UNIT


@kernel
def _place(state: State, c: int) -> int:
    order = state.child_orders[c]
    return int(order.account_id) * len(state.instruments) + int(order.instrument_id)


@kernel
def _account(state: State, place: int) -> int:
    """Row of `accounts` of a place in `exposures`: the account, and the currency of the instrument."""
    width = len(state.instruments)
    return place // width * CURRENCIES + int(state.instruments[place % width].currency_slot)


@kernel
def reserved_of(state: State, c: int) -> tuple[int, int]:
    """(quantity, money) that child c has reserved.

    A quantity has 54 bits (MAX_QTY is 2^53), the money of an order 39: its low half is in the child's row, the rest of
    it above the quantity.
    """
    word = int(state.reserves[c])
    return word & _QTY_MASK, (word >> _QTY_BITS) << 32 | (int(state.children[c].reserved_low) & 0xFFFFFFFF)


@kernel
def settle(state: State, c: int) -> None:
    """Reserve for child c what its rows say now, in place of what was reserved."""
    qty, money = _wanted(state, c)
    held_qty, held = reserved_of(state, c)
    more_qty, more = qty - held_qty, money - held
    if more_qty == 0 and more == 0:
        return
    state.reserves[c] = qty | (money >> 32) << _QTY_BITS
    state.children[c].reserved_low = ((money & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
    place = _place(state, c)
    row = state.exposures[place]
    account = state.accounts[_account(state, place)]
    if state.child_orders[c].side == _BUY:
        row.buy_qty += more_qty
        row.buy_money += more
        account.long += more
        account.long_peak = max(int(account.long_peak), int(account.long))
    else:
        row.sell_qty += more_qty
        row.sell_money += more
        account.short -= more
        account.short_peak = min(int(account.short_peak), int(account.short))
    _renew_worst(state, place)


@kernel
def _renew_worst(state: State, place: int) -> None:
    row = state.exposures[place]
    account = state.accounts[_account(state, place)]
    worst = max(abs(int(row.value) + int(row.buy_money)), abs(int(row.value) - int(row.sell_money)))
    account.gross += worst - row.worst
    row.worst = worst
    account.gross_peak = max(int(account.gross_peak), int(account.gross))
    held = int(state.positions[place].qty)
    row.buy_peak = max(int(row.buy_peak), held + int(row.buy_qty))
    row.sell_peak = max(int(row.sell_peak), int(row.sell_qty) - held)


@kernel
def set_peaks(state: State, place: int, long: int, short: int) -> None:
    """The furthest of a position with its working orders: what it was before an execution, or what is now.

    An execution moves the position before all of its order's reserve is given back: no quantity counts twice.
    """
    row, held = state.exposures[place], int(state.positions[place].qty)
    row.buy_peak = max(long, held + int(row.buy_qty))
    row.sell_peak = max(short, int(row.sell_qty) - held)


@kernel
def peaks_of(state: State, c: int) -> tuple[int, int, int, int, int]:
    """The furthest that the sums which child c counts in have been so far."""
    place = _place(state, c)
    row, account = state.exposures[place], state.accounts[_account(state, place)]
    sums = int(account.gross_peak), int(account.long_peak), int(account.short_peak)
    return int(row.buy_peak), int(row.sell_peak), sums[0], sums[1], sums[2]


@kernel
def put_peaks_back(state: State, c: int, peaks: tuple[int, int, int, int, int]) -> None:
    """What was reserved since `peaks` did not all leave: the furthest is what was before, or what is now."""
    place = _place(state, c)
    account = state.accounts[_account(state, place)]
    set_peaks(state, place, peaks[0], peaks[1])
    account.gross_peak = max(peaks[2], int(account.gross))
    account.long_peak = max(peaks[3], int(account.long))
    account.short_peak = min(peaks[4], int(account.short))


@kernel
def _worth(state: State, instrument: int, qty: int, px: int) -> int:
    """Value of `qty` at `px`, cents of the currency, rounded towards zero; beyond +-EXPOSURE_MAX: no fit."""
    row = state.instruments[instrument]
    money = mul_div(int(px * row.notional_mul), abs(qty), int(row.notional_div) * EXPOSURE_UNIT)
    if money < 0 or money > EXPOSURE_MAX:
        return EXPOSURE_MAX + 1
    return money if qty >= 0 else -money


@kernel
def revalue(state: State, place: int, px: int) -> None:
    """A position has changed, at `px`: it is worth what it has now at that price, and the sums follow."""
    instrument = place % len(state.instruments)
    set_value(state, place, _worth(state, instrument, int(state.positions[place].qty), px))


@kernel
def set_value(state: State, place: int, value: int) -> None:
    """A position is worth `value` (cents of the currency) from now on."""
    row = state.exposures[place]
    account = state.accounts[_account(state, place)]
    account.long += value - row.value
    account.short += value - row.value
    row.value = value
    account.long_peak = max(int(account.long_peak), int(account.long))
    account.short_peak = min(int(account.short_peak), int(account.short))
    _renew_worst(state, place)


@kernel
def room_for_value(state: State, place: int, side: int, more: int, px: int) -> bool:
    """Whether the sums of exposure can take an execution (or what is undone of one) of `more` at `px`."""
    qty = int(state.positions[place].qty) + (more if side == _BUY else -more)
    value = _worth(state, place % len(state.instruments), qty, px)
    if value > EXPOSURE_MAX:
        return False
    account = state.accounts[_account(state, place)]
    return bool(int(account.gross) <= 3 * EXPOSURE_MAX - abs(value))


@kernel
def check_exposure(state: State, c: int) -> tuple[int, int, int]:
    """(rule, value, limit) of the first limit that child c, with what it asks for, would break; rule 0 where none.

    What is asked for is in the child's rows already, and not yet reserved. What does not add to a sum breaks no limit.
    """
    qty, money = _wanted(state, c)
    held_qty, reserved = reserved_of(state, c)
    more_qty, more = qty - held_qty, money - reserved
    order, place = state.child_orders[c], _place(state, c)
    row, held = state.exposures[place], int(state.positions[place].qty)
    account, buys = int(order.account_id), bool(order.side == _BUY)
    sums = state.accounts[_account(state, place)]
    most = limit_of(state, int(order.instrument_id), L_MAX_POSITION)
    if most != OFF and more_qty > 0:
        would = held + int(row.buy_qty) + more_qty if buys else int(row.sell_qty) + more_qty - held
        if would > most:
            return _MAX_POSITION, would, most
    if more <= 0:
        return 0, 0, 0
    value = int(row.value)
    buy_money, sell_money = int(row.buy_money), int(row.sell_money)
    if buys:
        buy_money += more
    else:
        sell_money += more
    most = int(state.limits[GROSS + account])
    if most != OFF:
        added = max(abs(value + buy_money), abs(value - sell_money)) - int(row.worst)
        if added > 0 and int(sums.gross) + added > most:
            return _GROSS, int(sums.gross) + added, most
    most = int(state.limits[NET + account])
    if most != OFF:
        would = int(sums.long) + more if buys else more - int(sums.short)
        if would > most:
            return _NET, would, most
    return 0, 0, 0


assert MAX_QTY <= _QTY_MASK, "a quantity fits"
assert COUNT_MAX // EXPOSURE_UNIT < 1 << 32 + 63 - _QTY_BITS, "and so does the money of an order"
