"""What must hold at every moment of a simulation, whatever went wrong: what leaves the engine, and what its tables say.

`step` holds one input's outputs to the ledger and the rows that it touched to the engine's; `whole` compares all
tables. A rule that does not hold raises Violation, with the rule in words and what was seen instead.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

from engine.core.ids import find_client_id, find_execution
from engine.core.state import COUNTERS, FAILED, NONE, State
from engine.record.records import ControlAction, ExecType, OrdStatus, Reason, Side, Template, Tif
from replay.simulate.executions import key_of
from replay.simulate.ledger import CHANGES, CHILD_BIT, REPORTS, TERMINAL, Child, Ledger, Parent
from replay.simulate.violation import must
from replay.simulate.wire import Record, name, unpack

_IMMEDIATE = (int(Tif.IOC), int(Tif.FOK))
_WORDS = struct.Struct("<qq")
#: Inputs between two looks at all tables.
_EVERY = 16


class Invariants(Ledger):
    """The ledger with an eye on the engine."""

    _steps = 0

    def step(self, data: bytes, outputs: list[bytes], state: State | None) -> None:
        """Take an input and what the core made of it; `state` is the engine's after it, None to leave it alone."""
        touched = self.take(data)
        self._routed: dict[int, int] = {}
        self._told = 0
        self._used: set[Any] = getattr(self, "_used", set())
        parents = {touched.parent.order_id: touched.parent} if touched is not None else {}
        if not self.in_place:
            told = [name(int.from_bytes(out[2:4], "little")) for out in outputs]
            must(told == ["REFUSAL"], "what comes again changes nothing", f"{name(self.record['template_id'])}: {told}")
        last_timeout = 0
        for out in map(unpack, outputs):
            template = out["template_id"]
            if template == Template.ORDER_NEW:
                child = self._sent(out)
                parents[child.parent.order_id] = child.parent
            elif template in (Template.ORDER_CANCEL, Template.STATUS_REQUEST, Template.ORDER_REPLACE):
                self._requested(out)
            elif template in REPORTS:
                self._told_client(out)
            elif template in CHANGES:
                self._told_bust(out)
            elif template == Template.RISK_BLOCK and out["order_id"] & CHILD_BIT:
                self._use(out["order_id"])
                self.enter_blocked(out["order_id"])
                self._routed[out["parent_id"]] = self._routed.get(out["parent_id"], 0) + out["qty"]
            elif template == Template.DECISION:
                self.books.look(out["instrument_id"], self.now_ns)
            elif template == Template.FAILURE and self.setup.strategy == "strategies.sweep":
                must(False, "no step of sweep fails", f"state {out['workflow_state']}, event {out['event']}")
            elif template == Template.ALERT and out["code"] == Reason.TIMEOUT:
                last_timeout = self._fired(out["order_id"], last_timeout)
        if self.record["template_id"] == Template.CONTROL and self.record["action"] == ControlAction.STOP:
            asked = {out["order_id"] for out in map(unpack, outputs) if out["template_id"] == Template.ORDER_CANCEL}
            must(asked == self.live, "a halt cancels what lives", f"{len(asked)} cancels of {len(self.live)}")
        self._batch()
        if state is not None:
            self._rows(state, touched, parents.values())
            self._steps += 1
            if self._steps % _EVERY == 0:
                self.whole(state)

    def _fired(self, order_id: int, before: int) -> int:
        """A child's timer has fired; those that are as they were armed at first fire in that order, which is ids'."""
        child = self.children.get(order_id)
        if child is None or not child.untouched:
            return before
        must(order_id > before, "timers fire in order", f"{order_id} after {before}")
        return order_id

    # ---- what leaves

    def _use(self, order_id: int) -> None:
        must(order_id not in self._used, "an id is never used again", f"order {order_id}")
        self._used.add(order_id)

    def _sent(self, out: Record) -> Child:
        """A child order leaves: the rules of the risk gate, of exposure, of the market."""
        order_id, venue, qty, px = out["order_id"], out["venue_id"], out["qty"], out["px"]
        self._use(order_id)
        parent = self.parents.get(out["parent_id"])
        must(parent is not None, "a child has a parent", f"order {order_id} of parent {out['parent_id']}")
        assert parent is not None
        before = self.in_child_slot(order_id)
        must(before is None or not before.live, "a live child keeps its slot", f"{before} lost it to {order_id}")
        child = Child(out, parent)
        what = f"{qty} at {px} for {parent} to venue {venue}"
        must(not self.killed, "no order leaves while the kill flag is on", what)
        must(self.up[self.session_of(child)], "no order goes to a venue that is down", what)
        must(not parent.ended, "no order leaves for a parent that ended", what)
        must(not parent.paused, "no order leaves for a suspended parent", what)
        must(not parent.stopping, "no order leaves for a parent that is being cancelled", what)
        for key in ("side", "instrument_id", "account_id", "client_id"):
            must(out[key] == parent.order[key], "a child is its parent's order", f"{what}: {key} {out[key]}")
        room = parent.left - parent.live_qty
        must(0 < qty <= room, "no more is routed than is left", f"{what}, {room} left")
        buys = out["side"] == Side.BUY
        limit = parent.px
        must(limit == 0 or (px <= limit if buys else px >= limit), "no order beyond its limit", f"{what}, {limit}")
        self._risk(out, what)
        self.enter_child(child)
        self._routed[parent.order_id] = self._routed.get(parent.order_id, 0) + qty
        if self.setup.strategy == "strategies.sweep" and out["tif"] in _IMMEDIATE:
            self._market(out, what, buys)
        return child

    def _risk(self, out: Record, what: str) -> None:
        money = self.money(out["px"], out["qty"])
        within = out["qty"] <= self.max_qty and money <= self.max_notional
        must(within, "no order is larger than the limits", what)
        beyond = self.books.beyond_collar(out["instrument_id"], out["side"], out["px"], self.now_ns)
        must(beyond is not None, "no order without a reference price", what)
        must(not beyond, "no order beyond the collar", what)

    def _market(self, out: Record, what: str, buys: bool) -> None:
        """An immediate order of sweep takes a quote that is good, at its price, and no more than it shows."""
        instrument, venue = out["instrument_id"], out["venue_id"]
        must(self.books.fresh(instrument, venue, self.now_ns), "no order to a void or stale quote", what)
        slot = self.books.slots[instrument, venue]
        px, shown = slot.side(buys)
        must(out["px"] == px, "an order takes the displayed price", f"{what}, displayed {px}")
        slot.used[buys] += out["qty"]
        must(slot.used[buys] <= shown, "a displayed quantity is used once", f"{what}, {slot.used[buys]} of {shown}")

    def _requested(self, out: Record) -> None:
        child = self.children.get(out["order_id"])
        asked = f"{name(out['template_id'])} of order {out['order_id']}"
        must(child is not None and child.live, "nothing is asked of a child that ended", asked)

    def _told_client(self, out: Record) -> None:
        """A client is told something: it must be so."""
        template, kind = out["template_id"], out["exec_type"]
        if template == Template.ACK and kind == ExecType.NEW and out["request"] == Template.ORDER_NEW:
            before = self.parents.get(self._parent_slots.get(out["order_id"] & self.parent_mask, 0))
            must(before is None or not before.live, "a live parent keeps its slot", str(before))
            self._use(out["order_id"])
            self.enter_parent(Parent(self.record, out["order_id"]))
            self.books.look(out["instrument_id"], self.now_ns)
        parent = self.parents.get(out["order_id"])
        if parent is None or (template == Template.CANCEL_REJECT and kind == ExecType.REJECTED):
            return
        if template == Template.FILL:
            self._told_fill(parent, out)
        elif template == Template.ACK:
            self._told_change(parent, kind, out)
        what = f"{parent}: {name(template)}, cum {out['cum_qty']} leaves {out['leaves_qty']}, should be {parent.cum}"
        must(out["cum_qty"] == parent.cum, "a client is told what was executed", what)
        left = 0 if parent.ended or out["ord_status"] in TERMINAL else parent.left
        must(out["leaves_qty"] == left, "a client is told what is left", f"{what} and {left}")
        filled = out["ord_status"] == OrdStatus.FILLED
        must(not filled or parent.cum >= parent.qty, "filled is what is executed whole", f"{what} of {parent.qty}")

    def _told_fill(self, parent: Parent, out: Record) -> None:
        self._told += 1
        must(self.booked is not None, "a fill is told once", f"{parent}: {out['last_qty']} without an execution")
        assert self.booked is not None
        report = self.booked[1]
        same = (out["last_qty"], out["last_px"]) == (report["last_qty"], report["last_px"])
        must(same and self.booked[0].parent is parent, "a fill is told as it was", f"{parent}: {out['last_qty']}")
        execution = self.executions.find(key_of(report["venue_id"], report["exec_id"]))
        if execution is not None:
            execution.told = out["exec_id"]

    def _told_bust(self, out: Record) -> None:
        """A client is told that an execution which it knows was busted, or is another."""
        self._told += 1
        what = f"{name(out['template_id'])} of order {out['order_id']}: {out['last_qty']} at {out['last_px']}"
        must(self.changed is not None, "a bust is told once", f"{what} without a bust")
        assert self.changed is not None
        execution, report = self.changed
        parent = execution.child.parent
        same = out["template_id"] == report["template_id"] and out["exec_ref_id"] == execution.told
        same = same and (out["last_qty"], out["last_px"]) == (report["last_qty"], report["last_px"])
        must(same and out["order_id"] == parent.order_id, "a bust is told as it was", what)
        must(out["cum_qty"] == parent.cum, "a client is told what was executed", f"{what}, should be {parent.cum}")
        left = 0 if parent.ended or out["ord_status"] in TERMINAL else parent.left
        must(out["leaves_qty"] == left, "a client is told what is left", f"{what}, {out['leaves_qty']}, not {left}")

    def _told_change(self, parent: Parent, kind: int, out: Record) -> None:
        if kind in (ExecType.CANCELED, ExecType.EXPIRED):
            must(not parent.live, "a parent ends after its children", f"{parent}: {len(parent.live)} live")
            must(not parent.ended, "a parent ends once", str(parent))
            parent.ended = True
        elif kind == ExecType.SUSPENDED:
            must(not parent.live, "a parent is suspended after its children", f"{parent}: {len(parent.live)} live")
            parent.paused = True
        elif kind == ExecType.NEW and out["request"] == Template.CONTROL:
            parent.paused = False
        elif kind == ExecType.PENDING_CANCEL:
            parent.stopping = True
        elif kind == ExecType.REPLACED:
            qty = out["cum_qty"] + out["leaves_qty"]
            asked = [new for new, px in parent.asked if px == out["last_px"]]
            # What was busted stays in the order: it is no longer cum, and not leaves.
            qty += parent.busted
            right = any(qty == max(new, parent.cum + parent.busted) for new in asked)
            must(right, "a replace does what was asked", f"{parent}: {qty} at {out['last_px']}, asked {parent.asked}")
            parent.qty, parent.px = qty, out["last_px"]

    def _batch(self) -> None:
        """What must hold of a step's outputs together."""
        if self.booked is not None:
            held = self.holds_parent(self.booked[0].parent)
            must(self._told == int(held), "an execution is told to the client", str(self.booked[0]))
        if self.changed is not None:
            child = self.changed[0].child
            held = self.holds_child(child) and self.holds_parent(child.parent)
            must(self._told == int(held), "a bust is told to the client", str(child))
        for parent_id, qty in self._routed.items():
            parent = self.parents[parent_id]
            if parent.order["tif"] == Tif.FOK:
                whole = parent.qty - parent.cum - parent.busted  # as it was replaced, where it had time to be
                must(qty == whole, "fill or kill goes out whole or not at all", f"{parent}: {qty}")

    # ---- what the tables say

    def _rows(self, state: State, child: Child | None, parents: Any) -> None:
        core = state.core[0]
        must(int(core.now_ns) == self.now_ns, "the engine's clock never falls", f"{core.now_ns}, was {self.now_ns}")
        must(int(core.live_children) == len(self.live), "live children are counted", f"{core.live_children}")
        must((int(core.killed) != 0) == self.killed, "the kill flag is as it was set", f"{core.killed}")
        if child is not None:
            self._child_row(state, child)
        for parent in parents:
            self._parent_row(state, parent)
        for booked in (self.booked and self.booked[0], self.changed and self.changed[0].child):
            if booked:
                self._position(state, booked.order["account_id"], booked.order["instrument_id"])

    def _child_row(self, state: State, child: Child) -> None:
        if not self.holds_child(child):
            return
        row = state.children[child.order_id & self.child_mask]
        seen = f"{child}: cum {row.cum_qty} leaves {row.leaves_qty}, should be {child.cum} and {child.leaves}"
        must(int(row.cum_qty) == child.cum, "a child's executions are booked", seen)
        must(int(row.leaves_qty) == child.leaves, "a child's leaves are its quantity less its executions", seen)
        must(int(row.busted_qty) == child.busted, "what was busted is a term of its own", f"{seen}; {row.busted_qty}")
        must((int(row.ord_status) in TERMINAL) != child.live, "a child ends with a terminal report", seen)
        filled = row.ord_status == OrdStatus.FILLED
        must(child.live or filled == (child.cum >= child.qty), "filled is what is executed whole", seen)
        if child.live and not self.up[self.session_of(child)]:
            must(row.ord_status == OrdStatus.UNKNOWN, "what lives at a lost venue is unknown", seen)

    def _parent_row(self, state: State, parent: Parent) -> None:
        if not self.holds_parent(parent):
            return
        row = state.parents[parent.order_id & self.parent_mask]
        seen = f"{parent}: cum {row.cum_qty} live {row.live_qty}, should be {parent.cum} and {parent.live_qty}"
        must(int(row.cum_qty) == parent.cum, "a parent's executions are booked", seen)
        must(int(row.busted_qty) == parent.busted, "what was busted is a term of its own", f"{seen}; {row.busted_qty}")
        must(int(row.live_qty) == parent.live_qty, "a parent's live quantity is its children's leaves", seen)
        must(int(row.live_children) == len(parent.live), "a parent's children are counted", seen)
        must(int(row.notional) == parent.notional, "a parent's money is its executions'", f"{parent}: {row.notional}")
        must(int(row.fee) == parent.fee, "a parent's fees are its executions'", f"{parent}: {row.fee}, {parent.fee}")

    def _position(self, state: State, account: int, instrument: int) -> None:
        row = state.positions[account * len(state.instruments) + instrument]
        sums = self.sums.get((account, instrument), Counter())
        for key in row.dtype.names:
            seen = f"account {account}, instrument {instrument}: {key} {row[key]}, should be {sums[key]}"
            must(int(row[key]) == sums[key], "positions are the executions", seen)

    def whole(self, state: State) -> None:
        """Compare all tables."""
        core, unknown = state.core[0], 0
        for child in self.children.values():
            if self.holds_child(child):
                self._child_row(state, child)
                slot = child.order_id & self.child_mask
                timer = int(state.timer_pos[len(state.parents) + slot])
                must(child.live or timer == NONE, "what has ended waits for nothing", str(child))
                if child.live:
                    unknown += int(state.children[slot].ord_status == OrdStatus.UNKNOWN)
                    self._watched(state, child, len(state.parents) + slot)
        must(int(core.unknown_children) == unknown, "unknown children are counted", f"{core.unknown_children}")
        still = 0
        for parent in self.parents.values():
            if self.holds_parent(parent):
                self._parent_row(state, parent)
                if int(state.parents[parent.order_id & self.parent_mask].phase) > FAILED:
                    still += parent.left
        counts = dict(zip(COUNTERS, state.counts.tolist(), strict=True))
        total = sum(counts[key] for key in ("qty_filled", "qty_canceled", "qty_rejected", "qty_busted"))
        total -= counts["qty_overfilled"]
        seen = f"{counts['qty_ordered']} ordered, {total} ended, {still} open"
        must(counts["qty_ordered"] == total + still, "quantities add up", seen)
        for account in range(2):
            for instrument in range(len(state.instruments)):
                self._position(state, account, instrument)
        self._timers(state)
        self._found(state)

    def _found(self, state: State) -> None:
        """What the engine holds can be found by its foreign id."""
        for parent in self.parents.values():
            if self.holds_parent(parent):
                slot = int(find_client_id(state, parent.session, *_WORDS.unpack(parent.order["cl_ord_id"])))
                must(slot == parent.order_id & self.parent_mask, "an order is found by its ClOrdID", str(parent))
        for venue, exec_id in self.executions.known:
            found = int(find_execution(state, venue, *_WORDS.unpack(exec_id))) != NONE
            must(found, "an execution is found by its ExecID", exec_id.decode())

    def _watched(self, state: State, child: Child, owner: int) -> None:
        """Nothing waits for a venue without end."""
        row = state.children[child.order_id & self.child_mask]
        if not self.up[self.session_of(child)]:
            return
        waits = row.ord_status in (OrdStatus.PENDING_NEW, OrdStatus.PENDING_CANCEL, OrdStatus.UNKNOWN)
        if waits or child.order["tif"] in _IMMEDIATE:
            must(int(state.timer_pos[owner]) != NONE, "a child that waits has a timer", str(child))

    def _timers(self, state: State) -> None:
        count = int(state.core[0].timer_count)
        heap = list(zip(state.timer_at[:count].tolist(), state.timer_arm[:count].tolist(), strict=True))
        for place in range(1, count):
            must(heap[(place - 1) // 2] < heap[place], "the timers are in order", f"place {place} of {count}")
