"""The slow obvious twin of engine.book: a sorted dict a side and a dict of orders; and a walker over the memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sortedcontainers import SortedDict

from engine.book.apply import ADD, CHANGE, DELETE, EXECUTE, REDUCE
from engine.book.ladder import below, best_rank, find_far, next_rank
from engine.book.memory import BITS, NOWHERE, Books

BUY, SELL = ord("1"), ord("2")


@dataclass
class Order:
    px: int
    qty: int
    side: int


@dataclass
class Naive:
    """One book."""

    orders: dict[int, Order] = field(default_factory=dict)
    sides: dict[int, SortedDict] = field(default_factory=lambda: {BUY: SortedDict(), SELL: SortedDict()})
    dangling: int = 0
    repeated: int = 0

    def _move(self, side: int, px: int, qty: int, count: int) -> None:
        had = self.sides[side].get(px, (0, 0))
        now = (had[0] + qty, had[1] + count)
        if now[0] == 0:
            self.sides[side].pop(px, None)
        else:
            self.sides[side][px] = now

    def add(self, side: int, number: int, px: int, qty: int) -> None:
        if qty <= 0 or number == 0:
            return
        if number in self.orders:
            self.repeated += 1
            self.end(number)
        self.orders[number] = Order(px, qty, side)
        self._move(side, px, qty, 1)

    def end(self, number: int) -> Order | None:
        order = self.orders.pop(number, None)
        if order is None:
            self.dangling += 1
        else:
            self._move(order.side, order.px, -order.qty, -1)
        return order

    def reduce(self, number: int, qty: int) -> None:
        order = self.orders.get(number)
        if order is None or qty < 0:
            self.dangling += 1
        elif qty >= order.qty:
            self.end(number)
        else:
            order.qty -= qty
            self._move(order.side, order.px, -qty, 0)

    def change(self, side: int, number: int, px: int, qty: int) -> None:
        if self.end(number) is not None and qty > 0:
            self.orders[number] = Order(px, qty, side)
            self._move(side, px, qty, 1)

    def replace(self, number: int, new: int, px: int, qty: int) -> None:
        order = self.end(number)
        if order is not None:
            self.add(order.side, new, px, qty)

    def delta(self, action: int, side: int, number: int, new: int, px: int, qty: int) -> None:
        """An ORDER_DELTA's terms."""
        if action == ADD:
            self.add(side, number, px, qty)
        elif action in (CHANGE, DELETE):
            self.change(side, number, px, qty if action == CHANGE else 0)
        elif action in (EXECUTE, REDUCE):
            self.reduce(number, qty)
        else:
            self.replace(number, new, px, qty)

    def put(self, side: int, px: int, qty: int) -> None:
        self.sides[side].pop(px, None)
        if qty > 0:
            self.sides[side][px] = (qty, 0)

    def clear(self) -> None:
        self.orders.clear()
        self.sides[BUY].clear()
        self.sides[SELL].clear()

    def levels(self) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """(price, quantity, orders) of bids and of offers, the best first."""
        bids = [(px, *self.sides[BUY][px]) for px in reversed(self.sides[BUY])]
        return bids, [(px, *self.sides[SELL][px]) for px in self.sides[SELL]]


def levels_of(b: Books, book: int) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """The same of a real book, read by going from rank to rank."""
    from engine.book.ladder import at

    found = []
    for side in (2 * book, 2 * book + 1):
        rank, rows = best_rank(b, side), []
        while rank != NOWHERE:
            qty, orders = at(b, side, rank)
            rows.append((rank if side % 2 == 0 else -rank, int(qty), int(orders)))
            rank = next_rank(b, side, rank)
        found.append(rows)
    return found[0], found[1]


def walk(b: Books) -> None:
    """Hold the memory of all books to its own rules."""
    core = b.core[0]
    width, words = int(core["width_mask"]) + 1, int(core["words"])
    far_rows = 0
    total: dict[tuple[int, int], list[int]] = {}
    for row in [*b.orders[b.orders["id"] != 0], *b.spill[b.spill["id"] != 0]]:
        px = int(row["px"]) if row["side"] % 2 == 0 else -int(row["px"])
        sums = total.setdefault((int(row["side"]), px), [0, 0])
        sums[0] += int(row["qty"])
        sums[1] += 1
        assert row["qty"] > 0
    assert int(core["live"]) == np.count_nonzero(b.orders["id"]) + np.count_nonzero(b.spill["id"])
    assert int(core["spilled"]) == np.count_nonzero(b.spill["id"])
    for side, row in enumerate(b.sides):
        cells = b.levels[side * width : (side + 1) * width]
        bits = [int(word) >> n & 1 for word in b.bits[side * words : (side + 1) * words] for n in range(BITS)]
        assert [int(cell["qty"] != 0) for cell in cells] == bits
        assert (cells["qty"] >= 0).all()
        assert int(row["near"]) == sum(bits)
        base, tick = int(row["low"]), int(row["tick"])
        occupied = [level for level in range(base, base + width) if bits[level & (width - 1)]]
        if occupied:
            assert int(row["best"]) == max(occupied)
            assert int(below(b, side, base + width)) == max(occupied)
        k, seen, off, prev = int(row["first"]), 0, [], -1
        while k >= 0:
            far = b.far[k]
            assert (int(far["side"]), int(far["prev"])) == (side, prev)
            assert far["qty"] > 0
            rank = int(far["rank"])
            assert int(find_far(b, side, rank)) == k
            if rank % tick:
                off.append(rank)
            else:
                assert not base <= rank // tick < base + width, "a level within the window is in the window"
                assert rank // tick < base, "nothing far is better than the window"
            prev, k, seen = k, int(far["next"]), seen + 1
        assert (int(row["far"]), int(row["off"])) == (seen, len(off))
        assert int(row["off_best"]) == max(off, default=NOWHERE)
        if occupied == []:
            assert seen == len(off), "where the window is empty, nothing on the grid is far"
        far_rows += seen
        if total:
            for level in occupied:
                cell = cells[level & (width - 1)]
                assert total.pop((side, level * tick)) == [int(cell["qty"]), int(cell["orders"])]
    free, k = 0, int(core["free_far"])
    while k >= 0:
        free, k = free + 1, int(b.far[k]["next"])
    assert free + far_rows == len(b.far)
