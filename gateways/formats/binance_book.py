"""How Binance's depth updates and snapshots become a book: by their ids, and void where these do not join.

Each update says which id it follows: `prev` is `pu` on the futures products and `U - 1` on spot; `u` is its last id.

- Live: `prev` must be the last `u`. Where it is not the books are void: CLEAR, a gap is counted, and how many ids are
  missing where ids are dense (spot).
- Void: updates are held, and counted as skipped, until a snapshot comes. A hole between two of them drops those before.
- A snapshot of id L: CLEAR, its levels, and then those of held updates with u > L, all with Flag.SNAPSHOT and the
  snapshot's times; the first of these must follow L or less, else the snapshot is too old and skipped. The next update
  may begin before L.
- Where no snapshot comes: when the store of held levels (`HELD_LEVELS`) is full the book goes on with what is held and
  with the updates alone, which tell all levels sooner or later; that is counted.

Quantities are absolute, so an update that overlaps a snapshot does no harm.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.jit import kernel
from engine.record.records import Flag, Reason
from gateways.formats.batch import Batch, new_clear, new_level
from gateways.formats.json_text import LAST, next_pair
from gateways.formats.ladder import BUY, CHANGE, DELETE, NEW, SELL, put_level
from gateways.formats.lines import (
    ERROR,
    FREE,
    GAPS,
    HIGH,
    INSTRUMENT,
    LOST,
    LOW,
    OWN,
    OWN_WORD,
    PX_DECIMALS,
    QTY_DECIMALS,
    REPEATED,
    VENUE,
    Lines,
    fail,
    skip,
)
from gateways.formats.text import MALFORMED, TOO_FINE, number

#: Words of the cursor: 0 spot, else futures; entries held; times and number of the message at hand.
PRODUCT, HELD_COUNT, EVENT_NS, RECV_NS, SEQ = range(FREE, FREE + 5)
#: Words of an instrument's row: state, last id, last id of trades and of aggregated ones, last id held (0: none).
STATE, LAST_U, TRADE_ID, AGG_ID, HELD_U = range(OWN_WORD, OWN_WORD + 5)
VOID, SNAPPED, LIVE = 0, 1, 2
BAD_JSON, BAD_MEMBER, BAD_NUMBER, BAD_TIME = range(OWN, OWN + 4)
SKIP_OTHER, SKIP_NO_SYMBOL, SKIP_VOID, SKIP_STALE, SKIP_UNITS, SKIP_EMPTY, SKIP_RESUMED = range(7)
#: Slots of members: the letter, where the name is one; those of the others.
A, B, U = ord("a"), ord("b"), ord("u")
SLOT_ID, SLOT_BIDS, SLOT_ASKS, SLOT_SYMBOL, SLOT_DATA = range(128, 133)
SLOTS: Final = 133
#: Entries of four words that are held in all, and the text that a level takes at least.
HELD_LEVELS: Final = 1 << 14
ENTRY: Final = 4
LEAST_TEXT: Final = 6

_MORE, _SNAPSHOT = int(Flag.MORE), int(Flag.SNAPSHOT)
_GAP = int(Reason.SEQUENCE_GAP)
_INTO_HELD: Final = -1


@kernel
def take_depth(lines: Lines, data: np.ndarray, row: int, prev: int, u: int, batch: Batch) -> bool:
    """A depthUpdate whose members are in the slots; False where it is not to be trusted."""
    rows, cursor = lines.rows, lines.cursor
    last = int(rows[row + LAST_U])
    if rows[row + STATE] != VOID:
        if u <= last:
            cursor[REPEATED] += 1
            return True
        if prev > last or (rows[row + STATE] == LIVE and prev != last):
            _count_gap(lines, prev, last)
            _void(lines, row, batch, _GAP)
            rows[row + STATE] = VOID
            rows[row + HELD_U] = 0
    if rows[row + STATE] == VOID:
        return wait(lines, data, row, prev, u, batch)
    if not give_both(lines, data, row, batch, 0, B, A):
        return bool(cursor[ERROR] == 0)
    rows[row + STATE] = LIVE
    rows[row + LAST_U] = u
    return True


@kernel
def _count_gap(lines: Lines, prev: int, last: int) -> None:
    lines.cursor[GAPS] += 1
    if lines.cursor[PRODUCT] == 0 and prev > last:
        lines.cursor[LOST] += prev - last


@kernel
def _void(lines: Lines, row: int, batch: Batch, reason: int) -> None:
    rows, cursor = lines.rows, lines.cursor
    venue, instrument = int(rows[row + VENUE]), int(rows[row + INSTRUMENT])
    i = new_clear(batch, venue, instrument, int(cursor[EVENT_NS]), int(cursor[RECV_NS]), reason)
    batch.head[i].stream_seq = cursor[SEQ]


@kernel
def wait(lines: Lines, data: np.ndarray, row: int, prev: int, u: int, batch: Batch) -> bool:
    """Hold an update of a void book, or go on without a snapshot where there is no room for it."""
    rows, cursor = lines.rows, lines.cursor
    held = int(rows[row + HELD_U])
    if held != 0 and u <= held:
        cursor[REPEATED] += 1
        return True
    if held != 0 and prev != held:
        _count_gap(lines, prev, held)
        drop_held(lines, row)
    text = lines.cuts[2 * B + 1] - lines.cuts[2 * B] + lines.cuts[2 * A + 1] - lines.cuts[2 * A]
    place = int(cursor[HELD_COUNT])
    if ENTRY * (place + 1 + text // LEAST_TEXT) > len(lines.held):
        mark = int(batch.used[0])
        give_held(lines, row, -1, batch, 0)
        if not give_both(lines, data, row, batch, 0, B, A):
            batch.used[0] = mark
            return bool(cursor[ERROR] == 0)
        drop_held(lines, row)
        rows[row + STATE] = LIVE
        rows[row + LAST_U] = u
        return bool(skip(lines, SKIP_RESUMED, int(lines.cuts[2 * U]), int(lines.cuts[2 * U + 1])))
    hold(lines, row, 0, prev, u)
    if not give_both(lines, data, row, batch, _INTO_HELD, B, A):
        cursor[HELD_COUNT] = place
        return bool(cursor[ERROR] == 0)
    rows[row + HELD_U] = u
    return bool(skip(lines, SKIP_VOID, int(lines.cuts[2 * U]), int(lines.cuts[2 * U + 1])))


@kernel
def take_snapshot(lines: Lines, data: np.ndarray, row: int, at_id: int, batch: Batch) -> bool:
    """A snapshot of the REST interface whose members are in the slots; False where it is not to be trusted."""
    rows, cursor = lines.rows, lines.cursor
    void = rows[row + STATE] == VOID
    stale = first_held(lines, row, at_id) > at_id if void else at_id < rows[row + LAST_U]
    if stale:
        return bool(skip(lines, SKIP_STALE, int(lines.cuts[2 * SLOT_ID]), int(lines.cuts[2 * SLOT_ID + 1])))
    mark = int(batch.used[0])
    _void(lines, row, batch, 0)
    if not give_both(lines, data, row, batch, _SNAPSHOT, SLOT_BIDS, SLOT_ASKS):
        batch.used[0] = mark
        return bool(cursor[ERROR] == 0)
    rows[row + STATE] = SNAPPED
    rows[row + LAST_U] = at_id
    if void and rows[row + HELD_U] > at_id:
        give_held(lines, row, at_id, batch, _SNAPSHOT)
        rows[row + STATE] = LIVE
        rows[row + LAST_U] = rows[row + HELD_U]
    drop_held(lines, row)
    return True


@kernel
def give_both(lines: Lines, data: np.ndarray, row: int, batch: Batch, flags: int, bids: int, asks: int) -> bool:
    """Both sides' levels from two slots, whole or not at all. False: an error or a reason to skip is left behind."""
    mark = int(batch.used[0])
    wrong = give_levels(lines, data, row, batch, flags, bids, BUY)
    if wrong == 0:
        wrong = give_levels(lines, data, row, batch, flags, asks, SELL)
    if wrong != 0:
        batch.used[0] = mark
        low, high = int(lines.cursor[LOW]), int(lines.cursor[HIGH])
        if wrong == MALFORMED:
            return bool(fail(lines, BAD_NUMBER, low, high))
        skip(lines, SKIP_UNITS, low, high)
        return False
    if batch.used[0] > mark:
        close_event(batch)
    return True


@kernel
def close_event(batch: Batch) -> None:
    """The last level of a message is followed by no more of it."""
    last = batch.level[batch.used[0] - 1]
    last["flags"] = int(last["flags"]) & ~_MORE


@kernel
def give_levels(lines: Lines, data: np.ndarray, row: int, batch: Batch, flags: int, slot: int, side: int) -> int:
    """The levels of an array, into the batch or held: 0; else MALFORMED or TOO_FINE, with the place in LOW and HIGH."""
    rows, cursor = lines.rows, lines.cursor
    at, high = int(lines.cuts[2 * slot]), int(lines.cuts[2 * slot + 1])
    px_decimals, qty_decimals = int(rows[row + PX_DECIMALS]), int(rows[row + QTY_DECIMALS])
    while True:
        px_low, px_high, qty_low, qty_high, next_at = next_pair(data, at, high)
        if px_low == LAST:
            return 0
        if px_low == MALFORMED:
            cursor[LOW] = next_at
            cursor[HIGH] = high
            return MALFORMED
        at = next_at
        px = number(data, px_low, px_high, px_decimals)
        qty = number(data, qty_low, qty_high, qty_decimals)
        if px <= 0 or qty < 0:
            cursor[LOW] = px_low
            cursor[HIGH] = qty_high
            return MALFORMED if px == MALFORMED or px == 0 or qty == MALFORMED else TOO_FINE
        if flags == _INTO_HELD:
            hold(lines, row, side, px, qty)
        else:
            give_level(lines, row, batch, side, px, qty, flags)


@kernel
def give_level(lines: Lines, row: int, batch: Batch, side: int, px: int, qty: int, flags: int) -> None:
    """A LEVEL of the message at hand."""
    rows, cursor = lines.rows, lines.cursor
    venue, instrument = int(rows[row + VENUE]), int(rows[row + INSTRUMENT])
    i = new_level(batch, venue, instrument, int(cursor[EVENT_NS]), int(cursor[RECV_NS]))
    batch.head[i].stream_seq = cursor[SEQ]
    action = DELETE if qty == 0 else (NEW if flags & _SNAPSHOT else CHANGE)
    put_level(batch, i, side, action, px, qty, flags | _MORE)


@kernel
def hold(lines: Lines, row: int, side: int, px: int, qty: int) -> None:
    """Keep a level; side 0 begins an update: the id that it follows, and its last."""
    at = ENTRY * int(lines.cursor[HELD_COUNT])
    lines.held[at] = row
    lines.held[at + 1] = side
    lines.held[at + 2] = px
    lines.held[at + 3] = qty
    lines.cursor[HELD_COUNT] += 1


@kernel
def first_held(lines: Lines, row: int, after: int) -> int:
    """The id that the first held update with an id above `after` follows; -1 where there is none."""
    held = lines.held
    for n in range(int(lines.cursor[HELD_COUNT])):
        at = ENTRY * n
        if held[at] == row and held[at + 1] == 0 and held[at + 3] > after:
            return int(held[at + 2])
    return -1


@kernel
def give_held(lines: Lines, row: int, after: int, batch: Batch, flags: int) -> None:
    """The levels of held updates with ids above `after`."""
    held, giving = lines.held, False
    mark = int(batch.used[0])
    for n in range(int(lines.cursor[HELD_COUNT])):
        at = ENTRY * n
        if held[at] == row and held[at + 1] == 0:
            giving = held[at + 3] > after
        elif held[at] == row and giving:
            give_level(lines, row, batch, int(held[at + 1]), int(held[at + 2]), int(held[at + 3]), flags)
    if batch.used[0] > mark:
        close_event(batch)


@kernel
def drop_held(lines: Lines, row: int) -> None:
    """Forget what is held of an instrument."""
    held, kept = lines.held, 0
    for n in range(int(lines.cursor[HELD_COUNT])):
        if held[ENTRY * n] != row:
            for word in range(ENTRY):
                held[ENTRY * kept + word] = held[ENTRY * n + word]
            kept += 1
    lines.cursor[HELD_COUNT] = kept
    lines.rows[row + HELD_U] = 0
