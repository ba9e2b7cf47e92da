"""Market-data records as decoders write them: a buffer of whole records, one view a kind, filled by kernels.

A decoder asks `room` before it takes a message, and then makes as many records as the message says. What it writes is
what the wire, the books and a recording take, byte for byte; nothing is copied but by whoever keeps it.

Worst case: a batch that is full stops the decoder in front of a message; the caller takes the records, and empties it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.io.atomics import address_of, store_i64, zero_64, zero_128
from engine.io.mapping import aligned_zeros
from engine.jit import kernel
from engine.memory import Memory, memory, packed, spaced
from engine.record.records import DTYPES, HEAD, SBE_HEADER_SIZE, SCHEMA_ID, SCHEMA_VERSION, UNIT, Template

Array = np.ndarray[Any, np.dtype[Any]]
#: Records that one message may become, in units: a decoder that needs more says so to `room`.
MOST: Final = 8


def _header(template: Template) -> int:
    size = DTYPES[template].itemsize - SBE_HEADER_SIZE
    return size | int(template) << 16 | SCHEMA_ID << 32 | SCHEMA_VERSION << 48


_QUOTE, _TRADE, _LEVEL = _header(Template.QUOTE), _header(Template.TRADE), _header(Template.LEVEL)
_DELTA, _CLEAR, _STATUS = _header(Template.ORDER_DELTA), _header(Template.CLEAR), _header(Template.INSTRUMENT_STATUS)
_QUOTE_UNITS: Final = DTYPES[Template.QUOTE].itemsize // UNIT
_DELTA_UNITS: Final = DTYPES[Template.ORDER_DELTA].itemsize // UNIT
assert [DTYPES[t].itemsize for t in (Template.TRADE, Template.LEVEL, Template.CLEAR, Template.INSTRUMENT_STATUS)] == [
    UNIT
] * 4
#: Where the prefix's words are: the first holds epoch, stream and venue.
_VENUE_AT, _SEQ_AT, _EVENT_AT, _RECV_AT = 8, 16, 24, 32
assert HEAD.names[4:] == ("stream_epoch", "stream_id", "venue_id", "stream_seq", "ts_event_ns", "ts_recv_ns")  # type: ignore[index]

# Where `put_delta` has the words of an ORDER_DELTA behind the prefix.
_PLACES = {name: place[1] for name, place in DTYPES[Template.ORDER_DELTA].fields.items()}  # type: ignore[union-attr]
assert [_PLACES[name] for name in ("instrument_id", "side", "action", "flags")] == [40, 44, 45, 46]
assert [_PLACES[name] for name in ("px", "qty", "venue_order", "new_order", "exec_px", "match_id", "reserved")] == [
    *range(48, 97, 8)
]


@memory
class Batch(Memory):
    """Views of one buffer; element i begins at byte 64 * i. `used[0]` is the number of units that hold records."""

    LAYOUT = packed(used="<i8", words="<i8") | spaced(
        UNIT,
        head=HEAD,
        quote=DTYPES[Template.QUOTE],
        trade=DTYPES[Template.TRADE],
        level=DTYPES[Template.LEVEL],
        delta=DTYPES[Template.ORDER_DELTA],
        clear=DTYPES[Template.CLEAR],
        status=DTYPES[Template.INSTRUMENT_STATUS],
    )
    used: Array  # one word
    words: Array
    head: Array
    quote: Array
    trade: Array
    level: Array
    delta: Array
    clear: Array
    status: Array


def make_batch(units: int = 1 << 14) -> Batch:
    """An empty batch with room for `units` records of 64 bytes."""
    return batch_over(aligned_zeros((units + 1) * UNIT, np.dtype(np.uint8)))


def batch_over(buffer: Array) -> Batch:
    """A batch whose records lie in `buffer`: uint8, aligned to 64 bytes, one unit longer than the batch has room."""
    units = len(buffer) // UNIT - 1
    views = {
        name: np.ndarray((units,), dtype, buffer.data, strides=(stride,))
        for name, (dtype, stride) in Batch.LAYOUT.items()
        if stride == UNIT
    }
    return Batch(used=aligned_zeros(1, np.dtype("<i8")), words=buffer.view("<i8"), **views)


def taken(batch: Batch) -> Array:
    """The records of a batch as bytes: a uint8 view (n), good until the batch is filled again."""
    return batch.words.view(np.uint8)[: int(batch.used[0]) * UNIT]


@kernel
def room(batch: Batch, units: int = MOST) -> bool:
    """Whether records of `units` units still fit."""
    return bool(batch.used[0] + units <= len(batch.head))


@kernel
def _begin(batch: Batch, header: int, units: int, venue: int, event_ns: int, recv_ns: int) -> int:
    """A record of one unit or two with nothing in it but its prefix; its unit."""
    i = int(batch.used[0])
    batch.used[0] = i + units
    address = address_of(batch.words) + UNIT * i
    if units == 1:
        zero_64(address)
    else:
        zero_128(address)
    store_i64(address, header)
    store_i64(address + _VENUE_AT, venue << 48 | venue << 32)
    store_i64(address + _EVENT_AT, event_ns)
    store_i64(address + _RECV_AT, recv_ns)
    return i


@kernel
def new_quote(batch: Batch, venue: int, instrument: int, event_ns: int, recv_ns: int) -> int:
    """Begin a QUOTE; its unit: go on in batch.quote[i]."""
    i = _begin(batch, _QUOTE, _QUOTE_UNITS, venue, event_ns, recv_ns)
    batch.quote[i].instrument_id = instrument
    return i


@kernel
def new_trade(batch: Batch, venue: int, instrument: int, event_ns: int, recv_ns: int) -> int:
    """Begin a TRADE; its unit: go on in batch.trade[i]."""
    i = _begin(batch, _TRADE, 1, venue, event_ns, recv_ns)
    batch.trade[i].instrument_id = instrument
    return i


@kernel
def new_level(batch: Batch, venue: int, instrument: int, event_ns: int, recv_ns: int) -> int:
    """Begin a LEVEL; its unit: go on in batch.level[i]."""
    i = _begin(batch, _LEVEL, 1, venue, event_ns, recv_ns)
    batch.level[i].instrument_id = instrument
    return i


@kernel
def new_delta(batch: Batch, venue: int, instrument: int, event_ns: int, recv_ns: int) -> int:
    """Begin an ORDER_DELTA; its unit: go on in batch.delta[i]."""
    i = _begin(batch, _DELTA, _DELTA_UNITS, venue, event_ns, recv_ns)
    batch.delta[i].instrument_id = instrument
    return i


@kernel
def put_delta(
    batch: Batch,
    venue: int,
    seq: int,
    event_ns: int,
    recv_ns: int,
    what: int,
    px: int,
    qty: int,
    order: int,
    new_order: int,
    exec_px: int,
    match_id: int,
) -> None:
    """A whole ORDER_DELTA, each of its words stored once: as `new_delta` and its fields one by one, in less time.

    `what` is instrument_id | side << 32 | action << 40 | flags << 48.
    """
    i = int(batch.used[0])
    batch.used[0] = i + _DELTA_UNITS
    address = address_of(batch.words) + UNIT * i
    store_i64(address, _DELTA)
    store_i64(address + _VENUE_AT, venue << 48 | venue << 32)
    store_i64(address + _SEQ_AT, seq)
    store_i64(address + _EVENT_AT, event_ns)
    store_i64(address + _RECV_AT, recv_ns)
    store_i64(address + 40, what)
    store_i64(address + 48, px)
    store_i64(address + 56, qty)
    store_i64(address + 64, order)
    store_i64(address + 72, new_order)
    store_i64(address + 80, exec_px)
    store_i64(address + 88, match_id)
    store_i64(address + 96, 0)
    store_i64(address + 104, 0)
    store_i64(address + 112, 0)
    store_i64(address + 120, 0)


@kernel
def new_clear(batch: Batch, venue: int, instrument: int, event_ns: int, recv_ns: int, reason: int) -> int:
    """A CLEAR: the venue's books in one instrument, or in all where that is -1, are void; its unit."""
    i = _begin(batch, _CLEAR, 1, venue, event_ns, recv_ns)
    batch.clear[i].instrument_id = instrument
    batch.clear[i].reason = reason
    return i


@kernel
def new_status(batch: Batch, venue: int, instrument: int, event_ns: int, recv_ns: int, status: int) -> int:
    """An INSTRUMENT_STATUS (0 open, 1 halted, 2 closed, 3 auction); its unit."""
    i = _begin(batch, _STATUS, 1, venue, event_ns, recv_ns)
    batch.status[i].instrument_id = instrument
    batch.status[i].status = status
    return i
