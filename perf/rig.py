"""The memory of the `core` and `steady` drivers: a day in memory, a client that orders, a venue that fills at once.

The kernel over it is `perf.drive.play`. `Rig` is a Memory, so that it is one pointer to the kernel, as the engine's own
tables are. Worst case: the day is held in memory once more, with the streams' epoch stamped.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from engine.core.rows import ints
from engine.io.histogram import LENGTH
from engine.io.mapping import aligned_zeros
from engine.memory import Layout, Memory, memory, packed
from engine.record.records import ORDER, REPORT, OrdType, Side, Template, Tif, blank
from engine.run.assemble import Loop
from engine.run.config import Config
from gateways.feeds.recording import Recording
from perf.desk import CLIENT, VENUES

#: Fills that wait to be fed back; a step sends 14 children at most, and each is answered before the next market event.
PENDING: Final = 256
#: What the driver keeps between calls.
LINE: Final = ints(
    "at records time_shift_ns span_ns every until_order cl_ord_id exec_no client_seq venue_seq head waiting feed_row"
    " events routed orders kind max_resting data_address"
)


@memory
class Rig(Memory):
    """What `play` takes beside the loop's four arguments."""

    line: np.ndarray
    offsets: np.ndarray
    data: np.ndarray
    seq_shift: np.ndarray
    seq_round: np.ndarray
    order: np.ndarray
    fill: np.ndarray
    pending: np.ndarray
    routing: np.ndarray
    answers: np.ndarray
    paced: np.ndarray
    #: A `struct rusage`; and page faults of the kernels' own, minor and major.
    usage: np.ndarray
    faults: np.ndarray
    LAYOUT: ClassVar[Layout] = packed(
        line=LINE, offsets="<i8", data="<i8", seq_shift="<i8", seq_round="<i8", order=ORDER, fill=REPORT,
        pending=REPORT, routing="<i8", answers="<i8", paced="<i8", usage="<i8", faults="<i8",
    )  # fmt: skip


def make(loop: Loop, day: Recording, feed_row: int, every: int) -> Rig:
    """A rig that plays `day` on link `feed_row`, with a client's order after each `every` records of it."""
    data = aligned_zeros(day.data.nbytes // 8, np.dtype("<i8"))
    data[:] = day.data.view("<i8")
    starts = day.offsets[:-1] // 8
    data.view("<i4")[starts * 2 + 2] = 1
    line = aligned_zeros(1, LINE)
    row = line[0]
    row.records, row.every, row.until_order, row.feed_row = day.count, every, every, feed_row
    row.span_ns = day.last_ns - day.first_ns + 1_000_000_000
    row.max_resting = 4
    row.data_address = data.ctypes.data
    venues = data.view("<i2")[starts * 4 + 7]
    order, fill = blank(Template.ORDER_NEW), blank(Template.FILL)
    for record in (order, fill):
        record["stream_epoch"] = 1
    order["ord_type"] = OrdType.LIMIT
    order["tif"], order["side"], order["qty"] = Tif.IOC, Side.BUY, 300
    fill["liquidity"] = 2
    return Rig(
        line=line, offsets=day.offsets.astype("<i8"), data=data, seq_shift=aligned_zeros(32, np.dtype("<i8")),
        seq_round=np.bincount(venues, minlength=32).astype("<i8"), order=order, fill=fill,
        pending=blank(Template.FILL, PENDING), routing=_counts(), answers=_counts(), paced=_counts(),
        usage=aligned_zeros(18, np.dtype("<i8")), faults=aligned_zeros(2, np.dtype("<i8")),
    )  # fmt: skip


def _counts() -> np.ndarray:
    """An empty histogram whose pages are there: the first value in a new range must not fault."""
    return aligned_zeros(LENGTH, np.dtype("<i8"))


def links_for(config: Config, rows: np.ndarray) -> np.ndarray:
    """The sessions' NOWHERE links, and behind them one for the feed: what `play` feeds records in on."""
    more = np.concatenate([rows, rows[:1]])
    more[-1]["source"], more[-1]["session"] = 0, -1
    assert [session.role for session in config.session] == ["client", "venue"]
    return more


def clear(rig: Rig) -> None:
    """Forget what was measured."""
    rig.routing[:LENGTH] = 0
    rig.answers[:LENGTH] = 0
    rig.paced[:LENGTH] = 0


assert (CLIENT, VENUES) == (0, 1)
