"""The table of a child's life, pair by pair: every state in each of its shapes, and every event in each of its forms.

The core stands beside its slow twin, which knows no table: both are brought into a shape, then told each event, from
the same shape each time. What they then say and know is the same, and where the events lead from a state is what the
table declares of the pair: nothing else, and nothing less.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from engine.core.children import cancel_child
from engine.core.ids import child_slot
from engine.core.lifecycle import LIVE, STATES, TERMINAL, ChildEvent, Step, may_lead, refusal_of, step_of
from engine.core.step import end
from engine.record.records import OrdStatus
from engine.workflow.child import KERNELS, machine
from tests.core.both import POST_XC
from tests.core.invariants import validate
from tests.core.stories import Both, posted
from tests.core.twin_orders import Child
from tests.core.world import VENUES, make_config

#: Small tables: the invariants are walked after every event.
DESK = make_config(
    VENUES,
    capacity={"parents": 4, "children": 8, "executions": 16},
    sweep=POST_XC,
    routing={"max_cancels": 2, "day_end": "14:31:00"},
)
PX = 10_000
E = ChildEvent
Act = Callable[[Both], Any]


def child_of(both: Both) -> Child:
    """The child that all this is about: the first."""
    return next(iter(both.twin.children.values()))


# ---- what can be done


def tell(kind: str, **fields: Any) -> Act:
    """A report of its venue; a value may be a function of the twin's child."""

    def act(both: Both) -> None:
        child = child_of(both)
        values = {name: value(child) if callable(value) else value for name, value in fields.items()}
        who = {"order_id": child.order_id, "venue_id": child.venue, "instrument_id": 0}
        both.do(kind, stream_id=both.twin.venue_session(child.venue), **who, **values)

    return act


def ack(exec_type: str, ord_status: str = "NEW", ahead: int = 0, **more: Any) -> Act:
    """An ACK; `ahead`: so much is executed that we have not heard of."""
    return tell(
        "ACK",
        **{
            "exec_type": exec_type,
            "ord_status": ord_status,
            "cum_qty": lambda child: child.cum + ahead,
            "leaves_qty": 0,
            "last_px": 0,
            **more,
        },
    )


def terms(exec_type: str, qty: int, px: int = PX, ord_status: str = "NEW") -> Act:
    """An ACK that tells terms: OrderQty `qty`, of which the rest is open."""
    return ack(exec_type, ord_status, leaves_qty=lambda child: max(qty - child.done, 0), last_px=px)


def fill(qty: Callable[[Child], int], ref: int = 0) -> Act:
    """An execution; `ref`: its ExecID, else one of its own."""

    def act(both: Both) -> None:
        both.execs += 1
        exec_id = ref or 100 + both.execs
        tell("FILL", exec_id=exec_id, last_qty=qty, last_px=PX, liquidity=2)(both)

    return act


def change(kind: str, ref: int, qty: int = 0) -> Act:
    """A bust or correction of the execution `ref`."""

    def act(both: Both) -> None:
        both.execs += 1
        more = {"last_qty": qty, "last_px": PX, "liquidity": 0} if qty else {}
        tell(kind, exec_id=1000 + both.execs, exec_ref_id=ref, **more)(both)

    return act


def refuse(request: str, reason: str) -> Act:
    """A CANCEL_REJECT."""
    return tell("CANCEL_REJECT", request=request, reason=reason)


def amend(qty: int) -> Act:
    """A replace of ours."""

    def act(both: Both) -> None:
        child = child_of(both)
        sent = both.world.amend(_Named(child.order_id), PX, qty)
        assert bool(sent) == bool(both.twin.amend(child, PX, qty))
        both.compare()

    return act


class _Named:
    def __init__(self, order_id: int) -> None:
        self.order_id = order_id


def cancel(both: Both) -> None:
    """The client cancels: we ask the venue to, where it is not asked yet."""
    both.do("ORDER_CANCEL", stream_id=0, cl_ord_id=1)


def ask_cancel(both: Both) -> None:
    """A cancel of ours, whatever the client wants."""
    both.twin.out, both.world.outbox.count[0] = [], 0
    child = child_of(both)
    cancel_child(both.world.state, both.world.outbox, child_slot(both.world.state, child.order_id))
    if child.live:
        both.twin.cancel_child(child)
    end(both.world.state, both.world.outbox)
    both.world.facts = validate(both.world.state, both.world.booked)
    both.compare()


def wait(both: Both) -> None:
    """Its time-out passes, where it has one."""
    at_ns = both.twin.timers.get(child_of(both), (0, 0))[0]
    while at_ns and both.twin.deadline() <= at_ns:
        both.world.now_ns = max(both.world.now_ns, both.twin.deadline())
        both.do("TIMER")


def down(both: Both) -> None:
    """Its session is lost."""
    session = both.twin.venue_session(child_of(both).venue)
    if session in both.twin.up:
        both.do("SESSION_DOWN", stream_id=session)


def up(both: Both) -> None:
    """Its session is there again."""
    both.do("SESSION_UP", stream_id=both.twin.venue_session(child_of(both).venue))


def part(qty: int) -> Act:
    """An execution of `qty` with the ExecID 1, which can be busted and corrected."""
    return fill(lambda child: qty, ref=1)


# ---- shapes of a child, and forms of an event

ACCEPTED: dict[str, list[Act]] = {"": [], "accepted": [ack("NEW")]}
EXECUTED: dict[str, list[Act]] = {
    "": [],
    "in part": [part(40)],
    "in part, busted": [part(40), change("BUST", 1)],
    "in two parts, one busted": [part(40), fill(lambda child: 15, ref=2), change("BUST", 1)],
    "more by a correction": [part(40), change("CORRECT", 1, 50)],
}
TERMS: dict[str, list[Act]] = {
    "": [],
    "to less": [amend(60)],
    "to more": [amend(60), terms("REPLACED", 60), amend(100)],
    "twice": [amend(80), amend(60)],
    "to less, passed by an execution": [amend(60), fill(lambda child: 65 - child.done)],
    "to more, nothing left until then": [
        amend(60), terms("REPLACED", 60), amend(100), fill(lambda child: child.leaves),
    ],
    "asked about": [amend(60), wait],
    "asked about, nothing left": [
        amend(60), terms("REPLACED", 60), amend(100), wait, fill(lambda child: child.leaves),
    ],
}  # fmt: skip
ASKED: dict[str, list[Act]] = {
    "": [],
    "cancel": [cancel],
    "kept": [cancel, refuse("ORDER_CANCEL", "ORDER_TERMINAL")],
    "cancel, again": [cancel, wait],
    "lost": [down],
    "back": [down, up, wait],
    "silent": [cancel, wait, wait, wait],
    "ended ahead of its executions": [ack("CANCELED", ahead=5)],
}
ENDS: dict[str, list[Act]] = {
    "filled": [fill(lambda child: child.leaves, ref=2)],
    "cancelled": [ack("CANCELED")],
    "expired": [ack("EXPIRED", "EXPIRED")],
    "rejected": [tell("REJECT")],
    "filled too much": [fill(lambda child: child.leaves + 20, ref=2)],
    "cancelled, the rest came late": [ack("CANCELED"), fill(lambda child: child.qty - child.cum, ref=2)],
}
FORMS: dict[ChildEvent, list[Act]] = {
    E.ACK_NEW: [ack("NEW")],
    E.ACK_PENDING: [ack("PENDING_NEW"), ack("PENDING_CANCEL"), ack("PENDING_REPLACE"), ack("SUSPENDED")],
    E.PARTIAL_FILL: [fill(lambda child: max(child.leaves - 1, 1)), fill(lambda child: 1)],
    E.FULL_FILL: [
        fill(lambda child: child.leaves or 5),
        fill(lambda child: child.leaves + 3),
        fill(lambda child: max(child.qty - child.cum, 1)),
        fill(lambda child: child.most() + 7),
    ],
    E.CANCELED: [ack("CANCELED"), ack("CANCELED", ahead=10)],
    E.EXPIRED: [ack("EXPIRED", "EXPIRED"), ack("EXPIRED", "EXPIRED", ahead=10)],
    E.REJECTED: [tell("REJECT")],
    E.CANCEL_REJECT: [refuse("ORDER_CANCEL", "ORDER_TERMINAL")],
    E.REPLACED: [terms("REPLACED", 60), terms("REPLACED", 100), terms("REPLACED", 0), terms("REPLACED", 150)],
    E.REPLACE_REJECT: [
        refuse("ORDER_REPLACE", reason) for reason in ("SIMULATED", "REQUEST_PENDING", "ORDER_TERMINAL")
    ],
    E.RESTATED: [terms("RESTATED", 50), terms("RESTATED", 0), terms("RESTATED", 150), terms("RESTATED", 100, 9_990)],
    E.STATUS_LIVE: [
        *(terms("ORDER_STATUS", qty) for qty in (60, 80, 100, 0)),
        terms("ORDER_STATUS", 60, ord_status="PENDING_REPLACE"),
        ack("ORDER_STATUS", "PARTIALLY_FILLED", ahead=10),
    ],
    E.STATUS_DONE: [
        *(ack("ORDER_STATUS", status.name) for status in TERMINAL),
        ack("ORDER_STATUS", "FILLED", ahead=10),
    ],
    E.BUST: [change("BUST", 1), change("BUST", 2)],
    E.CORRECT: [
        *(change("CORRECT", 1, qty) for qty in (30, 40, 60, 70, 100, 120)),
        *(change("CORRECT", 2, qty) for qty in (5, 60, 100)),
    ],
    E.TIMEOUT: [wait],
    E.SESSION_LOST: [down],
    E.SESSION_BACK: [up],
    E.ASK_CANCEL: [ask_cancel],
    E.ASK_REPLACE: [amend(70), amend(90)],
}

#: Shapes that meet every pair, and every state that it may lead to, between them; "" is a child that was just sent.
CHOSEN = {
    "", "accepted", "accepted, in part", "accepted, kept", "asked about", "cancel", "filled", "in part",
    "in part, asked about, nothing left", "in part, asked about, nothing left, cancel",
    "in part, asked about, nothing left, lost", "in part, back", "in part, busted",
    "in part, busted, asked about, nothing left", "in part, busted, asked about, nothing left, cancel",
    "in part, busted, back", "in part, busted, cancel", "in part, busted, to less, passed by an execution",
    "in part, busted, to more, kept", "in part, busted, to more, nothing left until then, back", "in part, cancel",
    "in part, cancelled", "in part, expired", "in two parts, one busted, cancel",
    "in two parts, one busted, kept", "in two parts, one busted, lost", "in two parts, one busted, to less",
    "cancel, again", "kept", "rejected", "silent",
    "to less, passed by an execution", "twice", "twice, back",
}  # fmt: skip


def shapes() -> Iterator[tuple[str, list[Act]]]:
    """Every shape that is brought about, by name."""
    for accepted, executed, new_terms, asked in product(ACCEPTED, EXECUTED, TERMS, ASKED):
        name = ", ".join(word for word in (accepted, executed, new_terms, asked) if word)
        yield name, [*ACCEPTED[accepted], *EXECUTED[executed], *TERMS[new_terms], *ASKED[asked]]
    for accepted, executed, ended in product(ACCEPTED, EXECUTED, ENDS):
        name = ", ".join(word for word in (accepted, executed, ended) if word)
        yield name, [*ACCEPTED[accepted], *EXECUTED[executed], *ENDS[ended]]


class Kept:
    """The two as they are, to be brought back to."""

    def __init__(self, both: Both) -> None:
        w = both.world
        self.arrays = {name: array.copy() for name, array in w.state.arrays().items()}
        self.child, self.now_ns = copy.copy(child_of(both)), w.now_ns
        self.rest = copy.deepcopy((both.twin, w.numbers, w.booked, w.now_ns, w.execs, both.execs, both.told))

    def restore(self, both: Both) -> None:
        """Bring them back."""
        w = both.world
        for name, array in w.state.arrays().items():
            array[:] = self.arrays[name]
        both.twin, w.numbers, w.booked, w.now_ns, w.execs, both.execs, both.told = copy.deepcopy(self.rest)


def status_of(both: Both) -> OrdStatus:
    """What the core says the child is."""
    order = _Named(child_of(both).order_id)
    return OrdStatus(int(both.world.row(order)[1].ord_status))


def idle(both: Both, event: ChildEvent, kept: Kept) -> bool:
    """Whether the event did not come (no timer was set), or another with it: a parent that is full takes all back."""
    if event in (E.CORRECT, E.FULL_FILL, E.PARTIAL_FILL):
        return child_of(both).cancels > kept.child.cancels
    return event == E.TIMEOUT and kept.child.live and both.world.now_ns == kept.now_ns


def explore(only: set[str] | None = None) -> dict[tuple[OrdStatus, ChildEvent], set[OrdStatus]]:
    """Tell every shape (or `only` some) every event: (state, event) -> the states that it led to."""
    both = posted(DESK)
    first = Kept(both)
    seen: dict[tuple[OrdStatus, ChildEvent], set[OrdStatus]] = defaultdict(set)
    met = 0
    for name, acts in shapes():
        if only is not None and name not in only:
            continue
        met += 1
        first.restore(both)
        for act in acts:
            act(both)
        before, leaves, here = status_of(both), child_of(both).leaves, Kept(both)
        for event, forms in FORMS.items():
            came = E.FULL_FILL if event == E.PARTIAL_FILL and leaves <= 1 else event
            for n, act in enumerate(forms):
                here.restore(both)
                try:
                    act(both)
                except AssertionError as error:
                    raise AssertionError(f"{name}: {before.name} x {event.name}, form {n}: {error}") from error
                if not idle(both, event, here):
                    seen[before, came].add(status_of(both))
    assert only is None or met == len(only), "each of them was met"
    return seen


def check(seen: dict[tuple[OrdStatus, ChildEvent], set[OrdStatus]]) -> None:
    """What happened is what is declared, no more and no less."""
    happened = {(state.name, event.name, after.name) for (state, event), to in seen.items() for after in to}
    declared = {
        (t.state.name, t.event.name, after.name)
        for t in machine.transitions
        for after in (t.outcomes.values() if t.step is not None else [t.state])
    }
    # With nothing left every execution is all that is left.
    declared -= {(state.name, E.PARTIAL_FILL.name, after) for state in TERMINAL for after in OrdStatus.__members__}
    assert sorted(happened - declared) == [], "happened, and is not declared"
    assert sorted(declared - happened) == [], "is declared, and cannot happen"


def test_every_state_and_event_does_what_the_twin_does_and_leads_where_the_table_says():
    check(explore(CHOSEN))


@pytest.mark.torture
def test_so_does_every_shape():
    check(explore())


@pytest.mark.kernel
def test_dense_table_is_the_declaration():
    met = set()
    for t in machine.transitions:
        state, event = OrdStatus[t.state.name], int(t.event)
        met.add((state, event))
        step = Step(int(step_of(state, event)))
        if t.refuse is not None:
            assert (step, refusal_of(state, event)) == (Step.REFUSE, t.refuse)
        else:
            assert step == Step.IGNORE if t.step is None else KERNELS[step] is t.step
        to = {after.name for after in t.outcomes.values()}
        assert {after.name for after in STATES if may_lead(state, event, after)} == to
    assert met == set(product(STATES, ChildEvent))
    assert set(LIVE) | set(TERMINAL) == set(STATES)
