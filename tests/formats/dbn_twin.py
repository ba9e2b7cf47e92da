"""A slow reading of DBN for the tests: struct and dictionaries, nothing shared with the reader.

`told` gives what our records should say, from records as Databento's own decoder (or a test) gives them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.record.records import DTYPES, UNIT, Flag, Template

UNDEF = 2**63 - 1
SIDE = {"B": ord("1"), "A": ord("2")}
STATUS = {1: 3, 2: 3, 4: 3, 5: 3, 7: 0, 8: 1, 9: 1, 10: 1, 12: 2, 13: 2, 15: 2}


class Msg(NamedTuple):
    """What the twin looks at of a record."""

    rtype: int
    publisher_id: int
    instrument_id: int
    ts_event: int
    ts_recv: int
    sequence: int
    action: str
    side: str
    flags: int
    price: int = UNDEF
    size: int = 0
    order_id: int = 0
    levels: tuple[tuple[int, int, int, int, int, int], ...] = ()  # bid px, ask px, bid qty, ask qty, orders of each


def msg_of(record: Any) -> Msg:
    """A record of Databento's decoder."""
    levels: tuple[Any, ...] = ()
    if hasattr(record, "levels"):
        levels = tuple(
            (v.bid_px, v.ask_px, v.bid_sz, v.ask_sz, getattr(v, "bid_ct", 0), getattr(v, "ask_ct", 0))
            for v in record.levels
        )
    return Msg(
        int(record.rtype.value if hasattr(record.rtype, "value") else record.rtype),
        record.publisher_id, record.instrument_id, record.ts_event, record.ts_recv, getattr(record, "sequence", 0),
        str(getattr(record.action, "value", record.action)), str(getattr(record.side, "value", record.side)),
        int(record.flags), record.price, record.size, getattr(record, "order_id", 0), levels,
    )  # fmt: skip


class Twin:
    """Goes through messages and keeps what our records should say: template name, common fields, own fields."""

    def __init__(self, unit: int = 1) -> None:
        self.unit = unit
        self.out: list[tuple[Any, ...]] = []
        self.orders: dict[tuple[int, int, int], list[int]] = {}  # left, filled, px, side
        self.tops: dict[tuple[int, int], list[int]] = {}
        self.ladders: dict[tuple[int, int], list[dict[int, int]]] = {}
        self.skipped: dict[str, int] = {}
        #: Places of the levels and orders of an event, by event; the one that an instrument is in, and its time.
        self.events: list[list[int]] = []
        self.now: dict[tuple[int, int], tuple[list[int], tuple[bool, int]]] = {}

    def marked(self) -> list[tuple[Any, ...]]:
        """`out`, with Flag.MORE on all levels and orders of an event but the last."""
        found = list(self.out)
        for event in self.events:
            for place in event[:-1]:
                name, event_ns, recv, seq, mark, *own = found[place]
                found[place] = (name, event_ns, recv, seq, mark | int(Flag.MORE), *own)
        return found

    def event_of(self, m: Msg, key: tuple[int, int]) -> list[int]:
        """The event that a message goes on with, or begins."""
        time = (True, 0) if m.flags & 32 else (False, m.ts_event)
        event, was = self.now.get(key, ([], (False, -1)))
        if was != time or key not in self.now:
            event = []
            self.events.append(event)
        self.now[key] = (event, time)
        return event

    def skip(self, why: str) -> None:
        self.skipped[why] = self.skipped.get(why, 0) + 1

    def emit(self, m: Msg, name: str, *own: int) -> None:
        took = {"B": 64, "A": 128}.get(m.side, 0) if name == "TRADE" else 0
        recv = 0 if m.ts_recv >= 2**63 else m.ts_recv
        event = 0 if m.ts_event >= 2**63 else m.ts_event
        self.out.append((name, event, recv, m.sequence, int(m.flags & 32 > 0) | took, *own))

    def px(self, value: int) -> int | None:
        if value == UNDEF:
            self.skip("no price")
        elif value % self.unit:
            self.skip("a price finer than the instrument's decimals")
        else:
            return value // self.unit
        return None

    def trade(self, m: Msg) -> None:
        if m.size == 0:
            return self.skip("no quantity")
        px = self.px(m.price)
        if px is not None:
            self.emit(m, "TRADE", px, m.size)
        return None

    def take(self, m: Msg) -> None:
        key, before = (m.publisher_id, m.instrument_id), len(self.out)
        event = self.event_of(m, key)
        self._take(m, key)
        event += [n for n in range(before, len(self.out)) if self.out[n][0] in ("LEVEL", "ORDER_DELTA")]
        if m.flags & 128:
            del self.now[key]

    def _take(self, m: Msg, key: tuple[int, int]) -> None:
        if m.rtype != 0 and m.action == "R":
            self.emit(m, "CLEAR")
            self.orders = {k: v for k, v in self.orders.items() if k[:2] != key}
            self.tops.pop(key, None)
            self.ladders.pop(key, None)
        if m.rtype == 160:
            self.mbo(m, key)
        elif m.rtype == 0:
            self.trade(m)
        elif m.rtype == 10:
            self.ten(m, key)
        else:
            self.best(m)

    def mbo(self, m: Msg, key: tuple[int, int]) -> None:
        if m.action in "RN":
            return None
        if m.action == "T":
            return self.trade(m)
        if m.flags & 64:
            return self.top(m, key)
        if m.flags & 16:
            return self.skip("a level among orders")
        if m.action not in "FCAM":
            return self.skip("an unknown action")
        name = (*key, m.order_id)
        order, signed = self.orders.get(name), m.order_id - 2**64 if m.order_id >= 2**63 else m.order_id
        if m.action == "F":
            if not order or order[0] == 0:
                return self.skip("a fill of an order that does not rest")
            if m.size == 0:
                return self.skip("no quantity")
            px = self.px(m.price)
            if px is None:
                return None
            done = min(order[0], m.size)
            order[0], order[1] = order[0] - done, order[1] + done
            self.emit(m, "ORDER_DELTA", order[3], 3, order[2], done, signed, px if px != order[2] else 0)
        elif m.action == "C" or (m.action == "M" and m.size == 0):
            self.cancel(m, name, order, signed)
        elif m.side not in SIDE:
            self.skip("no side")
        elif m.size == 0:
            self.skip("no quantity")
        else:
            px = self.px(m.price)
            if px is not None:
                self.orders[name] = [m.size, 0, px, SIDE[m.side]]
                action = 0 if m.action == "A" or (order and order[0] == 0) else 1
                self.emit(m, "ORDER_DELTA", SIDE[m.side], action, px, m.size, signed, 0)
        return None

    def cancel(self, m: Msg, name: tuple[int, int, int], order: list[int] | None, signed: int) -> None:
        if order is None:
            px = self.px(m.price)
            if px is not None:
                self.emit(m, "ORDER_DELTA", SIDE.get(m.side, 0), 2, px, m.size, signed, 0)
            return
        size = m.size or order[0] + order[1]
        told = min(size, order[1])
        gone = min(size - told, order[0])
        order[1] -= told
        order[0] -= gone
        if gone and order[0]:
            self.emit(m, "ORDER_DELTA", order[3], 1, order[2], order[0], signed, 0)
        elif gone:
            self.emit(m, "ORDER_DELTA", order[3], 2, order[2], gone, signed, 0)
        if order[0] == 0:
            del self.orders[name]

    def top(self, m: Msg, key: tuple[int, int]) -> None:
        if m.action not in "ACM":
            return self.skip("an unknown action")
        if m.side not in SIDE:
            return self.skip("no side")
        px: int | None = 0
        if m.price != UNDEF and m.size and m.action != "C":
            px = self.px(m.price)
        else:
            m = m._replace(size=0)
        if px is None:
            return None
        best = self.tops.setdefault(key, [0, 0, 0, 0])
        at = 0 if m.side == "B" else 2
        best[at : at + 2] = [px, m.size]
        self.emit(m, "QUOTE", *best, m.sequence, 0, 0)
        return None

    def best(self, m: Msg) -> None:
        bid, ask, bid_qty, ask_qty, bids, asks = m.levels[0]
        sides: list[int] | None = []
        for px, qty in ((bid, bid_qty), (ask, ask_qty)):
            fit: int | None = 0
            if px == UNDEF or qty == 0:
                qty = 0
            else:
                fit = self.px(px)
            if fit is None:
                sides = None
                break
            assert sides is not None
            sides += [fit, qty]
        if sides is not None and (m.action != "R" or any(sides)):
            self.emit(m, "QUOTE", *sides, m.sequence, bids, asks)
        if m.action == "T":
            self.trade(m)

    def ten(self, m: Msg, key: tuple[int, int]) -> None:
        had = self.ladders.get(key, [{}, {}])
        now = [{px // self.unit: qty for px, qty in side if px != UNDEF and qty} for side in sides_of(m)]
        for which, side in enumerate((ord("1"), ord("2"))):
            for px in sorted({*had[which], *now[which]}, reverse=which == 0):
                old, new = had[which].get(px), now[which].get(px)
                if old != new:
                    self.emit(m, "LEVEL", side, 2 if new is None else 0 if old is None else 1, px, new or 0)
        self.ladders[key] = now
        if m.action == "T":
            self.trade(m)


def sides_of(m: Msg) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Prices and sizes of the bids, and of the offers."""
    return [(v[0], v[2]) for v in m.levels], [(v[1], v[3]) for v in m.levels]


OWN = {
    "QUOTE": "bid_px bid_qty ask_px ask_qty source_seq bid_orders ask_orders",
    "TRADE": "px qty",
    "LEVEL": "side action px qty",
    "ORDER_DELTA": "side action px qty venue_order exec_px",
    "CLEAR": "",
    "INSTRUMENT_STATUS": "status reason",
}


def given(batches: Any) -> tuple[list[tuple[Any, ...]], list[tuple[int, int]]]:
    """Records of a reader as the twin says them, and the (venue, instrument) of each."""
    out, where = [], []
    for batch in batches:
        memory, at = batch.words.view(np.uint8)[: int(batch.used[0]) * UNIT], 0
        while at < len(memory):
            template = Template(int(memory[at + 2]) | int(memory[at + 3]) << 8)
            dtype = DTYPES[template]
            row = memory[at : at + dtype.itemsize].view(dtype)[0]
            at += dtype.itemsize
            assert row["stream_id"] == row["venue_id"]
            mark = int(row["flags"]) if template != Template.INSTRUMENT_STATUS else 0
            own = (int(row[name]) for name in OWN[template.name].split())
            common = (int(row["ts_event_ns"]), int(row["ts_recv_ns"]), int(row["stream_seq"]), mark)
            out.append((template.name, *common, *own))
            where.append((int(row["venue_id"]), int(row["instrument_id"])))
    return out, where
