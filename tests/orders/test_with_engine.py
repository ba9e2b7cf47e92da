"""Client, engine and simulated venues over real sockets and rings: what the client is told is what happened."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import pytest
import zmq

from engine.record.records import OrdStatus, Side, Tif
from engine.run.config import Feed as FeedSection
from engine.run.config import Orders, Simulation
from engine.run.daemon import Engine
from gateways.orders.client import OrderClient
from gateways.venues.simulated import SimulatedVenues
from tests.run.engine_peers import Feed, make_config

PX = 1_560_000
ALWAYS = 1_000_000


class House:
    """An engine, its venues in a thread, their feeds, and a client. The venues dial in at `venues_at`."""

    def __init__(self, folder, sockets, transport="zmq", routing=None, venues_at="", **faults):
        config = make_config(folder / "run", sockets, transport=transport, **(routing or {}))
        config = msgspec.structs.replace(config, simulation=Simulation(orders=4096, **faults))
        self.context = zmq.Context()
        self.engine = Engine(config)
        self.engine.start()
        self.feeds = [Feed(config, self.context)]
        endpoint = config.feed[0].endpoint
        if transport == "shm":  # a ring has one reader
            endpoint = f"shm://{sockets}/second"
        theirs = msgspec.structs.replace(config, orders=Orders(endpoint=venues_at)) if venues_at else config
        self.venues = SimulatedVenues(theirs, [endpoint], idle="yield")
        if transport == "shm":
            again = msgspec.structs.replace(config, feed=[FeedSection(name="again", endpoint=endpoint)])
            self.feeds.append(Feed(again, self.context))
        self.thread = threading.Thread(target=self.venues.run)
        self.thread.start()
        session = config.session[0]
        self.client = OrderClient(
            config.orders.endpoint if session.endpoint == "zmq" else session.endpoint, session.name, peer_timeout_ms=400
        )
        self.client.connect()
        assert self.client.wait(lambda: self.engine.gauge("sessions_up") == 2 and self.venues.up)

    def show(self, bid_px, ask_px, qty):
        """All venues show these, and everybody has seen it."""

        def seen():
            for feed in self.feeds:
                for venue in range(3):
                    feed.quote(venue, bid_px, ask_px, qty)
            time.sleep(0.02)
            return self.engine.gauge("quotes") > before and (self.venues.exchange.pairs["ask_px"] == ask_px).all()

        before = self.engine.gauge("quotes") + 3
        assert self.client.wait(seen)

    def close(self):
        """Stop all; the engine's figures and the venues' counters."""
        self.client.close()
        figures = self.engine.stop()
        self.venues.stop()
        self.thread.join(5)
        counters = self.venues.counters()
        self.venues.close()
        for feed in self.feeds:
            feed.close()
        self.context.term()
        return figures, counters


@pytest.fixture
def sockets():
    """A folder with a path short enough for ipc endpoints."""
    folder = Path(tempfile.mkdtemp(prefix="tr-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def house(tmp_path, sockets):
    """Makes houses, and stops what a failed test left running."""
    made = []

    def make(*args, **kwargs):
        made.append(House(tmp_path, sockets, *args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        if one.thread.is_alive():
            one.close()


def agree(house, *orders):
    """Stop, and check that client, engine and venues say the same."""
    figures, counters = house.close()
    filled = sum(order.cum_qty for order in orders)
    assert filled == sum(order.filled_qty for order in orders)
    assert (figures["qty_filled"], counters["filled_qty"]) == (filled, filled)
    assert (figures["live_children"], figures["unknown_children"], figures["overfills"]) == (0, 0, 0)
    assert figures["malformed"] == counters["malformed"] == 0
    return figures, counters


@pytest.mark.parametrize("transport", ["zmq", "shm"])
def test_orders_are_swept_and_rest_until_the_market_comes(house, transport):
    it = house(transport)
    it.show(PX - 1000, PX, 300)
    swept = it.client.new("A1", instrument_id=0, side=Side.BUY, qty=500, px=PX, tif=Tif.IOC)
    rests = it.client.new("A2", instrument_id=0, side=Side.BUY, qty=600, px=PX - 500, tif=Tif.DAY)
    assert it.client.wait(lambda: not swept.is_open and rests.ord_status == OrdStatus.NEW)
    assert (swept.ord_status, swept.cum_qty, swept.avg_px) == (OrdStatus.FILLED, 500, PX)
    it.show(PX - 1000, PX - 500, 300)
    assert it.client.wait(lambda: rests.ord_status == OrdStatus.FILLED)
    figures, counters = agree(it, swept, rests)
    assert figures["timeouts"] == 0
    assert counters["fills"] == figures["fills"] >= 4
    assert counters["sessions"]["sim"]["gaps"] == 0


def test_cancel_and_replace_of_a_resting_order(house):
    it = house()
    it.show(PX - 1000, PX, 300)
    order = it.client.new("A1", instrument_id=0, side=Side.SELL, qty=600, px=PX + 500, tif=Tif.DAY)
    assert it.client.wait(lambda: order.ord_status == OrdStatus.NEW)
    it.client.replace("A1", qty=800, px=PX + 400)
    assert it.client.wait(lambda: order.qty == 800)
    it.client.cancel("A1")
    assert it.client.wait(lambda: order.ord_status == OrdStatus.CANCELED)
    agree(it, order)


@pytest.mark.parametrize(
    "faults",
    [
        {"reject_ppm": ALWAYS},
        {"partial_ppm": ALWAYS},
        {"lost_order_ppm": ALWAYS},
        {"lost_ack_ppm": ALWAYS, "partial_ppm": ALWAYS},
    ],
    ids=["rejects", "phantom quotes", "lost orders", "lost acknowledgements"],
)
def test_faults_of_the_venues_end_well(house, faults):
    """Whatever the venues do, the parent ends, nothing stays unknown, and all agree on what was filled.

    A venue's dice are thrown with the order's id, and that has the day in it: how much of the size is a phantom is
    another part each day. All that is shown is asked for, so any part that is missing is seen.
    """
    it = house(routing={"child_timeout_ms": 50, "max_cancels": 1}, **faults)
    it.show(PX - 1000, PX, 3000)
    order = it.client.new("A1", instrument_id=0, side=Side.BUY, qty=9000, px=PX, tif=Tif.IOC)
    assert it.client.wait(lambda: not order.is_open, 20)
    assert order.cum_qty < 9000
    assert it.client.wait(lambda: it.engine.gauge("live_children") == 0, 20)
    figures, counters = agree(it, order)
    lost = counters["lost"] + counters["muted"]
    assert (figures["timeouts"] > 0) == (lost > 0)


@pytest.mark.parametrize("transport", ["zmq", "shm"])
@pytest.mark.parametrize("back_s", [0, 7])
def test_a_second_life_with_an_epoch_that_was_taken_has_its_orders_heard(house, transport, back_s):
    """The first life dies without a goodbye; the second begins in the same second, or a clock was set back."""
    it = house(transport)
    it.show(PX - 1000, PX, 300)
    first = it.client
    for n in range(5):
        first.new(f"A{n}", instrument_id=0, side=Side.BUY, qty=100, px=PX, tif=Tif.IOC)
    assert first.wait(lambda: all(order.cum_qty == 100 for order in first.orders.values()))
    epoch = int(first._link.epoch)
    first._link.up = 0  # no goodbye
    first.close()
    it.client = OrderClient(
        first.endpoint, first.session_name, peer_timeout_ms=400, seen=first.seen, epoch=epoch - back_s
    )
    it.client.connect()
    order = it.client.new("B1", instrument_id=0, side=Side.BUY, qty=100, px=PX, tif=Tif.IOC)
    assert it.client.wait(lambda: not order.is_open)
    again = it.client.new("B2", instrument_id=0, side=Side.BUY, qty=100, px=PX, tif=Tif.IOC)
    assert it.client.wait(lambda: again.cum_qty == 100)
    assert int(it.client._link.epoch) > epoch
    assert it.client.counters()["session"]["taken"] == 1
    figures, _ = it.close()
    assert figures["qty_filled"] == 600 + order.cum_qty
