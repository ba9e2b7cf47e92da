"""The two buffers of a simulated venue: where records come in, and where reports go out.

`Inbox` views the bytes of received messages as they are: records of 64 or 128 bytes back to back, an index every 64
bytes, so record i is read through `inbox.market[i]` or `inbox.order[i]`, whichever its template says. `OUT` slots hold
one report each.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.mapping import aligned_zeros
from engine.memory import Memory, memory, spaced
from engine.record.records import DTYPES, HEAD, ORDER, RECORD_MAX, REPORT, SBE_HEADER_SIZE, UNIT, Template

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


@memory
class Inbox(Memory):
    """Views of one buffer; element i begins at byte 64 * i."""

    LAYOUT = spaced(UNIT, market=MARKET, order=ORDER)
    market: Array
    order: Array


def view_inbox(buffer: Array) -> Inbox:
    """Inbox over a uint8 buffer whose length is a multiple of 64; its last 64 bytes are slack for 128-byte views."""
    units = len(buffer) // UNIT - 1
    if len(buffer) % UNIT or units < 1:
        raise ValueError(f"inbox of {len(buffer)} bytes: a multiple of {UNIT} and at least {2 * UNIT} is needed")
    market, order = (np.ndarray((units,), kind, buffer.data, strides=(UNIT,)) for kind in (MARKET, ORDER))
    return Inbox(market=market, order=order)


def out_slots(count: int) -> Array:
    """An out-buffer: `count` slots of REPORT."""
    return aligned_zeros(count, REPORT)


def whole_records(message: bytes | memoryview) -> bool:
    """Whether a message is one or more whole records of 64 or 128 bytes, as their headers say."""
    size, at = len(message), 0
    while at < size:
        length = int.from_bytes(message[at : at + 2], "little") + SBE_HEADER_SIZE
        if length not in (UNIT, RECORD_MAX):
            return False
        at += length
    return at == size and size > 0
