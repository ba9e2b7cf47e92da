"""Exploration: a bound `step` is run on every order of events that one parent can meet, and each state is judged.

Breadth first from one accepted parent of a few lots on a few venues. A state is the core's State with the explorer's
account of what really happened; two paths to one state are explored once (`explore_memory`). What may happen is in
`explore_events`, what must hold in `explore_invariants`. The first violation is the shortest there is, and is told as a
list of events.

Termination is judged on the whole graph: from each state the parent's end must be reachable by what is sure to happen,
whatever else does not: time passes, sessions come back, venues answer what they are asked and report what they owe,
and the client cancels (`explore_events.SURE`). And no state may come back to itself by timers that take no time.

A strategy may want more children than are explored. Such a path is cut, and followed on in one way only: every child
comes back at once (`explore_beyond`). One that never stops sending then is a violation: it may re-route without end.

Worst case: the number of states grows with the product of the children's; the budgets of Options keep it finite, and
`max_transitions` ends it (the result then says that it is not complete).
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from engine.core.state import State
from engine.record.records import OrdStatus
from engine.workflow.explore_account import CHILDREN, HEARD, NUMBER, OWED, QTY, VENUE, Options, child_at
from engine.workflow.explore_beyond import ROUNDS, Beyond
from engine.workflow.explore_events import SURE, World, kind_of
from engine.workflow.explore_invariants import Cut, Judge, Violation
from engine.workflow.explore_memory import Arena
from engine.workflow.explore_records import Kind

#: A bound step(state, events, i, outbox) -> records in the outbox.
Step = Callable[..., int]
#: What a step may raise: a kernel's assertion, or an index or a number out of range in unjitted code.
RAISED = (AssertionError, ArithmeticError, IndexError, KeyError, RuntimeError, SystemError, TypeError, ValueError)


class Exploration(msgspec.Struct, kw_only=True):
    """What was found. `counterexample` has a line an event and a line for what it left behind."""

    name: str
    states: int = 0
    transitions: int = 0
    depth: int = 0
    seconds: float = 0.0
    #: False where `max_transitions` ended it, or a violation did.
    complete: bool = False
    #: Paths that want more children than are explored; each was followed on with every child coming back.
    cut: int = 0
    #: That bound.
    children: int = 0
    #: The invariant that does not hold; empty where all do.
    violated: str = ""
    counterexample: list[str] = []
    #: States found by the parent's workflow state.
    visits: dict[str, int] = {}

    @property
    def good(self) -> bool:
        """Whether all was explored and all holds."""
        return self.complete and not self.violated

    @property
    def counted(self) -> str:
        """How much was explored, and how much was not, in words."""
        cut = f", {self.cut:,} paths cut at {self.children} children" if self.cut else ""
        return f"{self.states:,} states, {self.transitions:,} transitions{cut}"


def explore(
    step: Step,
    make_state: Callable[[], State],
    options: Options,
    phases: Mapping[int, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exploration:
    """Run `step` on all that can happen to one parent on the state of a small configuration, and judge it.

    `make_state`: session 0 is the client's, session 1 + v venue v's; one instrument, lots of 1. `phases` names the
    parent's workflow states. `progress` is called with (states, transitions) now and then.
    """
    search = _Search(step, make_state(), options, phases or {})
    began = time.monotonic()
    search.run(progress)
    search.found.seconds = time.monotonic() - began
    return search.found


class _Search:
    """One breadth-first search."""

    def __init__(self, step: Step, state: State, options: Options, phases: Mapping[int, str]) -> None:
        self.step, self.options, self.phases = step, options, phases
        self.arena = Arena(state)
        self.world = World(self.arena, options)
        self.judge = Judge(self.world)
        self.beyond = Beyond(step, self.world)
        self.found = Exploration(name=options.name, children=options.children)
        self.index: dict[bytes, int] = {}
        self.came_from, self.came_by = array("i"), array("H")
        self.edge_from, self.edge_to, self.edge_sort = array("I"), array("I"), array("B")
        self.ends: list[int] = []
        self.visits: Counter[int] = Counter()
        self.start = self.arena.save(), bytes(self.world.ghost)

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Search until there is nothing new, or a violation."""
        try:
            self._begin()
        except (Violation, *RAISED) as error:
            self._violated(_why(error), [])
            return
        level = [(0, self.arena.save(), bytes(self.world.ghost))]
        while level and not self.found.violated:
            following: list[tuple[int, bytes, bytes]] = []
            for node, saved, ghost in level:
                self._expand(node, saved, ghost, following)
                if self._over():
                    break
            if self.found.transitions > self.options.max_transitions:
                break
            if progress is not None:
                progress(len(self.came_from), self.found.transitions)
            level = following
            self.found.depth += bool(level)
        else:
            self.found.complete = not self.found.violated
        self.found.states = len(self.came_from)
        self.found.visits = {self.phases.get(code, str(code)): n for code, n in sorted(self.visits.items())}
        if self.found.complete:
            self._check_termination()

    def _begin(self) -> None:
        for _ in self.world.prologue():
            self._take()
        self._node(-1, 0)

    def _take(self) -> None:
        """One step, heard and judged."""
        self.judge.hear(self.step(self.arena.state, self.world.input, 0, self.world.outbox))
        if self.world.ghost[CHILDREN] or self.arena.bytes[self.judge.status_at]:
            self.judge.judge()

    def _node(self, source: int, code: int) -> int:
        """Number of the state that we are in now; a new one where it was not known (then it is the last)."""
        name = self.arena.name(self.world.ghost)
        node = self.index.setdefault(name, len(self.came_from))
        if node == len(self.came_from):
            self.came_from.append(source)
            self.came_by.append(code)
            self.visits[self.arena.bytes[self.judge.phase_at]] += 1
            if self.judge.ended():
                self.ends.append(node)
        return node

    def _over(self) -> bool:
        """Whether there is nothing more to look for: something was found, or the limit is reached."""
        return bool(self.found.violated) or self.found.transitions > self.options.max_transitions

    def _expand(self, node: int, saved: bytes, ghost: bytes, following: list[tuple[int, bytes, bytes]]) -> None:
        arena, world = self.arena, self.world
        arena.restore(saved)
        world.ghost[:] = ghost
        for code in world.events():
            arena.restore(saved)
            world.ghost[:] = ghost
            before = arena.now_ns
            sort = self._sort(code)
            self.found.transitions += 1
            try:
                world.put(code)
                self._take()
            except Cut:
                if self._cut(node, code):
                    return
                continue
            except (Violation, *RAISED) as error:
                self._violated(_why(error), [*self._path(node), code])
                return
            known = len(self.came_from)
            target = self._node(node, code)
            if target == known:
                following.append((target, arena.save(), bytes(world.ghost)))
            self.edge_from.append(node)
            self.edge_to.append(target)
            self.edge_sort.append(sort | (2 if sort and kind_of(code) == Kind.TIMER and arena.now_ns == before else 0))

    def _cut(self, node: int, code: int) -> bool:
        """A path that wants one child more; True where it is a violation. Where sending stops, that is as an end."""
        self.found.cut += 1
        try:
            back = self.beyond.endless()
        except RAISED as error:
            self._violated(_why(error), [*self._path(node), code])
            return True
        if back:
            self._violated(
                f"it may re-route without end: every child is {back} at once, and after {ROUNDS:,} rounds it still "
                "sends; count the rounds",
                [*self._path(node), code],
            )
            return True
        self.ends.append(node)
        return False

    def _sort(self, code: int) -> int:
        """1 for an event that is sure to happen, sooner or later."""
        kind = kind_of(code)
        if kind in SURE:
            return 1
        return int(kind == Kind.FILL_LOT and self.world.ghost[child_at(code & 255) + OWED] > 0)

    # ---- termination

    def _check_termination(self) -> None:
        sort = np.frombuffer(self.edge_sort, np.uint8)
        source, target = np.frombuffer(self.edge_from, np.uint32), np.frombuffer(self.edge_to, np.uint32)
        sure = (sort & 1) != 0
        good = _reaches(source[sure], target[sure], self.ends, len(self.came_from))
        stuck = np.flatnonzero(~good)
        if len(stuck):
            self.found.complete = False
            self._violated(
                "it does not end: whatever is sure to happen leads to no end of the parent", self._path(int(stuck[0]))
            )
            return
        at_once = (sort & 2) != 0
        follows = dict(zip(source[at_once].tolist(), target[at_once].tolist(), strict=True))
        for node in sorted(follows):
            seen, here = {node}, follows[node]
            while here in follows and here not in seen:
                seen.add(here)
                here = follows[here]
            if here in seen:
                self.found.complete = False
                self._violated("it turns in a circle: timers that are due at once lead back here", self._path(node))
                return

    # ---- telling it

    def _path(self, node: int) -> list[int]:
        codes: list[int] = []
        while self.came_from[node] >= 0:
            codes.append(self.came_by[node])
            node = self.came_from[node]
        return codes[::-1]

    def _violated(self, why: str, path: list[int]) -> None:
        self.found.violated = why
        saved, ghost = self.start
        self.arena.restore(saved)
        self.world.ghost[:] = ghost
        lines = self.found.counterexample
        try:
            for _ in self.world.prologue():
                self._take()
            lines.append(f"start: {self._describe()}")
            for n, code in enumerate(path):
                lines.append(f"{n + 1}. {self._event(code)}")
                self.world.put(code)
                self._take()
                lines.append(f"   {self._describe()}")
        except (Violation, Cut, *RAISED):
            lines.append(f"   {self._describe()}")

    def _event(self, code: int) -> str:
        kind, arg, g = kind_of(code), code & 255, self.world.ghost
        text = kind.name.lower().replace("_", " ")
        if kind <= Kind.CORRECT:
            at = child_at(arg)
            return f"venue {g[at + VENUE]}: {text}, child {arg + 1} (of {g[at + QTY]}, {g[at + HEARD]} executed)"
        if kind <= Kind.CLEAR:
            return f"venue {arg & 15}: {text}" + (f", {arg >> 4} lots" if arg >> 4 else "")
        if kind <= Kind.RESUME:
            return f"client: {text}" + (f" to {arg}" if arg else "")
        return "time: " + text

    def _describe(self) -> str:
        arena, g, judge = self.arena, self.world.ghost, self.judge
        row, order = arena.state.parents[0], arena.state.parent_orders[0]
        phase = arena.bytes[judge.phase_at]
        text = (
            f"parent {_status(int(row.ord_status))} {self.phases.get(phase, f'state {phase}')}: ordered {order.qty}, "
            f"cum {row.cum_qty}, live {row.live_qty}"
        )
        for n in range(g[CHILDREN]):
            number = g[child_at(n) + NUMBER] & (len(judge.children) - 1)
            cum, leaves, status = judge.children[number]
            text += (
                f" | child {n + 1} {_status(arena.bytes[status])}: cum {arena.words[cum]}, leaves {arena.words[leaves]}"
            )
        return text


def _status(code: int) -> str:
    return OrdStatus(code).name if code in OrdStatus._value2member_map_ else str(code)


def _why(error: BaseException) -> str:
    if isinstance(error, Violation):
        return str(error)
    return f"step raised {type(error).__name__}: {error}" if str(error) else f"step raised {type(error).__name__}"


def _reaches(source: Any, target: Any, ends: list[int], count: int) -> Any:
    """Which of `count` nodes have a way to one of `ends` along the edges; a bool array."""
    order = np.argsort(target, kind="stable")
    by_target, first = source[order], np.searchsorted(target[order], np.arange(count + 1))
    good = np.zeros(count, dtype=bool)
    good[ends] = True
    wave = np.unique(np.asarray(ends, dtype=np.int64))
    while len(wave):
        spans = [by_target[first[n] : first[n + 1]] for n in wave.tolist()]
        found = np.unique(np.concatenate(spans)) if spans else wave[:0]
        wave = found[~good[found]].astype(np.int64)
        good[wave] = True
    return good
