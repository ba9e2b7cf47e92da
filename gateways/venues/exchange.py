"""The simulated exchange: what goes in, what comes out, and the passing of time.

A deterministic machine over preallocated memory (`state.Exchange`), nopython throughout. It knows no sockets and no
clock of its own: time is what it is told, through `ingest` (records in the order in which they came) and `advance`.

A request is executed at its `ts_event_ns` plus the venue's latency, but not before now; its reports leave one latency
later. Latencies are constant or drawn from a table (latency.py); of one venue's requests none overtakes another, and
none of its reports. Before a recorded quote or trade of time T is applied, all that is due at T or earlier has
happened. So the same records give the same reports, however they are cut into batches.

Reports go to an out-buffer of 128-byte slots. When it is full the machine stands still and says so; the caller takes
the reports, sets `core.out_count` to 0 and calls again. Nothing is lost and nothing overtakes.

Worst case: a quote that fills n resting orders, or a mass cancellation, takes n reports at once; what finds no free
message slot is put off until slots are free again, and counted (`core.postponed`).
"""

from __future__ import annotations

from engine.jit import kernel
from engine.record.records import ExecType, Flag, Reason, Template, Tif
from gateways.inbox import Array, Inbox, units_of
from gateways.venues.depth import clear_depth, on_delta, on_level, on_touch, on_trade
from gateways.venues.fills import end, unrest
from gateways.venues.flight import arrival_ns, dequeue, enqueue, give_slot, room, take_slot
from gateways.venues.levels import take_levels
from gateways.venues.mass import begin_mass, go_on, write_mass
from gateways.venues.matching import cross, show
from gateways.venues.orders import live, on_cancel, on_new, on_replace, on_status
from gateways.venues.second import change, forget
from gateways.venues.state import LEVELS, NEVER, ORDERS, RESERVE, TOUCH, UNSHOWN, Exchange

_QUOTE, _TRADE, _CLEAR = int(Template.QUOTE), int(Template.TRADE), int(Template.CLEAR)
_LEVEL, _DELTA, _STATUS_OF = int(Template.LEVEL), int(Template.ORDER_DELTA), int(Template.INSTRUMENT_STATUS)
_CLOCK = int(Template.CLOCK_SAMPLE)
_MORE = int(Flag.MORE)
_NEW, _REPLACE = int(Template.ORDER_NEW), int(Template.ORDER_REPLACE)
_CANCEL, _STATUS = int(Template.ORDER_CANCEL), int(Template.STATUS_REQUEST)
_MASS_CANCEL = int(Template.MASS_CANCEL)
_FIRST_REPORT = int(Template.ACK)
_CLOSED, _OFF_BOOK = int(Flag.CLOSED), int(Flag.OFF_BOOK)
_EXEC_CANCELED, _EXEC_EXPIRED = int(ExecType.CANCELED), int(ExecType.EXPIRED)
_DAY, _DAY_END = int(Tif.DAY), int(Reason.DAY_END)
#: What a mass cancellation takes off the market: day orders at the end of the day, or all.
SWEEP_DAY, SWEEP_ALL = 1, 2


@kernel
def submit(ex: Exchange, inbox: Inbox, at: int) -> bool:
    """Take a request (ORDER_NEW, _REPLACE, _CANCEL, MASS_CANCEL, STATUS_REQUEST) on its way to its venue.

    False: there is no room for it and its reports; advance and try again. What cannot be answered is only counted.
    """
    core = ex.core[0]
    request = inbox.order[at]
    venue_id, template = int(request.venue_id), int(request.template_id)
    if template not in (_NEW, _REPLACE, _CANCEL, _MASS_CANCEL, _STATUS) or venue_id < 0 or venue_id >= len(ex.venues):
        core.refused += 1
        return True
    venue = ex.venues[venue_id]
    if venue.served == 0:
        core.refused += 1
        return True
    if room(ex) < 1 + RESERVE:
        return False
    slot = take_slot(ex)
    core.reserved += RESERVE
    ex.requests[slot] = request
    if template == _MASS_CANCEL:
        write_mass(ex, inbox, at, slot)
    # A time that no clock shows must not overflow what is added to it.
    sent_ns = min(max(int(request.ts_event_ns), 0), NEVER)
    ex.requests[slot].ts_event_ns = sent_ns
    enqueue(ex, slot, max(int(arrival_ns(ex, slot, sent_ns)), int(core.clock_ns)))
    return True


@kernel
def _execute(ex: Exchange, message: int, now_ns: int) -> None:
    core = ex.core[0]
    core.reserved -= RESERVE
    template = int(ex.requests[message].template_id)
    if template == _NEW:
        row = on_new(ex, message, now_ns)
        if row >= 0:
            enqueue(ex, -1 - row, int(ex.orders[row].expire_ns) + 1)
    elif template == _CANCEL:
        on_cancel(ex, message, now_ns)
    elif template == _REPLACE:
        on_replace(ex, message, now_ns)
    elif template == _MASS_CANCEL:
        if not begin_mass(ex, message, now_ns):
            core.reserved += RESERVE  # behind the next message, which gives its slot free
            enqueue(ex, message, max(now_ns, int(ex.queue[0].due_ns)))
            return
    else:
        on_status(ex, message, now_ns)
    give_slot(ex, message)


@kernel
def _expire(ex: Exchange, row: int, now_ns: int) -> None:
    """An order's time is up; without a free message slot it waits behind the next message."""
    if not live(int(ex.orders[row].ord_status)):
        return
    if room(ex) >= 1:
        end(ex, row, _EXEC_EXPIRED, Reason.TTL_EXPIRED.value, 0, now_ns)
    else:
        enqueue(ex, -1 - row, max(now_ns, int(ex.queue[0].due_ns)))


@kernel
def _think_again(ex: Exchange, k: int, now_ns: int) -> None:
    """A second thought is due; without a free message slot it waits behind the next message."""
    row = int(ex.seconds[k].row)
    if room(ex) < 1:
        enqueue(ex, -1 - len(ex.orders) - k, max(now_ns, int(ex.queue[0].due_ns)))
        return
    if ex.seconds[k].kind != _CANCEL:
        change(ex, k, now_ns)
        if ex.orders[row].leaves_qty == 0:
            unrest(ex, row)
    elif live(int(ex.orders[row].ord_status)):
        ex.venues[int(ex.orders[row].venue_id)].unsolicited += 1
        end(ex, row, _EXEC_CANCELED, Reason.SIMULATED.value, 0, now_ns)
    forget(ex, k)


@kernel
def _open_or_close(ex: Exchange, v: int) -> None:
    """A venue's trading hours begin or end; at their end its day orders expire. The next moment is armed."""
    venue = ex.venues[v]
    venue.closed = 1 - venue.closed
    venue.hour_at += 1
    if venue.hour_at < venue.hour_stop:
        slot = -1 - len(ex.orders) - len(ex.seconds) - v
        enqueue(ex, slot, max(int(ex.hours[venue.hour_at]), int(ex.core[0].clock_ns)))
    if venue.closed != 0:
        sweep(ex, v, SWEEP_DAY)
        return
    instruments = int(ex.core[0].instruments)
    for pair_index in range(v * instruments, (v + 1) * instruments):
        _cross(ex, pair_index)


@kernel
def _sweep(ex: Exchange) -> None:
    """Go on with the mass cancellations that are running."""
    ex.core[0].sweeping = 0
    for v in range(len(ex.venues)):
        venue = ex.venues[v]
        while venue.sweep_at >= 0:
            if venue.sweep_at == venue.sweep_end:
                venue.sweep_at = -1
                break
            row = int(venue.sweep_at)
            order = ex.orders[row]
            if order.venue_id == v and live(int(order.ord_status)):
                if venue.sweep_kind == SWEEP_ALL or order.tif == _DAY:
                    if room(ex) < 1:
                        ex.core[0].sweeping = 1
                        break
                    if venue.sweep_kind == SWEEP_ALL:
                        end(ex, row, _EXEC_CANCELED, Reason.VENUE_DOWN.value, 0, int(ex.core[0].clock_ns))
                    else:
                        end(ex, row, _EXEC_EXPIRED, Reason.DAY_END.value, 0, int(ex.core[0].clock_ns))
            venue.sweep_at += 1
        if venue.mass_at >= 0:
            go_on(ex, v, int(ex.core[0].clock_ns))


@kernel
def sweep(ex: Exchange, venue_id: int, kind: int) -> None:
    """Take the resting orders of a venue off the market: SWEEP_DAY expires day orders, SWEEP_ALL cancels all."""
    venue = ex.venues[venue_id]
    venue.sweep_kind = max(kind, int(venue.sweep_kind)) if venue.sweep_at >= 0 else kind
    venue.sweep_at, venue.sweep_end = 0, ex.core[0].count
    _sweep(ex)


@kernel
def next_due(ex: Exchange) -> int:
    """Venue time at which something is due next, ns; NEVER where nothing is."""
    if ex.core[0].queued == 0:
        return NEVER
    return int(ex.queue[0].due_ns)


@kernel
def advance(ex: Exchange, out: Array, clock_ns: int) -> bool:
    """Let time pass until `clock_ns` (it never falls): what is due happens, reports that are due go to `out`.

    out: REPORT slots, filled from `core.out_count` on. False: they are full and there is more to do.
    """
    core = ex.core[0]
    target_ns = max(clock_ns, int(core.clock_ns))
    while core.queued > 0 and ex.queue[0].due_ns <= target_ns:
        core.clock_ns = max(int(ex.queue[0].due_ns), int(core.clock_ns))
        slot = int(ex.queue[0].slot)
        if slot < -len(ex.orders) - len(ex.seconds):
            dequeue(ex)
            _open_or_close(ex, -1 - len(ex.orders) - len(ex.seconds) - slot)
        elif slot < -len(ex.orders):
            dequeue(ex)
            _think_again(ex, -1 - len(ex.orders) - slot, int(core.clock_ns))
        elif slot < 0:
            dequeue(ex)
            _expire(ex, -1 - slot, int(core.clock_ns))
        elif ex.reports[slot].template_id < _FIRST_REPORT:
            dequeue(ex)
            _execute(ex, slot, int(core.clock_ns))
        elif core.out_count == len(out):
            return False
        else:
            dequeue(ex)
            out[core.out_count] = ex.reports[slot]
            core.out_count += 1
            give_slot(ex, slot)
        if core.sweeping != 0:
            _sweep(ex)
    core.clock_ns = target_ns
    return True


@kernel
def _apply(ex: Exchange, inbox: Inbox, at: int) -> None:
    """Apply market data of one of our venues to its markets."""
    core, record = ex.core[0], inbox.market[at]
    venue_id, template, instrument_id = int(record.venue_id), int(record.template_id), int(record.instrument_id)
    if venue_id < 0 or venue_id >= len(ex.venues) or ex.venues[venue_id].served == 0:
        core.ignored += 1
        return
    first = venue_id * int(core.instruments)
    if template == _CLEAR and instrument_id == -1:
        for pair_index in range(first, first + int(core.instruments)):
            _clear(ex, pair_index)
        if record.clear_reason == _DAY_END:
            sweep(ex, venue_id, SWEEP_DAY)
    elif template == _STATUS_OF and instrument_id == -1:
        for pair_index in range(first, first + int(core.instruments)):
            _set_status(ex, pair_index, int(inbox.status[at].status))
    elif instrument_id < 0 or instrument_id >= core.instruments:
        core.ignored += 1
    elif template == _CLEAR:
        _clear(ex, first + instrument_id)
    elif template == _QUOTE:
        _quote(ex, inbox, at, first + instrument_id)
    elif template == _STATUS_OF:
        ex.books.books[first + instrument_id].state = UNSHOWN
        _set_status(ex, first + instrument_id, int(inbox.status[at].status))
    elif template == _TRADE:
        if (int(record.marks) & _OFF_BOOK) == 0 and record.trade_qty > 0:
            on_trade(ex, inbox, at, first + instrument_id, int(core.clock_ns))
    elif core.deep == 0:
        core.ignored += 1
    else:
        _move(ex, inbox, at, first + instrument_id)


@kernel
def _clear(ex: Exchange, pair_index: int) -> None:
    """The books of a pair are void: its touch, and its depth where it has any."""
    show(ex, pair_index, 0, 0, 0, 0, int(ex.core[0].clock_ns))
    if ex.pairs[pair_index].told_by != TOUCH:
        clear_depth(ex, pair_index)


@kernel
def _set_status(ex: Exchange, pair_index: int, status: int) -> None:
    """The feed opens, halts or closes a pair. What crosses when trading goes on is filled then."""
    ex.pairs[pair_index].status = status
    _cross(ex, pair_index)


@kernel
def _quote(ex: Exchange, inbox: Inbox, at: int, pair_index: int) -> None:
    """A QUOTE: the touch of a pair, or a newer word on its levels."""
    record, now_ns = inbox.market[at], int(ex.core[0].clock_ns)
    told_by = int(ex.pairs[pair_index].told_by)
    opened = 0 if (int(record.marks) & _CLOSED) != 0 else 1
    bid_px, bid_qty = int(record.bid_px), int(record.bid_qty) * opened
    ask_px, ask_qty = int(record.ask_px), int(record.ask_qty) * opened
    if told_by == LEVELS:
        on_touch(ex, 2 * pair_index, bid_px, bid_qty)
        on_touch(ex, 2 * pair_index + 1, ask_px, ask_qty)
        _cross(ex, pair_index)
    elif told_by != ORDERS:
        show(ex, pair_index, bid_px, bid_qty, ask_px, ask_qty, now_ns)


@kernel
def _move(ex: Exchange, inbox: Inbox, at: int, pair_index: int) -> None:
    """A LEVEL or an ORDER_DELTA. What rests is looked at when the event is whole: until then the book is in between."""
    if inbox.head[at].template_id == _LEVEL:
        on_level(ex, inbox, at, pair_index)
        more = int(inbox.level[at]["flags"]) & _MORE
    else:
        on_delta(ex, inbox, at, pair_index, int(ex.core[0].clock_ns))
        more = int(inbox.delta[at]["flags"]) & _MORE
    if more == 0:
        _cross(ex, pair_index)


@kernel
def _cross(ex: Exchange, pair_index: int) -> None:
    pair = ex.pairs[pair_index]
    if pair.bids >= 0 or pair.asks >= 0:
        cross(ex, pair_index, int(ex.core[0].clock_ns))


@kernel
def _moves_market(template: int) -> bool:
    """Whether a record is one of those that `_apply` takes; their times are the feed's."""
    return _QUOTE <= template <= _CLEAR or template == _STATUS_OF


@kernel
def ingest(ex: Exchange, inbox: Inbox, first: int, stop: int, now_ns: int, out: Array) -> int:
    """Take the records that begin in the 64-byte units `first` to `stop` of `inbox`, in order.

    now_ns: venue time, or 0 in feed-clock mode, where time is what the market-data records say.
    Returns the unit of the first record not taken, `stop` where all were: the out-buffer is full or no message slot is
    free, so take the reports, advance, and call again from there.
    """
    at = first
    while at < stop:
        record = inbox.market[at]
        template = int(record.template_id)
        if template >= _NEW and template < _FIRST_REPORT:
            if not submit(ex, inbox, at):
                return at
        else:
            clock_ns = now_ns
            if now_ns == 0 and _moves_market(template):
                clock_ns = int(record.ts_event_ns)
            elif now_ns == 0 and template == _CLOCK:
                clock_ns = int(record.clock_ns)
            if not advance(ex, out, clock_ns):
                return at
            if _moves_market(template):
                _apply(ex, inbox, at)
            elif template != _CLOCK:
                ex.core[0].ignored += 1
        at += units_of(inbox, at)
    return at


@kernel
def ingest_depth(ex: Exchange, inbox: Inbox, first: int, stop: int, until_ns: int, whole: int) -> int:
    """Take levels and orders from unit `first` on as `ingest` would in feed-clock mode, as long as nothing is due.

    Returns the unit of the first record not taken: `stop`, or one of another kind, later than `until_ns`, earlier than
    the clock, or not before what is due next. With `whole` it comes back at the end of each event (no flag MORE).
    """
    core, at = ex.core[0], first
    while at < stop:
        head = inbox.head[at]
        template, at_ns = int(head.template_id), int(head.ts_event_ns)
        if not _LEVEL <= template <= _DELTA or at_ns < core.clock_ns or at_ns > until_ns or next_due(ex) <= at_ns:
            break
        end = take_levels(ex, inbox, at, stop, min(until_ns, next_due(ex) - 1), whole) if template == _LEVEL else at
        if end > at:
            marks = int(inbox.level[end - 1]["flags"])
            if marks & _MORE == 0:
                _cross(ex, int(inbox.level[end - 1].venue_id * core.instruments + inbox.level[end - 1].instrument_id))
        else:
            core.clock_ns = at_ns
            marks = int(inbox.level[at]["flags"]) if template == _LEVEL else int(inbox.delta[at]["flags"])
            _apply(ex, inbox, at)
            end = at + units_of(inbox, at)
        at = end
        if whole != 0 and marks & _MORE == 0:
            break
    return at
