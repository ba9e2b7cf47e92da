"""The slow twin's market: quotes, what is fresh, the national best, the reference price, what is promised away."""

from __future__ import annotations

from typing import Any

from engine.record.records import Side
from engine.run.config import Config

BPS = 10_000


class Quote:
    """A venue's two sides in one instrument, and what we have gone after since it came."""

    def __init__(self, bid_px: int, bid_qty: int, ask_px: int, ask_qty: int, at_ns: int, valid: bool) -> None:
        self.px = {"bid": bid_px, "ask": ask_px}
        self.qty = {"bid": bid_qty, "ask": ask_qty}
        self.taken = {"bid": 0, "ask": 0}
        self.at_ns = at_ns
        self.valid = valid


def opposite(side: int) -> str:
    """The side of a quote that an order takes from."""
    return "ask" if side == Side.BUY else "bid"


class Market:
    """Quotes by (instrument, venue), and what follows from them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.now_ns = 0
        self.quotes: dict[tuple[int, int], Quote] = {}
        self.middle: dict[int, tuple[int, int]] = {}  # instrument -> (twice the mid-point, when)
        self.trades: dict[int, tuple[int, int]] = {}  # instrument -> (price, when)

    def is_fresh(self, quote: Quote) -> bool:
        """Whether it may be routed to."""
        return quote.valid and self.now_ns - quote.at_ns <= self.config.routing.stale_ms * 1_000_000

    def best(self, instrument: int) -> tuple[int, int]:
        """National best bid and offer, 0 for none; the reference follows where they allow it."""
        fresh = [q for (i, _), q in self.quotes.items() if i == instrument and self.is_fresh(q)]
        bid = max((q.px["bid"] for q in fresh if q.qty["bid"]), default=0)
        ask = min((q.px["ask"] for q in fresh if q.qty["ask"]), default=0)
        if bid and bid <= ask:
            self.middle[instrument] = (bid + ask, self.now_ns)
        return bid, ask

    def reference2(self, instrument: int) -> int:
        """Twice the reference price, 0 for none."""
        oldest = self.now_ns - self.config.risk.reference_age_ms * 1_000_000
        middle, at_ns = self.middle.get(instrument, (0, 0))
        if middle and at_ns >= oldest:
            return middle
        px, at_ns = self.trades.get(instrument, (0, 0))
        return 2 * px if px and at_ns >= oldest else 0

    def take_quote(self, e: dict[str, Any]) -> None:
        """A QUOTE."""
        crossed = e["bid_qty"] and e["ask_qty"] and e["bid_px"] > e["ask_px"]
        sides = (e["bid_px"], e["bid_qty"], e["ask_px"], e["ask_qty"])
        quote = self.quotes[e["instrument_id"], e["venue_id"]] = Quote(*sides, self.now_ns, not crossed)
        if self.config.venue[e["venue_id"]].shows_own:
            for side in ("bid", "ask"):
                mine = self.own_shown(e["instrument_id"], e["venue_id"], side, quote.px[side])
                quote.taken[side] = min(mine, quote.qty[side])
        self.best(e["instrument_id"])

    def own_shown(self, instrument: int, venue: int, side: str, px: int) -> int:
        """What our own resting orders display there; orders are the next class's."""
        raise NotImplementedError

    def left(self, quote: Quote, side: int) -> int:
        """What an order of `side` can still take."""
        return quote.qty[opposite(side)] - quote.taken[opposite(side)]

    def lot(self, instrument: int, venue: int) -> int:
        """The lot of an instrument at a venue (no odd lots, no decimals of quantity)."""
        return max(int(self.config.instrument[instrument].lot), int(self.config.venue[venue].lot))

    def net(self, venue: int, side: int, px: int) -> int:
        """Net price of a share in 1e-9, the lower the better; prices are in cents."""
        v, gross = self.config.venue[venue], px * 10**7
        fee = round(float(v.take_fee) * 10**9) + gross * round(float(v.take_bps) * 100) // 10**6
        return gross + fee if side == Side.BUY else fee - gross

    def collar(self, instrument: int, side: int, px: int) -> tuple[str, int, int] | None:
        """The rule on prices that an order breaks, with value and limit; None where it breaks none."""
        reference2 = self.reference2(instrument)
        if not reference2:
            return "NO_REFERENCE", 0, 0
        room = reference2 * self.config.risk.collar_bps // BPS
        if side == Side.BUY and 2 * px > reference2 + room:
            return "COLLAR", 2 * px, reference2 + room
        if side != Side.BUY and 2 * px < reference2 - room:
            return "COLLAR", 2 * px, reference2 - room
        return None

    def size(self, px: int, qty: int) -> tuple[str, int, int] | None:
        """The rule on sizes that an order breaks."""
        if qty > int(self.config.risk.max_qty):
            return "MAX_QTY", qty, int(self.config.risk.max_qty)
        most = int(self.config.risk.max_notional) * 10**9
        if px and px * qty * 10**7 > most:
            return "MAX_NOTIONAL", px * qty * 10**7, most
        return None
