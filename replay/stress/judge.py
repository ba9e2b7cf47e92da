"""Whether the engine held a rate: from when each record was due and when the journal says that it was taken in.

Due times are the recording's, so a delay counts for every record that came due meanwhile (no coordinated omission).

Worst case: 24 bytes a record of the rate in hand.
"""

from __future__ import annotations

from math import ceil
from typing import Final, NamedTuple

import numpy as np

from engine.io import histogram
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import Template
from replay.report.gather import Array, Kept, parts_of
from replay.report.structs import stands
from replay.stress.structs import Percentiles, Rate

#: Kinds that count: CLEAR does not, since the player sends some of its own at the end.
COUNTED: Final = (Template.QUOTE, Template.TRADE, Template.LEVEL, Template.ORDER_DELTA, Template.INSTRUMENT_STATUS)
_KEPT: Final[Kept] = {(Kind.INPUT, template): "stream_epoch ts_event_ns ts_recv_ns" for template in COUNTED}


class Played(NamedTuple):
    """How one rate was played: which stream epoch it has, when its first record was due (CLOCK_MONOTONIC ns) and what
    time that record has, and what the sender says.
    """

    times: float
    epoch: int
    origin_ns: int
    first_ns: int
    #: Time of the first record that counts, and how many do.
    begin_ns: int
    records: int
    planned_ns: int
    blocked: int
    blocked_s: float
    sender_late_ns: int
    service: Array
    tries: int


def judge(reader: JournalReader, played: Played, clock_offset_ns: int, bound_ns: int) -> Rate:
    """What a rate came to, from where a reader of the engine's journal stands. JournalError as the reader's.

    `clock_offset_ns` is the engine's clock less CLOCK_MONOTONIC.
    """
    found = [np.zeros((2, 0), dtype=np.int64)]
    for tables in parts_of(reader, _KEPT):
        rows = np.concatenate(list(tables.values()))
        rows = rows[(rows["stream_epoch"] == played.epoch) & (rows["ts_event_ns"] >= played.begin_ns)]
        rows = rows[np.argsort(rows["seq"], kind="stable")]
        due_ns = played.origin_ns + clock_offset_ns + rows["ts_event_ns"] - played.first_ns
        found.append(np.stack([due_ns, rows["ts_recv_ns"]]))
    due_ns, taken_ns = np.concatenate(found, axis=1)
    return rate_of(played, due_ns, taken_ns, bound_ns)


def rate_of(played: Played, due_ns: Array, taken_ns: Array, bound_ns: int) -> Rate:
    """The row of one rate; the records in the order in which they were taken in."""
    response = percentiles(taken_ns - due_ns)
    # Due by the time at which each was taken in, less those taken in by then.
    ahead = np.searchsorted(due_ns, taken_ns, side="right") - np.arange(1, len(due_ns) + 1)
    last = int(len(due_ns) - np.searchsorted(taken_ns, due_ns[-1], side="right")) if len(due_ns) else played.records
    why = verdict(played, len(due_ns), response, last, bound_ns)
    return Rate(
        times=played.times,
        planned_per_s=played.records / played.planned_ns * 1e9,
        records=played.records,
        taken=len(due_ns),
        planned_s=played.planned_ns / 1e9,
        seconds=float(taken_ns[-1] - due_ns[0]) / 1e9 if len(due_ns) else 0.0,
        response=response,
        service=of_histogram(played.service),
        backlog_most=max(int(ahead.max()), 0) if len(ahead) else played.records,
        backlog_last=last,
        blocked=played.blocked,
        blocked_s=played.blocked_s,
        sender_late_ns=played.sender_late_ns,
        tries=played.tries,
        held=not why,
        why=why,
    )


def verdict(played: Played, taken: int, response: Percentiles, backlog_last: int, bound_ns: int) -> str:
    """Why a rate did not hold; empty where it did."""
    if taken < played.records:
        return f"{played.records - taken:,} of {played.records:,} records were not taken in: the test gave up waiting"
    told = (("p99.9", response.p99_9_ns), ("p99", response.p99_ns), ("highest", response.max_ns))
    name, value = next(((name, value) for name, value in told if value is not None), ("", None))
    if value is None:
        return "nothing was measured"
    if value <= bound_ns:
        return ""
    said = f"the {name} response of {value / 1e6:,.3f} ms is beyond the bound of {bound_ns / 1e6:g} ms"
    if played.blocked:
        return f"{said}: the loop took in less than came, until a full queue stopped the sender"
    if played.sender_late_ns > bound_ns:
        late = f"{played.sender_late_ns / 1e6:,.3f} ms late without a full queue"
        return f"{said}: the sender itself was {late}; it needs a core of its own"
    return f"{said}: a backlog grew, {backlog_last:,} records when the last was due"


def percentiles(values_ns: Array) -> Percentiles:
    """Percentiles of times, exact: the value of nearest rank."""
    count = len(values_ns)
    ordered = np.sort(values_ns)

    def at(percentile: float) -> int | None:
        if not count or not stands(count, percentile):
            return None
        return int(ordered[max(ceil(round(percentile * count / 100, 6)) - 1, 0)])

    return Percentiles(
        count=count, p50_ns=at(50.0), p99_ns=at(99.0), p99_9_ns=at(99.9), max_ns=int(ordered[-1]) if count else None
    )


def of_histogram(counts: Array) -> Percentiles:
    """Percentiles of an engine's histogram."""
    told = histogram.summary(counts, (50.0, 99.0, 99.9, 100.0))
    if not told.total:
        return Percentiles(count=0, p50_ns=None, p99_ns=None, p99_9_ns=None, max_ns=None)
    values = [
        row.value_ns if row.percentile == 100.0 or stands(told.total, row.percentile) else None for row in told.rows
    ]
    return Percentiles(count=told.total, p50_ns=values[0], p99_ns=values[1], p99_9_ns=values[2], max_ns=values[3])
