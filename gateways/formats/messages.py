"""Rows that are one message of their source, in files that have a row a level and do not say where a message ends.

LEVELs of one venue and instrument that were received at one time, one directly behind the other, are one message: all
but the last of them get Flag.MORE, so that nobody looks at a book between two of them. Without a time of receipt the
time of the event takes its place. Where a file has a row a side of a QUOTE (`quotes`), quotes of one time are one, the
last: each has both sides, and those before it one that is old.

Worst case: each record is copied once, and the last of a batch comes with the next one, since only that one tells
whether its message goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.jit import kernel
from engine.record.records import SBE_HEADER_SIZE, UNIT, Flag, Template
from gateways.feeds.report import FeedError
from gateways.formats.batch import Batch, make_batch

_LEVEL, _QUOTE, _MORE = int(Template.LEVEL), int(Template.QUOTE), int(Flag.MORE)
#: Words of a unit.
_WORDS = UNIT // 8


def whole_messages(batches: Iterator[Batch], *, quotes: bool = False) -> Iterator[Batch]:
    """The records of a reader with its messages told; see the module. FeedError comes behind all records before it."""
    out, held, error = make_batch(), 0, None
    try:
        for batch in batches:
            used = int(batch.used[0])
            if held + used > len(out.head):
                out = _larger(out, held, 2 * (held + used))
            out.words[_WORDS * held : _WORDS * (held + used)] = batch.words[: _WORDS * used]
            out.used[0] = held + used
            last = int(join(out, int(quotes)))
            end = int(out.used[0])
            held = end - last if last >= 0 and _may_go_on(out, last, quotes) else 0
            out.used[0] = end - held
            if out.used[0]:
                yield out
            out.words[: _WORDS * held] = out.words[_WORDS * (end - held) : _WORDS * end]
    except FeedError as caught:
        error = caught
    if held:
        out.used[0] = held
        yield out
    if error is not None:
        raise error


def _larger(out: Batch, held: int, units: int) -> Batch:
    more = make_batch(units)
    more.words[: _WORDS * held] = out.words[: _WORDS * held]
    return more


def _may_go_on(out: Batch, last: int, quotes: bool) -> bool:
    template = int(out.head[last].template_id)
    return template == _LEVEL or (quotes and template == _QUOTE)


@kernel
def _together(batch: Batch, one: int, other: int) -> bool:
    """Whether two records that follow each other are of one message."""
    a, b = batch.head[one], batch.head[other]
    if a.template_id != b.template_id or a.venue_id != b.venue_id or a.ts_recv_ns != b.ts_recv_ns:
        return False
    if batch.trade[one].instrument_id != batch.trade[other].instrument_id:  # at one place in all kinds
        return False
    return bool((a.template_id == _LEVEL and a.ts_recv_ns != 0) or a.ts_event_ns == b.ts_event_ns)


@kernel
def join(batch: Batch, quotes: int) -> int:
    """Tell the messages of a batch, whose records move together where some go. Where the last begins; -1 for none."""
    at, to, before, end = 0, 0, -1, int(batch.used[0])
    while at < end:
        template = int(batch.head[at].template_id)
        units = (int(batch.head[at].block_length) + SBE_HEADER_SIZE) // UNIT
        joins = template == _LEVEL or (quotes != 0 and template == _QUOTE)
        if joins and before >= 0 and _together(batch, before, at):
            if template == _LEVEL:
                batch.level[before]["flags"] = int(batch.level[before]["flags"]) | _MORE
            else:
                to = before
        if to != at:
            for n in range(_WORDS * units):
                batch.words[_WORDS * to + n] = batch.words[_WORDS * at + n]
        before = to
        to += units
        at += units
    batch.used[0] = to
    return before
