"""What one pass over journals adds up: histograms, tables of orders, counters; and where each is.

A `Tally` is memory that the kernels of `take` write to. Its size does not depend on how long journals are, but for the
two tables of orders, which have a row an order of the run at hand (TALLIED_BYTES together for an order and a child) and
are reserved, not taken: a page is taken when an order falls into it. Histograms are HDR histograms of
`engine.io.histogram`'s cells, so those of several runs add up exactly. A value below 0 or above an hour is in no cell:
it is counted beside them, and never clipped.

Worst case: 270 KB a histogram, some 1,100 of them, whose pages are taken when a value falls into them;
venues beyond VENUES and strategies beyond STRATEGIES are refused.
"""

from __future__ import annotations

import mmap
from typing import Any, Final

import numpy as np

from engine.io.histogram import COUNTS_LEN
from engine.memory import Memory, memory, packed

Array = np.ndarray[Any, np.dtype[Any]]

#: Venues (over all runs) and strategies that a report can tell apart.
VENUES: Final = 64
STRATEGIES: Final = 16
#: Strategies of a run (`algo_id` of its orders), then the place of what belongs to no order.
ALGOS: Final = 17
NO_ALGO: Final = 16
STAGES: Final = ("receive", "decode", "book", "decide", "risk", "journal", "encode", "send", "total")
#: Histograms by place: the stages, then those of whole events and orders.
TOTAL: Final = 8
IN_LOOP, RESPONSE, ANSWER, FIRST_FILL, COMPLETE = 9, 10, 11, 12, 13
#: Service and response time within excursions: pairs in the order of their kinds.
INSIDE, RESPONSE_INSIDE, UNKNOWN_INSIDE, RESPONSE_UNKNOWN = 14, 15, 16, 17
RATE_0, RATES = 18, 24
HALF_0, HALVES = RATE_0 + RATES, 48
HALF_RESPONSE_0: Final = HALF_0 + HALVES
BIN_0, BINS = HALF_RESPONSE_0 + HALVES, 128
STRATEGY_0: Final = BIN_0 + BINS
STRATEGY_RESPONSE_0: Final = STRATEGY_0 + STRATEGIES * ALGOS
VENUE_0: Final = STRATEGY_RESPONSE_0 + STRATEGIES * ALGOS
VENUE_ANSWER_0: Final = VENUE_0 + VENUES
VENUE_FILL_0: Final = VENUE_ANSWER_0 + VENUES
HISTOGRAMS: Final = VENUE_FILL_0 + VENUES
CELLS: Final = COUNTS_LEN
#: Kinds of excursions of the clock: samples do not show it to be within the tolerance; there are no samples.
OUTSIDE, UNKNOWN = 1, 2
#: Windows of the capacity peaks, ns; times of messages that are kept for them.
WINDOWS_NS: Final = (1_000_000_000, 100_000_000, 10_000_000)
RING: Final = 1 << 20
#: Statuses by place (PRECEDENCE of engine.core.lifecycle), then "none": the order was not there.
STATUSES: Final = 12
NO_STATUS: Final = 11
EXECS: Final = 16
#: Marks of an order's row: this run's journal shows it; it has been answered; it has been filled, at least in part; the
#: CumQty of its venue's last report is not what was executed.
SHOWN, ANSWERED, FILLED_ONCE, CUM_DIFFERS = 1, 2, 4, 8
#: Rows that one chunk may leave in `rare` and `listed`.
RARE_ROWS: Final = 1 << 16
LISTED: Final = 1000
#: Kinds of `listed`.
NEGATIVE, ORPHAN, CUM_FELL, CUM_JUMPED, LEFT_AT_END = 1, 2, 3, 4, 5
#: Counters a venue, strategy and currency.
(V_CHILDREN, V_FILLS, V_ADDED, V_REJECTS, V_CANCELS, V_FIRST_FILLS, V_MONEY_HIGH, V_MONEY_LOW, V_FEE_HIGH, V_FEE_LOW,
 V_LATE) = range(11)  # fmt: skip
V_COLUMNS: Final = 16
#: Reasons that a counter has a place for.
REASONS: Final = 128


def _row(names: str) -> np.dtype[Any]:
    return np.dtype((np.record, [(name, "<i8") for name in names.split()]))


#: The input at hand, and the report that waits for the end of its event.
NOW: Final = _row(
    "seq template recv_ns event_ns venue queue_ns before_ns busy_ns "
    "pending p_order p_template p_status p_exec p_cum p_qty p_px p_venue p_instrument p_added p_seq p_reason algo"
)
#: What the run at hand is, and how far its tables are filled.
RUN: Final = _row(
    "run strategy currencies instruments live_clock first_parent first_child parents children overflow "
    "rare listed begin_ns end_ns bin_origin_ns bin_ns rate_slot rate_sum excursion excursions inputs"
)
#: A record that is looked at one by one: where it is in its segment, what was live then at its session, and how many
#: inputs the run had had.
RARE: Final = _row("offset seq input_seq kind template live clock_ns inputs")
#: Something that is listed: what, its frame, the order or histogram, and the value.
LISTING: Final = _row("kind run seq what value")
TALLIED_BYTES: Final = 19 + 22


@memory
class Tally(Memory):
    """Everything that a pass adds to. Times are ns of the engine's clock."""

    LAYOUT = packed(
        now=NOW, run=RUN, rare=RARE, listed=LISTING,
        counts="<i8", lowest="<i8", highest="<i8", negative="<i8", over="<i8",
        parent_recv_ns="<i8", parent_cum="<i8", parent_status="i1", parent_marks="i1",
        child_sent_ns="<i8", child_cum="<i8", child_status="i1", child_marks="i1", child_venue="<i2",
        parent_algo="i1", child_group="<i2", currency="<i8",
        transitions="<i8", templates="<i8", refusals="<i8", blocks="<i8", alerts="<i8", rejects="<i8", outcomes="<i8",
        checks="<i8", venue_place="<i8", venue_session="<i8", live="<i8", excursions="<i8",
        take_fee="<i8", make_fee="<i8", take_ppm="<i8", make_ppm="<i8", money_mul="<i8", money_div="<i8",
        by_venue="<i8", routed="<i8", filled="<i8",
        times="<i8", ends="<i8", peaks="<i8", rate="<i8", rank="<i8", exec_place="<i8",
    )  # fmt: skip
    now: Any
    run: Any
    rare: Any
    listed: Any
    counts: Any
    lowest: Any
    highest: Any
    negative: Any
    over: Any
    parent_recv_ns: Any
    parent_cum: Any
    parent_status: Any
    parent_marks: Any
    child_sent_ns: Any
    child_cum: Any
    child_status: Any
    child_marks: Any
    child_venue: Any
    parent_algo: Any
    child_group: Any
    currency: Any
    transitions: Any
    templates: Any
    refusals: Any
    blocks: Any
    alerts: Any
    rejects: Any
    outcomes: Any
    checks: Any
    venue_place: Any
    venue_session: Any
    live: Any
    excursions: Any
    take_fee: Any
    make_fee: Any
    take_ppm: Any
    make_ppm: Any
    money_mul: Any
    money_div: Any
    by_venue: Any
    routed: Any
    filled: Any
    times: Any
    ends: Any
    peaks: Any
    rate: Any
    rank: Any
    exec_place: Any


#: Places in `checks`.
(C_REPORTS, C_ORPHANS, C_CUM_FELL, C_CUM_JUMPED, C_STALE_VENUES, C_NO_FRESH, C_LATE_FILLS, C_UNKNOWN_PARENT,
 C_STAGES, C_SENDS) = range(10)  # fmt: skip


def reserved(rows: int, kind: str) -> Array:
    """Zeros that take memory when they are written to: an anonymous mapping that reserves nothing."""
    dtype = np.dtype(kind)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    return np.frombuffer(mmap.mmap(-1, max(rows, 1) * dtype.itemsize, flags=flags), dtype=dtype)


def lasting() -> dict[str, Array]:
    """The arrays that go on from run to run."""
    zeros = {"counts": HISTOGRAMS * CELLS, "negative": HISTOGRAMS, "over": HISTOGRAMS, "highest": HISTOGRAMS}
    zeros |= {"transitions": 2 * STATUSES * STATUSES * EXECS, "peaks": 2 * len(WINDOWS_NS) * 4}
    zeros |= {"times": 2 * RING, "ends": 2 * (len(WINDOWS_NS) + 1), "rate": 16}
    arrays: dict[str, Array] = {name: reserved(size, "<i8") for name, size in zeros.items()}
    arrays["lowest"] = np.full(HISTOGRAMS, np.iinfo(np.int64).max)
    arrays["now"], arrays["run"] = np.zeros(1, dtype=NOW), np.zeros(1, dtype=RUN)
    arrays["rare"], arrays["listed"] = np.zeros(RARE_ROWS, dtype=RARE), np.zeros(LISTED, dtype=LISTING)
    arrays["rank"], arrays["exec_place"] = ranks(), exec_places()
    return arrays


def ranks() -> Array:
    """Place of an OrdStatus among the statuses; NO_STATUS where it is none."""
    from engine.core.lifecycle import PRECEDENCE

    found = np.full(128, NO_STATUS, dtype=np.int64)
    for place, status in enumerate(PRECEDENCE):
        found[status] = place
    return found


def exec_places() -> Array:
    """Place of an ExecType among EXECS; the last where it is none."""
    from engine.record.records import ExecType

    found = np.full(128, EXECS - 1, dtype=np.int64)
    for place, kind in enumerate(ExecType):
        found[kind] = place
    return found
