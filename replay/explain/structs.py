"""What a story says, as typed values: the JSON of `tickroute explain`.

Prices, quantities and money are exact decimal text in the instrument's currency; times are nanoseconds, and `at` is the
engine's clock as ISO 8601 UTC. What does not exist is None.
"""

from __future__ import annotations

import msgspec


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Base: immutable, named arguments."""


class Score(Struct, frozen=True):
    """One venue at one decision: the quote it had, what taking from it would have come to, and what became of it."""

    mic: str
    #: fresh, stale, void (a gap, a clear or a restart since), halted, or none: it never quoted.
    standing: str
    bid_px: str
    bid_qty: str
    ask_px: str
    ask_qty: str
    #: Age of the quote by the engine's clock; None where there is none.
    age_ns: int | None
    #: Shown on the side that the order needs, and what of it no order of ours has been sent after yet.
    shown_qty: str
    left_qty: str
    #: What one share, coin or contract costs a buyer, or brings a seller, after fees; None where nothing is shown.
    net: str | None
    #: Rank among the venues that could be taken from, from 1.
    place: int | None
    #: The child that it was sent, its quantity and price.
    child: str | None
    order_id: int | None
    sent_qty: str | None
    sent_px: str | None
    #: chosen, blocked, posted, no_quote, void, halted, stale, excluded, down, not_marketable, taken, below_lot,
    #: enough, lot_left, most_children, rounds, fok, min_qty, capacity or own_rule.
    verdict: str
    why: str


class Decision(Struct, frozen=True):
    """One routing decision. `venues` is best first, then those that could not be taken from, by MIC."""

    number: int
    round_no: int
    event: str
    outcome: str
    leaves_qty: str
    routed_qty: str
    limit_px: str | None
    #: National best bid and offer over fresh venues; None where there is none.
    bid_px: str | None
    ask_px: str | None
    fresh_venues: int
    stale_venues: int
    #: Whether the scores here lead to the very children that went out, and to the figures in the DECISION record.
    agrees: bool
    venues: list[Score]


class Transition(Struct, frozen=True):
    """A change of state. `of` is workflow, order, or a child's name; `event` is what brought it about."""

    of: str
    before: str
    event: str
    after: str


class Output(Struct, frozen=True):
    """One record that the step put out, its place in the batch, and whom it went to."""

    batch_index: int
    record: str
    to: str
    text: str


class Quantities(Struct, frozen=True):
    """Where the order's quantity stands: ordered, executed, at venues in live children."""

    qty: str
    cum_qty: str
    live_qty: str


class Moment(Struct, frozen=True):
    """One input that concerned the order, and all that it did to the order."""

    #: Journal number of the input.
    seq: int
    #: Engine clock, and since the order's arrival.
    ts_ns: int
    at: str
    since_ns: int
    record: str
    source: str
    text: str
    transitions: list[Transition]
    decisions: list[Decision]
    outputs: list[Output]
    #: False where the engine died before the batch was whole: these outputs were never sent.
    committed: bool
    #: Measured time a stage, receive to send; None where this input was not measured.
    stages_ns: dict[str, int] | None
    quantities: Quantities | None


class Fill(Struct, frozen=True):
    """One execution as a venue reported it. `standing` is booked, refused, busted, or "corrected to" what.

    `qty` and `px` are as they were reported first.
    """

    seq: int
    ts_ns: int
    at: str
    child: str
    mic: str
    qty: str
    px: str
    liquidity: str
    exec_id: str
    standing: str


class Child(Struct, frozen=True):
    """A child order's life. Times are the engine's clock; None where it did not come to that."""

    name: str
    order_id: int
    mic: str
    decision: int | None
    px: str
    qty: str
    tif: str
    sent_ns: int
    sent_at: str
    acked_ns: int | None
    first_fill_ns: int | None
    ended_ns: int | None
    ord_status: str
    reason: str
    cum_qty: str
    venue_order_id: str
    #: Executed, and taken back by the venue.
    busted_qty: str
    cancels: int
    replaces: int
    status_requests: int


class Order(Struct, frozen=True):
    """The order and what became of it."""

    #: None where it was never accepted.
    order_id: int | None
    cl_ord_id: str
    session: str
    client_id: int
    account_id: int
    trader_id: int
    desk_id: int
    symbol: str
    currency: str
    side: str
    ord_type: str
    tif: str
    capacity: str
    #: As it came, and as it ended after replaces; None is a market order.
    first_qty: str
    first_px: str | None
    qty: str
    px: str | None
    arrived_ns: int
    arrived_at: str
    ended_ns: int | None
    ord_status: str
    reason: str
    workflow_state: str
    cum_qty: str
    leaves_qty: str
    canceled_qty: str
    #: Executed and taken back by the venue: neither filled nor routed again.
    busted_qty: str
    notional: str
    average_px: str | None
    fees: str
    #: National best bid and offer at arrival; None where there was none.
    arrival_bid_px: str | None
    arrival_ask_px: str | None
    #: Average price against the touch at arrival, positive is a cost; None without one.
    cost_bps: float | None


class Lineage(Struct, frozen=True):
    """Where the story comes from, and how far it was checked."""

    run_dir: str
    run_id: str
    #: The day that the order's id carries; the run's first one where it was never accepted.
    trading_day: str
    strategy: str
    clock: str
    schema_version: int
    #: Inputs replayed, and outputs found byte for byte as the journal has them.
    inputs: int
    outputs: int
    same_build: bool
    #: Why the replay stopped before the story's end: this build makes another output; None where it did not.
    difference: str | None


class Story(Struct, frozen=True):
    """One order's whole story."""

    order: Order
    moments: list[Moment]
    children: list[Child]
    fills: list[Fill]
    #: What a reader must know of the run around the order: recoveries, sessions, kill flag.
    notes: list[str]
    lineage: Lineage
