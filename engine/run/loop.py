"""The loop: one thread, one core, nopython code from here down.

    while not stopped:
        work = duty_cycle()      # clock; timers; feeds; orders; housekeeping
        measure the cycle
        if no work: idle

`run_loop` is called once, in its own thread, with the GIL released, and returns when the host stores FLAG_STOP. The
host's main thread takes signals; it reaches the loop by that flag and by the control ring, never by the interpreter.

Idle strategies: spin (production: a core of its own), yield (shares the core when another thread wants it), park
(sleeps 50 us after some empty cycles: laptops and tests; adds that to the latency).

Worst case of a cycle: BURST messages from each link, each of up to 1,024 records. The longest cycle is measured.
"""

from __future__ import annotations

from engine.core.state import FROM_CONTROL, FROM_FEED, Events, Outbox, State
from engine.core.step import cancels_due, next_deadline
from engine.io.atomics import cpu_pause, load_acquire, monotonic_ns, nap, sched_yield, tsc
from engine.jit import kernel
from engine.record.records import UNIT, Template
from engine.run.days import put_roll
from engine.run.held import crowded, flush, has_room, release
from engine.run.housekeeping import housekeeping
from engine.run.inbox import drop_local, free_slot, next_local, put
from engine.run.journaling import short_of_room
from engine.run.meter import ticks_to_ns
from engine.run.pump import pump
from engine.run.receive import framed, poll_link, take_in
from engine.run.resend import resend
from engine.run.stall import patient, stand_still, watch_stall
from engine.run.wiring import (
    CLOCK_FEED,
    FLAG_STOP,
    IDLE_PARK,
    IDLE_SPIN,
    L_CYCLES,
    L_EMPTY_POLLS,
    L_LONGEST_CYCLE_NS,
    L_MESSAGES,
    L_OVER_THRESHOLD,
    L_PARKS,
    L_RECORDS,
    Wiring,
)

#: Messages taken from one link before the next link has its turn.
BURST = 16
#: Empty cycles before `park` sleeps, and for how long.
_PARK_AFTER, _PARK_NS = 200, 50_000
#: Ticks after which a cycle reads its clock again, some milliseconds at any counter's rate.
LONG_TICKS = 5_000_000
_TIMER = int(Template.TIMER)


@kernel
def run_loop(state: State, events: Events, outbox: Outbox, w: Wiring) -> int:
    """Run duty cycles until FLAG_STOP; returns 0. Call it in a thread of its own: it holds no GIL and no lock."""
    flags = w.flags.ctypes.data
    idle_cycles = 0
    while load_acquire(flags + FLAG_STOP) == 0:
        began = tsc()
        work = duty_cycle(state, events, outbox, w)
        if work > 0:
            idle_cycles = 0
            _measure_cycle(w, tsc() - began)
        else:
            idle_cycles += 1
            _idle(w, idle_cycles)
    flush(events, w, 0)
    return 0


@kernel
def duty_cycle(state: State, events: Events, outbox: Outbox, w: Wiring) -> int:
    """Everything once; returns the number of events taken in."""
    w.counters[L_CYCLES] += 1
    read_clock(w)
    work = release(events, w)
    if crowded(w):
        stand_still(w)
        # What was too late to be sent has made room for what follows from that, and more of it would not be told.
        while has_room(w) and _local_event(state, events, outbox, w):
            work += 1
    else:
        work += _local_events(state, events, outbox, w)
        for row in range(w.line[0].n_links):
            work += drain(state, events, outbox, w, row)
    # After the links: a report that is already here goes before the time-out of its order.
    if not crowded(w):
        work += _timers(state, events, outbox, w)
    work += resend(state, w)
    housekeeping(state, events, w)
    return work


@kernel
def read_clock(w: Wiring) -> None:
    """Set the cycle's time: the monotonic clock plus the run's offset, or the feed's; it never falls."""
    line = w.line[0]
    line.clock_tsc = tsc()
    if line.clock_mode == CLOCK_FEED:
        now = int(line.feed_clock_ns)
    else:
        now = int(monotonic_ns())
        watch_stall(w, now)
        now += int(line.clock_offset_ns)
    if now > line.clock_ns:
        line.clock_ns = now


@kernel
def _catch_up(w: Wiring) -> None:
    """Read the clock again where the loop was kept from its core since the cycle began: what it takes in now is decided
    by the time that it is."""
    if tsc() - w.line[0].clock_tsc > LONG_TICKS:
        read_clock(w)


@kernel
def drain(state: State, events: Events, outbox: Outbox, w: Wiring, row: int) -> int:
    """Take up to BURST messages from one link; returns the events taken in."""
    taken = 0
    for _ in range(BURST):
        if crowded(w) or (w.links[row].source == FROM_FEED and short_of_room(w)):
            break
        started = tsc()
        n = poll_link(w, row)
        if n <= 0:
            if n == 0:
                w.counters[L_EMPTY_POLLS] += 1
            break
        _catch_up(w)
        taken += _message(state, events, outbox, w, row, n, started)
        if w.line[0].clock_mode == CLOCK_FEED:
            taken += _timers(state, events, outbox, w)  # the message has moved the clock
        taken += _commands(state, events, outbox, w)
    return taken


@kernel
def _message(state: State, events: Events, outbox: Outbox, w: Wiring, row: int, n: int, started: int) -> int:
    """Take in the n-byte message of link `row` that is in the receive buffer; returns the events taken in."""
    taken, at = 0, 0
    w.counters[L_MESSAGES] += 1
    while at < n:
        size = framed(events, w, row, at, n)
        if take_in(state, events, w, at):
            w.counters[L_RECORDS] += 1
            started = pump(state, events, at // UNIT, outbox, w, started)
            if started < 0:
                return taken
            taken += 1
        at += size
    return taken + _local_events(state, events, outbox, w)


@kernel
def _commands(state: State, events: Events, outbox: Outbox, w: Wiring) -> int:
    """Between two messages: a command does not wait for the feeds, nor do the cancels of a mass cancel."""
    taken, control = 0, int(w.line[0].n_links) - 1
    if w.links[control].source != FROM_CONTROL:
        return 0
    started = tsc()
    n = poll_link(w, control)
    while n > 0:
        _catch_up(w)
        taken += _message(state, events, outbox, w, control, n, started)
        n = 0 if taken >= BURST else poll_link(w, control)
    flags = w.flags.ctypes.data
    while cancels_due(state) <= w.line[0].clock_ns and load_acquire(flags + FLAG_STOP) == 0 and not crowded(w):
        more = _timers(state, events, outbox, w)
        if more == 0:
            break
        taken += more
    return taken


@kernel
def _local_events(state: State, events: Events, outbox: Outbox, w: Wiring) -> int:
    """Take in what the driver itself has to say (see engine.run.inbox)."""
    taken = 0
    while _local_event(state, events, outbox, w):
        taken += 1
    return taken


@kernel
def _local_event(state: State, events: Events, outbox: Outbox, w: Wiring) -> bool:
    """Take in the oldest of these; False where there is none, or the run was stopped at it."""
    i = next_local(w)
    if i < 0:
        return False
    events.head[i].ts_recv_ns = w.line[0].clock_ns
    if pump(state, events, i, outbox, w, tsc()) < 0:
        return False
    drop_local(w)
    return True


@kernel
def _timers(state: State, events: Events, outbox: Outbox, w: Wiring) -> int:
    """Journal and take in a TIMER for each deadline that is due, and a ROLL where the trading day is over.

    More follow at once while work is left over. After a stall only what waits for no peer: a mass cancel goes on.
    """
    taken, waits = 0, patient(w)
    deadline = cancels_due(state) if waits else next_deadline(state)
    while deadline <= w.line[0].clock_ns and taken < BURST:
        i = free_slot(w)
        if i < 0:
            break
        put(events, w, i, _TIMER, UNIT)
        events.timer[i].deadline_ns = deadline
        events.timer[i].cancels_only = 1 if waits else 0
        more = _local_events(state, events, outbox, w)
        if more == 0:
            break  # stopped: the journal took nothing
        taken += more
        deadline = cancels_due(state) if waits else next_deadline(state)
    if waits:
        return taken
    if w.line[0].clock_ns >= w.line[0].roll_at_ns and put_roll(state, events, w):
        taken += _local_events(state, events, outbox, w)
    return taken


@kernel
def _measure_cycle(w: Wiring, ticks: int) -> None:
    ns = ticks_to_ns(w, ticks)
    if ns > w.counters[L_LONGEST_CYCLE_NS]:
        w.counters[L_LONGEST_CYCLE_NS] = ns
    if ns > w.line[0].threshold_ns:
        w.counters[L_OVER_THRESHOLD] += 1


@kernel
def _idle(w: Wiring, idle_cycles: int) -> None:
    """Do with an empty cycle what the configuration says."""
    strategy = w.line[0].idle
    if strategy == IDLE_SPIN:
        cpu_pause()
    elif strategy == IDLE_PARK and idle_cycles > _PARK_AFTER:
        w.counters[L_PARKS] += 1
        nap(_PARK_NS)
    else:
        sched_yield()
