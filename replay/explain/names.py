"""Names of workflow states, events and statuses, as the run's machine and FIX have them."""

from __future__ import annotations

from engine.core.state import State
from engine.record.records import OrdStatus, Reason
from engine.workflow.machine import Machine, step_name
from engine.workflow.returns import returned
from engine.workflow.table import FIRST_STEP


class Workflow:
    """The names in a machine. A code that the machine does not have is shown as its number."""

    def __init__(self, machine: Machine) -> None:
        self._states = {state.code: state.name for state in machine.states}
        self._events = {int(event): event.name for event in machine.events}
        self._steps = dict(enumerate(machine.steps(), FIRST_STEP))

    def state(self, code: int) -> str:
        """Name of a workflow's state; NONE where there is no workflow."""
        return self._states.get(int(code), "NONE" if code == 0 else f"state {int(code)}")

    def of(self, state: State, p: int) -> str:
        """Name of the state that parent p's workflow is in."""
        return self.state(int(state.parents[p]["phase"]))

    def event(self, code: int) -> str:
        """Name of an event."""
        return self._events.get(int(code), f"event {int(code)}")

    def step(self, code: int) -> str:
        """Name of a step."""
        step = self._steps.get(int(code))
        return step_name(step) if step is not None else str(int(code))

    def outcome(self, code: int, outcome: int) -> str:
        """An outcome by the name that its step returns it by; by its number where it has none."""
        step = self._steps.get(int(code))
        found = returned(step).values.get(int(outcome)) if step is not None else None
        return found[0] if found is not None else str(int(outcome))


def status_name(value: int) -> str:
    """An OrdStatus as FIX names it."""
    return OrdStatus(value).name if value in list(OrdStatus) else str(value)


def reason(value: int) -> str:
    """A Reason in small letters; empty for none."""
    if not value:
        return ""
    return Reason(value).name.lower().replace("_", " ") if value in list(Reason) else str(value)
