"""The instruments of a binary feed, numbered densely as they are met: eight letters to a number, in a kernel.

Symbols are eight bytes, padded with spaces, held as one word. An instrument may be met before its symbol is (a file
that begins within the day): it is entered without one, under the source's own number, and `named` when it comes.

Worst case: 65,536 instruments; the next one is refused with -1, and whoever asked counts what it could not place.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.jit import kernel
from engine.memory import Memory, memory, packed
from gateways.formats.reader import Instrument

Array = np.ndarray[Any, np.dtype[Any]]
MOST: Final = 1 << 16
_SLOTS: Final = 1 << 17
_FACTOR: Final = 0x1E37_79B9_7F4A_7C15


@memory
class Symbols(Memory):
    """`count`: instruments, and how often one was named or changed. `slot`: the hash table, number + 1 or 0.

    Of each instrument: `symbol` (word, 0 where unknown), `number` (the source's own), `lot` (round lot, 0 unknown).
    """

    LAYOUT = packed(count="<i8", slot="<i4", symbol="<i8", number="<i8", lot="<i8")
    count: Array
    slot: Array
    symbol: Array
    number: Array
    lot: Array


def make_symbols() -> Symbols:
    """A table without instruments."""
    arrays = {name: np.zeros(MOST, dtype="<i8") for name in ("symbol", "number", "lot")}
    return Symbols(count=np.zeros(2, dtype="<i8"), slot=np.zeros(_SLOTS, dtype="<i4"), **arrays)


@kernel
def add_nameless(symbols: Symbols, number: int) -> int:
    """A new instrument that the source calls by a number only; -1 where there is no room."""
    instrument = int(symbols.count[0])
    if instrument == MOST:
        return -1
    symbols.count[0] = instrument + 1
    symbols.number[instrument] = number
    return instrument


@kernel
def _slot_of(symbols: Symbols, word: int) -> int:
    """Where a symbol is in the hash table, or would be."""
    slot = ((int(word) * _FACTOR) >> 40) & (_SLOTS - 1)
    while symbols.slot[slot] != 0 and symbols.symbol[symbols.slot[slot] - 1] != word:
        slot = (slot + 1) & (_SLOTS - 1)
    return slot


@kernel
def instrument_of(symbols: Symbols, word: int, number: int) -> int:
    """The instrument of a symbol, entered where it is new; -1 where there is no room."""
    slot = _slot_of(symbols, word)
    if symbols.slot[slot] != 0:
        return int(symbols.slot[slot]) - 1
    instrument = add_nameless(symbols, number)
    if instrument >= 0:
        symbols.symbol[instrument] = word
        symbols.slot[slot] = instrument + 1
    return instrument


@kernel
def named(symbols: Symbols, instrument: int, word: int) -> int:
    """Give a nameless instrument its symbol; the number to use from now on: another one's where that has the symbol."""
    slot = _slot_of(symbols, word)
    if symbols.slot[slot] != 0:
        return int(symbols.slot[slot]) - 1
    symbols.symbol[instrument] = word
    symbols.slot[slot] = instrument + 1
    symbols.count[1] += 1
    return instrument


@kernel
def set_lot(symbols: Symbols, instrument: int, lot: int) -> None:
    """Keep an instrument's round lot."""
    if symbols.lot[instrument] != lot:
        symbols.lot[instrument] = lot
        symbols.count[1] += 1


class Names:
    """Keeps a reader's list of instruments in step with the kernel's table."""

    def __init__(self, symbols: Symbols, instruments: list[Instrument], px_decimals: int) -> None:
        self._symbols, self._instruments, self._px_decimals = symbols, instruments, px_decimals
        self._changes = 0

    def update(self) -> None:
        """Append what is new, and renew all where a symbol or a lot became known."""
        table, listed = self._symbols, self._instruments
        first = len(listed)
        if int(table.count[1]) != self._changes:
            self._changes, first = int(table.count[1]), 0
        listed[first:] = [self._entry(i) for i in range(first, int(table.count[0]))]

    def _entry(self, instrument: int) -> Instrument:
        table = self._symbols
        text = table.symbol[instrument : instrument + 1].tobytes().rstrip(b" \0").decode("ascii", errors="replace")
        symbol = text or f"#{table.number[instrument]}"
        return Instrument(symbol, self._px_decimals, lot_qty=int(table.lot[instrument]))
