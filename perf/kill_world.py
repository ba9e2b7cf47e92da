"""The other ends of an engine's rings for `perf kill`, in one nopython loop: a feed that never ends, a client, a venue.

`world` pushes quotes as fast as the engine takes them, the client's orders as long as fewer than `wanted` were sent,
and answers each order and each cancel at once; it notes when the cancels were there. It runs in a thread of its own,
until it is told to stop. Worst case: the engine stops taking, and the venue's answers wait for room in their ring.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from engine.core.rows import ints
from engine.io.atomics import load_acquire, load_u16, monotonic_ns, sched_yield, store_release
from engine.io.mapping import aligned_zeros
from engine.io.ring import ring_beat, ring_pop, ring_push
from engine.jit import kernel
from engine.memory import Layout, Memory, memory, packed
from engine.record.records import DTYPES, ORDER, QUOTE, RECORD_MAX, REPORT, UNIT, ExecType, OrdStatus, Template, blank

#: `wanted`, `stop` and the counts are shared with the thread that measures, by atomics.
LINE: Final = ints(
    "stop wanted sent acked cancels first_cancel_ns last_cancel_ns feeding feed client client_out venue venue_out"
    " client_seq venue_seq feed_seq beat_ns quotes full_ns px"
)
STOP, WANTED, SENT, ACKED, CANCELS, FIRST_NS, LAST_NS, FEEDING = (8 * n for n in range(8))
_NEW, _CANCEL = int(Template.ORDER_NEW), int(Template.ORDER_CANCEL)
_X_NEW, _X_CANCELED = int(ExecType.NEW), int(ExecType.CANCELED)
_S_NEW, _S_CANCELED = int(OrdStatus.NEW), int(OrdStatus.CANCELED)
_BEAT_NS = 50_000_000
#: Quotes pushed and orders answered in one turn.
_QUOTES, _ORDERS = 64, 256


@memory
class World(Memory):
    """The loop's memory: a line, and a record of each kind that it sends or receives."""

    line: np.ndarray
    quote: np.ndarray
    order: np.ndarray
    report: np.ndarray
    beat: np.ndarray
    got: np.ndarray
    LAYOUT: ClassVar[Layout] = packed(
        line=LINE, quote=QUOTE, order=ORDER, report=REPORT, beat=DTYPES[Template.HEARTBEAT], got=ORDER
    )


def make() -> World:
    """An empty world; rings and prices are the caller's to fill in."""
    beat = blank(Template.HEARTBEAT)
    beat["stream_epoch"] = 1
    order, report, quote = blank(Template.ORDER_NEW), blank(Template.ACK), blank(Template.QUOTE)
    for record in (order, report, quote):
        record["stream_epoch"] = 1
    return World(
        line=aligned_zeros(1, LINE), quote=quote, order=order, report=report, beat=beat, got=aligned_zeros(1, ORDER)
    )


@kernel
def world(w: World) -> int:
    """Be the feed, the client and the venue until `stop`; returns the quotes that were pushed."""
    line = w.line[0]
    while load_acquire(w.line.ctypes.data + STOP) == 0:
        work = _venue(w) + _client(w)
        work += _feed(w)
        now_ns = monotonic_ns()
        if now_ns - line.beat_ns > _BEAT_NS:
            line.beat_ns = now_ns
            _beats(w, now_ns)
        if work == 0:
            sched_yield()
    return int(line.quotes)


@kernel
def _feed(w: World) -> int:
    line, quote, pushed = w.line[0], w.quote[0], 0
    if load_acquire(w.line.ctypes.data + FEEDING) == 0:
        return 0
    while pushed < _QUOTES:
        line.feed_seq += 1
        quote.stream_seq = line.feed_seq
        quote.bid_qty = 100 + (line.feed_seq & 63)
        quote.ts_event_ns = line.feed_seq
        if ring_push(line.feed, w.quote.ctypes.data, RECORD_MAX) != 1:
            line.feed_seq -= 1
            break
        pushed += 1
    line.quotes += pushed
    return pushed


@kernel
def _client(w: World) -> int:
    line, order, done = w.line[0], w.order[0], 0
    while ring_pop(line.client_out, w.got.ctypes.data) > 0:
        done += 1
    wanted = load_acquire(w.line.ctypes.data + WANTED)
    for _ in range(_ORDERS):
        if line.sent >= wanted or line.sent - line.acked > 1024:
            break
        line.client_seq += 1
        order.stream_seq = line.client_seq
        order.cl_ord_id[0] = line.client_seq
        order.qty = 100 + line.client_seq % 1000  # no two alike: duplicates are refused
        order.px = 1_569_000 - line.client_seq // 1000 % 100 * 100
        if ring_push(line.client, w.order.ctypes.data, RECORD_MAX) != 1:
            line.client_seq -= 1
            break
        store_release(w.line.ctypes.data + SENT, line.sent + 1)
        done += 1
    return done


@kernel
def _venue(w: World) -> int:
    line, done = w.line[0], 0
    while done < _ORDERS and ring_pop(line.venue_out, w.got.ctypes.data) > 0:
        template = load_u16(w.got.ctypes.data + 2)
        if template == _NEW or template == _CANCEL:
            done += 1
            if template == _CANCEL:
                now_ns = monotonic_ns()
                if line.cancels == 0:
                    store_release(w.line.ctypes.data + FIRST_NS, now_ns)
                store_release(w.line.ctypes.data + LAST_NS, now_ns)
                store_release(w.line.ctypes.data + CANCELS, line.cancels + 1)
            _answer(w, template)
            if template == _NEW:
                store_release(w.line.ctypes.data + ACKED, line.acked + 1)
    return done


@kernel
def _answer(w: World, template: int) -> None:
    line, got, report = w.line[0], w.got[0], w.report[0]
    new = template == _NEW
    report.venue_id = got.venue_id
    report.order_id = got.order_id
    report.instrument_id = got.instrument_id
    report.side = got.side
    report.peer_id[0] = got.order_id
    report.last_px = got.px
    report.leaves_qty = got.qty if new else 0
    report.exec_type = _X_NEW if new else _X_CANCELED
    report.ord_status = _S_NEW if new else _S_CANCELED
    report.request = template
    line.venue_seq += 1
    report.stream_seq = line.venue_seq
    while ring_push(line.venue, w.report.ctypes.data, RECORD_MAX) == 0:
        if load_acquire(w.line.ctypes.data + STOP) != 0:
            return
        sched_yield()


@kernel
def _beats(w: World, now_ns: int) -> None:
    """Heartbeats carry the last number that was used."""
    line, beat = w.line[0], w.beat[0]
    beat.stream_seq = line.client_seq
    ring_push(line.client, w.beat.ctypes.data, UNIT)
    beat.stream_seq = line.venue_seq
    ring_push(line.venue, w.beat.ctypes.data, UNIT)
    for ring in (line.client, line.venue, line.feed):
        ring_beat(ring, 0, now_ns)
    for ring in (line.client_out, line.venue_out):
        ring_beat(ring, 1, now_ns)
