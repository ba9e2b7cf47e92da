"""The loop's own memory: links, clocks, counters, histograms, the journal's table. The core never sees it.

`Wiring` is what the host (`engine.run.host_loop`) fills before the loop starts and the loop alone writes afterwards.
Other threads reach it through a word of `flags`, with atomics, and through the shared stats file, which they only read.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from engine.core.rows import ints
from engine.io.journal import JOURNAL
from engine.io.journal_sync import SYNC
from engine.memory import Layout, Memory, memory, packed
from engine.record.records import DTYPES, Template

#: Stages of an event's way, in order; a histogram each, in ns.
STAGES: Final = ("receive", "decode", "book", "decide", "risk", "journal", "encode", "send", "total")
RECEIVE, DECODE, BOOK, DECIDE, RISK, JOURNAL_STAGE, ENCODE, SEND, TOTAL = range(len(STAGES))

#: Transports of a link. A ROUTER's peers are rows of their own; the ROUTER's row only receives for them.
#: NOWHERE takes everything and sends nothing: rehearsals and benchmarks of the path without a wire.
NOWHERE, ZMQ_SUB, ZMQ_ROUTER, ZMQ_PEER, SHM = range(5)
#: Clocks.
CLOCK_MONOTONIC, CLOCK_FEED = 0, 1
#: Idle strategies.
IDLE_SPIN, IDLE_YIELD, IDLE_PARK = 0, 1, 2

#: Bytes that one message may have, and where the local inbox begins in the event buffer.
RECEIVE_BYTES: Final = 65536
#: Records that the driver itself puts in front of the core (timers, lost peers, orders that could not be sent).
INBOX: Final = 512

#: A way in or out. `source` is an admit.FROM_*; `session` the row of State.sessions, -1 for a feed. The last line is
#: for clients (engine.run.resend): `backlog` is the ring of what is sent again, `next_seq` the number to send next, or
#: the first that was sent as it came; `held` counts what waits for the disk (engine.run.held). A venue's link is
#: `broken` from a gap in its numbers to its hello; `breaks` counts these, in a row without a record between them.
LINK: Final = ints(
    "transport source session socket rx tx id0 id1 id_bytes up heard_ns beat_ns seen_epoch seen_seq"
    " messages records bytes malformed sent send_errors dropped"
    " backlog catching_up next_seq full_ns held broken breaks"
)
#: A word or two between the loop and the thread that looks for what a client missed, a cache line a link.
ASK: Final = ints("generation active from_seq spare_0 spare_1 spare_2 spare_3 spare_4")
#: The queue of what waits for the disk.
HELD: Final = ints("head count crowded spare")
#: The loop's scalars.
LINE: Final = ints(
    "clock_mode clock_ns clock_offset_ns feed_clock_ns tsc_mul stream_epoch router n_links first_session idle"
    " threshold_ns peer_timeout_ns heartbeat_ns housekeeping_ns sampled_ns event_address outbox_address"
    " inbox_head inbox_count links_address sender catching_up input_seq halted"
    " roll_at_ns roll_ns day_end_ns weekends began_ns patient_until_ns patience_ns long_stall short cut waited"
    " clock_tsc"  # the counter when the clock was read
)
#: What the loop counts about itself.
LOOP_COUNTERS: Final = (
    "cycles empty_polls messages records longest_cycle_ns cycles_over_threshold inputs outputs observations"
    " journal_stalls sent send_errors dropped malformed inbox_overflow heartbeats parks deferred resent resets"
    " records_gone stalls sync_stalls broken_off out_of_place answers_lost feed_waits"
).split()
(
    L_CYCLES,
    L_EMPTY_POLLS,
    L_MESSAGES,
    L_RECORDS,
    L_LONGEST_CYCLE_NS,
    L_OVER_THRESHOLD,
    L_INPUTS,
    L_OUTPUTS,
    L_OBSERVATIONS,
    L_JOURNAL_STALLS,
    L_SENT,
    L_SEND_ERRORS,
    L_DROPPED,
    L_MALFORMED,
    L_INBOX_OVERFLOW,
    L_HEARTBEATS,
    L_PARKS,
    L_DEFERRED,
    L_RESENT,
    L_RESETS,
    L_RECORDS_GONE,
    L_STALLS,
    L_SYNC_STALLS,
    L_BROKEN_OFF,
    L_OUT_OF_PLACE,
    L_ANSWERS_LOST,
    L_FEED_WAITS,
) = range(len(LOOP_COUNTERS))
#: What onlookers read together, under one seqlock in the stats file.
PROGRESS: Final = ints(
    "monotonic_ns clock_ns inputs outputs sent parents_in parents_done live_parents live_children fills"
)
#: Words of `flags`, eight bytes each: the host stores them, the loop loads them.
FLAG_STOP: Final = 0
#: What FLAG_STOP holds: 1 to end in order, FLAG_HALT to end at once.
FLAG_HALT: Final = 2

assert len(LINE.names or ()) <= 40
assert len(LINK.names or ()) <= 30
assert ASK.itemsize == 64


STAGES_RECORD: Final = DTYPES[Template.STAGES]
SEND_RECORD: Final = DTYPES[Template.SEND_RESULT]
RESET_RECORD: Final = DTYPES[Template.SEQUENCE_RESET]


@memory
class Wiring(Memory):
    """The loop's memory. `flags` and `links` live for the run; `hist` and `published` lie in the stats file."""

    line: np.ndarray
    links: np.ndarray
    flags: np.ndarray
    counters: np.ndarray
    published: np.ndarray
    hist: np.ndarray
    journal: np.ndarray
    stamps: np.ndarray
    stage_ticks: np.ndarray
    stages: np.ndarray
    send_result: np.ndarray
    output_seqs: np.ndarray
    identity: np.ndarray
    gauges: np.ndarray
    progress: np.ndarray
    progress_lock: np.ndarray
    beat: np.ndarray
    sample: np.ndarray
    asks: np.ndarray
    reset: np.ndarray
    sync: np.ndarray
    held: np.ndarray
    held_words: np.ndarray
    held_seqs: np.ndarray
    LAYOUT: ClassVar[Layout] = packed(
        line=LINE,
        links=LINK,
        flags="<i8",
        counters="<i8",
        published="<i8",
        hist="<i8",
        journal=JOURNAL,
        stamps="<i8",
        stage_ticks="<i8",
        stages=STAGES_RECORD,
        send_result=SEND_RECORD,
        output_seqs="<i8",
        identity="<i8",
        gauges="<i8",
        progress=PROGRESS,
        progress_lock="<i8",
        beat=DTYPES[Template.HEARTBEAT],
        sample=DTYPES[Template.CLOCK_SAMPLE],
        asks=ASK,
        reset=RESET_RECORD,
        sync=SYNC,
        held=HELD,
        held_words="<i8",
        held_seqs="<i8",
    )


def make_flags() -> np.ndarray:
    """The words that the host and the loop share: int64[8], one cache line."""
    return np.zeros(8, dtype=np.int64)
