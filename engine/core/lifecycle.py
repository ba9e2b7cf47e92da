"""The life of a child order, after FIX's order state changes: its states, its events, and what each pair does.

Reports, timers and sessions become an event (`ChildEvent`), `step_of` looks the pair up in a dense table, and the step
does it. No pair is left out: it is a step, or the event is ignored (counted), or refused with a reason. `may_lead` says
which states a pair may lead to; a step that leads elsewhere is a broken invariant. `engine.workflow.child` declares the
machine, and writes the table.

A state is an OrdStatus. Where several are true at once, `status_by_precedence` says which is told: FIX's precedence,
the same for parents and children. UNKNOWN is ours and above all: the venue's silence hides what is true.

Worst case: one load a pair, and a walk over eleven bits for a status.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from engine.core.child_table import NEXT, NO_STATE, REASON, STEP
from engine.core.emit import is_open
from engine.core.state import State
from engine.jit import kernel
from engine.record.records import OrdStatus

#: OrdStatus values from the strongest to the weakest (FIX 5.0 SP2, order state changes, chapter 2). Of those that share
#: a rank in FIX (Canceled and Expired; Rejected, New and PendingNew) two are never true at once.
PRECEDENCE: Final = (
    OrdStatus.UNKNOWN,
    OrdStatus.PENDING_CANCEL,
    OrdStatus.PENDING_REPLACE,
    OrdStatus.FILLED,
    OrdStatus.SUSPENDED,
    OrdStatus.CANCELED,
    OrdStatus.EXPIRED,
    OrdStatus.PARTIALLY_FILLED,
    OrdStatus.REJECTED,
    OrdStatus.NEW,
    OrdStatus.PENDING_NEW,
)
#: FIX's own numbers of these ranks; UNKNOWN has none.
RANKS: Final = {
    OrdStatus.PENDING_CANCEL: 12, OrdStatus.PENDING_REPLACE: 11, OrdStatus.FILLED: 8, OrdStatus.SUSPENDED: 6,
    OrdStatus.CANCELED: 5, OrdStatus.EXPIRED: 5, OrdStatus.PARTIALLY_FILLED: 4, OrdStatus.REJECTED: 2,
    OrdStatus.NEW: 2, OrdStatus.PENDING_NEW: 2,
}  # fmt: skip
_BY_RANK = np.array([int(status) for status in PRECEDENCE], dtype=np.int64)
#: Place of an OrdStatus in PRECEDENCE; -1 where it is none of ours.
_RANK = np.full(128, -1, dtype=np.int64)
for _n, _status in enumerate(PRECEDENCE):
    _RANK[_status] = _n
_UNKNOWN, _PENDING_CANCEL = int(OrdStatus.UNKNOWN), int(OrdStatus.PENDING_CANCEL)
_PENDING_REPLACE, _FILLED = int(OrdStatus.PENDING_REPLACE), int(OrdStatus.FILLED)
_SUSPENDED, _CANCELED, _EXPIRED = int(OrdStatus.SUSPENDED), int(OrdStatus.CANCELED), int(OrdStatus.EXPIRED)
_REJECTED, _PARTIAL = int(OrdStatus.REJECTED), int(OrdStatus.PARTIALLY_FILLED)
_NEW, _PENDING_NEW = int(OrdStatus.NEW), int(OrdStatus.PENDING_NEW)

#: Bits of a child's `marks`: its venue has accepted it; a cancel of it is unanswered; a status request about it is; a
#: mass cancel, or its timer at the session's pace, will send it one.
M_ACCEPTED, M_CANCEL, M_STATUS, M_DUE = 1, 2, 4, 8


class ChildEvent(IntEnum):
    """What can happen to a child: a report of its venue, time, its session, or what we ask for ourselves."""

    ACK_NEW = 0
    ACK_PENDING = 1
    PARTIAL_FILL = 2
    FULL_FILL = 3
    CANCELED = 4
    EXPIRED = 5
    REJECTED = 6
    CANCEL_REJECT = 7
    REPLACED = 8
    REPLACE_REJECT = 9
    RESTATED = 10
    STATUS_LIVE = 11
    STATUS_DONE = 12
    BUST = 13
    CORRECT = 14
    TIMEOUT = 15
    SESSION_LOST = 16
    SESSION_BACK = 17
    ASK_CANCEL = 18
    ASK_REPLACE = 19


class Step(IntEnum):
    """What a pair does; `engine.workflow.child` says which kernel carries it out."""

    IGNORE = 0
    REFUSE = 1
    ACCEPT = 2
    BOOK = 3
    END = 4
    REJECT = 5
    KEEP = 6
    REPLACE = 7
    UNREPLACE = 8
    RESTATE = 9
    ADOPT = 10
    CHANGE = 11
    WATCH = 12
    LOSE = 13
    INQUIRE = 14
    SEND_CANCEL = 15
    SEND_REPLACE = 16


_S = OrdStatus
#: The states of a child, in the order of the table's rows.
STATES: Final = (
    _S.PENDING_NEW, _S.NEW, _S.PARTIALLY_FILLED, _S.PENDING_CANCEL, _S.PENDING_REPLACE, _S.UNKNOWN,
    _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REJECTED,
)  # fmt: skip
TERMINAL: Final = (_S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REJECTED)
LIVE: Final = tuple(status for status in STATES if status not in TERMINAL)
EVENTS: Final = len(ChildEvent)
#: Outcomes of a step are rows of STATES; a power of two.
CHILD_OUTCOMES: Final = 16
_ROW = np.full(128, -1, dtype=np.int64)
for _n, _status in enumerate(STATES):
    _ROW[_status] = _n


@kernel
def step_of(status: int, event: int) -> int:
    """The Step that a child of this OrdStatus takes at a ChildEvent."""
    return int(STEP[_ROW[status] * EVENTS + event])


@kernel
def refusal_of(status: int, event: int) -> int:
    """The Reason for which the pair is refused."""
    return int(REASON[_ROW[status] * EVENTS + event])


@kernel
def may_lead(status: int, event: int, after: int) -> bool:
    """Whether the pair may leave the child with the OrdStatus `after`."""
    return bool(NEXT[(_ROW[status] * EVENTS + event) * CHILD_OUTCOMES + _ROW[after]] != NO_STATE)


@kernel
def status_by_precedence(true: int) -> int:
    """The OrdStatus to tell where several are true: `true` has bit k set for the k-th of PRECEDENCE."""
    assert true != 0, "an order has a status"
    for k in range(len(_BY_RANK)):
        if (true >> k) & 1:
            return int(_BY_RANK[k])
    return 0


@kernel
def bit_of(status: int) -> int:
    """The bit of an OrdStatus for `status_by_precedence`."""
    return 1 << int(_RANK[status])


@kernel
def child_status(state: State, c: int) -> int:
    """What a live child's status is, but for UNKNOWN: by what is asked of its venue, accepted and executed."""
    child = state.children[c]
    marks = int(child.marks)
    true = bit_of(_NEW) if marks & M_ACCEPTED else bit_of(_PENDING_NEW)
    if marks & M_CANCEL:
        true |= bit_of(_PENDING_CANCEL)
    if child.amends > 0:
        true |= bit_of(_PENDING_REPLACE)
    if child.cum_qty > 0:
        true |= bit_of(_PARTIAL)
    return status_by_precedence(true)


@kernel
def ended_status(state: State, c: int) -> int:
    """What an ended child's status is once its CumQty is known: Filled where it is all executed, else as it ended."""
    was, cum_qty = int(state.children[c].ord_status), int(state.children[c].cum_qty)
    true = bit_of(_EXPIRED) if was == _EXPIRED else bit_of(_CANCELED)
    if was == _REJECTED and cum_qty == 0:
        true = bit_of(_REJECTED)
    if cum_qty > 0 and cum_qty >= state.child_orders[c].qty:
        true |= bit_of(_FILLED)
    return status_by_precedence(true)


@kernel
def parent_status(state: State, p: int) -> int:
    """What parent p's status is after its CumQty changed: what was told of requests and its end stays true.

    An ended parent is Canceled where it is not Filled: the market has none of it, whatever was busted since.
    """
    parent = state.parents[p]
    was = int(parent.ord_status)
    true = bit_of(_NEW)
    if was in (_PENDING_CANCEL, _PENDING_REPLACE, _SUSPENDED, _CANCELED, _EXPIRED):
        true |= bit_of(was)
    elif not is_open(state, p):
        true |= bit_of(_CANCELED)
    if parent.cum_qty > 0:
        true |= bit_of(_PARTIAL)
    if parent.cum_qty >= state.parent_orders[p].qty:
        true |= bit_of(_FILLED)
    return status_by_precedence(true)
