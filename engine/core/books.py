"""Best bid and offer of each venue in each instrument, the national best over the fresh ones, the reference price.

A quote is fresh while it is valid and not older than `stale_ns` by the engine's clock. What we have sent against a
quote is remembered (`bid_taken`, `ask_taken`) until its venue's next quote, so that two parents never chase the same
displayed shares; where a venue's quotes show our own resting orders, these are no liquidity either (`own`). A gap in a
venue's stream, a restart of its publisher, a CLEAR, or a quote that is crossed in itself makes its quotes invalid until
the next; a halt, until the venue says that the instrument is open, and quotes it again.

The reference price is the mid-point of the last national best bid and offer over fresh quotes that was two-sided and
not crossed, taken at each quote, order and decision; where that is older than `reference_age_ns`, the last trade on a
book within the same age; else none. It is kept doubled (`reference_px2`), so that a mid-point is exact.

Worst case: each quote scans the venues of its instrument once: n_venues cache lines.
"""

from __future__ import annotations

from engine.core import undo
from engine.core.emit import alert
from engine.core.limits import MAX_STREAM_SEQ
from engine.core.own import first_own, set_own_apart
from engine.core.periods import note_reference
from engine.core.state import (
    C_CROSSED_QUOTES,
    C_GAPS,
    C_LOST_RECORDS,
    C_PUBLISHER_RESTARTS,
    C_QUOTES,
    C_TRADES,
    NONE,
    Events,
    Outbox,
    State,
)
from engine.jit import kernel
from engine.record.records import Flag, Reason, Side

_BUY = int(Side.BUY)
_OFF_BOOK = int(Flag.OFF_BOOK)
_CLOSED = int(Flag.CLOSED)
_GAP = int(Reason.SEQUENCE_GAP)
_RESTARTED = int(Reason.PEER_RESTARTED)
_DUPLICATE = int(Reason.DUPLICATE_RECORD)
_OLD_EPOCH = int(Reason.OLD_EPOCH)
_NOT_IN_ORDER = int(Reason.NOT_IN_ORDER)
#: What `valid` of a quote says.
VOID, VALID, HALTED = 0, 1, -1
#: INSTRUMENT_STATUS: nothing may be sent while it is halted or closed; in an auction (3) orders are gathered.
_HALT, _SHUT = 1, 2


@kernel
def fresh(state: State, slot: int) -> bool:
    """Whether the quote in a slot may be routed to now."""
    quote = state.quotes[slot]
    return bool(quote.valid > 0 and state.core[0].now_ns - quote.ts_ns <= state.params[0].stale_ns)


@kernel
def admit_stream(state: State, events: Events, i: int, outbox: Outbox) -> int:
    """Check a market-data record's place in its venue's stream; 0 to go on, else the Reason to refuse it.

    A restart voids the venue's quotes and its numbers begin anew; a gap voids them, is counted, and alerts.
    """
    head = events.head[i]
    v = int(head.venue_id)
    venue = state.venues[v]
    epoch, seq = int(head.stream_epoch), int(head.stream_seq)
    if seq < 1 or seq > MAX_STREAM_SEQ:
        return _NOT_IN_ORDER
    if epoch == venue.feed_epoch and seq == venue.feed_seq + 1:
        venue.feed_seq = seq
        return 0
    if epoch < venue.feed_epoch:
        return _OLD_EPOCH
    if epoch > venue.feed_epoch:
        restarted = venue.feed_epoch != 0
        venue.feed_epoch = epoch
        venue.feed_seq = 0
        if restarted:
            state.counts[C_PUBLISHER_RESTARTS] += 1
            void_venue(state, v)
            alert(state, outbox, _RESTARTED, -1, 0, v)
    if seq <= venue.feed_seq:
        return _DUPLICATE
    lost = seq - venue.feed_seq - 1
    venue.feed_seq = seq
    if lost > 0:
        venue.feed_gaps += 1
        venue.feed_lost += lost
        state.counts[C_GAPS] += 1
        state.counts[C_LOST_RECORDS] += lost
        void_venue(state, v)
        alert(state, outbox, _GAP, -1, lost, v)
    return 0


@kernel
def void_venue(state: State, v: int) -> None:
    """No quote of venue v may be routed to until its next update. What is halted stays halted."""
    for n in range(state.params[0].n_instruments):
        void_quote(state, n, v)


@kernel
def void_quote(state: State, instrument: int, v: int) -> None:
    """Venue v's quote in one instrument may not be routed to until its next update."""
    quote = state.quotes[instrument * state.params[0].venue_stride + v]
    if quote.valid == VALID:
        quote.valid = VOID


@kernel
def on_clear(state: State, events: Events, i: int) -> None:
    """CLEAR: void a venue's quote in one instrument, or in all where the instrument is -1."""
    clear = events.clear[i]
    if clear.instrument_id < 0:
        void_venue(state, int(clear.venue_id))
    else:
        void_quote(state, int(clear.instrument_id), int(clear.venue_id))


@kernel
def on_status(state: State, events: Events, i: int) -> None:
    """INSTRUMENT_STATUS: no quote of the venue counts while it has the instrument halted, closed or in an auction."""
    status = events.status[i]
    slot = int(status.instrument_id) * int(state.params[0].venue_stride) + int(status.venue_id)
    row, bit = state.instruments[int(status.instrument_id)], 1 << int(status.venue_id)
    row.halted_venues = int(row.halted_venues) & ~bit
    if status.status == _HALT or status.status == _SHUT:
        row.halted_venues = int(row.halted_venues) | bit
    if status.status != 0:
        state.quotes[slot].valid = HALTED
    elif state.quotes[slot].valid == HALTED:
        state.quotes[slot].valid = VOID


@kernel
def on_quote(state: State, events: Events, i: int) -> None:
    """Take a venue's new best bid and offer into its slot, then move the reference where they allow it."""
    quote = events.quote[i]
    instrument = int(quote.instrument_id)
    place = instrument * int(state.params[0].venue_stride) + int(quote.venue_id)
    slot = state.quotes[place]
    slot.bid_px = quote.bid_px
    slot.bid_qty = quote.bid_qty
    slot.ask_px = quote.ask_px
    slot.ask_qty = quote.ask_qty
    slot.bid_taken = 0
    slot.ask_taken = 0
    if first_own(state, place) != NONE:
        set_own_apart(state, place)
    slot.ts_ns = state.core[0].now_ns
    state.counts[C_QUOTES] += 1
    crossed = quote.bid_qty > 0 and quote.ask_qty > 0 and quote.bid_px > quote.ask_px
    if crossed:
        state.counts[C_CROSSED_QUOTES] += 1
    if slot.valid != HALTED:
        slot.valid = VOID if crossed or int(quote["flags"]) & _CLOSED != 0 else VALID
    renew_best(state, instrument)
    note_reference(state, instrument)


@kernel
def renew_best(state: State, instrument: int) -> tuple[int, int]:
    """National best bid and offer now, price units, 0 where there is none; moves the reference where they allow it."""
    params = state.params[0]
    now, stale = int(state.core[0].now_ns), int(params.stale_ns)
    first = instrument * int(params.venue_stride)
    bid, ask = 0, 0
    for s in range(first, first + int(params.n_venues)):
        quote = state.quotes[s]
        if quote.valid > 0 and now - quote.ts_ns <= stale:
            if quote.bid_qty > 0 and quote.bid_px > bid:
                bid = int(quote.bid_px)
            if quote.ask_qty > 0 and (quote.ask_px < ask or ask == 0):
                ask = int(quote.ask_px)
    if bid > 0 and bid <= ask:
        undo.keep_instrument(state, instrument)
        row = state.instruments[instrument]
        row.reference_px2 = bid + ask
        row.reference_ns = now
    return bid, ask


@kernel
def on_trade(state: State, events: Events, i: int) -> None:
    """Remember the last trade printed on a book; off-book prints say nothing of where a book stands."""
    trade = events.trade[i]
    state.counts[C_TRADES] += 1
    if int(trade["flags"]) & _OFF_BOOK == 0:
        row = state.instruments[int(trade.instrument_id)]
        row.trade_px = trade.px
        row.trade_ns = state.core[0].now_ns


@kernel
def reference_px2(state: State, instrument: int) -> int:
    """Twice the reference price of an instrument, price units; 0 where there is none within its age."""
    row = state.instruments[instrument]
    oldest = state.core[0].now_ns - state.params[0].reference_age_ns
    if row.reference_px2 > 0 and row.reference_ns >= oldest:
        return int(row.reference_px2)
    if row.trade_px > 0 and row.trade_ns >= oldest:
        return int(2 * row.trade_px)
    return 0


@kernel
def take(state: State, slot: int, side: int, qty: int) -> None:
    """Remember that an order of `side` goes after `qty` of a quote; a negative `qty` gives it back."""
    undo.keep_quote(state, slot)
    quote = state.quotes[slot]
    if side == _BUY:
        quote.ask_taken += qty
    else:
        quote.bid_taken += qty


@kernel
def available(state: State, slot: int, side: int) -> int:
    """Displayed quantity that an order of `side` can still take from a slot's opposite side."""
    quote = state.quotes[slot]
    left = quote.ask_qty - quote.ask_taken if side == _BUY else quote.bid_qty - quote.bid_taken
    return int(left) if left > 0 else 0


@kernel
def opposite_px(state: State, slot: int, side: int) -> int:
    """Price at which an order of `side` takes from a slot."""
    return int(state.quotes[slot].ask_px) if side == _BUY else int(state.quotes[slot].bid_px)


@kernel
def marketable(side: int, limit_px: int, px: int) -> bool:
    """Whether `px` is at or better than a limit; a limit of 0 is a market order."""
    if limit_px == 0:
        return True
    return px <= limit_px if side == _BUY else px >= limit_px
