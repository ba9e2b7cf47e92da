"""What became of the orders, from the journal alone: states, quantities, cost, fees, and each venue's part.

Joins are by ids and journal numbers, vectorised. An order's state is that of the last report its client was given. A
fill counts when the core booked it: an input FILL that was not refused. Fees are those of the run's configuration,
computed as the core computes them; sums of money are exact integers. What a venue busted or corrected counts as it
stands at the end.
"""

from __future__ import annotations

from collections import Counter
from enum import IntEnum
from typing import Final

import numpy as np

from engine.core.state import State
from engine.io.journal_format import Kind
from engine.record.records import ExecType, Liquidity, OrdStatus, Outcome, Reason, RiskRule, Side, Template
from engine.run.config import Config
from replay.decode import reason_name, template_name
from replay.report import structs as s
from replay.report.changed import STEP, settle, stand
from replay.report.gather import Array, Gathered

_FINAL: Final[dict[int, str]] = {
    OrdStatus.FILLED: "filled",
    OrdStatus.CANCELED: "cancelled",
    OrdStatus.EXPIRED: "expired",
    OrdStatus.REJECTED: "rejected",
}
#: Busts and corrections -> their ExecType.
_CHANGES: Final = {Template.BUST: ExecType.TRADE_CANCEL, Template.CORRECT: ExecType.TRADE_CORRECT}
_REPEATS: Final = (Reason.DUPLICATE_RECORD, Reason.OLD_EPOCH, Reason.DUPLICATE_ORDER)


class Book:
    """The run's orders in columns: parents (one row each, accepted ones), children and booked fills."""

    def __init__(self, found: Gathered, config: Config, state: State) -> None:
        """Join everything once; the methods then only count."""
        self.found, self.config, self.state = found, config, state
        self.decimals = max((i.qty_decimals for i in config.instrument), default=0)
        self._scale = np.array([10 ** (self.decimals - i.qty_decimals) for i in config.instrument], dtype=np.int64)
        self._admit()
        self._finish()
        self._children()
        self._arrivals()

    def _admit(self) -> None:
        """Which ORDER_NEW inputs became parents, were rejected, or only repeated what was known."""
        new = self.found.table(Kind.INPUT, Template.ORDER_NEW)
        acks = self.found.table(Kind.OUTPUT, Template.ACK)
        acks = acks[(acks["cause"] == Template.ORDER_NEW) & (acks["request"] == Template.ORDER_NEW)]
        refused = self.found.table(Kind.OUTPUT, Template.REFUSAL)
        refused = refused[refused["input_template"] == Template.ORDER_NEW]
        repeated = np.concatenate(
            [
                acks["input_seq"][acks["exec_type"] == ExecType.ORDER_STATUS],
                refused["input_seq"][np.isin(refused["reason"], _REPEATS)],
            ]
        )
        born = acks[acks["exec_type"] == ExecType.NEW]
        born = born[np.argsort(born["order_id"], kind="stable")]
        self.ids = born["order_id"]
        self.orders = new[np.searchsorted(new["seq"], born["input_seq"])]
        again = np.isin(new["seq"], repeated)
        self.repeated = int(again.sum())
        self.rejected = new[~again & ~np.isin(new["seq"], born["input_seq"])]

    def _finish(self) -> None:
        """Final status, filled and ordered quantity of each parent, by its client's reports."""
        reports = self._reports()
        place, known = places(self.ids, reports["order_id"])
        reports, place = reports[known], place[known]
        last = np.zeros(len(self.ids), dtype=np.int64)
        np.maximum.at(last, place, np.arange(len(reports)))
        self.status = reports["ord_status"][last] if len(reports) else np.zeros(0, dtype=np.int8)
        self.cum = reports["cum_qty"][last] if len(reports) else np.zeros(0, dtype=np.int64)
        self.ordered = self.orders["qty"].copy()
        replaced = reports["exec_type"] == ExecType.REPLACED
        # In order, so that the last replace of an order is what stays.
        for p, qty in zip(place[replaced], (reports["cum_qty"] + reports["leaves_qty"])[replaced], strict=True):
            self.ordered[p] = qty
        self.busted = self._busted(reports, place)
        self.done = np.isin(self.status, list(_FINAL))

    def _reports(self) -> Array:
        """What clients were told of their orders, in order."""
        tables = [self.found.table(Kind.OUTPUT, t) for t in (Template.ACK, Template.FILL)]
        for template in _CHANGES:
            told = self.found.table(Kind.OUTPUT, template)
            as_report = np.zeros(len(told), dtype=tables[0].dtype)
            for name in told.dtype.names or ():
                as_report[name] = told[name]
            as_report["exec_type"] = _CHANGES[template]
            tables.append(as_report)
        reports = np.concatenate(tables)
        ordered: Array = reports[np.argsort(reports["seq"], kind="stable")]
        return ordered

    def _busted(self, reports: Array, place: Array) -> Array:
        """What of each parent is busted; the ordered quantity of those parents is set anew."""
        changed = np.unique(place[np.isin(reports["exec_type"], list(_CHANGES.values()))])
        mine = np.isin(place, changed)
        self.ordered[changed] = self.orders["qty"][changed]
        steps = np.zeros(int(mine.sum()), dtype=STEP)
        for name, column in (("exec_type", "exec_type"), ("cum", "cum_qty"), ("leaves", "leaves_qty"), ("seq", "seq")):
            steps[name] = reports[column][mine]
        steps["place"] = place[mine]
        return settle(self.ordered, steps)

    def _children(self) -> None:
        """Children, and booked fills with their parent, money and fee."""
        children = self.found.table(Kind.OUTPUT, Template.ORDER_NEW)
        self.children = children[np.argsort(children["order_id"], kind="stable")]
        fills = self.found.table(Kind.INPUT, Template.FILL)
        fills = fills[~np.isin(fills["seq"], self._refused(Template.FILL))]
        child, known = places(self.children["order_id"], fills["order_id"])
        self.fills, self.fill_child = fills[known], child[known]
        self._change()
        parent, _ = places(self.ids, self.children["parent_id"][self.fill_child])
        self.fill_parent = parent
        self.fill_money, self.fill_fee = self._money(self.fills)

    def drop_orphans(self) -> int:
        """Leave out orders at venues whose client's order the journal does not have: it begins later; how many."""
        _, known = places(self.ids, self.children["parent_id"])
        kept = known[self.fill_child]
        self.fill_child = (np.cumsum(known) - 1)[self.fill_child[kept]]
        self.fills, self.fill_parent = self.fills[kept], self.fill_parent[kept]
        self.fill_money, self.fill_fee = self.fill_money[kept], self.fill_fee[kept]
        self.children = self.children[known]
        return int((~known).sum())

    def _change(self) -> None:
        """Executions as they stand after busts and corrections."""
        taken = {}
        for template in _CHANGES:
            rows = self.found.table(Kind.INPUT, template)
            taken[template] = rows[~np.isin(rows["seq"], self._refused(template))]
        self.busts, self.corrects = (len(taken[template]) for template in _CHANGES)
        changes = np.concatenate(list(taken.values()))
        stand(self.fills, changes[np.argsort(changes["seq"], kind="stable")])

    def _refused(self, template: Template) -> Array:
        """Numbers of the inputs of a kind that were refused."""
        rows = self.found.table(Kind.OUTPUT, Template.REFUSAL)
        seqs: Array = rows["input_seq"][(rows["input_template"] == template) & (rows["cause"] == template)]
        return seqs

    def _money(self, fills: Array) -> tuple[Array, Array]:
        """Money and fee of fills in 1e-9 of the currency; as engine.core.children's money_of and fee_of."""
        instruments, venues = self.state.instruments[fills["instrument_id"]], self.state.venues[fills["venue_id"]]
        qty = fills["last_qty"]
        money = fills["last_px"] * qty * instruments["notional_mul"] // instruments["notional_div"]
        added = fills["liquidity"] == Liquidity.ADDED
        rate = np.where(added, venues["make_fee"], venues["take_fee"])
        ppm = np.where(added, venues["make_ppm"], venues["take_ppm"])
        return money, rate * qty + money // 1_000_000 * ppm

    def _arrivals(self) -> None:
        """Each parent's first decision: quotes at arrival, fresh venues; 0 and -1 where it has none."""
        rows = self.found.table(Kind.OUTPUT, Template.DECISION)
        names, first = np.unique(rows["parent_id"], return_index=True)
        place, known = places(self.ids, names)
        self.bid, self.ask, self.fresh = (np.full(len(self.ids), fill, dtype=np.int64) for fill in (0, 0, -1))
        for column, name in ((self.bid, "bid_px"), (self.ask, "ask_px"), (self.fresh, "fresh_venues")):
            column[place[known]] = rows[name][first[known]]

    def amount(self, units: int) -> float:
        """Quantity in shares or coins; a whole number where there are no fractions."""
        return units / 10**self.decimals if self.decimals else units

    def scaled(self, units: Array, instruments: Array) -> Array:
        """Quantities of several instruments in one unit."""
        return units * self._scale[instruments] if len(units) else units

    def parents(self) -> s.Parents:
        """States and freshness."""
        counted = Counter(_FINAL.get(int(status), "open") for status in self.status)
        if len(self.rejected):
            counted["rejected"] += len(self.rejected)
        seen = self.fresh[self.fresh >= 0]
        fresh = {"0": int((seen == 0).sum()), "1": int((seen == 1).sum()), "2+": int((seen >= 2).sum())}
        return s.Parents(
            sent=len(self.ids) + len(self.rejected),
            terminal=int(self.done.sum()) + len(self.rejected),
            by_state={state: counted[state] for state in (*_FINAL.values(), "open") if counted[state]},
            repeated=self.repeated,
            fresh=fresh,
            share_2_or_more=round(fresh["2+"] / len(seen), 4) if len(seen) else None,
        )

    @property
    def traded(self) -> list[int]:
        """Instruments that there were orders in."""
        asked = np.concatenate((self.orders["instrument_id"], self.rejected["instrument_id"]))
        return [n for n in np.unique(asked).tolist() if 0 <= n < len(self._scale)]

    def shares(self, instrument: int | None = None) -> s.Shares:
        """Quantities over all parents, or those of one instrument, and whether they add up with what venues filled."""
        mine = np.isin(self.orders["instrument_id"], self.traded if instrument is None else [instrument])
        ids = self.orders["instrument_id"][mine]
        ordered, cum = self.scaled(self.ordered[mine], ids), self.scaled(self.cum[mine], ids)
        busted, done = self.scaled(self.busted[mine], ids), self.done[mine]
        left = np.maximum(ordered - cum - busted, 0)
        bad = self.rejected[(self.rejected["instrument_id"] >= 0) & (self.rejected["qty"] > 0)]
        bad = bad[np.isin(bad["instrument_id"], self.traded if instrument is None else [instrument])]
        rejected = _exact(self.scaled(bad["qty"], bad["instrument_id"]))
        filled, over = _exact(cum), _exact(np.maximum(cum - ordered, 0))
        cancelled, still = _exact(left[done]), _exact(left[~done])
        total, gone = _exact(ordered) + rejected, _exact(busted)
        fills = self.fills[np.isin(self.fills["instrument_id"], self.traded if instrument is None else [instrument])]
        of_venues = _exact(self.scaled(fills["last_qty"], fills["instrument_id"]))
        adds_up = total + over == filled + cancelled + rejected + still + gone and filled == of_venues
        parts = {"ordered": total, "filled": filled, "cancelled": cancelled, "rejected": rejected, "busted": gone}
        amounts = {name: self.amount(value) for name, value in parts.items()}
        return s.Shares(open=self.amount(still), overfilled=self.amount(over), adds_up=adds_up, **amounts)

    def cost(self) -> s.Cost:
        """Fills against the quotes at arrival."""
        bid, ask = self.bid, self.ask
        two_sided = (bid > 0) & (ask > 0)
        good = two_sided & (bid <= ask)
        filled = np.isin(np.arange(len(self.ids)), self.fill_parent)
        mine = good[self.fill_parent] if len(self.fills) else np.zeros(0, dtype=bool)
        fills, p = self.fills[mine], self.fill_parent[mine]
        buy = self.orders["side"][p] == Side.BUY
        weight = self._weight(fills)
        figures: dict[str, float | None] = {"touch_bps": None, "mid_bps": None, "touch_with_fees_bps": None}
        if len(fills):
            touch = np.where(buy, ask[p], bid[p]).astype(float)
            mid = (bid[p] + ask[p]) / 2
            sign, px = np.where(buy, 1.0, -1.0), fills["last_px"].astype(float)
            base = float((touch * weight).sum())
            slip = float((sign * (px - touch) * weight).sum())
            fees = float(_exact(self.fill_fee[mine]))
            figures["touch_bps"] = round(slip / base * 1e4, 4)
            figures["mid_bps"] = round(float((sign * (px - mid) * weight).sum() / (mid * weight).sum()) * 1e4, 4)
            figures["touch_with_fees_bps"] = round((slip + fees) / base * 1e4, 4)
        aside = ~good[self.fill_parent] if len(self.fills) else mine
        apart = self.fills[aside]
        return s.Cost(
            orders=int((good & filled).sum()),
            filled_qty=self.amount(_exact(self.scaled(fills["last_qty"], fills["instrument_id"]))),
            locked=int((two_sided & (bid == ask)).sum()),
            crossed=int((two_sided & (bid > ask)).sum()),
            one_sided=int(((bid > 0) ^ (ask > 0)).sum()),
            no_quote=int(((bid == 0) & (ask == 0)).sum()),
            apart_orders=int((~good & filled).sum()),
            apart_qty=self.amount(_exact(self.scaled(apart["last_qty"], apart["instrument_id"]))),
            **figures,
        )

    def _weight(self, fills: Array) -> Array:
        """Money of one price unit for the quantity of each fill, as floats: for averages only."""
        rows = self.state.instruments[fills["instrument_id"]]
        factor: Array = rows["notional_mul"] / rows["notional_div"]
        return fills["last_qty"] * factor

    def venue_rejects(self) -> Array:
        """Venues' refusals of orders, without those that the engine did not take."""
        rejects = self.found.table(Kind.INPUT, Template.REJECT)
        taken: Array = rejects[~np.isin(rejects["seq"], self._refused(Template.REJECT))]
        return taken

    def timeouts(self) -> Array:
        """Children (rows) that a venue did not answer in time, an entry a time."""
        alerts = self.found.table(Kind.OUTPUT, Template.ALERT)
        place, known = places(self.children["order_id"], alerts["order_id"][alerts["code"] == Reason.TIMEOUT])
        late: Array = place[known]
        return late

    def venues(self) -> list[s.Venue]:
        """Each venue's part, in the order of the configuration."""
        rejects = self.venue_rejects()
        late_venues = self.children["venue_id"][self.timeouts()]
        _, first = np.unique(self.fill_child, return_index=True)
        return [
            self._venue(v, int((rejects["venue_id"] == v).sum()), int((late_venues == v).sum()), first)
            for v in range(len(self.config.venue))
        ]

    def _venue(self, v: int, rejects: int, timeouts: int, first: Array) -> s.Venue:
        children = self.children[self.children["venue_id"] == v]
        here = self.fills["venue_id"] == v
        fills = self.fills[here]
        routed = _exact(self.scaled(children["qty"], children["instrument_id"]))
        qty = self.scaled(fills["last_qty"], fills["instrument_id"])
        filled, added = _exact(qty), _exact(qty[fills["liquidity"] == Liquidity.ADDED])
        first = first[self.fills["venue_id"][first] == v]
        waits = self.fills["ts_recv_ns"][first] - self.children["ts_event_ns"][self.fill_child[first]]
        return s.Venue(
            mic=self.config.venue[v].mic,
            code=self.config.venue[v].code,
            children=len(children),
            routed=self.amount(routed),
            filled=self.amount(filled),
            fills=len(fills),
            fill_rate=round(filled / routed, 4) if routed else None,
            average_child=round(self.amount(routed) / len(children), 2) if len(children) else None,
            average_fill=round(self.amount(filled) / len(fills), 2) if len(fills) else None,
            rejects=rejects,
            timeouts=timeouts,
            added=self.amount(added),
            removed=self.amount(filled - added),
            fees=_exact(self.fill_fee[here]) / 1e9,
            first_fill_p50_ns=int(np.median(waits)) if len(waits) else None,
        )

    def outcome(self) -> s.Outcome:
        """Fees, venues, and what was refused, blocked and alerted."""
        currencies = sorted({i.currency for i in self.config.instrument})
        money, fees = _exact(self.fill_money), _exact(self.fill_fee)
        refusals, blocks, alerts = (
            self.found.table(Kind.OUTPUT, t) for t in (Template.REFUSAL, Template.RISK_BLOCK, Template.ALERT)
        )
        gaps = (alerts["code"] == Reason.SEQUENCE_GAP) & (alerts["cause"] > Template.VENUE_DEF)
        decisions = self.found.table(Kind.OUTPUT, Template.DECISION)["outcome"]
        return s.Outcome(
            currency=currencies[0] if len(currencies) == 1 else "mixed currencies",
            notional=money / 1e9,
            fees=fees / 1e9,
            fees_bps=round(fees / money * 1e4, 4) if money else None,
            venues=self.venues(),
            decisions={reason_name(k, Outcome): n for k, n in Counter(decisions.tolist()).most_common()},
            refusals=_counts(refusals["input_template"], refusals["reason"]),
            risk_blocks=_counts(blocks["cause"], blocks["rule"], RiskRule),
            alerts=_counts(alerts["cause"], alerts["code"]),
            session_gaps=int(gaps.sum()),
            busts=self.busts,
            corrects=self.corrects,
            replaces=len(self.found.table(Kind.OUTPUT, Template.ORDER_REPLACE)),
            unsolicited=int((alerts["code"] == Reason.UNSOLICITED).sum()),
        )


def _counts(what: Array, reason: Array, kind: type[IntEnum] = Reason) -> list[s.Count]:
    pairs = Counter(zip(what.tolist(), reason.tolist(), strict=True))
    return [
        s.Count(what=template_name(a), reason=reason_name(b, kind), count=n)
        for (a, b), n in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    ]


def places(ids: Array, wanted: Array) -> tuple[Array, Array]:
    """(place in the sorted `ids` of each wanted id, whether it is there)."""
    place = np.searchsorted(ids, wanted)
    if not len(ids):
        return place, np.zeros(len(wanted), dtype=bool)
    place = np.minimum(place, len(ids) - 1)
    return place, ids[place] == wanted


def _exact(values: Array) -> int:
    """The sum of int64 values as an exact integer, whatever its size."""
    high, low = values >> 32, values & 0xFFFFFFFF
    return (int(high.sum()) << 32) + int(low.sum())
