"""Proof of a strategy before it trades: its bound `step` is explored, in every variant of a small parent that matters.

The variants: day, good-till-cancel, immediate-or-cancel and fill-or-kill, remainders that rest in the engine or at a
venue; and, for those that end by themselves, everything once more with one mishap at any moment: a duplicate, a bust, a
correction, a lie, a session that is lost or a venue that restarts, a pause, a replace, a quote that comes or goes. The
small world has one instrument, two venues on a session each, lots of 1, and wide risk limits.

`prove_once` is what stands before an engine's start: a strategy that is not one of ours is explored once, and the
verdict lies beside its kernels, in the directory whose name hashes what they are made of.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from engine.core.state import State
from engine.jit import JIT
from engine.record.records import Tif
from engine.run import config as c
from engine.run.bind import bind
from engine.run.outside import find
from engine.run.reference import build_state
from engine.workflow.explore import Exploration, explore
from engine.workflow.explore_account import Options
from engine.workflow.machine import MachineError

_DAY = dt.date(2018, 1, 2)
#: What a strategy from outside must hold in before an engine starts with it, and how far it is explored.
_BEFORE_START: Final = ("IOC", "GTC, rests at the engine")
_MOST_BEFORE_START: Final = 300_000
_VERDICT: Final = "explored.json"


def small_config(strategy: str, rest: str = "engine") -> c.Config:
    """Two venues, one client, one instrument."""
    return c.Config(
        engine=c.Engine(run_dir="none", trading_day=_DAY.isoformat()),
        orders=c.Orders(endpoint="ipc:///none"),
        risk=c.Risk(**c.ALL_OFF, max_qty="1000", max_notional="1000000", collar_bps=5000, reference_age_ms=10**9),
        feed=[],
        session=[
            c.Session(name="client", role="client"),
            c.Session(name="v0", role="venue"),
            c.Session(name="v1", role="venue"),
        ],
        venue=[c.Venue(mic="XA", code="A", session="v0"), c.Venue(mic="XB", code="B", session="v1")],
        instrument=[c.Instrument(symbol="AAA", px_decimals=2, tick_table="cents")],
        tick_table=[c.TickTable(name="cents", rows=[("0", "0.01")])],
        capacity=c.Capacity(instruments=1, venues=2, parents=1, children=4, executions=16, accounts=1),
        routing=c.Routing(
            strategy=strategy,
            stale_ms=400,
            child_timeout_ms=500,
            max_cancels=1,
            day_end="21:00:00",
            sweep=c.Sweep(max_rounds=2, rest="venue" if rest == "venue" else "engine"),
        ),
    )


def variants() -> list[tuple[str, Options]]:
    """(where remainders rest, options) of each variant."""
    found = []
    for tif in (Tif.DAY, Tif.GTC, Tif.IOC, Tif.FOK):
        for rest in ("engine", "venue") if tif in (Tif.DAY, Tif.GTC) else ("engine",):
            found.append((rest, Options(name=f"{tif.name}, rests at the {rest}", tif=int(tif))))
    for tif in (Tif.IOC, Tif.FOK):
        found.append(("engine", Options(name=f"one mishap, {tif.name}", tif=int(tif), troubles=1)))
    return found


def make_state(strategy: str, rest: str) -> Callable[[], State]:
    """What makes the state of the small world."""
    return lambda: build_state(small_config(strategy, rest), _DAY, 1)


def prove(
    strategy: str,
    only: str = "",
    each: Callable[[Exploration], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **changes: Any,
) -> list[Exploration]:
    """Explore the variants of a strategy whose name begins with `only`; `changes` are fields of Options.

    `each` is called with what was found of a variant, `progress` with (its name, states, transitions) now and then.
    BindError, MachineError.
    """
    bound = bind(strategy)
    phases = {state.code: state.name for state in bound.machine.states}
    found = []
    # Compiled and loaded here, so that the seconds of the first variant are those of exploring it.
    explore(bound.step, make_state(strategy, "engine"), Options(max_transitions=1), phases)
    for rest, options in variants():
        if not options.name.startswith(only):
            continue
        chosen = msgspec.structs.replace(options, **changes)
        told = partial(progress, options.name) if progress is not None else None
        found.append(explore(bound.step, make_state(strategy, rest), chosen, phases, told))
        if each is not None:
            each(found[-1])
    return found


def prove_once(strategy: str, progress: Callable[[str, int, int], None] | None = None) -> list[Exploration]:
    """Explore a strategy that is not one of ours, unless that was done before; what was found now.

    Ours are explored by the tests (tests/workflow). `progress` as for `prove`. MachineError, with the shortest list of
    events, where something does not hold. Worst case: one with so many states that it is explored in part; the result
    says so.
    """
    found = find(strategy)
    verdict = found.folder / _VERDICT
    if not JIT or not found.texts or verdict.exists():
        return []
    explored = []
    for name in _BEFORE_START:
        explored += prove(strategy, name, progress=progress, max_transitions=_MOST_BEFORE_START)
        wrong = next((row for row in explored if row.violated), None)
        if wrong is not None:
            lines = "\n".join(f"  {line}" for line in wrong.counterexample)
            raise MachineError(
                f"strategy {strategy} does not hold ({wrong.name}): {wrong.violated}; the shortest way there:\n{lines}"
            )
    verdict.write_bytes(msgspec.json.encode(explored))
    return explored
