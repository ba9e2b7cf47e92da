"""A live desk for kill tests: engine and simulated venues as processes, feed and client here, over real sockets.

`Lives` sends orders while the engine is killed and started again, waits until everything has ended, and then holds
the venues' count, the client's book and the journal against each other. Nothing in it is simulated but the market.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zmq

from cli.demo_config import VENUES, demo_toml
from cli.demo_processes import Processes
from engine.core.state import C_FILLS, C_QTY_FILLED, State
from engine.io.journal_format import Kind
from engine.io.journal_reader import JournalReader
from engine.record.records import DTYPES, OrdStatus, Side, Template, Tif
from engine.run import manifest
from engine.run.config import load
from engine.run.rerun import Rerun
from gateways.orders.client import OrderClient
from tests.run.engine_peers import Feed

MID = 1_000_000
#: A compiled start takes some seconds where the kernels are cached, a minute where they are not.
START_S = 240.0
ENDED = {OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED}


class Lives:
    """Engine and venues in `folder`; a context manager. `extra` is text that follows the configuration."""

    def __init__(self, folder: Path, seed: int, **changes: str) -> None:
        self.run_dir = folder / "run"
        self.run_dir.mkdir(parents=True)
        self.random = random.Random(seed)
        self.processes = Processes(self.run_dir)
        text = demo_toml(
            self.run_dir, self.processes.sockets, day="2030-01-02", day_end="", orders=20_000, seed=seed,
            stale_ms=60_000, idle="park",
        )  # fmt: skip
        usual = {
            'clock = "feed"': 'clock = "monotonic"',
            "peer_timeout_ms = 2000": "peer_timeout_ms = 500",
            "child_timeout_ms = 60000": "child_timeout_ms = 1000",
        }
        for old, new in (usual | changes).items():
            head, _, rest = text.partition(old)
            text = f"{head}{new}{rest.partition(chr(10))[1]}{rest.partition(chr(10))[2]}"
        self.toml = folder / "desk.toml"
        self.toml.write_text(text, encoding="utf-8")
        self.config = load(self.toml)
        self.context = zmq.Context()
        self.sent = self.lives = self.quotes = 0
        self.feed: Feed | None = None
        self._quoted_s = 0.0

    def __enter__(self) -> Lives:
        self.processes.start("venues", "venues", str(self.toml), "--json", str(self.run_dir / "venues.json"))
        self.client = OrderClient(self.config.orders.endpoint, "desk", peer_timeout_ms=500)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.feed is not None:
            self.feed.close()
        self.context.term()
        self.processes.__exit__(None)

    def start(self, *options: str) -> None:
        """Start the engine, and wait until client and venues talk to it."""
        self.lives += 1
        told = ("--no-watch", "--json", str(self._told()))
        self.processes.start(f"engine-{self.lives}", "run", str(self.toml), *options, *told)
        if self.feed is None:
            self.feed = Feed(self.config, self.context, wait_s=START_S)
        ups = int(self.client.lives["ups"])
        self.turn_until(lambda: self.client.lives["ups"] > ups and self.client.up, START_S, orders=False)

    def _told(self) -> Path:
        return self.run_dir / f"engine-{self.lives}.json"

    def kill(self) -> None:
        """kill -9, at once."""
        name = f"engine-{self.lives}"
        self.processes.kill(name)

    def turn(self, *, orders: bool = True) -> None:
        """Quote and order a little, and take what comes."""
        assert self.feed is not None
        now_s = time.monotonic()
        if now_s - self._quoted_s > 0.002:
            self._quoted_s = now_s
            mid = MID + 100 * self.random.randint(-20, 20)
            self.feed.quote(self.quotes % len(VENUES), mid - 100, mid + 100, 100 * self.random.randint(1, 20))
            self.quotes += 1
        if orders and self.client.up and self.random.random() < 0.3:
            side = self.random.choice((Side.BUY, Side.SELL))
            px = MID + 100 * self.random.randint(-25, 25)
            tif = self.random.choice((Tif.IOC, Tif.DAY, Tif.FOK))
            self.sent += 1
            self.client.new(f"P{self.sent:06d}", instrument_id=0, side=side, qty=100 * self.random.randint(1, 40),
                            px=px, tif=tif)  # fmt: skip
        self.client.poll(0.001)

    def turn_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn()

    def turn_until(self, done: Any, seconds: float, *, orders: bool = True) -> None:
        until = time.monotonic() + seconds
        while not done():
            self.turn(orders=orders)
            self.processes.check()
            assert time.monotonic() < until, f"not in {seconds} s:\n{self.processes.said(f'engine-{self.lives}')}"

    def finish(self) -> dict[str, Any]:
        """Cancel what rests, wait for the end of all orders, stop everything; the venues' counters."""
        self.client.mass_cancel()
        self.turn_until(self._all_ended, 60.0, orders=False)
        # A busy machine is no failure: both may take their time.
        self.processes.stop(f"engine-{self.lives}", 120)
        self.processes.stop("venues", 120)
        told: dict[str, Any] = json.loads((self.run_dir / "venues.json").read_text(encoding="utf-8"))
        return told

    def _all_ended(self) -> bool:
        return all(order.ord_status in ENDED for order in self.client.orders.values())

    def told(self, life: int) -> dict[str, Any]:
        """What `run --json` wrote at the end of a life."""
        return dict(json.loads((self.run_dir / f"engine-{life}.json").read_text(encoding="utf-8")))


def place(run_dir: Path) -> tuple[int, int]:
    """(last seq, its crc) of a journal whose writer is gone."""
    with JournalReader(run_dir) as reader:
        for _ in reader.chunks():
            pass
        assert reader.end is not None
        return reader.end.last_seq, reader.end.prev_crc


def crcs(run_dir: Path, seqs: set[int]) -> dict[int, int]:
    """The crcs of some frames."""
    found = {}
    with JournalReader(run_dir) as reader:
        for chunk in reader.chunks():
            for row in np.flatnonzero(np.isin(chunk.rows["seq"], list(seqs))):
                at = int(chunk.rows["offset"][row])
                found[int(chunk.rows["seq"][row])] = int(chunk.memory[at + 4 : at + 8].view("<u4")[0])
    return found


def rerun(run_dir: Path) -> State:
    """The state at the end of a journal, by an uninterrupted run through the core; every output must be the same."""
    with JournalReader(run_dir) as reader:
        run = Rerun(manifest.from_bytes(reader.manifest))
        for chunk in reader.chunks():
            assert run.feed(chunk) is None
    return run.state


def children(run_dir: Path) -> list[int]:
    """Ids of all child orders that the journal has as outputs, in order."""
    found: list[int] = []
    kind = DTYPES[Template.ORDER_NEW]
    with JournalReader(run_dir) as reader:
        for frame in reader.frames():
            if frame.kind == Kind.OUTPUT and frame.payload.view("<u2")[1] == Template.ORDER_NEW:
                found.append(int(frame.payload.view(kind)["order_id"][0]))
    return found


class Desk(Protocol):
    """What `settled` looks at: a run's directory, and its one client."""

    run_dir: Path
    client: OrderClient


def settled(lives: Desk, venues: dict[str, Any]) -> State:
    """Hold venues, client and journal against each other; AssertionError says what differs. The state at the end."""
    state = rerun(lives.run_dir)
    ours = children(lives.run_dir)
    assert len(ours) == len(set(ours)), "an order id was given twice"
    assert venues["orders"] == venues["distinct_orders"] <= len(ours), "an order came twice, or from nowhere"
    core, counts = state.core[0], state.counts
    assert (int(core.live_parents), int(core.live_children), int(core.unknown_children)) == (0, 0, 0)
    book = {text.tobytes(): n for n, text in enumerate(state.parent_orders["cl_ord_id"]) if text[0]}
    filled = 0
    for name, order in lives.client.orders.items():
        slot = book.get(name.encode().ljust(16, b"\0"))
        if slot is None:
            assert order.ord_status == OrdStatus.REJECTED, f"{name}: the engine never had it, and the client"
            continue
        parent = state.parents[slot]
        assert (order.ord_status, order.cum_qty) == (parent.ord_status, parent.cum_qty), name
        filled += order.cum_qty
    assert filled == counts[C_QTY_FILLED] == venues["filled_qty"]
    assert counts[C_FILLS] == venues["fills"]
    return state
