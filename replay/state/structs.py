"""What the state was, as typed values: the JSON of `tickroute state`.

Prices, quantities and money are exact decimal text in the instrument's units and currency; times are nanoseconds on the
engine's clock, and `at` is one of them as ISO 8601 UTC. What does not exist is None.
"""

from __future__ import annotations

import msgspec


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Base: immutable, named arguments."""


class Book(Struct, frozen=True):
    """One venue's quote in one instrument."""

    mic: str
    #: fresh, stale, void (a gap, a clear or a restart since), halted, or none: it never quoted.
    standing: str
    bid_px: str | None
    bid_qty: str
    ask_px: str | None
    ask_qty: str
    #: What orders of ours went after since this quote came.
    bid_taken: str
    ask_taken: str
    age_ns: int | None


class Instrument(Struct, frozen=True):
    """One instrument: its market as the core saw it, and its limits."""

    symbol: str
    currency: str
    #: Best over fresh quotes.
    bid_px: str | None
    ask_px: str | None
    #: Mid-point of the last uncrossed national best, and its age; the collar measures from it.
    reference_px: str | None
    reference_age_ns: int | None
    trade_px: str | None
    trade_age_ns: int | None
    #: Parents that wait for a quote.
    resting: int
    max_qty: str
    max_notional: str
    collar_bps: int
    restricted: bool
    books: list[Book]


class Child(Struct, frozen=True):
    """One child order that lives at a venue (or may live there)."""

    order_id: int
    mic: str
    ord_status: str
    qty: str
    px: str | None
    tif: str
    cum_qty: str
    leaves_qty: str
    busted_qty: str
    sent_at: str
    #: Cancels sent, and replaces that were not answered yet.
    cancels: int
    replaces: int


class Parent(Struct, frozen=True):
    """One parent order."""

    order_id: int
    cl_ord_id: str
    session: str
    symbol: str
    side: str
    ord_type: str
    tif: str
    account_id: int
    qty: str
    px: str | None
    cum_qty: str
    #: At venues, and neither executed, busted nor given up.
    live_qty: str
    leaves_qty: str
    busted_qty: str
    notional: str
    fee: str
    ord_status: str
    workflow_state: str
    reason: str
    rounds: int
    #: Venues that rejected it in this episode.
    excluded: list[str]
    arrived_at: str
    children: list[Child]


class Position(Struct, frozen=True):
    """An account's position in an instrument. `cost` is the money paid for it, negative where money came in."""

    account_id: int
    symbol: str
    qty: str
    cost: str
    currency: str
    bought_qty: str
    sold_qty: str
    fee: str
    fills: int


class Session(Struct, frozen=True):
    """One order session: whether it is up, and the numbers on both its streams."""

    name: str
    role: str
    up: bool
    epoch_in: int
    seq_in: int
    seq_out: int
    gaps: int


class Feed(Struct, frozen=True):
    """One venue's market-data stream."""

    mic: str
    epoch: int
    seq: int
    gaps: int
    lost: int


class Timer(Struct, frozen=True):
    """One armed timer, in the order in which they fire."""

    deadline_ns: int | None
    at: str
    in_ns: int | None
    #: parent or child, and the order's id.
    owner: str
    order_id: int


class Override(Struct, frozen=True):
    """A limit that is another for a while, in its rule's own unit."""

    rule: str
    scope: str
    target: int
    value: int
    restore: int
    actor_id: int
    actor_2: int
    until: str


class Peak(Struct, frozen=True):
    """The furthest that something came towards a limit, in the rule's own unit; `limit` None: it is off."""

    rule: str
    whom: str
    peak: int
    limit: int | None
    #: The instrument whose quantities both are in; -1 of other rules.
    instrument: int = -1


class Limits(Struct, frozen=True):
    """What every order is held to, beside each instrument's own limits."""

    killed: bool
    #: Why, where the engine itself put it on.
    kill_reason: str
    reference_age_ns: int
    stale_ns: int
    child_timeout_ns: int
    max_cancels: int
    max_rounds: int
    day_end_ns: int | None
    day_end_at: str | None
    #: Strategies (algo_id) that their throttle has latched.
    latched: list[int]
    overrides: list[Override]
    #: Keys of [risk] that say "off".
    rules_off: list[str]
    #: Of every limit on sums that anything came towards.
    peaks: list[Peak]


class Lineage(Struct, frozen=True):
    """Where it comes from. `from_snapshot`: frame of the snapshot that the drive began with; None: the first frame."""

    run_dir: str
    run_id: str
    strategy: str
    schema_version: int
    same_build: bool
    from_snapshot: int | None
    #: Whether the engine was at work while its journal was read: there may be more by now.
    live: bool


class Past(Struct, frozen=True):
    """The state after input `input_seq`."""

    input_seq: int
    clock_ns: int
    at: str
    #: The day that order ids carry.
    trading_day: str
    inputs: int
    outputs: int
    #: The outputs of the last input never were whole on the journal: they were not sent.
    torn: bool
    state_hash: str
    live_parents: int
    live_children: int
    unknown_children: int
    #: Parents that wait for a turn, and the id counters' next values.
    waiting: int
    next_parent: int
    next_child: int
    limits: Limits
    instruments: list[Instrument]
    parents: list[Parent]
    positions: list[Position]
    sessions: list[Session]
    feeds: list[Feed]
    timers: list[Timer]
    counters: dict[str, int]
    refusals: dict[str, int]
    lineage: Lineage
