"""Whether the engine held a rate: from when each record was due and when the journal says that it was taken in.

Due times are the recording's, so a delay counts for every record that came due meanwhile (no coordinated omission).
Clients' requests are few beside quotes, so they are held to the bound by themselves as well.

Worst case: 24 bytes a record of the rate in hand.
"""

from __future__ import annotations

import time
from collections import Counter
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
#: What clients ask for, what venues say, what goes to venues, and what clients are refused.
ASKED: Final = (
    Template.ORDER_NEW, Template.ORDER_REPLACE, Template.ORDER_CANCEL, Template.MASS_CANCEL, Template.STATUS_REQUEST,
    Template.CONTROL,
)  # fmt: skip
_SAID: Final = (
    Template.ACK, Template.FILL, Template.REJECT, Template.CANCEL_REJECT, Template.BUST, Template.CORRECT
)  # fmt: skip
_SENT: Final = (Template.ORDER_NEW, Template.ORDER_REPLACE, Template.ORDER_CANCEL)
_REFUSED: Final = (Template.REJECT, Template.CANCEL_REJECT)
_KEPT: Final[Kept] = {
    **{(Kind.INPUT, template): "stream_epoch ts_event_ns ts_recv_ns" for template in COUNTED},
    **{(Kind.INPUT, template): "stream_id stream_epoch stream_seq ts_event_ns ts_recv_ns" for template in ASKED},
    **{(Kind.INPUT, template): "stream_id" for template in _SAID},
    **{(Kind.OUTPUT, template): "stream_id" for template in (*_SENT, *_REFUSED)},
    (Kind.OUTPUT, Template.RISK_BLOCK): "rule",
}
#: With more of the feed's messages than these before them, the simulated venues may be what filled a queue.
_VENUES_BEHIND: Final = 1000
#: Without a record more for so long, what has not come is not waited for.
_PATIENCE_S: Final = 3.0


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
    #: Of the records, those that are clients' requests; the last number on each session before them, and their epoch.
    requests: int = 0
    numbers: dict[int, int] = {}  # noqa: RUF012  never written to
    desk_epoch: int = 0
    #: Messages of the feed that the simulated venues had not taken when the last had been sent.
    venues_behind: int = 0


class Taken(NamedTuple):
    """What the engine took in of a rate, in its order: when each was due, when it came, and whether it is a client's
    request; and what was counted beside it.
    """

    due_ns: Array
    taken_ns: Array
    asked: Array
    counts: Counter[str]


def skip(reader: JournalReader) -> None:
    """Leave out what is on the journal up to now: it is of no rate."""
    for _ in parts_of(reader, {}):
        pass


def collect(reader: JournalReader, played: Played, clock_offset_ns: int, patience_s: float = _PATIENCE_S) -> Taken:
    """What was taken in of a rate, from where a reader of the engine's journal stands, until all has come or nothing
    more comes. JournalError as the reader's.

    `clock_offset_ns` is the engine's clock less CLOCK_MONOTONIC.
    """
    found = [np.zeros((3, 0), dtype=np.int64)]
    counts: Counter[str] = Counter()
    since_s = time.monotonic()
    while True:
        for tables in parts_of(reader, _KEPT):
            part = _part(tables, played, clock_offset_ns)
            since_s = time.monotonic() if part.shape[1] else since_s
            found.append(part)
            _count(tables, counts)
        if sum(part.shape[1] for part in found) >= played.records or time.monotonic() - since_s > patience_s:
            due_ns, taken_ns, asked = np.concatenate(found, axis=1)
            return Taken(due_ns, taken_ns, asked == 1, counts)
        time.sleep(0.01)


def _part(tables: dict[tuple[Kind, Template], Array], played: Played, clock_offset_ns: int) -> Array:
    """(due, taken, whether a request) of a part of the journal, in its order."""
    market = np.concatenate([tables[Kind.INPUT, template] for template in COUNTED])
    market = market[(market["stream_epoch"] == played.epoch) & (market["ts_event_ns"] >= played.begin_ns)]
    asked = np.concatenate([tables[Kind.INPUT, template] for template in ASKED])
    floors = np.array([played.numbers.get(n, 1 << 62) for n in asked["stream_id"].tolist()], dtype=np.int64)
    asked = asked[(asked["stream_epoch"] == played.desk_epoch) & (asked["stream_seq"] > floors)]
    # A request's own time is the one at which it was due, on the engine's clock.
    due_ns = [played.origin_ns + clock_offset_ns + market["ts_event_ns"] - played.first_ns, asked["ts_event_ns"]]
    kinds = np.repeat([0, 1], [len(market), len(asked)])
    order = np.argsort(np.concatenate([market["seq"], asked["seq"]]), kind="stable")
    taken_ns = np.concatenate([market["ts_recv_ns"], asked["ts_recv_ns"]])
    found: Array = np.stack([np.concatenate(due_ns), taken_ns, kinds])[:, order]
    return found


def _count(tables: dict[tuple[Kind, Template], Array], counts: Counter[str]) -> None:
    """Count what went to venues and came from them, and what was refused or blocked."""
    counts["reports"] += sum(int((tables[Kind.INPUT, kind]["stream_id"] >= 0).sum()) for kind in _SAID)
    counts["sent"] += sum(len(tables[Kind.OUTPUT, kind]) for kind in _SENT)
    counts["refused"] += sum(len(tables[Kind.OUTPUT, kind]) for kind in _REFUSED)
    counts["blocked"] += len(tables[Kind.OUTPUT, Template.RISK_BLOCK])


def rate_of(played: Played, taken: Taken, bound_ns: int) -> Rate:
    """The row of one rate."""
    due_ns, taken_ns = taken.due_ns, taken.taken_ns
    response, requests = percentiles(taken_ns - due_ns), percentiles((taken_ns - due_ns)[taken.asked])
    in_turn = np.sort(due_ns)
    # Due by the time at which each was taken in, less those taken in by then.
    ahead = np.searchsorted(in_turn, taken_ns, side="right") - np.arange(1, len(due_ns) + 1)
    last = int(len(due_ns) - np.searchsorted(taken_ns, in_turn[-1], side="right")) if len(due_ns) else played.records
    why = verdict(played, len(due_ns), (response, requests), last, bound_ns)
    return Rate(
        times=played.times,
        planned_per_s=played.records / played.planned_ns * 1e9,
        records=played.records,
        taken=len(due_ns),
        planned_s=played.planned_ns / 1e9,
        seconds=float(taken_ns[-1] - in_turn[0]) / 1e9 if len(due_ns) else 0.0,
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
        requests=played.requests,
        request_response=requests,
        orders_sent=taken.counts["sent"],
        reports=taken.counts["reports"],
        refused=taken.counts["refused"],
        risk_blocks=taken.counts["blocked"],
        venues_behind=played.venues_behind,
    )


def _highest(values: Percentiles) -> tuple[str, int | None]:
    """The highest percentile that enough values stand behind, and its name."""
    told = (("p99.9", values.p99_9_ns), ("p99", values.p99_ns), ("highest", values.max_ns))
    return next(((name, value) for name, value in told if value is not None), ("", None))


def verdict(
    played: Played, taken: int, responses: tuple[Percentiles, Percentiles], backlog_last: int, bound_ns: int
) -> str:
    """Why a rate did not hold; empty where it did. Responses: of all records, and of clients' requests alone."""
    if taken < played.records:
        return f"{played.records - taken:,} of {played.records:,} records were not taken in: the test gave up waiting"
    name, value = _highest(responses[0])
    if value is None:
        return "nothing was measured"
    what = "response"
    if value <= bound_ns:
        what = "response to clients' requests"
        name, value = _highest(responses[1])
    if value is None or value <= bound_ns:
        return ""
    said = f"the {name} {what} of {value / 1e6:,.3f} ms is beyond the bound of {bound_ns / 1e6:g} ms"
    if played.blocked and played.venues_behind > _VENUES_BEHIND:
        behind = f"{played.venues_behind:,} messages behind"
        return f"{said}: a full queue stopped the sender, and the simulated venues were {behind}; they need a core"
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
