"""Parents that rest in the engine: they watch their instrument's quotes and are woken when one becomes marketable.

A quote of a venue whose session is down wakes nobody, for nothing could be sent there; when the session comes up, the
fresh quotes of its venues do.

A doubly linked list an instrument, and the best limit a side as a quick "nobody cares": most quotes compare two prices
and go on. Worst case: a quote through many limits walks the instrument's whole list; the wakes are bounded by the work
queue, which holds each parent at most once.
"""

from __future__ import annotations

from engine.core import undo
from engine.core.books import available, fresh, marketable, opposite_px
from engine.core.children import wake
from engine.core.state import C_WAKES, MAX_PX, NONE, W_QUOTE, State
from engine.jit import kernel
from engine.record.records import Side

_BUY = int(Side.BUY)


@kernel
def rest(state: State, p: int) -> None:
    """Put parent p on its instrument's list; nothing happens where it is there already."""
    parent = state.parents[p]
    if parent.resting != 0:
        return
    parent.resting = 1
    undo.keep_instrument(state, int(state.parent_orders[p].instrument_id))
    row = state.instruments[int(state.parent_orders[p].instrument_id)]
    first = int(row.rest_head)
    parent.rest_prev = NONE
    parent.rest_next = first
    if first != NONE:
        undo.keep_parent(state, first)
        state.parents[first].rest_prev = p
    row.rest_head = p
    row.rest_count += 1
    _note_limit(state, p)


@kernel
def _note_limit(state: State, p: int) -> None:
    order = state.parent_orders[p]
    row = state.instruments[int(order.instrument_id)]
    if order.side == _BUY:
        limit = order.px if order.px > 0 else MAX_PX
        if limit > row.rest_buy_px:
            row.rest_buy_px = limit
    elif order.px < row.rest_sell_px:
        row.rest_sell_px = order.px


@kernel
def unrest(state: State, p: int) -> None:
    """Take parent p off its instrument's list; where it had the best limit of its side, find the next best."""
    parent = state.parents[p]
    if parent.resting == 0:
        return
    parent.resting = 0
    undo.keep_instrument(state, int(state.parent_orders[p].instrument_id))
    row = state.instruments[int(state.parent_orders[p].instrument_id)]
    before, after = int(parent.rest_prev), int(parent.rest_next)
    if before != NONE:
        undo.keep_parent(state, before)
        state.parents[before].rest_next = after
    else:
        row.rest_head = after
    if after != NONE:
        undo.keep_parent(state, after)
        state.parents[after].rest_prev = before
    parent.rest_prev = NONE
    parent.rest_next = NONE
    row.rest_count -= 1
    order = state.parent_orders[p]
    if order.px != 0 and order.px != row.rest_buy_px and order.px != row.rest_sell_px:
        return  # it was not the best limit of its side
    row.rest_buy_px = 0
    row.rest_sell_px = MAX_PX
    other = int(row.rest_head)
    while other != NONE:
        _note_limit(state, other)
        other = int(state.parents[other].rest_next)


@kernel
def wake_on_quote(state: State, instrument: int, venue: int) -> None:
    """Wake the resting parents for which the quote of `venue` is marketable, where orders can go there."""
    row = state.instruments[instrument]
    if row.rest_count == 0 or state.sessions[int(state.venues[venue].session)].up == 0:
        return
    slot = instrument * int(state.params[0].venue_stride) + venue
    quote = state.quotes[slot]
    buys = quote.ask_qty > 0 and quote.ask_px <= row.rest_buy_px
    sells = quote.bid_qty > 0 and quote.bid_px >= row.rest_sell_px
    if not (buys or sells) or not fresh(state, slot):
        return
    lot = state.lots[slot]
    p = int(row.rest_head)
    while p != NONE:
        order = state.parent_orders[p]
        side = int(order.side)
        if marketable(side, int(order.px), opposite_px(state, slot, side)) and available(state, slot, side) >= lot:
            state.counts[C_WAKES] += 1
            wake(state, p, W_QUOTE)
        p = int(state.parents[p].rest_next)


@kernel
def wake_for_session(state: State, session: int) -> None:
    """A session is up: wake the resting parents for which what its venues quote is marketable."""
    for v in range(state.params[0].n_venues):
        if state.venues[v].session == session:
            for n in range(state.params[0].n_instruments):
                wake_on_quote(state, n, v)
