"""A report of a venue's that never arrives: it is missed, the session is broken off, and it is sent again."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import zmq

from engine.jit import JIT
from engine.record import records as r
from engine.record.records import OrdStatus, Side, Tif
from engine.run.receive import BREAKS
from replay.verify import verify
from tests.orders.test_with_engine import PX, House, agree
from tests.run.engine_peers import ack, fill, order, wait_for
from tests.run.test_engine import Desk

pytestmark = pytest.mark.skipif(not JIT, reason="the loop needs the GIL released, which only compiled code does")
T = r.Template


class Thief:
    """Between the venues and the engine: carries all messages but the first `takes` with a FILL. A context manager."""

    def __init__(self, sockets, takes):
        self.endpoint, self._engine = f"ipc://{sockets}/thief", f"ipc://{sockets}/orders"
        self.left, self.taken = takes, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        with zmq.Context() as context, context.socket(zmq.ROUTER) as near, context.socket(zmq.DEALER) as far:
            for socket in (near, far):
                socket.set(zmq.LINGER, 0)
            far.set(zmq.ROUTING_ID, b"sim")
            near.bind(self.endpoint)
            far.connect(self._engine)
            poller = zmq.Poller()
            poller.register(near, zmq.POLLIN)
            poller.register(far, zmq.POLLIN)
            while not self._stop.is_set():
                ready = dict(poller.poll(20))
                if near in ready:
                    _, body = near.recv_multipart()
                    if self.left and T.FILL in _templates(body):
                        self.left -= 1
                        self.taken.append(body)
                    else:
                        far.send(body)
                if far in ready:
                    near.send_multipart([b"sim", far.recv()])


def _templates(body):
    found, at = [], 0
    while at < len(body):
        head = np.frombuffer(body, r.HEAD, 1, at)[0]
        found.append(int(head.template_id))
        at += int(head.block_length) + r.SBE_HEADER_SIZE
    return found


@pytest.mark.parametrize("orders", [1, 3], ids=["at the end of the stream", "in the middle"])
def test_a_fill_that_was_lost_comes_again(tmp_path, sockets, orders):
    with Thief(sockets, 1) as thief:
        it = House(tmp_path, sockets, venues_at=thief.endpoint, routing={"child_timeout_ms": 60_000})
        try:
            it.show(PX - 1000, PX, 300)
            sent = [
                it.client.new(f"A{n}", instrument_id=0, side=Side.BUY, qty=300, px=PX, tif=Tif.IOC)
                for n in range(orders)
            ]
            assert it.client.wait(lambda: not any(one.is_open for one in sent), 20)
            assert len(thief.taken) == 1
            figures, counters = agree(it, *sent)
        finally:
            if it.thread.is_alive():
                it.close()
    assert [one.ord_status for one in sent] == [OrdStatus.FILLED] * orders
    assert figures["broken_off"] == 1
    assert counters["sessions"]["sim"]["downs"] >= 1
    assert verify(it.engine.run_dir).result == "identical"


@pytest.mark.parametrize("transport", ["zmq", "shm"])
def test_what_never_comes_counts_as_lost_after_some_tries(tmp_path, sockets, transport):
    it = Desk(tmp_path / "run", sockets, transport)
    try:
        it.feed.quote(0, 1_569_900, 1_570_000)
        wait_for(lambda: it.engine.gauge("quotes") == 1, it.client, it.venue)
        it.client.send(order("A1", r.Side.BUY, 300, 1_570_000))
        child = it.take(it.venue, T.ORDER_NEW)[0]
        for number in range(BREAKS):
            it.venue.seq += 1
            it.venue.send(fill(child, number, 100))
            wait_for(lambda: it.engine.gauge("sessions_up") == 1, it.client)
            it.venue.send(fill(child, 9, 100))  # behind the gap: not taken
            it.venue.hello()
            wait_for(lambda: it.engine.gauge("sessions_up") == 2, it.client, it.venue)
            assert it.engine.gauge("unknown_children") == 1
        assert it.engine.gauge("fills") == 0
        it.venue.seq += 1
        it.venue.send(fill(child, 3, 100))
        it.venue.send(ack(child, r.ExecType.CANCELED, r.OrdStatus.CANCELED, 100))
        wait_for(lambda: it.engine.gauge("live_parents") == 0, it.client, it.venue)
        final = it.stop()
    finally:
        it.stop()
    assert (final["qty_filled"], final["broken_off"], final["unknown_children"]) == (100, BREAKS, 0)
    assert final["out_of_place"] >= 2 * BREAKS
    assert final["gaps"] == BREAKS + 1
