"""An account of every order, kept from the engine's inputs and outputs alone: what the invariants compare with.

Written from the rules (docs/contract.md, FIX), not from the kernels, in plain Python. `Ledger` takes inputs in: which
reports count, what they do to children, parents, positions. For each of them ordered = cum + leaves + cancelled +
busted, and an execution is booked once. What may leave the engine, and what its tables must say, is in invariants.py.
"""

from __future__ import annotations

from collections import Counter

from engine.core.rule_limits import limit_of
from engine.core.rules import L_MAX_NOTIONAL, L_MAX_QTY
from engine.core.state import State
from engine.record.records import ControlAction, ExecType, Liquidity, OrdStatus, Side, Template
from replay.simulate.books import Books
from replay.simulate.executions import Execution, Executions, key_of
from replay.simulate.setup import Setup
from replay.simulate.wire import Record, text, unpack

CHILD_BIT = 1 << 39
CHANGES = (int(Template.BUST), int(Template.CORRECT))
_RESTATED = (int(ExecType.RESTATED), int(ExecType.REPLACED))
REPORTS = (int(Template.ACK), int(Template.FILL), int(Template.REJECT), int(Template.CANCEL_REJECT))
TERMINAL = (int(OrdStatus.FILLED), int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED), int(OrdStatus.REJECTED))


class Parent:
    """A client's order that the engine accepted."""

    def __init__(self, order: Record, order_id: int) -> None:
        self.order, self.order_id = order, order_id
        self.qty, self.px = order["qty"], order["px"]
        self.cum = self.busted = self.fee = self.notional = 0
        #: The client was told that it ended; that it is suspended; that a cancel is on its way.
        self.ended = self.paused = self.stopping = False
        self.children: list[Child] = []
        self.session = order["stream_id"]
        #: (quantity, price) of the replaces that were asked for.
        self.asked: list[tuple[int, int]] = []

    def __str__(self) -> str:
        return f"parent {text(self.order['cl_ord_id'])}"

    @property
    def live(self) -> list[Child]:
        """Its children that have not ended."""
        return [child for child in self.children if child.live]

    @property
    def live_qty(self) -> int:
        """What its live children may still execute."""
        return sum(child.leaves for child in self.children if child.live)

    @property
    def left(self) -> int:
        """What of it is neither executed nor busted."""
        return max(int(self.qty) - self.cum - self.busted, 0)

    def book(self, qty: int) -> None:
        """More was executed: out of what is left, then out of what was busted."""
        self.busted -= min(qty - min(qty, self.left), self.busted)
        self.cum += qty

    def undo(self, qty: int) -> None:
        """Less was executed: of an overfill first, the rest is busted."""
        self.busted += qty - min(qty, max(self.cum - int(self.qty), 0))
        self.cum -= qty


class Child:
    """A child order that left the engine."""

    def __init__(self, order: Record, parent: Parent) -> None:
        self.order, self.parent = order, parent
        self.order_id, self.qty = order["order_id"], order["qty"]
        self.cum = self.busted = 0
        self.leaves = self.qty
        self.live = True
        #: Whether its timer is as it was armed first: nothing was heard of it, and its session stayed as it was.
        self.untouched = True

    def book(self, qty: int) -> None:
        """More was executed: out of its leaves, else late, again after a bust, or an overfill."""
        room = max(int(self.qty) - self.cum - self.busted, 0)
        self.busted -= min(qty - min(qty, room), self.busted)
        self.cum += qty
        self.leaves = max(self.leaves - qty, 0)

    def undo(self, qty: int) -> None:
        """Less was executed: of an overfill first, the rest is busted. Its leaves stay."""
        self.busted += qty - min(qty, max(self.cum - int(self.qty), 0))
        self.cum -= qty

    def restate(self, leaves: int) -> None:
        """Its venue took so much of it back that `leaves` are left."""
        self.leaves = leaves
        self.qty = self.cum + self.busted + leaves

    def __str__(self) -> str:
        place = self.parent.children.index(self) + 1
        return f"child {place} of {self.parent} (number {self.order_id & (CHILD_BIT - 1)})"


class Ledger:
    """See the module. All quantities are in quantity units, money in 1e-9 of the currency."""

    def __init__(self, setup: Setup, state: State) -> None:
        self.setup = setup
        self.books = Books(setup)
        self.parents: dict[int, Parent] = {}
        self.children: dict[int, Child] = {}
        self.live: set[int] = set()
        self.sums: dict[tuple[int, int], Counter[str]] = {}
        self.up = [False] * setup.sessions
        self.killed = False
        self.now_ns = 0
        self.record: Record = {}
        #: Whether the number of the last input was a new one.
        self.in_place = True
        #: What the last input was, where it was booked: (child, report); a bust or correction names its execution too.
        self.booked: tuple[Child, Record] | None = None
        self.changed: tuple[Execution, Record] | None = None
        self._parent_slots: dict[int, int] = {}
        self._child_slots: dict[int, int] = {}
        self._place = [(0, 0)] * setup.sessions
        self.parent_mask, self.child_mask = len(state.parents) - 1, len(state.children) - 1
        self.executions = Executions(len(state.execs))
        self._fees = [(int(v.take_fee), int(v.make_fee)) for v in state.venues]
        row = state.instruments[0]
        self.max_qty, self.max_notional = limit_of(state, 0, L_MAX_QTY), limit_of(state, 0, L_MAX_NOTIONAL)
        self._money = (int(row.notional_mul), int(row.notional_div))

    def money(self, px: int, qty: int) -> int:
        """What a quantity at a price comes to."""
        return px * qty * self._money[0] // self._money[1]

    def take(self, data: bytes) -> Child | None:
        """Take an input in; the child that it reports on, where it does."""
        record = self.record = unpack(data)
        self.booked = self.changed = None
        self.now_ns = max(self.now_ns, record["ts_recv_ns"])
        template, session = record["template_id"], record["stream_id"]
        self.in_place = True
        if template <= Template.VENUE_DEF:
            self.in_place = self.books.take(record, self.now_ns)
        elif template == Template.RECOVERED:
            self.up = [False] * self.setup.sessions
            self.books.void()
            self._touch()
        elif session < 0 or self._in_place(record):
            return self._admitted(record, template, session)
        else:
            self.in_place = False
        return None

    def _admitted(self, record: Record, template: int, session: int) -> Child | None:
        if template in (Template.SESSION_UP, Template.SESSION_DOWN):
            self.up[session] = template == Template.SESSION_UP
            self._touch()
        elif template == Template.CONTROL and session < 0:
            if record["action"] in (ControlAction.KILL_ON, ControlAction.KILL_OFF, ControlAction.STOP):
                self.killed = record["action"] != ControlAction.KILL_OFF
        elif template == Template.ORDER_REPLACE:
            for parent in self.parents.values():
                if parent.session == session and parent.order["cl_ord_id"] == record["cl_ord_id"]:
                    parent.asked.append((record["qty"], record["px"]))
        elif template in REPORTS:
            return self._report(record)
        elif template in CHANGES:
            return self._change(record)
        return None

    def _touch(self) -> None:
        """Something happened to a session: what lives may be watched anew."""
        for order_id in self.live:
            self.children[order_id].untouched = False

    def _in_place(self, record: Record) -> bool:
        """Whether a record of a session comes with a number that was not seen."""
        session, epoch, seq = record["stream_id"], record["stream_epoch"], record["stream_seq"]
        if seq == 0 and record["template_id"] == Template.SESSION_DOWN:
            return True
        old_epoch, old_seq = self._place[session]
        if epoch < old_epoch or (epoch == old_epoch and seq <= old_seq) or seq < 1:
            return False
        self._place[session] = (epoch, seq)
        if epoch > old_epoch:
            self._touch()
        return True

    def _report(self, record: Record) -> Child | None:
        child = self.children.get(record["order_id"])
        if child is None or not self.holds_child(child):
            return None
        if any(child.order[key] != record[key] for key in ("venue_id", "instrument_id")):
            return None
        template, child.untouched = record["template_id"], False
        if template == Template.FILL:
            self._fill(child, record)
        elif child.live and (template == Template.REJECT or (template == Template.ACK and _ends(child, record))):
            self.end(child)
        elif child.live and template == Template.ACK and record["exec_type"] in _RESTATED:
            self._restate(child, record)
        return child

    def _restate(self, child: Child, record: Record) -> None:
        """A venue takes a part of what is open back; the engine remembers that it said so among its executions."""
        key = key_of(record["venue_id"], record["exec_id"])
        if self.executions.knows(key):
            return
        if any(record["exec_id"]):
            self.executions.enter(Execution(key, child, 0, 0, 0))
        told = record["leaves_qty"] + max(record["cum_qty"] - child.cum, 0)
        child.restate(min(told, child.leaves))
        self._end_if_done(child)

    def _fill(self, child: Child, record: Record) -> None:
        key = key_of(record["venue_id"], record["exec_id"])
        if self.executions.knows(key):
            return
        execution = Execution(key, child, record["last_px"], record["last_qty"], record["liquidity"])
        self.executions.enter(execution)
        self.booked = (child, record)
        money, fee = self._worth(execution)
        self._move(execution, execution.qty, money, fee, 1)
        child.book(execution.qty)
        if self.holds_parent(child.parent):
            child.parent.book(execution.qty)
            child.parent.notional += money
            child.parent.fee += fee
        self._end_if_done(child)

    def _change(self, record: Record) -> Child | None:
        """A bust or correction: what stands for the execution that it names is another from now on."""
        venue = record["venue_id"]
        key, old = key_of(venue, record["exec_id"]), self.executions.find(key_of(venue, record["exec_ref_id"]))
        if self.executions.knows(key) or old is None or old.qty == 0 or not old.is_of(record):
            return None
        new = Execution(key, old.child, old.px, 0, old.liquidity, old.told, changes=True)
        if record["template_id"] == Template.CORRECT:
            new.px, new.qty = record["last_px"], record["last_qty"]
            new.liquidity = record["liquidity"] or old.liquidity
        was, is_now, more = self._worth(old), self._worth(new), new.qty - old.qty
        money, fee = is_now[0] - was[0], is_now[1] - was[1]
        self._move(old, more, money, fee, 0 if record["template_id"] == Template.CORRECT else -1)
        self.executions.succeed(old, new)
        child: Child = old.child
        self.changed = (new, record)
        if not self.holds_child(child):
            return None
        parent = child.parent if self.holds_parent(child.parent) else None
        for order in (child, parent):
            if order is not None:
                order.book(more) if more > 0 else order.undo(-more)
        if parent is not None:
            parent.notional += money
            parent.fee += fee
        if more > 0:
            self._end_if_done(child)
        return child

    def _worth(self, execution: Execution) -> tuple[int, int]:
        """(money, fee) of an execution."""
        order = execution.child.order
        rate = self._fees[order["venue_id"]][execution.liquidity == Liquidity.ADDED]
        return self.money(execution.px, execution.qty), rate * execution.qty

    def _move(self, execution: Execution, qty: int, money: int, fee: int, fills: int) -> None:
        """Change the position of an execution's account."""
        order = execution.child.order
        sign = 1 if order["side"] == Side.BUY else -1
        sums = self.sums.setdefault((order["account_id"], order["instrument_id"]), Counter())
        sums["qty"] += sign * qty
        sums["cost"] += sign * money
        sums["bought_qty" if sign > 0 else "sold_qty"] += qty
        sums["fee"] += fee
        sums["fills"] += fills

    def _end_if_done(self, child: Child) -> None:
        if child.live and child.leaves == 0:
            self.end(child)

    # ---- entries

    def enter_parent(self, parent: Parent) -> None:
        """An order was accepted; it takes the slot of one that ended."""
        self.parents[parent.order_id] = parent
        self._parent_slots[parent.order_id & self.parent_mask] = parent.order_id

    def enter_child(self, child: Child) -> None:
        """A child left."""
        self.children[child.order_id] = child
        self._child_slots[child.order_id & self.child_mask] = child.order_id
        child.parent.children.append(child)
        self.live.add(child.order_id)

    def enter_blocked(self, order_id: int) -> None:
        """A child was made, and stopped before it left: it has a slot all the same."""
        self._child_slots[order_id & self.child_mask] = order_id

    def end(self, child: Child) -> None:
        """A child ended."""
        child.live, child.leaves = False, 0
        self.live.discard(child.order_id)

    # ---- questions

    def holds_parent(self, parent: Parent) -> bool:
        """Whether the engine still has this parent: its slot was not taken again."""
        return bool(self._parent_slots.get(parent.order_id & self.parent_mask) == parent.order_id)

    def holds_child(self, child: Child) -> bool:
        """Whether the engine still has this child."""
        return bool(self._child_slots.get(child.order_id & self.child_mask) == child.order_id)

    def in_child_slot(self, order_id: int) -> Child | None:
        """The child that has the slot of an id now."""
        held = self._child_slots.get(order_id & self.child_mask)
        return self.children.get(held, None) if held is not None else None

    def remembers(self, venue: int, exec_id: bytes) -> bool:
        """Whether an execution may be reported (again): it was never booked, or the engine will know that it was."""
        return self.executions.may_repeat(key_of(venue, exec_id))

    def was_booked(self, venue: int, exec_id: bytes) -> bool:
        """Whether an execution, bust or correction was booked."""
        return self.executions.ever(key_of(venue, exec_id))

    def stands(self, venue: int, exec_id: bytes) -> bool:
        """Whether the engine remembers an execution of which something stands."""
        found = self.executions.find(key_of(venue, exec_id))
        return found is not None and found.qty > 0

    def session_of(self, child: Child) -> int:
        """The session that reaches a child's venue."""
        return self.setup.session_of(child.order["venue_id"])


def _ends(child: Child, record: Record) -> bool:
    """Whether an ACK ends a child: one that tells of more executions than were heard of does not, yet."""
    kind, status = record["exec_type"], record["ord_status"]
    ended = kind in (ExecType.CANCELED, ExecType.EXPIRED)
    ended = ended or (kind == ExecType.ORDER_STATUS and status in TERMINAL)
    return ended and bool(record["cum_qty"] <= child.cum)
