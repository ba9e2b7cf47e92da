"""The bench around an engine on a wire: a publisher, a venue and a client in one kernel, and the bare forwarder.

`fire` is an open loop: quote k is due at a planned time, whatever became of those before it, and a latency runs from
that time to the receipt of the order that the quote set off. A stalled engine therefore shows in every quote that was
due meanwhile (no coordinated omission), and so does a stalled harness: read ratios to the forwarder, which is fired at
alike.

Each quote goes to the next of INSTRUMENTS instruments, and every `marked_every`th is marked: its offer is one share
within the limit of that instrument's one resting parent, so exactly one child leaves; the venue fills it, and the
parent rests again long before its instrument's next turn. The other quotes are a tick beyond and set nothing off.

Marks go through MARKS prices, and a child is sent at the price of the quote that it goes after: instrument and price
say which mark an order answers. After a stall, an order is so never taken for the answer to a newer quote, and a mark
that found the mark before it still at work, and set nothing off, stays open and is counted.

`forward` is what the engine is compared with: receive, look at the mark, send; same sockets, no journal, no core. Worst
case: on two cores, harness and I/O threads share one; it yields when it has nothing to do.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from engine.core.rows import ints
from engine.core.state import Events, view_events
from engine.io import zmq
from engine.io.atomics import cpu_pause, load_acquire, monotonic_ns, sched_yield
from engine.io.histogram import empty, record
from engine.io.mapping import aligned_zeros
from engine.io.ring import ring_pop, ring_push
from engine.jit import kernel
from engine.memory import Layout, Memory, memory, packed
from engine.record.records import ORDER, QUOTE, RECORD_MAX, REPORT, UNIT, OrdType, Side, Template, Tif, blank

#: Prime, so that the marks come round to every instrument; a capacity of 64 holds them.
INSTRUMENTS: Final = 61
LIMIT_PX, TICK_PX = 1_000_000, 100
#: Prices of marks, from the limit down: an instrument's mark has the price of another after 256 rounds, six seconds at
#: 10,000 quotes a second. A power of two, so that INSTRUMENTS has no divisor in common with it.
MARKS: Final = 256
PARENT_QTY: Final = 20_000
ZMQ, SHM = 0, 1
_BUFFER: Final = 1 << 16
_BURST, _DESK_EVERY, _YIELD_EVERY = 16, 8, 256
_ORDER_NEW = int(Template.ORDER_NEW)

LINE: Final = ints(
    "transport feed orders desk orders_tx stop interval_ns marked_every turn mark seq venue_seq exec_no count_from_ns"
    " open sent refused received reports buffer_address name_bytes"
)


@memory
class Lab(Memory):
    """The harness's (or the forwarder's) memory."""

    line: np.ndarray
    tags: np.ndarray
    hist: np.ndarray
    quote: np.ndarray
    fill: np.ndarray
    order: np.ndarray
    name: np.ndarray
    LAYOUT: ClassVar[Layout] = packed(
        line=LINE, tags="<i8", hist="<i8", quote=QUOTE, fill=REPORT, order=ORDER, name="<i8"
    )


def make(transport: int, epoch: int) -> tuple[Lab, Events]:
    """A Lab with its records prepared, and the buffer that it receives into."""
    buffer = aligned_zeros(_BUFFER + 2 * UNIT, np.dtype(np.uint8))
    quote, fill, order = blank(Template.QUOTE), blank(Template.FILL), blank(Template.ORDER_NEW)
    for row in (quote, fill, order):
        row["stream_epoch"] = epoch
        row["venue_id"] = 0
    quote["stream_id"] = 0
    quote["bid_px"], quote["bid_qty"] = LIMIT_PX - (MARKS + 1) * TICK_PX, 100
    fill["liquidity"], fill["side"] = 2, Side.BUY
    order["side"], order["ord_type"], order["tif"] = Side.BUY, OrdType.LIMIT, Tif.DAY
    order["px"], order["qty"] = LIMIT_PX, PARENT_QTY
    line = aligned_zeros(1, LINE)
    line[0].transport, line[0].buffer_address = transport, buffer.ctypes.data
    lab = Lab(
        line=line,
        tags=np.zeros(INSTRUMENTS * MARKS, dtype="<i8"),
        hist=empty(),
        quote=quote,
        fill=fill,
        order=order,
        name=np.zeros(4, dtype="<i8"),
    )
    return lab, view_events(buffer)


@kernel
def fire(lab: Lab, events: Events, n: int, grace_ns: int) -> int:
    """Send n quotes, each at its time, and take what comes back; returns the orders that never came."""
    line = lab.line[0]
    planned_ns = monotonic_ns() + 1_000_000
    k, cycles = 0, 0
    while True:
        now_ns = monotonic_ns()
        worked = 0
        if k < n and now_ns >= planned_ns:
            _quote(lab, k, planned_ns)
            planned_ns += line.interval_ns
            k += 1
            worked = 1
        worked += _orders(lab, events)
        cycles += 1
        if cycles % _DESK_EVERY == 0:
            reports(lab)
        if k == n and (line.open == 0 or now_ns > planned_ns + grace_ns):
            return int(line.open)
        if worked == 0:
            if line.transport == SHM and cycles % _YIELD_EVERY != 0:
                cpu_pause()
            else:
                sched_yield()  # I/O threads and the journal's helpers are on this core


@kernel
def _quote(lab: Lab, k: int, planned_ns: int) -> None:
    line, quote = lab.line[0], lab.quote[0]
    instrument = int(line.turn)
    line.turn = (instrument + 1) % INSTRUMENTS
    marked = k % line.marked_every == 0
    line.seq += 1
    quote.stream_seq = line.seq
    quote.ts_event_ns = planned_ns
    quote.instrument_id = instrument
    quote.ask_px = LIMIT_PX - TICK_PX * int(line.mark) if marked else LIMIT_PX + TICK_PX
    quote.ask_qty = 1 if marked else 100
    quote.user_tag = planned_ns if marked else 0
    if marked:
        lab.tags[instrument * MARKS + int(line.mark)] = planned_ns
        line.mark = (line.mark + 1) % MARKS
        line.open += 1
    if line.transport == ZMQ:
        sent = zmq.send(line.feed, lab.quote.ctypes.data, RECORD_MAX, 0) >= 0
    else:
        sent = ring_push(line.feed, lab.quote.ctypes.data, RECORD_MAX) == 1
    if sent:
        line.sent += 1
    else:
        line.refused += 1


@kernel
def _orders(lab: Lab, events: Events) -> int:
    """Take child orders, measure and fill them; returns how many."""
    line = lab.line[0]
    taken = 0
    for _ in range(_BURST):
        if line.transport == ZMQ:
            n = zmq.recv(line.orders, line.buffer_address, _BUFFER)
        else:
            n = ring_pop(line.orders, line.buffer_address)
        if n <= 0:
            break
        now_ns = monotonic_ns()
        for at in range(0, n // UNIT, RECORD_MAX // UNIT):
            if events.head[at].template_id == _ORDER_NEW:
                _order(lab, events, at, now_ns)
                taken += 1
    return taken


@kernel
def _order(lab: Lab, events: Events, at: int, now_ns: int) -> None:
    line, order = lab.line[0], events.order[at]
    instrument = int(order.instrument_id)
    slot = instrument * MARKS + (LIMIT_PX - int(order.px)) // TICK_PX
    tag = int(lab.tags[slot]) if 0 <= slot < len(lab.tags) else 0
    line.received += 1
    if tag > 0:
        lab.tags[slot] = 0
        line.open -= 1
        if tag >= line.count_from_ns:
            record(lab.hist, now_ns - tag)
    fill = lab.fill[0]
    line.venue_seq += 1
    line.exec_no += 1
    fill.stream_seq = line.venue_seq
    fill.order_id = order.order_id
    fill.venue_id = order.venue_id
    fill.instrument_id = instrument
    fill.exec_id[0] = line.exec_no
    fill.last_px = order.px
    fill.last_qty = order.qty
    fill.cum_qty = order.qty
    say(lab, lab.fill.ctypes.data, RECORD_MAX)


@kernel
def say(lab: Lab, address: int, n: int) -> int:
    """Send a record on the venue's session: 1, or 0 where it did not leave."""
    line = lab.line[0]
    if line.transport == ZMQ:
        return 1 if zmq.send(line.orders, address, n, 0) >= 0 else 0
    return 1 if ring_push(line.orders_tx, address, n) == 1 else 0


@kernel
def reports(lab: Lab) -> int:
    """Take what came to the client, and count it."""
    line = lab.line[0]
    if line.desk == 0:
        return 0
    for _ in range(_BURST):
        if line.transport == ZMQ:
            n = zmq.recv(line.desk, line.buffer_address, _BUFFER)
        else:
            n = ring_pop(line.desk, line.buffer_address)
        if n <= 0:
            break
        line.reports += 1
    return int(line.reports)


@kernel
def forward(lab: Lab, events: Events) -> int:
    """Until the stop word is set: a marked quote in, an order out; answers are taken and dropped."""
    line = lab.line[0]
    name = lab.name.ctypes.data
    while load_acquire(line.stop) == 0:
        worked = 0
        for _ in range(_BURST):
            if line.transport == ZMQ:
                n = zmq.recv(line.feed, line.buffer_address, _BUFFER)
            else:
                n = ring_pop(line.feed, line.buffer_address)
            if n <= 0:
                break
            worked = 1
            if events.quote[0].user_tag != 0:
                lab.order[0].instrument_id = events.quote[0].instrument_id
                lab.order[0].px = events.quote[0].ask_px
                if line.transport == SHM:
                    ring_push(line.orders_tx, lab.order.ctypes.data, RECORD_MAX)
                elif zmq.send(line.orders, name, line.name_bytes, 1) >= 0:
                    zmq.send(line.orders, lab.order.ctypes.data, RECORD_MAX, 0)
        if line.transport == SHM:
            worked += 1 if ring_pop(line.orders, line.buffer_address) > 0 else 0
        elif zmq.recv(line.orders, lab.name.ctypes.data + 16, 16) >= 0:
            zmq.recv(line.orders, line.buffer_address, _BUFFER)
            worked = 1
        if worked == 0:
            cpu_pause()
    return 0
