"""`perf kill`: a mass cancel of 10,000 live orders while the feed keeps the loop busy.

A whole engine, its journal and its control server; feed, client and venue are shared-memory rings whose other ends are
one thread (`perf.kill_world`), on another core. 10,000 parents rest at a venue, an order each. Then `cancel-all` goes
over the control socket, as from a person, while quotes come as fast as the loop takes them (from 50 ms before it to the
end of the last order: the journal of a feed without end would fill the disk).

    kill sent       from the command's sending to the arrival of the last cancel at the venue; aim 5 ms
    kill first      to the arrival of the first
    kill loop       from the loop's taking the command to its making the last cancel, by the engine's clock
    kill ended      from the command's sending to the report that all orders have ended
    kill unpaced …  is the above without a limit of the session; `kill paced` is held to PACE messages a second: the
                    ratio is what it took against what the limit needs (aim 1.05; less would break the limit)
    kill feed       quotes a second that the loop took meanwhile

Worst case: two cores, and the journal's helper, the control server and the other ends share one: a time slice of theirs
is in the maximum.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.io.atomics import load_acquire, monotonic_ns, store_i64, store_release
from engine.io.ring import CONSUMER, PRODUCER, Ring, ring_pop, ring_push
from engine.record.records import OrdType, Side, Template, Tif, blank
from engine.run.config import Config
from engine.run.control_client import dial
from engine.run.control_wire import new_request
from engine.run.daemon import Engine
from engine.run.links import RING_SLOTS
from perf import desk
from perf import kill_world as ends
from perf.bench import BenchError
from perf.result import Progress, Result, Row, at_most, result

ORDERS = 10_000
ROUNDS = 20
#: Messages a second that the paced session allows, and how many at once.
PACE, BURST = 100_000, 100
#: The aims.
SENT_NS, PACED = 5_000_000, 1.05
_PATIENCE_S = 60.0


def run(progress: Progress, *, core: int = -1, short: bool = False) -> Result:
    """Measure; `core` is the loop's (-1: the last that this process may use)."""
    core = max(os.sched_getaffinity(0)) if core < 0 else core
    orders, rounds = (500, 2) if short else (ORDERS, ROUNDS)
    rows: list[Row] = []
    for name, pace in (("unpaced", 0), ("paced", PACE)):
        progress(f"{name}: compile and rehearse", 0.0)
        with _opened(core, orders, pace) as bench:
            found = []
            for n in range(rounds):
                found.append(bench.kill(orders))
                progress(name, (n + 1) / rounds)
        rows += _rows(name, np.array(found, dtype=np.int64), orders, pace)
    notes = [
        f"{orders:,} orders at one venue, {rounds} rounds; the feed never ends",
        f"paced: {PACE:,} messages a second, {BURST} at once",
    ]
    return result("kill", rows, notes, core)


def _rows(name: str, found: np.ndarray[Any, Any], orders: int, pace: int) -> list[Row]:
    """Rows of one case; columns of `found` are those that `Bench.kill` returns."""
    rows = [
        Row(name=f"kill {name} {what}", unit="ns", p50=float(np.median(found[:, k])), max=float(found[:, k].max()),
            n=len(found))
        for k, what in enumerate(("sent", "first", "loop", "ended"))
    ]  # fmt: skip
    if pace:
        needed = (orders - BURST) * 1e9 / pace
        rows[2] = at_most(
            msgspec.structs.replace(rows[2], baseline=needed, ratio=float(np.median(found[:, 2])) / needed), PACED
        )
    else:
        rows[0] = at_most(rows[0], SENT_NS)
    return [*rows, Row(name=f"kill {name} feed", unit="quotes/s", p50=float(np.median(found[:, 4])), n=len(found))]


class Bench:
    """An engine under a feed, with its other ends."""

    def __init__(self, engine: Engine, world: ends.World) -> None:
        self.engine, self._world = engine, world
        self._at = int(world.line.ctypes.data)
        self._sent = 0

    def _load(self, word: int) -> int:
        return int(load_acquire(self._at + word))

    def _until(self, what: str, there: Any) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not there():
            if time.monotonic() > until or not self.engine.running:
                figures = {n: self.engine.gauge(n) for n in ("live_children", "refusals", "risk_blocks", "send_errors")}
                raise BenchError(f"perf kill: waited {_PATIENCE_S:g} s for {what}; the engine has {figures}")
            time.sleep(0.001)

    def kill(self, orders: int) -> tuple[int, ...]:
        """Place the orders, cancel them all: ns to the last and the first cancel, by the loop, to the end; quotes/s."""
        self._sent += orders
        store_release(self._at + ends.WANTED, self._sent)
        self._until(f"{orders} live orders", lambda: self.engine.gauge("live_children") == orders)
        self._until("a quiet queue", lambda: self.engine.gauge("work_queue") == 0)
        store_i64(self._at + ends.CANCELS, 0)
        store_release(self._at + ends.FEEDING, 1)
        time.sleep(0.05)  # the feed alone, for a while
        quotes, began_ns = self.engine.gauge("quotes"), monotonic_ns()
        with dial(self.engine.run_dir) as line:
            answers = line.ask(new_request("cancel-all"), _PATIENCE_S)
            asked_ns = monotonic_ns()
            reports = [answer.report for answer in answers if answer.report is not None]
        ended_ns = monotonic_ns()
        store_release(self._at + ends.FEEDING, 0)
        last = reports[-1]
        if last["live_children"] != orders or last["acknowledged"] != orders or self._load(ends.CANCELS) != orders:
            raise BenchError(f"perf kill: {orders} orders, {self._load(ends.CANCELS)} cancels came, and it said {last}")
        rate = (self.engine.gauge("quotes") - quotes) * 1e9 / (monotonic_ns() - began_ns)
        self._until("all parents to end", lambda: self.engine.gauge("live_parents") == 0)
        return (
            self._load(ends.LAST_NS) - asked_ns,
            self._load(ends.FIRST_NS) - asked_ns,
            last["last_cancel_ns"] - last["command_ns"],
            ended_ns - asked_ns,
            int(rate),
        )


def _config(folder: Path, core: int, orders: int, pace: int) -> Config:
    shm = f"shm://{folder}"
    path = desk.write(
        folder, clock="monotonic", core=core, feed=f"{shm}/feed", desk=f"{shm}/desk", venues=f"{shm}/venues",
        stale_ms=60_000,
    )  # fmt: skip
    config = desk.read(path)
    sessions = [
        msgspec.structs.replace(row, messages_per_s=pace, burst=BURST if pace else 1) if row.role == "venue" else row
        for row in config.session
    ]
    room = 1 << max(orders - 1, 255).bit_length()
    return msgspec.structs.replace(
        config,
        session=sessions,
        capacity=msgspec.structs.replace(config.capacity, parents=room, children=2 * room),
        routing=msgspec.structs.replace(
            config.routing, sweep=msgspec.structs.replace(config.routing.sweep, rest="venue", post_venue="XNYS")
        ),
        snapshots=msgspec.structs.replace(config.snapshots, every_s=0),
    )


@contextlib.contextmanager
def _opened(core: int, orders: int, pace: int) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tickroute-kill-")))
        config = _config(folder, core, orders, pace)
        feed = Ring.create(folder / "feed", RING_SLOTS, PRODUCER)
        stack.callback(feed.close)
        engine = Engine(config)
        stack.callback(lambda: engine.stop(cancel=False))
        world = ends.make()
        _fill_in(world, folder, feed, stack)
        thread = threading.Thread(target=ends.world, args=(world,), name="perf-kill-world", daemon=True)
        _learn(world)
        engine.start()
        thread.start()
        stack.callback(thread.join)
        stack.callback(lambda: store_release(int(world.line.ctypes.data) + ends.STOP, 1))
        bench = Bench(engine, world)
        store_release(int(world.line.ctypes.data) + ends.FEEDING, 1)
        bench._until("its sessions", lambda: engine.gauge("sessions_up") == 2 and engine.gauge("quotes") > 0)
        store_release(int(world.line.ctypes.data) + ends.FEEDING, 0)
        yield bench


def _fill_in(world: ends.World, folder: Path, feed: Ring, stack: contextlib.ExitStack) -> None:
    """Rings, prices, and the hellos of both sessions."""
    line = world.line[0]
    line.feed = feed.address
    for name in ("desk", "venues"):
        tx, rx = Ring.attach(folder / f"{name}.in", PRODUCER), Ring.attach(folder / f"{name}.out", CONSUMER)
        stack.callback(tx.close)
        stack.callback(rx.close)
        hello = blank(Template.SESSION_UP)
        hello["stream_epoch"], hello["stream_seq"] = 1, 1
        ring_push(tx.address, hello.ctypes.data, hello.dtype.itemsize)
        if name == "desk":
            line.client, line.client_out, line.client_seq = tx.address, rx.address, 1
        else:
            line.venue, line.venue_out, line.venue_seq = tx.address, rx.address, 1
    quote, order = world.quote[0], world.order[0]
    quote.venue_id = quote.stream_id = 0
    quote.bid_px, quote.ask_px, quote.bid_qty, quote.ask_qty = 1_570_000, 1_570_100, 100, 100
    order.side, order.ord_type, order.tif, order.qty, order.px = Side.BUY, OrdType.LIMIT, Tif.DAY, 100, 1_569_000


def _learn(world: ends.World) -> None:
    """Compile or load what the measurement calls: a world that is told to stop at once."""
    address = int(world.line.ctypes.data)
    store_release(address + ends.STOP, 1)
    ends.world(world)
    store_release(address + ends.STOP, 0)
    load_acquire(address)
    ring_pop(int(world.line["client_out"][0]), world.got.ctypes.data)
