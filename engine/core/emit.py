"""Writing records into the outbox: the only way that anything leaves the core.

Each function fills one slot. A slot is zeroed first, so a record's bytes depend on nothing that was there before.
Room is the caller's affair: `step` stops its work while a whole turn still fits (see limits.TURN_OUTPUTS).
"""

from __future__ import annotations

from typing import Any, Final

from engine.core.state import C_ALERTS, C_CANCELS_SENT, C_REFUSALS, FAILED, Outbox, State
from engine.jit import kernel
from engine.record.records import (
    NOBODY,
    RECORD_MAX,
    SBE_HEADER_SIZE,
    SCHEMA_ID,
    SCHEMA_VERSION,
    UNIT,
    ExecType,
    OrdStatus,
    Scope,
    Template,
)

WORDS = RECORD_MAX // 8
_ALERT = int(Template.ALERT)
_REFUSAL = int(Template.REFUSAL)
_CONTROL_REPORT = int(Template.CONTROL_REPORT)
_CANCEL, _MASS_CANCEL = int(Template.ORDER_CANCEL), int(Template.MASS_CANCEL)
_ACK, _CANCEL_REJECT = int(Template.ACK), int(Template.CANCEL_REJECT)
_BUST, _CORRECT = int(Template.BUST), int(Template.CORRECT)
_ORDER_NEW = int(Template.ORDER_NEW)
_BY_CLIENT, _BY_INSTRUMENT = int(Scope.CLIENT), int(Scope.INSTRUMENT)
_X_REJECTED = int(ExecType.REJECTED)
_S_REJECTED = int(OrdStatus.REJECTED)
#: The time that a session's limit (`messages_per_s`) counts.
PACE_NS: Final = 1_000_000_000
_FILLED = int(OrdStatus.FILLED)
_CANCELED = int(OrdStatus.CANCELED)
_EXPIRED = int(OrdStatus.EXPIRED)


@kernel
def new_record(state: State, outbox: Outbox, template: int, length: int) -> int:
    """Take the next slot, zero it, fill its header and its time; returns its index. Asserts that there is room."""
    k = int(outbox.count[0])
    assert k < len(outbox.head)
    outbox.count[0] = k + 1
    first = k * WORDS
    for w in range(first, first + WORDS):
        outbox.words[w] = 0
    head = outbox.head[k]
    head.block_length = length - SBE_HEADER_SIZE
    head.template_id = template
    head.schema_id = SCHEMA_ID
    head.version = SCHEMA_VERSION
    head.stream_id = -1
    head.venue_id = -1
    head.ts_event_ns = state.core[0].now_ns
    return k


@kernel
def seal(state: State, outbox: Outbox) -> None:
    """Number the step's records on their sessions' outgoing streams, once nothing can be blocked any more.

    A report of ours gets its ExecID here: the stream's epoch and number, which are unique together. What others send
    beyond a session's limit keeps the cancels that are paced to it from leaving for a second at the most: a limit of
    so many a second counts no older messages.
    """
    for k in range(outbox.count[0]):
        head = outbox.head[k]
        if head.stream_id >= 0:
            line = state.sessions[int(head.stream_id)]
            line.seq_out += 1
            if line.pace_ns > 0:
                now_ns = int(state.core[0].now_ns)
                line.paced_ns = min(max(int(line.paced_ns), now_ns) + line.pace_ns, now_ns + line.burst_ns + PACE_NS)
            head.stream_epoch = state.params[0].stream_epoch
            head.stream_seq = line.seq_out
            if _ACK <= head.template_id <= _CANCEL_REJECT:
                outbox.report[k].exec_id[0] = head.stream_epoch
                outbox.report[k].exec_id[1] = head.stream_seq
            elif head.template_id == _BUST or head.template_id == _CORRECT:
                outbox.change[k].exec_id[0] = head.stream_epoch
                outbox.change[k].exec_id[1] = head.stream_seq


@kernel
def number_of(state: State, outbox: Outbox, k: int) -> int:
    """The stream_seq that `seal` will give to slot k, where nothing before it on its session is blocked."""
    session = int(outbox.head[k].stream_id)
    seq = int(state.sessions[session].seq_out) + 1
    for other in range(k):
        if outbox.head[other].stream_id == session:
            seq += 1
    return seq


@kernel
def alert(state: State, outbox: Outbox, code: int, instrument: int, order_id: int, value: int) -> None:
    """Journal an ALERT (64 bytes): `code` is a Reason, `value` what it is about."""
    k = new_record(state, outbox, _ALERT, UNIT)
    record = outbox.alert[k]
    record.code = code
    record.instrument_id = instrument
    record.order_id = order_id
    record.value = value
    state.counts[C_ALERTS] += 1


@kernel
def refusal(state: State, outbox: Outbox, template: int, reason: int, value: int, limit: int) -> None:
    """Count a refused input and journal why (REFUSAL, 64 bytes)."""
    state.refusals[reason] += 1
    state.counts[C_REFUSALS] += 1
    k = new_record(state, outbox, _REFUSAL, UNIT)
    record = outbox.refusal[k]
    record.input_template = template
    record.reason = reason
    record.value = value
    record.limit = limit


@kernel
def control_report(state: State, outbox: Outbox, action: int, scope: int, target: int, reason: int) -> int:
    """Answer a command of the control link, journaled (128 bytes); `reason` 0: it was done. Returns the slot.

    The caller adds request_id, actors (nobody until then) and what else it knows, and sets `finished` to 0 where a
    final report follows.
    """
    k = new_record(state, outbox, _CONTROL_REPORT, RECORD_MAX)
    report = outbox.control_report[k]
    report.command_ns = state.core[0].now_ns
    report.action = action
    report.scope = scope
    report.target = target
    report.reason = reason
    report.finished = 1
    report.actor_id = NOBODY
    report.actor_2 = NOBODY
    return k


@kernel
def child_order(state: State, outbox: Outbox, c: int) -> None:
    """Send child c as ORDER_NEW to its venue's session."""
    k = new_record(state, outbox, _ORDER_NEW, RECORD_MAX)
    outbox.order[k] = state.child_orders[c]
    outbox.head[k].stream_id = int(state.venues[int(state.child_orders[c].venue_id)].session)


@kernel
def child_request(state: State, outbox: Outbox, c: int, template: int) -> int:
    """Send a request about child c to its venue, with the terms that it has; returns the slot."""
    k = new_record(state, outbox, template, RECORD_MAX)
    order = state.child_orders[c]
    outbox.order[k] = order
    record = outbox.order[k]
    record.template_id = template
    record.ts_event_ns = state.core[0].now_ns
    outbox.head[k].stream_id = int(state.venues[int(order.venue_id)].session)
    if template == _CANCEL:
        state.counts[C_CANCELS_SENT] += 1
    return k


@kernel
def mass_request(state: State, outbox: Outbox, venue: int, scope: int, target: int, request_id: int) -> None:
    """Send MASS_CANCEL to a venue: all that is ours there, or what is in a scope that it knows from the orders."""
    k = new_record(state, outbox, _MASS_CANCEL, UNIT)
    request = outbox.mass_cancel[k]
    request.scope = scope
    request.client_id = target if scope == _BY_CLIENT else -1
    request.instrument_id = target if scope == _BY_INSTRUMENT else -1
    request.target = 0 if scope == _BY_CLIENT or scope == _BY_INSTRUMENT else target
    request.request_id = request_id
    request.actor_id = NOBODY
    outbox.head[k].venue_id = venue
    outbox.head[k].stream_id = int(state.venues[venue].session)
    state.counts[C_CANCELS_SENT] += 1


@kernel
def is_open(state: State, p: int) -> bool:
    """Whether parent p has a workflow that has not ended."""
    return bool(state.parents[p].phase > FAILED)


@kernel
def min_left(state: State, p: int) -> int:
    """How much parent p has still to execute, or to have at venues, before what it takes is its MinQty (110)."""
    parent, order = state.parents[p], state.parent_orders[p]
    if order.min_qty == 0:
        return 0
    done = int(parent.cum_qty + parent.busted_qty + parent.live_qty)
    return max(min(int(order.min_qty), int(order.qty)) - done, 0)


@kernel
def left_of(state: State, p: int) -> int:
    """What of parent p is neither executed nor busted: all that may still be routed, or is at venues now."""
    left = state.parent_orders[p].qty - state.parents[p].cum_qty - state.parents[p].busted_qty
    return int(left) if left > 0 else 0


@kernel
def leaves_of(state: State, p: int) -> int:
    """LeavesQty of parent p: what is neither executed, busted nor given up; 0 once it is done."""
    status = int(state.parents[p].ord_status)
    if status == _FILLED or status == _CANCELED or status == _EXPIRED or status == _S_REJECTED:
        return 0
    return left_of(state, p)


@kernel
def parent_report(
    state: State, outbox: Outbox, p: int, template: int, exec_type: int, reason: int, request: int
) -> int:
    """Report to the client on parent p; returns the outbox index so that a fill can add its price and quantity."""
    k = new_record(state, outbox, template, RECORD_MAX)
    report = outbox.report[k]
    order = state.parent_orders[p]
    parent = state.parents[p]
    report.order_id = order.order_id
    report.peer_id[0] = order.cl_ord_id[0]
    report.peer_id[1] = order.cl_ord_id[1]
    report.last_px = order.px
    report.cum_qty = parent.cum_qty
    report.leaves_qty = leaves_of(state, p)
    report.instrument_id = order.instrument_id
    report.reason = reason
    report.side = order.side
    report.exec_type = exec_type
    report.ord_status = parent.ord_status
    report.client_id = order.client_id
    report.request = request
    outbox.head[k].stream_id = int(parent.session)
    return k


@kernel
def parent_change(state: State, outbox: Outbox, p: int, template: int, exec_type: int, reason: int, seq: int) -> int:
    """Tell the client that an execution of parent p was busted or corrected (BUST, CORRECT); returns the slot.

    `seq` is the number under which the execution was told: with the stream's epoch it is the ExecID that the client
    has.
    """
    k = new_record(state, outbox, template, RECORD_MAX)
    change = outbox.change[k]
    order = state.parent_orders[p]
    change.order_id = order.order_id
    change.exec_ref_id[0] = state.params[0].stream_epoch
    change.exec_ref_id[1] = seq
    change.cum_qty = state.parents[p].cum_qty
    change.leaves_qty = leaves_of(state, p)
    change.instrument_id = order.instrument_id
    change.reason = reason
    change.side = order.side
    change.exec_type = exec_type
    change.ord_status = state.parents[p].ord_status
    change.client_id = order.client_id
    outbox.head[k].stream_id = int(state.parents[p].session)
    return k


@kernel
def client_reject(
    state: State,
    outbox: Outbox,
    record: Any,
    template: int,
    session: int,
    reason: int,
) -> None:
    """Answer a client's ORDER_* `record` that never became (or does not name) an order, with a reason."""
    k = new_record(state, outbox, template, RECORD_MAX)
    report = outbox.report[k]
    report.order_id = record.order_id
    report.peer_id[0] = record.cl_ord_id[0]
    report.peer_id[1] = record.cl_ord_id[1]
    report.instrument_id = record.instrument_id
    report.client_id = record.client_id
    report.request = record.template_id
    report.reason = reason
    report.exec_type = _X_REJECTED
    report.ord_status = _S_REJECTED
    outbox.head[k].stream_id = session
