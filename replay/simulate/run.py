"""One seed, or one list of events, through a world: what came of it, as data.

`simulate` makes the events of a seed and lets them happen; `replay` lets a given list happen. Both then bring the world
to rest and compare all accounts. The result names the broken invariant, if any, and holds the events up to there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from engine.errors import TickrouteError
from replay.simulate.profiles import find
from replay.simulate.schedule import Schedule, draw_setup
from replay.simulate.settle import settle
from replay.simulate.setup import Setup
from replay.simulate.violation import Violation
from replay.simulate.world import Event, World

#: What code of the engine that is wrong may raise.
RAISED = (ArithmeticError, AssertionError, LookupError, OSError, RuntimeError, TickrouteError, TypeError, ValueError)
_FOLDER = r"[^ ]*tickroute-simulate-[^/ ]*"
#: Inputs that the engine takes before the faults cease.
INPUTS = 250


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run. `rule` and `seen` are empty where every invariant held."""

    rule: str = ""
    seen: str = ""
    seed: int | None = None
    inputs: int
    journal_hash: str
    #: How often each family of faults (faults.py) took place.
    faults: dict[str, int] = {}
    setup: Setup
    events: list[Event]

    @property
    def failed(self) -> bool:
        """Whether an invariant broke."""
        return bool(self.rule)


def simulate(seed: int, faults: str = "all", strategy: str = "strategies.sweep", inputs: int = INPUTS) -> Result:
    """Run one seed."""
    setup = draw_setup(seed, strategy)
    world = World(setup)
    return _run(world, Schedule(seed, find(faults), world).events(inputs), seed)


def replay(setup: Setup, events: list[Event]) -> Result:
    """Run a list of events."""
    return _run(World(setup), events, None)


def _run(world: World, events: Iterable[Event], seed: int | None) -> Result:
    """Let events happen, then bring the world to rest."""
    happened, found = list[Event](), None
    try:
        for event in events:
            happened.append(event)
            world.apply(event)
        settle(world)
    except Violation as violation:
        found = violation
    except RAISED as error:
        found = Violation("nothing raises", f"{type(error).__name__}: {re.sub(_FOLDER, 'RUN_DIR', str(error))}")
    finally:
        world.close()
    return _result(world, happened, found, seed)


def _result(world: World, events: list[Event], found: Violation | None, seed: int | None) -> Result:
    return Result(
        rule=found.rule if found else "",
        seen=found.seen if found else "",
        seed=seed,
        inputs=world.inputs,
        journal_hash=world.engine.journal_hash(),
        faults=dict(sorted(world.faults.items())),
        setup=world.setup,
        events=events,
    )
