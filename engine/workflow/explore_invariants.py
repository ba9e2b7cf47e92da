"""What must hold after each event, judged by the explorer's account and not by the core's own figures.

`hear` reads what left the core into the account (new children, cancels and status requests, what the client was told),
`judge` compares the account with the public columns of the State:

- cum + leaves + canceled + busted = ordered, for the parent and each child, and as the client was told;
- what a venue has executed or still may execute never exceeds what was ordered, unless a venue lied;
- a child ends with a report that ends it, and by nothing else;
- the client hears one end, when no child is live any more, and each of its requests is answered once.

Worst case: a strategy that sends more children than the explorer's bound is told by `Cut`, and is not judged further.
"""

from __future__ import annotations

from typing import Final

from engine.core.limits import OUTBOX
from engine.record.records import DTYPES, RECORD_MAX, ExecType, OrdStatus, Template
from engine.workflow.explore_account import (
    ANSWERED,
    ASKED,
    BUSTED,
    CANCEL,
    CANCEL_ASKED,
    CHILDREN,
    CONTROLS,
    ENDED,
    HEARD,
    LIED,
    NEW_QTY,
    NUMBER,
    OPEN,
    ORDERED,
    OWED,
    QTY,
    REPLACE,
    STATUS_ASKED,
    TERMINAL,
    TOLD,
    UNDONE,
    VENUE,
    child_at,
    exposure,
    heard,
)
from engine.workflow.explore_events import World
from engine.workflow.explore_records import CLIENT

_PENDING: Final = frozenset({ExecType.PENDING_CANCEL, ExecType.PENDING_REPLACE, ExecType.PENDING_NEW})


class Violation(Exception):
    """An invariant does not hold; the text says which, and with what figures."""


class Cut(Exception):
    """The path leaves the bounds: one child more than is explored."""


def _at(template: Template, field: str) -> int:
    return int(DTYPES[template].fields[field][1])  # type: ignore[index]


_TEMPLATE = _at(Template.ACK, "template_id") // 2
_STREAM = _at(Template.ACK, "stream_id") // 2
_ORDER_ID, _QTY = _at(Template.ORDER_NEW, "order_id") // 8, _at(Template.ORDER_NEW, "qty") // 8
_CUM, _LEAVES = _at(Template.ACK, "cum_qty") // 8, _at(Template.ACK, "leaves_qty") // 8
_REQUEST = _at(Template.ACK, "request") // 4
_EXEC_TYPE, _ORD_STATUS = _at(Template.ACK, "exec_type"), _at(Template.ACK, "ord_status")
_VENUE = _at(Template.ACK, "venue_id") // 2


class Judge:
    """Reads the outbox of a World and judges its State."""

    def __init__(self, world: World) -> None:
        self.world, arena = world, world.arena
        box = world.outbox.words.data.cast("B")
        self._words, self._quarters, self._halves, self._bytes = box.cast("q"), box.cast("h"), box.cast("i"), box
        assert len(box) >= OUTBOX * RECORD_MAX
        place = arena.place
        self._ordered = place("parent_orders", 0, "qty") // 8
        self._cum, self._live = place("parents", 0, "cum_qty") // 8, place("parents", 0, "live_qty") // 8
        self._live_children = place("parents", 0, "live_children") // 4
        self.status_at, self.phase_at = place("parents", 0, "ord_status"), place("parents", 0, "phase")
        self.busted_at = place("parents", 0, "busted_qty") // 8 if arena.has("parents", "busted_qty") else -1
        slots = range(len(arena.state.children))
        self.children = [
            (
                place("children", c, "cum_qty") // 8,
                place("children", c, "leaves_qty") // 8,
                place("children", c, "ord_status"),
            )
            for c in slots
        ]

    # ---- what left the core

    def hear(self, count: int) -> None:
        """Take the outbox's `count` records into the account. Violation, or Cut."""
        for k in range(count):
            template = self._quarters[k * 64 + _TEMPLATE]
            if template == Template.ORDER_NEW:
                self._new_child(k)
            elif template == Template.ORDER_CANCEL or template == Template.STATUS_REQUEST:
                at = self._named(k)
                self.world.ghost[at + ASKED] |= CANCEL_ASKED if template == Template.ORDER_CANCEL else STATUS_ASKED
            elif template == Template.ORDER_REPLACE:
                raise Violation("a child was replaced: the explorer cannot follow that yet")
            elif template == Template.FAILURE:
                raise Violation("a workflow step failed")
            elif Template.ACK <= template <= Template.CORRECT and self._quarters[k * 64 + _STREAM] == CLIENT:
                self._told(k, template)

    def _new_child(self, k: int) -> None:
        g = self.world.ghost
        n, order_id = g[CHILDREN], self._words[k * 16 + _ORDER_ID]
        if n == self.world.options.children:
            raise Cut
        at = child_at(n)
        self.world.child_base = order_id & ~0xFF
        g[CHILDREN] = n + 1
        g[at + QTY] = self._words[k * 16 + _QTY]
        g[at + VENUE] = self._quarters[k * 64 + _VENUE]
        g[at + NUMBER] = order_id & 0xFF
        if g[TOLD]:
            raise Violation("a child was sent for a parent that has ended")

    def _named(self, k: int) -> int:
        """Place of the child that a request to a venue names."""
        g, number = self.world.ghost, self._words[k * 16 + _ORDER_ID] & 0xFF
        for n in range(g[CHILDREN]):
            if g[child_at(n) + NUMBER] == number:
                return child_at(n)
        raise Violation(f"a request names child {number}, which was never sent")

    def _told(self, k: int, template: int) -> None:
        """What the client is told of its parent."""
        g = self.world.ghost
        exec_type, status = self._bytes[k * RECORD_MAX + _EXEC_TYPE], self._bytes[k * RECORD_MAX + _ORD_STATUS]
        cum, leaves = self._words[k * 16 + _CUM], self._words[k * 16 + _LEAVES]
        if template == Template.ACK and exec_type == ExecType.REPLACED:
            g[ORDERED] = max(g[NEW_QTY], heard(g))
        request = self._halves[k * 32 + _REQUEST]
        if request != 0 and request != Template.ORDER_NEW and exec_type not in _PENDING:
            self._answered(request, resumed=template == Template.ACK and exec_type == ExecType.NEW)
        if cum != heard(g) - g[BUSTED]:
            raise Violation(f"the client is told CumQty {cum}; venues reported {heard(g) - g[BUSTED]}")
        wanted = 0 if status in TERMINAL else max(g[ORDERED] - cum - g[BUSTED], 0)
        if leaves != wanted:
            raise Violation(
                f"the client is told LeavesQty {leaves} with OrdStatus {OrdStatus(status).name}: ordered {g[ORDERED]}, "
                f"cum {cum}, busted {g[BUSTED]} leave {wanted}"
            )
        if g[TOLD] and status != g[TOLD] and not g[LIED] and not g[BUSTED]:
            raise Violation(f"the client was told {OrdStatus(g[TOLD]).name}, and is now told {OrdStatus(status).name}")
        if status in TERMINAL:
            if g[TOLD] and template == Template.ACK and exec_type in (ExecType.CANCELED, ExecType.EXPIRED):
                raise Violation("the client is told of a second end")
            g[TOLD] = status

    def _answered(self, request: int, resumed: bool) -> None:
        """A request has its answer. A resume that is granted also answers the pause that it withdrew."""
        g = self.world.ghost
        if request == Template.CONTROL:
            if g[CONTROLS] == 0:
                raise Violation("a pause or resume is answered twice")
            g[CONTROLS] = 0 if resumed else g[CONTROLS] - 1
            return
        place = {int(Template.ORDER_CANCEL): CANCEL, int(Template.ORDER_REPLACE): REPLACE}.get(request)
        if place is not None:
            if g[place] != OPEN:
                raise Violation(f"an {Template(request).name} is answered that was not open")
            g[place] = ANSWERED

    # ---- what the State says

    def judge(self) -> None:
        """Violation where the State's columns are not what the account says."""
        g, words = self.world.ghost, self.world.arena.words
        live, live_qty = 0, 0
        for n in range(g[CHILDREN]):
            leaves = self._child(n)
            live += leaves > 0
            live_qty += leaves
        cum = heard(g) - g[BUSTED]
        if words[self._ordered] != g[ORDERED]:
            raise Violation(f"parent: ordered is {words[self._ordered]}, and {g[ORDERED]} to the client")
        if words[self._cum] != cum:
            raise Violation(f"parent: cum is {words[self._cum]}; venues reported {cum}")
        if words[self._live] != live_qty:
            raise Violation(f"parent: live quantity is {words[self._live]}; its children's leaves are {live_qty}")
        if self.world.arena.halves[self._live_children] != live:
            raise Violation(f"parent: {self.world.arena.halves[self._live_children]} live children; {live} have leaves")
        if exposure(g) > g[ORDERED] + g[LIED]:
            raise Violation(
                f"over-fill of our making: venues executed or may execute {exposure(g)} lots of {g[ORDERED]} ordered"
            )
        if g[TOLD]:
            if live and not g[LIED]:
                raise Violation(f"the client was told of the end, and {live} children are live")
            if g[CANCEL] == OPEN or g[REPLACE] == OPEN or g[CONTROLS]:
                if self.ended():
                    raise Violation("the parent has ended, and a request of the client was not answered")

    def _child(self, n: int) -> int:
        """Judge one child; its leaves."""
        g, arena, at = self.world.ghost, self.world.arena, child_at(n)
        cum_at, leaves_at, status_at = self.children[g[at + NUMBER] & (len(self.children) - 1)]
        cum, leaves, status = arena.words[cum_at], arena.words[leaves_at], arena.bytes[status_at]
        if cum != g[at + HEARD] - g[at + UNDONE]:
            raise Violation(f"child {n + 1}: cum is {cum}; its venue reported {g[at + HEARD]}, less {g[at + UNDONE]}")
        if status in TERMINAL:
            if leaves != 0:
                raise Violation(f"child {n + 1} is {OrdStatus(status).name}, and has leaves {leaves}")
            if not g[at + ENDED] or g[at + OWED]:
                owed = f"; its venue owes the reports of {g[at + OWED]}" if g[at + OWED] else ""
                raise Violation(
                    f"child {n + 1} is {OrdStatus(status).name} without a report that ends it{owed}: its quantity was "
                    "released while its venue may still execute it"
                )
            g[at + ASKED] = 0
        elif leaves != max(g[at + QTY] - g[at + HEARD], 0):
            raise Violation(
                f"child {n + 1}: cum {cum} + leaves {leaves} + canceled 0 + busted {g[at + UNDONE]} is not its "
                f"quantity, {g[at + QTY]}"
            )
        elif leaves == 0:
            raise Violation(f"child {n + 1} is {OrdStatus(status).name} with nothing left")
        return int(leaves)

    def ended(self) -> bool:
        """Whether the parent has ended: a terminal status, and no live child."""
        arena = self.world.arena
        return arena.bytes[self.status_at] in TERMINAL and arena.halves[self._live_children] == 0
