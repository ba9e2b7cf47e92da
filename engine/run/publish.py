"""Figures for onlookers: what the loop copies into the shared stats file once a millisecond.

One word a counter, one counter a cache line, each stored with release ordering: a reader never sees half a number, and
costs the loop nothing. Order: `PUBLISHED`. The loop's own counters first, then the core's, then gauges.
"""

from __future__ import annotations

from typing import Final

from engine.core.state import (
    C_FILLS,
    C_PARENTS_ACCEPTED,
    C_PARENTS_REJECTED,
    COUNTERS,
    State,
)
from engine.io.atomics import monotonic_ns, store_release
from engine.io.stats import write_begin, write_end
from engine.jit import kernel
from engine.run.held import durable_seq
from engine.run.wiring import L_INPUTS, L_OUTPUTS, L_SENT, LOOP_COUNTERS, Wiring

#: Gauges: values that go up and down.
GAUGES: Final = (
    "clock_ns heartbeat_ns live_parents live_children unknown_children killed armed_timers work_queue sessions_up"
    " journal_next_seq journal_segment halted"
    " durable_seq held_for_disk sync_last_ns sync_longest_ns free_mib"
).split()
#: Names of the published words, in order.
PUBLISHED: Final = tuple(LOOP_COUNTERS) + tuple(COUNTERS) + tuple(GAUGES)
#: Words between two counters: each has a cache line.
SPACING: Final = 8

_N_LOOP, _N_CORE = len(LOOP_COUNTERS), len(COUNTERS)


@kernel
def publish(state: State, w: Wiring) -> None:
    """Store every figure of PUBLISHED."""
    address = w.published.ctypes.data
    at = 0
    for n in range(_N_LOOP):
        store_release(address + 8 * SPACING * at, w.counters[n])
        at += 1
    for n in range(_N_CORE):
        store_release(address + 8 * SPACING * at, state.counts[n])
        at += 1
    core = state.core[0]
    up = 0
    for n in range(state.params[0].n_sessions):
        up += int(state.sessions[n].up)
    row = w.journal[0]
    gauges = w.gauges
    gauges[0] = w.line[0].clock_ns
    gauges[1] = monotonic_ns()
    gauges[2] = core.live_parents
    gauges[3] = core.live_children
    gauges[4] = core.unknown_children
    gauges[5] = core.killed
    gauges[6] = core.timer_count
    gauges[7] = core.work_count
    gauges[8] = up
    gauges[9] = row.next_seq
    gauges[10] = row.segment
    gauges[11] = w.line[0].halted
    gauges[12] = durable_seq(w)
    gauges[13] = w.held[0].count
    gauges[14] = w.sync[0].last_ns
    gauges[15] = w.sync[0].longest_ns
    gauges[16] = row.free_mib
    for n in range(len(gauges)):
        store_release(address + 8 * SPACING * at, gauges[n])
        at += 1
    _progress(state, w)


@kernel
def _progress(state: State, w: Wiring) -> None:
    """The figures that must fit together, written under the seqlock."""
    lock = w.progress_lock.ctypes.data
    core, row = state.core[0], w.progress[0]
    taken = state.counts[C_PARENTS_ACCEPTED] + state.counts[C_PARENTS_REJECTED]
    write_begin(lock)
    row.monotonic_ns = w.gauges[1]
    row.clock_ns = w.line[0].clock_ns
    row.inputs = w.counters[L_INPUTS]
    row.outputs = w.counters[L_OUTPUTS]
    row.sent = w.counters[L_SENT]
    row.parents_in = taken
    row.parents_done = taken - core.live_parents
    row.live_parents = core.live_parents
    row.live_children = core.live_children
    row.fills = state.counts[C_FILLS]
    write_end(lock)
