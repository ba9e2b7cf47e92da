"""`perf machine`: what a transition of a verified machine costs, beside libraries that do nothing else.

The machine is the shipped `sweep`, bound as for a run. WORKFLOWS of them are taken in turn through MOVES events with
given outcomes, a seeded walk that ends nowhere; every library takes the same walk, and a slow twin (a dictionary made
from the declaration) says where each workflow must be at its end, and what the sum of all states on the way must be.

    machine tickroute           ns a transition in the loop: dense tables, the state one byte of the order's row
    machine tickroute chained   the same for one single workflow: each transition waits for the one before
    machine undoable            the turn's whole `fire`: undo log, step by number, effects, transition
    machine transitions         pytransitions
    machine python-statemachine
    machine xstate              under Node

`baseline` of a library's row is tickroute's p50, and `ratio` how many times as long it takes. Rounds alternate. Worst
case: a library that is not there is left out, and a note says how to get it.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from engine.core.limits import OUTBOX
from engine.core.state import make_outbox
from engine.errors import TickrouteError
from engine.run import manifest
from engine.run.bind import bind
from engine.workflow.machine import Machine
from perf import desk
from perf.bench import bind_driver
from perf.machine_peers import PEERS, Peer, Plan
from perf.result import Progress, Result, Row, at_most, result

#: A power of two; as many as a desk has open orders at a time, all their rows within the second-level cache.
WORKFLOWS, MOVES = 64, 16_384
ROUNDS = 5
#: A round of ours is the median of CHUNKS: one that the scheduler interrupts is not in it.
CHUNKS = 25
#: Times that the walk is repeated a chunk, and events of the `fire` row a chunk: some milliseconds.
REPEATS, FIRED = 100, 100_000
#: The aim, ns.
TRANSITION_NS = 3.0


class MachineBenchError(TickrouteError):
    """A walk that did not end where the twin says: its figures are figures of nothing."""


class Walk(NamedTuple):
    """A walk: uint8 events and outcomes, the sum of all states come to, the states at the end, and the plan of it."""

    moves: np.ndarray
    outcomes: np.ndarray
    total: int
    ends: list[int]
    plan: Plan


def run(progress: Progress, *, core: int = -1, short: bool = False) -> Result:
    """Measure; `core` is the CPU to run on (-1: the last that this process may use)."""
    core = max(os.sched_getaffinity(0)) if core < 0 else core
    progress("bind and compile", 0.0)
    with tempfile.TemporaryDirectory(prefix="tickroute-perf-") as folder:
        config = desk.read(desk.write(Path(folder)))
    machine = bind(config.routing.strategy).machine
    kernels = bind_driver(config.routing.strategy, "walk")
    state, outbox = manifest.make(config, 1, 0).initial_state(), make_outbox(OUTBOX)
    count = 512 if short else MOVES
    many, one = walk_of(machine, WORKFLOWS, count), walk_of(machine, 1, count)
    repeats, fired = (2, 1_000) if short else (REPEATS, FIRED)

    def walked(walk: Walk) -> float:
        return float(np.median([_walked(kernels, state, walk, repeats) for _ in range(CHUNKS)]))

    def undoable() -> float:
        return float(np.median([_undoable(kernels, state, outbox, fired) for _ in range(CHUNKS)]))

    ours = {"tickroute": lambda: walked(many), "tickroute chained": lambda: walked(one), "undoable": undoable}
    notes = [f"machine {machine.name}, {count:,} moves of {WORKFLOWS} workflows; states compared with a twin's"]
    peers = _peers(notes)
    timed: dict[str, Callable[[], float]] = {**ours}
    for peer in peers:
        timed[peer.name] = lambda peer=peer: _library(peer, many)  # type: ignore[misc]
    found = _measure(timed, 1 if short else ROUNDS, core, progress)
    return result("machine", _rows(found, ours.keys(), count), notes, core)


def _measure(
    timed: dict[str, Callable[[], float]], rounds: int, core: int, progress: Progress
) -> dict[str, list[float]]:
    """ns a transition of everything, round by round; a round before that is not counted compiles and warms up."""
    allowed = os.sched_getaffinity(0)
    found: dict[str, list[float]] = {name: [] for name in timed}
    os.sched_setaffinity(0, {core})
    try:
        for number in range(rounds + 1):
            for place, (name, time_it) in enumerate(timed.items()):
                progress(name, (number + place / len(timed)) / (rounds + 1))
                took = time_it()
                if number:
                    found[name].append(took)
    finally:
        os.sched_setaffinity(0, allowed)
    return found


def _rows(found: dict[str, list[float]], ours: object, count: int) -> list[Row]:
    own = float(np.median(found["tickroute"]))
    rows = []
    for name, times in found.items():
        row = Row(name=f"machine {name}", unit="ns", p50=float(np.median(times)), max=max(times), n=count)
        if name not in ours:  # type: ignore[operator]
            ratio = float(np.median([one / mine for one, mine in zip(times, found["tickroute"], strict=True)]))
            row = Row(name=row.name, unit="ns", p50=row.p50, max=row.max, n=count, baseline=own, ratio=ratio)
        rows.append(at_most(row, TRANSITION_NS) if name == "tickroute" else row)
    return rows


def _peers(notes: list[str]) -> list[Peer]:
    """The libraries that are here; a note says why one is not, or which version is."""
    found: list[Peer] = []
    for make in PEERS:
        peer: Peer = make()
        why = peer.why_not()
        if why is None:
            found.append(peer)
            notes.append(f"{peer.name} {peer.version()}")
        else:
            notes.append(f"left out: {why}")
    return found


def _walked(kernels: ModuleType, state: object, walk: Walk, repeats: int) -> float:
    """ns a transition of our own walk."""
    began = time.perf_counter_ns()
    total = int(kernels.walk(state, walk.moves, walk.outcomes, walk.plan.workflows, repeats))
    spent = time.perf_counter_ns() - began
    _same("the sum of all states", total, walk.total * repeats)
    phases: np.ndarray = state.parents["phase"]  # type: ignore[attr-defined]
    _same("states at the end", phases[: walk.plan.workflows].tolist(), walk.ends)
    return spent / (len(walk.moves) * repeats)


def _undoable(kernels: ModuleType, state: object, outbox: object, count: int) -> float:
    """ns a transition through the turn's own `fire`."""
    began = time.perf_counter_ns()
    good = int(kernels.undoable(state, outbox, WORKFLOWS, count))
    spent = time.perf_counter_ns() - began
    _same("transitions that came back", good, count)
    return spent / count


def _library(peer: Peer, walk: Walk) -> float:
    """ns a transition of a library."""
    done = peer.run(walk.plan)
    names = [walk.plan.states[code - 1] for code in walk.ends]
    _same(f"{peer.name}: states at the end", done.ends, names)
    return done.ns / len(walk.moves)


def _same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise MachineBenchError(
            f"{what}: {str(found)[:200]}, not {str(wanted)[:200]}: a bug in perf/ or in the machine"
        )


def walk_of(machine: Machine, workflows: int, count: int, seed: int = 1) -> Walk:
    """A seeded walk of `count` moves, taken by the slow twin: a dictionary from (state, event, outcome) to a state.

    Workflow k % n makes move k. Moves after which a workflow could only wait for its end are not among them, so that
    each goes round through all states that have a way back to the initial one.
    """
    twin = {
        (t.state.name, t.event.name, outcome): to.name
        for t in machine.transitions
        for outcome, to in t.outcomes.items()
    }
    code = {state.name: state.code for state in machine.states}
    final = [state.name for state in machine.states if state.terminal]
    initial = next(state.name for state in machine.states if state.initial)
    back = {initial}
    while more := {source for (source, _, _), to in twin.items() if to in back} - back:
        back |= more
    choices: dict[str, list[tuple[str, int]]] = {}
    for (source, event, outcome), to in twin.items():
        if to in back:
            choices.setdefault(source, []).append((event, outcome))
    draw = random.Random(seed)
    at, total = [initial] * workflows, 0
    moves: list[tuple[str, int]] = []
    for k in range(count):
        source = at[k % workflows]
        event, outcome = draw.choice(choices[source])
        moves.append((event, outcome))
        at[k % workflows] = twin[(source, event, outcome)]
        total += code[at[k % workflows]]
    names = [state.name for state in sorted(machine.states, key=lambda state: state.code)]
    _same("codes of states", [code[name] for name in names], list(range(1, len(names) + 1)))
    edges = [(f"{event}_{outcome}", source, to) for (source, event, outcome), to in twin.items()]
    if machine.failing is not None:
        # Where a failed step leads from anywhere; libraries refuse a machine with a state that nothing leads to.
        failing = machine.failing.name
        edges += [("FAIL", source, failing) for source in names if source not in (*final, failing)]
    plan = Plan(names, initial, final, edges, [f"{event}_{outcome}" for event, outcome in moves], workflows)
    events = np.array([int(machine.events[event]) for event, _ in moves], dtype=np.uint8)
    outcomes = np.array([outcome for _, outcome in moves], dtype=np.uint8)
    return Walk(events, outcomes, total, [code[name] for name in at], plan)
