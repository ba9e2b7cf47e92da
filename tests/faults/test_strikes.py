"""kill -9 between any two instructions of the loop: behind an input, within a batch, before a send, as segments roll.

What random kills seldom meet, these meet each time (`strikes`). TICKROUTE_STRIKES sets how many of the long test are
at random instructions (300).
"""

from __future__ import annotations

import contextlib
import os
import random

import pytest

from engine.jit import JIT
from tests.faults.strikes import POINTS, ROLLING, ROOMS, TORN, Strikes
from tests.faults.tracer import can_trace

pytestmark = pytest.mark.skipif(not JIT, reason="the engine is a compiled process")
#: The loop is slow while it is followed: nobody is down for that.
SLOWLY = (("peer_timeout_ms = 500", "peer_timeout_ms = 10000"), ("child_timeout_ms = 1000", "child_timeout_ms = 60000"))
DISK = ("segment_mib = 1\n", 'segment_mib = 1\ndurability = "disk"\n')
#: Instructions from the input's frame to behind all that an order leads to.
WHOLE_WAY = 30_000
#: The points of the short test; the others are in the long one.
SHORT = [name for name in POINTS if name not in ("half-of-the-first-output", "half-of-the-last-output")]


@pytest.fixture
def strikes(bench):
    """Makes runs to be struck; skips where a process may not be traced."""
    with contextlib.ExitStack() as stack:
        if not can_trace():
            pytest.skip("no process may be traced here")

        def make(*changes):
            it = Strikes(bench(*SLOWLY, *changes))
            stack.callback(it.close)
            return it

        yield make


def at_each_point(it, points):
    for name in points:
        it.market()
        sent = name == "behind-the-send"
        reached = it.strike(POINTS[name], pause_s=0.05 * sent)
        assert bool(reached) == sent, f"{name}: {len(reached)} orders had reached the venue"
        told = "were not on the journal whole and never sent" in " ".join(it.it.said().split())
        assert told == (name in TORN), f"{name}: {it.it.said()}"


def at_each_turn(it, points, rooms):
    """As a segment ends."""
    for room in rooms:
        for name in points:
            it.market()
            it.strike(ROLLING[name], room=ROOMS[room])


def test_an_engine_killed_at_each_point_of_an_orders_way_loses_nothing_and_sends_nothing_twice(strikes):
    it = strikes()
    at_each_point(it, SHORT)
    it.finish()


def test_an_engine_killed_while_a_segment_rolls_over_loses_nothing(strikes):
    it = strikes()
    at_each_turn(it, ("half-of-the-pad", "half-of-the-header"), ("at the batch",))
    it.finish()


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("changes", [(), (DISK,)], ids=["process", "disk"])
def test_each_point_and_each_turn(strikes, changes):
    it = strikes(*changes)
    if not changes:
        at_each_point(it, POINTS)
    at_each_turn(it, ROLLING, ROOMS)
    it.finish()


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_an_engine_killed_between_any_two_instructions(strikes):
    draws = random.Random(1)
    it = strikes()
    count = int(os.environ.get("TICKROUTE_STRIKES", "300"))
    reached = 0
    for n in range(count):
        it.market()
        room = ROOMS[draws.choice(list(ROOMS))] if n % 3 == 0 else None
        more = draws.randrange(WHOLE_WAY)
        reached += bool(it.strike(POINTS["half-of-the-input"], more=more, room=room))
    print(f"{count} kills, {reached} of them with orders at the venue, {len(it.orders)} orders in all")
    assert 0 < reached < count
    it.finish()
