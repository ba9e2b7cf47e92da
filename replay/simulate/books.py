"""What the engine may know of the market: an independent model of feed positions, quotes, and the reference price.

Kept from the inputs alone, by the rules of docs/contract.md: a record out of its place is not taken; a gap, a new life
of the publisher, a CLEAR or a halt voids quotes. The invariants ask it whether an order went after a quote that was
good, whole and not yet used up, and where the collar was.
"""

from __future__ import annotations

from engine.record.records import Flag, Side, Template
from replay.simulate.setup import MS, Setup
from replay.simulate.wire import Record

_REFERENCE_AGE_NS = 1000 * MS


class Slot:
    """One venue's quote in one instrument."""

    def __init__(self) -> None:
        self.bid_px = self.bid_qty = self.ask_px = self.ask_qty = 0
        self.at_ns = 0
        self.good = self.halted = False
        self.used = {True: 0, False: 0}

    def side(self, buys: bool) -> tuple[int, int]:
        """(price, quantity) that an order of this side takes from."""
        return (self.ask_px, self.ask_qty) if buys else (self.bid_px, self.bid_qty)


class Books:
    """All quotes, as the engine should see them."""

    def __init__(self, setup: Setup) -> None:
        self._venues = setup.venues
        self._stale_ns = setup.stale_ms * MS
        self._collar_bps = setup.collar_bps
        self.slots = {(n, v): Slot() for n in range(setup.instruments) for v in range(setup.venues)}
        self._place = dict.fromkeys(range(setup.venues), (0, 0))
        self._reference = dict.fromkeys(range(setup.instruments), (0, 0))
        self._trade = dict.fromkeys(range(setup.instruments), (0, 0))

    def take(self, record: Record, now_ns: int) -> bool:
        """Take a market-data record in; False where its number is not a new one."""
        v, template = record["venue_id"], record["template_id"]
        if not self._in_place(v, record["stream_epoch"], record["stream_seq"]):
            return False
        n = record["instrument_id"]
        if template == Template.QUOTE:
            self._quote(self.slots[n, v], record, now_ns)
            self.look(n, now_ns)
        elif template == Template.TRADE:
            if not record["flags"] & Flag.OFF_BOOK:
                self._trade[n] = (record["px"], now_ns)
        elif template == Template.CLEAR:
            for (i, venue), slot in self.slots.items():
                if venue == v and n in (i, -1):
                    slot.good = False
        elif template == Template.INSTRUMENT_STATUS:
            slot = self.slots[n, v]
            slot.halted = record["status"] != 0
            slot.good = False if slot.halted else slot.good
        return True

    def void(self) -> None:
        """The engine was away: no quote counts any more."""
        for slot in self.slots.values():
            slot.good = False

    def _quote(self, slot: Slot, record: Record, now_ns: int) -> None:
        for name in ("bid_px", "bid_qty", "ask_px", "ask_qty"):
            setattr(slot, name, record[name])
        slot.at_ns, slot.used = now_ns, {True: 0, False: 0}
        crossed = slot.bid_qty > 0 and slot.ask_qty > 0 and slot.bid_px > slot.ask_px
        slot.good = not slot.halted and not crossed and not record["flags"] & Flag.CLOSED

    def _in_place(self, v: int, epoch: int, seq: int) -> bool:
        old_epoch, old_seq = self._place[v]
        if epoch < old_epoch or (epoch == old_epoch and seq <= old_seq):
            return False
        if epoch > old_epoch or seq != old_seq + 1:
            for (_, venue), slot in self.slots.items():
                if venue == v:
                    slot.good = False
        self._place[v] = (epoch, seq)
        return True

    def fresh(self, instrument: int, venue: int, now_ns: int) -> bool:
        """Whether a quote may be routed to."""
        slot = self.slots[instrument, venue]
        return slot.good and now_ns - slot.at_ns <= self._stale_ns

    def look(self, instrument: int, now_ns: int) -> None:
        """The moments at which the reference price is taken: each quote, order and decision."""
        slots = [self.slots[instrument, v] for v in range(self._venues) if self.fresh(instrument, v, now_ns)]
        bid = max((slot.bid_px for slot in slots if slot.bid_qty > 0), default=0)
        ask = min((slot.ask_px for slot in slots if slot.ask_qty > 0), default=0)
        if 0 < bid <= ask:
            self._reference[instrument] = (bid + ask, now_ns)

    def beyond_collar(self, instrument: int, side: int, px: int, now_ns: int) -> bool | None:
        """Whether a price is too aggressive; None where there is no reference price."""
        twice, at_ns = self._reference[instrument]
        if twice == 0 or now_ns - at_ns > _REFERENCE_AGE_NS:
            px_traded, at_ns = self._trade[instrument]
            twice = 2 * px_traded
            if twice == 0 or now_ns - at_ns > _REFERENCE_AGE_NS:
                return None
        room = twice * self._collar_bps // 10_000
        return 2 * px > twice + room if side == Side.BUY else 2 * px < twice - room
