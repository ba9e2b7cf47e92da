"""FIX's order state changes (5.0 SP2, appendix): its matrices message by message, once for a child, once for a parent.

Towards a venue the engine is the one that sent the order: each row is what the venue says, and what the engine then
knows of its child. Towards a client it is the one that received the order: each row is what the engine has to say.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import pytest

from engine.core.lifecycle import LIVE, PRECEDENCE, bit_of, status_by_precedence
from engine.record.records import ExecType, OrdStatus, Reason, Template
from engine.workflow.child import machine
from tests.core.scenes import posted
from tests.core.world import children, of

pytestmark = pytest.mark.kernel

#: `>` a request; `<` a report: ExecType, OrdStatus, OrderQty, CumQty, LeavesQty (a Reject has its CxlRejReason last);
#: `x` a report that crosses the request before it: its sender had not seen the request, its receiver had sent it.
#: Told/Known: where the two differ, what the sender of the order knows by then. `c` and `p`: for children or parents
#: only (the engine holds a client's replace until its children have ended, so it says that it is pending).
MATRICES = {
    "A.1.a filled": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 2000 8000
        < Trade PartiallyFilled 10000 3000 7000
        < Trade Filled 10000 10000 0""",
    "B.1.a cancel of what is not executed": """
        > order 10000
        < New New 10000 0 10000
        > cancel
        < PendingCancel PendingCancel 10000 0 10000
        < Canceled Canceled 10000 0 0""",
    "B.1.a the cancel is refused": """
        > order 10000
        < New New 10000 0 10000
        > cancel
        < PendingCancel PendingCancel 10000 0 10000
        c Reject New 10000 0 10000 2""",
    "B.1.b executions before and while the cancel is pending": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 2000 8000
        > cancel
        x Trade PartiallyFilled/PendingCancel 10000 5000 5000
        < PendingCancel PendingCancel 10000 5000 5000
        < Trade PendingCancel 10000 6000 4000
        < Canceled Canceled 10000 6000 0""",
    "B.1.c filled before the cancel is accepted": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 2000 8000
        > cancel
        x Trade PartiallyFilled/PendingCancel 10000 5000 5000
        < PendingCancel PendingCancel 10000 5000 5000
        < Trade PendingCancel/Filled 10000 10000 0
        < Reject Filled 10000 10000 0 0""",
    "B.1.e the cancel crosses the acceptance": """
        > order 10000
        > cancel
        x New New/PendingCancel 10000 0 10000
        < PendingCancel PendingCancel 10000 0 10000
        < Canceled Canceled 10000 0 0""",
    "C.1.b increase, an execution while it is pending": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 1000 9000
        > replace 12000
        < PendingReplace PendingReplace 10000 1000 9000
        < Trade PendingReplace 10000 1100 8900
        < Replaced PartiallyFilled 12000 1100 10900
        < Trade Filled 12000 12000 0""",
    "C.2.a not for quantity, refused as a fill has occurred": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 1000 9000
        > replace 10000
        x Trade Filled 10000 10000 0
        < Reject Filled 10000 10000 0 0""",
    "C.2.a the same, filled while it is pending": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 1000 9000
        > replace 10000
        < PendingReplace PendingReplace 10000 1000 9000
        < Trade PendingReplace/Filled 10000 10000 0
        < Reject Filled 10000 10000 0 0""",
    "C.3.a decrease, executions before and while it is pending": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 1000 9000
        > replace 8000
        x Trade PartiallyFilled/PendingReplace 10000 1500 8500
        < PendingReplace PendingReplace 10000 1500 8500
        < Trade PendingReplace 10000 1600 8400
        < Replaced PartiallyFilled 8000 1600 6400
        < Trade Filled 8000 8000 0""",
    "C.3.b decrease to what is executed": """
        > order 10000
        < New New 10000 0 10000
        > replace 7000
        x Trade PartiallyFilled/PendingReplace 10000 7000 3000
        p PendingReplace PendingReplace 10000 7000 3000
        < Replaced Filled 7000 7000 0""",
    "C.3.c decrease to less than is executed": """
        > order 10000
        < New New 10000 0 10000
        > replace 7000
        x Trade PartiallyFilled/PendingReplace 10000 8000 2000
        p PendingReplace PendingReplace 10000 8000 2000
        < Replaced Filled 8000 8000 0""",
    "D.1.a two replaces, one after the other": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 1000 9000
        > replace 8000
        < PendingReplace PendingReplace 10000 1000 9000
        < Trade PendingReplace 10000 1500 8500
        < Replaced PartiallyFilled 8000 1500 6500
        < Trade PartiallyFilled 8000 3500 4500
        > replace 6000
        < PendingReplace PendingReplace 8000 3500 4500
        < Replaced PartiallyFilled 6000 3500 2500
        < Trade Filled 6000 6000 0""",
    "D.1.c the first is refused while it is pending, the second accepted": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 1000 9000
        c > replace 8000
        c PendingReplace PendingReplace 10000 1000 9000
        c Trade PendingReplace 10000 1500 8500
        c Reject PartiallyFilled 10000 1500 8500 2
        < Trade PartiallyFilled 10000 3500 6500
        > replace 6000
        < PendingReplace PendingReplace 10000 3500 6500
        < Replaced PartiallyFilled 6000 3500 2500
        < Trade PartiallyFilled 6000 5000 1000""",
    "D.2.b two replaces at once, both accepted": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 1000 9000
        c > replace 8000
        c > replace 7000
        c PendingReplace PendingReplace 10000 1000 9000
        c Replaced PendingReplace 8000 1000 7000
        c Replaced PartiallyFilled 7000 1000 6000
        c Trade Filled 7000 7000 0""",
    "D.2.c two replaces at once, the second refused": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 1000 9000
        > replace 8000
        > replace 7000
        < PendingReplace PendingReplace 10000 1000 9000
        < Reject PendingReplace 10000 1000 9000 3
        < Replaced PartiallyFilled 8000 1000 7000
        < Trade PartiallyFilled 8000 3000 5000""",
    "E.1.b cancelled unasked": """
        > order 10000
        < New New 10000 0 10000
        < Trade PartiallyFilled 10000 1000 9000
        c Canceled Canceled 10000 1000 0""",
}
#: CxlRejReason (102) for our reasons.
CXL_REJ_REASON = {Reason.ORDER_TERMINAL: 0, Reason.UNKNOWN_ORDER: 1, Reason.SIMULATED: 2, Reason.REQUEST_PENDING: 3}
EXEC_TYPES = {
    "New": ExecType.NEW,
    "PendingCancel": ExecType.PENDING_CANCEL,
    "PendingReplace": ExecType.PENDING_REPLACE,
    "Replaced": ExecType.REPLACED,
    "Canceled": ExecType.CANCELED,
    "Trade": ExecType.TRADE,
}
STATUSES = {status.name.title().replace("_", ""): status for status in OrdStatus}


class Row(NamedTuple):
    """A line of a matrix."""

    mark: str
    #: A request, or the ExecType of a report ("Reject": a cancel reject).
    what: str
    told: OrdStatus | None
    known: OrdStatus | None
    qty: int
    cum: int
    leaves: int
    reason: int


def rows(matrix: str, level: str) -> list[Row]:
    """The lines for "c" or "p"."""
    found = []
    for line in matrix.strip().splitlines():
        words = line.split()
        if words[0] in "cp":
            if words[0] != level:
                continue
            words = words[1:] if words[1] == ">" else ["<", *words[1:]]
        if words[0] == ">":
            found.append(Row(">", words[1], None, None, int(words[2]) if len(words) > 2 else 0, 0, 0, 0))
            continue
        told, _, known = words[2].partition("/")
        qty, cum, leaves, *more = (int(word) for word in words[3:])
        statuses = STATUSES[told], STATUSES[known or told]
        found.append(Row(words[0], words[1], *statuses, qty, cum, leaves, more[0] if more else 0))
    return found


class Venue:
    """Plays a matrix to the engine as a venue does; the engine's child has to know what the matrix says."""

    def play(self, matrix: str) -> None:
        """Every row: what is sent or told, and what the child is after it."""
        request = Template.ORDER_CANCEL
        for row in (table := rows(matrix, "c")):
            if row.what == "order":
                self.begin(row.qty, max(other.qty for other in table))
            elif row.what == "cancel":
                request = Template.ORDER_CANCEL
                assert len(of(self.w.cancel("a"), Template.ORDER_CANCEL)) == 1
            elif row.what == "replace":
                request = Template.ORDER_REPLACE
                (sent,) = self.w.amend(self.child, self.px, row.qty)
                assert (sent.template_id, sent.qty) == (Template.ORDER_REPLACE, row.qty)
            else:
                self.tell(row, request)
                order, child = self.w.row(self.child)
                known = (OrdStatus(int(child.ord_status)), order.qty, child.cum_qty, child.leaves_qty)
                assert known == (row.known, row.qty, row.cum, row.leaves), row

    def begin(self, qty: int, most: int) -> None:
        """A child of `qty`, whose parent could give it `most`."""
        self.w, self.child = posted(most, acknowledge=False)
        self.px = int(self.child.px)
        if most > qty:
            self.w.amend(self.child, self.px, qty)
            self.w.replaced(self.child, self.px, 0, qty)

    def tell(self, row: Row, request: Template) -> None:
        """A report as the row has it."""
        known = self.w.row(self.child)[1]
        sums = {"cum_qty": row.cum, "leaves_qty": row.leaves, "ord_status": row.told}
        if row.what == "Trade":
            self.w.fill(self.child, row.cum - int(known.cum_qty), **sums)
        elif row.what == "Reject":
            (reason,) = [reason for reason, code in CXL_REJ_REASON.items() if code == row.reason]
            self.w.report(Template.CANCEL_REJECT, self.child, request=request, reason=reason, **sums)
        else:
            kind = EXEC_TYPES[row.what]
            self.w.report(Template.ACK, self.child, exec_type=kind, last_px=self.px, request=request, **sums)


class Client:
    """Sends the requests of a matrix to the engine, whose reports have to be the matrix's, one by one."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.live: list[Any] = []

    def play(self, matrix: str) -> None:
        """Requests in turn, and what the engine says to each; the venue makes happen what must."""
        held: list[Row] = []
        for row, following in zip(table := rows(matrix, "p"), [*table[1:], None], strict=True):
            if row.what == "order":
                self.w, child = posted(row.qty)
                self.live = [child]
                order, parent = self.w.parent("a")
                assert (parent.ord_status, order.qty, parent.cum_qty) == (OrdStatus.NEW, row.qty, 0)
            elif row.mark == ">":
                crossed = following is not None and following.mark == "x"
                held += [row] if crossed else []
                if not crossed:
                    self.ask(row)
            elif row.what != "New":
                self.hear(row)
            if row.mark == "x":
                for request in held:
                    self.ask(request)
                held = []
        assert self.said == []

    def ask(self, row: Row) -> None:
        """A request of the client."""
        if row.what == "cancel":
            self.note(self.w.cancel("a"))
        else:
            self.note(self.w.replace("a", row.qty, 10_000))

    def hear(self, row: Row) -> None:
        """The next report; where there is none yet, the venue lets it come."""
        if not self.said:
            (child,) = self.live
            if row.what == "Trade":
                self.note(self.w.fill(child, row.cum - int(self.w.parent("a")[1].cum_qty)))
            else:
                assert row.what in ("Canceled", "Replaced"), row
                self.note(self.w.done(child, cum=int(self.w.row(child)[1].cum_qty)))
        report, qty = self.said.pop(0)
        told = (OrdStatus(int(report.ord_status)), qty, report.cum_qty, report.leaves_qty)
        assert told == (row.told, row.qty, row.cum, row.leaves), row
        if row.what == "Reject":
            assert report.template_id == Template.CANCEL_REJECT, row
            assert CXL_REJ_REASON[Reason(int(report.reason))] == row.reason
        else:
            assert report.exec_type == EXEC_TYPES[row.what], row

    def note(self, outputs: list[Any]) -> None:
        """What came of something: reports, and children."""
        told = [row for row in outputs if Template.ACK <= row.template_id <= Template.CANCEL_REJECT]
        self.said += [(row, int(self.w.parent("a")[0].qty)) for row in told]
        for child in children(outputs):
            self.w.ack(child)
            self.live.append(child)
        self.live = [c for c in self.live if OrdStatus(int(self.w.row(c)[1].ord_status)) in LIVE]


@pytest.mark.parametrize("name", MATRICES)
def test_child_is_what_the_matrix_says(name):
    Venue().play(MATRICES[name])


@pytest.mark.parametrize("name", MATRICES)
def test_client_is_told_what_the_matrix_says(name):
    Client().play(MATRICES[name])


#: FIX's ranks (5.0 SP2, order state changes): of the OrdStatus values that apply at once the highest is told.
RANKS = {
    "PENDING_CANCEL": 12, "PENDING_REPLACE": 11, "FILLED": 8, "SUSPENDED": 6, "CANCELED": 5, "EXPIRED": 5,
    "PARTIALLY_FILLED": 4, "NEW": 2, "REJECTED": 2, "PENDING_NEW": 2,
}  # fmt: skip


def test_the_strongest_status_is_told():
    for n in (1, 2, 3):
        for true in combinations(RANKS, n):
            told = OrdStatus(status_by_precedence(sum(bit_of(OrdStatus[name]) for name in true))).name
            assert told in true
            assert RANKS[told] == max(RANKS[name] for name in true)
            assert status_by_precedence(bit_of(OrdStatus.UNKNOWN) | bit_of(OrdStatus[told])) == OrdStatus.UNKNOWN
    assert {status.name for status in PRECEDENCE} == {*RANKS, "UNKNOWN"}
    with pytest.raises(AssertionError):
        status_by_precedence(0)


#: Transitions that FIX illustrates, of the states that we have. A child that is Filled stays ended whatever is busted
#: of it (docs/lifecycle.md), and an order that was Filled is not replaced.
ILLUSTRATED = {
    "PENDING_NEW": "NEW REJECTED",
    "NEW": "PARTIALLY_FILLED FILLED PENDING_CANCEL PENDING_REPLACE REJECTED",
    "PARTIALLY_FILLED": "PARTIALLY_FILLED FILLED PENDING_CANCEL PENDING_REPLACE CANCELED",
    "FILLED": "FILLED",
    "PENDING_CANCEL": "NEW PARTIALLY_FILLED FILLED PENDING_CANCEL CANCELED",
    "PENDING_REPLACE": "NEW PARTIALLY_FILLED FILLED PENDING_REPLACE CANCELED",
}


@pytest.mark.parametrize("name", ILLUSTRATED)
def test_transitions_that_fix_illustrates_are_possible(name):
    reached = {after.name for t in machine.transitions if t.state.name == name for after in t.outcomes.values()}
    assert set(ILLUSTRATED[name].split()) <= reached
