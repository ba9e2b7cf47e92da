"""The kernels that `tickroute perf book` times: ITCH messages to records, and to books."""

from __future__ import annotations

from engine.book.apply import apply_delta
from engine.book.memory import Books
from engine.book.orders import fetch
from engine.jit import kernel
from gateways.formats.batch import Batch
from gateways.formats.itch_kernels import FULL, Itch, decode
from gateways.formats.symbols import Symbols


@kernel
def parse_all(itch: Itch, symbols: Symbols, data: object, end: int, batch: Batch) -> int:
    """All messages to records, batch after batch; records made (in units)."""
    at, units = 0, 0
    itch.state[0].status = FULL
    while itch.state[0].status == FULL:
        batch.used[0] = 0
        at = decode(itch, symbols, data, at, end, batch)
        units += int(batch.used[0])
    return units


@kernel
def build_all(itch: Itch, symbols: Symbols, data: object, end: int, batch: Batch, books: Books) -> int:
    """All messages to books, through the same records."""
    at, units = 0, 0
    itch.state[0].status = FULL
    while itch.state[0].status == FULL:
        batch.used[0] = 0
        at = decode(itch, symbols, data, at, end, batch)
        used = int(batch.used[0])
        i = 0
        while i < used:
            if batch.head[i].template_id == 4:
                fetch(books, int(batch.delta[i].instrument_id), int(batch.delta[i].venue_order))
                i += 2
            else:
                i += 1
        i = 0
        while i < used:
            if batch.head[i].template_id == 4:
                d = batch.delta[i]
                apply_delta(
                    books,
                    int(d.instrument_id),
                    int(d.side),
                    int(d.action),
                    int(d.venue_order),
                    int(d.new_order),
                    int(d.px),
                    int(d.qty),
                )
                i += 2
            else:
                i += 1
        units += used
    return units
