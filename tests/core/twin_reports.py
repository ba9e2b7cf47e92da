"""The slow twin's venues: what their reports on orders, executions, busts and corrections do."""

from __future__ import annotations

from typing import Any

from engine.record.records import Liquidity, Side
from engine.run.config import Config
from tests.core.twin_orders import FINAL, Child, Parent
from tests.core.twin_sweep import Routing


class Execution:
    """What of an execution stands."""

    def __init__(self, child: Child, origin: Any, px: int, qty: int, liquidity: int) -> None:
        self.child, self.origin = child, origin
        self.px, self.qty, self.liquidity = px, qty, liquidity
        self.newer: Execution | None = None


class Reports(Routing):
    """What venues say."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.executions: dict[Any, Execution] = {}
        self.positions = {}

    # ---- replaces of ours

    def amend(self, child: Child, px: int, qty: int) -> list[tuple[Any, ...]]:
        """What a turn does that replaces a child."""
        self.out = []
        p = child.parent
        can = child.live and child.status not in ("PENDING_CANCEL", "UNKNOWN") and len(child.amends) < 2
        if not can or child.asked or child.tif != "DAY" or px <= 0 or qty <= child.done:
            return []
        spare = p.left() - sum(other.leaves + other.most() - other.qty for other in p.family)
        if qty > child.most() and qty - child.most() > spare:
            return []
        child.amends.append((px, qty))
        child.rank()
        self.out.append(("REPLACE", child.order_id, px, qty))
        self.arm(child, self.now_ns + self.timeout())
        self.gated = 0
        self.gate()
        self.use_limits()
        return self.out

    # ---- reports on orders

    def known(self, e: dict[str, Any]) -> Child | None:
        """The child that a report is about, alive or not."""
        child = self.children.get(e["order_id"])
        if child is None or child.venue != e["venue_id"] or child.parent.instrument != e["instrument_id"]:
            return None
        return child

    def live(self, e: dict[str, Any]) -> Child | None:
        """The live child that a report is about."""
        child = self.known(e)
        if child is None:
            self.refuse(e["kind"], "UNKNOWN_ORDER")
        elif not child.live:
            self.refuse(e["kind"], "ORDER_TERMINAL")
        else:
            return child
        return None

    def on_ack(self, e: dict[str, Any]) -> None:
        """Accepted, ended, replaced, or the status that we asked for."""
        child = self.live(e)
        if child is None:
            return
        kind, status = e["exec_type"], e["ord_status"]
        if kind in ("CANCELED", "EXPIRED") or (kind == "ORDER_STATUS" and status in FINAL):
            self.ended(child, kind, status, e["cum_qty"])
        elif kind == "NEW":
            child.accepted = True
            self.hear(child)
        elif kind == "ORDER_STATUS":
            self.adopt(child, e)
        elif kind == "REPLACED" and child.amends:
            told = self.told(child, e)
            terms = [(px, max(qty, child.done)) for px, qty in child.amends]
            fits = (e["last_px"], child.done + told)
            px, qty = child.amends.pop(terms.index(fits) if fits in terms else 0)
            child.asked = child.asked and bool(child.amends)
            self.set_terms(child, px, qty)
            self.settle_terms(child, told)
        elif kind in ("REPLACED", "RESTATED"):
            told = self.told(child, e)
            if told <= child.leaves:
                self.out.append(("ALERT", "UNSOLICITED", child.order_id, told))
            self.set_terms(child, e["last_px"] or child.px, child.done + min(told, child.leaves))
            self.settle_terms(child, told)

    def told(self, child: Child, e: dict[str, Any]) -> int:
        """The leaves by a report, and what we have not heard of."""
        return int(e["leaves_qty"] + max(e["cum_qty"] - child.cum, 0))

    def set_terms(self, child: Child, px: int, qty: int) -> None:
        """Other terms."""
        child.px, child.qty = px, max(qty, child.done)
        child.leaves = child.qty - child.done

    def settle_terms(self, child: Child, told: int) -> None:
        """Ended by its new terms, or alive; more than we want is taken back."""
        child.accepted = True
        if child.most() == child.done:
            self.out_of_leaves(child)
            return
        self.hear(child)
        if told > child.leaves + child.most() - child.qty and not child.canceling:
            self.out.append(("ALERT", "UNSOLICITED", child.order_id, told))
            self.cancel_child(child)

    def out_of_leaves(self, child: Child) -> None:
        """Nothing is left of it."""
        self.end(child, "FILLED" if child.cum and child.cum >= child.qty else "CANCELED")

    def ended(self, child: Child, kind: str, status: str, cum: int) -> None:
        """Its venue says that it is over."""
        if cum > child.cum:
            self.lose(child)
            self.arm(child, self.now_ns + self.timeout())
            return
        if kind == "CANCELED" and not child.canceling and child.tif == "DAY":
            self.out.append(("ALERT", "UNSOLICITED", child.order_id, child.leaves))
        if kind != "ORDER_STATUS":
            status = kind
        elif (status == "FILLED" and child.cum < child.qty) or (status == "REJECTED" and child.cum):
            status = "CANCELED"
        if status == "REJECTED":
            child.parent.refused.add(child.venue)
        self.end(child, status)

    def adopt(self, child: Child, e: dict[str, Any]) -> None:
        """It lives; an unanswered replace that we asked about has taken effect, or never will."""
        was = child.status
        child.accepted = True
        if child.asked and child.amends and e["ord_status"] != "PENDING_REPLACE":
            fits = (e["last_px"], child.done + self.told(child, e))
            terms = [(px, max(qty, child.done)) for px, qty in child.amends]
            if fits in terms:
                self.set_terms(child, *child.amends[terms.index(fits)])
            child.amends = []
            if not child.leaves:
                self.out_of_leaves(child)
                return
        child.asked = False
        self.hear(child)
        if was == "UNKNOWN" != child.status:
            child.cancels = 0
            self.cancel_child(child)

    def on_reject(self, e: dict[str, Any]) -> None:
        """It never lived."""
        if child := self.live(e):
            child.parent.excluded.add(child.venue)
            child.parent.refused.add(child.venue)
            self.end(child, "CANCELED" if child.cum else "REJECTED")

    def on_cancel_reject(self, e: dict[str, Any]) -> None:
        """A cancel or a replace is refused."""
        child = self.live(e)
        if child is None:
            return
        if e["request"] == "ORDER_REPLACE":
            self.refuse_amend(child, e["reason"])
        elif not child.canceling:
            self.refuse("CANCEL_REJECT", "NOT_IN_ORDER")
        else:
            child.canceling = False
            child.cancels = max(child.cancels, self.config.routing.max_cancels)
            child.rank()

    def refuse_amend(self, child: Child, reason: str) -> None:
        """A replace is refused: the newest where one was pending, else the oldest; all where it came too late."""
        if not child.amends:
            self.refuse("CANCEL_REJECT", "NOT_IN_ORDER")
            return
        late = reason in ("ORDER_TERMINAL", "UNKNOWN_ORDER")
        if late:
            child.amends = []
        else:
            child.amends.pop(-1 if reason == "REQUEST_PENDING" else 0)
        child.asked = child.asked and bool(child.amends)
        if late and child.leaves:
            child.cancels = max(child.cancels, self.config.routing.max_cancels)
            child.rank()
            self.arm(child, self.now_ns + self.timeout())
        elif child.most() == child.done:
            self.out_of_leaves(child)
        elif child.status == "UNKNOWN" or not child.accepted:
            child.rank()
        else:
            self.hear(child)

    # ---- executions

    def on_fill(self, e: dict[str, Any]) -> None:
        """Book it, once."""
        child = self.known(e)
        if child is None:
            self.refuse("FILL", "UNKNOWN_ORDER")
            return
        key = (child.venue, e["exec_id"])
        if key in self.executions:
            self.refuse("FILL", "DUPLICATE_EXEC")
            return
        qty, px = e["last_qty"], e["last_px"]
        self.executions[key] = Execution(child, key, px, qty, e["liquidity"])
        self.more(child, qty)
        self.money(child, px, qty, e["liquidity"], 1)
        self.revalue(child, px)
        self.executed(child)
        p = child.parent
        self.out.append(("FILL", p.name, px, qty, p.cum, p.leaves(), p.status, child.venue))
        self.look(child)

    def more(self, child: Child, qty: int) -> None:
        """Executed, on child and parent."""
        ended = not child.live
        child.accepted = True
        if qty > child.leaves:
            for terms in [terms for terms in child.amends if terms[1] >= child.done + qty][:1]:
                child.amends.remove(terms)
                child.asked = child.asked and bool(child.amends)
                self.set_terms(child, *terms)
        taken = min(qty, child.leaves)
        again = min(qty - min(qty, max(child.qty - child.done, 0)), child.busted)
        child.busted -= again
        self.filled_in_masses(child)
        child.cum += qty
        child.leaves -= taken
        if taken < qty:
            code = "OVERFILL" if child.cum > child.qty else "ORDER_TERMINAL" if ended else "BUSTED"
            self.out.append(("ALERT", code, child.order_id, qty))
        p = child.parent
        p.busted -= min(qty - min(qty, p.left()), p.busted)
        p.cum += qty
        p.rank()

    def look(self, child: Child) -> None:
        """Is it over, and its parent?"""
        p = child.parent
        if child.live and child.leaves == 0 and child.most() <= child.done:
            self.out_of_leaves(child)
        else:
            child.rank()
        if p.phase != "DONE" and p.left() == 0:
            self.wake(p, "CHILDREN_DONE")

    def less(self, child: Child, qty: int) -> None:
        """Busted, on child and parent: an overfill first."""
        for order in (child, child.parent):
            order.busted += qty - min(qty, max(order.cum - order.qty, 0))
            order.cum -= qty
        child.parent.rank()
        child.rank()

    def money(self, child: Child, px: int, qty: int, liquidity: int, times: int) -> None:
        """Position, money and fee, `times` over (-1 takes it back)."""
        parent: Parent = child.parent
        v, money = self.config.venue[child.venue], px * qty * 10**7
        added = liquidity == Liquidity.ADDED
        rate, bps = (v.make_fee, v.make_bps) if added else (v.take_fee, v.take_bps)
        fee = round(float(rate) * 10**9) * qty + money * round(float(bps) * 100) // 10**6
        parent.money += money * times
        parent.fee += fee * times
        sums = self.positions.setdefault((parent.account, parent.instrument), [0, 0, 0])
        sign = times if parent.side == Side.BUY else -times
        for n, amount in enumerate((sign * qty, sign * money, times * fee)):
            sums[n] += amount

    def revalue(self, child: Child, px: int) -> None:
        """A position is worth what is held of it at the price of its last execution."""
        key = child.parent.account, child.parent.instrument
        self.values[key] = self.positions[key][0] * px

    def standing(self, e: dict[str, Any]) -> Execution | None:
        """What stands for the execution that a bust or correction is about; None where it was refused."""
        if (e["venue_id"], e["exec_id"]) in self.executions:
            self.refuse(e["kind"], "DUPLICATE_EXEC")
            return None
        found = self.executions.get((e["venue_id"], e["exec_ref_id"]))
        if found is None or self.known(e) is not found.child:
            self.refuse(e["kind"], "UNKNOWN_EXEC")
            self.out.append(("ALERT", "UNKNOWN_EXEC", e["order_id"], e["venue_id"]))
            return None
        while found.newer:
            found = found.newer
        if not found.qty:
            self.refuse(e["kind"], "BUSTED")
            return None
        return found

    def on_bust(self, e: dict[str, Any]) -> None:
        """It never happened."""
        if old := self.standing(e):
            self.succeed(e, old, 0, 0, old.liquidity)

    def on_correct(self, e: dict[str, Any]) -> None:
        """It was another."""
        if old := self.standing(e):
            self.succeed(e, old, e["last_px"], e["last_qty"], e["liquidity"] or old.liquidity)

    def succeed(self, e: dict[str, Any], old: Execution, px: int, qty: int, liquidity: int) -> None:
        """Another execution, or none, in place of one."""
        child, p = old.child, old.child.parent
        new = Execution(child, old.origin, px, qty, liquidity)
        self.executions[child.venue, e["exec_id"]] = old.newer = new
        code = "CORRECTED" if qty else "BUSTED"
        self.out.append(("ALERT", code, child.order_id, qty - old.qty))
        self.money(child, old.px, old.qty, old.liquidity, -1)
        self.money(child, px, qty, liquidity, 1)
        self.revalue(child, px or old.px)
        if qty > old.qty:
            self.more(child, qty - old.qty)
            self.look(child)
        else:
            self.less(child, old.qty - qty)
        numbers = (px, qty, p.cum, p.leaves())
        self.out.append((e["kind"], p.order_id, old.origin, *numbers, p.status, child.venue))
