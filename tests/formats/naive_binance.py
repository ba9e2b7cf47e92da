"""Binance's messages as a slow reader takes them: json, Decimal, and a book by the exchange's own rules."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from engine.record.records import Flag, Reason, Side

BUY, SELL = int(Side.BUY), int(Side.SELL)


def units(text: str) -> int:
    """Text in 1e-8."""
    exact = Decimal(text).scaleb(8)
    assert exact == int(exact)
    return int(exact)


class Naive:
    """Reads lines; `rows` are the records, `counts` the messages by type."""

    def __init__(self, spot: bool, symbols: list[str]) -> None:
        self.spot, self.symbols = spot, symbols
        self.rows: list[tuple[Any, ...]] = []
        self.counts: dict[str, int] = {}
        self.gaps = self.lost = self.repeated = self.held_back = 0
        self.last: dict[int, int | None] = {}
        self.loose: dict[int, bool] = {}
        self.waiting: dict[int, list[tuple[int, int, list[tuple[int, int, int]]]]] = {}
        self.trades: dict[tuple[int, str], int] = {}

    def read(self, line: str) -> None:
        """Take a line."""
        local, text = line.split(" ", 1)
        message = json.loads(text)
        message = message.get("data", message)
        kind = message.get("e") or ("snapshot" if "lastUpdateId" in message else "bookTicker")
        self.counts[kind] = self.counts.get(kind, 0) + 1
        number = self.symbols.index(message.get("s") or message.get("symbol") or self.symbols[0])
        event = (message.get("T") or message.get("E") or 0) * 10**6
        self.common = (0, number, event, int(local))
        if kind in ("trade", "aggTrade"):
            self.trade(message, number, "t" if kind == "trade" else "a")
        elif kind == "bookTicker":
            best = [units(message[c]) for c in "bBaA"]
            self.rows.append(("QUOTE", *self.common, message["u"], 0, *best))
        elif kind == "depthUpdate":
            self.depth(message, number)
        else:
            self.snapshot(message, number)

    def trade(self, message: dict[str, Any], number: int, key: str) -> None:
        """One trade."""
        now, last = message[key], self.trades.get((number, key))
        if last is not None and now <= last:
            self.repeated += 1
            return
        if last is not None and now > last + 1:
            self.gaps += 1
            self.lost += now - last - 1
        self.trades[number, key] = now
        flags = int(Flag.AGGRESSOR_SELL if message["m"] else Flag.AGGRESSOR_BUY)
        if message.get("X", "MARKET") != "MARKET":
            flags |= int(Flag.OFF_BOOK)
        self.rows.append(("TRADE", *self.common, now, flags, units(message["p"]), units(message["q"])))

    def levels(self, message: dict[str, Any], bids: str, asks: str) -> list[tuple[int, int, int]]:
        """(side, price, quantity) of both sides."""
        both = ((BUY, message[bids]), (SELL, message[asks]))
        return [(side, units(pair[0]), units(pair[1])) for side, pairs in both for pair in pairs]

    def give(self, levels: list[tuple[int, int, int]], seq: int, flags: int) -> None:
        """LEVEL records; all but the last say that more follow."""
        for n, (side, px, qty) in enumerate(levels):
            action = 2 if qty == 0 else 0 if flags else 1
            more = 0 if n == len(levels) - 1 else int(Flag.MORE)
            self.rows.append(("LEVEL", *self.common, seq, flags | more, side, action, px, qty))

    def depth(self, message: dict[str, Any], number: int) -> None:
        """An update: given, held, or dropped."""
        last, now = self.last.get(number), message["u"]
        prev = message["U"] - 1 if self.spot else message["pu"]
        if last is not None:
            if now <= last:
                self.repeated += 1
                return
            if prev > last or (prev != last and not self.loose[number]):
                self.gap(prev, last)
                self.rows.append(("CLEAR", *self.common, now, int(Reason.SEQUENCE_GAP)))
                self.last[number], self.waiting[number] = None, []
                last = None
        levels = self.levels(message, "b", "a")
        if last is not None:
            self.give(levels, now, 0)
            self.last[number], self.loose[number] = now, False
            return
        held = self.waiting.setdefault(number, [])
        if held and now <= held[-1][1]:
            self.repeated += 1
            return
        if held and prev != held[-1][1]:
            self.gap(prev, held[-1][1])
            held.clear()
        held.append((prev, now, levels))
        self.held_back += 1

    def gap(self, prev: int, last: int) -> None:
        """Count a hole; how many are missing is known where ids are dense."""
        self.gaps += 1
        self.lost += max(prev - last, 0) if self.spot else 0

    def snapshot(self, message: dict[str, Any], number: int) -> None:
        """A snapshot, and what is held and newer than it."""
        at, last = message["lastUpdateId"], self.last.get(number)
        newer = [row for row in self.waiting.get(number, []) if row[1] > at]
        if (last is not None and at < last) or (last is None and newer and newer[0][0] > at):
            return
        self.rows.append(("CLEAR", *self.common, at, 0))
        self.give(self.levels(message, "bids", "asks"), at, int(Flag.SNAPSHOT))
        self.loose[number], self.last[number] = True, at
        if last is None and newer:
            self.give([level for row in newer for level in row[2]], at, int(Flag.SNAPSHOT))
            self.loose[number], self.last[number] = False, newer[-1][1]
        self.waiting[number] = []
