"""Measuring: ticks of the time stamp counter into HDR histograms, and the STAGES observation of an event.

A histogram a stage lies in the shared stats file, cumulative, so anyone can read it while the loop runs.
"""

from __future__ import annotations

from engine.core.state import Events
from engine.io.histogram import LENGTH, record
from engine.jit import kernel
from engine.run.wiring import (
    BOOK,
    DECIDE,
    DECODE,
    ENCODE,
    JOURNAL_STAGE,
    RECEIVE,
    RISK,
    SEND,
    TOTAL,
    Wiring,
)

#: `tsc_mul` is nanoseconds a tick times 2^24.
TSC_SHIFT = 24


@kernel
def ticks_to_ns(w: Wiring, ticks: int) -> int:
    """Nanoseconds of a difference of counters; good for differences up to nine minutes."""
    return int((ticks * w.line[0].tsc_mul) >> TSC_SHIFT)


@kernel
def measure(w: Wiring, stage: int, ticks: int) -> None:
    """Record one duration (ticks) in a stage's histogram (ns)."""
    record(w.hist[stage * LENGTH : (stage + 1) * LENGTH], ticks_to_ns(w, ticks))


@kernel
def measure_stages(w: Wiring, sent: int) -> None:
    """Record `stage_ticks`; encode and send where something was sent, decide and risk where there was a turn."""
    for stage in range(TOTAL + 1):
        if stage == ENCODE or stage == SEND:
            happened = sent > 0
        else:
            happened = (stage != DECIDE and stage != RISK) or w.stage_ticks[DECIDE] > 0
        if happened:
            measure(w, stage, int(w.stage_ticks[stage]))


@kernel
def _short_ns(w: Wiring, stage: int) -> int:
    """A stage's time as the record holds it: ns up to 2^31 - 1 (two seconds), longer ones as that."""
    return int(min(ticks_to_ns(w, int(w.stage_ticks[stage])), 0x7FFFFFFF))


@kernel
def note_stages(w: Wiring, events: Events, i: int, input_seq: int, sent: int) -> None:
    """Fill the STAGES record (128 bytes) of event i from `stage_ticks`."""
    note = w.stages[0]
    note.ts_event_ns = w.line[0].clock_ns
    note.input_seq = input_seq
    note.receive_ns = _short_ns(w, RECEIVE)
    note.decode_ns = _short_ns(w, DECODE)
    note.book_ns = _short_ns(w, BOOK)
    note.decide_ns = _short_ns(w, DECIDE)
    note.risk_ns = _short_ns(w, RISK)
    note.journal_ns = _short_ns(w, JOURNAL_STAGE)
    note.encode_ns = _short_ns(w, ENCODE)
    note.send_ns = _short_ns(w, SEND)
    note.total_ns = ticks_to_ns(w, int(w.stage_ticks[TOTAL]))
    note.input_template = events.head[i].template_id
    note.outputs = sent
    note.clock_ns = w.line[0].clock_ns
