"""The machine of a child order, after FIX's order state changes: declared here, verified like a strategy's.

A state is an OrdStatus, the strongest of those that are true at once (`engine.core.lifecycle`). An event is a report of
the venue, time, the session, or what we ask for ourselves. The steps find by themselves what the child then is, so each
says where it may lead (`leads`): the outcome is the state, (state, event, outcome) -> state, and one that is not
declared is a broken invariant.

Ended states answer too: executions come late, and are busted and corrected after the end. docs/lifecycle.md gives the
reasons for what FIX leaves open.

    python -m engine.workflow.child     # writes engine/core/child_table.py, the dense table that the core looks up,
                                        # and the table in docs/lifecycle.md

`check_child` holds the two against each other before anything is bound, so the table that runs is never an older one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from engine.core import amend, changes, child_table, children, reports
from engine.core.lifecycle import CHILD_OUTCOMES, STATES, ChildEvent, Step
from engine.record.records import Reason
from engine.workflow.machine import STAY, Machine, MachineError, Timeout
from engine.workflow.machine import Step as Kernel
from engine.workflow.table import FIRST_STEP, NO_STATE, constant, tables
from engine.workflow.verify import check

#: Its timer: what a venue was asked and has not answered is cancelled, then asked about.
SILENCE: Final = Timeout("child_timeout_ms", "TIMEOUT")
#: Asked about again and again, at growing intervals: UNKNOWN ends with what its venue says, and with nothing else.
ASKED: Final = Timeout("64 child_timeout_ms", "TIMEOUT")
#: A resting order waits for the market; its parent, which is bounded itself, takes it back.
PARENT: Final = Timeout("its parent's life", "ASK_CANCEL")

E = ChildEvent
_REPORTS = [event.name for event in E if event <= E.CORRECT]
machine = Machine(
    "child",
    E,
    first_code=0,
    effects=frozenset({"engine.core.amend.replace_child"}),
    outcomes=CHILD_OUTCOMES,
    refusable=frozenset([*_REPORTS, "ASK_REPLACE"]),
    ends_answer=True,
)
PENDING_NEW = machine.state("PENDING_NEW", initial=True, timeout=SILENCE)
NEW = machine.state("NEW", timeout=PARENT)
PARTIALLY_FILLED = machine.state("PARTIALLY_FILLED", timeout=PARENT)
PENDING_CANCEL = machine.state("PENDING_CANCEL", timeout=SILENCE)
PENDING_REPLACE = machine.state("PENDING_REPLACE", timeout=SILENCE)
UNKNOWN = machine.state("UNKNOWN", timeout=ASKED)
FILLED = machine.state("FILLED", terminal=True)
CANCELED = machine.state("CANCELED", terminal=True)
EXPIRED = machine.state("EXPIRED", terminal=True)
REJECTED = machine.state("REJECTED", terminal=True)

_FALL = (PENDING_NEW, NEW, PARTIALLY_FILLED)  # nothing that we asked is unanswered
_KNOWN = (*_FALL, PENDING_CANCEL, PENDING_REPLACE)
_LIVE = (*_KNOWN, UNKNOWN)
_OPEN = (*_FALL, PENDING_REPLACE)
_ENDED = (FILLED, CANCELED, EXPIRED, REJECTED)
_OUT = (FILLED, CANCELED)

# ---- accepted, executed

machine.leads(PENDING_NEW, E.ACK_NEW, reports.accept_child, NEW)
machine.leads((NEW, PARTIALLY_FILLED, PENDING_CANCEL, PENDING_REPLACE), E.ACK_NEW, reports.accept_child, STAY)
machine.leads(UNKNOWN, E.ACK_NEW, reports.accept_child, STAY, *_KNOWN[1:])
machine.ignore(_LIVE, E.ACK_PENDING, why="it repeats what we asked, and changes no quantity")
machine.leads((PENDING_NEW, NEW), E.PARTIAL_FILL, reports.on_fill, PARTIALLY_FILLED)
machine.leads((PARTIALLY_FILLED, PENDING_CANCEL, PENDING_REPLACE, UNKNOWN), E.PARTIAL_FILL, reports.on_fill, STAY)
machine.ignore(_ENDED, E.PARTIAL_FILL, why="with nothing left every execution is a full one")
machine.leads(PENDING_NEW, E.FULL_FILL, reports.on_fill, FILLED)
machine.leads((NEW, PARTIALLY_FILLED), E.FULL_FILL, reports.on_fill, *_OUT)
machine.leads((PENDING_CANCEL, UNKNOWN), E.FULL_FILL, reports.on_fill, STAY, *_OUT)
# Beyond the leaves it may say that a raise has taken effect, of which more is left.
machine.leads(PENDING_REPLACE, E.FULL_FILL, reports.on_fill, STAY, PARTIALLY_FILLED, *_OUT)
machine.leads(FILLED, E.FULL_FILL, reports.on_fill, STAY)
machine.leads((CANCELED, EXPIRED), E.FULL_FILL, reports.on_fill, STAY, FILLED)
machine.leads(REJECTED, E.FULL_FILL, reports.on_fill, *_OUT)

# ---- ended

machine.leads(_LIVE, E.CANCELED, reports.end_child, CANCELED, UNKNOWN)
machine.leads(_LIVE, E.EXPIRED, reports.end_child, EXPIRED, UNKNOWN)
machine.leads((PENDING_NEW, NEW), E.REJECTED, reports.reject_child, REJECTED)
machine.leads(PARTIALLY_FILLED, E.REJECTED, reports.reject_child, CANCELED)
machine.leads((PENDING_CANCEL, PENDING_REPLACE, UNKNOWN), E.REJECTED, reports.reject_child, REJECTED, CANCELED)
machine.leads((PENDING_NEW, NEW), E.STATUS_DONE, reports.end_child, REJECTED, CANCELED, EXPIRED, UNKNOWN)
machine.leads(PARTIALLY_FILLED, E.STATUS_DONE, reports.end_child, CANCELED, EXPIRED, UNKNOWN)
machine.leads(
    (PENDING_CANCEL, PENDING_REPLACE, UNKNOWN), E.STATUS_DONE, reports.end_child, REJECTED, *_OUT, EXPIRED, UNKNOWN
)

# ---- requests that are refused, replaces, terms that a venue changes

machine.leads(PENDING_CANCEL, E.CANCEL_REJECT, reports.keep_child, *_OPEN)
machine.leads(UNKNOWN, E.CANCEL_REJECT, reports.keep_child, STAY)
machine.refuse(_OPEN, E.CANCEL_REJECT, reason=Reason.NOT_IN_ORDER)
for _event, _step in ((E.REPLACED, amend.on_replaced), (E.RESTATED, amend.on_restated)):
    machine.leads((PENDING_NEW, NEW), _event, amend.on_restated, NEW, PENDING_CANCEL, CANCELED)
    machine.leads(PARTIALLY_FILLED, _event, amend.on_restated, STAY, PENDING_CANCEL, *_OUT)
    machine.leads(PENDING_CANCEL, _event, _step, STAY, *_OUT)
    machine.leads(UNKNOWN, _event, _step, STAY, *_KNOWN[1:], *_OUT)
machine.leads(PENDING_REPLACE, E.REPLACED, amend.on_replaced, STAY, NEW, PARTIALLY_FILLED, PENDING_CANCEL, *_OUT)
machine.leads(PENDING_REPLACE, E.RESTATED, amend.on_restated, STAY, PENDING_CANCEL, *_OUT)
machine.refuse(_FALL, E.REPLACE_REJECT, reason=Reason.NOT_IN_ORDER)
machine.leads((PENDING_CANCEL, UNKNOWN), E.REPLACE_REJECT, amend.on_replace_reject, STAY, *_OUT)
machine.leads(PENDING_REPLACE, E.REPLACE_REJECT, amend.on_replace_reject, STAY, *_FALL, *_OUT)
machine.leads(PENDING_NEW, E.STATUS_LIVE, amend.adopt, NEW)
machine.leads((NEW, PARTIALLY_FILLED), E.STATUS_LIVE, amend.adopt, STAY)
machine.leads(PENDING_CANCEL, E.STATUS_LIVE, amend.adopt, STAY, *_OUT)
machine.leads(PENDING_REPLACE, E.STATUS_LIVE, amend.adopt, STAY, NEW, PARTIALLY_FILLED, *_OUT)
machine.leads(UNKNOWN, E.STATUS_LIVE, amend.adopt, STAY, PENDING_CANCEL, *_OUT)

# ---- busts and corrections

machine.leads(PARTIALLY_FILLED, E.BUST, changes.on_change, STAY, NEW)
machine.leads((PENDING_CANCEL, PENDING_REPLACE, UNKNOWN, CANCELED, EXPIRED), E.BUST, changes.on_change, STAY)
machine.leads((PARTIALLY_FILLED, PENDING_CANCEL, UNKNOWN), E.CORRECT, changes.on_change, STAY, *_OUT)
machine.leads(PENDING_REPLACE, E.CORRECT, changes.on_change, STAY, PARTIALLY_FILLED, *_OUT)
machine.leads((CANCELED, EXPIRED), E.CORRECT, changes.on_change, STAY, FILLED)
machine.leads(FILLED, (E.BUST, E.CORRECT), changes.on_change, STAY, CANCELED)
machine.refuse((PENDING_NEW, NEW, REJECTED), (E.BUST, E.CORRECT), reason=Reason.NOT_IN_ORDER)

# ---- time, sessions, what we ask for

machine.leads(_FALL, E.TIMEOUT, children.on_child_timer, PENDING_CANCEL, UNKNOWN)
machine.leads(PENDING_CANCEL, E.TIMEOUT, children.on_child_timer, STAY, UNKNOWN)
machine.leads(PENDING_REPLACE, E.TIMEOUT, children.on_child_timer, STAY, PENDING_CANCEL, UNKNOWN)
machine.leads(UNKNOWN, E.TIMEOUT, children.on_child_timer, STAY)
machine.leads(_LIVE, E.SESSION_LOST, children.lose_session, UNKNOWN)
machine.leads(UNKNOWN, E.SESSION_BACK, children.regain_session, STAY)
machine.ignore(_KNOWN, E.SESSION_BACK, why="its venue was not lost to it")
machine.leads(_KNOWN, E.ASK_CANCEL, children.cancel_child, PENDING_CANCEL)
machine.leads(UNKNOWN, E.ASK_CANCEL, children.cancel_child, STAY)
machine.leads(_OPEN, E.ASK_REPLACE, amend.replace_child, PENDING_REPLACE)
machine.refuse((PENDING_CANCEL, UNKNOWN), E.ASK_REPLACE, reason=Reason.NOT_IN_ORDER)
# A replace that left cannot be unsent: the order is taken back, whatever its terms are by then.
machine.compensate(amend.replace_child, by=children.cancel_child)

machine.ignore(
    _ENDED, (E.TIMEOUT, E.SESSION_LOST, E.SESSION_BACK, E.ASK_CANCEL), why="it has ended: nothing waits for an answer"
)
_ANSWERS = (E.ACK_NEW, E.ACK_PENDING, *(event for event in E if E.CANCELED <= event <= E.STATUS_DONE))
machine.refuse(_ENDED, (*_ANSWERS, E.ASK_REPLACE), reason=Reason.ORDER_TERMINAL)

#: The kernel that carries out each step of the core's table.
KERNELS: Final[dict[Step, Kernel]] = {
    Step.ACCEPT: reports.accept_child,
    Step.BOOK: reports.on_fill,
    Step.END: reports.end_child,
    Step.REJECT: reports.reject_child,
    Step.KEEP: reports.keep_child,
    Step.REPLACE: amend.on_replaced,
    Step.UNREPLACE: amend.on_replace_reject,
    Step.RESTATE: amend.on_restated,
    Step.ADOPT: amend.adopt,
    Step.CHANGE: changes.on_change,
    Step.WATCH: children.on_child_timer,
    Step.LOSE: children.lose_session,
    Step.INQUIRE: children.regain_session,
    Step.SEND_CANCEL: children.cancel_child,
    Step.SEND_REPLACE: amend.replace_child,
}
_TABLE: Final = Path(child_table.__file__)


def dense() -> dict[str, np.ndarray]:
    """The tables of the machine, uint8: STEP[states * events], NEXT[states * events * outcomes], REASON as STEP."""
    assert [state.name for state in machine.states] == [status.name for status in STATES], "a row is a state"
    made = tables(machine)
    numbers = np.arange(256, dtype=np.uint8)
    for n, kernel in enumerate(made.steps):
        numbers[n + FIRST_STEP] = next(step for step, by in KERNELS.items() if by is kernel)
    assert NO_STATE == child_table.NO_STATE
    return {"STEP": numbers[made.step], "NEXT": made.next, "REASON": made.reason}


def source() -> str:
    """The text of engine/core/child_table.py."""
    widths = {"STEP": len(E), "NEXT": len(E) * CHILD_OUTCOMES, "REASON": len(E)}
    lines = [
        '"""The machine child as dense tables, a row a state; written by engine.workflow.child, which declares it."""'
    ]
    lines += ["", "from __future__ import annotations", "", "import numpy as np", "", "# fmt: off"]
    for name, array in dense().items():
        lines += constant(name, array, widths[name])
    return "\n".join([*lines, "# fmt: on", f"NO_STATE = {NO_STATE}", ""])


def check_child() -> None:
    """MachineError where the machine does not verify, or where the core's table is not the one that it declares."""
    check(machine)
    for name, array in dense().items():
        if not np.array_equal(array, getattr(child_table, name)):
            raise MachineError(
                f"{_TABLE}: {name} is not what engine/workflow/child.py declares; write it again: "
                "python -m engine.workflow.child"
            )


if __name__ == "__main__":
    from engine.workflow import child_page

    check(machine)
    _TABLE.write_text(source(), encoding="utf-8")
    page = _TABLE.parents[2] / "docs" / "lifecycle.md"
    page.write_text(child_page.rewrite(page.read_text(encoding="utf-8")), encoding="utf-8")
