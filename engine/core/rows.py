"""The rows of the core's tables: one dtype a table, little-endian, without padding; units last in the names.

The most used ones are whole cache lines. What a reader cannot see in a field's name stands beside it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.core.rules import PERIOD_SLOTS, RATE_SLOTS


def ints(names: str) -> np.dtype[np.void]:
    """A record dtype of int64 fields, named in a text."""
    return np.dtype((np.record, [(name, "<i8") for name in names.split()]))


#: What the configuration fixes; a ROLL changes id_base and day_end_ns, and nothing else is written after start. A slot
#: is a fifteenth of a period: of the collar over a period, of the throttle on repeated executions.
PARAMS: Final = ints(
    "id_base stream_epoch stale_ns child_timeout_ns max_cancels max_rounds rest_at post_venue reference_age_ns"
    " day_end_ns collar_slot_ns repeat_slot_ns n_instruments n_venues n_sessions venue_stride n_accounts"
    " trade_through locked_crossed"  # 1: the rule is on, see protected.py
)
#: What changes with every event.
CORE: Final = ints(
    "now_ns next_parent next_child live_parents live_children unknown_children killed"
    " work_head work_count timer_count arm_seq gated exec_head exec_count"
    " rolls old_execs"  # trading days begun by ROLL; whether executions of an earlier day are still remembered
    # rows of `kills`; when mass cancels go on; when the next stops waiting; whether one has its last answer due
    " n_kills mass_at_ns mass_due_ns mass_ended"
    " override_due_ns recent_count"  # when the next override ends; orders that were remembered for duplicates
)
#: One venue's quote in one instrument; one cache line. `valid` is VOID, VALID or HALTED (engine.core.books).
QUOTE_SLOT: Final = ints("bid_px bid_qty ask_px ask_qty bid_taken ask_taken ts_ns valid")

INSTRUMENT: Final = np.dtype(
    (
        np.record,
        [
            ("symbol", "<i8", (2,)),
            ("isin", "<i8", (2,)),
            ("mic", "<i8", (2,)),
            ("lot_qty", "<i8"),
            ("px_money", "<i8"),  # money of one price unit for one share, coin or contract
            ("notional_mul", "<i8"),  # money of px * qty is px * qty * notional_mul // notional_div
            ("notional_div", "<i8"),
            ("qty_unit", "<i8"),  # quantity units of one share, coin or contract
            ("max_px", "<i8"),  # above it no product fits 63 bits: such a price is impossible
            ("safe_qty", "<i8"),  # px * qty * notional_mul fits 63 bits for any px up to max_px
            ("halted_venues", "<i8"),  # bit v: venue v has it halted or closed
            ("reference_px2", "<i8"),  # twice the reference price, so that a mid-point is exact; 0 is none
            ("reference_ns", "<i8"),
            ("trade_px", "<i8"),
            ("trade_ns", "<i8"),
            ("rest_buy_px", "<i8"),  # highest limit among resting buys; 0 is none
            ("rest_sell_px", "<i8"),  # lowest limit among resting sells; MAX_PX is none
            ("rest_head", "<i4"),
            ("rest_count", "<i4"),
            ("currency", "<i4"),
            ("tick_table", "<i4"),
            ("px_decimals", "<i2"),
            ("qty_decimals", "<i2"),
            ("odd_lots", "<i2"),
            ("currency_slot", "<i2"),  # number of its currency among those of the engine's instruments
        ],
    )
)
VENUE: Final = np.dtype(
    (
        np.record,
        [
            ("mic", "<i8", (2,)),
            ("take_fee", "<i8"),  # money a share, coin or contract; negative is a rebate
            ("make_fee", "<i8"),
            ("take_ppm", "<i8"),
            ("make_ppm", "<i8"),
            ("latency_ns", "<i8"),
            ("rank", "<i4"),  # place in the order of MICs: what ties break by
            ("session", "<i4"),
            ("tick_table", "<i8"),
            ("feed_epoch", "<i8"),
            ("feed_seq", "<i8"),
            ("feed_gaps", "<i8"),
            ("feed_lost", "<i8"),
            ("shows_own", "<i8"),  # 1: its quotes have the size in them that our own resting orders show
            ("protected", "<i8"),  # 1: its quotes may not be traded through, see protected.py
        ],
    )
)
SESSION: Final = np.dtype(
    (
        np.record,
        [
            ("role", "<i4"),  # 1 client, 2 venue gateway
            ("up", "<i4"),
            ("epoch_in", "<i8"),
            ("seq_in", "<i8"),
            ("seq_out", "<i8"),
            ("gaps", "<i8"),
            ("account_mask", "<i8"),
            ("capability", "<i8"),  # bits of its SESSION_UP, see SessionFlag
            ("cancels_on_down", "<i4"),  # 1: what a client has is cancelled when its session goes down
            ("due", "<i4"),  # cancels of mass cancels that are still to be sent to it
            ("due_at", "<i8"),  # slot of the children table where the next of them is looked for
            ("pace_ns", "<i8"),  # between two messages to it; 0: no limit
            ("burst_ns", "<i8"),  # how much of that may be used at once
            ("paced_ns", "<i8"),  # engine clock up to which its limit is used
        ],
    )
)
PARENT: Final = np.dtype(
    (
        np.record,
        [
            ("cum_qty", "<i8"),
            ("live_qty", "<i8"),  # leaves of live children
            ("notional", "<i8"),
            ("fee", "<i8"),
            ("arrival_bid_px", "<i8"),
            ("arrival_ask_px", "<i8"),
            ("busted_qty", "<i8"),  # executed and busted: neither executed nor to be routed again
            ("excluded", "<i8"),  # venues not to route to in this episode; 32 bits higher: who refused it
            ("new_px", "<i8"),  # what the pending replace asks for
            ("new_qty", "<i8"),
            ("first_px", "<i8"),  # as the order came, to know a repetition after replaces
            ("first_qty", "<i8"),
            ("first_child", "<i4"),
            ("rest_next", "<i4"),
            ("rest_prev", "<i4"),
            ("live_children", "<i4"),
            ("rounds", "<i2"),
            ("wake", "<i2"),
            ("reason", "<i2"),
            ("session", "<i2"),
            ("ord_status", "<i1"),
            ("phase", "<i1"),  # code of the workflow's state, see engine.core.state
            ("queued", "<i1"),
            ("resting", "<i1"),
            ("effects", "<i4"),  # steps with effects, newest lowest, four bits each: what a failure compensates
        ],
    )
)
CHILD: Final = np.dtype(
    (
        np.record,
        [
            ("cum_qty", "<i8"),
            ("leaves_qty", "<i8"),
            ("busted_qty", "<i8"),
            ("venue_order", "<i8", (2,)),
            ("next", "<i4"),  # the next of its parent's live children
            ("own_next", "<i4"),  # of what rests at its venue, see own.py
            ("own_prev", "<i4"),
            ("reason", "<i2"),
            ("ord_status", "<i1"),
            ("cancels", "<i1"),
            ("marks", "<i1"),  # M_* bits of engine.core.lifecycle
            ("amends", "<i1"),  # unanswered replaces, rows of AMEND
            ("masses", "<i2"),  # bit k: it was in the scope of the mass cancel in row k
            ("reserved_low", "<i4"),  # the low half of the money that it has reserved, see exposure.py
        ],
    )
)
POSITION: Final = ints("qty cost bought_qty sold_qty fee fills")
#: A scope in which no new order leaves. The scope ALL has none: core.killed says it.
KILL: Final = ints("scope target value actor_id")
#: A mass cancel whose orders have not all ended; `due_ns` is when it stops waiting for them.
MASS: Final = ints(
    "open request_id scope target actor_id command_ns live cancels acknowledged fills last_cancel_ns last_ack_ns due_ns"
)
#: Terms that a child's unanswered replaces ask for, the oldest first.
AMEND: Final = np.dtype((np.record, [("px", "<i8", (2,)), ("qty", "<i8", (2,))]))
#: One execution, bust or correction that a venue reported; one cache line.
EXECUTION: Final = np.dtype(
    (
        np.record,
        [
            ("word0", "<i8"),  # its ExecID
            ("word1", "<i8"),
            ("order_id", "<i8"),  # the child
            ("qty", "<i8"),  # what of it stands; 0 once it is busted
            ("px", "<i8"),
            ("told_seq", "<i8"),  # our ExecID of it towards the client: number on its session; 0 where it was not told
            ("place", "<i4"),  # of its position
            ("next", "<i4"),  # the bust or correction that took its place; NONE is none
            ("venue", "<i2"),
            ("side", "<i1"),
            ("liquidity", "<i1"),
            ("spare", "<i4"),
        ],
    )
)

#: What of an account in an instrument could be executed (working orders at venues), and what it holds; money in cents
#: (see exposure.py).
#: `buy_peak`, `sell_peak`: the furthest that the position with its working orders has been, long and short.
EXPOSURE: Final = ints("buy_qty sell_qty buy_money sell_money value worst buy_peak sell_peak")
#: The sums of that over the instruments of a currency, and the furthest that each has been.
ACCOUNT: Final = ints("gross long short gross_peak long_peak short_peak")
#: How many there were within a period: a slot's number and its count for each sixteenth, see rates.py. `latched` is for
#: strategies alone.
RATE: Final = np.dtype(
    (
        np.record,
        [("slot", "<i8"), ("total", "<i8"), ("peak", "<i8"), ("latched", "<i8"), ("counts", "<i4", (RATE_SLOTS,))],
    )
)
#: The extremes of an instrument's reference within a period, all doubled, see periods.py.
PERIOD: Final = np.dtype(
    (
        np.record,
        [
            ("until_ns", "<i8"),  # end of the running slot
            ("low_px2", "<i8"),
            ("high_px2", "<i8"),
            ("past_low_px2", "<i8"),
            ("past_high_px2", "<i8"),
            ("lows", "<i8", (PERIOD_SLOTS,)),
            ("highs", "<i8", (PERIOD_SLOTS,)),
        ],
    )
)
#: A limit that is another for a while: its place, what it comes back to, when, and whose command it was.
OVERRIDE: Final = ints("place value restore expires_ns rule scope target actor_id actor_2")
#: An order that came a short while ago, see duplicates.py.
RECENT_ORDER: Final = np.dtype(
    (
        np.record,
        [
            ("at_ns", "<i8"),
            ("px", "<i8"),
            ("qty", "<i8"),
            ("before", "<i8"),  # number of the one before it with the same hash
            ("instrument", "<i4"),
            ("account", "<i4"),
            ("session", "<i4"),
            ("side", "<i4"),
        ],
    )
)

assert (QUOTE_SLOT.itemsize, CHILD.itemsize, PARENT.itemsize, EXECUTION.itemsize) == (64, 64, 128, 64)
_ALL = (
    PARAMS, CORE, QUOTE_SLOT, INSTRUMENT, VENUE, SESSION, PARENT, CHILD, AMEND, POSITION, EXECUTION, EXPOSURE, ACCOUNT,
    RATE, PERIOD, OVERRIDE, RECENT_ORDER, KILL, MASS,
)  # fmt: skip
assert all(len(d.names or ()) <= 30 for d in _ALL), "compile time grows with the square of the fields"
assert not [n for d in _ALL for n in d.names or () if hasattr(np.record, n)], "np.record has attributes of these names"

#: The undo log's own row: whether a step is being logged, and how many rows of each table are kept.
UNDO: Final = ints("active n_parents n_children n_instruments n_quotes n_words restored")
#: One word of an integer table before it was changed.
WORD: Final = ints("table place value")
