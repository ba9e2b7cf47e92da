"""One seed, or one list of events, through a world: what came of it, as data.

`simulate` makes the events of a seed and lets them happen; `replay` lets a given list happen. Both then bring the world
to rest and compare all accounts. The result names the broken invariant, if any, and holds the events up to there.
"""

from __future__ import annotations

import msgspec

from replay.simulate.profiles import find
from replay.simulate.schedule import Schedule, draw_setup
from replay.simulate.settle import settle
from replay.simulate.setup import Setup
from replay.simulate.violation import Violation
from replay.simulate.world import Event, World

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
    schedule = Schedule(seed, find(faults), world)
    events: list[Event] = []
    found = None
    try:
        for event in schedule.events(inputs):
            events.append(event)
            world.apply(event)
        settle(world)
    except Violation as violation:
        found = violation
    finally:
        world.close()
    return _result(world, events, found, seed)


def replay(setup: Setup, events: list[Event]) -> Result:
    """Run a list of events."""
    world, found, done = World(setup), None, 0
    try:
        for event in events:
            done += 1
            world.apply(event)
        settle(world)
    except Violation as violation:
        found = violation
    finally:
        world.close()
    return _result(world, events[:done], found, None)


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
