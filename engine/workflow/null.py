"""The empty workflow: cancels every parent back. `engine.run.bound` holds it until a strategy is bound."""

from __future__ import annotations

from engine.core.state import Outbox, State
from engine.jit import kernel
from engine.record.records import Outcome

_CANCELED = int(Outcome.CANCELED)


@kernel
def route(state: State, p: int, event: int, outbox: Outbox) -> int:
    """Decide for parent p: send nothing, and give it back."""
    return _CANCELED
