"""The life of a child order, after FIX's order state changes: its states, its events, and what each pair does.

`ACTIONS` is the whole machine, one row a state and one column an event, and it is what runs: reports, timers and
sessions become an event (`ChildEvent`), `step_of` looks the pair up in a dense table, and the step does it. No pair is
left out: it is a step, or the event is ignored (counted), or refused with a reason. `TARGETS` says which states a pair
may lead to; a step that leads elsewhere is a broken invariant. docs/lifecycle.md is written from both, with the reasons
for what FIX leaves open.

A state is an OrdStatus. Where several are true at once, `status_by_precedence` says which is told: FIX's precedence,
the same for parents and children. UNKNOWN is ours and above all: the venue's silence hides what is true.

Worst case: one load a pair, and a walk over eleven bits for a status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final

import numpy as np

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

#: Bits of a child's `marks`: its venue has accepted it; a cancel of it is unanswered; a status request about it is.
M_ACCEPTED, M_CANCEL, M_STATUS = 1, 2, 4


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
    """What a pair does."""

    IGNORE = 0
    REFUSE_ENDED = 1
    REFUSE_ORDER = 2
    ACCEPT = 3
    BOOK = 4
    END = 5
    REJECT = 6
    KEEP = 7
    REPLACE = 8
    UNREPLACE = 9
    RESTATE = 10
    ADOPT = 11
    CONCLUDE = 12
    UNDO = 13
    AMEND = 14
    WATCH = 15
    LOSE = 16
    INQUIRE = 17
    SEND_CANCEL = 18
    SEND_REPLACE = 19


#: What each step does, for the page and for errors.
MEANING: Final = {
    Step.IGNORE: "ignored: counted, nothing changes",
    Step.REFUSE_ENDED: "refused, ORDER_TERMINAL",
    Step.REFUSE_ORDER: "refused, NOT_IN_ORDER: it answers nothing that we asked",
    Step.ACCEPT: "the venue has it; a resting order that waits for nothing needs no timer any more",
    Step.BOOK: "the execution is booked; beyond the leaves it is late or an overfill, and alerted",
    Step.END: "it ends and its leaves return; UNKNOWN where the venue executed more than we have heard of",
    Step.REJECT: "it ends, and its venue is left out of the parent's episode",
    Step.KEEP: "the cancel is off: it stands as it stood before, and its status is asked for next",
    Step.REPLACE: "the terms are the new ones; with nothing left it is filled",
    Step.UNREPLACE: "that replace is off; the terms stay, and with nothing left it is filled",
    Step.RESTATE: "its venue changed the terms unasked: alerted; fewer leaves are taken, more are taken back",
    Step.ADOPT: "alive: an unanswered replace is settled by the terms told; UNKNOWN is taken back",
    Step.CONCLUDE: "it has ended: as END, with the status told",
    Step.UNDO: "the execution is undone: from CumQty to busted, never back to the leaves",
    Step.AMEND: "the execution is what the correction says: more is booked, less is as busted",
    Step.WATCH: "a replace: its status is asked for; then cancel, again, then UNKNOWN and ask on",
    Step.LOSE: "UNKNOWN, its timer stopped: nobody is there to answer",
    Step.INQUIRE: "its status is asked for",
    Step.SEND_CANCEL: "a cancel leaves, and is watched",
    Step.SEND_REPLACE: "a replace leaves, and is watched",
}

_S, _E, _D = OrdStatus, ChildEvent, Step
#: The states of a child, in the order of the table's rows.
STATES: Final = (
    _S.PENDING_NEW, _S.NEW, _S.PARTIALLY_FILLED, _S.PENDING_CANCEL, _S.PENDING_REPLACE, _S.UNKNOWN,
    _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REJECTED,
)  # fmt: skip
TERMINAL: Final = (_S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REJECTED)
LIVE: Final = tuple(status for status in STATES if status not in TERMINAL)
_OPEN: Final = (_S.PENDING_NEW, _S.NEW, _S.PARTIALLY_FILLED, _S.PENDING_REPLACE)
_STAY: Final = "stay"
Where = tuple[OrdStatus | str, ...]


def _declare() -> dict[tuple[OrdStatus, ChildEvent], tuple[Step, tuple[OrdStatus, ...]]]:
    """(state, event) -> (step, states that it may lead to); every pair has an entry."""
    table: dict[tuple[OrdStatus, ChildEvent], tuple[Step, tuple[OrdStatus, ...]]] = {}

    def on(event: ChildEvent, states: Iterable[OrdStatus], step: Step, *to: OrdStatus | str) -> None:
        for state in states:
            assert (state, event) not in table, f"{state.name} x {event.name} is declared twice"
            table[state, event] = step, tuple(s if isinstance(s, OrdStatus) else state for s in to or (_STAY,))

    for event in ChildEvent:
        if event in (_E.PARTIAL_FILL, _E.FULL_FILL, _E.BUST, _E.CORRECT):
            continue
        ours = event in (_E.TIMEOUT, _E.SESSION_LOST, _E.SESSION_BACK, _E.ASK_CANCEL)
        on(event, TERMINAL, _D.IGNORE if ours else _D.REFUSE_ENDED)
    fall = (_S.PENDING_NEW, _S.NEW, _S.PARTIALLY_FILLED)
    out = (_S.FILLED, _S.CANCELED)
    on(_E.ACK_NEW, [_S.PENDING_NEW], _D.ACCEPT, _S.NEW)
    on(_E.ACK_NEW, [_S.NEW, _S.PARTIALLY_FILLED, _S.PENDING_CANCEL, _S.PENDING_REPLACE], _D.ACCEPT)
    on(_E.ACK_NEW, [_S.UNKNOWN], _D.ACCEPT, _STAY, _S.NEW, _S.PARTIALLY_FILLED, _S.PENDING_CANCEL, _S.PENDING_REPLACE)
    on(_E.ACK_PENDING, LIVE, _D.IGNORE)
    on(_E.PARTIAL_FILL, [_S.PENDING_NEW, _S.NEW], _D.BOOK, _S.PARTIALLY_FILLED)
    on(_E.PARTIAL_FILL, [_S.PARTIALLY_FILLED, _S.PENDING_CANCEL, _S.PENDING_REPLACE, _S.UNKNOWN], _D.BOOK)
    on(_E.PARTIAL_FILL, TERMINAL, _D.IGNORE)  # with nothing left every execution is a full one
    on(_E.FULL_FILL, [_S.PENDING_NEW], _D.BOOK, _S.FILLED)
    on(_E.FULL_FILL, [_S.NEW, _S.PARTIALLY_FILLED], _D.BOOK, *out)
    on(_E.FULL_FILL, [_S.PENDING_CANCEL, _S.UNKNOWN], _D.BOOK, _STAY, *out)
    # Beyond the leaves it may say that a raise has taken effect, of which more is left.
    on(_E.FULL_FILL, [_S.PENDING_REPLACE], _D.BOOK, _STAY, _S.PARTIALLY_FILLED, *out)
    on(_E.FULL_FILL, [_S.FILLED], _D.BOOK)
    on(_E.FULL_FILL, [_S.CANCELED, _S.EXPIRED], _D.BOOK, _STAY, _S.FILLED)
    on(_E.FULL_FILL, [_S.REJECTED], _D.BOOK, *out)
    on(_E.CANCELED, LIVE, _D.END, _S.CANCELED, _S.UNKNOWN)
    on(_E.EXPIRED, LIVE, _D.END, _S.EXPIRED, _S.UNKNOWN)
    on(_E.REJECTED, [_S.PENDING_NEW, _S.NEW], _D.REJECT, _S.REJECTED)
    on(_E.REJECTED, [_S.PARTIALLY_FILLED], _D.REJECT, _S.CANCELED)
    on(_E.REJECTED, LIVE[3:], _D.REJECT, _S.REJECTED, _S.CANCELED)
    on(_E.CANCEL_REJECT, [_S.PENDING_CANCEL], _D.KEEP, *fall, _S.PENDING_REPLACE)
    on(_E.CANCEL_REJECT, [_S.UNKNOWN], _D.KEEP)
    on(_E.CANCEL_REJECT, _OPEN, _D.REFUSE_ORDER)
    for event, step in ((_E.REPLACED, _D.REPLACE), (_E.RESTATED, _D.RESTATE)):
        on(event, [_S.PENDING_NEW, _S.NEW], _D.RESTATE, _S.NEW, _S.PENDING_CANCEL, _S.CANCELED)
        on(event, [_S.PARTIALLY_FILLED], _D.RESTATE, _STAY, _S.PENDING_CANCEL, *out)
        on(event, [_S.PENDING_CANCEL], step, _STAY, *out)
        on(event, [_S.UNKNOWN], step, _STAY, *LIVE[1:5], *out)
    on(_E.REPLACED, [_S.PENDING_REPLACE], _D.REPLACE, _STAY, *fall[1:], _S.PENDING_CANCEL, *out)
    on(_E.RESTATED, [_S.PENDING_REPLACE], _D.RESTATE, _STAY, _S.PENDING_CANCEL, *out)
    on(_E.REPLACE_REJECT, fall, _D.REFUSE_ORDER)
    on(_E.REPLACE_REJECT, [_S.PENDING_CANCEL, _S.UNKNOWN], _D.UNREPLACE, _STAY, *out)
    on(_E.REPLACE_REJECT, [_S.PENDING_REPLACE], _D.UNREPLACE, _STAY, *fall, *out)
    on(_E.STATUS_LIVE, [_S.PENDING_NEW], _D.ADOPT, _S.NEW)
    on(_E.STATUS_LIVE, [_S.NEW, _S.PARTIALLY_FILLED], _D.ADOPT)
    on(_E.STATUS_LIVE, [_S.PENDING_CANCEL], _D.ADOPT, _STAY, *out)
    on(_E.STATUS_LIVE, [_S.PENDING_REPLACE], _D.ADOPT, _STAY, _S.NEW, _S.PARTIALLY_FILLED, *out)
    on(_E.STATUS_LIVE, [_S.UNKNOWN], _D.ADOPT, _STAY, _S.PENDING_CANCEL, *out)
    ends = (_S.CANCELED, _S.EXPIRED, _S.UNKNOWN)
    on(_E.STATUS_DONE, [_S.PENDING_NEW, _S.NEW], _D.CONCLUDE, _S.REJECTED, *ends)
    on(_E.STATUS_DONE, [_S.PARTIALLY_FILLED], _D.CONCLUDE, *ends)
    on(_E.STATUS_DONE, LIVE[3:], _D.CONCLUDE, _S.REJECTED, _S.FILLED, *ends)
    _declare_changes(on)
    _declare_ours(on)
    missing = [(s.name, e.name) for s in STATES for e in ChildEvent if (s, e) not in table]
    assert not missing, f"no entry for {missing}"
    return table


def _declare_changes(on: Callable[..., None]) -> None:
    """Busts and corrections."""
    out = (_S.FILLED, _S.CANCELED)
    on(_E.BUST, [_S.PARTIALLY_FILLED], _D.UNDO, _STAY, _S.NEW)
    on(_E.BUST, LIVE[3:], _D.UNDO)
    on(_E.BUST, [_S.CANCELED, _S.EXPIRED], _D.UNDO)
    on(_E.CORRECT, [_S.PARTIALLY_FILLED, _S.PENDING_CANCEL, _S.UNKNOWN], _D.AMEND, _STAY, *out)
    on(_E.CORRECT, [_S.PENDING_REPLACE], _D.AMEND, _STAY, _S.PARTIALLY_FILLED, *out)
    on(_E.CORRECT, [_S.CANCELED, _S.EXPIRED], _D.AMEND, _STAY, _S.FILLED)
    for event, step in ((_E.BUST, _D.UNDO), (_E.CORRECT, _D.AMEND)):
        on(event, [_S.FILLED], step, _STAY, _S.CANCELED)
        on(event, [_S.PENDING_NEW, _S.NEW, _S.REJECTED], _D.REFUSE_ORDER)


def _declare_ours(on: Callable[..., None]) -> None:
    """Time, sessions, and what we ask for."""
    on(_E.TIMEOUT, LIVE[:3], _D.WATCH, _S.PENDING_CANCEL, _S.UNKNOWN)
    on(_E.TIMEOUT, [_S.PENDING_CANCEL], _D.WATCH, _STAY, _S.UNKNOWN)
    on(_E.TIMEOUT, [_S.PENDING_REPLACE], _D.WATCH, _STAY, _S.PENDING_CANCEL, _S.UNKNOWN)
    on(_E.TIMEOUT, [_S.UNKNOWN], _D.WATCH)
    on(_E.SESSION_LOST, LIVE, _D.LOSE, _S.UNKNOWN)
    on(_E.SESSION_BACK, [_S.UNKNOWN], _D.INQUIRE)
    on(_E.SESSION_BACK, LIVE[:5], _D.IGNORE)
    on(_E.ASK_CANCEL, [_S.UNKNOWN], _D.SEND_CANCEL)
    on(_E.ASK_CANCEL, LIVE[:5], _D.SEND_CANCEL, _S.PENDING_CANCEL)
    on(_E.ASK_REPLACE, _OPEN, _D.SEND_REPLACE, _S.PENDING_REPLACE)
    on(_E.ASK_REPLACE, [_S.PENDING_CANCEL, _S.UNKNOWN], _D.REFUSE_ORDER)


#: (state, event) -> (step, states that it may lead to).
ACTIONS: Final = _declare()
EVENTS: Final = len(ChildEvent)
_ROW = np.full(128, -1, dtype=np.int64)
for _n, _status in enumerate(STATES):
    _ROW[_status] = _n
#: The dense tables: STATES x ChildEvent -> Step, and -> a bit for each row of STATES that it may lead to.
_STEPS = np.zeros(len(STATES) * EVENTS, dtype=np.uint8)
_TARGETS = np.zeros(len(STATES) * EVENTS, dtype=np.int64)
for (_state, _event), (_step, _to) in ACTIONS.items():
    _STEPS[_ROW[_state] * EVENTS + _event] = _step
    _TARGETS[_ROW[_state] * EVENTS + _event] = sum(1 << int(_ROW[_next]) for _next in set(_to))


@kernel
def step_of(status: int, event: int) -> int:
    """The Step that a child of this OrdStatus takes at a ChildEvent."""
    return int(_STEPS[_ROW[status] * EVENTS + event])


@kernel
def may_lead(status: int, event: int, after: int) -> bool:
    """Whether the pair may leave the child with the OrdStatus `after`."""
    return bool((_TARGETS[_ROW[status] * EVENTS + event] >> _ROW[after]) & 1)


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
