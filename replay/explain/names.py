"""Names of workflow states, events and statuses, as the run's machine and FIX have them."""

from __future__ import annotations

from engine.core.state import State
from engine.record.records import OrdStatus, Reason
from engine.workflow.machine import Machine


class Workflow:
    """The names in a machine. A code that the machine does not have is shown as its number."""

    def __init__(self, machine: Machine) -> None:
        self._states = {state.code: state.name for state in machine.states}
        self._events = {int(event): event.name for event in machine.events}

    def state(self, code: int) -> str:
        """Name of a workflow's state; NONE where there is no workflow."""
        return self._states.get(int(code), "NONE" if code == 0 else f"state {int(code)}")

    def of(self, state: State, p: int) -> str:
        """Name of the state that parent p's workflow is in."""
        return self.state(int(state.parents[p]["phase"]))

    def event(self, code: int) -> str:
        """Name of an event."""
        return self._events.get(int(code), f"event {int(code)}")


def status_name(value: int) -> str:
    """An OrdStatus as FIX names it."""
    return OrdStatus(value).name if value in list(OrdStatus) else str(value)


def reason(value: int) -> str:
    """A Reason in small letters; empty for none."""
    if not value:
        return ""
    return Reason(value).name.lower().replace("_", " ") if value in list(Reason) else str(value)
