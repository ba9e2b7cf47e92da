"""The simulated venues' markets, slow and plain: what recorded data does to them, and what orders take of them.

`Matching` is the part of `naive.NaiveExchange` that this is; the rest of it keeps orders, time and reports.
"""

from __future__ import annotations

from typing import Any

from engine.record.records import ExecType, Flag, Liquidity, OrdType, Reason, Side, Template, Tif
from gateways.venues.ids import draw, happens
from tests.venues.naive_depth import NaiveDepth, aggressor


class Market:
    """One venue's market in one instrument. A side is [price, recorded size, what is left of it]."""

    def __init__(self, queue: str, venue: int) -> None:
        self.venue, self.status = venue, 0
        self.sides: dict[int, list[int]] = {Side.BUY: [0, 0, 0], Side.SELL: [0, 0, 0]}
        self.depth = NaiveDepth(queue)
        self.resting: list[dict[str, Any]] = []

    def shows(self, side: int) -> bool:
        """Whether the record shows anything of a side."""
        return bool(self.depth.levels[side]) if self.depth.told_by else self.sides[side][1] > 0

    def best_first(self, side: int) -> list[dict[str, Any]]:
        """Resting orders of a side, best price first, then in the order in which they joined."""
        sign = -1 if side == Side.BUY else 1
        return sorted((o for o in self.resting if o["book"] == side), key=lambda o: sign * o["px"])


class Matching:
    """See the module."""

    config: Any
    setup: Any
    setup_deep: bool
    closed: list[bool]
    lots: Any
    markets: list[list[Market]]
    fill: Any
    end: Any
    fill_resting: Any
    sweep: Any

    def market(self, o: dict[str, Any]) -> Market:
        market: Market = self.markets[o["venue_id"]][o["instrument_id"]]
        return market

    def trades(self, market: Market) -> bool:
        """Whether it is in continuous trading."""
        return market.status == 0 and not self.closed[market.venue]

    def touch(self, o: dict[str, Any]) -> tuple[bool, Any]:
        """Whether an order is marketable, and the opposite side."""
        if not self.trades(self.market(o)):
            return False, None
        side = Side.SELL if o["book"] == Side.BUY else Side.BUY
        depth, opposite = self.market(o).depth, self.market(o).sides[side]
        if depth.told_by:
            levels = depth.open(side, None if o["ord_type"] == OrdType.MARKET else o["px"])
            return bool(levels), [side, levels]
        good = o["px"] >= opposite[0] if o["book"] == Side.BUY else o["px"] <= opposite[0]
        return opposite[2] > 0 and (o["ord_type"] == OrdType.MARKET or good), opposite

    def take(self, o: dict[str, Any]) -> None:
        marketable, opposite = self.touch(o)
        if not marketable:
            return
        if self.market(o).depth.told_by:
            self.take_depth(o, *opposite)
            return
        venue = self.setup[o["venue_id"]]
        if happens(venue["seed"], o["order_id"], 3, venue["partial_ppm"]):
            left = draw(venue["seed"], o["order_id"], 4) % opposite[2]
            opposite[2] = left - left % int(self.lots[o["venue_id"]][o["instrument_id"]])
        qty = min(opposite[2], o["leaves"])
        if qty + o["cum"] < o["min_qty"] or (o["tif"] == Tif.FOK and qty < o["leaves"]):
            return
        opposite[2] -= qty
        self.fill(o, opposite[0], qty, Liquidity.REMOVED)

    def take_depth(self, o: dict[str, Any], side: int, levels: list[tuple[int, int]]) -> None:
        """Level by level; all that the order needs must be there where it asks for that."""
        depth, venue = self.market(o).depth, self.setup[o["venue_id"]]
        if happens(venue["seed"], o["order_id"], 3, venue["partial_ppm"]):
            px, shown = levels[0]
            left = draw(venue["seed"], o["order_id"], 4) % shown
            left -= left % int(self.lots[o["venue_id"]][o["instrument_id"]])
            depth.use_up(side, px, shown - left)
            levels = [(px, left), *levels[1:]]
        total = min(sum(qty for _, qty in levels), o["leaves"])
        if o["cum"] + total < o["min_qty"] or (o["tif"] == Tif.FOK and total < o["leaves"]):
            return
        for px, qty in levels:
            done = min(qty, o["leaves"])
            depth.use_up(side, px, done)
            self.fill(o, px, done, Liquidity.REMOVED)

    def rest(self, o: dict[str, Any]) -> None:
        market = self.market(o)
        o["waits"] = not self.trades(market) or not (market.shows(Side.BUY) or market.shows(Side.SELL))
        market.resting.append(o)
        self.place(o)

    def place(self, o: dict[str, Any]) -> None:
        """Behind what is displayed at its price."""
        o["traded"] = 0
        o["shown"] = min(o["display_qty"] or o["leaves"], o["leaves"])
        if self.market(o).depth.told_by:
            self.market(o).depth.join(o)
            return
        px, _, left = self.market(o).sides[o["book"]]
        better = o["px"] > px if o["book"] == Side.BUY else o["px"] < px
        o["queue"] = 0 if left == 0 or better else left if o["px"] == px else None

    # Market data

    def apply(self, row: Any, template: int) -> None:
        venue, instrument = int(row["venue_id"]), int(row["instrument_id"])
        if not 0 <= venue < len(self.markets):
            return
        if template == Template.CLEAR and instrument == -1:
            for market in self.markets[venue]:
                self.void(market)
            if row["reason"] == Reason.DAY_END:
                self.sweep(venue, day_only=True)
        elif template == Template.INSTRUMENT_STATUS and instrument == -1:
            for market in self.markets[venue]:
                market.status = int(row["status"])
                self.cross(market)
        elif 0 <= instrument < len(self.config.instrument):
            market = self.markets[venue][instrument]
            if template == Template.CLEAR:
                self.void(market)
            elif template == Template.QUOTE:
                size = 0 if row["flags"] & Flag.CLOSED else 1
                bid, ask = int(row["bid_qty"]) * size, int(row["ask_qty"]) * size
                if market.depth.told_by == "levels":
                    market.depth.quote(market.resting, Side.BUY, int(row["bid_px"]), bid)
                    market.depth.quote(market.resting, Side.SELL, int(row["ask_px"]), ask)
                    self.cross(market)
                elif not market.depth.told_by:
                    self.show(market, int(row["bid_px"]), bid, int(row["ask_px"]), ask)
            elif template == Template.INSTRUMENT_STATUS:
                market.status = int(row["status"])
                self.cross(market)
            elif template == Template.TRADE:
                again = row["flags"] & Flag.PRINT and market.depth.told_by == "orders"  # its execution has printed
                if not row["flags"] & Flag.OFF_BOOK and row["qty"] > 0 and not again:
                    prints = self.trades(market) and not row["flags"] & Flag.AUCTION
                    for side, hit in zip((Side.BUY, Side.SELL), aggressor(row), strict=True):
                        if hit and prints:
                            self.print(market, side, int(row["px"]), int(row["qty"]))
                    if market.depth.told_by == "orders":
                        market.depth.printed(row)
            elif self.setup_deep:
                self.move(market, row, template)

    def void(self, market: Market) -> None:
        self.show(market, 0, 0, 0, 0)
        market.depth.clear()

    def move(self, market: Market, row: Any, template: int) -> None:
        """Levels and orders."""
        depth = market.depth
        if template == Template.LEVEL:
            if row["px"] <= 0 or row["side"] not in (Side.BUY, Side.SELL):
                return
            depth.told_by = "levels"
            depth.put(market.resting, int(row["side"]), int(row["px"]), 0 if row["action"] == 2 else int(row["qty"]))
        elif row["venue_order"]:
            depth.told_by = "orders"
            told = depth.executed(row)
            if told and self.trades(market):
                self.print(market, *told)
            depth.delta(market.resting, row)
        if not row["flags"] & Flag.MORE:
            self.cross(market)

    def show(self, market: Market, bid_px: int, bid_qty: int, ask_px: int, ask_qty: int) -> None:
        proportional = self.config.simulation.queue == "proportional"
        for side, px, qty in ((Side.BUY, bid_px, bid_qty), (Side.SELL, ask_px, ask_qty)):
            old_px, old, _ = market.sides[side]
            if [old_px, old] != [px, qty]:
                market.sides[side] = [px, qty, qty]
                if qty <= 0:
                    continue
                for o in market.resting:
                    if o["book"] == side and (o["px"] > px if side == Side.BUY else o["px"] < px):
                        if proportional or o["queue"] is None:
                            o["queue"] = 0  # nothing is displayed at its price
                    elif o["book"] == side and o["px"] == px and o["queue"] is None and not proportional:
                        o["queue"] = qty
                if proportional:
                    market.depth.levels[side][px] = qty
                    before = old if px == old_px else 0
                    market.depth.moved(market.resting, side, px, before, max(before - qty, 0))
                    del market.depth.levels[side][px]
        self.cross(market)

    def cross(self, market: Market) -> None:
        for side in (Side.BUY, Side.SELL):
            for o in market.best_first(side):
                if o["waits"] and self.trades(market) and market.shows(Side.SELL if side == Side.BUY else Side.BUY):
                    self.meet(o)
                    continue
                while True:
                    marketable, opposite = self.touch(o)
                    if not marketable:
                        break
                    if not market.depth.told_by:
                        opposite[2] -= self.fill_resting(o, opposite[2])
                        break
                    px, qty = opposite[1][0]
                    done = self.fill_resting(o, qty)
                    if not done:
                        break
                    market.depth.use_up(opposite[0], px, done)

    def meet(self, o: dict[str, Any]) -> None:
        """An order that nobody could match when it came: now somebody can, as if it came."""
        o["waits"] = False
        if not self.touch(o)[0]:
            return
        if o["flags"] & 2:
            self.end(o, ExecType.CANCELED, Reason.CROSSED_QUOTE)
            return
        self.take(o)
        if o["leaves"]:
            self.place(o)

    def displayed(self, market: Market, o: dict[str, Any]) -> int | None:
        """What the record displays at an order's price; None is not known."""
        if market.depth.told_by:
            return market.depth.levels[o["book"]].get(o["px"], 0)
        px, shown, _ = market.sides[o["book"]]
        return int(shown) if px == o["px"] else None

    def print(self, market: Market, side: int, px: int, traded: int) -> None:
        """A trade fills our better orders, then what stands at its own price, one after the other."""
        left, exact, here = traded, self.config.simulation.queue == "exact", []
        for o in market.best_first(side):
            if o["px"] == px and o["queue"] is not None:
                here.append(o)
            elif o["px"] > px if side == Side.BUY else o["px"] < px:
                left -= self.fill_resting(o, left)
        for o, most in zip(here, self.shares(market, here, left), strict=True):
            shown, displayed = o["shown"], self.displayed(market, o)
            if not exact:
                o["traded"] += traded
                o["queue"] = max(0, o["queue"] - traded)
            done = self.fill_resting(o, most)
            if o["leaves"] and done >= shown:
                market.resting.remove(o)
                market.resting.append(o)
                self.place(o)
                if displayed is not None:
                    o["queue"] = displayed if exact else max(displayed - traded, 0)

    def shares(self, market: Market, here: list[dict[str, Any]], left: int) -> list[int]:
        """What each of our orders at a price gets of `left`: all that stands there is in a line, and eaten in turn."""
        line: list[tuple[int | None, int]] = []
        passed = 0
        for n, o in enumerate(here):
            line += [(None, max(o["queue"] - passed, 0)), (n, min(o["shown"], o["leaves"]))]
            passed = max(passed, o["queue"])
        displayed = self.displayed(market, here[0]) if here else None
        if displayed is not None:  # what is hidden is behind all that is displayed
            line.append((None, max(displayed - passed, 0)))
            line += [(n, max(o["leaves"] - o["shown"], 0)) for n, o in enumerate(here) if o["display_qty"]]
        got = [0] * len(here)
        for whose, qty in line:
            eaten = min(qty, left)
            left -= eaten
            if whose is not None:
                got[whose] += eaten
        return got
