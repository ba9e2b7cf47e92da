"""The empty workflow: gives every order back. `engine.run.turn` holds it until a strategy is bound."""

from __future__ import annotations

from engine.core.state import Outbox, State
from engine.jit import kernel
from engine.workflow.orders import CANCELED, NEW, RESTING, WORKING, Event, order_machine

GIVEN_UP = 0


@kernel
def give_back(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Send nothing, and give parent p back."""
    return GIVEN_UP


machine = order_machine("null")
machine.on(NEW, Event.START, give_back, {GIVEN_UP: CANCELED})
machine.on(WORKING, Event.CHILDREN_DONE, give_back, {GIVEN_UP: CANCELED})
machine.on(RESTING, Event.QUOTE, give_back, {GIVEN_UP: CANCELED})
