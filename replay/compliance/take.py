"""The kernels of the pass: frames of a chunk into a `Tally`.

An input is kept until the next one begins: what the core said of it (a refusal) and what was measured (STAGES) follow
it in the journal, so a report is booked only when its event is over and nobody refused it. Latencies are told from
STAGES; orders from what was acknowledged to clients and sent to venues, each in a row of its own, found by its counter.

Worst case: some 30 ns a frame; an order table's row is a cache miss.
"""

from __future__ import annotations

from typing import Any

from engine.core.ids import CHILD_BIT
from engine.io.atomics import leading_zeros
from engine.io.histogram import HIGHEST, SUB_BUCKETS
from engine.jit import kernel
from engine.record.records import Liquidity, OrdStatus, Template
from replay.compliance import fields as f
from replay.compliance import tally as y
from replay.compliance.tally import Tally

_CORRECT, _BUST = int(Template.CORRECT), int(Template.BUST)
_FILL, _REJECT, _CANCEL_REJECT = int(Template.FILL), int(Template.REJECT), int(Template.CANCEL_REJECT)
_REJECTED, _FILLED = int(OrdStatus.REJECTED), int(OrdStatus.FILLED)
_CANCELED, _EXPIRED = int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED)
_ADDED = int(Liquidity.ADDED)
_COUNTER = CHILD_BIT - 1
_CELL_MASK = SUB_BUCKETS - 1
_SLOT_NS = 10_000_000


@kernel
def tell(t: Tally, histogram: int, value: int) -> None:
    """Count a value in ns; one below 0 or above an hour beside the cells."""
    if value < t.lowest[histogram]:
        t.lowest[histogram] = value
    if value > t.highest[histogram]:
        t.highest[histogram] = value
    if value < 0:
        t.negative[histogram] += 1
        if histogram < y.INSIDE:  # the others tell the same values again
            note(t, y.NEGATIVE, t.now[0].seq, histogram, value)
    elif value > HIGHEST:
        t.over[histogram] += 1
    else:
        bucket = 53 - leading_zeros(value | _CELL_MASK)
        t.counts[histogram * y.CELLS + (bucket << 10) + (value >> bucket)] += 1


@kernel
def note(t: Tally, kind: int, seq: int, what: int, value: int) -> None:
    """List something, as long as there is room; all is counted elsewhere."""
    run = t.run[0]
    if run.listed < y.LISTED:
        row = t.listed[run.listed]
        row.kind, row.run, row.seq, row.what, row.value = kind, run.run, seq, what, value
        run.listed += 1


@kernel
def add_wide(t: Tally, high: int, value: int) -> None:
    """Add to a sum of two words: `by_venue[high]` counts 2^32s, the next place what is below."""
    t.by_venue[high] += value >> 32
    t.by_venue[high + 1] += value & 0xFFFFFFFF


@kernel
def ended(status: int) -> bool:
    """Whether an OrdStatus is a last one."""
    return status == _FILLED or status == _CANCELED or status == _EXPIRED or status == _REJECTED


@kernel
def transition(t: Tally, side: int, before: int, after: int, exec_type: int) -> None:
    """Count a change of status; `side` 0: towards clients, 1: from venues. Statuses are places."""
    place = ((side * y.STATUSES + before) * y.STATUSES + after) * y.EXECS + t.exec_place[exec_type & 127]
    t.transitions[place] += 1


@kernel
def child_row(t: Tally, order_id: int) -> int:
    """Row of a child order; -1 where this run's journal has not shown it."""
    run = t.run[0]
    if order_id <= 0 or order_id & CHILD_BIT == 0 or run.first_child < 0:
        return -1
    row = (order_id & _COUNTER) - run.first_child
    return row if 0 <= row < run.children and t.child_marks[row] & y.SHOWN != 0 else -1


@kernel
def cell(t: Tally, row: int) -> int:
    """Place in `by_venue` of the venue, strategy and currency of a child order's row."""
    groups = y.ALGOS * t.run[0].currencies
    return int((t.venue_place[t.child_venue[row]] * groups + t.child_group[row]) * y.V_COLUMNS)


@kernel
def algo_of(t: Tally, row: int) -> int:
    """Strategy of a child order's row."""
    return int(t.child_group[row] // t.run[0].currencies)


@kernel
def settle(t: Tally) -> None:
    """Book the venue's report that waited for the end of its event."""
    now = t.now[0]
    if now.pending == 0:
        return
    now.pending = 0
    t.checks[y.C_REPORTS] += 1
    row = child_row(t, now.p_order)
    if row < 0:
        t.checks[y.C_ORPHANS] += 1
        note(t, y.ORPHAN, now.p_seq, now.p_order, now.p_template)
        return
    before, exec_type = int(t.child_status[row]), int(now.p_exec)
    if now.p_template == _CANCEL_REJECT:
        return
    after = int(now.p_status)
    place = t.venue_place[t.child_venue[row]]
    transition(t, 1, t.rank[before & 127], t.rank[after & 127], exec_type)
    if t.child_marks[row] & y.ANSWERED == 0:
        t.child_marks[row] |= y.ANSWERED
        waited = now.recv_ns - t.child_sent_ns[row]
        tell(t, y.ANSWER, waited)
        tell(t, y.VENUE_ANSWER_0 + place, waited)
    if now.p_template == _FILL:
        _booked(t, row, place, ended(before))
    elif now.p_template == _REJECT:
        t.by_venue[cell(t, row) + y.V_REJECTS] += 1
        t.rejects[place * y.REASONS + (now.p_reason & 127)] += 1
    elif now.p_template == _BUST or now.p_template == _CORRECT:
        t.child_cum[row] = now.p_cum
    elif after == _CANCELED and before != _CANCELED:
        t.by_venue[cell(t, row) + y.V_CANCELS] += 1
    t.child_status[row] = after
    t.child_marks[row] &= ~y.CUM_DIFFERS
    if now.p_cum != t.child_cum[row]:
        t.child_marks[row] |= y.CUM_DIFFERS
    if ended(after) and not ended(before):
        t.live[t.venue_session[t.child_venue[row]]] -= 1
    elif ended(before) and not ended(after):
        t.live[t.venue_session[t.child_venue[row]]] += 1


@kernel
def _booked(t: Tally, row: int, place: int, late: bool) -> None:
    """An execution of a child: its quantity, money and fee, and how long the first one took."""
    now = t.now[0]
    base = cell(t, row)
    if t.child_marks[row] & y.FILLED_ONCE == 0:
        t.child_marks[row] |= y.FILLED_ONCE
        waited = now.recv_ns - t.child_sent_ns[row]
        tell(t, y.FIRST_FILL, waited)
        tell(t, y.VENUE_FILL_0 + place, waited)
        t.by_venue[base + y.V_FIRST_FILLS] += 1
    if late:
        t.by_venue[base + y.V_LATE] += 1
        t.checks[y.C_LATE_FILLS] += 1
    t.child_cum[row] += now.p_qty
    t.by_venue[base + y.V_FILLS] += 1
    instrument, venue = now.p_instrument, t.child_venue[row]
    if instrument < 0 or instrument >= len(t.money_mul):
        return
    t.filled[(venue * y.ALGOS + algo_of(t, row)) * len(t.money_mul) + instrument] += now.p_qty
    money = now.p_px * now.p_qty * t.money_mul[instrument] // t.money_div[instrument]
    if now.p_added == _ADDED:
        t.by_venue[base + y.V_ADDED] += 1
        fee = t.make_fee[venue] * now.p_qty + money // 1_000_000 * t.make_ppm[venue]
    else:
        fee = t.take_fee[venue] * now.p_qty + money // 1_000_000 * t.take_ppm[venue]
    add_wide(t, base + y.V_MONEY_HIGH, money)
    add_wide(t, base + y.V_FEE_HIGH, fee)


@kernel
def peak(t: Tally, side: int, time_ns: int, seq: int) -> None:
    """A message at a time, in or out: the most within each window so far."""
    end = side * (len(y.WINDOWS_NS) + 1)
    ring = side * y.RING
    count = t.ends[end] + 1
    t.times[ring + (t.ends[end] & (y.RING - 1))] = time_ns
    t.ends[end] = count
    for w in range(len(y.WINDOWS_NS)):
        tail = max(t.ends[end + 1 + w], count - y.RING)
        since_ns = time_ns - y.WINDOWS_NS[w]
        while tail < count and t.times[ring + (tail & (y.RING - 1))] <= since_ns:
            tail += 1
        t.ends[end + 1 + w] = tail
        best = (side * len(y.WINDOWS_NS) + w) * 4
        if count - tail > t.peaks[best]:
            t.peaks[best], t.peaks[best + 1] = count - tail, time_ns
            t.peaks[best + 2], t.peaks[best + 3] = t.run[0].run, seq


@kernel
def rate(t: Tally, time_ns: int) -> None:
    """Count an input to the message rate of the tenth of a second before now."""
    run = t.run[0]
    slot = time_ns // _SLOT_NS
    if slot > run.rate_slot:
        for gone in range(min(slot - run.rate_slot, 10)):
            k = (run.rate_slot + 1 + gone) % 10
            run.rate_sum -= t.rate[k]
            t.rate[k] = 0
        run.rate_slot = slot
    t.rate[slot % 10] += 1
    run.rate_sum += 1


@kernel
def _widen(t: Tally) -> None:
    """Make the bins of time twice as long: each two become one, exactly."""
    for b in range(y.BINS):
        target = (y.BIN_0 + b) * y.CELLS
        one, two = (y.BIN_0 + 2 * b) * y.CELLS, (y.BIN_0 + 2 * b + 1) * y.CELLS
        lowest, highest, below, above = 1 << 62, 0, 0, 0
        cells = t.counts[target : target + y.CELLS]
        if 2 * b >= y.BINS:
            cells[:] = 0
        else:
            cells[:] = t.counts[one : one + y.CELLS]
            cells += t.counts[two : two + y.CELLS]
            lowest = min(t.lowest[y.BIN_0 + 2 * b], t.lowest[y.BIN_0 + 2 * b + 1])
            highest = max(t.highest[y.BIN_0 + 2 * b], t.highest[y.BIN_0 + 2 * b + 1])
            below = t.negative[y.BIN_0 + 2 * b] + t.negative[y.BIN_0 + 2 * b + 1]
            above = t.over[y.BIN_0 + 2 * b] + t.over[y.BIN_0 + 2 * b + 1]
        t.lowest[y.BIN_0 + b], t.highest[y.BIN_0 + b] = lowest, highest
        t.negative[y.BIN_0 + b], t.over[y.BIN_0 + b] = below, above
    t.run[0].bin_ns *= 2


@kernel
def measured(t: Tally, words: Any, ints: Any, at: int) -> None:
    """A STAGES observation of the input at hand."""
    now, run = t.now[0], t.run[0]
    if words[at // 8 + f.STAGE_INPUT] != now.seq:
        return
    t.checks[y.C_STAGES] += 1
    for stage in range(y.TOTAL):
        tell(t, stage, ints[at // 4 + f.STAGE_0 + stage])
    total, time_ns = words[at // 8 + f.STAGE_TOTAL], now.recv_ns
    tell(t, y.TOTAL, total)
    strategy = run.strategy * y.ALGOS + now.algo
    tell(t, y.STRATEGY_0 + strategy, total)
    if now.venue >= 0:
        tell(t, y.VENUE_0 + t.venue_place[now.venue], total)
    half = time_ns // 1_800_000_000_000 % 48
    tell(t, y.HALF_0 + half, total)
    tell(t, y.RATE_0 + min(64 - leading_zeros(max(run.rate_sum * 10, 1)), y.RATES) - 1, total)
    while time_ns - run.bin_origin_ns >= run.bin_ns * y.BINS:
        _widen(t)
    tell(t, y.BIN_0 + max(time_ns - run.bin_origin_ns, 0) // run.bin_ns, total)
    kind = _excursion(t, time_ns)
    inside = y.INSIDE + 2 * (kind - 1)
    if kind != 0:
        tell(t, inside, total)
    if run.live_clock:
        tell(t, y.IN_LOOP, now.queue_ns + total)
        if now.event_ns > 0:
            response = time_ns - now.event_ns + now.queue_ns + total
            tell(t, y.RESPONSE, response)
            tell(t, y.HALF_RESPONSE_0 + half, response)
            tell(t, y.STRATEGY_RESPONSE_0 + strategy, response)
            if kind != 0:
                tell(t, inside + 1, response)
    now.busy_ns = total


@kernel
def _excursion(t: Tally, time_ns: int) -> int:
    """The kind of excursion that the clock was in at a time, 0 of none; times come in order, so the place is kept."""
    run = t.run[0]
    while run.excursion < run.excursions and t.excursions[3 * run.excursion + 1] <= time_ns:
        run.excursion += 1
    if run.excursion < run.excursions and t.excursions[3 * run.excursion] <= time_ns:
        return int(t.excursions[3 * run.excursion + 2])
    return 0
