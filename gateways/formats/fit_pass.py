"""A file's records become a configuration's own in one pass: chosen, followed by books, rescaled, timed and numbered.

`fit_pass` takes a batch and writes what is given on. Levels and orders change the book of their instrument at its
venue, in the units of the file; where its touch is another at the end of an event (no flag MORE), or is seen for the
first time after a CLEAR or an INSTRUMENT_STATUS, which void what a router had, a QUOTE follows. An execution that
orders alone tell of gives a TRADE, before that quote (gateways.formats.executions). With `depth` the levels and orders
are given too, each before the trade and the quote that follow from it.

Where `follows` is 0 no book is kept here: levels alone are given, each with its source's number and, in `ts_recv_ns`,
its source's time, for whoever derives the quotes as it plays them (replay.backtest.drive).

A live feed's hole (CLEAR of a venue, reason SEQUENCE_GAP) leaves out a number of its stream, so that whoever takes the
stream sees a gap too.

Worst case: a record costs a copy of its 64 or 128 bytes, and a level or an order what it costs its book.
"""

from __future__ import annotations

from engine.book.apply import apply_delta, apply_level, clear_book
from engine.book.grid import begin_side, keep_grid
from engine.book.memory import Books
from engine.book.orders import remove
from engine.book.view import CROSSED, touch
from engine.io.atomics import address_of, copy
from engine.jit import kernel
from engine.record.records import RECORD_MAX, UNIT, Flag, Reason, Side, Template
from gateways.formats.batch import Batch, new_quote
from gateways.formats.executions import is_print, tell_execution
from gateways.formats.fit_kernels import (
    BESIDE,
    BOOK,
    OTHER_KIND,
    OTHER_SYMBOL,
    PRINTS,
    QUOTES,
    Fit,
    mapped,
    scale,
    scaled,
    set_times,
    skip,
    units_of,
)
from gateways.formats.ghosts import look_for_ghosts

_BUY = int(Side.BUY)
_QUOTE, _TRADE, _CLEAR = int(Template.QUOTE), int(Template.TRADE), int(Template.CLEAR)
_LEVEL, _DELTA, _STATUS = int(Template.LEVEL), int(Template.ORDER_DELTA), int(Template.INSTRUMENT_STATUS)
_MORE, _SNAPSHOT = int(Flag.MORE), int(Flag.SNAPSHOT)
_GAP = int(Reason.SEQUENCE_GAP)
#: A state that no touch has.
_UNSHOWN = -1


@kernel
def fit_pass(fit: Fit, b: Books, batch: Batch, out: Batch) -> None:
    """Fit the records of a batch into `out`, which is emptied first and has three times as many units.

    It stops where the file's times run backwards by far (`line.backwards`). b: `of_books` places.
    """
    line = fit.line[0]
    out.used[0] = 0
    i, end = 0, int(batch.used[0])
    while i < end and line.backwards == 0:
        line.records += 1
        head, units = batch.head[i], units_of(batch, i)
        venue, instrument = mapped(fit, int(head.venue_id), int(batch.trade[i].instrument_id))
        if venue >= 0:
            if head.template_id == _LEVEL and line.follows == 0:
                _give_level(fit, batch, i, venue, instrument, out)
                units += _give_levels(fit, batch, i + 1, end, i, out) - (i + 1)
            elif head.template_id == _LEVEL or head.template_id == _DELTA:
                _move(fit, b, batch, i, units, venue, instrument, out)
            else:
                _other(fit, b, batch, i, units, venue, instrument, out)
        i += units


@kernel
def _other(fit: Fit, b: Books, batch: Batch, i: int, units: int, venue: int, instrument: int, out: Batch) -> None:
    """A record that is no level and no order."""
    template = int(batch.head[i].template_id)
    if not (template == _QUOTE or template == _TRADE or template == _CLEAR or template == _STATUS):
        skip(fit, OTHER_KIND, template, venue, instrument)
        return
    if template == _QUOTE:
        if not _shows(fit, venue, instrument):
            skip(fit, BESIDE, 0, venue, instrument)
            return
        quote = batch.quote[i]
        if quote.bid_qty > 0 and quote.ask_qty > 0 and quote.bid_px > quote.ask_px:
            fit.line[0].crossed += 1
    elif template == _CLEAR:
        _void(fit, b, venue, instrument)
        if instrument < 0 and fit.line[0].live != 0 and batch.clear[i].reason == _GAP:
            fit.seqs[venue] += 1
    elif template == _STATUS and instrument >= 0:
        book = int(fit.books[venue * fit.line[0].instruments + instrument]) - 1
        if book >= 0:
            b.books[book].state = _UNSHOWN
    _give(fit, batch, i, units, venue, instrument, out)


@kernel
def _shows(fit: Fit, venue: int, instrument: int) -> bool:
    """Whether an instrument's own quotes are its touch."""
    if instrument < 0:
        return False
    slot = venue * int(fit.line[0].instruments) + instrument
    if fit.use[slot] != QUOTES and fit.line[0].adopts != 0:
        fit.use[slot] = QUOTES
    return bool(fit.use[slot] == QUOTES)


@kernel
def _forget(fit: Fit, b: Books, venue: int) -> None:
    """Forget all orders of a venue in one walk through their tables; else each of its books would take one."""
    left = 0
    for book in range(fit.line[0].books):
        if fit.homes[book] == venue:
            left += int(b.books[book].orders)
    k = 0
    while left > 0 and k < len(b.orders):
        if b.orders[k].id != 0 and fit.homes[b.orders[k].side >> 1] == venue:
            remove(b, k)
            left -= 1
        k += 1


@kernel
def _void(fit: Fit, b: Books, venue: int, instrument: int) -> None:
    """The books of a venue in one instrument, or in all where that is -1, are void."""
    instruments = int(fit.line[0].instruments)
    if instrument < 0:
        _forget(fit, b, venue)
    for n in range(instruments) if instrument < 0 else range(instrument, instrument + 1):
        book = int(fit.books[venue * instruments + n]) - 1
        if book >= 0:
            clear_book(b, book)
            b.books[book].state = _UNSHOWN


@kernel
def _move(fit: Fit, b: Books, batch: Batch, i: int, units: int, venue: int, instrument: int, out: Batch) -> None:
    """A level or an order."""
    line = fit.line[0]
    if instrument < 0:
        skip(fit, OTHER_SYMBOL, 0, venue, instrument)
        return
    slot = int(venue * line.instruments + instrument)
    shows = fit.use[slot] == BOOK
    if not shows and line.depth == 0:
        skip(fit, BESIDE, 0, venue, instrument)
        return
    line.moves += 1
    if line.depth != 0:
        _give(fit, batch, i, units, venue, instrument, out)
    if shows and line.backwards == 0:
        _follow(fit, b, batch, i, slot, venue, instrument, out)


@kernel
def _give_level(fit: Fit, batch: Batch, i: int, venue: int, instrument: int, out: Batch) -> None:
    """A level for whoever follows the book."""
    line = fit.line[0]
    if instrument < 0:
        skip(fit, OTHER_SYMBOL, 0, venue, instrument)
        return
    line.moves += 1
    k = int(out.used[0])
    copy(address_of(out.words) + UNIT * k, address_of(batch.words) + UNIT * i, UNIT)
    level, ours = out.level[k], fit.ours[instrument]
    level.venue_id, level.instrument_id = venue, instrument
    source_ns = int(level.ts_event_ns)
    px, why = scaled(int(level.px), int(ours.px_mul), int(ours.px_div), ours.px_lines, int(ours.most_px))
    qty, other = scaled(int(level.qty), int(ours.qty_mul), int(ours.qty_div), ours.qty_lines, int(ours.most_qty))
    fits = why == 0 and other == 0  # else `scale` counts why
    if fits:
        level.px, level.qty = px, qty
    if (fits or scale(fit, out, k)) and set_times(fit, out, k):
        level.ts_recv_ns = source_ns if source_ns != 0 else level.ts_event_ns
        line.deep += 1
        out.used[0] = k + 1


@kernel
def _give_levels(fit: Fit, batch: Batch, first: int, end: int, of: int, out: Batch) -> int:
    """The levels from unit `first` to `end` with the venue and the instrument of unit `of`, as `_give_level` would.

    Returns the unit of the first that it leaves: another record, or one that does not fit, or whose time would have to
    be changed.
    """
    line, head, k = fit.line[0], batch.head[of], int(out.used[0])
    venue, instrument = head.venue_id, batch.level[of].instrument_id
    ours_venue = int(fit.venues[venue]) if 0 <= venue < len(fit.venues) else -1
    ours_instrument = int(fit.of_file[instrument].instrument) if 0 <= instrument < len(fit.of_file) else -1
    if ours_venue < 0 or ours_instrument < 0 or line.backwards != 0 or line.play == 0:
        return first
    ours, skew_ns, last_ns = fit.ours[ours_instrument], int(line.skew_ns), int(line.last_ns)
    px_mul, px_div, px_lines, most_px = int(ours.px_mul), int(ours.px_div), ours.px_lines, int(ours.most_px)
    qty_mul, qty_div, qty_lines, most_qty = int(ours.qty_mul), int(ours.qty_div), ours.qty_lines, int(ours.most_qty)
    i, timed = first, 0
    while i < end:
        level = batch.level[i]
        if level.template_id != _LEVEL or level.venue_id != venue or level.instrument_id != instrument:
            break
        event_ns, recv_ns, px, qty = int(level.ts_event_ns), int(level.ts_recv_ns), int(level.px), int(level.qty)
        ours_ns = recv_ns + skew_ns if recv_ns != 0 else event_ns
        if ours_ns <= 0 or ours_ns < last_ns or ours_ns < event_ns or px < 0 or qty < 0:
            break
        our_px, our_qty = int(px * px_lines + 0.5), int(qty * qty_lines + 0.5)
        if our_px * px_div != px or our_qty * qty_div != qty or our_px > most_px or our_qty > most_qty:
            break
        copy(address_of(out.words) + UNIT * k, address_of(batch.words) + UNIT * i, UNIT)
        given = out.level[k]
        given.venue_id, given.instrument_id = ours_venue, ours_instrument
        given.px, given.qty = our_px * px_mul, our_qty * qty_mul
        given.ts_event_ns, given.ts_recv_ns = ours_ns, event_ns if event_ns != 0 else ours_ns
        timed += 1 if event_ns != 0 and recv_ns != 0 else 0
        last_ns = ours_ns
        k += 1
        i += 1
    line.records += i - first
    line.moves += i - first
    line.deep += i - first
    line.timed += timed
    line.last_ns = last_ns
    out.used[0] = k
    return i


@kernel
def _give(fit: Fit, batch: Batch, i: int, units: int, venue: int, instrument: int, out: Batch) -> None:
    """Copy record i behind the records of `out`, and fit it; what cannot be fitted is written over."""
    k = int(out.used[0])
    to, at = address_of(out.words) + UNIT * k, address_of(batch.words) + UNIT * i
    if units == 1:
        copy(to, at, UNIT)
    else:
        copy(to, at, RECORD_MAX)
    out.head[k].venue_id = venue
    out.trade[k].instrument_id = instrument
    _finish(fit, out, k, units, venue)


@kernel
def _finish(fit: Fit, out: Batch, k: int, units: int, venue: int) -> None:
    """Give the record behind the records of `out` its units, times and numbers, and make it one of them."""
    line = fit.line[0]
    if not (scale(fit, out, k) and set_times(fit, out, k)):
        return
    head = out.head[k]
    fit.seqs[venue] += 1
    if head.template_id == _QUOTE and out.quote[k].source_seq == 0:
        out.quote[k].source_seq = head.stream_seq
    head.stream_id, head.stream_seq, head.stream_epoch = venue, fit.seqs[venue], line.epoch
    if head.template_id == _LEVEL or head.template_id == _DELTA:
        line.deep += 1
    else:
        line.given += 1
    out.used[0] = k + units


@kernel
def _untold(fit: Fit, slot: int) -> None:
    """An execution that nothing tells of: trades are not all that was traded."""
    fit.line[0].untold += 1
    fit.has[slot] |= PRINTS


@kernel
def _follow(fit: Fit, b: Books, batch: Batch, i: int, slot: int, venue: int, instrument: int, out: Batch) -> None:
    """Change the book of a level or an order, and give what it shows now where that is another touch."""
    book = int(fit.books[slot]) - 1
    if book < 0:
        if fit.line[0].books >= len(b.books):
            fit.line[0].unfollowed += 1
            if batch.head[i].template_id == _DELTA and is_print(batch, i):
                _untold(fit, slot)
            return
        book = int(fit.line[0].books)
        fit.line[0].books = book + 1
        fit.books[slot] = book + 1
        fit.homes[book] = venue
    if batch.head[i].template_id == _LEVEL:
        level = batch.level[i]
        px, marks = int(level.px), int(level["flags"])
        side = 2 * book + (0 if level.side == _BUY else 1)
        begin_side(b, side, px)
        apply_level(b, book, int(level.side), int(level.action), px, int(level.qty), 0)
        keep_grid(b, side)
    else:
        delta = batch.delta[i]
        px, marks = int(delta.px), int(delta["flags"])
        if px != 0:
            begin_side(b, 2 * book + (0 if delta.side == _BUY else 1), px)
        of_ghost, ghost = look_for_ghosts(fit.ghosts, int(fit.line[0].ghosts), b, batch, i, book)
        fit.line[0].of_ghosts += of_ghost
        fit.line[0].ghosts += ghost
        number, new_number = int(delta.venue_order), int(delta.new_order)
        if is_print(batch, i):
            k = int(out.used[0])
            if tell_execution(b, book, batch, i, venue, instrument, out):
                out.used[0] = k
                _finish(fit, out, k, 1, venue)
            if out.used[0] == k:
                _untold(fit, slot)
        apply_delta(b, book, int(delta.side), int(delta.action), number, new_number, px, int(delta.qty))
        keep_grid(b, 2 * book)
        keep_grid(b, 2 * book + 1)
    head = batch.head[i]
    if marks & _MORE == 0 and touch(b, book, int(head.ts_event_ns)):
        k = new_quote(out, venue, instrument, int(head.ts_event_ns), int(head.ts_recv_ns))
        quote, row = out.quote[k], b.books[book]
        if int(row.state) & CROSSED != 0:
            fit.line[0].crossed += 1
        quote.bid_px, quote.bid_qty, quote.bid_orders = row.bid_px, row.bid_qty, row.bid_orders
        quote.ask_px, quote.ask_qty, quote.ask_orders = row.ask_px, row.ask_qty, row.ask_orders
        quote.source_seq = head.stream_seq
        quote["flags"] = marks & _SNAPSHOT
        out.used[0] = k
        _finish(fit, out, k, 2, venue)
