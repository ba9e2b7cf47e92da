"""Orders that came just before: whether a new one says the same as one of them, word for word but for its ClOrdID.

The same is: client session, account, instrument, side, price and quantity, within the configured time. The orders of
that time are a ring, the newest last, chained by a hash of what they say, so nothing is searched but its own chain.
Where the ring is full of orders that are still too young, a new order cannot be judged and is refused (TABLE_FULL).

Worst case: orders whose hashes meet: a chain is as long as there are such orders within the time.
"""

from __future__ import annotations

from engine.core.ids import mix
from engine.core.rules import DUPLICATES, OFF
from engine.core.state import NONE, Events, State
from engine.jit import kernel

#: Answers of `find_duplicate` beside the age of one: there is none; the ring is full.
NO_DUPLICATE, RING_FULL = -1, -2


@kernel
def _bucket(state: State, events: Events, i: int, session: int) -> int:
    order = events.order[i]
    who = (session << 20) + (int(order.account_id) << 8) + int(order.side)
    return mix(int(order.px), int(order.qty), mix(who, int(order.instrument_id), 0)) & (len(state.recent_index) - 1)


@kernel
def find_duplicate(state: State, events: Events, i: int, session: int) -> int:
    """How long ago (ns) the order at i came the last time; NO_DUPLICATE, or RING_FULL where that cannot be known."""
    limit = int(state.limits[DUPLICATES])
    if limit == OFF:
        return NO_DUPLICATE
    now, count = int(state.core[0].now_ns), int(state.core[0].recent_count)
    size = len(state.recent)
    order = events.order[i]
    n = int(state.recent_index[_bucket(state, events, i, session)])
    while n > NONE and n >= count - size:
        row = state.recent[n & (size - 1)]
        if now - row.at_ns >= limit:
            break
        if row.px == order.px and row.qty == order.qty and row.instrument == order.instrument_id:
            if row.side == order.side and row.session == session and row.account == order.account_id:
                return now - int(row.at_ns)
        n = int(row.before)
    if count >= size and now - state.recent[count & (size - 1)].at_ns < limit:
        return RING_FULL
    return NO_DUPLICATE


@kernel
def remember_order(state: State, events: Events, i: int, session: int) -> None:
    """Remember the order at i, which was taken on, for as long as another of the kind is a duplicate."""
    if state.limits[DUPLICATES] == OFF:
        return
    core, order = state.core[0], events.order[i]
    n = int(core.recent_count)
    core.recent_count = n + 1
    bucket = _bucket(state, events, i, session)
    row = state.recent[n & (len(state.recent) - 1)]
    row.at_ns = core.now_ns
    row.px = order.px
    row.qty = order.qty
    row.before = state.recent_index[bucket]
    row.instrument = order.instrument_id
    row.account = order.account_id
    row.session = session
    row.side = order.side
    state.recent_index[bucket] = n
