"""What a stress test says: the JSON of `tickroute stress`, and what a compliance report takes of it.

Times are nanoseconds. A response is from the moment at which a record was due on the wire, by the recording's pace
times the rate, to the engine's clock at taking it in, whatever delayed it: sender, transport or engine. A percentile
beyond which fewer than ten values lie is None.
"""

from __future__ import annotations

from replay.report.structs import Struct


class Peak(Struct, frozen=True):
    """The most messages within any window of some length, and where it begins (ns since 1970, ISO 8601 UTC)."""

    window_ms: int
    messages: int
    per_s: float
    begin_ns: int
    begin_utc: str


class Percentiles(Struct, frozen=True):
    """Some measured times."""

    count: int
    p50_ns: int | None
    p99_ns: int | None
    p99_9_ns: int | None
    max_ns: int | None


class Rate(Struct, frozen=True):
    """One rate: the interval at so many times its pace."""

    times: float
    planned_per_s: float
    #: Sent, and taken in by the engine.
    records: int
    taken: int
    #: As planned, and until the engine had taken in the last.
    planned_s: float
    seconds: float
    response: Percentiles
    #: From the poll to the last send, of the events of this rate (the engine's own histogram).
    service: Percentiles
    #: Records that were due and not yet taken in, at the most, and when the last had been sent.
    backlog_most: int
    backlog_last: int
    #: Times that a full queue stopped the sender, for how long, and its greatest delay.
    blocked: int
    blocked_s: float
    sender_late_ns: int
    #: Tries; one that breaks the bound is tried once more.
    tries: int
    held: bool
    #: Why it did not hold; empty where it did.
    why: str
    #: Of the records, clients' requests, and the response to these alone.
    requests: int = 0
    request_response: Percentiles | None = None
    #: What they led to: orders, replaces and cancels to venues, venues' reports that the engine took in beside the
    #: records, what clients were refused, what the risk gate blocked.
    orders_sent: int = 0
    reports: int = 0
    refused: int = 0
    risk_blocks: int = 0
    #: Messages of the feed that the simulated venues had still to take when the last had been sent.
    venues_behind: int = 0


class Stress(Struct, frozen=True):
    """A whole test. `headroom` is the highest rate that held before the first that did not; None where none did."""

    source: list[str]
    instruments: list[str]
    messages: int
    first_utc: str
    last_utc: str
    peaks: list[Peak]
    #: The interval that was played, and its records.
    interval_ms: int
    interval_utc: str
    interval_records: int
    interval_per_s: float
    bound_ns: int
    strategy: str
    idle: str
    durability: str
    transport: str
    rates: list[Rate]
    headroom: float | None
    fell_behind_at: float | None
    why: str
    #: Why no higher rate was tried, where none fell behind.
    stopped: str
    host: str
    source_hash: str
    build_hash: str
    started_utc: str
    #: Of the interval's records, clients' requests; orders of before that they name, which were sent as it began; and
    #: requests that could not be sent again (they name an order by the engine's id).
    interval_requests: int = 0
    opening_orders: int = 0
    left_out: int = 0
    #: Who answered orders: "simulated", or empty where market data were played alone.
    venues: str = ""
