"""Order deltas of a batch into the books of one venue, with what they will touch on its way from memory meanwhile.

Which order a message concerns is known from the message alone, which level from the order: so a batch's orders are
fetched first, and each level some records before its turn. Books that are larger than the caches gain a third by it.

Worst case: small batches, in which nothing is known ahead, take the time that memory takes.
"""

from __future__ import annotations

from engine.book.apply import apply_delta, fetch_level
from engine.book.memory import Books
from engine.book.orders import fetch
from engine.jit import kernel
from engine.record.records import SBE_HEADER_SIZE, UNIT, Template
from gateways.formats.batch import Batch

_DELTA = int(Template.ORDER_DELTA)
#: So many records ahead a level is fetched.
_AHEAD = 8


@kernel
def build(books: Books, batch: Batch) -> None:
    """Apply all ORDER_DELTAs of a batch; the book of one is its instrument, which must be among them. Others pass."""
    used, i = int(batch.used[0]), 0
    while i < used:
        if batch.head[i].template_id == _DELTA:
            d = batch.delta[i]
            fetch(books, int(d.instrument_id), int(d.venue_order))
            if d.new_order != 0:
                fetch(books, int(d.instrument_id), int(d.new_order))
        i += _units(batch, i)
    i, ahead = 0, 0
    for _ in range(_AHEAD):
        ahead = _fetch_next(books, batch, ahead, used)
    while i < used:
        ahead = _fetch_next(books, batch, ahead, used)
        if batch.head[i].template_id == _DELTA:
            d = batch.delta[i]
            number, new_number = int(d.venue_order), int(d.new_order)
            apply_delta(
                books, int(d.instrument_id), int(d.side), int(d.action), number, new_number, int(d.px), int(d.qty)
            )
        i += _units(batch, i)


@kernel
def _units(batch: Batch, i: int) -> int:
    return (int(batch.head[i].block_length) + SBE_HEADER_SIZE) // UNIT


@kernel
def _fetch_next(books: Books, batch: Batch, i: int, used: int) -> int:
    """Fetch the level of the record at unit i; where the next record begins."""
    if i >= used:
        return i
    if batch.head[i].template_id == _DELTA:
        d = batch.delta[i]
        fetch_level(books, int(d.instrument_id), int(d.side), int(d.venue_order), int(d.px))
    return i + _units(batch, i)
