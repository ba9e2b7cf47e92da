"""The pass's way over frames: what each kind of frame and record means to the tally. `take` is its entry.

Worst case: as `take_orders`; records that people look at one by one (sessions, controls, alerts) leave a row in `rare`,
and there are no more rows than frames in a chunk.
"""

from __future__ import annotations

from typing import Any

from engine.core.ids import CHILD_BIT
from engine.io.journal_format import Kind
from engine.jit import kernel
from engine.record.records import ExecType, OrdStatus, Template
from replay.compliance import fields as f
from replay.compliance import tally as y
from replay.compliance.take import algo_of, cell, child_row, measured, note, peak, rate, settle, tell, transition
from replay.compliance.tally import Tally

_INPUT, _OUTPUT, _OBSERVATION = int(Kind.INPUT), int(Kind.OUTPUT), int(Kind.OBSERVATION)
_RECOVERED_FRAME = int(Kind.RECOVERED)
_ORDER_NEW, _STATUS_REQUEST = int(Template.ORDER_NEW), int(Template.STATUS_REQUEST)
_REPLACE, _CANCEL = int(Template.ORDER_REPLACE), int(Template.ORDER_CANCEL)
_ACK, _CORRECT, _BUST = int(Template.ACK), int(Template.CORRECT), int(Template.BUST)
_FILL, _REJECT, _CANCEL_REJECT = int(Template.FILL), int(Template.REJECT), int(Template.CANCEL_REJECT)
_MASS_CANCEL, _FIRST_ORDER = int(Template.MASS_CANCEL), int(Template.ORDER_NEW)
_CLEAR, _INSTRUMENT_STATUS = int(Template.CLEAR), int(Template.INSTRUMENT_STATUS)
_SESSION_UP, _SESSION_DOWN = int(Template.SESSION_UP), int(Template.SESSION_DOWN)
_RESET, _HEARTBEAT = int(Template.SEQUENCE_RESET), int(Template.HEARTBEAT)
_TIMER, _CONTROL, _LIMIT_CHANGE = int(Template.TIMER), int(Template.CONTROL), int(Template.LIMIT_CHANGE)
_ROLL, _MALFORMED = int(Template.ROLL), int(Template.MALFORMED)
_STAGES, _REFUSAL, _DECISION = int(Template.STAGES), int(Template.REFUSAL), int(Template.DECISION)
_RISK_BLOCK, _ALERT, _SEND_RESULT = int(Template.RISK_BLOCK), int(Template.ALERT), int(Template.SEND_RESULT)
_FAILURE, _CONTROL_REPORT = int(Template.FAILURE), int(Template.CONTROL_REPORT)
_PENDING_NEW, _FILLED = int(OrdStatus.PENDING_NEW), int(OrdStatus.FILLED)
_TRADE, _TRADE_CANCEL, _TRADE_CORRECT = int(ExecType.TRADE), int(ExecType.TRADE_CANCEL), int(ExecType.TRADE_CORRECT)
_REJECTED_EXEC = int(ExecType.REJECTED)
_COUNTER = CHILD_BIT - 1
_NO_FRESH = 3


@kernel
def take(t: Tally, words: Any, ints: Any, shorts: Any, small: Any, rows: Any) -> None:
    """Tally the frames of a chunk. `words` .. `small`: its segment as int64, int32, int16, int8; `rows`: FRAME."""
    for n in range(len(rows)):
        row = rows[n]
        kind, at, length = int(row.kind), int(row.offset), int(row.length)
        if kind == _RECOVERED_FRAME:
            _rare(t, at, int(row.seq), int(row.input_seq), kind, 0)
        if length != 64 and length != 128:
            continue
        template = int(shorts[at // 2 + f.TEMPLATE])
        if kind == _INPUT:
            settle(t)
            _input(t, words, ints, shorts, small, at, int(row.seq), template)
        elif kind == _OUTPUT:
            _output(t, words, ints, shorts, small, at, int(row.seq), int(row.input_seq), template)
        elif kind == _OBSERVATION:
            _observation(t, words, ints, at, int(row.seq), int(row.input_seq), template)


@kernel
def _rare(t: Tally, at: int, seq: int, input_seq: int, kind: int, template: int) -> None:
    """Leave a record to be looked at one by one."""
    run = t.run[0]
    row = t.rare[run.rare]
    row.offset, row.seq, row.input_seq, row.kind, row.template = at, seq, input_seq, kind, template
    row.clock_ns = t.now[0].recv_ns
    row.live, row.inputs = 0, run.inputs
    run.rare += 1


@kernel
def _input(t: Tally, words: Any, ints: Any, shorts: Any, small: Any, at: int, seq: int, template: int) -> None:
    """A new input: it becomes the one at hand."""
    now, run = t.now[0], t.run[0]
    recv_ns = words[at // 8 + f.RECV_NS]
    if recv_ns <= 0:
        recv_ns = now.recv_ns
    if run.begin_ns == 0:
        run.begin_ns = recv_ns
    run.end_ns = max(run.end_ns, recv_ns)
    now.queue_ns = now.queue_ns + now.busy_ns if recv_ns == now.recv_ns else 0
    now.busy_ns = 0
    now.seq, now.template, now.recv_ns = seq, template, recv_ns
    now.event_ns = words[at // 8 + f.EVENT_NS]
    now.venue = shorts[at // 2 + f.VENUE]
    if now.venue < 0 or now.venue >= len(t.venue_place):
        now.venue = -1
    now.algo = _algo(shorts, at) if template == _ORDER_NEW else y.NO_ALGO
    run.inputs += 1
    t.templates[_INPUT * 64 + (template & 63)] += 1
    rate(t, recv_ns)
    if template < _TIMER:
        peak(t, 0, recv_ns, seq)
    if _ACK <= template <= _CORRECT:
        _report(t, words, ints, shorts, small, at, template)
    elif _SESSION_UP <= template <= _RESET and template != _HEARTBEAT:
        _rare(t, at, seq, seq, _INPUT, template)
        session = ints[at // 4 + f.DOWN_SESSION]
        if 0 <= session < len(t.live):
            t.rare[run.rare - 1].live = t.live[session]
    elif template == _CLEAR or template == _INSTRUMENT_STATUS or template == _MASS_CANCEL or template == _ROLL:
        _rare(t, at, seq, seq, _INPUT, template)
    elif template == _CONTROL or template == _LIMIT_CHANGE or template == _MALFORMED:
        _rare(t, at, seq, seq, _INPUT, template)


@kernel
def _algo(shorts: Any, at: int) -> int:
    """The strategy that an order names; NO_ALGO where it cannot be one."""
    algo = int(shorts[at // 2 + f.NEW_ALGO])
    return algo if 0 <= algo < y.NO_ALGO else y.NO_ALGO


@kernel
def _about(t: Tally, order_id: int) -> None:
    """The input at hand is of the strategy of the first order that it, or what came of it, names."""
    if t.now[0].algo == y.NO_ALGO:
        row = child_row(t, order_id)
        if row >= 0:
            t.now[0].algo = algo_of(t, row)


@kernel
def _report(t: Tally, words: Any, ints: Any, shorts: Any, small: Any, at: int, template: int) -> None:
    """Keep a venue's report until its event is over."""
    now, w = t.now[0], at // 8
    now.pending = 1
    now.p_template, now.p_seq = template, now.seq
    now.p_order, now.p_px, now.p_qty = words[w + f.ORDER_ID], words[w + f.LAST_PX], words[w + f.LAST_QTY]
    now.p_cum = words[w + f.CUM_QTY]
    now.p_instrument, now.p_reason = ints[at // 4 + f.INSTRUMENT], shorts[at // 2 + f.REASON]
    now.p_exec, now.p_status = small[at + f.EXEC_TYPE], small[at + f.ORD_STATUS]
    now.p_added = small[at + f.LIQUIDITY]
    _about(t, now.p_order)


@kernel
def _output(
    t: Tally, words: Any, ints: Any, shorts: Any, small: Any, at: int, seq: int, input_seq: int, template: int
) -> None:
    """An output of the core: an order to a venue, a report to a client, a refusal, or something to be told."""
    now = t.now[0]
    t.templates[_OUTPUT * 64 + (template & 63)] += 1
    if template == _ORDER_NEW:
        _child(t, words, ints, shorts, at)
    elif template == _REPLACE or template == _CANCEL or template == _STATUS_REQUEST:
        _about(t, words[at // 8 + f.NEW_ORDER_ID])
    if _ORDER_NEW <= template <= _STATUS_REQUEST:
        peak(t, 1, now.recv_ns, seq)
        t.checks[y.C_SENDS] += 1
    elif _ACK <= template <= _CORRECT:
        _told(t, words, small, at, seq, template)
    elif template == _REFUSAL:
        refused = ints[at // 4 + f.REFUSED_TEMPLATE]
        t.refusals[(refused & 63) * y.REASONS + (ints[at // 4 + f.REFUSED_REASON] & 127)] += 1
        if now.pending and refused == now.p_template and input_seq == now.p_seq:
            now.pending = 0
    elif template == _DECISION:
        outcome = shorts[at // 2 + f.DECISION_OUTCOME] & 31
        t.outcomes[outcome] += 1
        if shorts[at // 2 + f.DECISION_STALE] > 0:
            t.checks[y.C_STALE_VENUES] += 1
        if outcome == _NO_FRESH:
            t.checks[y.C_NO_FRESH] += 1
    elif template == _RISK_BLOCK:
        t.blocks[shorts[at // 2 + f.BLOCK_RULE] & 127] += 1
        _rare(t, at, seq, input_seq, _OUTPUT, template)
    elif template == _ALERT:
        t.alerts[ints[at // 4 + f.ALERT_CODE] & 127] += 1
        _rare(t, at, seq, input_seq, _OUTPUT, template)
    elif template == _FAILURE or template == _CONTROL_REPORT:
        _rare(t, at, seq, input_seq, _OUTPUT, template)


@kernel
def _child(t: Tally, words: Any, ints: Any, shorts: Any, at: int) -> None:
    """An order to a venue: a row of its own."""
    run, w = t.run[0], at // 8
    order_id, venue = words[w + f.NEW_ORDER_ID], int(shorts[at // 2 + f.VENUE])
    if order_id & CHILD_BIT == 0 or venue < 0 or venue >= len(t.venue_place):
        return
    counter = order_id & _COUNTER
    if run.first_child < 0:
        run.first_child = counter
    row = counter - run.first_child
    if row < 0 or row >= len(t.child_status):
        run.overflow += 1
        return
    run.children = max(run.children, row + 1)
    t.child_sent_ns[row], t.child_venue[row] = t.now[0].recv_ns, venue
    t.child_status[row], t.child_marks[row] = _PENDING_NEW, y.SHOWN
    t.live[t.venue_session[venue]] += 1
    transition(t, 1, y.NO_STATUS, t.rank[_PENDING_NEW], 0)
    instrument, algo, currency = ints[at // 4 + f.NEW_INSTRUMENT], _algo(shorts, at), run.currencies - 1
    if 0 <= instrument < len(t.money_mul):
        currency = t.currency[instrument]
        t.routed[(venue * y.ALGOS + algo) * len(t.money_mul) + instrument] += words[w + f.NEW_QTY]
    t.child_group[row] = algo * run.currencies + currency
    t.by_venue[cell(t, row) + y.V_CHILDREN] += 1
    if t.now[0].algo == y.NO_ALGO:
        t.now[0].algo = algo
    parent = (words[w + f.NEW_PARENT_ID] & _COUNTER) - run.first_parent
    if run.first_parent < 0 or parent < 0 or parent >= run.parents or t.parent_marks[parent] & y.SHOWN == 0:
        t.checks[y.C_UNKNOWN_PARENT] += 1


@kernel
def _told(t: Tally, words: Any, small: Any, at: int, seq: int, template: int) -> None:
    """A report to a client: the order's new status, and what it says has been executed."""
    run, now, w = t.run[0], t.now[0], at // 8
    order_id = words[w + f.ORDER_ID]
    exec_type, status = int(small[at + f.EXEC_TYPE]), int(small[at + f.ORD_STATUS])
    if order_id <= 0 or order_id & CHILD_BIT != 0 or template == _CANCEL_REJECT:
        return
    counter = order_id & _COUNTER
    if run.first_parent < 0:
        run.first_parent = counter
    row = counter - run.first_parent
    if row < 0 or row >= len(t.parent_status):
        run.overflow += 1
        return
    cum = words[w + f.CUM_QTY]
    before = y.NO_STATUS
    if t.parent_marks[row] & y.SHOWN == 0:
        run.parents = max(run.parents, row + 1)
        t.parent_marks[row] = y.SHOWN
        t.parent_recv_ns[row], t.parent_cum[row], t.parent_algo[row] = now.recv_ns, 0, now.algo
    else:
        before = t.rank[t.parent_status[row] & 127]
    transition(t, 0, before, t.rank[status & 127], exec_type)
    if now.algo == y.NO_ALGO:
        now.algo = t.parent_algo[row]
    changed = exec_type == _TRADE_CANCEL or exec_type == _TRADE_CORRECT or template == _BUST or template == _CORRECT
    if not changed and cum < t.parent_cum[row]:
        t.checks[y.C_CUM_FELL] += 1
        note(t, y.CUM_FELL, seq, order_id, cum - t.parent_cum[row])
    elif template == _FILL and not changed and cum != t.parent_cum[row] + words[w + f.LAST_QTY]:
        t.checks[y.C_CUM_JUMPED] += 1
        note(t, y.CUM_JUMPED, seq, order_id, cum - t.parent_cum[row])
    if template == _FILL and status == _FILLED and t.parent_status[row] != _FILLED:
        tell(t, y.COMPLETE, now.recv_ns - t.parent_recv_ns[row])
    t.parent_cum[row], t.parent_status[row] = cum, status


@kernel
def _observation(t: Tally, words: Any, ints: Any, at: int, seq: int, input_seq: int, template: int) -> None:
    """Something that the driver measured."""
    if template == _STAGES:
        measured(t, words, ints, at)
    elif template == _SEND_RESULT:
        if ints[at // 4 + f.SEND_ERROR] != 0:
            _rare(t, at, seq, input_seq, _OBSERVATION, template)
    else:
        _rare(t, at, seq, input_seq, _OBSERVATION, template)
