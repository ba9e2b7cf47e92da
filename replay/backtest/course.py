"""The memory of a backtest's course: where it stands in the feed and the parents, and the numbers of its streams.

The kernel over it is `replay.backtest.drive`. Rows are filled by `replay.backtest.host`.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from engine.core.rows import ints
from engine.memory import Layout, Memory, memory, packed
from engine.record.records import ORDER, REPORT

#: Reports that the venues may hand over at once.
REPORTS: Final = 256

#: Places in the window are in units of 64 bytes. `venue_at` is the next record that its venue sees, `engine_at` the
#: next that the engine does, a feed latency later (at `market_ns`; 0 is not known yet); the window's records end at
#: `stop`, and the feed too where `ended`.
LINE: Final = ints(
    "venue_at engine_at stop ended window_address latency_ns last_ns now_ns end_ns epoch parent_at report_at"
    " market_ns market_last_ns seed"
    " market_inputs report_inputs timer_inputs parent_inputs"
)


@memory
class Course(Memory):
    """What `go` takes beside the engine's and the venues' own tables."""

    line: np.ndarray  # one row
    parents: np.ndarray  # ORDER_NEW records in the order of their times, which are `ts_event_ns`
    reports: np.ndarray  # the venues' out-buffer
    session_seqs: np.ndarray  # last number on each session, to the engine
    feed_seqs: np.ndarray  # last number on each venue's stream
    latencies: np.ndarray  # from a venue to the engine: quantiles (gateways.venues.latency); empty takes latency_ns
    LAYOUT: ClassVar[Layout] = packed(
        line=LINE, parents=ORDER, reports=REPORT, session_seqs="<i8", feed_seqs="<i8", latencies="<i8"
    )
