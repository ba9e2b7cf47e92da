"""The trading day: what rolls over with it, and the positions that it opens with.

ROLL begins a day in the middle of a run. Positions keep quantity and cost; what they sum up a day (bought, sold, fees,
fills) begins at zero, as do the counters, which take what is still open as accepted and ordered. Ids of new orders have
the new day in them; the counter in them goes on, so that slots are taken again as late as possible. Day orders that are
still open expire: their children are cancelled, and their quantity comes back with terminal reports alone, however far
into the new day those come. GTC orders go on.

A ClOrdID is unique within a day (FIX tag 11): that of an order of an earlier day which has ended may be used again.
That of an open one may not. ExecIDs are unique a venue and day: once no child lives, the remembered executions of
earlier days are forgotten, and with them the ended children: a report on one of those names an order that is unknown,
because nobody could say whether it was booked.

Worst case: a roll looks at every parent once; forgetting empties the index of executions once, some microseconds a
thousand places.
"""

from __future__ import annotations

from engine.core import timers
from engine.core.children import terminal, wake
from engine.core.emit import alert, is_open, left_of
from engine.core.exposure import set_value
from engine.core.limits import COUNT_MAX
from engine.core.positions import fits
from engine.core.rules import EXPOSURE_UNIT
from engine.core.state import C_PARENTS_ACCEPTED, C_QTY_ORDERED, NONE, W_EXPIRE, Events, Outbox, State
from engine.jit import kernel
from engine.record.records import PositionFlag, Reason, Tif
from engine.record.units import DAY_SHIFT, order_id, shard_of
from engine.record.wide import mul_div

_DAY = int(Tif.DAY)
_R_DAY_END = int(Reason.DAY_END)
_COST = int(PositionFlag.COST)


@kernel
def day_now(state: State) -> int:
    """The trading day, days since 1970."""
    return (int(state.params[0].id_base) >> DAY_SHIFT) & 0xFFFF


@kernel
def of_today(state: State, identifier: int) -> bool:
    """Whether an order id was given on this trading day."""
    return identifier >> DAY_SHIFT == int(state.params[0].id_base) >> DAY_SHIFT


@kernel
def forgotten(state: State, c: int) -> bool:
    """Whether child c is of an earlier day whose executions are not remembered any more."""
    if state.core[0].old_execs != 0 or not terminal(int(state.children[c].ord_status)):
        return False
    return not of_today(state, int(state.child_orders[c].order_id))


@kernel
def on_roll(state: State, events: Events, i: int, outbox: Outbox) -> None:
    """ROLL: the trading day is another one from here on."""
    roll, params, core = events.roll[i], state.params[0], state.core[0]
    params.id_base = order_id(shard_of(int(params.id_base)), int(roll.trading_day), 0)
    params.day_end_ns = roll.day_end_ns
    core.rolls += 1
    core.old_execs = 1
    for place in range(len(state.positions)):
        row = state.positions[place]
        row.bought_qty = 0
        row.sold_qty = 0
        row.fee = 0
        row.fills = 0
    carried = 0
    for p in range(len(state.parents)):
        if is_open(state, p):
            carried += left_of(state, p)
            if state.parent_orders[p].tif == _DAY:
                timers.disarm(state, p)
                wake(state, p, W_EXPIRE)
    for n in range(len(state.counts)):
        state.counts[n] = 0
    for n in range(len(state.refusals)):
        state.refusals[n] = 0
    state.counts[C_PARENTS_ACCEPTED] = core.live_parents
    state.counts[C_QTY_ORDERED] = carried
    alert(state, outbox, _R_DAY_END, -1, 0, int(roll.trading_day))


@kernel
def forget_executions(state: State) -> None:
    """Empty the table of remembered executions."""
    core = state.core[0]
    core.old_execs = 0
    core.exec_head = 0
    core.exec_count = 0
    for place in range(len(state.exec_index)):
        state.exec_index[place] = NONE


@kernel
def cost_of_load(state: State, events: Events, i: int) -> int:
    """Cost of the position that the POSITION_LOAD at i brings, 1e-9 of the currency; beyond +-COUNT_MAX: no fit."""
    load = events.position[i]
    if int(load["flags"]) & _COST != 0:
        return int(load.px)
    row, qty = state.instruments[int(load.instrument_id)], int(load.qty)
    money = mul_div(int(load.px) * int(row.notional_mul), abs(qty), int(row.notional_div))
    if money < 0 or money > COUNT_MAX:
        return COUNT_MAX + 1
    return money if qty >= 0 else -money


@kernel
def on_position_load(state: State, events: Events, i: int) -> None:
    """POSITION_LOAD: an account's position in an instrument is this, whatever it was; admission has looked at it."""
    load = events.position[i]
    place = int(load.account_id) * len(state.instruments) + int(load.instrument_id)
    row = state.positions[place]
    row.qty = load.qty
    row.cost = cost_of_load(state, events, i)
    assert fits(int(row.cost), 0), "admission has looked"
    set_value(state, place, int(row.cost) // EXPOSURE_UNIT if row.qty != 0 else 0)
