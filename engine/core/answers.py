"""CONTROL_REPORT: what became of a command that came over the control link, for whoever gave it.

The record is an output like any other, so it is on the journal before anybody reads it. It is for no session: the
driver copies it into the ring of answers (`engine.run.answer`), which the control server reads.
"""

from __future__ import annotations

from engine.core.emit import control_report
from engine.core.scopes import target_of
from engine.core.state import Events, Outbox, State
from engine.jit import kernel
from engine.record.records import ControlAction, Reason, Template

_CONTROL, _MASS_CANCEL = int(Template.CONTROL), int(Template.MASS_CANCEL)
_CANCEL = int(ControlAction.CANCEL)
_R_LENGTH, _R_SCHEMA = int(Reason.WRONG_LENGTH), int(Reason.WRONG_SCHEMA)


@kernel
def answer_refused(state: State, events: Events, i: int, outbox: Outbox, template: int, reason: int) -> None:
    """Tell whoever gave the command i over the control link that it was refused, and why.

    One that is not whole is not read: what lies behind it is nobody's word.
    """
    if reason == _R_LENGTH or reason == _R_SCHEMA:
        return
    if template == _MASS_CANCEL:
        request = events.mass_cancel[i]
        target = target_of(int(request.scope), int(request.client_id), int(request.instrument_id), int(request.target))
        k = control_report(state, outbox, _CANCEL, int(request.scope), target, reason)
        outbox.control_report[k].request_id = request.request_id
        outbox.control_report[k].actor_id = request.actor_id
    elif template == _CONTROL:
        command = events.control[i]
        target = target_of(int(command.scope), int(command.client_id), int(command.instrument_id), int(command.target))
        k = control_report(state, outbox, int(command.action), int(command.scope), target, reason)
        outbox.control_report[k].request_id = command.request_id
        outbox.control_report[k].actor_id = command.actor_id
        outbox.control_report[k].actor_2 = command.actor_2
        outbox.control_report[k].value = command.value
