"""TRADEs of the executions that orders alone tell of: what a book's next change says that was traded.

ITCH (E, C) and LOBSTER (4) say what was executed on the book as a change of the order that rested, the flag PRINT;
recordings that are older than the flag have a match number of ITCH. Before the change is applied, its order is looked
up: the TRADE is at the execution's own price where it has one, else at the order's; its quantity is no more than the
order has, and who took is on the other side of it. Executions that are not printed (crosses) have a record elsewhere.

Worst case: the order is not in the book, and the change says no price: nothing is known to tell of.
"""

from __future__ import annotations

from typing import Final

from engine.book.memory import Books
from engine.book.orders import find, order_at
from engine.jit import kernel
from engine.record.records import Flag, Side
from gateways.formats.batch import Batch, new_trade

_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_EXECUTE: Final = 3
_PRINT, _NOT_PRINTED = int(Flag.PRINT), int(Flag.NOT_PRINTED)
_TOOK_BUY, _TOOK_SELL = int(Flag.AGGRESSOR_BUY), int(Flag.AGGRESSOR_SELL)


@kernel
def is_print(batch: Batch, i: int) -> bool:
    """Whether the ORDER_DELTA at unit i is an execution of which no TRADE of its feed tells."""
    delta = batch.delta[i]
    if delta.action != _EXECUTE:
        return False
    marks = int(delta["flags"])
    return bool(marks & _NOT_PRINTED == 0 and (marks & _PRINT != 0 or delta.match_id != 0))


@kernel
def tell_execution(b: Books, book: int, batch: Batch, i: int, venue: int, instrument: int, out: Batch) -> bool:
    """Write the TRADE of the ORDER_DELTA at unit i, which `is_print` and has not been applied, behind `out`'s records.

    One unit, in the units of the book. False: nothing is written; its order is not known, and it says no price.
    """
    delta, head = batch.delta[i], batch.head[i]
    number, px, qty, side = int(delta.venue_order), int(delta.exec_px), int(delta.qty), int(delta.side)
    where = find(b, book, number) if number != 0 and b.books[book].broken == 0 else -1
    if where != -1:
        order = order_at(b, where)
        px = px if px > 0 else int(order.px)
        qty = min(qty, int(order.qty))
        side = _BUY if order.side & 1 == 0 else _SELL
    elif px <= 0:
        px = int(delta.px)
    if px <= 0 or qty <= 0:
        return False
    k = new_trade(out, venue, instrument, int(head.ts_event_ns), int(head.ts_recv_ns))
    out.head[k].stream_seq = head.stream_seq
    trade = out.trade[k]
    trade.px, trade.qty = px, qty
    trade["flags"] = _PRINT | (_TOOK_SELL if side == _BUY else _TOOK_BUY if side == _SELL else 0)
    return True
