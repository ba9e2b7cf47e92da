"""The machine of `perf machine` in other libraries: the same states, the same moves, no callbacks.

A Peer takes `workflows` instances in turn through named moves and gives back the states that they end in. A name is an
event with its outcome, since these libraries have no outcomes: "START_0". Whatever can be looked up before the clock
runs is looked up before. Worst case: a library that is not installed; `why_not` then says how to get it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import TickrouteError

SCRIPT = Path(__file__).with_name("machine_xstate.cjs")
XSTATE_S = 300


class PeerMachineError(TickrouteError):
    """A library that is there and did not do as it should; the message holds what it said."""


class Plan(NamedTuple):
    """A machine for a library: names of states, and (name of move, from, to); `moves` is what is done, in order."""

    states: list[str]
    initial: str
    final: list[str]
    edges: list[tuple[str, str, str]]
    moves: list[str]
    workflows: int


class Run(NamedTuple):
    """What a library did: ns for all moves, and the states that the workflows ended in."""

    ns: int
    ends: list[str]


class Peer:
    """One library. `run` may be called again: each time all workflows begin anew."""

    name = ""
    get = "pip install 'tickroute[peers]'"

    def why_not(self) -> str | None:
        """Why it cannot be measured here; None where it can."""
        try:
            importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return f"{self.name} is not installed: {self.get}"
        return None

    def version(self) -> str:
        """The version that is measured."""
        return importlib.metadata.version(self.name)

    def run(self, plan: Plan) -> Run:
        """Take all workflows through the plan's moves."""
        calls, instances = self.prepare(plan)
        began = time.perf_counter_ns()
        for call in calls:
            call()
        spent = time.perf_counter_ns() - began
        return Run(spent, [self.state_of(one) for one in instances])

    def prepare(self, plan: Plan) -> tuple[list[Any], list[Any]]:
        """(a callable a move, the instances)."""
        raise NotImplementedError

    def state_of(self, instance: Any) -> str:
        """Name of an instance's state."""
        raise NotImplementedError


class Transitions(Peer):
    """pytransitions, its plain Machine with many models."""

    name = "transitions"

    def prepare(self, plan: Plan) -> tuple[list[Any], list[Any]]:
        """A trigger method a move."""
        machine = importlib.import_module("transitions").Machine
        models = [_Model() for _ in range(plan.workflows)]
        rows = [{"trigger": name, "source": source, "dest": to} for name, source, to in plan.edges]
        machine(model=models, states=plan.states, transitions=rows, initial=plan.initial, auto_transitions=False)
        return _calls(models, plan), models

    def state_of(self, instance: Any) -> str:
        """The model's attribute."""
        return str(instance.state)


class _Model:
    """What pytransitions puts its triggers on."""


class StateMachine(Peer):
    """python-statemachine, a class made from the plan."""

    name = "python-statemachine"

    def prepare(self, plan: Plan) -> tuple[list[Any], list[Any]]:
        """An event method a move."""
        library = importlib.import_module("statemachine")
        states = {name: library.State(initial=name == plan.initial, final=name in plan.final) for name in plan.states}
        events: dict[str, Any] = {}
        for name, source, to in plan.edges:
            edge = states[source].to(states[to])
            events[name] = events[name] | edge if name in events else edge
        made = type("Order", (library.StateMachine,), {**states, **events})
        instances = [made() for _ in range(plan.workflows)]
        return _calls(instances, plan), instances

    def state_of(self, instance: Any) -> str:
        """Its one active state."""
        return str(next(iter(instance.configuration)).id)


def _calls(instances: Sequence[Any], plan: Plan) -> list[Any]:
    """The bound method of each move, looked up once for each instance and name."""
    known = [{name: getattr(one, name) for name in dict.fromkeys(plan.moves)} for one in instances]
    return [known[k % plan.workflows][name] for k, name in enumerate(plan.moves)]


class XState(Peer):
    """xstate under Node, an actor a workflow; it times itself."""

    name = "xstate"
    get = f"npm install --prefix {'{prefix}'}/peers xstate@5.33.3"

    def __init__(self) -> None:
        self._version = ""

    def why_not(self) -> str | None:
        """Node, and xstate in node_modules of this folder, of one above it, or of the environment's `peers`."""
        if shutil.which("node") is None:
            return "xstate needs Node.js: there is no node on the PATH"
        code = f"process.stdout.write(require(require.resolve('xstate/package.json', {_paths()})).version)"
        done = subprocess.run(["node", "-e", code], capture_output=True, text=True, timeout=60, check=False)
        self._version = done.stdout
        return f"xstate is not installed: {self.get.format(prefix=sys.prefix)}" if done.returncode else None

    def version(self) -> str:
        """The version that is measured."""
        return self._version

    def run(self, plan: Plan) -> Run:
        """One process of Node: warmed up with the same moves, then timed."""
        text = json.dumps(plan._asdict() | {"paths": [os.getcwd(), f"{sys.prefix}/peers"]})
        done = subprocess.run(
            ["node", str(SCRIPT)], input=text, capture_output=True, text=True, timeout=XSTATE_S, check=False
        )
        if done.returncode:
            raise PeerMachineError(f"xstate: node ended with {done.returncode}: {done.stderr[-2000:]}")
        found = json.loads(done.stdout)
        return Run(int(found["ns"]), list(found["ends"]))


def _paths() -> str:
    """Where node is to look, as the argument of require.resolve."""
    return json.dumps({"paths": [os.getcwd(), f"{sys.prefix}/peers"]})


PEERS = (Transitions, StateMachine, XState)
