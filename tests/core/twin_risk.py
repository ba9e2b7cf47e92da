"""The slow twin's risk gate: every rule over plain lists of what happened; all sums are summed anew for each order."""

from __future__ import annotations

from typing import Any

from engine.core.rates import SLOT_NS
from engine.record.records import Scope, Side
from engine.run.config import Config
from engine.run.reference_risk import own
from tests.core.twin_market import BPS, Market, opposite
from tests.core.twin_orders import Child

MS = 1_000_000
#: A rule that is broken, with value and limit; None where all hold.
Broken = tuple[str, int, int] | None


class Controls(Market):
    """The rules, and what they have to remember."""

    up: set[int]
    #: What a kill has to do with an order, see twin_control.
    kill_of: Any
    cancels_due: Any
    children: dict[int, Child]
    out: list[tuple[Any, ...]]
    positions: dict[tuple[int, int], list[int]]

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.risk = config.risk
        self.messages: list[tuple[int, int, int, int]] = []  # (when, session, strategy, instrument)
        self.references: list[tuple[int, int, int]] = []  # (when, instrument, twice the price)
        self.orders: list[tuple[int, Any]] = []  # (when, terms)
        self.fills: dict[int, list[int]] = {n: [] for n in range(16)}  # when each strategy was executed
        self.latched: dict[int, int] = {}
        self.values: dict[tuple[int, int], int] = {}  # (account, instrument) -> in cents
        self.met: list[tuple[str, str]] = []  # what the rules on protected quotations have met, for tests that count

    def venue_session(self, venue: int) -> int:
        """The session that reaches a venue."""
        raise NotImplementedError

    def since(self, slot_ns: int) -> int:
        """Where a period of fifteen whole slots and the running one began."""
        return (self.now_ns // slot_ns - 15) * slot_ns

    # ---- who may trade what where

    def leave(self, session: int, strategy: int, instrument: int, venue: int | None) -> Broken:
        """Latched, not permitted, restricted."""
        if strategy in self.latched:
            limit = own(self.config, "strategy", "algo_id", strategy, "repeated_executions")
            return "REPEATED_EXECUTION", self.latched[strategy], limit
        names: dict[str, Any] = {"client": self.config.session[session].name, "strategy": strategy}
        names["instrument"] = self.config.instrument[instrument].symbol
        if venue is not None:
            names["venue"] = self.config.venue[venue].mic
        fits = [
            all(getattr(row, key) == "*" or name in getattr(row, key) for key, name in names.items())
            for row in self.risk.permission
        ]
        if not any(fits):
            return "PERMISSION", strategy, 0
        if self.config.instrument[instrument].symbol in self.risk.restricted:
            return "RESTRICTED", 1, 0
        return None

    # ---- prices

    def note_reference(self, instrument: int) -> None:
        """A quote has come: remember the reference, where it is of now."""
        twice, at_ns = self.middle.get(instrument, (0, 0))
        if twice and at_ns == self.now_ns:
            self.references.append((at_ns, instrument, twice))

    def price(self, instrument: int, side: int, px: int) -> Broken:
        """The collars and the fat finger."""
        broken = self.collar(instrument, side, px)
        if broken:
            return broken
        twice = self.reference2(instrument)
        if self.risk.period_collar_bps != "off":
            width = -(-self.risk.collar_period_ms * MS // 15)
            seen = [px2 for at, i, px2 in self.references if i == instrument and at >= self.since(width)]
            low, high = min([*seen, twice]), max([*seen, twice])
            limit = low + low * self.risk.period_collar_bps // BPS
            if side == Side.BUY and 2 * px > limit:
                return "PERIOD_COLLAR", 2 * px, limit
            limit = high - high * self.risk.period_collar_bps // BPS
            if side != Side.BUY and 2 * px < limit:
                return "PERIOD_COLLAR", 2 * px, limit
        return self.finger(px, twice)

    def finger(self, px: int, twice: int) -> Broken:
        """Far from the reference, on whichever side."""
        if self.risk.fat_finger_bps != "off" and twice:
            room = twice * self.risk.fat_finger_bps // BPS
            if abs(2 * px - twice) > room:
                return "FAT_FINGER", 2 * px, twice + (room if 2 * px > twice else -room)
        return None

    # ---- how much in all

    def wants(self, child: Child, amends: list[tuple[int, int]]) -> tuple[int, int]:
        """(quantity, money in cents) that a child may yet come to; prices are in cents."""
        if not child.live:
            return 0, 0
        qty = child.leaves + max([child.qty, *(qty for _, qty in amends)]) - child.qty
        return qty, qty * max([child.px, *(px for px, _ in amends)])

    def working(self, account: int, instrument: int, buys: bool, but: Child) -> tuple[int, int]:
        """(quantity, money) of all that was let through on a side, but for one child."""
        found = [
            self.wants(child, child.amends)
            for child in self.children.values()
            if child.passed and child is not but and (child.parent.side == Side.BUY) == buys
            if (child.parent.account, child.parent.instrument) == (account, instrument)
        ]
        return sum(qty for qty, _ in found), sum(money for _, money in found)

    def exposure(self, child: Child, before: list[tuple[int, int]]) -> Broken:
        """Position, gross and net, with what the child asks for; `before` are the replaces that count already."""
        p = child.parent
        account, buys = p.account, p.side == Side.BUY
        held = self.wants(child, before) if child.passed else (0, 0)
        more = tuple(a - b for a, b in zip(self.wants(child, child.amends), held, strict=True))
        position = self.positions.get((account, p.instrument), [0, 0, 0])[0]
        qty = self.working(account, p.instrument, buys, child)[0] + held[0] + more[0]
        if self.risk.max_position != "off" and more[0] > 0:
            would = qty + (position if buys else -position)
            if would > int(self.risk.max_position):
                return "MAX_POSITION", would, int(self.risk.max_position)
        if more[1] <= 0:
            return None
        gross = would_gross = net = 0
        for instrument in range(len(self.config.instrument)):
            value = self.values.get((account, instrument), 0)
            sides = {side: self.working(account, instrument, side, child)[1] for side in (True, False)}
            here = instrument == p.instrument
            sides[buys] += held[1] * here
            gross += max(abs(value + sides[True]), abs(value - sides[False]))
            sides[buys] += more[1] * here
            would_gross += max(abs(value + sides[True]), abs(value - sides[False]))
            net += value + sides[True] if buys else sides[False] - value
        limit = own(self.config, "account", "account", account, "gross_notional")
        if limit != "off" and gross < would_gross > int(limit) * 100:
            return "GROSS_NOTIONAL", would_gross, int(limit) * 100
        limit = own(self.config, "account", "account", account, "net_notional")
        if limit != "off" and net > int(limit) * 100:
            return "NET_NOTIONAL", net, int(limit) * 100
        return None

    # ---- how often

    def rates(self, session: int, strategy: int, instrument: int) -> Broken:
        """One message more within a second."""
        recent = [row for row in self.messages if row[0] >= self.since(SLOT_NS)]
        rows = (
            ("SESSION_RATE", 1, session, own(self.config, "session", "name", self.names(session), "session_rate")),
            ("STRATEGY_RATE", 2, strategy, own(self.config, "strategy", "algo_id", strategy, "strategy_rate")),
            ("INSTRUMENT_RATE", 3, instrument, self.risk.instrument_rate),
        )
        for rule, place, who, limit in rows:
            count = sum(row[place] == who for row in recent) + 1
            if limit != "off" and count > limit:
                return rule, count, limit
        return None

    def names(self, session: int) -> str:
        """A session's name."""
        return self.config.session[session].name

    def count(self, child: Child) -> None:
        """One message of a child goes out."""
        p = child.parent
        self.messages.append((self.now_ns, self.venue_session(child.venue), p.strategy, p.instrument))

    def count_mass(self, venue: int, scope: int, target: int) -> None:
        """A MASS_CANCEL goes out: it is nobody's but those whom it names."""
        named = [target if scope == kind else -1 for kind in (Scope.STRATEGY, Scope.INSTRUMENT)]
        self.messages.append((self.now_ns, self.venue_session(venue), named[0], named[1]))

    def executed(self, child: Child) -> None:
        """A strategy was executed."""
        strategy = child.parent.strategy
        limit = own(self.config, "strategy", "algo_id", strategy, "repeated_executions")
        if limit == "off":
            return
        self.fills[strategy].append(self.now_ns)
        width = -(-self.risk.repeated_executions_ms * MS // 15)
        count = sum(at >= self.since(width) for at in self.fills[strategy])
        if count >= limit and strategy not in self.latched:
            self.latched[strategy] = count
            self.out.append(("ALERT", "THROTTLED", child.order_id, strategy))

    def duplicate(self, terms: Any) -> Broken:
        """A client's order that came a short while ago."""
        if self.risk.duplicate_ms == "off":
            return None
        limit = self.risk.duplicate_ms * MS
        ages = [self.now_ns - at for at, other in self.orders if other == terms and self.now_ns - at < limit]
        return ("DUPLICATE", min(ages), limit) if ages else None

    # ---- protected quotations

    def shown_elsewhere(self, child: Child) -> list[tuple[int, str]]:
        """(price, why it is exempt) of what other venues protect against a child; why is empty where it is not."""
        p, side, found = child.parent, opposite(child.parent.side), []
        lot = int(self.config.instrument[p.instrument].lot)
        for (instrument, venue), quote in self.quotes.items():
            if instrument != p.instrument or venue == child.venue or not self.is_fresh(quote) or not quote.qty[side]:
                continue
            whole, why = quote.qty[side] - quote.qty[side] % lot, ""
            if not self.config.venue[venue].protected:
                why = "not protected"
            elif self.venue_session(venue) not in self.up:
                why = "down"
            elif venue in p.refused:
                why = "refused"
            elif not whole:
                why = "odd lot"
            elif whole <= quote.taken[side]:
                why = "taken"
            found.append((quote.px[side], why))
        return found

    def passes(self, child: Child, px: int, best: int) -> Broken:
        """The rule that an order at a price breaks where the best that is protected is `best`."""
        buys, side = child.parent.side == Side.BUY, opposite(child.parent.side)
        quote = self.quotes.get((child.parent.instrument, child.venue))
        at_once = child.tif == "IOC"
        if quote and self.is_fresh(quote) and quote.qty[side]:
            at_once = at_once or (quote.px[side] <= px if buys else quote.px[side] >= px)
        worse = px > best if buys else px < best
        if self.risk.trade_through == "block" and worse and at_once:
            return "TRADE_THROUGH", px, best
        if self.risk.locked_crossed == "block" and child.tif == "DAY" and (worse or px == best):
            return "LOCKED_CROSSED", px, best
        return None

    def protected(self, child: Child, px: int, qty: int, *, new: bool) -> Broken:
        """Trade-through, and locked or crossed quotations, by an order or by a replace that asks for more or comes
        nearer."""
        buys = child.parent.side == Side.BUY
        if not new and qty <= child.qty and (px <= child.px if buys else px >= child.px):
            return None
        found = self.shown_elsewhere(child)
        prices = [best for best, why in found if not why]
        broken = self.passes(child, px, min(prices) if buys else max(prices)) if prices else None
        if not broken:
            self.met += [(why, "exempt") for best, why in found if why and self.passes(child, px, best)]
        return broken

    # ---- the gate

    def broken(
        self, child: Child, px: int, qty: int, *, new: bool, bold: bool, before: list[tuple[int, int]]
    ) -> Broken:
        """The first rule that an order, or a replace of a child, breaks."""
        p, session = child.parent, self.venue_session(child.venue)
        broken: Broken = None
        if bold:
            broken = self.kill_of(p, child.venue) or self.size(px, qty)
            broken = broken or self.leave(p.session, p.strategy, p.instrument, child.venue)
            if not broken and session not in self.up:
                broken = ("VENUE_DOWN", child.venue, 0)
            broken = broken or self.price(p.instrument, p.side, px) or self.exposure(child, before)
        if not broken and (due := self.cancels_due(session)):
            broken = ("CANCELS_FIRST", due, 0)
        return broken or self.rates(session, p.strategy, p.instrument) or self.protected(child, px, qty, new=new)
