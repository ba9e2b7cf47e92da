"""A strategy with two effects that are taken back each by its own step, and states that are left badly or not at all.

An order goes to the first venue, then to the second, then to the first again, a tenth of a second apart; a pause makes
its step raise. The last two digits of a quantity send it elsewhere: where leaving raises, where leaving forgets that
quotes were watched, or where nothing happens; or it reads a row that is not there.
"""

from __future__ import annotations

from engine.core.children import cancel_child, new_child
from engine.core.state import NONE, Outbox, State
from engine.jit import kernel
from engine.workflow.machine import after_ms
from engine.workflow.orders import CANCELED, NEW, WORKING, Event, order_machine

#: Quantities modulo 100.
STAYS, WAITS, FORGETS, READS_ON = 91, 92, 93, 94
SENT, STAYED, WAITED, OVER, FORGOT = 0, 1, 2, 3, 4
_DAY = 48


@kernel
def first(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Ten to the first venue."""
    mode = state.parent_orders[p].qty % 100
    if mode == STAYS:
        return STAYED
    if mode == WAITS:
        return WAITED
    if mode == FORGETS:
        return FORGOT
    if mode == READS_ON:
        return WAITED + 0 * int(state.parents[len(state.parents)].phase)
    return _post(state, p, 0, outbox)


@kernel
def second(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Ten to the second venue."""
    return _post(state, p, 1, outbox)


@kernel
def look(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Ten to the third venue, and raise."""
    _post(state, p, 2, outbox)
    assert p < 0, "as planned"
    return SENT


@kernel
def _post(state: State, p: int, venue: int, outbox: Outbox) -> int:
    new_child(state, outbox, p, venue, int(state.parent_orders[p].px), 10, _DAY)
    return SENT


@kernel
def unfirst(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Cancel what is at the first venue."""
    return _take_back(state, p, 0, outbox)


@kernel
def unsecond(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Cancel what is at the second venue."""
    return _take_back(state, p, 1, outbox)


@kernel
def _take_back(state: State, p: int, venue: int, outbox: Outbox) -> int:
    c = int(state.parents[p].first_child)
    while c != NONE:
        if state.child_orders[c].venue_id == venue:
            cancel_child(state, outbox, c)
        c = int(state.children[c].next)
    return OVER


@kernel
def end(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Give back what is left."""
    return OVER


@kernel
def stay(state: State, p: int, outbox: Outbox) -> None:
    """Leaving raises."""
    assert p < 0, "as planned"


@kernel
def forget(state: State, p: int, outbox: Outbox) -> None:
    """It takes the place of what ends the watching of quotes, and does not end it."""


machine = order_machine("twofold")
ONE = machine.state("ONE", timeout=after_ms(100))
TWO = machine.state("TWO", timeout=after_ms(100), watch=True)
THREE = machine.state("THREE", timeout=after_ms(100))
STUCK = machine.state("STUCK", timeout=after_ms(100), watch=True, leave=stay)
IDLE = machine.state("IDLE", timeout=after_ms(10_000), watch=True)
CARELESS = machine.state("CARELESS", timeout=after_ms(100), watch=True, leave=forget)
machine.on(NEW, Event.START, first, {SENT: ONE, STAYED: STUCK, WAITED: IDLE, FORGOT: CARELESS})
machine.on(ONE, Event.TIMEOUT, second, {SENT: TWO})
machine.on(TWO, Event.TIMEOUT, first, {SENT: THREE})
machine.on(THREE, Event.TIMEOUT, end, {OVER: THREE})
machine.on((STUCK, IDLE, CARELESS), Event.TIMEOUT, end, {OVER: CANCELED})
machine.on((ONE, TWO, THREE), Event.PAUSE, look, {SENT: ONE})
machine.on((TWO, STUCK, IDLE, CARELESS), Event.QUOTE, end, {OVER: CANCELED})
machine.on((WORKING, ONE, TWO, THREE, IDLE), Event.CHILDREN_DONE, end, {OVER: CANCELED})
machine.ignore((STUCK, CARELESS), Event.CHILDREN_DONE, why="no child is live in it")
machine.compensate(first, by=unfirst)
machine.compensate(second, by=unsecond)
machine.compensate(look, by=unfirst)
