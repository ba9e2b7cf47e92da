"""The table of docs/lifecycle.md, written from the declaration of the child's machine."""

from __future__ import annotations

from engine.core.lifecycle import ChildEvent
from engine.workflow.child import machine
from engine.workflow.machine import State, Transition, step_name

BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def table() -> str:
    """A Markdown table: each event, the states that do the same with it, what they do, and where it leads."""
    lines = ["| event | in | does | leads to |", "|---|---|---|---|"]
    for event in ChildEvent:
        groups: dict[tuple[str, str], list[State]] = {}
        for t in machine.transitions:
            if t.event is event:
                groups.setdefault((_does(t), _leads(t)), []).append(t.state)
        named = event.name
        for (does, leads), states in sorted(groups.items(), key=lambda item: min(state.code for state in item[1])):
            where = ", ".join(state.name for state in sorted(states, key=lambda state: state.code))
            lines.append(f"| {named} | {where} | {does} | {leads} |")
            named = ""
    return "\n".join(lines)


def _does(t: Transition) -> str:
    if t.step is not None:
        return f"`{step_name(t.step)}`"
    return f"refused, {t.refuse.name}" if t.refuse is not None else f"nothing: {t.why}"


def _leads(t: Transition) -> str:
    return ", ".join("stays" if target is t.state else target.name for target in t.outcomes.values())


def rewrite(page: str) -> str:
    """A page with the table between its marks made new."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"
