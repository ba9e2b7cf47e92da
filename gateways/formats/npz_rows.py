"""Our records to rows of hftbacktest's event files, see gateways.formats.npz_write: one batch at a time.

What is left of an order is kept until it ends, for a file of the other kind tells what is left and ours tell what went.

Worst case: a batch has as many rows as units; an order costs a look in a table, and is not kept where its number is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.book.memory import Books, make_books
from engine.book.orders import find, insert, order_at, remove, remove_of_book
from engine.io.mapping import aligned_zeros
from engine.jit import kernel
from engine.memory import Memory, memory, packed
from engine.record.records import Flag, Side, Template
from gateways.formats.batch import Batch
from gateways.formats.fit_kernels import units_of
from gateways.formats.npz_kernels import (
    ADD,
    BBO,
    BUY,
    CANCEL,
    CLEAR,
    DEPTH,
    FILL,
    MODIFY,
    SELL,
    SNAPSHOT,
    TRADE,
)
from gateways.inbox import table

Array = np.ndarray[Any, np.dtype[Any]]
_QUOTE, _TRADE, _CLEAR = int(Template.QUOTE), int(Template.TRADE), int(Template.CLEAR)
_LEVEL, _DELTA = int(Template.LEVEL), int(Template.ORDER_DELTA)
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_SNAP, _TOOK_BUY, _TOOK_SELL = int(Flag.SNAPSHOT), int(Flag.AGGRESSOR_BUY), int(Flag.AGGRESSOR_SELL)
#: `action` of LEVEL and ORDER_DELTA.
_ADD, _CHANGE, _DELETE, _EXECUTE, _REPLACE = 0, 1, 2, 3, 5

#: Counts as `NpzTold` has them.
LINE = table("""
venue       i8  whose records are taken
instrument  i8
latency_ns  i8  under way, of what has no time of its receipt
skew_ns     i8  added to the times of receipt
records     i8
others      i8
no_event_time i8
no_receive_time i8
no_time     i8
other_kind  i8
timed       i8
negative    i8
least_ns    i8
exch_ns     i8  the two times of the record at hand
local_ns    i8
""")


@memory
class Encoder(Memory):
    """See `make_encoder`."""

    LAYOUT = packed(line=LINE, factors="<f8")
    line: Array  # one row
    factors: Array  # 10^decimals of prices and of quantities


def make_encoder(px_decimals: int, qty_decimals: int) -> Encoder:
    """Nothing seen yet."""
    return Encoder(line=aligned_zeros(1, LINE), factors=np.array([10.0**px_decimals, 10.0**qty_decimals]))


def make_orders(places: int) -> Books:
    """A table of what is left of orders, by number: one book, of which the orders alone are used."""
    return make_books([1], width=32, far=1, orders=places)


@kernel
def move_orders(old: Books, new: Books) -> None:
    """Keep all orders of one table in another, empty one with room for them."""
    for k in range(len(old.orders)):
        row = old.orders[k]
        if row.id != 0:
            insert(new, int(row.id), 0, int(row.px), int(row.qty), int(row.arrival))
    for k in range(len(old.spill)):
        row = old.spill[k]
        if row.id != 0:
            insert(new, int(row.id), 0, int(row.px), int(row.qty), int(row.arrival))


@kernel
def encode(e: Encoder, b: Books, batch: Batch, out: Array) -> int:
    """Rows of the records of a batch into `out` (ROW, as many as the batch has units in use); how many.

    b: room for as many more orders as the batch has units.
    """
    line = e.line[0]
    i, n, end = 0, 0, int(batch.used[0])
    while i < end:
        head, instrument = batch.head[i], int(batch.trade[i].instrument_id)
        if head.venue_id != line.venue or (instrument != line.instrument and instrument != -1):
            line.others += 1
        else:
            line.records += 1
            if _timed(e, int(head.ts_event_ns), int(head.ts_recv_ns)):
                n = _rows(e, b, batch, i, out, n)
        i += units_of(batch, i)
    return n


@kernel
def _timed(e: Encoder, event_ns: int, recv_ns: int) -> bool:
    """The two times of a record; False where it has none."""
    line = e.line[0]
    if recv_ns != 0:
        recv_ns += int(line.skew_ns)
    if event_ns != 0 and recv_ns != 0:
        took = recv_ns - event_ns
        line.least_ns = min(took, int(line.least_ns)) if line.timed > 0 else took
        line.timed += 1
        line.negative += 1 if took < 0 else 0
    elif event_ns == 0 and recv_ns == 0:
        line.no_time += 1
        return False
    elif recv_ns != 0:
        line.no_event_time += 1
        event_ns = recv_ns
    else:
        line.no_receive_time += 1
        recv_ns = event_ns + int(line.latency_ns)
    line.exch_ns, line.local_ns = event_ns, recv_ns
    return True


@kernel
def _put(e: Encoder, out: Array, n: int, kind: int, px: int, qty: int, number: int) -> int:
    """A row of the record at hand; the number of rows then."""
    row = out[n]
    row.ev, row.exch_ts, row.local_ts = kind, e.line[0].exch_ns, e.line[0].local_ns
    row.px, row.qty, row.order_id = px / e.factors[0], qty / e.factors[1], number
    row.ival, row.fval = 0, 0.0
    return n + 1


@kernel
def _bit(side: int) -> int:
    return BUY if side == _BUY else SELL if side == _SELL else 0


@kernel
def _rows(e: Encoder, b: Books, batch: Batch, i: int, out: Array, n: int) -> int:
    """The rows of record i behind the n of `out`; their number then."""
    template = int(batch.head[i].template_id)
    if template == _QUOTE:
        quote = batch.quote[i]
        n = _put(e, out, n, BBO | BUY, int(quote.bid_px), int(quote.bid_qty), 0)
        n = _put(e, out, n, BBO | SELL, int(quote.ask_px), int(quote.ask_qty), 0)
    elif template == _TRADE:
        trade = batch.trade[i]
        marks = int(trade["flags"])
        took = BUY if marks & _TOOK_BUY != 0 else SELL if marks & _TOOK_SELL != 0 else 0
        n = _put(e, out, n, TRADE | took, int(trade.px), int(trade.qty), 0)
    elif template == _LEVEL:
        level = batch.level[i]
        kind = SNAPSHOT if int(level["flags"]) & _SNAP != 0 else DEPTH
        qty = 0 if level.action == _DELETE else int(level.qty)
        n = _put(e, out, n, kind | _bit(int(level.side)), int(level.px), qty, 0)
    elif template == _CLEAR:
        if b.books[0].orders > 0:
            remove_of_book(b, 0)
        n = _put(e, out, n, CLEAR, 0, 0, 0)
    elif template == _DELTA:
        n = _order(e, b, batch, i, out, n)
    else:
        e.line[0].other_kind += 1
    return n


@kernel
def _order(e: Encoder, b: Books, batch: Batch, i: int, out: Array, n: int) -> int:
    """The rows of an ORDER_DELTA."""
    delta = batch.delta[i]
    number, action, px, qty = int(delta.venue_order), int(delta.action), int(delta.px), int(delta.qty)
    side, old_px, left = int(delta.side), px, 0
    where = find(b, 0, number) if number != 0 else -1
    if where != -1:
        order = order_at(b, where)
        side, old_px, left = int(order.arrival), int(order.px), int(order.qty)
    if action == _ADD:
        n = _keep(e, b, out, n, ADD, number, int(delta.side), px, qty)
    elif action == _CHANGE:
        n = _keep(e, b, out, n, MODIFY, number, side, px if px != 0 else old_px, qty)
    elif action == _REPLACE:
        if where != -1:
            remove(b, where)
        n = _put(e, out, n, CANCEL | _bit(side), old_px, left, number)
        n = _keep(e, b, out, n, ADD, int(delta.new_order), side, px, qty)
    else:
        if action == _EXECUTE:
            exec_px = int(delta.exec_px)
            n = _put(e, out, n, FILL | _bit(side), exec_px if exec_px != 0 else old_px, qty, number)
        rest = 0 if action == _DELETE else max(left - qty, 0)
        if rest > 0:
            n = _keep(e, b, out, n, MODIFY, number, side, old_px, rest)
        else:
            if where != -1:
                remove(b, where)
            n = _put(e, out, n, CANCEL | _bit(side), old_px, left if left != 0 else qty, number)
    return n


@kernel
def _keep(e: Encoder, b: Books, out: Array, n: int, kind: int, number: int, side: int, px: int, qty: int) -> int:
    """A row of an order, and what is left of it from now on. Its side is kept as its stamp: it may be of neither."""
    where = find(b, 0, number) if number != 0 else -1
    if where != -1:
        order = order_at(b, where)
        order.px, order.qty, order.arrival = px, qty, side
    elif number != 0:
        insert(b, number, 0, px, qty, side)
    return _put(e, out, n, kind | _bit(side), px, qty, number)
