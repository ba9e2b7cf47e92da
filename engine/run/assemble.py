"""Putting a loop's memory together: state, event buffer, outbox and wiring around a journal and figures.

The live engine, the rehearsal before it, and the benchmarks all use these, so that what is measured is what runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.core.limits import OUTBOX
from engine.core.state import Events, Outbox, State, make_outbox, view_events
from engine.io.atomics import monotonic_ns, tsc
from engine.io.histogram import LENGTH
from engine.io.journal_sync import SYNC
from engine.io.mapping import aligned_zeros
from engine.jit import kernel
from engine.record.records import RECORD_MAX, UNIT, Template, blank
from engine.run.config import Config
from engine.run.days import set_calendar
from engine.run.held import CAPACITY
from engine.run.meter import TSC_SHIFT
from engine.run.publish import GAUGES, PUBLISHED, SPACING
from engine.run.wiring import (
    ASK,
    CLOCK_FEED,
    CLOCK_MONOTONIC,
    HELD,
    IDLE_PARK,
    IDLE_SPIN,
    IDLE_YIELD,
    INBOX,
    LINE,
    LINK,
    LOOP_COUNTERS,
    NOWHERE,
    PROGRESS,
    RECEIVE_BYTES,
    STAGES,
    Wiring,
    make_flags,
)

_IDLE = {"spin": IDLE_SPIN, "yield": IDLE_YIELD, "park": IDLE_PARK}


class Loop(NamedTuple):
    """The four arguments of `run_loop`."""

    state: State
    events: Events
    outbox: Outbox
    wiring: Wiring


class Figures(NamedTuple):
    """Where the loop's figures go: int64 arrays in the stats file, or plain memory."""

    published: np.ndarray
    hist: np.ndarray
    progress: np.ndarray
    progress_lock: np.ndarray


def plain_figures() -> Figures:
    """Figures that nobody else reads."""
    return Figures(
        published=aligned_zeros(len(PUBLISHED) * SPACING, np.dtype("<i8")),
        hist=aligned_zeros(len(STAGES) * LENGTH, np.dtype("<i8")),
        progress=aligned_zeros(1, PROGRESS),
        progress_lock=np.zeros(1, dtype=np.int64),
    )


@kernel
def _ticks_in(span_ns: int) -> tuple[int, int]:
    """(ticks, ns) that pass while the monotonic clock goes on by at least `span_ns`."""
    began_ns, began = monotonic_ns(), tsc()
    now_ns = began_ns
    while now_ns - began_ns < span_ns:
        now_ns = monotonic_ns()
    return tsc() - began, now_ns - began_ns


def calibrate_tsc(seconds: float = 0.05) -> int:
    """Nanoseconds a tick of the time stamp counter, times 2^24, measured against CLOCK_MONOTONIC."""
    _ticks_in(1)  # compiled or loaded here, not inside the measurement
    ticks, ns = _ticks_in(int(seconds * 1e9))
    return max((ns << TSC_SHIFT) // max(ticks, 1), 1)


def nowhere(config: Config) -> np.ndarray:
    """Links for every session that take all that is sent."""
    rows = np.zeros(len(config.session), dtype=LINK)
    rows["transport"] = NOWHERE
    rows["session"] = np.arange(len(rows))
    rows["source"] = [1 if session.role == "client" else 2 for session in config.session]
    rows["up"] = 1
    rows["heard_ns"] = 1 << 62
    return rows


def assemble(
    config: Config,
    state: State,
    journal: np.ndarray,
    *,
    stream_epoch: int,
    clock_offset_ns: int,
    tsc_mul: int,
    links: np.ndarray | None = None,
    figures: Figures | None = None,
    sync: np.ndarray | None = None,
) -> Loop:
    """Memory for a loop over `state` that appends to `journal` (a JOURNAL table).

    Without `links` events are put by hand, and what is sent goes nowhere. `sync` is a Syncer's table: what is to be
    sent then waits for it.
    """
    room = CAPACITY if sync is not None else 0
    buffer = aligned_zeros(RECEIVE_BYTES + INBOX * RECORD_MAX + 2 * UNIT, np.dtype(np.uint8))
    events, outbox = view_events(buffer), make_outbox(OUTBOX)
    rows = links if links is not None else nowhere(config)
    figures = figures or plain_figures()
    line = aligned_zeros(1, LINE)
    row = line[0]
    row.clock_mode = CLOCK_FEED if config.engine.clock == "feed" else CLOCK_MONOTONIC
    row.clock_offset_ns = clock_offset_ns
    row.tsc_mul = tsc_mul
    row.stream_epoch = stream_epoch
    row.n_links = len(rows)
    row.input_seq = -1
    row.idle = _IDLE[config.engine.idle]
    row.threshold_ns = config.engine.threshold_us * 1000
    row.peer_timeout_ns = config.engine.peer_timeout_ms * 1_000_000
    row.heartbeat_ns = config.engine.heartbeat_ms * 1_000_000
    row.event_address = buffer.ctypes.data
    row.outbox_address = outbox.words.ctypes.data
    row.links_address = rows.ctypes.data
    set_calendar(config, state, row)
    wiring = Wiring(
        line=line,
        links=rows,
        flags=make_flags(),
        counters=aligned_zeros(len(LOOP_COUNTERS), np.dtype("<i8")),
        published=figures.published,
        hist=figures.hist,
        progress=figures.progress,
        progress_lock=figures.progress_lock,
        journal=journal,
        stamps=aligned_zeros(8, np.dtype("<i8")),
        stage_ticks=aligned_zeros(16, np.dtype("<i8")),
        stages=blank(Template.STAGES),
        send_result=blank(Template.SEND_RESULT),
        output_seqs=aligned_zeros(OUTBOX, np.dtype("<i8")),
        identity=aligned_zeros(2, np.dtype("<i8")),
        gauges=aligned_zeros(len(GAUGES), np.dtype("<i8")),
        beat=blank(Template.HEARTBEAT),
        sample=blank(Template.CLOCK_SAMPLE),
        asks=aligned_zeros(len(rows), ASK),
        reset=blank(Template.SEQUENCE_RESET),
        sync=sync if sync is not None else aligned_zeros(1, SYNC),
        held=aligned_zeros(1, HELD),
        held_words=aligned_zeros(room * (RECORD_MAX // 8), np.dtype("<i8")),
        held_seqs=aligned_zeros(room, np.dtype("<i8")),
    )
    return Loop(state, events, outbox, wiring)
