"""An account of every order, kept from the engine's inputs and outputs alone: what the invariants compare with.

Written from the rules (docs/contract.md, FIX), not from the kernels, in plain Python. `Ledger` takes inputs in: which
reports count, what they do to children, parents, positions. What may leave the engine, and what its tables must say,
is in invariants.py.
"""

from __future__ import annotations

from collections import Counter

from engine.core.state import State
from engine.record.records import ControlAction, ExecType, Liquidity, OrdStatus, Side, Template
from replay.simulate.books import Books
from replay.simulate.setup import Setup
from replay.simulate.wire import Record, text, unpack

CHILD_BIT = 1 << 39
REPORTS = (int(Template.ACK), int(Template.FILL), int(Template.REJECT), int(Template.CANCEL_REJECT))
TERMINAL = (int(OrdStatus.FILLED), int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED), int(OrdStatus.REJECTED))


class Parent:
    """A client's order that the engine accepted."""

    def __init__(self, order: Record, order_id: int) -> None:
        self.order, self.order_id = order, order_id
        self.qty, self.px = order["qty"], order["px"]
        self.cum = self.fee = self.notional = 0
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


class Child:
    """A child order that left the engine."""

    def __init__(self, order: Record, parent: Parent) -> None:
        self.order, self.parent = order, parent
        self.order_id, self.qty = order["order_id"], order["qty"]
        self.cum = 0
        self.leaves = self.qty
        self.live = True

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
        #: The execution that the last input was, where it was booked.
        self.booked: tuple[Child, Record] | None = None
        self._parent_slots: dict[int, int] = {}
        self._child_slots: dict[int, int] = {}
        self._place = [(0, 0)] * setup.sessions
        self._ring: list[tuple[int, bytes]] = []
        self._ever: set[tuple[int, bytes]] = set()
        self.parent_mask, self.child_mask = len(state.parents) - 1, len(state.children) - 1
        self._ring_size = len(state.execs)
        self._fees = [(int(v.take_fee), int(v.make_fee)) for v in state.venues]
        row = state.instruments[0]
        self.max_qty, self.max_notional = int(row.max_qty), int(row.max_notional)
        self._money = (int(row.notional_mul), int(row.notional_div))

    def money(self, px: int, qty: int) -> int:
        """What a quantity at a price comes to."""
        return px * qty * self._money[0] // self._money[1]

    def take(self, data: bytes) -> Child | None:
        """Take an input in; the child that it reports on, where it does."""
        record = self.record = unpack(data)
        self.booked = None
        self.now_ns = max(self.now_ns, record["ts_recv_ns"])
        template, session = record["template_id"], record["stream_id"]
        if template <= Template.VENUE_DEF:
            self.books.take(record, self.now_ns)
        elif template == Template.RECOVERED:
            self.up = [False] * self.setup.sessions
            self.books.void()
        elif session < 0 or self._in_place(record):
            return self._admitted(record, template, session)
        return None

    def _admitted(self, record: Record, template: int, session: int) -> Child | None:
        if template == Template.SESSION_UP:
            self.up[session] = True
        elif template == Template.SESSION_DOWN:
            self.up[session] = False
        elif template == Template.CONTROL and session < 0:
            if record["action"] in (ControlAction.KILL_ON, ControlAction.KILL_OFF):
                self.killed = record["action"] == ControlAction.KILL_ON
        elif template == Template.ORDER_REPLACE:
            for parent in self.parents.values():
                if parent.session == session and parent.order["cl_ord_id"] == record["cl_ord_id"]:
                    parent.asked.append((record["qty"], record["px"]))
        elif template in REPORTS:
            return self._report(record)
        return None

    def _in_place(self, record: Record) -> bool:
        """Whether a record of a session comes with a number that was not seen."""
        session, epoch, seq = record["stream_id"], record["stream_epoch"], record["stream_seq"]
        if seq == 0 and record["template_id"] == Template.SESSION_DOWN:
            return True
        old_epoch, old_seq = self._place[session]
        if epoch < old_epoch or (epoch == old_epoch and seq <= old_seq) or seq < 1:
            return False
        self._place[session] = (epoch, seq)
        return True

    def _report(self, record: Record) -> Child | None:
        child = self.children.get(record["order_id"])
        if child is None or not self.holds_child(child):
            return None
        if any(child.order[key] != record[key] for key in ("venue_id", "instrument_id")):
            return None
        template = record["template_id"]
        if template == Template.FILL:
            self._fill(child, record)
        elif child.live and (template == Template.REJECT or (template == Template.ACK and _ends(child, record))):
            self.end(child)
        return child

    def _fill(self, child: Child, record: Record) -> None:
        key = (record["venue_id"], record["exec_id"])
        if key in self._ring:
            return
        self._ring.append(key)
        del self._ring[: -self._ring_size]
        self._ever.add(key)
        self.booked = (child, record)
        qty = record["last_qty"]
        money = self.money(record["last_px"], qty)
        fee = self._fees[record["venue_id"]][record["liquidity"] == Liquidity.ADDED] * qty
        sign = 1 if child.order["side"] == Side.BUY else -1
        sums = self.sums.setdefault((child.order["account_id"], record["instrument_id"]), Counter())
        sums["qty"] += sign * qty
        sums["cost"] += sign * money
        sums["bought_qty" if sign > 0 else "sold_qty"] += qty
        sums["fee"] += fee
        sums["fills"] += 1
        child.cum += qty
        child.leaves = max(child.leaves - qty, 0)
        if self.holds_parent(child.parent):
            child.parent.cum += qty
            child.parent.notional += money
            child.parent.fee += fee
        if child.leaves == 0:
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
        """Whether an execution may be reported (again): it was never booked, or the engine will know that it was.

        The engine remembers the newest executions only; half of them leaves room for what is under way.
        """
        key = (venue, exec_id.ljust(16, b"\0"))
        return key in self._ring[-self._ring_size // 2 :] or key not in self._ever

    def was_booked(self, venue: int, exec_id: bytes) -> bool:
        """Whether an execution was booked."""
        return (venue, exec_id.ljust(16, b"\0")) in self._ever

    def session_of(self, child: Child) -> int:
        """The session that reaches a child's venue."""
        return self.setup.session_of(child.order["venue_id"])


def _ends(child: Child, record: Record) -> bool:
    """Whether an ACK ends a child: one that tells of more executions than were heard of does not, yet."""
    kind, status = record["exec_type"], record["ord_status"]
    ended = kind in (ExecType.CANCELED, ExecType.EXPIRED)
    ended = ended or (kind == ExecType.ORDER_STATUS and status in TERMINAL)
    return ended and bool(record["cum_qty"] <= child.cum)
