"""The driver of `core` and `steady`: records from memory through the loop's own functions, without a socket.

For each record of the day: copy it to the receive buffer (where a socket or a ring would have put it), then `framed`,
`take_in` and `pump`, as the loop's drain does, each record a message of its own. Every BURST records a whole duty
cycle of the loop runs: clock, timers, inbox, polls of links that have nothing, housekeeping. A client's order comes
after each `every` records; the children that leave are filled by the next records, at their price.

`perf.core` writes this file out again with its two imports of the loop naming the bound ones (see engine.run.bind).
Worst case: the day wraps round; its times and numbers are then shifted, and prices jump from the close to the open.
"""

from __future__ import annotations

from engine.core.books import renew_best
from engine.core.state import Events, Outbox, State
from engine.io.atomics import copy, cpu_pause, monotonic_ns, thread_usage, tsc
from engine.io.histogram import record
from engine.jit import kernel
from engine.record.records import RECORD_MAX, SBE_HEADER_SIZE, Side, Template, Tif
from engine.run.loop import BURST, _local_events, _timers, duty_cycle
from engine.run.meter import ticks_to_ns
from engine.run.pump import pump
from engine.run.receive import framed, take_in
from engine.run.wiring import L_MESSAGES, L_RECORDS, Wiring
from perf.rig import PENDING, Rig

_CLIENT, _VENUES = 0, 1
#: Words of a `struct rusage`.
_MINOR, _MAJOR = 8, 9
_ORDER_NEW = int(Template.ORDER_NEW)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_IOC, _DAY = int(Tif.IOC), int(Tif.DAY)


@kernel
def _count_faults(rig: Rig, sign: int) -> None:
    """Called before (-1) and after (1): what the interpreter faults between two kernels is not the loop's."""
    thread_usage(rig.usage.ctypes.data)
    rig.faults[0] += sign * rig.usage[_MINOR]
    rig.faults[1] += sign * rig.usage[_MAJOR]


@kernel
def play(state: State, events: Events, outbox: Outbox, w: Wiring, rig: Rig, n: int) -> int:
    """Feed the next n records of the day, and what they cause; returns the events pumped. Page faults are counted."""
    _count_faults(rig, -1)
    done = _feed(state, events, outbox, w, rig, n)
    _count_faults(rig, 1)
    return int(done)


@kernel
def _feed(state: State, events: Events, outbox: Outbox, w: Wiring, rig: Rig, n: int) -> int:
    line = rig.line[0]
    before = int(line.events)
    for k in range(n):
        if k % BURST == 0:
            duty_cycle(state, events, outbox, w)
        _market(state, events, outbox, w, rig)
        while line.waiting > 0:
            _fill(state, events, outbox, w, rig)
        line.until_order -= 1
        if line.until_order == 0:
            line.until_order = line.every
            _order(state, events, outbox, w, rig)
            while line.waiting > 0:
                _fill(state, events, outbox, w, rig)
    return int(line.events) - before


@kernel
def pace(state: State, events: Events, outbox: Outbox, w: Wiring, rig: Rig, n: int, interval_ns: int) -> int:
    """The next n records, one every `interval_ns`, and duty cycles between them; times run from the planned moment."""
    _count_faults(rig, -1)
    planned_ns = monotonic_ns() + interval_ns
    before = int(rig.line[0].events)
    for _ in range(n):
        while monotonic_ns() < planned_ns:
            duty_cycle(state, events, outbox, w)
            cpu_pause()
        _feed(state, events, outbox, w, rig, 1)
        record(rig.paced, monotonic_ns() - planned_ns)
        planned_ns += interval_ns
    _count_faults(rig, 1)
    return int(rig.line[0].events) - before


@kernel
def _market(state: State, events: Events, outbox: Outbox, w: Wiring, rig: Rig) -> None:
    """The next record of the day, its time and number shifted by the rounds that are behind us."""
    started = tsc()
    line = rig.line[0]
    if line.at == line.records:
        line.at = 0
        line.time_shift_ns += line.span_ns
        for venue in range(len(rig.seq_shift)):
            rig.seq_shift[venue] += rig.seq_round[venue]
    at = int(rig.offsets[line.at])
    size = int(rig.offsets[line.at + 1]) - at
    line.at += 1
    copy(int(w.line[0].event_address), int(line.data_address) + at, size)
    head = events.head[0]
    head.stream_seq += rig.seq_shift[int(head.venue_id)]
    head.ts_event_ns += line.time_shift_ns
    _take(state, events, outbox, w, rig, int(line.feed_row), size, started)


@kernel
def _order(state: State, events: Events, outbox: Outbox, w: Wiring, rig: Rig) -> None:
    """A client's order: three of four immediate and through the market, the fourth resting on its own side of it."""
    line = rig.line[0]
    bid_px, ask_px = renew_best(state, 0)
    if bid_px <= 0 or ask_px <= 0:
        return
    order = rig.order[0]
    line.cl_ord_id += 1
    line.client_seq += 1
    line.kind = (line.kind + 1) & 7
    rests = line.kind & 3 == 3
    if rests and state.core[0].live_parents >= line.max_resting:
        rests = False
    buys = line.kind & 4 == 0
    order.side = _BUY if buys else _SELL
    order.tif = _DAY if rests else _IOC
    if buys:
        order.px = bid_px if rests else ask_px + 500
    else:
        order.px = ask_px if rests else max(bid_px - 500, 1)
    order.cl_ord_id[0] = line.cl_ord_id
    order.stream_seq = line.client_seq
    order.ts_event_ns = w.line[0].clock_ns
    started = tsc()
    copy(int(w.line[0].event_address), rig.order.ctypes.data, RECORD_MAX)
    _take(state, events, outbox, w, rig, _CLIENT, RECORD_MAX, started)
    line.orders += 1


@kernel
def _fill(state: State, events: Events, outbox: Outbox, w: Wiring, rig: Rig) -> None:
    """Feed back the oldest fill that waits."""
    line = rig.line[0]
    started = tsc()
    copy(int(w.line[0].event_address), rig.pending.ctypes.data + int(line.head) * RECORD_MAX, RECORD_MAX)
    line.head = (line.head + 1) & (PENDING - 1)
    line.waiting -= 1
    _take(state, events, outbox, w, rig, _VENUES, RECORD_MAX, started)


@kernel
def _take(state: State, events: Events, outbox: Outbox, w: Wiring, rig: Rig, row: int, n: int, started: int) -> None:
    """What the loop does with a message, and the venue's answers to the orders that left."""
    w.line[0].sender = row
    w.counters[L_MESSAGES] += 1
    framed(events, w, row, 0, n)
    if take_in(state, events, w, 0):
        w.counters[L_RECORDS] += 1
        finished = pump(state, events, 0, outbox, w, started)
        rig.line[0].events += 1
        if outbox.count[0] > 0:
            _answer(outbox, w, rig, finished - started)
    _local_events(state, events, outbox, w)
    _timers(state, events, outbox, w)


@kernel
def _answer(outbox: Outbox, w: Wiring, rig: Rig, ticks: int) -> None:
    """Note the time of an event with outputs, and fill each child order among them whole."""
    line = rig.line[0]
    routed = 0
    for k in range(outbox.count[0]):
        order = outbox.order[k]
        if order.template_id == _ORDER_NEW and order.stream_id == _VENUES and line.waiting < PENDING:
            slot = (line.head + line.waiting) & (PENDING - 1)
            line.waiting += 1
            line.exec_no += 1
            line.venue_seq += 1
            routed += 1
            rig.pending[slot] = rig.fill[0]
            fill = rig.pending[slot]
            fill.stream_seq = line.venue_seq
            fill.ts_event_ns = w.line[0].clock_ns
            fill.venue_id = order.venue_id
            fill.order_id = order.order_id
            fill.instrument_id = order.instrument_id
            fill.exec_id[0] = line.exec_no
            fill.last_px = order.px
            fill.last_qty = order.qty
            fill.cum_qty = order.qty
            fill.side = order.side
    line.routed += routed
    if routed > 0:
        record(rig.routing, ticks_to_ns(w, ticks))
    else:
        record(rig.answers, ticks_to_ns(w, ticks))


assert RECORD_MAX == 120 + SBE_HEADER_SIZE
