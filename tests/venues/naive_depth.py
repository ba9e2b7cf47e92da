"""Recorded depth once more, slow and plain: dicts of levels and of orders, and the queue as a list of who is before."""

from __future__ import annotations

from typing import Any

from engine.record.records import Flag, Side, Template

ADD, CHANGE, DELETE, EXECUTE, REDUCE, REPLACE = range(6)


class NaiveDepth:
    """A market's levels by side and price, its orders by number, and what our fills have taken of levels.

    An order is a dict; it is another dict when it has lost its place in the queue.
    """

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.told_by = ""
        self.levels: dict[int, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
        self.orders: dict[int, dict[str, int]] = {}
        self.taken: dict[tuple[int, int], int] = {}
        self.last_print = (0, 0, 0)

    def clear(self) -> None:
        self.levels = {Side.BUY: {}, Side.SELL: {}}
        self.orders, self.taken = {}, {}

    def open(self, side: int, limit: int | None) -> list[tuple[int, int]]:
        """(price, quantity) open to an order that takes from a side, best first."""
        found = []
        for px in sorted(self.levels[side], reverse=side == Side.BUY):
            qty = self.levels[side][px] - self.taken.get((side, px), 0)
            good = limit is None or (px <= limit if side == Side.SELL else px >= limit)
            if qty > 0 and good:
                found.append((px, qty))
        return found

    def use_up(self, side: int, px: int, qty: int) -> None:
        self.taken[side, px] = self.taken.get((side, px), 0) + qty

    def join(self, o: dict[str, Any]) -> None:
        """A resting order's place."""
        side, px = o["book"], o["px"]
        shown = self.levels[side].get(px, 0)
        worse = [p for p in self.levels[side] if (p < px if side == Side.BUY else p > px)]
        o["queue"] = max(shown - self.taken.get((side, px), 0), 0)
        if self.told_by == "levels" and not shown and not worse:
            o["queue"] = None
        o["ahead"] = [order for order in self.orders.values() if (order["side"], order["px"]) == (side, px)]
        o["traded"] = 0

    def moved(self, resting: list[dict[str, Any]], side: int, px: int, before: int, cancelled: int) -> None:
        """What a change of a level does to what we took of it, and to the orders that rest there."""
        after = self.levels[side].get(px, 0)
        if after < before and (side, px) in self.taken:
            self.taken[side, px] -= before - after
            if self.taken[side, px] <= 0:
                del self.taken[side, px]
        for o in resting:
            if (o["book"], o["px"]) == (side, px):
                if o["queue"] is None:
                    o["queue"] = after or None
                    continue
                if self.queue == "proportional" and before:
                    o["queue"] -= max(cancelled - o["traded"], 0) * min(o["queue"], before) // before
                o["queue"] = min(o["queue"], after)
                o["traded"] = 0

    def put(self, resting: list[dict[str, Any]], side: int, px: int, qty: int, executed: bool = False) -> None:
        """A level shows `qty` now."""
        before = self.levels[side].pop(px, 0)
        if qty > 0:
            self.levels[side][px] = qty
        self.moved(resting, side, px, before, 0 if executed else max(before - max(qty, 0), 0))

    def quote(self, resting: list[dict[str, Any]], side: int, px: int, qty: int) -> None:
        """A quote says of a side what its best level is."""
        if qty > 0:
            for better in sorted(self.levels[side], reverse=side == Side.BUY):
                if better > px if side == Side.BUY else better < px:
                    self.put(resting, side, better, 0)
            if self.levels[side].get(px) != qty:
                self.put(resting, side, px, qty)

    def executed(self, row: Any) -> tuple[int, int, int] | None:
        """(side, price, quantity) that an ORDER_DELTA prints; None where it prints nothing."""
        order = self.orders.get(int(row["venue_order"]))
        if row["action"] != EXECUTE or order is None or row["flags"] & Flag.NOT_PRINTED:
            return None
        qty, px = min(int(row["qty"]), order["qty"]), int(row["exec_px"]) or order["px"]
        own = row["match_id"] or row["flags"] & Flag.PRINT
        if not own and self.last_print[:2] == (px, int(row["ts_event_ns"])):
            told = min(self.last_print[2], qty)
            self.last_print = (*self.last_print[:2], self.last_print[2] - told)
            qty -= told
        return (order["side"], px, qty) if qty > 0 and px == order["px"] else None

    def printed(self, row: Any) -> None:
        """A TRADE, where there are orders."""
        px, time = int(row["px"]), int(row["ts_event_ns"])
        before = self.last_print[2] if self.last_print[:2] == (px, time) else 0
        self.last_print = (px, time, before + int(row["qty"]))

    def delta(self, resting: list[dict[str, Any]], row: Any) -> None:
        """What an ORDER_DELTA does to the book."""
        number, new, action, qty = (int(row[n]) for n in ("venue_order", "new_order", "action", "qty"))
        side, px, order = int(row["side"]), int(row["px"]), self.orders.get(number)
        side = Side.BUY if side == Side.BUY else Side.SELL
        if action == ADD and qty > 0:
            self.leave(resting, number)
            self.add(number, side, px, qty)
            if order and (order["side"], order["px"]) == (side, px):
                self.moved_by(resting, order, order["qty"], max(order["qty"] - qty, 0), qty)
            elif order:
                self.moved_by(resting, order, order["qty"], order["qty"], 0)
        elif order is None:
            return
        elif action in (EXECUTE, REDUCE) and qty >= 0:
            done = min(qty, order["qty"])
            order["qty"] -= done
            if not order["qty"]:
                del self.orders[number]
            self.ahead_less(resting, order, done)
            self.level_less(order, done)
            self.moved_by(resting, order, done, 0 if action == EXECUTE else done, 0)
        elif action == DELETE or (action == CHANGE and qty <= 0):
            self.change(resting, order, number, None)
        elif action == CHANGE and (px, side) == (order["px"], order["side"]) and qty <= order["qty"]:
            done = order["qty"] - qty
            order["qty"] = qty
            self.ahead_less(resting, order, done)
            self.level_less(order, done)
            self.moved_by(resting, order, done, done, 0)
        elif action == CHANGE:
            self.change(resting, order, number, (number, side, px, qty))
        elif action == REPLACE:
            if new != number and new in self.orders:
                self.change(resting, self.orders[new], new, None)
            self.change(resting, order, number, (new, order["side"], px, qty) if qty > 0 and new else None)

    def change(self, resting: list[dict[str, Any]], order: dict[str, int], number: int, to: Any) -> None:
        """An order leaves its place, and another one comes, or none."""
        self.leave(resting, number)
        again = 0
        if to is not None:
            self.add(*to)
            if to[1:3] == (order["side"], order["px"]):
                again = to[3]
        self.moved_by(resting, order, order["qty"], max(order["qty"] - again, 0), again)

    def add(self, number: int, side: int, px: int, qty: int) -> None:
        self.orders[number] = {"side": side, "px": px, "qty": qty}
        self.levels[side][px] = self.levels[side].get(px, 0) + qty

    def leave(self, resting: list[dict[str, Any]], number: int) -> None:
        order = self.orders.pop(number, None)
        if order is not None:
            self.ahead_less(resting, order, order["qty"])
            self.level_less(order, order["qty"])

    def level_less(self, order: dict[str, int], qty: int) -> None:
        levels, px = self.levels[order["side"]], order["px"]
        levels[px] -= qty
        if not levels[px]:
            del levels[px]

    def ahead_less(self, resting: list[dict[str, Any]], order: dict[str, int], qty: int) -> None:
        for o in resting:
            if self.queue == "exact" and o["queue"] and any(order is one for one in o["ahead"]):
                o["queue"] = max(o["queue"] - qty, 0)

    def moved_by(
        self, resting: list[dict[str, Any]], order: dict[str, int], less: int, cancelled: int, more: int
    ) -> None:
        """`moved`, of an order's level that lost `less` and got `more`."""
        side, px = order["side"], order["px"]
        self.moved(resting, side, px, self.levels[side].get(px, 0) + less - more, cancelled)


def aggressor(row: Any) -> tuple[bool, bool]:
    """Whether a TRADE may fill resting buys, and resting sells."""
    assert row["template_id"] == Template.TRADE
    return not row["flags"] & Flag.AGGRESSOR_BUY, not row["flags"] & Flag.AGGRESSOR_SELL
