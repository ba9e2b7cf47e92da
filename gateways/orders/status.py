"""What a client knows of its orders: `Order` follows one through the engine's reports, `Report` is one of these.

Quantities and prices are integers in the instrument's units. What the engine says holds: status, cum and leaves are
those of its last report; fills are counted once by ExecID, and what a status says beyond them is `missed_qty`.
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
    """One ACK, FILL, REJECT or CANCEL_REJECT of the engine; `record` is the whole of it (REPORT, a copy)."""

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

    @classmethod
    def of(cls, record: Any) -> Report:
        """From one REPORT record (np.record); it is copied."""
        record = record.copy()
        return cls(
            Template(int(record.template_id)),
            from_text16(record.peer_id),
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
    #: The engine's id; 0 until it has given one.
    order_id: int = 0
    ord_status: OrdStatus | int = OrdStatus.PENDING_NEW
    cum_qty: int = 0
    leaves_qty: int = 0
    #: Executions seen, and the sum of their px * qty.
    fills: int = 0
    filled_qty: int = 0
    notional: int = 0
    #: Why it was rejected or ended, or why the last request about it was.
    reason: Reason | int = Reason.NONE
    #: Requests about it that were refused.
    refusals: int = 0
    _seen: set[tuple[int, int]] = field(default_factory=set, repr=False)

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

    def apply(self, report: Report) -> bool:
        """Take note of a report on this order; False where it was an execution seen before."""
        if report.template == Template.FILL:
            if report.exec_id in self._seen:
                return False
            self._seen.add(report.exec_id)
            self.fills += 1
            self.filled_qty += report.last_qty
            self.notional += report.last_px * report.last_qty
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
            self.qty, self.px = report.cum_qty + report.leaves_qty, report.last_px
        self.order_id = report.order_id or self.order_id
        self.ord_status = report.ord_status
        self.cum_qty = max(self.cum_qty, report.cum_qty)
        self.leaves_qty = report.leaves_qty
        return True

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
    sums = np.array([(o.qty, o.cum_qty, o.filled_qty, o.fills, o.refusals) for o in orders], dtype=np.int64)
    names = ("qty", "cum_qty", "filled_qty", "fills", "refusals")
    totals = sums.sum(axis=0).tolist() if len(orders) else [0] * len(names)
    return {
        "orders": len(orders),
        "open": sum(order.is_open for order in orders),
        **dict(zip(names, totals, strict=True)),
        **{name: count for name, count in by_status.items() if count},
    }
