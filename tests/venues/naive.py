"""The simulated venues once more, slow and plain: dicts, lists, Python integers. The kernels must do what this does.

It has no capacities: no message slots, no out-buffer.
"""

from __future__ import annotations

import collections
from typing import Any

from sortedcontainers import SortedList

from engine.record.records import ExecType, Liquidity, OrdStatus, OrdType, Reason, Scope, Side, Template, Tif
from gateways.venues.ids import draw, happens
from gateways.venues.latency import TABLE
from gateways.venues.state import Exchange
from tests.venues.naive_market import Market, Matching

OPEN = (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED)
CONTENT = ("instrument_id", "venue_id", "side", "ord_type", "tif", "flags", "px", "qty", "min_qty", "display_qty")


class NaiveExchange(Matching):
    """See the module; `reports` are dicts in the order in which they leave."""

    def __init__(self, config: Any, setup: Exchange) -> None:
        self.config = config
        self.setup = setup.venues.copy()  # seeds, latencies and prefixes as `create` made them
        self.lots = setup.pairs["lot_qty"].reshape(len(config.venue), -1)
        self.latencies, self.last = setup.latencies, collections.Counter[tuple[str, int]]()
        self.setup_deep = bool(setup.core[0].deep)
        self.clock = 0
        self.arrivals = 0
        self.queue: Any = SortedList()
        self.orders: dict[int, dict[str, Any]] = {}
        queue = config.simulation.queue
        self.markets: list[list[Market]] = [
            [Market(queue, venue) for _ in config.instrument] for venue in range(len(config.venue))
        ]
        self.reports: list[dict[str, Any]] = []
        #: The last ExecID that was given.
        self.exec_id = ""
        hours = [[int(ns) for ns in setup.hours[row.hour_at : row.hour_stop]] for row in setup.venues]
        self.closed = [bool(moments) for moments in hours]
        for _, _, v in sorted((moments[0], config.venue[v].code, v) for v, moments in enumerate(hours) if moments):
            self.push(hours[v][0], ("hours", (v, hours[v])))

    # Time

    def push(self, due: int, what: Any) -> None:
        self.arrivals += 1
        self.queue.add((due, self.arrivals, what))

    def advance(self, clock: int) -> None:
        target = max(clock, self.clock)
        while self.queue and self.queue[0][0] <= target:
            due, _, (kind, payload) = self.queue.pop(0)
            self.clock = max(self.clock, due)
            if kind == "report":
                self.reports.append(payload)
            elif kind == "request":
                self.execute(payload)
            elif kind == "second":
                self.think_again(*payload)
            elif kind == "hours":
                self.open_or_close(*payload)
            elif payload["ord_status"] in OPEN:
                self.end(payload, ExecType.EXPIRED, Reason.TTL_EXPIRED)
        self.clock = target

    def open_or_close(self, venue: int, moments: list[int]) -> None:
        """Trading hours begin or end."""
        self.closed[venue] = not self.closed[venue]
        if moments[1:]:
            self.push(max(moments[1], self.clock), ("hours", (venue, moments[1:])))
        if self.closed[venue]:
            self.sweep(venue, day_only=True)
        else:
            for market in self.markets[venue]:
                self.cross(market)

    def ingest(self, row: Any) -> None:
        template = int(row["template_id"])
        if Template.ORDER_NEW <= template <= Template.STATUS_REQUEST:
            self.submit(row)
        elif template == Template.CLOCK_SAMPLE:
            self.advance(int(row["clock_ns"]))
        else:
            self.advance(int(row["ts_event_ns"]))
            self.apply(row, template)

    # Requests

    def submit(self, row: Any) -> None:
        request = {name: int(row[name]) for name in row.dtype.names if row[name].ndim == 0}
        if request["template_id"] == Template.MASS_CANCEL:
            names = {int(Scope.INSTRUMENT): "instrument_id", int(Scope.CLIENT): "client_id"}
            request |= {"order_id": request["request_id"], "qty": request[names.get(request["scope"], "target")]}
        if 0 <= request["venue_id"] < len(self.markets):
            sent, which = request["ts_event_ns"], (1 << 61) + (request["template_id"] << 40) + request["qty"] % 2**40
            due = self.arrival("in", request["venue_id"], request["order_id"], which, sent)
            self.push(max(due, self.clock), ("request", request))

    def arrival(self, way: str, venue: int, order_id: int, which: int, sent: int) -> int:
        """When a message that leaves at `sent` is there: none overtakes another of its venue and way."""
        row = self.setup[venue]
        table = int(row["order_table" if way == "in" else "report_table"])
        if table < 0:
            return sent + int(row["latency_ns"])
        drawn = draw(row["seed"], order_id, which) * TABLE >> 63
        last = self.last[way, venue] = max(sent + int(self.latencies[table * TABLE + drawn]), self.last[way, venue])
        return last

    def execute(self, r: dict[str, Any]) -> None:
        if r["template_id"] == Template.MASS_CANCEL:
            self.mass_cancel(r)
            return
        order = self.orders.get(r["order_id"])
        if r["template_id"] == Template.ORDER_NEW:
            self.new(r, order)
        elif order is None or order["venue_id"] != r["venue_id"]:
            self.refuse(r, Reason.UNKNOWN_ORDER)
        elif r["template_id"] == Template.STATUS_REQUEST:
            self.tell(order, Template.ACK, ExecType.ORDER_STATUS, request=Template.STATUS_REQUEST)
        elif order["ord_status"] not in OPEN:
            self.tell(order, Template.CANCEL_REJECT, ExecType.REJECTED, Reason.ORDER_TERMINAL, r["template_id"])
        elif r["template_id"] == Template.ORDER_CANCEL:
            self.end(order, ExecType.CANCELED, Reason.CLIENT_REQUEST, Template.ORDER_CANCEL)
        else:
            self.replace(r, order)

    def new(self, r: dict[str, Any], known: dict[str, Any] | None) -> None:
        if r["order_id"] <= 0:
            return self.refuse(r, Reason.MISSING_ID)
        if not 0 <= r["instrument_id"] < len(self.config.instrument):
            return self.refuse(r, Reason.UNKNOWN_INSTRUMENT)
        if known:
            if all(known["new"][name] == r[name] for name in CONTENT):
                return self.tell(known, Template.ACK, ExecType.ORDER_STATUS, request=Template.ORDER_NEW)
            return self.refuse(r, Reason.DUPLICATE_ORDER)
        venue = self.setup[r["venue_id"]]
        if happens(venue["seed"], r["order_id"], 1, venue["lost_order_ppm"]):
            return None
        if len(self.orders) == self.config.simulation.orders:
            return self.refuse(r, Reason.TABLE_FULL)
        o = self.remember(r, venue)
        reason = self.fault(r) or (Reason.TTL_EXPIRED if self.late(r) else 0)
        reason = reason or (Reason.CROSSED_QUOTE if r["flags"] & 2 and self.touch(o)[0] else 0)
        if not reason and happens(venue["seed"], r["order_id"], 0, venue["reject_ppm"]):
            reason = Reason.SIMULATED
        if reason:
            o.update(leaves=0, ord_status=OrdStatus.REJECTED)
            return self.tell(o, Template.REJECT, ExecType.REJECTED, reason, Template.ORDER_NEW)
        self.tell(o, Template.ACK, ExecType.NEW, request=Template.ORDER_NEW)
        self.take(o)
        if o["leaves"] and o["tif"] in (Tif.DAY, Tif.GTC):
            self.rest(o)
            if happens(venue["seed"], o["order_id"], 7, venue["unsolicited_ppm"]):
                self.doubt(o, 0, "CANCEL", None)
            if r["ttl_ms"] > 0:
                self.push(o["expire"] + 1, ("expiry", o))
        elif o["leaves"]:
            why = Reason.FOK_NOT_FILLABLE if o["tif"] == Tif.FOK else Reason.NOT_MARKETABLE
            self.end(o, ExecType.CANCELED, why)
        return None

    def remember(self, r: dict[str, Any], venue: Any) -> dict[str, Any]:
        o = {name: r[name] for name in ("order_id", "client_id", *CONTENT)}
        o.update(new=r, book=Side.BUY if r["side"] == Side.BUY else Side.SELL, cum=0, leaves=r["qty"], queue=0)
        o.update(busted=0, executions=0)
        o["ord_status"] = OrdStatus.NEW
        o["expire"] = r["ts_event_ns"] + r["ttl_ms"] * 10**6 if r["ttl_ms"] > 0 else 1 << 62
        o["muted"] = happens(venue["seed"], r["order_id"], 2, venue["lost_ack_ppm"])
        o["peer_id"] = self.number(r["venue_id"], "O")
        self.orders[r["order_id"]] = o
        return o

    def replace(self, r: dict[str, Any], o: dict[str, Any]) -> None:
        reason: int = Reason.BAD_SIDE if r["side"] != o["side"] else 0
        reason = reason or (Reason.UNKNOWN_INSTRUMENT if r["instrument_id"] != o["instrument_id"] else 0)
        reason = reason or (Reason.BAD_TIF if r["tif"] != o["tif"] else 0)
        reason = reason or (Reason.BAD_ORD_TYPE if r["ord_type"] != o["ord_type"] else 0)
        reason = reason or self.fault(r) or (Reason.TTL_EXPIRED if self.late(r) else 0)
        if not reason and o["flags"] & 2 and self.touch({**o, "px": r["px"]})[0]:
            reason = Reason.CROSSED_QUOTE
        if reason:
            self.tell(o, Template.CANCEL_REJECT, ExecType.REJECTED, reason, Template.ORDER_REPLACE)
            return
        shown_before, shown_then = o["display_qty"] or o["qty"], r["display_qty"] or r["qty"]
        stays = r["px"] == o["px"] and r["qty"] <= o["qty"] and shown_then <= shown_before and not self.touch(o)[0]
        if not stays:
            self.market(o).resting.remove(o)
        o.update(px=r["px"], qty=max(r["qty"], o["cum"] + o["busted"]))
        o.update(min_qty=r["min_qty"], display_qty=r["display_qty"])
        o["leaves"] = o["qty"] - o["cum"] - o["busted"]
        if not o["leaves"]:
            self.rank(o)
            if stays:
                self.market(o).resting.remove(o)
        self.tell(o, Template.ACK, ExecType.REPLACED, request=Template.ORDER_REPLACE)
        if stays:
            o["shown"] = min(o["shown"], o["leaves"], o["display_qty"] or o["leaves"])
            return
        if o["leaves"]:
            self.take(o)
        if o["leaves"]:
            self.rest(o)

    def late(self, r: dict[str, Any]) -> bool:
        return bool(r["ttl_ms"] > 0 and self.clock > r["ts_event_ns"] + r["ttl_ms"] * 10**6)

    def fault(self, r: dict[str, Any]) -> int:
        market, once = r["ord_type"] == OrdType.MARKET, r["tif"] in (Tif.IOC, Tif.FOK)
        tick = 1
        if self.config.venue[r["venue_id"]].tick_table and r["px"] >= 100:
            tick = 10
        rules = [
            (r["side"] in (Side.BUY, Side.SELL, Side.SELL_SHORT), Reason.BAD_SIDE),
            (r["ord_type"] in (OrdType.MARKET, OrdType.LIMIT), Reason.BAD_ORD_TYPE),
            (once or (not market and r["tif"] in (Tif.DAY, Tif.GTC)), Reason.BAD_TIF),
            (market or r["px"] > 0, Reason.IMPOSSIBLE_PRICE),
            (market or r["px"] % tick == 0, Reason.BAD_TICK),
            (r["qty"] > 0 and 0 <= r["min_qty"] <= r["qty"], Reason.IMPOSSIBLE_QTY),
            (r["qty"] % self.lots[r["venue_id"]][r["instrument_id"]] == 0, Reason.ODD_LOT),
            (0 <= r["display_qty"] <= r["qty"], Reason.IMPOSSIBLE_QTY),
            (r["display_qty"] % self.lots[r["venue_id"]][r["instrument_id"]] == 0, Reason.ODD_LOT),
            (not self.closed[r["venue_id"]] and self.market(r).status != 2, Reason.MARKET_CLOSED),
            (not once or self.market(r).status == 0, Reason.TRADING_HALTED),
            (
                once or self.config.simulation.queue != "exact" or self.market(r).depth.told_by == "orders",
                Reason.UNSUPPORTED,
            ),
        ]
        return next((int(reason) for good, reason in rules if not good), 0)

    # Executions

    def fill(self, o: dict[str, Any], px: int, qty: int, liquidity: int) -> None:
        if qty > 0:
            o["cum"] += qty
            o["leaves"] -= qty
            self.rank(o)
            self.tell(o, Template.FILL, ExecType.TRADE, last_px=px, last_qty=qty, liquidity=liquidity)
            o["executions"] += 1
            n, venue = o["executions"] * 16, self.setup[o["venue_id"]]
            what = {"exec_id": self.exec_id, "px": px, "qty": qty, "liquidity": liquidity}
            if happens(venue["seed"], o["order_id"], n + 5, venue["bust_ppm"]):
                self.doubt(o, n, "BUST", what)
            elif happens(venue["seed"], o["order_id"], n + 6, venue["correct_ppm"]):
                self.doubt(o, n, "CORRECT", what)
            if not o["leaves"] and o in self.market(o).resting:
                self.market(o).resting.remove(o)

    def rank(self, o: dict[str, Any]) -> None:
        """Its status by its quantities."""
        if o["leaves"]:
            o["ord_status"] = OrdStatus.PARTIALLY_FILLED if o["cum"] else OrdStatus.NEW
        else:
            o["ord_status"] = OrdStatus.FILLED if o["cum"] >= o["qty"] else OrdStatus.CANCELED

    # Second thoughts

    def doubt(self, o: dict[str, Any], n: int, kind: str, what: dict[str, Any] | None) -> None:
        seed = self.setup[o["venue_id"]]["seed"]
        due = self.clock + 10**6 + draw(seed, o["order_id"], n + 8) % (49 * 10**6)
        self.push(due, ("second", (o, kind, what, draw(seed, o["order_id"], n + 9))))

    def think_again(self, o: dict[str, Any], kind: str, what: Any, dice: int) -> None:
        if kind == "CANCEL":
            if o["ord_status"] in OPEN:
                self.end(o, ExecType.CANCELED, Reason.SIMULATED)
            return
        px, qty, lot = 0, 0, int(self.lots[o["venue_id"]][o["instrument_id"]])
        if kind == "CORRECT":
            px, qty, amount = what["px"], what["qty"], dice // 3
            if dice % 3 == 1 and qty > lot:
                qty = max(amount % qty // lot * lot, lot)
            elif dice % 3 == 2 and o["leaves"] >= lot:
                qty += max(amount % o["leaves"] // lot * lot, lot)
            else:
                px = max(px - 1, 1) if o["book"] == Side.BUY else px + 1
        more = qty - what["qty"]
        o["cum"] += more
        o["leaves"] -= max(more, 0)
        o["busted"] += max(-more, 0)
        if o["ord_status"] in (*OPEN, OrdStatus.FILLED):
            self.rank(o)
        if not o["leaves"] and o in self.market(o).resting:
            self.market(o).resting.remove(o)
        told = {name: o[name] for name in ("order_id", "instrument_id", "side", "client_id", "ord_status")}
        told.update(exec_id=self.number(o["venue_id"], "E"), exec_ref_id=what["exec_id"], last_px=px, last_qty=qty)
        told.update(cum_qty=o["cum"], leaves_qty=o["leaves"], reason=Reason.SIMULATED, request=0)
        told["liquidity"] = what["liquidity"] if kind == "CORRECT" else 0
        told["exec_type"] = ExecType.TRADE_CORRECT if kind == "CORRECT" else ExecType.TRADE_CANCEL
        self.leave(o["venue_id"], told, template_id=Template[kind])

    def fill_resting(self, o: dict[str, Any], most: int) -> int:
        qty = max(0, min(most, o["leaves"])) if self.clock <= o["expire"] else 0
        self.fill(o, o["px"], qty, Liquidity.ADDED)
        if qty:
            o["shown"] -= qty
            if o["shown"] <= 0:
                o["shown"] = min(o["display_qty"], o["leaves"])
        return qty

    def sweep(self, venue: int, day_only: bool) -> None:
        for o in list(self.orders.values()):
            if o["venue_id"] == venue and o["ord_status"] in OPEN:
                if not day_only:
                    self.end(o, ExecType.CANCELED, Reason.VENUE_DOWN)
                elif o["tif"] == Tif.DAY:
                    self.end(o, ExecType.EXPIRED, Reason.DAY_END)

    def mass_cancel(self, r: dict[str, Any]) -> None:
        """Cancel all orders of a scope."""
        names = {
            Scope.INSTRUMENT: "instrument_id", Scope.CLIENT: "client_id", Scope.STRATEGY: "algo_id",
            Scope.TRADER: "trader_id", Scope.ACCOUNT: "account_id",
        }  # fmt: skip
        for o in list(self.orders.values()):
            if o["venue_id"] != r["venue_id"] or o["ord_status"] not in OPEN:
                continue
            if r["scope"] == Scope.ALL or (r["scope"] in names and o["new"][names[r["scope"]]] == r["qty"]):
                self.end(o, ExecType.CANCELED, Reason.MASS_CANCEL, Template.MASS_CANCEL)

    # Reports

    def number(self, venue: int, letter: str) -> str:
        counter = "next_exec" if letter == "E" else "next_order"
        prefix = self.config.venue[venue].code + letter
        number = str(self.setup[venue][counter])
        self.setup[venue][counter] += 1
        return str(prefix + number.zfill(16 - len(prefix)))

    def end(self, o: dict[str, Any], exec_type: int, reason: int, request: int = 0) -> None:
        if o in self.market(o).resting:
            self.market(o).resting.remove(o)
        o["leaves"] = 0
        o["ord_status"] = OrdStatus.EXPIRED if exec_type == ExecType.EXPIRED else OrdStatus.CANCELED
        self.tell(o, Template.ACK, exec_type, reason, request)

    def tell(
        self, o: dict[str, Any], template: int, exec_type: int, reason: int = 0, request: int = 0, **fill: int
    ) -> None:
        exec_id = self.exec_id = self.number(o["venue_id"], "E")
        if o["muted"] and template != Template.FILL and exec_type != ExecType.ORDER_STATUS:
            return
        if o["muted"] and exec_type == ExecType.ORDER_STATUS and request != Template.STATUS_REQUEST:
            return
        report = {name: o[name] for name in ("order_id", "peer_id", "instrument_id", "side", "client_id", "ord_status")}
        report.update(last_px=o["px"], last_qty=0, liquidity=0, cum_qty=o["cum"], leaves_qty=o["leaves"])
        kind = {"template_id": template, "exec_type": exec_type, "reason": reason, "request": request}
        self.leave(o["venue_id"], report, exec_id=exec_id, **kind, **fill)

    def refuse(self, r: dict[str, Any], reason: int) -> None:
        new = r["template_id"] in (Template.ORDER_NEW, Template.STATUS_REQUEST)
        report = {name: r[name] for name in ("order_id", "instrument_id", "side", "client_id")}
        report.update(peer_id="", ord_status=OrdStatus.REJECTED, last_px=r["px"], last_qty=0, liquidity=0)
        report.update(cum_qty=0, leaves_qty=0)
        report.update(template_id=Template.REJECT if new else Template.CANCEL_REJECT, exec_type=ExecType.REJECTED)
        report.update(reason=reason, request=r["template_id"], exec_id=self.number(r["venue_id"], "E"))
        self.leave(r["venue_id"], report)

    def leave(self, venue: int, report: dict[str, Any], **more: Any) -> None:
        report.update(venue_id=venue, ts_event_ns=self.clock, **more)
        which = (1 << 62) + (int(report["template_id"]) << 40) + report["cum_qty"] % 2**40
        self.push(self.arrival("out", venue, report["order_id"], which, self.clock), ("report", report))
