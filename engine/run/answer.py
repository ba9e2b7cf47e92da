"""Answers on their way out of the loop: CONTROL_REPORTs into the ring that the control server reads.

The control link is the last row; its `tx` is that ring. Nothing here waits: a server that does not read loses answers,
which are counted and stay on the journal. An answer is told when it is journaled, with durability `disk` before it is
on the disk: it says what the engine did, and lets nothing leave.
"""

from __future__ import annotations

from engine.core.state import FROM_CONTROL
from engine.io.atomics import load_u16
from engine.io.ring import ring_push
from engine.jit import kernel
from engine.record.records import HEAD, RECORD_MAX, Template
from engine.run.wiring import L_ANSWERS_LOST, Wiring

assert HEAD.fields is not None
_TEMPLATE = int(HEAD.fields["template_id"][1])
_CONTROL_REPORT = int(Template.CONTROL_REPORT)


@kernel
def answer(w: Wiring, address: int) -> None:
    """Hand the record at an address to the control server where it is an answer."""
    if load_u16(address + _TEMPLATE) != _CONTROL_REPORT:
        return
    link = w.links[int(w.line[0].n_links) - 1]
    if link.source != FROM_CONTROL or link.tx == 0:
        return
    if ring_push(link.tx, address, RECORD_MAX) != 1:
        w.counters[L_ANSWERS_LOST] += 1
