"""What is under way to and from the simulated venues: the latency queue, and the making of reports.

A message lies in a slot from the moment it comes until it is executed (requests) or taken out (reports). One binary
heap orders by (time, arrival number) what is due: messages, and the expiry of resting orders with a time to live. It is
bounded: a request is taken only when slots for its reports are left too (RESERVE), so a report never lacks one.

Worst case: a step for each doubling of the queue, some 20 ns each; typically one or two, for latencies differ little.
"""

from __future__ import annotations

from engine.jit import kernel
from engine.record.records import SCHEMA_ID, SCHEMA_VERSION, ExecType, OrdStatus, Reason, Template
from gateways.inbox import Array
from gateways.venues.ids import draw, write_id
from gateways.venues.latency import SHIFT, TABLE
from gateways.venues.state import Exchange

_ACK, _FILL = int(Template.ACK), int(Template.FILL)
_NEW, _STATUS = int(Template.ORDER_NEW), int(Template.STATUS_REQUEST)
_REJECT, _CANCEL_REJECT = int(Template.REJECT), int(Template.CANCEL_REJECT)
_TRADE, _REJECTED = int(ExecType.TRADE), int(ExecType.REJECTED)
_STATUS_REJECTED = int(OrdStatus.REJECTED)
_NONE = int(Reason.NONE)
_REPORT_LENGTH = 120
#: Questions to the dice, see ids.draw: how long a request and a report take. What tells one of an order's from another
#: is added, its template and its quantity.
_ORDER_WAY, _REPORT_WAY = 1 << 61, 1 << 62


@kernel
def heap_push(heap: Array, count: int, due_ns: int, arrival: int, slot: int) -> None:
    """Add an entry to a heap (ENTRY[]) of `count` entries; the caller keeps the count, and knows that there is room."""
    at = count
    while at > 0:
        up = (at - 1) >> 1
        if heap[up].due_ns < due_ns or (heap[up].due_ns == due_ns and heap[up].arrival < arrival):
            break
        heap[at].due_ns = heap[up].due_ns
        heap[at].arrival = heap[up].arrival
        heap[at].slot = heap[up].slot
        at = up
    heap[at].due_ns = due_ns
    heap[at].arrival = arrival
    heap[at].slot = slot


@kernel
def heap_pop(heap: Array, count: int) -> int:
    """Remove the first entry of a heap of `count` >= 1 entries and return its slot; the caller keeps the count."""
    first, last = int(heap[0].slot), count - 1
    due_ns, arrival, slot = heap[last].due_ns, heap[last].arrival, heap[last].slot
    at, down = 0, 1
    while down < last:
        right = down + 1
        if right < last and (
            heap[right].due_ns < heap[down].due_ns
            or (heap[right].due_ns == heap[down].due_ns and heap[right].arrival < heap[down].arrival)
        ):
            down = right
        if due_ns < heap[down].due_ns or (due_ns == heap[down].due_ns and arrival < heap[down].arrival):
            break
        heap[at].due_ns = heap[down].due_ns
        heap[at].arrival = heap[down].arrival
        heap[at].slot = heap[down].slot
        at, down = down, 2 * down + 1
    heap[at].due_ns = due_ns
    heap[at].arrival = arrival
    heap[at].slot = slot
    return first


@kernel
def enqueue(ex: Exchange, slot: int, due_ns: int) -> None:
    """Put a message slot (or -1 - row of an order) into the queue, behind all that is due at the same time."""
    core = ex.core[0]
    core.arrivals += 1
    heap_push(ex.queue, core.queued, due_ns, core.arrivals, slot)
    core.queued += 1


@kernel
def dequeue(ex: Exchange) -> int:
    """Take the first entry off the queue (it is not empty); returns its slot."""
    core = ex.core[0]
    slot = heap_pop(ex.queue, core.queued)
    core.queued -= 1
    return slot


@kernel
def _drawn_ns(ex: Exchange, table: int, seed: int, key: int, question: int) -> int:
    return int(ex.latencies[table * TABLE + (draw(seed, key, question) >> SHIFT)])


@kernel
def arrival_ns(ex: Exchange, slot: int, sent_ns: int) -> int:
    """When the request in a slot is at its venue."""
    request = ex.requests[slot]
    venue = ex.venues[int(request.venue_id)]
    if venue.order_table < 0:
        return int(sent_ns + venue.latency_ns)
    question = _ORDER_WAY + (int(request.template_id) << 40) + (int(request.qty) & ((1 << 40) - 1))
    due_ns = sent_ns + _drawn_ns(ex, int(venue.order_table), int(venue.seed), int(request.order_id), question)
    venue.last_in_ns = max(due_ns, int(venue.last_in_ns))
    return int(venue.last_in_ns)


@kernel
def _leaving_ns(ex: Exchange, template: int, venue_id: int, order_id: int, cum_qty: int, now_ns: int) -> int:
    """When a report is with the engine."""
    venue = ex.venues[venue_id]
    if venue.report_table < 0:
        return int(now_ns + venue.latency_ns)
    question = _REPORT_WAY + (template << 40) + (cum_qty & ((1 << 40) - 1))
    due_ns = now_ns + _drawn_ns(ex, int(venue.report_table), int(venue.seed), order_id, question)
    venue.last_out_ns = max(due_ns, int(venue.last_out_ns))
    return int(venue.last_out_ns)


@kernel
def take_slot(ex: Exchange) -> int:
    """A free message slot; the caller knows that there is one."""
    core = ex.core[0]
    slot = int(core.free_head)
    core.free_head = ex.reports[slot].order_id
    core.free -= 1
    return slot


@kernel
def give_slot(ex: Exchange, slot: int) -> None:
    """Give a message slot back."""
    core = ex.core[0]
    ex.reports[slot].order_id = core.free_head
    core.free_head = slot
    core.free += 1


@kernel
def room(ex: Exchange) -> int:
    """Message slots that are free and not kept for the reports on requests under way."""
    core = ex.core[0]
    return int(core.free - core.reserved)


@kernel
def start(ex: Exchange, template: int, venue: int, order_id: int, cum_qty: int, now_ns: int, muted: int) -> int:
    """A new report (all but what the order gives), under way; a muted one is written to the scratch slot only."""
    v = ex.venues[venue]
    slot = len(ex.reports) - 1
    if muted == 0:
        slot = take_slot(ex)
        enqueue(ex, slot, _leaving_ns(ex, template, venue, order_id, cum_qty, now_ns))
        if template == _ACK:
            v.acks += 1
        elif template == _REJECT:
            v.rejects += 1
        elif template == _CANCEL_REJECT:
            v.cancel_rejects += 1
    report = ex.reports[slot]
    report.block_length = _REPORT_LENGTH
    report.template_id = template
    report.schema_id = SCHEMA_ID
    report.version = SCHEMA_VERSION
    report.stream_epoch = 0
    report.stream_id = -1
    report.venue_id = venue
    report.stream_seq = 0
    report.ts_event_ns = now_ns
    report.ts_recv_ns = 0
    write_id(report.exec_id, v.exec_prefix, v.prefix_length, v.next_exec)
    v.next_exec += 1
    return slot


@kernel
def tell(ex: Exchange, row: int, template: int, exec_type: int, reason: int, request: int, now_ns: int) -> int:
    """Send a report on an order as it stands now; `last_px` is its limit and `last_qty` 0. Returns its slot."""
    order = ex.orders[row]
    muted = 0 if template == _FILL else int(order.muted)
    slot = start(ex, template, int(order.venue_id), int(order.order_id), int(order.cum_qty), now_ns, muted)
    report = ex.reports[slot]
    report.order_id = order.order_id
    report.peer_id[0] = order.peer_id[0]
    report.peer_id[1] = order.peer_id[1]
    report.last_px = order.px
    report.last_qty = 0
    report.cum_qty = order.cum_qty
    report.leaves_qty = order.leaves_qty
    report.instrument_id = order.instrument_id
    report.reason = reason
    report.side = order.side
    report.exec_type = exec_type
    report.ord_status = order.ord_status
    report.liquidity = 0
    report.client_id = order.client_id
    report.request = request
    return slot


@kernel
def tell_fill(ex: Exchange, row: int, px: int, qty: int, liquidity: int, now_ns: int) -> int:
    """Send the FILL of an order whose quantities are already up to date; returns its slot."""
    venue = ex.venues[int(ex.orders[row].venue_id)]
    venue.fills += 1
    venue.filled_qty += qty
    slot = int(tell(ex, row, _FILL, _TRADE, _NONE, 0, now_ns))
    report = ex.reports[slot]
    report.last_px = px
    report.last_qty = qty
    report.liquidity = liquidity
    return slot


@kernel
def refuse(ex: Exchange, message: int, reason: int, now_ns: int) -> None:
    """Answer a request that concerns no order of the table: REJECT of a new order or a status request, else
    CANCEL_REJECT. `message` is the request's slot; its venue is one of ours."""
    request = ex.requests[message]
    kind = int(request.template_id)
    template = _REJECT if kind in (_NEW, _STATUS) else _CANCEL_REJECT
    slot = start(ex, template, int(request.venue_id), int(request.order_id), 0, now_ns, 0)
    report = ex.reports[slot]
    report.order_id = request.order_id
    report.peer_id[0] = 0
    report.peer_id[1] = 0
    report.last_px = request.px
    report.last_qty = 0
    report.cum_qty = 0
    report.leaves_qty = 0
    report.instrument_id = request.instrument_id
    report.reason = reason
    report.side = request.side
    report.exec_type = _REJECTED
    report.ord_status = _STATUS_REJECTED
    report.liquidity = 0
    report.client_id = request.client_id
    report.request = kind
