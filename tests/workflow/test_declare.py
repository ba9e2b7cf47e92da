"""What can be declared, and what cannot: names, parameters, numbers of states, a strategy's own answers."""

from __future__ import annotations

import pytest

from engine.workflow.machine import MachineError, after_ms
from engine.workflow.orders import NEW, RESTING, Event, order_machine
from tests.workflow.test_verify import Door, push, whole


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda: order_machine("x").state("MINE", terminal=True), "orders begin in NEW and end in"),
        (lambda: order_machine("x").state("WORKING"), "state WORKING is declared twice"),
        (lambda: whole()[0].on(NEW, Door.PUSH, push, {}), "state NEW is another machine's"),
        (lambda: whole()[0].on(whole()[1], Event.START, push, {}), "is no Door"),
        (lambda: after_ms(0), "after_ms\\(0\\): 1 to 1000000000 milliseconds"),
    ],
)
def test_what_cannot_be_declared(declare, text):
    with pytest.raises(MachineError, match=text):
        declare()


def test_a_parameter_has_one_declaration():
    m = order_machine("x")
    assert (m.parameter("ms", 5), m.parameter("lots", 7)) == (0, 1)
    with pytest.raises(MachineError, match="parameter ms is declared twice"):
        m.parameter("ms", 6)


def test_too_many_states_and_parameters():
    m = order_machine("big")
    for n in range(114):
        m.state(f"S{n}", timeout=after_ms(1))
    with pytest.raises(MachineError, match="state S114 is one too many; 128 codes are the most"):
        m.state("S114", timeout=after_ms(1))
    for n in range(16):
        m.parameter(f"p{n}", n)
    with pytest.raises(MachineError, match="parameter p16 is one too many; 16 are the most"):
        m.parameter("p16", 16)


def test_a_strategys_declaration_takes_the_place_of_a_default():
    m = order_machine("mine")
    m.ignore(RESTING, Event.PAUSE, why="it never pauses")
    same = [t for t in m.transitions if t.state is RESTING and t.event == Event.PAUSE]
    assert [t.why for t in same] == ["it never pauses"]
