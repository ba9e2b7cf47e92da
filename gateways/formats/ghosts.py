"""Changes of orders that replaced unknown ones: as unknown as these, and counted apart from them.

Worst case: orders that replaced unknown ones and find no place are not noted; changes of them count as of unknown ones.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from engine.book.memory import Books
from engine.book.orders import find
from engine.io.mapping import aligned_zeros
from engine.jit import kernel
from gateways.formats.batch import Batch
from gateways.inbox import table

Array = np.ndarray[Any, np.dtype[Any]]
_PLACES: Final = 1 << 16
_REPLACE, _ADD = 5, 0

GHOST: Final = table("""
number       i8  the venue's; 0 is an empty place
book         i8
""")


def make_ghosts() -> Array:
    """None noted: a power of two of places, open addressing; three quarters are used."""
    return aligned_zeros(_PLACES, GHOST)


@kernel
def _place_of(ghosts: Array, book: int, number: int) -> int:
    """The place of a ghost, or the free one where it would be."""
    mask = len(ghosts) - 1
    i = (number ^ (number >> 16) ^ book) & mask
    while ghosts[i].number != 0 and (ghosts[i].number != number or ghosts[i].book != book):
        i = (i + 1) & mask
    return i


@kernel
def look_for_ghosts(ghosts: Array, noted: int, b: Books, batch: Batch, i: int, book: int) -> tuple[int, int]:
    """Before the ORDER_DELTA at unit i is applied: 1 where it changes an order that replaced an unknown one, and how
    many such orders it notes itself. noted: how many are already."""
    delta = batch.delta[i]
    number, new_number = int(delta.venue_order), int(delta.new_order)
    if delta.action == _ADD or number == 0 or find(b, book, number) != -1:
        return 0, 0
    of_ghost = 1 if ghosts[_place_of(ghosts, book, number)].number != 0 else 0
    if delta.action == _REPLACE and new_number != 0 and 4 * noted < 3 * len(ghosts):
        place = _place_of(ghosts, book, new_number)
        if ghosts[place].number == 0:
            ghosts[place].number, ghosts[place].book = new_number, book
            return of_ghost, 1
    return of_ghost, 0
