"""The kernels that `tickroute perf book` times: ITCH messages to records, and to books by way of the same records."""

from __future__ import annotations

from typing import Any

from engine.book.memory import Books
from engine.jit import kernel
from gateways.formats.batch import Batch
from gateways.formats.build import build
from gateways.formats.itch_kernels import FULL, Itch, decode
from gateways.formats.symbols import Symbols


@kernel
def parse_all(itch: Itch, symbols: Symbols, data: Any, end: int, batch: Batch) -> int:
    """All messages to records, batch after batch; records made, in units of 64 bytes."""
    at, units = 0, 0
    itch.state[0].status = FULL
    while itch.state[0].status == FULL:
        batch.used[0] = 0
        at = decode(itch, symbols, data, at, end, batch)
        units += int(batch.used[0])
    return units


@kernel
def build_all(itch: Itch, symbols: Symbols, data: Any, end: int, batch: Batch, books: Books) -> int:
    """All messages to books, through the same records; their units."""
    at, units = 0, 0
    itch.state[0].status = FULL
    while itch.state[0].status == FULL:
        batch.used[0] = 0
        at = decode(itch, symbols, data, at, end, batch)
        build(books, batch)
        units += int(batch.used[0])
    return units
