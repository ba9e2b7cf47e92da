"""What `replay.quality.measure` says, as typed numbers: the JSON of `tickroute quality`.

Quantities are shares or coins; prices and spreads are in the row's currency a share or coin, averages weighted by
executed quantity; bps are of the executions' reference (spreads) or price (markouts). Positive spreads and fees are
costs, a positive price improvement or markout is a gain. What cannot be said is None.
"""

from __future__ import annotations

from replay.report.structs import Struct


class Later(Struct, frozen=True):
    """Executions against the mid-point some time later: what the market showed of it for `qty`."""

    horizon_ms: int
    qty: float
    #: Twice the distance of the price from the mid-point then: what was paid for in truth.
    realized_spread: float | None
    realized_spread_bps: float | None
    #: What the executions had gained by then against their prices.
    markout_bps: float | None


class Spreads(Struct, frozen=True):
    """Executions against the national best bid and offer at the order's receipt; `qty` had such a reference."""

    qty: float
    effective_spread: float | None
    effective_spread_bps: float | None
    quoted_spread: float | None
    quoted_spread_bps: float | None
    #: Effective over quoted; below 1 is better than the quote.
    effective_over_quoted: float | None
    #: Executed better than the far side of the quote, at it, and outside it; and by how much a share or coin.
    improved_qty: float
    improvement: float | None
    at_quote_qty: float
    outside_qty: float
    disimprovement: float | None
    #: Net of both, by executed quantity, in basis points of the mid-point.
    net_improvement_bps: float | None
    #: The same quantity by where its price lay: mid-point; near side or better; far side or worse; between.
    mid_qty: float
    near_qty: float
    far_qty: float
    inside_near_qty: float
    inside_far_qty: float
    later: list[Later]


class Row(Struct, frozen=True):
    """Orders of one kind, as `by` says (venue, strategy, client, symbol, currency, category, size)."""

    by: dict[str, str]
    orders: int
    orders_filled: int
    ordered_qty: float
    filled_qty: float
    fill_rate: float | None
    fills: int
    average_order_qty: float | None
    average_fill_qty: float | None
    added_qty: float
    removed_qty: float
    notional: float
    #: Negative is a rebate received.
    fees: float
    #: Both in `Quality.converted_into`; None where the reference has no rate.
    notional_converted: float | None
    fees_converted: float | None
    fees_a_unit: float | None
    fees_bps: float | None
    rejects: int
    rejects_by_reason: dict[str, int]
    timeouts: int
    #: To the first execution of an order, engine clock; a percentile with fewer than ten values beyond it is None.
    time_to_fill_p50_ns: int | None
    time_to_fill_p99_ns: int | None
    #: Of all executions, weighted by quantity.
    average_time_to_fill_ns: float | None
    spreads: Spreads


class Covered(Struct, frozen=True):
    """Rule 605-shaped: clients' orders of a symbol, kind and size."""

    row: Row
    cancelled_qty: float
    #: Executed within each of `Quality.times_ms` of receipt, and later than the last.
    within_qty: list[float]


class Share(Struct, frozen=True):
    """RTS 28-shaped: a venue's share of what was executed in a class of instruments, in per cent."""

    instrument_class: str
    currency: str
    rank: int
    venue: str
    volume_percent: float
    orders_percent: float
    passive_percent: float
    aggressive_percent: float


class Used(Struct, frozen=True):
    """A run that was read: which frames its figures follow from, and what it had not."""

    run_dir: str
    run_id: str
    trading_day: str
    strategy: str
    first_seq: int
    last_seq: int
    #: CRC of the last frame, which covers all before it.
    chain_head: str
    #: First and last input by the engine's clock.
    period: list[str]
    #: Why there is no market data, so that nothing is known of the time after executions; empty where there is.
    no_market: str


class Source(Struct, frozen=True):
    """A file that was named: its SHA-256."""

    path: str
    sha256: str


class Quality(Struct, frozen=True):
    """Execution quality of one run or of many."""

    runs: list[Used]
    buckets: Source
    reference: Source | None
    horizons_ms: list[int]
    times_ms: list[int]
    #: Currency and date of the reference's rates of exchange; empty where it has none.
    converted_into: str
    converted_as_of: str
    #: Children, by venue and otherwise; references are the decision's that sent them.
    venues: list[Row]
    venue_strategies: list[Row]
    venue_clients: list[Row]
    #: Clients' orders; references are those of their first decision.
    strategies: list[Row]
    clients: list[Row]
    covered: list[Covered]
    #: Rule 606(a)-shaped: children by kind and venue.
    routed: list[Row]
    top_venues: list[Share]
    #: Clients' orders that the engine refused, by reason.
    refused_orders: dict[str, int]
    #: What is not in a figure, and how often: executions without a reference, names without an entry in the reference.
    missing: dict[str, int]
