"""What a report says, as typed numbers: the JSON of `tickroute report` and, in part, of `tickroute demo`.

Times are nanoseconds and say so; quantities are shares or coins (whole numbers where the instruments allow no
fractions); money is in the currency that `Outcome.currency` names; a number that does not exist is None.
"""

from __future__ import annotations

import msgspec

from replay.verify import Verdict


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Base: immutable, named arguments."""


class Run(Struct, frozen=True):
    """Which run this was. `period_utc` is from the run's own clock samples, else its start alone."""

    run_dir: str
    run_id: str
    trading_day: str
    strategy: str
    instruments: list[str]
    venues: list[str]
    clock: str
    #: Whether its venues were simulated ones beside live data: `tickroute run --shadow`.
    shadow: bool
    #: First and last input by the engine's clock, ISO 8601 UTC; in a replay that is the market's time.
    engine_period: list[str]
    period_utc: list[str]
    seconds: float
    source_hash: str
    build_hash: str
    versions: dict[str, str]
    host: str


class Feed(Struct, frozen=True):
    """Market data taken in. A gap is a jump in a publisher's numbers; `lost` is how many records it skipped."""

    messages: int
    gaps: int
    lost: int
    by_kind: dict[str, int]


class Played(Struct, frozen=True):
    """A recorded file that a backtest played, and what was wrong with it. What its reader cannot say is 0.

    The engine's own streams are numbered anew, so none of this is among its gaps.
    """

    file: str
    format: str = ""
    #: In the file, and given to the engine.
    records: int = 0
    given: int = 0
    #: Holes in the source's numbers, the numbers that are missing, and messages that came before.
    gaps: int = 0
    lost: int = 0
    repeated: int = 0
    #: Changes of orders that were never added; of orders that had replaced such ones; orders that came twice.
    dangling: int = 0
    dangling_after_replace: int = 0
    repeated_orders: int = 0
    #: Touches that were crossed when they changed.
    crossed: int = 0
    #: Levels and orders that found no room in the books.
    unfollowed: int = 0
    #: Executions that orders alone tell of and that became no trade.
    untold: int = 0
    #: Records that took the time of one before them; received before they happened.
    clamped: int = 0
    negative: int = 0
    #: ns added to its recorder's times.
    skew_ns: int = 0
    #: Records left out, by reason.
    skipped: dict[str, int] = msgspec.field(default_factory=dict)


class Parents(Struct, frozen=True):
    """Clients' orders. `sent` counts each once: repetitions of a known order are `repeated`.

    `fresh` is how many venues had a fresh quote on the needed side when the order was first decided on.
    """

    sent: int
    terminal: int
    by_state: dict[str, int]
    repeated: int
    fresh: dict[str, int]
    #: Share of decided orders that saw two fresh venues or more; None where none was decided on.
    share_2_or_more: float | None


class Shares(Struct, frozen=True):
    """Quantity: ordered + overfilled = filled + cancelled + rejected + busted + open, or `adds_up` is False."""

    ordered: float
    filled: float
    cancelled: float
    rejected: float
    open: float
    overfilled: float
    #: Executed, and taken back by venues: not routed again.
    busted: float
    adds_up: bool


class Latency(Struct, frozen=True):
    """One stage, ns. Percentiles are highest equivalent values at 3 digits; see `stands` before quoting one."""

    count: int
    min: int
    p50: int
    p90: int
    p99: int
    p99_9: int
    p99_99: int
    max: int
    #: Values below 0 (counted as 0), and above an hour.
    negative: int
    clamped: int


class Series(Struct, frozen=True):
    """Latency of the whole over run time: bins of `bin_s` seconds; a percentile without enough values is None."""

    clock: str
    bin_s: float
    start_s: list[float]
    count: list[int]
    p50_ns: list[int | None]
    p99_ns: list[int | None]
    max_ns: list[int | None]


class Cost(Struct, frozen=True):
    """Fills against the national best bid and offer at arrival, weighted by money; positive is a cost to the client.

    Arrival is the order's first decision; the quotes are fresh ones. Orders whose arrival was crossed, one-sided or
    empty have no reference; they are counted apart and are in no figure here.
    """

    orders: int
    filled_qty: float
    #: Buys against the offer, sells against the bid: the prices that could be taken.
    touch_bps: float | None
    mid_bps: float | None
    #: The same against the touch, with fees.
    touch_with_fees_bps: float | None
    locked: int
    crossed: int
    one_sided: int
    no_quote: int
    #: Filled orders without a two-sided arrival, and what they filled.
    apart_orders: int
    apart_qty: float


class Venue(Struct, frozen=True):
    """What one venue did with what was routed to it. `fees` negative is a rebate received."""

    mic: str
    code: str
    children: int
    routed: float
    filled: float
    fills: int
    fill_rate: float | None
    average_child: float | None
    average_fill: float | None
    rejects: int
    timeouts: int
    added: float
    removed: float
    fees: float
    #: Median time from decision to first fill, ns of the engine's clock.
    first_fill_p50_ns: int | None


class Count(Struct, frozen=True):
    """How often something was said about inputs of a kind, and for which reason."""

    what: str
    reason: str
    count: int


class Outcome(Struct, frozen=True):
    """What became of it all: venues, fees (in `currency`), refusals, blocks, alerts."""

    currency: str
    notional: float
    fees: float
    fees_bps: float | None
    venues: list[Venue]
    decisions: dict[str, int]
    refusals: list[Count]
    risk_blocks: list[Count]
    alerts: list[Count]
    session_gaps: int
    #: Executions that venues took back, or corrected; replaces sent to venues; orders ended or changed unasked.
    busts: int
    corrects: int
    replaces: int
    unsolicited: int


class Benchmark(Struct, frozen=True):
    """What orders' fills cost against a price: by order, and all of them by money. None: no order has it."""

    name: str
    orders: int
    bps: float | None
    #: Of the orders, each counting once.
    p10_bps: float | None
    p50_bps: float | None
    p90_bps: float | None


class Markout(Struct, frozen=True):
    """What fills had gained against the mid-point some seconds later, weighted by money; by how they were executed."""

    horizon_s: float
    fills: int
    bps: float | None
    added_bps: float | None
    removed_bps: float | None


class Slippage(Struct, frozen=True):
    """What each fill cost against the mid-point at its order's arrival; percentiles are of fills, each once."""

    fills: int
    bps: float | None
    p10_bps: float | None
    p50_bps: float | None
    p90_bps: float | None


class Trading(Struct, frozen=True):
    """What trading came to against the market. `market` says why what needs it is missing; empty where it is not."""

    market: str
    benchmarks: list[Benchmark]
    slippage: Slippage
    markouts: list[Markout]
    #: Symbols without a VWAP: their feed tells executions by orders, without a trade of each.
    without_vwap: list[str]


class Latencies(Struct, frozen=True):
    """Some measured times: how many, and percentiles, ns."""

    count: int
    p50_ns: int
    p90_ns: int
    p99_ns: int


class Measured(Struct, frozen=True):
    """Latencies that a run measured by its engine's clock: of market data, and from order to answer by venue (MIC)."""

    feed: Latencies | None
    order_to_answer: dict[str, Latencies]


class Total(Struct, frozen=True):
    """A sum or mean over all orders in the run (a) and in the backtest (b). None: it has none."""

    name: str
    a: float | None
    b: float | None


class Different(Struct, frozen=True):
    """An order that came out otherwise, and where the two first went apart."""

    cl_ord_id: str
    cause: str
    why: str


class Compared(Struct, frozen=True):
    """A backtest (b) held against the run (a) whose orders it played, order by order."""

    run_dir: str
    orders: int
    same: int
    #: Cause -> orders, the most frequent first.
    causes: dict[str, int]
    totals: list[Total]
    different: list[Different]
    #: What the run measured, and what the backtest took of it: us one way by MIC, and of market data.
    measured: Measured
    played_us: dict[str, int]
    played_feed_us: int


class SegmentFile(Struct, frozen=True):
    """One segment of the journal. Times are of its first and last input, engine clock, ISO 8601 UTC."""

    file: str
    bytes: int
    sha256: str
    frames: int
    first: str
    last: str


class Lineage(Struct, frozen=True):
    """What the report was made from. `chain_head` is the CRC of the last frame, which covers all before it."""

    segments: list[SegmentFile]
    frames: dict[str, int]
    inputs: dict[str, int]
    ending: str
    last_seq: int
    chain_head: str


class Measures(Struct, frozen=True):
    """A whole report."""

    run: Run
    feed: Feed
    parents: Parents
    shares: Shares
    latency_ns: dict[str, Latency]
    #: "stats": every measured event, from the stats file; "observations": only events that sent something.
    latency_source: str
    series: Series | None
    #: Stage -> [1 / (1 - percentile), ns], for the curve.
    curves: dict[str, list[tuple[float, int]]]
    #: Headline: `cost.touch_bps`.
    cost_bps: float | None
    cost: Cost
    outcome: Outcome
    #: Whether filled and cancelled quantity are those of the core's own counters; None where nothing was verified.
    agrees_with_core: bool | None
    #: The loop's own figures, from the stats file; None where there is none.
    loop: dict[str, int] | None
    lineage: Lineage
    verify: Verdict | None
    #: Against the market; None where it was not looked at.
    trading: Trading | None = None
    #: Of a backtest that played a run again; None of all others.
    compared: Compared | None = None
    #: Files that a backtest played; none of a live run.
    played: list[Played] = msgspec.field(default_factory=list)


def stands(count: int, percentile: float) -> bool:
    """Whether `count` values are enough to quote a percentile: at least ten lie beyond it."""
    return count * (100.0 - percentile) / 100.0 >= 10.0
