"""Virtual time: the engine's `step`, its journal and the simulated venues, driven through a feed by one kernel.

What happens next is the earliest of: something due at the venues, a recorded record reaching its venue, the same record
reaching the engine a feed latency later, a parent order, a timer of the engine's, the roll of the trading day. Levels
and orders of books are the venues' alone; the engine has the quotes that follow from them, which come with the feed or
are derived here. Where times are equal they come in this order, so that reports come before
market data, these before parents, and timers last: what is here already goes before what somebody waited for. Records
of one time are in the feed's order (venue code, then their sequence). So nothing depends on where a venue or an
instrument stands in the configuration.

Every input goes on the journal, through `step`, its outputs onto the journal as one batch, and then to the venues,
whose latency both ways is their own; a report is due when it reaches the engine. No clock of the machine is read.

Where a feed of levels alone is followed here, its levels change the books that the venues match against, and where an
event (no flag MORE) leaves another touch than the last one shown, a QUOTE of it waits for the engine behind what the
feed had before that event: the quote that `gateways.formats.fit_pass` would have derived, byte for byte. Under a feed
latency longer than quotes are apart many wait, and their ring grows.

This file is written out for each strategy (`replay.written`), so the call of `step` is direct.
Worst case: an event costs what its step costs, and two copies of its record into the journal's segment.
"""

from __future__ import annotations

from engine.book.view import CROSSED, touch
from engine.core.state import FROM_VENUE, NEVER, Events, Outbox, State
from engine.core.step import next_deadline
from engine.io.atomics import address_of, copy, load_acquire
from engine.io.journal import READY, append
from engine.io.journal_format import LAST
from engine.jit import kernel
from engine.record.records import RECORD_MAX, SBE_HEADER_SIZE, UNIT, Flag, Template
from engine.run.bound import step
from engine.run.days import put_roll
from engine.run.inbox import drop_local, next_local, put
from engine.run.journaling import INPUT, OUTPUT
from engine.run.transport import length_in
from engine.run.wiring import L_INPUTS, L_OUTPUTS, L_SENT, Wiring
from gateways.inbox import Inbox
from gateways.venues.exchange import advance, ingest, ingest_depth, next_due, submit
from gateways.venues.ids import draw
from gateways.venues.latency import SHIFT
from gateways.venues.state import Exchange
from replay.backtest.course import Course

#: Why `go` came back: its budget is used up; the window is; no segment of the journal is ready; time is over; the
#: venues have no room for another message under way; a record is earlier than the one before it; no other quote that
#: was derived has room to wait.
WORKED, NEED_DATA, NEED_SEGMENT, OVER, NO_ROOM, DISORDER, NEED_TOUCHES = range(7)

_TIMER = int(Template.TIMER)
_LEVEL, _DELTA = int(Template.LEVEL), int(Template.ORDER_DELTA)
_MORE, _SNAPSHOT = int(Flag.MORE), int(Flag.SNAPSHOT)
_NEW, _STATUS = int(Template.ORDER_NEW), int(Template.STATUS_REQUEST)
#: More than the frames of an input and a full outbox.
_BATCH_BYTES = 1 << 16


@kernel
def go(
    state: State,
    market: Events,
    feed: Inbox,
    touches: Events,
    local: Events,
    outbox: Outbox,
    sent: Inbox,
    w: Wiring,
    ex: Exchange,
    c: Course,
    n: int,
) -> int:
    """Let up to n things happen; returns why it came back.

    market and feed are views of the window, touches of the course's, local of the driver's own records, sent of the
    outbox.
    """
    line = c.line[0]
    for _ in range(n):
        if not _room(w):
            return NEED_SEGMENT
        if line.report_at < ex.core[0].out_count:
            _report(state, local, outbox, w, c)
        else:
            ex.core[0].out_count = 0
            line.report_at = 0
            why = _next(state, market, feed, touches, local, outbox, w, ex, c)
            if why != WORKED:
                return why
        if outbox.count[0] > 0 and not _hand_over(state, outbox, sent, w, ex):
            return NO_ROOM
        outbox.count[0] = 0
    return WORKED


@kernel
def _next(
    state: State,
    market: Events,
    feed: Inbox,
    touches: Events,
    local: Events,
    outbox: Outbox,
    w: Wiring,
    ex: Exchange,
    c: Course,
) -> int:
    """The next thing that happens."""
    line = c.line[0]
    at, engine_at = int(line.venue_at), _pass_depth(market, int(line.engine_at), int(line.venue_at))
    line.engine_at = engine_at
    slot = _waiting(c, engine_at)
    venue_ns, record_ns, market_ns, parent_ns = int(next_due(ex)), NEVER, NEVER, NEVER
    if at < line.stop:
        record_ns = int(market.head[at].ts_event_ns)
        if record_ns < line.last_ns:
            return DISORDER
    elif line.ended == 0:
        return NEED_DATA
    if slot >= 0:
        market_ns = _market_ns(touches, 2 * slot, c)
    elif engine_at < line.stop and not _LEVEL <= market.head[engine_at].template_id <= _DELTA:
        market_ns = _market_ns(market, engine_at, c)
    if line.parent_at < len(c.parents):
        parent_ns = int(c.parents[line.parent_at].ts_event_ns)
    timer_ns = min(int(next_deadline(state)), int(w.line[0].roll_at_ns))
    first = min(venue_ns, record_ns, market_ns, parent_ns, timer_ns)
    if first > line.end_ns:
        return OVER
    line.now_ns = max(first, int(line.now_ns))
    w.line[0].clock_ns = line.now_ns
    if venue_ns == first:
        advance(ex, c.reports, first)
    elif record_ns == first:
        if _full(c):
            return NEED_TOUCHES
        line.last_ns = record_ns
        size = _units(market, at)
        if ingest(ex, feed, at, at + size, 0, c.reports) == at + size:
            line.venue_at = at + size
            if _LEVEL <= market.head[at].template_id <= _DELTA:
                _more_depth(at, feed, ex, c, min(market_ns, parent_ns, timer_ns, int(line.end_ns)))
    elif market_ns == first and slot >= 0:
        _market(state, touches, 2 * slot, int(line.touch_address), outbox, w, c)
        line.touch_at += 1
    elif market_ns == first:
        _market(state, market, engine_at, int(line.window_address), outbox, w, c)
        line.engine_at = engine_at + _units(market, engine_at)
    elif parent_ns == first:
        _parent(state, local, outbox, w, c)
    else:
        _timer(state, local, outbox, w, c)
    return WORKED


@kernel
def _market_ns(market: Events, engine_at: int, c: Course) -> int:
    """When the engine's next record reaches it; none overtakes another."""
    line, head = c.line[0], market.head[engine_at]
    if len(c.latencies) == 0:
        return int(head.ts_event_ns + line.latency_ns)
    if line.market_ns == 0:
        venue, at_ns = int(head.venue_id), int(head.ts_event_ns)
        number = int(c.feed_seqs[venue]) if venue >= 0 and venue < len(c.feed_seqs) else 0
        drawn = draw(int(line.seed), at_ns, number) >> SHIFT
        line.market_last_ns = max(at_ns + int(c.latencies[drawn]), int(line.market_last_ns))
        line.market_ns = line.market_last_ns
    return int(line.market_ns)


@kernel
def _more_depth(first: int, feed: Inbox, ex: Exchange, c: Course, until_ns: int) -> None:
    """After that at unit `first`, the levels and orders that follow at their venues, as long as nothing else does."""
    line = c.line[0]
    end, whole = int(line.venue_at), len(c.follows)
    shown = whole > 0 and _shows(feed, end, ex, c)
    while not shown and ex.core[0].out_count == 0:
        before = end
        end = ingest_depth(ex, feed, before, int(line.stop), until_ns, whole)
        if end == before or whole == 0:
            break
        shown = _shows(feed, end, ex, c)
    if end > line.venue_at:
        line.last_ns = ex.core[0].clock_ns
        line.now_ns = max(int(line.last_ns), int(line.now_ns))
        line.venue_at = end
    if line.engine_at == first:
        line.engine_at = end


@kernel
def _full(c: Course) -> bool:
    """Whether no further quote may wait."""
    line = c.line[0]
    return len(c.follows) > 0 and line.touch_stop - line.touch_at >= len(c.touches)


@kernel
def _waiting(c: Course, engine_at: int) -> int:
    """Slot of the first quote that waits, where it comes before the record at unit `engine_at`; -1 where none does."""
    line = c.line[0]
    slot = int(line.touch_at) & (len(c.touches) - 1)
    if line.touch_at < line.touch_stop and c.places[slot] <= line.dropped + engine_at:
        return slot
    return -1


@kernel
def _shows(feed: Inbox, end: int, ex: Exchange, c: Course) -> bool:
    """Have the touch wait where the LEVEL in front of unit `end`, taken by its venue, left another one; whether it did.

    There is room, see `_full`.
    """
    level, line = feed.level[end - 1], c.line[0]
    marks = int(level["flags"])
    if marks & _MORE != 0:
        return False
    pair_index = int(level.venue_id * ex.core[0].instruments + level.instrument_id)
    if c.follows[pair_index] == 0 or not touch(ex.books, pair_index, int(level.ts_event_ns)):
        return False
    slot, row = int(line.touch_stop) & (len(c.touches) - 1), ex.books.books[pair_index]
    quote = c.touches[slot]
    quote.venue_id, quote.instrument_id = level.venue_id, level.instrument_id
    quote.ts_event_ns, quote.ts_source_ns, quote.source_seq = level.ts_event_ns, level.ts_recv_ns, level.stream_seq
    quote.bid_px, quote.bid_qty, quote.bid_orders = row.bid_px, row.bid_qty, row.bid_orders
    quote.ask_px, quote.ask_qty, quote.ask_orders = row.ask_px, row.ask_qty, row.ask_orders
    quote["flags"] = marks & _SNAPSHOT
    c.places[slot] = line.dropped + end
    line.touch_stop += 1
    line.derived += 1
    if int(row.state) & CROSSED != 0:
        line.crossed += 1
    return True


@kernel
def _pass_depth(market: Events, engine_at: int, venue_at: int) -> int:
    """The engine's next record: levels and orders are the venues' alone, and nothing overtakes them."""
    while engine_at < venue_at and _LEVEL <= market.head[engine_at].template_id <= _DELTA:
        engine_at += _units(market, engine_at)
    return engine_at


@kernel
def _units(market: Events, i: int) -> int:
    return (int(market.head[i].block_length) + SBE_HEADER_SIZE) // UNIT


@kernel
def _room(w: Wiring) -> bool:
    """Whether an input and all that it may cause can be journaled without waiting for a segment."""
    row = w.journal[0]
    if row.segment_bytes - row.cursor > _BATCH_BYTES:
        return True
    return load_acquire(address_of(w.journal) + READY + 8 * ((int(row.segment) + 1) & 1)) != 0


@kernel
def take(state: State, events: Events, i: int, address: int, outbox: Outbox, w: Wiring) -> int:
    """Take record i, which lies at `address`, all the way onto the journal; returns the number of its outputs."""
    size = int(events.head[i].block_length) + SBE_HEADER_SIZE
    events.head[i].ts_recv_ns = w.line[0].clock_ns
    seq = append(w.journal, INPUT, LAST, 0, -1, address, size)
    assert seq >= 0, "there was room"
    w.counters[L_INPUTS] += 1
    w.line[0].input_seq = seq  # the core is at it: should it raise, this is where
    count = step(state, events, i, outbox)
    w.line[0].input_seq = -1
    for k in range(count):
        record = int(w.line[0].outbox_address) + k * RECORD_MAX
        last = LAST if k == count - 1 else 0
        done = append(w.journal, OUTPUT, last, k, seq, record, length_in(record))
        assert done >= 0, "there was room"
    w.counters[L_OUTPUTS] += count
    return count


@kernel
def tell(
    state: State, local: Events, outbox: Outbox, sent: Inbox, w: Wiring, ex: Exchange, c: Course, session: int
) -> int:
    """Take the driver's own record 0 in, as `take_own`, and hand over what it sends; WORKED or NO_ROOM."""
    w.line[0].clock_ns = c.line[0].now_ns
    take_own(state, local, 0, outbox, w, c, session)
    done = _hand_over(state, outbox, sent, w, ex)
    outbox.count[0] = 0
    return WORKED if done else NO_ROOM


@kernel
def take_own(state: State, local: Events, i: int, outbox: Outbox, w: Wiring, c: Course, session: int) -> int:
    """Take a record of the driver's own; on a session (not -1) it gets that session's next number."""
    if session >= 0:
        c.session_seqs[session] += 1
        head = local.head[i]
        head.stream_id = session
        head.stream_epoch = c.line[0].epoch
        head.stream_seq = c.session_seqs[session]
    return take(state, local, i, int(w.line[0].event_address) + i * UNIT, outbox, w)


@kernel
def _market(state: State, market: Events, i: int, address: int, outbox: Outbox, w: Wiring, c: Course) -> None:
    """A record of the feed, unit i of those at `address`, reaches the engine with its venue's stream's next number."""
    head = market.head[i]
    venue = int(head.venue_id)
    if venue >= 0 and venue < len(c.feed_seqs):
        c.feed_seqs[venue] += 1
        head.stream_seq = c.feed_seqs[venue]
    head.stream_id = venue
    head.stream_epoch = c.line[0].epoch
    c.line[0].market_inputs += 1
    c.line[0].market_ns = 0
    take(state, market, i, address + i * UNIT, outbox, w)


@kernel
def _report(state: State, local: Events, outbox: Outbox, w: Wiring, c: Course) -> None:
    """The next report of the out-buffer reaches the engine."""
    line = c.line[0]
    copy(int(w.line[0].event_address), address_of(c.reports) + int(line.report_at) * RECORD_MAX, RECORD_MAX)
    line.report_at += 1
    line.report_inputs += 1
    session = int(state.venues[int(local.head[0].venue_id)].session)
    take_own(state, local, 0, outbox, w, c, session)


@kernel
def _parent(state: State, local: Events, outbox: Outbox, w: Wiring, c: Course) -> None:
    """The next parent reaches the engine, on the session that it names."""
    line = c.line[0]
    copy(int(w.line[0].event_address), address_of(c.parents) + int(line.parent_at) * RECORD_MAX, RECORD_MAX)
    line.parent_at += 1
    line.parent_inputs += 1
    take_own(state, local, 0, outbox, w, c, int(local.head[0].stream_id))


@kernel
def _timer(state: State, local: Events, outbox: Outbox, w: Wiring, c: Course) -> None:
    """A deadline of the engine's, or the end of its trading day."""
    deadline_ns = int(next_deadline(state))
    c.line[0].timer_inputs += 1
    if deadline_ns <= w.line[0].clock_ns:
        put(local, w, 0, _TIMER, UNIT)
        local.timer[0].deadline_ns = deadline_ns
        take_own(state, local, 0, outbox, w, c, -1)
    elif put_roll(state, local, w):
        take_own(state, local, next_local(w), outbox, w, c, -1)
        drop_local(w)


@kernel
def _hand_over(state: State, outbox: Outbox, sent: Inbox, w: Wiring, ex: Exchange) -> bool:
    """Give the step's records to their sessions; False where the venues have no room for a request."""
    for k in range(outbox.count[0]):
        head = outbox.head[k]
        session = int(head.stream_id)
        if session < 0:
            continue
        w.counters[L_SENT] += 1
        w.links[session].sent += 1
        template = int(head.template_id)
        if state.sessions[session].role == FROM_VENUE and _NEW <= template <= _STATUS:
            if not submit(ex, sent, k * (RECORD_MAX // UNIT)):
                return False
    return True
