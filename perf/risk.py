"""`perf risk`: what the pre-trade controls cost, beside the gate without them in the same run.

The gate alone: children of one parent go to twelve venues in turn, 10 microseconds of recorded time apart, through the
engine's own `new_child`, `gate` and `finish_child`; only the gate is timed, by the time stamp counter, whose own cost
is in both. "Without" is the gate with kill flag, quantity, notional, venue down, reference and collar, as the
configuration's word "off" leaves it. Rounds alternate.

    risk gate      all rules on; `baseline` is the gate without them
    risk added     the difference of the two p50; the aim is for it
    risk event     every event of a day through the loop (as `core all`); `baseline` without
    risk routing   the events from which child orders left (as `core routing`); `baseline` without

Worst case: a machine whose other cores are busy; the p50 of rounds that alternate stands it best.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from engine.core.limits import OUTBOX
from engine.core.state import C_RISK_BLOCKS, WORKING, Outbox, State, make_outbox
from engine.errors import TickrouteError
from engine.io.histogram import empty
from engine.record.records import Side
from engine.run import manifest
from engine.run.assemble import calibrate_tsc
from engine.run.meter import TSC_SHIFT
from engine.run.wiring import TOTAL
from gateways.feeds.names import Names
from perf import desk, rig
from perf.bench import Bench, opened, stages
from perf.core import CHUNK
from perf.result import Progress, Result, Row, at_most, result, spread
from perf.risk_kernels import pass_orders

ORDERS, ROUNDS = 200_000, 10
GAP_NS, PX, QTY = 10_000, 1_000_000, 100
EVENTS = 1_000_000
#: The aim, ns.
ADDED_NS = 60.0


class RiskBenchError(TickrouteError):
    """Orders that did not pass: figures of blocks are figures of something else."""


def run(progress: Progress, *, core: int = -1, short: bool = False) -> Result:
    """Measure; `core` is the CPU to run on (-1: the last that this process may use)."""
    core = max(os.sched_getaffinity(0)) if core < 0 else core
    orders, rounds = (5_000, 2) if short else (ORDERS, ROUNDS)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        rows = _gate(progress, orders, rounds)
    finally:
        os.sched_setaffinity(0, allowed)
    rows += _events(progress, core, short)
    notes = [f"{orders:,} orders a round, {rounds} rounds of each, alternating; the counter's own cost is in both"]
    return result("risk", rows, notes, core)


def _gate(progress: Progress, orders: int, rounds: int) -> list[Row]:
    """The gate alone."""
    made = {name: _world(text) for name, text in (("on", desk.CONTROLS), ("off", desk.CONTROLS_OFF))}
    counts = {name: empty() for name in made}
    progress("compile", 0.0)
    for state, outbox in made.values():
        _send(state, outbox, min(orders, 2_000), empty())
    for n in range(rounds):
        progress("orders through the gate", n / rounds)
        for name, (state, outbox) in made.items():
            _send(state, outbox, orders, counts[name])
    scale = calibrate_tsc() / (1 << TSC_SHIFT)
    on, off = (_in_ns(spread("risk gate", "ns", counts[name]), scale) for name in ("on", "off"))
    assert on.p50 is not None, "there were orders"
    assert off.p50 is not None, "there were orders"
    added = Row(name="risk added", unit="ns", p50=on.p50 - off.p50, n=on.n)
    with_base = msgspec.structs.replace(on, baseline=off.p50, ratio=on.p50 / off.p50)
    return [with_base, at_most(added, ADDED_NS)]


def _in_ns(row: Row, scale: float) -> Row:
    """A row of ticks in nanoseconds."""
    figures = {key: value * scale for key in ("p50", "p99", "p99_9", "max") if (value := getattr(row, key)) is not None}
    return msgspec.structs.replace(row, **figures)


def _world(controls: str) -> tuple[State, Outbox]:
    """A state in which parent 0 works, its venues are up, and there is a reference."""
    with tempfile.TemporaryDirectory(prefix="tickroute-perf-") as folder:
        config = desk.read(desk.write(Path(folder), controls=controls))
    state = manifest.make(config, 1, 0).initial_state()
    state.core[0].now_ns = 1_500_000_000_000_000_000
    state.sessions[desk.VENUES].up = 1
    state.instruments[0].reference_px2 = 2 * PX
    order, parent = state.parent_orders[0], state.parents[0]
    order.order_id, order.side, order.qty, order.px = len(state.parents), Side.BUY, 1 << 40, PX + 10  # slot 0
    parent.phase, parent.session = WORKING, desk.CLIENT
    return state, make_outbox(OUTBOX)


def _send(state: State, outbox: Outbox, orders: int, counts: np.ndarray) -> None:
    """Orders through the gate; RiskBenchError where one did not pass."""
    made = int(pass_orders(state, outbox, orders, GAP_NS, PX, QTY, counts))
    blocked = int(state.counts[C_RISK_BLOCKS])
    if made != orders or blocked:
        raise RiskBenchError(f"{made} of {orders} orders were made and {blocked} blocked: a bug in perf/")


def _events(progress: Progress, core: int, short: bool) -> list[Row]:
    """A day through the loop, with and without."""
    events, mib = (4_000, 8) if short else (EVENTS, 64)
    with opened(core, mib) as on, opened(core, mib, controls=desk.CONTROLS_OFF) as off:
        day = desk.synthetic_day(Names.of(on.config), *((4_000, 1_000) if short else ()))
        for bench in (on, off):
            bench.load(day)
            _play(bench, events // 4)
            bench.loop.wiring.hist[:] = 0
            rig.clear(_rig(bench))
        done = 0
        while done < events:
            progress("a day through the loop", done / events)
            for bench in (on, off):
                _play(bench, min(CHUNK, events))
            done += min(CHUNK, events)
        for bench in (on, off):
            bench.check()
        every = [spread("risk event", "ns", stages(bench.loop)[TOTAL]) for bench in (on, off)]
        routing = [spread("risk routing", "ns", _rig(bench).routing) for bench in (on, off)]
    return [_beside(*every), _beside(*routing)]


def _rig(bench: Bench) -> rig.Rig:
    assert bench.rig is not None, "a day is loaded"
    return bench.rig


def _play(bench: Bench, records: int) -> None:
    bench.settle()
    bench.play(records)


def _beside(on: Row, off: Row) -> Row:
    if on.p50 is None or not off.p50:
        return on
    return msgspec.structs.replace(on, baseline=off.p50, ratio=on.p50 / off.p50)
