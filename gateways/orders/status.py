"""What a client knows of its orders: `Order` follows one through the engine's reports, `Report` is one of these.

Quantities and prices are integers in the instrument's units. What the engine says holds: status, cum and leaves are
those of its last report; fills are counted once by ExecID, and what a status says beyond them is `missed_qty`. A bust
or correction names by ExecRefID the execution that it takes back, or that was another: `filled_qty`, `notional` and so
`avg_px` are what stands. What was busted is `busted_qty`: it stays a part of the order, and is not routed again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np

from engine.record.records import ExecType, OrdStatus, OrdType, Reason, Side, Template, Tif, from_text16

#: An order that may still trade.
OPEN: Final = frozenset(OrdStatus) - {OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.REJECTED, OrdStatus.EXPIRED}


class Report(NamedTuple):
    """One ACK, FILL, REJECT, CANCEL_REJECT, BUST or CORRECT of the engine; `record` is the whole of it (a copy)."""

    template: Template
    cl_ord_id: str
    order_id: int
    exec_id: tuple[int, int]
    exec_type: ExecType | int
    ord_status: OrdStatus | int
    last_px: int
    last_qty: int
    cum_qty: int
    leaves_qty: int
    venue_id: int
    reason: Reason | int
    request: int
    ts_event_ns: int
    record: Any
    #: Of a bust or correction: the ExecID of the execution that it is about.
    exec_ref_id: tuple[int, int] = (0, 0)

    @classmethod
    def of_change(cls, record: Any, cl_ord_id: str) -> Report:
        """From one BUST or CORRECT (np.record), which names the order by the engine's id alone; it is copied."""
        record = record.copy()
        return cls._made(record, cl_ord_id, (int(record.exec_ref_id[0]), int(record.exec_ref_id[1])))

    @classmethod
    def of(cls, record: Any) -> Report:
        """From one REPORT record (np.record); it is copied."""
        record = record.copy()
        return cls._made(record, from_text16(record.peer_id), (0, 0))

    @classmethod
    def _made(cls, record: Any, cl_ord_id: str, exec_ref_id: tuple[int, int]) -> Report:
        return cls(
            Template(int(record.template_id)),
            cl_ord_id,
            int(record.order_id),
            (int(record.exec_id[0]), int(record.exec_id[1])),
            _known(ExecType, record.exec_type),
            _known(OrdStatus, record.ord_status),
            int(record.last_px),
            int(record.last_qty),
            int(record.cum_qty),
            int(record.leaves_qty),
            int(record.venue_id),
            _known(Reason, record.reason),
            int(record.request),
            int(record.ts_event_ns),
            record,
            exec_ref_id,
        )


def _known(kind: Any, value: Any) -> Any:
    """The member of an enumeration; the bare integer where it has none such (a newer engine)."""
    try:
        return kind(int(value))
    except ValueError:
        return int(value)


@dataclass
class Order:
    """One of our orders, as far as we know."""

    cl_ord_id: str
    instrument_id: int
    side: Side
    qty: int
    px: int
    ord_type: OrdType
    tif: Tif
    account_id: int
    sent_ns: int
    #: MinQty (110) and DisplayQty (1138); 0 is no minimum, and all is displayed.
    min_qty: int = 0
    display_qty: int = 0
    #: The engine's id; 0 until it has given one.
    order_id: int = 0
    ord_status: OrdStatus | int = OrdStatus.PENDING_NEW
    cum_qty: int = 0
    leaves_qty: int = 0
    #: Executions seen; the quantity of those that stand, and the sum of their px * qty.
    fills: int = 0
    filled_qty: int = 0
    notional: int = 0
    #: Busts and corrections seen, and the quantity that was busted and not executed again since.
    busts: int = 0
    corrects: int = 0
    busted_qty: int = 0
    #: Why it was rejected or ended, or why the last request about it was.
    reason: Reason | int = Reason.NONE
    #: Requests about it that were refused.
    refusals: int = 0
    #: ExecID -> (price, quantity) as it stands; ExecIDs of busts and corrections that were seen.
    _executions: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict, repr=False)
    _changes: set[tuple[int, int]] = field(default_factory=set, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether it may still trade."""
        return self.ord_status in OPEN

    @property
    def avg_px(self) -> Fraction | None:
        """Exact average price of the executions seen, in price units; None where there are none."""
        return Fraction(self.notional, self.filled_qty) if self.filled_qty else None

    @property
    def missed_qty(self) -> int:
        """Quantity that the engine has reported as filled without our having seen the executions."""
        return max(0, self.cum_qty - self.filled_qty)

    @property
    def signed_qty(self) -> int:
        """What stands of its executions, as it changes the position: sales are negative."""
        return self.filled_qty if self.side == Side.BUY else -self.filled_qty

    def apply(self, report: Report) -> bool:
        """Take note of a report on this order; False where it was an execution, bust or correction seen before."""
        if report.template in (Template.BUST, Template.CORRECT):
            return self._change(report)
        if report.template == Template.FILL:
            if report.exec_id in self._executions:
                return False
            self.fills += 1
            self._stand(report.exec_id, report.last_px, report.last_qty)
        if report.template == Template.CANCEL_REJECT:
            self.refusals += 1
            self.reason = report.reason
            if report.reason == Reason.UNKNOWN_ORDER:
                self._forgotten()
                return True
        if report.template == Template.REJECT:
            self.reason = report.reason
            if self.order_id and report.reason == Reason.DUPLICATE_ORDER:
                self.refusals += 1
                return True
        elif report.exec_type in (ExecType.CANCELED, ExecType.EXPIRED):
            self.reason = report.reason
        if report.exec_type == ExecType.REPLACED:
            self.qty, self.px = report.cum_qty + self.busted_qty + report.leaves_qty, report.last_px
        self.order_id = report.order_id or self.order_id
        self.ord_status = report.ord_status
        self.cum_qty = max(self.cum_qty, report.cum_qty)
        self.leaves_qty = report.leaves_qty
        return True

    def _change(self, report: Report) -> bool:
        """A bust or correction: CumQty may fall by it, and by nothing else."""
        if report.exec_id in self._changes:
            return False
        self._changes.add(report.exec_id)
        if report.template == Template.BUST:
            self.busts += 1
        else:
            self.corrects += 1
        self._stand(report.exec_ref_id, report.last_px, report.last_qty)
        self.ord_status, self.reason = report.ord_status, report.reason
        self.cum_qty, self.leaves_qty = report.cum_qty, report.leaves_qty
        return True

    def _stand(self, exec_id: tuple[int, int], px: int, qty: int) -> None:
        """An execution is, or is now, so much at this price.

        More comes out of what is left, then out of what was busted, and is an overfill beyond; less is an overfill
        that is relieved, then busted. An execution that we missed is taken for what it is now.
        """
        was_px, was_qty = self._executions.get(exec_id, (0, 0))
        self._executions[exec_id] = px, qty
        more = qty - was_qty
        if more > 0:
            left = max(self.qty - self.filled_qty - self.busted_qty, 0)
            self.busted_qty -= min(max(more - left, 0), self.busted_qty)
        else:
            self.busted_qty -= more + min(-more, max(self.filled_qty - self.qty, 0))
        self.filled_qty += more
        self.notional += px * qty - was_px * was_qty

    def _forgotten(self) -> None:
        """The engine does not know it: it never came, or the engine that knew it is gone."""
        if self.is_open:
            self.ord_status = OrdStatus.UNKNOWN if self.order_id else OrdStatus.REJECTED
            self.leaves_qty = self.leaves_qty if self.order_id else 0


def counts_of(orders: list[Order]) -> dict[str, int]:
    """How many orders there are, in which status, and their quantities."""
    by_status = {status.name.lower(): 0 for status in OrdStatus}
    for order in orders:
        name = order.ord_status.name.lower() if isinstance(order.ord_status, OrdStatus) else "unknown"
        by_status[name] += 1
    names = ("qty", "cum_qty", "filled_qty", "busted_qty", "fills", "busts", "corrects", "refusals")
    sums = np.array([[getattr(o, name) for name in names] for o in orders], dtype=np.int64)
    totals = sums.sum(axis=0).tolist() if len(orders) else [0] * len(names)
    return {
        "orders": len(orders),
        "open": sum(order.is_open for order in orders),
        **dict(zip(names, totals, strict=True)),
        **{name: count for name, count in by_status.items() if count},
    }
