"""What becomes of a path that wants more children than are explored: does the strategy ever stop sending?

It is followed on from where it was cut, in two ways: every child is rejected at once, or every child is given back. No
time passes, and no quote comes: a strategy that tries again after a while is held by the end of its order, one that
tries again at once by nothing. Reports that are not taken (their session is down) end the following.

Worst case: ROUNDS rounds of a few steps, once, for what never stops; a handful for what does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from engine.workflow.explore_account import TERMINAL
from engine.workflow.explore_events import World
from engine.workflow.explore_records import Kind

#: No configuration has as many rounds of routing.
ROUNDS: Final = 1024
_WAYS: Final = ((Kind.REJECT, "rejected"), (Kind.CANCELED, "given back"))


class Beyond:
    """Follows cut paths on, with the State and the event buffer of a World; its account is left alone."""

    def __init__(self, step: Callable[..., int], world: World) -> None:
        self._step, self._world = step, world
        self._children = world.arena.arrays["children"]
        self._orders = world.arena.arrays["child_orders"]

    def endless(self) -> str:
        """How the children come back that are sent without end; empty where it stops. The State is another after it."""
        saved = self._world.arena.save()
        for kind, word in _WAYS:
            self._world.arena.restore(saved)
            if self._sends_on(kind):
                return word
        return ""

    def _sends_on(self, kind: Kind) -> bool:
        world = self._world
        for _ in range(ROUNDS):
            live = [c for c in range(len(self._children)) if self._lives(c)]
            for c in live:
                world.put_back(kind, c)
                number = int(world.arena.arrays["child_orders"]["order_id"][c])
                self._step(world.arena.state, world.input, 0, world.outbox)
                if self._lives(c) and number == world.arena.arrays["child_orders"]["order_id"][c]:
                    return False
            if not live:
                return False
        return True

    def _lives(self, c: int) -> bool:
        return int(self._orders["order_id"][c]) != 0 and int(self._children["ord_status"][c]) not in TERMINAL
