"""Runs of levels at the simulated venues: most of a feed of depth changes the book and nothing else.

A run is the LEVELs of one pair that follow on each other. Whose pair it is, what is due next and what of ours rests is
looked at once; then a level that the window of its side holds costs its cell, and a bit of the side's bitmap where it
comes or goes. The cell of a level some records further on is fetched meanwhile: windows are larger than the nearest
caches.

Worst case: a level outside its window takes `apply_level`, one at whose price something of ours rests ends the run.
"""

from __future__ import annotations

import math
from typing import Final

from engine.book.apply import apply_level
from engine.book.grid import begin_side, keep_grid
from engine.book.ladder import occupy, rank_of, vacate
from engine.book.memory import LEVEL as CELL
from engine.io.atomics import address_of, prefetch_write
from engine.jit import kernel
from engine.record.records import Flag, Side, Template
from gateways.inbox import Inbox
from gateways.venues.queue import first_at
from gateways.venues.state import LEVELS, Exchange
from gateways.venues.taken import taken_row

_LEVEL, _MORE = int(Template.LEVEL), int(Flag.MORE)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
#: `action` of a LEVEL that is gone.
_DELETE: Final = 2
#: Records between one and that whose cell is fetched meanwhile.
_AHEAD: Final = 8
_CELL_BYTES: Final = CELL.itemsize


@kernel
def take_levels(ex: Exchange, inbox: Inbox, first: int, stop: int, until_ns: int, whole: int) -> int:
    """Take LEVELs of one pair from unit `first` on as `ingest` would in feed-clock mode; nothing is due by `until_ns`.

    Returns the unit of the first record not taken: `stop`, or one that is later, earlier than the clock, of another
    kind or pair, or at whose price something of ours rests or was taken. It comes back at the end of an event (no flag
    MORE) with `whole`, and where something of ours rests in the pair.
    """
    core, begins = ex.core[0], inbox.level[first]
    venue, instrument = int(begins.venue_id), int(begins.instrument_id)
    if begins.template_id != _LEVEL or venue < 0 or venue >= len(ex.venues) or core.deep == 0:
        return first
    if instrument < 0 or instrument >= core.instruments or ex.venues[venue].served == 0:
        return first
    b, pair_index = ex.books, int(venue * core.instruments + instrument)
    pair, book = ex.pairs[pair_index], ex.books.books[pair_index]
    rests = pair.bids >= 0 or pair.asks >= 0
    watched = rests or ex.taken_of[2 * pair_index] >= 0 or ex.taken_of[2 * pair_index + 1] >= 0
    stops = whole != 0 or rests
    mask, cells = int(b.core[0].width_mask), address_of(b.levels)
    at, now_ns, changes = first, int(core.clock_ns), 0
    while at < stop and book.broken == 0:
        level = inbox.level[at]
        at_ns, px, told_side = int(level.ts_event_ns), int(level.px), int(level.side)
        if level.template_id != _LEVEL or at_ns < now_ns or at_ns > until_ns or px <= 0:
            break
        if level.venue_id != venue or level.instrument_id != instrument or (told_side != _BUY and told_side != _SELL):
            break
        side = 2 * pair_index + (0 if told_side == _BUY else 1)
        if watched and _is_watched(ex, side, px):
            break
        if at + _AHEAD < stop:
            coming = inbox.level[at + _AHEAD]
            its = 2 * pair_index + (0 if coming.side == _BUY else 1)
            near = math.floor(rank_of(its, int(coming.px)) * b.sides[its].lines + 0.5)
            prefetch_write(cells + _CELL_BYTES * (its * (mask + 1) + (near & mask)))
        row, rank = b.sides[side], rank_of(side, px)
        place = math.floor(rank * row.lines + 0.5)
        if row.near > 0 and row.low <= place <= row.low + mask and place * row.tick == rank:
            cell = b.levels[side * (mask + 1) + (place & mask)]
            had, left = int(cell.qty), 0 if level.action == _DELETE else max(int(level.qty), 0)
            changes += 1
            cell.qty, cell.orders = left, 0
            if had == 0 and left != 0:
                occupy(b, side, place)
            elif had != 0 and left == 0:
                vacate(b, side, place)
                keep_grid(b, side)
        else:
            begin_side(b, side, px)
            apply_level(b, pair_index, told_side, int(level.action), px, int(level.qty), 0)
            keep_grid(b, side)
        now_ns = at_ns
        at += 1
        if stops and int(level["flags"]) & _MORE == 0:
            break
    if at > first:
        pair.told_by = LEVELS
        core.clock_ns = now_ns
        book.changes += changes
    return at


@kernel
def _is_watched(ex: Exchange, side: int, px: int) -> bool:
    """Whether something of ours rests at a price of a side row, or was taken of its level."""
    if ex.taken_of[side] >= 0 and taken_row(ex, side, rank_of(side, px)) >= 0:
        return True
    pair = ex.pairs[side >> 1]
    return (pair.bids if side & 1 == 0 else pair.asks) >= 0 and first_at(ex, side, px) >= 0
