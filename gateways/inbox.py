"""Where received messages lie, and how a record in them is read.

`Inbox` views the bytes of messages as they came: records of 64 or 128 bytes back to back, an index every 64 bytes, so
the record at unit i is read through `inbox.market[i]` or `inbox.order[i]`, whichever its template says. Nothing is
copied and nothing is decoded. `whole` must have said that the bytes are whole records.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.mapping import aligned_zeros
from engine.jit import kernel
from engine.memory import Memory, memory, spaced
from engine.record.records import DTYPES, HEAD, ORDER, RECORD_MAX, REPORT, SBE_HEADER_SIZE, SCHEMA_ID, UNIT, Template

Array = np.ndarray[Any, np.dtype[Any]]

#: What a venue reads of market data, one layout for all kinds: QUOTE's fields, and under names of their own those of
#: TRADE, CLEAR and CLOCK_SAMPLE, which share their bytes. `marks` is their `flags`, a name that np.record keeps.
_SHARED: Final = (
    (Template.QUOTE, "flags", "marks"),
    (Template.TRADE, "px", "trade_px"),
    (Template.TRADE, "qty", "trade_qty"),
    (Template.CLEAR, "reason", "clear_reason"),
    (Template.CLOCK_SAMPLE, "clock_ns", "clock_ns"),
)
_QUOTE_FIELDS: Final = ("instrument_id", "bid_px", "bid_qty", "ask_px", "ask_qty")


def _market() -> np.dtype[Any]:
    names = [*(HEAD.names or ()), *_QUOTE_FIELDS]
    where = [(name, *DTYPES[Template.QUOTE].fields[name][:2]) for name in names]  # type: ignore[index]
    where += [(new, *DTYPES[template].fields[old][:2]) for template, old, new in _SHARED]  # type: ignore[index]
    spec = {
        "names": [row[0] for row in where],
        "formats": [row[1] for row in where],
        "offsets": [row[2] for row in where],
        "itemsize": RECORD_MAX,
    }
    return np.dtype((np.record, np.dtype(spec)))  # type: ignore[call-overload]


MARKET: Final = _market()


def table(text: str) -> np.dtype[Any]:
    """Dtype (np.record) of a table of ours, from lines of name, type (as in `records.FIELDS`) and what it says."""
    fields: list[tuple[Any, ...]] = []
    for line in text.strip().splitlines():
        name, kind = line.split()[:2]
        fields.append((name, "<i8", (2,)) if kind == "text16" else (name, "<" + kind))
    return np.dtype((np.record, np.dtype(fields, align=True)))


@memory
class Inbox(Memory):
    """Views of one buffer; element i begins at byte 64 * i. `session` fits SESSION_UP and HEARTBEAT."""

    LAYOUT = spaced(
        UNIT,
        head=HEAD,
        session=DTYPES[Template.SESSION_UP],
        reset=DTYPES[Template.SEQUENCE_RESET],
        market=MARKET,
        order=ORDER,
        report=REPORT,
        change=DTYPES[Template.BUST],
        level=DTYPES[Template.LEVEL],
        delta=DTYPES[Template.ORDER_DELTA],
        status=DTYPES[Template.INSTRUMENT_STATUS],
        mass_cancel=DTYPES[Template.MASS_CANCEL],
    )
    head: Array
    session: Array
    reset: Array
    market: Array
    order: Array
    report: Array
    change: Array
    level: Array
    delta: Array
    status: Array
    mass_cancel: Array


def make_inbox(size: int) -> Inbox:
    """An Inbox with room for `size` bytes of messages (a multiple of 64)."""
    return view_inbox(aligned_zeros(size + UNIT, np.dtype(np.uint8)))


def view_inbox(buffer: Array) -> Inbox:
    """Inbox over a uint8 buffer whose length is a multiple of 64; its last 64 bytes are slack for 128-byte views."""
    units = len(buffer) // UNIT - 1
    if len(buffer) % UNIT or units < 1:
        raise ValueError(f"inbox of {len(buffer)} bytes: a multiple of {UNIT} and at least {2 * UNIT} is needed")
    views = {
        name: np.ndarray((units,), dtype, buffer.data, strides=(stride,))
        for name, (dtype, stride) in Inbox.LAYOUT.items()
    }
    return Inbox(**views)


def out_slots(count: int) -> Array:
    """An out-buffer: `count` slots of REPORT."""
    return aligned_zeros(count, REPORT)


@kernel
def whole(inbox: Inbox, first: int, size: int) -> bool:
    """Whether the `size` bytes from unit `first` on are whole records of our schema."""
    if size <= 0 or size % UNIT != 0:
        return False
    at, end = first, first + size // UNIT
    while at < end:
        length = int(inbox.head[at].block_length) + SBE_HEADER_SIZE
        if length not in (UNIT, RECORD_MAX) or inbox.head[at].schema_id != SCHEMA_ID:
            return False
        at += length // UNIT
    return at == end


@kernel
def units_of(inbox: Inbox, at: int) -> int:
    """Units (1 or 2) of the record at unit `at`."""
    return (int(inbox.head[at].block_length) + SBE_HEADER_SIZE) // UNIT
